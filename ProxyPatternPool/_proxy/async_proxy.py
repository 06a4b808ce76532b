"""AsyncProxy: a `Proxy` whose objects take awaiting to make."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, overload

from ProxyPatternPool._async_pool.pool import AsyncPool
from ProxyPatternPool._config import Default, PoolConfig, ProxyParameters
from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._owner import this_owner
from ProxyPatternPool._proxy.base import BaseProxy, ProxyScope
from ProxyPatternPool._scopes.per_loop import EnteredLoopProvider
from ProxyPatternPool._scopes.per_task import TaskProvider
from ProxyPatternPool._scopes.provider import Provider

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")

#: What makes an object, given its number.
AsyncFunction: TypeAlias = (
    "Callable[[int], AbstractAsyncContextManager[T, Any]] | Callable[[int], Awaitable[T]] | Callable[[int], T]"
)


class AsyncProxy(BaseProxy[T]):
    """Stands for an object of the current task, or event loop, that ``await db._get_obj()`` makes or takes.

    After that it is at hand: the proxy does what its object does, and is set, as a `Proxy`. What `fun` returns is
    entered, if it is an asynchronous context manager, by a task of its own; else awaited, if it can be; or else it is
    the object. `opener`, `getter`, `retter`, `health` and `close` may be `async`; `close` replaces the exit.

    Scopes of a function: by default, which is VERSATILE, each task has an object of its own from an `AsyncPool`, whose
    parameters are the proxy's, until it gives the object back, or, with `auto_return`, until it ends. With a `max_size`
    of None nothing is lent twice: an object is made for its task, and ends when it is given back, or with the task.
    With LOOP, an object is made once per loop, however many tasks want it at the same time, and exited at the loop's
    end. An object that is set is for everybody.

    - `_get_obj`, awaited: the object, taken or made if the task has none
    - `_ret_obj`, awaited: give it back
    - `_obj`: have it for an ``async with`` block
    - `_has_obj`: whether there is one here; `_local.obj`: that one, or None
    - `_nobjs`: how many objects there are
    - `_pool`: the pool, to open it, look at it, discard from it, shut it down
    - `_set`, `_set_obj`, `_set_fun`: the setters, whatever `set_name` is
    - `_set_pool`: change the parameters of the pool before there is one
    """

    @overload
    def __init__(
        self,
        obj: None = None,
        *,
        fun: Callable[[int], AbstractAsyncContextManager[T, Any]],
        scope: ProxyScope = ProxyScope.AUTO,
        set_name: str | None = "set",
        **parameters: Unpack[ProxyParameters[T]],
    ) -> None: ...
    @overload
    def __init__(
        self,
        obj: None = None,
        *,
        fun: Callable[[int], Awaitable[T]],
        scope: ProxyScope = ProxyScope.AUTO,
        set_name: str | None = "set",
        **parameters: Unpack[ProxyParameters[T]],
    ) -> None: ...
    @overload
    def __init__(
        self,
        obj: T | None = None,
        *,
        fun: Callable[[int], T] | None = None,
        scope: ProxyScope = ProxyScope.AUTO,
        set_name: str | None = "set",
        **parameters: Unpack[ProxyParameters[T]],
    ) -> None: ...
    def __init__(
        self,
        obj: T | None = None,
        *,
        fun: Any = None,
        scope: ProxyScope = ProxyScope.AUTO,
        set_name: str | None = "set",
        **parameters: Unpack[ProxyParameters[T]],
    ) -> None:
        super().__init__(obj, fun=fun, scope=scope, set_name=set_name, **parameters)

    def _set(
        self,
        obj: T | None = None,
        fun: AsyncFunction[T] | None = None,
        mandatory: bool = True,
        **parameters: Unpack[ProxyParameters[T]],
    ) -> None:
        super()._set(obj, fun, mandatory, **parameters)  # type: ignore[arg-type]  # the base class does not call it

    def _set_fun(self, fun: AsyncFunction[T], **parameters: Unpack[ProxyParameters[T]]) -> None:
        super()._set_fun(fun, **parameters)  # type: ignore[arg-type]  # the base class does not call it

    async def _get_obj(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Return the object; if there is none yet, take it from the pool as `AsyncPool.get` does, or have it made.

        Waits for at most `timeout` seconds: then `TimeOut`. Raises what `fun` or `__aenter__` raise; `ProxyException`
        when nothing is set. Neither that nor being cancelled loses anything: what is being made goes to the next one.
        The object is that of the very task which awaits this, and not of one that this one has made for it, as
        `asyncio.gather`, `asyncio.shield`, and before Python 3.12 `asyncio.wait_for` do.
        """
        return await self._proxy_provider.fetch(timeout)

    async def _ret_obj(self) -> None:
        """Give the task's object back to the pool that it is from. Waits for the `retter` only, as `AsyncPool.ret`.

        Does nothing without one. The object of a loop stays until the loop's end.
        """
        await self._proxy_give_back(set(), failed=False)

    @asynccontextmanager
    async def _obj(self, timeout: float | Default | None = Default.TIMEOUT) -> AsyncIterator[T]:
        """Have the object for an ``async with`` block; at its end, whatever ended it, it is given back. Waits as both.

        A task that had the object before keeps it: it belongs to an outer block, perhaps in mid-transaction. A block
        in a generator may be left by another task than has entered it: that one's own object is not touched.
        """
        had = {provider for provider in self._proxy_providers() if provider.has()}
        owner, obj = this_owner(), await self._get_obj(timeout)
        taken = [provider.kept() for provider in self._proxy_providers() if provider not in had]
        failed = True
        try:
            yield obj
            failed = False
        finally:
            if this_owner() == owner:
                await self._proxy_give_back(had, failed)
            else:
                for kept in filter(None, taken):
                    kept.end()

    @property
    def _pool(self) -> AsyncPool[T]:
        """The pool. None if there is none, whatever the type says: not set, with an object, or with LOOP."""
        provider = self._proxy_provider
        return cast("AsyncPool[T]", provider.lender if isinstance(provider, TaskProvider) else None)

    async def _proxy_give_back(self, spared: set[Provider[T]], failed: bool) -> None:
        """Give back what the current owner has, but of those targets. `failed`: it has not come to a good end."""
        now, *earlier = self._proxy_providers()  # all of them: it may have been set again, and used, meanwhile
        for provider in earlier:
            if provider not in spared:
                provider.ret()
        if now not in spared:
            await now.give_back(failed)

    def _proxy_provider_of(
        self, scope: ProxyScope, config: PoolConfig[T], pooled: bool, reshape: Callable[[Provider[T]], None]
    ) -> Provider[T]:
        if scope is ProxyScope.LOOP:
            return EnteredLoopProvider(config, reshape)
        if scope in (ProxyScope.AUTO, ProxyScope.VERSATILE):
            return TaskProvider(config, pooled, reshape)
        raise ProxyException(
            f"scope {scope.name} is not for an AsyncProxy of a function: it has an object for each task (VERSATILE, "
            "the default) or for each event loop (LOOP)"
        )
