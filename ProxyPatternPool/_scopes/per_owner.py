"""Providers with one object per owner: from a `Pool`, or without a pool.

The storage keeps more than the object for an owner, see `Kept`: it also keeps the way to give the object back. Where
there is a pool, that is the lease. So giving it back never touches another owner's later lease of the same object.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import count
from sys import is_finalizing
from typing import Any, Final, Generic, TypeVar

from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._errors import PoolClosed
from ProxyPatternPool._process import FreshLock, keep_in_children
from ProxyPatternPool._scopes.cache import OwnerCache, thread_cache
from ProxyPatternPool._scopes.kept import Kept, KeptLease
from ProxyPatternPool._scopes.provider import FunctionProvider, Provider
from ProxyPatternPool._scopes.storage import OwnerStorage, ThreadStorage
from ProxyPatternPool._threads.pool import Pool

T = TypeVar("T")

#: Held while an object is counted. One for all providers: it is held for a moment.
COUNTING: Final = FreshLock()


class OwnerProvider(FunctionProvider[T], ABC):
    """A provider with one object per owner, from the owner's first use on."""

    def __init__(self, storage: ThreadStorage[Kept[T]], reshape: Callable[[Provider[T]], None]) -> None:
        super().__init__(reshape)
        self._storage = storage
        self.cache = OwnerCache(storage, self.load) if isinstance(storage, OwnerStorage) else thread_cache(self.load)

    @abstractmethod
    def take(self, timeout: float | Default | None) -> Kept[T]:
        """Take an object from the pool, or make one."""

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        kept = self._still_out()
        if kept is None:
            if self.successor is not None:
                return self.successor.get(timeout)  # the proxy was set again
            try:
                kept = self.take(timeout)
            except PoolClosed:
                if self.successor is None:
                    raise
                return self.successor.get(timeout)  # the proxy was set again during the wait
            self._keep(kept)
        kept.cache_in(self.cache.current())
        return kept.held

    def _still_out(self) -> Kept[T] | None:
        """Return what the storage has for the current owner. None if its object was returned or discarded elsewhere.

        `PoolException` if the pool has taken the object away.
        """
        kept = self._storage.get()
        if kept is None or kept.is_out():
            return kept
        kept.check()
        return None

    def _keep(self, kept: Kept[T]) -> None:
        """Store an object that was taken for the current owner. On an error, give it back."""
        try:
            self._see(kept.held)
            self._storage.set(kept)
        except BaseException:
            kept.end()
            raise

    def kept(self) -> Kept[T] | None:
        return self._storage.get()

    def has(self) -> bool:
        kept = self._storage.get()
        return kept is not None and kept.is_out()

    def ret(self) -> None:
        self.cache.drop()
        kept = self._storage.pop()
        if kept is not None:
            kept.end()


class UnpooledProvider(OwnerProvider[T]):
    """A provider that makes one object per owner, at the owner's first use. The object lives as long as its owner.

    With `auto_return`, it is closed at the owner's end: by the owner itself, if the owner is a thread.
    """

    def __init__(
        self, storage: ThreadStorage[Kept[T]], reshape: Callable[[Provider[T]], None], config: PoolConfig[T]
    ) -> None:
        super().__init__(storage, reshape)
        self._make = config.make
        self._close = config.closer() if config.auto_return else None
        self.obeyed = ("close",) if config.auto_return else ()
        self._begin()

    def _begin(self) -> None:
        self._numbers = count()
        self._made = 0
        # the objects that still exist; a WeakSet is five times as large
        self._owns: set[weakref.ref[OwnedObject[T]]] = set()

    def _renew(self) -> None:
        super()._renew()
        self._begin()

    def take(self, timeout: float | Default | None) -> Kept[T]:
        own = OwnedObject(self._make(next(self._numbers)), self._close)
        with COUNTING.lock:
            self._made += 1
        keep_in_children(own)
        self._owns.add(weakref.ref(own, self._owns.discard))
        return own

    def ret(self) -> None:
        # there is no pool to return an object to. But its owner no longer needs that of an earlier setting
        if self.successor is not None:
            super().ret()

    def in_use(self) -> bool:
        return self._close is not None and len(self._owns) > 0

    def count(self) -> int:
        """Return the number of objects made. It includes those of ended owners, which were never given back."""
        return self._made


class OwnedObject(Generic[T]):
    """An object that stays with its owner. It implements `Kept`."""

    def __init__(self, obj: T, close: Callable[[T], object] | None) -> None:
        self._obj = obj
        self._close = close

    @property
    def held(self) -> T:
        return self._obj

    def is_out(self) -> bool:
        return True

    def check(self) -> None: ...

    def cache_in(self, cache: dict[str, Any]) -> None:
        cache["obj"] = self._obj

    def end(self) -> None: ...

    def __del__(self, is_finalizing: Callable[[], bool] = is_finalizing) -> None:
        # the main thread's object is not closed at the end of the program, when half of the interpreter is gone
        if self._close is not None and not is_finalizing():
            self._close(self._obj)


class PooledProvider(OwnerProvider[T]):
    """A provider that lends each owner an object of a `Pool`, from the owner's first use until it is given back.

    The storage keeps the lease, not only the object. So an object that was returned or discarded behind the proxy is
    not used again.
    """

    pooled = True

    def __init__(
        self, storage: ThreadStorage[Kept[T]], reshape: Callable[[Provider[T]], None], config: PoolConfig[T]
    ) -> None:
        super().__init__(storage, reshape)
        config.check_plain()  # what the pool would refuse is refused now
        self._config = config
        # under "pool", once it is used: most proxies are set where a program starts, and used elsewhere, or never
        self._made: dict[str, Pool[T]] = {}

    @property
    def pool(self) -> Pool[T]:
        """The pool, the same one for all threads; a closed one after `end`."""
        pool = self._made.get("pool") or self._made.setdefault("pool", Pool._unopened(self._config))
        if self.successor is not None:  # looked at after the pool is there to be found: one of the two sees the other
            pool.shutdown()
        return pool

    def take(self, timeout: float | Default | None) -> Kept[T]:
        return KeptLease(self.pool.obj(timeout), self._storage.holder(), self._config.auto_return)

    def end(self, successor: Provider[T]) -> None:
        super().end(successor)
        for pool in list(self._made.values()):
            pool.shutdown()

    def in_use(self) -> bool:
        return self.count() > 0  # idle objects count, too: an owner may be about to take one

    def count(self) -> int:
        return sum(pool.size for pool in list(self._made.values()))


class PooledOnTrail(PooledProvider[T]):
    """A provider that lends each task, greenlet or thread an object of a `Pool`.

    An owner that ends with its object may leave it to the end of its request, which gives it back.
    """

    def __init__(
        self, storage: OwnerStorage[Kept[T]], reshape: Callable[[Provider[T]], None], config: PoolConfig[T]
    ) -> None:
        super().__init__(storage, reshape, config)
        self._owners = storage

    def take(self, timeout: float | Default | None) -> Kept[T]:
        return KeptLease(self.pool.obj(timeout), self._owners.holder_on_trail(), self._config.auto_return)

    def ret(self) -> None:
        trail = self._owners.trail_to_clear()
        super().ret()
        if trail is not None:
            for pool in list(self._made.values()):
                pool._give_left(trail)
