"""LazyPool: a pool that is made when somebody asks for it.

A pool which has created nothing yet takes more memory than everything else of its proxy; and most proxies of a program
are set where it starts, and used elsewhere, or never.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from ProxyPatternPool._config import PoolConfig
from ProxyPatternPool._threads.pool import Pool

T = TypeVar("T")


class LazyPool(Generic[T]):
    """A pool that is yet to be made, or has been."""

    __slots__ = ("_config", "_ended", "_made")

    def __init__(self, config: PoolConfig[T]) -> None:
        config.check_plain()  # what the pool would refuse is refused now
        self._config = config
        self._ended = False
        self._made: dict[str, Pool[T]] = {}  # under "pool"

    @property
    def pool(self) -> Pool[T]:
        """The pool, the same one for all threads; a closed one after `end`."""
        made = self._made
        pool = made.get("pool") or made.setdefault("pool", Pool._unopened(self._config))
        if self._ended:  # looked at after the pool is there to be found: one of the two sees the other
            pool.shutdown()
        return pool

    def end(self) -> None:
        """Shut the pool down, should it be made just now, or later, too."""
        self._ended = True
        for pool in list(self._made.values()):
            pool.shutdown()

    def reserve(self, trail: object) -> None:
        """Take back the objects that owners on a trail have left, if there is a pool already."""
        for pool in list(self._made.values()):
            pool._engine.give_left(trail)

    def drop(self) -> None:
        """Do without the pool, as nobody needs it any more; whoever asks all the same gets another."""
        self._made.clear()

    @property
    def size(self) -> int:
        """How many objects it has."""
        return sum(pool.size for pool in list(self._made.values()))
