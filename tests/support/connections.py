"""Connections to the tests' PostgreSQL: how they are made and checked, and how many attempts there are at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from selectors import EVENT_READ, DefaultSelector
from typing import Any

import psycopg

from tests.support.postgres import PostgreSQL

Connection = psycopg.Connection[Any]


class Attempts:
    """Connects to a server, and counts the attempts."""

    def __init__(self, server: PostgreSQL) -> None:
        self.conninfo = server.conninfo
        self.options: dict[str, Any] = {"autocommit": True, "connect_timeout": 2}  # seconds; psycopg has no less
        self.faults: list[Callable[[], None]] = []  # what the next attempts do before anything else: they may raise
        self.begun: list[float] = []
        self.failed: list[float] = []
        self.now = 0
        self.peak = 0
        self._lock = threading.Lock()

    def connect(self, _number: int = 0) -> Connection:
        """Make a connection."""
        with self.counted():
            return psycopg.connect(self.conninfo, **self.options)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is done in the block as an attempt."""
        with self._lock:
            self.begun.append(time.monotonic())
            self.now += 1
            self.peak = max(self.peak, self.now)
            fault = self.faults.pop(0) if self.faults else None
        try:
            if fault:
                fault()
            yield
        except BaseException:
            self.failed.append(time.monotonic())
            raise
        finally:
            with self._lock:
                self.now -= 1


def is_alive(connection: Connection, patience: float = 1.0) -> bool:
    """Send an empty query, and give the server so many seconds to answer it."""
    connection.pgconn.send_query(b"")
    with DefaultSelector() as answer:
        answer.register(connection, EVENT_READ)
        if not answer.select(patience):
            return False
    while connection.pgconn.get_result():
        pass
    return not connection.closed


def is_usable(connection: Connection) -> bool:
    """Tell whether a user of the connection would be served."""
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True
