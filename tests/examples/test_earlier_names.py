"""The names of earlier releases: programs that were written for them run on."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import pytest

from ProxyPatternPool import AsyncPool, AsyncProxy, Pool, Proxy, ProxyException
from tests.conftest import Crew, Factory


def test_parameters_of_earlier_releases_mean_the_same(factory: Factory) -> None:
    """Otherwise each such program would have to be changed."""
    pool: Any = Pool(factory, 3, max_avail_delay=60.0, closer=lambda thing: thing.close(), health_freq=2)
    assert (pool.stats()["max_delay"], pool.stats()["health_freq"]) == (60.0, 2)
    pool.__delete__()
    assert factory.closed == [0]


def test_attributes_of_earlier_releases_tell_the_same(factory: Factory) -> None:
    """Otherwise their monitoring would fail."""
    pool: Any = Pool(factory, 3, min_size=2)
    thing = pool.get()
    assert (len(pool._avail), len(pool._using), pool._nobjs, pool._nuses, pool._ncreated) == (1, 1, 2, 1, 2)
    assert pool._using == [thing]
    pool.ret(thing)
    assert (len(pool._avail), len(pool._using), pool._nuses) == (2, 0, 1)


def test_log_level_is_the_pools_own(factory: Factory, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise one pool would silence all others, as it did once."""
    quiet = Pool(factory, 1, health=lambda _: False, health_delay=0, log_level=logging.ERROR, name="quiet")
    loud = Pool(factory, 1, health=lambda _: False, health_delay=0, name="loud")
    for pool in (quiet, loud):
        pool.ret(pool.get())
    assert "loud: " in caplog.text
    assert "quiet: " not in caplog.text
    assert logging.getLogger("ProxyPatternPool").level == logging.NOTSET


def test_a_pool_that_is_a_class_attribute_may_be_hidden_by_an_attribute_of_an_instance(factory: Factory) -> None:
    """Otherwise an instance could not have a pool of its own, or a stand-in for a test."""

    class Service:
        pool: Any = Pool(factory, 1)

    service = Service()
    service.pool = "another"
    assert (service.pool, Service.pool.size) == ("another", 1)
    del service.pool
    assert service.pool is Service.pool


def test_the_earlier_name_of_shutdown_keeps_no_pool_alive(factory: Factory) -> None:
    """Otherwise a pool that nothing references would wait for the garbage collector, with its connections."""
    pool: Any = Pool(factory, 1)
    end, reference = pool.__delete__, weakref.ref(pool)
    gc.collect()
    gc.disable()
    try:
        del pool
        assert reference() is None
    finally:
        gc.enable()
    end()  # nothing is left to end


def test_a_proxy_without_a_pool_counts_the_objects_that_it_has_made(factory: Factory, crew: Crew) -> None:
    """Otherwise monitoring that was written for earlier releases goes down when threads end."""
    proxy: Any = Proxy(fun=factory, max_size=None)
    counts = [proxy._nobjs]
    for number in range(3):
        crew.start(lambda number=number: proxy.number == number or pytest.fail("another thread's"))
        crew.join()
        counts.append(proxy._nobjs)
    assert counts == [0, 1, 2, 3]


def test_the_parameters_of_a_pool_may_be_given_until_there_is_one(factory: Factory) -> None:
    """Otherwise programs fail that set an object first, or a function without a pool, and configure it later."""
    proxy: Any = Proxy(factory(7))
    proxy._set_pool(max_size=2)
    proxy.set_fun(factory, max_size=None)
    proxy._set_pool(max_use=3)
    proxy._set_pool(max_size=4)
    proxy.set_fun(factory)
    assert (proxy._pool.stats()["max_size"], proxy._pool.stats()["max_use"]) == (4, 3)
    with pytest.raises(ProxyException, match="cannot override the parameters of a pool: the proxy has it already"):
        proxy._set_pool(delay=1.0)


def test_the_parameters_of_a_pool_of_tasks_may_be_given_until_there_is_one(factory: Factory) -> None:
    """Otherwise the two proxies follow different rules."""
    proxy: Any = AsyncProxy(fun=factory, max_size=None)
    proxy._set_pool(max_size=2)
    proxy.set_fun(factory)
    assert isinstance(proxy._pool, AsyncPool)
    with pytest.raises(ProxyException, match="cannot override"):
        proxy._set_pool(max_size=3)


@pytest.mark.parametrize("kind", [Proxy, AsyncProxy])
def test_the_setter_takes_a_function_by_position_and_nothing_on_request(kind: Any, factory: Factory) -> None:
    """Otherwise programs written for earlier releases fail at their start."""
    proxy = kind()
    proxy.set(mandatory=False)
    proxy.set(None, None, False)
    assert repr(proxy).endswith("not set>")
    for arguments in ({}, {"mandatory": True}, {"mandatory": False, "max_size": 3}):
        with pytest.raises(ProxyException, match="Proxy must set either obj or fun"):
            proxy.set(**arguments)
    proxy.set(None, factory)
    assert proxy._pool.stats()["size"] == 0
