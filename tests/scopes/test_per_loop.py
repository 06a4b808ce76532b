"""Proxies of which each event loop has its own object."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
import weakref
from typing import Any

import pytest

from ProxyPatternPool import Proxy, ProxyException
from ProxyPatternPool._config import PoolConfig
from ProxyPatternPool._scopes.per_loop import made_per_loop
from ProxyPatternPool.loop_local import at_exit
from tests.conftest import Crew, Factory, run
from tests.support.effort import effort
from tests.support.loops import NewLoop, Run, bytes_left_by_loops, run_and_shut_down

LOOP = Proxy.Scope.LOOP


class OfLoop:
    """An object that belongs to its loop, and knows it."""

    def __init__(self, _number: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.content = bytearray(10_000)


def test_each_loop_has_one_object_until_its_end(run_loop: Run, factory: Factory) -> None:
    """Otherwise an object would be used by a loop that it does not belong to, or never be closed."""
    db: Any = Proxy(fun=factory, scope=LOOP, close="close")

    async def task() -> int:
        number: int = db.number
        return number

    async def main(number: int) -> None:
        assert not db._has_obj()
        assert set(await asyncio.gather(*(task() for _ in range(7)))) == {number}
        with db._obj() as thing:
            assert thing is db._get_obj()
        db._ret_obj()  # it is for all, as in the scope SHARED
        assert db._has_obj()
        assert (db._nobjs, db._pool, db._local.obj) == (1, None, thing)
        assert factory.closed == list(range(number))

    for number in range(3):
        run_loop(main(number))
        assert (db._nobjs, db._has_obj()) == (0, False)
    assert factory.closed == [0, 1, 2]


def test_the_object_made_last_is_closed_first(run_loop: Run) -> None:
    """Otherwise an object would be closed before the one that is made of it."""
    log: list[object] = []

    async def close(name: str) -> None:
        await asyncio.sleep(0)
        log.append(f"{name} ends: {upper} on {lower}")

    lower = Proxy(fun=lambda n: "lower", scope=LOOP, close=close)
    upper = Proxy(fun=lambda n: f"upper {lower}", scope=LOOP, close=close)

    async def main() -> None:
        at_exit(log.append, "first in, last out")
        assert upper.startswith("upper")
        at_exit(log.append, "last in, first out")

    run_loop(main())
    assert log == [
        "last in, first out",
        "upper lower ends: upper lower on lower",  # it finds itself until it has ended
        "lower ends: upper lower on lower",  # and is made anew for a later use
        "upper lower ends: upper lower on lower",
        "first in, last out",
    ]


def test_a_failing_close_hinders_no_other(new_loop: NewLoop, factory: Factory) -> None:
    reports: list[BaseExceptionGroup[Any]] = []
    broken: Any = Proxy(fun=lambda n: n, scope=LOOP, close=lambda number: 1 // number)
    db: Any = Proxy(fun=factory, scope=LOOP, close="close")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["exception"]))
        assert (db.number, broken + 1) == (0, 1)

    run_and_shut_down(new_loop, main())
    assert [type(error) for group in reports for error in group.exceptions] == [ZeroDivisionError]
    assert factory.closed == [0]
    assert (db._nobjs, broken._nobjs) == (0, 0)


def test_without_a_loop(factory: Factory) -> None:
    """Otherwise the object would belong to no loop, and fail at some later time in some other place."""
    db: Any = Proxy(fun=factory, scope=LOOP, name="db")
    for use in (lambda: db.number, lambda: str(db), db._get_obj, lambda: db + 1):
        with pytest.raises(RuntimeError, match=r"^db: no running event loop$"):
            use()
    db._ret_obj()  # as a teardown does that runs in any case
    assert (db._has_obj(), db._nobjs, db._local.obj) == (False, 0, None)
    assert not factory.things


def test_a_function_that_returns_an_awaitable_is_no_special_case(run_loop: Run) -> None:
    """Otherwise a function that returns an awaitable for its users could not be used."""
    future: Any = Proxy(fun=lambda n: asyncio.get_running_loop().create_future(), scope=LOOP)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(future.set_result, 3)
        assert await future == 3

    run_loop(main())


def test_a_failed_making_is_not_remembered(run_loop: Run) -> None:
    values: Any = Proxy(fun=lambda n: [1 // n], scope=LOOP)  # fails at first

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            values.append(2)
        assert values._nobjs == 0
        values.append(2)
        assert values == [1, 2]

    run_loop(main())


def test_a_function_that_uses_its_own_proxy_is_refused(run_loop: Run) -> None:
    """Otherwise the message would be that the stack is too deep."""
    own: Any = Proxy(fun=lambda n: own + 1, scope=LOOP)

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(ProxyException, match="fun uses the proxy whose object it is to make"):
                own.bit_length()

    run_loop(main())


def test_a_provider_of_plain_results_returns_the_same_object_awaited_or_not(run_loop: Run, factory: Factory) -> None:
    """Otherwise a coroutine that awaits the object of a loop would make a second one."""
    provider = made_per_loop(PoolConfig(fun=factory), lambda _: None)

    async def main() -> None:
        obj = await provider.fetch()
        assert obj is await provider.fetch() is provider.get()
        assert factory.things == [obj]

    run_loop(main())


def test_a_proxy_has_one_object_per_loop_in_threads(crew: Crew, new_loop: NewLoop, factory: Factory) -> None:
    """Otherwise loops that run at the same time would share an object."""
    db: Any = Proxy(fun=factory, scope=LOOP, close="close")
    together = threading.Barrier(2)

    async def main() -> None:
        mine = db._get_obj()
        together.wait(20)
        assert db._get_obj() is mine
        assert db._nobjs == 2
        assert not factory.closed
        together.wait(20)
        assert not mine.closed

    for _ in range(2):
        crew.start(run_and_shut_down, new_loop, main())
    crew.join()
    assert sorted(factory.closed) == [0, 1]
    assert db._nobjs == 0


def test_set_again(run_loop: Run, factory: Factory) -> None:
    """Otherwise a reload would close an object that is in use, or never."""
    db: Any = Proxy(fun=factory, scope=LOOP, close="close")

    async def main() -> None:
        assert db.number == 0
        db.set_fun(lambda n: ["another"])
        assert db[0] == "another"
        assert isinstance(db, list)
        assert not factory.closed

    run_loop(main())
    assert factory.closed == [0]
    with pytest.raises(ProxyException, match="an object is shared by all: scope LOOP needs fun"):
        db.set_obj(1)


async def use_and_look(db: Any) -> list[weakref.ref[Any]]:
    assert len(db.content) == 10_000
    return [weakref.ref(db._get_obj()), weakref.ref(asyncio.get_running_loop())]


@pytest.mark.parametrize("close", [None, lambda obj: None])
def test_a_closed_loop_is_collected_with_its_object(run_loop: Run, close: Any) -> None:
    """Otherwise each loop of a long-running program would leave its object behind."""
    db: Any = Proxy(fun=OfLoop, scope=LOOP, close=close)
    references = run_loop(use_and_look(db))
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_an_unclosed_loop_is_collected_with_its_object() -> None:
    """Likewise. Only with asyncio: uvloop keeps such a loop for ever."""
    db: Any = Proxy(fun=OfLoop, scope=LOOP, close=lambda obj: None)
    loop = asyncio.new_event_loop()
    references = loop.run_until_complete(use_and_look(db))
    del loop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # that it is not closed
        gc.collect()
    assert [reference() for reference in references] == [None, None]
    assert db._nobjs == 0


@pytest.mark.no_cover
def test_a_thousand_loops_of_a_proxy_leave_no_memory(new_loop: NewLoop) -> None:
    db: Any = Proxy(fun=OfLoop, scope=LOOP, close=lambda obj: None)

    async def use() -> None:
        assert len(db.content) == 10_000

    assert bytes_left_by_loops(new_loop, effort(100, 1000, 1000), use) < 1_000_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.parametrize("how", ["return", "close", "new"])
def test_a_loop_in_a_forked_child_makes_its_own_object(how: str) -> None:
    """Otherwise parent and child would speak on one connection, and the child would end it."""
    result = run(f"""
        import asyncio, os, sys
        from ProxyPatternPool import Proxy, loop_local

        class Connection:
            def __init__(self, number):
                self.pid, self.number = os.getpid(), number
            def close(self):
                print(*(["closed"] if os.getpid() == self.pid else ["closed by a stranger"]), self.number, flush=True)
            def __del__(self):
                if os.getpid() != self.pid:
                    print("finalised by a stranger", flush=True)

        db = Proxy(fun=Connection, scope=Proxy.Scope.LOOP, close="close")
        bare = Proxy(fun=Connection, scope=Proxy.Scope.LOOP)

        async def use():
            assert (db.pid, bare.pid, db.number) == (os.getpid(), os.getpid(), 0)
            assert db._nobjs == 1

        async def fork():
            await use()
            return os.fork()

        loop = asyncio.new_event_loop()
        how, child = {how!r}, loop.run_until_complete(fork())
        if child:
            _, status = os.waitpid(child, 0)
            loop.run_until_complete(use())
        elif how == "return":  # the child goes on with the loop of its parent
            loop.run_until_complete(use())
        elif how == "new":
            asyncio.run(use())
        loop.close()
        del loop
        if child:
            sys.exit(os.waitstatus_to_exitcode(status))
    """)
    assert (result.stderr, result.returncode) == ("", 0)
    assert result.stdout.splitlines() == ["closed 0"] * (1 if how == "close" else 2)
