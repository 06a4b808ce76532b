"""ThreadedPool: the lock of a pool for threads, and what is done while nobody waits for it.

Reading it: every change of state is a move of the core, run by `_locked` (but for those which take no lock); every call
of user code is settled where it is made, whatever it raises.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final, TypeVar, cast

from ProxyPatternPool._callables import plain_object, plain_result
from ProxyPatternPool._core.limits import checked_seconds
from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._core.slot import CLOSING, Reason, Slot, Waiter
from ProxyPatternPool._core.transitions import AlreadyPooled, popped
from ProxyPatternPool._legacy import PoolBase
from ProxyPatternPool._owner import me
from ProxyPatternPool._process import end_with_program
from ProxyPatternPool._shared_error import copied
from ProxyPatternPool._threads.background import Worker
from ProxyPatternPool._threads.housekeeper import RETRY, housekeeper
from ProxyPatternPool._threads.parking import new_lock, new_parker

T = TypeVar("T")
R = TypeVar("R")

#: Seconds for which `shutdown` waits at most for what is being closed in the background: a close may hang.
PATIENCE = 5.0

#: The same for what is being made or checked: a moment, for nobody has it, and the server may be down.
MOMENT = 0.5

#: What `_hold` answers when somebody else has the lock.
BUSY: Final = object()


class ParkedWaiter(Waiter[T]):
    """A thread in the queue."""

    __slots__ = ("parker",)

    def __init__(self) -> None:
        super().__init__(me.thread)
        self.parker = new_parker()


class ThreadedPool(PoolBase[T]):
    """What callers of a `Pool` do not see of it."""

    def _start(self) -> None:
        super()._start()
        self._lock = new_lock()
        self._worker = Worker()
        self._bad_returns: deque[str] = deque()  # warnings to be logged
        self._failed_refill: int | None = None  # the number of the object, until that is told
        self._kept = False  # the housekeeper knows that time matters here
        self._ending = False  # the program is: whoever waits sleeps on

    # -- the lock

    def _locked(self, move: Callable[..., R], *arguments: object) -> R:
        """Run a move of the core under the lock, then bring out what it and others have caused meanwhile."""
        try:
            return cast(R, self._hold(True, move, *arguments))
        finally:
            self._pump()

    def _hold(self, blocking: bool, move: Callable[..., R], *arguments: object) -> R | object:
        """Take the lock, run the move, release the lock: the one place that does. `BUSY` when it was not to be had.

        The loop takes the lock inside a single bytecode: no signal handler that raises can come between taking it and
        the protection of ``try``, as it can with ``acquire(); try:`` or, on some versions, with ``with``.
        """
        lock = self._lock  # this one, also when a signal handler forks: the pool has another in the child
        for _ in iter(partial(lock.acquire, blocking), False):
            try:
                return move(*arguments, self._clock())
            finally:
                lock.release()
        return BUSY

    def _pump(self) -> None:
        """Match while there is something to match, then wake who was served. Never blocks.

        Who finds the lock taken may leave: its holder comes by here after releasing it, and looks again.
        """
        core = self._core
        try:
            while core.due():
                if self._hold(False, core.match) is BUSY:
                    break
        finally:
            while waiter := popped(core.to_wake):
                woken = cast(ParkedWaiter[T], waiter).parker.unpark()
                if not woken and self._hold(False, core.cancel, waiter) is BUSY:
                    core.to_wake.append(waiter)  # its thread has ended: the holder of the lock comes by here
                    break

    def _follow_up(self) -> None:
        """Do what a return may have made possible. Never blocks."""
        self._pump()
        self._finish()

    def _finish(self) -> None:
        """Let go of what is gone, and have the rest done in the background. Never blocks.

        Letting go runs destructors. This may be a finaliser in the middle of the locked region of this very thread,
        where one that uses the pool would wait for itself: so not while anybody has the lock.
        """
        if not self._lock.locked():
            self._core.gone.clear()
        if self._has_work() or (not self._kept and self._core.timed):
            self._kept = True
            housekeeper.call(self)

    # -- user code. The core is the one which the slot is of: should user code fork, the pool has another in the child

    def _create(self, core: PoolMachine[T], slot: Slot[T]) -> None:
        """Make the object of a slot, and open it. When this fails, the slot is given up, and the error raised."""
        core.create(slot, self._clock())
        try:
            obj = plain_object(self._config.make(slot.number))
        except BaseException as error:
            self._fail(core, slot, error)
            raise
        try:
            self._locked(core.made, slot, obj, random.random())
        except AlreadyPooled:
            self._locked(core.failed, slot)
            raise self._duplicate_error(slot, obj) from None
        try:
            plain_result("opener", self._opener(obj))
        except BaseException as error:
            self._fail(core, slot, error)
            raise
        self._succeeded()

    def _fail(self, core: PoolMachine[T], slot: Slot[T], error: BaseException) -> None:
        self._note_creation(error, slot)
        self._last_error = copied(error)
        self._locked(core.failed, slot)

    def _refill(self, core: PoolMachine[T], slot: Slot[T]) -> None:
        """Make the object of a slot that nobody waits for: it becomes idle."""
        try:
            self._create(core, slot)
        except BaseException:
            self._locked(core.back_off, random.random())
            self._failed_refill = slot.number
            raise
        self._locked(core.stocked, slot)

    def _end(self, core: PoolMachine[T], slot: Slot[T]) -> None:
        """Close the object of a doomed slot. What `close` raises is logged, but passed on when it is no Exception."""
        try:
            plain_result("close", self._closer(slot.obj))
        except Exception:
            self._log.exception("%s: closing %s failed", self.name, self._describe(slot.obj))
        except BaseException as error:
            self._note(error, "close")
            raise
        finally:
            self._locked(core.closed, slot)

    def _is_healthy(self, slot: Slot[T]) -> bool:
        """Ask `health`. What it raises is logged, and means no; but it is passed on when it is no Exception."""
        try:
            answer = self._health(slot.obj)
            healthy = bool(answer)
        except Exception as error:
            self._log_failed_check(slot, error)
            return False
        plain_result("health", answer)  # that is no answer: whoever asks has to know
        if not healthy:
            self._log.warning("%s: %s is in bad health: closed", self.name, self._describe(slot.obj))
        return healthy

    def _check(self, core: PoolMachine[T], slot: Slot[T]) -> None:
        """Check an object which is idle, if it still is."""
        if not self._locked(core.reserve_idle, slot):
            return
        healthy = False
        try:
            healthy = self._is_healthy(slot)
        finally:
            self._locked(core.checked, slot, healthy)

    def _tidy(self, core: PoolMachine[T], slot: Slot[T]) -> None:
        """Have the retter tidy the object up, which is closed if that fails, and put it back."""
        reason: Reason | None = Reason.RETTER
        try:
            plain_result("retter", self._retter(slot.obj))
            reason = None
        except Exception:
            self._log.exception("%s: tidying up %s failed", self.name, self._describe(slot.obj))
        except BaseException as error:
            self._note(error, "retter")
            raise
        finally:
            if core.put_back(slot, reason, self._clock()):
                self._follow_up()

    # -- the background

    def _work(self) -> None:
        """Do what is to be done, until nothing is left. Safe in several threads at once."""
        core = self._core
        while text := popped(self._bad_returns):
            self._log.warning(text)
        while core is self._core:  # and not in a child which user code has forked: what is left is the parent's
            if overdue := popped(core.overdue):
                self._log_overdue(*overdue)
            elif slot := popped(core.to_tidy):
                self._tidy(core, slot)
            elif slot := popped(core.to_close):
                self._end(core, slot)
            elif slot := popped(core.to_create):
                self._refill(core, slot)
            elif slot := popped(core.to_check):
                self._check(core, slot)
            else:
                break
        self._core.gone.clear()

    def _has_work(self) -> bool:
        core = self._core
        todo = (core.to_close, core.to_create, core.to_check, core.to_tidy, core.overdue, core.gone, self._bad_returns)
        return any(todo)

    def _round(self) -> float:
        """Do what time asks for: the housekeeper's call. Nothing of the user runs here, but in the worker thread."""
        pause = self._locked(self._core.sweep) - self._clock()
        if self._has_work() and not self._worker.start(self._work_on, f"{self.name}-worker", self._call_housekeeper):
            pause = min(pause, RETRY)
        return max(0.0, pause)

    def _work_on(self) -> None:
        try:
            self._work()
        except BaseException as error:
            # whatever user code raises, SystemExit included, ends nothing but the call that raised it
            self._log_failed_work(error)

    def _log_failed_work(self, error: BaseException) -> None:
        number, self._failed_refill = self._failed_refill, None
        if number is not None:
            self._log_failed_creation(number, error, self._outlook())
        else:
            self._log.error("%s: failed in the background", self.name, exc_info=error)

    def _work_if_nobody_does(self) -> None:
        """Do it here, when no thread could be started for it: as at the end of a program, from Python 3.12 on."""
        if self._has_work() and not self._worker.is_alive():
            self._work()

    def _call_housekeeper(self) -> None:
        """Ask for a round: to go on after a failure, with what came after the last look, or when a pause is over."""
        housekeeper.call(self)

    def _report_bad_return(self, obj: T) -> None:
        """Count what is not out, and complain in the background: a log handler may block, a finaliser must not."""
        if id(obj) in self._parents:
            return  # the parent process has it, and knows nothing of this
        self._core.counters.bad_returns += 1
        slot = self._core.known.get(id(obj))
        what = f"{type(obj).__name__} object" + (f" number {slot.number}" if slot else "")
        self._bad_returns.append(f"{self.name}: {what} given back, but it is not out: ignored")
        housekeeper.call(self)

    # -- the end

    def shutdown(self, delay: float = 0.0) -> None:
        """End the pool, for good. Whoever waits is sent away with `PoolClosed`, idle objects are closed, here and now.

        Then waits at most `delay` seconds for those in use. Those which come back later are closed then, in the
        background, never while they are used. What is being closed in the background already is waited for, 5 seconds
        at most; what is being made or checked there, half a second. Doing it twice does no harm.
        """
        delay = checked_seconds("delay", delay)
        drainer: ParkedWaiter[T] = ParkedWaiter()
        try:
            self._locked(self._core.shutdown)
            self._work()
            if delay and self._locked(self._core.drain, drainer):
                drainer.parker.park(delay)
                self._work()
            self._worker.join(MOMENT)
            if self._is_closing():
                self._worker.join(PATIENCE)
        finally:
            self._locked(self._core.undrain, drainer)
            self._finish()

    def _is_closing(self) -> bool:
        return any(slot.state is CLOSING for slot in list(self._core.registry))

    def _close_at_exit(self) -> None:
        """Shut down, again and again as long as that ends something: whatever `close` raises."""
        self._ending = True  # sent away, the daemons who wait would only end with a traceback
        before = inf
        while self.size < before:
            before = self.size
            try:
                self.shutdown()
            except BaseException:
                self._log.exception("%s: failed at exit", self.name)

    def __del__(self) -> None:
        # In a finaliser: nothing may block, no user code may run. The call keeps the pool alive until it is empty;
        # should the program end before that, it must be listed again: the collector has ended the weak entry.
        core: PoolMachine[T] | None = getattr(self, "_core", None)
        if core is not None and core.closes and (core.idle or core.to_close):
            end_with_program(self)
            self._hold(False, core.shutdown)
            housekeeper.call(self)
