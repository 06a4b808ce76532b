"""The database, as the rest of the application sees it: ``from .database import db``.

The name can be imported before there is a database: by blueprints, at the head of their files. The application
factory says later which database it is, with `init_app`. From then on ``db`` behaves as a `sqlite3.Connection`: the
one that the current thread holds, which comes from the pool at its first use, and goes back with ``db._ret_obj()``.

The habit that goes with it: whoever has committed, or has read all it needs, gives the connection back at once, so
that ten connections serve many more threads. What an error leaves behind is given back at the end of the request.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from flask import Flask

from ProxyPatternPool import Proxy

db: Proxy[sqlite3.Connection] = Proxy(name="db", close="close")


class Connector:
    """Opens connections to one SQLite file, and counts those that it has opened. Safe from any thread."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.opened = 0

    def __call__(self, _number: int) -> sqlite3.Connection:
        """Open a connection, which may be used by one thread after another, and which waits 30 s for a locked file."""
        # IMMEDIATE: a writer queues for the file at its first write. By default it would begin as a reader, and fail
        # at once, whatever the timeout, when another one has written meanwhile.
        connection = sqlite3.connect(self._path, timeout=30, isolation_level="IMMEDIATE", check_same_thread=False)
        with self._lock:
            self.opened += 1
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


def init_app(app: Flask) -> None:
    """Set ``db`` to a pool of at most ``DB_MAX_SIZE`` connections to the file ``DB_PATH``. Opens none of them yet."""
    connector = app.extensions["connector"] = Connector(app.config["DB_PATH"])
    db.set_fun(connector, max_size=app.config["DB_MAX_SIZE"])
    app.teardown_appcontext(give_back)


def give_back(_error: BaseException | None) -> None:
    """Undo and give back what a request has left, if anything: it has failed, or has forgotten to."""
    if db._has_obj():
        try:
            db.rollback()
        finally:
            db._ret_obj()


def shutdown() -> None:
    """Close the connections, at the end of the process."""
    if db._pool is not None:
        db._pool.shutdown(delay=1.0)
