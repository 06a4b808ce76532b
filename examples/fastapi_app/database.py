"""The database, as the rest of the application sees it: ``async with database.borrow() as connection``.

The habit that goes with it: a block has what belongs together, and ends before the answer is put together, so that ten
connections serve many more requests. Whatever ends it (the end, an error, a client that has gone), the connection goes
back, and what was not committed is undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import aiosqlite
from fastapi import Depends, Request

from ProxyPatternPool import AsyncPool


class Connector:
    """Opens connections to one SQLite file, and counts those that it has opened."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self.opened = 0

    @asynccontextmanager
    async def __call__(self, _number: int = 0) -> AsyncIterator[aiosqlite.Connection]:
        """Have a connection, which waits 30 s for a locked file."""
        connection = await self._open()
        try:
            self.opened += 1
            await connection.execute("PRAGMA synchronous = NORMAL")
            await connection.execute("PRAGMA foreign_keys = ON")
            yield connection
        finally:
            await connection.close()

    async def _open(self) -> aiosqlite.Connection:
        """Open the file; who is cancelled meanwhile hears of it when the file is closed again.

        A thread opens it, which nothing can stop. aiosqlite itself would end at once, and open the file afterwards: a
        pool that is closed while it makes a connection would have one more file open for a moment than it may.
        """
        # IMMEDIATE: a writer queues for the file at its first write. By default it would begin as a reader, and fail
        # at once, whatever the timeout, when another one has written meanwhile.
        connect = aiosqlite.connect(self._path, timeout=30, isolation_level="IMMEDIATE")
        opening = asyncio.ensure_future(connect)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            connection = await opening
            await connection.close()
            raise


@dataclass(frozen=True)
class Database:
    """What requests have to do with."""

    borrow: Callable[[], AbstractAsyncContextManager[aiosqlite.Connection]]
    pool_stats: Callable[[], Mapping[str, Any] | None]  # of the pool, if there is one


#: Opens a database for the time of an ``async with`` block.
OpenDatabase = Callable[[Connector], AbstractAsyncContextManager[Database]]


def pooled(max_size: int) -> OpenDatabase:
    """Have at most `max_size` connections, for one request at a time."""

    @asynccontextmanager
    async def open_database(connector: Connector) -> AsyncIterator[Database]:
        async with AsyncPool(connector, max_size=max_size, retter=undo, name="db") as pool:
            yield Database(pool.obj, pool.stats)

    return open_database


async def undo(connection: aiosqlite.Connection) -> None:
    """Undo what was not committed, before somebody else has the connection.

    Even if there seems to be no transaction: when a task is cancelled, its statement may still run in the connection's
    thread. The rollback waits for its turn there; so whoever has the connection next finds it at rest.
    """
    await connection.rollback()


@asynccontextmanager
async def per_request(connector: Connector) -> AsyncIterator[Database]:
    """What the pool is compared with: a connection is opened and closed for each request."""
    yield Database(connector, lambda: None)


def the_database(request: Request) -> Database:
    """Return what the application's lifespan has opened."""
    database: Database = request.state.database
    return database


Shared = Annotated[Database, Depends(the_database)]
