"""Objects that an asynchronous pool lends in the tests, which notice when they are not treated as promised."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ProxyPatternPool import AsyncPool
from tests.support.loops import settle as settle
from tests.support.loops import turns as turns

Step = Callable[["Part"], Awaitable[object]]


async def no_time(_part: Part) -> None:
    """Take no time."""


class Part:
    """Something expensive, for one task at a time: an asynchronous context manager which gives itself."""

    def __init__(self, source: Source, number: int) -> None:
        self.source = source
        self.number = number
        self.users = 0
        self.calls: list[str] = []  # enter, entered, exit, exited
        self.error: BaseException | None = None  # what it was exited with
        self.tasks: list[object] = []

    async def __aenter__(self) -> Part:
        self._note("enter")
        await self.source.making(self)
        self._note("entered")
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.error = error
        assert not self.users, "closed in use"
        self._note("exit")
        try:
            await self.source.closing(self)
        finally:
            assert not self.users, "used after its end"
            self._note("exited")

    def use(self) -> None:
        """Begin to use it."""
        assert self.calls == ["enter", "entered"], "not open"
        self.users += 1
        assert self.users == 1, "shared"

    def leave(self) -> None:
        """Use it no more."""
        self.users -= 1

    @property
    def open(self) -> bool:
        return self.calls == ["enter", "entered"]

    @property
    def gone(self) -> bool:
        """Tell whether it has been exited, once, by the task that had entered it, if it was entered at all."""
        ended = self.calls in (["enter"], ["enter", "entered", "exit", "exited"])
        return ended and not self.users and len(set(self.tasks)) <= 1

    def _note(self, call: str) -> None:
        self.calls.append(call)
        # there is no loop where the collector finalises a coroutine
        self.tasks.append(asyncio._get_running_loop() and asyncio.current_task())
        self.source.calls.append(f"{call} {self.number}")


class Source:
    """Makes parts, and remembers all of them."""

    def __init__(self, making: Step = no_time, closing: Step = no_time) -> None:
        self.making = making
        self.closing = closing
        self.parts: list[Part] = []
        self.calls: list[str] = []

    def __call__(self, number: int) -> Part:
        part = Part(self, number)
        self.parts.append(part)
        return part

    def check_all_gone(self) -> None:
        """See that each entered part has been exited, once, by the task that had entered it."""
        for part in self.parts:
            assert part.gone, f"number {part.number}: {part.users} users, {part.calls} by {part.tasks}"


Pool = AsyncPool[Part]


async def use(pool: Pool, until: asyncio.Event | None = None, **options: Any) -> Part:
    """Borrow a part for a turn of the loop, or until something happens; return it."""
    async with pool.obj(**options) as part:
        part.use()
        try:
            await (asyncio.sleep(0) if until is None else until.wait())
        finally:
            part.leave()
    return part
