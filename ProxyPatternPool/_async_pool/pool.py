"""AsyncPool: the driver for asyncio, as its callers see it. It waits, and it lends."""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED, AbstractEventLoop, current_task
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import Context, copy_context
from dataclasses import replace
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast, overload
from weakref import ref

from ProxyPatternPool._async_pool.engine import LoopedPool
from ProxyPatternPool._async_pool.hooks import PATIENCE
from ProxyPatternPool._async_pool.lease import AsyncLease
from ProxyPatternPool._async_pool.resources import LoopResources
from ProxyPatternPool._async_pool.waiter import TaskWaiter
from ProxyPatternPool._config import Default, PoolConfig, PoolParameters, configure
from ProxyPatternPool._core.limits import checked_seconds, checked_timeout
from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._core.slot import CLOSING, CREATING, LEASED, RESERVED, Slot, State
from ProxyPatternPool._core.transitions import NotLeased
from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._loops.binding import BINDING
from ProxyPatternPool._process import renew_after_fork

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")

#: The default of a timeout, bound once: on 3.11 looking a member up through its class takes 40 ns.
CONFIGURED: Final = Default.TIMEOUT


class AsyncPool(LoopedPool[T]):
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
        super().__init__(config)
        renew_after_fork(self)

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
            timeout = checked_timeout(timeout)
        slot = self._take_idle()
        if slot is None:
            slot = await self._wait(timeout)
        return slot.obj

    async def ret(self, obj: T) -> None:
        """Give an object back. Never waits, and never for `close`, but for the `retter`, if there is one.

        Being cancelled then does not stop the `retter`, which goes on for at most 5 seconds; after that, the object is
        closed. What is not out (given back twice, taken away, or never ours) is counted, logged as a warning, and
        changes nothing. `PoolException` in another loop than the pool's.
        """
        if get_ident() != self._thread or current_task(self._loop) is None:
            self._bind()
        try:
            if self._tidies:
                await self._outlast(self._tidy(self._core.reserve(obj), copy_context()))
            elif self._give(obj, self._clock()) or self._creating:
                self._act()
        except NotLeased:
            self._report_bad_return(obj)

    async def discard(self, obj: T) -> None:
        """Give an object back broken: it is closed in the background, with an exception. Never waits; else as `ret`."""
        if get_ident() != self._thread or current_task(self._loop) is None:
            self._bind()
        try:
            self._core.discard(obj, self._clock())
            self._act()
        except NotLeased:
            self._report_bad_return(obj)

    def obj(self, timeout: float | Default | None = CONFIGURED) -> AsyncLease[T]:
        """Borrow an object for an ``async with`` block, at whose end it is returned, whatever ended it. Waits as `get`.

        It is returned as `ret` does, and nothing can prevent that: neither a `ret` of the object in the block, nor a
        second cancellation at its end. In an asynchronous generator that is closed there, and in a task that is
        collected, it is returned in the loop's next turn.
        """
        return AsyncLease(self, timeout if timeout is CONFIGURED else checked_timeout(timeout))

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes; None leaves one as it is, and a `max_size` of 0 is no limit. Does not wait for objects.

        A larger pool serves who waits at once. In a smaller one the idle objects beyond its size are closed now, and
        those in use when they come back. TypeError or ValueError as for a new pool.
        """
        self._check_loop()
        sizes = {"min_size": min_size, "max_size": max_size}
        self._limits = replace(self._limits, **{name: size for name, size in sizes.items() if size is not None})
        self._core.resize(self._limits.min_size, self._limits.max_size, self._clock())
        self._follow_up()

    def refresh(self) -> None:
        """Replace all objects: none that exists now is lent again. Does not wait for anything.

        Idle ones are closed one at a time, and those in use when they come back. What `min_size` asks for is made again
        then, the others when they are needed.
        """
        self._check_loop()
        self._core.refresh(self._clock())
        self._follow_up()

    async def shutdown(self, delay: float = 0.0) -> None:
        """End the pool, for good. Whoever waits is sent away with `PoolClosed`, what is being made is cancelled.

        Idle objects are closed, all at the same time. Waits at most `delay` seconds for those in use, then for all that
        is being closed; those which come back later are closed then, never while they are used. Hooks are cancelled
        after 1 second; what has been cancelled and goes on nevertheless is waited for 1 second. Being cancelled ends
        the waiting only; twice is once.
        """
        delay = checked_seconds("delay", delay)
        self._bind()
        self._closed = True
        self._end()
        core, resources = self._core, self._resources
        await resources.wait_for(lambda: not _any(core, LEASED, RESERVED), delay)
        await resources.end_work()
        await resources.wait_for(lambda: not _any(core, CLOSING), None)

    async def __aenter__(self) -> Self:
        """Make the first `min_size` objects, or none: what that raises is raised here, and the pool is closed."""
        self._enter()
        await self._fill()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave_block()
        await self.shutdown()

    # -- lending

    def _take_idle(self) -> Slot[T] | None:
        """Lease an idle object, if there is one that needs no preparation."""
        task = current_task(self._loop) if get_ident() == self._thread else None
        if task is None:
            self._bind()
            task = current_task(self._loop)
        return self._take(self._clock(), task and ref(task))

    async def _wait(self, timeout: float | Default | None) -> Slot[T]:
        """Wait until a slot is served whose object is fit for use. Whatever goes wrong, one handler settles it."""
        loop, core = cast(AbstractEventLoop, self._loop), self._core
        patience = self._config.timeout if isinstance(timeout, Default) else timeout
        task = current_task(loop)
        waiter: TaskWaiter[T] = TaskWaiter(loop, task and ref(task))
        entered = core.enter(waiter, False, self._clock())
        self._act()
        if not entered:
            raise self._closed_error() if core.is_shut_down else self._full_error()
        timer = loop.call_later(patience, waiter.wake, context=Context()) if patience else None
        try:
            if patience != 0.0:
                await waiter.future
            else:
                await self._own_preparations(waiter)
            if core is not self._core:  # the loop has ended meanwhile, and everything is closed
                raise waiter.error or self._closed_error()
            return self._served_slot(waiter, patience)
        except BaseException:
            if core is self._core:
                self._cancel(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def _own_preparations(self, waiter: TaskWaiter[T]) -> None:
        """Wait for the hooks that have what was idle: for nobody and nothing else."""
        changed = True
        while changed and waiter.slot in self._preparing and not waiter.future.done():
            task = cast("asyncio.Task[None]", waiter.task)
            done, _ = await asyncio.wait((task, waiter.future), timeout=PATIENCE, return_when=FIRST_COMPLETED)
            changed = bool(done)

    def _served_slot(self, waiter: TaskWaiter[T], patience: float | None) -> Slot[T]:
        """Return what has come, or raise why nothing has."""
        if not waiter.ready and waiter.error is None and waiter.slot is None:
            self._core.time_out(waiter, True, self._clock())  # it may just be served
            self._act()
        if waiter.error is not None:
            raise waiter.error
        if waiter.ready:
            return cast(Slot[T], waiter.slot)
        if self._core.is_shut_down:
            raise self._closed_error()
        why = ""
        if waiter.slot is not None:
            self._core.counters.timeouts += 1
            why = "still creating an object" if waiter.slot.state is CREATING else "still checking an object"
        raise self._timeout_error(patience or 0.0, why)

    def _cancel(self, waiter: TaskWaiter[T]) -> None:
        """Want nothing any more. What is being made or prepared goes on, and finds out that nobody waits for it."""
        waiter.gone = True
        slot = waiter.slot
        if slot is not None and self._creating.get(slot) is waiter:
            del self._creating[slot]
        elif slot is not None and self._preparing.get(slot) is waiter:
            self._resources.cancel_after(cast("asyncio.Task[Any]", waiter.task), PATIENCE)
        else:
            self._core.cancel(waiter, self._clock())
            self._act()

    async def _return_use(self, slot: Slot[T], use: int) -> None:
        """Return that use of an object, if it is not over. Who is in another loop, or no task, has the loop do it."""
        if get_ident() != self._thread or current_task(self._loop) is None:
            self._give_finally(slot, use)
        elif (task := self._take_back(slot, use)) is not None:
            await self._outlast(task)

    def _take_back(self, slot: Slot[T], use: int) -> asyncio.Task[None] | None:
        """End that use; return what tidies the object up, if anything has to."""
        if not self._tidies:
            if self._core.give_use(use, self._clock()) or self._creating:
                self._act()
        elif self._core.reserve_use(use):
            return self._tidy(slot, copy_context())
        return None

    def _give_finally(self, slot: Slot[T], use: int) -> None:
        """End that use in a finaliser, in whatever thread: the loop does it in its next turn, unless it is closed."""
        _call_soon(self._resources.loop, _take_back, ref(self), self._resources, slot, use)

    def _give_up(self, slot: Slot[T], use: int) -> None:
        """End that use of an object which is to be closed with an exception; likewise."""
        _call_soon(self._resources.loop, _discard, ref(self), self._resources, slot, use)

    def _report_bad_return(self, obj: T) -> None:
        self._core.counters.bad_returns += 1
        self._tell_bad_return(obj, self._core.known.get(id(obj)))

    # -- beginning and end

    async def _fill(self) -> None:
        """Make `min_size` objects, all at the same time; if one fails, or who waits is cancelled, close the pool."""
        errors = self._filling = list[BaseException]()
        try:
            self._core.match(self._clock())
            self._act()
            await self._resources.wait_for(lambda: errors or not self._refilling, None)
            if errors:
                raise errors[0]
        except Exception:
            await self.shutdown()
            raise
        except BaseException:  # nothing more is waited for
            self._closed = True
            self._end()
            raise
        finally:
            self._filling = None

    def _shutdown_soon(self) -> None:
        """End the pool as `shutdown` does, but wait for nothing; from anywhere: its loop does it in its next turn."""
        with BINDING.lock:
            self._closed = True
            loop = self._loop
            if loop is None:
                self._core.shutdown(self._clock())
        if loop is not None:
            _call_soon(loop, self._end)

    def _check_loop(self) -> None:
        """Raise `PoolException` unless this is the pool's loop, or it has none."""
        if self._loop is not None and self._loop.is_closed():
            self._on_loop_ended()
        elif self._loop is not None and asyncio._get_running_loop() is not self._loop:
            raise self._loop_error()

    def _follow_up(self) -> None:
        if self._loop is not None:
            self._schedule_round()
            self._act()


def _any(core: PoolMachine[Any], *states: State) -> bool:
    return any(slot.state in states for slot in core.registry)


def _call_soon(loop: AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    """Have a loop call a function in its next turn: from any thread, in a finaliser, too. Not if it is closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments, context=Context())


def _take_back(pool: ref[AsyncPool[T]], resources: LoopResources[T], slot: Slot[T], use: int) -> None:
    """Have the pool take an object back; the pool may have been collected, too: then it is left as its task had it."""
    alive = pool()
    if alive is None:
        resources.close(slot, PoolException("the task that had it has been collected, and so has its pool"))
    elif (task := alive._take_back(slot, use)) is not None:
        resources.cancel_after(task, PATIENCE)  # nobody waits for it


def _discard(pool: ref[AsyncPool[T]], resources: LoopResources[T], slot: Slot[T], use: int) -> None:
    """Have the pool close an object, as `_take_back` does."""
    alive = pool()
    if alive is None:
        _take_back(pool, resources, slot, use)
    elif alive._core.holds(use):
        alive._core.discard(slot.obj, alive._clock())
        alive._act()
