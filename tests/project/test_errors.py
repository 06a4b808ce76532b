"""The exceptions and other public types: what they are called, wherever they are read."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from typing import Any

import pytest

import ProxyPatternPool
from ProxyPatternPool import Proxy, _errors

PUBLIC = [getattr(ProxyPatternPool, name) for name in ProxyPatternPool.__all__ if hasattr(_errors, name)]


@pytest.mark.parametrize("kind", PUBLIC)
def test_a_traceback_names_what_a_program_can_import(kind: type[Exception]) -> None:
    """Otherwise it would lead to a private module, or not arrive from another process."""
    error = kind("text")
    name = kind.__name__
    assert traceback.format_exception_only(error) == [f"ProxyPatternPool.{name}: text\n"]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        arrived = pickle.loads(pickle.dumps(error, protocol))
        assert (type(arrived), arrived.args) == (kind, ("text",))


def test_there_is_nothing_else_to_catch() -> None:
    """Otherwise the test above would miss one of them."""
    assert {kind.__name__ for kind in PUBLIC} == {
        "PPPException",
        "PoolClosed",
        "PoolException",
        "PoolFull",
        "ProxyException",
        "TimeOut",
    }


@pytest.mark.parametrize("name", ["AsyncKeyedPool", "AsyncLease", "Default", "KeyedLease", "Lease"])
def test_a_type_for_annotations_names_what_a_program_can_import(name: str) -> None:
    """Otherwise a subclass that overrides `obj` could not be annotated, or `help` would name a private file."""
    kind = getattr(ProxyPatternPool, name)
    assert name in ProxyPatternPool.__all__
    assert (kind.__module__, kind.__qualname__) == ("ProxyPatternPool", name)
    assert vars(ProxyPatternPool)[name] is kind  # after the first use, at no cost


Scope = Proxy.Scope

WAYS: list[dict[str, Any]] = [
    {"max_size": 1, "min_size": 0},
    {"max_size": None, "scope": Scope.SHARED},
    {"max_size": None, "scope": Scope.THREAD},
    {"max_size": None, "scope": Scope.LOOP},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_error_of_fun_has_one_note_that_names_the_pool(way: dict[str, Any]) -> None:
    """Otherwise a traceback would not tell which of a program's pools has called the function."""
    down = OSError("down")

    def fail(_number: int) -> object:
        raise down

    async def main() -> None:
        proxy = Proxy(fun=fail, name="db", **way)
        for _ in range(2):
            with pytest.raises(OSError, match="down"):
                proxy._get_obj()

    asyncio.run(main())
    assert down.__notes__ == ["db: raised by fun(0)"]
