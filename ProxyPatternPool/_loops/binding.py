"""LoopBinding: the event loop that a pool belongs to.

A pool may be made where no loop runs, at the import of a module for instance. So it belongs to the loop in which it is
first used, and when that loop has ended, to that of its next use. In each loop it has another engine.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable
from time import monotonic
from typing import Final

from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._process import FreshLock

#: Held while a pool is bound, for two threads may begin at the same time. One for all: it is held for a moment.
BINDING: Final = FreshLock()


class LoopBinding:
    """The loop of one pool, and whether the pool's ``async with`` block goes on there. `name` is the pool's."""

    def __init__(self, name: str) -> None:
        self.loop: AbstractEventLoop | None = None  # until it ends; changes while `BINDING` is held
        self._entered = False  # by ``async with``
        self._name = name

    def bind(self, begin: Callable[[AbstractEventLoop], object]) -> None:
        """Belong to the running loop; `begin(loop)` makes the engine of a new one. `PoolException` as `check`."""
        loop = get_running_loop()
        with BINDING.lock:
            if self.loop is loop:
                return
            self._check_ended()
            self._entered = False
            begin(loop)
            self.loop = loop

    def check(self, begin: Callable[[None], object]) -> None:
        """Raise `PoolException` when the pool belongs to another loop than the running one, and that has not ended.

        `begin(None)` makes the engine of a pool whose loop has ended without telling.
        """
        with BINDING.lock:
            if self.loop is not None and asyncio._get_running_loop() is not self.loop:
                self._check_ended()
                self.release(begin)

    def _check_ended(self) -> None:
        if self.loop is not None and not self.loop.is_closed():
            raise PoolException(
                f"{self._name}: the pool belongs to another event loop, which has not ended: make a pool per loop, or "
                "use this one in its own loop, from elsewhere by asyncio.run_coroutine_threadsafe"
            )

    def release(self, begin: Callable[[None], object]) -> None:
        """Belong to no loop; `begin(None)` makes an engine for that."""
        with BINDING.lock:  # or another thread could bind the pool in between
            self.loop, self._entered = None, False
            begin(None)

    def enter(self) -> None:
        """Begin the ``async with`` block of the pool: there is one at a time."""
        if self._entered:
            raise PoolException(f"{self._name}: the pool has been entered already")
        self._entered = True

    def leave(self) -> None:
        """End the ``async with`` block of the pool."""
        if not self._entered:
            raise PoolException(f"{self._name}: the pool has not been entered, or has been left already")
        self._entered = False


def clock_of(loop: AbstractEventLoop | None, given: Callable[[], float] = monotonic) -> Callable[[], float]:
    """Return the clock that was given, or else that of the loop's timers, by the shortest way."""
    if loop is None or given is not monotonic or type(loop).time is asyncio.BaseEventLoop.time:
        return given
    return loop.time
