"""LoopState: everything that the library keeps for one event loop, in one attribute of the loop.

Nothing else refers to it, so it goes with the loop. A mapping by loop, even a weak one, would keep alive every loop
that one of its values refers to.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import Any


class LoopState:
    """The parts of the state, each for one module: this one cannot import their types."""

    __slots__ = ("end", "entries", "local")

    def __init__(self) -> None:
        self.end: Any = None  # the `LoopEnd`, from when there is something to run at the end
        self.local: Any = None  # what `loop_local` keeps, from its first use
        self.entries: dict[object, Any] = {}  # the objects of proxies with the scope LOOP


def state_of(loop: AbstractEventLoop) -> LoopState:
    """Return the state of a loop, always the same."""
    holder: Any = loop
    try:
        state: LoopState = holder._ProxyPatternPool
    except AttributeError:
        state = holder._ProxyPatternPool = LoopState()
    return state
