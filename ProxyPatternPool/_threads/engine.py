"""Engine: everything that one process has of a pool.

It lives as long as the process does: a forked child makes another one, and leaves this one, which is the parent's,
alone. It does not know the pool, which tells it when it is collected: the objects that are idle then are still closed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Generic, TypeVar

from ProxyPatternPool._config import PoolConfig
from ProxyPatternPool._core.limits import Limits, checked_seconds
from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._core.slot import CLOSING, Slot
from ProxyPatternPool._owner import Holder, Owner, me
from ProxyPatternPool._process import end_with_program, keep, renew_after_fork
from ProxyPatternPool._report import PoolReport
from ProxyPatternPool._threads.background import Background, Worker
from ProxyPatternPool._threads.hooks import HookRunner
from ProxyPatternPool._threads.housekeeper import RETRY, housekeeper
from ProxyPatternPool._threads.locking import LockedMachine, ParkedWaiter

T = TypeVar("T")

#: Seconds for which `shutdown` waits at most for what is being closed in the background: a close may hang.
PATIENCE = 5.0

#: The same for what is being made or checked: a moment, since no caller has it, and the server may be down.
MOMENT = 0.5


class Engine(Generic[T]):
    """The machine of a pool, its lock, its hooks, its worker, and its entry with the housekeeper."""

    def __init__(self, config: PoolConfig[T], limits: Limits, inherited: dict[int, Slot[T]]) -> None:
        self.config = config
        self.clock = config.clock
        self.machine: PoolMachine[T] = PoolMachine(
            limits, closes=config.close is not None, checks=config.health is not None
        )
        self.report = PoolReport(config, self.machine, config.clock)
        self.locked = LockedMachine(self.machine, config.clock)
        self.hooks = HookRunner(config, self.locked, self.report)
        self.background = Background(self.locked, self.hooks, self.report)
        self.ending: Owner | None = None  # the thread in which the program ends: waiters in all others sleep on
        self._worker = Worker()
        self._is_timed = False  # for good once true: the housekeeper knows that time matters here
        self._inherited = inherited  # id(obj) -> slot, of the objects that are the parent's, or its parent's
        # what uses no hook goes straight to the machine
        self.take: Callable[[float, object], Slot[T] | None] = (
            self.machine.take if config.getter is None else _take_nothing
        )
        self.give: Callable[[T, float], bool] = self.machine.give
        self.give_use: Callable[[int, float], bool] = self.machine.give_use
        if config.retter is not None:
            self.give, self.give_use = self._give_tidied, self._give_use_tidied
        renew_after_fork(self)
        end_with_program(self)

    # -- returning

    def follow_up(self) -> None:
        """Do what a return may have made possible. Never blocks."""
        self.locked.pump()
        self.finish()

    def finish(self) -> None:
        """Let go of what is gone, and have the rest done in the background. Never blocks.

        Letting go runs destructors. This may be a finaliser in the middle of the locked region of this very thread,
        where a destructor that uses the pool would wait for itself: so not while a thread has the lock.
        """
        if self.locked.is_inherited:
            return  # all of it is the parent's
        if not self.locked.is_held():
            self.background.let_go()
        if self.background.has_work() or (self.machine.timed and not self._is_timed):
            self._is_timed = True
            self._call_housekeeper()

    def give_later(self, use: int) -> None:
        """End that use in a finaliser, where no user code may run: a `retter` is called in the background."""
        if self.config.retter is None:
            self.machine.give_use(use, self.clock())
        else:
            self.machine.tidy_later(use)
        self.follow_up()

    def give_ended(self) -> None:
        """With `auto_return`, end the uses that are kept for owners whose end was not noticed.

        Such an owner is a raw greenlet which is dead, but which some variable still refers to.
        """
        if self.config.auto_return:
            self._end_uses(lambda holder: holder.ended)
            self.locked.pump()

    def give_left(self, trail: object) -> None:
        """End the uses that ended owners on a trail have left. Those of living owners end with their owners."""
        self._end_uses(lambda holder: holder.dismiss(trail))
        self.follow_up()

    def _end_uses(self, is_left: Callable[[Holder], bool]) -> None:
        for slot in list(self.machine.leased.values()):
            use, holder = slot.use, slot.holder  # in this order: a lease that begins in between is not ended
            if isinstance(holder, Holder) and is_left(holder):
                self.give_use(use, self.clock())

    def report_bad_return(self, obj: T) -> None:
        """Count the return of an object that is not out, and have it logged in the background.

        A log handler may block, and the `tracer` is user code: neither may run in a finaliser.
        """
        if id(obj) in self._inherited:
            return  # the parent process has it, and knows nothing of this
        self.machine.refuse_return()
        self.call_later(partial(self.report.log_bad_return, obj, self.machine.known.get(id(obj))))

    def call_later(self, call: Callable[[], object]) -> None:
        """Have something called in the background. Never blocks."""
        self.background.call_later(call)
        self._call_housekeeper()

    def _give_tidied(self, obj: T, _now: float) -> bool:
        return self._tidy(self.machine.reserve(obj))

    def _give_use_tidied(self, use: int, _now: float) -> bool:
        slot = self.machine.reserve_use(use)
        return slot is not None and self._tidy(slot)

    def _tidy(self, slot: Slot[T]) -> bool:
        if self.locked.is_inherited:
            return False  # the object is the parent's: a block that was entered there is left here
        try:
            self.hooks.tidy(slot)
        finally:
            self.finish()
        return False

    # -- the background

    def work_if_idle(self) -> None:
        """Do the work here, when no thread could be started for it: as at the end of a program, from 3.12 on."""
        if self.background.has_work() and not self._worker.is_alive():
            self.background.work()

    def _round(self) -> float:
        """Do what time asks for: the housekeeper's call. User code runs in the worker thread only."""
        pause = self.locked.run(self.machine.sweep) - self.clock()
        if self.background.has_work() and not self._start_worker():
            pause = min(pause, RETRY)
        return max(0.0, pause)

    def _start_worker(self) -> bool:
        # then a round again: to go on after a failure, with what came after the last look, or when a pause is over
        return self._worker.start(self._work, f"{self.report.name}-worker", self._call_housekeeper)

    def _work(self) -> None:
        self.background.work_and_log()

    def _call_housekeeper(self) -> None:
        housekeeper.call(self)

    # -- beginning and end

    def fill(self) -> None:
        """Make the first `min_size` objects, here and now, or none."""
        self.locked.run(self.machine.match)
        try:
            self.background.work()
        except BaseException:
            self.shutdown()
            raise
        self.finish()

    def shutdown(self, delay: float = 0.0) -> None:
        """Do as `Pool.shutdown` says."""
        delay = checked_seconds("delay", delay)
        locked, machine = self.locked, self.machine
        drainer: ParkedWaiter[T] = ParkedWaiter()
        try:
            locked.run(machine.shutdown)
            self.background.work()
            if delay and locked.run(machine.drain, drainer):
                drainer.parker.park(delay)
                self.background.work()
            self._worker.join(MOMENT)
            if any(slot.state is CLOSING for slot in list(machine.registry)):
                self._worker.join(PATIENCE)
        finally:
            locked.run(machine.undrain, drainer)
            self.finish()

    def abandon(self) -> None:
        """Close what is idle: the pool is collected. In a finaliser: nothing may block, no user code may run.

        The housekeeper's calls keep the engine alive until it is empty. The collector has ended its weak entries: it is
        listed again, should the program fork or end before that.
        """
        machine = self.machine
        if machine.closes and (machine.idle or machine.to_close):
            renew_after_fork(self)
            end_with_program(self)
            self.locked.attempt(machine.shutdown)
            self._call_housekeeper()

    def successor(self) -> Engine[T]:
        """Make the engine of a forked child, which starts with nothing, but with what it has to leave alone."""
        machine = self.machine
        engine = Engine(self.config, machine.limits, {**self._inherited, **machine.known})
        if machine.is_shut_down:
            engine.locked.run(engine.machine.shutdown)
        return engine

    def _renew(self) -> None:
        """Be left alone from now on: this is a forked child, and the engine its parent's."""
        keep(self)
        self.locked.disown()

    def _close_at_exit(self) -> None:
        """Shut down, again and again as long as that ends something: whatever `close` raises."""
        self.ending = me.thread  # sent away, daemon threads that wait would only end with a traceback
        before = inf
        while not self.locked.is_inherited and self.report.size < before:
            before = self.report.size
            try:
                self.shutdown()
            except BaseException:
                self.report.log.exception("%s: failed at exit", self.report.name)


def _take_nothing(_now: float, _holder: object) -> None:
    """Stand in for `take` where each object that is lent needs its `getter` first."""
