"""gevent, in processes of its own: patched and not, many greenlets over few objects, killed and timed out."""

from __future__ import annotations

import pytest

from tests.conftest import run

pytest.importorskip("gevent", reason="gevent is missing: pip install ProxyPatternPool[gevent]")

pytestmark = pytest.mark.slow  # it starts servers or programs

PATCHES = {"patched": "from gevent import monkey; monkey.patch_all()", "not patched": ""}

HEAD = """
    import threading, gevent, gevent.hub, gevent.monkey
    from ProxyPatternPool import Pool, Proxy, TimeOut
    from ProxyPatternPool._threads.parking import GreenletParker

    ticks = 0
    def tick():
        global ticks
        while True:
            ticks += 1
            gevent.sleep(0.0001)

    ticker = gevent.spawn(tick)
    closed = []
    pool = Pool(lambda n: [n], 5, timeout=20, close=closed.append)
"""


@pytest.fixture(params=PATCHES)
def head(request: pytest.FixtureRequest) -> str:
    """Return the beginning of a program that uses gevent."""
    return "    " + PATCHES[request.param] + HEAD


def check(program: str, last: str = "") -> None:
    """Run a program; it says so when all is well, and perhaps something else at its very end."""
    result = run(program + "\n    print('well')")
    assert (result.stderr, result.stdout) == ("", "well\n" + last)


def test_many_greenlets_over_few_objects(head: str) -> None:
    """Otherwise greenlets would share an object, or wait for ever."""
    check(
        head
        + """
    using = set()
    def work():
        for _ in range(5):
            with pool.obj() as mine:
                assert id(mine) not in using
                using.add(id(mine))
                gevent.sleep(0.001)
                using.remove(id(mine))
    crew = [gevent.spawn(work) for _ in range(200)]
    gevent.joinall(crew, raise_error=True)
    stats = pool.stats()
    assert (stats["nuses"], stats["size"], stats["nwaiting"], stats["in_use"]) == (1000, 5, 0, 0), stats
    """
    )


def test_a_waiting_greenlet_leaves_the_thread_to_the_others(head: str) -> None:
    """Otherwise a request that waits would stop all others: the one that holds the object included."""
    check(
        head
        + """
    held = [pool.get() for _ in range(5)]
    waiter = gevent.spawn(pool.get)
    gevent.sleep(0)
    assert pool.stats()["nwaiting"] == 1
    before = ticks
    while ticks < before + 50:  # others run on
        gevent.sleep(0.0001)
    assert not waiter.ready()
    pool.ret(held.pop())
    assert waiter.get(timeout=20) == [4]
    try:
        pool.get(timeout=0.01)  # the main greenlet, too
    except TimeOut:
        pass
    """
    )


def test_a_greenlet_that_is_killed_or_timed_out_loses_nothing(head: str) -> None:
    """Otherwise a request that is given up would cost an object, or leave a hole in the queue."""
    check(
        head
        + """
    held = [pool.get() for _ in range(5)]
    crew = [gevent.spawn(pool.get) for _ in range(20)]
    gevent.sleep(0)
    assert pool.stats()["nwaiting"] == 20
    gevent.killall(crew[::2])
    assert pool.stats()["nwaiting"] == 10
    def limited():
        with gevent.Timeout(0.01, False):
            pool.get()
            assert False
    gevent.joinall([gevent.spawn(limited) for _ in range(5)], raise_error=True)
    assert pool.stats()["nwaiting"] == 10
    crew[1].kill(block=False)  # at the hub's next turn ...
    pool.ret(held.pop())  # ... and served before that: what it was served goes to the next one
    crew[3].join()
    assert (crew[1].successful(), crew[3].successful()) == (True, True)
    assert isinstance(crew[1].value, gevent.GreenletExit)
    held.append(crew[3].value)
    assert (pool.stats()["in_use"], pool.stats()["nwaiting"]) == (5, 8), pool
    gevent.killall(crew)
    for thing in held:
        pool.ret(thing)
    stats = pool.stats()
    assert (stats["size"], stats["nwaiting"]) == (5, 0), stats
    """
    )


def test_a_greenlet_is_woken_by_another_thread() -> None:
    """Otherwise threads of a pool of the operating system could not share one with greenlets."""
    check(
        HEAD
        + """
    from gevent.threadpool import ThreadPool
    threads = ThreadPool(2)
    held = [threads.apply(pool.get) for _ in range(5)]
    waiter = gevent.spawn(pool.get)
    gevent.sleep(0)
    before = ticks
    threads.spawn(pool.ret, held.pop())
    assert waiter.get(timeout=20) == [4]
    assert ticks > before
    """
    )


def test_background_work_is_done_under_gevent(head: str) -> None:
    """Otherwise idle objects would stay open, and worn ones never be replaced."""
    check(
        head
        + """
    idle = []
    brief = Pool(lambda n: [n], 5, min_size=1, max_delay=0.02, max_use=3, close=idle.append)
    things = [brief.get() for _ in range(3)]
    for thing in things:
        brief.ret(thing)
    with gevent.Timeout(20):
        while len(idle) < 2:
            gevent.sleep(0.001)
    brief.discard(brief.get())
    with gevent.Timeout(20):
        while len(idle) < 3 or brief.stats()["idle"] < 1:
            gevent.sleep(0.001)
    """
    )


def test_each_gevent_greenlet_has_its_own_object(head: str) -> None:
    """Otherwise two requests would use one connection."""
    check(
        head
        + """
    db = Proxy(fun=lambda n: [n], scope=Proxy.Scope.GEVENT, max_size=3)
    def work():
        mine = db._get_obj()
        gevent.sleep(0)
        assert db._get_obj() is mine
        db._ret_obj()
        return id(mine)
    crew = [gevent.spawn(work) for _ in range(3)]
    gevent.joinall(crew, raise_error=True)
    assert len({job.value for job in crew}) == 3
    assert db._pool.stats()["in_use"] == 0
    """
    )


def test_a_shared_function_is_called_once_by_many_greenlets(head: str) -> None:
    """Otherwise each of the first greenlets would make the object again; or a waiter would stop its maker."""
    check(
        head
        + """
    calls = []
    def fun(number):
        calls.append(number)
        gevent.sleep(0.01)
        return [number]
    shared = Proxy(fun=fun, scope=Proxy.Scope.SHARED)
    crew = [gevent.spawn(shared._get_obj) for _ in range(20)]
    gevent.joinall(crew, raise_error=True)
    assert calls == [0]
    """
    )


def test_background_work_that_a_native_thread_asks_for_is_done(head: str) -> None:
    """Otherwise a broken object from a thread of the system would never be closed, nor would any later one."""
    check(
        head
        + """
    from gevent.threadpool import ThreadPool
    hubs = []
    def close(obj):
        gevent.sleep(0.001)
        hubs.append(gevent.get_hub().main_hub)
    ours = Pool(lambda n: [n], 5, close=close)
    threads = ThreadPool(1)
    threads.apply(lambda: ours.discard(ours.get()))  # the first that the housekeeper hears of this program
    with gevent.Timeout(20):
        while not hubs:
            gevent.sleep(0.001)
    patched = gevent.monkey.is_module_patched("threading")
    assert hubs == [patched]  # then sockets live in the hub of the main thread
    theirs = threads.apply(lambda: Pool(lambda n: [n], 5, close=close))  # one that is theirs alone
    threads.apply(lambda: theirs.discard(theirs.get()))
    with gevent.Timeout(20):
        while len(hubs) < 2:
            gevent.sleep(0.001)
    """
    )


RETURNS = {
    "a return": "pool.ret(held.pop())",
    "a return that finds the lock taken just before it looks": """
    pool._engine.machine.give(held.pop(), 0.0)
    pool._engine.locked.run(lambda now: (pool._engine.machine.match(now), pool._engine.locked.pump()))
    """,
}


@pytest.mark.parametrize("how", RETURNS)
def test_an_object_due_to_a_greenlet_of_an_ended_thread_goes_to_another(how: str) -> None:
    """Otherwise each such greenlet would cost an object."""
    check(
        HEAD
        + f"""
    held = [pool.get() for _ in range(5)]
    dead = []
    def thread():
        dead.append(gevent.spawn(pool.get))
        gevent.sleep(0)
    import _thread
    for _ in range(2):
        threading.Thread(target=thread).start()
    while pool.stats()["nwaiting"] < 2 or threading.active_count() > 1:
        gevent.sleep(0.001)
    alive = gevent.spawn(pool.get)
    gevent.sleep(0)
    assert pool.stats()["nwaiting"] == 3
    {RETURNS[how]}
    assert alive.get(timeout=20) == [4]
    assert (pool.stats()["in_use"], pool.stats()["nwaiting"]) == (5, 0), pool
    import os; print("well", flush=True); os._exit(0)  # gevent itself would hang on greenlets of ended threads
    """
    )


def test_where_background_work_runs(head: str) -> None:
    """Otherwise user code would run beside the hub that its sockets belong to, or in one that does not run."""
    check(
        head
        + """
    from gevent.threadpool import ThreadPool
    from ProxyPatternPool._threads.parking import home_hub, start_thread
    patched = gevent.monkey.is_module_patched("threading")
    assert home_hub() is (gevent.get_hub() if patched else None)
    assert ThreadPool(1).apply(home_hub) is None
    for hub in (home_hub(), None):
        where = []
        start_thread(lambda: where.append(gevent.get_hub()), "somewhere", hub)
        with gevent.Timeout(20):
            while not where:
                gevent.sleep(0.001)
        assert (where == [gevent.get_hub()]) is (hub is not None)
    """
    )


def test_a_forked_child_keeps_its_own_house(head: str) -> None:
    """Otherwise parent and child would not both close what is idle."""
    check(
        head
        + """
    import os, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # that forking with threads is risky is what is tested
    brief = Pool(lambda n: [n], 5, min_size=0, max_delay=0.02, close=lambda obj: None)
    def idles():
        brief.ret(brief.get())
        with gevent.Timeout(20):
            while brief.stats()["size"]:
                gevent.sleep(0.001)
    idles()
    child = os.fork()
    if not child:
        idles()
        idles()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    idles()
    """
    )


def test_a_greenlet_that_waits_at_the_end_of_the_program(head: str) -> None:
    """Otherwise the program would hang in its last moment, or end with a traceback that is not its own."""
    check(
        head
        + """
    def close(thing):
        gevent.sleep(0.01)  # lets the hub run
        print("closed")
    busy = Pool(lambda n: n, 1, timeout=None)
    busy.get()
    other = Pool(lambda n: n, 1, close=close)
    gevent.spawn(busy.get)
    while not busy.stats()["nwaiting"]:
        gevent.sleep(0.001)
    ticker.kill()
    """,
        "closed\n",
    )


@pytest.mark.parametrize(
    "end",
    [
        "gevent.spawn(lambda: db[0]).join()",
        "kept.append(gevent.spawn(lambda: db[0])); kept[-1].join()",
        "greenlet = gevent.spawn(lambda: (db[0], gevent.sleep(20))); gevent.sleep(0); greenlet.kill()",
        "gevent.spawn(lambda: (db[0], 1 / 0)).join()",
        "gevent.spawn_raw(lambda: db[0]); gevent.sleep(0)",
        "kept.append(gevent.spawn_raw(lambda: db[0])); gevent.sleep(0)",
    ],
)
def test_the_object_of_a_greenlet_goes_back_at_its_end(head: str, end: str) -> None:
    """Otherwise a server would run dry after as many requests as it has connections."""
    check(
        head
        + f"""
    gevent.get_hub().exception_stream = None
    kept, made = [], []
    db = Proxy(
        fun=lambda n: made.append(n) or [n], scope=Proxy.Scope.GEVENT, max_size=2, timeout=20, auto_return=True
    )
    for _ in range(300):
        {end}
    assert len(made) <= 2 and db._pool.stats()["nuses"] == 300, (made, db._pool)
    """
    )


def test_the_end_of_a_greenlet_wakes_a_waiter(head: str) -> None:
    """Otherwise a waiter would time out beside an object that has come back."""
    check(
        head
        + """
    db = Proxy(fun=lambda n: [n], scope=Proxy.Scope.GEVENT, max_size=1, timeout=20, auto_return=True)
    may_end = gevent.event.Event()
    holder = gevent.spawn(lambda: (db[0], may_end.wait()))
    gevent.sleep(0)
    waiter = gevent.spawn(lambda: db[0])
    gevent.sleep(0)
    assert db._pool.stats()["nwaiting"] == 1
    may_end.set()
    with gevent.Timeout(20):
        assert waiter.get() == 0
    assert holder.ready()
    """
    )


def test_leases_name_the_greenlet_where_threads_are_patched(head: str) -> None:
    """Otherwise an operator would read "thread 'Dummy-1'", and not find the greenlet that keeps an object."""
    check(
        head
        + """
    def take():
        pool.get()
        gevent.sleep(10)
    patched = gevent.monkey.is_module_patched("threading")
    greenlet = gevent.spawn(take)
    greenlet.name = "the report"
    gevent.sleep(0)
    thread = threading.Thread(target=pool.get, name="the job")
    thread.start()
    gevent.sleep(0.01)
    pool.get()
    holders = [lease["holder"] for lease in pool.leases()]
    assert holders[0] == ("greenlet 'the report'" if patched else "thread 'MainThread'"), holders
    assert holders[1] in ("thread 'the job'", "a thread that has ended"), holders
    assert holders[2] == "thread 'MainThread'", holders
    greenlet.kill()
    ended = pool.leases()[0]["holder"]
    assert ended == ("a greenlet that has ended" if patched else "thread 'MainThread'"), ended
    """
    )


def test_the_owner_of_a_proxys_object_is_named_as_its_greenlet() -> None:
    """Otherwise the proxy of a patched program would name a thread that the program has never made."""
    check(
        "    "
        + PATCHES["patched"]
        + HEAD
        + """
    db = Proxy(fun=lambda n: [n], scope=Proxy.Scope.THREAD, max_size=3)
    def take():
        db._get_obj()
        gevent.sleep(10)
    greenlet = gevent.spawn(take)
    greenlet.name = "the report"
    gevent.sleep(0)
    assert [lease["holder"] for lease in db._pool.leases()] == ["greenlet 'the report'"], db._pool.leases()
    """
    )
