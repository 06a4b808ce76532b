"""Engine: everything that an `AsyncPool` has of one event loop.

How to read it: every change of state is a move of the machine. After each move, `act` empties the machine's outboxes.
All of that is synchronous, and needs no lock, since a loop runs one thing at a time.

Work that takes time runs in a task that no caller can cancel, and that owns the slot. A creation and a close run in the
task of their object, hooks in tasks of their own. A caller only waits for one future, until it has an object that is
fit for use. So a cancellation or a timeout ends a caller's waiting, and nothing else. The object that was on its way
goes to another waiter.

The pool holds its engine, and the engine does not know the pool. When the loop has ended, the pool makes another
engine; a task that still has this one keeps its machine, and disturbs no other.
"""

from __future__ import annotations

import asyncio
import random
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable
from contextvars import Context
from functools import partial
from math import inf
from threading import get_ident
from typing import Any, Generic, TypeVar, cast
from weakref import ref

from ProxyPatternPool._async_pool.hooks import CloseHook, HookRunner
from ProxyPatternPool._async_pool.pending import Pending
from ProxyPatternPool._async_pool.waiter import TaskWaiter
from ProxyPatternPool._config import PoolConfig
from ProxyPatternPool._core.limits import Limits
from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._core.maintenance import timed
from ProxyPatternPool._core.slot import CLOSING, CREATING, LEASED, RESERVED, Reason, Slot, State
from ProxyPatternPool._core.transitions import AlreadyPooled, popped
from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._loops.binding import clock_of
from ProxyPatternPool._loops.context_task import EnteringCancelled
from ProxyPatternPool._loops.factory import PooledContext
from ProxyPatternPool._loops.resources import LoopResources, call_soon
from ProxyPatternPool._loops.system_task import failure
from ProxyPatternPool._owner import Owner
from ProxyPatternPool._report import UNWANTED, PoolReport
from ProxyPatternPool._shared_error import copied

T = TypeVar("T")

#: The reasons to close an object that is in good order. For any other reason, it is exited with an exception.
FIT = {Reason.MAX_USE, Reason.MAX_DELAY, Reason.MAX_LIFETIME, Reason.RESIZE, Reason.REFRESH, Reason.SHUTDOWN}


class Engine(Generic[T]):
    """A driver of one machine in one loop, with the machine's objects and tasks.

    `loop` is None while the pool belongs to no loop. Such an engine has no objects, but its machine may be resized,
    refreshed and shut down. `on_end()` returns the function to call when the loop has ended, or None.
    """

    def __init__(
        self,
        config: PoolConfig[T],
        limits: Limits,
        closed: bool,
        loop: AbstractEventLoop | None,
        on_end: Callable[[], Callable[[], object] | None],
    ) -> None:
        self.loop = loop
        # The loop's thread. A caller in this thread is in the loop while a task of the loop runs. Rejected: asking for
        # the running loop, which costs a system call on 3.11
        self.thread = 0 if loop is None else get_ident()
        self.closed = closed  # by `shutdown`, for good
        self.clock = clock_of(loop, config.clock)
        self.machine: PoolMachine[T] = PoolMachine(limits, closes=True, checks=config.health is not None)
        self.report: PoolReport[T] = PoolReport(config, self.machine, self.clock, _name_of)
        self.resources: LoopResources[Slot[T], T] = LoopResources(
            loop, self, partial(_lost, self.report.name), self.report.name, self.report.log
        )
        self.pending: Pending[T] = Pending(self.machine)
        self.creating = self.pending.creating
        self.hooks: HookRunner[T] = HookRunner(config, self.report, self.resources)
        self.closer = config.closer()
        self._close_hook: CloseHook[T] = CloseHook(self, self.resources)
        self.take = _take_nothing if self.hooks.prepares else self.machine.take
        self.give = self.machine.give
        self.tidies = self.hooks.tidies
        self.config = config
        self._on_end = on_end
        if closed:
            self.machine.shutdown(self.clock())

    def __del__(self) -> None:
        # Until now the loop has referred to no hook. Now it keeps `close`, and the object that `close` is a method of,
        # until the objects are closed. Rejected: a callback of the weak reference, or `weakref.finalize` of the pool.
        # These would have to refer to `close` all the time
        self._close_hook.leave(self.closer)
        self.resources.outlive_owner()

    # -- doing what the machine has decided

    def act(self) -> None:
        """Empty the outboxes of the machine, and do the work that they ask for."""
        machine, pending = self.machine, self.pending
        while True:
            if pending.creating and machine.idle:
                # an object has come back: it serves the waiter that has waited for a creation for longest
                machine.requeue(pending.pop_first(), self.clock())
            if machine.due():
                machine.match(self.clock())
            if waiter := popped(machine.to_wake):
                self._serve(cast("TaskWaiter[T]", waiter))
            elif slot := popped(machine.to_close):
                self._dispose(slot)
            elif overdue := popped(machine.overdue):
                self.report.log_overdue(*overdue)
            elif not pending.checking and (slot := popped(machine.to_check)):
                self._check(slot)
            elif self._may_refill() and (slot := popped(machine.to_create)):
                pending.refilling.add(slot)
                self._create(slot)
            else:
                break
        machine.gone.clear()
        self.resources.changed()
        if timed(machine) and not self.resources.timed:
            self.resources.schedule(0.0)

    def follow_up(self) -> None:
        """Act on a change of the limits, now and at the next `on_time`."""
        if self.loop is not None:
            self.resources.schedule(0.0)
            self.act()

    def on_time(self) -> None:
        """Do the work that is due by the clock, and schedule the next call."""
        when = self.machine.sweep(self.clock())
        self.act()
        if when < inf:
            self.resources.schedule(max(0.0, when - self.clock()))

    def _may_refill(self) -> bool:
        """Tell whether a refill may begin. Refills run one after the other, except those of the first objects."""
        return not self.resources.ending and (self.pending.filling is not None or not self.pending.refilling)

    def _serve(self, waiter: TaskWaiter[T]) -> None:
        """Begin the work that is left for a waiter's slot: the creation, or the preparation of its object."""
        slot = waiter.slot
        if slot is None:
            waiter.wake()  # the pool is closed, and the waiter finds that out
        elif slot.state is CREATING:
            self.creating[slot] = waiter
            self._create(slot)
        else:
            doubtful = self.machine.needs_check(slot, self.clock())
            self._lend(self.pending.first_come(slot, waiter), slot, doubtful)

    def _dispose(self, slot: Slot[T]) -> None:
        """Have the object of a CLOSING slot closed, unless it is closed already."""
        assert slot.reason is not None
        error: PoolException | None = None
        if slot.reason not in FIT:
            what = self.report.describe(slot.obj, slot)
            error = PoolException(f"{self.report.name}: {what} is given up: {slot.reason.value}")
        if not self.resources.close(slot, error):
            self.machine.closed(slot, self.clock())

    def _create(self, slot: Slot[T]) -> None:
        config = self.config
        self.machine.creation_begins(slot, self.clock())
        context: PooledContext[T] = PooledContext(
            partial(config.make, slot.number),
            on_made=partial(_on_made, ref(self), slot),
            opener=config.opener,
            close=None if config.close is None else self._close_hook,
        )
        self.resources.open(slot, context, f"object {slot.number}")

    # -- outcomes of a creation

    def on_made(self, slot: Slot[T], obj: T) -> None:
        """Record a slot's object, which is still to be opened. `PoolException` if another slot has the same object."""
        if slot in self.machine.registry:  # otherwise it was given up with its loop, and is closed in a moment
            try:
                self.machine.made(slot, obj, random.random(), self.clock())
            except AlreadyPooled:
                raise self.report.duplicate_error(slot, obj) from None

    def on_entered(self, slot: Slot[T]) -> None:
        machine, now = self.machine, self.clock()
        self.report.succeeded()
        self.pending.refilling.discard(slot)
        waiter = self.creating.pop(slot, None)
        if waiter is None:
            machine.stocked(slot, now)  # a closed pool closes the object: it has no waiters for creations
        else:
            waiter = self.pending.first_come(slot, waiter)
            machine.delivered(slot, waiter.holder, now)
            self._lend(waiter, slot, doubtful=False)
        self.act()

    def on_left(self, slot: Slot[T]) -> None:
        """Stop lending an object that ends on its own. An object does so when its task group is cancelled."""
        machine, now = self.machine, self.clock()
        self.report.log.warning("%s: %s has ended on its own", self.report.name, self.report.describe(slot.obj, slot))
        if machine.reserve_use(slot.use) or machine.reserve_idle(slot, now):
            machine.checked(slot, False, now)
        # otherwise a hook has the object: when the hook ends, the object is found to be gone, and closed
        self.act()

    def on_ended(self, slot: Slot[T], error: BaseException | None, left: bool) -> None:
        if slot.state is CREATING:
            self._failed(slot, cast(BaseException, error))
        else:
            if error is not None:
                self.report.log_failed("closing", slot, error)
            if slot.state is CLOSING:
                self.machine.closed(slot, self.clock())
        if self.machine.inspecting:
            self.resources.schedule(0.0)  # after a `refresh`, the next object's turn has come
        self.act()

    def _failed(self, slot: Slot[T], error: BaseException) -> None:
        """Fail the waiter of an object that could not be made. Without a waiter, log the error."""
        cancelled = isinstance(error, EnteringCancelled)  # the creation, not the waiter
        if cancelled and (self.machine.is_shut_down or self.resources.ending):
            error = self.report.closed_error()
        elif cancelled:
            error = PoolException(f"{self.report.name}: the creation of an object was cancelled")
        else:
            self.report.note_creation(error, slot)
        self.report.last_error = copied(error)
        waiter = self.creating.pop(slot, None)
        self.machine.failed(slot, self.clock())
        outlook = self._back_off() if slot in self.pending.refilling else UNWANTED
        self.pending.refilling.discard(slot)
        if waiter is not None:
            self._fail(waiter, error)
        elif self.pending.filling is not None and not self.pending.filling:
            self.pending.filling.append(error)
        elif not cancelled:
            self.report.log_failed_creation(slot.number, error, UNWANTED if self.pending.filling else outlook)

    def _back_off(self) -> str:
        """Delay the next refill. Return the text that tells the log of the delay."""
        self.machine.back_off(random.random(), self.clock())
        self.resources.schedule(0.0)
        return self.report.outlook()

    def _fail(self, waiter: TaskWaiter[T], error: BaseException) -> None:
        self.machine.dismiss(waiter)
        waiter.error = error
        waiter.wake()

    # -- outcomes of a hook

    def _lend(self, waiter: TaskWaiter[T], slot: Slot[T], doubtful: bool) -> None:
        """Give the object to the waiter, if need be after a check and the `getter`."""
        if self.hooks.prepares or doubtful:
            self.pending.preparing[slot] = waiter
            self.hooks.prepare(waiter, slot, doubtful, partial(self._prepared, waiter, slot, slot.use))
        else:
            waiter.ready = True
            waiter.wake()

    def _prepared(self, waiter: TaskWaiter[T], slot: Slot[T], use: int, task: Task[None]) -> None:
        machine, now, error = self.machine, self.clock(), failure(task)
        del self.pending.preparing[slot]
        if waiter.unfit is not None:
            machine.reject(slot, waiter.unfit, now)
        if error is not None:
            error = self.hooks.unprepared(waiter, slot, error, task)
            if not waiter.gone:
                self._fail(waiter, error)
        elif waiter.unfit is None and machine.holds(use) and not waiter.gone:
            waiter.ready = True
            waiter.wake()
        elif not waiter.gone:
            machine.requeue(waiter, now)  # a closed pool refuses it, and has woken it already
        if waiter.gone:
            machine.cancel(waiter, now)
        self.act()

    def _check(self, slot: Slot[T]) -> None:
        """Check an object, if it is still idle."""
        if self.machine.reserve_idle(slot, self.clock()):
            self.pending.checking = True
            self.hooks.check(slot, partial(self._checked, slot))

    def _checked(self, slot: Slot[T], healthy: bool) -> None:
        self.pending.checking = False
        self.machine.checked(slot, healthy, self.clock())
        self.act()

    def tidy(self, slot: Slot[T], context: Context) -> Task[None]:
        """Have the `retter` tidy up a RESERVED object, and put it back."""
        return self.hooks.tidy(slot, context, partial(self._tidied, slot))

    def _tidied(self, slot: Slot[T], reason: Reason | None) -> None:
        self.machine.put_back(slot, reason, self.clock())
        self.act()

    def refuse_return(self, obj: T) -> None:
        """Count and log a return of an object that is not lent."""
        self.machine.refuse_return()
        self.report.log_bad_return(obj, self.machine.known.get(id(obj)))

    # -- beginning and end

    async def fill(self) -> None:
        """Make `min_size` objects, all at the same time. If one fails, or the caller is cancelled, close the pool."""
        errors = self.pending.filling = list[BaseException]()
        try:
            self.machine.match(self.clock())
            self.act()
            await self.resources.wait_for(lambda: errors or not self.pending.refilling)
            if errors:
                raise errors[0]
        except Exception:
            await self.shutdown(0.0)
            raise
        except BaseException:  # a cancelled caller does not wait for the close
            self.closed = True
            self.end()
            raise
        finally:
            self.pending.filling = None

    async def shutdown(self, delay: float) -> None:
        """Close the pool for good. Wait at most `delay` seconds for the objects in use, then for all closes."""
        self.closed = True
        self.end()
        await self.resources.wait_for(lambda: not self._has(LEASED, RESERVED), delay)
        await self.resources.end_work()
        await self.resources.wait_for(lambda: not self._has(CLOSING))

    def shutdown_soon(self) -> None:
        """Have the pool closed as by `shutdown`. Never waits. Safe from any thread that holds `BINDING`."""
        self.closed = True
        if self.loop is None:
            self.machine.shutdown(self.clock())
        else:
            call_soon(self.loop, self.end)

    def _has(self, *states: State) -> bool:
        return any(slot.state in states for slot in self.machine.registry)

    def end(self) -> None:
        """Shut the machine down, and fail all waiters."""
        self.machine.shutdown(self.clock())
        for waiter in self.creating.values():
            self._fail(waiter, self.report.closed_error())
        self.creating.clear()
        for waiter in self.pending.preparing.values():
            waiter.wake()  # it keeps the slot until the hook has ended
        self.resources.cancel_creations()
        self.act()
        self.resources.stop_timer()

    def on_loop_ending(self) -> None:
        """Close all objects, those in use included: no task uses them any more."""
        self.end()
        for slot in list(self.machine.leased.values()):
            self.machine.reserve_use(slot.use)
            self.machine.put_back(slot, Reason.DISCARD, self.clock())
        self.act()

    def on_loop_ended(self) -> None:
        if (end := self._on_end()) is not None:
            end()


def _take_nothing(_now: float, _holder: object) -> None:
    """Stand in for `take` in a pool with a `getter`, which each object has to pass first."""


def _name_of(holder: object) -> str:
    """Return the name of the holder of a lease, for logs and errors."""
    if isinstance(holder, Owner):
        return str(holder)
    task = cast("ref[asyncio.Task[Any]] | None", holder)
    alive = None if task is None else task()
    return "a task that has ended" if alive is None or alive.done() else f"task {alive.get_name()!r}"


def _lost(name: str, slot: Slot[Any]) -> PoolException | None:
    """Return the error that closes an object which is in use when the loop ends. None if it is not in use."""
    if slot.state is not LEASED:
        return None
    return PoolException(f"{name}: the event loop has ended, and the object was not given back")


def _on_made(engine: ref[Engine[T]], slot: Slot[T], obj: T) -> None:
    """Call the engine's `on_made`, if the engine still exists: the task of an object must not keep the engine."""
    alive = engine()
    if alive is not None:
        alive.on_made(slot, obj)
