"""TaskProvider: lends a proxy's object to each task, from a pool which is awaited.

This is a file of its own because it needs asyncio. Taking an object takes awaiting, and so `fetch` does it; using it
does not: it is at hand, as with the pools of threads, and the bookkeeping is theirs, see `_target`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import getpid
from typing import Any, TypeVar

from ProxyPatternPool._async_pool.lease import AsyncLease
from ProxyPatternPool._async_pool.pool import AsyncPool
from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._core.limits import checked_timeout
from ProxyPatternPool._errors import PoolClosed, ProxyException
from ProxyPatternPool._owner import Holder
from ProxyPatternPool._scopes.kept import OVER, Kept, KeptUse
from ProxyPatternPool._scopes.per_owner import OwnerProvider
from ProxyPatternPool._scopes.provider import Provider
from ProxyPatternPool._scopes.storage import OwnerStorage

T = TypeVar("T")


class KeptAsyncLease(AsyncLease[T], KeptUse[T]):
    """A lease that a proxy keeps for a task."""

    __slots__ = ("_process",)

    def __init__(self, pool: AsyncPool[T], timeout: float | Default | None) -> None:
        super().__init__(pool, timeout)
        self._process = getpid()

    async def take(self, holder: Holder) -> None:
        """Take an object. Waits and raises as `AsyncPool.get`."""
        await self.__aenter__()
        self._held.holder = holder

    def end(self) -> None:
        """Have the loop return the object, if it is still out. Never waits; safe anywhere, in finalisers, too."""
        if self.is_out():
            self._pool._give_finally(self._held, self._use)
        self._use = OVER  # its task, which still keeps it, may not be the one that ends it

    def _leave_behind(self) -> None:
        self._pool._give_finally(self._held, self._use)


class OnlyLease(KeptAsyncLease[T]):
    """That of an object which is made for its task, and ends with it.

    If the task has not given it back, it ends with an exception, as in the task it would have: it may be a transaction.
    """

    __slots__ = ()

    def give_up(self) -> None:
        """Have the object closed with an exception."""
        self._pool._give_up(self._held, self._use)

    def _leave_behind(self) -> None:
        self.give_up()


class TaskProvider(OwnerProvider[T]):
    """An object of an `AsyncPool` for each task, from its `fetch` until it is given back.

    Without a pool, each is made for its task, and ends with it.
    """

    def __init__(self, config: PoolConfig[T], pooled: bool, reshape: Callable[[Provider[T]], None]) -> None:
        storage: OwnerStorage[Any] = OwnerStorage()
        super().__init__(storage, reshape)
        self._leases: OwnerStorage[KeptAsyncLease[T]] = storage
        self.pooled = pooled
        self._new_lease = KeptAsyncLease if pooled else OnlyLease
        if not pooled:  # an object must not be left open: its task cannot exit it when it has ended
            config = replace(config, min_size=0, max_use=1, auto_return=True)
        self.lender: AsyncPool[T] = AsyncPool._configured(config)

    async def fetch(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        timeout = timeout if isinstance(timeout, Default) else checked_timeout(timeout)
        kept = self._still_out()
        if kept is None:
            kept = lease = self._new_lease(self.lender, timeout)
            try:
                await lease.take(self._leases.holder())
            except PoolClosed:
                if self.successor is None:
                    raise
            if self.successor is not None:  # the proxy was set again meanwhile
                lease.end()
                return await self.successor.fetch(timeout)
            self._keep(lease)
        return kept.held

    def lacks(self) -> str | None:
        return None if self.has() else f"{self.lender.name}: this task has no object"

    def take(self, timeout: float | Default | None) -> Kept[T]:
        raise ProxyException(
            f"{self.lender.name}: this task has no object: await _get_obj() first, or use it inside async with _obj()"
        )

    async def give_back(self, failed: bool) -> None:
        lease = self._leases.pop()
        if failed and isinstance(lease, OnlyLease):
            lease.give_up()
        elif lease is not None:
            await lease.__aexit__(None, None, None)

    def end(self, successor: Provider[T]) -> None:
        super().end(successor)
        self.lender._shutdown_soon()

    def in_use(self) -> bool:
        return self.lender.size > 0

    def count(self) -> int:
        return self.lender.size
