"""AsyncKeyedPool: the pool of shared instances, as its callers see it. It is a face over the engine of each loop."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import fields
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar
from weakref import WeakMethod

from ProxyPatternPool._config import log
from ProxyPatternPool._core.limits import checked_seconds
from ProxyPatternPool._errors import PUBLIC
from ProxyPatternPool._keyed.config import KeyedConfig
from ProxyPatternPool._keyed.engine import KeyedEngine
from ProxyPatternPool._keyed.lease import KeyedLease
from ProxyPatternPool._keyed.stats import KeyedStats
from ProxyPatternPool._loops.binding import LoopBinding
from ProxyPatternPool._process import keep, renew_after_fork

P = ParamSpec("P")
T = TypeVar("T")


class AsyncKeyedPool(Generic[P, T]):
    """A pool with one shared instance for each set of arguments. Each is closed after `ttl` seconds without users.

    The parameters are:

    - `fun`: called with the arguments of `get`; returns an asynchronous context manager, which is entered, or another
      awaitable, whose result is the object
    - `key`: called with the same arguments; returns their key. Without it, the arguments themselves are the key, and
      compared like the keys of a dictionary
    - `ttl`: seconds without users after which an instance is closed; 0 closes it at once, and None when the pool ends
    - `max_size`: the maximum number of instances, including those being entered or closed; 0 and None mean no limit
    - `timeout`: seconds that a caller waits for an instance, including its entering; None waits without a limit
    - `name`: the name of the pool in logs, errors and statistics

    With `max_size` instances, the instance that has been idle for longest makes room for a new one. If all are in use,
    callers wait in the order of arrival.

    Each instance has a task of its own, with an empty context. That task runs `fun`, the entering and the exit.

    A pool may be made anywhere. It belongs to the event loop of its first use. When that loop ends, the pool's
    instances are closed, and the pool starts anew in the next loop. Other threads may call only `len`, `repr` and
    `stats`. A pickled pool consists of its parameters, and is empty when it is unpickled. A forked child has an empty
    pool, too.
    """

    def __init__(
        self,
        fun: Callable[P, AbstractAsyncContextManager[T, Any] | Awaitable[T]],
        *,
        key: Callable[P, Hashable] | None = None,
        ttl: float | None = 30.0,
        max_size: int | None = 0,
        timeout: float | None = 30.0,
        name: str | None = None,
    ) -> None:
        self.__setstate__({"fun": fun, "key": key, "ttl": ttl, "max_size": max_size, "timeout": timeout, "name": name})

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self._config, field.name) for field in fields(KeyedConfig)}

    def __setstate__(self, parameters: dict[str, Any]) -> None:
        self._config = config = KeyedConfig(**parameters)
        self._binding = LoopBinding(str(config.name))
        self._use_engine(KeyedEngine(config, False, None, WeakMethod(self._on_loop_ended)))
        renew_after_fork(self)

    # -- the engine

    def _use_engine(self, engine: KeyedEngine[T]) -> None:
        self._engine = engine  # of the pool's loop; before the first use, and after the loop's end, one without a loop
        self._report = engine.report  # of the last loop, until the pool is bound to another

    def _begin(self, loop: AbstractEventLoop | None) -> None:
        """Make the engine for a loop. It has no instances, and is closed if the last engine was."""
        self._use_engine(KeyedEngine(self._config, self._engine.closed, loop, WeakMethod(self._on_loop_ended)))

    def _bind(self) -> KeyedEngine[T]:
        """Bind the pool to the running loop. `PoolException` if it belongs to another loop that has not ended."""
        self._binding.bind(self._begin)
        return self._engine

    def _on_loop_ended(self) -> None:
        report = self._report
        self._binding.release(self._begin)
        self._report = report

    def _renew(self) -> None:
        self._engine.machine.detach()
        keep(self._engine)
        self._binding.release(self._begin)

    # -- its state

    @property
    def name(self) -> str:
        """The name of the pool in logs, errors and statistics."""
        return str(self._config.name)

    def __len__(self) -> int:
        """Return the number of instances, those being entered or closed included."""
        return self._report.size

    def __bool__(self) -> bool:
        """Return True, even for an empty pool: ``if pool:`` asks whether there is one."""
        return True

    def stats(self) -> KeyedStats:
        """Return configuration, sizes and counters as plain data. Each event loop begins with new counters."""
        return self._report.stats(self._engine.closed)

    def __repr__(self) -> str:
        return self._report.text(type(self).__name__, self._engine.closed)

    # -- using it

    def get(self, /, *args: P.args, **kwargs: P.kwargs) -> KeyedLease[T]:
        """Borrow the instance of these arguments for an ``async with`` block. Without one, make it.

        Entering the block waits for the instance, at most the pool's `timeout`. The instance is not closed before all
        its users have left their blocks.

        The errors are:

        - the exception of `fun` or of the entering, in all callers that wait for it; the next caller tries again
        - `TimeOut` after the pool's `timeout`
        - `PoolClosed` after `shutdown`
        - `PoolException` in a loop other than the pool's, and for a block inside another block of the same `get`
        - `TypeError` for an unhashable argument, without a `key`

        Cancelling a caller only ends its waiting. An instance that is being made goes on, and serves the next caller.
        """
        return KeyedLease(self, args, kwargs)

    async def discard(self, obj: T) -> None:
        """Mark the instance that has this object as broken: no other caller gets it. Never waits.

        Its users keep it until they leave. Then it is closed in the background, with an exception. A caller that asks
        for its key meanwhile waits for that, and gets a new instance.

        A second `discard` changes nothing. An object that the pool does not have is logged as a warning.
        Raises `PoolException` in a loop other than the pool's.
        """
        engine = self._bind()
        if not engine.machine.discard(obj):
            what = f"discarded something of type {type(obj).__name__} that the pool does not have"
            log.warning("%s: %s (give it the object, not its arguments)", self.name, what)
        engine.act()

    async def shutdown(self, delay: float = 0.0) -> None:
        """Close the pool forever. Waiting callers get `PoolClosed`, and instances being entered are cancelled.

        Closes all idle instances at the same time. An instance in use is closed when its last user leaves, and never
        before. Waits at most `delay` seconds for the users, then until all running closes have ended.

        The pool waits 1 second for an instance whose entering ignores the cancellation. If the entering succeeds later,
        the instance is closed then. The exceptions of closing are raised at the end, in an `ExceptionGroup`. Cancelling
        `shutdown` only ends its waiting. A second call only waits.
        """
        delay = checked_seconds("delay", delay)
        await self._bind().shutdown(delay)

    async def __aenter__(self) -> Self:
        engine = self._bind()
        if engine.machine.is_shut_down:
            raise engine.report.closed_error()
        self._binding.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._binding.leave()
        await self.shutdown()


AsyncKeyedPool.__module__ = PUBLIC
