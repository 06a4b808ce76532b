"""Caches of the object to use here and now, read as ``cache.obj``. An object that is not cached is loaded.

Every operation on a proxy reads ``cache.obj``, and does nothing else before it reaches the object. So this read has to
be fast. A cache owns nothing: the lease of an owner is in a `ThreadStorage` or an `OwnerStorage`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from ProxyPatternPool._scopes.storage import OwnerStorage


class CacheMiss:
    """An attribute ``obj`` that loads the object. It is not a data descriptor, so a cached object has precedence."""

    def __get__(self, cache: Any, _type: type) -> Any:
        return cache.load()


def thread_cache(load: Callable[[], Any]) -> ThreadCache:
    """Make a cache with one object per thread.

    `threading.local` is looked up here and not at the import: gevent may have replaced it in between.
    """
    made: ThreadCache = _per_thread(threading.local)(load)
    return made


@cache
def _per_thread(local: type) -> Any:
    return type("ThreadCache", (ThreadCache, local), {})


class ThreadCache:
    """A cache with one object per thread. `load` gets an object that is not cached, and may cache it."""

    obj = CacheMiss()

    def __init__(self, load: Callable[[], Any]) -> None:
        self.load = load  # each thread runs this constructor, when it first uses the cache

    def current(self) -> dict[str, Any]:
        """Return the current thread's part of the cache, which has its object under "obj"."""
        return vars(self)

    def drop(self) -> object:
        """Remove the current thread's object from the cache, and return it. None without one."""
        return vars(self).pop("obj", None)


class OwnerCache:
    """A cache with one object per task, greenlet or thread. Otherwise the same as `ThreadCache`."""

    def __init__(self, owners: OwnerStorage[Any], load: Callable[[], Any]) -> None:
        self._owners = owners
        self._load = load
        self._threads = thread_cache(load)

    @property
    def obj(self) -> Any:
        """The current owner's object."""
        cached = self._owners.cache()
        if cached is None:
            return self._threads.obj
        return cached["obj"] if "obj" in cached else self._load()

    def current(self) -> dict[str, Any]:
        """Return the current owner's part of the cache, which has its object under "obj"."""
        cached = self._owners.cache()
        return self._threads.current() if cached is None else cached

    def drop(self) -> object:
        """Remove the current thread's object from the cache, and return it. None without one.

        The object of a task or a greenlet leaves the cache with its lease, or with the owner's entry in the storage.
        """
        return self._threads.drop()
