"""Tools look at everything that they find: a proxy which has no object there takes none for them."""

from __future__ import annotations

import abc
import asyncio
import doctest
import functools
import inspect
import re
import subprocess
import sys
import traceback
import types
import unittest
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ProxyPatternPool import AsyncProxy, Proxy, ProxyException
from tests.conftest import Crew
from tests.support.loops import Run

Scope = Proxy.Scope


def connect(_: int) -> object:
    pytest.fail("a tool has connected")


def decorated(number: int) -> Any:
    """Make a function which has everything that tools ask for."""

    @functools.wraps(decorated)
    def function() -> int:
        return number

    return function


MAKERS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: Proxy(),
    "THREAD": lambda: Proxy(fun=connect),
    "VERSATILE": lambda: Proxy(fun=connect, scope=Scope.VERSATILE),
    "SHARED": lambda: Proxy(fun=connect, scope=Scope.SHARED),
    "LOOP": lambda: Proxy(fun=connect, scope=Scope.LOOP),
    "no pool": lambda: Proxy(fun=connect, max_size=None),
    "asynchronous, for each task": lambda: AsyncProxy(fun=connect),
    "asynchronous, for each loop": lambda: AsyncProxy(fun=connect, scope=Scope.LOOP),
}


def look_at(proxy: Any) -> None:
    """Look at it in all the ways in which tools look at everything."""
    module = types.ModuleType("module")
    vars(module).update(db=proxy, __name__="module")
    assert doctest.DocTestFinder().find(module) == []
    assert inspect.unwrap(proxy) is proxy
    for name, predicate in vars(inspect).items():
        if name.startswith("is") and inspect.isfunction(predicate) and name != "iskeyword":
            inspect.getmembers(module, predicate)
    assert not asyncio.iscoroutinefunction(proxy)
    assert unittest.defaultTestLoader.loadTestsFromModule(module).countTestCases() == 0
    with unittest.mock.patch.object(module, "db"):
        assert module.db is not proxy
    assert module.db is proxy
    assert not inspect.isabstract(type("Repository", (abc.ABC,), {"db": proxy}))
    assert not hasattr(proxy, "__test__")


@pytest.mark.parametrize("kind", MAKERS)
def test_tools_make_no_object(kind: str) -> None:
    """Otherwise running the tests of a program, or replacing its database in one, would connect to it."""
    look_at(MAKERS[kind]())


def test_tools_take_no_object_for_threads_that_have_none(crew: Crew) -> None:
    """Otherwise looking around in a second thread would take a connection away from the others."""
    db: Any = Proxy(fun=lambda n: [n], max_size=1, timeout=0.0)
    assert db == [0]
    crew.start(look_at, db)
    crew.join()
    look_at(db)
    db._ret_obj()
    look_at(db)
    assert not db._has_obj()


class Callee:
    """Has a method, and can be called."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def method(self) -> None: ...


@pytest.mark.parametrize(
    "make",
    [
        decorated,
        lambda n: Callee(n).method,
        lambda n: functools.partial(decorated, n),
        lambda n: type(f"Callee{n}", (Callee,), {}),
    ],
)
@pytest.mark.parametrize("scope", [Scope.THREAD, Scope.VERSATILE])
def test_a_function_or_a_class_is_only_known_to_its_holder(scope: Proxy.Scope, make: Callable[[int], Any]) -> None:
    """Otherwise patching one for a test would fail when it was in use before, since its code is unknown there."""
    function: Any = Proxy(fun=make, scope=scope)
    kind = type(function._get_obj())
    assert isinstance(function, kind)
    function._ret_obj()
    assert not isinstance(function, kind)
    module = types.ModuleType("module")
    vars(module).update(function=function)
    with unittest.mock.patch.object(module, "function"):
        assert module.function is not function
    for predicate in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isabstract, inspect.ismethod):
        assert not predicate(function)
    assert unittest.defaultTestLoader.loadTestsFromModule(module).countTestCases() == 0
    assert not function._has_obj()


def test_an_object_that_is_there_is_asked(crew: Crew) -> None:
    """Otherwise the proxy of a function would not be a function to these tools."""
    function: Any = Proxy(fun=decorated)
    assert not hasattr(function, "__wrapped__")
    assert not hasattr(function, "__name__")
    assert function() == 0
    assert inspect.unwrap(function) is decorated
    assert (function.__name__, function.__code__) == ("decorated", function._get_obj().__code__)
    function.__test__ = False
    assert function._get_obj().__test__ is False
    del function.__test__
    assert not hasattr(function._get_obj(), "__test__")
    crew.start(lambda: hasattr(function, "__name__") and pytest.fail("this thread has none"))
    crew.join()
    shared: Any = Proxy(decorated)
    assert (shared.__name__, inspect.unwrap(shared) is shared) == ("decorated", True)


def test_the_text_of_what_cannot_be_had_by_looking(run_loop: Run) -> None:
    """Otherwise a traceback that shows local variables would show another error than the one which it is of."""
    of_task: Any = AsyncProxy(fun=lambda _: [0], name="db")
    of_loop: Any = AsyncProxy(fun=lambda _: [0], name="db", scope=Scope.LOOP)
    made: Any = Proxy(fun=lambda _: [0], name="db", scope=Scope.LOOP)

    async def main() -> None:
        for _ in range(2):  # before and after it is known what the objects are like
            assert repr(of_task) == "<AsyncProxy db: this task has no object>"
            async with of_task._obj():
                assert repr(of_task) == "[0]"
        assert repr(of_loop) == "<AsyncProxy db: this event loop has no object>"
        await of_loop._get_obj()
        assert repr(of_loop) == repr(made) == "[0]"

    for _ in range(2):
        assert repr(of_task) == "<AsyncProxy db: this task has no object>"
        assert repr(of_loop) == "<AsyncProxy db: no event loop runs>"
        assert repr(made) == "<Proxy db: no event loop runs>"
        db = of_task
        try:
            db.append(1)
        except ProxyException as error:
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
            assert "    db = <AsyncProxy db: this task has no object>\n" in "".join(shown.format())
        run_loop(main())


@pytest.mark.parametrize("kind", [Proxy, AsyncProxy])
def test_help_tells_what_is_the_proxys_own(kind: type[Any]) -> None:
    """Otherwise a reader would not find it: help leaves out names that begin with an underscore."""
    own = {name for base in kind.__mro__[:2] for name in vars(base) if re.match("_[a-z]", name)}
    told = inspect.getdoc(kind)
    assert told
    listed = {name.removesuffix(".obj") for name in re.findall("`(_[a-z_.]+)`", told.split("\n- ", 1)[1])}
    assert listed == {name for name in own if not name.startswith("_proxy")}


class Shown(AsyncProxy[Any]):
    """A proxy that has a text of its own."""

    def __repr__(self) -> str:
        return "my own"


def test_a_text_of_ones_own() -> None:
    """Otherwise a subclass could not say what it is."""
    assert repr(Shown(fun=connect)) == "my own"


def test_the_signature_of_a_proxy_is_unknown_before_it_is_set() -> None:
    """Otherwise a documentation tool would fail on a module that has one."""
    assert str(inspect.signature(Proxy())) == "(*args, **kwargs)"


@pytest.mark.slow
def test_pytest_collects_a_module_that_has_proxies(tmp_path: Path) -> None:
    """Otherwise the tests of a program could not be run where its database is not."""
    module = tmp_path / "test_module.py"
    module.write_text(
        """
import sys
from ProxyPatternPool import AsyncProxy, Proxy

def connect(_):
    print("pytest has connected", file=sys.__stderr__)
    raise OSError

unset = Proxy()
thread = Proxy(fun=connect)
versatile = Proxy(fun=connect, scope=Proxy.Scope.VERSATILE)
loop = Proxy(fun=connect, scope=Proxy.Scope.LOOP)
asynchronous = AsyncProxy(fun=connect, scope=Proxy.Scope.LOOP)

class TestRepository:
    db = thread

    def test_it(self):
        '''
        >>> 1 + 1
        2
        '''
"""
    )
    command = [sys.executable, "-m", "pytest", "-q", "--doctest-modules", "-p", "no:cacheprovider", str(module)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ("2 passed" in result.stdout, "connected" in result.stdout + result.stderr) == (True, False), result
