"""Bare greenlets: there is no hub that could run the others while one waits."""

from __future__ import annotations

import pytest

from tests.conftest import run

pytest.importorskip("greenlet", reason="greenlet is missing: pip install ProxyPatternPool[gevent]")


def check(program: str) -> None:
    """Run a program with a pool of one object; it says so when all is well."""
    result = run(
        """
    from greenlet import GreenletExit, getcurrent, greenlet
    from ProxyPatternPool import Pool, Proxy, TimeOut

    main = getcurrent()
    pool = Pool(lambda n: [n], 1, min_size=0, timeout=20)

    def use():
        with pool.obj() as mine:
            main.switch()
            return mine

    """
        + program
        + "\n    print('well')"
    )
    assert (result.stderr, result.stdout) == ("", "well\n")


def test_waiting_ends_at_the_timeout_and_loses_nothing() -> None:
    """Otherwise it would never end: the holder cannot go on meanwhile."""
    check("""
    def wait():
        try:
            pool.get(timeout=0.05)
        except TimeOut:
            return "timed out"
    holder = greenlet(use)
    holder.switch()
    assert [greenlet(wait).switch() for _ in range(3)] == ["timed out"] * 3
    assert (pool.stats()["in_use"], pool.stats()["nwaiting"], pool.stats()["ntimeouts"]) == (1, 0, 3)
    assert holder.switch() == [0]
    assert (pool.stats()["in_use"], pool.stats()["idle"]) == (0, 1)
    with pool.obj(timeout=0) as again:
        assert again == [0]
    """)


def test_a_greenlet_that_is_thrown_out_gives_its_object_back() -> None:
    """Otherwise each greenlet that is given up would cost an object."""
    check("""
    holder = greenlet(use)
    holder.switch()
    assert pool.stats()["in_use"] == 1
    holder.throw(GreenletExit)
    assert (pool.stats()["in_use"], pool.stats()["idle"]) == (0, 1)
    """)


def test_a_greenlet_is_served_by_another_thread() -> None:
    """Otherwise threads could not share a pool with a thread that runs greenlets."""
    check("""
    import threading, time
    held = pool.get()
    def give_back():
        while not pool.stats()["nwaiting"]:
            time.sleep(0.001)
        pool.ret(held)
    threading.Thread(target=give_back).start()
    assert greenlet(pool.get).switch() == [0]
    """)


def test_each_greenlet_has_its_own_object() -> None:
    """Otherwise two conversations would use one connection."""
    check("""
    db = Proxy(fun=lambda n: [n], scope=Proxy.Scope.VERSATILE, max_size=2)
    def work():
        mine = db._get_obj()
        main.switch()
        assert db._get_obj() is mine
        db._ret_obj()
        return mine
    crew = [greenlet(work) for _ in range(2)]
    for one in crew:
        one.switch()
    assert db._pool.stats()["in_use"] == 2
    assert [one.switch() for one in crew] == [[0], [1]]
    assert db._pool.stats()["in_use"] == 0
    """)
