"""Places where an object is at hand, as ``place.obj``; where it is not, it is found, and put there.

Reading ``place.obj`` is all that stands between an operation on a proxy and its object: so this is the path that
counts. A place keeps nothing: what an owner has is in a `ThreadStorage` or an `OwnerStorage`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from ProxyPatternPool._scopes.storage import OwnerStorage


class CacheMiss:
    """The attribute ``obj`` of a place that does not have it at hand. Not a data descriptor: what is at hand wins."""

    def __get__(self, place: Any, _type: type) -> Any:
        return place.find()


def thread_cache(find: Callable[[], Any]) -> ThreadCache:
    """Make a place where each thread has its own object at hand.

    What a thread is, is decided now: gevent may have replaced `threading.local` since the import.
    """
    place: ThreadCache = _per_thread(threading.local)(find)
    return place


@cache
def _per_thread(local: type) -> Any:
    return type("ThreadCache", (ThreadCache, local), {})


class ThreadCache:
    """A place with an object at hand. `find` gets it from elsewhere, and may put it there."""

    obj = CacheMiss()

    def __init__(self, find: Callable[[], Any]) -> None:
        self.find = find  # this is run by each thread, at its first look

    def cache(self) -> dict[str, Any]:
        """Return where the current owner's object is to be put, as "obj"."""
        return vars(self)

    def drop(self) -> object:
        """Have nothing at hand for the current owner any more; return what there was."""
        return vars(self).pop("obj", None)


class OwnerCache:
    """A place where each task, greenlet or thread has its own object at hand; otherwise as `ThreadCache`."""

    def __init__(self, owners: OwnerStorage[Any], find: Callable[[], Any]) -> None:
        self._owners = owners
        self._find = find
        self._threads = thread_cache(find)

    @property
    def obj(self) -> Any:
        """The current owner's object."""
        cache = self._owners.cache()
        if cache is None:
            return self._threads.obj
        return cache["obj"] if "obj" in cache else self._find()

    def cache(self) -> dict[str, Any]:
        """Return where the current owner's object is to be put, as "obj"."""
        cache = self._owners.cache()
        return self._threads.cache() if cache is None else cache

    def drop(self) -> object:
        """Have nothing at hand for the thread any more; of a task or a greenlet, it goes with what is kept for it."""
        return self._threads.drop()
