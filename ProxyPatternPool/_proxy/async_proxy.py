"""AsyncProxy: a `Proxy` whose objects have to be awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, overload

from ProxyPatternPool._async_pool.pool import AsyncPool
from ProxyPatternPool._config import Default, PoolConfig, ProxyParameters
from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._owner import this_owner
from ProxyPatternPool._proxy.base import BaseProxy, ProxyScope
from ProxyPatternPool._scopes.per_loop import entered_per_loop
from ProxyPatternPool._scopes.per_task import TaskProvider
from ProxyPatternPool._scopes.provider import Provider
from ProxyPatternPool._transparency.type_hints import AnyOperations

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")

#: A function that makes an object, given its number.
AsyncFunction: TypeAlias = (
    "Callable[[int], AbstractAsyncContextManager[T, Any]] | Callable[[int], Awaitable[T]] | Callable[[int], T]"
)


class AsyncProxy(BaseProxy[T], AnyOperations):
    """A stand-in for an object of the current task or event loop.

    ``await db._get_obj()`` takes or makes the object. From then on, the proxy forwards to it as a `Proxy` does. It is
    set as a `Proxy` is.

    The result of `fun` can be one of three:

    - An asynchronous context manager. A task of its own enters and exits it. The entered value is the object.
    - Any other awaitable. It is awaited, and its result is the object.
    - Anything else. It is the object.

    `opener`, `getter`, `retter`, `health` and `close` may be ``async``. A `close` replaces the exit.

    The scope says which object a task uses:

    - VERSATILE, the default for a function: each task borrows an object of its own from an `AsyncPool`, whose
      parameters are the proxy's. It keeps the object until it gives it back, or, with `auto_return`, until it ends.
    - VERSATILE with a `max_size` of None: an object is made for one task, and closed when it is given back or the task
      ends. It is never lent twice.
    - LOOP: an object is made once per loop, even if many tasks ask at the same time. It is exited at the loop's end.
    - SHARED, the default for an object: all tasks use the object that was set.

    The proxy's own methods and attributes are:

    - `_get_obj`, awaited: return the object; without one, take it from the pool, or make it
    - `_ret_obj`, awaited: give the object back
    - `_obj`: borrow the object for an ``async with`` block
    - `_has_obj`: tell whether there is an object here; `_local.obj` is that object, or None
    - `_nobjs`: the number of objects
    - `_pool`: the pool, to open it, look at it, discard an object from it, or shut it down
    - `_set`, `_set_obj`, `_set_fun`: the setters, independent of `set_name`
    - `_set_pool`: change the parameters of the pool, as long as there is none
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
        """Return the object. Without one, take it from the pool as `AsyncPool.get` does, or make it.

        Waits at most `timeout` seconds (None: without a limit; by default, the `timeout` parameter of the proxy). Then
        it raises `TimeOut`. Also raises the errors of `fun` and of ``__aenter__``; `ProxyException` if the proxy is not
        set.

        Neither an error nor a cancellation loses an object: an object that is being made goes to the next waiter.

        The object belongs to the task that runs this coroutine. `asyncio.gather`, `asyncio.shield`, and before
        Python 3.12 `asyncio.wait_for`, run it in a new task: the object belongs to that task, and not to the caller's.
        """
        return await self._proxy_provider.fetch(timeout)

    async def _ret_obj(self) -> None:
        """Give the task's object back to its pool. Waits only for the `retter`, as `AsyncPool.ret` does.

        Does nothing without an object. The object of a loop stays until the loop's end.
        """
        await self._proxy_give_back(set(), failed=False)

    @asynccontextmanager
    async def _obj(self, timeout: float | Default | None = Default.TIMEOUT) -> AsyncIterator[T]:
        """Borrow the object for an ``async with`` block, and give it back when the block ends, even after an exception.

        Waits as `_get_obj` and `_ret_obj` do. Nested blocks share one object. Only the block that has borrowed it gives
        it back, because an outer block may be in the middle of a transaction.

        A block in a generator may be left by a task other than the one that entered it. The block gives back the object
        that it has borrowed, and does not touch the object of the task that leaves it.
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
        """The pool. None before a function is set, with an object, and with LOOP, which its type does not say."""
        provider = self._proxy_provider
        return cast("AsyncPool[T]", provider.lender if isinstance(provider, TaskProvider) else None)

    async def _proxy_give_back(self, spared: set[Provider[T]], failed: bool) -> None:
        """Give the current owner's objects back, except those of the `spared` providers.

        `failed` means that the block which used them has raised an exception.
        """
        now, *earlier = self._proxy_providers()  # earlier ones: the proxy may have been set again, and used, meanwhile
        for provider in earlier:
            if provider not in spared:
                provider.ret()
        if now not in spared:
            await now.give_back(failed)

    def _proxy_provider_of(
        self, scope: ProxyScope, config: PoolConfig[T], pooled: bool, reshape: Callable[[Provider[T]], None]
    ) -> Provider[T]:
        if scope is ProxyScope.LOOP:
            return entered_per_loop(config, reshape)
        if scope in (ProxyScope.AUTO, ProxyScope.VERSATILE):
            return TaskProvider(config, pooled, reshape)
        raise ProxyException(
            f"scope {scope.name} is not for an AsyncProxy of a function: it has an object for each task (VERSATILE, "
            "the default) or for each event loop (LOOP)"
        )
