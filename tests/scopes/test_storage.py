"""Owners and their objects: threads, tasks, greenlets, and their mixtures."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import types
from typing import Any

import pytest

from ProxyPatternPool._owner import current_greenlet, current_task, this_owner
from ProxyPatternPool._scopes.storage import OwnerStorage, ThreadStorage, _Entry
from tests.conftest import Crew


@pytest.mark.parametrize("kind", [ThreadStorage, OwnerStorage])
def test_each_thread_has_its_own(kind: type[ThreadStorage[str]], crew: Crew) -> None:
    """Otherwise two threads would use one connection."""
    storage = kind()
    storage.set("main")

    def work() -> None:
        assert storage.get() is None
        storage.set("thread")
        assert storage.get() == "thread"
        assert storage.pop() == "thread"
        assert storage.pop() is None

    crew.start(work)
    crew.join()
    assert storage.get() == "main"
    assert storage.pop() == "main"
    assert storage.get() is None


def test_an_ended_owner_is_no_later_owner() -> None:
    """Otherwise a block that a later task leaves would return the object of that task, and never its own."""
    owners: list[object] = []

    def look() -> None:
        assert this_owner() == this_owner()
        assert this_owner() not in owners
        owners.append(this_owner())

    async def task() -> None:
        look()

    async def parent() -> None:
        for _ in range(10):
            await asyncio.create_task(task())

    asyncio.run(parent())
    greenlet = pytest.importorskip("greenlet").greenlet
    for _ in range(10):
        greenlet(look).switch()


def test_no_task_nor_thread_sees_its_parents() -> None:
    """Otherwise a child task would write into its parent's transaction."""
    storage: OwnerStorage[str] = OwnerStorage()
    storage.set("thread")

    async def child() -> str | None:
        before = storage.get()
        storage.set("child")
        return before

    async def parent() -> None:
        assert storage.get() is None
        storage.set("parent")
        assert await asyncio.create_task(child()) is None
        assert await asyncio.to_thread(storage.get) is None
        assert contextvars.copy_context().run(storage.get) == "parent"  # the same task, in any context
        assert storage.get() == "parent"
        assert storage.pop() == "parent"
        assert storage.pop() is None

    asyncio.run(parent())
    assert storage.get() == "thread"


def test_the_entry_of_a_task_goes_with_the_task() -> None:
    """Otherwise a later task, at the same address, could get it; or memory would grow with each request."""
    storage: OwnerStorage[str] = OwnerStorage()

    async def leave() -> None:
        assert storage.get() is None
        storage.set("left")

    async def parent() -> None:
        for _ in range(100):
            await asyncio.create_task(leave())

    asyncio.run(parent())
    gc.collect()
    assert not storage._entries


def test_each_greenlet_has_its_own_entry() -> None:
    """Otherwise two greenlets would share a connection."""
    greenlet = pytest.importorskip("greenlet")
    storage: OwnerStorage[str] = OwnerStorage()
    storage.set("thread")

    def work() -> str | None:
        before = storage.get()
        storage.set("greenlet")
        return before

    first = greenlet.greenlet(work)
    first.gr_context = contextvars.copy_context()
    assert first.switch() is None
    assert greenlet.greenlet(work).switch() is None
    assert storage.get() == "thread"


def test_a_greenlet_in_a_task_and_a_loop_in_a_greenlet() -> None:
    """Otherwise code that mixes both worlds would share in one of them."""
    greenlet = pytest.importorskip("greenlet")
    storage: OwnerStorage[str] = OwnerStorage()

    async def task() -> None:
        storage.set("task")
        assert greenlet.greenlet(storage.get).switch() is None
        assert storage.get() == "task"

    asyncio.run(task())

    def loop() -> str | None:
        storage.set("greenlet")
        asyncio.run(task())
        return storage.get()

    assert greenlet.greenlet(loop).switch() == "greenlet"


def test_nothing_is_imported_to_find_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a threaded program would load an event loop when it uses a proxy."""
    for name in ("asyncio", "greenlet"):
        monkeypatch.setitem(sys.modules, name, None)
    nobody: Any = (current_task(), current_greenlet())
    assert nobody == (None, None)
    for name in ("asyncio", "greenlet"):  # as another thread sees them which is just importing them
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    nobody = (current_task(), current_greenlet())
    assert nobody == (None, None)


def test_an_entry_that_is_left_late_removes_no_other_entry() -> None:
    """Otherwise the late end of one owner would lose what belongs to the next one of the same identity."""
    entries: dict[tuple[int, int], _Entry[str]] = {}
    first = _Entry(entries, None, None)
    second = _Entry(entries, None, None)
    first.leave()
    assert list(entries.values()) == [second]
    second.leave()
    assert not entries
