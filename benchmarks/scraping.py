"""An operator's scraper reads the state of a large pool each second: what that costs, beside the use of one object."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable, Iterator

from rich.table import Table

from benchmarks.uncontended import LOOPS, ROUNDS, Resource
from ProxyPatternPool import Pool

SIZE = 10_000


def median(use: Callable[[], object], loops: int) -> float:
    """Return the seconds that one use takes."""
    return statistics.median(timeit.timeit(use, number=loops) / loops for _ in range(ROUNDS))


def tables() -> Iterator[Table]:
    """Measure a pool of which half is in use."""
    pool = Pool(lambda _: Resource(), SIZE, min_size=SIZE)
    held = [pool.get() for _ in range(SIZE // 2)]
    use = median(lambda: pool.ret(pool.get()), LOOPS)
    table = Table("", "ms", "share of a core, each second", "per object, vs get + ret", title=f"{SIZE:,} objects")
    looks: dict[str, tuple[Callable[[], object], int]] = {
        "stats()": (pool.stats, SIZE),
        "leases()": (pool.leases, len(held)),
        "repr()": (lambda: repr(pool), SIZE),
    }
    for name, (look, objects) in looks.items():
        cost = median(look, 3)
        table.add_row(name, f"{cost * 1000:.2f}", f"{cost:.2%}", f"{cost / objects / use:.2f}")
    table.caption = "wanted, vs get + ret: stats() at most 0.50, leases() at most 5.00"
    yield table
