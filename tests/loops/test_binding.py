"""Binding to one event loop at a time: both asynchronous pools, when two threads begin at the same moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from ProxyPatternPool import AsyncKeyedPool, AsyncPool, PoolException
from ProxyPatternPool._loops.binding import BINDING
from tests.conftest import Crew, until
from tests.support.bytecodes import at_bytecode, at_each_bytecode
from tests.support.parts import Source

AnyPool = AsyncPool[Any] | AsyncKeyedPool[..., Any]


async def bind(pool: AnyPool, bound: list[object]) -> None:
    with suppress(PoolException):
        pool._bind()
        bound.append(asyncio.get_running_loop())


def new_pool(kind: Callable[..., AnyPool]) -> AnyPool:
    return kind(Source())


def used_pool(kind: Callable[..., AnyPool]) -> AnyPool:
    """Return a pool whose loop has ended without telling."""
    pool = new_pool(kind)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(bind(pool, []))
    type(loop).close(loop)
    return pool


@pytest.mark.no_cover
@pytest.mark.parametrize("make", [new_pool, used_pool])
@pytest.mark.parametrize("kind", [AsyncPool, AsyncKeyedPool])
def test_two_threads_that_begin_at_once_do_not_share_a_pool(
    crew: Crew, kind: Callable[..., AnyPool], make: Callable[[Callable[..., AnyPool]], AnyPool]
) -> None:
    """Otherwise both would work on one connection."""
    loops = [asyncio.new_event_loop() for _ in range(2)]
    lock: Any = BINDING.lock

    def attempt(number: int) -> bool:
        pool, bound, done = make(kind), list[object](), threading.Event()

        def bind_elsewhere() -> None:
            loops[1].run_until_complete(bind(pool, bound))
            done.set()

        def come() -> None:
            crew.start(bind_elsewhere)
            until(lambda: done.is_set() or lock._is_owned())  # by this thread: then the other one waits

        async def main() -> bool:
            def work() -> None:
                with suppress(StopIteration):
                    bind(pool, bound).send(None)

            return at_bytecode(number, come, work)

        came: bool = loops[0].run_until_complete(main())
        crew.join()
        assert len(bound) == 1
        assert pool._engine.loop is bound[0]
        return came

    try:
        assert at_each_bytecode(attempt) > 50
    finally:
        for loop in loops:
            loop.close()
