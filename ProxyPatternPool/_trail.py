"""Trails: which owners work for the same request, so that the end of it finds the objects which they have left.

A web framework runs a coroutine of a request in a task, and the teardown of that request in a thread: two owners. The
request itself is Flask's application context, where there is one: all its tasks see that, children included. Elsewhere
a task that takes an object leaves a mark in its context, which asgiref copies back to the caller, after exceptions too.

A trail is compared, and holds nothing. So it does no harm that a mark stays in the context of a thread from one request
to the next: objects are only taken from owners that have ended.
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
    """Return the trail that this code is on, None if there is none. Imports nothing."""
    context: Any = getattr(sys.modules.get("flask.globals"), "app_ctx", None)  # false outside an application context
    return context._get_current_object() if context else _mark.get()


def begin_trail() -> object | None:
    """Return the trail that this code is on, a new one if there is none."""
    if current_trail() is None:
        _mark.set(_Mark())
    return current_trail()
