"""AsyncPool: what ends its event loop, its process, or itself, and what it is in another one."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ProxyPatternPool import AsyncPool, PoolClosed, PoolException
from ProxyPatternPool.loop_local import at_exit
from tests.conftest import PATIENCE, run
from tests.support.cancelling import run_watched, watched
from tests.support.loops import NewLoop, Run, run_and_close, run_and_shut_down
from tests.support.parts import Part, Pool, Source, no_time, settle, turns, use
from tests.support.virtual_time import VirtualLoop

Leave = Callable[[Source, set[Any]], Coroutine[Any, Any, None]]


# -- a loop that ends. Each of these leaves a pool open in some state; the set keeps tasks that nobody waits for


def start(kept: set[Any], coroutine: Coroutine[Any, Any, Any]) -> None:
    kept.add(asyncio.create_task(coroutine))


async def idle(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, 2)
    kept.add(pool)
    await use(pool)


async def in_use(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, 2)
    kept.add(pool)
    await pool.get()


async def waited_for(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, 1)
    kept.add(await pool.get())
    start(kept, pool.get())
    await settle(lambda: pool.stats()["nwaiting"])


async def used_by_a_task(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, 1)

    async def use_it() -> None:
        async with pool.obj():
            await asyncio.Event().wait()

    start(kept, use_it())
    start(kept, use_it())
    await settle(lambda: pool.stats()["nwaiting"])


async def refilled(source: Source, kept: set[Any]) -> None:
    async def failing(part: Part) -> None:
        if part.number:
            raise OSError

    source.making = failing
    pool: Pool = AsyncPool(source, 3, min_size=3)
    kept.add(pool)
    await use(pool)
    await settle(lambda: pool.stats()["ncreation_errors"])


async def refreshed(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, 3, min_size=3, max_delay=1, delay=0.5)
    await pool.__aenter__()
    pool.refresh()
    kept.add(pool)


async def being_closed(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, 1)
    await pool.discard(await pool.get())
    start(kept, pool.shutdown())
    await asyncio.sleep(0)


async def shut_down(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, 2)
    kept.add(await pool.get())
    await use(pool)
    await pool.shutdown()
    kept.add(pool)


async def collected(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, 2)
    kept.add(await pool.get())
    await use(pool)


ENDING = [idle, in_use, waited_for, used_by_a_task, refilled, refreshed, being_closed, shut_down, collected]


@pytest.mark.parametrize("leave", ENDING)
def test_a_pool_left_open_is_closed_with_its_loop(run_loop: Run, leave: Leave) -> None:
    """Otherwise a script that forgets the end would leave connections open, or never end."""
    source, kept = Source(turns, turns), set[Any]()
    run_loop(watched(leave(source, kept)))
    assert source.parts
    source.check_all_gone()


def test_objects_that_are_out_when_their_loop_ends_may_take_different_times_to_close() -> None:
    """Otherwise a program that forgets to return two connections would never end."""
    closed: list[int] = []

    async def close(number: int) -> None:
        await asyncio.sleep(1 + number)
        closed.append(number)

    async def main() -> None:
        pool = AsyncPool(lambda number: number, 3, close=close)
        for _ in range(3):
            await pool.get()

    run_watched(VirtualLoop, main())
    assert closed == [0, 1, 2]


def test_each_object_that_is_out_when_its_loop_ends_is_exited_with_an_exception_of_its_own(run_loop: Run) -> None:
    """Otherwise the traceback that one exit logs would have the frames of all the others."""
    source = Source(turns, turns)

    async def main() -> None:
        pool: Pool = AsyncPool(source, 3)
        for _ in range(3):
            await pool.get()

    run_loop(main())
    source.check_all_gone()
    errors = [part.error for part in source.parts]
    assert {type(error) for error in errors} == {PoolException}
    assert len({id(error) for error in errors}) == 3


@pytest.mark.parametrize("hook", ["health", "retter"])
@pytest.mark.parametrize("is_deaf", [False, True])
def test_a_hook_that_the_end_of_the_loop_cancels_is_no_fault_unless_it_goes_on(
    hook: str, is_deaf: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise each program that ends in a check would log a warning, or no program which hook has hung."""
    begun = asyncio.Event()

    async def hang(_part: Part) -> None:
        begun.set()
        await (deaf(_part) if is_deaf else endless(_part))

    source, kept = Source(), set[Any]()

    async def main() -> None:
        hooks: Any = {hook: hang}
        pool: Pool = AsyncPool(source, 1, name="db", health_delay=0, **hooks)
        kept.add(pool)
        start(kept, pool.ret(await pool.get()))
        await turns()
        start(kept, pool.get())
        await begun.wait()

    run_watched(VirtualLoop, main())
    source.check_all_gone()
    work = {"health": "preparing", "retter": "tidying up"}[hook]
    assert caplog.messages == ([f"db: {work} Part object number 0 did not end: given up"] if is_deaf else [])


async def made_for_ever(source: Source, kept: set[Any]) -> None:
    source.making = endless
    pool: Pool = AsyncPool(source)
    start(kept, pool.get())
    await settle(lambda: source.calls)


async def made_by_the_deaf(source: Source, kept: set[Any]) -> None:
    source.making = deaf
    pool: Pool = AsyncPool(source, min_size=2)
    start(kept, pool.get())
    await settle(lambda: source.calls)


async def made_beside_an_idle_one(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, 2)
    await use(pool)
    kept.add(await pool.get())
    source.making = deaf
    start(kept, pool.get())
    await settle(lambda: len(source.parts) == 2)


async def checked_for_ever(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, health=endless, health_delay=0)
    await use(pool)
    await asyncio.sleep(1)
    start(kept, pool.get())
    await asyncio.sleep(0)


async def checked_in_the_background(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, health=endless, delay=1)
    await use(pool)
    await asyncio.sleep(1.5)
    assert pool.stats()["reserved"] == 1
    kept.add(pool)


async def tidied_up_for_ever(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, retter=endless)
    start(kept, pool.ret(await pool.get()))
    await asyncio.sleep(0)


async def endless(_part: Part) -> None:
    await asyncio.Event().wait()


async def deaf(_part: Part) -> None:
    """Take three seconds, whatever anybody says."""
    end = asyncio.get_running_loop().time() + 3
    while (left := end - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.sleep(left)
        except CancelledError:
            pass


@pytest.mark.parametrize(
    "leave",
    [
        made_for_ever,
        made_by_the_deaf,
        made_beside_an_idle_one,
        checked_for_ever,
        checked_in_the_background,
        tidied_up_for_ever,
    ],
)
def test_what_does_not_end_is_given_up_within_a_second(leave: Leave) -> None:
    """Otherwise a server that does not answer would keep `asyncio.run` from ending."""
    source, kept = Source(), set[Any]()
    begin = 0.0

    async def main() -> None:
        nonlocal begin
        await watched(leave(source, kept))
        begin = asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
        loop = runner.get_loop()
    assert loop.time() - begin <= 1.001
    by_the_deaf = leave in (made_by_the_deaf, made_beside_an_idle_one)
    assert (loop.time() - begin >= 1) is by_the_deaf
    if not by_the_deaf:  # the loop has not waited for what it makes in the end
        source.check_all_gone()


async def tidied_up_by_the_deaf(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, retter=stone_deaf)
    start(kept, pool.ret(await pool.get()))
    await asyncio.sleep(0)


async def got_ready_by_the_deaf(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, getter=stone_deaf)
    start(kept, pool.get())
    await settle(lambda: pool.stats()["in_use"])


async def checked_by_the_deaf(source: Source, kept: set[Any]) -> None:
    pool: Pool = AsyncPool(source, health=stone_deaf, delay=1)
    await use(pool)
    await asyncio.sleep(1.5)
    kept.add(pool)


async def tidied_up_until_others_have_ended(source: Source, kept: set[Any]) -> None:
    at_exit(asyncio.sleep, 10)
    pool: Pool = AsyncPool(source, retter=deaf)
    start(kept, pool.ret(await pool.get()))
    await asyncio.sleep(0)


async def stone_deaf(_part: Part) -> None:
    """Never end, whatever anybody says."""
    while True:
        try:
            await asyncio.sleep(1000)
        except CancelledError:
            pass


@pytest.mark.parametrize(
    "leave", [tidied_up_by_the_deaf, got_ready_by_the_deaf, checked_by_the_deaf, tidied_up_until_others_have_ended]
)
def test_what_a_hook_does_not_let_go_of_is_closed_as_broken(leave: Leave, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise half a transaction would be committed at the end of a program, or tasks be left for asyncio to tell."""
    source, kept = Source(), set[Any]()
    problems: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
        await leave(source, kept)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    kept.clear()
    gc.collect()
    assert not problems
    assert isinstance(source.parts[0].error, PoolException)
    source.check_all_gone()
    assert "has ended on its own" not in caplog.text


def test_a_hook_that_is_cut_off_may_tidy_up(run_loop: Run) -> None:
    """Otherwise a driver could not even say good-bye: it would be cancelled again whenever another one has ended."""
    source, kept, tidied = Source(turns, turns), set[Any](), list[int]()

    async def retter(part: Part) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(30 * part.number):
                await asyncio.sleep(0)
            tidied.append(part.number)

    async def main() -> None:
        pool: Pool = AsyncPool(source, 3, min_size=3, retter=retter)
        await pool.__aenter__()
        for part in [await pool.get() for _ in range(3)]:
            start(kept, pool.ret(part))
        await settle(lambda: pool.stats()["reserved"] == 3)

    run_loop(watched(main()))
    assert tidied == [0, 1, 2]
    assert len(source.parts) == 3, "something was made at the end of the loop that nobody has asked for"
    source.check_all_gone()


def test_what_begins_while_exits_run_is_given_up_too() -> None:
    """Otherwise what is made when the loop is already ending, and never ends itself, would keep it from ending."""
    source, kept = Source(), set[Any]()

    async def main() -> None:
        pool: Pool = AsyncPool(source, 2)
        kept.add(await pool.get())
        source.making = stone_deaf

        async def begin() -> None:
            start(kept, pool.get())
            await settle(lambda: len(source.parts) == 2)

        at_exit(begin)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
        loop = runner.get_loop()
        loop.set_exception_handler(lambda *_: None)  # the task that gets is left to asyncio
    assert len(source.parts) == 2
    assert not source.parts[0].open
    assert loop.time() == pytest.approx(1)
    kept.clear()
    gc.collect()


def test_who_still_waits_when_its_loop_is_closed_begins_nothing(new_loop: NewLoop) -> None:
    """Otherwise an object of a loop that is gone would be lent in the next one."""
    source = Source()
    pool: Pool = AsyncPool(source, 1)

    async def main() -> asyncio.Task[Part]:
        await pool.discard(await pool.get())
        await settle(lambda: not pool.stats()["closing"])
        source.making = stone_deaf
        task = asyncio.create_task(pool.get())
        await settle(lambda: pool.stats()["creating"])
        return task

    task = run_and_close(new_loop, main())
    assert isinstance(task.exception(), PoolClosed)
    assert pool.size == 0
    assert len(source.parts) == 2
    source.making = no_time
    asyncio.run(use(pool))
    source.parts.pop(1)
    source.check_all_gone()


def test_what_somebody_has_when_the_loop_ends_is_closed_without_a_word(
    run_loop: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the log would tell of objects that have ended by themselves."""
    source = Source(turns, turns)
    pool: Pool = AsyncPool(source)
    run_loop(pool.get())
    assert str(source.parts[0].error).endswith("the event loop has ended, and the object was not given back")
    assert not caplog.messages


@pytest.mark.parametrize(("thread", "tidied"), [("its own", False), ("another", False), ("another", True)])
def test_a_task_that_is_collected_gives_back_what_it_has(new_loop: NewLoop, thread: str, tidied: bool) -> None:
    """Otherwise a task that nobody keeps would take its object with it, when a thread without a loop collects it."""
    asyncio_says: list[str] = []

    async def use_for_ever(pool: Pool, inside: asyncio.Event) -> None:
        async with pool.obj():
            inside.set()
            await asyncio.get_running_loop().create_future()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, problem: asyncio_says.append(problem["message"]))
        source, retted = Source(), list[Part]()
        pool: Pool = AsyncPool(source, 1, retter=retted.append if tidied else None)
        inside = asyncio.Event()
        task = asyncio.create_task(use_for_ever(pool, inside))
        await inside.wait()
        del task
        await (asyncio.to_thread(gc.collect) if thread == "another" else awaiting(collect))
        await settle(lambda: pool.stats()["idle"] == 1)
        assert retted == (source.parts if tidied else [])
        await pool.shutdown()
        source.check_all_gone()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert asyncio_says == ["Task was destroyed but it is pending!"]


async def collect() -> None:
    gc.collect()


def test_a_task_that_is_collected_with_its_pool_leaves_something_broken(new_loop: NewLoop) -> None:
    """Otherwise half a transaction would be committed: nobody is left to tidy it up."""
    source = Source()

    async def use_for_ever(inside: asyncio.Event) -> None:
        pool: Pool = AsyncPool(source, retter=turns)
        async with pool.obj():
            inside.set()
            await asyncio.get_running_loop().create_future()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        inside = asyncio.Event()
        task = asyncio.create_task(use_for_ever(inside))
        await inside.wait()
        del task
        gc.collect()
        await settle(lambda: not source.parts[0].open)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert isinstance(source.parts[0].error, PoolException)
    source.check_all_gone()


def test_a_block_that_its_loop_has_left_open_ends_in_silence() -> None:
    """Otherwise the collector would print an error of ours, beside what asyncio says."""
    pool: Pool = AsyncPool(Source())

    async def use_for_ever() -> None:
        async with pool.obj():
            await asyncio.Event().wait()

    async def main() -> asyncio.Task[None]:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        task = asyncio.create_task(use_for_ever())
        await settle(lambda: pool.stats()["in_use"])
        return task

    kept = [run_and_close(asyncio.new_event_loop, main())]
    kept.clear()
    gc.collect()
    assert pool.size == 0


def test_a_pool_whose_block_its_loop_has_left_open_may_be_entered_in_the_next_one() -> None:
    """Otherwise a pool at module level would be lost with a loop that was just closed."""
    source = Source()
    pool: Pool = AsyncPool(source, 1)

    async def main() -> None:
        async with pool:
            await use(pool)

    run_and_close(asyncio.new_event_loop, pool.__aenter__())
    run_and_close(asyncio.new_event_loop, main())
    assert len(source.parts) == 2
    source.check_all_gone()


def test_a_loop_that_has_ended_does_not_end_the_pool(run_loop: Run) -> None:
    """Otherwise a pool at module level could serve one `asyncio.run` only."""
    source = Source(turns, turns)
    pool: Pool = AsyncPool(source, 2, min_size=2)

    async def main() -> None:
        lease = pool.obj()
        await lease.__aenter__()
        leases.append(lease)
        assert pool.size <= 2
        for old in leases[:-1]:
            await old.__aexit__(None, None, None)  # of a use that ended with its loop: nothing happens
        assert pool.stats()["in_use"] == 1

    leases: list[Any] = []
    for times in range(1, 4):
        run_loop(watched(main()))
        source.check_all_gone()
        assert len(leases) == times
        assert pool.size == 0
        assert not pool.stats()["closed"]


@pytest.mark.parametrize("retter", [None, turns])
def test_a_block_that_is_left_in_another_loop(new_loop: NewLoop, retter: Any) -> None:
    """Otherwise its object would stay out for ever."""
    source = Source()
    pool: Pool = AsyncPool(source, 1, retter=retter)

    async def main() -> None:
        lease = pool.obj()
        await lease.__aenter__()
        await asyncio.to_thread(asyncio.run, awaiting(lambda: lease.__aexit__(None, None, None)))
        assert await pool.get(timeout=10) is source.parts[0]

    run_and_shut_down(new_loop, watched(main()))
    source.check_all_gone()


def test_a_pool_that_was_shut_down_stays_so_in_the_next_loop(run_loop: Run) -> None:
    """Otherwise something would be opened after the program has said that it is done."""
    pool: Pool = AsyncPool(Source())

    async def end() -> None:
        await use(pool)
        await pool.shutdown()

    async def again() -> None:
        with pytest.raises(PoolClosed):
            await pool.get()
        with pytest.raises(PoolClosed):
            await pool.__aenter__()
        await pool.shutdown()

    run_loop(end())
    run_loop(again())


async def awaiting(function: Callable[[], Awaitable[object]]) -> None:
    await function()


def test_another_loop_that_lives_is_refused_with_advice(new_loop: NewLoop) -> None:
    """Otherwise two threads would work on one connection."""
    pool: Pool = AsyncPool(Source(), name="db")

    async def main() -> None:
        part = await pool.get()
        advice = r"db: the pool belongs to another event loop.* make a pool per loop"
        uses: list[Callable[[], Any]] = [
            pool.get,
            lambda: pool.ret(part),
            lambda: pool.discard(part),
            pool.shutdown,
            pool.obj().__aenter__,
        ]
        for one in uses:
            with pytest.raises(PoolException, match=advice):
                await asyncio.to_thread(asyncio.run, awaiting(one))
        for function in (pool.refresh, lambda: pool.resize(max_size=3)):
            with pytest.raises(PoolException, match="another event loop"):
                await asyncio.to_thread(function)
        assert pool.stats()["in_use"] == 1
        await pool.ret(part)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("resized", [False, True])
def test_a_loop_that_has_ended_without_telling_takes_its_objects_along(resized: bool) -> None:
    """Otherwise a pool could be lost to a loop that was ended in an unusual way."""
    source = Source()
    pool: Pool = AsyncPool(source)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use(pool))
    type(loop).close(loop)  # and not `loop.close`, which the end of the loop is noticed by
    if resized:
        pool.resize(max_size=3)
    asyncio.run(use(pool))
    assert [part.open for part in source.parts] == [True, False]
    del loop
    gc.collect()  # here, with what asyncio says about a task that was never finished


def test_a_pool_that_nobody_references_is_closed(new_loop: NewLoop) -> None:
    """Otherwise a library that makes pools would collect connections for as long as the loop runs."""
    source = Source(turns, turns)

    async def main() -> None:
        pool: Pool = AsyncPool(source, 3, min_size=2, max_delay=1, max_lifetime=100)
        await pool.__aenter__()
        used = await pool.get()
        reference = weakref.ref(pool)
        loop: Any = asyncio.get_running_loop()
        del pool
        gc.collect()
        assert reference() is None
        await settle(lambda: [part.open for part in source.parts] == [True, False][:: 1 if used.number == 0 else -1])
        assert used.open
        assert loop._ProxyPatternPool.end.exits  # to close what is still in use

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(watched(main()))
    source.check_all_gone()
    assert sorted(type(part.error).__name__ for part in source.parts) == ["NoneType", "PoolException"]


class Client:
    """An object that has a pool one of whose parameters is a method of its own."""

    def __init__(self, parameter: str, closed: list[int]) -> None:
        self.closed = closed
        hooks: dict[str, Any] = {"fun": self.fun, "close": closed.append, parameter: getattr(self, parameter, self.see)}
        self.pool: AsyncPool[Any] = AsyncPool(hooks.pop("fun"), 3, **hooks)

    async def fun(self, number: int) -> int:
        return number

    async def see(self, _obj: object) -> bool:
        return True

    async def close(self, obj: int) -> None:
        await asyncio.sleep(0)
        self.closed.append(obj)


@pytest.mark.parametrize("parameter", ["fun", "close", "opener", "getter", "retter", "health"])
def test_a_pool_is_collected_together_with_the_object_whose_method_is_its_hook(
    new_loop: NewLoop, parameter: str
) -> None:
    """Otherwise each client that a program forgets would keep its connections for as long as the loop runs."""
    closed: list[int] = []

    async def main() -> None:
        client = Client(parameter, closed)
        out, idle = await client.pool.get(), await client.pool.get()
        await client.pool.ret(idle)
        references = weakref.ref(client), weakref.ref(client.pool)
        del client
        gc.collect()
        assert [reference() for reference in references] == [None, None]
        await settle(lambda: closed)
        assert (out, closed) == (0, [1])

    run_watched(new_loop, main())
    assert closed == [1, 0]


@pytest.mark.parametrize("parameter", ["close", "opener"])
def test_an_object_whose_method_is_a_hook_is_freed_when_all_is_closed(parameter: str) -> None:
    """Otherwise it would have been collected in name alone."""
    closed: list[int] = []

    class Large:
        pass

    async def main() -> None:
        client: Any = Client(parameter, closed)
        client.large = Large()
        reference = weakref.ref(client.large)
        await client.pool.ret(await client.pool.get())
        del client
        gc.collect()
        await settle(lambda: closed)
        await turns()
        gc.collect()
        assert reference() is None

    asyncio.run(watched(main()))


def test_an_object_that_ends_while_another_thread_collects_its_pool_is_closed() -> None:
    """Otherwise the hook would be missing for a moment, and a connection stay open."""
    closed: list[int] = []
    cleared, go = threading.Event(), threading.Event()

    def pause(_reference: object) -> None:
        cleared.set()
        assert go.wait(PATIENCE)

    async def main() -> None:
        client = Client("close", closed)
        obj = await client.pool.get()
        collector = threading.Thread(target=gc.collect)
        reference = weakref.ref(client, pause)
        await client.pool.discard(obj)
        del client
        collector.start()
        assert cleared.wait(PATIENCE)
        await turns()
        assert (reference(), closed) == (None, [])
        go.set()
        await asyncio.to_thread(collector.join)
        await settle(lambda: closed)

    asyncio.run(main())
    assert closed == [0]


def test_forgotten_pools_leave_nothing_in_the_loop(new_loop: NewLoop) -> None:
    """Otherwise each of them would cost memory, for as long as the loop runs."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        for _ in range(3):
            source = Source()
            pool: Pool = AsyncPool(source)
            await use(pool)
            del pool
            gc.collect()
            await settle(lambda: not loop._ProxyPatternPool.end.exits and not loop._ProxyPatternPool.end.first)
            source.check_all_gone()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(watched(main()))


def test_the_timer_of_a_pool_that_was_collected_rings_in_vain() -> None:
    """Otherwise it would be an error in the loop, at some time."""

    async def main() -> None:
        pool: Pool = AsyncPool(Source(), max_delay=10)
        await use(pool)
        del pool
        gc.collect()
        await asyncio.sleep(100)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(watched(main()))


@pytest.mark.parametrize("size", range(1, 7))
def test_a_pool_that_has_ended_with_its_loop_is_left_alone_by_its_timer(size: int) -> None:
    """Otherwise it would be an error in the loop, while exits of others still run."""

    async def closing(part: Part) -> None:
        for _ in range(part.number):
            await asyncio.sleep(0)

    source = Source(no_time, closing)
    pool: Pool = AsyncPool(source, min_size=size, max_lifetime=100)

    async def main() -> None:
        at_exit(asyncio.sleep, 200)
        await pool.__aenter__()

    run_watched(VirtualLoop, main())
    source.check_all_gone()


@pytest.mark.parametrize("after", ["its pool", "the others"])
def test_what_was_given_up_at_the_end_of_the_loop_may_still_end_well(after: str) -> None:
    """Otherwise a connection that is made at the last moment would stay open."""

    async def making(part: Part) -> None:
        if part.number:
            await deaf(part)

    async def closing(part: Part) -> None:
        await asyncio.sleep(0 if part.number or after == "its pool" else 5)

    source, kept = Source(making, closing), set[Any]()

    async def main() -> None:
        at_exit(asyncio.sleep, 5)
        pool: Pool = AsyncPool(source, 2)
        kept.add(await pool.get())
        start(kept, pool.get())
        await settle(lambda: len(source.calls) == 3)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(watched(main()))
    source.check_all_gone()
    assert source.parts[1].error is None


def test_what_was_given_up_at_the_end_of_the_loop_may_still_fail() -> None:
    """Otherwise the loop would tell of an error that nobody can do anything about."""

    async def making(part: Part) -> None:
        if part.number:
            await deaf(part)
            raise OSError("too late")

    async def closing(_part: Part) -> None:
        await asyncio.sleep(5)

    source, kept, problems = Source(making, closing), set[Any](), list[Any]()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
        pool: Pool = AsyncPool(source, 2)
        kept.add(await pool.get())
        start(kept, pool.get())
        await settle(lambda: len(source.calls) == 3)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    gc.collect()
    assert not problems


@pytest.mark.parametrize("fails", [False, True])
def test_a_collected_pool_tells_of_what_fails_and_of_nothing_else(
    run_loop: Run, fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise each creation that was cut off would be an error in the log, or a failure in none."""

    async def making(_part: Part) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if fails:
                raise OSError("down")

    async def main() -> None:
        source = Source(making)
        pool: Pool = AsyncPool(source, name="db")
        task = asyncio.create_task(pool.get())
        await settle(lambda: source.calls)
        task.cancel()
        await asyncio.wait([task])
        del pool, task
        gc.collect()
        await asyncio.sleep(0.001)

    run_loop(watched(main()))
    assert caplog.messages == (["db: making or closing an object failed"] if fails else [])


def test_what_ends_by_itself_when_its_pool_has_been_collected(
    new_loop: NewLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise it would be an error of ours in the loop."""
    die = asyncio.Event()

    async def dying() -> None:
        await die.wait()
        raise OSError("lost")

    @asynccontextmanager
    async def client(number: int) -> AsyncIterator[int]:
        async with asyncio.TaskGroup() as group:
            group.create_task(dying())
            yield number

    async def main() -> None:
        pool = AsyncPool(client, name="db")
        await pool.get()
        del pool
        gc.collect()
        die.set()
        await settle(lambda: caplog.messages)

    run_watched(new_loop, main())
    assert caplog.messages == ["db: making or closing an object failed"]


def test_a_pool_that_is_forgotten_while_its_loop_ends_is_closed(run_loop: Run) -> None:
    """Otherwise the end of a loop would fail when the last reference goes with an object that it closes."""
    pools: list[Pool] = []

    async def forget(_part: Part) -> None:
        reference = weakref.ref(pools.pop())
        gc.collect()
        assert reference() is None

    source = Source(no_time, forget)

    async def main() -> None:
        pools.append(AsyncPool(source))
        await use(pools[0])

    run_loop(watched(main()))
    assert not pools
    source.check_all_gone()


@pytest.mark.parametrize("retter", [None, turns])
@pytest.mark.parametrize("failed", [False, True])
def test_a_use_that_is_over_before_the_loop_can_end_it_is_left_alone(
    run_loop: Run, retter: Any, failed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the object would be taken from the next task that has it."""

    async def main() -> None:
        pool: Pool = AsyncPool(Source(), 1, retter=retter)
        lease = pool.obj()
        part = await lease.__aenter__()
        lease.end(failed)
        await pool.ret(part)
        part = await pool.get()
        await turns(part)
        assert pool.stats()["in_use"] == 1
        await pool.discard(part)
        await pool.shutdown()

    run_loop(watched(main()))
    assert not caplog.messages


def test_a_collected_pool_whose_loop_is_gone_is_just_gone() -> None:
    """Otherwise a finaliser would complain."""
    pool: Pool = AsyncPool(Source())
    asyncio.run(use(pool))
    del pool
    gc.collect()


def test_a_creation_that_outlives_its_pool_is_given_up(new_loop: NewLoop) -> None:
    """Otherwise nobody would ever close what it makes."""
    go = asyncio.Event()

    async def slow(part: Part) -> None:
        try:
            await go.wait()
        except CancelledError:
            if part.number:
                raise

    source = Source(slow)

    async def main() -> None:
        pool: Pool = AsyncPool(source, min_size=2)
        task = asyncio.create_task(pool.get())
        await settle(lambda: len(source.calls) == 2)
        task.cancel()
        await asyncio.wait([task])
        del pool, task
        gc.collect()
        go.set()
        await settle(lambda: all(not part.open for part in source.parts))

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(watched(main()))
    source.check_all_gone()


def test_a_forked_child_starts_with_nothing_and_ends_nothing() -> None:
    """Otherwise two processes would talk over one connection, or the child would end the parent's sessions."""
    result = run("""
        import asyncio, os, gc, sys
        from contextlib import asynccontextmanager
        from ProxyPatternPool import AsyncPool

        log = []

        class Connection:
            def __init__(self): self.pid = os.getpid()
            def __del__(self):
                if self.pid != os.getpid(): os.write(1, b"finalised in the child")

        @asynccontextmanager
        async def connect(n):
            connection = Connection()
            yield connection
            log.append(("closed", os.getpid()))
            if connection.pid != os.getpid(): os.write(1, b"closed in the child")

        async def connect_slowly(n):
            connection = Connection()
            await asyncio.Event().wait()
            return connection

        pool = AsyncPool(connect, 2, min_size=2)

        async def leave():
            "Leave one that somebody has of a pool which is collected, and one that is being made."
            forgotten, slow = AsyncPool(connect, 1), AsyncPool(connect_slowly, 1)
            held.append(await forgotten.get())
            kept.append(asyncio.create_task(slow.get()))
            await asyncio.sleep(0.01)

        held, kept = [], []

        async def child():
            assert pool.size == 0
            async with pool.obj() as connection:
                assert connection.pid == os.getpid()

        async def main():
            async with pool.obj():
                await leave()
                gc.collect()
                await asyncio.sleep(0.01)
                pid = os.fork()
                if pid == 0:
                    held.clear()
                    kept.clear()
                    asyncio.events._set_running_loop(None)
                    asyncio.run(child())
                    assert log, log
                    gc.collect()
                    sys.stdout.flush()
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
                assert pool.stats()["in_use"] == 1
            assert not log
            held.clear()

        asyncio.run(main())
        assert len(log) == 2, log  # and the forgotten one, as broken
    """)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
