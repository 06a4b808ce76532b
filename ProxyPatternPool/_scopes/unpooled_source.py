"""UnpooledSource: makes an object for each owner of a proxy, which is never lent twice."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from itertools import count
from sys import is_finalizing
from typing import Any, Final, Generic, TypeVar

from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._process import FreshLock, keep_in_children
from ProxyPatternPool._scopes.kept import Kept

T = TypeVar("T")

#: Held while an object is counted. One for all sources: it is held for a moment.
COUNTING: Final = FreshLock()


class UnpooledSource(Generic[T]):
    """A source that makes an object for each owner, which lives as long as its owner. It implements `ObjectSource`.

    With `auto_return`, it is closed at the owner's end: by the owner itself, if the owner is a thread.
    """

    __slots__ = ("_close", "_make", "_objects", "obeyed")

    pooled = False
    pool = None

    def __init__(self, config: PoolConfig[T]) -> None:
        self._make = config.make
        self._close = config.closer() if config.auto_return else None
        self._objects: _OwnedObjects[T] = _OwnedObjects()  # replaced in a forked child
        self.obeyed: Collection[str] = ("close",) if config.auto_return else ()

    def take(self, timeout: float | Default | None) -> Kept[T]:
        """Make an object for the current owner. Waits only for `fun`, and raises its errors."""
        own = OwnedObject(self._make(next(self._objects.numbers)), self._close)
        self._objects.add(own)
        return own

    def take_left(self, trail: object) -> None:
        """Do nothing: no owner leaves its object to others."""

    def end(self) -> None:
        """Do nothing: every object belongs to its owner."""

    def renew(self) -> None:
        """Count from 0 again, in a forked child: the objects made so far are the parent's."""
        self._objects = _OwnedObjects()

    def in_use(self) -> bool:
        """Tell whether an object exists that has to be closed."""
        return self._close is not None and len(self._objects.existing) > 0

    def count(self) -> int:
        """Return the number of objects made. It includes those of ended owners, which were never given back."""
        return self._objects.made


class _OwnedObjects(Generic[T]):
    """The objects that a source has made in this process."""

    __slots__ = ("existing", "made", "numbers")

    def __init__(self) -> None:
        self.numbers = count()  # the arguments of the calls of `fun`
        self.made = 0  # the calls that have succeeded; changes while `COUNTING` is held
        # the objects that still exist; a WeakSet is five times as large
        self.existing: set[weakref.ref[OwnedObject[T]]] = set()

    def add(self, own: OwnedObject[T]) -> None:
        """Count an object, and have it kept in forked children."""
        with COUNTING.lock:
            self.made += 1
        keep_in_children(own)
        self.existing.add(weakref.ref(own, self.existing.discard))


class OwnedObject(Generic[T]):
    """An object that stays with its owner. It implements `Kept`."""

    __slots__ = ("__weakref__", "_close", "_obj")

    def __init__(self, obj: T, close: Callable[[T], object] | None) -> None:
        self._obj = obj
        self._close = close

    @property
    def held(self) -> T:
        """The object."""
        return self._obj

    def is_out(self) -> bool:
        """Return True: no other code can return the object."""
        return True

    def check(self) -> None:
        """Do nothing: no pool can take the object away."""

    def cache_in(self, cache: dict[str, Any]) -> None:
        """Put the object into a cache of its owner, for as long as the cache exists."""
        cache["obj"] = self._obj

    def end(self) -> None:
        """Do nothing: the object is closed when it is no longer stored."""

    def __del__(self, is_finalizing: Callable[[], bool] = is_finalizing) -> None:
        # the main thread's object is not closed at the end of the program, when half of the interpreter is gone
        if self._close is not None and not is_finalizing():
            self._close(self._obj)
