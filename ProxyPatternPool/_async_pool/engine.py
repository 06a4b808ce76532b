"""Engine: everything that an `AsyncPool` has of one event loop.

Reading it: every change of state is a move of the machine; after each, `act` does what the machine has left in its
outboxes. All of that is synchronous, so it needs no lock: a loop runs one thing at a time. What takes time owns its
slot in a task that no caller can cancel: a creation and a close run in the task of their object, hooks in tasks of
their own. A caller only waits, for one future, and is woken when it has an object that is fit for use. So being
cancelled, or running out of time, ends a caller's waiting and nothing else: what was on its way goes to another waiter.

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

#: Why an object ends that is in good order. An object that ends for another reason is exited with an exception.
FIT = {Reason.MAX_USE, Reason.MAX_DELAY, Reason.MAX_LIFETIME, Reason.RESIZE, Reason.REFRESH, Reason.SHUTDOWN}


class Engine(Generic[T]):
    """A machine, the objects and tasks that it has in one loop, and the moves that these make.

    `loop` is None for a pool that has begun in none: such an engine has no objects, but its machine may be resized,
    refreshed and shut down. `on_end()` returns what is to be called when the loop has ended, or None.
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
        # In which the loop runs. A caller in this thread is in the loop, while a task of the loop runs: to ask for the
        # running loop costs a system call on 3.11
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
        # Until now the loop has referred to no hook; now it keeps `close`, and what `close` is a method of, until the
        # objects are closed. Rejected: a callback of the weak reference, or `weakref.finalize` of the pool: these would
        # have to refer to `close` all the time
        self._close_hook.leave(self.closer)
        self.resources.outlive_owner()

    # -- doing what the machine has decided

    def act(self) -> None:
        """Do what the machine has left in its outboxes."""
        machine, pending = self.machine, self.pending
        while True:
            if pending.creating and machine.idle:
                # what has come back serves the waiter that has been waiting for a creation for longest
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
        if machine.timed and not self.resources.timed:
            self.resources.schedule(0.0)

    def follow_up(self) -> None:
        """Act on a change of the limits, now and in a round."""
        if self.loop is not None:
            self.resources.schedule(0.0)
            self.act()

    def on_time(self) -> None:
        """Do what time asks for."""
        when = self.machine.sweep(self.clock())
        self.act()
        if when < inf:
            self.resources.schedule(max(0.0, when - self.clock()))

    def _may_refill(self) -> bool:
        """Tell whether to make what no waiter has asked for: one after the other, except the first objects."""
        return not self.resources.ending and (self.pending.filling is not None or not self.pending.refilling)

    def _serve(self, waiter: TaskWaiter[T]) -> None:
        """Do for a waiter what is still to be done with its slot."""
        slot = waiter.slot
        if slot is None:
            waiter.wake()  # the pool is closed
        elif slot.state is CREATING:
            self.creating[slot] = waiter
            self._create(slot)
        else:
            doubtful = self.machine.needs_check(slot, self.clock())
            self._lend(self.pending.first_come(slot, waiter), slot, doubtful)

    def _dispose(self, slot: Slot[T]) -> None:
        """Have the object of a CLOSING slot closed, unless that is done."""
        assert slot.reason is not None
        error: PoolException | None = None
        if slot.reason not in FIT:
            what = self.report.describe(slot.obj, slot)
            error = PoolException(f"{self.report.name}: {what} is given up: {slot.reason.value}")
        if not self.resources.close(slot, error):
            self.machine.closed(slot, self.clock())

    def _create(self, slot: Slot[T]) -> None:
        config = self.config
        self.machine.create(slot, self.clock())
        opening: PooledContext[T] = PooledContext(
            partial(config.make, slot.number),
            on_made=partial(_on_made, ref(self), slot),
            opener=config.opener,
            close=None if config.close is None else self._close_hook,
        )
        self.resources.open(slot, opening, f"object {slot.number}")

    # -- what comes of a creation

    def on_made(self, slot: Slot[T], obj: T) -> None:
        """Note the object of a slot, which is still to be opened. `PoolException` when another slot has it."""
        if slot in self.machine.registry:  # or else it was given up with its loop, and is closed in a moment
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
            machine.stocked(slot, now)  # and closed, if the pool was: no waiter waits for creations any more
        else:
            waiter = self.pending.first_come(slot, waiter)
            machine.delivered(slot, waiter.holder, now)
            self._lend(waiter, slot, doubtful=False)
        self.act()

    def on_left(self, slot: Slot[T]) -> None:
        """Lend an object no more that ends on its own, as one does whose task group is cancelled."""
        machine, now = self.machine, self.clock()
        self.report.log.warning("%s: %s has ended by itself", self.report.name, self.report.describe(slot.obj, slot))
        if machine.reserve_use(slot.use) or machine.reserve_idle(slot, now):
            machine.checked(slot, False, now)
        # else a hook has it, and finds out
        self.act()

    def on_ended(self, slot: Slot[T], error: BaseException | None, left: bool) -> None:
        if slot.state is CREATING:
            self._failed(slot, cast(BaseException, error))
        else:
            if error is not None:
                what = self.report.describe(slot.obj, slot)
                self.report.log.error("%s: closing %s failed", self.report.name, what, exc_info=error)
            if slot.state is CLOSING:
                self.machine.closed(slot, self.clock())
        if self.machine.inspecting:
            self.resources.schedule(0.0)  # after a `refresh`, it is the next one's turn
        self.act()

    def _failed(self, slot: Slot[T], error: BaseException) -> None:
        """Give the waiter for an object the reason why there is none. When there is no waiter, log it."""
        cancelled = isinstance(error, EnteringCancelled)  # the waiter was not
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
        """Have the next refill wait, and return what the log says of that."""
        self.machine.back_off(random.random(), self.clock())
        self.resources.schedule(0.0)
        return self.report.outlook()

    def _fail(self, waiter: TaskWaiter[T], error: BaseException) -> None:
        self.machine.dismiss(waiter)
        waiter.error = error
        waiter.wake()

    # -- what comes of a hook

    def _lend(self, waiter: TaskWaiter[T], slot: Slot[T], doubtful: bool) -> None:
        """Let the waiter have the object; if need be, when it has been checked, and shown to the `getter`."""
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
            machine.requeue(waiter, now)  # but not when the pool was closed: then it has been woken, and will see
        if waiter.gone:
            machine.cancel(waiter, now)
        self.act()

    def _check(self, slot: Slot[T]) -> None:
        """Check an object which is idle, if it still is."""
        if self.machine.reserve_idle(slot, self.clock()):
            self.pending.checking = True
            self.hooks.check(slot, partial(self._checked, slot))

    def _checked(self, slot: Slot[T], healthy: bool) -> None:
        self.pending.checking = False
        self.machine.checked(slot, healthy, self.clock())
        self.act()

    def tidy(self, slot: Slot[T], context: Context) -> Task[None]:
        """Have the retter tidy up a RESERVED object, and put it back."""
        return self.hooks.tidy(slot, context, partial(self._tidied, slot))

    def _tidied(self, slot: Slot[T], reason: Reason | None) -> None:
        self.machine.put_back(slot, reason, self.clock())
        self.act()

    def refuse_return(self, obj: T) -> None:
        """Count and log that an object was given back that is not out."""
        self.machine.refuse_return()
        self.report.log_bad_return(obj, self.machine.known.get(id(obj)))

    # -- beginning and end

    async def fill(self) -> None:
        """Make `min_size` objects, all at the same time; if one fails, or the caller is cancelled, close the pool."""
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
        except BaseException:  # the caller waits for nothing more
            self.closed = True
            self.end()
            raise
        finally:
            self.pending.filling = None

    async def shutdown(self, delay: float) -> None:
        """Close the pool for good, and wait at most `delay` seconds for the objects in use, then for all closes."""
        self.closed = True
        self.end()
        await self.resources.wait_for(lambda: not self._has(LEASED, RESERVED), delay)
        await self.resources.end_work()
        await self.resources.wait_for(lambda: not self._has(CLOSING))

    def shutdown_soon(self) -> None:
        """Close the pool as `shutdown` does, without waiting; from any thread, while the pool cannot be bound."""
        self.closed = True
        if self.loop is None:
            self.machine.shutdown(self.clock())
        else:
            call_soon(self.loop, self.end)

    def _has(self, *states: State) -> bool:
        return any(slot.state in states for slot in self.machine.registry)

    def end(self) -> None:
        """Shut the machine down, and send away all waiters."""
        self.machine.shutdown(self.clock())
        for waiter in self.creating.values():
            self._fail(waiter, self.report.closed_error())
        self.creating.clear()
        for waiter in self.pending.preparing.values():
            waiter.wake()  # but the slot stays its own until the hook has ended
        self.resources.cancel_creations()
        self.act()
        self.resources.stop_timer()

    def on_loop_ending(self) -> None:
        """Close everything: no task uses it any more, and what is in use is given up."""
        self.end()
        for slot in list(self.machine.leased.values()):
            self.machine.reserve_use(slot.use)
            self.machine.put_back(slot, Reason.DISCARD, self.clock())
        self.act()

    def on_loop_ended(self) -> None:
        if (end := self._on_end()) is not None:
            end()


def _take_nothing(_now: float, _holder: object) -> None:
    """Stand in for `take` where each object is shown to the `getter` first."""


def _name_of(holder: object) -> str:
    """Return what logs and errors call the holder of a lease."""
    if isinstance(holder, Owner):
        return str(holder)
    task = cast("ref[asyncio.Task[Any]] | None", holder)
    alive = None if task is None else task()
    return "a task that has ended" if alive is None or alive.done() else f"task {alive.get_name()!r}"


def _lost(name: str, slot: Slot[Any]) -> PoolException | None:
    """Return what an object is closed with whose user did not finish before the loop ended."""
    if slot.state is not LEASED:
        return None
    return PoolException(f"{name}: the event loop has ended, and the object was not given back")


def _on_made(engine: ref[Engine[T]], slot: Slot[T], obj: T) -> None:
    """Tell the engine, if there is still one: the task that makes an object must not keep it."""
    alive = engine()
    if alive is not None:
        alive.on_made(slot, obj)
