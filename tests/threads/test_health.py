"""Health: a dead object is not lent, and costs a caller only a try."""

from __future__ import annotations

import threading

import pytest

from ProxyPatternPool import Pool, TimeOut
from tests.conftest import Crew, Factory, Thing, until


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a new clock."""
    return Clock()


class Server:
    """A server of connected objects: objects made before a restart of it are dead."""

    def __init__(self) -> None:
        self.factory = Factory()
        self.dead: set[int] = set()
        self.checked: list[int] = []

    def health(self, thing: Thing) -> bool:
        self.checked.append(thing.number)
        if thing.number in self.dead and thing.number % 2:
            raise ConnectionError("reset")
        return thing.number not in self.dead

    def restart(self) -> None:
        self.dead = {thing.number for thing in self.factory.things}


@pytest.fixture
def server() -> Server:
    """Return a new server."""
    return Server()


def test_all_that_is_stale_is_replaced_at_once(server: Server, clock: Clock) -> None:
    """Otherwise the first requests after a restart of the server would fail, or take one pause each."""
    pool = Pool(server.factory, 6, min_size=6, health=server.health, close="close", clock=clock, name="db")
    server.restart()
    clock.now += 20  # not so long that the background would be first
    with pool.obj(timeout=20) as thing:
        assert thing.number not in server.dead
        others = [pool.get(timeout=20) for _ in range(5)]
        assert not server.dead & {other.number for other in others}
    until(lambda: len(server.factory.closed) == 6)
    assert pool.stats()["nclosed"] == {"health": 6}
    assert pool.stats()["nuses"] == 6
    assert sorted(server.checked) == list(range(6))


def test_an_object_used_just_now_is_not_checked(server: Server, clock: Clock) -> None:
    """Otherwise each request would pay for a round trip."""
    pool = Pool(server.factory, 1, health=server.health, health_delay=2.0, clock=clock)
    for _ in range(3):
        clock.now += 2.0
        pool.ret(pool.get())
    assert not server.checked
    clock.now += 2.1
    pool.ret(pool.get())
    assert server.checked == [0]


@pytest.mark.parametrize("tick", [0.001, 0.0])
def test_a_delay_of_zero_asks_each_time(server: Server, clock: Clock, tick: float) -> None:
    """Otherwise "at once" would mean "never", or "not within the same tick of a coarse clock"."""
    pool = Pool(server.factory, 1, health=server.health, health_delay=0, clock=clock)
    for _ in range(3):
        clock.now += tick
        pool.ret(pool.get())
    assert server.checked == [0, 0, 0]


def test_no_check_begins_after_the_timeout(server: Server, clock: Clock) -> None:
    """Otherwise a caller with little time would wait for one check after the other."""
    pool = Pool(server.factory, 3, min_size=3, health=server.health, clock=clock)
    server.restart()
    clock.now += 20
    with pytest.raises(TimeOut, match=r"timeout after 0\.0 s"):
        pool.get(timeout=0)  # tries once
    assert len(server.checked) == 1
    assert pool.stats()["ntimeouts"] == 1
    until(lambda: pool.stats()["idle"] == 3)  # what was taken for the second try is back, and one was made anew
    assert pool.get(timeout=0).number == 3


def test_others_go_on_while_one_is_checked(server: Server, clock: Clock, crew: Crew) -> None:
    """Otherwise a check of a server that hangs would stop all callers."""
    checking, go = threading.Event(), threading.Event()

    def health(thing: Thing) -> bool:
        if thing.number == 1:
            checking.set()
            assert go.wait(20)
        return True

    pool = Pool(server.factory, 2, min_size=2, health=health, clock=clock)
    clock.now += 20
    crew.start(lambda: pool.ret(pool.get()))
    assert checking.wait(20)
    with pool.obj(timeout=0) as thing:
        assert thing.number == 0
    go.set()
    crew.join()


def test_a_check_that_ends_the_program_loses_nothing(server: Server, clock: Clock) -> None:
    """Otherwise Ctrl-C in a check would cost an object each time."""
    interrupts = [KeyboardInterrupt()]

    def health(_: Thing) -> bool:
        if interrupts:
            raise interrupts.pop()
        return True

    pool = Pool(server.factory, 1, health=health, close="close", clock=clock)
    clock.now += 20
    with pytest.raises(KeyboardInterrupt) as caught:
        pool.get()
    assert caught.value.__notes__ == [f"{pool.name}: raised by health"]
    assert pool.get(timeout=20).number == 1
    assert server.factory.closed == [0]


def test_dead_idle_objects_are_replaced_in_the_background(server: Server, clock: Clock) -> None:
    """Otherwise a server that closes silent connections would do so, and each first use would pay for it."""
    pool = Pool(server.factory, 3, min_size=3, health=server.health, close="close", delay=10.0, clock=clock)
    clock.now += 9
    pool._engine._round()
    clock.now += 1
    server.dead = {0, 1}
    pool._engine._round()
    until(lambda: len(server.factory.closed) == 2 and pool.stats()["idle"] == 3)
    assert sorted(server.checked) == [0, 1, 2]
    assert pool.stats()["nclosed"] == {"health": 2}
    with pool.obj():
        assert len(server.checked) == 3  # it was checked just now


def test_checks_that_fail_in_the_background_cost_no_place(server: Server, clock: Clock) -> None:
    """Otherwise a night of outages would leave a pool without a place for any object."""
    pool = Pool(server.factory, 2, min_size=2, health=server.health, close="close", clock=clock)
    for rounds in range(1, 13):
        server.restart()  # half of the checks raise
        clock.now += 60
        pool._engine._round()
        until(lambda least=2 * rounds: pool.stats()["nclosed"].get("health") == least and pool.stats()["idle"] == 2)
    things = [pool.get(timeout=0), pool.get(timeout=0)]
    assert {thing.closed for thing in things} == {0}


def test_a_check_in_the_background_that_ends_the_program_ends_but_that_call(
    server: Server, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise it would take the object, or the background, with it."""

    def health(_: Thing) -> bool:
        raise SystemExit

    pool = Pool(server.factory, 1, min_size=1, health=health, close="close", delay=10.0, clock=clock)
    clock.now += 10
    pool._engine._round()
    until(lambda: pool.stats()["idle"] == 1 and server.factory.closed == [0])
    assert f"{pool.name}: failed in the background" in caplog.messages


def test_an_object_taken_meanwhile_is_not_checked(server: Server, clock: Clock) -> None:
    """Otherwise two threads would use one connection."""
    pool = Pool(server.factory, 2, min_size=2, health=server.health, delay=10.0, health_delay=60, clock=clock)
    clock.now += 10
    pool._engine.locked.run(pool._engine.machine.sweep)
    thing = pool.get()
    pool._engine.background.work()
    assert server.checked == [1 - thing.number]


def test_health_freq_leaves_rounds_out(server: Server, clock: Clock) -> None:
    """Otherwise programs of earlier releases would ask their server more often than they meant to."""
    pool = Pool(server.factory, 1, min_size=1, health=server.health, delay=10.0, health_freq=3, clock=clock)
    for _ in range(3):
        assert not server.checked
        clock.now += 10
        pool._engine._round()
    until(lambda: server.checked == [0])


def test_a_check_in_the_background_that_never_ends_stops_no_caller(server: Server, clock: Clock) -> None:
    """Otherwise a server that answers no more would stop the pools of all others, and the requests of its own."""
    checking, go = threading.Event(), threading.Event()

    def health(_: Thing) -> bool:
        checking.set()
        return go.wait(20)

    hung = Pool(server.factory, 2, min_size=2, health=health, health_delay=60, delay=10.0, clock=clock)
    clock.now += 10
    hung._engine._round()
    assert checking.wait(20)
    with hung.obj(timeout=0):  # the one that is not being checked
        assert hung.stats()["reserved"] == 1
    other = Pool(Factory(), 1, close="close")
    other.discard(other.get())
    until(lambda: other.stats()["idle"] == 1)
    go.set()
    until(lambda: hung.stats()["idle"] == 2)
