"""Pools as garbage, and garbage that uses pools: what the collector ends, and what it may run at any moment."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest

from ProxyPatternPool import Pool, TimeOut
from tests.conftest import Crew, Factory, Thing, run, until
from tests.support.bytecodes import at_bytecode, at_each_bytecode
from tests.support.effort import effort

# -- pools as garbage


#: Without the GIL there are no generations: each collection looks at everything, so not as much can be tried.
STEP, MANY = (
    (1, effort(100, 300, 1000)) if getattr(sys, "_is_gil_enabled", lambda: True)() else (10, effort(30, 100, 300))
)


def test_a_thousand_pools_made_and_dropped_leave_nothing() -> None:
    """Otherwise a program that makes a pool for each job would die of its memory, its threads, or its connections."""
    program = f"""
        import gc, threading, time, tracemalloc
        from ProxyPatternPool import Pool
        from ProxyPatternPool._core.machine import PoolMachine
        from ProxyPatternPool._core.slot import Slot

        class Thing:
            def __init__(self, number):
                self.closed = 0
                things.append(self)

            def close(self):
                self.closed += 1

        def until(condition):
            deadline = time.monotonic() + 25
            while not condition():
                assert time.monotonic() < deadline, "waited in vain"
                gc.collect()
                time.sleep(0.02)

        def use(number):
            pool = Pool(Thing, 3, min_size=2, max_use=2, max_delay=3600.0, close="close")
            with pool.obj(), pool.obj(), pool.obj():
                pass
            pool.discard(pool.get())
            if number % 2:
                pool.cycle = pool  # for the collector

        def alive():
            return [kind for kind in map(type, gc.get_objects()) if kind in (Pool, PoolMachine, Slot, threading.Thread)]

        blocks, before = [], alive()
        tracemalloc.start()
        for _ in range(3):
            things = []
            for number in range({MANY}):
                use(number)
            until(lambda: all(thing.closed for thing in things))
            assert [thing.closed for thing in things] == [1] * len(things)
            things.clear()
            until(lambda: alive() == before)  # the last workers are just ending
            gc.collect()  # empties the interpreter's free lists
            blocks.append(len(tracemalloc.take_snapshot().traces))
        # blocks and not bytes: a table of weak references keeps the size of the moment with the most uncollected pools
        assert blocks[2] - blocks[1] < {MANY} / 2, blocks
        assert threading.active_count() == 1
        print("nothing")
    """
    result = run(program, COVERAGE_PROCESS_START="", COVERAGE_PROCESS_CONFIG="")  # too slow with both tracers
    assert (result.stderr, result.stdout) == ("", "nothing\n")


def test_a_pool_that_is_dropped_while_its_lock_is_taken_closes_its_objects(factory: Factory) -> None:
    """Otherwise a pool that another thread happens to sweep as it is dropped would leave its connections open."""
    pools = [Pool(factory, 1, min_size=1, close="close")]
    pools[0]._engine.locked.run(lambda _now: pools.clear())
    until(lambda: factory.closed == [0])


@pytest.mark.no_cover
def test_a_pool_that_is_collected_at_each_bytecode_of_its_round_closes_its_objects() -> None:
    """Otherwise a collection in the housekeeper would leave the connections of the pool that it sweeps open."""

    def attempt(number: int) -> bool:
        factory = Factory()
        pool = Pool(factory, 2, min_size=2, max_delay=3600.0, close="close")
        engine = pool._engine
        pool.cycle = pool  # type: ignore[attr-defined]  # for the collector
        del pool
        collected = at_bytecode(number, lambda: gc.collect(0), engine._round)
        gc.collect(0)
        del engine
        until(lambda: sorted(factory.closed) == [0, 1])
        return collected

    assert at_each_bytecode(lambda number: attempt(number * STEP)) * STEP > 50


# -- garbage that uses pools


class Garbage:
    """An object in a cycle: only the collector ends it, at any time, in any thread."""

    def __init__(self, end: Callable[[], object]) -> None:
        self.end = end
        self.cycle = self

    def __del__(self) -> None:
        self.end()


class Case:
    """A pool of four objects, two of them in use, and something to be done with it."""

    def __init__(self, factory: Factory) -> None:
        self.pool = Pool(factory, 4, min_size=3, max_use=3, max_delay=3600.0, timeout=0.001, close="close")
        self.one, self.two = self.pool.get(), self.pool.get()
        self.ends = 0

    def end(self) -> None:
        """Give both back, one of them broken: what the finaliser does, unless it has been done."""
        self.ends += 1
        if self.ends > 1:
            return
        self.pool.stats()
        self.pool.ret(self.one)
        self.pool.discard(self.two)

    def check(self) -> None:
        """Check that no object is lost or held, and no waiter left."""
        pool = self.pool
        until(lambda: not pool._engine.locked.is_held())
        self.end()
        if not pool.stats()["closed"]:
            things = [pool.get(timeout=20) for _ in range(4)]
            assert len(set(things)) == 4
            for thing in things:
                pool.ret(thing)
            until(lambda: pool.stats()["closing"] == pool.stats()["creating"] == 0)
            until(lambda: pool.size == pool.stats()["idle"] <= 4)
        pool.shutdown()
        until(lambda: pool.size == 0)
        assert pool.stats()["nbad_returns"] == pool.stats()["nwaiting"] == 0

    def get_and_ret(self) -> None:
        """Take what is idle, and give it back."""
        self.pool.ret(self.pool.get())

    def create(self) -> None:
        """Use up what is idle, and make one more."""
        things = [self.pool.get(), self.pool.get()]
        for thing in things:
            self.pool.ret(thing)

    def wait(self) -> None:
        """Wait for an object which only the finaliser gives back."""
        things: list[Thing] = []
        with suppress(TimeOut):  # when that comes too late
            things.extend(self.pool.get() for _ in range(3))
        for thing in things:
            self.pool.ret(thing)

    def block(self) -> None:
        """Borrow one for a block."""
        with self.pool.obj():
            pass

    def discard(self) -> None:
        """Give one back broken."""
        self.pool.discard(self.pool.get())

    def refill(self) -> None:
        """Close and make in the background, here and now."""
        self.pool._engine.machine.discard(self.pool.get(), 0.0)
        self.pool._engine.locked.run(self.pool._engine.machine.match)
        self.pool._engine.background.work()
        self.pool._engine._round()

    def shut_down(self) -> None:
        """End the pool."""
        self.pool.shutdown()


#: All that touches a pool, on every path of its own.
OPERATIONS = [Case.get_and_ret, Case.create, Case.wait, Case.block, Case.discard, Case.refill, Case.shut_down]


@pytest.mark.no_cover
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_return_from_a_finaliser_at_each_bytecode(operation: Callable[[Case], None]) -> None:
    """Otherwise a proxy, or a request, that dies at the wrong moment would hang its program, or cost an object."""

    def attempt(number: int) -> bool:
        factory = Factory()
        case = Case(factory)
        Garbage(case.end)
        collected = at_bytecode(number, lambda: gc.collect(0), lambda: operation(case))
        assert bool(case.ends) == collected
        case.check()
        assert {thing.closed for thing in factory.things} == {1}
        return collected

    assert at_each_bytecode(lambda number: attempt(number * STEP)) * STEP > 50


class Returned:
    """An object in use that is not given back before it is garbage."""

    def __init__(self, pool: Pool[Thing], number: int) -> None:
        self.pool = pool
        self.give = pool.discard if number % 5 == 0 else pool.ret
        self.thing = pool.get()
        self.cycle = self

    def __del__(self) -> None:
        with self.thing:
            pass  # no other thread has had it
        self.give(self.thing)
        self.pool.stats()


@pytest.fixture
def quick_collector() -> None:
    """Have the collector look at nothing that is there already, from now on: it is called very often."""
    gc.collect()
    gc.freeze()


@pytest.mark.usefixtures("quick_collector")
def test_a_collection_at_every_allocation(crew: Crew) -> None:
    """Otherwise threads that leave it to the collector to give back would hang, or run out of objects."""
    factory = Factory()
    pool = Pool(factory, 3, min_size=2, max_use=4, max_delay=3600.0, timeout=None, close="close")
    done: list[bool] = []

    def work() -> None:
        for number in range(100):
            Returned(pool, number)
        done.append(True)

    threshold = gc.get_threshold()
    gc.set_threshold(STEP, 5, 5)
    try:
        for _ in range(4):
            crew.start(work)
        # all may wait for what only the collector can give back, and then no other thread would call it
        until(lambda: gc.collect() >= 0 and len(done) == 4)
        crew.join()
    finally:
        gc.set_threshold(*threshold)
    until(lambda: gc.collect() >= 0 and pool.stats()["in_use"] == 0)
    pool.shutdown(delay=20)
    assert pool.size == pool.stats()["nbad_returns"] == 0
    assert pool.stats()["nuses"] == 400
    assert {thing.closed for thing in factory.things} == {1}
