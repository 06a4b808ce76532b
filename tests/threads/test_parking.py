"""The parker that a waiting caller parks on."""

from __future__ import annotations

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
