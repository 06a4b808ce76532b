"""What a proxy stands for: one object, or a function that makes one for each owner, with or without a pool.

`Proxy.set` chooses one of these classes; from then on the proxy asks it for the current owner's object, and knows
nothing of scopes itself.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from ProxyPatternPool._config import Default
from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._owner import PerThread
from ProxyPatternPool._pool import Lease, Pool

T = TypeVar("T")


class Target(Generic[T]):
    """Nothing yet: what a proxy stands for before it is set, and what all the other targets are like."""

    @property
    def pool(self) -> Pool[T] | None:
        """The pool that the objects come from, if any."""
        return None

    def __init__(self, advice: str = "") -> None:
        self._advice = advice

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

    def end(self) -> None:
        """Close what is not in use: the proxy stands for something else now."""

    def count(self) -> int:
        """Return how many objects there are."""
        return 0


class SharedObject(Target[T]):
    """One object for everybody."""

    def __init__(self, obj: T) -> None:
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
    """One object for everybody, made by whoever needs it first; the others wait for it meanwhile."""

    def __init__(self, fun: Callable[[int], T]) -> None:
        self._fun = fun
        self._making = threading.RLock()  # re-entrant: a function that uses its own proxy recurses, and says so
        self._made: list[T] = []  # the object, when there is one: it may be anything, None included

    def get(self, timeout: float | Default | None) -> T:
        if not self._made:
            with self._making:
                self._made = self._made or [self._fun(0)]
        return self._made[0]

    @property
    def obj(self) -> T | None:
        return self._made[0] if self._made else None

    def has(self) -> bool:
        return bool(self._made)

    def count(self) -> int:
        return len(self._made)


class Unpooled(Target[T]):
    """One object for each owner, made at its first use; it goes with its owner."""

    def __init__(self, fun: Callable[[int], T], storage: PerThread[tuple[T]]) -> None:
        self._fun = fun
        self._storage = storage  # of one-tuples: the object itself may be None
        self._numbers = itertools.count()
        self._made = 0

    def get(self, timeout: float | Default | None) -> T:
        kept = self._storage.get()
        if kept is None:
            number = next(self._numbers)
            kept = (self._fun(number),)
            self._storage.set(kept)
            self._made = max(self._made, number + 1)
        return kept[0]

    @property
    def obj(self) -> T | None:
        kept = self._storage.get()
        return kept[0] if kept else None

    def has(self) -> bool:
        return self._storage.get() is not None

    def count(self) -> int:
        return self._made


class Pooled(Target[T]):
    """An object of the pool for each owner, from its first use until it is given back.

    What is kept is the lease, not only the object: so that giving it back never touches a later lease of the same
    object by somebody else.
    """

    def __init__(self, pool: Pool[T], storage: PerThread[Lease[T]]) -> None:
        self._pool = pool
        self._storage = storage

    @property
    def pool(self) -> Pool[T]:
        return self._pool

    def get(self, timeout: float | Default | None) -> T:
        lease = self._storage.get()
        if lease is not None:
            return lease.held
        lease = self._pool.obj(timeout)
        obj = lease.__enter__()
        try:
            self._storage.set(lease)
        except BaseException:
            lease.__exit__(None, None, None)
            raise
        return obj

    @property
    def obj(self) -> T | None:
        lease = self._storage.get()
        return lease.held if lease else None

    def has(self) -> bool:
        return self._storage.get() is not None

    def ret(self) -> None:
        lease = self._storage.pop()
        if lease is not None:
            lease.__exit__(None, None, None)

    def end(self) -> None:
        self._pool.shutdown()

    def count(self) -> int:
        return self._pool.size
