"""Lease: one use of an object of a pool, and what a proxy keeps of one."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from ProxyPatternPool._config import Default
from ProxyPatternPool._core.slot import Slot
from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._owner import me

if TYPE_CHECKING:
    from ProxyPatternPool._threads.pool import Pool

T = TypeVar("T")


class Lease(Generic[T]):
    """One use of an object: a context manager which returns just that use, and not what came of the object later."""

    __slots__ = ("_free", "_pool", "_slot", "_timeout", "_use")

    def __init__(self, pool: Pool[T], timeout: float | Default | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._free = True  # to be entered: deleting it is atomic, so that of two threads one is refused
        self._slot: Slot[T] | None = None  # between entering and leaving
        self._use: int  # which of the slot's leases it is

    def __enter__(self) -> T:
        pool = self._pool
        try:
            del self._free
        except AttributeError:
            raise PoolException(f"{pool.name}: this lease is in use, call obj() again for another") from None
        try:
            slot = pool._take(pool._clock(), me.thread) or pool._wait(self._timeout)
        except BaseException:
            self._free = True
            raise
        self._slot = slot
        self._use = slot.use
        return slot.obj

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slot, self._slot = self._slot, None
        self._free = True
        pool = self._pool
        if slot is not None and pool._give_use(self._use, pool._clock()):
            pool._follow_up()
