"""eventlet, in processes of its own: patched and not, many green threads over few objects, killed and timed out."""

from __future__ import annotations

import pytest

from tests.conftest import run

pytest.importorskip("eventlet", reason="eventlet is missing: pip install ProxyPatternPool[eventlet]")

pytestmark = pytest.mark.slow  # it starts servers or programs

PATCHES = {
    "patched": "import eventlet; eventlet.monkey_patch()",
    "patched late": "import ProxyPatternPool, eventlet; eventlet.monkey_patch()",
    "not patched": "import eventlet",
}

HEAD = """
    import eventlet, threading
    from eventlet import tpool
    from ProxyPatternPool import Pool, Proxy, TimeOut

    ticks = 0
    def tick():
        global ticks
        while True:
            ticks += 1
            eventlet.sleep(0.0001)

    def until(condition):
        with eventlet.Timeout(20):
            while not condition():
                eventlet.sleep(0.001)

    ticker = eventlet.spawn(tick)
    closed = []
    pool = Pool(lambda n: [n], 5, timeout=20, close=closed.append)
"""


@pytest.fixture(params=PATCHES)
def head(request: pytest.FixtureRequest) -> str:
    """Return the beginning of a program that uses eventlet."""
    return "    " + PATCHES[request.param] + HEAD


def check(program: str) -> None:
    """Run a program; it says so when all is well. eventlet itself says that it is deprecated."""
    result = run(program + "\n    print('well')", PYTHONWARNINGS="ignore")
    assert (result.stderr, result.stdout) == ("", "well\n")


def test_many_green_threads_over_few_objects(head: str) -> None:
    """Otherwise green threads would share an object, or wait for ever."""
    check(
        head
        + """
    using = set()
    def work():
        for _ in range(5):
            with pool.obj() as mine:
                assert id(mine) not in using
                using.add(id(mine))
                eventlet.sleep(0.001)
                using.remove(id(mine))
    for job in [eventlet.spawn(work) for _ in range(200)]:
        job.wait()
    stats = pool.stats()
    assert (stats["nuses"], stats["size"], stats["nwaiting"], stats["in_use"]) == (1000, 5, 0, 0), stats
    """
    )


def test_a_waiting_green_thread_leaves_the_thread_to_the_others(head: str) -> None:
    """Otherwise a request that waits would stop all others: the one that holds the object included."""
    check(
        head
        + """
    held = [pool.get() for _ in range(5)]
    waiter = eventlet.spawn(pool.get)
    eventlet.sleep(0)
    assert pool.stats()["nwaiting"] == 1
    before = ticks
    until(lambda: ticks > before + 50)  # others run on
    assert not waiter.dead
    pool.ret(held.pop())
    assert waiter.wait() == [4]
    try:
        pool.get(timeout=0.01)  # the main one, too
    except TimeOut:
        pass
    else:
        assert False
    """
    )


def test_a_green_thread_that_is_killed_or_timed_out_loses_nothing(head: str) -> None:
    """Otherwise a request that is given up would cost an object, or leave a hole in the queue."""
    check(
        head
        + """
    held = [pool.get() for _ in range(5)]
    crew = [eventlet.spawn(pool.get) for _ in range(20)]
    eventlet.sleep(0)
    assert pool.stats()["nwaiting"] == 20
    for job in crew[::2]:
        job.kill()
    assert pool.stats()["nwaiting"] == 10
    def limited():
        with eventlet.Timeout(0.01, False):
            pool.get()
            assert False
    for job in [eventlet.spawn(limited) for _ in range(5)]:
        job.wait()
    assert pool.stats()["nwaiting"] == 10
    pool.ret(held.pop())  # served ...
    crew[1].kill()  # ... and killed before it has noticed: what it was served goes to the next one
    held.append(crew[3].wait())
    assert (pool.stats()["in_use"], pool.stats()["nwaiting"]) == (5, 8), pool
    for job in crew:
        job.kill()
    for thing in held:
        pool.ret(thing)
    stats = pool.stats()
    assert (stats["size"], stats["nwaiting"], stats["in_use"]) == (5, 0, 0), stats
    """
    )


def test_threads_of_the_system_and_green_ones_share_a_pool(head: str) -> None:
    """Otherwise functions in the thread pool of eventlet could not use the application's connections."""
    check(
        head
        + """
    held = [tpool.execute(pool.get) for _ in range(5)]
    waiter = eventlet.spawn(pool.get)
    eventlet.sleep(0)
    tpool.execute(pool.ret, held.pop())
    held.append(waiter.wait())
    waiter = eventlet.spawn(tpool.execute, pool.get)
    until(lambda: pool.stats()["nwaiting"] == 1)
    pool.ret(held.pop())
    assert waiter.wait() == [4]
    tpool.execute(pool.discard, held.pop())
    until(lambda: closed)
    """
    )


def test_background_work_is_done_under_eventlet(head: str) -> None:
    """Otherwise idle objects would stay open, and worn ones never be replaced."""
    check(
        head
        + """
    idle = []
    brief = Pool(lambda n: [n], 5, min_size=1, max_delay=0.02, max_use=3, close=idle.append)
    things = [brief.get() for _ in range(3)]
    for thing in things:
        brief.ret(thing)
    until(lambda: len(idle) == 2)
    brief.discard(brief.get())
    until(lambda: len(idle) == 3 and brief.stats()["idle"] == 1)
    for _ in range(3):
        with brief.obj():
            pass
    until(lambda: len(idle) == 4 and brief.stats()["idle"] == 1)
    """
    )


@pytest.mark.parametrize("patch", ["patched", "patched late"])
def test_background_work_is_done_in_the_thread_of_the_hub(patch: str) -> None:
    """Otherwise `close` would wait for locks of green threads in another thread, which eventlet cannot wake."""
    check(
        "    "
        + PATCHES[patch]
        + HEAD
        + """
    ident = eventlet.patcher.original("_thread").get_ident
    where = []
    pool = Pool(lambda n: [n], 3, min_size=0, close=lambda thing: where.append(ident()))
    one, two, three = [pool.get() for _ in range(3)]
    pool.discard(one)
    until(lambda: where)
    pool.discard(two)  # the housekeeper is woken twice ...
    pool.discard(three)  # ... before it has its turn
    until(lambda: len(where) == 3)
    assert set(where) == {ident()}
    """
    )


def test_shutdown_under_eventlet_waits_for_objects_being_closed(head: str) -> None:
    """Otherwise a program would go on, and end, while its connections are being closed."""
    check(
        head
        + """
    closing, done = [], []
    def close(thing):
        closing.append(thing)
        eventlet.sleep(0.05)
        done.append(thing)
    slow = Pool(lambda n: [n], 2, min_size=0, close=close)
    slow.discard(slow.get())
    until(lambda: closing)
    held = slow.get()
    eventlet.spawn_after(0.01, slow.ret, held)
    slow.shutdown(delay=20)
    assert len(done) == 2, done
    """
    )


def test_each_green_thread_has_its_own(head: str) -> None:
    """Otherwise two requests would use one connection."""
    check(
        head
        + """
    db = Proxy(fun=lambda n: [n], scope=Proxy.Scope.VERSATILE, max_size=3)
    def work():
        mine = db._get_obj()
        eventlet.sleep(0)
        assert db._get_obj() is mine
        db._ret_obj()
        return id(mine)
    crew = [eventlet.spawn(work) for _ in range(3)]
    assert len({job.wait() for job in crew}) == 3
    assert db._pool.stats()["in_use"] == 0
    """
    )
