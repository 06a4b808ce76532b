"""AsyncKeyedPool: the driver of the keyed pool, for one event loop at a time.

Reading it: every change of state is a move of the core; after each, `_act` does what the core has left in its
outboxes. All of that is synchronous. Timers run in empty contexts: else they would keep the variables of the request
that happens to start them, a cancelled timer even until its time has come. A task waits in four places: for an
instance (`_wait`), for the end of one (`_left`), for those in use and for those being closed (`shutdown`); being
cancelled there ends the waiting and nothing else, because what is waited for goes on in the keepers' tasks.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import Context
from functools import partial
from math import inf
from time import monotonic
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast
from weakref import WeakMethod

from ProxyPatternPool._config import log
from ProxyPatternPool._core.limits import checked_seconds
from ProxyPatternPool._errors import PoolException, note_once
from ProxyPatternPool._keyed.config import KeyedConfig
from ProxyPatternPool._keyed.instance import Instance, Reason, State, Waiter
from ProxyPatternPool._keyed.lease import KeyedLease
from ProxyPatternPool._keyed.report import KeyedReport
from ProxyPatternPool._loops.binding import LoopBinding, clock_of
from ProxyPatternPool._loops.context_task import ContextTask, EnteringCancelled
from ProxyPatternPool._loops.factory import FactoryContext
from ProxyPatternPool._loops.shutdown import Exit, at_end, before_end
from ProxyPatternPool._loops.waiting import GRACE, Notifier, Woken
from ProxyPatternPool._process import keep, keep_in_children, renew_after_fork

P = ParamSpec("P")
T = TypeVar("T")


class KeyedWaiter(Waiter[T], Woken):
    """A task in the queue."""

    __slots__ = ("future",)

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__()
        self.future = loop.create_future()


class AsyncKeyedPool(KeyedReport[T], LoopBinding, Generic[P, T]):
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

    def _start(self) -> None:
        super()._start()
        self._loop = None
        self._entered = False
        self._tasks: dict[Instance[T], ContextTask[T]] = {}  # of what is ENTERING, OPEN or CLOSING
        self._timer: asyncio.TimerHandle | None = None  # the only one; it may ring too early, never too late
        self._needs_timer = 0.0 < self._core.ttl < inf  # there is no timer, and what becomes idle needs one
        self._notifier = Notifier()  # an instance is gone
        self._errors: list[BaseException] | None = None  # from closing, while somebody collects them
        self._listed = False  # at the end of the loop
        self._alive: set[AsyncKeyedPool[P, T]] = set()  # known to the loop: this pool, while there is something to end

    def _renew(self) -> None:
        self._core.detach()
        keep(self.__dict__.copy())
        self._start()

    def __getstate__(self) -> KeyedConfig:
        return self._config

    def __setstate__(self, config: KeyedConfig) -> None:
        super().__init__(config)
        renew_after_fork(self)

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
        self._bind()
        if not self._core.discard(obj):
            what = f"something of type {type(obj).__name__} was discarded which is not here"
            log.warning("%s: %s (wanted is the object, not its arguments)", self.name, what)
        self._act()

    async def shutdown(self, delay: float = 0.0) -> None:
        """End the pool, for good. Who waits is sent away with `PoolClosed`, what is being entered is cancelled.

        Idle instances are closed, at the same time; those in use too when their last user leaves, never before. Waits
        at most `delay` seconds for the users, then for all that is being closed. What has been cancelled and goes on
        nevertheless is waited for 1 second, and closed when it is there. What closing has raised meanwhile is raised
        in an `ExceptionGroup`, when all is done. Being cancelled ends the waiting only. Twice is once.
        """
        delay = checked_seconds("delay", delay)
        self._bind()
        self._closed = True
        await self._finish(self._core.shutdown, delay)

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave_block()
        await self.shutdown()

    # -- the loop

    def _begin_in(self, loop: AbstractEventLoop) -> None:
        self._core.detach()
        self._start()
        self._clock = clock_of(loop)
        self._list(before_end, self._end_entering)

    def _list(
        self, enlist: Callable[[Exit], Callable[[], object]], method: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Have the method run at the end of the loop, which keeps no pool alive but for its instances."""
        reference = WeakMethod(method, lambda _: unlist())

        async def end(_: object = self._alive) -> None:
            method = reference()
            if method is not None:  # or the pool has just been collected
                await method()

        unlist = enlist(end)

    async def _end_entering(self) -> None:
        """Give up what is still being entered when the loop ends: before anything that it may need is closed."""
        await self._notifier.wait_for(self._cancel_entering, GRACE)
        self._desert()
        if not self._core.registry:
            self._unbind()

    def _cancel_entering(self) -> bool:
        """Cancel what is being entered, or has come in its place meanwhile; True when there is nothing."""
        for instance in self._core.entering:
            self._tasks[instance].release()
        return not self._core.entering

    async def _end_with_loop(self) -> None:
        """Close everything: no user runs any more. In its next loop the pool starts anew."""
        try:
            await self._finish(self._core.abandon)
        finally:
            self._desert()
            self._unbind()

    def _desert(self) -> None:
        """Wait no more for what was cancelled while it was entered, and goes on: the loop is about to be closed."""
        while self._core.entering:
            instance = next(iter(self._core.entering))
            keeper = self._tasks.pop(instance)
            keeper.release()
            keeper.abandon()
            self._failed(instance, EnteringCancelled())
            self._act()

    def _unbind(self) -> None:
        """Belong to no loop, and keep none that ends."""
        self._stop_timer()
        self._loop, self._clock, self._timer = None, monotonic, None

    # -- waiting

    async def _wait(self, key: Hashable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Instance[T]:
        """Wait for an instance that is not open yet; on return, be its user."""
        loop, core, patience = cast(AbstractEventLoop, self._loop), self._core, self._config.timeout
        waiter: KeyedWaiter[T] = KeyedWaiter(loop)
        if not core.ask(key, partial(self._config.fun, *args, **kwargs), waiter, self._clock()):
            raise self._closed_error()
        self._act()
        timer = None if patience is None else loop.call_later(patience, waiter.wake, context=Context())
        try:
            await waiter.future
        except BaseException:
            self._cancel(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return self._outcome(waiter)

    def _outcome(self, waiter: KeyedWaiter[T]) -> Instance[T]:
        if waiter.served:
            return waiter.instance
        if waiter.error is not None:
            try:
                raise waiter.error.take()
            finally:
                waiter.error = None  # its traceback leads to this frame, which has the waiter
        why = self._why(waiter.instance)
        if not self._core.withdraw(waiter, self._clock()):
            raise self._closed_error()
        self._core.counters.timeouts += 1
        raise self._timeout_error(why)

    def _cancel(self, waiter: KeyedWaiter[T]) -> None:
        """Want nothing any more: if it was served just now, the instance goes on to whoever else needs it, or room."""
        if not self._core.withdraw(waiter, self._clock()) and waiter.served:
            self._leave(waiter.instance, self._clock())
        self._act()

    async def _left(self, instance: Instance[T]) -> None:
        """Go on after the last user has left. If the instance is closed at once, see that done, as its own user would.

        What closing raises is logged, not raised: it depends on chance who is the last one.
        """
        self._act()
        if instance.state is State.CLOSING and instance.reason in (Reason.TTL, Reason.SHUTDOWN):
            with suppress(Exception):
                await self._tasks[instance].ended()

    async def _finish(self, end: Callable[[float], None], delay: float = 0.0) -> None:
        """Make the core's last move, wait for what comes of it, raise what closing has raised meanwhile."""
        core, change, errors = self._core, self._notifier, list[BaseException]()
        collecting = self._errors is None
        if collecting:
            self._errors = errors
        try:
            end(self._clock())
            self._act()
            await change.wait_for(lambda: not core.registry, delay)
            await change.wait_for(lambda: not core.entering, GRACE)
            await change.wait_for(lambda: not core.closing)
        except BaseException:
            for error in errors:
                self._log_closing(error)
            raise
        finally:
            if collecting:
                self._errors = None
            self._stop_timer()
        if errors:
            raise BaseExceptionGroup(f"{self.name}: errors while closing the pool", errors)

    # -- doing what the core has decided

    def _act(self) -> None:
        core = self._core
        while core.to_wake:
            cast(KeyedWaiter[T], core.to_wake.popleft()).wake()
        while core.starts:
            self._make(core.starts.popleft())
        while core.stops:
            instance = core.stops.popleft()
            self._tasks[instance].release(self._exit_error(instance))
        if self._needs_timer and self._loop is not None and core.idle:
            self._timer = self._loop.call_at(core.due(), self._run_round, context=Context())
            self._needs_timer = False

    def _exit_error(self, instance: Instance[T]) -> PoolException | None:
        """Return what an instance is exited with that is not in good order: with None, a driver would commit."""
        if instance.reason is Reason.DISCARD:
            why = "discarded"
        elif instance.users:
            why = "its users have not left when the event loop ended"
        else:
            return None
        return PoolException(f"{self.name}: instance {instance.number} is given up: {why}")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _run_round(self) -> None:
        self._needs_timer = True
        self._core.expire(self._clock())
        self._act()

    def _make(self, instance: Instance[T]) -> None:
        self._alive.add(self)
        making: FactoryContext[T] = FactoryContext(instance.call)
        instance.call = None
        keep_in_children(making)  # with the object: no destructor of it must run in a forked child
        entered, ended = partial(self._on_entered, instance, making), partial(self._on_ended, instance)
        name = f"{self.name}: keeper of instance {instance.number}"  # and not of its key, which may be a secret
        self._tasks[instance] = ContextTask(making, on_entered=entered, on_ended=ended, name=name)

    def _on_entered(self, instance: Instance[T], making: FactoryContext[T]) -> None:
        if instance not in self._tasks:
            return  # deserted, and released
        if not self._listed:  # not before: what the first instance is made of was there earlier, and is to end later
            self._listed = True
            self._list(at_end, self._end_with_loop)
        self._core.entered(instance, making.obj, self._clock())
        self._act()

    def _on_ended(self, instance: Instance[T]) -> None:
        keeper = self._tasks.pop(instance)
        error = keeper.failure()
        if instance.state is State.ENTERING:
            self._failed(instance, cast(BaseException, error))
        elif instance.state is State.CLOSING:
            self._core.ended(instance, self._clock())
            self._tell_closing(error)
        else:
            self._core.lost(instance, self._clock())
            if keeper.left:
                log.warning("%s: an instance has ended by itself", self.name, exc_info=error)
            else:  # it was given up while it was entered, and has come nevertheless
                self._tell_closing(error)
        self._act()
        if not self._core.registry:
            self._alive.clear()
        self._notifier.notify_all()

    def _failed(self, instance: Instance[T], error: BaseException) -> None:
        """Pass on why there is no object; log it when nobody waits to hear it, and it was not the pool's own doing."""
        if isinstance(error, EnteringCancelled):
            error = PoolException(f"{self.name}: the entering of an instance was cancelled")
        elif instance.waiters:
            note_once(error, f"{self.name}: raised by fun")
        else:
            log.error("%s: entering an instance failed, after all had stopped waiting", self.name, exc_info=error)
        self._core.failed(instance, error, self._clock())

    def _tell_closing(self, error: BaseException | None) -> None:
        if error is not None:
            self._core.counters.closing_errors += 1
            if self._errors is None:
                self._log_closing(error)
            else:
                self._errors.append(error)

    def _log_closing(self, error: BaseException) -> None:
        log.error("%s: closing an instance failed", self.name, exc_info=error)
