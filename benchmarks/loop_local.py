"""A task takes what is there already, once per event loop: the cost of finding it, and of `async with` around it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncio_loop_local
from rich.table import Table

from ProxyPatternPool import loop_local

LOOPS = 20_000
ROUNDS = 15  # the contenders take turns, so that all of them meet the machine's moods

Use = Callable[[], Awaitable[object]]


class Session:
    """What is entered once and costs nothing."""

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_error: object) -> None: ...


def uses(module: Any) -> dict[str, Use]:
    """Return the ways to take a session that both modules know."""
    sticky, single = module.sticky_singleton_acm(Session), module.singleton(Session)

    async def with_sticky() -> None:
        async with sticky():
            pass

    async def entered_once() -> None:
        await module.enter_once(single())

    return {"sticky_singleton_acm": with_sticky, "enter_once(singleton())": entered_once}


async def timed(use: Use) -> float:
    """Return the nanoseconds that one use takes."""
    await use()  # the first time makes and enters it
    begin = time.perf_counter()
    for _ in range(LOOPS):
        await use()
    return (time.perf_counter() - begin) / LOOPS * 1e9


async def measure() -> dict[str, tuple[float, float]]:
    """Return the median cost of each use: ours, and the peer's."""
    ours, peers = uses(loop_local), uses(asyncio_loop_local)
    rounds = [{name: (await timed(ours[name]), await timed(peers[name])) for name in ours} for _ in range(ROUNDS)]
    return {name: _medians([measured[name] for measured in rounds]) for name in ours}


def _medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    ours, peers = zip(*pairs, strict=True)
    return statistics.median(ours), statistics.median(peers)


def tables() -> Iterator[Table]:
    """Measure, and show both beside each other."""
    table = Table("of what is there already", "loop_local, ns", "asyncio-loop-local, ns", "ratio", title="Loop-local")
    for name, (ours, peer) in asyncio.run(measure()).items():
        table.add_row(name, f"{ours:,.0f}", f"{peer:,.0f}", f"{ours / peer:.2f}")
    table.caption = "wanted: sticky_singleton_acm at most 0.50, enter_once(singleton()) at most 0.70"
    yield table
