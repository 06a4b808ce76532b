"""Kept objects: an owner keeps its object from one use of the proxy to the next, and with it the way to return it."""

from __future__ import annotations

from collections.abc import Callable
from os import getpid
from sys import is_finalizing
from typing import Any, Generic, Protocol, TypeVar

from ProxyPatternPool._owner import Holder
from ProxyPatternPool._threads.lease import Lease

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Kept(Protocol[T_co]):
    """An object that a proxy keeps for its owner, and the way to give it back."""

    @property
    def held(self) -> T_co:
        """The object."""
        ...

    def is_out(self) -> bool:
        """Tell whether the owner still has the object."""
        ...

    def check(self) -> None:
        """Raise `PoolException` if the object was taken away without the owner's knowledge."""
        ...

    def cache_in(self, cache: dict[str, Any]) -> None:
        """Put the object into a cache as "obj", for as long as the owner has it."""
        ...

    def end(self) -> None:
        """Give the object back, if the owner still has it."""
        ...


class KeptLease(Generic[T]):
    """A lease that a proxy keeps for an owner. The constructor takes the object.

    With `auto_return`, the lease ends when no storage keeps it any more: at the owner's end, in a finaliser. Nothing
    blocks there, and a `retter` runs in the background. In a forked child, the end of an inherited lease does nothing.
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
        """Tell whether the use still lasts: no thread has returned or discarded the object."""
        return self._lease.is_out()

    def check(self) -> None:
        """Raise `PoolException` if the object was taken away: its owner must not go on with another one unawares."""
        self._lease.check()

    def cache_in(self, cache: dict[str, Any]) -> None:
        """Put the object into a cache as "obj". The end of the lease, of any kind, removes it."""
        self._lease.cache_in(cache)

    def end(self) -> None:
        """Return the object, if the use still lasts. Any thread may call it: a block may be left by another thread."""
        self._lease.end()

    def __del__(self, getpid: Callable[[], int] = getpid, is_finalizing: Callable[[], bool] = is_finalizing) -> None:
        # defaults, not globals: at its very end, the interpreter finalises the last objects when globals are gone
        returns = self._auto_return or self._holder.dismissed
        if returns and getpid() == self._process and not is_finalizing() and self._lease.is_out():
            self._lease.end_later()
