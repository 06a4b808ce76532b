"""Tasks of one event loop: the cost of taking an idle object and giving it back, and who waits for how long."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any, Self

from psycopg import AsyncConnection
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from rich.table import Table

from ProxyPatternPool import AsyncPool, TimeOut

SIZE = 10
LOOPS = 20_000
ROUNDS = 15  # the contenders take turns, so that all of them meet the machine's moods

Use = Callable[[], AbstractAsyncContextManager[Any]]


class Connection(AsyncConnection[Any]):
    """A connection to nothing, with what psycopg's pool looks at."""

    def __init__(self) -> None:
        self.pgconn: Any = SimpleNamespace(transaction_status=TransactionStatus.IDLE, status=ConnStatus.OK)
        self._pool: Any = None

    @classmethod
    async def connect(cls, *_: Any, **__: Any) -> Self:
        return cls()

    async def __aexit__(self, *_: object) -> None: ...

    async def close(self) -> None: ...

    def __del__(self, *_: object) -> None: ...


async def connect(_number: int) -> Connection:
    """Make one for ours."""
    return await Connection.connect()


@asynccontextmanager
async def pools(size: int, timeout: float) -> AsyncIterator[tuple[AsyncPool[Connection], Any]]:
    """Open ours and psycopg's."""
    theirs: Any = AsyncConnectionPool(
        "", connection_class=Connection, min_size=1, max_size=size, timeout=timeout, open=False
    )
    async with AsyncPool(connect, size, timeout=timeout) as ours, theirs:
        await theirs.wait()
        yield ours, theirs


# -- uncontended


async def measured(use: Callable[[], Awaitable[object]]) -> float:
    """Return how many nanoseconds one takes."""
    begin = time.perf_counter()
    for _ in range(LOOPS):
        await use()
    return (time.perf_counter() - begin) / LOOPS * 1e9


async def uncontended() -> dict[str, float]:
    """Return the median of each."""
    lifo: asyncio.LifoQueue[object] = asyncio.LifoQueue()
    lifo.put_nowait(object())
    async with pools(SIZE, 30.0) as (ours, theirs):

        async def get_ret() -> None:
            await ours.ret(await ours.get())

        async def with_obj() -> None:
            async with ours.obj():
                pass

        async def get_put() -> None:
            await theirs.putconn(await theirs.getconn())

        async def with_connection() -> None:
            async with theirs.connection():
                pass

        async def queue() -> None:
            lifo.put_nowait(await lifo.get())

        contenders = {
            "AsyncPool: get + ret": get_ret,
            "AsyncPool: async with obj()": with_obj,
            "psycopg_pool: getconn + putconn": get_put,
            "asyncio.LifoQueue (no bookkeeping)": queue,
        }
        times: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for name, use in contenders.items():
                times.setdefault(name, []).append(await measured(use))
    return {name: statistics.median(some) for name, some in times.items()}


def cost() -> Table:
    """Show the cost of each, with its ratio."""
    medians = asyncio.run(uncontended())
    peer = medians["psycopg_pool: getconn + putconn"]
    table = Table("one get + return", "ns", "vs psycopg_pool", title="Uncontended, in an event loop")
    for name, nanoseconds in medians.items():
        table.add_row(name, f"{nanoseconds:,.0f}", f"{nanoseconds / peer:.2f}")
    table.caption = "wanted: get + ret at most 0.40 of psycopg_pool"
    return table


# -- saturated


async def saturated(use: Use, tasks: int, hold: float, seconds: float) -> tuple[list[int], float, int]:
    """Return the uses of each task, the longest wait, and the timeouts."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    uses, longest, timeouts = [0] * tasks, 0.0, 0

    async def work(number: int) -> None:
        nonlocal longest, timeouts
        while (asked := loop.time()) < until:
            try:
                async with use():
                    longest = max(longest, loop.time() - asked)
                    await asyncio.sleep(hold)
                    uses[number] += 1
            except (TimeOut, PoolTimeout):
                timeouts += 1

    await asyncio.gather(*map(work, range(tasks)))
    return uses, longest, timeouts


def fairness(
    tasks: int = 100, size: int = 10, hold: float = 0.010, seconds: float = 5.0, timeout: float = 5.0
) -> Table:
    """Put the same load on both."""

    async def main() -> None:
        async with pools(size, timeout) as (ours, theirs):
            for name, use in (("AsyncPool", ours.obj), ("psycopg_pool", theirs.connection)):
                uses, longest, timeouts = await saturated(use, tasks, hold, seconds)
                share = min(uses) / max(uses)
                rate = sum(uses) / seconds
                table.add_row(name, f"{rate:,.0f}", f"{longest * 1000:,.0f}", str(timeouts), f"{share:.2f}")

    title = f"{tasks} tasks, {size} objects, each held {hold * 1000:g} ms, {seconds:g} s, timeout {timeout:g} s"
    table = Table("", "uses/s", "longest wait, ms", "timeouts", "fewest / most uses", title=title)
    asyncio.run(main())
    table.caption = "wanted of AsyncPool: no timeout, longest wait below 200 ms"
    return table


def tables() -> Iterator[Table]:
    """Measure both."""
    yield cost()
    yield fairness()
