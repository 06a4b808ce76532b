"""One thread takes an object that is idle, and gives it back: the cost of the bookkeeping alone."""

from __future__ import annotations

import queue
import statistics
import threading
import timeit
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from dbutils.pooled_db import PooledDB
from rich.table import Table
from sqlalchemy.pool import QueuePool

from ProxyPatternPool import Pool

SIZE = 10
LOOPS = 20_000
ROUNDS = 15  # the contenders take turns, so that all of them meet the machine's moods


class Resource:
    """A connection that costs nothing, with what each of the pools calls on one."""

    def cursor(self) -> None: ...

    def close(self) -> None: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...


class Driver:
    """The database module that makes them, as DBUtils wants to see one."""

    threadsafety = 2
    Error = OperationalError = InterfaceError = InternalError = DatabaseError = type("Error", (Exception,), {})

    @staticmethod
    def connect() -> Resource:
        return Resource()


def contenders() -> dict[str, Callable[[], object]]:
    """Return one get and return of each: of ours, of the peers, and of what a pool cannot do without."""
    pool = Pool(lambda _: Resource(), SIZE)
    db: Any = PooledDB(Driver, mincached=1, maxcached=SIZE, maxconnections=SIZE, blocking=True, ping=0, reset=False)
    sqlalchemy = QueuePool(Resource, pool_size=SIZE, max_overflow=0, reset_on_return=None)  # type: ignore[arg-type]  # it quacks
    lifo: queue.LifoQueue[Resource] = queue.LifoQueue()
    lifo.put(Resource())
    idle, lock = deque([Resource()]), threading.Lock()

    def get_ret() -> None:
        pool.ret(pool.get())

    def with_obj() -> None:
        with pool.obj():
            pass

    def deque_and_lock() -> None:
        with lock:
            resource = idle.pop()
        with lock:
            idle.append(resource)

    return {
        "Pool: get + ret": get_ret,
        "Pool: with obj()": with_obj,
        "DBUtils PooledDB": lambda: db.connection().close(),
        "SQLAlchemy QueuePool": lambda: sqlalchemy.connect().close(),
        "queue.LifoQueue (no bookkeeping)": lambda: lifo.put(lifo.get()),
        "deque under a lock, twice (no bookkeeping)": deque_and_lock,
    }


def tables() -> Iterator[Table]:
    """Measure, and show the median of each with its ratios."""
    measured: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, use in contenders().items():
            measured.setdefault(name, []).append(timeit.timeit(use, number=LOOPS) / LOOPS * 1e9)
    medians = {name: statistics.median(times) for name, times in measured.items()}
    ours, peer = medians["Pool: get + ret"], medians["DBUtils PooledDB"]
    table = Table("one get + return", "ns", "vs DBUtils", "vs Pool get + ret", title="Uncontended")
    for name, cost in medians.items():
        table.add_row(name, f"{cost:,.0f}", f"{cost / peer:.2f}", f"{cost / ours:.2f}")
    table.caption = "wanted: get + ret at most 0.60 of DBUtils, with obj() at most 1.80 of get + ret"
    yield table
