"""The tenants' clients: one for each tenant that has been served lately, shared by all of its requests.

A client cannot serve another tenant, since it is logged in as its own; so a pool of equal ones would not help.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import BlockingConnectionPool, Redis

from ProxyPatternPool import AsyncKeyedPool

Clients = AsyncKeyedPool[[str], Redis]

#: Of one client: that many commands of a tenant run at the same time, others wait.
CONNECTIONS = 2


@dataclass(frozen=True)
class Connector:
    """Makes clients of one Redis, which knows each tenant as a user."""

    port: int
    password: str
    host: str = "127.0.0.1"

    @asynccontextmanager
    async def __call__(self, tenant: str) -> AsyncIterator[Redis]:
        """Log in as the tenant; whoever may not, is told so by Redis's `AuthenticationError`.

        The tenant's journal has a line for each beginning and each end.
        """
        connections = BlockingConnectionPool(
            host=self.host,
            port=self.port,
            username=tenant,
            password=self.password,
            max_connections=CONNECTIONS,
            timeout=10,
            decode_responses=True,
        )
        async with Redis.from_pool(connections) as client:
            await client.rpush(f"{tenant}:journal", "opened")  # connects: a client that cannot is none
            yield client
            await client.rpush(f"{tenant}:journal", "closed")


def make_clients(connector: Connector, *, max_size: int, ttl: float) -> Clients:
    """Keep at most `max_size` clients, each for `ttl` seconds after the last request that has used it."""
    return AsyncKeyedPool(connector, max_size=max_size, ttl=ttl, timeout=20.0, name="tenants")
