"""Limits of age, use, queue and size, and what changes them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ProxyPatternPool import Pool, PoolClosed, PoolException, PoolFull, Proxy
from tests.conftest import Crew, Factory, Thing, until
from tests.support.bytecodes import at_bytecode, at_each_bytecode
from tests.threads.test_health import Clock, clock

__all__ = ["clock"]  # a fixture


# -- age


def test_an_object_past_its_lifetime_is_not_lent(factory: Factory, clock: Clock) -> None:
    """Otherwise a connection that the server has ended for its age would be handed out."""
    pool = Pool(factory, 3, min_size=3, max_lifetime=100.0, close="close", clock=clock)
    clock.now += 100
    assert pool.get(timeout=20).number >= 3
    until(lambda: sorted(factory.closed) == [0, 1, 2])
    assert pool.stats()["nclosed"] == {"max_lifetime": 3}


def test_an_object_past_its_lifetime_is_closed_on_return(factory: Factory, clock: Clock) -> None:
    """Otherwise busy connections would live for ever."""
    pool = Pool(factory, 1, max_lifetime=100.0, close="close", clock=clock)
    thing = pool.get()
    clock.now += 100
    assert not factory.closed
    pool.ret(thing)
    until(lambda: factory.closed == [0])


def test_an_idle_object_past_its_lifetime_is_closed_in_the_background(factory: Factory, clock: Clock) -> None:
    """Otherwise an idle pool would hold connections that the server has ended."""
    pool = Pool(factory, 2, min_size=2, max_lifetime=100.0, close="close", clock=clock)
    clock.now += 89
    pool._engine._round()
    assert pool.stats()["idle"] == 2
    clock.now += 11
    pool._engine._round()
    until(lambda: sorted(factory.closed) == [0, 1] and pool.stats()["idle"] == 2)


def test_objects_that_were_made_together_do_not_expire_together(factory: Factory, clock: Clock) -> None:
    """Otherwise all connections would be made anew at the same moment, again and again."""
    pool = Pool(factory, 50, min_size=50, max_lifetime=100.0, clock=clock)
    ends = [slot.expires - clock.now for slot in pool._engine.machine.registry]
    assert 90 < min(ends) < 93
    assert 97 < max(ends) <= 100


# -- use


def test_a_thread_that_holds_an_object_for_too_long_is_named_once(
    factory: Factory, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a leak would be found only when the pool is empty."""
    pool = Pool(factory, 2, max_using_delay=5.0, clock=clock, name="db")
    thing = pool.get()
    for _ in range(3):
        clock.now += 5
        pool._engine._round()
    text = "db: Thing object number 0 was not given back within 5.0 s by thread 'MainThread'"
    until(lambda: text in caplog.text)
    assert len(caplog.records) == 1
    pool.ret(thing)
    pool.get()
    clock.now += 5
    pool._engine._round()
    until(lambda: len(caplog.records) == 2)


def test_the_thread_that_was_late_is_named_and_not_the_next_one(
    factory: Factory, clock: Clock, crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise an innocent thread would be searched for the leak."""
    closing, go = threading.Event(), threading.Event()

    def close(_: Thing) -> None:
        closing.set()
        assert go.wait(20)

    pool = Pool(factory, 2, max_using_delay=5.0, close=close, clock=clock)
    thing = pool.get()
    pool.discard(pool.get())
    assert closing.wait(20)  # so that nothing is told just now
    clock.now += 5
    pool._engine._round()
    pool.ret(thing)
    crew.start(lambda: pool.get(timeout=0))
    crew.join()
    go.set()
    until(lambda: "was not given back within 5.0 s by thread 'MainThread'" in caplog.text)


def test_an_object_held_for_much_too_long_is_taken_away(
    factory: Factory, clock: Clock, crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one thread that hangs would keep a connection, and its locks in the database, for ever."""
    pool = Pool(factory, 1, max_using_delay_kill=5.0, close="close", clock=clock, name="db")
    thing = pool.get()
    got: list[Thing] = []
    crew.start(lambda: got.append(pool.get(timeout=20)))
    until(lambda: pool.stats()["nwaiting"] == 1)
    clock.now += 5
    pool._engine._round()
    crew.join()
    assert (got[0].number, factory.closed) == (1, [0])
    text = "db: Thing object number 0 was taken away: not given back within 5.0 s by thread 'MainThread'"
    assert text in caplog.text
    pool.ret(thing)  # too late: a logged no-op
    assert pool.stats()["nbad_returns"] == 1
    assert pool.stats()["nclosed"] == {"max_using_delay_kill": 1}
    until(lambda: "db: Thing object number 0 given back, but it is not out: ignored" in caplog.text)
    assert pool.stats()["in_use"] == 1


def test_a_proxy_whose_object_was_taken_away_says_so(factory: Factory, clock: Clock) -> None:
    """Otherwise it would go on with another connection, in the middle of a transaction."""
    db: Any = Proxy(fun=factory, max_size=1, max_using_delay_kill=5.0, clock=clock, name="db")
    assert db.number == 0
    clock.now += 5
    db._pool._engine._round()
    for _ in range(2):
        with pytest.raises(
            PoolException, match=r"db: the object was taken away, .* more than 5.0 s: call _ret_obj\(\)"
        ):
            _ = db.number
    db._ret_obj()
    assert db.number == 1
    db._ret_obj()


def test_a_thread_learns_nothing_of_what_was_taken_from_a_block_that_is_over(factory: Factory, clock: Clock) -> None:
    """Otherwise a thread of a web server would fail all requests to come, for one that was too slow."""
    db: Any = Proxy(fun=factory, max_using_delay_kill=5.0, clock=clock)
    with ThreadPoolExecutor(1) as one:
        block = db._obj()
        one.submit(block.__enter__).result()
        clock.now += 5
        db._pool._engine._round()
        with pytest.raises(PoolException, match="taken away"):
            one.submit(db._get_obj).result()
        block.__exit__(None, None, None)
        assert one.submit(db._get_obj).result().number == 1


def test_a_block_whose_object_was_taken_away_ends_quietly(factory: Factory, clock: Clock) -> None:
    """Otherwise the end of the block would give back what has become another one's."""
    pool = Pool(factory, 1, max_using_delay_kill=5.0, clock=clock)
    with pool.obj():
        clock.now += 5
        pool._engine._round()
        with pool.obj(timeout=20) as other:
            assert other.number == 1
    stats = pool.stats()
    assert (stats["idle"], stats["size"], stats["nbad_returns"]) == (1, 1, 0)


def test_an_object_taken_away_while_it_is_checked_is_not_lent(factory: Factory, clock: Clock) -> None:
    """Otherwise a caller would get what is being closed."""

    def health(thing: Thing) -> bool:
        if thing.number == 0:
            clock.now += 5
            pool._engine._round()
        return True

    pool = Pool(factory, 1, health=health, max_using_delay_kill=5.0, close="close", clock=clock)
    clock.now += 20
    assert pool.get(timeout=20).number == 1
    assert factory.closed == [0]


# -- the queue


def test_no_caller_waits_behind_too_many(factory: Factory, crew: Crew) -> None:
    """Otherwise an outage would pile up requests that have no chance, each of them with its memory."""
    pool = Pool(factory, 1, max_waiting=2, timeout=20, name="db")
    thing = pool.get()
    for _ in range(2):
        crew.start(lambda: pool.ret(pool.get()))
    until(lambda: pool.stats()["nwaiting"] == 2)
    text = r"db: 2 callers are waiting already \(max_waiting\): 1 in use, 0 idle, 2 waiting"
    with pytest.raises(PoolFull, match=text):
        pool.get()
    with pytest.raises(PoolFull):
        pool.get(timeout=0)
    pool.ret(thing)
    crew.join()
    assert pool.stats()["nrefused"] == 2
    with pool.obj():
        pass


def test_a_waiter_that_has_given_up_does_not_count(factory: Factory) -> None:
    """Otherwise callers that timed out would keep others from waiting, as they do elsewhere."""
    pool = Pool(factory, 1, max_waiting=1)
    with pool.obj():
        for _ in range(3):
            with pytest.raises(TimeoutError):
                pool.get(timeout=0.001)


# -- sizes


def test_a_larger_pool_serves_waiters(factory: Factory, crew: Crew) -> None:
    """Otherwise the relief would come only with the next return."""
    pool = Pool(factory, 1, timeout=20)
    thing = pool.get()
    crew.start(lambda: pool.ret(pool.get()))
    until(lambda: pool.stats()["nwaiting"] == 1)
    pool.resize(max_size=2)
    crew.join()
    pool.ret(thing)
    assert pool.stats()["max_size"] == 2
    pool.resize(min_size=2, max_size=0)
    assert (pool.stats()["min_size"], pool.stats()["max_size"]) == (2, 0)
    assert "max unlimited" in repr(pool)


def test_a_smaller_pool_shrinks_as_objects_return(factory: Factory) -> None:
    """Otherwise it would have to wait for them, or close them under their users' feet."""
    pool = Pool(factory, 5, min_size=5, close="close")
    held = [pool.get() for _ in range(3)]
    pool.resize(min_size=1, max_size=2)
    until(lambda: len(factory.closed) == 2)
    assert not {thing.number for thing in held} & set(factory.closed)
    for thing in held:
        pool.ret(thing)
    until(lambda: pool.stats()["idle"] == pool.size == 2)
    assert len(factory.closed) == 3
    assert pool.stats()["nclosed"] == {"resize": 3}
    with pool.obj(), pool.obj(), pytest.raises(TimeoutError):
        pool.get(timeout=0)


def test_a_pool_stays_within_its_size_while_objects_wear_out_and_die(crew: Crew) -> None:
    """Otherwise the server would refuse connections just when many of them have to be replaced."""
    lock = threading.Lock()
    alive = peak = 0

    def make(_: int) -> object:
        nonlocal alive, peak
        with lock:
            alive += 1
            peak = max(peak, alive)
        return object()

    def close(_: object) -> None:
        nonlocal alive
        with lock:
            alive -= 1

    checks = iter(range(10**9))
    pool = Pool(
        make, 4, min_size=4, max_use=3, close=close, health=lambda _: next(checks) % 5, health_delay=0, timeout=None
    )

    def use() -> None:
        for _ in range(100):
            with pool.obj():
                pass

    for _ in range(8):
        crew.start(use)
    crew.join()
    assert peak == 4


def test_a_larger_minimum_is_made_in_the_background(factory: Factory) -> None:
    """Otherwise the first requests after it would have to wait for new connections."""
    pool = Pool(factory, 5)
    pool.resize(min_size=3)
    until(lambda: pool.stats()["idle"] == 3)


def test_two_threads_that_resize_at_the_same_moment_are_both_obeyed(crew: Crew) -> None:
    """Otherwise the larger limit that an operator has set could be undone by a program that adapts its minimum."""

    def attempt(number: int) -> bool:
        pool = Pool(Factory(), 2)

        def enlarge() -> None:
            thread = crew.start(lambda: pool.resize(max_size=4))
            until(lambda: pool._engine.locked.is_held() or not thread.is_alive())

        came = at_bytecode(number, enlarge, lambda: pool.resize(min_size=2))
        crew.join()
        assert (pool.stats()["min_size"], pool.stats()["max_size"]) == (2, 4 if came else 2)
        return came

    assert at_each_bytecode(attempt) > 30


@pytest.mark.parametrize(
    ("sizes", "error", "text"),
    [
        ({"max_size": -1}, ValueError, "max_size must not be negative, but is -1"),
        ({"min_size": 6}, ValueError, r"min_size must not be above max_size \(5\), but is 6"),
        ({"max_size": "3"}, TypeError, "max_size must be an int, not '3'"),
    ],
)
def test_sizes_that_cannot_be(factory: Factory, sizes: Any, error: type[Exception], text: str) -> None:
    """Otherwise a slip of an operator would break a pool that runs."""
    pool = Pool(factory, 5)
    with pytest.raises(error, match=text):
        pool.resize(**sizes)
    assert (pool.stats()["min_size"], pool.stats()["max_size"]) == (1, 5)


def test_a_forked_child_has_the_new_sizes(factory: Factory) -> None:
    """Otherwise a worker would have more connections than the operator has allowed."""
    pool = Pool(factory, 5)
    pool.resize(max_size=1)
    pool._renew()
    with pool.obj(), pytest.raises(TimeoutError):
        pool.get(timeout=0)


# -- refreshing


def test_no_object_from_before_a_refresh_is_lent(factory: Factory) -> None:
    """Otherwise connections to a server that is no longer the main one would be used on."""
    pool = Pool(factory, 4, min_size=4, close="close")
    thing = pool.get()
    pool.refresh()
    held = [pool.get(timeout=20) for _ in range(3)]
    assert all(other.number > 3 for other in held)
    assert not thing.closed
    pool.ret(thing)
    until(lambda: sorted(factory.closed) == [0, 1, 2, 3])
    for other in held:
        pool.ret(other)
    until(lambda: pool.stats()["idle"] == 4)
    assert pool.stats()["nclosed"] == {"refresh": 4}


def test_a_refresh_replaces_one_idle_object_after_the_other(factory: Factory) -> None:
    """Otherwise all would be made anew at the same moment, and meanwhile there would be none."""
    closing, go = threading.Semaphore(0), threading.Semaphore(0)

    def close(thing: Thing) -> None:
        closing.release()
        assert go.acquire(timeout=20)
        thing.close()

    pool = Pool(factory, 3, min_size=3, close=close)
    pool.refresh()
    for left in (2, 1, 0):
        assert closing.acquire(timeout=20)
        stats = pool.stats()
        assert stats["closing"] == 1
        assert sum(slot.generation == 0 for slot in pool._engine.machine.idle) == left
        go.release()
    until(lambda: len(factory.closed) == 3 and pool.stats()["idle"] == 3)
    go.release(3)  # for the end of the program


def test_a_refresh_without_a_close_replaces_all(factory: Factory) -> None:
    """Otherwise objects that no caller asks for would stay."""
    pool = Pool(factory, 3, min_size=3)
    pool.refresh()
    until(lambda: pool.stats()["idle"] == 3 and pool.stats()["ncreated"] == 6)


def test_a_closed_pool_can_be_resized_and_refreshed(factory: Factory) -> None:
    """Otherwise an operator's command that comes a little late would fail."""
    pool = Pool(factory, 3)
    pool.shutdown()
    pool.resize(max_size=2, min_size=2)
    pool.refresh()
    with pytest.raises(PoolClosed):
        pool.get()
    assert not pool.size
