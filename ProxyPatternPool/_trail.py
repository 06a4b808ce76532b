"""Trails: owners that work for the same request share a trail, so that its end finds the objects which they have left.

A web framework runs a coroutine of a request in a task, and the teardown of that request in a thread. These are two
owners. With Flask, the trail is the application context: all tasks of the request see it, child tasks included.
Elsewhere, a task that takes an object leaves a mark in its context. asgiref copies that context back to the caller,
after exceptions, too.

A trail is only compared, and holds nothing. So a mark may stay in the context of a thread from one request to the next:
objects are only taken from owners that have ended.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any


class _Mark:
    """A trail outside Flask."""

    __slots__ = ("__weakref__",)


_mark: ContextVar[_Mark | None] = ContextVar("ProxyPatternPool_mark", default=None)


def current_trail() -> object | None:
    """Return the trail of the request that this code works for, or None. Imports nothing."""
    context: Any = getattr(sys.modules.get("flask.globals"), "app_ctx", None)  # false outside an application context
    return context._get_current_object() if context else _mark.get()


def begin_trail() -> object | None:
    """Return the trail of the request that this code works for. Without one, begin a new trail."""
    if current_trail() is None:
        _mark.set(_Mark())
    return current_trail()
