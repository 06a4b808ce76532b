"""LoopBinding: what belongs to one event loop at a time, as both asynchronous pools do.

A pool may be made where no loop runs, at the import of a module for instance. So it belongs to the loop in which it is
first used, and when that one has ended, to that of its next use.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from ProxyPatternPool._errors import PoolClosed, PoolException
from ProxyPatternPool._process import FreshLock

#: Held while a pool is bound, for two threads may begin at the same time. One for all: it is held for a moment.
BINDING: Final = FreshLock()


class LoopBinding(ABC):
    """A pool, as far as that goes: what it has of a loop is made anew in each."""

    name: Any  # the pool's, for texts
    _core: Any  # its state machine
    _loop: AbstractEventLoop | None  # whose it is, until that one's end
    _entered: bool  # by ``async with``

    @abstractmethod
    def _begin_in(self, loop: AbstractEventLoop) -> None:
        """Make what is needed in this loop; let go of what there was in an earlier one, which has ended."""

    @abstractmethod
    def _closed_error(self) -> PoolClosed:
        """Return what tells that it is closed for good."""

    def _bind(self) -> None:
        """Belong to the running loop. `PoolException` when another one has the pool, and has not ended."""
        loop = get_running_loop()
        with BINDING.lock:
            if self._loop is loop:
                return
            if self._loop is not None and not self._loop.is_closed():
                raise self._loop_error()
            self._begin_in(loop)
            self._loop = loop

    def _loop_error(self) -> PoolException:
        return PoolException(
            f"{self.name}: the pool belongs to another event loop, which has not ended: make a pool per loop, or use "
            "this one in its own loop, from elsewhere by asyncio.run_coroutine_threadsafe"
        )

    def _enter(self) -> None:
        """Begin the ``async with`` block of the pool: there is one at a time."""
        self._bind()
        if self._core.is_shut_down:
            raise self._closed_error()
        if self._entered:
            raise PoolException(f"{self.name}: the pool has been entered already")
        self._entered = True

    def _leave_block(self) -> None:
        """End the ``async with`` block of the pool."""
        if not self._entered:
            raise PoolException(f"{self.name}: the pool has not been entered, or has been left already")
        self._entered = False


def clock_of(loop: AbstractEventLoop, given: Callable[[], float] = monotonic) -> Callable[[], float]:
    """Return the clock that was given, or else that of the loop's timers, by the shortest way."""
    if given is not monotonic or type(loop).time is asyncio.BaseEventLoop.time:
        return given
    return loop.time
