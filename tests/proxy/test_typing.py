"""The types of a proxy: mypy and pyright check this file as they do the library; and then it is run."""

from __future__ import annotations

import ast
import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from inspect import getsource
from typing import Any, assert_type

from ProxyPatternPool import AsyncPool, AsyncProxy, Pool, Proxy, transparent
from ProxyPatternPool._transparency import type_hints as _anything
from ProxyPatternPool._transparency.transparent_type import UNKNOWN


def make(_: int) -> io.StringIO:
    return io.StringIO("one\ntwo\n")


def test_methods_of_the_proxy_have_types() -> None:
    """Otherwise every use of an object would be unchecked."""
    of_object = Proxy([1, 2])
    assert_type(of_object, Proxy[list[int]])
    assert_type(of_object._get_obj(), list[int])
    of_function = Proxy(fun=make, scope=Proxy.Scope.VERSATILE, max_size=2, auto_return=True)
    assert_type(of_function, Proxy[io.StringIO])
    assert_type(of_function._pool, Pool[io.StringIO])
    assert_type(of_function._has_obj(), bool)
    block: AbstractContextManager[io.StringIO] = of_function._obj(timeout=1)
    with block as obj:
        assert_type(obj, io.StringIO)
    later: Proxy[io.StringIO] = Proxy()
    later._set_fun(make)
    assert_type(later._get_obj(timeout=None), io.StringIO)


def test_everything_else_is_any() -> None:
    """Otherwise a program that uses proxies would be full of ignored errors."""
    text: Proxy[io.StringIO] = Proxy(fun=make, set_name="set_text")
    assert_type(text.readline(), Any)
    text.set_text_fun(make)
    with text as entered:
        assert_type(entered, Any)
        lines: Iterator[str] = iter(text)
        assert next(lines) == "one\n"
        assert [line for line in text] == ["two\n"]  # noqa: C416  # the iteration is what is checked
    numbers = Proxy([1, 2])
    assert len(numbers) == 2
    assert numbers[0] == 1
    numbers[0] = 3
    del numbers[1]
    assert 3 in numbers
    assert numbers * 2 == [3, 3]
    assert [*numbers, *reversed(numbers)] == [3, 3]
    three = Proxy(3)
    assert (three + 1, 1 - three, -three, abs(three), divmod(three, 2)) == (4, -2, -3, 3, (1, 1))
    assert (three > 2, int(three), float(three), f"{three:02}", "abcd"[three]) == (True, 3, 3.0, "03", "d")
    double = Proxy(lambda value: value * 2)
    assert double(2) == 4


def test_a_proxy_with_the_type_of_its_object() -> None:
    """Otherwise an editor could complete nothing."""
    db = transparent(Proxy(fun=make))
    assert_type(db, io.StringIO)
    assert_type(db.readline(), str)
    assert isinstance(db, Proxy)


async def connect(_: int) -> io.StringIO:
    return make(0)


@asynccontextmanager
async def enter(_: int) -> AsyncIterator[io.StringIO]:
    yield make(0)


def test_an_async_proxy_of_a_loop_has_the_type_of_its_object() -> None:
    """Otherwise each use would have to be told that it is neither a coroutine nor a context manager."""

    async def main() -> None:
        of_coroutine = AsyncProxy(fun=connect, scope=AsyncProxy.Scope.LOOP)
        assert_type(of_coroutine, AsyncProxy[io.StringIO])
        of_manager = AsyncProxy(fun=enter, scope=AsyncProxy.Scope.LOOP)
        assert_type(of_manager, AsyncProxy[io.StringIO])
        of_function = AsyncProxy(fun=make, scope=AsyncProxy.Scope.LOOP)
        assert_type(of_function, AsyncProxy[io.StringIO])
        later: AsyncProxy[io.StringIO] = AsyncProxy(scope=AsyncProxy.Scope.LOOP)
        for fun in (connect, enter, make):
            later._set_fun(fun)
            assert_type(await later._get_obj(), io.StringIO)
        async with of_manager._obj(timeout=1) as obj:
            assert_type(obj, io.StringIO)
            assert_type(of_manager.readline(), Any)

    asyncio.run(main())


def test_an_async_proxy_of_a_task_has_the_type_of_its_object() -> None:
    """Otherwise a request's connection would be unchecked, though its pool has a type."""

    async def main() -> None:
        of_manager = AsyncProxy(fun=enter, max_size=2, auto_return=True)
        assert_type(of_manager, AsyncProxy[io.StringIO])
        assert_type(of_manager._pool, AsyncPool[io.StringIO])
        assert_type(await of_manager._get_obj(), io.StringIO)
        assert_type(of_manager.readline(), Any)
        assert_type(await of_manager._ret_obj(), None)
        later = AsyncProxy[io.StringIO](max_size=None)
        later.set_fun(connect)
        block: AbstractAsyncContextManager[io.StringIO] = later._obj(timeout=1)
        async with block as obj:
            assert_type(obj, io.StringIO)

    asyncio.run(main())


class Reference(Proxy[io.StringIO]):
    """A proxy with a type of its own."""

    def first_line(self) -> str:
        return self._get_obj().readline()


def test_a_subclass() -> None:
    """Otherwise a program could not give its proxies methods."""
    reference = Reference(fun=make)
    assert_type(reference.first_line(), str)
    assert_type(reference._get_obj(), io.StringIO)
    assert reference.readline() == "two\n"


def test_type_checkers_know_every_operation() -> None:
    """Otherwise one that works would be called an error."""
    declared = {node.name for node in ast.walk(ast.parse(getsource(_anything))) if isinstance(node, ast.FunctionDef)}
    assert declared - {"__getattr__", "__setattr__", "__delattr__"} == UNKNOWN.operations.keys() - {
        *("__bool__", "__dir__", "__eq__", "__format__", "__ne__", "__repr__", "__str__"),  # known of any class
        *(
            "__instancecheck__",
            "__subclasscheck__",
            "__mro_entries__",
            "__ipow__",
        ),  # they refuse the first three, and take the last for granted
    }
