"""Hooks that run when an object is made, lent, returned and shown: outside the lock, and losing nothing."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from ProxyPatternPool import Pool, PoolException, TimeOut
from tests.conftest import Crew, Factory, Thing, until


class Ending(BaseException):
    """An exception that no handler of ordinary exceptions stops."""


ERRORS = [ValueError, Ending]


def settled(pool: Pool[Any], size: int) -> bool:
    """Tell whether nothing is out, and so many objects are left."""
    stats = pool.stats()
    return (stats["size"], stats["idle"]) == (size, size)


def test_hooks_are_called_in_the_order_of_an_objects_life(factory: Factory) -> None:
    """Otherwise a connection would be used before it is set up, or after it was tidied up."""
    events: list[str] = []
    pool = Pool(
        factory,
        1,
        max_use=2,
        min_size=0,
        opener=lambda thing: events.append(f"opened {thing.number}"),
        getter=lambda thing: events.append(f"lent {thing.number}"),
        retter=lambda thing: events.append(f"returned {thing.number}"),
        close=lambda thing: events.append(f"closed {thing.number}"),
    )
    for _ in range(2):
        with pool.obj():
            events.append("used")
    until(lambda: not pool.size)
    pool.ret(pool.get())
    once = ["lent 0", "used", "returned 0"]
    assert events == ["opened 0", *once, *once, "closed 0", "opened 1", "lent 1", "returned 1"]


@pytest.mark.parametrize("error", ERRORS)
def test_an_opener_that_raises(factory: Factory, error: type[BaseException]) -> None:
    """Otherwise a connection that could not be set up would be used, or left open, or take a place for ever."""
    errors = [error("no such role")]

    def opener(_: Thing) -> None:
        if errors:
            raise errors.pop()

    pool = Pool(factory, 1, min_size=0, opener=opener, close="close", name="db")
    with pytest.raises(error, match="no such role") as caught:
        pool.get()
    assert caught.value.__notes__ == ["db: raised by opener"]
    with pool.obj(timeout=20) as thing:
        assert thing.number == 1
    assert factory.closed == [0]
    assert pool.stats()["nclosed"] == {"opener": 1}
    assert pool.stats()["ncreation_errors"] == 1


@pytest.mark.parametrize("error", ERRORS)
def test_a_getter_that_raises(factory: Factory, error: type[BaseException]) -> None:
    """Otherwise an object that cannot be lent would be lent again and again, or take a place for ever."""
    errors = [error("gone")]

    def getter(_: Thing) -> None:
        if errors:
            raise errors.pop()

    pool = Pool(factory, 1, getter=getter, close="close", name="db")
    with pytest.raises(error, match="gone") as caught:
        pool.get()
    assert caught.value.__notes__ == ["db: raised by getter"]
    with pool.obj(timeout=20) as thing:
        assert thing.number == 1
    assert factory.closed == [0]
    assert pool.stats()["nclosed"] == {"getter": 1}
    assert pool.stats()["nuses"] == 1


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("way", ["ret", "with"])
def test_a_retter_that_raises(
    factory: Factory, error: type[BaseException], way: str, crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a caller would get a connection in the middle of another caller's transaction."""
    errors = [error("rollback failed")]

    def retter(_: Thing) -> None:
        if errors:
            raise errors.pop()

    pool = Pool(factory, 1, retter=retter, close="close", name="db")
    lease = pool.obj()
    thing = pool.get() if way == "ret" else lease.__enter__()
    got: list[Thing] = []
    crew.start(lambda: got.append(pool.get(timeout=20)))
    until(lambda: pool.stats()["nwaiting"] == 1)
    try:
        if way == "ret":
            pool.ret(thing)
        else:
            lease.__exit__(None, None, None)
    except Ending as ending:
        caplog.handler.stream.write(str(ending.__notes__))
    assert ("db: tidying up Thing object number 0 failed" in caplog.text) is (error is ValueError)
    assert ("['db: raised by retter']" in caplog.text) is (error is Ending)
    crew.join()
    assert got[0].number == 1
    assert factory.closed == [0]
    assert pool.stats()["nclosed"] == {"retter": 1}
    pool.ret(got[0])
    assert settled(pool, 1)
    lease.__exit__(None, None, None)  # over: nothing is tidied up twice
    pool.ret(got[0])
    assert pool.stats()["nbad_returns"] == 1


def test_others_go_on_while_an_object_is_tidied_up(factory: Factory, crew: Crew) -> None:
    """Otherwise one slow rollback would stop all requests."""
    tidying, go = threading.Event(), threading.Event()

    def retter(thing: Thing) -> None:
        if thing.number == 0:
            tidying.set()
            assert go.wait(20)

    pool = Pool(factory, 2, retter=retter)
    zero = pool.get()
    crew.start(pool.ret, zero)
    assert tidying.wait(20)
    assert pool.stats()["reserved"] == 1
    assert "1 being checked or tidied up" in repr(pool)
    one = pool.get()
    with pytest.raises(TimeOut, match="1 in use, 0 idle, 1 being checked or tidied up, 0 waiting"):
        pool.get(timeout=0)
    pool.ret(one)
    go.set()
    crew.join()
    assert settled(pool, 2)


def test_a_tracer_tells_objects_in_logs_errors_and_leases(factory: Factory, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise an operator would not know which of many connections it was."""
    pool = Pool(factory, 1, tracer=lambda thing: f"pid {thing.number + 700}", health=lambda _: False, health_delay=0)
    with pool.obj() as thing:
        assert [lease["object"] for lease in pool.leases()] == [f"Thing object number {thing.number} (pid 701)"]
    assert "Thing object number 0 (pid 700) is in bad health: closed" in caplog.text


def test_a_tracer_or_stats_that_raises_harms_nothing(factory: Factory) -> None:
    """Otherwise the statistics of a broken connection would break the monitoring."""
    pool = Pool(factory, 2, tracer=lambda _: str(1 / 0), stats=lambda _: 1 / 0)
    with pool.obj():
        assert pool.leases()[0]["object"] == "Thing object number 0 (tracer raised ZeroDivisionError)"
        (told,) = pool.stats()["objects"]
        assert told == {"number": 0, "state": "leased", "uses": 1, "stats": "stats raised ZeroDivisionError"}


def test_stats_tells_more_of_each_object(factory: Factory) -> None:
    """Otherwise an operator could not see which server a connection leads to."""
    pool = Pool(factory, 2, min_size=2, stats=lambda thing: {"host": f"db{thing.number}"})
    data = json.loads(json.dumps(pool.stats()))
    assert sorted(told["stats"]["host"] for told in data["objects"]) == ["db0", "db1"]
    assert Pool(factory).stats()["objects"] == []


def test_no_object_tells_its_own_text(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise passwords would be found in logs."""

    class Secret:
        def __repr__(self) -> str:
            raise AssertionError("told")

    def bad(_: Secret) -> None:
        raise OSError("broken")

    pool = Pool(lambda _: Secret(), 1, close=bad, retter=bad, health=bad, health_delay=0)
    with caplog.at_level(logging.DEBUG), pool.obj():
        assert pool.leases()[0]["object"].startswith("Secret object number")
        with pytest.raises(TimeOut):
            pool.get(timeout=0)
        pool.ret(Secret())
    until(lambda: "given back, but it is not out" in caplog.text)
    pool.shutdown()
    assert caplog.text.count("Secret object number") >= 3


def test_a_fun_that_returns_what_is_in_the_pool_opens_nothing(factory: Factory) -> None:
    """Otherwise an object in use would be set up again under the feet of its caller."""
    opened: list[object] = []
    thing = factory(0)
    pool = Pool(lambda _: thing, 2, opener=opened.append, name="db")
    with pool.obj(), pytest.raises(PoolException, match=r"db: fun\(1\) returned an object that is already in the pool"):
        pool.get()
    assert opened == [thing]
    assert settled(pool, 1)


def test_an_object_returned_inside_its_block_is_tidied_up_once(factory: Factory) -> None:
    """Otherwise the end of the block would roll back what the next one has begun."""
    tidied: list[int] = []
    pool = Pool(factory, 1, retter=lambda thing: tidied.append(thing.number))
    with pool.obj() as thing:
        pool.ret(thing)
    assert tidied == [0]
    assert settled(pool, 1)
