"""TaskProvider: a proxy's objects from an `AsyncPool`, one for each task.

The module is separate because it needs asyncio. Taking an object has to be awaited, so `fetch` does that. Using the
object does not: it is in the cache then, as with the pools of threads, and `per_owner` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import getpid
from sys import is_finalizing
from typing import Any, Generic, TypeVar

from ProxyPatternPool._async_pool.lease import AsyncLease
from ProxyPatternPool._async_pool.pool import AsyncPool
from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._errors import PoolClosed, ProxyException
from ProxyPatternPool._owner import Holder
from ProxyPatternPool._process import keep, renew_after_fork
from ProxyPatternPool._scopes.kept import Kept
from ProxyPatternPool._scopes.owner_objects import OwnerObjects
from ProxyPatternPool._scopes.provider import Provider
from ProxyPatternPool._scopes.seen_types import SeenTypes
from ProxyPatternPool._scopes.storage import OwnerStorage
from ProxyPatternPool._transparency.transparent_type import Shape

T = TypeVar("T")


class KeptAsyncLease(Generic[T]):
    """A lease that a proxy keeps for a task.

    With `auto_return`, the use ends when no task refers to it any more: at the task's end, in a finaliser. In a forked
    child the finaliser does nothing, since the object is the parent's.

    If `pooled` is false, the object was made for its task, and ends with it. If the task has not given it back, it is
    closed with an exception, since it may be in a transaction.
    """

    __slots__ = ("_auto_return", "_lease", "_obj", "_pooled", "_process")

    def __init__(self, lease: AsyncLease[T], auto_return: bool, pooled: bool) -> None:
        self._lease = lease
        self._obj: T  # after `take`
        self._auto_return = auto_return
        self._pooled = pooled
        self._process = getpid()

    async def take(self, holder: Holder) -> None:
        """Take an object. Waits and raises as `AsyncPool.get` does."""
        self._obj = await self._lease.__aenter__()
        self._lease.hand_to(holder)

    @property
    def held(self) -> T:
        """The object of the lease."""
        return self._obj

    def is_out(self) -> bool:
        """Tell whether the object has not been returned or discarded yet, by any caller."""
        return self._lease.is_out()

    def check(self) -> None:
        """Raise `PoolException` if the pool has taken the object away: its user must not get another one unawares."""
        self._lease.check()

    def cache_in(self, cache: dict[str, Any]) -> None:
        """Put the object into a cache of its owner, until the lease ends, through any caller."""
        self._lease.cache_in(cache, self._obj)

    def end(self) -> None:
        """Have the loop return the object, if it is still out. Never waits. Safe anywhere, even in finalisers."""
        self._lease.end()

    async def give_back(self, failed: bool) -> None:
        """Return the object, and wait for the `retter`. With `failed`, close an object that was made for its task."""
        if failed and not self._pooled:
            self._lease.end(failed=True)
        else:
            await self._lease.__aexit__(None, None, None)

    def __del__(self, getpid: Callable[[], int] = getpid, is_finalizing: Callable[[], bool] = is_finalizing) -> None:
        # The functions are bound as defaults: at its very end, the interpreter runs finalisers when globals are gone
        if self._auto_return and getpid() == self._process and not is_finalizing():
            self._lease.end(failed=not self._pooled)


class TaskProvider(Provider[T]):
    """A provider with an object of an `AsyncPool` for each task, from its `fetch` until it is given back.

    If `pooled` is false, each object is made for its task, and ends with it.
    """

    def __init__(self, config: PoolConfig[T], pooled: bool, reshape: Callable[[Provider[T]], None]) -> None:
        super().__init__()
        self._leases: OwnerObjects[KeptAsyncLease[T]] = OwnerObjects(OwnerStorage(), self.load)
        self._seen = SeenTypes(self, reshape)
        self.cache = self._leases.cache
        self.pooled = pooled
        if not pooled:  # so no object stays open: a task that has ended cannot exit it
            config = replace(config, min_size=0, max_use=1, auto_return=True)
        self._config = config
        self.lender: AsyncPool[T] = AsyncPool._configured(config)
        renew_after_fork(self)

    def _renew(self) -> None:
        keep(self.cache.drop())

    def shape(self) -> Shape:
        return self._seen.shape

    def class_of_all(self, unknown: type) -> Any:
        return self._seen.class_of_all(unknown)

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        kept = self._leases.still_out()
        if kept is None:
            if self.successor is not None:
                return self.successor.get(timeout)  # the proxy was set again
            raise ProxyException(
                f"{self.lender.name}: this task has no object: await _get_obj() first, or use it inside async with "
                "_obj()"
            )
        kept.cache_in(self.cache.current())
        return kept.held

    async def fetch(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        patience = self._config.patience(timeout)
        kept = self._leases.still_out()
        if kept is None:
            kept = lease = KeptAsyncLease(self.lender.obj(patience), self._config.auto_return, self.pooled)
            try:
                await lease.take(self._leases.storage.holder())
            except PoolClosed:
                if self.successor is None:
                    raise
            if self.successor is not None:  # the proxy was set again meanwhile
                lease.end()
                return await self.successor.fetch(timeout)
            self._leases.keep(lease, self._seen.see)
        return kept.held

    def lacks(self) -> str | None:
        return None if self.has() else f"{self.lender.name}: this task has no object"

    def kept(self) -> Kept[T] | None:
        return self._leases.storage.get()

    def has(self) -> bool:
        return self._leases.has()

    def ret(self) -> None:
        self._leases.give_back()

    async def give_back(self, failed: bool) -> None:
        lease = self._leases.storage.pop()
        if lease is not None:
            await lease.give_back(failed)

    def end(self, successor: Provider[T]) -> None:
        super().end(successor)
        self.lender._shutdown_soon()

    def in_use(self) -> bool:
        return self.lender.size > 0

    def count(self) -> int:
        return self.lender.size
