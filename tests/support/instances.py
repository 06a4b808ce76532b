"""Asynchronous context managers to pool, which notice when they are not treated as promised."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from ProxyPatternPool import AsyncKeyedPool
from tests.support.loops import settle as settle
from tests.support.loops import turns as turns

Step = Callable[["AsyncInstance"], Awaitable[object]]


async def nothing(_thing: AsyncInstance) -> None:
    """Take no time."""


def ignoring_cancellation(go: asyncio.Event) -> Step:
    """Wait for that event, and ignore every cancellation."""

    async def wait(_thing: AsyncInstance) -> None:
        while not go.is_set():
            with suppress(asyncio.CancelledError):
                await go.wait()

    return wait


class AsyncInstance:
    """An expensive instance, shared by all callers with the same arguments."""

    def __init__(self, source: Source, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.source = source
        self.args = args
        self.kwargs = kwargs
        self.users = 0
        self.calls: list[str] = []  # enter, entered, exit, exited
        self.tasks: list[object] = []
        self.error: BaseException | None = None  # what it was exited with

    async def __aenter__(self) -> AsyncInstance:
        assert self.key not in self.source.alive, "two instances of one key"
        self.source.alive.append(self.key)
        self._note("enter")
        try:
            await self.source.entering(self)
        except BaseException:
            self.source.alive.remove(self.key)
            raise
        self._note("entered")
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.error = error
        assert not self.users, "closed in use"
        self._note("exit")
        try:
            await self.source.exiting(self)
        finally:
            assert not self.users, "used after its end"
            self.source.alive.remove(self.key)
            self._note("exited")

    @property
    def key(self) -> object:
        return self.args, sorted(self.kwargs.items())

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.tasks.append(asyncio.current_task())
        self.source.calls.append(f"{call} {self.args[0] if self.args else ''}".strip())


class Source:
    """Makes things, and remembers all of them."""

    def __init__(self, entering: Step = nothing, exiting: Step = nothing) -> None:
        self.entering = entering
        self.exiting = exiting
        self.things: list[AsyncInstance] = []
        self.alive: list[object] = []  # keys of what is between enter and exited
        self.calls: list[str] = []

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncInstance:
        thing = AsyncInstance(self, args, kwargs)
        self.things.append(thing)
        return thing

    def check_all_gone(self) -> None:
        """See that each entered instance has been exited, once."""
        assert not self.alive
        for thing in self.things:
            assert not thing.users
            assert thing.calls in ([], ["enter"], ["enter", "entered", "exit", "exited"]), thing.calls
            assert len(set(thing.tasks)) <= 1, "entered and exited by different tasks"


Pool = AsyncKeyedPool[..., AsyncInstance]


async def use(pool: Pool, *args: Any, until: asyncio.Event | None = None, **kwargs: Any) -> AsyncInstance:
    """Borrow an instance for a turn of the loop, or until something happens; return it."""
    async with pool.get(*args, **kwargs) as thing:
        assert thing.calls == ["enter", "entered"], "not open"
        thing.users += 1
        try:
            await (asyncio.sleep(0) if until is None else until.wait())
        finally:
            thing.users -= 1
    return thing
