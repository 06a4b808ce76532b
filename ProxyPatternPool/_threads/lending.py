"""Request: the way of a caller through the queue. It enters, parks, is served, and makes or checks the object."""

from __future__ import annotations

import threading
from math import inf
from time import monotonic
from typing import Generic, TypeVar, cast

from ProxyPatternPool._config import Default
from ProxyPatternPool._core.slot import CREATING, LEASED, Slot
from ProxyPatternPool._errors import PoolClosed, PoolException
from ProxyPatternPool._owner import Owner, me
from ProxyPatternPool._threads.engine import Engine
from ProxyPatternPool._threads.locking import ParkedWaiter
from ProxyPatternPool._threads.parking import park_for_a_while

T = TypeVar("T")


class Request(Generic[T]):
    """A call of `get` that has found no idle object fit for use."""

    __slots__ = ("_deadline", "_engine", "_machine", "_patience", "_waiter")

    def __init__(self, engine: Engine[T], timeout: float | Default | None) -> None:
        self._engine = engine  # stays the same, even if `fun` forks
        self._machine = engine.machine
        self._patience = engine.config.patience(timeout)  # seconds; None: no limit
        self._deadline = inf if self._patience is None else monotonic() + self._patience
        self._waiter: ParkedWaiter[T] = ParkedWaiter()  # replaced after each object that was not fit

    def wait(self) -> Slot[T]:
        """Queue up, and return a leased slot that is fit for use. One handler settles the waiter after any error."""
        engine = self._engine
        try:
            slot = self._served()
            while not self._is_fit(slot):
                self._waiter = ParkedWaiter()
                slot = self._served(first=True)
            if engine.locked.is_inherited:
                raise PoolException(
                    f"{engine.report.name}: the process was forked meanwhile: this object is the parent's"
                )
            return slot
        except BaseException as error:
            engine.locked.run(self._machine.cancel, self._waiter)
            if isinstance(error, PoolClosed) and engine.ending not in (None, me.thread):
                self._sleep_on()
            raise
        finally:
            engine.finish()

    def _served(self, first: bool = False) -> Slot[T]:
        """Queue up, and return the slot that is served. Raises `TimeOut` at the deadline."""
        engine, machine, waiter = self._engine, self._machine, self._waiter
        if not engine.locked.run(machine.enter, waiter, first):
            raise engine.report.closed_error() if machine.is_shut_down else engine.report.full_error()
        if waiter.parked:
            engine.finish()  # closes unfit objects met so far in the background: that may free a slot for this caller
            engine.give_ended()
            self._park()
        if waiter.parked or first:
            engine.locked.run(machine.time_out, waiter, monotonic() >= self._deadline)
        if waiter.slot is None:
            raise self._unserved_error()
        return waiter.slot

    def _unserved_error(self) -> Exception:
        report = self._engine.report
        return report.closed_error() if self._machine.is_shut_down else report.timeout_error(self._patience or 0.0)

    def _park(self) -> None:
        """Park until served, or until the deadline. Every `RECHECK` seconds, look around."""
        while self._is_waiting() and (left := self._deadline - monotonic()) > 0:
            park_for_a_while(self._waiter.parker, left)
            if self._waiter.slot is None:
                self._look_around()

    def _is_waiting(self) -> bool:
        return self._waiter.slot is None and (self._engine.ending is not None or not self._machine.is_shut_down)

    def _sleep_on(self) -> None:
        """Wait until the deadline. A daemon thread that calls `get` at exit sleeps, as one does that waits already."""
        self._engine.finish()
        self._waiter = ParkedWaiter()
        self._park()

    def _look_around(self) -> None:
        """Make up for a lost wake-up, an owner whose end was not noticed, or a worker that could not be started."""
        self._engine.give_ended()
        self._engine.locked.run(self._machine.match)
        self._engine.work_if_idle()
        self._give_up_if_alone()

    def _give_up_if_alone(self) -> None:
        """Raise `PoolClosed` if no thread is left to return an object: the program waits for this thread to end."""
        if not (self._engine.ending or threading.main_thread().is_alive()) and all(
            slot.state is LEASED and cast(Owner, slot.holder).ended for slot in list(self._machine.registry)
        ):
            name = self._engine.report.name
            raise PoolClosed(f"{name}: the program has ended, and so have all threads that had an object")

    def _is_fit(self, slot: Slot[T]) -> bool:
        """Make the object of a served slot, or check an idle one. Return False if it is dead, or was taken away."""
        engine, machine = self._engine, self._machine
        if slot.state is CREATING:
            engine.hooks.create(slot)
            if not engine.locked.run(machine.delivered, slot, me.thread):
                raise engine.report.closed_error()
        elif machine.needs_check(slot, engine.clock()) and not engine.hooks.check_served(slot):
            return False
        engine.hooks.prepare(slot)
        return machine.holds(slot.use)  # false if it was held for too long meanwhile, and has been taken away
