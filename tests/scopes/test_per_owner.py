"""The pool of a proxy, which is made when it is first used."""

from __future__ import annotations

from typing import Any

import pytest

from ProxyPatternPool import Pool, PoolClosed
from ProxyPatternPool._config import PoolConfig
from ProxyPatternPool._scopes.per_owner import OwnerProvider
from ProxyPatternPool._scopes.pool_source import PoolSource
from ProxyPatternPool._scopes.provider import UnsetProvider
from ProxyPatternPool._scopes.storage import ThreadStorage
from tests.support.bytecodes import at_bytecode, at_each_bytecode


def source(**parameters: Any) -> PoolSource[list[int]]:
    return PoolSource(PoolConfig(fun=lambda n: [n], **parameters), ThreadStorage())


def provider(source: PoolSource[list[int]]) -> OwnerProvider[list[int]]:
    return OwnerProvider(ThreadStorage(), source, lambda _: None)


def test_callers_at_the_same_time_get_the_same_pool() -> None:
    """Otherwise there would be twice as many objects as allowed."""

    def attempt(number: int) -> bool:
        one = source()
        pools: set[Pool[list[int]]] = set()

        def ask() -> None:
            pools.add(one.pool)

        asked = at_bytecode(number, ask, ask)
        assert pools == {one.pool}
        return asked

    assert at_each_bytecode(attempt) > 30


def test_an_end_at_any_time_closes_the_pool() -> None:
    """Otherwise a caller that comes a moment too late would open a connection that nothing closes."""

    def attempt(number: int) -> bool:
        one, successor = source(), UnsetProvider[list[int]]("not set")
        late = provider(one)
        pools: list[Pool[list[int]]] = []
        ended = at_bytecode(number, lambda: late.end(successor), lambda: pools.append(one.pool))
        late.end(successor)
        with pytest.raises(PoolClosed):
            pools[0].get()
        return ended

    assert at_each_bytecode(attempt) > 30
    never_used = source()
    provider(never_used).end(UnsetProvider("not set"))
    with pytest.raises(PoolClosed):
        never_used.pool.get()


def test_a_proxy_that_is_not_used_has_no_pool() -> None:
    """Otherwise a program that sets a hundred proxies, and uses three, would start more slowly."""
    one = source(min_size=2)
    assert (one._made, one.count(), one.in_use()) == ({}, 0, False)
    provider(one).get()
    assert (list(one._made), one.in_use()) == (["pool"], True)
