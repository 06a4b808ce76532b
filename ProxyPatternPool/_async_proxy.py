"""AsyncProxy: a `Proxy` whose objects take awaiting to make."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from ProxyPatternPool._config import Default, PoolConfig, ProxyParameters
from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._per_loop import EnteredPerLoop
from ProxyPatternPool._proxy_base import BaseProxy, ProxyScope
from ProxyPatternPool._target import Target

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")

#: What makes an object, given its number.
AsyncFunction: TypeAlias = (
    "Callable[[int], AbstractAsyncContextManager[T, Any]] | Callable[[int], Awaitable[T]] | Callable[[int], T]"
)


class AsyncProxy(BaseProxy[T]):
    """Stands for an object of the running event loop, that is made by ``await db._get_obj()``, and then is at hand.

    It does what its object does, and is set, as a `Proxy`. What `fun` returns is entered, if it is an asynchronous
    context manager, by a task of its own; else awaited, if it can be; or else it is the object. `opener` and `close`
    may be `async`; `close` replaces the exit.

    With the scope LOOP, an object is made once per loop, however many tasks want it at the same time, and exited at the
    loop's end. A function needs that scope; an object is for everybody.
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
        *,
        fun: AsyncFunction[T] | None = None,
        **parameters: Unpack[ProxyParameters[T]],
    ) -> None:
        super()._set(obj, fun=fun, **parameters)  # type: ignore[arg-type]  # the base class does not call it

    def _set_fun(self, fun: AsyncFunction[T], **parameters: Unpack[ProxyParameters[T]]) -> None:
        super()._set_fun(fun, **parameters)  # type: ignore[arg-type]  # the base class does not call it

    async def _get_obj(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Return the object; if there is none yet, make it, or wait for whoever does, for at most `timeout` seconds.

        Raises what `fun` or `__aenter__` raise, which is not remembered: the next call tries again; `TimeOut`, when the
        object is not there in time; `ProxyException` when nothing is set. Neither that nor being cancelled stops the
        making.
        """
        return await self._proxy_target.fetch(timeout)

    async def _ret_obj(self) -> None:
        """Give the object back, when it is the current owner's alone: that of a loop stays until the loop's end."""
        for target in self._proxy_targets():
            target.ret()

    @asynccontextmanager
    async def _obj(self, timeout: float | Default | None = Default.TIMEOUT) -> AsyncIterator[T]:
        """Have the object for an ``async with`` block. Waits and raises as `_get_obj`."""
        yield await self._get_obj(timeout)

    @property
    def _pool(self) -> None:
        """There is no pool."""

    def _proxy_target_of(
        self, scope: ProxyScope, config: PoolConfig[T], pooled: bool, reshape: Callable[[Target[T]], None]
    ) -> Target[T]:
        if scope is not ProxyScope.LOOP:
            raise ProxyException(f"{config.name}: an AsyncProxy of a function needs scope LOOP, not {scope.name}")
        return EnteredPerLoop(config, reshape)
