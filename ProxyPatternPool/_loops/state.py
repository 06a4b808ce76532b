"""LoopState: the library's data of one event loop, in one attribute of the loop.

No other object refers to it, so it is freed with the loop. Rejected: a mapping by loop. Even with weak keys, it would
keep each loop alive that a value refers to.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import Any


class LoopState:
    """A record with one part for each module that uses it. This module cannot import the types of the parts."""

    __slots__ = ("end", "entries", "local")

    def __init__(self) -> None:
        self.end: Any = None  # the `LoopEnd`, once a function has to run at the end
        self.local: Any = None  # the data of `loop_local`, from its first use
        self.entries: dict[object, Any] = {}  # the objects of proxies with the scope LOOP


def state_of(loop: AbstractEventLoop) -> LoopState:
    """Return the state of a loop. Always returns the same object for a loop."""
    holder: Any = loop
    try:
        state: LoopState = holder._ProxyPatternPool
    except AttributeError:
        state = holder._ProxyPatternPool = LoopState()
    return state
