"""Engine: all that belongs to one pool in one process.

An engine lives as long as its process. A forked child makes a new engine, and leaves its parent's engine alone. The
engine has no reference to its pool. A pool that is collected calls `Engine.abandon`, which closes the idle objects.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Generic, TypeVar

from ProxyPatternPool._config import PoolConfig
from ProxyPatternPool._core.limits import Limits, checked_seconds
from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._core.maintenance import timed
from ProxyPatternPool._core.slot import CLOSING, Slot
from ProxyPatternPool._owner import Holder, Owner, me
from ProxyPatternPool._process import end_with_program, keep, renew_after_fork
from ProxyPatternPool._report import PoolReport
from ProxyPatternPool._threads.background import Background, Worker
from ProxyPatternPool._threads.hooks import HookRunner
from ProxyPatternPool._threads.housekeeper import RETRY, housekeeper
from ProxyPatternPool._threads.locking import LockedMachine, ParkedWaiter

T = TypeVar("T")

#: The seconds that `shutdown` waits at most for objects being closed in the background: a close may hang.
PATIENCE = 5.0

#: The same for objects being made or checked. It is short: no caller has such an object, and the server may be down.
MOMENT = 0.5


class Engine(Generic[T]):
    """The working parts of one pool in one process: the machine with its lock, the hooks, and the worker thread."""

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
        self.ending: Owner | None = None  # the thread that runs the program's exit: waiters in others sleep on
        self._worker = Worker()
        self._is_abandoned = False  # true, and never false again, once the pool was collected
        self._is_timed = False  # true, and never false again, once the housekeeper knows of the time limits
        self._inherited = inherited  # id(obj) -> slot, of the objects that belong to a parent process
        # without the hook concerned, callers reach the machine's moves directly
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
        """Serve waiters after a return, and have the background do the rest. Never blocks."""
        self.locked.pump()
        self.finish()

    def finish(self) -> None:
        """Release the objects that are gone, and have the background do the other work. Never blocks.

        A release runs destructors. The caller may be a finaliser that has interrupted the locked region of its own
        thread. There, a destructor that uses the pool would wait for itself. So nothing is released while a thread has
        the lock.
        """
        if self.locked.is_inherited:
            return  # all objects belong to the parent process
        if not self.locked.is_held():
            self.background.let_go()
        if self.background.has_work() or (timed(self.machine) and not self._is_timed):
            self._is_timed = True
            self._call_housekeeper()

    def give_later(self, use: int) -> None:
        """End a use in a finaliser, where no user code may run. The background calls the `retter`."""
        if self.config.retter is None:
            self.machine.give_use(use, self.clock())
        else:
            self.machine.tidy_later(use)
        self.follow_up()

    def give_ended(self) -> None:
        """End the uses of ended owners, if the pool has `auto_return`. Blocks only in the `retter`.

        Most uses of an ended owner end with it, in a finaliser. The exception is a raw greenlet that is dead, but still
        referenced by a variable.
        """
        if self.config.auto_return:
            self._end_uses(lambda holder: holder.ended)
            self.locked.pump()

    def give_left(self, trail: object) -> None:
        """End the uses that ended owners on a trail have left. A use of a living owner ends with its owner."""
        self._end_uses(lambda holder: holder.dismiss(trail))
        self.follow_up()

    def _end_uses(self, is_left: Callable[[Holder], bool]) -> None:
        for slot in list(self.machine.leased.values()):
            use, holder = slot.use, slot.holder  # in this order: a lease that begins between the two reads is not ended
            if isinstance(holder, Holder) and is_left(holder):
                self.give_use(use, self.clock())

    def report_bad_return(self, obj: T) -> None:
        """Count the return of an object that is not out, and log it in the background.

        The caller may be a finaliser, where neither a log handler, which may block, nor the `tracer` may run.
        """
        if id(obj) in self._inherited:
            return  # the object belongs to a parent process, whose lease goes on
        self.machine.refuse_return()
        self.call_later(partial(self.report.log_bad_return, obj, self.machine.known.get(id(obj))))

    def call_later(self, call: Callable[[], object]) -> None:
        """Have the background call a function. Never blocks."""
        self.background.call_later(call)
        self._call_housekeeper()

    def _give_tidied(self, obj: T, _now: float) -> bool:
        return self._tidy(self.machine.reserve(obj))

    def _give_use_tidied(self, use: int, _now: float) -> bool:
        slot = self.machine.reserve_use(use)
        return slot is not None and self._tidy(slot)

    def _tidy(self, slot: Slot[T]) -> bool:
        if self.locked.is_inherited:
            return False  # a block that the parent has entered is left in the child: the object is the parent's
        try:
            self.hooks.tidy(slot)
        finally:
            self.finish()
        return False

    # -- the background

    def work_if_idle(self) -> None:
        """Do the background's work in this thread, if there is work but no worker thread.

        That happens when no thread can be started, for example at the end of a program on Python 3.12 and later.
        """
        if self.background.has_work() and not self._worker.is_alive():
            self.background.work()

    def _round(self) -> float:
        """Do a round for the housekeeper, and return the seconds to the next. User code runs only in the worker."""
        if self._is_abandoned:
            self.locked.run(self.machine.shutdown)
        pause = self.locked.run(self.machine.sweep) - self.clock()
        if self.background.has_work() and not self._start_worker():
            pause = min(pause, RETRY)
        return max(0.0, pause)

    def _start_worker(self) -> bool:
        # the worker ends with another round: for work left by a failure, or queued after its last look, or due later
        return self._worker.start(self._work, f"{self.report.name}-worker", self._call_housekeeper)

    def _work(self) -> None:
        self.background.work_and_log()

    def _call_housekeeper(self) -> None:
        housekeeper.call(self)

    # -- beginning and end

    def fill(self) -> None:
        """Make the first `min_size` objects, in the caller's thread. If one fails, shut down, and raise the error."""
        self.locked.run(self.machine.match)
        try:
            self.background.work()
        except BaseException:
            self.shutdown()
            raise
        self.finish()

    def shutdown(self, delay: float = 0.0) -> None:
        """Shut down as `Pool.shutdown` promises."""
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
        """Close the idle objects of a collected pool, in the background.

        The caller is a finaliser: nothing may block here, and no user code may run. A thread may have the lock, even
        this one, in a move that the collector has interrupted. So the next round shuts down.
        The housekeeper's calls keep the engine alive until it is empty. The collector has removed it from the weak
        lists of `renew_after_fork` and `end_with_program`. It is added again, for a fork or an exit before that.
        """
        if self.machine.closes and self.machine.registry:  # in the middle of a move, `idle` may lack a slot
            renew_after_fork(self)
            end_with_program(self)
            self._is_abandoned = True  # before the call: the housekeeper may be in this engine's round
            self._call_housekeeper()

    def successor(self) -> Engine[T]:
        """Return a new engine for a forked child. It has no objects, but knows which objects belong to its parent."""
        machine = self.machine
        engine = Engine(self.config, machine.limits, {**self._inherited, **machine.known})
        if machine.is_shut_down:
            engine.locked.run(engine.machine.shutdown)
        return engine

    def _renew(self) -> None:
        """Disown this engine in a forked child, and keep it forever: no object of the parent may be finalised here."""
        keep(self)
        self.locked.disown()

    def _close_at_exit(self) -> None:
        """Shut down. If `close` raises, repeat as long as each call removes at least one object."""
        self.ending = me.thread  # daemon threads sleep on: `PoolClosed` would only make them print a traceback
        before = inf
        while not self.locked.is_inherited and self.report.size < before:
            before = self.report.size
            try:
                self.shutdown()
            except BaseException:
                self.report.log.exception("%s: failed at exit", self.report.name)


def _take_nothing(_now: float, _holder: object) -> None:
    """Stand in for `take` if there is a `getter`, which has to run before an object is lent."""
