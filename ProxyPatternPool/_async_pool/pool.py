"""AsyncPool: the pool for asyncio, as its callers see it. It is a thin face over the engine of each event loop."""

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
    """A pool for asyncio: at least `min_size` and at most `max_size` objects, each lent to one task at a time.

    `fun(n)` makes object number ``n`` (0, 1, 2...). It returns one of three things:

    - an asynchronous context manager, which is entered; its exit closes the object
    - another awaitable, whose result is the object
    - the object itself

    A pool may be made anywhere. It belongs to the event loop of its first use. When that loop ends, the pool's objects
    are closed, and the pool starts anew in the next loop.

    Call all methods in the pool's loop, from tasks or callbacks. Other threads, finalisers and signal handlers may call
    only `stats`, `leases` and `repr`. For the other methods, threads use `asyncio.run_coroutine_threadsafe`. Finalisers
    and signal handlers use ``loop.call_soon_threadsafe``.

    The parameters and their defaults are those of `Pool`, which ``help(Pool)`` lists. These differ:

    - `min_size`: ``async with pool`` makes the objects, or the first `get` does, in the background; the constructor
      makes none
    - `timeout`: covers not only the queue, but also the creation and the check of the object
    - `close`: replaces the exit of a context manager
    - `opener`, `getter`, `retter`, `health`, `close`: plain or ``async`` functions; a plain one must not block, since
      it would stop the whole loop
    - `tracer`, `stats`: plain functions only
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
        """Make a pool with parameters that have been checked."""
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
        self._engine = engine  # of the pool's loop; before the first use, and after the loop's end, one without a loop
        self._report = engine.report

    def _begin(self, loop: AbstractEventLoop | None) -> None:
        """Make the engine for a loop: without objects, with the last engine's sizes, and closed if that was closed."""
        last = self._engine
        self._use_engine(Engine(self._config, last.machine.limits, last.closed, loop, WeakMethod(self._on_loop_ended)))

    def _bind(self) -> Engine[T]:
        """Bind the pool to the running loop. `PoolException` if it belongs to another loop that has not ended."""
        self._binding.bind(self._begin)
        return self._engine

    def _on_loop_ended(self) -> None:
        self._binding.release(self._begin)

    def _renew(self) -> None:
        keep(self._engine)
        self._on_loop_ended()

    # -- using it

    async def get(self, timeout: float | Default | None = CONFIGURED) -> T:
        """Take an object, which the caller has to give back with `ret` or `discard`.

        Waits at most `timeout` seconds (0: takes an idle object, if any; None: without a limit; by default, the pool's
        own `timeout`). The time covers the queue, the creation and the check. With a timeout of 0, `get` waits only for
        the `health` and `getter` of an idle object, which have 5 seconds. Callers are served in the order of arrival.

        The errors are:

        - `TimeOut` after that time; its cause is the last error of a creation, if there was one
        - `PoolFull`, at once, if `max_waiting` callers are waiting already
        - `PoolClosed` after `shutdown`
        - `PoolException` in a loop other than the pool's
        - an exception of `fun`, `opener` or `getter` in this caller's turn, with a note that names the pool

        Cancelling a caller only ends its waiting. An object that is being made or prepared goes to the next caller.
        """
        if timeout is not CONFIGURED:
            timeout = self._config.patience(timeout)
        slot = self._take_idle()
        if slot is None:
            slot = await Request(self._engine, timeout).wait()
        return slot.obj

    async def ret(self, obj: T) -> None:
        """Give an object back. Never waits, not even for `close`, except for the `retter`.

        If the caller is cancelled in that wait, the `retter` goes on for at most 5 seconds. After that time, the object
        is closed.

        The return of an object that is not out is counted and logged as a warning, and changes nothing. Such an object
        was returned before, was taken away, or never belonged to the pool. Raises `PoolException` in a loop other than
        the pool's.
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
        """Give back a broken object, which is closed in the background, with an exception. Never waits.

        The discard of an object that is not out is counted, logged, and changes nothing, as in `ret`. Raises
        `PoolException` in a loop other than the pool's.
        """
        engine = self._bind()
        try:
            engine.machine.discard(obj, engine.clock())
            engine.act()
        except NotLeased:
            engine.refuse_return(obj)

    def obj(self, timeout: float | Default | None = CONFIGURED) -> AsyncLease[T]:
        """Borrow an object for an ``async with`` block, and give it back when the block ends, even after an exception.

        Waits and raises as `get` does when the block is entered, and as `ret` does when it ends. A second cancellation
        at the end does not prevent the return. If the object was given back inside the block, the end changes nothing.

        The block may be in an asynchronous generator that the loop closes, or in a task that is collected. The loop
        then returns the object in its next turn. If a subclass overrides `get` or `ret`, the block calls them.
        """
        if timeout is not CONFIGURED:
            timeout = self._config.patience(timeout)
        kind = type(self)
        if kind.get is GET and kind.ret is RET:
            return AsyncLease(self, timeout)
        return IndirectLease(self, timeout, kind.ret is not RET)

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes. None leaves a size unchanged; a `max_size` of 0 means no limit. Does not wait for objects.

        A larger pool serves waiting callers at once. In a smaller pool, surplus idle objects are closed now, and
        surplus objects in use when they come back. Raises TypeError or ValueError as the constructor does.
        """
        self._binding.check(self._begin)
        engine = self._engine
        engine.machine.resize(min_size, max_size, engine.clock())
        engine.follow_up()

    def refresh(self) -> None:
        """Replace all objects: no object that exists now is lent again. Does not wait.

        Idle objects are closed one at a time, objects in use when they come back. As many as `min_size` needs are then
        made again. Further objects are made when callers need them.
        """
        self._binding.check(self._begin)
        self._engine.machine.refresh(self._engine.clock())
        self._engine.follow_up()

    async def shutdown(self, delay: float = 0.0) -> None:
        """Close the pool forever. Waiting callers get `PoolClosed`, and creations are cancelled.

        Closes all idle objects at the same time. Waits at most `delay` seconds for the objects in use, then until all
        running closes have ended. An object that comes back later is closed then, and never while it is in use.

        Running hooks are cancelled after 1 second. The pool then waits 1 second for a creation or hook that ignores its
        cancellation. Cancelling `shutdown` only ends its waiting. A second call only waits.
        """
        delay = checked_seconds("delay", delay)
        await self._bind().shutdown(delay)

    async def __aenter__(self) -> Self:
        """Make the first `min_size` objects, all at the same time. If one fails, close the pool and raise the error.

        Being cancelled closes the pool, too. `PoolClosed` after `shutdown`.
        """
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
        """Lease an idle object that needs no preparation. None if there is none."""
        engine = self._engine
        task = current_task(engine.loop) if get_ident() == engine.thread else None
        if task is None:
            engine = self._bind()
            task = current_task(engine.loop)
        return engine.take(engine.clock(), task and ref(task))

    def _shutdown_soon(self) -> None:
        """Have the loop close the pool in its next turn, as `shutdown` does. Never waits. Safe from any thread."""
        with BINDING.lock:
            self._engine.shutdown_soon()


#: The methods that `obj` bypasses, unless a subclass overrides them.
GET: Final[object] = AsyncPool.get
RET: Final[object] = AsyncPool.ret
