"""What an owner keeps: the lease of an object, and with it the way to give the object back."""

from __future__ import annotations

from collections.abc import Callable
from os import getpid
from sys import is_finalizing
from typing import Any, Generic, Protocol, TypeVar

from ProxyPatternPool._core.slot import OVER as OVER
from ProxyPatternPool._core.slot import Slot
from ProxyPatternPool._owner import Holder
from ProxyPatternPool._threads.lease import Lease

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Kept(Protocol[T_co]):
    """What an owner keeps: an object, and the way to give it back."""

    @property
    def held(self) -> T_co:
        """The object."""
        ...

    def is_out(self) -> bool:
        """Tell whether the object is still the owner's."""
        ...

    def check(self) -> None:
        """Raise `PoolException` when the object was taken away, and its owner may not know of it."""
        ...

    def cache_in(self, cache: dict[str, Any]) -> None:
        """Put the object into a place, as ``obj``, for as long as it is the owner's."""
        ...

    def end(self) -> None:
        """Give the object back, if it is still the owner's."""
        ...


class KeptUse(Generic[T]):
    """One use of an object of either pool, as a proxy keeps it for an owner.

    With `auto_return`, it is over when nobody keeps it: that is at the owner's end, in a finaliser. A forked child has
    it in its memory, but it is the parent's.
    """

    __slots__ = ()

    _pool: Any  # the one of its kind
    _slot: Slot[T] | None
    _use: int
    _process: int

    @property
    def held(self) -> T:
        """The object."""
        return self._held.obj

    @property
    def _held(self) -> Slot[T]:
        assert self._slot is not None
        return self._slot

    def is_out(self) -> bool:
        """Tell whether the object has not been returned or discarded yet, by whomever."""
        return self._slot is not None and bool(self._pool._core.holds(self._use))

    def check(self) -> None:
        """Raise `PoolException` when the object was taken away: its user must not go on with another one unawares."""
        if self._held.was_killed(self._use):
            raise self._pool._killed_error()

    def cache_in(self, cache: dict[str, Any]) -> None:
        """Put the object where its owner has it at hand, until the lease ends, by whomever."""
        self._pool._core.cache_in(self._use, cache)

    def __del__(self, getpid: Callable[[], int] = getpid, is_finalizing: Callable[[], bool] = is_finalizing) -> None:
        # bound when defined: at its very end, the interpreter finalises what is left over, when globals are gone
        left = self._slot is not None and self._use != OVER and self._returns_itself()
        if left and getpid() == self._process and not is_finalizing():
            self._leave_behind()

    def _returns_itself(self) -> bool:
        """Tell whether the object goes back at its owner's end."""
        return bool(self._pool._config.auto_return)

    def _leave_behind(self) -> None:
        """Have the pool take the object back: its owner has ended."""
        self._pool._give_finally(self._held, self._use)


class KeptLease(Generic[T]):
    """A lease that a proxy keeps for an owner, taken at once.

    With `auto_return` the lease ends when no storage keeps it any more: that is at the owner's end, in a finaliser,
    where nothing blocks, and a `retter` runs in the background. A forked child has the lease in its memory, but it is
    the parent's.
    """

    __slots__ = ("_auto_return", "_holder", "_lease", "_obj", "_process")

    def __init__(self, lease: Lease[T], holder: Holder, auto_return: bool) -> None:
        self._auto_return = auto_return
        self._holder = holder
        self._lease = lease
        self._process = getpid()
        self._obj = lease.__enter__()
        lease.hand_to(holder)

    @property
    def held(self) -> T:
        """The object."""
        return self._obj

    def is_out(self) -> bool:
        """Tell whether the object has not been returned or discarded yet, by any thread."""
        return self._lease.is_out()

    def check(self) -> None:
        """Raise `PoolException` when the object was taken away: its user must not go on with another one unawares."""
        self._lease.check()

    def cache_in(self, cache: dict[str, Any]) -> None:
        """Put the object into a cache as "obj", until the lease ends, in whatever way."""
        self._lease.cache_in(cache)

    def end(self) -> None:
        """Return the object, if it is still out. Safe from any thread: another one than its owner may leave a block."""
        self._lease.end()

    def __del__(self, getpid: Callable[[], int] = getpid, is_finalizing: Callable[[], bool] = is_finalizing) -> None:
        # bound when defined: at its very end, the interpreter finalises what is left over, when globals are gone
        returns = self._auto_return or self._holder.dismissed
        if returns and getpid() == self._process and not is_finalizing() and self._lease.is_out():
            self._lease.end_later()
