"""A task uses an instance that is open already: the cost of finding it, and of `async with` around it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from typing import Any

import asyncio_contextmanager_pool
from rich.table import Table

from ProxyPatternPool import AsyncKeyedPool

USES = 20_000
ROUNDS = 9  # the contenders take turns, so that all of them meet the machine's moods


class Client:
    """What is entered once per key and costs nothing."""

    def __init__(self, key: int) -> None:
        self.key = key

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_error: object) -> None: ...


async def timed(pool: Any, keys: int) -> float:
    """Return the nanoseconds that one use takes, going around all keys."""
    turns = range(max(1, USES // keys))
    begin = time.perf_counter()
    for _ in turns:
        for key in range(keys):
            async with pool.get(key):
                pass
    return (time.perf_counter() - begin) / len(turns) / keys * 1e9


async def measure() -> dict[str, float]:
    """Return the median cost of one use for each pool and number of live keys."""
    contenders: dict[str, tuple[Any, int]] = {
        "AsyncKeyedPool, 1 key": (AsyncKeyedPool(Client), 1),
        "AsyncKeyedPool, 10 keys": (AsyncKeyedPool(Client), 10),
        "AsyncKeyedPool, 10,000 keys": (AsyncKeyedPool(Client, max_size=10_000), 10_000),
        "asyncio-contextmanager-pool, 1 key": (asyncio_contextmanager_pool.Pool(Client, ttl=30), 1),
        "asyncio-contextmanager-pool, 10,000 keys": (asyncio_contextmanager_pool.Pool(Client, ttl=300), 10_000),
    }
    for pool, keys in contenders.values():
        await pool.__aenter__()
        await timed(pool, keys)  # the first time enters them
    rounds = [{name: await timed(*contender) for name, contender in contenders.items()} for _ in range(ROUNDS)]
    for pool, _ in contenders.values():
        await pool.__aexit__(None, None, None)
    return {name: statistics.median(measured[name] for measured in rounds) for name in contenders}


def tables() -> Iterator[Table]:
    """Measure, and show all beside each other."""
    medians = asyncio.run(measure())
    peer = medians["asyncio-contextmanager-pool, 1 key"]
    few = medians["AsyncKeyedPool, 10 keys"]
    table = Table("async with pool.get(key)", "ns", "vs asyncio-contextmanager-pool", "vs 10 keys", title="Keyed")
    for name, cost in medians.items():
        table.add_row(name, f"{cost:,.0f}", f"{cost / peer:.2f}", f"{cost / few:.2f}")
    table.caption = "wanted: at most 0.50 of the peer; with 10,000 keys as with 10, the processor's caches apart"
    yield table
