"""AsyncKeyedPool: what ends its event loop or its process, and what it is in another one."""

from __future__ import annotations

import asyncio
import copy
import gc
import multiprocessing
import os
import pickle
import threading
import weakref
from asyncio import CancelledError
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from ProxyPatternPool import AsyncKeyedPool, PoolClosed, PoolException, TimeOut
from ProxyPatternPool._loops import resources as _resources
from ProxyPatternPool.loop_local import at_exit
from tests.conftest import run
from tests.support.cancelling import run_watched, watched
from tests.support.instances import AsyncInstance, Pool, Source, ignoring_cancellation, settle, turns, use
from tests.support.loops import NewLoop, Run
from tests.support.virtual_time import VirtualLoop

# -- event loops


@pytest.mark.parametrize("ttl", [30, None])
def test_a_pool_that_was_left_open_is_closed_with_its_loop_and_starts_anew(run_loop: Run, ttl: float | None) -> None:
    """Otherwise a script that forgets it would leave connections open, or could not run a second time."""
    source = Source(turns, turns)
    pool: Pool = AsyncKeyedPool(source, ttl=ttl)

    async def main() -> None:
        await use(pool, "a")
        await use(pool, "b")
        assert len(pool) == 2

    for times in range(1, 4):
        run_loop(main())
        source.check_all_gone()
        assert len(source.things) == 2 * times
        assert len(pool) == 0
        assert not pool.stats()["closed"]


def test_the_end_of_the_loop_comes_after_the_users(new_loop: NewLoop) -> None:
    """Otherwise a task that is cancelled at the end would find its connection closed when it says good-bye."""
    source = Source(turns, turns)
    pool: Pool = AsyncKeyedPool(source)
    seen: list[object] = []

    async def user() -> None:
        async with pool.get("a") as thing:
            try:
                await asyncio.Event().wait()
            finally:
                await turns(thing)
                seen.append(list(thing.calls))

    async def main() -> None:
        main.task = asyncio.create_task(user())  # type: ignore[attr-defined]  # kept
        await settle(lambda: pool.stats()["in_use"])

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert seen == [["enter", "entered"]]
    source.check_all_gone()


def test_a_loop_that_is_just_closed_ends_what_is_in_use(new_loop: NewLoop) -> None:
    """Otherwise tasks that never run again would keep their connections open."""
    source = Source(turns, turns)
    pool: Pool = AsyncKeyedPool(source, max_size=2)
    loop = new_loop()

    async def user() -> None:
        async with pool.get("a"):
            await asyncio.Event().wait()

    async def main() -> None:
        await settle(lambda: pool.stats()["in_use"])

    task = loop.create_task(user())
    loop.run_until_complete(main())
    loop.close()
    [thing] = source.things
    assert thing.calls == ["enter", "entered", "exit", "exited"]
    assert isinstance(thing.error, PoolException), "a driver would commit what its user has not finished"
    assert len(pool) == 0
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is what this test is about
    del task
    gc.collect()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(use(pool, "a"))
    assert len(source.things) == 2


def test_a_generator_that_was_left_suspended_loses_what_it_uses(new_loop: NewLoop) -> None:
    """Otherwise a stream that a client has not read to its end would keep the loop from closing its connection."""
    source = Source(turns, turns)
    pool: Pool = AsyncKeyedPool(source)
    ended: list[str] = []

    async def stream() -> AsyncIterator[int]:
        try:
            async with pool.get("a"):
                yield 1
        finally:
            ended.extend(source.calls)

    async def main() -> None:
        main.stream = stream()  # type: ignore[attr-defined]  # kept
        assert await anext(main.stream) == 1  # type: ignore[attr-defined]  # likewise

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(watched(main()))
    assert ended == ["enter a", "entered a", "exit a", "exited a"]
    assert isinstance(source.things[0].error, PoolException)
    assert pool.stats()["in_use"] == len(pool) == 0


def test_an_instance_still_being_entered_when_the_loop_ends_is_given_up(new_loop: NewLoop) -> None:
    """Otherwise a server that does not answer would keep `asyncio.run` from ending."""

    async def forever(_thing: AsyncInstance) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(use(pool, "a"))
        await settle(lambda: pool.stats()["entering"])
        task.cancel()

    source = Source(entering=forever)
    pool: Pool = AsyncKeyedPool(source)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert len(pool) == 0
    source.check_all_gone()
    assert source.calls == ["enter a"]


@pytest.mark.parametrize("ends", ["never", "too late", "too late, and badly"])
@pytest.mark.parametrize("begins", ["first of all", "later", "at the end"])
def test_an_entering_that_is_not_to_be_cancelled_does_not_keep_the_loop_from_ending(
    run_loop: Run, monkeypatch: pytest.MonkeyPatch, begins: str, ends: str
) -> None:
    """Otherwise one bad driver would keep `asyncio.run` from ending."""
    monkeypatch.setattr(_resources, "GRACE", 0.01)
    problems: list[Any] = []
    go = asyncio.Event()

    async def entering(thing: AsyncInstance) -> None:
        if thing.args == ("first",):
            return
        await ignoring_cancellation(go)(thing)
        if "badly" in ends:
            raise OSError

    async def give_up() -> None:
        with pytest.raises(TimeOut):
            await use(pool, "a")

    async def at_the_end() -> None:  # and before the pool's
        if begins == "at the end":
            await give_up()

    async def after_all() -> None:
        if "late" in ends:
            go.set()
            await settle(lambda: source.calls[-1] != "enter a" or ("badly" in ends and not source.alive))
            await turns()  # until its task has told so

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
        at_exit(after_all)
        if begins != "first of all":
            await use(pool, "first")
        at_exit(at_the_end)
        if begins != "at the end":
            await give_up()

    source = Source(entering)
    pool: Pool = AsyncKeyedPool(source, timeout=0.01)
    run_loop(main())
    assert len(pool) == 0
    assert source.things[-1].error is None
    source.things.clear()
    go = asyncio.Event()
    go.set()
    gc.collect()
    assert not problems
    ends = "well"
    run_loop(use(pool, "b"))
    assert source.calls[-1] == "exited b"


def test_errors_at_the_end_of_the_loop_are_told_to_its_handler(new_loop: NewLoop) -> None:
    """Otherwise they would be lost."""

    async def exiting(thing: AsyncInstance) -> None:
        raise OSError(thing.args[0])

    problems: list[Any] = []
    pool: Pool = AsyncKeyedPool(Source(exiting=exiting))

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem["exception"]))
        await use(pool, "a")
        await use(pool, "b")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    [group] = problems
    [errors] = group.exceptions
    assert sorted(str(error) for error in errors.exceptions) == ["a", "b"]


def test_a_session_outlives_the_instance_that_is_made_of_it(new_loop: NewLoop) -> None:
    """Otherwise a tenant's last words would find the shared session closed already."""
    sessions, tenants = Source(turns, turns), Source()
    session_pool: Pool = AsyncKeyedPool(sessions)

    async def with_session(_tenant: AsyncInstance) -> None:
        await use(session_pool, "session")

    tenants.entering = tenants.exiting = with_session
    tenant_pool: Pool = AsyncKeyedPool(tenants)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(use(tenant_pool, "tenant"))
    assert tenants.calls[-1] == "exited tenant"
    assert len(sessions.things) == 1, "closed too early, and opened again"
    sessions.check_all_gone()


def test_a_keyed_pool_refuses_another_living_loop_with_advice(new_loop: NewLoop) -> None:
    """Otherwise two threads would work on one connection."""
    pool: Pool = AsyncKeyedPool(Source(), name="db")
    refusals: list[str] = []

    async def intruder() -> None:
        for intrusion in (
            use(pool, "a"),
            pool.discard(AsyncInstance(Source(), (), {})),
            pool.shutdown(),
            pool.__aenter__(),
        ):
            with pytest.raises(PoolException) as caught:
                await intrusion
            refusals.append(str(caught.value))

    async def main() -> None:
        thread = threading.Thread(target=lambda: asyncio.run(intruder()))
        async with pool.get("a"):
            thread.start()
            await asyncio.to_thread(thread.join)
        assert len(pool) == 1

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert refusals == [refusals[0]] * 4
    assert "belongs to another event loop, which has not ended: make a pool per loop" in refusals[0]


def test_a_loop_that_has_ended_without_telling_takes_its_instances_along() -> None:
    """Otherwise a pool could be lost to a loop that was ended in an unusual way."""
    pool = AsyncKeyedPool(Named, ttl=None)

    async def main() -> Named:
        async with pool.get("a") as thing:
            return thing

    loop = asyncio.new_event_loop()
    first = loop.run_until_complete(main())
    type(loop).close(loop)  # and not `loop.close`, which the end of the loop is noticed by
    assert asyncio.run(main()) is not first
    assert pool.stats()["nentered"] == 1
    del loop
    gc.collect()  # here, with what asyncio says about a task that was never finished


def test_a_keyed_pool_that_was_shut_down_stays_so_in_the_next_loop(run_loop: Run) -> None:
    """Otherwise something would be opened after the program has said that it is done."""
    pool: Pool = AsyncKeyedPool(Source())

    async def main() -> None:
        await use(pool, "a")
        await pool.shutdown()

    async def later() -> None:
        with pytest.raises(PoolClosed):
            await use(pool, "a")

    run_loop(main())
    run_loop(later())


def test_a_forgotten_pool_lives_as_long_as_it_has_something_to_close(new_loop: NewLoop) -> None:
    """Otherwise it would drop connections without closing them, or each forgotten one would cost memory for ever."""
    calls: list[str] = []

    @asynccontextmanager
    async def client(name: str) -> AsyncIterator[None]:  # which knows nothing of the task that has it
        yield
        calls.append(f"exit {name}")

    async def forgotten(name: str, ttl: float | None) -> weakref.ref[object]:
        pool = AsyncKeyedPool(client, ttl=ttl)
        async with pool.get(name):
            pass
        return weakref.ref(pool._engine)

    async def main() -> None:
        empty, idle = await forgotten("a", 0), await forgotten("b", None)
        await asyncio.sleep(0)
        gc.collect()
        assert empty() is None
        assert idle() is not None
        assert calls == ["exit a"]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert calls == ["exit a", "exit b"]


@pytest.mark.parametrize("works", [True, False])
def test_a_pool_does_not_keep_a_loop_that_has_ended(run_loop: Run, works: bool) -> None:
    """Otherwise the last loop of a program would stay, with all that hangs on it."""

    @asynccontextmanager
    async def client() -> AsyncIterator[None]:  # which knows nothing of the task that has it
        if not works:
            raise OSError
        yield

    pool = AsyncKeyedPool(client)

    async def main() -> weakref.ref[object]:
        with suppress(OSError):
            async with pool.get():
                pass
        return weakref.ref(asyncio.get_running_loop())

    ended = run_loop(main())
    gc.collect()
    assert ended() is None


def test_an_exit_that_runs_later_may_use_the_pool_again(run_loop: Run) -> None:
    """Otherwise the last words of a program, to an audit log for instance, could not be said over the pool."""
    source = Source(turns, turns)
    pool: Pool = AsyncKeyedPool(source)

    async def main() -> None:
        at_exit(use, pool, "b")
        await use(pool, "a")

    run_loop(main())
    assert source.calls == [f"{call} {name}" for name in "ab" for call in ("enter", "entered", "exit", "exited")]
    source.check_all_gone()


def test_a_pool_whose_parameters_are_methods_of_the_object_that_has_it_is_collected_when_all_has_expired() -> None:
    """Otherwise each client that a program forgets would stay in memory for as long as the loop runs."""
    ended: list[int] = []

    class Client:
        def __init__(self) -> None:
            self.pool = AsyncKeyedPool(self.fun, key=self.key, ttl=5.0)

        def key(self, number: int) -> int:
            return number

        @asynccontextmanager
        async def fun(self, number: int) -> AsyncIterator[int]:
            yield number
            ended.append(number)

    async def main() -> None:
        client = Client()
        async with client.pool.get(1):
            pass
        reference = weakref.ref(client)
        del client
        await asyncio.sleep(6)
        gc.collect()
        assert (reference(), ended) == (None, [1])

    run_watched(VirtualLoop, main())


@pytest.mark.parametrize("fails", [False, True])
def test_an_instance_that_ignores_being_given_up_with_its_loop_has_not_ended_by_itself(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the log would tell of a fault where there is none, or not of one that there is."""
    begun = asyncio.Event()
    ended: list[int] = []

    @asynccontextmanager
    async def client(number: int) -> AsyncIterator[int]:
        begun.set()
        with suppress(CancelledError):
            await asyncio.Event().wait()
        yield number
        ended.append(number)
        if fails:
            raise OSError("no farewell")

    async def main() -> None:
        pool = AsyncKeyedPool(client, name="db")
        task = asyncio.create_task(pool.get(1).__aenter__())
        await begun.wait()
        task.cancel()

    run_watched(VirtualLoop, main())
    assert ended == [1]
    assert caplog.messages == (["db: closing an instance failed"] if fails else [])


def test_a_pool_that_is_collected_just_when_it_is_to_be_ended_is_not_missed(run_loop: Run) -> None:
    """Otherwise the end of the loop would fail, once in a while."""

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(turns, turns))
        pool._bind()
        loop: Any = asyncio.get_running_loop()
        [end] = loop._ProxyPatternPool.end.first.values()
        ending = end()
        reference = weakref.ref(pool)
        del pool
        gc.collect()
        assert reference() is None
        await ending

    run_loop(main())


# -- processes


class Named:
    """An object that can be pickled, to be made again elsewhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.maker = os.getpid()

    async def __aenter__(self) -> Named:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


def first_letter(name: str) -> str:
    """Tell names apart."""
    return name[0]


def at_work(pool: AsyncKeyedPool[[str], Named]) -> tuple[Any, ...]:
    """Use a pool that has arrived in another process."""

    async def main() -> tuple[Any, ...]:
        sizes = [len(pool)]
        async with pool.get("abc") as one, pool.get("axy") as two:
            sizes.append(len(pool))
        return sizes, one is two, one.name, one.maker == os.getpid(), pool.stats()["max_size"], pool.name

    return asyncio.run(main())


def put_work(pool: AsyncKeyedPool[[str], Named], results: Any) -> None:
    """Send what comes of it."""
    results.put(at_work(pool))


ARRIVED = ([0, 1], True, "abc", True, 3, "db")


def test_a_pickled_pool_arrives_as_its_parameters(run_loop: Run) -> None:
    """Otherwise a pool at module level, or in an object that is sent, would keep all that holds it from travelling."""
    pool = AsyncKeyedPool(Named, key=first_letter, ttl=None, max_size=3, name="db")

    async def main() -> None:
        async with pool.get("abc") as mine:
            for copied in (pickle.loads(pickle.dumps(pool)), copy.copy(pool), copy.deepcopy(pool)):
                assert repr(copied) == "<AsyncKeyedPool db open: max 3, 0 in use, 0 idle, 0 waiting>"
                async with copied.get("abc") as other:
                    assert other is not mine
                assert copied.stats()["ttl"] is None
            assert b"ProxyPatternPool._" not in pickle.dumps(pool)  # files may be renamed between the two programs

    run_loop(main())


def test_it_travels_to_a_process_of_multiprocessing() -> None:
    """Otherwise workers could not be given the pool as an argument."""
    pool = AsyncKeyedPool(Named, key=first_letter, max_size=3, name="db")
    spawn = multiprocessing.get_context("spawn")

    async def main() -> tuple[Any, ...]:
        async with pool.get("mine"):
            results = spawn.Queue()
            process = spawn.Process(target=put_work, args=(pool, results))
            process.start()
            result: tuple[Any, ...] = await asyncio.to_thread(results.get)
            process.join()
            return result

    assert asyncio.run(main()) == ARRIVED


def test_it_travels_to_a_process_pool_executor() -> None:
    """Otherwise work on it could not be given to other processes."""
    pool = AsyncKeyedPool(Named, key=first_letter, max_size=3, name="db")

    async def main() -> tuple[Any, ...]:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
            async with pool.get("mine"):
                return await asyncio.get_running_loop().run_in_executor(executor, at_work, pool)

    assert asyncio.run(main()) == ARRIVED


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_forked_child_starts_with_no_instance_and_ends_none() -> None:
    """Otherwise two processes would talk over one connection, or the child would end the parent's sessions."""
    result = run("""
        import asyncio, gc, os, sys, threading, warnings
        from ProxyPatternPool import AsyncKeyedPool, PoolClosed
        from ProxyPatternPool._loops.binding import BINDING
        warnings.simplefilter("ignore", DeprecationWarning)
        parent = os.getpid()

        class Connection:
            def __init__(self, name):
                self.maker = os.getpid()
            async def __aenter__(self):
                return self
            async def __aexit__(self, *error):
                assert self.maker == os.getpid()
                os.write(1, b"closed by its maker\\n")
            def __del__(self, getpid=os.getpid, write=os.write):
                if self.maker != getpid():
                    write(1, b"finalised in the child\\n")

        pool = AsyncKeyedPool(Connection, ttl=None)
        closed = AsyncKeyedPool(Connection)

        async def child_main():
            assert len(pool) == 0
            async with pool.get("a") as connection:
                assert connection.maker == os.getpid() != parent
            try:
                async with closed.get("a"):
                    pass
            except PoolClosed:
                os.write(1, b"still closed\\n")

        async def leave(use):
            await use.__aexit__(None, None, None)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(closed.shutdown())
        use, idle = pool.get("a"), pool.get("b")
        loop.run_until_complete(use.__aenter__())
        loop.run_until_complete(idle.__aenter__())
        loop.run_until_complete(leave(idle))
        held, go = threading.Event(), threading.Event()

        def begin():
            with BINDING.lock:  # as another thread may at that moment
                held.set()
                go.wait()

        other = threading.Thread(target=begin)
        other.start()
        held.wait()
        child = os.fork()
        if not child:
            asyncio.run(leave(use))
            os.write(1, b"left\\n")
            assert len(pool) == 0
            del use, idle
            gc.collect()
            asyncio.run(child_main())
            sys.exit(0)
        go.set()
        other.join()
        assert os.waitpid(child, 0)[1] == 0
        assert (pool.stats()["in_use"], pool.stats()["idle"]) == (1, 1)
        loop.run_until_complete(leave(use))
        assert pool.stats()["idle"] == 2
        loop.run_until_complete(pool.shutdown())
        loop.close()
    """)
    lines = ["left", "still closed", *["closed by its maker"] * 3]
    assert (result.stderr, result.stdout.splitlines()) == ("", lines)
