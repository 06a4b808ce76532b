"""The housekeeper, by itself."""

from __future__ import annotations

import _thread
import gc
import threading
import weakref
from collections.abc import Callable
from math import inf
from time import monotonic

import pytest

from ProxyPatternPool._threads import housekeeper as _housekeeper
from ProxyPatternPool._threads.housekeeper import Housekeeper
from tests.conftest import until
from tests.support.bytecodes import at_bytecode, at_each_bytecode


class Kept:
    """Something to keep house for, which says when it wants to be seen again."""

    def __init__(self, *pauses: float) -> None:
        self.pauses = list(pauses)
        self.rounds = 0

    def _round(self) -> float:
        self.rounds += 1
        return self.pauses.pop(0) if self.pauses else inf


@pytest.fixture
def housekeeper(monkeypatch: pytest.MonkeyPatch) -> Housekeeper:
    """Return a new one, which does not linger, and whose thread is one that coverage can see."""

    def start(run: Callable[[], None], arguments: tuple[()]) -> None:
        threading.Thread(target=run, args=arguments, daemon=True).start()

    monkeypatch.setattr(_housekeeper, "LINGER", 0.0)
    monkeypatch.setattr(_thread, "start_new_thread", start)
    return Housekeeper()


def test_a_pool_that_calls_has_a_round_and_then_as_many_as_it_wants(housekeeper: Housekeeper) -> None:
    """Otherwise idle objects would never expire."""
    kept, other = Kept(0.001, 0.001, 0.0), Kept()
    housekeeper.call(kept)
    housekeeper.call(other)
    until(lambda: (kept.rounds, other.rounds) == (4, 1))


def test_the_thread_ends_when_no_pool_needs_it_and_comes_back(housekeeper: Housekeeper) -> None:
    """Otherwise a program would be left with threads without work, or with pools that are not kept up."""
    kept = Kept()
    for rounds in range(1, 4):
        housekeeper.call(kept)
        until(lambda expected: kept.rounds == expected, rounds)
        until(lambda: not housekeeper._alive.locked())


def test_a_call_ends_a_long_sleep(housekeeper: Housekeeper) -> None:
    """Otherwise an object to be closed would wait for another pool's next round."""
    sleeper, kept = Kept(3600.0), Kept()
    housekeeper.call(sleeper)
    until(lambda: sleeper.rounds)
    housekeeper.call(kept)
    until(lambda: kept.rounds)
    assert sleeper.rounds == 1


def test_the_housekeeper_keeps_no_pool_alive(housekeeper: Housekeeper) -> None:
    """Otherwise a pool with an idle limit could never be collected."""
    kept = Kept(3600.0)
    reference = weakref.ref(kept)
    housekeeper.call(kept)
    until(lambda: housekeeper._due)
    del kept
    until(lambda: gc.collect() >= 0 and reference() is None)
    until(lambda: not housekeeper._alive.locked())  # nor is the thread


def test_when_no_thread_can_be_started_the_call_is_kept(
    housekeeper: Housekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a lack of threads would fail callers that only return an object, or lose what they left."""

    def refuse(*_: object) -> None:
        raise errors.pop()

    errors = [MemoryError(), RuntimeError("can't start new thread")]
    kept, other = Kept(), Kept()
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", refuse)
        housekeeper.call(kept)
        housekeeper.call(kept)
    assert not kept.rounds
    housekeeper.call(other)
    until(lambda: kept.rounds == 2 and other.rounds)


def test_a_call_at_the_very_end_of_the_thread_is_not_lost(housekeeper: Housekeeper) -> None:
    """Otherwise work that comes at a bad moment would wait for the next call."""
    late = Kept()
    housekeeper._alive = AtRelease(lambda: housekeeper._calls.append(late))  # type: ignore[assignment]  # alike
    housekeeper.call(Kept())
    until(lambda: late.rounds == 1)


class AtRelease:
    """The mark of the thread's life: it does something just before the end."""

    def __init__(self, last: object) -> None:
        self.lock = threading.Lock()
        self.last = last

    def acquire(self, blocking: bool) -> bool:
        return self.lock.acquire(blocking)

    def locked(self) -> bool:
        return self.lock.locked()

    def release(self) -> None:
        last, self.last = self.last, None
        if callable(last):
            last()
        self.lock.release()


class Interrupted(BaseException):
    """An exception that a signal handler raises."""


@pytest.mark.no_cover
def test_a_call_that_is_interrupted_at_each_bytecode_stops_no_later_call(housekeeper: Housekeeper) -> None:
    """Otherwise one interrupt would end the background work of every pool for good."""

    def interrupt() -> None:
        raise Interrupted

    def attempt(number: int) -> bool:
        hit, later = Kept(), Kept()
        try:
            # `start_alone` takes the mark inside one bytecode, which no signal handler can split, but a tracer can
            interrupted = at_bytecode(number, interrupt, lambda: housekeeper.call(hit), spare="start_alone")
        except Interrupted:
            interrupted = True
        housekeeper.call(later)
        until(lambda: later.rounds == 1)
        until(lambda: not (housekeeper._calls or housekeeper._alive.locked()))
        assert hit.rounds <= 1
        return interrupted

    assert at_each_bytecode(attempt) > 20


def test_a_pool_in_trouble_stops_no_other(
    housekeeper: Housekeeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one bad clock would end the housekeeping of the whole process."""

    class Troubled(Kept):
        """Fails the first time."""

        def _round(self) -> float:
            if super()._round() and self.rounds == 1:
                raise MemoryError
            return inf

    monkeypatch.setattr(_housekeeper, "RETRY", 0.0)
    troubled, kept = Troubled(), Kept()
    housekeeper.call(troubled)
    housekeeper.call(kept)
    until(lambda: (troubled.rounds, kept.rounds) == (2, 1))
    assert caplog.messages == ["housekeeping failed, and is tried again in 0.0 s"]
    until(lambda: not housekeeper._alive.locked())


def test_rounds_keep_a_distance(housekeeper: Housekeeper) -> None:
    """Otherwise a pool with a tiny limit would keep a processor busy with nothing."""
    kept = Kept(0.0)
    before = monotonic()
    housekeeper._visit(kept)
    assert min(housekeeper._due.values()) >= before + _housekeeper.SHORTEST
