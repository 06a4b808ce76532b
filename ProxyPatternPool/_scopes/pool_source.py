"""PoolSource: lends the objects of a `Pool` to the owners of a proxy. The pool is made when it is first used."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Generic, TypeVar

from ProxyPatternPool._config import ON_OBJECTS, Default, PoolConfig
from ProxyPatternPool._scopes.kept import Kept, KeptLease
from ProxyPatternPool._scopes.storage import ThreadStorage
from ProxyPatternPool._threads.pool import Pool

T = TypeVar("T")


class PoolSource(Generic[T]):
    """A source that lends objects of a `Pool`. It implements `ObjectSource`. `owners` knows the current owner."""

    __slots__ = ("_config", "_ended", "_made", "_owners")

    pooled = True
    obeyed: Collection[str] = ON_OBJECTS

    def __init__(self, config: PoolConfig[T], owners: ThreadStorage[Any]) -> None:
        config.check_plain()  # what the pool would refuse is refused now
        self._config = config
        self._owners = owners
        # under "pool", once it is used: most proxies are set where a program starts, and used elsewhere, or never
        self._made: dict[str, Pool[T]] = {}
        self._ended = False  # from then on, the pool is closed, even if it is made afterwards

    @property
    def pool(self) -> Pool[T]:
        """The pool, the same one for all threads; a closed one after `end`."""
        pool = self._made.get("pool") or self._made.setdefault("pool", Pool._unopened(self._config))
        if self._ended:  # looked at after the pool is there to be found: one of the two sees the other
            pool.shutdown()
        return pool

    def take(self, timeout: float | Default | None) -> Kept[T]:
        """Take an object from the pool. Waits and raises as `Pool.get` does."""
        return KeptLease(self.pool.obj(timeout), self._owners.holder_on_trail(), self._config.auto_return)

    def take_left(self, trail: object) -> None:
        """Have the pool take back the objects that ended owners on `trail` have left."""
        for pool in self._pools():
            pool._give_left(trail)

    def end(self) -> None:
        """Shut the pool down, now or when it is made."""
        self._ended = True
        for pool in self._pools():
            pool.shutdown()

    def renew(self) -> None:
        """Do nothing: a pool renews itself."""

    def in_use(self) -> bool:
        """Tell whether the pool has objects. Idle ones count, too: an owner may be about to take one."""
        return self.count() > 0

    def count(self) -> int:
        """Return the number of objects in the pool, those in use included."""
        return sum(pool.size for pool in self._pools())

    def _pools(self) -> list[Pool[T]]:
        """Return the pool, in a list which is empty before the first use."""
        return list(self._made.values())
