"""LoopBinding: the event loop that a pool belongs to.

A pool may be made where no loop runs, at the import of a module for instance. So it belongs to the loop of its first
use. When that loop has ended, the pool belongs to the loop of its next use. It has a new engine in each loop.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable
from time import monotonic
from typing import Final

from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._process import FreshLock

#: Held while a pool is bound, since two threads may begin at the same time. One for all pools: it is held for a moment.
BINDING: Final = FreshLock()


class LoopBinding:
    """A record of one pool's loop, and of whether the pool's ``async with`` block goes on. `name` is the pool's."""

    def __init__(self, name: str) -> None:
        self.loop: AbstractEventLoop | None = None  # until it ends; changes while `BINDING` is held
        self._entered = False  # by ``async with``
        self._name = name

    def bind(self, begin: Callable[[AbstractEventLoop], object]) -> None:
        """Bind the pool to the running loop. For a new loop, `begin(loop)` makes the engine.

        Raises `PoolException` as `check` does.
        """
        loop = get_running_loop()
        with BINDING.lock:
            if self.loop is loop:
                return
            self._check_ended()
            self._entered = False
            begin(loop)
            self.loop = loop

    def check(self, begin: Callable[[None], object]) -> None:
        """Raise `PoolException` if the pool belongs to a loop other than the running one, and that loop has not ended.

        If the pool's loop was closed without notice, `begin(None)` makes an engine without a loop.
        """
        with BINDING.lock:
            if self.loop is not None and asyncio._get_running_loop() is not self.loop:
                self._check_ended()
                self.release(begin)

    def _check_ended(self) -> None:
        if self.loop is not None and not self.loop.is_closed():
            raise PoolException(
                f"{self._name}: the pool belongs to another event loop, which has not ended: make a pool per loop, or "
                "use this one in its own loop, from other threads with asyncio.run_coroutine_threadsafe"
            )

    def release(self, begin: Callable[[None], object]) -> None:
        """Unbind the pool from its loop. `begin(None)` makes an engine without a loop."""
        with BINDING.lock:  # otherwise another thread could bind the pool in between
            self.loop, self._entered = None, False
            begin(None)

    def enter(self) -> None:
        """Begin the pool's ``async with`` block. `PoolException` if one goes on: there is one at a time."""
        if self._entered:
            raise PoolException(f"{self._name}: the pool has been entered already")
        self._entered = True

    def leave(self) -> None:
        """End the pool's ``async with`` block. `PoolException` if there is none."""
        if not self._entered:
            raise PoolException(f"{self._name}: the pool has not been entered, or has been left already")
        self._entered = False


def clock_of(loop: AbstractEventLoop | None, given: Callable[[], float] = monotonic) -> Callable[[], float]:
    """Return `given`, unless that is the default: then return the clock of the loop's timers.

    The timers of most loops use `monotonic`, which is faster to call than the loop's method.
    """
    if loop is None or given is not monotonic or type(loop).time is asyncio.BaseEventLoop.time:
        return given
    return loop.time
