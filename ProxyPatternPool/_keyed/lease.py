"""KeyedLease: one use of an instance of a keyed pool. It is the hot path: a hit needs no task, future or generator."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Hashable, Mapping
from types import TracebackType
from typing import Any, Final, Generic, Protocol, TypeVar

from ProxyPatternPool._errors import PUBLIC, PoolException
from ProxyPatternPool._keyed.config import KeyedConfig
from ProxyPatternPool._keyed.engine import KeyedEngine
from ProxyPatternPool._keyed.instance import Instance

T = TypeVar("T")

#: Stands for the instance while a use still waits for it.
COMING: Final[Instance[Any]] = Instance(-1, None, None)


class Lender(Protocol[T]):
    """An `AsyncKeyedPool`, as its leases know it."""

    _config: KeyedConfig
    _engine: KeyedEngine[T]  # of the pool's loop

    def _bind(self) -> KeyedEngine[T]:
        """Bind the pool to the running loop, and return its engine."""
        ...


class KeyedLease(Generic[T]):
    """An asynchronous context manager, inside which the instance is not closed.

    It may be entered again after its end, but not while it is in use: then `PoolException`.
    """

    __slots__ = ("_args", "_engine", "_instance", "_kwargs", "_pool")

    def __init__(self, pool: Lender[T], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._pool = pool
        self._args = args
        self._kwargs = kwargs
        self._engine: KeyedEngine[T]  # of the instance, once entered
        self._instance: Instance[T] | None = None  # between entering and leaving

    async def __aenter__(self) -> T:
        pool = self._pool
        if self._instance is not None:
            raise PoolException(f"{pool._config.name}: this use has begun already, call get() again for another")
        engine = pool._engine
        if get_running_loop() is not engine.loop:
            engine = pool._bind()
        try:
            key: Hashable = self._args  # the same as `key_of`, whose call would cost a tenth of a hit
            if engine.has_key or self._kwargs:
                key = engine.key_of(self._args, self._kwargs)
            instance = engine.join(key, engine.clock())
        except TypeError as error:
            pool._config.explain(error, self._args, self._kwargs)
            raise
        if instance is None:
            self._instance = COMING
            try:
                instance = await engine.wait(key, self._args, self._kwargs)
            finally:
                self._instance = None
        self._engine = engine
        self._instance = instance
        return instance.obj

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        instance = self._instance
        if instance is None or instance is COMING:
            raise PoolException(f"{self._pool._config.name}: this use has not begun, or has been left already")
        self._instance = None
        engine = self._engine
        if engine.leave(instance, engine.clock()) or engine.needs_timer:
            await engine.left(instance)


KeyedLease.__module__ = PUBLIC
