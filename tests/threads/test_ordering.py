"""No wake-up is lost: a return and a waiter at the same moment see each other, in either order."""

from __future__ import annotations

import threading

import pytest

from ProxyPatternPool import Pool
from tests.conftest import Crew, Factory, Thing, run, until
from tests.support.bytecodes import at_bytecode, at_each_bytecode

pytestmark = pytest.mark.no_cover  # see CONTRIBUTING.md


def test_a_caller_at_each_bytecode_of_a_return_is_served(crew: Crew) -> None:
    """Otherwise that caller would sleep beside an idle object."""

    def attempt(number: int) -> bool:
        pool = Pool(Factory(), 1, timeout=None)
        held = pool.get()
        got: list[Thing] = []

        def come() -> None:
            crew.start(lambda: got.append(pool.get()))
            until(lambda: got or pool.stats()["nwaiting"] or pool._engine.locked.is_held())

        came = at_bytecode(number, come, lambda: pool.ret(held))
        crew.join()
        assert got == [held] * came
        return came

    assert at_each_bytecode(attempt) > 30


def test_a_return_at_each_bytecode_of_a_queueing_caller_serves_it(crew: Crew) -> None:
    """Otherwise the same would happen, the other way round."""

    def attempt(number: int) -> bool:
        pool = Pool(Factory(), 1, timeout=None)
        held = pool.get()
        given, asleep = threading.Event(), threading.Event()

        def wake() -> None:
            if not given.wait(3.0):  # it sleeps, and has no bytecodes any more
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


def test_returns_and_requests_at_the_same_moment() -> None:
    """Otherwise a processor that reorders, or a list that is not ordered without the GIL, would let a waiter sleep."""
    program = """
        import random, sys, threading, time
        from ProxyPatternPool import Pool
        from ProxyPatternPool._threads import parking as _parking

        _parking.RECHECK = 3600.0
        sys.setswitchinterval(1e-6)
        with_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        turns = 2_000 if with_gil else 20_000  # without it the two really are at it at the same moment
        pool = Pool(lambda n: [n], 1, timeout=None)
        held = pool.get()
        arrived = [-1, -1]

        def meet(me, turn):
            arrived[me] = turn
            deadline = time.monotonic() + 10
            looks = 0
            while arrived[1 - me] < turn:
                looks += 1
                if looks % 1000 == 0:
                    assert time.monotonic() < deadline, f"a wake-up was lost in turn {turn}: {pool}"
                    time.sleep(1e-6)  # there may be but one processor

        def play(me):
            # returns what the other one asks for at the same moment, then the other way round, again and again
            global held
            chance = random.Random(me)
            for turn in range(turns):
                meet(me, turn)
                for _ in range(chance.randrange(60)):
                    pass  # now one thread is a little earlier, now the other
                if turn % 2 == me:
                    pool.ret(held)
                else:
                    held = pool.get()
            meet(me, turns)

        other = threading.Thread(target=play, args=(1,), daemon=True)
        other.start()
        play(0)
        print("well")
    """
    # a tracer, or what it leaves in the code that it has traced, takes too long for a close encounter
    result = run(program, COVERAGE_PROCESS_START="", COVERAGE_PROCESS_CONFIG="")
    assert (result.stderr, result.stdout) == ("", "well\n")


def test_a_look_at_the_idle_objects_while_others_take_and_return_them(crew: Crew) -> None:
    """Otherwise housekeeping and statistics would fail without the GIL, where no list of a deque is of one moment."""
    pool = Pool(
        Factory(), 4, min_size=4, health=lambda _: True, health_delay=3600.0, delay=0.01, max_use=50, timeout=None
    )
    done = threading.Event()

    def use() -> None:
        while not done.is_set():
            with pool.obj():
                pass

    for _ in range(3):
        crew.start(use)
    try:
        for _ in range(1000):
            pool._engine._round()
            assert max(len(pool._avail), len(pool._using), len(pool.leases())) <= 4
    finally:
        done.set()
    crew.join()


def test_uses_are_counted_once_while_an_object_is_let_go() -> None:
    """Otherwise the count would go up and down again, which monitoring takes for a restart of the program."""

    def attempt(number: int) -> bool:
        pool = Pool(Factory(), 1)
        pool.ret(pool.get())
        held = pool.get()
        told: list[int] = []
        came = at_bytecode(number, lambda: pool.discard(held), lambda: told.append(pool.stats()["nuses"]))
        assert told == [2]
        return came

    assert at_each_bytecode(attempt) > 100
