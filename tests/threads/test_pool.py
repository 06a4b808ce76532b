"""The pool, with real threads. Each test says what a user would lose if it failed."""

from __future__ import annotations

import gc
import json
import logging
import math
import queue
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import pytest

from ProxyPatternPool import Pool, PoolClosed, PoolException, TimeOut
from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._threads import engine as _threaded
from tests.conftest import Crew, Factory, Thing, run, until


def states(pool: Pool[Thing]) -> tuple[int, int, int]:
    """Return how many are in use, idle, waiting."""
    stats = pool.stats()
    return stats["in_use"], stats["idle"], stats["nwaiting"]


# -- getting and returning


def test_an_object_is_made_when_needed_and_used_again(factory: Factory) -> None:
    """Otherwise a connection would be opened for every use."""
    pool = Pool(factory, max_size=3, min_size=0)
    assert not factory.things
    first = pool.get()
    second = pool.get()
    assert (first.number, second.number) == (0, 1)
    pool.ret(first)
    pool.ret(second)
    assert pool.get() is second  # the one used last is the one most likely to be still alive
    assert pool.get() is first


def test_a_with_block_returns_its_object_whatever_ends_it(factory: Factory) -> None:
    """Otherwise an error would cost a connection."""
    pool = Pool(factory, 1)
    with pytest.raises(ZeroDivisionError), pool.obj() as thing:
        1 / thing.closed
    assert states(pool) == (0, 1, 0)


def test_a_with_block_returns_its_own_use_only(factory: Factory) -> None:
    """Otherwise a block whose object was returned early would take it away from the next user."""
    pool = Pool(factory, 1)
    with pool.obj() as thing:
        pool.ret(thing)
        assert pool.get() is thing  # another caller's use now
    assert states(pool) == (1, 0, 0)
    pool.ret(thing)
    with pool.obj() as thing:
        pool.discard(thing)
    assert pool.stats()["nbad_returns"] == 0


def test_a_lease_can_be_used_again_but_not_twice_at_once(factory: Factory) -> None:
    """Otherwise entering twice would lose the first object."""
    pool = Pool(factory, 2, name="db")
    lease = pool.obj()
    with lease, pytest.raises(PoolException, match=r"db: this lease is in use"):
        lease.__enter__()
    with lease as thing:
        assert thing is factory.things[0]
    assert states(pool)[0] == 0


def test_a_lease_that_could_not_be_had_can_be_asked_for_again(factory: Factory) -> None:
    """Otherwise a loop that tries again would be told that it has what it has not."""
    pool = Pool(factory, 1)
    lease = pool.obj(timeout=0)
    with pool.obj(), pytest.raises(TimeOut):
        lease.__enter__()
    with lease as thing:
        assert thing.number == 0


def test_of_two_threads_that_enter_one_lease_one_is_refused(factory: Factory, crew: Crew) -> None:
    """Otherwise the object of the first would never come back."""
    pool = Pool(factory, 1)
    lease, thing = pool.obj(), pool.get()
    crew.start(lease.__enter__)
    until(lambda: pool.stats()["nwaiting"] == 1)
    with pytest.raises(PoolException, match="this lease is in use"):
        lease.__enter__()
    pool.ret(thing)
    crew.join()
    lease.__exit__(None, None, None)
    assert states(pool)[0] == 0


@pytest.mark.parametrize("foreign", [object(), [], None, 3])
def test_a_return_of_a_foreign_or_idle_object_is_logged_and_ignored(
    factory: Factory, foreign: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise two users would get the same connection."""
    pool: Pool[object] = Pool(factory, 2, name="db")
    thing = pool.get()
    pool.ret(foreign)
    pool.discard(foreign)
    pool.ret(thing)
    until(lambda: len(caplog.records) == 2)
    pool.ret(thing)
    assert pool.stats()["nbad_returns"] == 3
    until(lambda: len(caplog.records) == 3)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    assert caplog.messages[0] == f"db: {type(foreign).__name__} object given back, but it is not out: ignored"
    assert caplog.messages[2] == "db: Thing object number 0 given back, but it is not out: ignored"
    assert (pool.stats()["idle"], pool.stats()["size"]) == (1, 1)


# -- ends of objects


def test_without_a_close_the_place_is_free_at_once(factory: Factory) -> None:
    """Otherwise the next caller would wait for a thread that has nothing to do."""
    pool = Pool(factory, 1, max_use=1)
    with pool.obj(timeout=0):
        pass
    with pool.obj(timeout=0) as thing:
        assert thing.number == 1


def test_max_delay_closes_what_is_not_used_but_for_min_size(factory: Factory) -> None:
    """Otherwise a peak would hold its connections for ever."""
    now = 0.0
    pool = Pool(factory, 5, max_delay=10.0, close="close", clock=lambda: now)
    things = [pool.get() for _ in range(4)]
    for thing in things:  # returned at 1, 2, 3, 4
        now += 1
        pool.ret(thing)
    now = 12.5
    assert pool._engine._round() == pytest.approx(0.5)
    until(lambda: factory.closed == [0, 1])
    now = 100.0
    pool._engine._round()
    until(lambda: factory.closed == [0, 1, 2])  # the last one stays
    assert states(pool) == (0, 1, 0)
    assert pool.stats()["nclosed"] == {"max_delay": 3}
    assert Pool(factory)._engine._round() == math.inf


def test_max_delay_in_real_time(factory: Factory) -> None:
    """Otherwise no thread would come by to close them."""
    pool = Pool(factory, 5, min_size=0, max_delay=0.02, close="close")
    pool.ret(pool.get())
    until(lambda: factory.closed == [0])
    pool.ret(pool.get())
    until(lambda: factory.closed == [0, 1])


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_a_close_that_raises_loses_nothing(
    factory: Factory, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a bad close would cost a place in the pool, or the thread that closes."""

    def close(thing: Thing) -> None:
        thing.close()
        raise error

    pool = Pool(factory, 1, close=close, name="db", min_size=0)
    pool.discard(pool.get())
    assert pool.get().number == 1
    until(lambda: caplog.records)
    assert caplog.messages[0].startswith("db: ")
    assert caplog.records[0].exc_info
    assert caplog.records[0].exc_info[1] is error


def test_a_shutdown_raises_an_interrupt_and_closes_every_object(factory: Factory) -> None:
    """Otherwise Ctrl-C during a slow shutdown would be swallowed, or leave the rest unclosed."""

    def close(thing: Thing) -> None:
        thing.close()
        if len(factory.closed) == 1:
            raise KeyboardInterrupt

    pool = Pool(factory, 3, min_size=3, close=close)
    with pytest.raises(KeyboardInterrupt):
        pool.shutdown()
    until(lambda: sorted(factory.closed) == [0, 1, 2])
    until(lambda: pool.stats()["size"] == 0)


# -- creations


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_failed_creation_is_raised_to_its_caller_and_loses_nothing(factory: Factory, error: BaseException) -> None:
    """Otherwise an outage would eat the pool up."""
    failing = True

    def fun(number: int) -> Thing:
        if failing:
            raise error
        return factory(number)

    pool = Pool(fun, 1, min_size=0, name="db")
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            pool.get()
        assert caught.value is error
    assert error.__notes__ == ["db: raised by fun(0)"]  # and no more of them in a long outage
    failing = False
    assert pool.get(timeout=0).number == 3
    assert pool.stats()["ncreation_errors"] == 3


def test_when_a_creation_fails_the_next_in_line_has_its_turn_at_once(factory: Factory, crew: Crew) -> None:
    """Otherwise it would sleep beside a free place until its own timeout."""
    go = threading.Event()

    def fun(number: int) -> Thing:
        if number == 0:
            assert go.wait(20)
            raise OSError("no route")
        return factory(number)

    pool = Pool(fun, 1, min_size=0, timeout=None)

    def fail() -> None:
        with pytest.raises(OSError, match="no route"):
            pool.get()

    crew.start(fail)
    until(lambda: pool.stats()["creating"] == 1)
    crew.start(lambda: pool.ret(pool.get()))
    until(lambda: states(pool) == (0, 0, 1))
    go.set()
    crew.join()
    assert [thing.number for thing in factory.things] == [1]


def test_objects_are_made_in_parallel_and_stop_no_caller(factory: Factory, crew: Crew) -> None:
    """Otherwise a slow server would stop callers that need nothing from it."""
    together = threading.Barrier(3)

    def fun(number: int) -> Thing:
        if number:
            together.wait(20)  # two creations, and the test
        return factory(number)

    pool = Pool(fun, 3, timeout=None)
    crew.start(pool.get)
    until(lambda: states(pool) == (1, 0, 0))
    crew.start(pool.get)
    crew.start(pool.get)
    until(lambda: pool.stats()["creating"] == 2)
    pool.ret(factory.things[0])
    assert pool.get() is factory.things[0]
    assert repr(pool) == f"<Pool {pool.name} open: max 3, 1 in use, 0 idle, 2 being made, 0 waiting>"
    together.wait(20)
    crew.join()
    assert {thing.number for thing in factory.things} == {0, 1, 2}


def test_a_caller_makes_no_pause_after_an_outage(factory: Factory) -> None:
    """Otherwise callers would wait for the pauses between background attempts, which grow."""
    down = True

    def fun(number: int) -> Thing:
        if down:
            raise ConnectionRefusedError
        return factory(number)

    pool = Pool(fun, 3, min_size=0, clock=lambda: 1000.0)
    pool.resize(min_size=1)
    until(lambda: pool._engine.machine.refill_at > 1000.0)  # and this clock stands still
    for _ in range(20):
        with pytest.raises(ConnectionRefusedError):
            pool.get()
    down = False
    pool.get(timeout=0)


def test_no_other_try_is_announced_when_the_pool_is_shut_down(
    factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise an operator would wait for what the log promises."""
    begun, closed = threading.Event(), threading.Event()

    def fun(number: int) -> Thing:
        if number:
            begun.set()
            closed.wait(20)
            raise OSError("no route")
        return factory(number)

    def told() -> list[str]:
        return [text for text in caplog.messages if text.startswith("refilled: ")]  # and not what other tests have left

    pool = Pool(fun, 1, name="refilled")
    pool.discard(pool.get())
    assert begun.wait(20)
    pool.shutdown()
    closed.set()
    until(told)
    assert told() == [
        "refilled: making object 1 failed in the background, and no caller waits for it: OSError: no route"
    ]


def test_a_refill_that_returns_a_pooled_object_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise one object would be lent twice, later and elsewhere."""
    shared = object()
    pool = Pool(lambda n: shared if n else object(), 3, min_size=2, name="db")
    one, two = pool.get(), pool.get()
    pool.discard(one if two is shared else two)
    until(lambda: caplog.records)
    assert "returned an object that is already in the pool" in str(caplog.records[0].exc_info)
    assert pool.stats()["in_use"] == 1
    pool.shutdown()


# -- waiting


def test_a_caller_that_returns_and_asks_again_is_served_last(factory: Factory, crew: Crew) -> None:
    """Otherwise four of sixteen threads would have all the objects, and the others none."""
    pool = Pool(factory, 4, timeout=None)
    go = [threading.Semaphore(0) for _ in range(16)]
    served: queue.SimpleQueue[int] = queue.SimpleQueue()

    def work(number: int) -> None:
        for _ in range(20):
            with pool.obj() as thing, thing:
                served.put(number)
                assert go[number].acquire(timeout=20)

    def came(times: int) -> bool:
        """Tell whether callers have come so often, including the waiters in the queue."""
        return pool.stats()["nuses"] + pool.stats()["nwaiting"] == times

    for number in range(16):
        crew.start(work, number)
        until(came, number + 1)
    for turn in range(16 * 20):
        assert served.get(timeout=20) == turn % 16
        if turn >= 3:  # four hold: the one that came first leaves, and comes back, or ends
            go[(turn - 3) % 16].release()
            until(came, min(16 * 20, 16 + turn - 2))
    for number in (13, 14, 15):
        go[number].release()
    crew.join()
    assert len(factory.things) == 4


def test_a_crowd_is_served_without_a_timeout(factory: Factory, crew: Crew) -> None:
    """Otherwise a burst of requests would fail though the pool could serve all of them."""
    pool = Pool(factory, 10, timeout=20)
    start = threading.Barrier(100)

    def work() -> None:
        start.wait(20)
        for _ in range(10):
            with pool.obj() as thing, thing:
                pass

    for _ in range(100):
        crew.start(work)
    crew.join()
    stats = pool.stats()
    assert stats["ntimeouts"] == 0
    assert stats["nuses"] == 1000
    assert len(factory.things) <= 10


def test_timeout(factory: Factory) -> None:
    """Otherwise an exhausted pool would be a mystery to a reader of the log."""
    pool = Pool(factory, 2, timeout=0.01, name="db")
    things = [pool.get(), pool.get()]
    with pytest.raises(TimeOut) as caught:
        pool.get()
    text = str(caught.value)
    assert re.fullmatch(
        r"db: pool max size reached \(2\), timeout after 0\.01 s: 2 in use, 0 idle, 0 waiting; "
        r"oldest held \d+\.\d s by thread 'MainThread'",
        text,
    )
    assert isinstance(caught.value, TimeoutError)
    assert pool.stats()["ntimeouts"] == 1
    pool.ret(things[0])
    assert pool.get(timeout=0) is things[0]  # the waiter that gave up is out of the queue


def test_a_timeout_of_zero_tries_once(factory: Factory) -> None:
    """Otherwise "do not wait" would mean "wait for ever", as it did once."""
    pool = Pool(factory, 1, timeout=None)
    with pool.obj(timeout=0), pytest.raises(TimeOut, match=r"timeout after 0\.0 s"):
        pool.get(timeout=0)


def test_an_exhausted_pool_names_the_thread_that_holds_its_object(factory: Factory, crew: Crew) -> None:
    """Otherwise a leak would have to be searched for in all threads."""
    pool = Pool(factory, 1, name="db")
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with pool.obj():
            held.set()
            assert go.wait(20)

    crew.start(hold).name = "worker-3"
    assert held.wait(20)
    with pytest.raises(TimeOut, match=r"db: pool max size reached \(1\), .*: 1 in use, .* by thread 'worker-3'"):
        pool.get(timeout=0)
    go.set()
    crew.join()


def test_the_holder_may_have_ended(factory: Factory, crew: Crew) -> None:
    """Otherwise the message about a leak would fail just where it is needed."""
    pool = Pool(factory, 1)
    crew.start(pool.get)
    crew.join()

    def innocent() -> None:
        """Most likely get the number of the thread that has ended."""
        with pytest.raises(TimeOut, match=r"oldest held .* by a thread that has ended"):
            pool.get(timeout=0)

    crew.start(innocent)
    crew.join()


def test_nothing_is_in_use_but_the_place_is_taken(factory: Factory) -> None:
    """Otherwise the message would send its reader to look for a holder that does not exist."""
    closing, go = threading.Event(), threading.Event()

    def close(_: Thing) -> None:
        closing.set()
        assert go.wait(20)

    pool = Pool(factory, 1, close=close)
    pool.discard(pool.get())
    assert closing.wait(20)
    with pytest.raises(TimeOut, match=r"0 in use, 0 idle, 1 being closed, 0 waiting$"):
        pool.get(timeout=0)
    go.set()
    assert pool.get(timeout=20).number == 1


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 10**400, "soon", True])
def test_a_timeout_that_is_none_is_refused(factory: Factory, timeout: float) -> None:
    """Otherwise a wrong value would show only when the pool is exhausted, at night."""
    pool = Pool(factory, 1)
    with pytest.raises((TypeError, ValueError), match=f"timeout must be .*{timeout!r}"):
        pool.get(timeout=timeout)
    with pytest.raises((TypeError, ValueError), match=f"timeout must be .*{timeout!r}"):
        pool.obj(timeout=timeout)
    with pytest.raises((TypeError, ValueError), match=f"delay must be .*{timeout!r}"):
        pool.shutdown(delay=timeout)


def test_any_real_number_is_a_timeout(factory: Factory) -> None:
    """Otherwise one would be accepted first, and fail when the pool is exhausted."""
    pool = Pool(factory, 1, timeout=Fraction(1, 100))  # type: ignore[arg-type]  # a real number, for objects that have one
    pool.get()
    with pytest.raises(TimeOut, match=r"timeout after 0\.01 s"):
        pool.get()


class Interrupted(Exception):
    """Raised by the signal handler of a test."""


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Have SIGUSR1 raise `Interrupted` in the main thread."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    previous = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, previous)


@pytest.mark.usefixtures("interrupts")
def test_a_waiter_that_is_interrupted_leaves_the_queue(factory: Factory, crew: Crew) -> None:
    """Otherwise the object would be handed to a caller that is gone."""
    pool = Pool(factory, 1, timeout=None)
    main = threading.main_thread().ident
    assert main
    held = pool.get()

    def interrupt() -> None:
        until(lambda: states(pool) == (1, 0, 1))
        signal.pthread_kill(main, signal.SIGUSR1)

    crew.start(interrupt)
    with pytest.raises(Interrupted):
        pool.get()
    crew.join()
    assert states(pool) == (1, 0, 0)
    pool.ret(held)
    assert pool.get(timeout=0) is held


def test_a_return_never_blocks_even_while_its_own_thread_has_the_lock(factory: Factory, crew: Crew) -> None:
    """Otherwise a finaliser or a signal handler that returns an object would hang its program."""
    pool = Pool(factory, 2, min_size=2, timeout=None)
    one, two = pool.get(), pool.get()
    got: list[Thing] = []
    crew.start(lambda: got.append(pool.get()))
    crew.start(lambda: got.append(pool.get()))
    until(lambda: states(pool) == (2, 0, 2))

    def returns(_: float) -> None:
        pool.ret(one)
        pool.discard(two)

    pool._engine.locked.run(returns)
    crew.join()
    assert {thing.number for thing in got} == {one.number, 2}


def test_a_finaliser_in_the_locked_region_runs_no_code_of_the_user(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise a destructor, or a log handler, that uses the pool would wait for a lock that its own thread holds."""
    locked: list[bool] = []

    class Item:
        """Tells how it ends."""

        def __del__(self) -> None:
            locked.append(pool._engine.locked.is_held())

    pool = Pool(lambda n: Item(), 2, max_use=1, min_size=0, name="db")
    items = [pool.get(), pool.get()]
    foreign = Item()

    def finalise(_: float) -> None:
        pool.ret(items.pop())  # worn out
        pool._engine.machine.match(0.0)  # and gone
        pool.ret(items.pop())
        pool.ret(foreign)
        assert not locked
        assert not caplog.records

    pool._engine.locked.run(finalise)
    until(lambda: locked == [False, False])
    until(lambda: caplog.messages == ["db: Item object given back, but it is not out: ignored"])


def test_an_interrupt_while_returning_leaves_no_waiter_asleep(factory: Factory, crew: Crew) -> None:
    """Otherwise Ctrl-C in one thread would cost another its object, or its turn."""
    pool = Pool(factory, 1, timeout=None)
    held = pool.get()
    crew.start(pool.get)
    until(lambda: states(pool) == (1, 0, 1))
    looks = 0

    def due() -> bool:
        """Be interrupted at the second look: when the waiter is served, but not yet woken."""
        nonlocal looks
        looks += 1
        if looks == 2:
            raise KeyboardInterrupt
        return PoolMachine.due(pool._engine.machine)

    pool._engine.machine.due = due  # type: ignore[method-assign]  # a fault is injected there
    with pytest.raises(KeyboardInterrupt):
        pool.ret(held)
    crew.join()


# -- the end


def test_shutdown_waits_for_objects_in_use(factory: Factory, crew: Crew) -> None:
    """Otherwise a program could not end in good order."""
    pool = Pool(factory, 2, min_size=2, close="close")
    held = pool.get()
    ending = crew.start(lambda: pool.shutdown(delay=20))
    until(lambda: pool._engine.machine.drainers)
    assert factory.closed == [0]
    assert ending.is_alive()
    pool.ret(held)
    crew.join()
    assert len(factory.closed) == 2
    pool.shutdown(delay=20)  # nothing to wait for


def test_shutdown_gives_up_waiting(factory: Factory) -> None:
    """Otherwise an object that never comes back would keep the program from ending."""
    pool = Pool(factory, 1, close="close")
    with pool.obj():
        pool.shutdown(delay=0.01)
    until(lambda: factory.closed == [0])


def test_an_object_made_while_the_pool_is_shut_down_is_closed(factory: Factory, crew: Crew) -> None:
    """Otherwise it would be open for ever."""
    making, go = threading.Event(), threading.Event()

    def fun(number: int) -> Thing:
        making.set()
        assert go.wait(20)
        return factory(number)

    pool = Pool(fun, 1, min_size=0, close="close")

    def wait() -> None:
        with pytest.raises(PoolClosed):
            pool.get()

    crew.start(wait)
    assert making.wait(20)
    pool.shutdown()
    go.set()
    crew.join()
    until(lambda: factory.closed == [0])
    until(lambda: pool.stats()["size"] == 0)


def test_a_pool_is_a_context_manager(factory: Factory) -> None:
    """Otherwise a script would have to remember the shutdown."""
    with Pool(factory, 1, close="close") as pool:
        pool.ret(pool.get())
    assert factory.closed == [0]


def test_a_pool_that_nothing_references_is_collected_and_its_objects_are_closed(factory: Factory) -> None:
    """Otherwise forgetting a pool would leak its connections."""
    pool = Pool(factory, 3, min_size=3, close="close")
    cycle = [pool]
    cycle.append(cycle)  # type: ignore[arg-type]  # a cycle, for the collector
    del pool, cycle
    gc.collect()
    until(lambda: sorted(factory.closed) == [0, 1, 2])


def test_a_pool_that_was_not_made_is_collected_quietly() -> None:
    """Otherwise a wrong parameter would be reported twice, the second time by a finaliser."""
    Pool.__new__(Pool).__del__()


def test_shutdown_waits_for_objects_being_closed(factory: Factory, crew: Crew) -> None:
    """Otherwise a program could end while a connection is half closed."""
    closing, go = threading.Event(), threading.Event()

    def close(thing: Thing) -> None:
        closing.set()
        assert go.wait(20)
        thing.close()

    pool = Pool(factory, 1, close=close)
    pool.discard(pool.get())
    assert closing.wait(20)
    crew.start(pool.shutdown)
    until(lambda: pool._engine._worker._joiners)
    go.set()
    crew.join()
    assert factory.closed == [0]


def test_a_close_may_shut_its_pool_down(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would wait for itself."""
    monkeypatch.setattr(_threaded, "PATIENCE", 1000.0)

    def close(thing: Thing) -> None:
        thing.close()
        pool.shutdown()

    pool = Pool(factory, 1, close=close)
    pool.discard(pool.get())
    until(lambda: pool.size == 0)
    assert factory.closed == [0]


def test_the_import_is_light() -> None:
    """Otherwise a threaded program would pay for an event loop and for frameworks that it does not use."""
    program = """
        import sys, ProxyPatternPool
        print([name for name in ("asyncio", "gevent", "greenlet", "werkzeug", "flask") if name in sys.modules])
    """
    result = run(program, COVERAGE_PROCESS_START="", COVERAGE_PROCESS_CONFIG="")  # coverage itself imports greenlet
    assert (result.stdout, result.stderr) == ("[]\n", "")


@pytest.mark.parametrize("name", ["AsyncKeyedPool", "AsyncLease", "AsyncPool", "AsyncProxy", "KeyedLease"])
def test_asyncio_is_loaded_with_the_first_name_that_needs_it(name: str) -> None:
    """Otherwise programs without an event loop would pay for one, or programs with one would miss a name."""
    result = run(f"""
        import sys
        import ProxyPatternPool
        assert "asyncio" not in sys.modules
        assert "{name}" in ProxyPatternPool.__all__
        assert ProxyPatternPool.{name} is ProxyPatternPool.{name}
        assert "asyncio" in sys.modules
    """)
    assert (result.stderr, result.returncode) == ("", 0)


# -- background work


def test_a_close_that_never_ends_stops_no_other_pool(factory: Factory) -> None:
    """Otherwise one hung server would stop the housekeeping of all."""
    closing, go = threading.Event(), threading.Event()

    def hang(_: Thing) -> None:
        closing.set()
        assert go.wait(20)

    hung = Pool(Factory(), 2, close=hang)
    hung.discard(hung.get())
    assert closing.wait(20)
    assert hung._engine._round() == math.inf  # the housekeeper comes by, and leaves the worker alone
    other = Pool(factory, 1, max_use=1, close="close")
    for _ in range(3):
        other.ret(other.get(timeout=20))
    until(lambda: factory.closed == [0, 1, 2])
    hung.ret(hung.get(timeout=0))  # and its own pool goes on with what it has left
    hung.discard(hung.get(timeout=0))
    hung._engine._round()
    go.set()
    until(lambda: hung.stats()["nclosed"] == {"discard": 2})


def test_when_no_thread_can_be_started_getting_and_returning_still_work(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a machine short of threads would lose its database, too."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    pool = Pool(factory, 2, min_size=0, close="close")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        one = pool.get()
        pool.discard(one)
        assert pool._engine._round() == 1.0  # the housekeeper is to come again, and soon
        assert pool.get().number == 1
        assert not factory.closed
    until(lambda: factory.closed == [0])


# -- telling


def test_pool_statistics_are_plain_data(factory: Factory) -> None:
    """Otherwise an operator could not watch the pool."""
    now = 0.0
    pool = Pool(factory, 2, max_use=3, close="close", name="db", clock=lambda: now)
    thing = pool.get()
    now = 2.0
    pool.ret(thing)
    other = pool.get()
    stats = json.loads(json.dumps(pool.stats()))
    assert stats["use"] == {"count": 1, "sum": 2.0, "max": 2.0}
    assert stats["nuses"] == 2
    assert stats["creation"]["count"] == 1
    assert {key: stats[key] for key in ("name", "max_size", "min_size", "max_use", "timeout", "closed")} == {
        "name": "db",
        "max_size": 2,
        "min_size": 1,
        "max_use": 3,
        "timeout": 30.0,
        "closed": False,
    }
    pool.ret(other)
    pool.ret(pool.get())
    until(lambda: pool.stats()["nclosed"] == {"max_use": 1})
    assert pool.stats()["nuses"] == 3
    assert pool.size == 1


def test_a_creation_takes_as_long_as_its_function() -> None:
    """Otherwise the statistics would blame the database for the queue in front of it."""
    now = 0.0

    def fun(number: int) -> list[int]:
        nonlocal now
        now += 1.0
        return [number]

    pool = Pool(fun, min_size=3, clock=lambda: now)
    assert pool.stats()["creation"] == {"count": 3, "sum": 3.0, "max": 1.0}


def test_an_exception_that_takes_no_notes_is_raised_as_it_is() -> None:
    """Otherwise the reason of a failure would be replaced by one of ours."""

    @dataclass(frozen=True)
    class Refused(Exception):
        """Cannot be changed, not even by adding a note."""

        reason: str

    def fun(_: int) -> object:
        raise Refused("too busy")

    with pytest.raises(Refused, match="too busy"):
        Pool(fun, min_size=0).get()


def test_pools_without_a_name_get_one(factory: Factory) -> None:
    """Otherwise two pools could not be told apart in a log."""
    names = {Pool(factory).name for _ in range(3)}
    assert len(names) == 3
    assert all(re.fullmatch(r"pool-\d+", name) for name in names)
    assert repr(Pool(factory, name="db")) == "<Pool db open: max unlimited, 0 in use, 1 idle, 0 waiting>"


# -- what a fork does to the pool, done here: tests/systems/test_process.py forks, but what runs then goes unmeasured


def renew(pool: Pool[Thing]) -> None:
    """Do what the end of a fork does in the child."""
    pool._engine._renew()
    pool._renew()


def test_a_get_that_began_before_a_fork_ends_with_an_error(factory: Factory) -> None:
    """Otherwise a child that comes out of `fun` would use an object that is half its parent's."""

    def fun(number: int) -> Thing:
        renew(pool)
        return factory(number)

    pool = Pool(fun, 1, min_size=0, name="db")
    with pytest.raises(PoolException, match="db: the process was forked meanwhile: this object is the parent's"):
        pool.get()
    assert states(pool)[0] == 0


def test_work_that_began_before_a_fork_is_not_gone_on_with(factory: Factory) -> None:
    """Otherwise a child that comes out of `close` would go on to close its parent's objects."""

    def close(thing: Thing) -> None:
        thing.close()
        renew(pool)

    pool = Pool(factory, 3, min_size=3, close=close)
    pool.shutdown()
    assert len(factory.closed) == 1
