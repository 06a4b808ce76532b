"""How a caller waits for an object: it enters the queue, parks, is served, and sees whether the object is fit."""

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
    """One call of `get` that found no idle object which is fit for use."""

    __slots__ = ("_deadline", "_engine", "_machine", "_patience", "_waiter")

    def __init__(self, engine: Engine[T], timeout: float | Default | None) -> None:
        self._engine = engine  # of this process: it stays the same should `fun` fork
        self._machine = engine.machine
        self._patience = engine.config.timeout if isinstance(timeout, Default) else timeout  # seconds, None: forever
        self._deadline = inf if self._patience is None else monotonic() + self._patience
        self._waiter: ParkedWaiter[T] = ParkedWaiter()  # another one after each object that was not fit

    def wait(self) -> Slot[T]:
        """Have a slot leased that is fit for use, by way of the queue. Whatever goes wrong, one handler settles it."""
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
        """Queue up until a slot is served, or until the deadline: `TimeOut`."""
        engine, machine, waiter = self._engine, self._machine, self._waiter
        if not engine.locked.run(machine.enter, waiter, first):
            raise engine.report.closed_error() if machine.is_shut_down else engine.report.full_error()
        if waiter.parked:
            engine.finish()  # what was doomed on the way here is to be closed meanwhile: its place may be what comes
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
        """Wait to be served, until the deadline, and look around now and then."""
        while self._is_waiting() and (left := self._deadline - monotonic()) > 0:
            park_for_a_while(self._waiter.parker, left)
            if self._waiter.slot is None:
                self._look_around()

    def _is_waiting(self) -> bool:
        return self._waiter.slot is None and (self._engine.ending is not None or not self._machine.is_shut_down)

    def _sleep_on(self) -> None:
        """Wait until the deadline: a daemon thread that comes while the program ends does as one that waits already."""
        self._engine.finish()
        self._waiter = ParkedWaiter()
        self._park()

    def _look_around(self) -> None:
        self._engine.give_ended()
        self._engine.locked.run(self._machine.match)
        self._engine.work_if_idle()
        self._give_up_if_deserted()

    def _give_up_if_deserted(self) -> None:
        """Raise `PoolClosed` when no thread is left to give anything back: the program waits for this one to end."""
        if not (self._engine.ending or threading.main_thread().is_alive()) and all(
            slot.state is LEASED and cast(Owner, slot.holder).ended for slot in list(self._machine.registry)
        ):
            name = self._engine.report.name
            raise PoolClosed(f"{name}: the program has ended, and so has everybody who had an object")

    def _is_fit(self, slot: Slot[T]) -> bool:
        """Make the object of a slot that was served, or see whether it is alive; False when it was not."""
        engine, machine = self._engine, self._machine
        if slot.state is CREATING:
            engine.hooks.create(slot)
            if not engine.locked.run(machine.delivered, slot, me.thread):
                raise engine.report.closed_error()
        elif machine.needs_check(slot, engine.clock()) and not engine.hooks.check_served(slot):
            return False
        engine.hooks.hand_over(slot)
        return machine.holds(slot.use)  # or it has been taken away meanwhile, as held for too long
