"""AsyncProxy: an object for each task, from a pool which is awaited, and at hand after that."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import os
import pickle
import re
import threading
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from ProxyPatternPool import AsyncPool, AsyncProxy, PoolClosed, PoolException, ProxyException, TimeOut
from ProxyPatternPool.loop_local import at_exit
from tests.conftest import Crew, run
from tests.support.cancelling import watched
from tests.support.loops import NewLoop, Run, run_and_shut_down
from tests.support.memory import where_classes_go
from tests.support.parts import Part, Source, settle, turns
from tests.support.virtual_time import run_fast

ADVICE = r"db: this task has no object: await _get_obj\(\) first, or use it inside async with _obj\(\)"


@pytest.fixture
def source() -> Source:
    """Return what makes parts, and remembers them."""
    return Source()


def proxy(source: Source, **parameters: Any) -> Any:
    return AsyncProxy(fun=source, **{"name": "db", "min_size": 0, **parameters})


async def in_task(work: Callable[[], Awaitable[object]]) -> Any:
    """Run it in a task of its own, and let the loop notice that this has ended."""

    async def do() -> object:
        return await work()

    try:
        return await asyncio.create_task(do())
    finally:
        for _ in range(3):
            await asyncio.sleep(0)


# -- which task has which object


def test_each_task_has_its_own(run_loop: Run, source: Source) -> None:
    """Otherwise two requests would write into one transaction."""
    db = proxy(source, max_size=3)
    assert (source.parts, db._pool.size) == ([], 0)
    together = asyncio.Barrier(3)

    async def request() -> Part:
        mine: Part = await db._get_obj()
        await together.wait()
        assert await db._get_obj() is db._local.obj is mine
        assert db.number == mine.number
        assert issubclass(db.__class__, Part)
        db.use()
        await together.wait()
        db.leave()
        await db._ret_obj()
        assert not db._has_obj()
        return source.parts[source.parts.index(mine)]

    async def main() -> None:
        for _ in range(2):
            assert len({id(part) for part in await asyncio.gather(*(request() for _ in range(3)))}) == 3
        assert isinstance(db._pool, AsyncPool)
        assert (len(source.parts), db._nobjs, db._pool.stats()["nuses"]) == (3, 3, 6)

    run_loop(watched(main()))
    source.check_all_gone()


def test_no_task_sees_the_object_of_another(run_loop: Run, source: Source) -> None:
    """Otherwise a task that a request starts would use its connection at the same time."""
    db = proxy(source)

    async def refused() -> None:
        with pytest.raises(ProxyException, match=f"^{ADVICE}$"):
            assert db.number

    async def main() -> None:
        await refused()
        await db._get_obj()
        await asyncio.create_task(refused())
        with pytest.raises(ProxyException, match=f"^{ADVICE}$"):
            await asyncio.to_thread(lambda: db.number)
        assert (db.number, len(source.parts)) == (0, 1)
        await asyncio.create_task(db._get_obj())  # it belongs to that task
        assert (db.number, len(source.parts)) == (0, 2)
        await db._ret_obj()
        await refused()
        await db._ret_obj()  # there is nothing

    run_loop(watched(main()))
    with pytest.raises(ProxyException, match=ADVICE):
        str(db)


def test_it_can_be_set_later(run_loop: Run, source: Source) -> None:
    """Otherwise a module could not be imported before what it needs exists."""
    db: Any = AsyncProxy(max_size=3, name="db")
    db._set_pool(timeout=1)

    async def main() -> None:
        with pytest.raises(ProxyException, match="db: the proxy is not set yet"):
            await db._get_obj()
        db.set_fun(source, max_size=2)
        async with db._obj() as part:
            assert db.number == part.number == 0
        stats = db._pool.stats()
        assert (stats["name"], stats["max_size"], stats["timeout"]) == ("db", 2, 1)

    run_loop(watched(main()))


def test_parameters_are_the_pools(run_loop: Run, source: Source) -> None:
    """Otherwise they would do nothing, silently."""
    log: list[str] = []

    def hook(name: str) -> Callable[[Part], Awaitable[bool]]:
        async def note(part: Part) -> bool:
            await turns(part)
            log.append(f"{name} {part.number}")
            return True

        return note

    names = ("opener", "getter", "retter", "health", "close")
    db = proxy(source, max_size=1, max_use=2, health_delay=0, **{name: hook(name) for name in names})

    async def main() -> None:
        for _ in range(2):
            assert await db._get_obj() is source.parts[0]
            await db._ret_obj()
            await asyncio.sleep(0.001)
        async with db._obj():
            assert db.number == 1

    run_loop(watched(main()))
    first = ["opener 0", "getter 0", "retter 0", "health 0", "getter 0", "retter 0", "close 0"]
    assert log == [*first, "opener 1", "getter 1", "retter 1", "close 1"]
    with pytest.raises(TypeError, match="no parameter max_sise"):
        proxy(source, max_sise=1)


def test_a_timeout_reaches_the_calling_task(run_loop: Run, source: Source) -> None:
    """Otherwise a request would wait for ever."""
    db = proxy(source, max_size=1, timeout=0.001)

    async def main() -> None:
        await in_task(db._get_obj)
        for wait in (db._get_obj, lambda: db._get_obj(timeout=0), db._obj().__aenter__):
            with pytest.raises(TimeOut, match=r"db: pool max size reached \(1\), timeout after 0\.0"):
                await wait()
        with pytest.raises(ValueError, match="timeout must be"):
            await db._get_obj(timeout=-1)

    run_loop(watched(main()))


# -- blocks


def test_a_block_gives_back_what_the_task_had_not_before(run_loop: Run, source: Source) -> None:
    """Otherwise an inner block would end the transaction of an outer one."""
    db = proxy(source, max_size=1, timeout=20)

    async def main() -> None:
        async with db._obj() as outer:
            async with db._obj(timeout=0) as inner:
                assert inner is outer
            assert db.number == 0
        assert not db._has_obj()
        await db._get_obj()
        async with db._obj():
            pass
        assert db.number == 0
        async with db._obj():
            await db._ret_obj()
            await db._get_obj()
        assert db._has_obj()
        await db._ret_obj()
        async with db._obj():
            await db._ret_obj()
            assert db._pool.stats()["in_use"] == 0
            await db._get_obj()
        assert db._pool.stats()["in_use"] == 0

    run_loop(watched(main()))


@pytest.mark.parametrize("error", [ValueError, CancelledError, SystemExit])
def test_a_block_gives_back_whatever_ends_it(run_loop: Run, source: Source, error: type[BaseException]) -> None:
    """Otherwise each failure would cost a place."""
    db = proxy(source, max_size=1, timeout=20)

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(error):
                async with db._obj():
                    raise error
        assert db._pool.stats()["in_use"] == 0

    run_loop(watched(main()))


@pytest.mark.parametrize("alive", [True, False])
def test_a_block_that_another_task_leaves(run_loop: Run, source: Source, alive: bool) -> None:
    """Otherwise a fixture that runs in two tasks would take the object of the task that runs the second half."""
    db = proxy(source, max_size=2, timeout=20)

    async def main() -> None:
        for _ in range(20):  # so that now and then the second task gets what was the first one's identity
            leave = asyncio.Event()
            block = db._obj()

            async def enter(block: Any = block, leave: asyncio.Event = leave) -> None:
                await block.__aenter__()
                if alive:
                    await leave.wait()
                    assert not db._has_obj()
                    async with db._obj() as again:
                        assert db.number == again.number
                    assert not db._has_obj()

            async def use_and_leave(block: Any = block) -> None:
                mine = await db._get_obj()
                await block.__aexit__(None, None, None)
                await asyncio.sleep(0)
                assert db._pool.stats()["in_use"] == 1
                assert db._local.obj is mine
                await db._ret_obj()

            first = asyncio.create_task(enter())
            await settle(lambda: db._pool.leases())
            if not alive:
                await first
                del first
                await asyncio.sleep(0)
            await asyncio.create_task(use_and_leave())
            leave.set()
            assert db._pool.stats()["in_use"] == 0

    run_loop(watched(main()))


def test_a_task_learns_nothing_of_what_was_taken_from_a_block_that_is_over(source: Source) -> None:
    """Otherwise a task that serves many would fail all of them to come, for one that was too slow."""
    db = proxy(source, max_using_delay_kill=5)

    async def main() -> None:
        block = db._obj()
        await block.__aenter__()
        await asyncio.sleep(6)
        with pytest.raises(PoolException, match="taken away"):
            await db._get_obj()
        await in_task(lambda: block.__aexit__(None, None, None))
        assert (await db._get_obj()).number == 1

    run_fast(watched(main()))


def test_a_block_that_another_task_leaves_takes_nothing_from_the_owner(run_loop: Run, source: Source) -> None:
    """Otherwise a transaction would lose its connection in the middle."""
    db = proxy(source)

    async def main() -> None:
        await db._get_obj()
        block = db._obj()
        await block.__aenter__()
        await in_task(lambda: block.__aexit__(None, None, None))
        assert db.number == 0

    run_loop(watched(main()))


def test_a_generator_that_is_abandoned_in_its_block(run_loop: Run, source: Source) -> None:
    """Otherwise each client that stops reading a stream would cost a connection."""
    db = proxy(source, max_size=1, timeout=20)

    async def rows() -> AsyncIterator[int]:
        async with db._obj():
            yield db.number
            yield db.number

    async def main() -> None:
        async for row in rows():
            assert row == 0
            break
        gc.collect()
        await settle(lambda: not db._pool.leases())
        async with db._obj():
            pass

    run_loop(watched(main()))


# -- the end of a task


async def ends(work: Callable[[], Awaitable[object]]) -> None:
    await in_task(work)


async def fails(work: Callable[[], Awaitable[object]]) -> None:
    async def fail() -> None:
        await work()
        raise KeyError

    with pytest.raises(KeyError):
        await in_task(fail)


async def is_cancelled(work: Callable[[], Awaitable[object]]) -> None:
    async def wait() -> None:
        await work()
        await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))


async def is_kept(work: Callable[[], Awaitable[object]]) -> None:
    async def do() -> None:
        await work()

    task = asyncio.create_task(do())
    kept.append(task)
    await asyncio.wait((task,))


kept: list[object] = []
End = Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]


@pytest.mark.parametrize("end", [ends, fails, is_cancelled, is_kept])
@pytest.mark.parametrize("retter", [None, turns])
def test_the_object_of_a_task_goes_back_at_its_end(run_loop: Run, source: Source, end: End, retter: Any) -> None:
    """Otherwise a server that starts a task for each request would run dry after two of them."""
    db = proxy(source, max_size=2, auto_return=True, retter=retter)

    async def main() -> None:
        for _ in range(50):
            await end(db._get_obj)
        await settle(lambda: db._pool.stats()["idle"] == db._pool.size)
        assert db._pool.stats()["nuses"] == 50
        kept.clear()

    run_loop(watched(main()))
    assert len(source.parts) <= 2
    source.check_all_gone()


def test_the_end_of_a_task_wakes_the_first_waiter(run_loop: Run, source: Source) -> None:
    """Otherwise a waiter would time out beside an object that has come back."""
    db = proxy(source, max_size=1, auto_return=True)
    served: list[int] = []

    async def hold(number: int) -> None:
        await db._get_obj()
        served.append(number)
        await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(hold(number) for number in range(20)))

    run_loop(watched(main()))
    assert served == [*range(20)]
    assert len(source.parts) == 1


@pytest.mark.parametrize("auto_return", [True, False])
def test_the_end_of_the_program(run_loop: Run, source: Source, auto_return: bool) -> None:
    """Otherwise the work of the last task would be undone, or unfinished work would be committed."""
    db = proxy(source, auto_return=auto_return)
    run_loop(watched(db._get_obj()))
    source.check_all_gone()
    assert [type(part.error) for part in source.parts] == [type(None) if auto_return else PoolException]


def test_a_task_that_is_collected_by_another_thread(new_loop: NewLoop, source: Source) -> None:
    """Otherwise the collector, wherever it runs, would break into what the loop does."""
    db = proxy(source, max_size=1, auto_return=True, retter=turns)
    has = asyncio.Event()

    async def hold() -> None:
        await db._get_obj()
        has.set()
        await asyncio.get_running_loop().create_future()  # which nothing else references

    async def main() -> None:
        asyncio.get_running_loop().set_debug(True)  # so that it complains when another thread breaks in
        task = asyncio.create_task(hold())
        await has.wait()
        await asyncio.sleep(0)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the complaint is asyncio's, and right
        del task
        gc.disable()
        try:
            await asyncio.to_thread(gc.collect)
        finally:
            gc.enable()
        await db._get_obj(timeout=10)

    run_and_shut_down(new_loop, watched(main()))
    assert len(source.parts) == 1
    source.check_all_gone()


def test_a_task_that_its_loop_has_left_behind(new_loop: NewLoop, source: Source) -> None:
    """Otherwise its collection would fail, or what it had would be lent in the next loop."""
    db = proxy(source, max_size=1, auto_return=True)

    async def hold() -> None:
        await db._get_obj()
        await asyncio.Event().wait()

    loop = new_loop()
    task = loop.create_task(hold())
    loop.run_until_complete(asyncio.wait((task,), timeout=0.001))
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # the complaint is asyncio's, and right
    del task
    gc.collect()
    source.check_all_gone()

    async def main() -> None:
        await db._get_obj()
        assert db.number == 0

    run_and_shut_down(new_loop, watched(main()))
    assert len(source.parts) == 2


@pytest.mark.parametrize("retter", [None, turns])
def test_a_lease_that_is_over_when_its_task_ends_is_left_alone(run_loop: Run, source: Source, retter: Any) -> None:
    """Otherwise the next one's use would end with the last one's task."""
    db = proxy(source, max_size=1, auto_return=True, retter=retter)

    async def main() -> None:
        task = asyncio.create_task(db._get_obj())
        part = await task
        next_use = asyncio.create_task(db._get_obj())
        del task
        await db._pool.ret(part)
        await next_use
        assert db._pool.stats()["nuses"] == 2

    run_loop(watched(main()))


@where_classes_go
def test_a_pool_that_has_gone_when_its_last_task_ends(run_loop: Run, source: Source) -> None:
    """Otherwise the last object of the pool would stay open until the end of the loop."""

    async def main() -> None:
        db = proxy(source, auto_return=True)
        task = asyncio.create_task(db._get_obj())
        await asyncio.wait((task,))
        del db, task
        gc.collect()
        await settle(lambda: not source.parts[0].open)
        at_exit(source.calls.append, "the end")

    run_loop(watched(main()))
    assert source.calls[-1] == "the end"


@where_classes_go
@pytest.mark.parametrize("max_size", [0, None])
def test_a_pool_collected_together_with_its_task_closes_its_object(
    run_loop: Run, source: Source, max_size: int | None
) -> None:
    """Otherwise the last object of the pool would stay open until the end of the loop."""
    has = asyncio.Event()

    async def hold() -> None:
        db = proxy(source, max_size=max_size, auto_return=True)
        await db._get_obj()
        has.set()
        await asyncio.get_running_loop().create_future()  # which nothing else references
        await db._ret_obj()

    async def main() -> None:
        task = asyncio.create_task(hold())
        await has.wait()
        await asyncio.sleep(0)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the complaint is asyncio's, and right
        del task
        gc.collect()
        await settle(lambda: not source.parts[0].open)
        assert isinstance(source.parts[0].error, PoolException)

    run_loop(watched(main()))


def test_an_object_whose_retter_hangs_after_its_task_is_closed(source: Source) -> None:
    """Otherwise each server that hangs in mid-rollback would cost a place in the pool for ever."""

    async def hang(part: Part) -> None:
        if part.number == 0:
            await asyncio.Event().wait()

    async def main() -> None:
        db = proxy(source, max_size=1, auto_return=True, retter=hang)
        await in_task(db._get_obj)
        begun = asyncio.get_running_loop().time()
        assert (await db._get_obj(timeout=6)).number == 1
        assert asyncio.get_running_loop().time() - begun == pytest.approx(5)
        assert source.parts[0].gone
        assert isinstance(source.parts[0].error, PoolException)
        await db._ret_obj()

    run_fast(watched(main()))


def test_without_auto_return_the_error_tells_of_ended_tasks(run_loop: Run, source: Source) -> None:
    """Otherwise a forgotten `_ret_obj` would be a riddle, as no owner of the object is left."""
    db = proxy(source, max_size=2)

    async def main() -> None:
        for _ in range(2):
            await in_task(db._get_obj)
        with pytest.raises(TimeOut) as caught:
            await db._get_obj(timeout=0)
        text = "by a task that has ended; 2 held for owners that have ended: auto_return=True would give them back"
        assert str(caught.value).endswith(text)

    run_loop(watched(main()))


def test_leases_name_the_tasks_that_hold_objects(run_loop: Run, source: Source) -> None:
    """Otherwise a monitor could not tell which task holds an object for too long."""
    db = proxy(source)

    async def main() -> None:
        await asyncio.create_task(db._get_obj(), name="request")
        await asyncio.create_task(db._pool.get(), name="request")
        asyncio.current_task().set_name("main")  # type: ignore[union-attr]  # there is one
        await db._get_obj()
        assert [lease["holder"] for lease in db._pool.leases()] == [*["a task that has ended"] * 2, "task 'main'"]

    run_loop(watched(main()))


def test_tasks_leave_nothing_behind(run_loop: Run, source: Source) -> None:
    """Otherwise a server would grow with each request."""
    db = proxy(source, max_size=1)

    async def request() -> None:
        async with db._obj():
            assert db._proxy_provider._leases.storage._entries

    async def main() -> None:
        for _ in range(3):
            await in_task(request)
        assert db._proxy_provider._leases.storage._entries == {}

    run_loop(watched(main()))


# -- what becomes of an object behind the proxy's back


def test_an_object_that_is_taken_away(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise the second half of a transaction would go to another connection."""
    db = proxy(source, max_size=1, max_using_delay_kill=5)

    async def main() -> None:
        await db._get_obj()
        await asyncio.sleep(6)
        for _ in range(2):
            with pytest.raises(PoolException, match=r"db: the object was taken away.*call _ret_obj\(\)"):
                assert db.number
            with pytest.raises(PoolException, match="taken away"):
                await db._get_obj()
            with pytest.raises(PoolException, match="taken away"):
                await db._obj().__aenter__()
        await db._ret_obj()
        assert await db._get_obj() is db._local.obj is source.parts[1]
        await db._ret_obj()
        async with db._obj():
            await asyncio.sleep(6)
            with pytest.raises(PoolException, match="taken away"):
                assert db.number
        assert not db._has_obj()

    run_fast(watched(main()))
    assert re.search("was taken away: not given back within 5.0 s by task 'Task-", caplog.text)
    source.check_all_gone()


@pytest.mark.parametrize("how", ["ret", "discard"])
def test_an_object_that_was_given_back_behind_the_proxy(run_loop: Run, source: Source, how: str) -> None:
    """Otherwise a task would go on using an object that another task has by now."""
    db = proxy(source, max_size=1)

    async def main() -> None:
        await getattr(db._pool, how)(await db._get_obj())
        with pytest.raises(ProxyException, match=ADVICE):
            assert db.number
        await db._ret_obj()
        assert (await db._get_obj()).number == (how == "discard")
        assert db._pool.stats()["nbad_returns"] == 0

    run_loop(watched(main()))


def test_an_object_that_ends_by_itself(run_loop: Run, source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise one that a failed task group has closed would be used on and on."""
    db = proxy(source)

    async def main() -> None:
        part = await db._get_obj()
        part.tasks[0].cancel()  # as a group of tasks does one of whose tasks has failed
        await settle(lambda: db._pool.size == 0)
        with pytest.raises(ProxyException, match=ADVICE):
            assert db.number
        assert await db._get_obj() is db._local.obj is source.parts[1]

    with caplog.at_level(logging.ERROR, logger="asyncio"):
        run_loop(main())


class Shy(AbstractAsyncContextManager["Shy"]):
    """An object whose class cannot be told."""

    @property  # type: ignore[misc]  # that it cannot be set, too, is not as it should be
    def __class__(self) -> type:
        raise OSError("not now")

    async def __aexit__(self, *_error: object) -> None:
        pass


def test_an_object_that_cannot_be_kept_is_given_back(run_loop: Run) -> None:
    """Otherwise it would have no owner, and be out for ever."""
    db: Any = AsyncProxy(fun=lambda n: Shy(), max_size=1, timeout=20)

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(OSError, match="not now"):
                await db._get_obj()
            await asyncio.sleep(0)
        assert db._pool.stats()["in_use"] == 0

    run_loop(watched(main()))


# -- setting it again


def test_setting_a_task_proxy_again_shuts_its_pool_down(run_loop: Run, source: Source) -> None:
    """Otherwise a reload would leave connections open, or close them under their users' feet."""
    db = proxy(source, max_size=2)

    async def main() -> None:
        await in_task(lambda: use(db))
        async with db._obj() as mine:
            other = await db._pool.get()
            old = db._pool
            await old.ret(other)
            db.set_fun(source)
            await asyncio.sleep(0)
            assert old.stats()["closed"]
            with pytest.raises(PoolClosed):
                await old.get()
            await settle(lambda: source.parts[1].calls[-1:] == ["exited"])
            assert mine.open
            with pytest.raises(ProxyException, match=ADVICE):
                assert db.number
            async with db._obj(), db._obj():
                assert db._local.obj is source.parts[2]
            await turns(mine)
            assert mine.open  # it is the outer block's
            assert await db._get_obj() is db._local.obj is source.parts[2]
        assert db._pool.leases() == []
        await settle(lambda: not mine.open)  # a block that was entered before gives both back
        assert mine.error is None

    run_loop(watched(main()))
    source.check_all_gone()


async def use(db: Any) -> None:
    async with db._obj():
        assert db.open


def test_a_provider_that_was_replaced_answers_with_the_object_of_its_successor(run_loop: Run, source: Source) -> None:
    """Otherwise a use that begins just before a reload would fail, although the task has an object."""
    db = proxy(source)
    late = db._proxy_provider  # looked up before the setting, and asked after it
    db.set_fun(source)

    async def main() -> None:
        obj = await db._get_obj()
        assert late.get() is obj
        await db._ret_obj()

    run_loop(watched(main()))


def test_a_waiter_gets_the_new_object_when_the_proxy_is_set_again(run_loop: Run, source: Source) -> None:
    """Otherwise a reload would fail the requests that wait."""
    db = proxy(source, max_size=1)

    async def request() -> Part:
        async with db._obj() as mine:
            assert db._local.obj is mine
            return source.parts[source.parts.index(mine)]

    async def main() -> None:
        async with db._obj():
            waiting = asyncio.create_task(request())
            await settle(lambda: db._pool.stats()["nwaiting"])
            db.set_fun(source)
            assert await waiting is source.parts[1]

    run_loop(watched(main()))
    source.check_all_gone()


def test_a_creating_caller_gets_the_new_object_when_the_proxy_is_set_again(run_loop: Run, source: Source) -> None:
    """Otherwise a server that was given up for another one would hold up, or fail, the requests that came before."""

    async def hang(part: Part) -> None:
        if part.number == 0:
            await asyncio.Event().wait()

    db = proxy(Source(hang))

    async def main() -> None:
        request = asyncio.create_task(db._get_obj())
        await settle(lambda: db._pool.stats()["creating"])
        db.set_fun(source)
        assert await request is source.parts[0]

    run_loop(watched(main()))
    source.check_all_gone()


def test_a_waiter_just_served_gets_the_new_object_of_a_proxy_set_again(run_loop: Run, source: Source) -> None:
    """Otherwise it would have an object that its proxy does not know of."""
    db = proxy(source, max_size=1)

    async def request() -> None:
        async with db._obj() as mine:
            assert db._local.obj is mine is source.parts[1]

    async def main() -> None:
        old, part = db._pool, await db._pool.get()
        waiting = asyncio.create_task(request())
        await settle(lambda: old.stats()["nwaiting"])
        await old.ret(part)  # and it is the waiter's
        db.set_fun(source)
        await waiting
        await settle(lambda: old.size == 0)

    run_loop(watched(main()))
    source.check_all_gone()


def test_a_pool_that_was_shut_down_says_so(run_loop: Run, source: Source) -> None:
    """Otherwise its users would wait for what will never come."""
    db = proxy(source)

    async def main() -> None:
        async with db._pool:
            await use(db)
        with pytest.raises(PoolClosed):
            await db._get_obj()

    run_loop(watched(main()))
    source.check_all_gone()


def test_setting_again_from_another_thread(new_loop: NewLoop, source: Source, crew: Crew) -> None:
    """Otherwise a reload by a signal's thread would close objects where their loop does not run."""
    db = proxy(source)

    async def main() -> None:
        asyncio.get_running_loop().set_debug(True)
        await use(db)
        crew.start(db.set_fun, source)
        await settle_for_long(lambda: not source.parts[0].open)
        crew.join()
        await use(db)
        assert len(source.parts) == 2

    run_and_shut_down(new_loop, watched(main()))
    source.check_all_gone()


async def settle_for_long(condition: Callable[[], object]) -> None:
    """Let the loop turn until another thread has done something."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def test_setting_again_without_a_loop(new_loop: NewLoop, source: Source) -> None:
    """Otherwise a program could not be set up, and set up again, before it runs, and between two of its runs."""
    db = proxy(source)
    unused = db._pool
    db.set_fun(source)
    assert unused.stats()["closed"]
    loop = new_loop()
    loop.run_until_complete(use(db))
    suspended = db._pool
    db.set_fun(source)
    assert source.parts[0].open  # its loop does not run
    loop.run_until_complete(use(db))
    loop.run_until_complete(settle(lambda: suspended.size == 0))
    assert [part.open for part in source.parts] == [False, True]
    last = db._pool
    loop.close()
    db.set_fun(source)

    async def main() -> None:
        for pool in (unused, suspended, last):
            with pytest.raises(PoolClosed):
                await pool.get()

    run_and_shut_down(new_loop, watched(main()))
    source.check_all_gone()


def test_an_object_may_take_the_place_of_the_function(run_loop: Run, source: Source) -> None:
    """Otherwise a test could not put its own object where the program has a pool."""
    db = proxy(source)

    async def main() -> None:
        await db._get_obj()
        db.set_obj([1])
        assert db == [1]
        async with db._obj() as mine:
            assert mine is db._local.obj
        assert db._pool is None
        assert source.parts[0].open
        await db._ret_obj()
        await settle(lambda: not source.parts[0].open)
        assert db == [1]

    run_loop(watched(main()))


# -- without a pool


def test_without_a_pool_each_task_has_an_object_made(run_loop: Run, source: Source) -> None:
    """Otherwise an object would be lent twice, or never be closed."""
    db = proxy(source, max_size=None, min_size=2)

    async def main() -> None:
        await asyncio.gather(*(in_task(db._get_obj) for _ in range(5)))
        await settle(lambda: not any(part.open for part in source.parts))
        assert (len(source.parts), db._nobjs) == (5, 0)
        assert all(isinstance(part.error, PoolException) for part in source.parts), (
            "nobody gave it back: it may be half done"
        )
        for number in (5, 6):
            async with db._obj():
                assert db.number == number
                await db._get_obj()
            await settle(lambda: not source.parts[-1].open)
        assert {part.error for part in source.parts[5:]} == {None}
        with pytest.raises(OSError, match="half done"):
            async with db._obj():
                raise OSError("half done")
        await settle(lambda: not source.parts[-1].open)
        assert isinstance(source.parts[-1].error, PoolException)
        await db._get_obj()
        await db._ret_obj()
        await settle(lambda: not source.parts[-1].open)
        assert source.parts[-1].error is None

    run_loop(watched(main()))
    source.check_all_gone()


# -- loops and processes


def test_one_loop_after_another(run_loop: Run, source: Source) -> None:
    """Otherwise a program could call `asyncio.run` once only."""
    db = proxy(source, max_size=1, timeout=20)
    for number in range(3):
        run_loop(watched(use(db)))
        source.check_all_gone()
        assert (len(source.parts), db._pool.size) == (number + 1, 0)


def test_two_loops_at_the_same_time(new_loop: NewLoop, source: Source) -> None:
    """Otherwise an object would be used in a loop that it does not belong to."""
    db = proxy(source)

    def elsewhere() -> None:
        with pytest.raises(PoolException, match="another event loop, which has not ended: make a pool per loop"):
            run_and_shut_down(new_loop, db._get_obj())

    async def main() -> None:
        await db._get_obj()
        await asyncio.to_thread(elsewhere)
        assert db.number == 0

    run_and_shut_down(new_loop, watched(main()))
    source.check_all_gone()


@asynccontextmanager
async def connect(number: int) -> AsyncIterator[list[int]]:
    yield [number]


def test_a_pickled_proxy_of_a_task_arrives_as_a_proxy(run_loop: Run) -> None:
    """Otherwise a job that is sent to another process would lose its database."""
    db: Any = AsyncProxy(fun=connect, max_size=2, auto_return=True, name="db")
    arrived = pickle.loads(pickle.dumps(copy.copy(AsyncProxy(name="later"))))
    assert repr(arrived) == "<AsyncProxy later: not set>"
    arrived = pickle.loads(pickle.dumps(db))

    async def main() -> None:
        async with db._obj() as mine:
            assert copy.copy(db) == mine
            assert pickle.loads(pickle.dumps(db))._pool is not db._pool
        async with arrived._obj():
            assert arrived == [0]
        assert arrived._pool.stats()["max_size"] == 2
        assert (await in_task(arrived._get_obj), arrived._pool.leases()) == ([0], [])

    run_loop(watched(main()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_task_in_a_forked_child_makes_its_own_object() -> None:
    """Otherwise parent and child would speak on one connection, and the child would end it."""
    result = run("""
        import asyncio, gc, os, sys
        from contextlib import asynccontextmanager
        from ProxyPatternPool import AsyncProxy

        @asynccontextmanager
        async def connect(number):
            pid = os.getpid()
            yield pid
            print("exit", "mine" if pid == os.getpid() else "another's", number, flush=True)

        owner = AsyncProxy(fun=connect, max_size=1, auto_return=True, timeout=20)

        async def use():
            async with owner._obj():
                assert owner == os.getpid()

        async def hold_and_fork():
            await owner._get_obj()
            child = os.fork()
            if child:
                assert owner == os.getpid()
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert not owner._has_obj() and owner._nobjs == 0
            asyncio.run(use())
            gc.collect()
            assert owner._nobjs == 0
            os._exit(0)

        sys.exit(asyncio.run(hold_and_fork()))
    """)
    assert (result.stderr, result.returncode) == ("", 0)
    assert result.stdout.splitlines() == ["exit mine 0"] * 2


def test_threads_that_look_at_it(new_loop: NewLoop, source: Source) -> None:
    """Otherwise monitoring would disturb what the loop does."""
    db = proxy(source)
    has, may_end = threading.Event(), threading.Event()

    def look() -> None:
        assert has.wait(20)
        assert (db._has_obj(), db._nobjs, len(db._pool.leases())) == (False, 1, 1)
        may_end.set()

    async def main() -> None:
        thread = asyncio.create_task(asyncio.to_thread(look))
        async with db._obj():
            has.set()
            await thread

    run_and_shut_down(new_loop, watched(main()))
    assert may_end.is_set()
