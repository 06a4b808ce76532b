"""The type that is made for a proxy, each time it is set: what it costs, and what its methods mean."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from ProxyPatternPool import Proxy
from tests.support.memory import bytes_in_use, where_classes_go
from tests.support.objects import Plain

Scope = Proxy.Scope


class Manager:
    """A context manager which tells what it was told."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def __enter__(self) -> None:
        self.log.append("entered")

    def __exit__(self, *error: object) -> None:
        self.log.append("left")

    async def __aenter__(self) -> None:
        self.log.append("entered")

    async def __aexit__(self, *error: object) -> None:
        self.log.append("left")


@pytest.mark.parametrize("scope", [Scope.SHARED, Scope.THREAD, None])
@pytest.mark.parametrize("used", [True, False])
def test_an_entered_object_is_left_when_the_proxy_is_set_meanwhile(scope: Any, used: bool) -> None:
    """Otherwise a reload would leave a lock locked, and unlock another one."""
    managers = [Manager() for _ in range(6)]
    rest = iter(managers)
    proxy: Any = Proxy(scope=scope or Scope.AUTO)

    def reset() -> None:
        if scope is None:
            proxy.set_obj(next(rest))
        else:
            following = next(rest)
            proxy.set_fun(lambda n: following, max_size=2)
            if used:
                proxy._get_obj()

    reset()
    with proxy:
        reset()
    with contextlib.ExitStack() as stack:
        stack.enter_context(proxy)
        reset()

    async def main() -> None:
        async with proxy:
            reset()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(proxy)
            reset()

    asyncio.run(main())
    assert [manager.log for manager in managers] == [["entered", "left"]] * 4 + [[], []]


def first_used(proxy: Proxy[Any]) -> Proxy[Any]:
    proxy._get_obj()
    return proxy


SMALL: dict[str, Callable[[], object]] = {
    "an object": lambda: Proxy(Plain()),
    "a number": lambda: Proxy(3),
    "a list": lambda: Proxy([1]),
    "nothing": lambda: Proxy(),
    "a function": lambda: Proxy(fun=lambda n: Plain()),
    "VERSATILE": lambda: Proxy(fun=lambda n: Plain(), scope=Scope.VERSATILE),
    "LOOP": lambda: Proxy(fun=lambda n: Plain(), scope=Scope.LOOP),
    "SHARED": lambda: Proxy(fun=lambda n: Plain(), scope=Scope.SHARED),
    "SHARED, used": lambda: first_used(Proxy(fun=lambda n: [n], scope=Scope.SHARED)),
    "max_size=None, used": lambda: first_used(Proxy(fun=lambda n: [n], max_size=None)),
}


@where_classes_go
@pytest.mark.parametrize("kind", SMALL)
def test_a_proxy_takes_little_memory(kind: str) -> None:
    """Otherwise a program could not have thousands of them, one for each tenant, or each lazily made constant."""
    SMALL[kind]()
    taken, left = [], []
    tracemalloc.start()
    try:
        for _ in range(3):  # the least counts: in one of them a table of the whole process may just double its size
            before = bytes_in_use()
            proxies = [SMALL[kind]() for _ in range(50)]
            taken.append((bytes_in_use() - before) / 50)
            proxies.clear()
            left.append((bytes_in_use() - before) / 50)
    finally:
        tracemalloc.stop()
    assert min(taken) < 10_000
    assert min(left) < 1_000


@pytest.mark.parametrize("kind", ["object", "function"])
def test_nothing_is_between_an_operation_and_a_shared_object(kind: str) -> None:
    """Otherwise a shared list would be as slow as one of each thread."""
    proxy: Any = Proxy([1]) if kind == "object" else first_used(Proxy(fun=lambda n: [1], scope=Scope.SHARED))
    ours: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            ours.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        assert (len(proxy), proxy[0], proxy == [1], str(proxy), 1 in proxy, proxy * 2) == (1, 1, 1, "[1]", 1, [1, 1])
    finally:
        sys.setprofile(None)
    assert ours == []
