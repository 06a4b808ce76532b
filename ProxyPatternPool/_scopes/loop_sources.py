"""Sources of one object per event loop: the plain result of a function, or an object that has to be awaited.

A loop's end closes its object, before the objects that `fun` has used. `_loops.shutdown` says how the end of a loop is
noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import count
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

from ProxyPatternPool._config import Default, PoolConfig, nothing
from ProxyPatternPool._errors import ProxyException, TimeOut
from ProxyPatternPool._loops.factory import PooledContext
from ProxyPatternPool._owner import this_owner
from ProxyPatternPool._scopes.loop_cache import LoopCache, LoopEntry
from ProxyPatternPool.loop_local import at_exit, enter_once, singleton

T = TypeVar("T")


class LoopObjects(Generic[T]):
    """The objects of one proxy on all loops of this process, and the calls of `fun` that make them.

    `see` is called with each object, before the object is cached.
    """

    __slots__ = ("_all", "_cache", "_makers", "_numbers", "_see", "config")

    def __init__(self, config: PoolConfig[T], cache: LoopCache, see: Callable[[T], object]) -> None:
        self.config = config
        self._cache = cache
        self._see = see
        self._numbers = count()  # the arguments of the calls of `fun`
        self._makers: set[object] = set()  # the owners that run `fun` just now
        self._all: WeakSet[LoopEntry[T]] = WeakSet()

    def call(self) -> T:
        """Call `fun`."""
        return self.config.make(next(self._numbers))

    def check_maker(self) -> None:
        """Raise `ProxyException` if the current owner runs `fun` just now: it would wait for itself."""
        if this_owner() in self._makers:
            raise ProxyException("fun uses the proxy whose object it is to make")

    @contextmanager
    def marked_as_maker(self) -> Iterator[None]:
        """Remember that the current owner runs `fun`, for a ``with`` block."""
        maker = this_owner()
        self._makers.add(maker)
        try:
            yield
        finally:
            self._makers.discard(maker)

    def store(self, obj: T) -> None:
        """Store the object of the running loop, until `remove`, or until the loop object is gone."""
        self._see(obj)
        entry = LoopEntry(obj)
        self._all.add(entry)
        self._cache.put(entry)

    def remove(self) -> None:
        """Remove the object of the running loop, if it has one."""
        self._cache.remove()

    def count(self) -> int:
        """Return the number of objects, on all loops."""
        return len(self._all)


class LoopSource(Protocol[T]):
    """A way to make the object of the running loop, as a `LoopProvider` uses it."""

    obeyed: Collection[str]  # see `Provider.obeyed`
    objects: LoopObjects[T]

    def __init__(self, objects: LoopObjects[T]) -> None: ...

    def make(self) -> T:
        """Make the object, if that takes no awaiting. `ProxyException` otherwise."""
        ...

    async def fetch(self, timeout: float | Default | None) -> T:
        """Make the object, and await it if it has to be awaited."""
        ...

    def lacks(self) -> str | None:
        """Return the reason why `make` cannot make the object, None if it can."""
        ...


class MadeSource(Generic[T]):
    """A source whose object is the result of `fun`, made at the first use in a loop."""

    __slots__ = ("objects",)

    obeyed: Collection[str] = ("close",)

    def __init__(self, objects: LoopObjects[T]) -> None:
        self.objects = objects

    def make(self) -> T:
        """Make the object of the running loop. Raises the errors of `fun`."""
        self.objects.check_maker()
        with self.objects.marked_as_maker():
            obj = self.objects.call()
        at_exit(self.objects.remove)  # runs after the next one: last in, first out
        at_exit(self.objects.config.closer(), obj)
        self.objects.store(obj)
        return obj

    async def fetch(self, timeout: float | Default | None) -> T:
        """Return the same object as `make`."""
        return self.make()

    def lacks(self) -> str | None:
        """Return None: `make` can make the object wherever a loop runs."""
        return None


class EnteredSource(Generic[T]):
    """A source whose object has to be awaited. So only `fetch` makes it; from then on it is cached."""

    __slots__ = ("_name", "_once", "objects")

    obeyed: Collection[str] = ("opener", "close")

    def __init__(self, objects: LoopObjects[T]) -> None:
        self.objects = objects
        self._name = objects.config.name
        self._once = singleton(self._open)  # this source is unique: a forked child does not find the parent's result

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[T]:
        config = self.objects.config
        close = None if config.close is None else config.closer()
        opening: PooledContext[T] = PooledContext(self.objects.call, on_made=nothing, opener=config.opener, close=close)
        async with AsyncExitStack() as stack:
            stack.callback(self.objects.remove)  # runs last: the object's own exit may use the proxy
            with self.objects.marked_as_maker():
                obj = await stack.enter_async_context(opening)
            self.objects.store(obj)
            yield obj

    def make(self) -> T:
        """Raise `ProxyException`: the object has to be awaited."""
        raise ProxyException(
            f"{self._name}: this event loop has no object yet: await _get_obj() first, or use it inside "
            "async with _obj()"
        )

    async def fetch(self, timeout: float | Default | None) -> T:
        """Make the object, once per loop, for all tasks that ask. Each waits at most `timeout` seconds: `TimeOut`."""
        self.objects.check_maker()
        patience = self.objects.config.patience(timeout)
        limit = asyncio.timeout(patience)
        try:
            async with limit:
                return await enter_once(self._once())
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeOut(
                f"{self._name}: timeout after {patience} s: still making the object of this event loop"
            ) from None

    def lacks(self) -> str | None:
        """Return the reason why `make` raises."""
        return f"{self._name}: this event loop has no object"
