"""The tenants' pools: one for each tenant that has been served lately, shared by all of its requests.

Two limits: how many tenants have open connections, which is the keyed pool's affair, and how many each of them has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

from examples.fastapi_app.database import Connector, undo
from ProxyPatternPool import AsyncKeyedPool, AsyncPool

#: Connections of one tenant: that many of its requests work at the same time, others wait. It begins with one.
CONNECTIONS = 3


class UnknownTenant(LookupError):
    """There is no tenant of that name."""


class Tenants:
    """The databases in one directory, at most `max_size` of them open, each until it was not used for `ttl` seconds."""

    def __init__(self, directory: Path, *, max_size: int, ttl: float) -> None:
        self._directory = directory
        self.pools = AsyncKeyedPool(self._pool, max_size=max_size, ttl=ttl, timeout=20.0, name="tenants")

    @asynccontextmanager
    async def borrow(self, tenant: str) -> AsyncIterator[aiosqlite.Connection]:
        """Borrow one of the tenant's connections. `UnknownTenant` when there is none."""
        async with self.pools.get(tenant) as pool, pool.obj() as connection:
            yield connection

    def _pool(self, tenant: str) -> AsyncPool[aiosqlite.Connection]:
        """Make a tenant's pool, which the keyed pool enters, and exits in the end."""
        path = self._directory / f"{tenant}.db"
        if not path.exists():  # otherwise SQLite would make one
            raise UnknownTenant(f"there is no tenant {tenant}")
        return AsyncPool(Connector(path), max_size=CONNECTIONS, retter=undo, name=tenant)
