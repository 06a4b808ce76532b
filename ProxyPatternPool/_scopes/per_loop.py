"""What a proxy stands for that has an object for each event loop.

This is a file of its own because it needs asyncio: it is loaded when somebody asks for that scope. An object hangs on
its loop, and nothing else refers to it: the two go together, also where nobody closes the loop. `_loop_end` says how
its end is noticed.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop, get_running_loop
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import count
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from ProxyPatternPool._config import Default, PoolConfig, nothing
from ProxyPatternPool._errors import ProxyException, TimeOut
from ProxyPatternPool._loops.factory import PooledContext
from ProxyPatternPool._loops.state import state_of
from ProxyPatternPool._owner import this_owner
from ProxyPatternPool._scopes.provider import FunctionProvider, Provider
from ProxyPatternPool.loop_local import at_exit, enter_once, singleton

T = TypeVar("T")


class LoopEntry(Generic[T]):
    """What hangs on a loop for one proxy: an object, as ``obj``."""

    def __init__(self, obj: T) -> None:
        self.obj = obj


class LoopCache:
    """A place where each event loop has its own object at hand; otherwise as `ThreadCache`."""

    def __init__(self, find: Callable[[], Any], name: str | None) -> None:
        self._find = find
        self._name = name
        self._key = object()

    @property
    def obj(self) -> Any:
        """The object of the running loop. `RuntimeError` without one."""
        try:
            loop: Any = get_running_loop()
        except RuntimeError as error:
            raise self._loopless(error) from None
        try:
            return loop._ProxyPatternPool.entries[self._key].obj
        except (AttributeError, KeyError):
            return self._find()

    def look(self) -> Any:
        """Return what hangs on the running loop, None if nothing does. `RuntimeError` without one."""
        try:
            loop = get_running_loop()
        except RuntimeError as error:
            raise self._loopless(error) from None
        return state_of(loop).entries.get(self._key)

    def _loopless(self, error: RuntimeError) -> RuntimeError:
        return RuntimeError(f"{self._name}: {error}")

    def hang(self, thing: Any) -> None:
        """Hang something on the running loop, until `take_down`, or the end of the loop object."""
        state_of(get_running_loop()).entries[self._key] = thing

    def take_down(self) -> None:
        """Have nothing hang on the running loop any more."""
        state_of(get_running_loop()).entries.pop(self._key, None)

    def drop(self) -> None:
        """Find nothing of what hangs anywhere: in a forked child, that is the parent's."""
        self._key = object()


class LoopProvider(FunctionProvider[T]):
    """An object for each event loop. The loop's end closes it, before what `fun` has used to make it."""

    def __init__(self, config: PoolConfig[T], reshape: Callable[[Provider[T]], None]) -> None:
        super().__init__(reshape)
        self.place: LoopCache = LoopCache(self.find, config.name)
        self._config = config
        self._begin()

    def _begin(self) -> None:
        self._numbers = count()
        self._makers: set[object] = set()  # who runs `fun` just now
        self._all: WeakSet[LoopEntry[T]] = WeakSet()

    def _renew(self) -> None:
        super()._renew()
        self._begin()

    def _call(self) -> T:
        return self._config.make(next(self._numbers))

    def _check_maker(self) -> None:
        if this_owner() in self._makers:
            raise ProxyException("fun uses the proxy whose object it is to make")

    @contextmanager
    def _marked_as_maker(self) -> Iterator[None]:
        maker = this_owner()
        self._makers.add(maker)
        try:
            yield
        finally:
            self._makers.discard(maker)

    def _hang(self, obj: T) -> None:
        self._see(obj)
        hung = LoopEntry(obj)
        self._all.add(hung)
        self.place.hang(hung)

    def lacks(self) -> str | None:
        return f"{self._config.name}: no event loop runs" if _get_running_loop() is None else None

    def has(self) -> bool:
        try:
            return self.place.look() is not None
        except RuntimeError:  # no loop, no object
            return False

    def count(self) -> int:
        return len(self._all)


class MadeLoopProvider(LoopProvider[T]):
    """It is what `fun` returns, and made where it is first used."""

    obeyed = ("close",)

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        hung: LoopEntry[T] | None = self.place.look()
        if hung is not None:
            return hung.obj
        return self._make() if self.successor is None else self.successor.get(timeout)

    def _make(self) -> T:
        self._check_maker()
        with self._marked_as_maker():
            obj = self._call()
        at_exit(self.place.take_down)  # after the next one: they run last in, first out
        at_exit(self._config.closer(), obj)
        self._hang(obj)
        return obj


class EnteredLoopProvider(LoopProvider[T]):
    """It takes awaiting to make, and so it is made by `fetch` alone; it is at hand after that."""

    obeyed = ("opener", "close")

    def _begin(self) -> None:
        super()._begin()
        self._once = singleton(self._open)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[T]:
        config = self._config
        close = None if config.close is None else config.closer()
        opening: PooledContext[T] = PooledContext(self._call, on_made=nothing, opener=config.opener, close=close)
        async with AsyncExitStack() as stack:
            stack.callback(self.place.take_down)  # last: it finds itself until it has ended
            with self._marked_as_maker():
                obj = await stack.enter_async_context(opening)
            self._hang(obj)
            yield obj

    def lacks(self) -> str | None:
        return super().lacks() or (None if self.has() else f"{self._config.name}: this event loop has no object")

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        hung: LoopEntry[T] | None = self.place.look()
        if hung is not None:
            return hung.obj
        if self.successor is None:
            raise ProxyException(
                f"{self._config.name}: this event loop has no object yet: await _get_obj() first, or use it inside "
                "async with _obj()"
            )
        return self.successor.get(timeout)

    async def fetch(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        hung: LoopEntry[T] | None = self.place.look()
        if hung is not None:
            return hung.obj
        if self.successor is not None:
            return await self.successor.fetch(timeout)
        self._check_maker()
        patience = self._config.patience(timeout)
        limit = asyncio.timeout(patience)
        try:
            async with limit:
                return await enter_once(self._once())
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeOut(
                f"{self._config.name}: timeout after {patience} s: still making the object of this event loop"
            ) from None
