"""The promises that `Pool` and `AsyncPool` share, shown on both: plainly, and with hooks that are awaited."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any

import pytest

from ProxyPatternPool import AsyncPool, Pool, PoolClosed, PoolException, PoolFull, TimeOut
from tests.conftest import Factory, Thing, until

HOOKS = {"health", "opener", "getter", "retter", "close"}


class Threaded:
    """A `Pool`. The test itself uses `call`. Another thread runs what is given to `start`."""

    def __init__(self, fun: Callable[[int], Any], *arguments: Any, **parameters: Any) -> None:
        self._others = ThreadPoolExecutor(20)
        self.pool: Any = Pool(fun, *arguments, **parameters)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self.pool, method)(*arguments, **options)

    def start(self, method: str, *arguments: Any, **options: Any) -> Future[Any]:
        return self._others.submit(self.call, method, *arguments, **options)

    def sweep(self) -> None:
        self.pool._engine._round()

    def lease(self) -> Any:
        lease: AbstractContextManager[Any] = self.pool.obj()
        return lease.__enter__(), lambda: lease.__exit__(None, None, None)

    def end(self) -> None:
        self.pool.shutdown()
        self._others.shutdown()


class Looped:
    """An `AsyncPool`, in a loop that runs in a thread of its own. Each call is made by another task."""

    def __init__(self, fun: Callable[[int], Any], *arguments: Any, **parameters: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.pool: Any = AsyncPool(fun, *arguments, **parameters)
        try:
            self.call("__aenter__")
        except BaseException:
            self.end()
            raise

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self.start(method, *arguments, **options).result(20)

    def start(self, method: str, *arguments: Any, **options: Any) -> Future[Any]:
        async def run() -> Any:
            result = getattr(self.pool, method)(*arguments, **options)
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    def sweep(self) -> None:
        async def run() -> None:
            self.pool._engine.on_time()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    def lease(self) -> Any:
        lease: AbstractAsyncContextManager[Any] = self.pool.obj()

        async def leave() -> None:
            await lease.__aexit__(None, None, None)

        obj = asyncio.run_coroutine_threadsafe(lease.__aenter__(), self._loop).result(20)
        return obj, lambda: asyncio.run_coroutine_threadsafe(leave(), self._loop).result(20)

    def end(self) -> None:
        self.call("shutdown")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Awaited(Looped):
    """The same, where all that is given to the pool is awaited."""

    def __init__(self, fun: Callable[[int], Any], *arguments: Any, **parameters: Any) -> None:
        for name in HOOKS & parameters.keys():
            if callable(parameters[name]):
                parameters[name] = awaited(parameters[name])
        super().__init__(awaited(fun), *arguments, **parameters)


def awaited(function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*arguments: Any) -> Any:
        await asyncio.sleep(0)
        return function(*arguments)

    return call


Make = Callable[..., Any]


@pytest.fixture(params=[Threaded, Looped, Awaited])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Return what makes a pool of either kind; it is ended with the test."""
    made: list[Any] = []

    def make_one(*arguments: Any, **parameters: Any) -> Any:
        made.append(request.param(*arguments, **parameters))
        return made[-1]

    yield make_one
    for one in made:
        one.end()


class Clock:
    """A time that passes when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


# -- sizes


def test_objects_are_made_up_to_max_size_and_used_again(make: Make, factory: Factory) -> None:
    """Otherwise there would be more connections than the server allows, or a new one for each use."""
    one = make(factory, 2, min_size=0)
    first, second = one.call("get"), one.call("get")
    assert first is not second
    with pytest.raises(TimeOut, match=r"pool max size reached \(2\), timeout after 0.0 s: 2 in use, 0 idle"):
        one.call("get", timeout=0)
    one.call("ret", first)
    assert one.call("get") is first
    assert [thing.number for thing in factory.things] == [0, 1]


def test_min_size_objects_are_there_from_the_beginning_and_are_replaced(make: Make, factory: Factory) -> None:
    """Otherwise the first users would wait for them."""
    one = make(factory, 5, min_size=3, close="close")
    assert one.pool.stats()["idle"] == 3
    for _ in range(3):
        one.call("discard", one.call("get"))
    until(lambda: one.pool.stats()["idle"] == 3)
    assert one.pool.size == 3
    until(lambda: len(factory.closed) == 3)


def test_a_beginning_that_fails_leaves_nothing(make: Make, factory: Factory) -> None:
    """Otherwise a pool that does not exist would keep connections."""

    def fun(number: int) -> Thing:
        if number == 2:
            raise OSError("no more")
        return factory(number)

    with pytest.raises(OSError, match="no more") as caught:
        make(fun, min_size=3, close="close", name="db")
    assert caught.value.__notes__ == ["db: raised by fun(2)"]
    until(lambda: len(factory.closed) == len(factory.things))


@pytest.mark.parametrize("detailed", [False, True])
def test_an_outage_is_told_in_full_once(
    make: Make, factory: Factory, caplog: pytest.LogCaptureFixture, detailed: bool
) -> None:
    """Otherwise the log of a night would be one traceback, again and again; or nothing would say what is going on."""
    failures = 0
    failed: list[int] = []

    def fun(number: int) -> Thing:
        if len(failed) < failures:
            failed.append(number)
            raise OSError("no route")
        return factory(number)

    caplog.set_level(logging.DEBUG if detailed else logging.INFO, "ProxyPatternPool")
    one = make(fun, 2, name="db")
    for _outage in range(2):
        thing = one.call("get")
        failures += 2
        one.call("discard", thing)
        until(lambda: one.pool.stats()["idle"] == 1)
    records = [record for record in caplog.records if record.name == "ProxyPatternPool"]
    told = r"db: making object {} failed in the background, tried again in \d\.\d s: OSError: no route"
    for record, number in zip(records, failed, strict=True):
        assert re.fullmatch(told.format(number), record.message)
        assert bool(record.exc_info) is (detailed or number in (failed[0], failed[2]))


def test_a_pool_can_be_given_other_sizes(make: Make, factory: Factory) -> None:
    """Otherwise a service would have to be restarted to follow its load."""
    one = make(factory, 1, close="close")
    first = one.call("get")
    waiting = one.start("get")
    until(lambda: one.pool.stats()["nwaiting"] == 1)
    one.call("resize", max_size=2)
    second = waiting.result(20)
    one.call("resize", max_size=1)
    one.call("ret", first)
    one.call("ret", second)
    until(lambda: one.pool.size == 1)
    assert factory.closed == [first.number]
    with pytest.raises(ValueError, match="min_size must not be above max_size"):
        one.call("resize", min_size=7)


def test_all_objects_can_be_replaced(make: Make, factory: Factory) -> None:
    """Otherwise a new password, or a server that has moved, would need a restart."""
    one = make(factory, 3, min_size=3, close="close")
    used = one.call("get")
    one.call("refresh")
    until(lambda: len(factory.closed) == 2)
    one.call("ret", used)
    until(lambda: len(factory.closed) == 3)
    until(lambda: one.pool.stats()["idle"] == 3)
    assert one.call("get").number >= 3


# -- waiting


def test_first_come_first_served(make: Make, factory: Factory) -> None:
    """Otherwise a waiter would wait for ever beside callers that have just come."""
    one = make(factory, 1)
    thing = one.call("get")
    waiting = []
    for number in range(5):
        waiting.append(one.start("get"))
        until(lambda number=number: one.pool.stats()["nwaiting"] == number + 1)
    for future in waiting:
        one.call("ret", thing)
        assert future.result(20) is thing
        assert sum(future.done() for future in waiting) == waiting.index(future) + 1
    one.call("ret", thing)


def test_a_waiter_that_gives_up_is_not_served(make: Make, factory: Factory) -> None:
    """Otherwise an object would be lost with it."""
    one = make(factory, 1)
    thing = one.call("get")
    with pytest.raises(TimeOut):
        one.call("get", timeout=0.01)
    assert one.pool.stats()["nwaiting"] == 0
    assert one.pool.stats()["ntimeouts"] == 1
    one.call("ret", thing)
    assert one.pool.stats()["idle"] == 1


def test_a_timeout_names_the_holder_and_the_last_failure(make: Make, factory: Factory) -> None:
    """Otherwise an operator would not know where to look."""

    def fun(number: int) -> Thing:
        if number == 1:
            raise OSError("down")
        return factory(number)

    one = make(fun, 2, name="db")
    thing = one.call("get")
    with pytest.raises(OSError, match="down"):
        one.call("get")
    one.call("resize", max_size=1)
    with pytest.raises(TimeOut, match=r"^db: .*; oldest held \d+\.\d s by (thread '|a task )") as caught:
        one.call("get", timeout=0)
    assert isinstance(caught.value.__cause__, OSError)
    one.call("ret", thing)


def test_too_many_are_refused_at_once(make: Make, factory: Factory) -> None:
    """Otherwise an overloaded service would let all callers wait in vain."""
    one = make(factory, 1, max_waiting=1)
    thing = one.call("get")
    waiting = one.start("get")
    until(lambda: one.pool.stats()["nwaiting"] == 1)
    with pytest.raises(PoolFull, match="1 callers are waiting already"):
        one.call("get")
    one.call("ret", thing)
    one.call("ret", waiting.result(20))
    assert one.pool.stats()["nrefused"] == 1


def test_a_failed_creation_reaches_its_caller_and_the_next_caller_tries(make: Make, factory: Factory) -> None:
    """Otherwise a waiter would sleep beside free capacity."""
    broken = True

    def fun(number: int) -> Thing:
        if broken and number:
            raise OSError(f"down {number}")
        return factory(number)

    one = make(fun, 1, close="close", name="db")
    thing = one.call("get")
    first, second = one.start("get"), one.start("get")
    until(lambda: one.pool.stats()["nwaiting"] == 2)
    one.call("discard", thing)
    for future in (first, second):
        with pytest.raises(OSError, match=r"^down \d+\n") as caught:
            future.result(20)
        assert caught.value.__notes__ == [f"db: raised by fun({str(caught.value).removeprefix('down ')})"]
    assert one.pool.stats()["ncreation_errors"] >= 2
    broken = False
    assert one.call("get").number > 0


def test_an_object_that_is_there_already_is_refused(make: Make, factory: Factory) -> None:
    """Otherwise two would use it at the same time."""
    thing = factory(0)
    one = make(lambda _: thing, 2, close="close", name="db")
    assert one.call("get") is thing
    with pytest.raises(PoolException, match=r"db: fun\(1\) returned an object that is already in the pool"):
        one.call("get")
    assert not thing.closed
    one.call("ret", thing)


# -- returning


def test_any_object_is_an_object(make: Make) -> None:
    """Otherwise equal ones would be mixed up, and falsy ones refused."""
    objects: list[Any] = [[], [], {}, 0.0, None]
    one = make(objects.__getitem__, 5, min_size=5)
    got = [one.call("get") for _ in objects]
    assert sorted(map(id, got)) == sorted(map(id, objects))
    for obj in got:
        one.call("ret", obj)
    assert one.pool.stats()["idle"] == 5


def test_an_object_that_is_not_out_is_not_taken_back(
    make: Make, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one that was given back twice would be lent to two."""
    one = make(factory, 2, name="db")
    thing = one.call("get")
    one.call("ret", thing)
    for method, obj in (("ret", thing), ("ret", object()), ("discard", thing)):
        one.call(method, obj)
    assert one.pool.stats()["nbad_returns"] == 3
    assert one.pool.stats()["idle"] == 1
    until(lambda: sum("given back, but it is not out: ignored" in text for text in caplog.messages) == 3)


def test_the_warning_of_a_bad_return_has_the_tracers_text_of_an_open_object(
    make: Make, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise an operator could not tell which connection is given back twice; a closed one may fail to tell."""
    traced: list[Thing] = []

    def tracer(thing: Thing) -> str:
        traced.append(thing)
        return f"pid {thing.number + 700}"

    one = make(factory, 2, close="close", tracer=tracer, name="db")
    thing, closed = one.call("get"), one.call("get")
    one.call("discard", closed)
    until(lambda: factory.closed == [closed.number] and one.pool.size == 1)
    traced.clear()
    for obj in (thing, thing, closed, object()):
        one.call("ret", obj)
    texts = ["Thing object number 0 (pid 700)", "Thing object", "object object"]
    warnings = [f"db: {text} given back, but it is not out: ignored" for text in texts]
    until(lambda: caplog.messages == warnings)
    assert traced == [thing]


class Unreferenced:
    """An object that takes no weak references."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("kind", [lambda number: Thing(Factory(), number), Unreferenced])
def test_the_warning_of_a_late_return_has_the_number_of_the_killed_object(
    make: Make, kind: Callable[[int], Any], closes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the warnings of the kill and of the return could not be told to be of the same connection."""
    traced: list[object] = []

    def tracer(obj: Any) -> str:
        traced.append(obj)
        return "the one"

    clock, closed = Clock(), list[object]()
    close = closed.append if closes else None
    one = make(kind, 1, min_size=0, max_using_delay_kill=10, clock=clock, name="db", close=close, tracer=tracer)
    lost = [one.call("get")]
    one.sweep()
    clock.now += 11
    one.sweep()
    until(lambda: one.pool.size == 0 and any("was taken away" in text for text in caplog.messages))
    lost += [one.call("get")]
    clock.now += 11
    one.sweep()
    until(lambda: one.pool.size == 0 and sum("was taken away" in text for text in caplog.messages) == 2)
    traced.clear()
    for obj in reversed(lost):
        one.call("ret", obj)
    name = kind(0).__class__.__name__
    for number in (0, 1):
        text = f"db: {name} object number {number} given back, but it is not out: ignored"
        until(lambda text=text: text in caplog.messages)
    assert not traced


def test_a_pool_remembers_the_killed_objects_that_are_still_referenced(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a pool would keep each object that it has ever taken away, or tell the number of another one."""
    clock = Clock()
    one = make(lambda n: Thing(Factory(), n), 1, min_size=0, max_using_delay_kill=10, clock=clock)
    lost: list[Thing] = []
    for number in range(30):
        lost.append(one.call("get"))
        clock.now += 11
        one.sweep()
        until(lambda number=number: one.pool.size == 0 and len(caplog.messages) == number + 1)
    kept, dropped = weakref.ref(lost[-1]), weakref.ref(lost[-2])
    del lost[-2]
    gc.collect()
    assert (kept() is None, dropped() is None) == (False, True)
    one.call("ret", lost[0])  # as many have been killed since as a pool remembers
    one.call("ret", lost[-1])
    until(lambda: len(caplog.messages) == 32)
    told = [text.partition(": ")[2] for text in caplog.messages[-2:]]
    late = "given back, but it is not out: ignored"
    assert told == [f"Thing object {late}", f"Thing object number 29 {late}"]


def test_a_block_returns_its_own_use_only(make: Make, factory: Factory) -> None:
    """Otherwise it would take the object away from the next one."""
    one = make(factory, 1)
    thing, leave = one.lease()
    one.call("ret", thing)
    assert one.call("get") is thing
    leave()
    assert one.pool.stats()["in_use"] == 1
    one.call("ret", thing)


def test_a_broken_or_worn_out_object_is_closed(make: Make, factory: Factory) -> None:
    """Otherwise it would be lent again."""
    one = make(factory, 1, max_use=2, close="close")
    one.call("discard", one.call("get"))
    until(lambda: factory.closed == [0])
    for _ in range(2):
        one.call("ret", one.call("get"))
    until(lambda: one.pool.stats()["nclosed"] == {"discard": 1, "max_use": 1})
    assert factory.closed == [0, 1]


def test_a_close_that_fails_is_logged_and_the_place_is_free(
    make: Make, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a server that is gone would fill the pool with what cannot be closed."""

    def close(_thing: Thing) -> None:
        raise OSError("gone")

    one = make(factory, 1, close=close, name="db")
    one.call("discard", one.call("get"))
    one.call("ret", one.call("get"))
    assert "db: closing Thing object number 0 failed" in caplog.messages


@pytest.mark.parametrize("close", ["close", "no_such_method"])
def test_a_method_may_close(make: Make, factory: Factory, close: str) -> None:
    """Otherwise each pool would need a function for that."""
    one = make(factory, 1, min_size=0, close=close)
    one.call("discard", one.call("get"))
    until(lambda: one.pool.size == 0)
    assert factory.closed == ([0] if close == "close" else [])


# -- hooks


def noting(calls: list[str], name: str, thing: Thing) -> None:
    calls.append(f"{name} {thing.number}")


def test_hooks_are_called_in_their_time(make: Make, factory: Factory) -> None:
    """Otherwise nothing could be prepared, or tidied up."""
    calls: list[str] = []
    hooks = {name: partial(noting, calls, name) for name in ("opener", "getter", "retter")}
    one = make(factory, 1, min_size=0, **hooks)
    for _ in range(2):
        _, leave = one.lease()
        leave()
    one.call("ret", one.call("get"))
    assert calls == ["opener 0", *["getter 0", "retter 0"] * 3]


class Diary(list[str]):
    """Is false while it is empty, and can be called."""

    def __call__(self, thing: Thing) -> bool:
        self.append(f"called with {thing.number}")
        return True


@pytest.mark.parametrize("hook", ["opener", "getter", "retter", "health", "close"])
def test_a_hook_that_is_false_is_called(make: Make, factory: Factory, hook: str) -> None:
    """Otherwise a pool would do without a hook that is a collection, as what registers connections may be."""
    diary = Diary()
    one = make(factory, 1, min_size=0, health_delay=0, **{hook: diary})
    one.call("ret", one.call("get"))
    thing = one.call("get")
    one.call("discard", thing)
    assert one.call("get").number == 1
    assert diary[0] == "called with 0"


@pytest.mark.parametrize("hook", ["opener", "getter"])
def test_a_hook_that_fails_costs_the_object_and_tells_the_caller(make: Make, factory: Factory, hook: str) -> None:
    """Otherwise an object that could not be prepared would be used."""

    def fail(thing: Thing) -> None:
        if thing.number == 0:
            raise OSError("bad")

    one = make(factory, 1, min_size=0, close="close", name="db", **{hook: fail})
    with pytest.raises(OSError, match="bad") as caught:
        one.call("get")
    assert caught.value.__notes__[0].startswith("db: raised by")
    assert one.call("get").number == 1
    assert factory.closed == [0]
    assert one.pool.stats()["nclosed"] == {hook: 1}


def test_a_method_that_no_object_has_is_told_once(
    make: Make, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a slip in its name would leave every connection open, without a word; or tell it for every one."""
    one = make(factory, 2, min_size=0, close="clos", name="db")
    for number in range(3):
        thing = one.call("get")
        assert thing.number == number
        one.call("discard", thing)
        until(lambda: one.pool.size == 0)
    told = "db: something of type Thing has no method clos: nothing is called to close it"
    assert [record.message for record in caplog.records if "clos" in record.message] == [told]
    assert factory.closed == []


def test_a_retter_that_fails_costs_the_object_and_is_logged(
    make: Make, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise half a transaction would be handed to the next one."""

    def fail(_thing: Thing) -> None:
        raise OSError("bad")

    one = make(factory, 1, close="close", retter=fail, name="db")
    one.call("ret", one.call("get"))
    assert one.call("get").number == 1
    assert factory.closed == [0]
    assert "db: tidying up Thing object number 0 failed" in caplog.messages


@pytest.mark.parametrize("raising", [False, True])
def test_a_dead_object_is_not_lent(make: Make, factory: Factory, raising: bool) -> None:
    """Otherwise after a server's restart each caller would get an error."""
    clock = Clock()

    def health(thing: Thing) -> bool:
        if raising and thing.number < 2:
            raise OSError("dead")
        return thing.number >= 2

    one = make(factory, 3, min_size=3, close="close", health=health, health_delay=1, clock=clock)
    first = one.call("get").number
    clock.now += 2
    assert min(one.call("get").number, one.call("get").number) >= 2
    until(lambda: one.pool.stats()["nclosed"] == {"health": len({0, 1} - {first})})


# -- time


def test_objects_end_in_their_time(make: Make, factory: Factory) -> None:
    """Otherwise a load that is over would keep its connections, and old ones would live for ever."""
    clock = Clock()
    one = make(factory, 3, min_size=0, close="close", max_delay=10, max_lifetime=100, clock=clock)
    things = [one.call("get") for _ in range(3)]
    for thing in things:
        one.call("ret", thing)
    clock.now += 11
    one.sweep()
    until(lambda: len(factory.closed) == 3)
    until(lambda: one.pool.size == 0)
    assert one.pool.stats()["nclosed"] == {"max_delay": 3}
    thing = one.call("get")
    clock.now += 101
    one.call("ret", thing)
    until(lambda: len(factory.closed) == 4)
    until(lambda: one.pool.stats()["nclosed"] == {"max_delay": 3, "max_lifetime": 1})


def test_an_object_held_for_too_long_is_taken_away(
    make: Make, factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one that hangs would keep its object for ever."""
    clock = Clock()
    one = make(
        factory, 1, close="close", max_using_delay=5, max_using_delay_kill=10, clock=clock, tracer=lambda _: "the one"
    )
    thing = one.call("get")
    clock.now += 6
    one.sweep()
    until(lambda: any("was not given back within 5.0 s by " in text for text in caplog.messages))
    clock.now += 6
    one.sweep()
    assert one.call("get") is not thing
    assert factory.closed == [0]
    assert any("(the one) was taken away: not given back within 10.0 s" in text for text in caplog.messages)
    one.call("ret", thing)
    assert one.pool.stats()["nbad_returns"] == 1


@pytest.mark.parametrize("min_size", [0, 1])
def test_a_health_delay_of_zero_spares_the_lease_an_object_is_made_for_alone(
    make: Make, factory: Factory, min_size: int
) -> None:
    """Otherwise a new connection would cost its caller a round trip more, or an idle one would be lent unasked."""
    asked: list[int] = []

    def health(thing: Thing) -> bool:
        asked.append(thing.number)
        return True

    one = make(factory, 1, min_size=min_size, health=health, health_delay=0, clock=Clock())
    for lease in range(3):
        thing = one.call("get")
        assert len(asked) == lease + min_size
        one.call("ret", thing)


def test_idle_objects_are_checked_in_the_background(make: Make, factory: Factory) -> None:
    """Otherwise the first callers after a night would find out what is dead."""
    clock = Clock()
    one = make(factory, 2, min_size=2, close="close", health=lambda thing: thing.number > 1, delay=10, clock=clock)
    clock.now += 11
    one.sweep()
    until(lambda: sorted(factory.closed) == [0, 1])
    until(lambda: one.pool.stats()["idle"] == 2)


def test_refills_that_fail_pause(make: Make, factory: Factory, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a server that comes back would be run down."""
    broken = False

    def fun(number: int) -> Thing:
        if broken:
            raise OSError("down")
        return factory(number)

    clock = Clock()
    one = make(fun, 2, min_size=2, close="close", clock=clock)
    broken = True
    one.call("discard", one.call("get"))
    until(lambda: one.pool.stats()["ncreation_errors"] == 1)
    one.sweep()
    assert one.pool.size == 1
    until(lambda: any(record.exc_info for record in caplog.records))
    broken = False
    clock.now += 0.2
    one.sweep()
    until(lambda: one.pool.stats()["idle"] == 2)


# -- the end


def test_shutdown_sends_waiters_away_and_closes_returned_objects(make: Make, factory: Factory) -> None:
    """Otherwise threads or tasks would hang, or objects be closed under their users' feet."""
    one = make(factory, 2, min_size=2, close="close")
    first, second = one.call("get"), one.call("get")
    waiting = [one.start("get") for _ in range(3)]
    until(lambda: one.pool.stats()["nwaiting"] == 3)
    one.call("shutdown")
    for future in waiting:
        with pytest.raises(PoolClosed):
            future.result(20)
    assert not factory.closed
    one.call("ret", first)
    until(lambda: factory.closed == [first.number])
    one.call("ret", second)
    until(lambda: one.pool.size == 0)
    with pytest.raises(PoolClosed, match="the pool has been shut down"):
        one.call("get")
    assert one.pool.stats()["closed"]
    assert repr(one.pool).endswith(" closed: max 2, 0 in use, 0 idle, 0 waiting>")
    one.call("shutdown")


def test_shutdown_waits_for_delay(make: Make, factory: Factory) -> None:
    """Otherwise a server could not let its last requests finish."""
    one = make(factory, 2, close="close")
    thing = one.call("get")
    ending = one.start("shutdown", delay=20)
    until(lambda: one.pool.stats()["closed"])
    assert not ending.done()
    one.call("ret", thing)
    ending.result(20)
    assert factory.closed == [0]
    assert one.pool.size == 0


# -- what it tells


def test_statistics_and_leases(make: Make, factory: Factory) -> None:
    """Otherwise an operator could not see what a pool does."""
    clock = Clock()
    one = make(
        factory, 3, name="db", clock=clock, stats=lambda thing: thing.number, tracer=lambda thing: f"#{thing.number}"
    )
    thing = one.call("get")
    clock.now += 2
    (lease,) = one.pool.leases()
    assert (lease["number"], lease["object"], lease["seconds"], lease["uses"]) == (
        0,
        "Thing object number 0 (#0)",
        2,
        1,
    )
    assert lease["holder"].startswith(("thread '", "a task that has ended"))
    one.call("ret", thing)
    stats = one.pool.stats()
    assert (stats["name"], stats["size"], stats["idle"], stats["nuses"]) == ("db", 1, 1, 1)
    assert stats["use"] == {"count": 1, "sum": 2.0, "max": 2.0}
    assert stats["objects"] == [{"number": 0, "state": "idle", "uses": 1, "stats": 0}]
    assert repr(one.pool) == f"<{type(one.pool).__name__} db open: max 3, 0 in use, 1 idle, 0 waiting>"


@pytest.mark.parametrize("pool", [Pool, AsyncPool])
def test_mistakes_are_told_by_name_and_value(pool: Any) -> None:
    """Otherwise they would show up in production."""
    with pytest.raises(
        TypeError, match=rf"^{pool.__name__} has no parameter max_sise \(given as 3\): did you mean max_size\?$"
    ):
        pool(Factory(), max_sise=3)
    with pytest.raises(ValueError, match="max_size must not be negative, but is -1"):
        pool(Factory(), -1)
    with pytest.raises(TypeError, match="fun must be a callable"):
        pool(None)
    with pytest.raises(TypeError, match="health must be a callable"):
        pool(Factory(), health="yes")
