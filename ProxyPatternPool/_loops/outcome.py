"""Outcome: the result of a future, for any number of tasks."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from ProxyPatternPool._shared_error import SharedError

T = TypeVar("T")


class Outcome(Generic[T]):
    """The result of a future. If it is an exception, each task that waits raises an object of its own.

    `asyncio.Future.result` raises one object in all tasks. `_shared_error` describes the consequences.
    """

    def __init__(self, future: asyncio.Future[T]) -> None:
        self.future = future
        self._error: SharedError | None = None  # from when a first task has retrieved it

    async def wait(self) -> T:
        """Wait for the result, and return it or raise the exception. Being cancelled does not cancel the future."""
        await self.come()
        return self.result()

    async def come(self) -> None:
        """Wait until the future is done."""
        if not self.future.done():
            await asyncio.wait((self.future,))

    def result(self) -> T:
        """Return the result of a future that is done, or raise its exception."""
        shared = self._shared_error()
        if shared is None:
            return self.future.result()
        raise shared.take()

    def _shared_error(self) -> SharedError | None:
        if self._error is None and not self.future.cancelled():
            error = self.future.exception()
            self._error = None if error is None else SharedError(error)
        return self._error
