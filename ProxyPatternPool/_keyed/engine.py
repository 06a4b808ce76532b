"""Engine: everything that an `AsyncKeyedPool` has of one event loop.

Reading it: every change of state is a move of the machine; after each, `act` does what the machine has left in its
outboxes. All of that is synchronous. Timers run in empty contexts: else they would keep the variables of the request
that happens to start them, a cancelled timer even until its time has come. A task waits in four places: for an
instance (`wait`), for the end of one (`left`), for those in use and for those being closed (`finish`); being cancelled
there ends the waiting and nothing else, because what is waited for goes on in the tasks of the instances.

The pool holds its engine, and the engine does not know the pool. While the engine has instances, the loop keeps it.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from contextvars import Context
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar, cast

from ProxyPatternPool._config import log
from ProxyPatternPool._errors import PoolException, note_once
from ProxyPatternPool._keyed.config import KeyedConfig
from ProxyPatternPool._keyed.instance import Instance, Reason, State, Waiter
from ProxyPatternPool._keyed.machine import KeyedMachine
from ProxyPatternPool._keyed.report import KeyedReport
from ProxyPatternPool._loops.binding import clock_of
from ProxyPatternPool._loops.context_task import EnteringCancelled
from ProxyPatternPool._loops.factory import FactoryContext
from ProxyPatternPool._loops.resources import LoopResources
from ProxyPatternPool._loops.waiting import GRACE, Woken
from ProxyPatternPool._process import keep_in_children

T = TypeVar("T")


class KeyedWaiter(Waiter[T], Woken):
    """A task in the queue."""

    __slots__ = ("future",)

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__()
        self.future = loop.create_future()


class KeyedEngine(Generic[T]):
    """A machine, the instances and tasks that it has in one loop, and the moves that these make.

    `loop` is None for a pool that has begun in none: such an engine has no instances, and no method of it is called but
    those of `machine` and `report`. `on_end()` returns what is to be called when the loop has ended, or None.
    """

    def __init__(
        self,
        config: KeyedConfig,
        closed: bool,
        loop: AbstractEventLoop | None,
        on_end: Callable[[], Callable[[], object] | None],
    ) -> None:
        self.loop = loop
        self.closed = closed  # by `shutdown`, for good
        self.clock = clock_of(loop)
        self.machine: KeyedMachine[T] = KeyedMachine(max_size=cast(int, config.max_size), ttl=config.ttl)
        self.report: KeyedReport[T] = KeyedReport(config, self.machine)
        self.resources: LoopResources[Instance[T], T] = LoopResources(
            loop, self, partial(_lost, self.report.name), self.report.name, log
        )
        self.has_key = config.key is not None
        self.key_of = config.key_of
        self.join = self.machine.join
        self.leave = self.machine.leave
        self.needs_timer = 0.0 < self.machine.ttl < inf  # there is no timer, and what becomes idle needs one
        self._config = config
        self._errors: list[BaseException] | None = None  # from closing, while a task collects them
        self._on_end = on_end
        if closed:
            self.machine.shutdown(self.clock())

    def __del__(self) -> None:
        self.resources.outlive_owner()  # there is no instance, but an entry in the exits of the loop

    # -- waiting

    async def wait(self, key: Hashable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Instance[T]:
        """Wait for an instance that is not open yet; on return, be its user."""
        loop, patience = asyncio.get_running_loop(), self._config.timeout
        waiter: KeyedWaiter[T] = KeyedWaiter(loop)
        if not self.machine.ask(key, partial(self._config.fun, *args, **kwargs), waiter, self.clock()):
            raise self.report.closed_error()
        self.act()
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
        why = self.report.why(waiter.instance)
        if not self.machine.time_out(waiter, self.clock()):
            raise self.report.closed_error()
        raise self.report.timeout_error(why, self.clock())

    def _cancel(self, waiter: KeyedWaiter[T]) -> None:
        """Want nothing any more. If the waiter was served just now, the instance is there for others, or makes room."""
        if not self.machine.withdraw(waiter, self.clock()) and waiter.served:
            self.leave(waiter.instance, self.clock())
        self.act()

    async def left(self, instance: Instance[T]) -> None:
        """Go on after the last user has left. If the instance is closed at once, see that done, as its own user would.

        What closing raises is logged, not raised: it depends on chance which user is the last one.
        """
        self.act()
        if instance.state is State.CLOSING and instance.reason in (Reason.TTL, Reason.SHUTDOWN):
            with suppress(Exception):
                await self.resources.tasks[instance].ended()

    async def shutdown(self, delay: float) -> None:
        """Close the pool for good. Wait at most `delay` seconds for the users, then for all that is being closed.

        Raises what closing has raised meanwhile.
        """
        machine, resources, errors = self.machine, self.resources, list[BaseException]()
        self.closed = True
        collecting = self._errors is None
        if collecting:
            self._errors = errors
        try:
            machine.shutdown(self.clock())
            self.act()
            await resources.wait_for(lambda: not machine.registry, delay)
            await resources.wait_for(lambda: not machine.entering, GRACE)
            await resources.wait_for(lambda: not machine.closing)
        except BaseException:
            for error in errors:
                self.report.log_closing(error)
            raise
        finally:
            if collecting:
                self._errors = None
            resources.stop_timer()
        self._raise_all(errors)

    def _raise_all(self, errors: list[BaseException]) -> None:
        if errors:
            raise BaseExceptionGroup(f"{self.report.name}: errors while closing the pool", errors)

    # -- doing what the machine has decided

    def act(self) -> None:
        """Do what the machine has left in its outboxes."""
        machine = self.machine
        while machine.to_wake:
            cast("KeyedWaiter[T]", machine.to_wake.popleft()).wake()
        while machine.starts:
            self._make(machine.starts.popleft())
        while machine.stops:
            instance = machine.stops.popleft()
            self.resources.close(instance, self._exit_error(instance))
        if self.needs_timer and machine.idle:
            self.needs_timer = False
            self.resources.schedule(machine.due() - self.clock())

    def _exit_error(self, instance: Instance[T]) -> PoolException | None:
        """Return what an instance is exited with that is not in good order: with None, a driver would commit."""
        if instance.reason is Reason.DISCARD:
            return PoolException(f"{self.report.name}: instance {instance.number} is given up: discarded")
        return _lost(self.report.name, instance)

    def on_time(self) -> None:
        """Close what has expired. The timer may ring too early, never too late."""
        self.needs_timer = True
        self.machine.expire(self.clock())
        self.act()

    def _make(self, instance: Instance[T]) -> None:
        self.resources.keep_owner(self)
        making: FactoryContext[T] = FactoryContext(self.machine.begin(instance))
        keep_in_children(making)  # with the object: no destructor of it must run in a forked child
        # named by its number, and not by its key, which may be a secret
        self.resources.open(instance, making, f"instance {instance.number}")

    # -- what comes of it

    def on_entered(self, instance: Instance[T]) -> None:
        self.machine.entered(instance, self.resources.tasks[instance].obj, self.clock())
        self.act()

    def on_left(self, instance: Instance[T]) -> None:
        """Nothing: its users have it until it has ended."""

    def on_ended(self, instance: Instance[T], error: BaseException | None, left: bool) -> None:
        if instance.state is State.ENTERING:
            self._failed(instance, cast(BaseException, error))
        elif instance.state is State.CLOSING:
            self.machine.ended(instance, self.clock(), failed=error is not None)
            self._note_closing(error)
        else:
            self.machine.lost(instance, self.clock(), failed=not left and error is not None)
            if left:
                log.warning("%s: an instance has ended by itself", self.report.name, exc_info=error)
            else:  # it was given up while it was entered, and has come nevertheless
                self._note_closing(error)
        self.act()
        if not self.machine.registry:
            self.resources.keep_owner(None)

    def _failed(self, instance: Instance[T], error: BaseException) -> None:
        """Pass on why there is no object; log it when no waiter is left, and it was not the pool's own doing."""
        if isinstance(error, EnteringCancelled):
            error = PoolException(f"{self.report.name}: the entering of an instance was cancelled")
        elif instance.waiters:
            note_once(error, f"{self.report.name}: raised by fun")
        else:
            what = "%s: entering an instance failed, after all had stopped waiting"
            log.error(what, self.report.name, exc_info=error)
        self.machine.failed(instance, error, self.clock())

    def _note_closing(self, error: BaseException | None) -> None:
        if error is not None and self._errors is not None:
            self._errors.append(error)
        elif error is not None:
            self.report.log_closing(error)

    # -- the end of the loop

    def on_loop_ending(self) -> None:
        """Close everything, and collect what that raises: no user runs any more."""
        self._errors = self._errors or []
        self.machine.abandon(self.clock())
        self.act()

    def on_loop_ended(self) -> None:
        errors, self._errors = self._errors, None
        if (end := self._on_end()) is not None:
            end()
        self._raise_all(errors or [])


def _lost(name: str, instance: Instance[Any]) -> PoolException | None:
    """Return what an instance is closed with whose users have not left when the loop ends."""
    if not instance.users:
        return None
    why = "its users have not left when the event loop ended"
    return PoolException(f"{name}: instance {instance.number} is given up: {why}")
