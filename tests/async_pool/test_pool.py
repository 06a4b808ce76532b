"""AsyncPool: what it does that a pool for threads does not."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from ProxyPatternPool import AsyncPool, PoolClosed, PoolException, TimeOut
from tests.support.cancelling import watched
from tests.support.loops import ENDS, Run
from tests.support.parts import Part, Pool, Source, settle, turns, use
from tests.support.virtual_time import run_fast

# -- what fun returns


def test_an_asynchronous_context_manager_is_entered_and_exited(run_loop: Run) -> None:
    """Otherwise each driver would need a wrapper."""
    calls: list[str] = []

    @asynccontextmanager
    async def fun(number: int) -> AsyncIterator[str]:
        calls.append("enter")
        yield f"object {number}"
        calls.append("exit")

    async def main() -> None:
        async with AsyncPool(fun) as pool:
            async with pool.obj() as obj:
                assert obj == "object 0"
            assert calls == ["enter"]
        assert calls == ["enter", "exit"]

    run_loop(watched(main()))


class Both:
    """Can be awaited and entered, as the connections and clients of many drivers can."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __await__(self) -> Generator[Any, Any, Both]:
        self.calls.append("await")
        yield from ()
        return self

    async def __aenter__(self) -> Both:
        self.calls.append("enter")
        return self

    async def __aexit__(self, *error: object) -> None:
        self.calls.append("exit")


def test_what_is_both_is_entered_and_what_is_awaited_is_left_alone(run_loop: Run) -> None:
    """Otherwise connections would not be closed, or be closed twice."""

    async def connect(_number: int) -> Both:
        return Both()

    async def main() -> None:
        entered, awaited = AsyncPool(lambda _: Both()), AsyncPool(connect)
        first, second = await entered.get(), await awaited.get()
        await entered.discard(first)
        await awaited.discard(second)
        await entered.shutdown()
        await awaited.shutdown()
        assert (first.calls, second.calls) == (["enter", "exit"], [])

    run_loop(watched(main()))


@pytest.mark.parametrize("plain", [False, True])
def test_close_replaces_the_exit(run_loop: Run, plain: bool) -> None:
    """Otherwise what is to be ended in another way would be ended twice."""
    closed: list[Part] = []

    async def close(part: Part) -> None:
        await asyncio.sleep(0)
        closed.append(part)

    async def main() -> None:
        pool: Pool = AsyncPool(Source(), close=closed.append if plain else close)
        part = await pool.get()
        await pool.discard(part)
        await pool.shutdown()
        assert closed == [part]
        assert part.open

    run_loop(watched(main()))


def test_what_is_broken_is_exited_with_an_exception_and_what_is_not_without(run_loop: Run) -> None:
    """Otherwise a driver would commit half a transaction, or roll back for nothing."""

    async def failing(_part: Part) -> None:
        raise OSError

    async def main() -> None:
        source = Source()
        pool: Pool = AsyncPool(source, 1, name="db")
        await pool.discard(await pool.get())
        await use(pool)
        await pool.shutdown()
        assert str(source.parts[0].error) == "db: Part object number 0 is given up: discard"
        assert source.parts[1].error is None
        tidy: Pool = AsyncPool(source, 1, retter=failing)
        await use(tidy)
        await tidy.shutdown()
        assert isinstance(source.parts[2].error, PoolException)
        source.check_all_gone()

    run_loop(watched(main()))


def test_an_opener_that_fails_closes_what_it_was_given(run_loop: Run) -> None:
    """Otherwise each failure would leave a connection open."""

    async def failing(_part: Part) -> None:
        raise OSError("bad")

    async def main() -> None:
        source = Source(turns, turns)
        pool: Pool = AsyncPool(source, 1, min_size=0, opener=failing, name="db")
        with pytest.raises(OSError, match="bad"):
            await pool.get()
        assert isinstance(source.parts[0].error, OSError)
        assert pool.stats()["nclosed"] == {"opener": 1}
        assert pool.size == 0

    run_loop(watched(main()))


def test_an_opener_whose_object_cannot_be_closed_either_is_what_is_told(run_loop: Run) -> None:
    """Otherwise the caller would hear of the second error, and look for the wrong fault."""

    async def failing(_part: Part) -> None:
        raise OSError("bad")

    async def unclosable(_part: Part) -> None:
        raise ValueError("stuck")

    async def main() -> None:
        pool: Pool = AsyncPool(Source(), 1, min_size=0, opener=failing, close=unclosable, name="db")
        with pytest.raises(OSError, match="bad") as caught:
            await pool.get()
        assert caught.value.__notes__ == [
            "closing the object failed, too: ValueError('stuck')",
            "db: raised by opener",
        ]
        group: AsyncPool[Any] = AsyncPool(lambda _: asyncio.TaskGroup(), min_size=0, opener=failing, name="group")
        with pytest.raises(OSError, match="bad") as caught:
            await group.get()
        assert caught.value.__notes__ == ["group: raised by opener"]
        assert (pool.size, group.size) == (0, 0)

    run_loop(watched(main()))


def test_what_is_made_twice_is_not_closed_while_the_first_one_uses_it(run_loop: Run) -> None:
    """Otherwise a slip in `fun` would take the client away from who uses it."""

    async def main() -> None:
        both = Both()
        pool = AsyncPool(lambda _: both, 2, name="db")
        assert await pool.get() is both
        with pytest.raises(PoolException, match=r"db: fun\(1\) returned an object that is already in the pool"):
            await pool.get()
        assert "exit" not in both.calls
        await pool.ret(both)
        await pool.shutdown()
        assert both.calls.count("exit") == 1

    run_loop(watched(main()))


# -- the tasks of the objects


def test_objects_live_in_tasks_of_their_own_in_an_empty_context(run_loop: Run) -> None:
    """Otherwise anyio would complain, and the first request's variables would be everybody's."""
    request: ContextVar[str] = ContextVar("request", default="nobody's")
    seen: list[str] = []

    @asynccontextmanager
    async def scoped(_number: int) -> AsyncIterator[object]:
        seen.append(request.get())
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1000)
            yield object()
            group.cancel_scope.cancel()
        seen.append(request.get())

    async def opener(_obj: object) -> None:
        seen.append(request.get())

    async def prepare(_obj: object) -> None:
        seen.append(request.get())

    async def one(pool: AsyncPool[object]) -> None:
        request.set("mine")
        async with pool.obj():
            pass
        await pool.ret(await pool.get())

    async def main() -> None:
        async with AsyncPool(scoped, 1, min_size=0, opener=opener, getter=prepare, retter=prepare) as pool:
            await asyncio.create_task(one(pool))
        assert seen == ["nobody's", "nobody's", *["mine", "mine"] * 2, "nobody's"]

    run_loop(watched(main()))


def test_the_task_of_an_object_is_told_by_pool_and_number(run_loop: Run) -> None:
    """Otherwise a debugger would show as many tasks of one name as there are objects."""

    async def name(_number: int) -> str:
        task = asyncio.current_task()
        assert task
        return task.get_name()

    async def main() -> None:
        async with AsyncPool(name, 2, name="db") as pool, pool.obj() as first, pool.obj() as second:
            assert (first, second) == ("db: task of object 0", "db: task of object 1")

    run_loop(watched(main()))


@pytest.mark.parametrize("state", ["idle", "leased", "getter", "retter", "health", "check"])
def test_an_object_that_ends_by_itself_is_not_lent_again(
    run_loop: Run, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    """Otherwise a client whose background task has died would be handed out for ever."""
    die, dead, clock = asyncio.Event(), asyncio.Event(), Clock()

    async def dying() -> None:
        await die.wait()
        raise OSError("lost")

    @asynccontextmanager
    async def client(number: int) -> AsyncIterator[list[int]]:
        try:
            async with asyncio.TaskGroup() as group:
                if number == 0:
                    group.create_task(dying())
                yield [number]
        finally:
            dead.set()

    async def hook(client: list[int]) -> bool:
        if client == [0] and ready:
            die.set()
            await dead.wait()
            await turns_of_the_loop()
        return True

    ready = state in ("getter", "retter")

    async def main() -> None:
        nonlocal ready
        hooks: dict[str, Any] = {} if state in ("idle", "leased") else {"health" if state == "check" else state: hook}
        if state == "health":
            hooks["health_delay"] = 0
        elif state == "check":
            hooks.update(delay=10, health_delay=1000, clock=clock)
        pool = AsyncPool(client, 1, name="db", **hooks)
        first = await pool.get()
        if state == "leased":
            die.set()
            await settle(lambda: not pool.stats()["in_use"])
        await pool.ret(first)
        if state == "idle":
            die.set()
            await settle(dead.is_set)
            await turns_of_the_loop()
        elif state == "health":
            ready = True
        elif state == "check":
            ready = True
            clock.now += 11
            pool._engine.on_time()
            await dead.wait()
        second = await pool.get()
        assert second[0] >= 1
        assert pool.stats()["nbad_returns"] == (state == "leased")
        await pool.ret(second)
        await pool.shutdown()

    run_loop(watched(main()))
    assert any("has ended on its own" in text for text in caplog.messages)


@pytest.mark.parametrize("state", ["idle", "retter"])
def test_an_object_that_takes_its_time_to_end_is_not_lent_meanwhile(
    run_loop: Run, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    """Otherwise who borrows it would work on what is being torn down."""
    die, go = asyncio.Event(), asyncio.Event()

    async def dying() -> None:
        await die.wait()
        raise OSError("lost")

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await go.wait()

    @asynccontextmanager
    async def client(number: int) -> AsyncIterator[list[int]]:
        async with asyncio.TaskGroup() as group:
            if number == 0:
                group.create_task(dying())
                group.create_task(slow())
            yield [number]

    async def end(client: list[int]) -> None:
        if client == [0]:
            die.set()
            await settle(lambda: "db: list object number 0 has ended on its own" in caplog.messages)

    async def main() -> None:
        pool = AsyncPool(client, 2, name="db", retter=end if state == "retter" else None)
        first = await pool.get()
        await pool.ret(first)
        if state == "idle":
            await end(first)
        second = await pool.get()
        assert second == [1]
        assert pool.stats()["closing"] == 1
        go.set()
        await settle(lambda: pool.size == 1)
        assert "db: closing list object number 0 failed" in caplog.messages
        assert "lost" in caplog.text
        await pool.ret(second)
        await pool.shutdown()

    run_loop(watched(main()))


async def turns_of_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_creation_that_is_cancelled_from_inside_cancels_nobody(run_loop: Run) -> None:
    """Otherwise requests would end as cancelled, though nobody has cancelled them."""

    async def fun(_number: int) -> None:
        raise CancelledError

    async def hook(_part: Part) -> None:
        raise CancelledError

    async def main() -> None:
        pool = AsyncPool(fun, min_size=0, name="db")
        with pytest.raises(PoolException, match="db: the creation of an object was cancelled"):
            await pool.get()
        other: Pool = AsyncPool(Source(), getter=hook, name="db")
        with pytest.raises(PoolException, match="db: a hook was cancelled"):
            await other.get()

    run_loop(watched(main()))


# -- waiting


def test_a_creation_goes_on_when_its_caller_has_had_enough(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise the impatient would never reach a server that is slow."""

    async def slow(part: Part) -> None:
        await asyncio.sleep(10)
        if part.number == 1:
            raise OSError("down")

    async def main() -> None:
        pool: Pool = AsyncPool(Source(slow), 2, min_size=0, timeout=4, name="db")
        for _ in range(2):
            with pytest.raises(
                TimeOut, match=r"^db: still creating an object, timeout after 4.0 s: 0 in use, 0 idle, "
            ):
                await pool.get()
        assert pool.stats()["ntimeouts"] == 2
        await asyncio.sleep(6)
        assert (await pool.get(timeout=0)).number == 0
        await asyncio.sleep(6)
        assert (
            "db: making object 1 failed in the background, and no caller waits for it: OSError: down" in caplog.messages
        )

    run_fast(watched(main()))


def test_nobody_waits_for_a_creation_beside_an_object_that_has_come_back(run_loop: Run) -> None:
    """Otherwise a newcomer would overtake, or a server that takes no new connection make the old ones useless."""
    go = asyncio.Event()

    async def slow(part: Part) -> None:
        if part.number:
            await go.wait()

    async def main() -> None:
        pool: Pool = AsyncPool(Source(slow), 4)
        order: list[str] = []

        async def user(name: str) -> Part:
            part = await pool.get()
            order.append(name)
            return part

        part = await pool.get()
        users = [asyncio.create_task(user(name)) for name in "abcd"]
        await settle(lambda: pool.stats()["creating"] == 3 and pool.stats()["nwaiting"] == 1)
        for waiting in users[:2]:
            await pool.ret(part)
            assert await waiting is part
        async with asyncio.timeout(10):
            await pool.ret(part)
            await users[2]
            go.set()
            await users[3]
        assert order == ["a", "b", "c", "d"]

    run_loop(watched(main()))


def test_what_is_made_first_goes_to_who_came_first(run_loop: Run) -> None:
    """Otherwise one whose server is slow would see all others pass."""
    slow, fast = asyncio.Event(), asyncio.Event()

    async def making(part: Part) -> None:
        await (slow if part.number == 0 else fast).wait()

    async def main() -> None:
        pool: Pool = AsyncPool(Source(making), 2, min_size=0)
        first, second, third = (asyncio.create_task(pool.get()) for _ in range(3))
        await settle(lambda: pool.stats()["creating"] == 2)
        second.cancel()
        await asyncio.wait([second])
        fast.set()
        assert (await first).number == 1
        slow.set()
        assert (await third).number == 0

    run_loop(watched(main()))


def test_what_is_made_later_and_faster_goes_to_who_came_first(run_loop: Run) -> None:
    """Otherwise who came later would pass, and who came first run out of time."""
    go = asyncio.Event()

    async def slow(part: Part) -> None:
        if part.number == 0:
            await go.wait()

    async def main() -> None:
        pool: Pool = AsyncPool(Source(slow), 2, min_size=0)
        first, second = (asyncio.create_task(pool.get(), name=name) for name in ("first", "second"))
        async with asyncio.timeout(10):
            part = await first
        assert (part.number, pool.leases()[0]["holder"]) == (1, "a task that has ended")
        assert not second.done()
        go.set()
        assert (await second).number == 0
        assert pool.stats()["wait"]["count"] == 0, "they did not queue"

    run_loop(watched(main()))


@pytest.mark.parametrize("end", ["check", "cancelled preparation", "return"])
def test_what_comes_back_goes_to_who_waits_for_a_creation_before_the_queue(run_loop: Run, end: str) -> None:
    """Otherwise whoever came when all places were taken would pass those who wait for a server that is slow."""
    never, go = asyncio.Event(), asyncio.Event()

    async def slow(part: Part) -> None:
        if part.number:
            await never.wait()

    async def hook(_part: Part) -> bool:
        if end != "return":
            await go.wait()
        return True

    async def main() -> None:
        async def hold() -> Part:
            async with pool.obj() as got:
                held.set()
                await give_back.wait()
            return got

        held, give_back = asyncio.Event(), asyncio.Event()
        clock = Clock()
        hooks: dict[str, Any] = {"health": hook, "health_delay": 0.0} if end != "return" else {}
        pool: Pool = AsyncPool(Source(slow), 2, delay=10, clock=clock, **hooks)
        part = await pool.get()
        if end != "return":
            await pool.ret(part)
            clock.now += 11
        if end == "check":
            pool._engine.on_time()
        elif end == "cancelled preparation":
            impatient = asyncio.create_task(pool.get())
            await settle(lambda: pool.stats()["in_use"])
            impatient.cancel()
        first = asyncio.create_task(hold(), name="first")
        await settle(lambda: pool.stats()["creating"])
        second = asyncio.create_task(pool.get())
        await settle(lambda: pool.stats()["nwaiting"])
        go.set()
        if end == "return":
            await pool.ret(part)
        async with asyncio.timeout(10):
            await held.wait()
        assert pool.leases()[0]["holder"] == "task 'first'"
        assert not second.done()
        give_back.set()
        assert await first is await second is part
        await pool.shutdown()

    run_loop(watched(main()))


def test_who_is_served_twice_has_queued_once(run_loop: Run) -> None:
    """Otherwise the statistics would count more callers than there have been."""
    never = asyncio.Event()

    async def slow(part: Part) -> None:
        if part.number > 1:
            await never.wait()

    async def main() -> None:
        pool: Pool = AsyncPool(Source(slow), 2, min_size=2)
        await pool.__aenter__()
        one, other = [await pool.get() for _ in range(2)]
        waiting = asyncio.create_task(pool.get())
        await settle(lambda: pool.stats()["nwaiting"])
        await pool.discard(one)
        await settle(lambda: pool.stats()["creating"])
        await pool.ret(other)
        assert await waiting is other
        assert pool.stats()["wait"]["count"] == 1
        await pool.ret(other)
        await pool.shutdown()

    run_loop(watched(main()))


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_pool_that_cannot_be_entered_is_closed(run_loop: Run, cancelled: bool) -> None:
    """Otherwise what was made until then would stay open, and nobody could end it."""

    async def making(part: Part) -> None:
        await turns(part)
        if part.number and not cancelled:
            raise OSError("down")

    async def main() -> None:
        source = Source(making, turns)
        pool: Pool = AsyncPool(source, 3, min_size=3)
        entering = asyncio.create_task(pool.__aenter__())
        await settle(lambda: len(source.calls) == 3)
        if cancelled:
            entering.cancel()
        with pytest.raises(CancelledError if cancelled else OSError):
            await entering
        await settle(lambda: pool.size == 0)
        source.check_all_gone()
        with pytest.raises(PoolClosed):
            await pool.get()

    run_loop(watched(main()))


def test_what_is_made_first_and_fails_is_told_at_once(run_loop: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a program whose server refuses one connection, and hangs at the next, would never start or end."""

    async def making(part: Part) -> None:
        if part.number == 0:
            await asyncio.Event().wait()
        if part.number > 1:
            raise OSError(f"down {part.number}")

    async def main() -> None:
        source = Source(making, turns)
        pool: Pool = AsyncPool(source, 4, min_size=4, name="db")
        async with asyncio.timeout(10):
            with pytest.raises(OSError, match="down 2") as caught:
                await pool.__aenter__()
        assert caught.value.__notes__ == ["db: raised by fun(2)"]
        assert pool.size == 0, "what was made is still open"
        source.check_all_gone()

    run_loop(watched(main()))
    assert caplog.messages == [
        "db: making object 3 failed in the background, and no caller waits for it: OSError: down 3"
    ]
    assert "down 3" in caplog.text


def test_a_pool_that_is_shut_down_while_it_is_entered_says_so(run_loop: Run) -> None:
    """Otherwise who enters it would be told of a cancellation, and would look for it in vain."""

    async def endless(_part: Part) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        pool: Pool = AsyncPool(Source(endless), 2, min_size=2)
        entering = asyncio.create_task(pool.__aenter__())
        await settle(lambda: pool.stats()["creating"] == 2)
        await pool.shutdown()
        with pytest.raises(PoolClosed):
            await entering

    run_loop(watched(main()))


def test_the_first_get_fills_the_pool_in_the_background(run_loop: Run) -> None:
    """Otherwise it would wait for all of them, or `min_size` would promise nothing to who enters no block."""

    async def main() -> None:
        source = Source(turns)
        pool: Pool = AsyncPool(source, 3, min_size=3)
        assert pool.size == 0
        await pool.get()
        assert len(source.parts) < 3
        await settle(lambda: pool.stats()["idle"] == 2)

    run_loop(watched(main()))


def test_what_is_being_prepared_when_it_is_taken_away_is_not_lent(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a caller would get an object that has been closed."""

    async def getter(part: Part) -> None:
        if part.number == 0:
            await asyncio.sleep(20)

    async def main() -> None:
        pool: Pool = AsyncPool(Source(), 1, getter=getter, max_using_delay_kill=10)
        part = await pool.get()
        assert part.number == 1
        assert part.open
        await pool.ret(part)

    run_fast(watched(main()))
    assert "was taken away" in caplog.text


@pytest.mark.parametrize("timeout", [None, 0])
def test_who_waits_for_a_creation_or_a_check_is_sent_away_by_shutdown(run_loop: Run, timeout: float | None) -> None:
    """Otherwise a server that does not answer would keep a program from ending."""

    async def endless(_part: Part) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        source = Source()
        pool: Pool = AsyncPool(source, 2, getter=endless)
        await pool.__aenter__()
        getting = asyncio.create_task(pool.get(timeout))
        await settle(lambda: pool.stats()["in_use"])
        source.making = endless
        creating = asyncio.create_task(pool.get())
        await settle(lambda: pool.stats()["creating"])
        ending = asyncio.create_task(pool.shutdown())
        for task in (getting, creating):
            with pytest.raises(PoolClosed):
                await task
        assert not ending.done()
        ending.cancel()

    run_loop(watched(main()))


def test_shutdown_cancels_what_is_being_made(run_loop: Run) -> None:
    """Otherwise a server that does not answer would keep its place, and a task, for ever."""

    async def endless(_part: Part) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        source = Source(endless)
        pool: Pool = AsyncPool(source)
        waiting = asyncio.create_task(pool.get())
        await settle(lambda: source.calls)
        await pool.shutdown()
        assert pool.size == 0
        with pytest.raises(PoolClosed):
            await waiting

    run_loop(watched(main()))


def test_a_getter_that_fails_when_nobody_waits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise it would be lost."""

    async def getter(_part: Part) -> None:
        await asyncio.sleep(2)
        raise OSError("bad")

    async def main() -> None:
        pool: Pool = AsyncPool(Source(), 1, getter=getter, timeout=1, name="db")
        with pytest.raises(TimeOut, match="still checking"):
            await pool.get()
        await asyncio.sleep(2)
        assert "db: preparing an object failed, and no caller waits for it" in caplog.messages
        await settle(lambda: pool.stats()["nclosed"] == {"getter": 1})

    run_fast(watched(main()))


def test_a_pool_that_is_closed_while_an_object_is_checked_takes_nobody_back(run_loop: Run) -> None:
    """Otherwise who finds its object dead would wait in a queue that nobody serves."""
    go, begun = asyncio.Event(), asyncio.Event()

    async def dead(_part: Part) -> bool:
        begun.set()
        await go.wait()
        return False

    async def main() -> None:
        pool: Pool = AsyncPool(Source(), 1, health=dead, health_delay=0)
        await use(pool)
        await asyncio.sleep(0.001)
        waiting = asyncio.create_task(pool.get())
        await begun.wait()
        ending = asyncio.create_task(pool.shutdown())
        go.set()  # the check ends when the pool has been closed, and before its caller knows
        with pytest.raises(PoolClosed):
            await waiting
        await ending
        assert pool.size == 0

    run_loop(watched(main()))


def test_a_block_whose_object_was_given_back_has_nothing_to_tidy_up(run_loop: Run) -> None:
    """Otherwise the hook would work on what somebody else uses."""
    tidied: list[Part] = []

    async def main() -> None:
        pool: Pool = AsyncPool(Source(), 1, retter=tidied.append)
        async with pool.obj() as part:
            await pool.ret(part)
            assert await pool.get() is part
        assert tidied == [part]
        assert pool.stats()["in_use"] == 1

    run_loop(watched(main()))


def test_a_return_that_is_cancelled_tidies_up_all_the_same(run_loop: Run) -> None:
    """Otherwise each client that hangs up would cost a connection."""

    async def main() -> None:
        source = Source()
        pool: Pool = AsyncPool(source, 1, retter=turns)
        task = asyncio.create_task(pool.ret(await pool.get()))
        await settle(lambda: pool.stats()["reserved"])
        task.cancel()
        await settle(lambda: pool.stats()["idle"])
        assert task.cancelled()
        assert source.parts[0].open

    run_loop(watched(main()))


def test_shutdown_waits_a_second_for_hooks() -> None:
    """Otherwise what is being tidied up would be cut off, or a hook that hangs would keep the program from ending."""

    async def retter(part: Part) -> None:
        await asyncio.sleep(100 if part.number else 0.5)

    async def main() -> None:
        source = Source()
        pool: Pool = AsyncPool(source, 2, min_size=2, retter=retter)
        await pool.__aenter__()
        returning = [asyncio.create_task(pool.ret(await pool.get())) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.gather(pool.shutdown(), pool.shutdown())
        assert asyncio.get_running_loop().time() == pytest.approx(1)
        assert pool.size == 0
        assert [part.error is None for part in source.parts] == [True, False]
        source.check_all_gone()
        await asyncio.gather(*returning)

    run_fast(watched(main()))


def test_shutdown_waits_for_no_hook_that_ignores_being_cancelled() -> None:
    """Otherwise it would keep the program from ending; its object is closed when it has ended."""

    async def retter(_part: Part) -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(3)
            except CancelledError:
                pass

    async def main() -> None:
        source = Source()
        pool: Pool = AsyncPool(source, 1, retter=retter)
        returning = asyncio.create_task(pool.ret(await pool.get()))
        await asyncio.sleep(0)
        await pool.shutdown()
        assert asyncio.get_running_loop().time() == pytest.approx(2)
        await returning
        await settle(lambda: pool.size == 0)
        assert asyncio.get_running_loop().time() == pytest.approx(4)
        source.check_all_gone()

    run_fast(watched(main()))


def test_a_hook_that_is_cancelled_before_it_begins_costs_the_object_only() -> None:
    """Otherwise what comes back when `shutdown` loses its patience would stay open, and keep its place."""
    called: list[Part] = []

    async def retter(part: Part) -> None:
        called.append(part)
        await asyncio.sleep(100)

    async def return_in_the_turn_of_the_cancelling(pool: Pool, part: Part) -> None:
        await asyncio.sleep(1)
        await pool.ret(part)

    async def main() -> None:
        source = Source()
        pool: Pool = AsyncPool(source, 2, min_size=2, retter=retter)
        await pool.__aenter__()
        parts = [await pool.get() for _ in range(2)]
        returning = [
            asyncio.create_task(pool.ret(parts[0])),
            asyncio.create_task(return_in_the_turn_of_the_cancelling(pool, parts[1])),
        ]
        await asyncio.sleep(0)
        await pool.shutdown()
        assert called == [parts[0]]
        assert pool.size == 0
        assert all(isinstance(part.error, PoolException) for part in parts)
        await asyncio.gather(*returning)
        source.check_all_gone()

    run_fast(watched(main()))


@pytest.mark.parametrize("hook", ["fun", "opener", "getter", "health"])
@pytest.mark.parametrize("plain", [True, False])
def test_a_cancellation_that_a_hook_raises_reaches_the_caller_as_an_error(
    run_loop: Run, hook: str, plain: bool
) -> None:
    """Otherwise a caller that was not cancelled would end as if it had been, and its task group with it."""

    def cancel(_: object) -> None:
        raise CancelledError("the hook's own")

    async def cancel_later(_: object) -> None:
        await asyncio.sleep(0)
        raise CancelledError("the hook's own")

    async def main() -> None:
        source = Source()
        parameters: dict[str, Any] = {"fun": source, "health_delay": 0, "min_size": 0, "name": "db"}
        pool: Pool = AsyncPool(**{**parameters, hook: cancel if plain else cancel_later}, max_size=1)
        if hook == "health":  # asked when the object is lent again
            await pool.ret(await pool.get())
        what = "the creation of an object" if hook in ("fun", "opener") else "a hook"
        with pytest.raises(PoolException, match=f"^db: {what} was cancelled$"):
            await pool.get()
        await settle(lambda: pool.size == 0)
        source.check_all_gone()
        await pool.shutdown()

    run_loop(watched(main()))


def test_a_cancellation_that_a_retter_raises_costs_the_object_only(
    run_loop: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the caller that returns would end as if it had been cancelled."""

    async def retter(_: Part) -> None:
        raise CancelledError

    async def main() -> None:
        source = Source()
        pool: Pool = AsyncPool(source, 1, min_size=0, retter=retter, name="db")
        await pool.ret(await pool.get())
        await settle(lambda: pool.size == 0)
        source.check_all_gone()
        assert pool.stats()["nclosed"] == {"retter": 1}
        await pool.shutdown()

    run_loop(watched(main()))
    assert "db: tidying up Part object number 0 did not end: given up" in caplog.messages


def test_numbers_begin_anew_in_each_event_loop() -> None:
    """Otherwise the page that says so would be wrong, and a program that keeps things by number surprised."""
    source = Source()
    pool: Pool = AsyncPool(source, 2, min_size=0)

    async def main() -> list[int]:
        async with pool.obj() as one, pool.obj() as another:
            return [one.number, another.number]

    for _ in range(2):
        assert asyncio.run(main()) == [0, 1]


class Ending(BaseException):
    """What no handler of ordinary exceptions stops."""


def test_an_interrupt_in_a_retter_reaches_who_returns(run_loop: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise it would be lost, or told by the loop, as if nobody had waited."""

    async def retter(_part: Part) -> None:
        raise Ending

    async def main() -> None:
        source = Source()
        pool: Pool = AsyncPool(source, 1, retter=retter, name="db")
        with pytest.raises(Ending) as caught:
            await pool.ret(await pool.get())
        assert caught.value.__notes__ == ["db: raised by retter"]
        await settle(lambda: pool.stats()["nclosed"] == {"retter": 1})
        assert isinstance(source.parts[0].error, PoolException)

    run_loop(watched(main()))
    assert "db: tidying up Part object number 0 failed" in caplog.messages


@pytest.mark.parametrize("hook", ["getter", "health"])
@pytest.mark.parametrize("plain", [False, True])
def test_who_waits_for_nobody_waits_for_hooks_all_the_same(run_loop: Run, hook: str, plain: bool) -> None:
    """Otherwise a pool with such a hook would have nothing for `get(timeout=0)`, ever."""

    async def awaited(part: Part) -> bool:
        await turns(part)
        return part.number > 0

    async def slow(part: Part) -> None:
        if part.number > 1:
            await asyncio.Event().wait()

    async def main() -> None:
        function: Any = (lambda part: part.number > 0) if plain else awaited
        pool: Pool = AsyncPool(Source(slow), 3, min_size=2, health_delay=0, **{hook: function})
        async with pool:
            part = await pool.get(timeout=0)
            assert part.number == 1
            await pool.ret(part)
            if hook == "health":
                part = await pool.get()
                with pytest.raises(TimeOut, match=r"still creating an object, timeout after 0\.0 s"):
                    await pool.get(timeout=0)  # the other one was dead
                await pool.ret(part)

    run_loop(watched(main()))


def test_who_waits_for_nobody_does_not_wait_for_ever_for_hooks(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise who has no time would have all of it when a server does not answer."""

    async def getter(_part: Part) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        source = Source()
        pool: Pool = AsyncPool(source, 1, getter=getter, name="db")
        await pool.__aenter__()
        with pytest.raises(TimeOut, match=r"still checking an object, timeout after 0\.0 s"):
            await pool.get(timeout=0)
        assert asyncio.get_running_loop().time() == pytest.approx(5)
        await asyncio.sleep(6)
        assert "db: preparing Part object number 0 did not end: given up" in caplog.messages
        await pool.shutdown()
        source.check_all_gone()

    run_fast(watched(main()))


@pytest.mark.parametrize("maker", ["a caller", "the pool"])
def test_what_is_new_is_not_checked_for_who_had_it_made(run_loop: Run, maker: str) -> None:
    """Otherwise each new connection would cost a round trip more."""
    checked: list[Part] = []

    async def main() -> None:
        pool: Pool = AsyncPool(Source(), 1, min_size=int(maker == "the pool"), health=checked.append, health_delay=0)
        if maker == "the pool":
            await pool.__aenter__()
        await pool.get()
        assert len(checked) == (maker == "the pool")  # which may have made it long ago
        await pool.shutdown()

    run_loop(watched(main()))


# -- time


def test_what_is_to_be_checked_in_the_background_may_be_taken_meanwhile(run_loop: Run) -> None:
    """Otherwise an object would be checked while somebody uses it."""
    checked: list[Part] = []

    async def main() -> None:
        clock = Clock()
        pool: Pool = AsyncPool(Source(), 2, min_size=2, health=checked.append, health_delay=1000, delay=10, clock=clock)
        await pool.__aenter__()
        clock.now += 11
        pool._engine.on_time()  # the first one is being checked, the second one is still to be
        part = await pool.get()
        await turns(part)
        assert len(checked) == 1
        assert part not in checked
        assert part.open

    run_loop(watched(main()))


def test_idle_objects_are_checked_one_at_a_time(run_loop: Run) -> None:
    """Otherwise each round would take all of them at the same time, and callers would wait, or have more made."""
    go, checked = asyncio.Event(), list[Part]()

    async def health(part: Part) -> bool:
        checked.append(part)
        await go.wait()
        return True

    async def main() -> None:
        clock = Clock()
        pool: Pool = AsyncPool(Source(), 3, min_size=3, health=health, health_delay=1000, delay=10, clock=clock)
        async with pool:
            clock.now += 11
            pool._engine.on_time()
            await settle(lambda: checked)
            assert (pool.stats()["reserved"], pool.stats()["idle"]) == (1, 2)
            part = await pool.get(timeout=0)
            assert part not in checked
            go.set()
            await settle(lambda: pool.stats()["idle"] == 2)
            assert len(checked) == 2, "what is in use was checked"
            await pool.ret(part)

    run_loop(watched(main()))


def test_an_interrupt_in_a_check_in_the_background_is_logged(run_loop: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise it would be lost."""

    async def health(_part: Part) -> bool:
        raise Ending

    async def main() -> None:
        clock = Clock()
        source = Source()
        pool: Pool = AsyncPool(source, 1, health=health, health_delay=1000, delay=10, clock=clock, name="db")
        await use(pool)
        clock.now += 11
        pool._engine.on_time()
        await settle(lambda: pool.stats()["nclosed"] == {"health": 1})
        await pool.shutdown()
        source.check_all_gone()

    run_loop(watched(main()))
    assert "db: checking Part object number 0 failed" in caplog.messages


class Clock:
    """A time that passes when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_timer_does_for_a_pool_and_keeps_nobodys_context(run_loop: Run) -> None:
    """Otherwise each use would cost a timer, and what a request has in its variables would live for as long."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        timers: list[Any] = []
        call_later = loop.call_later

        def watch(delay: float, function: Any, *arguments: Any, context: Any = None) -> Any:
            timers.append((delay, context))
            return call_later(delay, function, *arguments, context=context)

        loop.call_later = watch
        pool: Pool = AsyncPool(Source(), 3, max_delay=100, max_lifetime=1000)
        for _ in range(100):
            await use(pool)
        assert len([delay for delay, _ in timers if delay < 30]) == 1  # to find out when; the others are timeouts
        assert len([delay for delay, _ in timers if delay > 30]) == 1
        assert all(context is not None and not context for _, context in timers)

    run_loop(watched(main()))


class Request:
    """Something large, in a context variable."""


@pytest.mark.parametrize("what", ["a return", "a check"])
def test_a_hook_that_outlives_its_caller_keeps_nobodys_context(what: str) -> None:
    """Otherwise what a request has in its variables would live on with each hook, or with the timer of one."""
    request: ContextVar[Request] = ContextVar("request")
    go = asyncio.Event()
    hooks: list[Any] = []

    async def hook(_part: Part) -> bool:
        hooks.append(weakref.ref(asyncio.current_task()))
        await go.wait()
        return True

    async def handle(pool: Pool, clock: Clock) -> weakref.ref[Request]:
        mine = Request()
        request.set(mine)
        if what == "a check":
            clock.now += 11
            pool._engine.on_time()
            await settle(lambda: hooks)
        else:
            returning = asyncio.create_task(pool.ret(await pool.get()))
            await settle(lambda: hooks)
            returning.cancel()
            await asyncio.wait([returning])
        return weakref.ref(mine)

    async def main() -> None:
        clock = Clock()
        parameters: dict[str, Any] = {"retter": hook}
        if what == "a check":
            parameters = {"health": hook, "health_delay": 1000, "delay": 10, "clock": clock}
        pool: Pool = AsyncPool(Source(), 1, **parameters)
        await pool.__aenter__()
        mine = await asyncio.create_task(handle(pool, clock))
        if what == "a check":
            await asyncio.sleep(0)
            gc.collect()
            assert mine() is None, "while the check goes on"
        go.set()
        await settle(lambda: pool.stats()["idle"])
        gc.collect()
        assert mine() is None, "when the hook has ended"
        assert hooks[0]() is None
        await pool.shutdown()

    run_fast(watched(main()))


def test_who_has_an_object_is_told_by_name(run_loop: Run) -> None:
    """Otherwise nobody would find the task that keeps all others waiting."""

    async def main() -> None:
        pool: Pool = AsyncPool(Source(), 2)
        end = asyncio.Event()
        user = asyncio.create_task(use(pool, until=end), name="the report")
        await settle(lambda: pool.leases())
        assert pool.leases()[0]["holder"] == "task 'the report'"
        await asyncio.create_task(pool.get())
        assert pool.leases()[1]["holder"] == "a task that has ended"
        with pytest.raises(TimeOut, match=r"oldest held 0\.0 s by task 'the report'"):
            await pool.get(timeout=0)
        end.set()
        await user

    run_loop(watched(main()))


# -- tasks


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("run", ENDS)
def test_tasks_may_be_eager(run: Callable[..., Any]) -> None:
    """Otherwise programs that have their tasks begin at once could not use a pool.

    Not on uvloop, whose tasks cannot be eager with each Python: some factories refuse what it calls them with.
    """

    async def main() -> None:
        factory: Any = asyncio.eager_task_factory  # type: ignore[attr-defined,unused-ignore]  # 3.12
        asyncio.get_running_loop().set_task_factory(factory)
        source = Source(turns, turns)
        pool: Pool = AsyncPool(source, 2, min_size=2, getter=turns, retter=turns)
        async with pool:
            users = [asyncio.create_task(use(pool), name=f"user {number}") for number in range(10)]
            assert pool.stats()["nwaiting"] == 8
            assert {lease["holder"] for lease in pool.leases()} == {"task 'user 0'", "task 'user 1'"}
            for user in users[::3]:
                user.cancel()
            await asyncio.wait(users)
            assert [user.cancelled() for user in users] == [number % 3 == 0 for number in range(10)]
            await settle(lambda: pool.stats()["idle"] == 2)
        source.check_all_gone()

    run(asyncio.new_event_loop, watched(main()))


# -- wrong uses


def test_wrong_uses_are_refused(run_loop: Run) -> None:
    """Otherwise they would lose an object."""

    async def main() -> None:
        pool: Pool = AsyncPool(Source(), 2, name="db")
        async with pool:
            with pytest.raises(PoolException, match="db: the pool has been entered already"):
                await pool.__aenter__()
            lease = pool.obj()
            async with lease:
                with pytest.raises(PoolException, match=r"db: this lease is in use, call obj\(\) again for another"):
                    await lease.__aenter__()
            async with lease:  # it may be used again
                pass
            await lease.__aexit__(None, None, None)
            with pytest.raises(TimeOut):
                async with pool.obj(timeout=0), pool.obj(timeout=0), pool.obj(timeout=0):
                    pass
        with pytest.raises(PoolClosed):
            await lease.__aenter__()
        with pytest.raises(TypeError, match="timeout must be a number of seconds"):
            pool.obj(timeout="1")  # type: ignore[arg-type]  # that is the point
        await pool.ret(Part(Source(), 0))
        assert pool.stats()["nbad_returns"] == 1

    run_loop(watched(main()))


def test_a_pool_can_be_used_where_there_is_no_task() -> None:
    """Otherwise it would fail in what drives a coroutine by hand."""
    pool: Pool = AsyncPool(Source())
    done: list[object] = []

    def step() -> None:
        try:
            pool.get().send(None)
        except StopIteration as end:
            done.append((end.value, pool.leases()[0]["holder"]))

    async def main() -> None:
        part = await pool.get()
        await pool.ret(part)
        asyncio.get_running_loop().call_soon(step)
        await settle(lambda: done)
        assert done == [(part, "a task that has ended")]

    asyncio.run(main())
