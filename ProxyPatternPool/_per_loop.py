"""What a proxy stands for that has an object for each event loop.

This is a file of its own because it needs asyncio: it is loaded when somebody asks for that scope. An object hangs on
its loop, and nothing else refers to it: the two go together, also where nobody closes the loop. `_loop_end` says how
its end is noticed.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Callable
from itertools import count
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._owner import this_owner
from ProxyPatternPool._target import Function, Target
from ProxyPatternPool.loop_local import at_exit

T = TypeVar("T")


class Hung(Generic[T]):
    """What hangs on a loop for one proxy: an object, as ``obj``."""

    def __init__(self, obj: T) -> None:
        self.obj = obj


class NearLoop:
    """A place where each event loop has its own object at hand; otherwise as `AtHand`."""

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find
        self._key = object()

    @property
    def obj(self) -> Any:
        """The object of the running loop. `RuntimeError` without one."""
        loop: Any = get_running_loop()
        try:
            return loop._ProxyPatternPool_hung[self._key].obj
        except (AttributeError, KeyError):
            return self._find()

    def look(self) -> Any:
        """Return what hangs on the running loop, None if nothing does."""
        return vars(get_running_loop()).get("_ProxyPatternPool_hung", {}).get(self._key)

    def hang(self, thing: Any) -> None:
        """Hang something on the running loop, until `take_down`, or the end of the loop object."""
        vars(get_running_loop()).setdefault("_ProxyPatternPool_hung", {})[self._key] = thing

    def take_down(self) -> None:
        """Have nothing hang on the running loop any more."""
        get_running_loop()._ProxyPatternPool_hung.pop(self._key, None)  # type: ignore[attr-defined]  # ours

    def drop(self) -> None:
        """Find nothing of what hangs anywhere: in a forked child, that is the parent's."""
        self._key = object()


class PerLoop(Function[T]):
    """An object for each event loop, made in it at its first use. The loop's end closes it."""

    def __init__(self, reshape: Callable[[Target[T]], None], config: PoolConfig[T]) -> None:
        super().__init__(reshape)
        self.place: NearLoop = NearLoop(self.find)
        self._fun = config.fun
        self._close = config.closer()
        self._numbers = count()
        self._makers: set[object] = set()  # who runs `fun` just now
        self._all: WeakSet[Hung[T]] = WeakSet()

    def _renew(self) -> None:
        super()._renew()
        self._numbers, self._makers, self._all = count(), set(), WeakSet()

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        hung: Hung[T] | None = self.place.look()
        return self._make() if hung is None else hung.obj

    def _make(self) -> T:
        maker = this_owner()
        if maker in self._makers:
            raise ProxyException("fun uses the proxy whose object it is to make")
        self._makers.add(maker)
        try:
            obj = self._fun(next(self._numbers))
        finally:
            self._makers.discard(maker)
        self._keep(obj)
        return obj

    def _keep(self, obj: T) -> None:
        """Have the object until the end of the loop: it is closed then, before what `fun` has used to make it."""
        at_exit(self.place.take_down)  # after the next one: they run last in, first out
        at_exit(self._close, obj)
        self._see(obj)
        hung = Hung(obj)
        self._all.add(hung)
        self.place.hang(hung)

    def has(self) -> bool:
        try:
            return self.place.look() is not None
        except RuntimeError:  # no loop, no object
            return False

    def count(self) -> int:
        return len(self._all)
