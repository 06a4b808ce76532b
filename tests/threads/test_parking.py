"""The parker that a waiting caller parks on, and the start of a thread that is alone in its work."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ProxyPatternPool._threads import parking as _parking
from ProxyPatternPool._threads.parking import ThreadParker
from tests.conftest import Crew


def test_unparked_before_parking(crew: Crew) -> None:
    """Otherwise a caller that is served quickly would sleep until its timeout."""
    parker = ThreadParker()
    parker.unpark()
    parker.unpark()
    crew.start(lambda: parker.park(None))
    crew.join()


def test_unparked_by_another_thread(crew: Crew) -> None:
    """Otherwise no waiter could be served."""
    parker = ThreadParker()
    crew.start(lambda: parker.park(None))
    crew.start(parker.unpark)
    crew.join()


def test_a_timeout_beyond_what_the_system_can_wait() -> None:
    """Otherwise a generous timeout would be an OverflowError."""
    parker = ThreadParker()
    parker.unpark()
    parker.park(1e18)
    ThreadParker().park(0.0)


def test_a_start_that_fails_after_the_thread_has_begun_leaves_the_mark_to_the_thread() -> None:
    """Otherwise two threads would do the work of one, and the second to end would fail."""
    alive, marks = _parking.new_lock(), list[threading.Lock]()

    def start(run: Callable[[], None]) -> None:
        run()
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        _parking.start_alone(alive, start, marks.append)
    assert marks == [alive]
    assert alive.locked()


def test_a_thread_that_begins_after_its_start_has_failed_ends_at_once() -> None:
    """Otherwise the caller and the thread would both own the work."""
    alive, marks, runs = _parking.new_lock(), list[threading.Lock](), list[Callable[[], None]]()

    def start(run: Callable[[], None]) -> None:
        runs.append(run)
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        _parking.start_alone(alive, start, marks.append)
    runs.pop()()
    assert not marks
    assert not alive.locked()
