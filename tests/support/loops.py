"""Event loops to test on: what they are, the ways in which a program runs and ends one, and how to let one turn."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.memory import bytes_in_use

NewLoop = Callable[[], asyncio.AbstractEventLoop]
#: Runs a coroutine in a loop of its own, from its making to its end.
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def _new_uvloop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop", reason="uvloop has nothing for this interpreter")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


#: Ways to make a loop.
LOOPS = [pytest.param(asyncio.new_event_loop, id="asyncio"), pytest.param(_new_uvloop, id="uvloop")]


def run_and_shut_down(new_loop: NewLoop, main: Coroutine[Any, Any, Any]) -> Any:
    """Do as `asyncio.run`, which is a Runner, too."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


def run_and_close(new_loop: NewLoop, main: Coroutine[Any, Any, Any]) -> Any:
    """Do as programs did before there was `asyncio.run`: no task is cancelled, no generator finished."""
    loop = new_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


def bytes_left_by_loops(new_loop: NewLoop, number: int, main: Callable[[], Coroutine[Any, Any, Any]]) -> int:
    """Run that many loops to their end, one after the other, and tell how much memory they have left behind.

    A second try is made if that is much: a table of the process may have doubled its size, which it does once.
    """

    def after(number: int) -> int:
        for _ in range(number):
            run_and_shut_down(new_loop, main())
        return bytes_in_use()

    tracemalloc.start()
    try:
        before = after(10)
        between = after(number)
        return between - before if between - before < 500_000 else min(between - before, after(number) - between)
    finally:
        tracemalloc.stop()


#: Ways to run a loop, and to end it.
ENDS = [pytest.param(run_and_shut_down, id="Runner"), pytest.param(run_and_close, id="close")]


async def turns(_of: object = None) -> None:
    """Take three turns of the loop."""
    for _ in range(3):
        await asyncio.sleep(0)


class Waited(AssertionError):
    """An awaited state did not come in time."""


async def settle(condition: Callable[[], object]) -> None:
    """Let the loop turn until something holds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise Waited("in vain")
