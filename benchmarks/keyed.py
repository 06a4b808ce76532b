"""A task uses an instance that is open already: the cost of finding it, and of `async with` around it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import asyncio_contextmanager_pool
from rich.table import Table

from ProxyPatternPool import AsyncKeyedPool

USES = 20_000
ROUNDS = 15  # the contenders take turns, so that all of them meet the machine's moods
KEYS = [f"tenant-{number}" for number in range(10_000)]  # made once: nobody is to be charged for making them


class Client:
    """What is entered once per key and costs nothing."""

    def __init__(self, key: str) -> None:
        self.key = key

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_error: object) -> None: ...


class Bare:
    """What any pool of this kind does at least: it finds the object, and knows which one was used last. No pool."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Client] = {}
        self._order: OrderedDict[Client, None] = OrderedDict()

    async def __aenter__(self) -> Bare:
        return self

    async def __aexit__(self, *_error: object) -> None: ...

    def get(self, *args: str) -> Client:
        client = self._known.get(args)
        if client is None:
            client = self._known[args] = Client(*args)
            self._order[client] = None
        self._order.move_to_end(client)
        return client


async def timed(pool: Any, keys: Sequence[str]) -> float:
    """Return the nanoseconds that one use takes, going around all keys."""
    turns = range(max(1, USES // len(keys)))
    begin = time.perf_counter()
    for _ in turns:
        for key in keys:
            async with pool.get(key):
                pass
    return (time.perf_counter() - begin) / len(turns) / len(keys) * 1e9


async def measure() -> dict[tuple[str, int], float]:
    """Return the median cost of one use for each pool and number of live keys."""
    makers = {
        "AsyncKeyedPool": lambda: AsyncKeyedPool(Client, ttl=300),
        "asyncio-contextmanager-pool": lambda: asyncio_contextmanager_pool.Pool(Client, ttl=300),
        "dict and OrderedDict.move_to_end, no pool": Bare,
    }
    contenders = {(name, number): make() for name, make in makers.items() for number in (1, 10, len(KEYS))}
    for (_, number), pool in contenders.items():
        await pool.__aenter__()
        await timed(pool, KEYS[:number])  # the first time enters them
    rounds = [
        {contender: await timed(pool, KEYS[: contender[1]]) for contender, pool in contenders.items()}
        for _ in range(ROUNDS)
    ]
    for pool in contenders.values():
        await pool.__aexit__(None, None, None)
    return {contender: statistics.median(measured[contender] for measured in rounds) for contender in contenders}


def tables() -> Iterator[Table]:
    """Measure, and show all beside each other."""
    costs = asyncio.run(measure())
    table = Table(
        "async with pool.get(key)", "keys", "ns", "vs asyncio-contextmanager-pool", "more than 10 keys", title="Keyed"
    )
    for (name, number), cost in costs.items():
        peer, few = costs["asyncio-contextmanager-pool", number], costs[name, 10]
        table.add_row(name, f"{number:,}", f"{cost:,.0f}", f"{cost / peer:.2f}", f"{cost - few:,.0f} ns")
    table.caption = (
        "wanted: at most 0.50 of the peer, for each number of keys. Nothing that the pool does depends on the\n"
        "number of keys, but the processor finds less of 10,000 in its caches: see what that costs without a pool."
    )
    yield table
