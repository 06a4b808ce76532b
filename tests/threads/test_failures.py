"""User code that hangs, or raises what ends a thread, at each point where it is called; threads that cannot be had."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from ProxyPatternPool import Pool, PoolClosed, TimeOut
from ProxyPatternPool._threads import parking as _parking
from tests.conftest import Crew, Factory, Thing, run, until


class Killed(BaseException):
    """An exception like the one that gevent raises in a greenlet that is killed."""


ERRORS: list[type[BaseException]] = [OSError, KeyboardInterrupt, SystemExit, GeneratorExit, Killed]


class Faulty:
    """A pool of three, where a creation or a close raises once it is told to."""

    def __init__(self, error: type[BaseException]) -> None:
        self.factory = Factory()
        self.error = error
        self.fault: str | None = None
        self.raised = threading.Event()
        self.pool: Pool[Thing]

    def open(self, min_size: int = 0) -> None:
        """Make the pool."""
        self.pool = Pool(self.make, 3, min_size=min_size, close=self.close, timeout=20)

    def make(self, number: int) -> Thing:
        self.fail("make")
        return self.factory(number)

    def close(self, thing: Thing) -> None:
        thing.close()
        self.fail("close")

    def fail(self, where: str) -> None:
        """Raise the error, if it is to happen here, and only once."""
        if self.fault == where:
            self.fault = None
            self.raised.set()
            raise self.error

    def check(self) -> None:
        """Check that all places are free, and that all objects are closed once in the end."""
        assert self.raised.wait(20)
        pool = self.pool
        if not pool.stats()["closed"]:
            things = [pool.get() for _ in range(3)]
            for thing in things:
                pool.ret(thing)
            assert pool.size == 3
            pool.shutdown(delay=20)
        until(lambda: pool.size == 0)
        assert {thing.closed for thing in self.factory.things} <= {1}


def creation_by_get(faulty: Faulty) -> None:
    faulty.open()
    faulty.fault = "make"
    with pytest.raises(faulty.error):
        faulty.pool.get()


def creation_by_a_waiter(faulty: Faulty) -> None:
    faulty.open()
    held = [faulty.pool.get() for _ in range(3)]
    crew = Crew()

    def wait() -> None:
        with pytest.raises(faulty.error):
            faulty.pool.get()

    crew.start(wait)
    until(lambda: faulty.pool.stats()["nwaiting"])
    faulty.fault = "make"
    faulty.pool.discard(held.pop())
    crew.join()
    for thing in held:
        faulty.pool.ret(thing)


def construction(faulty: Faulty) -> None:
    faulty.fault = "make"
    with pytest.raises(faulty.error):
        faulty.open(min_size=2)
    assert not faulty.factory.things
    faulty.open(min_size=2)


def refill(faulty: Faulty) -> None:
    faulty.open(min_size=2)
    faulty.fault = "make"
    faulty.pool.discard(faulty.pool.get())
    until(lambda: faulty.pool.stats()["idle"] == 2)  # it is tried again


def close_in_shutdown(faulty: Faulty) -> None:
    faulty.open(min_size=3)
    faulty.fault = "close"
    if issubclass(faulty.error, Exception):
        faulty.pool.shutdown()
    else:
        with pytest.raises(faulty.error):
            faulty.pool.shutdown()


def close_in_the_background(faulty: Faulty) -> None:
    faulty.open(min_size=2)
    faulty.fault = "close"
    faulty.pool.discard(faulty.pool.get())


def close_after_shutdown(faulty: Faulty) -> None:
    faulty.open(min_size=2)
    held = faulty.pool.get()
    faulty.pool.shutdown()
    faulty.fault = "close"
    faulty.pool.ret(held)


def close_at_exit(faulty: Faulty) -> None:
    faulty.open(min_size=3)
    faulty.fault = "close"
    faulty.pool._engine._close_at_exit()


def close_of_garbage(faulty: Faulty) -> None:
    faulty.open(min_size=3)
    faulty.fault = "close"
    faulty.pool.__del__()


POINTS = [
    creation_by_get,
    creation_by_a_waiter,
    construction,
    refill,
    close_in_shutdown,
    close_in_the_background,
    close_after_shutdown,
    close_at_exit,
    close_of_garbage,
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("point", POINTS)
def test_user_code_that_raises_loses_nothing(point: Callable[[Faulty], None], error: type[BaseException]) -> None:
    """Otherwise one bad moment would cost a place for ever, or leave the other objects open."""
    faulty = Faulty(error)
    point(faulty)
    faulty.check()


# -- user code that never returns


class Never(threading.Event):
    """An event that is set only after the test."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    def hang(self, *_: object) -> None:
        """Wait for it."""
        self.begun.set()
        self.wait()


@pytest.fixture
def never() -> Iterator[Never]:
    """Let threads that hang go in the end."""
    event = Never()
    yield event
    event.set()


def hanging(number: int, never: Never) -> Callable[[int], Thing]:
    """Return a function that makes things, but for the one of that number."""
    factory = Factory()

    def fun(n: int) -> Thing:
        if n == number:
            never.hang()
        return factory(n)

    return fun


def check_the_others(pool: Pool[Thing], factory: Factory) -> None:
    """Check that this pool lends one more object, and that another one does all that it should."""
    pool.ret(pool.get(timeout=0))
    with suppress(TimeOut):
        pool.get(timeout=0), pool.get(timeout=0), pool.get(timeout=0)
    other = Pool(factory, 1, max_use=1, close="close")
    for _ in range(3):
        other.ret(other.get(timeout=20))
    other.shutdown(delay=20)
    assert factory.closed == [0, 1, 2]


def test_a_creation_that_never_ends(factory: Factory, crew: Crew, never: Never) -> None:
    """Otherwise one address that does not answer would stop the whole program."""
    pool = Pool(hanging(0, never), 3, min_size=0, close="close")
    crew.start(pool.get)
    assert never.begun.wait(20)
    check_the_others(pool, factory)
    pool.shutdown()
    never.set()
    with pytest.raises(PoolClosed):
        crew.join()


def test_a_refill_that_never_ends(factory: Factory, never: Never) -> None:
    """Otherwise the same would be true of an object that no caller has asked for."""
    pool = Pool(hanging(2, never), 3, min_size=2)
    pool.discard(pool.get())
    assert never.begun.wait(20)
    check_the_others(pool, factory)


def test_a_close_that_never_ends(factory: Factory, crew: Crew, never: Never) -> None:
    """Otherwise a server that does not say good-bye would stop the servers that do."""
    pool = Pool(Factory(), 3, min_size=2, close=never.hang)
    pool.discard(pool.get())
    assert never.begun.wait(20)
    check_the_others(pool, factory)
    crew.start(pool.shutdown)
    until(lambda: pool.stats()["closed"])
    another = Pool(factory, 1, close="close")
    another.shutdown()
    assert factory.closed[3:] == [0]
    never.set()
    crew.join()


# -- no thread to be had


def test_no_thread_can_be_started() -> None:
    """Otherwise a machine short of memory or threads would lose its database, too."""
    result = run(
        """
        import resource, threading, time
        from ProxyPatternPool import Pool

        def thread_starts():
            try:
                threading.Thread(target=int, daemon=True).start()
            except RuntimeError:
                return False
            return True

        closed = []
        pool = Pool(lambda n: [n], 3, min_size=0, max_use=2, max_delay=0.001, close=closed.append)
        assert thread_starts()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        threading.stack_size(1 << 34)
        resource.setrlimit(resource.RLIMIT_AS, (1 << 33, hard))
        assert not thread_starts()
        for _ in range(2):
            pool.ret(pool.get())
        pool.discard(pool.get())
        pool.ret([])
        with pool.obj() as one:
            assert one == [2], one
        assert not closed, closed
        assert pool.stats()["closing"] == 2, pool

        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        threading.stack_size(0)
        with pool.obj():  # the next one to come starts what could not be started
            pass
        deadline = time.monotonic() + 20
        while pool.size:
            assert time.monotonic() < deadline, pool
            time.sleep(0.001)
        print(sorted(closed))
        """,
        COVERAGE_PROCESS_START="",
        COVERAGE_PROCESS_CONFIG="",
    )
    assert result.stdout == "[[0], [1], [2]]\n", result.stderr
    assert "given back, but it is not out" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_waiter_does_the_background_work_if_no_thread_can_start(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would wait in vain for a place that only has to be cleared."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_parking, "RECHECK", 0.005)
    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool = Pool(factory, 1, close="close")
    pool.discard(pool.get())
    assert pool.get(timeout=20).number == 1
    assert factory.closed == [0]


def test_the_last_functions_of_a_program() -> None:
    """Otherwise a program could not write its last words to the database."""
    result = run("""
        import atexit, os
        atexit.register(lambda: last_of_all.clear())  # after the end of the pool, which comes later
        from ProxyPatternPool import Pool, PoolClosed

        def say(*words):
            os.write(1, (" ".join(map(str, words)) + "\\n").encode())

        class Last:
            def __init__(self):
                self.held = pool.get()

            def __del__(self):
                pool.ret(self.held)
                try:
                    pool.get(timeout=0)
                except PoolClosed:
                    say("closed in a finaliser")

        def last():
            with pool.obj(timeout=0) as thing:
                say("used", thing)
            pool.discard(pool.get())
            with pool.obj(timeout=5) as thing:
                say("used", thing)

        pool = Pool(lambda n: n, 2, min_size=0, close=lambda n: say("ended", n))
        last_of_all = [Last()]
        atexit.register(last)
    """)
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "used 1"
    assert {"ended 1", "used 2", "ended 2", "closed in a finaliser"} <= set(lines)
