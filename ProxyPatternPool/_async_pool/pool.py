"""AsyncPool: the pool for asyncio, as its callers see it: a thin face over the engine of each event loop."""

from __future__ import annotations

from asyncio import AbstractEventLoop, current_task
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import copy_context
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload
from weakref import WeakMethod, ref

from ProxyPatternPool._async_pool.engine import Engine
from ProxyPatternPool._async_pool.lease import AsyncLease, IndirectLease
from ProxyPatternPool._async_pool.lending import Request
from ProxyPatternPool._config import Default, PoolConfig, PoolParameters, configure
from ProxyPatternPool._core.limits import checked_seconds
from ProxyPatternPool._core.slot import Slot
from ProxyPatternPool._core.transitions import NotLeased
from ProxyPatternPool._loops.binding import BINDING, LoopBinding
from ProxyPatternPool._process import keep, renew_after_fork
from ProxyPatternPool._report import PoolFace

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")

#: The default of a timeout, bound once: on 3.11 looking a member up through its class takes 40 ns.
CONFIGURED: Final = Default.TIMEOUT


class AsyncPool(PoolFace[T]):
    """At least `min_size` and at most `max_size` objects, each lent to one task at a time.

    `fun(n)` makes object number ``n`` (0, 1, 2...). If it returns an asynchronous context manager, that is entered, and
    exited to end the object; otherwise, if it returns an awaitable, the object is what that gives; else, what `fun` has
    returned.

    It may be made anywhere. It belongs to the event loop of its first use, until that one ends: then its objects are
    closed, and it starts anew in the next one. All methods are to be called in that loop, by its tasks or callbacks;
    only `stats`, `leases` and `repr` also by other threads, which use `asyncio.run_coroutine_threadsafe` for the
    others. Nothing here is for finalisers or signal handlers: these use ``loop.call_soon_threadsafe``.

    The parameters and their defaults are those of `Pool`, ``help(Pool)`` lists them; what is different:

    - `min_size`: made by ``async with pool``, or in the background of the first `get`, and not by the constructor
    - `timeout`: covers the creation and the check of the object, too, and not the queue alone
    - `close`: replaces the exit of a context manager
    - `opener`, `getter`, `retter`, `health`, `close`: may be plain functions or ``async`` ones; a plain one must not
      block: it stops the whole loop
    - `tracer`, `stats`: plain functions
    """

    @overload
    def __init__(
        self,
        fun: Callable[[int], AbstractAsyncContextManager[T, Any]],
        max_size: int | None = 0,
        **parameters: Unpack[PoolParameters[T]],
    ) -> None: ...
    @overload
    def __init__(
        self,
        fun: Callable[[int], Awaitable[T]],
        max_size: int | None = 0,
        **parameters: Unpack[PoolParameters[T]],
    ) -> None: ...
    @overload
    def __init__(
        self,
        fun: Callable[[int], T],
        max_size: int | None = 0,
        **parameters: Unpack[PoolParameters[T]],
    ) -> None: ...
    def __init__(
        self, fun: Callable[[int], Any], max_size: int | None = 0, **parameters: Unpack[PoolParameters[T]]
    ) -> None:
        self._set_up(configure("AsyncPool", {"fun": fun, "max_size": max_size, **parameters}))

    @classmethod
    def _configured(cls, config: PoolConfig[T]) -> Self:
        """Make a pool of parameters which have been checked."""
        pool = cls.__new__(cls)
        pool._set_up(config)
        return pool

    def _set_up(self, config: PoolConfig[T]) -> None:
        self._config = config
        self._binding = LoopBinding(str(config.name))
        self._use_engine(Engine(config, config.limits(), False, None, WeakMethod(self._on_loop_ended)))
        renew_after_fork(self)

    # -- the engine

    def _use_engine(self, engine: Engine[T]) -> None:
        self._engine = engine  # of the loop that the pool belongs to; of none before its first use, and after its end
        self._report = engine.report

    def _begin(self, loop: AbstractEventLoop | None) -> None:
        """Have an engine for this loop: without objects, but with the sizes of the last one, and closed if that was."""
        last = self._engine
        self._use_engine(Engine(self._config, last.machine.limits, last.closed, loop, WeakMethod(self._on_loop_ended)))

    def _bind(self) -> Engine[T]:
        """Belong to the running loop. `PoolException` when another one has the pool, and has not ended."""
        self._binding.bind(self._begin)
        return self._engine

    def _on_loop_ended(self) -> None:
        self._binding.release(self._begin)

    def _renew(self) -> None:
        keep(self._engine)
        self._on_loop_ended()

    # -- using it

    async def get(self, timeout: float | Default | None = CONFIGURED) -> T:
        """Take an object, to be given back with `ret` or `discard`.

        Waits at most `timeout` seconds (0: takes what is idle, or nothing; None: for ever; by default, as the pool was
        told to), in the order of arrival, the creation and the checking of the object included; then raises `TimeOut`,
        whose cause is the last creation error, if any; or at once `PoolFull`, when `max_waiting` others wait. With a
        timeout of 0, `health` and `getter` have 5 seconds for what is idle: there is nothing else to wait for. What
        `fun`, `opener` or `getter` raise when it is this caller's turn is raised here, with a note that names the pool.
        `PoolClosed` after `shutdown`; `PoolException` in another loop than the pool's.

        Who is cancelled stops waiting, and no more: what was on its way, or is being made, goes to the next one.
        """
        if timeout is not CONFIGURED:
            timeout = self._config.patience(timeout)
        slot = self._take_idle()
        if slot is None:
            slot = await Request(self._engine, timeout).wait()
        return slot.obj

    async def ret(self, obj: T) -> None:
        """Give an object back. Never waits, and never for `close`, but for the `retter`, if there is one.

        Being cancelled then does not stop the `retter`, which goes on for at most 5 seconds; after that, the object is
        closed. What is not out (given back twice, taken away, or never ours) is counted, logged as a warning, and
        changes nothing. `PoolException` in another loop than the pool's.
        """
        engine = self._engine
        if get_ident() != engine.thread or current_task(engine.loop) is None:
            engine = self._bind()
        try:
            if engine.tidies:
                await engine.hooks.outlast(engine.tidy(engine.machine.reserve(obj), copy_context()))
            elif engine.give(obj, engine.clock()) or engine.creating:
                engine.act()
        except NotLeased:
            engine.refuse_return(obj)

    async def discard(self, obj: T) -> None:
        """Give an object back broken: it is closed in the background, with an exception. Never waits; else as `ret`."""
        engine = self._bind()
        try:
            engine.machine.discard(obj, engine.clock())
            engine.act()
        except NotLeased:
            engine.refuse_return(obj)

    def obj(self, timeout: float | Default | None = CONFIGURED) -> AsyncLease[T]:
        """Borrow an object for an ``async with`` block, at whose end it is returned, whatever ended it. Waits as `get`.

        It is returned as `ret` does, and nothing can prevent that: neither a `ret` of the object in the block, nor a
        second cancellation at its end. In an asynchronous generator that is closed there, and in a task that is
        collected, it is returned in the loop's next turn. If a subclass overrides `get` or `ret`, the block calls them.
        """
        if timeout is not CONFIGURED:
            timeout = self._config.patience(timeout)
        kind = type(self)
        if kind.get is GET and kind.ret is RET:
            return AsyncLease(self, timeout)
        return IndirectLease(self, timeout, kind.ret is not RET)

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes; None leaves one as it is, and a `max_size` of 0 is no limit. Does not wait for objects.

        A larger pool serves who waits at once. In a smaller one the idle objects beyond its size are closed now, and
        those in use when they come back. TypeError or ValueError as for a new pool.
        """
        self._binding.check(self._begin)
        engine = self._engine
        limits = engine.machine.limits
        engine.machine.resize(
            limits.min_size if min_size is None else min_size,
            limits.max_size if max_size is None else max_size,
            engine.clock(),
        )
        engine.follow_up()

    def refresh(self) -> None:
        """Replace all objects: none that exists now is lent again. Does not wait for anything.

        Idle ones are closed one at a time, and those in use when they come back. What `min_size` asks for is made again
        then, the others when they are needed.
        """
        self._binding.check(self._begin)
        self._engine.machine.refresh(self._engine.clock())
        self._engine.follow_up()

    async def shutdown(self, delay: float = 0.0) -> None:
        """End the pool, for good. Whoever waits is sent away with `PoolClosed`, what is being made is cancelled.

        Idle objects are closed, all at the same time. Waits at most `delay` seconds for those in use, then for all that
        is being closed; those which come back later are closed then, never while they are used. Hooks are cancelled
        after 1 second; what has been cancelled and goes on nevertheless is waited for 1 second. Being cancelled ends
        the waiting only; twice is once.
        """
        delay = checked_seconds("delay", delay)
        await self._bind().shutdown(delay)

    async def __aenter__(self) -> Self:
        """Make the first `min_size` objects, or none: what that raises is raised here, and the pool is closed."""
        engine = self._bind()
        if engine.machine.is_shut_down:
            raise engine.report.closed_error()
        self._binding.enter()
        await engine.fill()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._binding.leave()
        await self.shutdown()

    # -- for leases and proxies

    def _take_idle(self) -> Slot[T] | None:
        """Lease an idle object, if there is one that needs no preparation."""
        engine = self._engine
        task = current_task(engine.loop) if get_ident() == engine.thread else None
        if task is None:
            engine = self._bind()
            task = current_task(engine.loop)
        return engine.take(engine.clock(), task and ref(task))

    def _shutdown_soon(self) -> None:
        """Close the pool as `shutdown` does, without waiting; from any thread: its loop does it in its next turn."""
        with BINDING.lock:
            self._engine.shutdown_soon()


#: What `obj` calls directly, unless they are overridden.
GET: Final[object] = AsyncPool.get
RET: Final[object] = AsyncPool.ret
