"""Trails outside Flask: what `_ret_obj` gives back of other owners, and what it leaves alone."""

from __future__ import annotations

import asyncio
import gc
import sys
import types
import weakref
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest

from ProxyPatternPool import Proxy, _trail
from ProxyPatternPool._trail import begin_trail, current_trail
from tests.conftest import Crew, Factory, Thing

VERSATILE = Proxy.Scope.VERSATILE


@pytest.fixture(autouse=True)
def no_trail() -> Iterator[None]:
    """Begin and end without a mark in the context of this thread, where asgiref leaves the marks of tasks."""
    token = _trail._mark.set(None)
    yield
    _trail._mark.reset(token)


def things(factory: Factory, **parameters: Any) -> Proxy[Thing]:
    return Proxy(fun=factory, **{"scope": VERSATILE, "max_size": 3, "timeout": 0.2, **parameters})


async def use(db: Proxy[Thing]) -> int:
    return int(db.number)


def in_use(db: Proxy[Thing]) -> list[int]:
    return sorted(lease["number"] for lease in db._pool.leases())


def test_the_end_of_a_task_gives_nothing_back_without_ret_obj(factory: Factory) -> None:
    """Otherwise a transaction that a task has left is lent to the next one, unasked."""
    db = things(factory)
    asyncio.run(use(db))
    assert in_use(db) == [0]


def test_objects_left_by_child_tasks_go_back_with_ret_obj_of_the_parent(factory: Factory) -> None:
    """Otherwise it stays out for good."""
    tidied: list[int] = []
    db = things(factory, retter=lambda thing: tidied.append(thing.number))

    async def parent() -> None:
        db._get_obj()
        db._ret_obj()
        assert await asyncio.gather(*[asyncio.create_task(use(db)) for _ in range(2)]) == [0, 1]
        assert in_use(db) == [0, 1]
        db._ret_obj()

    asyncio.run(parent())
    assert (in_use(db), sorted(tidied)) == ([], [0, 0, 1])


def test_a_task_that_has_an_object_gives_back_that_one_alone(factory: Factory) -> None:
    """Otherwise each return in asyncio pays for looking at all objects."""
    db = things(factory)

    async def parent() -> None:
        assert await use(db) == 0
        assert await asyncio.create_task(use(db)) == 1
        db._ret_obj()
        assert in_use(db) == [1]
        db._ret_obj()
        assert in_use(db) == []

    asyncio.run(parent())


def test_a_task_of_another_trail_keeps_what_it_has_left(factory: Factory) -> None:
    """Otherwise one request tidies up after another, whose end is to come."""
    db = things(factory)

    async def parent() -> None:
        await asyncio.gather(use(db), use(db))  # neither of them sees the other's context
        db._ret_obj()
        assert in_use(db) == [0, 1]

    asyncio.run(parent())


def test_a_thread_leaves_no_mark_and_other_threads_alone(factory: Factory, crew: Crew) -> None:
    """Otherwise programs without tasks pay for them, or a thread takes the object of another."""
    db = things(factory)

    def work() -> None:
        assert db.number == 0
        assert current_trail() is None

    crew.start(copy_context().run, work)
    crew.join()
    db._ret_obj()
    assert in_use(db) == [0]


def test_the_scope_of_threads_knows_no_trail(factory: Factory) -> None:
    """Otherwise a thread takes back what it has lent to the code of a task in it, which is still at work."""
    db = things(factory, scope=Proxy.Scope.THREAD)

    async def parent() -> None:
        begin_trail()
        assert await asyncio.create_task(use(db)) == 0

    copy_context().run(asyncio.run, parent())
    assert in_use(db) == [0]
    db._ret_obj()
    assert in_use(db) == []


def test_giving_back_on_a_trail_makes_no_pool(factory: Factory) -> None:
    """Otherwise each request pays for a pool that it does not use."""
    db = things(factory, min_size=1)

    async def task() -> None:
        begin_trail()
        db._ret_obj()

    asyncio.run(task())
    assert (db._nobjs, factory.things) == (0, [])


def test_an_object_does_not_keep_its_trail_alive(factory: Factory) -> None:
    """Otherwise each object in a pool keeps the memory of the latest request that used it."""
    db = things(factory)
    trails: list[weakref.ref[object]] = []

    async def task() -> None:
        await use(db)
        trail = begin_trail()
        assert trail is not None
        trails.append(weakref.ref(trail))
        del trail
        db._ret_obj()

    asyncio.run(task())
    gc.collect()
    assert [trail() for trail in trails] == [None]


def test_a_trail_that_is_gone_is_no_trail_of_others(factory: Factory) -> None:
    """Otherwise an owner without a trail takes all that ended owners have left."""
    db = things(factory)
    asyncio.run(use(db))
    gc.collect()
    db._ret_obj()

    async def other() -> None:
        begin_trail()
        db._ret_obj()

    asyncio.run(other())
    assert in_use(db) == [0]


def test_flask_that_is_being_imported_is_no_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a program fails where another thread imports Flask."""
    monkeypatch.setitem(sys.modules, "flask.globals", types.ModuleType("flask.globals"))
    assert copy_context().run(current_trail) is None
