"""The object of an owner that ends: with `auto_return` it goes back; without, the error says so."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ProxyPatternPool import Pool, Proxy, TimeOut
from ProxyPatternPool._owner import Holder
from ProxyPatternPool._scopes.kept import KeptLease
from ProxyPatternPool._scopes.storage import _Entry
from tests.conftest import Crew, Factory, run, until
from tests.support.memory import collect, where_classes_go

VERSATILE = Proxy.Scope.VERSATILE

Work = Callable[[], object]


def fail() -> object:
    raise RuntimeError("on purpose")


def in_thread(work: Work) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def in_failing_thread(work: Work) -> None:
    with ThreadPoolExecutor(1) as executor:
        executor.submit(lambda: (work(), fail()))


def in_task(work: Work) -> None:
    async def task() -> None:
        work()

    asyncio.run(task())


def in_kept_task(work: Work) -> None:
    async def task() -> None:
        work()

    async def parent() -> None:
        kept.append(asyncio.create_task(task()))
        await asyncio.wait(kept[-1:])

    asyncio.run(parent())


def in_failing_task(work: Work) -> None:
    async def task() -> None:
        work()
        fail()

    async def parent() -> None:
        await asyncio.gather(asyncio.create_task(task()), return_exceptions=True)

    asyncio.run(parent())


def in_cancelled_task(work: Work) -> None:
    async def task() -> None:
        work()
        await asyncio.Event().wait()

    async def parent() -> None:
        child = asyncio.create_task(task())
        await asyncio.sleep(0)
        child.cancel()
        await asyncio.wait([child])

    asyncio.run(parent())


def in_forgotten_task(work: Work) -> None:
    """Close the loop under a task that is not done: nothing of it will ever run again."""

    async def task() -> None:
        work()
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    pending = loop.create_task(task())
    loop.call_soon(loop.stop)
    loop.run_forever()
    pending._log_destroy_pending = False  # type: ignore[attr-defined]  # the complaint is asyncio's, and right
    loop.close()
    del pending
    gc.collect()


def in_to_thread(work: Work) -> None:
    asyncio.run(asyncio.to_thread(work))


def in_greenlet(work: Work) -> None:
    pytest.importorskip("greenlet").greenlet(work).switch()


def in_kept_greenlet(work: Work) -> None:
    kept.append(pytest.importorskip("greenlet").greenlet(work))
    kept[-1].switch()


def in_killed_greenlet(work: Work) -> None:
    greenlet = pytest.importorskip("greenlet")
    killed = greenlet.greenlet(lambda: (work(), greenlet.getcurrent().parent.switch()))
    killed.switch()
    killed.throw()


kept: list[Any] = []

OWNERS = [
    in_thread,
    in_failing_thread,
    in_task,
    in_kept_task,
    in_failing_task,
    in_cancelled_task,
    in_forgotten_task,
    in_to_thread,
    in_greenlet,
    in_kept_greenlet,
    in_killed_greenlet,
]


@pytest.mark.parametrize("owner", OWNERS)
def test_many_owners_one_after_another(owner: Callable[[Work], None], factory: Factory) -> None:
    """Otherwise a server that starts a thread or a task for each request would run dry after two of them."""
    db: Any = Proxy(fun=factory, scope=VERSATILE, max_size=2, timeout=20, auto_return=True)
    for _ in range(300 if owner is not in_forgotten_task else 20):  # the collector takes its time
        owner(lambda: db.number)
    if owner is not in_kept_greenlet:  # which no thread notices before there is a shortage
        assert db._pool.stats()["in_use"] == 0
    kept.clear()
    assert len(factory.things) <= 2
    assert db._pool.stats()["nuses"] >= 20


def test_the_end_of_an_owner_wakes_a_waiter(factory: Factory, crew: Crew) -> None:
    """Otherwise a waiter would time out beside an object that has come back."""
    db: Any = Proxy(fun=factory, max_size=1, timeout=20, auto_return=True)
    has, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        assert db.number == 0
        has.set()
        assert may_end.wait(20)

    holder = crew.start(hold)
    assert has.wait(20)
    crew.start(lambda: db.number)
    until(lambda: db._pool.stats()["nwaiting"] == 1)
    may_end.set()
    holder.join()
    crew.join()
    assert len(factory.things) == 1


def test_the_object_is_back_when_its_thread_has_been_joined(factory: Factory) -> None:
    """Otherwise the code after the join could find the pool empty."""
    db: Any = Proxy(fun=factory, max_size=1, auto_return=True)
    for _ in range(20):
        in_thread(lambda: db.number)
        assert db._get_obj(timeout=0) is factory.things[0]
        db._ret_obj()


def test_a_task_in_a_task_has_its_own_until_it_ends(factory: Factory) -> None:
    """Otherwise a child task would give its parent's connection back."""
    db: Any = Proxy(fun=factory, scope=VERSATILE, max_size=2, auto_return=True)

    async def child() -> int:
        return int(db.number)

    async def parent() -> None:
        mine = db.number
        for _ in range(5):
            assert await asyncio.create_task(child()) != mine
            await asyncio.sleep(0)
        assert db.number == mine

    asyncio.run(parent())
    assert db._pool.stats()["in_use"] == 0


def test_a_greenlet_in_a_task_gives_back_before_the_task_ends(factory: Factory) -> None:
    """Otherwise each call that is run in a greenlet, as SQLAlchemy's are, would cost its task a connection."""
    db: Any = Proxy(fun=factory, scope=VERSATILE, max_size=2, auto_return=True)

    async def task() -> None:
        db._ret_obj()  # nothing yet
        assert db.number == 0
        for _ in range(5):
            in_greenlet(lambda: db.number == 1 or fail())
            assert db._pool.stats()["in_use"] == 1

    asyncio.run(task())
    assert db._pool.stats()["in_use"] == 0


def test_a_waiter_looks_for_ended_owners_while_finalisers_run() -> None:
    """Otherwise a waiter would fail with ``dictionary changed size during iteration`` when the collector comes by."""
    result = run(
        """
        import contextlib, gc
        from ProxyPatternPool import Proxy, TimeOut

        class Forgotten:
            def __init__(self, obj):
                self.obj, self.myself = obj, self  # for the collector

            def __del__(self):
                pool.ret(self.obj)
                finalised.append(self.obj)

        finalised = []
        pool = Proxy(fun=lambda n: [n], max_size=6000, auto_return=True)._pool
        objects = [pool.get() for _ in range(6000)]
        tuples = [(number, number) for number in range(5000)]  # those that the interpreter has in store are used up
        gc.collect()
        gc.disable()
        gc.set_threshold(1000)
        for obj in objects[:20]:
            Forgotten(obj)
        gc.enable()
        with contextlib.suppress(TimeOut):
            pool.get(timeout=0)
        gc.collect()
        print(len(finalised))
        """
    )
    assert (result.stderr, result.stdout) == ("", "20\n")


def test_a_task_remembers_no_greenlet_that_has_ended(factory: Factory) -> None:
    """Otherwise a server's task that runs each query in a greenlet of its own would grow for ever."""
    greenlet = pytest.importorskip("greenlet")
    db: Any = Proxy(fun=factory, scope=VERSATILE)

    def entries() -> int:
        return sum(type(thing) is _Entry for thing in gc.get_objects())

    async def task() -> int:
        before = entries()
        for _ in range(10):
            greenlet.greenlet(db._get_obj).switch()
        return entries() - before

    assert asyncio.run(task()) == 0


@where_classes_go
@pytest.mark.parametrize("max_size", [2, None])
def test_a_task_remembers_no_setting_that_is_over(max_size: int | None) -> None:
    """Otherwise each reload would stay in the memory of a server's main task, with the objects of then."""
    db: Any = Proxy(scope=VERSATILE, max_size=max_size)

    def things() -> int:
        collect()
        return len(gc.get_objects())

    def reload() -> None:
        db.set_fun(lambda n: [n])
        db._get_obj()
        if max_size is not None:
            db._ret_obj()

    async def task() -> int:
        for _ in range(5):
            reload()
        before = things()
        for _ in range(50):
            reload()
        return things() - before

    assert asyncio.run(task()) < 50


def test_without_auto_return_the_error_tells_of_ended_threads(factory: Factory) -> None:
    """Otherwise a forgotten `_ret_obj` would be a riddle, as no owner of the object is left."""
    db: Any = Proxy(fun=factory, name="db", max_size=3, timeout=0)
    in_thread(lambda: db.number)
    in_thread(lambda: db.number)
    in_thread(lambda: db._pool.get())  # not through the proxy: another thread may have it by now
    with pytest.raises(TimeOut) as caught:
        db._get_obj()
    assert str(caught.value).endswith(
        " s by a thread that has ended; 2 held for owners that have ended: auto_return=True would give them back"
    )


def test_an_object_taken_without_the_proxy_stays_out(factory: Factory) -> None:
    """Otherwise an object handed from one thread to another would be lent a second time."""
    db: Any = Proxy(fun=factory, max_size=1, timeout=0, auto_return=True)
    in_thread(lambda: db._pool.get())
    with pytest.raises(TimeOut):
        db._get_obj()
    db._pool.ret(factory.things[0])
    assert db.number == 0


@pytest.mark.parametrize("owner", [in_thread, in_task, in_failing_task, in_greenlet, in_killed_greenlet])
def test_without_a_pool_the_owner_closes(owner: Callable[[Work], None], factory: Factory) -> None:
    """Otherwise a connection which only its own thread may close would stay open."""
    closed_by: list[int] = []

    def close(_: object) -> None:
        closed_by.append(threading.get_ident())

    db: Any = Proxy(fun=factory, scope=VERSATILE, max_size=None, close=close, auto_return=True)
    users: list[int] = []

    def use() -> None:
        assert db.number == len(users)
        db._ret_obj()  # there is no pool to which it could go
        assert db.number == len(users)
        users.append(threading.get_ident())

    for _ in range(5):
        owner(use)
    assert len(factory.things) == 5
    assert closed_by == users
    assert db._nobjs == 5


def test_an_object_in_use_at_a_new_setting_is_closed_with_its_owner(factory: Factory, crew: Crew) -> None:
    """Otherwise a reload would close connections under their users' feet."""
    db: Any = Proxy(fun=factory, max_size=None, close="close", auto_return=True)
    has, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        mine = db._get_obj()
        has.set()
        assert may_end.wait(20)
        assert not mine.closed

    crew.start(hold)
    assert has.wait(20)
    db.set_fun(factory)
    gc.collect()
    may_end.set()
    crew.join()
    assert factory.closed == [0]
    assert db.number == 0
    db.set_fun(factory)  # no thread has an object of the first setting any more
    assert len(db._BaseProxy__earlier) == 1
    db._ret_obj()
    assert factory.closed == [0, 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_nothing_goes_back_in_a_forked_child() -> None:
    """Otherwise a child would put the parent's connections into its own pool, and use them."""
    result = run(
        """
        import os, sys, threading, warnings
        from ProxyPatternPool import Proxy

        warnings.simplefilter("ignore", DeprecationWarning)  # that forking with threads is risky is what is tested
        closed = []
        db = Proxy(fun=lambda n: [n], max_size=8, auto_return=True, max_use=1, close=closed.append, name="db")
        own = Proxy(fun=lambda n: [n], max_size=None, auto_return=True, close=closed.append)
        wait, has = threading.Event(), threading.Semaphore(0)

        def hold():
            assert db._get_obj() is not None and own._get_obj() is not None
            has.release()
            wait.wait()

        crew = [threading.Thread(target=hold) for _ in range(4)]
        for thread in crew:
            thread.start()
        for _ in crew:
            has.acquire()
        hold_here = db._get_obj()
        child = os.fork()
        if not child:
            assert len(sys._current_frames()) == 1, "something was returned, and the housekeeper called"
            assert closed == [] and db._pool.stats()["size"] == 0, (closed, db._pool)
            assert not db._has_obj() and db._get_obj() is not hold_here and db._get_obj() == [0]
            assert db._pool.stats()["size"] == 1
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert closed == [] and db._pool.stats()["in_use"] == 5, (closed, db._pool)
        wait.set()
        for thread in crew:
            thread.join()
        assert db._pool.stats()["in_use"] == 1 and len(closed) >= 4
        print(status)
        """
    )
    assert (result.stderr, result.stdout) == ("", "0\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("max_size", [2, None])
def test_a_greenlet_that_forks_has_nothing_in_the_child(max_size: int | None) -> None:
    """Otherwise parent and child would talk over one connection."""
    pytest.importorskip("greenlet")
    result = run(
        f"""
        import greenlet, os, warnings
        from ProxyPatternPool import Proxy

        warnings.simplefilter("ignore", DeprecationWarning)
        db = Proxy(fun=lambda n: [os.getpid()], scope=Proxy.Scope.VERSATILE, max_size={max_size})

        def work():
            assert db[0] == os.getpid()
            child = os.fork()
            if not child:
                os._exit(0 if db[0] == os.getpid() else 1)
            print(os.waitpid(child, 0)[1])

        greenlet.greenlet(work).switch()
        """
    )
    assert (result.stderr, result.stdout) == ("", "0\n")


def test_an_object_is_not_at_hand_after_its_lease(factory: Factory) -> None:
    """Otherwise an object that is taken away at the very moment when it is taken would be used all the same."""
    pool = Pool(factory, 1)
    lease = KeptLease(pool.obj(0), Holder(threading.current_thread()), auto_return=False)
    cache: dict[str, Any] = {}
    lease.cache_in(cache)
    assert cache == {"obj": factory.things[0]}
    pool.ret(lease.held)
    assert cache == {}
    lease.cache_in(cache)
    assert cache == {}


def test_an_object_is_not_at_hand_while_it_is_tidied_up(factory: Factory, crew: Crew) -> None:
    """Otherwise its owner, which does not know that another thread has returned it, would use it meanwhile."""
    tidying, go = threading.Event(), threading.Event()

    def tidy(_: object) -> None:
        tidying.set()
        assert go.wait(20)

    db: Any = Proxy(fun=factory, retter=tidy)
    first = db._get_obj()
    crew.start(db._pool.ret, first)
    assert tidying.wait(20)
    assert db.number == 1
    go.set()
    crew.join()


def test_a_lease_that_is_cached_late_leaves_the_next_lease_alone(
    factory: Factory, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the next one to have it would go on using it after having discarded it."""
    late, go = threading.Event(), threading.Event()
    cache_in = KeptLease.cache_in

    def show_late(self: KeptLease[Any], cache: dict[str, Any]) -> None:
        if not late.is_set():
            late.set()
            assert go.wait(20)
        cache_in(self, cache)

    monkeypatch.setattr(KeptLease, "cache_in", show_late)
    db: Any = Proxy(fun=factory, max_size=1)
    crew.start(lambda: db._get_obj())
    assert late.wait(20)
    db._pool.ret(factory.things[0])
    assert db.number == 0
    go.set()
    crew.join()
    db._pool.discard(factory.things[0])
    assert db.number == 1


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_auto_return_is_true_or_false(value: Any) -> None:
    """Otherwise a slip in a configuration would turn it on, or off."""
    with pytest.raises(TypeError, match=f"auto_return must be True or False, not {value!r}"):
        Proxy(auto_return=value)


@pytest.mark.parametrize("error", [None, ValueError, SystemExit])
def test_the_object_of_an_ended_owner_is_tidied_up_in_the_background(factory: Factory, error: Any) -> None:
    """Otherwise user code would run in a finaliser, and might wait there for the thread that it has stopped."""
    threads: list[str] = []

    def retter(_: object) -> None:
        threads.append(threading.current_thread().name)
        if error is not None:
            raise error

    db: Any = Proxy(fun=factory, max_size=1, auto_return=True, retter=retter, close="close", name="db")
    in_thread(lambda: db.number)
    assert db._pool.get(timeout=20).number == (0 if error is None else 1)
    assert threads == ["db-worker"]


def test_an_object_returned_before_its_owner_ended_is_tidied_up_once(factory: Factory) -> None:
    """Otherwise the next one's transaction would be rolled back."""
    tidied: list[object] = []
    db: Any = Proxy(fun=factory, max_size=1, auto_return=True, retter=tidied.append)
    in_thread(lambda: db._pool.ret(db._get_obj()))
    in_thread(lambda: (db._get_obj(), db._ret_obj()))
    assert len(tidied) == 2
