"""The work that no caller waits for, and the one thread at most that does it.

The housekeeper must not run user code itself, so each pool has a worker of its own: a `close` that hangs stops no
other pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Generic, TypeVar

from ProxyPatternPool._core.slot import Slot
from ProxyPatternPool._core.transitions import popped
from ProxyPatternPool._owner import me
from ProxyPatternPool._report import PoolReport
from ProxyPatternPool._threads.hooks import HookRunner
from ProxyPatternPool._threads.locking import LockedMachine
from ProxyPatternPool._threads.parking import Parker, home_hub, new_lock, new_parker, start_thread

T = TypeVar("T")


class Background(Generic[T]):
    """The outboxes of a machine, and how they are emptied. Safe in several threads at once."""

    def __init__(self, locked: LockedMachine[T], hooks: HookRunner[T], report: PoolReport[T]) -> None:
        self._locked = locked
        self._machine = locked.machine
        self._hooks = hooks
        self._report = report
        self._calls: deque[Callable[[], object]] = deque()  # to be made here, as a finaliser must not make them
        self._failed_refill: int | None = None  # the number of an object that was not made, until that is logged

    def call_later(self, call: Callable[[], object]) -> None:
        """Queue a call for the next `work`: it may block, which a finaliser must not."""
        self._calls.append(call)

    def has_work(self) -> bool:
        """Tell whether there is something to do; never in a forked child, where all of it is the parent's."""
        box = self._machine
        boxes = (self._calls, box.overdue, box.to_tidy, box.to_close, box.to_create, box.to_check, box.gone)
        return not self._locked.is_inherited and any(boxes)

    def work(self) -> None:
        """Do what is to be done, until nothing is left. Raises what user code raises in it.

        In a child which user code has forked, the rest is left: it is the parent's.
        """
        while not self._locked.is_inherited:
            if not self._step():
                self.let_go()
                break

    def work_and_log(self) -> None:
        """Do as `work`, and log what is raised: nothing that user code raises, SystemExit included, ends a thread."""
        try:
            self.work()
        except BaseException as error:
            self._log_failure(error)

    def let_go(self) -> None:
        """Release the objects that are gone. This may run their destructors: so never while a thread has the lock."""
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
    """Runs something in a thread of its own, unless it is running already."""

    def __init__(self) -> None:
        self._alive = new_lock()  # held as long as the thread lives
        self._thread: object = None  # the owner that it is, while it lives
        self._hub = home_hub()
        self._joiners: deque[Parker] = deque()  # of callers that wait for its end

    def start(self, work: Callable[[], None], name: str, then: Callable[[], None]) -> bool:
        """Have `work` done, and `then` called; nothing if it is being done. False when no thread could be started."""
        if self._alive.acquire(False):
            try:
                start_thread(partial(self._run, work, then), name, self._hub)
            except (RuntimeError, MemoryError):  # no more threads, or no more interpreter
                self._alive.release()
                return False
        return True

    def is_alive(self) -> bool:
        """Tell whether something is being done."""
        return self._alive.locked()

    def join(self, timeout: float) -> None:
        """Wait for the end of what is being done, at most `timeout` seconds. Never waits in the worker itself."""
        deadline = monotonic() + timeout
        while self._thread is not me.thread and (left := deadline - monotonic()) > 0:
            parker = new_parker()
            self._joiners.append(parker)  # published before the look: the worker ends first, and looks here afterwards
            if not self._alive.locked():
                break
            parker.park(left)

    def _run(self, work: Callable[[], None], then: Callable[[], None]) -> None:
        self._thread = me.thread
        try:
            work()
        finally:
            self._thread = None
            self._alive.release()
            while joiner := popped(self._joiners):
                joiner.unpark()
            then()
