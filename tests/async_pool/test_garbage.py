"""Forgotten tasks: the collector ends them at any moment, and they give back their objects."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ProxyPatternPool import AsyncPool, AsyncProxy
from tests.support.bytecodes import at_bytecode, at_each_bytecode
from tests.support.parts import Part, Source, settle, turns, use

pytestmark = pytest.mark.no_cover  # see CONTRIBUTING.md

Pool = AsyncPool[Part]

#: Without the GIL there are no generations: each collection looks at everything, so not as much can be tried.
STEP = 5 if getattr(sys, "_is_gil_enabled", lambda: True)() else 50


async def in_block_of_pool(db: Any) -> None:
    async with db._pool.obj():
        await asyncio.get_running_loop().create_future()  # which nothing else references


async def in_block(db: Any) -> None:
    async with db._obj():
        await asyncio.get_running_loop().create_future()


async def thread_cache(db: Any) -> None:
    await db._get_obj()
    await asyncio.get_running_loop().create_future()


async def forget(task: Awaitable[None], pool: Pool) -> None:
    """Start a task that gets an object, and keep nothing of it."""
    forgotten: Any = asyncio.ensure_future(task)
    await settle(lambda: pool.stats()["in_use"] == 1)
    await turns(next(iter(pool._using)))
    forgotten._log_destroy_pending = False  # the complaint is asyncio's, and right


async def use_all(pool: Pool) -> None:
    """See that nothing is lost."""
    await settle(lambda: pool.stats()["in_use"] == pool.stats()["reserved"] == 0)
    async with asyncio.timeout(10):
        parts = [await pool.get() for _ in range(2)]
    for part in parts:
        await pool.ret(part)


@pytest.mark.parametrize("task", [in_block_of_pool, in_block, thread_cache])
@pytest.mark.parametrize("retter", [None, turns])
def test_a_task_is_collected_at_any_bytecode(task: Callable[[Any], Awaitable[None]], retter: Any) -> None:
    """Otherwise the object of the task, or of a waiter just served, would be lost, with a riddle of a traceback."""
    source = Source()
    problems: list[Any] = []
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(lambda _, problem: problems.append(problem))

        def attempt(number: int) -> bool:
            db: Any = AsyncProxy(fun=source, max_size=2, min_size=0, auto_return=True, retter=retter)
            pool: Pool = db._pool
            runner.run(forget(task(db), pool))
            collected = at_bytecode(number, lambda: gc.collect(0), lambda: runner.run(use(pool)))
            if not collected:
                gc.collect()
            runner.run(use_all(pool))
            runner.run(pool.shutdown())
            return collected

        assert at_each_bytecode(lambda number: attempt(STEP * number)) * STEP > 1000
    assert not problems
    source.check_all_gone()
