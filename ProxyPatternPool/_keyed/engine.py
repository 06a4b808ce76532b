"""Engine: everything that an `AsyncKeyedPool` has of one event loop.

How to read it: every change of state is a move of the machine. After each move, `act` empties the machine's outboxes.
All of that is synchronous. Timers run in empty contexts. Otherwise a timer would keep the variables of the request that
starts it: a cancelled one does so until its time has come.

A caller waits in four places. It waits for an instance in `wait`, and for the close of one in `left`. In `shutdown` it
waits for the instances in use, then for those being closed. Being cancelled there ends only the waiting. Creations and
closes go on in the tasks of the instances.

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
    """A driver of one machine in one loop, with the machine's instances and tasks.

    `loop` is None while the pool belongs to no loop. Such an engine has no instances, and only its `machine` and
    `report` are used. `on_end()` returns the function to call when the loop has ended, or None.
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
        self.needs_timer = 0.0 < self.machine.ttl < inf  # no timer runs, and an instance that becomes idle needs one
        self._config = config
        self._errors: list[BaseException] | None = None  # from closing, while a task collects them
        self._on_end = on_end
        if closed:
            self.machine.shutdown(self.clock())

    def __del__(self) -> None:
        self.resources.outlive_owner()  # no instance is left, but an entry in the exits of the loop

    # -- waiting

    async def wait(self, key: Hashable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Instance[T]:
        """Wait for an instance that is not open yet, and return it. The caller is its user then."""
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
                waiter.error = None  # its traceback refers to this frame, which refers to the waiter
        why = self.report.why(waiter.instance)
        if not self.machine.time_out(waiter, self.clock()):
            raise self.report.closed_error()
        raise self.report.timeout_error(why, self.clock())

    def _cancel(self, waiter: KeyedWaiter[T]) -> None:
        """Stop waiting. If the waiter has just been served, the instance becomes idle, or makes room for another."""
        if not self.machine.withdraw(waiter, self.clock()) and waiter.served:
            self.leave(waiter.instance, self.clock())
        self.act()

    async def left(self, instance: Instance[T]) -> None:
        """Act after the last user has left. If the instance is closed at once, wait for that.

        An exception of the close is logged, not raised: it depends on chance which user is the last one.
        """
        self.act()
        if instance.state is State.CLOSING and instance.reason in (Reason.TTL, Reason.SHUTDOWN):
            with suppress(Exception):
                await self.resources.tasks[instance].ended()

    async def shutdown(self, delay: float) -> None:
        """Close the pool for good. Wait at most `delay` seconds for the users, then for all closes.

        Raises the exceptions of these closes, in one group.
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
        """Empty the outboxes of the machine, and do the work that they ask for."""
        machine = self.machine
        while machine.to_wake:
            cast(KeyedWaiter[T], machine.to_wake.popleft()).wake()
        while machine.starts:
            self._make(machine.starts.popleft())
        while machine.stops:
            instance = machine.stops.popleft()
            self.resources.close(instance, self._exit_error(instance))
        if self.needs_timer and machine.idle:
            self.needs_timer = False
            self.resources.schedule(machine.due() - self.clock())

    def _exit_error(self, instance: Instance[T]) -> PoolException | None:
        """Return the error that closes a broken instance. With None, a driver would commit."""
        if instance.reason is Reason.DISCARD:
            return PoolException(f"{self.report.name}: instance {instance.number} is given up: discarded")
        return _lost(self.report.name, instance)

    def on_time(self) -> None:
        """Close the instances that have expired. The timer may be early, and is never late."""
        self.needs_timer = True
        self.machine.expire(self.clock())
        self.act()

    def _make(self, instance: Instance[T]) -> None:
        self.resources.keep_owner(self)
        context: FactoryContext[T] = FactoryContext(self.machine.begin(instance))
        keep_in_children(context)  # with the object, whose destructor must not run in a forked child
        # named by its number, and not by its key, which may be a secret
        self.resources.open(instance, context, f"instance {instance.number}")

    # -- outcomes

    def on_entered(self, instance: Instance[T]) -> None:
        self.machine.entered(instance, self.resources.tasks[instance].obj, self.clock())
        self.act()

    def on_left(self, instance: Instance[T]) -> None:
        """Do nothing: the users of an instance keep it until it has ended."""

    def on_ended(self, instance: Instance[T], error: BaseException | None, left: bool) -> None:
        if instance.state is State.ENTERING:
            self._failed(instance, cast(BaseException, error))
        elif instance.state is State.CLOSING:
            self.machine.ended(instance, self.clock(), failed=error is not None)
            self._note_closing(error)
        else:
            self.machine.lost(instance, self.clock(), failed=not left and error is not None)
            if left:
                log.warning("%s: an instance has ended on its own", self.report.name, exc_info=error)
            else:  # it was given up while it was entered, and was made nevertheless
                self._note_closing(error)
        self.act()
        if not self.machine.registry:
            self.resources.keep_owner(None)

    def _failed(self, instance: Instance[T], error: BaseException) -> None:
        """Pass the error of a creation on to the waiters. Without waiters, log it, unless the pool has cancelled it."""
        if isinstance(error, EnteringCancelled):
            error = PoolException(f"{self.report.name}: entering an instance was cancelled")
        elif instance.waiters:
            note_once(error, f"{self.report.name}: raised by fun")
        else:
            what = "%s: entering an instance failed, and no caller waits for it"
            log.error(what, self.report.name, exc_info=error)
        self.machine.failed(instance, error, self.clock())

    def _note_closing(self, error: BaseException | None) -> None:
        if error is not None and self._errors is not None:
            self._errors.append(error)
        elif error is not None:
            self.report.log_closing(error)

    # -- the end of the loop

    def on_loop_ending(self) -> None:
        """Close all instances, and collect the exceptions of that. No user runs any more."""
        self._errors = self._errors or []
        self.machine.abandon(self.clock())
        self.act()

    def on_loop_ended(self) -> None:
        errors, self._errors = self._errors, None
        if (end := self._on_end()) is not None:
            end()
        self._raise_all(errors or [])


def _lost(name: str, instance: Instance[Any]) -> PoolException | None:
    """Return the error that closes an instance which has users when the loop ends. None if it has no users."""
    if not instance.users:
        return None
    why = "its users had not left when the event loop ended"
    return PoolException(f"{name}: instance {instance.number} is given up: {why}")
