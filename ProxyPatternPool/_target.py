"""What a proxy stands for: one object, or a function that makes one for each owner, with or without a pool.

`Proxy.set` chooses one of these classes; from then on the proxy asks it for the current owner's object, and knows
nothing of scopes itself. What owners keep is the proxy's, and outlives a setting: so that an owner which holds an
object of the previous pool gives it back there.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._owner import PerThread, this_owner
from ProxyPatternPool._pool import Pool
from ProxyPatternPool._process import keep, keep_in_children, renew_after_fork

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Kept(Protocol[T_co]):
    """What an owner keeps of a target: an object, and the way to give it back."""

    @property
    def held(self) -> T_co:
        """The object."""
        ...

    def is_of(self, source: object) -> bool:
        """Tell whether the object comes from there, and is still the owner's."""
        ...

    def is_out(self) -> bool:
        """Tell whether the object is still the owner's, wherever it comes from."""
        ...

    def end(self) -> None:
        """Give the object back to where it came from, if it is still the owner's."""
        ...


#: What an owner keeps: of the present setting at the end, and before it what it still has of earlier ones.
Storage = PerThread[list[Kept[T]]]


class Target(Generic[T]):
    """Nothing yet: what a proxy stands for before it is set, and what all the other targets are like."""

    def __init__(self, storage: Storage[T], advice: str = "") -> None:
        self._storage = storage
        self._advice = advice

    @property
    def pool(self) -> Pool[T] | None:
        """The pool that the objects come from, if any."""
        return None

    def get(self, timeout: float | Default | None) -> T:
        """Return the current owner's object, made or taken from the pool if it has none."""
        raise ProxyException(self._advice)

    @property
    def obj(self) -> T | None:
        """The current owner's object, None if it has none."""
        return None

    def has(self) -> bool:
        """Tell whether the current owner has an object."""
        return False

    def ret(self) -> None:
        """Give the current owner's object back to where it came from. Does nothing when there is nothing to do."""
        for kept in self._storage.pop() or ():
            kept.end()

    def end(self) -> None:
        """Close what is not in use: the proxy stands for something else now."""

    def count(self) -> int:
        """Return how many objects there are."""
        return 0


class SharedObject(Target[T]):
    """One object for everybody."""

    def __init__(self, storage: Storage[T], obj: T) -> None:
        super().__init__(storage)
        self._shared = obj

    def get(self, timeout: float | Default | None) -> T:
        return self._shared

    @property
    def obj(self) -> T | None:
        return self._shared

    def has(self) -> bool:
        return True

    def count(self) -> int:
        return 1


class SharedFunction(Target[T]):
    """One object for everybody, made by whoever needs it first; the others wait for it meanwhile.

    They queue at a pool of one: so a greenlet that waits leaves its thread to the others, and when `fun` fails, the
    next one tries.
    """

    def __init__(self, storage: Storage[T], fun: Callable[[int], T]) -> None:
        super().__init__(storage)
        self._fun = fun
        self._maker: object = None  # who runs `fun`
        self._made: list[T] = []  # the object, when there is one: it may be anything, None included
        self._queue = Pool._unopened(PoolConfig(fun=self._make, max_size=1, min_size=0, timeout=None))
        renew_after_fork(self)

    def _renew(self) -> None:
        keep(self._made)
        self._made = []

    def _make(self, number: int) -> T:
        self._maker = this_owner()
        try:
            return self._fun(number)
        finally:
            self._maker = None

    def get(self, timeout: float | Default | None) -> T:
        if not self._made:
            if self._maker == this_owner():
                raise ProxyException("fun uses the proxy whose object it is to make")
            with self._queue.obj(timeout) as obj:
                self._made = [obj]
        return self._made[0]

    @property
    def obj(self) -> T | None:
        return self._made[0] if self._made else None

    def has(self) -> bool:
        return bool(self._made)

    def count(self) -> int:
        return len(self._made)


class PerOwner(Target[T], ABC):
    """An object for each owner, from its first use on."""

    @property
    @abstractmethod
    def source(self) -> object:
        """What tells this target's objects from those of an earlier setting."""

    @abstractmethod
    def take(self, timeout: float | Default | None) -> Kept[T]:
        """Make an object, or take one from the pool."""

    def kept(self) -> Kept[T] | None:
        """Return what the current owner has kept of this target, and still has."""
        kept = self._storage.get()
        return kept[-1] if kept and kept[-1].is_of(self.source) else None

    def get(self, timeout: float | Default | None) -> T:
        kept = self.kept()
        if kept is None:
            kept = self.take(timeout)
            try:
                # what is kept of an earlier setting may be in use, in an outer block: it stays until it is given back
                earlier = [one for one in self._storage.get() or () if one.is_out()]
                self._storage.set([*earlier, kept])
            except BaseException:
                kept.end()
                raise
        return kept.held

    @property
    def obj(self) -> T | None:
        kept = self.kept()
        return None if kept is None else kept.held

    def has(self) -> bool:
        return self.kept() is not None


class Unpooled(PerOwner[T]):
    """An object for each owner, made at its first use; it goes with its owner."""

    def __init__(self, storage: Storage[T], fun: Callable[[int], T]) -> None:
        super().__init__(storage)
        self._fun = fun
        self._begin()
        renew_after_fork(self)

    def _begin(self) -> None:
        self._source = object()
        self._numbers = itertools.count()
        self._made = 0

    def _renew(self) -> None:
        self._begin()

    @property
    def source(self) -> object:
        return self._source

    def take(self, timeout: float | Default | None) -> Kept[T]:
        number = next(self._numbers)
        own = Own(self._source, self._fun(number))
        keep_in_children(own)
        self._made = max(self._made, number + 1)
        return own

    def ret(self) -> None:
        own = self.kept()
        super().ret()
        if own is not None:
            self._storage.set([own])

    def count(self) -> int:
        return self._made


class Own(Generic[T]):
    """An object that stays with its owner."""

    def __init__(self, source: object, obj: T) -> None:
        self._source = source
        self._obj = obj

    @property
    def held(self) -> T:
        return self._obj

    def is_of(self, source: object) -> bool:
        return self._source is source

    def is_out(self) -> bool:
        return True

    def end(self) -> None: ...


class Pooled(PerOwner[T]):
    """An object of the pool for each owner, from its first use until it is given back.

    What is kept is the lease, not only the object: so that giving it back never touches a later lease of the same
    object by somebody else, and that an object which was returned or discarded behind the proxy is not used again.
    """

    def __init__(self, storage: Storage[T], pool: Pool[T]) -> None:
        super().__init__(storage)
        self._pool = pool

    @property
    def source(self) -> object:
        return self._pool

    @property
    def pool(self) -> Pool[T]:
        return self._pool

    def take(self, timeout: float | Default | None) -> Kept[T]:
        lease = self._pool.obj(timeout)
        lease.__enter__()
        return lease

    def end(self) -> None:
        self._pool.shutdown()

    def count(self) -> int:
        return self._pool.size
