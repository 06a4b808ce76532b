"""A pool that is made when somebody asks for it."""

from __future__ import annotations

import pytest

from ProxyPatternPool import Pool, PoolClosed
from ProxyPatternPool._config import PoolConfig
from ProxyPatternPool._scopes.lazy_pool import LazyPool
from tests.support.bytecodes import at_bytecode, at_each_bytecode


def lazy_pool() -> LazyPool[list[int]]:
    return LazyPool(PoolConfig(fun=lambda n: [n]))


def test_who_asks_at_the_same_time_gets_the_same_pool() -> None:
    """Otherwise there would be twice as many objects as allowed."""

    def attempt(number: int) -> bool:
        lazy = lazy_pool()
        pools: set[Pool[list[int]]] = set()

        def ask() -> None:
            pools.add(lazy.pool)

        asked = at_bytecode(number, ask, ask)
        assert pools == {lazy.pool}
        return asked

    assert at_each_bytecode(attempt) > 30


def test_an_end_at_any_time_closes_the_pool() -> None:
    """Otherwise who has come a moment too late would open a connection that nobody closes."""

    def attempt(number: int) -> bool:
        lazy = lazy_pool()
        pools: list[Pool[list[int]]] = []
        ended = at_bytecode(number, lazy.end, lambda: pools.append(lazy.pool))
        lazy.end()
        with pytest.raises(PoolClosed):
            pools[0].get()
        return ended

    assert at_each_bytecode(attempt) > 30
    never_made = lazy_pool()
    never_made.end()
    with pytest.raises(PoolClosed):
        never_made.pool.get()


def test_it_has_no_objects_without_a_pool() -> None:
    """Otherwise a proxy that was set again and again would keep all its earlier functions."""
    lazy = lazy_pool()
    assert lazy.size == 0
    pool = lazy.pool
    pool.get()
    assert lazy.size == 1
    lazy.drop()
    assert lazy.size == 0
    assert lazy.pool is not pool
