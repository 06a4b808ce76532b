"""What the pool is compared with: a connection per request, as the Flask documentation shows it.

The same ``db``, hence the same blueprints and the same SQL; here it is set to an object which everybody shares, and
which passes each call on to the connection of the current request.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, g

from .database import Connector, db


class RequestConnection:
    """Behaves as the current request's connection, as far as this application uses it."""

    def __init__(self, connect: Callable[[int], sqlite3.Connection]) -> None:
        self._connect = connect

    def _current(self) -> sqlite3.Connection:
        if "connection" not in g:
            g.connection = self._connect(0)
        connection: sqlite3.Connection = g.connection
        return connection

    def execute(self, sql: str, parameters: tuple[object, ...] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._current().execute(sql, parameters)

    def commit(self) -> None:
        """End the transaction."""
        self._current().commit()


def init_app(app: Flask) -> None:
    """Set ``db`` to a connection which each request opens and closes; ``DB_MAX_SIZE`` means nothing here."""
    connector = app.extensions["connector"] = Connector(app.config["DB_PATH"])
    db.set_obj(RequestConnection(connector))
    app.teardown_appcontext(close_connection)


def close_connection(_error: BaseException | None) -> None:
    """Close the request's connection, which also undoes what it has not committed."""
    connection = g.pop("connection", None)
    if connection is not None:
        connection.close()
