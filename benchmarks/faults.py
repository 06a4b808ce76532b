"""What a PostgreSQL that goes away, comes back, or hangs does to those who use it: `make faults` prints the table.

Each contender pools psycopg's connections and checks each of them before it lends it, in its own way.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import Any

import psycopg
import sqlalchemy
from psycopg_pool import ConnectionPool
from rich.console import Console
from rich.table import Table

from ProxyPatternPool import Pool
from tests.support.connections import Attempts, Connection, is_alive, is_usable
from tests.support.postgres import PostgreSQL

Use = Callable[[], AbstractContextManager[Connection]]
Contender = Callable[[Attempts, int, int, float], AbstractContextManager[Use]]

#: How long the server is away, and how long it hangs, in seconds.
OUTAGE, HANG = 8.0, 6.0


# -- the contenders: at least, at most so many connections, and how long to wait for one


@contextmanager
def ours(attempts: Attempts, min_size: int, max_size: int, timeout: float) -> Iterator[Use]:
    """Use this library."""
    with Pool(
        attempts.connect,
        max_size,
        min_size=min_size,
        timeout=timeout,
        health=is_alive,
        health_delay=0,
        close="close",
        name="db",
    ) as pool:
        yield pool.obj


@contextmanager
def psycopg_pool(attempts: Attempts, min_size: int, max_size: int, timeout: float) -> Iterator[Use]:
    """Use psycopg's own pool."""

    class Attempted(Connection):
        @classmethod
        def connect(cls, *arguments: Any, **options: Any) -> Any:
            with attempts.counted():
                return super().connect(*arguments, **options)

    with ConnectionPool(
        attempts.conninfo,
        connection_class=Attempted,
        kwargs=attempts.options,
        min_size=min_size,
        max_size=max_size,
        timeout=timeout,
        check=ConnectionPool.check_connection,
    ) as pool:
        pool.wait(timeout)
        yield pool.connection


@contextmanager
def queue_pool(attempts: Attempts, _: int, max_size: int, timeout: float) -> Iterator[Use]:
    """Use SQLAlchemy's."""
    options: dict[str, Any] = {"pool_size": max_size, "max_overflow": 0, "pool_timeout": timeout}
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=attempts.connect, pool_pre_ping=True, **options)
    yield lambda: closing(engine.raw_connection())  # type: ignore[arg-type]  # it passes everything on
    engine.dispose()


# -- the faults


def stale(server: PostgreSQL, contender: Contender) -> dict[str, float]:
    """Restart the server while six connections are idle, then take them all."""
    attempts, dead = Attempts(server), 0
    with contender(attempts, 6, 6, 60.0) as use:
        take(use, 6).close()
        server.restart()
        begin = time.monotonic()
        with ExitStack() as taken:
            dead += not is_usable(taken.enter_context(use()))
            first = time.monotonic() - begin
            dead += sum(not is_usable(taken.enter_context(use())) for _ in range(5))
    return {
        "restarted, 6 idle: seconds until one is got": first,
        "restarted, 6 idle: dead ones lent": dead,
    }


def away(server: PostgreSQL, contender: Contender) -> dict[str, float]:
    """Stop the server for a while, during which twelve clients ask for one of six connections."""
    attempts, over = Attempts(server), threading.Event()
    successes: list[float] = []
    with contender(attempts, 6, 6, 30.0) as use:
        take(use, 6).close()

        def ask() -> None:
            while not over.is_set():
                try:
                    with use() as connection:
                        connection.execute("SELECT 1")
                    successes.append(time.monotonic())
                    return
                except Exception:
                    time.sleep(0.05)  # as a client's own pause would be

        attempts.peak = 0
        server.stop()
        threads = start(12, ask)
        time.sleep(OUTAGE)
        server.start()
        back = time.monotonic()
        join(threads, 40.0)
        over.set()
    return {
        f"away for {OUTAGE:g} s: seconds from return to first success": min(successes) - back,
        f"away for {OUTAGE:g} s: seconds until all 12 had one": max(successes) - back,
        f"away for {OUTAGE:g} s: attempts at once, of 6": attempts.peak,
    }


def failing(server: PostgreSQL, contender: Contender) -> dict[str, float]:
    """Have one client wait for the only place, in which the connecting of another one fails."""
    attempts = Attempts(server)

    def fail() -> None:
        time.sleep(1.0)
        raise psycopg.OperationalError

    attempts.faults.append(fail)

    def ask() -> None:
        try:
            with use() as connection:
                connection.execute("SELECT 1")
        except psycopg.Error:
            pass

    with contender(attempts, 0, 1, 5.0) as use:
        threads = start(1, ask)
        time.sleep(0.5)
        threads += start(1, ask)
        join(threads, 20.0)
    pause = attempts.begun[1] - attempts.failed[0]
    return {"connecting fails: seconds until the next one's turn": pause}


def hanging(server: PostgreSQL, contender: Contender) -> dict[str, float]:
    """Freeze the server, while eight clients who wait for 1 second want one of two connections."""
    attempts = Attempts(server)
    waits: list[float] = []

    def ask() -> None:
        begin = time.monotonic()
        try:
            with use():
                pass
        except Exception:
            pass
        waits.append(time.monotonic() - begin)

    with contender(attempts, 2, 2, 1.0) as use:
        take(use, 2).close()
        attempts.peak = 0
        server.freeze()
        threads, others = start(8, ask), Neighbour()
        time.sleep(HANG)
        others.stop()
        late = sum(wait > 1.2 for wait in waits) + 8 - len(waits)
        stuck = 8 - len(waits)
        server.thaw()
        back = time.monotonic()
        join(threads, 20.0)
        while True:
            try:
                with use() as connection:
                    connection.execute("SELECT 1")
                break
            except Exception:
                time.sleep(0.01)
        after = time.monotonic() - back
    return {
        "hangs, 8 clients for 2: not answered within timeout": late,
        f"hangs, 8 clients for 2: not answered after {HANG:g} s": stuck,
        "hangs: attempts at once, of 2": attempts.peak,
        "hangs: longest get of another pool, ms": others.longest * 1000,
        "hangs: seconds from its end to the next success": after,
    }


class Neighbour:
    """A thread that uses another pool, of sqlite3, all the time."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._over = threading.Event()
        self._threads = start(1, self._use)

    def _use(self) -> None:
        with Pool(lambda _: sqlite3.connect(":memory:", check_same_thread=False), 1, max_use=3, close="close") as pool:
            while not self._over.wait(0.001):
                begin = time.monotonic()
                with pool.obj():
                    self.longest = max(self.longest, time.monotonic() - begin)

    def stop(self) -> None:
        self._over.set()
        join(self._threads, 20.0)


def take(use: Use, number: int) -> ExitStack:
    """Take so many connections at once."""
    with ExitStack() as taken:
        for _ in range(number):
            taken.enter_context(use()).execute("SELECT 1")
        return taken.pop_all()


def start(number: int, work: Callable[[], object]) -> list[threading.Thread]:
    """Start so many threads."""
    threads = [threading.Thread(target=work, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread], timeout: float) -> None:
    """Wait for their end."""
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


#: Which pools.
CONTENDERS: dict[str, Contender] = {"Pool": ours, "psycopg_pool": psycopg_pool, "SQLAlchemy QueuePool": queue_pool}
#: What is wanted of this library at most, in the order of the rows.
WANTED = [0.1, 0, 1, 1, 6, 0.1, 2, 0, 2, 500, 1]


def main() -> int:
    """Run all and print the table, which takes two minutes; return how many promises of this library were not kept."""
    logging.disable()  # everybody has much to say
    columns = []
    with PostgreSQL() as server:
        for contender in CONTENDERS.values():
            figures: dict[str, float] = {}
            for fault in (stale, away, failing, hanging):
                figures |= fault(server, contender)
            columns.append(figures)
    table = Table("a PostgreSQL in trouble", *CONTENDERS, "wanted of Pool")
    for row, limit in zip(columns[0], WANTED, strict=True):
        table.add_row(row, *(f"{round(column[row], 3):g}" for column in columns), f"at most {limit:g}")
    Console(width=120).print(table)
    return sum(figure > limit for figure, limit in zip(columns[0].values(), WANTED, strict=True))


if __name__ == "__main__":
    sys.exit(main())
