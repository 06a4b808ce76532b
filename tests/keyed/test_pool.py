"""AsyncKeyedPool: what it promises to those who use it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from ProxyPatternPool import AsyncKeyedPool, PoolClosed, PoolException, TimeOut
from tests.support.loops import Run
from tests.support.things import AsyncThing, Pool, Source, ignoring_cancellation, nothing, settle, turns, use
from tests.support.virtual_time import run_fast

# -- one instance per arguments


def test_the_example_of_asyncio_contextmanager_pool() -> None:
    """Otherwise its users would have to change more than two names."""

    class Example:
        def __init__(self, message: str) -> None:
            self.message = message
            self.enter_called = 0
            self.exit_called = 0

        async def __aenter__(self) -> Example:
            self.enter_called += 1
            return self

        async def __aexit__(self, *args: object, **kwargs: object) -> None:
            self.exit_called += 1

    async def main() -> None:
        async with AsyncKeyedPool(Example, ttl=5) as p:
            async with p.get("hello, world") as inst_1:
                assert inst_1.message == "hello, world"
            assert inst_1.exit_called == 0
            async with p.get("hello, world") as inst_2:
                assert inst_2.message == "hello, world"
            assert inst_1 is inst_2
            await asyncio.sleep(10)
            async with p.get("hello, world") as inst_3:
                assert inst_3.message == "hello, world"
            assert inst_1 is not inst_3
            assert inst_1.exit_called == 1
        assert inst_3.exit_called == 1

    run_fast(main())


def test_all_who_ask_at_the_same_moment_share_one_entering(run_loop: Run) -> None:
    """Otherwise a service that has just started would open a connection per request."""
    source = Source(entering=turns)

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(source)
        things = await asyncio.gather(*(use(pool, "a") for _ in range(50)))
        assert len({id(thing) for thing in things}) == 1

    run_loop(main())
    assert source.calls == ["enter a", "entered a", "exit a", "exited a"]


def test_arguments_are_told_apart_by_equality(run_loop: Run) -> None:
    """Otherwise two tenants would share one, or one tenant would have two."""

    class Clash:
        def __init__(self, name: str) -> None:
            self.name = name

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Clash) and self.name == other.name

        def __hash__(self) -> int:
            return 7

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source())
        same: list[list[Any]] = [
            [(1,), (1.0,), (True,)],
            [(Clash("a"),), (Clash("a"),)],
            [(-1,)],
            [(-2,)],
            [(Clash("b"),)],
            [(1, None)],
        ]
        found = [{id(await use(pool, *args)) for args in group} for group in same]
        assert [len(one) for one in found] == [1] * len(same)
        assert len(set.union(*found)) == len(same) == len(pool)

    run_loop(main())


def test_keyword_order_does_not_matter_but_the_spelling_does(run_loop: Run) -> None:
    """Otherwise a harmless rewriting of a call would open a second connection."""

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source())
        one = await use(pool, "a", host="h", port=1)
        assert await use(pool, "a", port=1, host="h") is one
        assert (one.args, one.kwargs) == (("a",), {"host": "h", "port": 1})
        assert await use(pool, "a", ("host", "h"), ("port", 1)) is not one
        assert await use(pool, "a", frozenset({("host", "h"), ("port", 1)})) is not one
        assert await use(pool, host="h") is not await use(pool, "h")

    run_loop(main())


def test_an_argument_may_have_any_name(run_loop: Run) -> None:
    """Otherwise some function that makes instances could not be used, for reasons that are not its own."""

    async def connect(self: str, key: str, name: str) -> str:
        return self + key + name

    async def main() -> None:
        async with AsyncKeyedPool(connect).get(self="a", key="b", name="c") as made:
            assert made == "abc"

    run_loop(main())


def test_a_key_tells_arguments_apart(run_loop: Run) -> None:
    """Otherwise unhashable arguments could not be used, or what does not matter would open another connection."""

    async def main() -> None:
        source = Source()
        pool: Pool = AsyncKeyedPool(source, key=lambda config, **_: config["url"])
        one = await use(pool, {"url": "a"}, trace=1)
        assert await use(pool, {"url": "a"}, trace=2) is one
        assert await use(pool, {"url": "b"}) is not one
        assert one.kwargs == {"trace": 1}, "not made for who asked first"

    run_loop(main())


@pytest.mark.parametrize(("args", "kwargs"), [(([],), {}), ((1, {}), {}), ((), {"a": set()}), ((([],),), {})])
def test_unhashable_arguments_are_refused_with_advice(run_loop: Run, args: Any, kwargs: Any) -> None:
    """Otherwise the message would say what is wrong, but not what to do."""

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(), name="db")
        with pytest.raises(TypeError, match=r"^db: an argument of type \w+ cannot tell instances apart.* key\("):
            await use(pool, *args, **kwargs)

    run_loop(main())


def test_what_is_wrong_with_a_key_is_told_as_it_is(run_loop: Run) -> None:
    """Otherwise a mistake in a key function, or in an equality, would be called something else."""

    class Strange:
        def __hash__(self) -> int:
            return hash(("a",))

        def __eq__(self, other: object) -> bool:
            raise TypeError("strange")

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(), key=lambda *args: list(args), name="db")  # type: ignore[arg-type]  # that is the point
        with pytest.raises(TypeError, match="unhashable") as caught:
            await use(pool, 1)
        assert caught.value.__notes__ == ["db: raised by key, or by the key that it has returned"]
        pool = AsyncKeyedPool(Source())
        strange = Strange()
        await use(pool, strange)
        with pytest.raises(TypeError, match=r"^strange$"):
            await use(pool, Strange())
        assert len(pool) == 1

    run_loop(main())


def test_an_argument_that_changes_its_hash_keeps_no_room(run_loop: Run) -> None:
    """Otherwise a mistake with one tenant's key would fill the pool until nobody gets in."""

    class Name:
        def __init__(self, text: str) -> None:
            self.text = text

        def __hash__(self) -> int:
            return hash(self.text)

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(), ttl=0, max_size=1)
        for number in range(3):
            name = Name(f"a{number}")
            async with pool.get(name):
                name.text = f"b{number}"
            assert len(pool) == 0

    run_loop(main())


# -- what fun may return


def test_the_value_may_be_anything(run_loop: Run) -> None:
    """Otherwise a context manager that gives nothing, as many do, could not be shared."""
    exits: list[object] = []

    @asynccontextmanager
    async def giving(value: object) -> AsyncIterator[object]:
        yield value
        exits.append(value)

    async def main() -> None:
        async with AsyncKeyedPool(giving) as pool:
            for value in (None, 0, "", ()):
                async with pool.get(value) as obj, pool.get(value) as again:
                    assert obj is value
                    assert again is value
            assert len(pool) == 4

    run_loop(main())
    assert sorted(map(str, exits)) == ["", "()", "0", "None"]


def test_an_awaitable_is_awaited_and_its_result_is_left_alone(run_loop: Run) -> None:
    """Otherwise what has no exit of its own would need a wrapper."""
    source = Source()

    async def connect(name: str) -> AsyncThing:
        await asyncio.sleep(0)
        return source(name)

    async def main() -> None:
        async with AsyncKeyedPool(connect) as pool:
            async with pool.get("a") as one, pool.get("a") as two:
                assert one is two
            assert len(pool) == 1
        assert len(pool) == 0

    run_loop(main())
    assert source.calls == []


def test_what_is_both_is_entered(run_loop: Run) -> None:
    """Otherwise the pools and sessions of several drivers, which can be awaited too, would never be closed."""

    class Both(AsyncThing):
        def __await__(self) -> Any:
            raise AssertionError("awaited")

    source = Source()

    async def main() -> None:
        async with AsyncKeyedPool(lambda *args: Both(source, args, {})) as pool, pool.get("a"):
            pass

    run_loop(main())
    assert source.calls == ["enter a", "entered a", "exit a", "exited a"]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (None, "not None$"),
        (threading.Lock(), "not something of type lock, which is a synchronous context manager$"),
        (nothing, "not something of type function$"),
        ("secret", "not something of type str$"),
    ],
)
def test_anything_else_is_refused(run_loop: Run, made: object, told: str) -> None:
    """Otherwise the mistake would show up far away, in whoever uses the object."""

    async def main() -> None:
        pool: AsyncKeyedPool[..., Any] = AsyncKeyedPool(lambda: made)  # type: ignore[arg-type,misc]  # that is the point
        for _ in range(2):
            with pytest.raises(TypeError, match=f"(?m){told}"):
                async with pool.get():
                    pass
        assert len(pool) == 0

    run_loop(main())


def test_its_task_is_told_by_pool_and_number(run_loop: Run) -> None:
    """Otherwise a debugger would show a hundred tasks of one name; or one that has a password in it."""

    async def name(_key: str) -> str:
        task = asyncio.current_task()
        assert task
        return task.get_name()

    async def main() -> None:
        async with AsyncKeyedPool(name, name="db") as pool, pool.get("secret") as first, pool.get("other") as second:
            assert (first, second) == ("db: task of instance 0", "db: task of instance 1")

    run_loop(main())


def test_the_arguments_are_let_go_when_it_is_made(run_loop: Run) -> None:
    """Otherwise a key which is read out of a request would keep the first request for as long as its instance lives."""

    class Request:
        tenant = "a"

    async def connect(request: Request) -> str:
        return request.tenant

    async def main() -> None:
        pool = AsyncKeyedPool(connect, key=lambda request: request.tenant)
        request = Request()
        async with pool.get(request):
            first = weakref.ref(request)
            del request
            await asyncio.sleep(0)
        gc.collect()
        assert first() is None
        assert len(pool) == 1

    run_loop(main())


def test_it_is_made_entered_and_exited_in_one_task_in_an_empty_context(run_loop: Run) -> None:
    """Otherwise anyio would complain, and the first request's variables would be everybody's."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="nobody's")
    seen: list[tuple[str, object]] = []

    def note() -> None:
        seen.append((request.get(), asyncio.current_task()))

    @asynccontextmanager
    async def make() -> AsyncIterator[None]:
        note()
        yield
        note()

    def fun() -> Any:
        note()
        return make()

    async def main() -> None:
        request.set("mine")
        async with AsyncKeyedPool(fun) as pool, pool.get():
            pass

    run_loop(main())
    assert len(seen) == 3
    assert {name for name, _ in seen} == {"nobody's"}
    assert len({task for _, task in seen}) == 1


# -- failing


def test_a_failed_entering_is_told_to_all_who_wait_and_forgotten(run_loop: Run) -> None:
    """Otherwise one bad moment of a server would last until the next restart."""
    down = True

    async def entering(thing: AsyncThing) -> None:
        await turns(thing)
        if down:
            raise OSError("down")

    async def main() -> None:
        nonlocal down
        source = Source(entering)
        pool: Pool = AsyncKeyedPool(source, name="db")
        outcomes = await asyncio.gather(*(use(pool, 1) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(outcome, OSError) for outcome in outcomes)
        assert len(source.things) == 1
        errors = [outcome for outcome in outcomes if isinstance(outcome, OSError)]
        assert len({id(error) for error in errors}) == len(outcomes)
        for error in errors:
            assert error.__notes__ == ["db: raised by fun"]
            assert len(list(_frames(error))) < 20, "a traceback that grows with each who hears of it"
        assert len(pool) == 0
        down = False
        assert await use(pool, 1) is source.things[1]

    run_loop(main())


def test_a_failure_is_no_work_for_the_garbage_collector(run_loop: Run) -> None:
    """Otherwise each failed connection, and the request that wanted it, would stay in memory until that comes by."""

    async def entering(_thing: AsyncThing) -> None:
        raise OSError

    class Request:
        pass

    requests: list[weakref.ref[Request]] = []

    async def handle(pool: Pool) -> None:
        request = Request()
        requests.append(weakref.ref(request))
        await use(pool, 1)

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(entering))
        with suppress(OSError):
            await handle(pool)
        await asyncio.sleep(0)
        assert [request() for request in requests] == [None]

    with without_collector():
        run_loop(main())


@contextmanager
def without_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _frames(error: BaseException) -> Any:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


def test_a_failure_that_nobody_waits_for_is_logged_once(run_loop: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise it would be lost, or reported by the event loop without the name of the pool."""
    go = asyncio.Event()

    async def entering(_thing: AsyncThing) -> None:
        await go.wait()
        raise OSError("down")

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(entering), name="db")
        waiting = asyncio.create_task(use(pool, 1))
        await settle(lambda: len(pool))
        waiting.cancel()
        await asyncio.wait([waiting])
        go.set()
        await settle(lambda: not len(pool))
        assert pool.stats()["nentering_errors"] == 1

    run_loop(main())
    assert caplog.messages == ["db: entering an instance failed, and no caller waits for it"]


def test_an_entering_that_is_cancelled_from_inside_cancels_nobody(run_loop: Run) -> None:
    """Otherwise requests would end as cancelled, though nobody has cancelled them."""

    async def entering(_thing: AsyncThing) -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(entering), name="db")
        with pytest.raises(PoolException, match="db: entering an instance was cancelled"):
            await use(pool, 1)

    run_loop(main())


@pytest.mark.parametrize("used", [True, False])
def test_an_instance_that_ends_by_itself_is_replaced(
    run_loop: Run, caplog: pytest.LogCaptureFixture, used: bool
) -> None:
    """Otherwise a client whose background task has died would be handed out for ever."""
    broken = asyncio.Event()

    async def work() -> None:
        await broken.wait()
        raise OSError("connection lost")

    @asynccontextmanager
    async def client() -> AsyncIterator[object]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work())
            yield task
            task.cancel()

    async def main() -> None:
        async with AsyncKeyedPool(client, name="db") as pool:
            async with AsyncExitStack() as stack:
                first = await stack.enter_async_context(pool.get())
                if not used:
                    await stack.aclose()
                broken.set()
                await settle(lambda: len(pool) == 0)
                broken.clear()
                async with pool.get() as second:
                    assert second is not first
            assert len(pool) == 1
            assert pool.stats()["nclosed"] == {"lost": 1}

    run_loop(main())
    assert caplog.messages == ["db: an instance has ended on its own"]
    assert "connection lost" in caplog.text


# -- what is broken


def test_what_is_discarded_goes_with_its_last_user_and_is_made_again(run_loop: Run) -> None:
    """Otherwise the client of a server that has died would be shared by everybody until it expires."""

    async def main() -> None:
        source = Source(turns, turns)
        pool: Pool = AsyncKeyedPool(source, name="db")
        ends = [asyncio.Event() for _ in range(2)]
        users = [asyncio.create_task(use(pool, "a", until=end)) for end in ends]
        await settle(lambda: pool.stats()["nuses"] == 2)
        [broken] = source.things
        await pool.discard(broken)
        newcomer = asyncio.create_task(use(pool, "a"))
        ends[0].set()
        await users[0]
        await pool.discard(broken)
        assert (pool.stats()["in_use"], pool.stats()["nwaiting"], len(pool)) == (1, 1, 1)
        assert source.calls == ["enter a", "entered a"]
        ends[1].set()
        assert await newcomer is not broken
        assert source.calls == ["enter a", "entered a", "exit a", "exited a", "enter a", "entered a"]
        assert str(broken.error) == "db: instance 0 is given up: discarded"
        assert isinstance(broken.error, PoolException)
        assert pool.stats()["nclosed"] == {"discard": 1}
        await asyncio.gather(*users)

    run_loop(main())


def test_what_is_discarded_while_it_is_idle_is_closed_now(run_loop: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise who watches the servers could only wait until the next one has met the broken client."""

    @asynccontextmanager
    async def client() -> AsyncIterator[object]:
        yield object()  # the exception that it is exited with goes through it

    async def main() -> None:
        async with AsyncKeyedPool(client, ttl=None) as pool:
            async with pool.get() as broken:
                pass
            await pool.discard(broken)
            await settle(lambda: not len(pool))
            async with pool.get() as another:
                assert another is not broken

    run_loop(main())
    assert not caplog.messages


def test_who_leaves_what_was_discarded_does_not_wait_for_its_end(run_loop: Run) -> None:
    """Otherwise a request would wait for the farewell of a server that does not answer."""
    go = asyncio.Event()

    async def exiting(_thing: AsyncThing) -> None:
        await go.wait()

    async def main() -> None:
        async with AsyncKeyedPool(Source(exiting=exiting), ttl=0) as pool:
            async with pool.get("a") as thing:
                await pool.discard(thing)
            assert pool.stats()["closing"] == 1
            go.set()

    run_loop(main())


def test_who_waits_for_the_end_of_what_was_discarded_is_told_so() -> None:
    """Otherwise nobody would look for the users that do not leave it."""

    async def main() -> None:
        async with AsyncKeyedPool(Source(), timeout=1, name="db") as pool, pool.get("a") as thing:
            await pool.discard(thing)
            with pytest.raises(TimeOut, match=r"^db: the previous instance is discarded, and still in use, timeout"):
                await use(pool, "a")

    run_fast(main())


def test_discarding_what_is_not_there_changes_nothing(run_loop: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a mistake would be silent, or hit another instance."""

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(), name="db")
        await use(pool, "a")
        await pool.discard(AsyncThing(Source(), ("a",), {}))
        await pool.discard("a")  # type: ignore[arg-type]  # that is the mistake
        assert pool.stats()["idle"] == 1

    run_loop(main())
    assert caplog.messages == [
        f"db: discarded something of type {kind} that the pool does not have (give it the object, not its arguments)"
        for kind in ("AsyncThing", "str")
    ]


@pytest.mark.parametrize("discarded", [True, False])
def test_what_is_discarded_may_end_by_itself(run_loop: Run, caplog: pytest.LogCaptureFixture, discarded: bool) -> None:
    """Otherwise its end would be taken for that of an entering, and hide what has really happened."""
    end = asyncio.Event()

    @asynccontextmanager
    async def client() -> AsyncIterator[object]:
        async with asyncio.TaskGroup() as group:
            yield group.create_task(fail())

    async def fail() -> None:
        await end.wait()
        raise OSError("connection lost")

    async def main() -> None:
        async with AsyncKeyedPool(client, name="db") as pool:
            async with pool.get() as broken:
                if discarded:
                    await pool.discard(broken)
                end.set()
                await settle(lambda: len(pool) == 0)
            assert pool.stats()["nclosed"] == {"lost": 1}

    run_loop(main())
    assert caplog.messages == ["db: an instance has ended on its own"]


# -- time


def test_it_lives_for_ttl_after_its_last_user_and_no_longer() -> None:
    """Otherwise connections would be opened again and again, or never be closed."""
    source = Source()

    async def main() -> None:
        now = asyncio.get_running_loop().time
        pool: Pool = AsyncKeyedPool(source, ttl=5)
        long, end = asyncio.Event(), asyncio.Event()
        users = [asyncio.create_task(use(pool, "a", until=event)) for event in (long, end)]
        await use(pool, "b")
        await asyncio.sleep(4)
        long.set()
        await use(pool, "b")
        await asyncio.sleep(4.9)
        assert (len(pool), pool.stats()["in_use"]) == (2, 1)
        await asyncio.sleep(0.2)
        assert source.calls[-1] == "exited b"
        await asyncio.sleep(100)
        end.set()
        await asyncio.gather(*users)
        began = now()
        while len(pool):
            await asyncio.sleep(0.01)
        assert 5 <= now() - began < 5.1
        assert pool.stats()["nclosed"] == {"ttl": 2}

    run_fast(main())
    source.check_all_gone()


def test_many_keys_need_one_timer() -> None:
    """Otherwise ten thousand tenants would mean ten thousand timers, set and cancelled at each use."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        pool: Pool = AsyncKeyedPool(Source(), ttl=5)
        for number in range(100):
            await use(pool, number)
            await asyncio.sleep(0.01)
            await use(pool, 0)
        assert len([timer for timer in loop._scheduled if not timer.cancelled() and timer.when() > loop.time()]) <= 1
        assert len(loop._ProxyPatternPool.end.exits) == 1, "and the loop's end needs one entry"
        await asyncio.sleep(6)
        assert len(pool) == 0

    run_fast(main())


def test_no_timer_keeps_anybodys_context() -> None:
    """Otherwise what one request has in its context variables would live until some instance expires, or longer."""
    request: contextvars.ContextVar[Any] = contextvars.ContextVar("request")

    class Big:
        pass

    async def handle(pool: Pool) -> weakref.ref[Big]:
        big = Big()
        request.set(big)
        await use(pool, 1)
        return weakref.ref(big)

    async def main() -> None:
        asyncio.get_running_loop().call_later(1, print)  # a loop forgets what was cancelled when all before it is over
        pool: Pool = AsyncKeyedPool(Source())
        big = await asyncio.create_task(handle(pool))
        await asyncio.sleep(0)  # so long, the loop itself holds the task that has ended
        gc.collect()
        assert big() is None

    run_fast(main())


@pytest.mark.parametrize("ttl", [0, 0.0])
def test_a_ttl_of_zero_closes_at_once_and_the_last_user_sees_it_done(run_loop: Run, ttl: float) -> None:
    """Otherwise nothing could be shared without being kept."""
    source = Source(turns, turns)

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(source, ttl=ttl)
        end = asyncio.Event()
        other = asyncio.create_task(use(pool, "a", until=end))
        thing = await use(pool, "a")
        assert thing.calls == ["enter", "entered"]
        end.set()
        await other
        assert thing.calls == ["enter", "entered", "exit", "exited"]
        assert len(pool) == 0

    run_loop(main())


def test_a_ttl_of_none_keeps_until_the_end() -> None:
    """Otherwise a service with few tenants could not open each connection once."""
    source = Source()

    async def main() -> None:
        async with AsyncKeyedPool(source, ttl=None) as pool:
            await use(pool, 1)
            await asyncio.sleep(1e6)
            assert len(pool) == 1

    run_fast(main())
    source.check_all_gone()


def test_what_is_asked_for_while_it_is_closed_is_made_again_afterwards(run_loop: Run) -> None:
    """Otherwise there would be two of one key for a moment: two owners of one file, or of one session."""
    go = asyncio.Event()

    async def exiting(_thing: AsyncThing) -> None:
        await go.wait()

    async def main() -> None:
        source = Source(turns, exiting)
        pool: Pool = AsyncKeyedPool(source, ttl=0)
        first = asyncio.create_task(use(pool, "a"))
        await settle(lambda: "exit a" in source.calls)
        others = [asyncio.create_task(use(pool, "a")) for _ in range(3)]
        await use_another(pool)
        assert pool.stats()["nwaiting"] == 3
        go.set()
        await asyncio.gather(first, *others)
        assert [call for call in source.calls if call.endswith("a")] == [
            "enter a",
            "entered a",
            "exit a",
            "exited a",
        ] * 2

    async def use_another(pool: Pool) -> None:
        task = asyncio.create_task(use(pool, "b"))
        await settle(lambda: pool.stats()["closing"] == 2)  # it is closed as slowly, but was not kept from being used
        task.cancel()

    run_loop(main())


# -- bounds


def test_who_leaves_does_not_wait_for_what_is_closed_for_others(run_loop: Run) -> None:
    """Otherwise a request would pay for the room that the next one needs."""
    go = asyncio.Event()

    async def exiting(_thing: AsyncThing) -> None:
        await go.wait()

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(exiting=exiting), max_size=1)
        end = asyncio.Event()
        held = asyncio.create_task(use(pool, "a", until=end))
        await settle(lambda: pool.stats()["in_use"])
        waiting = asyncio.create_task(use(pool, "b"))
        await settle(lambda: pool.stats()["nwaiting"])
        end.set()
        await held
        assert pool.stats()["closing"] == 1
        go.set()
        await waiting

    run_loop(main())


def test_the_one_unused_for_longest_makes_room(run_loop: Run) -> None:
    """Otherwise the busiest tenants would be closed, and opened again at once."""
    source = Source(turns, turns)

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(source, max_size=3)
        for name in "abcab":
            await use(pool, name)
        await use(pool, "d")
        assert source.calls[-4:] == ["exit c", "exited c", "enter d", "entered d"]
        assert len(pool) == 3
        assert pool.stats()["nclosed"] == {"max_size": 1}

    run_loop(main())


def test_when_all_are_in_use_callers_wait_first_come_first_served(run_loop: Run) -> None:
    """Otherwise some tenants would wait for ever beside others that have just come."""
    order: list[str] = []

    async def main() -> None:
        source = Source(turns, turns)
        pool: Pool = AsyncKeyedPool(source, max_size=1)
        end = asyncio.Event()

        async def queue(name: str) -> None:
            await use(pool, name)
            order.append(name)

        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(use(pool, "held", until=end))]
        await settle(lambda: pool.stats()["in_use"])
        tasks += [asyncio.create_task(queue(name)) for name in "abcad"]
        await settle(lambda: pool.stats()["nwaiting"] == 5)
        end.set()
        await asyncio.gather(*tasks)

    run_loop(main())
    assert order == ["a", "a", "b", "c", "d"]


def test_what_is_shared_needs_no_room(run_loop: Run) -> None:
    """Otherwise those who wait for room would stop those who need none."""

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(), max_size=1)
        end = asyncio.Event()
        held = asyncio.create_task(use(pool, "held", until=end))
        await settle(lambda: pool.stats()["in_use"])
        waiting = asyncio.create_task(use(pool, "other"))
        await settle(lambda: pool.stats()["nwaiting"])
        for _ in range(3):
            assert (await use(pool, "held")).args == ("held",)
        end.set()
        await asyncio.gather(held, waiting)

    run_loop(main())


def test_timeouts_tell_what_was_waited_for() -> None:
    """Otherwise nobody would know whether to raise max_size, or to look at the server."""
    go, end = asyncio.Event(), asyncio.Event()

    async def waiting(_thing: AsyncThing) -> None:
        await go.wait()

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(), max_size=1, timeout=2.5, name="db")
        held = asyncio.create_task(use(pool, "a", until=end))
        await asyncio.sleep(1)
        with pytest.raises(TimeOut) as caught:
            await use(pool, "b")
        assert str(caught.value) == (
            "db: pool max size reached (1), timeout after 2.5 s: 1 in use, 0 idle, 0 waiting; longest in use for 3.5 s"
        )
        assert isinstance(caught.value, TimeoutError)
        stats = pool.stats()
        assert (stats["ntimeouts"], stats["nwaiting"], stats["wait"]["count"]) == (1, 0, 2)

        pool = AsyncKeyedPool(Source(entering=waiting), timeout=1, name="db")
        with pytest.raises(TimeOut, match=r"^db: the instance is still being entered, timeout after 1.0 s: 0 in use, "):
            await use(pool, "a")
        assert pool.stats()["entering"] == 1, "what is being entered goes on"

        pool = AsyncKeyedPool(Source(exiting=waiting), timeout=1, ttl=0, name="db")
        closing = asyncio.create_task(use(pool, "a"))
        await asyncio.sleep(1)
        with pytest.raises(
            TimeOut, match=r"^db: the previous instance is still being closed, timeout .* 1 being closed"
        ):
            await use(pool, "a")
        assert pool.stats()["nwaiting"] == 0
        go.set()
        end.set()
        await asyncio.gather(held, closing)

    run_fast(main())


def test_a_timeout_of_zero_waits_for_nobody_and_none_for_ever() -> None:
    """Otherwise a program could neither refuse at once nor be patient."""
    end = asyncio.Event()

    async def main() -> None:
        source = Source()
        pool: Pool = AsyncKeyedPool(source, max_size=1, timeout=0)
        held = asyncio.create_task(use(pool, "a", until=end))
        await settle(lambda: pool.stats()["in_use"])
        with pytest.raises(TimeOut):
            await use(pool, "b")
        patient: Pool = AsyncKeyedPool(source, max_size=1, timeout=None)
        tasks = [asyncio.create_task(use(patient, "c", until=end)), asyncio.create_task(use(patient, "d"))]
        await asyncio.sleep(1e6)
        end.set()
        await asyncio.gather(held, *tasks)

    run_fast(main())


# -- the end


async def use_all(pool: Pool, number: int) -> None:
    """Use so many instances, and leave the pool."""
    async with pool:
        for argument in range(number):
            await use(pool, argument)


def test_leaving_the_pool_closes_everything_even_if_some_of_it_fails(
    run_loop: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one bad connection would keep all others open."""

    async def exiting(thing: AsyncThing) -> None:
        await turns(thing)
        if thing.args[0] % 2:
            raise OSError(thing.args[0])

    async def main() -> None:
        source = Source(exiting=exiting)
        pool: Pool = AsyncKeyedPool(source, name="db")
        with pytest.raises(ExceptionGroup, match="db: errors while closing the pool") as caught:
            await use_all(pool, 5)
        assert sorted(str(error) for error in caught.value.exceptions) == ["1", "3"]
        source.check_all_gone()
        assert len(pool) == 0
        assert pool.stats()["nclosing_errors"] == 2

    run_loop(main())
    assert not caplog.messages


def test_an_exit_that_fails_earlier_is_logged(run_loop: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise it would be lost, or hit whoever happened to leave last."""

    async def exiting(_thing: AsyncThing) -> None:
        raise OSError("lost")

    async def main() -> None:
        async with AsyncKeyedPool(Source(exiting=exiting), ttl=0, name="db") as pool:
            await use(pool, 1)
            await use(pool, 1)

    run_loop(main())
    assert caplog.messages == ["db: closing an instance failed"] * 2


def test_what_is_in_use_is_closed_when_its_user_leaves(run_loop: Run) -> None:
    """Otherwise a request would lose its connection because another part of the program shuts down."""
    source = Source(turns, turns)

    async def main() -> None:
        end = asyncio.Event()
        async with AsyncKeyedPool(source) as pool:
            held = asyncio.create_task(use(pool, "a", until=end))
            await use(pool, "b")
            await settle(lambda: pool.stats()["in_use"])
        assert source.calls[-1] == "exited b"
        assert len(pool) == 1
        with pytest.raises(PoolClosed):
            await use(pool, "a")
        end.set()
        assert (await held).calls[-1] == "exited"

    run_loop(main())


def test_shutdown_waits_for_users_for_delay() -> None:
    """Otherwise a server could not let its last requests finish."""

    async def main() -> None:
        now = asyncio.get_running_loop().time
        pool: Pool = AsyncKeyedPool(Source())
        end = asyncio.Event()
        held = asyncio.create_task(use(pool, "a", until=end))
        await settle(lambda: pool.stats()["in_use"])
        await pool.shutdown(delay=3)
        assert now() == 3
        assert len(pool) == 1
        asyncio.get_running_loop().call_later(2, end.set)
        await pool.shutdown(delay=10)
        assert now() == 5
        assert len(pool) == 0
        await held

    run_fast(main())


def test_shutdown_sends_away_who_waits_and_gives_up_what_is_being_entered(run_loop: Run) -> None:
    """Otherwise a server that does not answer would keep the program from ending."""

    async def forever(_thing: AsyncThing) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(entering=forever), max_size=1)
        tasks = [asyncio.create_task(use(pool, name)) for name in "aab"]
        await settle(lambda: pool.stats()["nwaiting"] == 3)
        await pool.shutdown()
        await pool.shutdown()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [PoolClosed] * 3
        assert len(pool) == 0

    run_loop(main())


def test_an_entering_that_goes_on_while_the_pool_ends_is_exited(run_loop: Run) -> None:
    """Otherwise a driver that ignores being cancelled would leave a connection open."""
    source = Source()

    async def stubborn(_thing: AsyncThing) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    source.entering = stubborn

    async def main() -> None:
        async with AsyncKeyedPool(source) as pool:
            task = asyncio.create_task(use(pool, "a"))
            await settle(lambda: source.calls)
        assert source.calls == ["enter a", "entered a", "exit a", "exited a"]
        with pytest.raises(PoolClosed):
            await task

    run_loop(main())


def test_an_entering_that_is_not_to_be_cancelled_does_not_keep_the_pool_from_ending() -> None:
    """Otherwise one bad driver would keep a program from ending."""
    go = asyncio.Event()
    source = Source(entering=ignoring_cancellation(go))

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(source)
        task = asyncio.create_task(use(pool, "a"))
        await settle(lambda: source.calls)
        await pool.shutdown()
        assert asyncio.get_running_loop().time() == pytest.approx(1)
        with pytest.raises(PoolClosed):
            await task
        assert pool.stats()["entering"] == 1
        go.set()
        await settle(lambda: not len(pool))

    run_fast(main())
    assert source.calls == ["enter a", "entered a", "exit a", "exited a"]


def test_what_the_pool_is_not_for_is_refused(run_loop: Run) -> None:
    """Otherwise a wrong use would lose count of users, or do nothing at all."""

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(), name="db")
        one = pool.get(1)
        with pytest.raises(PoolException, match="db: this use has not begun, or has been left already"):
            await one.__aexit__(None, None, None)
        async with one:
            with pytest.raises(PoolException, match="db: this use has begun already, call get"):
                await one.__aenter__()
        with pytest.raises(PoolException, match="left already"):
            await one.__aexit__(None, None, None)
        async with one:  # again, but not at the same time
            assert pool.stats()["in_use"] == 1
        assert pool.stats()["idle"] == 1

        with pytest.raises(PoolException, match="db: the pool has not been entered, or has been left already"):
            await pool.__aexit__(None, None, None)
        async with pool:
            with pytest.raises(PoolException, match="db: the pool has been entered already"):
                await pool.__aenter__()
        with pytest.raises(PoolException, match="left already"):
            await pool.__aexit__(None, None, None)
        for refused in (pool.__aenter__(), use(pool, 1)):
            with pytest.raises(PoolClosed, match="db: the pool has been shut down"):
                await refused

    run_loop(main())


def test_a_use_that_waits_cannot_be_begun_again_or_left(run_loop: Run) -> None:
    """Otherwise one of the two would never be counted as having left."""

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(turns), timeout=None)
        one = pool.get(1)
        first = asyncio.create_task(one.__aenter__())
        await settle(lambda: len(pool))
        with pytest.raises(PoolException, match="begun already"):
            await one.__aenter__()
        with pytest.raises(PoolException, match="has not begun"):
            await one.__aexit__(None, None, None)
        await first
        await one.__aexit__(None, None, None)
        assert pool.stats()["idle"] == 1

    run_loop(main())


class Awaited:
    """Can be called, and has to be awaited then."""

    async def __call__(self, _key: str) -> str:
        return "never run"


async def asynchronous_generator(_key: str) -> AsyncIterator[str]:
    yield "never run"


@pytest.mark.parametrize(
    ("parameters", "error", "told"),
    [
        ({"fun": 1}, TypeError, "fun must be a callable, not 1"),
        ({"key": 1}, TypeError, "key must be a callable or None, not 1"),
        ({"fun": asynchronous_generator}, TypeError, "fun must not be an asynchronous generator, but is <function "),
        (
            {"key": turns},
            TypeError,
            "key must be a plain function, not the async <function turns at .*>: .* can be awaited",
        ),
        (
            {"key": Awaited()},
            TypeError,
            "key must be a plain function, not the async <tests.keyed.test_pool.Awaited object",
        ),
        ({"key": asynchronous_generator}, TypeError, "key must be a function that does something, not the generator"),
        ({"ttl": -1}, ValueError, "ttl must be a finite number of seconds from 0, not -1"),
        ({"ttl": "1"}, TypeError, "ttl must be a number of seconds, not '1'"),
        ({"timeout": -0.5}, ValueError, "timeout must be a finite number of seconds from 0, not -0.5"),
        ({"max_size": -1}, ValueError, "max_size must not be negative, but is -1"),
        ({"max_size": 1.5}, TypeError, "max_size must be an int, not 1.5"),
        ({"name": 1}, TypeError, "name must be a str, not 1"),
        ({"size": 1}, TypeError, "unexpected keyword argument 'size'"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, Any], error: type[Exception], told: str) -> None:
    """Otherwise a mistake would show up in production, as a pool that keeps nothing or everything."""
    with pytest.raises(error, match=told):
        AsyncKeyedPool(**{"fun": Source(), **parameters})


def test_an_empty_pool_is_not_false() -> None:
    """Otherwise `if pool:` would mean "is there a pool?" until its instances have expired."""
    pool: Pool = AsyncKeyedPool(Source())
    assert len(pool) == 0
    assert pool


def test_statistics_are_plain_data(run_loop: Run) -> None:
    """Otherwise they could not be shown on a page, or sent to a monitoring system."""

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(), max_size=None, name="db")
        async with pool.get(1):
            await use(pool, 2)
            assert repr(pool) == "<AsyncKeyedPool db open: max unlimited, 1 in use, 1 idle, 0 waiting>"
            stats = json.loads(json.dumps(pool.stats()))
        for figure in ("wait", "entering_time"):
            assert stats.pop(figure)["count"] == 2
        assert stats == {
            "name": "db",
            "max_size": 0,
            "ttl": 30.0,
            "timeout": 30.0,
            "closed": False,
            "size": 2,
            "entering": 0,
            "in_use": 1,
            "idle": 1,
            "closing": 0,
            "nwaiting": 0,
            "nuses": 2,
            "nentered": 2,
            "nentering_errors": 0,
            "nclosing_errors": 0,
            "ntimeouts": 0,
            "nclosed": {},
        }
        await pool.shutdown()
        assert repr(pool) == "<AsyncKeyedPool db closed: max unlimited, 0 in use, 0 idle, 0 waiting>"
        assert AsyncKeyedPool(Source()).name.startswith("keyed-pool-")

    run_loop(main())
    assert logging.getLogger("ProxyPatternPool").handlers == []


# -- what asyncio-contextmanager-pool gets wrong


def test_fault_keyed_by_hash(run_loop: Run) -> None:
    """-1 and -2 have the same hash: one customer would get the other's connection."""

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source())
        assert (await use(pool, -1)).args == (-1,)
        assert (await use(pool, -2)).args == (-2,)

    run_loop(main())


def test_fault_second_user_while_the_first_is_entering(run_loop: Run) -> None:
    """Two requests at the same moment: the second one would get a RuntimeError."""

    async def main() -> None:
        pool: Pool = AsyncKeyedPool(Source(turns))
        first = asyncio.create_task(use(pool, 1))
        await settle(lambda: pool.stats()["entering"])
        assert await use(pool, 1) is await first

    run_loop(main())


def test_fault_none_is_refused(run_loop: Run) -> None:
    """A context manager that is only a guard gives None."""

    @asynccontextmanager
    async def guard() -> AsyncIterator[None]:
        yield

    async def main() -> None:
        async with AsyncKeyedPool(guard) as pool, pool.get() as value:
            assert value is None

    run_loop(main())


def test_fault_one_failing_exit_leaves_the_others_open(run_loop: Run) -> None:
    """A server that is gone would leave the connections to all others open."""

    async def exiting(thing: AsyncThing) -> None:
        if thing.args == (0,):
            raise OSError

    async def main() -> None:
        source = Source(exiting=exiting)
        with pytest.raises(ExceptionGroup):
            await use_all(AsyncKeyedPool(source), 3)
        source.check_all_gone()

    run_loop(main())
