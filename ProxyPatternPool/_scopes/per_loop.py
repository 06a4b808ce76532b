"""Providers with one object per event loop.

This is a file of its own because it needs asyncio: a `Proxy` imports it for the scope `LOOP` alone. Only the loop
refers to its object. So the two go together, even where the program does not close the loop. `_loops.shutdown` says
how the end of a loop is noticed.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop, get_running_loop
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
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


class LoopProvider(FunctionProvider[T]):
    """A provider with one object per event loop. The loop's end closes it, before the objects that `fun` has used."""

    def __init__(self, config: PoolConfig[T], reshape: Callable[[Provider[T]], None]) -> None:
        super().__init__(reshape)
        self.cache: LoopCache = LoopCache(self.load, config.name)
        self._config = config
        self._begin()

    def _begin(self) -> None:
        self._numbers = count()
        self._makers: set[object] = set()  # the owners that run `fun` just now
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

    def _store(self, obj: T) -> None:
        self._see(obj)
        entry = LoopEntry(obj)
        self._all.add(entry)
        self.cache.put(entry)

    def lacks(self) -> str | None:
        return f"{self._config.name}: no event loop runs" if _get_running_loop() is None else None

    def has(self) -> bool:
        try:
            return self.cache.entry() is not None
        except RuntimeError:  # without a loop there is no object
            return False

    def count(self) -> int:
        return len(self._all)


class MadeLoopProvider(LoopProvider[T]):
    """A provider whose object is the result of `fun`, made at the first use in a loop."""

    obeyed = ("close",)

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        entry: LoopEntry[T] | None = self.cache.entry()
        if entry is not None:
            return entry.obj
        return self._make() if self.successor is None else self.successor.get(timeout)

    def _make(self) -> T:
        self._check_maker()
        with self._marked_as_maker():
            obj = self._call()
        at_exit(self.cache.remove)  # runs after the next one: last in, first out
        at_exit(self._config.closer(), obj)
        self._store(obj)
        return obj


class EnteredLoopProvider(LoopProvider[T]):
    """A provider whose object has to be awaited. So only `fetch` makes it; from then on it is cached."""

    obeyed = ("opener", "close")

    def _begin(self) -> None:
        super()._begin()
        self._once = singleton(
            partial(self._open)
        )  # a partial equals no other: a forked child does not find the parent's

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[T]:
        config = self._config
        close = None if config.close is None else config.closer()
        opening: PooledContext[T] = PooledContext(self._call, on_made=nothing, opener=config.opener, close=close)
        async with AsyncExitStack() as stack:
            stack.callback(self.cache.remove)  # runs last: the object's own exit may use the proxy
            with self._marked_as_maker():
                obj = await stack.enter_async_context(opening)
            self._store(obj)
            yield obj

    def lacks(self) -> str | None:
        return super().lacks() or (None if self.has() else f"{self._config.name}: this event loop has no object")

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        entry: LoopEntry[T] | None = self.cache.entry()
        if entry is not None:
            return entry.obj
        if self.successor is None:
            raise ProxyException(
                f"{self._config.name}: this event loop has no object yet: await _get_obj() first, or use it inside "
                "async with _obj()"
            )
        return self.successor.get(timeout)

    async def fetch(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        entry: LoopEntry[T] | None = self.cache.entry()
        if entry is not None:
            return entry.obj
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
