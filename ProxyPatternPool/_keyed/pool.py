"""AsyncKeyedPool: the pool of shared instances, as its callers see it: a face over the engine of each event loop."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar
from weakref import WeakMethod

from ProxyPatternPool._config import log
from ProxyPatternPool._core.limits import checked_seconds
from ProxyPatternPool._keyed.config import KeyedConfig
from ProxyPatternPool._keyed.engine import KeyedEngine
from ProxyPatternPool._keyed.lease import KeyedLease
from ProxyPatternPool._keyed.stats import KeyedStats
from ProxyPatternPool._loops.binding import LoopBinding
from ProxyPatternPool._process import keep, renew_after_fork

P = ParamSpec("P")
T = TypeVar("T")


class AsyncKeyedPool(Generic[P, T]):
    """One instance per arguments, shared by everybody who asks, closed `ttl` seconds after its last user has left.

    `fun(*args, **kwargs)` returns an asynchronous context manager, which is entered, or another awaitable, whose result
    is the object. It runs in a task of the instance's own, in an empty context, and so do the entering and the exit.

    Arguments are told apart by equality, as the keys of a dictionary, or by what `key(*args, **kwargs)` returns. At
    most `max_size` instances exist, those being entered or closed included (0: no limit): the one unused for longest
    makes room; if all are in use, callers wait, first come, first served. They wait at most `timeout` seconds (None:
    for ever), the entering included. A `ttl` of 0 closes at once, None with the pool. `name` is for logs and errors.

    It may be made anywhere, and belongs to the event loop of its first use, until that one ends; then its instances
    are closed, and it starts anew in the next one. Another thread may read `len`, `repr` and `stats`, and no more.
    Pickled, it travels as its parameters, and arrives empty; a forked child has an empty one, too.
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
        self.__setstate__(KeyedConfig(fun=fun, key=key, ttl=ttl, max_size=max_size, timeout=timeout, name=name))

    def __getstate__(self) -> KeyedConfig:
        return self._config

    def __setstate__(self, config: KeyedConfig) -> None:
        self._config = config
        self._binding = LoopBinding(str(config.name))
        self._use_engine(KeyedEngine(config, False, None, WeakMethod(self._on_loop_ended)))
        renew_after_fork(self)

    # -- the engine

    def _use_engine(self, engine: KeyedEngine[T]) -> None:
        self._engine = engine  # of the loop that the pool belongs to; of none before its first use, and after its end
        self._report = engine.report  # of the last loop, until there is another

    def _begin(self, loop: AbstractEventLoop | None) -> None:
        """Have an engine for this loop: without instances, and closed if the last one was."""
        self._use_engine(KeyedEngine(self._config, self._engine.closed, loop, WeakMethod(self._on_loop_ended)))

    def _bind(self) -> KeyedEngine[T]:
        """Belong to the running loop. `PoolException` when another one has the pool, and has not ended."""
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

    # -- what it tells

    @property
    def name(self) -> str:
        """What the pool calls itself in logs, errors and statistics."""
        return str(self._config.name)

    def __len__(self) -> int:
        """How many instances there are, those being entered or closed included."""
        return self._report.size

    def __bool__(self) -> bool:
        """A pool is true, an empty one too: ``if pool:`` asks whether there is one."""
        return True

    def stats(self) -> KeyedStats:
        """Tell configuration, sizes and counters as plain data. They begin anew with each event loop."""
        return self._report.stats(self._engine.closed)

    def __repr__(self) -> str:
        return self._report.text(type(self).__name__, self._engine.closed)

    # -- using it

    def get(self, /, *args: P.args, **kwargs: P.kwargs) -> KeyedLease[T]:
        """Use the instance for these arguments in an ``async with`` block. It is made when there is none.

        Entering the block raises what making it raises, for everybody who waits for that; the next one tries again.
        `TimeOut` when that takes longer than the pool's `timeout`; `PoolClosed` after `shutdown`; `PoolException` in
        another loop than the pool's; `TypeError` for unhashable arguments without `key`. Who is cancelled stops
        waiting, and no more: what is being made goes on, and will be there for the next one.
        """
        return KeyedLease(self, args, kwargs)

    async def discard(self, obj: T) -> None:
        """Tell that an instance is broken, by its object: nobody else gets it. Never waits.

        Those who use it keep it until they leave; then it is closed in the background, with an exception. Who asks for
        it meanwhile waits for that, and gets another. Whoever tells it again changes nothing; what the pool does not
        have, or no more, is logged as a warning. `PoolException` in another loop than the pool's.
        """
        engine = self._bind()
        if not engine.machine.discard(obj):
            what = f"something of type {type(obj).__name__} was discarded which is not here"
            log.warning("%s: %s (wanted is the object, not its arguments)", self.name, what)
        engine.act()

    async def shutdown(self, delay: float = 0.0) -> None:
        """End the pool, for good. Who waits is sent away with `PoolClosed`, what is being entered is cancelled.

        Idle instances are closed, at the same time; those in use too when their last user leaves, never before. Waits
        at most `delay` seconds for the users, then for all that is being closed. What has been cancelled and goes on
        nevertheless is waited for 1 second, and closed when it is there. What closing has raised meanwhile is raised
        in an `ExceptionGroup`, when all is done. Being cancelled ends the waiting only. Twice is once.
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
