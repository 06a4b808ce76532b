"""Change: how tasks of one event loop wait until something holds, which changes from time to time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Seconds for which what was cancelled may go on, before it is no longer waited for.
GRACE = 1.0


class Notifier:
    """Whoever changes something says so; whoever waits for something looks again then."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None  # done with the next change; none while nobody waits for it

    def notify_all(self) -> None:
        """Have those who wait look again."""
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    async def wait_for(self, condition: Callable[[], object], timeout: float | None = None) -> None:
        """Wait until the condition holds, or that many seconds. Being cancelled cancels the waiting only."""
        loop, left = asyncio.get_running_loop(), timeout
        deadline = None if timeout is None else loop.time() + timeout
        while not condition() and (deadline is None or (left := deadline - loop.time()) > 0):
            if self._next is None:
                self._next = loop.create_future()
            await asyncio.wait((self._next,), timeout=left)  # a bare await would cancel it for everybody


class Woken:
    """Who waits in a loop, in either queue: in that of the objects, or in that of the shared instances."""

    __slots__ = ()

    future: asyncio.Future[None]

    def wake(self) -> None:
        """Let it look what has come: what it waits for, an error, the end of the pool, or of its patience."""
        if not self.future.done():
            self.future.set_result(None)
