"""Lease: one use of an object of a pool."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from ProxyPatternPool._config import Default
from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._owner import me
from ProxyPatternPool._slot import Slot

if TYPE_CHECKING:
    from ProxyPatternPool._pool import Pool

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
        self._use = slot.uses
        return slot.obj

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slot, self._slot = self._slot, None
        self._free = True
        pool = self._pool
        if slot is not None and pool._give_use(slot, self._use, pool._clock()):
            pool._follow_up()

    def end(self) -> None:
        """Return the object, if it is still out: for those who keep a lease, as a proxy does."""
        self.__exit__(None, None, None)

    def is_of(self, source: object) -> bool:
        """Tell whether its object is still out, from that pool: not returned or discarded by somebody else.

        `PoolException` when the pool has taken it away from its user, who must not go on with another one unawares.
        """
        if self._pool is not source:
            return False
        if self._slot is not None and self._slot.was_killed(self._use):
            raise self._pool._killed_error()
        return self.is_out()

    def is_out(self) -> bool:
        """Tell whether its object has not been returned or discarded yet, by whomever."""
        return self._slot is not None and self._pool._core.holds(self._slot, self._use)

    @property
    def held(self) -> T:
        """The object, between entering and leaving."""
        assert self._slot is not None
        return self._slot.obj
