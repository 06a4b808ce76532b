"""LoopCache: the object of one proxy on each event loop, in an entry that the loop keeps.

Only the loop refers to its object. So the two go together, even where the program does not close the loop.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ProxyPatternPool._loops.state import state_of

T = TypeVar("T")


class LoopEntry(Generic[T]):
    """An entry on an event loop: the object of one proxy there, as ``obj``."""

    def __init__(self, obj: T) -> None:
        self.obj = obj


class LoopCache:
    """A cache with one object per event loop. Otherwise the same as `ThreadCache`."""

    def __init__(self, load: Callable[[], Any], name: str | None) -> None:
        self._load = load
        self._name = name
        self._key = object()

    @property
    def obj(self) -> Any:
        """The object of the running loop. `RuntimeError` without a running loop."""
        try:
            loop: Any = get_running_loop()
        except RuntimeError as error:
            raise self._loopless(error) from None
        try:
            return loop._ProxyPatternPool.entries[self._key].obj
        except (AttributeError, KeyError):
            return self._load()

    def entry(self) -> Any:
        """Return the entry on the running loop, or None. `RuntimeError` without a running loop."""
        try:
            loop = get_running_loop()
        except RuntimeError as error:
            raise self._loopless(error) from None
        return state_of(loop).entries.get(self._key)

    def _loopless(self, error: RuntimeError) -> RuntimeError:
        return RuntimeError(f"{self._name}: {error}")

    def put(self, entry: Any) -> None:
        """Put an entry on the running loop, until `remove`, or until the loop object is gone."""
        state_of(get_running_loop()).entries[self._key] = entry

    def remove(self) -> None:
        """Remove the entry from the running loop, if it has one."""
        state_of(get_running_loop()).entries.pop(self._key, None)

    def drop(self) -> None:
        """Lose the entries on all loops: in a forked child, they are the parent's."""
        self._key = object()
