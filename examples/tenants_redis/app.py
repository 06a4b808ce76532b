"""The application: each tenant has a list of events. It says how many there are, and takes more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from redis.exceptions import AuthenticationError

from examples.tenants_redis.clients import Clients
from ProxyPatternPool import TimeOut


class Event(BaseModel):
    """What has happened."""

    reference: str


def create_app(clients: Clients) -> FastAPI:
    """Make the application. It ends the clients with itself."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Clients]]:
        async with clients:
            yield {"clients": clients}

    app = FastAPI(lifespan=lifespan)
    app.add_api_route("/stats", stats)
    app.add_api_route("/{tenant}/events", add, methods=["POST"], status_code=201)
    app.add_api_route("/{tenant}/events", overview)
    app.add_exception_handler(AuthenticationError, unknown)
    app.add_exception_handler(TimeOut, overloaded)
    return app


def the_clients(request: Request) -> Clients:
    """Return what the application was made with."""
    clients: Clients = request.state.clients
    return clients


Shared = Annotated[Clients, Depends(the_clients)]


async def add(tenant: str, event: Event, clients: Shared) -> Event:
    """Note an event."""
    async with clients.get(tenant) as redis:
        await redis.rpush(f"{tenant}:events", event.reference)
    return event


async def overview(tenant: str, clients: Shared) -> dict[str, Any]:
    """How many events there are, and the latest."""
    async with clients.get(tenant) as redis:
        number, latest = await redis.llen(f"{tenant}:events"), await redis.lrange(f"{tenant}:events", -5, -1)
    return {"number": number, "latest": latest}


async def stats(clients: Shared) -> dict[str, Any]:
    """What the pool is doing. Uses no client."""
    return {"pool": clients.stats()}


async def unknown(request: Request, _error: Exception) -> JSONResponse:
    """Tell that there is no such tenant. That is not remembered: it may have been made when it is asked for again."""
    return JSONResponse({"error": f"there is no tenant {request.path_params['tenant']}"}, 404)


async def overloaded(_request: Request, error: Exception) -> JSONResponse:
    """Tell that more tenants are served at the same time than there may be clients."""
    return JSONResponse({"error": str(error)}, 503, {"Retry-After": "1"})
