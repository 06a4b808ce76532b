"""The recipes' `health`: a healthy object is kept, a dead one is replaced, a server that hangs is not waited for."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ProxyPatternPool import AsyncPool, Pool
from ProxyPatternPool._config import PoolConfig
from tests.conftest import until
from tests.support.postgres import PostgreSQL

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def run_recipe(title: str) -> dict[str, Any]:
    """Run the first example of a section of the page, and return what it has defined."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2]
    example = re.search(r"^```python\n(.+?)^```$", section, re.DOTALL | re.MULTILINE)
    assert example is not None
    names: dict[str, Any] = {}
    exec(example[1], names)  # the page is the project's own
    return names


class Asked:
    """The `health` of a recipe, asked before each lease, and counted."""

    def __init__(self, config: PoolConfig[Any]) -> None:
        self._health = config.health
        self.times = 0
        self.config = replace(config, health=self, health_delay=0.0)

    def __call__(self, obj: Any) -> object:
        self.times += 1
        assert self._health is not None
        return self._health(obj)


def check(asked: Asked, identify: Callable[[Any], object], end: Callable[[Any], object]) -> None:
    """See that an object is kept as long as it lives, and replaced after its end."""

    def lend() -> object:
        with pool.obj() as obj:
            return identify(obj)

    with Pool._unopened(asked.config) as pool:
        first = lend()
        assert [lend(), lend()] == [first, first]
        assert (asked.times, pool.stats()["ncreated"], pool.stats()["nclosed"]) == (2, 1, {})
        end(first)
        second = lend()
        assert second != first
        assert lend() == second
        assert (asked.times, pool.stats()["ncreated"]) == (4, 2)
        until(lambda: pool.stats()["nclosed"] == {"health": 1})


async def check_async(asked: Asked, identify: Callable[[Any], object], end: Callable[[Any], Awaitable[object]]) -> None:
    """Do the same with an `AsyncPool`."""

    async def lend() -> object:
        async with pool.obj() as obj:
            return identify(obj)

    async with AsyncPool._configured(replace(asked.config, min_size=0)) as pool:
        first = await lend()
        assert [await lend(), await lend()] == [first, first]
        assert (asked.times, pool.stats()["ncreated"], pool.stats()["nclosed"]) == (2, 1, {})
        await end(first)
        second = await lend()
        assert second != first
        assert await lend() == second
        assert (asked.times, pool.stats()["ncreated"]) == (4, 2)
    assert pool.stats()["nclosed"] == {"health": 1, "shutdown": 1}


@pytest.fixture
def psycopg_recipe(have_postgres: bool) -> dict[str, Any]:
    """Return what the recipe for psycopg has defined, its pool shut down."""
    if not have_postgres:
        pytest.skip("PostgreSQL or psycopg is missing: pip install ProxyPatternPool[servers]")
    recipe = run_recipe("PostgreSQL, with psycopg")
    recipe["pool"].shutdown(delay=1.0)
    return recipe


@pytest.fixture
def asyncpg_recipe(have_asyncpg: bool) -> dict[str, Any]:
    """Return what the recipe for asyncpg has defined."""
    if not have_asyncpg:
        pytest.skip("PostgreSQL or asyncpg is missing: pip install ProxyPatternPool[servers]")
    return run_recipe("PostgreSQL, with asyncpg")


def test_the_health_of_the_psycopg_recipe(psycopg_recipe: dict[str, Any]) -> None:
    """Otherwise each idle connection would be replaced, or a dead one lent."""

    def terminate(pid: int) -> None:
        with psycopg_recipe["psycopg"].connect() as administrator:
            administrator.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    check(Asked(psycopg_recipe["pool"]._engine.config), lambda connection: connection.info.backend_pid, terminate)


def test_the_health_of_the_asyncpg_recipe(asyncpg_recipe: dict[str, Any]) -> None:
    """Otherwise each idle connection would be replaced, or a dead one lent."""

    async def terminate(pid: int) -> None:
        administrator = await asyncpg_recipe["asyncpg"].connect()
        await administrator.execute("SELECT pg_terminate_backend($1, 5000)", pid)
        await administrator.close()

    asked = Asked(asyncpg_recipe["make_pool"]()._engine.config)
    asyncio.run(check_async(asked, lambda connection: connection.get_server_pid(), terminate))


def test_the_health_of_the_aiosqlite_recipe(have_aiosqlite: bool, tmp_path: Path) -> None:
    """Otherwise each idle connection would be replaced, or a dead one lent."""
    if not have_aiosqlite:
        pytest.skip("aiosqlite is missing: pip install ProxyPatternPool[fastapi]")
    recipe = run_recipe("SQLite, with aiosqlite")
    recipe["database"] = tmp_path / "notes.db"  # the recipe has deleted its own
    parameters = {name: recipe[function] for name, function in {"fun": "connect", "health": "is_alive"}.items()}
    config: PoolConfig[Any] = PoolConfig(opener=recipe["configure"], max_size=10, **parameters)
    asyncio.run(check_async(Asked(config), lambda connection: connection, lambda connection: connection.close()))


def test_the_health_of_the_redis_recipe(have_redis: bool) -> None:
    """Otherwise each idle client would be replaced, or a dead one lent."""
    if not have_redis:
        pytest.skip("redis-server or redis-py is missing: pip install ProxyPatternPool[servers]")
    redis = pytest.importorskip("redis")
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as administrator:
        administrator.flushdb()  # the page has run its examples there, or is about to
        recipe = run_recipe("Redis, with redis-py")
        administrator.flushdb()

        def kill(client_id: int) -> None:
            assert administrator.client_kill_filter(_id=client_id) == 1

        check(Asked(recipe["cache"]._pool._engine.config), lambda client: client.client_id(), kill)


def test_the_health_of_the_psycopg_recipe_has_a_limit(psycopg_recipe: dict[str, Any], postgres: PostgreSQL) -> None:
    """Otherwise a server that hangs would keep the caller for as long as it hangs."""
    with closing(psycopg_recipe["connect"](0)) as connection:
        postgres.freeze()
        try:
            assert psycopg_recipe["is_alive"](connection) is False
        finally:
            postgres.thaw()


def test_the_health_of_the_asyncpg_recipe_has_a_limit(asyncpg_recipe: dict[str, Any], postgres: PostgreSQL) -> None:
    """Otherwise a server that hangs would keep the caller for as long as it hangs."""

    async def main() -> None:
        connection = await asyncpg_recipe["connect"](0)
        postgres.freeze()
        try:
            with pytest.raises(TimeoutError):
                await asyncpg_recipe["is_alive"](connection)
        finally:
            postgres.thaw()
            connection.terminate()

    asyncio.run(main())
