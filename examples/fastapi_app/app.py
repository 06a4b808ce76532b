"""The application factory: it opens the database when the application starts, and closes it at the end."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from examples.fastapi_app.accounts import accounts
from examples.fastapi_app.database import Connector, OpenDatabase, Shared
from examples.fastapi_app.hang_up import HangUp
from examples.fastapi_app.transfers import transfers
from ProxyPatternPool import TimeOut


def create_app(connector: Connector, open_database: OpenDatabase) -> FastAPI:
    """Make the application, whose `open_database` is `database.pooled(10)`, for instance."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with open_database(connector) as database:
            yield {"database": database}

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(HangUp)
    app.include_router(accounts)
    app.include_router(transfers)
    app.add_exception_handler(sqlite3.IntegrityError, refused)
    app.add_exception_handler(TimeOut, overloaded)

    @app.get("/stats")
    async def stats(database: Shared) -> dict[str, Any]:
        """Connections opened since the start, and the pool's statistics if there is one. Takes no connection."""
        return {"opened": connector.opened, "pool": database.pool_stats()}

    return app


async def refused(_request: Request, error: Exception) -> JSONResponse:
    """Tell that the ledger does not allow it: money that is not there, an account that does not exist."""
    return JSONResponse({"error": str(error)}, 409)


async def overloaded(_request: Request, error: Exception) -> JSONResponse:
    """Tell that no connection came back in time."""
    return JSONResponse({"error": str(error)}, 503, {"Retry-After": "1"})
