"""Interrupts: a signal handler may raise between any two bytecodes. The lock stays free, and one slot at most is lost.

Two harnesses. The first raises, one after the other, at each bytecode that the library executes for an operation; but
not in `Pool._hold`, the only place that takes the lock: tracing raises there where no signal can, between taking the
lock and ``try``, and after the last call in ``try``. That place is left to the second: a storm of real signals.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from ProxyPatternPool import Pool
from ProxyPatternPool._threads import parking as _parking
from tests.conftest import REPORT, Crew, Factory, Thing, run, until
from tests.support.bytecodes import at_bytecode, at_each_bytecode
from tests.support.effort import effort

pytestmark = pytest.mark.no_cover  # see CONTRIBUTING.md


class Interrupted(BaseException):
    """The exception that the signal handler raises."""


def interrupted_at(number: int, work: Callable[[], object]) -> bool:
    """Do the work, and raise `Interrupted` at its bytecode of that number; False when it has not so many."""

    def interrupt() -> None:
        raise Interrupted

    try:
        return at_bytecode(number, interrupt, work, spare="_hold")
    except Interrupted:
        return True


Prepare = Callable[[], tuple[Pool[Thing], Callable[[], object]]]


def everywhere(what: str, prepare: Prepare, check: Callable[[Pool[Thing]], None]) -> int:
    """Interrupt the prepared work at each of its bytecodes, and check what is left; return how many there were."""
    tried = lost = 0

    def attempt(number: int) -> bool:
        nonlocal tried, lost
        pool, work = prepare()
        interrupted = interrupted_at(number, work)
        until(lambda: not pool._engine.locked.is_held())  # a waiter that was woken may have it for a moment
        check(pool)
        stats = pool.stats()
        tried += interrupted
        lost += stats["size"] - stats["idle"]
        return interrupted

    number = at_each_bytecode(attempt)
    REPORT.append(f"interrupted at {tried} of {number} bytecodes of {what}: {lost} cost a place")
    return number


def one_lost_at_most(pool: Pool[Thing]) -> None:
    """Check that the pool can still lend all its objects but one."""
    things = [pool.get(timeout=0) for _ in range(2)]
    for thing in things:
        pool.ret(thing)
    stats = pool.stats()
    assert stats["size"] - stats["idle"] <= 1
    assert stats["nwaiting"] == 0


@pytest.mark.parametrize("made", [0, 3])
def test_get_and_ret_at_every_bytecode(made: int) -> None:
    """Otherwise Ctrl-C in one request would stop all others for ever."""

    def prepare() -> tuple[Pool[Thing], Callable[[], object]]:
        pool = Pool(Factory(), 3, min_size=made)
        return pool, lambda: pool.ret(pool.get(timeout=1))

    what = "get and ret" if made else "get and ret, the object being made"
    assert everywhere(what, prepare, one_lost_at_most) > 100


def test_a_with_block_at_every_bytecode() -> None:
    """Otherwise the same would be true of callers that do it right."""

    def prepare() -> tuple[Pool[Thing], Callable[[], object]]:
        pool = Pool(Factory(), 3, min_size=3)

        def work() -> None:
            with pool.obj(timeout=1):
                pass

        return pool, work

    assert everywhere("a with block", prepare, one_lost_at_most) > 50


def test_waiting_at_every_bytecode() -> None:
    """Otherwise a waiter that gives up in an unlucky moment would be served for ever after."""

    def prepare() -> tuple[Pool[Thing], Callable[[], object]]:
        pool = Pool(Factory(), 3, min_size=3)
        things = [pool.get() for _ in range(3)]

        def work() -> None:
            with suppress(TimeoutError):
                pool.get(timeout=0)

        def done() -> None:
            for thing in things:
                pool.ret(thing)

        pool.finish = done  # type: ignore[attr-defined]  # for the check
        return pool, work

    def check(pool: Pool[Thing]) -> None:
        pool.finish()  # type: ignore[attr-defined]  # see above
        one_lost_at_most(pool)

    assert everywhere("a get in vain", prepare, check) > 100


def test_a_return_to_a_waiter_at_every_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an interrupt in one thread would leave another asleep beside an idle object."""
    monkeypatch.setattr(_parking, "RECHECK", 0.005)
    crew = Crew()

    def prepare() -> tuple[Pool[Thing], Callable[[], object]]:
        pool = Pool(Factory(), 2, min_size=2, timeout=None)
        one, two = pool.get(), pool.get()
        crew.start(lambda: pool.ret(pool.get()))
        until(lambda: pool.stats()["nwaiting"] == 1)
        pool.finish = lambda: pool.ret(two)  # type: ignore[attr-defined]  # for the check
        return pool, lambda: pool.ret(one)

    def check(pool: Pool[Thing]) -> None:
        pool.finish()  # type: ignore[attr-defined]  # see above
        crew.join()  # long before its timeout
        stats = pool.stats()
        assert stats["size"] - stats["idle"] <= 1

    assert everywhere("a ret that somebody waits for", prepare, check) > 100


def test_a_storm_of_real_signals() -> None:
    """Otherwise the lock would be left held by an interrupt just after it was taken, or just before its release."""
    program = """
        import signal, sys, threading, time
        from ProxyPatternPool import Pool

        class Interrupted(BaseException):
            pass

        def interrupt(*_):
            global armed
            if armed:
                armed = False  # once for each arming
                raise Interrupted

        armed, interrupts, stop = False, 0, threading.Event()
        signal.signal(signal.SIGALRM, interrupt)
        pool = Pool(lambda n: [n], 0, min_size=0, max_use=3, timeout=5)
        small = Pool(lambda n: [n], 1, min_size=0, max_use=2, timeout=5)

        def others():
            while not stop.is_set():
                with pool.obj():
                    pass

        crew = [threading.Thread(target=others) for _ in range(2)]
        for thread in crew:
            thread.start()
        sys.setswitchinterval(1e-4)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0003)
        deadline = time.monotonic() + 60
        while interrupts < INTERRUPTS and time.monotonic() < deadline:
            try:
                armed = True
                for _ in range(1000):
                    with pool.obj():
                        pass
                    pool.ret(pool.get())
                armed = False
            except Interrupted:
                interrupts += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        stop.set()
        for thread in crew:
            thread.join(60)
            assert not thread.is_alive(), pool
        while pool._engine.locked.is_held():  # for a moment, by the housekeeper: or else forever
            assert time.monotonic() < deadline + 60, interrupts
        stats = pool.stats()
        assert stats["in_use"] + stats["creating"] <= interrupts, (stats, interrupts)
        assert stats["nwaiting"] == 0, stats
        with pool.obj(timeout=5):
            pass
        assert interrupts > 100, interrupts
        print("well")
    """
    # a tracer may run a signal handler at any bytecode, also where the interpreter itself never does
    program = program.replace("INTERRUPTS", str(effort(200, 500, 1500)))
    result = run(program, COVERAGE_PROCESS_START="", COVERAGE_PROCESS_CONFIG="")
    assert (result.stderr, result.stdout) == ("", "well\n")
