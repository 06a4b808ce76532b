"""Waiting in one event loop: until a condition holds, or in the queue of a pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Seconds for which a cancelled task may go on before the pool stops waiting for it.
GRACE = 1.0


class Notifier:
    """A condition variable for the tasks of one loop, without a lock."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None  # done by the next `notify_all`; None while no task waits

    def notify_all(self) -> None:
        """Have the tasks in `wait_for` check their conditions again."""
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    async def wait_for(self, condition: Callable[[], object], timeout: float | None = None) -> None:
        """Wait until the condition holds, at most `timeout` seconds. Being cancelled ends only the waiting."""
        loop, left = asyncio.get_running_loop(), timeout
        deadline = None if timeout is None else loop.time() + timeout
        while not condition() and (deadline is None or (left := deadline - loop.time()) > 0):
            if self._next is None:
                self._next = loop.create_future()
            await asyncio.wait((self._next,), timeout=left)  # a bare await would cancel it for all tasks


class Woken:
    """A waiter in a loop: for an object of an `AsyncPool`, or for an instance of an `AsyncKeyedPool`."""

    __slots__ = ()

    future: asyncio.Future[None]

    def wake(self) -> None:
        """Wake the task: it is served, or an error has come, or the pool has closed, or its timeout is over."""
        if not self.future.done():
            self.future.set_result(None)
