"""LoopProvider: one object per event loop.

This is a file of its own because it needs asyncio: a `Proxy` imports it for the scope `LOOP` alone.
"""

from __future__ import annotations

from asyncio import _get_running_loop
from collections.abc import Callable
from typing import Any, TypeVar

from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._process import renew_after_fork
from ProxyPatternPool._scopes.loop_cache import LoopCache, LoopEntry
from ProxyPatternPool._scopes.loop_sources import EnteredSource, LoopObjects, LoopSource, MadeSource
from ProxyPatternPool._scopes.provider import Provider
from ProxyPatternPool._scopes.seen_types import SeenTypes
from ProxyPatternPool._transparency.transparent_type import Shape

T = TypeVar("T")


class LoopProvider(Provider[T]):
    """A provider with one object per event loop, which a source makes. The loop's end closes it."""

    def __init__(
        self, config: PoolConfig[T], source: type[LoopSource[T]], reshape: Callable[[Provider[T]], None]
    ) -> None:
        super().__init__()
        self.cache: LoopCache = LoopCache(self.load, config.name)
        self.obeyed = source.obeyed
        self._name = config.name
        self._seen = SeenTypes(self, reshape)
        self._new_source: Callable[[], LoopSource[T]] = lambda: source(LoopObjects(config, self.cache, self._seen.see))
        self._source = self._new_source()  # replaced in a forked child
        renew_after_fork(self)

    def _renew(self) -> None:
        self.cache.drop()
        self._source = self._new_source()

    def shape(self) -> Shape:
        return self._seen.shape

    def class_of_all(self, unknown: type) -> Any:
        return self._seen.class_of_all(unknown)

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        entry: LoopEntry[T] | None = self.cache.entry()
        if entry is not None:
            return entry.obj
        return self._source.make() if self.successor is None else self.successor.get(timeout)

    async def fetch(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        entry: LoopEntry[T] | None = self.cache.entry()
        if entry is not None:
            return entry.obj
        if self.successor is not None:
            return await self.successor.fetch(timeout)
        return await self._source.fetch(timeout)

    def lacks(self) -> str | None:
        if _get_running_loop() is None:
            return f"{self._name}: no event loop runs"
        return None if self.has() else self._source.lacks()

    def has(self) -> bool:
        try:
            return self.cache.entry() is not None
        except RuntimeError:  # without a loop there is no object
            return False

    def count(self) -> int:
        return self._source.objects.count()


def made_per_loop(config: PoolConfig[T], reshape: Callable[[Provider[T]], None]) -> LoopProvider[T]:
    """Return a provider whose object is the result of `fun`, made at the first use in a loop."""
    return LoopProvider(config, MadeSource, reshape)


def entered_per_loop(config: PoolConfig[T], reshape: Callable[[Provider[T]], None]) -> LoopProvider[T]:
    """Return a provider whose object has to be awaited."""
    return LoopProvider(config, EnteredSource, reshape)
