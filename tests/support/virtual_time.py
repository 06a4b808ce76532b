"""An event loop whose time passes only while nothing happens, and then at once: what expires can be tested by value."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Moves the clock instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everything waits, and nothing will ever happen"
        self.now += max(timeout, 1e-6) if timeout else 0.0  # what is less may be lost to rounding
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Seconds cost nothing in it."""

    def __init__(self) -> None:
        self._own_selector = _Selector()
        super().__init__(self._own_selector)

    def time(self) -> float:
        return self._own_selector.now


def run_fast(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run` does, however long it sleeps."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
