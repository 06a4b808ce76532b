"""The exceptions: what they are called, wherever they are read."""

from __future__ import annotations

import pickle
import traceback

import pytest

import ProxyPatternPool
from ProxyPatternPool import _errors

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
