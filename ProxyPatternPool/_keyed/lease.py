"""KeyedLease: one use of an instance of a keyed pool, the hot path: a hit costs no task, no future, no generator."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._keyed.instance import Instance

if TYPE_CHECKING:
    from ProxyPatternPool._keyed.pool import AsyncKeyedPool

T = TypeVar("T")

#: Stands for the instance of a use that still waits for it.
COMING: Final[Instance[Any]] = Instance(-1, None, None)


class KeyedLease(Generic[T]):
    """An asynchronous context manager: inside it, the instance is not closed. It may be used again, but not nested."""

    __slots__ = ("_args", "_instance", "_kwargs", "_pool")

    def __init__(self, pool: AsyncKeyedPool[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._pool = pool
        self._args = args
        self._kwargs = kwargs
        self._instance: Instance[T] | None = None  # between entering and leaving

    async def __aenter__(self) -> T:
        pool = self._pool
        if self._instance is not None:
            raise PoolException(f"{pool.name}: this use has begun already, call get() again for another")
        if get_running_loop() is not pool._loop:
            pool._bind()
        try:
            key = pool._key(self._args, self._kwargs)
            instance = pool._join(key, pool._clock())
        except TypeError as error:
            pool._explain(error, self._args, self._kwargs)
            raise
        if instance is None:
            self._instance = COMING
            try:
                instance = await pool._wait(key, self._args, self._kwargs)
            finally:
                self._instance = None
        self._instance = instance
        return instance.obj

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        instance, pool = self._instance, self._pool
        if instance is None or instance is COMING:
            raise PoolException(f"{pool.name}: this use has not begun, or has been left already")
        self._instance = None
        if pool._leave(instance, pool._clock()) or pool._needs_timer:
            await pool._left(instance)
