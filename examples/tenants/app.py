"""The application: what `examples.fastapi_app` does for one bank, under ``/<tenant>`` for each."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request
from fastapi.responses import JSONResponse

from examples.fastapi_app.accounts import accounts
from examples.fastapi_app.app import overloaded, refused
from examples.fastapi_app.database import Database
from examples.fastapi_app.hang_up import HangUp
from examples.fastapi_app.transfers import transfers
from examples.tenants.tenants import Tenants, UnknownTenant
from ProxyPatternPool import TimeOut


def create_app(tenants: Tenants) -> FastAPI:
    """Make the application. It closes the tenants' pools with itself."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Tenants]]:
        async with tenants.pools:
            yield {"tenants": tenants}

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(HangUp)
    for router in (accounts, transfers):
        app.include_router(router, prefix="/{tenant}", dependencies=[Depends(choose_database)])
    app.add_api_route("/stats", stats)
    app.add_exception_handler(UnknownTenant, unknown)
    app.add_exception_handler(sqlite3.IntegrityError, refused)
    app.add_exception_handler(TimeOut, overloaded)
    return app


async def choose_database(request: Request, tenant: Annotated[str, Path(pattern="^[a-z0-9-]+$")]) -> None:
    """Have the routes use the tenant's database, which is opened when they borrow a connection of it."""
    tenants: Tenants = request.state.tenants
    request.state.database = Database(partial(tenants.borrow, tenant), lambda: None)


async def stats(request: Request) -> dict[str, Any]:
    """What the pool of pools is doing. Opens nothing."""
    tenants: Tenants = request.state.tenants
    return {"pool": tenants.pools.stats()}


async def unknown(_request: Request, error: Exception) -> JSONResponse:
    """Tell that there is no such tenant. That is not remembered: it may be there when it is asked for again."""
    return JSONResponse({"error": str(error)}, 404)
