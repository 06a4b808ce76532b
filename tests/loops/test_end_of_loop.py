"""The end of an event loop, for objects in all states at the same time and for all kinds of closing.

A sweep, in virtual time: a loop in which nothing will ever happen again fails at once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import combinations_with_replacement
from typing import Any

import pytest

from ProxyPatternPool import AsyncKeyedPool, AsyncPool, AsyncProxy, Proxy
from ProxyPatternPool.loop_local import enter, enter_once, singleton, sticky_acm, sticky_singleton_acm
from tests.support.loops import settle
from tests.support.virtual_time import VirtualLoop

#: Seconds that an end may take: the longest close, and the moments for which a pool waits for what it has cancelled.
LIMIT = 20.0

#: The only object at which this program's errors are: a program may raise one again and again.
REFUSED = OSError("refused")


class Thing:
    """An object of a pool. It notes what happens to it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closings = 0
        self.closed = False


async def deaf(seconds: float) -> None:
    """Sleep for so long, however often that is cancelled."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        with suppress(CancelledError):
            await asyncio.sleep(until - loop.time())


async def at_once(_seconds: float) -> None:
    """Take no time."""


async def failing(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise OSError("refused")


async def failing_with_one_object(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise REFUSED


async def failing_and_going_on(seconds: float) -> None:
    """Clean up while the exception is on its way, as an exit stack does."""
    try:
        await failing_with_one_object(seconds / 2)
    finally:
        await asyncio.sleep(seconds / 2)


async def clearing(seconds: float) -> None:
    """Clear the frames of a traceback, as `unittest` does."""
    await asyncio.sleep(seconds)
    try:
        raise REFUSED
    except OSError as error:
        await asyncio.sleep(0)
        traceback.clear_frames(error.__traceback__)


Closing = Callable[[float], Coroutine[Any, Any, None]]
CLOSINGS = [at_once, asyncio.sleep, deaf, failing, failing_with_one_object, failing_and_going_on]


class Program:
    """A program that leaves objects behind, each in a state of its own."""

    STATES: tuple[str, ...] = ("idle", "out", "made", "checked", "tidied", "closed")

    def __init__(self, closing: Closing, states: tuple[str, ...]) -> None:
        self.closing = closing
        self.states = states
        self.things: list[Thing] = []  # those which have been made
        self.begun = 0
        self.calls = 0  # of hooks
        self.kept: list[Any] = []  # what a program refers to until its end
        self.hanging = False  # what is made and checked from now on takes for ever
        self.problems: list[dict[str, Any]] = []

    async def fun(self, number: int) -> Thing:
        self.begun += 1
        if self.hanging:
            await (deaf(0.5) if self.closing is deaf else asyncio.Event().wait())
        self.things.append(Thing(number))
        return self.things[-1]

    async def health(self, thing: Thing) -> bool:
        await self.retter(thing)
        return True

    async def retter(self, _thing: Thing) -> None:
        self.calls += 1
        if self.hanging:
            await (deaf(0.5) if self.closing is deaf else asyncio.Event().wait())

    async def close(self, thing: Thing) -> None:
        thing.closings += 1
        try:
            await self.closing(0.3 * (1 + thing.number))
        finally:
            thing.closed = True

    @asynccontextmanager
    async def opened(self, number: int) -> AsyncIterator[Thing]:
        thing = await self.fun(number)
        try:
            yield thing
        finally:
            await self.close(thing)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine)
        self.kept.append(task)
        return task

    async def start_making(self, coroutine: Coroutine[Any, Any, Any], wanted: bool) -> None:
        """Have an object made; the task that wants it waits for it until the end of the loop, or has given up."""
        begun = self.begun
        task = self.start(coroutine)
        await settle(lambda: self.begun > begun)
        if not wanted:
            task.cancel()
            await asyncio.wait([task])

    async def main(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, problem: self.problems.append(problem))
        await self.leave()

    async def leave(self) -> None:
        raise NotImplementedError

    def count(self, state: str) -> int:
        return self.states.count(state)

    def run(self) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(self.main())
            ended = runner.get_loop().time()
            loop = runner.get_loop()
        assert loop.time() - ended < LIMIT
        assert len(self.things) >= len(self.states) - self.count("made")
        assert [(thing.closings, thing.closed) for thing in self.things] == [(1, True)] * len(self.things)


class OfPool(Program):
    """It uses an `AsyncPool`, with a `close`."""

    def pool(self) -> AsyncPool[Any]:
        return AsyncPool(self.fun, close=self.close, **self.options())

    def options(self) -> Any:
        hooks = {"health": self.health, "retter": self.retter}
        return {"max_size": len(self.states), "min_size": 0, "health_delay": 0, "timeout": None, **hooks}

    async def take(self, pool: AsyncPool[Any]) -> Any:
        return await pool.get()

    async def start_hook(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        calls = self.calls
        self.start(coroutine)
        await settle(lambda: self.calls > calls)

    async def give_back(self, pool: AsyncPool[Any], thing: Thing) -> None:
        self.hanging = False
        await pool.ret(thing)
        self.hanging = True

    async def leave(self) -> None:
        pool = self.pool()
        self.kept.append(pool)
        out = [await self.take(pool) for _ in range(len(self.states) - self.count("made"))]
        self.hanging = True
        for _ in range(self.count("made")):
            await self.start_making(pool.get(), wanted=False)  # or the task would be given what comes back
        for _ in range(self.count("tidied")):
            await self.start_hook(pool.ret(out.pop()))
        for _ in range(self.count("checked")):
            await self.give_back(pool, out.pop())
            await self.start_hook(pool.get())
        for _ in range(self.count("idle")):
            await self.give_back(pool, out.pop())
        for _ in range(self.count("closed")):
            await pool.discard(out.pop())
        assert len(out) == self.count("out")
        self.kept += out


class OfPoolOfManagers(OfPool):
    """It uses an `AsyncPool` of asynchronous context managers. Those which are out are exited as broken."""

    def pool(self) -> AsyncPool[Any]:
        return AsyncPool(self.opened, **self.options())


class OfForgottenPool(OfPool):
    """It refers to an `AsyncPool` of its own no more, and has a method that closes."""

    async def leave(self) -> None:
        await super().leave()
        self.kept = [one for one in self.kept if not isinstance(one, AsyncPool)]
        gc.collect()


class OfProxy(OfPool):
    """It uses an `AsyncProxy` in tasks that return nothing: half of them have ended, the others wait for ever."""

    def pool(self) -> AsyncPool[Any]:
        self.db: Any = AsyncProxy(fun=self.fun, close=self.close, **self.options())
        pool: AsyncPool[Any] = self.db._pool
        return pool

    async def take(self, pool: AsyncPool[Any]) -> Any:
        taken = asyncio.Event()
        objs: list[Any] = []

        async def work(wait: bool) -> None:
            objs.append(await self.db._get_obj())
            taken.set()
            if wait:
                await asyncio.Event().wait()

        self.start(work(bool(len(self.things) % 2)))
        await taken.wait()
        return objs[0]


class OfKeyedPool(Program):
    """It uses an `AsyncKeyedPool`."""

    STATES = ("idle", "out", "made", "closed")

    async def leave(self) -> None:
        pool = AsyncKeyedPool(self.opened, timeout=None, ttl=None)
        self.kept.append(pool)
        for number, state in enumerate(self.states):
            if state == "made":
                self.hanging = True
                await self.start_making(pool.get(number).__aenter__(), wanted=bool(number % 2))
                self.hanging = False
            else:
                use = pool.get(number)
                self.kept += [use, thing := await use.__aenter__()]
                if state == "closed":
                    await pool.discard(thing)
                if state != "out":
                    await use.__aexit__(None, None, None)
        self.hanging = True


class OfLoopLocal(Program):
    """It uses the functions of `loop_local`, and proxies of scope `LOOP`."""

    STATES = ("out", "made")

    def ways(self) -> list[Callable[[int], Coroutine[Any, Any, Any]]]:
        once, sticky = singleton(self.opened), sticky_singleton_acm(lambda number: self.opened(number))
        loop_scope: Any = {"scope": Proxy.Scope.LOOP, "max_size": None}

        async def by_stickiness(number: int) -> None:
            async with sticky(number):
                pass

        async def by_proxy(number: int) -> None:
            db: Any = AsyncProxy(fun=lambda _: self.fun(number), close=self.close, **loop_scope)
            await db._get_obj()

        async def by_wrapping(number: int) -> None:
            async with sticky_acm(self.opened(number)):
                pass

        return [
            lambda number: enter(self.opened(number)),
            lambda number: enter_once(once(number)),
            by_stickiness,
            by_wrapping,
            by_proxy,
        ]

    async def leave(self) -> None:
        ways = self.ways()
        for number, state in enumerate(self.states):
            for at, way in enumerate(ways):
                if state == "made":
                    self.hanging = True
                    await self.start_making(way(number), wanted=bool((number + at) % 2))
                    self.hanging = False
                else:
                    await way(number)
        self.hanging = True


PROGRAMS: list[type[Program]] = [OfPool, OfPoolOfManagers, OfForgottenPool, OfProxy, OfKeyedPool, OfLoopLocal]


def leaves(error: BaseException | None) -> Iterator[BaseException | None]:
    """Tell what a group of exceptions is made of."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from leaves(one)
    else:
        yield error


def is_of_user(error: BaseException | None) -> bool:
    return all(isinstance(leaf, OSError) and str(leaf) == "refused" for leaf in leaves(error))


@pytest.mark.no_cover
@pytest.mark.parametrize("closing", [*CLOSINGS, clearing])
@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_loop_ends_and_all_is_closed_whatever_state_it_is_in(
    kind: type[Program], closing: Closing, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a program would leave connections open, or never end, because of how many it had, or how they close."""
    caplog.set_level(logging.INFO)
    for number in range(1, 5):
        for states in combinations_with_replacement(kind.STATES, number):
            REFUSED.with_traceback(None)
            program = kind(closing, states)
            try:
                program.run()
                reports = [problem.get("exception") for problem in program.problems]
                reports += [record.exc_info[1] if record.exc_info else None for record in caplog.records]
                assert all(map(is_of_user, reports)), (program.problems, caplog.messages)
                assert closing.__name__.startswith("failing") or not reports
            except BaseException as error:
                error.add_note(f"of {states}")
                raise
            caplog.clear()
    gc.collect()
    assert not caplog.messages
