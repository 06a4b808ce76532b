"""Pools whose `get` or `ret` is overridden or patched: blocks and proxies call what is there."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from ProxyPatternPool import Pool, PoolException, Proxy, TimeOut
from ProxyPatternPool._config import Default
from tests.conftest import Crew, Factory, Thing, until
from tests.threads.test_health import Clock, clock

__all__ = ["clock"]  # a fixture

DEFAULT = Default.TIMEOUT


class CountingPool(Pool[Thing]):
    """Counts the calls of `get` and `ret`."""

    gets = rets = 0

    def get(self, timeout: float | Default | None = DEFAULT) -> Thing:
        self.gets += 1
        return super().get(timeout)

    def ret(self, obj: Thing) -> None:
        self.rets += 1
        super().ret(obj)


class Wrapper:
    """Stands for an object of a pool."""

    def __init__(self, thing: Thing) -> None:
        self.thing = thing
        self.number = thing.number


class WrappingPool(Pool[Any]):
    """Lends wrappers."""

    def get(self, timeout: float | Default | None = DEFAULT) -> Wrapper:
        return Wrapper(super().get(timeout))

    def ret(self, obj: Wrapper) -> None:
        super().ret(obj.thing)


class UnnumberedPool(Pool[Thing]):
    """Has a `get` without parameters."""

    def get(self, *nothing: object) -> Thing:
        assert not nothing
        return super().get()


def test_a_block_calls_overridden_methods(factory: Factory) -> None:
    """Otherwise a pool that counts its loans would miss most of them."""
    pool = CountingPool(factory, 1)
    with pool.obj() as thing:
        assert (pool.gets, pool.rets, thing.number) == (1, 0, 0)
        with pytest.raises(TimeOut), pool.obj(timeout=0):
            pass
    assert (pool.gets, pool.rets) == (2, 1)
    assert pool.stats()["in_use"] == pool.stats()["nbad_returns"] == 0


def recorded(calls: list[str], name: str) -> Any:
    """Return the method of `Pool` of that name, which records its calls."""
    method = getattr(Pool, name)

    def call(pool: Any, *arguments: Any) -> Any:
        calls.append(name)
        return method(pool, *arguments)

    return call


@pytest.mark.parametrize("name", ["get", "ret"])
def test_a_block_calls_the_one_method_that_is_overridden(factory: Factory, name: str) -> None:
    """Otherwise both would have to be overridden for one of them to be called."""
    calls: list[str] = []
    kind = type("OnePool", (Pool,), {name: recorded(calls, name)})
    with kind(factory, 1).obj():
        pass
    assert calls == [name]


@pytest.mark.parametrize("name", ["get", "ret"])
def test_a_block_calls_a_method_that_is_patched(factory: Factory, name: str) -> None:
    """Otherwise a test that patches a pool would go to the real one."""
    pool = Pool(factory, 1)
    calls: list[str] = []
    with mock.patch.object(Pool, name, recorded(calls, name)), pool.obj():
        pass
    assert calls == [name]
    with mock.patch.object(pool, name, wraps=getattr(pool, name)) as patched, pool.obj():
        pass
    patched.assert_called_once()
    with pool.obj():
        pass
    patched.assert_called_once()
    assert calls == [name]


def test_a_block_without_a_timeout_passes_none_on(factory: Factory) -> None:
    """Otherwise an override would need a parameter that it has no use for."""
    with UnnumberedPool(factory, 1).obj() as thing:
        assert thing.number == 0


def test_an_object_returned_inside_a_block_is_not_returned_again(factory: Factory) -> None:
    """Otherwise the end of the block would end the lease of another caller."""
    pool = CountingPool(factory, 1)
    with pool.obj() as thing:
        pool.ret(thing)
        assert pool.get() is thing
    assert (pool.rets, pool.stats()["in_use"]) == (1, 1)


def test_a_block_returns_a_wrapper_by_ret(factory: Factory) -> None:
    """Otherwise an override could lend nothing but bare objects."""
    pool = WrappingPool(factory, 1)
    lease = pool.obj()
    with lease as one:
        assert isinstance(one, Wrapper)
        with pytest.raises(PoolException, match="this lease is in use"):
            lease.__enter__()
    lease.__exit__(None, None, None)  # once more, which changes nothing
    with lease as two:
        assert two is not one
        assert two.thing is one.thing
    assert pool.stats()["in_use"] == pool.stats()["nbad_returns"] == 0


def test_a_proxy_calls_patched_methods(factory: Factory) -> None:
    """Otherwise a change of a program would hold for half of its code."""
    calls: list[str] = []
    db: Any = Proxy(fun=factory, max_size=1)
    with mock.patch.multiple(Pool, get=recorded(calls, "get"), ret=recorded(calls, "ret")):
        assert (db.number, db.number) == (0, 0)
        assert calls == ["get"]
        db._ret_obj()
        assert calls == ["get", "ret"]
        assert not db._has_obj()
        db._pool.discard(db._get_obj())
        assert db.number == 1
        db._ret_obj()
    assert calls == ["get", "ret", "get", "get", "ret"]
    assert db._pool.stats()["in_use"] == db._pool.stats()["nbad_returns"] == 0


@pytest.fixture
def wrapping() -> Iterator[None]:
    """Have all pools lend wrappers."""
    get, ret = Pool.get, Pool.ret

    def wrapping_get(pool: Any, timeout: float | Default | None = DEFAULT) -> Any:
        return Wrapper(get(pool, timeout))

    def wrapping_ret(pool: Any, obj: Any) -> None:
        ret(pool, obj.thing)

    with mock.patch.multiple(Pool, get=wrapping_get, ret=wrapping_ret):
        yield


@pytest.mark.usefixtures("wrapping")
def test_a_proxy_stands_for_a_wrapper(factory: Factory) -> None:
    """Otherwise an override could lend nothing but bare objects."""
    db: Any = Proxy(fun=factory, scope=Proxy.Scope.VERSATILE, max_size=1)

    async def use() -> None:
        one = db._get_obj()
        assert isinstance(one, Wrapper)
        assert (db.number, db._get_obj()) == (0, one)
        assert db._has_obj()
        db._ret_obj()
        assert not db._has_obj()
        assert (db.number, db._get_obj() is one) == (0, False)
        db._ret_obj()

    asyncio.run(use())
    assert db._pool.stats()["in_use"] == db._pool.stats()["nbad_returns"] == 0


@pytest.mark.usefixtures("wrapping")
def test_a_wrapper_that_an_ended_thread_had_is_returned_by_ret(factory: Factory, crew: Crew) -> None:
    """Otherwise `auto_return` would lose an object with each thread."""
    db: Any = Proxy(fun=factory, max_size=1, auto_return=True)
    for _ in range(3):
        crew.start(lambda: db.number)
        crew.join()
        gc.collect()
        until(lambda: db._pool.stats()["in_use"] == 0)
    assert db._pool.stats()["nuses"] == 3


@pytest.mark.usefixtures("wrapping")
def test_a_proxy_goes_on_with_a_wrapper_whose_object_was_taken_away(factory: Factory, clock: Clock) -> None:
    """Otherwise an error would be raised for a use of which the pool knows nothing."""
    db: Any = Proxy(fun=factory, max_size=1, max_using_delay_kill=5.0, clock=clock)
    assert db.number == 0
    clock.now += 6
    db._pool._engine._round()
    assert db._has_obj()
    assert db.number == 0
    db._ret_obj()
    assert db._pool.stats()["nbad_returns"] == 1


def test_a_thread_that_ends_returns_directly(factory: Factory, crew: Crew) -> None:
    """Otherwise user code would run in a finaliser."""
    calls: list[str] = []
    db: Any = Proxy(fun=factory, max_size=1, auto_return=True)
    with mock.patch.multiple(Pool, get=recorded(calls, "get"), ret=recorded(calls, "ret")):
        crew.start(lambda: db.number)
        crew.join()
        gc.collect()
        until(lambda: db._pool.stats()["in_use"] == 0)
    assert calls == ["get"]
