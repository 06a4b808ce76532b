"""Faults that other pools and proxies have shown when they were run: one short test each that this library has none.

In this order: earlier releases of this library, up to 11.6; psycopg_pool; SQLAlchemy; then what their users ask for.
What can be said in more detail about any of these is tested where it belongs.
"""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
import weakref
from typing import Any

import pytest

from ProxyPatternPool import Pool, PoolClosed, Proxy, ProxyException, TimeOut
from tests.conftest import Crew, Factory, Thing, run, until
from tests.threads.test_health import Clock, clock

__all__ = ["clock"]  # a fixture


# -- earlier releases: pools


def test_no_waiting_for_ever_with_a_timeout_of_zero(factory: Factory) -> None:
    pool = Pool(factory, 1, timeout=None)
    pool.get()
    with pytest.raises(TimeOut):
        pool.get(timeout=0)


def test_no_waiter_is_forgotten_by_shutdown(factory: Factory, crew: Crew) -> None:
    pool = Pool(factory, 1, timeout=None)
    pool.get()

    def wait() -> None:
        with pytest.raises(PoolClosed):
            pool.get()

    crew.start(wait)
    until(lambda: pool.stats()["nwaiting"] == 1)
    pool.shutdown()
    crew.join()


def test_no_object_in_use_is_closed_by_shutdown(factory: Factory) -> None:
    pool = Pool(factory, 2, min_size=2, close="close")
    with pool.obj() as thing:
        pool.shutdown()
        assert not thing.closed
        assert len(factory.closed) == 1
    until(lambda: thing.closed == 1)


def test_no_waiting_for_an_object_that_is_being_made(factory: Factory, crew: Crew) -> None:
    """Another thread's `ret` took as long as the creation. DBUtils connects under its lock, too."""
    making, go = threading.Event(), threading.Event()

    def slow(number: int) -> Thing:
        if number == 1:
            making.set()
            assert go.wait(20)
        return factory(number)

    pool = Pool(slow, 2)
    thing = pool.get()
    crew.start(lambda: pool.ret(pool.get()))
    assert making.wait(20)
    pool.ret(thing)  # would hang
    assert pool.get(timeout=0) is thing
    assert pool.stats()["creating"] == 1
    go.set()
    crew.join()


def test_no_pool_grows_above_its_size(crew: Crew) -> None:
    """A `max_size` of 4 reached 6, while objects were worn out, found dead, and made again."""
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


@pytest.mark.parametrize("answer", [False, OSError("dead")])
def test_no_slot_is_lost_to_a_health_check_that_fails(factory: Factory, clock: Clock, answer: object) -> None:
    def health(_: Thing) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    pool = Pool(factory, 2, min_size=2, health=health, close="close", clock=clock)
    for made in range(0, 24, 2):
        clock.now += 60
        pool._round()
        until(lambda least=made + 2: pool.stats()["nclosed"].get("health") == least and pool.stats()["idle"] == 2)
    things = [pool.get(timeout=0), pool.get(timeout=0)]
    assert {thing.closed for thing in things} == {0}


def test_no_object_is_healthy_whose_check_raises(factory: Factory, clock: Clock) -> None:
    def health(thing: Thing) -> bool:
        if thing.number == 0:
            raise ConnectionResetError
        return True

    pool = Pool(factory, 1, health=health, clock=clock)
    clock.now += 1
    assert pool.get(timeout=5).number == 1


def test_no_object_must_be_hashable() -> None:
    pool: Pool[list[int]] = Pool(lambda n: [n], 1)
    pool.ret(pool.get())
    assert pool.get(timeout=0) == [0]


def test_no_slot_is_lost_to_an_equal_object() -> None:
    pool: Pool[list[int]] = Pool(lambda _: [], 2, min_size=2)
    one, other = pool.get(timeout=0), pool.get(timeout=0)
    assert one == other
    assert one is not other
    pool.ret(one)
    pool.ret(other)
    assert pool.stats()["idle"] == 2


def test_no_object_is_refused_for_being_falsy() -> None:
    pool: Pool[None] = Pool(lambda _: None, 1)
    assert pool.get() is None
    pool.ret(None)
    assert pool.stats()["idle"] == 1
    nothing: Proxy[dict[str, int]] = Proxy({})
    assert nothing._has_obj()


def test_no_pool_is_kept_by_its_own_housekeeping(factory: Factory) -> None:
    pool = Pool(factory, 2, max_delay=60.0, health=bool, delay=0.01, close="close")
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    until(lambda: gone() is None and factory.closed == [0])


FORKED = """
    import os, sys, time, warnings
    from ProxyPatternPool import Pool
    warnings.simplefilter("ignore", DeprecationWarning)  # that forking with threads is risky is what is tested
    def in_child(work):
        child = os.fork()
        if not child:
            work()
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_no_object_of_the_parent_is_in_a_child() -> None:
    """As under gunicorn's ``preload_app``. psycopg_pool and SQLAlchemy hand it out, too."""
    result = run(f"""{FORKED}
    pool = Pool(lambda n: [os.getpid()], 2, min_size=2, close=lambda thing: print("closed"))
    held = pool.get()
    def work():
        for _ in range(2):
            assert pool.get(timeout=5) == [os.getpid()]
        pool.ret(held)  # of the parent: nothing happens
        assert pool.stats()["nbad_returns"] == 0
    in_child(work)
    assert pool.get(timeout=0) == [os.getpid()]
    pool.ret(held)
    assert pool.stats()["in_use"] == 1
    os._exit(0)
    """)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_no_housekeeper_is_dead_in_a_child() -> None:
    result = run(f"""{FORKED}
    pool = Pool(lambda n: [], 2, min_size=0, max_delay=0.01, close=lambda thing: print("closed", flush=True))
    def work():
        pool.ret(pool.get())
        while pool.size:
            time.sleep(0.001)
    work()
    in_child(work)
    """)
    assert (result.returncode, result.stdout, result.stderr) == (0, "closed\n" * 2, "")


def test_no_failing_opener_is_swallowed(factory: Factory) -> None:
    """The object was handed out, though nobody had logged it in."""

    def log_in(_: Thing) -> None:
        raise PermissionError

    pool = Pool(factory, 1, min_size=0, opener=log_in, close="close")
    with pytest.raises(PermissionError):
        pool.get()
    until(lambda: factory.closed == [0])


def test_no_thread_overtakes_who_waits(factory: Factory, crew: Crew) -> None:
    """Of 16 threads that used 4 objects, 12 never got one. So it is with SQLAlchemy, DBUtils and `queue`, too."""
    pool = Pool(factory, 1, timeout=None)
    thing = pool.get()
    crew.start(pool.get)
    until(lambda: pool.stats()["nwaiting"] == 1)
    pool.ret(thing)
    with pytest.raises(TimeOut):
        pool.get(timeout=0)
    crew.join()


# -- earlier releases: proxies


def test_no_object_is_kept_when_the_block_raises(factory: Factory) -> None:
    proxy: Proxy[Thing] = Proxy(fun=factory, max_size=1)
    for _ in range(2):
        with pytest.raises(OSError, match="in the block"), proxy._obj(timeout=0):
            raise OSError("in the block")
    assert not proxy._has_obj()


@pytest.mark.parametrize("look", [repr, dir, bool, lambda proxy: hasattr(proxy, "__wrapped__")])
def test_no_unset_proxy_recurses_when_it_is_looked_at(look: Any) -> None:
    look(Proxy())


@pytest.mark.parametrize("use", [copy.copy, copy.deepcopy, pickle.dumps, lambda proxy: proxy.anything])
def test_no_unset_proxy_recurses_when_it_is_used(use: Any) -> None:
    """What cannot be done is told, and not after a thousand frames."""
    try:
        use(Proxy())
    except (ProxyException, TypeError) as error:
        assert not isinstance(error.__context__, RecursionError)  # noqa: PT017  # it need not raise anything


class Target:
    """What a proxy of an earlier release could not stand for."""

    def __init__(self) -> None:
        self.items = {"one": 1}

    def __getattr__(self, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"the {name}"

    def __getitem__(self, key: str) -> int:
        return self.items[key]

    def __len__(self) -> int:
        return len(self.items)


def test_no_operation_stays_behind_at_the_proxy() -> None:
    target = Target()
    proxy: Any = Proxy(target)
    assert proxy.anything == "the anything"
    assert (proxy["one"], len(proxy)) == (1, 1)
    proxy.attribute = "set"
    assert target.attribute == "set"
    del proxy.attribute
    assert target.attribute == "the attribute"


# -- psycopg_pool


def test_no_waiter_counts_who_has_given_up(factory: Factory) -> None:
    pool = Pool(factory, 1, max_waiting=1)
    pool.get()
    for _ in range(3):
        with pytest.raises(TimeOut):  # and not PoolFull
            pool.get(timeout=0.001)
    assert pool.stats()["nwaiting"] == 0
    assert pool.stats()["nrefused"] == 0


def test_no_pause_after_each_stale_object(factory: Factory, clock: Clock) -> None:
    """Six of them and a check made the first `getconn` after a restart take 29.5 s."""
    pool = Pool(factory, 6, min_size=6, health=lambda thing: thing.number >= 6, close="close", clock=clock)
    clock.now += 1  # and not more: whoever pauses waits for ever
    assert pool.get(timeout=5).number >= 6
    until(lambda: len(factory.closed) == 6)


def test_no_pause_when_the_server_is_back(factory: Factory, clock: Clock) -> None:
    """The first success came 8.3 s after an outage of 8 s. Here only the background pauses between attempts."""
    down = True

    def connect(number: int) -> Thing:
        if down:
            raise ConnectionRefusedError
        return factory(number)

    pool = Pool(connect, 3, min_size=0, clock=clock)
    pool.resize(min_size=1)
    until(lambda: pool._core.refill_at > clock.now)  # and this clock stands still
    for _ in range(20):
        with pytest.raises(ConnectionRefusedError):
            pool.get()
    down = False
    pool.get(timeout=0)


def test_no_timeout_hides_its_cause(factory: Factory, crew: Crew) -> None:
    making, go = threading.Event(), threading.Event()
    refused = ConnectionRefusedError("refused")

    def connect(number: int) -> Thing:
        if number == 0:
            raise refused
        making.set()
        assert go.wait(20)
        return factory(number)

    pool = Pool(connect, 1, min_size=0)
    with pytest.raises(ConnectionRefusedError):
        pool.get()
    crew.start(pool.get)
    assert making.wait(20)
    with pytest.raises(TimeOut) as caught:
        pool.get(timeout=0)
    cause = caught.value.__cause__
    assert (type(cause), str(cause)) == (type(refused), str(refused))
    go.set()
    crew.join()


def test_no_idle_object_is_lent_past_its_lifetime(factory: Factory, clock: Clock) -> None:
    pool = Pool(factory, 1, max_lifetime=100.0, clock=clock)
    clock.now += 100
    assert pool.get(timeout=5).number == 1


@pytest.mark.parametrize(
    ("fun", "action"),
    [
        ("list_of", "held = pool.get(); in_daemon(pool.get)"),
        ("hang", "in_daemon(pool.get)"),
        ("hang", "pool.resize(min_size=1)"),
    ],
    ids=["waiting", "making", "refilling"],
)
def test_no_program_is_kept_by_a_pool_that_nobody_closed(fun: str, action: str) -> None:
    """An unclosed pool delayed the end of the program, by 20 s on Python 3.13."""
    result = run(f"""
    import threading, time
    from ProxyPatternPool import Pool
    from ProxyPatternPool._threads import engine as _threaded
    _threaded.PATIENCE = 3600.0  # for what is being closed, and for nothing else
    busy = threading.Event()
    def hang(*_):
        busy.set()
        time.sleep(3600)
    def list_of(n):
        return [n]
    def in_daemon(work):
        def run():
            busy.set()
            work()
        threading.Thread(target=run, daemon=True).start()
    pool = Pool({fun}, 1, min_size=0, max_delay=3600, timeout=None, close=print)
    {action}
    busy.wait()
    """)
    assert (result.returncode, result.stderr) == (0, "")


# -- SQLAlchemy


def test_no_waiter_sleeps_beside_the_place_of_a_failed_creation(factory: Factory, crew: Crew) -> None:
    making, go = threading.Event(), threading.Event()

    def connect(number: int) -> Thing:
        if number == 0:
            making.set()
            assert go.wait(20)
            raise ConnectionRefusedError
        return factory(number)

    pool = Pool(connect, 1, min_size=0, timeout=None)

    def fail() -> None:
        with pytest.raises(ConnectionRefusedError):
            pool.get()

    crew.start(fail)
    assert making.wait(20)
    crew.start(pool.get)  # would sleep for ever
    until(lambda: pool.stats()["nwaiting"] == 1)
    go.set()
    crew.join()


# -- what users ask for


def test_no_exhaustion_leaves_who_holds_the_objects_unsaid(factory: Factory, crew: Crew) -> None:
    pool = Pool(factory, 1, name="db")
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with pool.obj():
            held.set()
            assert go.wait(20)

    crew.start(hold).name = "worker-3"
    assert held.wait(20)
    with pytest.raises(TimeOut, match=r"db: pool max size reached \(1\), .*: 1 in use, .* by thread 'worker-3'"):
        pool.get(timeout=0)
    go.set()
    crew.join()


def test_no_stampede_when_the_server_is_gone(crew: Crew) -> None:
    """Never more attempts at once than `max_size`: a server that comes up is not put down again by its clients."""
    lock, go = threading.Lock(), threading.Event()
    now = peak = 0

    def connect(_: int) -> object:
        nonlocal now, peak
        with lock:
            now += 1
            peak = max(peak, now)
        assert go.wait(20)
        with lock:
            now -= 1
        raise ConnectionRefusedError

    pool = Pool(connect, 3, min_size=0, timeout=None)

    def ask() -> None:
        with pytest.raises(ConnectionRefusedError):
            pool.get()

    for _ in range(16):
        crew.start(ask)
    until(lambda: (now, pool.stats()["nwaiting"]) == (3, 13))
    go.set()
    crew.join()
    assert peak == 3


def test_no_nested_use_waits_for_itself_in_silence(factory: Factory) -> None:
    assert Pool(factory, 1).stats()["timeout"] == 30.0  # if nothing is said
    pool = Pool(factory, 1, timeout=0.001)
    with pool.obj(), pytest.raises(TimeOut, match="by thread 'MainThread'"), pool.obj():
        pass
