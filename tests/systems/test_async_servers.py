"""AsyncPool before real servers, with real drivers: asyncpg, psycopg, redis, and a context manager of anyio's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

from ProxyPatternPool import AsyncPool
from tests.support.cancelling import watched
from tests.support.loops import NewLoop
from tests.support.postgres import PostgreSQL

pytestmark = pytest.mark.slow  # it starts servers or programs

Kind = Callable[..., AsyncPool[Any]]


def of_asyncpg(server: PostgreSQL, checked: bool = True) -> AsyncPool[Any]:
    """Return a pool of its connections, which are cleaned up by `reset` when they come back."""
    asyncpg = pytest.importorskip("asyncpg", reason="asyncpg has nothing for this interpreter")

    async def health(connection: Any) -> bool:
        return bool(await connection.fetchval("SELECT 1") == 1)

    async def close(connection: Any) -> None:
        await connection.close(timeout=5)

    return AsyncPool(
        lambda _: asyncpg.connect(host="127.0.0.1", port=server.port, user="postgres", database="postgres"),
        4,
        retter=lambda connection: connection.reset(),
        health=health if checked else None,
        health_delay=0,
        close=close,
    )


def of_psycopg(server: PostgreSQL, checked: bool = True) -> AsyncPool[Any]:
    """Return a pool of its connections: what is not committed when they come back, is rolled back."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg has nothing for this interpreter")

    async def health(connection: Any) -> bool:
        await connection.execute("SELECT 1")
        await connection.rollback()
        return True

    return AsyncPool(
        lambda _: psycopg.AsyncConnection.connect(server.conninfo),
        4,
        retter=lambda connection: connection.rollback(),
        health=health if checked else None,
        health_delay=0,
        close="close",
    )


KINDS = [of_asyncpg, of_psycopg]


async def value(connection: Any, query: str) -> Any:
    """Ask for one value, by either driver."""
    if hasattr(connection, "fetchval"):
        return await connection.fetchval(query)
    return (await (await connection.execute(query)).fetchone())[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_transaction_left_open_is_rolled_back_on_return(postgres: PostgreSQL, new_loop: NewLoop, kind: Kind) -> None:
    """Otherwise the next user would be in the transaction of another request."""

    async def main() -> None:
        async with kind(postgres, checked=False) as pool:  # a check may roll back, too
            async with pool.obj() as connection:
                await connection.execute("BEGIN" if kind is of_asyncpg else "SELECT 1")
                await connection.execute("CREATE TABLE half_done (n integer)")
            async with pool.obj() as again:
                assert again is connection
                assert await value(again, "SELECT to_regclass('half_done')::text") is None

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())  # asyncpg tells the loop's exception handler that it had to roll back


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_that_are_cancelled_in_a_query_leave_good_connections(
    postgres: PostgreSQL, new_loop: NewLoop, kind: Kind
) -> None:
    """Otherwise clients that hang up would leave connections that answer the next one's question with their own."""

    async def ask(pool: AsyncPool[Any], number: int) -> None:
        async with pool.obj() as connection:
            assert await value(connection, f"SELECT {number} + 0 * length(pg_sleep(0.002)::text)") == number

    async def main() -> None:
        async with kind(postgres) as pool:
            for turn in range(60):
                tasks = [asyncio.create_task(ask(pool, number)) for number in range(8)]
                for _ in range(turn):
                    await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
                for task, outcome in zip(tasks, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
                    assert outcome is None or task.cancelled(), outcome
            assert pool.size <= 4
            assert not pool.leases()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(watched(main()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_restarted_under_load_is_used_again(
    postgres: PostgreSQL, new_loop: NewLoop, kind: Kind
) -> None:
    """Otherwise a service would have to be restarted with its database."""

    async def main() -> None:
        async with kind(postgres) as pool:
            served = 0
            end = asyncio.Event()

            async def work() -> None:
                nonlocal served
                while not end.is_set():
                    try:
                        async with asyncio.timeout(10), pool.obj() as connection:
                            assert await value(connection, "SELECT 7") == 7
                    except Exception:  # any error of the driver about a server that is away
                        await asyncio.sleep(0.01)
                    else:
                        served += 1

            async def serve(more: int) -> None:
                wanted = served + more
                async with asyncio.timeout(30):
                    while served < wanted:
                        await asyncio.sleep(0.01)

            tasks = [asyncio.create_task(work()) for _ in range(8)]
            await serve(50)
            await asyncio.to_thread(postgres.restart)
            await serve(50)
            end.set()
            await asyncio.gather(*tasks)
            assert pool.size <= 4
            assert not pool.leases()
            async with AsyncExitStack() as stack:
                for _ in range(4):
                    assert await value(await stack.enter_async_context(pool.obj()), "SELECT 1") == 1

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_redis(redis_port: int, new_loop: NewLoop) -> None:
    """Otherwise clients, which are asynchronous context managers, could not be pooled."""
    redis = pytest.importorskip("redis.asyncio")

    async def count(pool: AsyncPool[Any]) -> None:
        async with pool.obj() as client:
            await client.incr("counter")

    async def main() -> None:
        clients: list[Any] = []

        def client(_number: int) -> Any:
            clients.append(redis.Redis(port=redis_port, single_connection_client=True))
            return clients[-1]

        async with AsyncPool(client, 3, health=lambda client: client.ping(), health_delay=0) as pool:
            await asyncio.gather(*(count(pool) for _ in range(50)))
            async with pool.obj() as one:
                assert await one.get("counter") == b"50"
                await one.delete("counter")
        assert 1 <= len(clients) <= 3
        assert all(client.connection is None for client in clients)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(watched(main()))


def test_a_context_manager_of_anyio_is_left_by_the_task_that_has_entered_it(new_loop: NewLoop) -> None:
    """Otherwise a client with a background task of its own would complain when it is closed by another task."""
    received: list[int] = []

    @asynccontextmanager
    async def client(_number: int) -> AsyncIterator[Any]:
        send, receive = anyio.create_memory_object_stream[int](10)

        async def listen() -> None:
            async for item in receive:
                received.append(item)  # noqa: PERF401  # one at a time, as they come

        async with anyio.create_task_group() as group, send, receive:
            group.start_soon(listen)
            yield send

    async def use(pool: AsyncPool[Any], number: int) -> None:
        async with pool.obj() as send:
            with anyio.move_on_after(10):
                await send.send(number)

    async def main() -> None:
        async with AsyncPool(client, 2) as pool:
            await asyncio.gather(*(use(pool, number) for number in range(20)))

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(watched(main()))
    assert sorted(received) == list(range(20))
