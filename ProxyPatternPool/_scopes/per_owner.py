"""What a proxy stands for that has an object for each owner: with a pool of threads, or without one.

What is kept for an owner is more than the object, see `Kept`: the way to give it back goes with it. That is the lease,
where there is a pool: so that giving it back never touches a later lease of the same object by somebody else.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import count
from sys import is_finalizing
from typing import Any, Generic, TypeVar

from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._errors import PoolClosed
from ProxyPatternPool._process import FreshLock, keep_in_children
from ProxyPatternPool._scopes.cache import OwnerCache, thread_cache
from ProxyPatternPool._scopes.kept import Kept, KeptLease
from ProxyPatternPool._scopes.provider import FunctionProvider, Provider
from ProxyPatternPool._scopes.storage import OwnerStorage, ThreadStorage
from ProxyPatternPool._threads.pool import Pool

T = TypeVar("T")


class OwnerProvider(FunctionProvider[T], ABC):
    """An object for each owner, from its first use on."""

    def __init__(self, storage: ThreadStorage[Kept[T]], reshape: Callable[[Provider[T]], None]) -> None:
        super().__init__(reshape)
        self._storage = storage
        self.place = OwnerCache(storage, self.find) if isinstance(storage, OwnerStorage) else thread_cache(self.find)

    @abstractmethod
    def take(self, timeout: float | Default | None) -> Kept[T]:
        """Make an object, or take one from the pool."""

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
                return self.successor.get(timeout)  # just now
            self._keep(kept)
        kept.cache_in(self.place.cache())
        return kept.held

    def _still_out(self) -> Kept[T] | None:
        """Return what is kept for the current owner, unless somebody else has returned it, or broken it.

        `PoolException` when it was taken away.
        """
        kept = self._storage.get()
        if kept is None or kept.is_out():
            return kept
        kept.check()
        return None

    def _keep(self, kept: Kept[T]) -> None:
        """Keep for the current owner what was taken for it."""
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
        self.place.drop()
        kept = self._storage.pop()
        if kept is not None:
            kept.end()


class UnpooledProvider(OwnerProvider[T]):
    """An object for each owner, made at its first use; it goes with its owner.

    With `auto_return`, it is closed then: by the owner itself, if that is a thread.
    """

    def __init__(
        self, storage: ThreadStorage[Kept[T]], reshape: Callable[[Provider[T]], None], config: PoolConfig[T]
    ) -> None:
        super().__init__(storage, reshape)
        self._make = config.make
        self._close = config.closer() if config.auto_return else None
        self._counting = FreshLock()
        self.obeyed = ("close",) if config.auto_return else ()
        self._begin()

    def _begin(self) -> None:
        self._numbers = count()
        self._made = 0
        self._owns: set[weakref.ref[OwnedObject[T]]] = (
            set()
        )  # those that are still there; a WeakSet is five times as large

    def _renew(self) -> None:
        super()._renew()
        self._begin()

    def take(self, timeout: float | Default | None) -> Kept[T]:
        own = OwnedObject(self._make(next(self._numbers)), self._close)
        with self._counting.lock:
            self._made += 1
        keep_in_children(own)
        self._owns.add(weakref.ref(own, self._owns.discard))
        return own

    def ret(self) -> None:
        if self.successor is not None:  # there is nowhere to return it to; but of an earlier setting, nobody needs it
            super().ret()

    def in_use(self) -> bool:
        return self._close is not None and len(self._owns) > 0

    def count(self) -> int:
        """Return how many objects have been made: those of ended owners are gone, but were never given back."""
        return self._made


class OwnedObject(Generic[T]):
    """An object that stays with its owner."""

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
        # the main thread's is not closed at the end of the program, when half of the interpreter is gone
        if self._close is not None and not is_finalizing():
            self._close(self._obj)


class PooledProvider(OwnerProvider[T]):
    """An object of the pool for each owner, from its first use until it is given back.

    What is kept is the lease, not only the object: so that giving it back never touches a later lease of the same
    object by somebody else, and that an object which was returned or discarded behind the proxy is not used again.
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
        return self.count() > 0  # and not what is leased: another owner may be about to have what was idle just now

    def count(self) -> int:
        return sum(pool.size for pool in list(self._made.values()))


class PooledOnTrail(PooledProvider[T]):
    """An object of the pool for each task, greenlet or thread, which may leave it to the end of its request."""

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
