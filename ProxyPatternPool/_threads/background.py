"""Background: the work of a pool that no caller waits for. Worker: the one thread, at most, that does it.

The housekeeper serves all pools, and must not run user code. So each pool has a worker of its own, and a `close` that
hangs stops no other pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

from ProxyPatternPool._core.slot import Slot
from ProxyPatternPool._core.transitions import popped
from ProxyPatternPool._owner import me
from ProxyPatternPool._report import PoolReport
from ProxyPatternPool._threads.hooks import HookRunner
from ProxyPatternPool._threads.locking import LockedMachine
from ProxyPatternPool._threads.parking import Parker, home_hub, new_lock, new_parker, start_alone, start_thread

T = TypeVar("T")


class Background(Generic[T]):
    """A set of outboxes, those of one machine, and the work that empties them. Several threads may work at once."""

    def __init__(self, locked: LockedMachine[T], hooks: HookRunner[T], report: PoolReport[T]) -> None:
        self._locked = locked
        self._machine = locked.machine
        self._hooks = hooks
        self._report = report
        self._calls: deque[Callable[[], object]] = deque()  # that a finaliser must not make itself
        self._failed_refill: int | None = None  # the number of an object, until its failure is logged

    def call_later(self, call: Callable[[], object]) -> None:
        """Queue a call for the next `work`. Unlike the finaliser that queues it, the call may block."""
        self._calls.append(call)

    def has_work(self) -> bool:
        """Tell whether there is work to do. In a forked child there is none: it is the parent's."""
        machine = self._machine
        boxes = machine.overdue, machine.to_tidy, machine.to_close, machine.to_create, machine.to_check, machine.gone
        return not self._locked.is_inherited and any((self._calls, *boxes))

    def work(self) -> None:
        """Do all work, until nothing is left. Raises the exceptions of user code.

        If user code forks, the child stops here: the rest is the parent's work.
        """
        while not self._locked.is_inherited:
            if not self._step():
                self.let_go()
                break

    def work_and_log(self) -> None:
        """Do all work, and log an exception instead of raising it. Not even SystemExit ends the worker thread."""
        try:
            self.work()
        except BaseException as error:
            self._log_failure(error)

    def let_go(self) -> None:
        """Release the objects that are gone. Destructors may run, so no thread may have the lock meanwhile."""
        self._machine.gone.clear()

    def _step(self) -> bool:
        machine = self._machine
        if overdue := popped(machine.overdue):
            self._report.log_overdue(*overdue)
        elif call := popped(self._calls):  # after the kills: the warning of a bad return names the killed object
            call()
        elif slot := popped(machine.to_tidy):
            self._hooks.tidy(slot)
        elif slot := popped(machine.to_close):
            self._hooks.close(slot)
        elif slot := popped(machine.to_create):
            self._refill(slot)
        elif slot := popped(machine.to_check):
            self._hooks.check_idle(slot)
        else:
            return False
        return True

    def _refill(self, slot: Slot[T]) -> None:
        try:
            self._hooks.refill(slot)
        except BaseException:
            self._failed_refill = slot.number
            raise

    def _log_failure(self, error: BaseException) -> None:
        number, self._failed_refill = self._failed_refill, None
        if number is not None:
            self._report.log_failed_creation(number, error, self._report.outlook())
        else:
            self._report.log.error("%s: failed in the background", self._report.name, exc_info=error)


class Worker:
    """A thread that is started when there is work, and ends after it. At most one is alive at a time."""

    def __init__(self) -> None:
        self._alive = new_lock()  # held as long as the thread lives
        self._thread: object = None  # the running thread, while it works
        self._hub = home_hub()
        self._joiners: deque[Parker] = deque()  # of callers that wait for the end of the work

    def start(self, work: Callable[[], None], name: str, then: Callable[[], None]) -> bool:
        """Run `work` and then `then` in a thread, unless one is alive. Return False if no thread can be started."""
        try:
            start_alone(self._alive, partial(start_thread, name=name, hub=self._hub), partial(self._run, work, then))
        except (RuntimeError, MemoryError):  # no more threads, or no more interpreter
            return False
        return True

    def is_alive(self) -> bool:
        """Tell whether the thread is alive."""
        return self._alive.locked()

    def join(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the end of the work. Called by the worker itself, it does not wait."""
        deadline = monotonic() + timeout
        while self._thread is not me.thread and (left := deadline - monotonic()) > 0:
            parker = new_parker()
            self._joiners.append(parker)  # published before the look: the worker releases `_alive`, then looks here
            if not self._alive.locked():
                break
            parker.park(left)

    def _run(self, work: Callable[[], None], then: Callable[[], None], alive: Lock) -> None:
        try:
            self._thread = me.thread
            work()
        finally:
            self._thread = None
            alive.release()
            while joiner := popped(self._joiners):
                joiner.unpark()
            then()
