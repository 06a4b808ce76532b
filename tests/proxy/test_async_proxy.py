"""AsyncProxy: objects of a loop that take awaiting to make, and are at hand after that."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import pytest

from ProxyPatternPool import AsyncProxy, Proxy, ProxyException, TimeOut
from ProxyPatternPool.loop_local import at_exit
from tests.conftest import Crew, run
from tests.support.effort import effort
from tests.support.loops import NewLoop, Run, bytes_left_by_loops, run_and_shut_down

LOOP = AsyncProxy.Scope.LOOP


class Bench:
    """Makes objects in three ways, when it is allowed to, and remembers what became of them."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.go = asyncio.Event()
        self.go.set()

    @asynccontextmanager
    async def enter(self, number: int) -> AsyncIterator[list[int]]:
        yield await self.come(number)
        await asyncio.sleep(0)
        self.log.append(f"exit {number}")

    async def come(self, number: int) -> list[int]:
        self.log.append(f"make {number}")
        await self.go.wait()
        return [number]

    def be(self, number: int) -> list[int]:
        self.log.append(f"make {number}")
        return [number]


@pytest.fixture
def bench() -> Bench:
    """Return a new one."""
    return Bench()


@pytest.mark.parametrize("how", ["enter", "come", "be"])
def test_many_tasks_have_one_object(run_loop: Run, bench: Bench, how: str) -> None:
    """Otherwise each of the first tasks would make the object again, or no task would end it."""
    values: Any = AsyncProxy(fun=getattr(bench, how), scope=LOOP)

    async def task() -> object:
        async with values._obj() as mine:
            assert values[0] == mine[0]
            return mine

    async def main(number: int) -> None:
        assert not values._has_obj()
        objects = await asyncio.gather(*(task() for _ in range(7)))
        assert all(obj is objects[0] for obj in objects)
        assert values == [number]
        assert issubclass(values.__class__, list)
        values.append("more")
        await values._ret_obj()
        assert await values._get_obj(timeout=0) == values._local.obj == [number, "more"]
        assert (values._has_obj(), values._nobjs, values._pool, len(values)) == (True, 1, None, 2)
        assert bench.log[-1] == f"make {number}"

    for number in range(2):
        run_loop(main(number))
        assert (values._has_obj(), values._nobjs) == (False, 0)
    exits = [["exit 0"], ["exit 1"]] if how == "enter" else [[], []]
    assert bench.log == ["make 0", *exits[0], "make 1", *exits[1]]


def test_before_it_is_made(run_loop: Run, bench: Bench) -> None:
    """Otherwise a program would look for the missing ``await`` for hours."""
    values: Any = AsyncProxy(fun=bench.enter, scope=LOOP, name="db")

    async def main() -> None:
        for use in (lambda: values.append, lambda: values[0], lambda: str(values)):
            with pytest.raises(
                ProxyException, match=r"^db: this event loop has no object yet: await _get_obj\(\) first"
            ):
                use()
        assert (values._has_obj(), values._local.obj) == (False, None)

    run_loop(main())
    with pytest.raises(RuntimeError, match=r"^db: no running event loop$"):
        values.append(1)
    assert bench.log == []


def test_a_failure_reaches_all_waiters_and_is_not_remembered(run_loop: Run) -> None:
    """Otherwise a server that is down for a moment would be down for ever."""
    numbers = []

    async def make(number: int) -> str:
        numbers.append(number)
        await asyncio.sleep(0)
        return f"{1 // number}"

    text: Any = AsyncProxy(fun=make, scope=LOOP)

    async def main() -> None:
        results = await asyncio.gather(*(text._get_obj() for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [ZeroDivisionError] * 3
        assert not text._has_obj()
        assert await text._get_obj() == text == "1"

    run_loop(main())
    assert numbers == [0, 1]


@pytest.mark.parametrize("whom", [0, 1])
def test_a_cancelled_waiter_harms_no_other_waiter(run_loop: Run, bench: Bench, whom: int) -> None:
    """Otherwise a client that hangs up would take the connection of all with it."""
    values: Any = AsyncProxy(fun=bench.enter, scope=LOOP)

    async def main() -> None:
        bench.go.clear()
        tasks = [asyncio.create_task(values._get_obj()) for _ in range(3)]
        while bench.log != ["make 0"]:
            await asyncio.sleep(0)
        tasks[whom].cancel()
        await asyncio.wait((tasks[whom],))
        assert tasks[whom].cancelled()
        bench.go.set()
        for task in {*tasks} - {tasks[whom]}:
            assert await task == [0]

    run_loop(main())
    assert bench.log == ["make 0", "exit 0"]


def test_no_caller_waits_for_longer_than_the_timeout(run_loop: Run, bench: Bench) -> None:
    """Otherwise a server that does not answer would hold up every request."""
    values: Any = AsyncProxy(fun=bench.enter, scope=LOOP, name="db", timeout=0.01)

    async def main() -> None:
        bench.go.clear()
        with pytest.raises(TimeOut, match=r"^db: timeout after 0\.01 s: still making the object of this event loop$"):
            await values._get_obj()
        with pytest.raises(TimeOut, match=r"after 0\.0 s"):
            async with values._obj(timeout=0):
                raise AssertionError
        with pytest.raises(ValueError, match="timeout must be"):
            await values._get_obj(timeout=-1)
        bench.go.set()
        assert await values._get_obj(timeout=None) == [0]  # the making has gone on

    run_loop(main())
    assert bench.log == ["make 0", "exit 0"]


def test_a_timeout_of_the_function_is_not_ours(run_loop: Run) -> None:
    """Otherwise a reader of the log would look for the wrong culprit."""

    async def make(_: int) -> None:
        raise TimeoutError("of the server")

    async def main() -> None:
        with pytest.raises(TimeoutError, match="of the server"):
            await AsyncProxy(fun=make, scope=LOOP)._get_obj()

    run_loop(main())


def test_the_end(run_loop: Run, bench: Bench) -> None:
    """Otherwise an object would be exited before what is made of it, or could not say good-bye."""

    @asynccontextmanager
    async def upper(_: int) -> AsyncIterator[str]:
        yield f"on {await lower._get_obj()}"
        bench.log.append(f"{above} ends, {lower} is there")

    lower: Any = AsyncProxy(fun=bench.enter, scope=LOOP)
    above: Any = AsyncProxy(fun=upper, scope=LOOP)

    async def late() -> None:
        with pytest.raises(ProxyException, match="no object yet"):
            str(above)
        assert await lower._get_obj() == lower == [1]

    async def main() -> None:
        at_exit(late)
        await above._get_obj()

    run_loop(main())
    assert bench.log == ["make 0", "on [0] ends, [0] is there", "exit 0", "make 1", "exit 1"]


def test_an_object_that_ends_by_itself_is_replaced(run_loop: Run) -> None:
    """Otherwise one dead connection would be used until the end of the loop."""
    tasks: list[asyncio.Task[Any]] = []
    ended: list[int] = []

    @asynccontextmanager
    async def connect(number: int) -> AsyncIterator[list[int]]:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            yield [number]
        finally:
            ended.append(number)

    values: Any = AsyncProxy(fun=connect, scope=LOOP)

    async def main() -> None:
        assert await values._get_obj() == [0]
        tasks[0].cancel()  # as a group of tasks does one of whose tasks has failed
        await asyncio.wait((tasks[0],))
        assert not values._has_obj()
        with pytest.raises(ProxyException, match="no object yet"):
            values.append(1)
        assert await values._get_obj() == values == [1]

    run_loop(main())
    assert ended == [0, 1]


def test_opener_and_close(run_loop: Run, bench: Bench) -> None:
    """Otherwise an object would be used before it is ready, or ended in the wrong way."""

    async def opener(obj: list[int]) -> None:
        assert not values._has_obj()  # no task has it cached before it is open
        await asyncio.sleep(0)
        bench.log.append(f"open {1 // obj[0]}")

    async def close(obj: list[int]) -> None:
        bench.log.append(f"close {obj}")

    values: Any = AsyncProxy(fun=bench.enter, scope=LOOP, opener=opener, close=close)

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await values._get_obj()
        assert await values._get_obj() == [1]

    run_loop(main())
    assert bench.log == ["make 0", "close [0]", "make 1", "open 1", "close [1]"]


def test_an_async_function_that_uses_its_own_proxy_is_refused(run_loop: Run) -> None:
    """Otherwise it would wait for itself, for ever."""

    async def make(_: int) -> object:
        return await proxy._get_obj()

    proxy: Any = AsyncProxy(fun=make, scope=LOOP, timeout=None)

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(ProxyException, match="fun uses the proxy whose object it is to make"):
                await proxy._get_obj()

    run_loop(main())


def test_a_product_that_cannot_be_an_object_is_refused(run_loop: Run, bench: Bench) -> None:
    """Otherwise a forgotten ``async`` would be found out much later, somewhere else."""

    @contextmanager
    def plain(_: int) -> Iterator[None]:
        yield

    async def main() -> None:
        for fun, text in ((lambda n: bench.come, "call it"), (plain, "synchronous context manager")):
            with pytest.raises(TypeError, match=text):
                await AsyncProxy[Any](fun=fun, scope=LOOP)._get_obj()

    run_loop(main())


@pytest.mark.parametrize("scope", [AsyncProxy.Scope.SHARED, AsyncProxy.Scope.THREAD])
def test_scopes_of_a_function(bench: Bench, scope: Any) -> None:
    """Otherwise tasks of several loops would use one object."""
    with pytest.raises(ProxyException, match=rf"^scope {scope.name} .* for each task .* or for each event loop"):
        AsyncProxy(fun=bench.come, scope=scope)
    for needy in (LOOP, AsyncProxy.Scope.VERSATILE):
        with pytest.raises(ProxyException, match=f"scope {needy.name} needs fun"):
            AsyncProxy(1, scope=needy)


def test_parameters_without_effect_in_a_loop_are_warned_about(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a connection that is never checked would be noticed in production."""
    AsyncProxy(fun=bench.enter, health=print, max_use=3)
    AsyncProxy(fun=bench.enter, max_size=None, health=print)
    AsyncProxy(fun=bench.enter, scope=LOOP, opener=print, close=print, timeout=3)
    assert caplog.messages == []
    AsyncProxy(fun=bench.enter, scope=LOOP, health=print, opener=print, max_use=3, name="db")
    assert caplog.messages == ["db: with scope LOOP there is no pool, so these have no effect: health, max_use"]


def test_setting_it_later(run_loop: Run, bench: Bench) -> None:
    """Otherwise a module could not be imported before what it needs exists."""
    values: Any = AsyncProxy(scope=LOOP, set_name="fill", name="db")
    assert repr(values) == "<AsyncProxy db: not set>"
    assert not isinstance(values, Proxy)  # which promises a `_get_obj` that does not wait
    values._set_pool(timeout=1)

    async def main() -> None:
        with pytest.raises(ProxyException, match=r"call fill_obj\(…\) or fill_fun\(…\)"):
            await values._get_obj()
        await values._ret_obj()
        values.fill_fun(bench.enter)
        assert bench.log == []
        assert await values._get_obj() == [0]
        values.fill(fun=bench.come)
        assert await values._get_obj() == values == [0]
        assert bench.log == ["make 0", "make 0"]

    run_loop(main())
    assert bench.log == ["make 0", "make 0", "exit 0"]


def test_a_task_late_with_an_earlier_provider_gets_the_new_object(run_loop: Run, bench: Bench) -> None:
    """Otherwise a function that was replaced would still open a connection, to the old server."""
    values: Any = AsyncProxy(fun=lambda _: pytest.fail("the old one"), scope=LOOP, name="db")
    late = values._proxy_provider  # looked up before the setting, and asked after it
    values.set_fun(bench.come)

    async def main() -> None:
        with pytest.raises(ProxyException, match="db: this event loop has no object yet"):
            late.get()
        assert await late.fetch() == [0]
        assert late.get() == values == [0]

    run_loop(main())
    assert bench.log == ["make 0"]


def test_an_object_that_is_set_is_shared_by_all_tasks(run_loop: Run) -> None:
    """Otherwise a test could not put its own object where the program has one for each loop."""
    values: Any = AsyncProxy([1])

    async def main() -> None:
        assert await values._get_obj() == values == [1]
        async with values._obj() as mine:
            assert mine is values._local.obj
        await values._ret_obj()
        assert values._has_obj()

    run_loop(main())
    values._set([2])
    assert values == [2]


async def fetch_number(number: int) -> int:
    return number


def test_a_pickled_proxy_of_a_loop_arrives_as_a_proxy(new_loop: NewLoop) -> None:
    proxy: Any = AsyncProxy(fun=fetch_number, scope=LOOP, name="numbers")
    empty: Any = copy.copy(AsyncProxy(scope=LOOP))

    async def main() -> None:
        assert await proxy._get_obj() == 0
        arrived = pickle.loads(pickle.dumps(proxy))
        assert type(arrived).__name__ == "AsyncProxy"
        assert await arrived._get_obj() == arrived == 0
        empty.set_fun(fetch_number)
        assert await empty._get_obj() == 0

    run_and_shut_down(new_loop, main())


def test_an_async_proxy_has_one_object_per_loop_in_threads(crew: Crew, new_loop: NewLoop) -> None:
    """Otherwise loops that run at the same time would share an object."""
    log: list[str] = []
    together = threading.Barrier(2)

    @asynccontextmanager
    async def connect(number: int) -> AsyncIterator[asyncio.AbstractEventLoop]:
        yield asyncio.get_running_loop()
        log.append(f"exit {number}")

    proxy: Any = AsyncProxy(fun=connect, scope=LOOP)

    async def main() -> None:
        await proxy._get_obj()
        together.wait(20)
        assert proxy == asyncio.get_running_loop()
        assert (proxy._nobjs, log) == (2, [])
        together.wait(20)

    for _ in range(2):
        crew.start(run_and_shut_down, new_loop, main())
    crew.join()
    assert sorted(log) == ["exit 0", "exit 1"]


class OfLoop(AbstractAsyncContextManager["OfLoop", None]):
    """An object that belongs to its loop, and knows it."""

    def __init__(self, _number: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.content = bytearray(10_000)

    async def __aexit__(self, *_error: object) -> None:
        pass


async def use_and_look(proxy: Any) -> list[Callable[[], object]]:
    await proxy._get_obj()
    assert len(proxy.content) == 10_000
    return [weakref.ref(proxy._local.obj), weakref.ref(asyncio.get_running_loop())]


def test_a_closed_loop_is_collected_with_the_object_of_an_async_proxy(run_loop: Run) -> None:
    """Otherwise each loop of a long-running program would leave its object behind."""
    references = run_loop(use_and_look(AsyncProxy(fun=OfLoop, scope=LOOP)))
    gc.collect()
    assert [reference() for reference in references] == [None, None]


@pytest.mark.no_cover
def test_a_thousand_loops_of_an_async_proxy_leave_no_memory(new_loop: NewLoop) -> None:
    proxy = AsyncProxy(fun=OfLoop, scope=LOOP)
    assert bytes_left_by_loops(new_loop, effort(100, 1000, 1000), lambda: use_and_look(proxy)) < 1_000_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_an_async_proxy_in_a_forked_child_makes_its_own_object() -> None:
    """Otherwise parent and child would speak on one connection, and the child would end it."""
    result = run("""
        import asyncio, os, sys
        from contextlib import asynccontextmanager
        from ProxyPatternPool import AsyncProxy

        @asynccontextmanager
        async def connect(number):
            pid = os.getpid()
            yield pid
            print("exit", "mine" if pid == os.getpid() else "another's", number, flush=True)

        owner = AsyncProxy(fun=connect, scope=AsyncProxy.Scope.LOOP)

        async def use():
            assert await owner._get_obj() == owner == os.getpid()

        async def fork():
            await use()
            return os.fork()

        loop = asyncio.new_event_loop()
        child = loop.run_until_complete(fork())
        if child:
            _, status = os.waitpid(child, 0)
        loop.run_until_complete(use())
        loop.close()
        if child:
            sys.exit(os.waitstatus_to_exitcode(status))
    """)
    assert (result.stderr, result.returncode) == ("", 0)
    assert result.stdout.splitlines() == ["exit mine 0"] * 2
