"""LoopedPool: what drives a pool in an event loop, while its callers wait.

Reading it: every change of state is a move of the core; after each, `_act` does what the core has left in its outboxes.
All of that is synchronous, so it needs no lock: a loop runs one thing at a time. What takes time owns its slot in a
task that no caller can cancel: a creation and a close run in the keeper of their object, hooks in tasks of their own.
A caller does nothing but wait, for one future, and is woken when it has an object that is fit for use. So being
cancelled, or running out of time, ends a caller's waiting and nothing else: what was on its way goes to the next one.
"""

from __future__ import annotations

import asyncio
import random
from asyncio import AbstractEventLoop
from contextvars import Context
from functools import partial
from math import inf
from threading import get_ident
from typing import Any, TypeVar, cast
from weakref import ref

from ProxyPatternPool._async_pool.hooks import HookedPool
from ProxyPatternPool._async_pool.resources import LoopResources
from ProxyPatternPool._async_pool.waiter import TaskWaiter
from ProxyPatternPool._config import PoolConfig
from ProxyPatternPool._core.slot import CLOSING, CREATING, Reason, Slot
from ProxyPatternPool._core.transitions import AlreadyPooled, popped
from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._legacy import UNWANTED
from ProxyPatternPool._loops.binding import LoopBinding, clock_of
from ProxyPatternPool._loops.context_task import EnteringCancelled
from ProxyPatternPool._loops.factory import PooledContext
from ProxyPatternPool._owner import Owner
from ProxyPatternPool._process import keep
from ProxyPatternPool._shared_error import copied

T = TypeVar("T")

#: Why an object ends that is in good order. What ends for other reasons is exited with an exception.
FIT = {Reason.MAX_USE, Reason.MAX_DELAY, Reason.MAX_LIFETIME, Reason.RESIZE, Reason.REFRESH, Reason.SHUTDOWN}


class LoopedPool(HookedPool[T], LoopBinding):
    """What callers of an `AsyncPool` do not see of it."""

    def __init__(self, config: PoolConfig[T]) -> None:
        self._closed = False  # by `shutdown`, for good
        super().__init__(config)

    def _start(self) -> None:
        super()._start()
        self._loop = None
        self._entered = False
        self._thread = (
            0  # in which that one has run. Whoever is there, while a task of that loop runs, is in it: to ask
        )
        # for the running loop costs a system call on 3.11
        self._creating: dict[Slot[T], TaskWaiter[T]] = {}  # for whom objects are being made, oldest first
        self._refilling: set[Slot[T]] = set()  # that are being made, and nobody has asked for
        self._filling: list[BaseException] | None = None  # what that has raised first, while somebody waits for all
        self._timer: asyncio.Handle | None = None  # the only one
        self._timed = False  # it has been wound up
        self._take = self._core.take if self._config.getter is None else _take_nothing
        self._give = self._core.give
        self._tidies = self._config.retter is not None

    def __del__(self) -> None:
        # Before that, nothing in the loop refers to the hooks. From here on its household keeps `close`, and whatever
        # that is a method of, until the objects are closed. Rejected: a callback of the weak reference, or
        # `weakref.finalize`: these would have to refer to `close` all the time.
        if getattr(self, "_loop", None) is not None:
            self._resources.outlive(self._closer)

    def _closes(self) -> bool:
        return True  # what was entered has to be exited

    def _holder_name(self, holder: object) -> str:
        if isinstance(holder, Owner):
            return str(holder)
        task = cast("ref[asyncio.Task[Any]] | None", holder)
        alive = None if task is None else task()
        return "a task that has ended" if alive is None or alive.done() else f"task {alive.get_name()!r}"

    def _renew(self) -> None:
        keep(self.__dict__.copy())
        super()._renew()

    # -- the loop

    def _bind(self) -> None:
        super()._bind()
        self._thread = get_ident()

    def _begin_in(self, loop: AbstractEventLoop) -> None:
        if self._loop is not None:
            self._on_loop_ended()  # it has told nobody
        self._clock = clock_of(loop, self._config.clock)
        self._resources = LoopResources(loop, self, self.name, self._log)

    def _on_loop_ending(self) -> None:
        """Close everything: nobody uses it any more. What is out is being closed: it is nobody's."""
        core = self._core
        self._end()
        for slot in list(core.leased.values()):
            core.reserve_use(slot.use)
            core.put_back(slot, Reason.DISCARD, self._clock())
        self._act()

    def _on_loop_ended(self) -> None:
        if self._timer is not None:
            self._timer.cancel()  # it may have been wound up by what was closed
        self._start()
        if self._closed:
            self._core.shutdown(self._clock())

    # -- doing what the core has decided

    def _act(self) -> None:
        core = self._core
        while True:
            if self._creating and core.idle:
                self._hand_over()
            if core.due():
                core.match(self._clock())
            if waiter := popped(core.to_wake):
                self._serve(cast(TaskWaiter[T], waiter))
            elif slot := popped(core.to_close):
                self._dispose(slot)
            elif overdue := popped(core.overdue):
                self._log_overdue(*overdue)
            elif not self._checking and (slot := popped(core.to_check)):
                self._check(slot)
            elif self._may_refill() and (slot := popped(core.to_create)):
                self._refilling.add(slot)
                self._create(slot)
            else:
                break
        core.gone.clear()
        self._resources.changed()
        if core.timed and not self._timed:
            self._schedule_round()

    def _may_refill(self) -> bool:
        """Tell whether to make what nobody has asked for: one after the other, but for the first objects."""
        return not self._resources.ending and (self._filling is not None or not self._refilling)

    def _serve(self, waiter: TaskWaiter[T]) -> None:
        """Do for a waiter what is still to be done with its slot."""
        slot = waiter.slot
        if slot is None:
            waiter.wake()  # the pool is closed
        elif slot.state is CREATING:
            self._creating[slot] = waiter
            self._create(slot)
        else:
            first = self._first_come(slot, waiter)
            slot.holder = first.holder
            self._lend(first, slot, self._core.needs_check(slot, self._clock()))

    def _hand_over(self) -> None:
        """Serve the one who has been waiting for a creation for longest with what has come back before that.

        Its own object will be somebody else's: so nobody is overtaken, or runs out of time, beside an idle object.
        """
        waiter = self._creating.pop(self._begun_for_the_first())
        waiter.slot = None
        self._core.enter(waiter, True, self._clock())

    def _begun_for_the_first(self) -> Slot[T]:
        return min(self._creating, key=lambda slot: self._creating[slot].number)

    def _first_come(self, slot: Slot[T], waiter: TaskWaiter[T]) -> TaskWaiter[T]:
        """Return who is to have this object: the waiter, unless another one has been waiting for a creation for longer.

        The waiter then waits for that creation in its place.
        """
        if not self._creating or waiter.number < self._creating[begun := self._begun_for_the_first()].number:
            return waiter
        first, self._creating[begun] = self._creating[begun], waiter
        first.slot, waiter.slot = slot, begun
        return first

    def _dispose(self, slot: Slot[T]) -> None:
        """Have the object of a doomed slot closed, unless that is done."""
        assert slot.reason is not None
        error: PoolException | None = None
        if slot.reason not in FIT:
            error = PoolException(f"{self.name}: {self._describe(slot.obj, slot)} is given up: {slot.reason.value}")
        if not self._resources.close(slot, error):
            self._core.closed(slot, self._clock())

    def _create(self, slot: Slot[T]) -> None:
        config = self._config
        self._core.create(slot, self._clock())
        opening: PooledContext[T] = PooledContext(
            partial(config.make, slot.number),
            on_made=partial(_on_made, ref(self), slot),
            opener=config.opener,
            close=None if config.close is None else self._resources.call_close,
        )
        self._resources.open(slot, opening)

    # -- what comes of it

    def _on_made(self, slot: Slot[T], obj: T) -> None:
        if slot in self._core.registry:  # or else it was given up with its loop, and is closed in a moment
            try:
                self._core.made(slot, obj, random.random(), self._clock())
            except AlreadyPooled:
                raise self._duplicate_error(slot, obj) from None

    def _on_entered(self, slot: Slot[T]) -> None:
        core, now = self._core, self._clock()
        self._succeeded()
        self._refilling.discard(slot)
        waiter = self._creating.pop(slot, None)
        if waiter is None:
            core.stocked(slot, now)  # and doomed, if the pool was closed: then nobody waits for creations any more
        else:
            waiter = self._first_come(slot, waiter)
            core.delivered(slot, waiter.holder, now)
            self._lend(waiter, slot, doubtful=False)
        self._act()

    def _on_left(self, slot: Slot[T]) -> None:
        """An object ends by itself, as one does whose task group is cancelled: it is not lent any more."""
        core, now = self._core, self._clock()
        self._log.warning("%s: %s has ended by itself", self.name, self._describe(slot.obj, slot))
        if core.reserve_use(slot.use) or core.reserve_idle(slot, now):
            core.checked(slot, False, now)
        # else a hook has it, and finds out
        self._act()

    def _on_ended(self, slot: Slot[T], error: BaseException | None) -> None:
        core = self._core
        if slot.state is CREATING:
            self._failed(slot, cast(BaseException, error))
        else:
            if error is not None:
                self._log.error("%s: closing %s failed", self.name, self._describe(slot.obj, slot), exc_info=error)
            if slot.state is CLOSING:
                core.closed(slot, self._clock())
        if core.inspecting:
            self._schedule_round()  # after a `refresh`, it is the next one's turn
        self._act()

    def _failed(self, slot: Slot[T], error: BaseException) -> None:
        """Tell who waits for the object that there is none. When nobody does, the log is told."""
        core, now = self._core, self._clock()
        cancelled = isinstance(error, EnteringCancelled)  # who waits was not
        if cancelled and core.is_shut_down:
            error = self._closed_error()
        elif cancelled:
            error = PoolException(f"{self.name}: the creation of an object was cancelled")
        else:
            self._note_creation(error, slot)
        self._last_error = copied(error)
        waiter = self._creating.pop(slot, None)
        core.failed(slot, now)
        outlook = UNWANTED
        if slot in self._refilling:
            self._refilling.remove(slot)
            core.back_off(random.random(), now)
            self._schedule_round()
            outlook = self._outlook()
        if waiter is not None:
            waiter.fail(error)
        elif self._filling is not None and not self._filling:
            self._filling.append(error)
        elif not cancelled:
            self._log_failed_creation(slot.number, error, outlook if self._filling is None else UNWANTED)

    # -- time

    def _schedule_round(self) -> None:
        """Ask for a round, to find out what time asks for."""
        self._schedule_round_in(0.0)

    def _schedule_round_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        assert self._loop is not None
        self._timed = True
        this: ref[LoopedPool[Any]] = ref(self)
        self._timer = self._loop.call_later(seconds, _run_round, this, context=Context())

    def _round(self) -> None:
        """Do what time asks for."""
        when = self._core.sweep(self._clock())
        self._act()
        if when < inf:
            self._schedule_round_in(max(0.0, when - self._clock()))

    # -- the end

    def _end(self) -> None:
        """Shut the core down, and send everybody away who waits, for whatever."""
        self._core.shutdown(self._clock())
        for waiter in self._creating.values():
            waiter.fail(self._closed_error())
        self._creating.clear()
        for waiter in self._preparing.values():
            waiter.wake()  # but the slot stays its own until the hook has ended
        self._resources.cancel_creations()
        self._act()
        if self._timer is not None:
            self._timer.cancel()


def _take_nothing(_now: float, _holder: object) -> None:
    """Stand in for `take` where each object that is lent needs a word with its `getter` first."""


def _on_made(pool: ref[LoopedPool[T]], slot: Slot[T], obj: T) -> None:
    """Tell the pool, if there is still one."""
    alive = pool()
    if alive is not None:
        alive._on_made(slot, obj)


def _run_round(pool: ref[LoopedPool[Any]]) -> None:
    alive = pool()
    if alive is not None:
        alive._round()
