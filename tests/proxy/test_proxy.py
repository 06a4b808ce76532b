"""The proxy: setting, scopes, what reaches the object, and what does not."""

from __future__ import annotations

import array
import asyncio
import copy
import dataclasses
import doctest
import hashlib
import inspect
import mmap
import os
import pickle
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

import ProxyPatternPool
from ProxyPatternPool import Pool, PoolClosed, Proxy, ProxyException, TimeOut
from ProxyPatternPool._proxy.base import _no_function
from ProxyPatternPool._scopes.pool_source import PoolSource
from ProxyPatternPool._scopes.storage import ThreadStorage
from tests.conftest import Crew, Factory, Thing, run, until
from tests.support.bytecodes import at_bytecode, at_each_bytecode
from tests.support.memory import collect, where_classes_go
from tests.support.objects import Point

Scope = Proxy.Scope

# -- setting


def test_an_object_set_later() -> None:
    """Otherwise a module could not be imported before what it needs exists."""
    stuff: Any = Proxy()
    stuff.set_obj("hello world!")
    assert str(stuff) == "hello world!"
    assert stuff._get_obj() == "hello world!"
    stuff.set_obj("bye")
    assert stuff == "bye"


@pytest.mark.parametrize("value", [0, "", [], None, False])
def test_falsy_objects_are_objects(value: object) -> None:
    """Otherwise an empty list could not be shared."""
    proxy: Proxy[object] = Proxy()
    proxy.set_obj(value)
    assert proxy._get_obj() is value
    assert proxy._local.obj is value
    assert (proxy._has_obj(), proxy._nobjs) == (True, 1)
    assert not proxy


def test_setters_can_be_renamed_or_left_out() -> None:
    """Otherwise the proxy would hide methods of its object."""
    renamed: Any = Proxy(set_name="set_object")
    renamed.set_object([1])
    assert renamed[0] == 1
    renamed.set_object_fun(lambda n: [n])
    assert renamed == [0]
    bare: Any = Proxy({"set": 1}, set_name=None)
    assert not hasattr(bare, "set")
    bare._set_obj({1})
    bare._set({1, 2})
    bare._set(fun=lambda n: {n})
    bare._set_fun(lambda n: {n + 1})
    assert bare == {1}


@pytest.mark.parametrize("name", ["_get", "_pool", "_set", 3, "two words", ""])
def test_a_name_that_cannot_be_a_setter(name: Any) -> None:
    """Otherwise the proxy would lose one of its own methods."""
    if name in ("_get", "_pool", "_set"):
        with pytest.raises(ProxyException, match=f"set_name must not be '{name}': it would hide {name}"):
            Proxy(set_name=name)
    else:
        with pytest.raises(ProxyException, match=f"set_name must be the name of a method or None, not {name!r}"):
            Proxy(set_name=name)


def test_a_setter_that_hides_a_method_of_the_object(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise calling the object's method would replace the object."""
    proxy: Any = Proxy(threading.Event())
    assert caplog.messages == ["a proxy hides set() of its Event: choose another set_name"]
    proxy.set_obj(1)
    assert len(caplog.messages) == 1


def test_contradictions() -> None:
    """Otherwise one of two wishes would be dropped silently."""
    with pytest.raises(ProxyException, match=r"^Proxy cannot set both obj and fun$"):
        Proxy(1, fun=lambda n: n)
    proxy: Any = Proxy()
    with pytest.raises(ProxyException, match=r"^Proxy must set either obj or fun$"):
        proxy.set()
    with pytest.raises(ProxyException, match=r"^Proxy cannot set both obj and fun$"):
        proxy.set(1, fun=lambda n: n)
    with pytest.raises(ProxyException, match=r"scope must be a Proxy\.Scope \(AUTO, SHARED, .*\), not 'THREAD'"):
        Proxy(scope="THREAD")  # type: ignore[arg-type]  # that is what is tested
    for scope in (Scope.THREAD, Scope.VERSATILE):
        with pytest.raises(ProxyException, match=f"scope {scope.name} needs fun"):
            Proxy(1, scope=scope)
    with pytest.raises(TypeError, match="fun must be a callable, not 3"):
        proxy.set(fun=3)
    assert not proxy._has_obj()


def test_an_object_has_no_parameters_of_a_pool() -> None:
    """Otherwise they would be dropped silently, and a forgotten ``fun=`` would be a riddle."""

    def connect(number: int) -> list[int]:
        return [number]

    proxy: Any = Proxy(name="db", max_size=3)
    with pytest.raises(ProxyException, match=r"has no pool, and cannot have max_size, nonsense$"):
        proxy.set([1], nonsense=3, max_size="x")
    with pytest.raises(ProxyException, match=r"cannot have max_size: did you mean fun=…\?$"):
        proxy.set(connect, max_size=3)
    with pytest.raises(ProxyException, match=r"cannot have close, max_size: did you mean fun=…\?$"):
        Proxy(connect, max_size=10, close="close", name="db")
    proxy.set(fun=connect, max_size=4)
    assert (proxy, proxy._pool.stats()["max_size"]) == ([0], 4)
    assert Proxy(connect, name="db")(3) == [3]
    assert Proxy(connect, scope=Scope.SHARED, max_size=3)(3) == [3]
    later: Any
    for later in (Proxy([1], max_size=3), Proxy(list, max_size=3)):  # of the function that may follow
        later.set(fun=connect)
        assert later._pool.stats()["max_size"] == 3


@pytest.mark.parametrize(
    ("options", "setting", "vain"),
    [
        ({"scope": Scope.SHARED}, "scope SHARED", "health, opener, getter, retter, close, max_use, max_lifetime"),
        ({"scope": Scope.LOOP}, "scope LOOP", "health, opener, getter, retter, max_use, max_lifetime"),
        ({"max_size": None}, "max_size=None", "health, opener, getter, retter, close, max_use, max_lifetime"),
        (
            {"scope": Scope.VERSATILE, "max_size": None, "auto_return": True},
            "max_size=None",
            "health, opener, getter, retter, max_use, max_lifetime",
        ),
    ],
)
def test_parameters_without_effect_without_a_pool_are_warned_about(
    factory: Factory, caplog: pytest.LogCaptureFixture, options: dict[str, Any], setting: str, vain: str
) -> None:
    """Otherwise a connection that is never checked, or left open, would be noticed in production."""
    hooks: dict[str, Any] = dict.fromkeys(("opener", "getter", "retter", "health", "closer"), print)
    Proxy(fun=factory, name="db", timeout=3, min_size=0, max_delay=0, **options)
    Proxy(fun=factory, **hooks, max_use=3, max_lifetime=4)
    assert caplog.messages == []
    db: Any = Proxy(name="db", **hooks, max_use=3, max_lifetime=4, **options)
    db.set_fun(factory)
    assert caplog.messages == [f"db: with {setting} there is no pool, so these have no effect: {vain}"]


def test_a_proxy_does_not_stand_for_itself() -> None:
    """Otherwise each use would recurse, and the error would not say why."""
    first: Any = Proxy()
    second: Any = Proxy(first)
    third: Any = Proxy(second)
    for proxy in (first, second, third):
        with pytest.raises(ProxyException, match=r"^a proxy cannot stand for itself$"):
            first.set_obj(proxy)
    assert repr(first).endswith(": not set>")
    first.set_obj("text")
    assert third == "text"
    with pytest.raises(ProxyException, match=r"^a proxy cannot stand for itself$"):
        first.set_obj(third)
    assert third == "text"


@pytest.mark.parametrize("max_size", [1, None])
@pytest.mark.parametrize("scope", [Scope.AUTO, Scope.SHARED, Scope.VERSATILE, Scope.LOOP])
def test_a_function_that_returns_its_own_proxy_is_told_so(scope: Any, max_size: int | None) -> None:
    """Otherwise each use would recurse, and the error would not say why."""
    proxy: Any = Proxy(fun=lambda n: proxy, scope=scope, max_size=max_size)
    other: Any = Proxy(fun=lambda n: Proxy(Proxy(other)), scope=scope, max_size=max_size)

    async def main() -> None:
        for each in (proxy, other):
            with pytest.raises(ProxyException, match="a proxy cannot stand for itself: its fun has returned it"):
                each.upper()
            assert not each._has_obj()
            each.set_fun(lambda n: "text")
            assert each == "text"

    asyncio.run(main())


def test_a_proxy_that_is_not_set_says_how_to_set_it() -> None:
    """Otherwise a forgotten initialisation would be a riddle."""
    text = r"db: the proxy is not set yet: call {}_obj\(…\) or {}_fun\(…\) before using it"
    proxy: Any = Proxy(name="db")
    for use in (lambda: proxy.cursor, lambda: proxy(), lambda: proxy[0], lambda: str(proxy), proxy._get_obj):
        with pytest.raises(ProxyException, match=text.format("set", "set")):
            use()
    with pytest.raises(ProxyException, match="not set yet"):
        proxy.attribute = 1
    with pytest.raises(ProxyException, match="not set yet"):
        del proxy.attribute
    with pytest.raises(ProxyException, match=text.format("_set", "_set")):
        Proxy(name="db", set_name=None)._get_obj()
    with pytest.raises(ProxyException, match=text.format("fill", "fill")):
        Proxy(name="db", set_name="fill")._get_obj()


def test_a_proxy_that_is_not_set_can_be_looked_at() -> None:
    """Otherwise debuggers and documentation tools would fail on any module that has one."""
    proxy: Any = Proxy(name="db")
    assert repr(proxy) == "<Proxy db: not set>"
    assert not proxy
    assert "_get_obj" in dir(proxy)
    assert not proxy._has_obj()
    assert not hasattr(proxy, "__wrapped__")
    assert (proxy._pool, proxy._nobjs, proxy._local.obj) == (None, 0, None)
    proxy._ret_obj()  # as a teardown does that comes before the set-up
    assert not hasattr(Proxy.__new__(Proxy), "__setstate__")  # as copy and pickle ask


def test_setting_a_proxy_again_shuts_its_pool_down(factory: Factory) -> None:
    """Otherwise each reconfiguration would leak connections."""
    proxy: Any = Proxy(fun=factory, close="close")
    proxy._get_obj()
    proxy._ret_obj()
    first = proxy._pool
    proxy.set_fun(factory)
    assert factory.closed == [0]
    assert repr(first).startswith(f"<Pool {first.name} closed")
    assert proxy.number == 0


def test_an_object_taken_before_a_setting_goes_back_to_its_own_pool(factory: Factory) -> None:
    """Otherwise each reconfiguration would leave the connections in use open for ever."""
    proxy: Any = Proxy(fun=factory, max_size=2, close="close")
    first = proxy._pool
    proxy._get_obj()
    proxy.set_fun(factory)
    proxy._ret_obj()
    until(lambda: factory.closed == [0])
    proxy._get_obj()
    second = proxy._pool
    proxy.set_fun(factory)
    assert proxy._get_obj() is factory.things[2]
    assert factory.closed == [0]  # never under the feet of its user, which may be in an outer block
    proxy.set_obj("shared")
    proxy._ret_obj()
    until(lambda: len(factory.closed) == 3)
    assert [pool.stats()["size"] for pool in (first, second)] == [0, 0]
    assert proxy == "shared"


def test_a_block_keeps_its_object_when_the_proxy_is_set_again(factory: Factory) -> None:
    """Otherwise a reload would close a connection in the middle of a transaction."""
    db: Any = Proxy(fun=factory, max_size=2, close="close")
    with db._obj() as mine:
        db.set_fun(factory)
        assert db._get_obj() is not mine
        assert not mine.closed
    until(lambda: mine.closed == 1)
    assert not factory.things[1].closed
    assert db._pool.stats()["in_use"] == 0


def test_an_object_being_taken_while_the_proxy_is_set_again_goes_back(factory: Factory, crew: Crew) -> None:
    """Otherwise its connection would stay open for as long as the program runs."""
    db: Any = Proxy(fun=factory, close="close")
    with db._obj() as old:
        pass
    taking, go = threading.Event(), threading.Event()

    class LateLeases(dict[int, Any]):
        """Enters a lease when told to: the object is not idle any more, and not yet out."""

        def __setitem__(self, use: int, slot: Any) -> None:
            taking.set()
            assert go.wait(20)
            super().__setitem__(use, slot)

    def use() -> None:
        assert db._get_obj() is old
        db._ret_obj()

    db._pool._engine.machine.leased = LateLeases()
    crew.start(use)
    assert taking.wait(20)
    db.set_fun(factory, close="close")
    go.set()
    crew.join()
    until(lambda: old.closed)


def test_a_caller_gets_the_new_object_while_the_proxy_is_set_again(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a reload would fail the callers of that very moment."""
    db: Any = Proxy(fun=factory, max_size=2)
    take = PoolSource.take

    def reload(source: PoolSource[Thing], timeout: Any) -> object:
        if source is not early._source:
            return take(source, timeout)
        db.set_fun(factory)
        raise PoolClosed

    early = db._proxy_provider
    monkeypatch.setattr(PoolSource, "take", reload)
    assert db.number == 0
    assert early is not db._proxy_provider
    db._ret_obj()
    db._pool.shutdown()
    with pytest.raises(PoolClosed):
        db._get_obj()


@where_classes_go
def test_an_object_of_an_earlier_setting_keeps_none_of_those_since(factory: Factory) -> None:
    """Otherwise a thread that never returns its object would keep the pools of all settings after that."""
    proxy: Proxy[Thing] = Proxy(fun=factory)
    assert proxy.number == 0
    pools: list[weakref.ref[Any]] = []
    for _ in range(3):
        proxy._set_fun(factory)
        pools.append(weakref.ref(proxy._pool))
    collect()
    assert [pool() is None for pool in pools] == [True, True, False]


@pytest.mark.parametrize("options", [{}, {"max_size": None}, {"scope": Scope.SHARED}, {"scope": Scope.LOOP}])
def test_a_caller_late_with_an_earlier_provider_gets_the_new_object(options: dict[str, Any]) -> None:
    """Otherwise a function that was replaced would still open a connection, to the old server."""
    db: Any = Proxy(fun=lambda _: pytest.fail("the old one"), **options)
    late = db._proxy_provider  # looked up before the setting, and asked after it
    db.set_fun(lambda n: ["new"])

    async def main() -> None:
        assert late.get() is db._get_obj()
        assert late.cache.obj == ["new"]

    asyncio.run(main())


def test_an_object_returned_behind_the_proxy_is_not_used_again(factory: Factory, crew: Crew) -> None:
    """Otherwise two threads would share it, or a closed one would be used."""
    db: Any = Proxy(fun=factory, max_size=2, close="close")
    db._pool.ret(db._get_obj())
    assert not db._has_obj()
    assert db._local.obj is None
    crew.start(db._get_obj)
    crew.join()
    assert db.number == 1
    db._pool.discard(db._get_obj())
    assert not db._has_obj()
    assert db._get_obj(timeout=20).number == 2
    assert factory.closed == [1]
    db.set_fun(lambda n: [n], max_size=None)
    own = db._get_obj()
    db.set_fun(factory, max_size=2)
    assert db._get_obj() is not own
    db._ret_obj()


def test_pool_parameters_may_come_before_the_function(factory: Factory) -> None:
    """Otherwise a module-level proxy could not be configured from a file."""
    proxy: Any = Proxy(name="db")
    proxy._set_pool(max_size=3, max_use=2)
    proxy.set_fun(factory, max_use=4, close="close")
    assert (proxy._pool.stats()["max_size"], proxy._pool.stats()["max_use"], proxy._pool.name) == (3, 4, "db")
    proxy._get_obj()
    proxy._ret_obj()
    proxy.set(fun=factory, max_size=None)  # as an application factory does that is called again
    assert factory.closed == [0]
    assert proxy._pool is None
    assert Proxy()._pool is None  # the function that stands in for the missing one is never called
    with pytest.raises(NotImplementedError):
        _no_function(0)
    with pytest.raises(TypeError, match="max_sise"):
        Proxy()._set_pool(max_sise=4)  # type: ignore[call-arg]  # that is what is tested


# -- scopes


def test_a_pool_opens_at_first_use(factory: Factory) -> None:
    """Otherwise importing a module would open connections, before a fork perhaps."""
    proxy: Any = Proxy(fun=factory, max_size=5, min_size=3)
    assert isinstance(proxy._pool, Pool)
    assert proxy._pool.stats()["size"] == 0
    assert not factory.things
    assert proxy.number in range(3)
    until(lambda: proxy._nobjs == 3 and not proxy._pool.stats()["creating"])


def test_saying_what_it_is_a_proxy_of_makes_nothing(factory: Factory) -> None:
    """Otherwise a type in brackets would open a connection at import, or mark an object that is shared."""
    db = Proxy[Thing](fun=factory)
    assert not factory.things
    thing = factory(0)
    assert Proxy[Thing](thing)._get_obj() is thing
    assert not hasattr(thing, "__orig_class__")
    assert pickle.loads(pickle.dumps(Proxy[int](3))) == 3
    assert not db._has_obj()


def test_each_thread_has_its_own_object_until_it_returns_it(factory: Factory, crew: Crew) -> None:
    """Otherwise two requests would share a transaction."""
    db: Any = Proxy(fun=factory, max_size=2, timeout=None)
    assert db.number == 0
    assert db._has_obj()
    assert db._local.obj is db._get_obj()

    def work() -> None:
        assert not db._has_obj()
        assert db.number == 1
        db._ret_obj()
        assert not db._has_obj()
        assert db._local.obj is None

    crew.start(work)
    crew.join()
    crew.start(work)
    crew.join()
    assert db.number == 0
    assert db._nobjs == 2
    db._ret_obj()
    db._ret_obj()
    assert db._pool.stats()["nbad_returns"] == 0


def test_a_block_returns_its_object_whatever_ends_it(factory: Factory) -> None:
    """Otherwise an error would cost a connection."""
    db: Any = Proxy(fun=factory, max_size=1)
    with pytest.raises(ZeroDivisionError), db._obj() as thing:
        1 / thing.closed
    assert not db._has_obj()
    with db._obj():
        with db._obj() as inner:
            assert inner is db._get_obj()
        assert db._has_obj()  # the outer block is not over
    assert db._pool.stats()["in_use"] == 0


def rows_of(db: Any) -> Iterator[Thing]:
    with db._obj() as obj:
        yield obj


def test_a_block_that_another_thread_leaves_returns_its_own_object(factory: Factory) -> None:
    """Otherwise a web server that runs generators in threads would lend one request's connection to another."""
    db: Any = Proxy(fun=factory)

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        first, second = rows_of(db), rows_of(db)
        one.submit(next, first).result()
        mine = other.submit(next, second).result()
        other.submit(list, first).result()
        assert [lease["number"] for lease in db._pool.leases()] == [mine.number]
        assert one.submit(lambda: db._has_obj()).result() is False
        one.submit(list, second).result()
    assert db._pool.leases() == []


@pytest.mark.parametrize("how", ["plain", "block"])
@pytest.mark.parametrize("options", [{}, {"auto_return": True}, {"retter": print}, {"max_size": None}])
@pytest.mark.parametrize("scope", [Scope.THREAD, Scope.VERSATILE])
def test_a_thread_whose_block_another_has_left_goes_on(
    factory: Factory, scope: Any, options: dict[str, Any], how: str
) -> None:
    """Otherwise a thread of a web server would fail all later requests, for one whose generator moved on."""
    db: Any = Proxy(fun=factory, scope=scope, **options)

    def use() -> int:
        if how == "plain":
            return int(db.number)
        with db._obj() as obj:
            return int(obj.number)

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        for _ in range(2):
            rows = rows_of(db)
            one.submit(next, rows).result()
            other.submit(list, rows).result()
            assert one.submit(use).result() == one.submit(use).result() == 0
            one.submit(db._ret_obj).result()
    assert db._nobjs == (options.get("max_size", 1) or 1)


def test_a_timeout_reaches_the_calling_thread(factory: Factory, crew: Crew) -> None:
    """Otherwise the limit of the pool would not be one for its users."""
    db: Any = Proxy(fun=factory, max_size=1, name="db")
    crew.start(db._get_obj)
    crew.join()
    with pytest.raises(TimeOut, match="db: pool max size reached"):
        db._get_obj(timeout=0)
    with pytest.raises(TimeOut), db._obj(timeout=0):
        pass
    assert not db._has_obj()


def test_an_object_that_cannot_be_kept_is_returned(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an interrupt at a bad moment would cost a connection."""
    db: Any = Proxy(fun=factory, max_size=1)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ThreadStorage, "set", fail)
        with pytest.raises(KeyboardInterrupt):
            db._get_obj()
    assert db._pool.stats()["in_use"] == 0


@pytest.mark.parametrize("scope", [Scope.VERSATILE, Scope.WERKZEUG, Scope.GEVENT, Scope.EVENTLET])
def test_versatile(factory: Factory, scope: Any) -> None:
    """Otherwise a child task would use its parent's connection."""
    db: Any = Proxy(fun=factory, scope=scope, max_size=3)
    assert db.number == 0

    async def child() -> int:
        number: int = db.number
        db._ret_obj()
        return number

    async def parent() -> None:
        assert db.number == 1
        assert await asyncio.create_task(child()) == 2
        assert await asyncio.to_thread(child_in_thread) == 2
        assert db.number == 1
        db._ret_obj()

    def child_in_thread() -> int:
        number: int = db.number
        db._ret_obj()
        return number

    asyncio.run(parent())
    assert db.number == 0
    assert db._pool.stats()["in_use"] == 1


def test_thread_scope_is_the_thread_whatever_runs_in_it(factory: Factory) -> None:
    """Otherwise THREAD and VERSATILE would be the same."""
    db: Any = Proxy(fun=factory, max_size=1)
    assert db.number == 0

    async def task() -> None:
        assert db.number == 0

    asyncio.run(task())


def test_a_shared_function_is_called_once(factory: Factory, crew: Crew) -> None:
    """Otherwise each of the first callers would make the object again."""
    start = threading.Barrier(8)
    making = threading.Event()

    def fun(number: int) -> Thing:
        assert making.wait(20)
        return factory(number)

    proxy: Any = Proxy(fun=fun, scope=Scope.SHARED)
    assert (proxy._has_obj(), proxy._nobjs, proxy._pool, proxy._local.obj) == (False, 0, None, None)

    def work() -> None:
        start.wait(20)
        assert proxy.number == 0

    for _ in range(7):
        crew.start(work)
    start.wait(20)
    making.set()
    crew.join()
    assert (proxy._has_obj(), proxy._nobjs, proxy._local.obj) == (True, 1, factory.things[0])
    assert proxy._proxy_provider._make_in_turn()  # as a caller does that has looked before, and comes after
    assert len(factory.things) == 1
    proxy._ret_obj()
    assert proxy._get_obj() is factory.things[0]


def test_a_shared_function_is_called_once_whenever_callers_come(crew: Crew) -> None:
    """Otherwise a caller that looks just before the object is there, and asks just after, would make another."""

    def attempt(number: int) -> bool:
        made: list[int] = []
        got: list[object] = []

        def fun(number: int) -> list[int]:
            made.append(number)
            return made

        proxy: Any = Proxy(fun=fun, scope=Scope.SHARED)
        provider = proxy._proxy_provider

        def come() -> None:
            if not made:  # a caller that comes after that finds the object
                crew.start(lambda: got.append(proxy._get_obj()))
                until(lambda: got or provider._making.parkers)

        at_bytecode(number, come, proxy._get_obj)
        crew.join()
        assert made == [0]
        assert all(obj is made for obj in got)
        return bool(got)

    assert at_each_bytecode(attempt) > 100


def test_callers_of_a_shared_function_that_fails_try_in_turn(crew: Crew) -> None:
    """Otherwise one failure would fail all callers, or the others would wait for ever."""
    errors = [OSError("no route"), OSError("no route")]
    calls: list[int] = []
    results: list[object] = []
    start = threading.Barrier(8)

    def fun(number: int) -> str:
        calls.append(number)
        until(lambda: len(proxy._proxy_provider._making.parkers) == 7 or number)  # all others wait for the first one
        if errors:
            raise errors.pop()
        return "made"

    proxy: Any = Proxy(fun=fun, scope=Scope.SHARED)

    def work() -> None:
        start.wait(20)
        try:
            results.append(proxy._get_obj())
        except OSError as error:
            results.append(error)

    for _ in range(8):
        crew.start(work)
    crew.join()
    assert calls == [0, 1, 2]
    assert results.count("made") == 6


def test_a_shared_function_that_takes_too_long(crew: Crew) -> None:
    """Otherwise a caller with a deadline would wait for a server that hangs."""
    making, go = threading.Event(), threading.Event()

    def fun(_: int) -> str:
        making.set()
        assert go.wait(20)
        return "made"

    proxy: Any = Proxy(fun=fun, scope=Scope.SHARED, name="db")
    crew.start(proxy._get_obj)
    assert making.wait(20)
    for timeout in (0, 0.01):
        with pytest.raises(TimeOut, match=f"db: timeout after {float(timeout)} s: still making the shared object"):
            proxy._get_obj(timeout)
    with pytest.raises(ValueError, match="timeout must be a finite number"):
        proxy._get_obj(-1)
    go.set()
    crew.join()
    assert proxy._get_obj(0) == "made"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_child_that_comes_out_of_a_shared_function_is_told_so() -> None:
    """Otherwise it would share an object with its parent, or make another one and not notice."""
    result = run(
        """
        import os, warnings
        from ProxyPatternPool import PoolException, Proxy
        warnings.simplefilter("ignore", DeprecationWarning)
        child = None

        def fun(number):
            global child
            if child is None:
                child = os.fork()
            return [os.getpid()]

        db = Proxy(fun=fun, scope=Proxy.Scope.SHARED, name="db")
        try:
            db._get_obj()
        except PoolException as error:
            assert db == [os.getpid()]
            os.write(1, f"{error}\\n".encode())
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        """
    )
    told = "db: the process was forked meanwhile: this object is the parent's\n"
    assert (result.stderr, result.stdout) == ("", f"{told}0\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_forked_child_makes_its_own_shared_object() -> None:
    """Otherwise parent and child would speak on one connection."""
    result = run(
        """
        import os, sys
        from ProxyPatternPool import Proxy

        class Connection(list):
            def __del__(self):
                print("closed by", "its owner" if self[0] == os.getpid() else "another")

        db = Proxy(fun=lambda n: Connection([os.getpid()]), scope=Proxy.Scope.SHARED)
        assert db[0] == os.getpid() and db == [os.getpid()]
        child = os.fork()
        if not child:
            assert not db._has_obj()
            assert db[0] == os.getpid() and db == [os.getpid()] and isinstance(db, Connection)
            sys.exit()
        print(os.waitpid(child, 0)[1])
        """
    )
    assert (result.stderr, result.stdout) == ("", "0\nclosed by its owner\n")


def test_a_shared_function_that_fails_is_tried_again() -> None:
    """Otherwise a proxy would stay broken after a passing fault."""
    errors = [OSError("no route")]

    def fun(_: int) -> str:
        if errors:
            raise errors.pop()
        return "made"

    proxy: Any = Proxy(fun=fun, scope=Scope.SHARED)
    with pytest.raises(OSError, match="no route"):
        proxy._get_obj()
    assert proxy == "made"


def test_a_shared_function_that_needs_itself_is_told_so() -> None:
    """Otherwise it would wait for itself, for ever."""
    proxy: Any = Proxy(fun=lambda _: str(proxy), scope=Scope.SHARED)
    with pytest.raises(ProxyException, match="fun uses the proxy whose object it is to make"):
        proxy._get_obj()
    assert not proxy._has_obj()


def test_without_a_pool(factory: Factory, crew: Crew) -> None:
    """Otherwise each thread could not simply have its own for as long as it lives."""
    proxy: Any = Proxy(fun=factory, max_size=None)
    proxy._ret_obj()  # nothing yet
    assert (proxy._pool, proxy._has_obj(), proxy._nobjs, proxy._local.obj) == (None, False, 0, None)
    assert proxy.number == 0
    crew.start(lambda: proxy.number == 1 or pytest.fail("shared"))
    crew.join()
    proxy._ret_obj()
    assert (proxy.number, proxy._has_obj(), proxy._nobjs) == (0, True, 2)
    assert proxy._local.obj is factory.things[0]
    proxy.set_obj(3)
    assert proxy == 3


# -- what reaches the object


class Provider:
    """Has an attribute and a method named as some of the proxy's own internals would be."""

    kind = "target"

    def __init__(self) -> None:
        self.log: list[str] = []

    def __call__(self, /, *args: object, **kwargs: object) -> tuple[object, ...]:
        return (*args, *kwargs.items())

    def __enter__(self) -> str:
        self.log.append("enter")
        return "entered"

    def __exit__(self, *error: object) -> bool:
        self.log.append("exit")
        return error[0] is ValueError


def test_attributes() -> None:
    """Otherwise the proxy would be something else than its object."""
    target = Provider()
    proxy: Any = Proxy(target)
    assert proxy.kind == "target"
    proxy.colour = "red"
    assert target.colour == "red"  # type: ignore[attr-defined]  # that is what is tested
    del proxy.colour
    assert not hasattr(target, "colour")
    assert not hasattr(proxy, "colour")
    assert "log" in dir(proxy)
    with pytest.raises(AttributeError, match="'Provider' object has no attribute 'missing'"):
        proxy.missing  # noqa: B018  # the access is what is tested


def test_the_proxys_own_attributes_stay_its_own() -> None:
    """Otherwise subclasses could not have any."""

    class Reference(Proxy[Any]):
        """A proxy with something of its own."""

        note = "default"

    reference = Reference(Provider())
    reference.note = "own"
    assert not hasattr(reference._get_obj(), "note")
    del reference.note
    assert reference.note == "default"
    assert str(Proxy[Any](3)) == "3"  # which makes Python set an attribute on it


def test_operations() -> None:
    """Otherwise code that is given the proxy would have to know that it is one."""
    numbers: Any = Proxy([3, 1, 2])
    assert (len(numbers), numbers[0], numbers[1:], 3 in numbers, list(reversed(numbers))) == (
        3,
        3,
        [1, 2],
        True,
        [2, 1, 3],
    )
    numbers[0] = 9
    del numbers[1]
    assert sorted(numbers) == [2, 9]
    assert numbers == [9, 2]
    assert numbers != [9]
    assert numbers == Proxy([9, 2])
    assert numbers
    assert (str(numbers), repr(numbers), f"{numbers}") == ("[9, 2]",) * 3
    with pytest.raises(TypeError, match="unhashable type"):
        hash(numbers)
    three: Any = Proxy(3)
    assert three < 4
    assert three <= 3
    assert three > 2
    assert three >= 3
    assert hash(three) == hash(3)
    assert f"{three:03}" == "003"
    items: Any = Proxy(iter("ab"))
    assert next(items) == "a"
    assert list(items) == ["b"]
    call: Any = Proxy(Provider())
    assert call(1, self=2, operation=3) == (1, ("self", 2), ("operation", 3))
    with call as entered:
        assert entered == "entered"
    with call:
        raise ValueError("swallowed by the object")
    assert call.log == ["enter", "exit"] * 2


# -- its type


class Reference(Proxy[Any]):
    """A proxy as programs derive it: with another name for its setters, with attributes and methods of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.tag = "own"
        super().__init__(*args, set_name="set_object", **kwargs)

    def twice(self) -> Any:
        return self._get_obj() * 2

    def __len__(self) -> int:
        return 42

    def __hash__(self) -> int:
        return 43


def test_a_subclass_stays_one() -> None:
    """Otherwise programs that derive from `Proxy`, as FlaskSimpleAuth does, would lose what they have added."""
    for reference in (Reference(), Reference([1])):
        reference.set_object([1])
        assert (reference.tag, reference.twice(), len(reference), reference[0]) == ("own", [1, 1], 42, 1)
        assert hash(reference) == 43
        reference.tag = "changed"
        assert reference.tag == "changed"
        assert isinstance(reference, Reference)
        assert isinstance(reference, Proxy)
        assert isinstance(reference, list)
        assert (type(reference).__name__, type(reference).__qualname__) == ("Reference", "Reference")
        assert type(reference).__module__ == __name__
        assert not hasattr(reference, "Scope")  # that is the class's
        reference.set_object_fun(lambda n: {n: 1}, max_size=1)
        assert (reference.tag, reference[0], len(reference), isinstance(reference, dict)) == ("changed", 1, 42, True)
        assert reference._pool.stats()["in_use"] == 1
        reference._ret_obj()


class Markup(Proxy[Any]):
    """A proxy with special names of its own."""

    __wrapped__ = "a function"
    __dict__ = property(lambda self: {"own": True})  # as werkzeug's LocalProxy has it
    __signature__ = "a signature"

    def __html__(self) -> str:
        return "<b>own</b>"

    def __reduce__(self) -> tuple[Any, ...]:
        return str, ("reduced",)


@pytest.mark.parametrize("kind", ["nothing", "object", "function", "function, used"])
def test_special_names_of_a_subclass_are_its_proxies_own(kind: str) -> None:
    """Otherwise a template engine would not find ``__html__``, nor pickle what the class says of itself."""
    markup: Any = Markup()
    if kind == "object":
        markup.set_obj(len)
    elif kind != "nothing":
        markup.set_fun(lambda n: len)
    if kind == "function, used":
        markup._get_obj()
    assert (markup.__html__(), markup.__wrapped__, markup.__signature__) == ("<b>own</b>", "a function", "a signature")
    assert (markup.__dict__, vars(markup)) == ({"own": True}, {"own": True})
    assert pickle.loads(pickle.dumps(markup)) == "reduced"
    assert markup._has_obj() is (kind in ("object", "function, used"))


def test_special_names_that_every_class_has_are_the_objects() -> None:
    """Otherwise a class with a docstring, a type or a mixin would hide the text, the items or the memory of objects."""

    class Mixin:
        """Has a dictionary of its own kind."""

        mixed = "in"

        def __html__(self) -> str:
            return "mixed in"

    class Before(Mixin, Proxy[Any]):
        """A proxy."""

        field: int

    class After(Proxy[Any], Mixin):
        """A proxy."""

    obj = Provider()
    for kind in (Before, After):
        proxy: Any = kind(obj)
        assert (proxy.__doc__, proxy.__dict__ is vars(obj), proxy.__module__) == (Provider.__doc__, True, __name__)
        assert (proxy.__init__, proxy.mixed, proxy.__html__()) == (obj.__init__, "in", "mixed in")  # type: ignore[misc]


def test_an_attribute_that_a_subclass_is_given_late_is_found() -> None:
    """Otherwise a class could not be completed after its first proxy, as registries and decorators do."""

    class Late(Proxy[Any]):
        """A proxy whose class is not complete yet."""

    proxies: list[Any] = [Late(), Late([1]), Late(fun=lambda n: [1])]
    for proxy in proxies[1:]:
        with pytest.raises(AttributeError, match="'list' object has no attribute 'late'"):
            proxy.late  # noqa: B018  # the access is what is tested
    Late.late = property(lambda self: ("late", self._has_obj()))  # type: ignore[attr-defined]
    Late.append = "hidden by that of the object"  # type: ignore[attr-defined]
    assert [proxy.late for proxy in proxies] == [("late", False), ("late", True), ("late", True)]
    assert proxies[1].append(2) is None
    proxies[1].set_obj([3])
    assert proxies[1].append == "hidden by that of the object"


class Repository:
    """A class to derive from."""


@pytest.mark.parametrize("scope", [Scope.SHARED, Scope.THREAD, Scope.VERSATILE])
def test_the_first_use_may_be_a_base_or_a_class_that_is_asked_for(scope: Any) -> None:
    """Otherwise a module could derive from a proxied class only after another module has used it."""
    proxy: Any = Proxy(fun=lambda n: Repository, scope=scope)
    assert type("Derived", types.resolve_bases((proxy,)), {}).__mro__[1] is Repository
    asked: list[Any] = [Proxy(fun=lambda n: Repository, scope=scope) for _ in range(2)]
    assert issubclass(*asked)
    assert issubclass(cast(Any, Proxy(Proxy(Repository))), asked[0])
    assert not issubclass(cast(Any, Proxy(int)), asked[0])
    with pytest.raises(ProxyException, match="not set yet"):
        types.resolve_bases((Proxy(),))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="types made in Python give no access to memory yet")
@pytest.mark.parametrize("scope", [Scope.SHARED, Scope.THREAD, Scope.VERSATILE])
def test_the_first_use_may_read_memory(scope: Any) -> None:
    """Otherwise the first write of a buffer to a socket would fail, and the next one work."""
    for read in (memoryview, lambda p: b"".join([p]), hashlib.sha256):
        proxy: Any = Proxy(fun=lambda n: b"text", scope=scope)
        read(proxy)
        assert proxy._has_obj()
    with pytest.raises(ProxyException, match="not set yet"):
        memoryview(Proxy())


@pytest.mark.parametrize("make", [lambda: array.array("i", [1, 2]), lambda: memoryview(array.array("i", [1, 2]))])
def test_bytes_are_those_of_the_memory_at_each_use(make: Any) -> None:
    """Otherwise a file would silently get other bytes, from the second time on."""
    expected = bytes(make())
    proxies: list[Any] = [
        Proxy(make()),
        *(Proxy(fun=lambda n: make(), scope=scope) for scope in (Scope.SHARED, Scope.THREAD)),
    ]
    for proxy in proxies:
        assert [bytes(proxy), bytes(proxy), b"%b" % proxy] == [expected] * 3
        assert [int.from_bytes(proxy, "big")] * 2 == [int.from_bytes(expected, "big")] * 2


def test_an_object_that_refuses_to_show_its_memory_can_be_set() -> None:
    """Otherwise a file mapping that is closed already could not stand behind a proxy."""
    mapping = mmap.mmap(-1, 4)
    mapping.close()
    assert Proxy[Any](mapping).closed


@pytest.mark.parametrize("path", [os.devnull, os.fsencode(os.devnull)])
def test_a_path_is_one_at_each_use(path: Any) -> None:
    """Otherwise a program would open its file once, and never again."""
    proxies: list[Any] = [
        Proxy(path),
        *(Proxy(fun=lambda n: path, scope=scope) for scope in (Scope.SHARED, Scope.THREAD)),
    ]
    for proxy in proxies:
        for _ in range(2):
            assert os.fspath(proxy) == path
            with open(proxy, "rb") as file:  # noqa: PTH123  # the function is what is tested
                assert file.read() == b""
            assert Path(os.fsdecode(proxy)) == Path(os.devnull)


def test_an_object_is_what_its_proxy_stands_for_now() -> None:
    """Otherwise a proxy that is set again could do what its object cannot."""
    proxy: Any = Proxy([1])
    assert not callable(proxy)
    proxy.set_obj(len)
    assert (callable(proxy), proxy([1]), isinstance(proxy, list)) == (True, 1, False)
    proxy.set_obj(3)
    assert (callable(proxy), proxy + 1, hash(proxy)) == (False, 4, hash(3))


def test_a_function_may_make_objects_of_several_types(crew: Crew) -> None:
    """Otherwise the operations of the second thread's object would be lost."""
    proxy: Any = Proxy(fun=lambda n: [[1, 2], {"key": 3}, len, Point(1, 2)][n])
    assert proxy[0] == 1
    assert not callable(proxy)
    crew.start(lambda: proxy["key"] == 3 or pytest.fail("not its own"))
    crew.join()
    crew.start(lambda: (proxy._get_obj(), proxy([1])) == (len, 1) or pytest.fail("not its own"))
    crew.join()
    assert not dataclasses.is_dataclass(proxy)
    crew.start(lambda: proxy.x == 1 or pytest.fail("not its own"))
    crew.join()
    assert (callable(proxy), proxy[1], len(proxy), dataclasses.is_dataclass(proxy)) == (True, 2, 2, True)


def test_asking_for_its_class_takes_no_object(factory: Factory, crew: Crew) -> None:
    """Otherwise a tool that looks at everything there is would open connections, or wait for one."""
    db: Any = Proxy(fun=factory, max_size=1, timeout=0)
    assert not isinstance(db, Thing)
    assert not factory.things
    assert db.number == 0
    crew.start(lambda: isinstance(db, Thing) or pytest.fail("not known"))
    crew.join()
    db._ret_obj()
    assert (isinstance(db, Thing), db._has_obj()) == (True, False)
    obj: Any = Provider()
    shared: Any = Proxy(obj)
    shared.__class__ = Thing
    assert type(obj) is Thing


def test_naming_its_type_takes_no_object(factory: Factory) -> None:
    """Otherwise `Proxy[T](fun=connect)` would connect while it is imported, and `Proxy[T](obj)` change its object."""
    db = Proxy[Thing](fun=factory)
    assert (db._has_obj(), factory.things) == (False, [])
    target = Provider()
    assert vars(Proxy[Provider](target)) == vars(Provider())


def test_a_proxy_is_collected() -> None:
    """Otherwise each test run, and each reconfiguration, would leak a type."""
    result = run(
        """
        import gc, weakref
        from ProxyPatternPool import Proxy

        class Provider: ...

        def references(proxy):
            proxy._get_obj()
            before = type(proxy)
            proxy.set_fun(lambda _: Provider())
            proxy._get_obj()
            return [weakref.ref(proxy), weakref.ref(type(proxy)), weakref.ref(before)]

        seen = references(Proxy(Provider())) + references(Proxy(fun=lambda _: Provider()))
        gc.collect()
        print([reference() for reference in seen])
        """
    )
    assert (result.stderr, result.stdout) == ("", f"{[None] * 6}\n")


def test_special_methods_are_found_as_the_interpreter_finds_them() -> None:
    """Otherwise a proxy would enter what its object would not."""

    class Odd:
        __enter__ = staticmethod(lambda: "entered")
        __exit__ = print

    odd: Any = Odd()
    odd.__enter__ = None
    with Proxy(odd) as entered:
        assert entered == "entered"
    unknown: Any = Proxy(fun=lambda n: n)
    with pytest.raises(TypeError, match="'int' object has no __enter__"):
        type(unknown).__enter__(unknown)
    unknown = Proxy(fun=lambda n: n)
    with pytest.raises(TypeError, match="'int' object is not callable"):
        unknown()


# -- at any time


def test_a_proxy_that_is_not_set_can_be_copied_pickled_and_inspected() -> None:
    """Otherwise debuggers, documentation tools and test runners would recurse, or fail, over modules that have one."""
    proxy: Proxy[Any] = Proxy(name="db", max_size=3, scope=Scope.THREAD)
    for again in (copy.copy(proxy), copy.deepcopy(proxy), pickle.loads(pickle.dumps(proxy))):
        assert repr(again) == "<Proxy db: not set>"
        assert not again._has_obj()
        again._set_fun(lambda n: [n])
        assert again[0] == 0
        assert again._pool is not None
        assert again._pool.stats()["max_size"] == 3
    assert not inspect.isclass(proxy)
    assert not inspect.isroutine(inspect.unwrap(cast(Any, proxy)))
    assert "_get_obj" in dict(inspect.getmembers(proxy))
    assert inspect.getdoc(proxy)
    assert isinstance(proxy, Proxy)
    assert not isinstance(proxy, list)
    module = types.ModuleType("module")
    module.__dict__.update(db=proxy, __name__="module")
    assert doctest.DocTestFinder().find(module) == []
    assert weakref.ref(proxy)() is proxy


def test_a_pickled_proxy_arrives_as_a_proxy() -> None:
    """Otherwise a task that is sent to another process would come without its connection, or with a copy of one."""
    shared: Any = pickle.loads(pickle.dumps(Proxy([1], name="shared")))
    assert (shared._get_obj(), shared == [1]) == ([1], True)
    nothing: Any = Proxy()
    nothing.set_obj(None)
    assert pickle.loads(pickle.dumps(nothing))._has_obj()
    db = pickle.loads(pickle.dumps(Reference(fun=bytearray, max_size=2, name="db")))
    assert (type(db).__name__, db._pool.name, db._pool.stats()["max_size"]) == ("Reference", "db", 2)
    assert (db.tag, db._pool.stats()["size"], db) == ("own", 0, bytearray(0))
    assert not hasattr(Proxy.__new__(Proxy), "__setstate__")


def test_setting_while_others_use_it(crew: Crew) -> None:
    """Otherwise a reload would show a half-set proxy to threads at work."""
    values: list[Any] = ["a", "bb", [3]]
    proxy: Any = Proxy("a")
    done = threading.Event()

    def use() -> None:
        while not done.is_set():
            assert str(proxy) in ("a", "bb", "[3]")
            assert len(proxy) in (1, 2)
            assert getattr(proxy, "__class__") in (str, list)  # noqa: B009  # mypy would draw conclusions
            assert repr(proxy) in ("'a'", "'bb'", "[3]")
            assert proxy * 1 in ("a", "bb", [3])
            assert proxy._has_obj()

    for _ in range(7):
        crew.start(use)
    for turn in range(300):
        proxy.set_obj(values[turn % 3])
    done.set()
    crew.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_child_can_use_a_proxy_that_its_parent_was_setting() -> None:
    """Otherwise a worker that is forked at a bad moment would hang at its first query."""
    result = run(
        """
        import os, signal, threading
        from ProxyPatternPool import Proxy

        class Slow(Proxy):
            def __init_subclass__(cls):
                if threading.current_thread() is setter:
                    setting.set()
                    go.wait()

        setter, setting, go = None, threading.Event(), threading.Event()
        db = Slow(fun=lambda n: [n])
        setter = threading.Thread(target=db.set_fun, args=[lambda n: [n]])
        setter.start()
        setting.wait()
        if not os.fork():
            signal.alarm(20)  # a child that hangs would outlive the test
            os._exit(len(db) + 6)
        _, status = os.wait()
        go.set()
        setter.join()
        print(os.waitstatus_to_exitcode(status))
        """
    )
    assert result.stdout == "7\n"


def test_setting_functions_while_others_use_it(crew: Crew) -> None:
    """Otherwise a reload would fail threads at work, or leave their objects behind."""
    proxy: Any = Proxy(fun=lambda n: [n], max_size=8)
    done = threading.Event()
    pools: list[Any] = []

    def use() -> None:
        while not done.is_set():
            with proxy._obj(timeout=20) as mine:
                assert isinstance(mine, list)
                proxy.append(1)
                assert proxy[0] in range(500)

    for _ in range(7):
        crew.start(use)
    for _ in range(40):
        pools.append(proxy._pool)
        proxy.set_fun(lambda n: [n], max_size=8)
    done.set()
    crew.join()
    pools.append(proxy._pool)
    assert [pool.stats()["in_use"] for pool in pools] == [0] * 41


def test_a_block_of_a_shared_object_leaves_it_there(factory: Factory) -> None:
    """Otherwise the end of one request would take the object from all others."""
    proxy: Any = Proxy(fun=factory, scope=Scope.SHARED)
    with proxy._obj() as first:
        assert first.number == 0
    with proxy._obj() as second:
        assert second is first


def test_names_that_are_loaded_late_are_listed() -> None:
    """Otherwise completion would not find the asynchronous half, or the version."""
    listed = {"AsyncPool", "AsyncProxy", "AsyncKeyedPool", "loop_local", "__version__"}
    assert listed <= set(dir(ProxyPatternPool))
