"""AsyncLease: one use of an object of an AsyncPool."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from ProxyPatternPool._config import Default
from ProxyPatternPool._core.slot import Slot
from ProxyPatternPool._errors import PoolException

if TYPE_CHECKING:
    from ProxyPatternPool._async_pool.pool import AsyncPool

T = TypeVar("T")


class AsyncLease(Generic[T]):
    """One use of an object: a context manager which returns just that use, and not what came of the object later."""

    __slots__ = ("_entered", "_pool", "_slot", "_timeout", "_use")

    def __init__(self, pool: AsyncPool[T], timeout: float | Default | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._entered = False
        self._slot: Slot[T] | None = None  # between entering and leaving
        self._use: int  # which of the slot's leases it is

    async def __aenter__(self) -> T:
        pool = self._pool
        if self._entered:
            raise PoolException(f"{pool.name}: this lease is in use, call obj() again for another")
        self._entered = True
        try:
            slot = pool._take_idle() or await pool._wait(self._timeout)
        except BaseException:
            self._entered = False
            raise
        self._slot = slot
        self._use = slot.use
        return slot.obj

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slot, self._slot = self._slot, None
        self._entered = False
        if slot is not None and kind is GeneratorExit:
            # the task is collected, perhaps in the middle of what the pool does, and cannot wait for anything
            self._pool._give_finally(slot, self._use)
        elif slot is not None:
            await self._pool._return_use(slot, self._use)
