"""Pool: the driver for threads. It waits, runs user code, and tells the core what happened.

Reading it: every change of state is a move of the core, run by `_locked` (or, for the two lock-free ones, in `get`
and `ret`); every call of user code is in `_make` or `_end`, and is settled there whatever it raises.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

from ProxyPatternPool._base import BasePool, log
from ProxyPatternPool._config import Default, PoolConfig, PoolParameters, checked_seconds, checked_timeout, configure
from ProxyPatternPool._core import AlreadyPooled, NotLeased, PoolCore, popped
from ProxyPatternPool._errors import PoolClosed, PoolException
from ProxyPatternPool._housekeeper import RETRY, housekeeper
from ProxyPatternPool._lease import Lease
from ProxyPatternPool._owner import living_thread, me
from ProxyPatternPool._park import new_lock, new_parker
from ProxyPatternPool._process import end_with_program, renew_after_fork
from ProxyPatternPool._slot import CREATING, LEASED, Slot, Waiter
from ProxyPatternPool._worker import Worker

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")
R = TypeVar("R")

#: The default of a timeout, bound once: on 3.11 looking a member up through its class takes 40 ns.
CONFIGURED: Final = Default.TIMEOUT

#: Seconds after which a waiting caller looks around.
LOOK = 1.0

#: Seconds for which `shutdown` waits at most for what is being closed in the background: a close may hang.
PATIENCE = 5.0

#: What `_hold` answers when somebody else has the lock.
BUSY: Final = object()


class ParkedWaiter(Waiter[T]):
    """A thread in the queue."""

    __slots__ = ("parker",)

    def __init__(self) -> None:
        super().__init__(me.thread)
        self.parker = new_parker()


class Pool(BasePool[T]):
    """At least `min_size` and at most `max_size` objects, each lent to one thread at a time.

    `fun(n)` makes object number ``n`` (0, 1, 2...); the `min_size` first ones are made here, and an error of theirs
    is raised once those made before it are closed. The other parameters are those of `PoolConfig`, which the reference
    documents. All methods may be called from any thread; `ret`, `discard` and `stats` from a finaliser or a signal
    handler, too. `fun` and `close` run without a lock held: others go on meanwhile.
    """

    def __init__(
        self, fun: Callable[[int], T], max_size: int | None = 0, **parameters: Unpack[PoolParameters[T]]
    ) -> None:
        self._open(configure("Pool", {"fun": fun, "max_size": max_size, **parameters}))
        self._fill()

    @classmethod
    def _unopened(cls, config: PoolConfig[T]) -> Self:
        """Make a pool which creates nothing, not even `min_size` objects, before its first use."""
        pool = cls.__new__(cls)
        pool._open(config)
        return pool

    def _open(self, config: PoolConfig[T]) -> None:
        super().__init__(config)
        renew_after_fork(self)
        end_with_program(self)

    def _start(self) -> None:
        super()._start()
        self._lock = new_lock()
        self._worker = Worker()
        self._complaints: deque[str] = deque()  # warnings to be logged
        self._kept = False  # the housekeeper knows that time matters here
        self._ending = False  # the program is: whoever waits sleeps on
        self._take = self._core.take
        self._give = self._core.give
        self._give_use = self._core.give_use

    # -- using it

    def get(self, timeout: float | Default | None = CONFIGURED) -> T:
        """Take an object, to be given back with `ret` or `discard`.

        Waits at most `timeout` seconds (0: not at all; None: for ever; by default, as the pool was told to) while
        all `max_size` objects are out, in the order of arrival; then raises `TimeOut`. What `fun` raises when it is
        this caller's turn to make one is raised here, with a note that names the pool. `PoolClosed` after `shutdown`.
        """
        if timeout is not CONFIGURED:
            timeout = checked_timeout(timeout)
        slot = self._take(self._clock(), me.thread)
        if slot is None:
            slot = self._wait(timeout)
        return slot.obj

    def ret(self, obj: T) -> None:
        """Give an object back. Never blocks, and never calls `close`: safe in a finaliser or a signal handler.

        What is not out (given back twice, or never ours) is counted, logged as a warning, and changes nothing.
        """
        try:
            if self._give(obj, self._clock()):
                self._follow_up()
        except NotLeased:
            self._bad_return(obj)

    def discard(self, obj: T) -> None:
        """Give an object back broken: it is closed in the background, not lent again. Otherwise as `ret`."""
        try:
            self._core.discard(obj, self._clock())
            self._follow_up()
        except NotLeased:
            self._bad_return(obj)

    def obj(self, timeout: float | Default | None = CONFIGURED) -> Lease[T]:
        """Borrow an object for a ``with`` block, at whose end it is returned, whatever ended it. Waits as `get`."""
        return Lease(self, timeout if timeout is CONFIGURED else checked_timeout(timeout))

    def shutdown(self, delay: float = 0.0) -> None:
        """End the pool, for good. Whoever waits is sent away with `PoolClosed`, idle objects are closed, here and now.

        Then waits at most `delay` seconds for those in use. Those which come back later are closed then, in the
        background, never while they are used. What is being closed in the background already is waited for, 5 seconds
        at most. Doing it twice does no harm.
        """
        delay = checked_seconds("delay", delay)
        drainer: ParkedWaiter[T] = ParkedWaiter()
        try:
            self._locked(self._core.shutdown)
            self._work()
            if delay and self._locked(self._core.drain, drainer):
                drainer.parker.park(delay)
                self._work()
            self._worker.join(PATIENCE)
        finally:
            self._locked(self._core.undrain, drainer)
            self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    # -- waiting

    def _wait(self, timeout: float | Default | None) -> Slot[T]:
        """Queue up; on return the slot is leased. Whatever goes wrong on the way, one handler settles it."""
        core = self._core
        patience = self._config.timeout if isinstance(timeout, Default) else timeout
        waiter: ParkedWaiter[T] = ParkedWaiter()
        try:
            if not self._locked(core.enter, waiter):
                raise self._closed_error()
            if waiter.parked:
                self._park(waiter, patience)
                self._locked(core.leave, waiter)
            slot = waiter.slot
            if slot is None:
                raise self._timeout_error(patience or 0.0) if not core.closed else self._closed_error()
            if slot.state is CREATING:
                self._make(core, slot)
            if core is not self._core:
                raise PoolException(f"{self.name}: the process was forked meanwhile: this object is the parent's")
            return slot
        except BaseException:
            self._locked(core.abandon, waiter)
            raise
        finally:
            self._finish()

    def _park(self, waiter: ParkedWaiter[T], patience: float | None) -> None:
        """Wait to be served, at most `patience` seconds.

        Looks around each `LOOK` seconds: a signal handler that raised in another thread may have lost the wake-up.
        """
        deadline = inf if patience is None else monotonic() + patience
        while waiter.slot is None and (self._ending or not self._core.closed) and (left := deadline - monotonic()) > 0:
            waiter.parker.park(min(left, LOOK))
            if waiter.slot is None:
                self._locked(self._core.match)
                self._give_up_if_deserted()

    def _give_up_if_deserted(self) -> None:
        """Raise `PoolClosed` when nobody is left to give anything back: the program waits for this thread to end."""
        if not (self._ending or threading.main_thread().is_alive()) and all(
            slot.state is LEASED and living_thread(slot.holder) is None for slot in list(self._core.registry)
        ):
            raise PoolClosed(f"{self.name}: the program has ended, and so has everybody who had an object")

    # -- user code: each call of it is settled here, whatever it raises

    # The core is the one which the slot is of: should user code fork, the pool has another in the child.

    def _make(self, core: PoolCore[T], slot: Slot[T]) -> None:
        """Make the object of a slot that was served to this caller, who then has its lease."""
        core.begin(slot, self._clock())
        try:
            obj = self._config.fun(slot.number)
        except BaseException as error:
            self._locked(core.failed, slot)
            self._blame(error, "fun")
            raise
        try:
            if not self._locked(core.delivered, slot, obj, me.thread):
                raise self._closed_error()
        except AlreadyPooled:
            self._locked(core.failed, slot)
            raise self._twice_error(slot, obj) from None

    def _refill(self, core: PoolCore[T], slot: Slot[T]) -> None:
        """Make the object of a slot that nobody waits for: it becomes idle."""
        core.begin(slot, self._clock())
        try:
            obj = self._config.fun(slot.number)
        except BaseException as error:
            self._locked(core.refill_failed, slot, random.random())
            self._blame(error, "fun")
            raise
        try:
            self._locked(core.stocked, slot, obj)
        except AlreadyPooled:
            self._locked(core.refill_failed, slot, random.random())
            raise self._twice_error(slot, obj) from None

    def _end(self, core: PoolCore[T], slot: Slot[T]) -> None:
        """Close the object of a doomed slot. What `close` raises is logged, but passed on when it is no Exception."""
        try:
            self._closer(slot.obj)
        except Exception:
            log.exception("%s: closing %s failed", self.name, self._describe(slot.obj))
        except BaseException as error:
            self._blame(error, "close")
            raise
        finally:
            self._locked(core.ended, slot)

    # -- work that waits for nobody

    def _fill(self) -> None:
        """Make the first `min_size` objects, here and now, or none."""
        self._locked(self._core.match)
        try:
            self._work()
        except BaseException:
            self.shutdown()
            raise
        self._finish()

    def _work(self) -> None:
        """Close what is doomed, make what is missing, until nothing is left. Safe in several threads at once."""
        core = self._core
        while text := popped(self._complaints):
            log.warning(text)
        while core is self._core:  # and not in a child which user code has forked: what is left is the parent's
            if slot := popped(core.doomed):
                self._end(core, slot)
            elif slot := popped(core.refills):
                self._refill(core, slot)
            else:
                break
        self._core.gone.clear()

    def _has_work(self) -> bool:
        core = self._core
        return bool(core.doomed or core.refills or core.gone or self._complaints)

    def _finish(self) -> None:
        """Let go of what is gone, and have the rest done in the background. Never blocks.

        Letting go runs destructors. This may be a finaliser in the middle of the locked region of this very thread,
        where one that uses the pool would wait for itself: so not while anybody has the lock.
        """
        if not self._lock.locked():
            self._core.gone.clear()
        if self._has_work() or (self._core.max_delay and not self._kept):
            self._kept = True
            housekeeper.call(self)

    def _bad_return(self, obj: T) -> None:
        """Count what is not out, and complain in the background: a log handler may block, a finaliser must not."""
        if id(obj) in self._parents:
            return  # the parent process has it, and knows nothing of this
        self._core.counters.bad_returns += 1
        self._complaints.append(f"{self.name}: {self._describe(obj)} given back, but it is not out: ignored")
        housekeeper.call(self)

    def _round(self) -> float:
        """Do what time asks for: the housekeeper's call. Nothing of the user runs here, but in the worker thread."""
        pause = self._locked(self._core.sweep) - self._clock()
        if self._has_work() and not self._worker.start(self._work_on, f"{self.name}-worker", self._call_housekeeper):
            pause = min(pause, RETRY)
        return max(0.0, pause)

    def _work_on(self) -> None:
        try:
            self._work()
        except BaseException:
            # whatever user code raises, SystemExit included, ends nothing but the call that raised it
            log.exception("%s: failed in the background", self.name)

    def _call_housekeeper(self) -> None:
        """Ask for a round: to go on after a failure, with what came after the last look, or when a pause is over."""
        housekeeper.call(self)

    def _close_at_exit(self) -> None:
        """Shut down, again and again as long as that ends something: whatever `close` raises."""
        self._ending = True  # sent away, the daemons who wait would only end with a traceback
        before = inf
        while self.size < before:
            before = self.size
            try:
                self.shutdown()
            except BaseException:
                log.exception("%s: failed at exit", self.name)

    def __del__(self) -> None:
        # In a finaliser: nothing may block, no user code may run. The call keeps the pool alive until it is empty;
        # should the program end before that, it must be listed again: the collector has ended the weak entry.
        core: PoolCore[T] | None = getattr(self, "_core", None)
        if core is not None and core.closes and (core.idle or core.doomed):
            end_with_program(self)
            self._hold(False, core.shutdown)
            housekeeper.call(self)

    # -- the lock

    def _locked(self, move: Callable[..., R], *arguments: object) -> R:
        """Run a move of the core under the lock, then bring out what it and others have caused meanwhile."""
        try:
            return cast(R, self._hold(True, move, *arguments))
        finally:
            self._pump()

    def _follow_up(self) -> None:
        """Do what a return may have made possible. Never blocks."""
        self._pump()
        self._finish()

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
            while waiter := popped(core.wakes):
                woken = cast(ParkedWaiter[T], waiter).parker.unpark()
                if not woken and self._hold(False, core.abandon, waiter) is BUSY:
                    core.wakes.append(waiter)  # its thread has ended: the holder of the lock comes by here
                    break

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
