"""A pool whose `get` or `ret` is overridden: blocks and proxies go through these methods."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from ProxyPatternPool import AsyncPool, AsyncProxy
from tests.support.cancelling import watched
from tests.support.loops import Run
from tests.support.parts import Part, Source, settle, turns


class Wrapper:
    """An object that an overridden `get` returns instead of the pool's."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.number = part.number


class Counting(AsyncPool[Any]):
    """A pool that counts, and may wrap its objects."""

    def __init__(self, *arguments: Any, wraps: bool = False, **parameters: Any) -> None:
        super().__init__(*arguments, **parameters)
        self.wraps = wraps
        self.calls: list[str] = []

    async def get(self, *timeout: Any) -> Any:
        self.calls.append("get")
        part = await super().get(*timeout)
        await asyncio.sleep(0)
        return Wrapper(part) if self.wraps else part

    async def ret(self, obj: Any) -> None:
        self.calls.append("ret")
        await super().ret(obj.part if self.wraps else obj)


class Getting(Counting):
    """A pool that overrides `get` alone."""

    ret = AsyncPool.ret


def proxy_of(pool: AsyncPool[Any]) -> Any:
    """Return a proxy with this pool."""
    db: Any = AsyncProxy(fun=pool._config.fun, max_size=2, min_size=0)
    db._proxy_provider.lender = pool
    return db


async def use_block(pool: AsyncPool[Any]) -> object:
    async with pool.obj() as obj:
        assert pool.stats()["in_use"] == 1
        return obj


async def use_proxy(pool: AsyncPool[Any]) -> Any:
    db = proxy_of(pool)
    obj = await db._get_obj()
    assert db.number == obj.number
    assert db._has_obj()
    assert pool.stats()["in_use"] == 1
    await db._ret_obj()
    assert not db._has_obj()
    return obj


async def use_proxy_block(pool: AsyncPool[Any]) -> object:
    async with proxy_of(pool)._obj(timeout=5) as obj:
        return obj


USES = [use_block, use_proxy, use_proxy_block]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("wraps", [False, True])
def test_a_block_and_a_proxy_go_through_an_overridden_get_and_ret(
    run_loop: Run, use: Callable[..., Any], wraps: bool
) -> None:
    """Otherwise a subclass that counts, or wraps its objects, would be bypassed silently."""

    async def main() -> None:
        async with Counting(Source(), 1, wraps=wraps) as pool:
            assert type(await use(pool)) is (Wrapper if wraps else Part)
            assert pool.calls == ["get", "ret"]
            assert (pool.stats()["in_use"], pool.stats()["nbad_returns"]) == (0, 0)

    run_loop(watched(main()))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("wraps", [False, True])
def test_a_wrapper_is_returned_though_get_alone_is_overridden(
    run_loop: Run, use: Callable[..., Any], wraps: bool
) -> None:
    """Otherwise the pool would be asked to take back a wrapper, which it does not know."""

    async def main() -> None:
        async with Getting(Source(), 1, wraps=wraps) as pool:
            await use(pool)
            assert pool.calls == ["get"]
            assert (pool.stats()["in_use"], pool.stats()["nbad_returns"]) == (0, 0)

    run_loop(watched(main()))


@pytest.mark.parametrize("use", USES)
def test_a_block_and_a_proxy_see_methods_that_a_test_has_patched(run_loop: Run, use: Callable[..., Any]) -> None:
    """Otherwise a program could not be tested without its database."""
    part, returned = mock.Mock(number=0), list[object]()

    async def get(self: AsyncPool[Any], _timeout: object = None) -> object:
        assert await original(self) is not part
        return part

    async def ret(self: AsyncPool[Any], obj: object) -> None:
        returned.append(obj)
        await AsyncPool.discard(self, self._using[0])

    original = AsyncPool.get

    async def main() -> None:
        async with AsyncPool(Source(), 1) as pool:
            with mock.patch.object(AsyncPool, "get", get), mock.patch.object(AsyncPool, "ret", ret):
                assert await use(pool) is part
            assert returned == [part]
            assert await use(pool) is not part
            assert len(returned) == 1

    run_loop(watched(main()))


@pytest.mark.parametrize("use", [use_block, use_proxy_block])
def test_a_get_that_never_asks_the_pool_is_a_get(run_loop: Run, use: Callable[..., Any]) -> None:
    """Otherwise an object of a test's own would be refused, since it is in no slot."""
    part, returned = mock.Mock(), list[object]()

    class Foreign(AsyncPool[Any]):
        async def get(self, timeout: object = None) -> object:
            return part

        async def ret(self, obj: object) -> None:
            returned.append(obj)

    async def main() -> None:
        async with Foreign(Source(), 1) as pool:
            if use is use_block:
                async with pool.obj() as obj:
                    assert obj is part
            else:
                db = proxy_of(pool)
                async with db._obj() as obj:
                    assert obj is part is db._local.obj
                    assert db.method() is part.method()
            assert returned == [part]
            lease = pool.obj()
            with pytest.raises(ZeroDivisionError):
                async with lease:
                    1 / 0  # noqa: B018
            assert returned == [part, part]

    run_loop(watched(main()))


def test_an_overridden_get_that_fails_leaves_nothing_behind(run_loop: Run) -> None:
    """Otherwise a lease could not be used again, or would return what it never had."""

    class Failing(AsyncPool[Any]):
        async def get(self, timeout: object = None) -> object:
            raise OSError("down")

    async def main() -> None:
        async with Failing(Source(), 1) as pool:
            lease = pool.obj()
            for _ in range(2):
                with pytest.raises(OSError, match="down"):
                    await lease.__aenter__()
            await lease.__aexit__(None, None, None)
            assert pool.stats()["in_use"] == 0

    run_loop(watched(main()))


def test_a_block_does_not_return_twice_through_an_overridden_ret(run_loop: Run) -> None:
    """Otherwise a block would return what another task has by then."""

    async def main() -> None:
        async with Counting(Source(), 1) as pool:
            lease = pool.obj()
            async with lease as obj:
                with pytest.raises(Exception, match="this lease is in use"):
                    await lease.__aenter__()
                await pool.ret(obj)
                other = await pool.get()
            assert pool.stats()["in_use"] == 1
            await pool.ret(other)
            assert pool.calls == ["get", "ret", "get", "ret"]
            await lease.__aexit__(None, None, None)

    run_loop(watched(main()))


@pytest.mark.parametrize("has_lease", [True, False])
def test_an_overridden_ret_that_fails_keeps_no_place_for_ever(run_loop: Run, has_lease: bool) -> None:
    """Otherwise each failure would make the pool smaller."""

    class Failing(AsyncPool[Any]):
        async def get(self, *timeout: Any) -> object:
            return await super().get(*timeout) if has_lease else None

        async def ret(self, obj: object) -> None:
            raise OSError("down")

    async def main() -> None:
        async with Failing(Source(), 1) as pool:
            with pytest.raises(OSError, match="down"):
                async with pool.obj():
                    pass
            await settle(lambda: pool.stats()["in_use"] == 0)

    run_loop(watched(main()))


@pytest.mark.parametrize("wraps", [False, True])
def test_a_task_that_is_collected_gives_back_what_an_overridden_get_has_taken(run_loop: Run, wraps: bool) -> None:
    """Otherwise a finaliser would have to await `ret`, or the place would be lost."""

    async def use_for_ever(pool: AsyncPool[Any]) -> None:
        async with pool.obj():
            await asyncio.get_running_loop().create_future()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        pool = Counting(Source(), 2, wraps=wraps)
        other = await pool.get()
        task: Any = asyncio.create_task(use_for_ever(pool))
        await settle(lambda: pool.stats()["in_use"] == 2)
        await turns(other)
        del task
        gc.collect()
        await settle(lambda: pool.stats()["in_use"] == 1)
        await pool.ret(other)
        await pool.shutdown()

    run_loop(main())


def test_a_proxy_finds_that_the_object_of_an_overridden_get_was_taken_away(run_loop: Run) -> None:
    """Otherwise its task would go on with a wrapper of what another one has."""

    async def main() -> None:
        async with Counting(Source(), 1, wraps=True) as pool:
            db = proxy_of(pool)
            wrapper = await db._get_obj()
            assert db.number == 0
            await pool.ret(wrapper)
            assert not db._has_obj()
            again = await db._get_obj()
            assert again is not wrapper
            await db._ret_obj()

    run_loop(watched(main()))
