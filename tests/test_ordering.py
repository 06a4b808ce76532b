"""No wake-up is lost: who returns and who queues up at the same moment see each other, whoever is a little earlier."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from ProxyPatternPool import Pool
from tests.bytecodes import at_bytecode, at_each_bytecode
from tests.conftest import PATIENCE, Crew, Factory, Thing, until


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Have the interpreter switch between threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_who_comes_at_each_bytecode_of_a_return_is_served(crew: Crew) -> None:
    """Otherwise that caller would sleep beside an idle object."""

    def attempt(number: int) -> bool:
        pool = Pool(Factory(), 1, timeout=None)
        held = pool.get()
        got: list[Thing] = []

        def come() -> None:
            crew.start(lambda: got.append(pool.get()))
            until(lambda: got or pool.stats()["nwaiting"] or pool._lock.locked())

        came = at_bytecode(number, come, lambda: pool.ret(held))
        crew.join()
        assert got == [held] * came
        return came

    assert at_each_bytecode(attempt) > 30


def test_a_return_at_each_bytecode_of_who_queues_up_serves_it(crew: Crew) -> None:
    """Otherwise the same would happen, the other way round."""

    def attempt(number: int) -> bool:
        pool = Pool(Factory(), 1, timeout=None)
        held = pool.get()
        given, asleep = threading.Event(), threading.Event()

        def wake() -> None:
            if not given.wait(1.0):  # it sleeps, and has no bytecodes any more
                asleep.set()
                pool.ret(held)

        def give() -> None:
            if not asleep.is_set():
                pool.ret(held)
                given.set()

        crew.start(wake)
        at_bytecode(number, give, pool.get)
        crew.join()
        return not asleep.is_set()

    assert at_each_bytecode(attempt) > 100


#: Without the GIL the two really are at it at the same moment.
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()


@pytest.mark.usefixtures("quick_switches")
def test_returns_and_requests_at_the_same_moment(crew: Crew) -> None:
    """Otherwise a processor that reorders, or a list that is not ordered without the GIL, would let somebody sleep."""
    pool = Pool(Factory(), 1, timeout=None)
    held = pool.get()
    turns = 20_000 if FREE_THREADED else 2_000
    arrived = [-1, -1]

    def play(me: int) -> None:
        """Return what the other one asks for at the same moment, then the other way round, again and again."""
        nonlocal held
        chance = random.Random(me)
        for turn in range(turns):
            arrived[me] = turn
            deadline = time.monotonic() + PATIENCE
            while arrived[1 - me] < turn:
                assert time.monotonic() < deadline, f"a wake-up was lost in turn {turn}: {pool}"
            for _ in range(chance.randrange(60)):
                pass  # now this one is a little earlier, now that one
            if turn % 2 == me:
                pool.ret(held)
            else:
                held = pool.get()

    for me in (0, 1):
        crew.start(play, me)
    crew.join()
