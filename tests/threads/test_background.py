"""The worker, by itself."""

from __future__ import annotations

import threading
from functools import partial

from ProxyPatternPool._threads.background import Worker
from tests.conftest import Crew, until


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
