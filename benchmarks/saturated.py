"""More threads than objects: who waits, for how long, and whether everybody gets a share."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

from dbutils.pooled_db import PooledDB
from rich.table import Table
from sqlalchemy.exc import TimeoutError as SQLAlchemyTimeout
from sqlalchemy.pool import QueuePool

from benchmarks.uncontended import Driver, Resource
from ProxyPatternPool import Pool, TimeOut

Use = Callable[[], AbstractContextManager[Any]]
TIMEOUTS = (TimeOut, SQLAlchemyTimeout, queue.Empty)


def contenders(size: int, timeout: float) -> dict[str, Use]:
    """Return what borrows an object of a pool of `size`, for each pool."""
    pool = Pool(lambda _: Resource(), size, timeout=timeout)
    db: Any = PooledDB(Driver, mincached=1, maxcached=size, maxconnections=size, blocking=True, ping=0, reset=False)
    sqlalchemy = QueuePool(Resource, pool_size=size, max_overflow=0, timeout=timeout, reset_on_return=None)  # type: ignore[arg-type]  # it quacks
    lifo: queue.LifoQueue[Resource] = queue.LifoQueue()
    for _ in range(size):
        lifo.put(Resource())

    @contextmanager
    def from_queue() -> Iterator[Resource]:
        resource = lifo.get(timeout=timeout)
        try:
            yield resource
        finally:
            lifo.put(resource)

    return {
        "Pool": pool.obj,
        "SQLAlchemy QueuePool": lambda: closing(sqlalchemy.connect()),
        "DBUtils PooledDB": lambda: closing(db.connection()),
        "queue.LifoQueue": from_queue,
    }


class Load:
    """Threads that borrow, hold, return, and ask again, for a while."""

    def __init__(self, use: Use, hold: float) -> None:
        self.use = use
        self.hold = hold
        self.uses: list[int] = []
        self.longest = 0.0
        self.timeouts = 0
        self.until = 0.0

    def run(self, threads: int, seconds: float) -> None:
        """Have `threads` threads at it for `seconds`."""
        self.until = time.monotonic() + seconds
        crew = [threading.Thread(target=self._work) for _ in range(threads)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()

    def _work(self) -> None:
        uses, asked = 0, time.monotonic()
        while asked < self.until:
            try:
                with self.use():
                    self.longest = max(self.longest, time.monotonic() - asked)
                    time.sleep(self.hold)
                    uses += 1
            except TIMEOUTS:
                self.longest = max(self.longest, time.monotonic() - asked)
                self.timeouts += 1
            asked = time.monotonic()
        self.uses.append(uses)


def measure(threads: int, size: int, hold: float, seconds: float, timeout: float, wanted: str) -> Table:
    """Put the same load on each of them, and show what came of it."""
    title = f"{threads} threads, {size} objects, each held {hold * 1000:g} ms, {seconds:g} s, timeout {timeout:g} s"
    table = Table("", "uses/s", "longest wait, ms", "timeouts", "fewest / most uses", title=title, caption=wanted)
    for name, use in contenders(size, timeout).items():
        load = Load(use, hold)
        load.run(threads, seconds)
        rate, share = sum(load.uses) / seconds, min(load.uses) / max(load.uses)
        table.add_row(name, f"{rate:,.0f}", f"{load.longest * 1000:,.0f}", str(load.timeouts), f"{share:.2f}")
    return table


def tables() -> Iterator[Table]:
    """Measure a few that share little, and many that share some."""
    yield measure(16, 4, 0.001, 0.7, 30.0, "wanted of Pool: fewest / most at least 0.90")
    yield measure(100, 10, 0.010, 6.0, 5.0, "wanted of Pool: no timeout, longest wait below 200 ms")
