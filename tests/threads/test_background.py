"""The worker, by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from ProxyPatternPool._threads.background import Worker
from tests.conftest import Crew, until
from tests.support.bytecodes import at_bytecode, at_each_bytecode


def wait(event: threading.Event) -> None:
    """Work that lasts."""
    assert event.wait(20)


def test_a_thread_that_joins_a_worker_waits_for_its_end(crew: Crew) -> None:
    """Otherwise a program would end in the middle of a close, because the worker before had just ended."""
    worker, go, joined = Worker(), threading.Event(), threading.Event()

    def join() -> None:
        worker.join(20)
        joined.set()

    assert worker.start(partial(wait, go), "worker", lambda: None)
    crew.start(join)
    until(lambda: worker._joiners)
    worker._joiners.popleft().unpark()  # as the one before may do, late
    until(lambda: worker._joiners)
    assert not joined.is_set()
    go.set()
    crew.join()
    assert joined.is_set()
    assert not worker._alive.locked()


def test_a_thread_that_joins_a_worker_gives_up_in_time() -> None:
    """Otherwise a close that hangs would keep the program from ending."""
    worker, go = Worker(), threading.Event()
    assert worker.start(partial(wait, go), "worker", lambda: None)
    worker.join(0.01)
    worker.join(0.0)
    assert worker._alive.locked()
    go.set()
    worker.join(20)
    assert not worker._alive.locked()


class Interrupted(BaseException):
    """An exception that a signal handler raises."""


@pytest.mark.no_cover
def test_a_start_that_is_interrupted_at_each_bytecode_stops_no_later_start() -> None:
    """Otherwise the pool's objects would not be closed any more."""

    def interrupt() -> None:
        raise Interrupted

    def attempt(number: int) -> bool:
        worker, done = Worker(), threading.Event()

        def start(work: Callable[[], object]) -> bool:
            return worker.start(lambda: [work()].clear(), "worker", lambda: None)

        try:
            interrupted = at_bytecode(number, interrupt, lambda: start(lambda: None), spare="start_alone")
        except Interrupted:
            interrupted = True
        until(lambda: not worker.is_alive())
        assert start(done.set)
        assert done.wait(20)
        worker.join(20)
        assert not worker.is_alive()
        return interrupted

    assert at_each_bytecode(attempt) > 20
