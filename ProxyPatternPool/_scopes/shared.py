"""One object for all: the one that was set, or the one that a function makes at first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._owner import this_owner
from ProxyPatternPool._scopes.lazy_pool import LazyPool
from ProxyPatternPool._scopes.provider import FunctionProvider, Provider
from ProxyPatternPool._transparency.transparent_type import Shape, shape_of

T = TypeVar("T")


class ObjectProvider(Provider[T]):
    """One object for everybody."""

    fixed = True

    def __init__(self, obj: T) -> None:
        super().__init__()
        self.obj: T = obj

    def shape(self) -> Shape:
        return shape_of(self.obj)

    def class_of_all(self, unknown: type) -> Any:
        return self.obj.__class__

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        return self.obj

    def has(self) -> bool:
        return True

    def count(self) -> int:
        return 1


class SingletonProvider(FunctionProvider[T]):
    """One object for everybody, made by whoever needs it first; the others wait for it meanwhile.

    They queue at a pool of one: so a greenlet that waits leaves its thread to the others, and when `fun` fails, the
    next one tries.
    """

    obeyed = ()

    def __init__(self, fun: Callable[[int], T], reshape: Callable[[Provider[T]], None]) -> None:
        super().__init__(reshape)
        self._fun = fun
        self._maker: object = None  # who runs `fun`
        self._queue: LazyPool[tuple[T]] = LazyPool(PoolConfig(fun=self._make, max_size=1, min_size=0, timeout=None))

    def _make(self, number: int) -> tuple[T]:
        if self.has():
            return (self.obj,)  # somebody has been so quick that this is another queue
        self._maker = this_owner()
        try:
            return (self._fun(number),)  # wrapped: that may be a coroutine, too, which a pool refuses
        finally:
            self._maker = None

    def _renew(self) -> None:
        super()._renew()
        self.fixed = False
        self._reshape(self)

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        if not self.has():
            if self.successor is not None:
                return self.successor.get(timeout)
            if self._maker == this_owner():
                raise ProxyException("fun uses the proxy whose object it is to make")
            with self._queue.pool.obj(timeout) as (obj,):
                self._see(obj)
                self.obj: T = obj
            self._queue.drop()
            self.fixed = True
            self._reshape(self)
        return self.obj

    def drop(self) -> object:
        """Have nothing at hand any more, see `ThreadCache`: this target is its own place."""
        return vars(self).pop("obj", None)

    def has(self) -> bool:
        return "obj" in vars(self)

    def count(self) -> int:
        return int(self.has())
