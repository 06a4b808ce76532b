"""Pool: the driver for threads. It waits, runs user code, and tells the core what happened.

Reading it: every change of state is a move of the core, run by `_locked` (or, for the two lock-free ones, in `get`
and `ret`); every call of user code is in `_make` or `_end`, and is settled there whatever it raises.
"""

from __future__ import annotations

import atexit
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, cast

from ProxyPatternPool._base import BasePool, log
from ProxyPatternPool._config import Default, PoolConfig, PoolParameters, check_seconds, check_timeout, configure
from ProxyPatternPool._core import CREATING, LEASED, AlreadyPooled, NotLeased, PoolCore, Slot, Waiter
from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._housekeeper import housekeeper
from ProxyPatternPool._park import Parker

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")
R = TypeVar("R")

#: What `_hold` answers when somebody else has the lock.
BUSY: Final = object()


class ParkedWaiter(Waiter[T]):
    """A thread in the queue."""

    __slots__ = ("parker",)

    def __init__(self) -> None:
        super().__init__(get_ident())
        self.parker = Parker()


class Pool(BasePool[T]):
    """At least `min_size` and at most `max_size` objects, each lent to one thread at a time.

    `fun(n)` makes object number ``n`` (0, 1, 2...); the `min_size` first ones are made here, and an error of theirs
    is raised once those made before it are closed. See `PoolConfig` for the other parameters. All methods may be
    called from any thread. `fun` and `close` run without a lock held: others go on meanwhile.
    """

    def __init__(
        self, fun: Callable[[int], T], max_size: int | None = 0, **parameters: Unpack[PoolParameters[T]]
    ) -> None:
        self._open(configure("Pool", {"fun": fun, "max_size": max_size, **parameters}))
        self._fill()

    @classmethod
    def unopened(cls, config: PoolConfig[T]) -> Self:
        """Make a pool which creates nothing, not even `min_size` objects, before its first use."""
        pool = cls.__new__(cls)
        pool._open(config)
        return pool

    def _open(self, config: PoolConfig[T]) -> None:
        super().__init__(config)
        lock = threading.Lock()
        self._acquire: Callable[[], bool] = lock.acquire
        self._try_acquire: Callable[[], bool] = partial(lock.acquire, False)
        self._release = lock.release
        self._working = threading.Lock()  # held as long as the pool's worker thread lives
        self._kept = False  # the housekeeper knows that time matters here
        self._take = self._core.take
        self._give = self._core.give
        _pools.add(self)

    # -- using it

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Take an object, to be given back with `ret` or `discard`.

        Waits at most `timeout` seconds (0: not at all; None: for ever; by default, as the pool was told to) while
        all `max_size` objects are out, in the order of arrival; then raises `TimeOut`. What `fun` raises when it is
        this caller's turn to make one is raised here, with a note that names the pool. `PoolClosed` after `shutdown`.
        """
        slot = self._take(self._clock(), get_ident())
        if slot is None:
            slot = self._wait(timeout)
        return slot.obj

    def ret(self, obj: T) -> None:
        """Give an object back. Never blocks and runs no user code: safe in a finaliser or a signal handler.

        What is not out (given back twice, or never ours) is counted, logged as a warning, and changes nothing.
        """
        try:
            if self._give(obj, self._clock()):
                self._pump()
                self._finish()
        except NotLeased:
            self._bad_return(obj)

    def discard(self, obj: T) -> None:
        """Give an object back broken: it is closed in the background, not lent again. Else as `ret`."""
        try:
            self._core.discard(obj, self._clock())
        except NotLeased:
            self._bad_return(obj)
        else:
            self._pump()
            self._finish()

    def obj(self, timeout: float | Default | None = Default.TIMEOUT) -> Lease[T]:
        """Borrow an object for a ``with`` block, at whose end it is returned, whatever ended it. Waits as `get`."""
        return Lease(self, timeout)

    def shutdown(self, delay: float = 0.0) -> None:
        """End the pool, for good. Whoever waits is sent away with `PoolClosed`, idle objects are closed here.

        Then waits at most `delay` seconds for those in use. Those which come back later are closed then, in the
        background, never while they are used. Doing it twice does no harm.
        """
        check_seconds("delay", delay)
        drainer: ParkedWaiter[T] = ParkedWaiter()
        self._locked(self._core.shutdown)
        try:
            self._work()
            if delay and self._locked(self._core.drain, drainer):
                drainer.parker.park(delay)
                self._work()
        finally:
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
        check_timeout(patience)
        waiter: ParkedWaiter[T] = ParkedWaiter()
        try:
            if not self._locked(core.enter, waiter):
                raise self._closed_error()
            if waiter.parked:
                waiter.parker.park(patience)
                self._locked(core.leave, waiter)
            slot = waiter.slot
            if slot is None:
                raise self._timeout_error(patience or 0.0) if not core.closed else self._closed_error()
            if slot.state is CREATING:
                self._make(slot)
            return slot
        except BaseException:
            self._locked(core.abandon, waiter)
            raise
        finally:
            self._finish()

    # -- user code: each call of it is settled here, whatever it raises

    def _make(self, slot: Slot[T]) -> None:
        """Make the object of a slot that was served to this caller, who then has its lease."""
        try:
            obj = self._config.fun(slot.number)
        except BaseException as error:
            self._locked(self._core.failed, slot)
            self._blame(error, "fun")
            raise
        try:
            if not self._locked(self._core.delivered, slot, obj, get_ident()):
                raise self._closed_error()
        except AlreadyPooled:
            self._locked(self._core.failed, slot)
            raise self._twice_error(slot, obj) from None

    def _refill(self, slot: Slot[T]) -> None:
        """Make the object of a slot that nobody waits for: it becomes idle."""
        try:
            obj = self._config.fun(slot.number)
        except BaseException as error:
            self._locked(self._core.refill_failed, slot, random.random())
            self._blame(error, "fun")
            raise
        try:
            self._locked(self._core.stocked, slot, obj)
        except AlreadyPooled:
            self._locked(self._core.refill_failed, slot, random.random())
            raise self._twice_error(slot, obj) from None

    def _end(self, slot: Slot[T]) -> None:
        """Close the object of a doomed slot. What `close` raises is logged, but passed on when it is no Exception."""
        try:
            self._closer(slot.obj)
        except Exception:
            log.exception("%s: closing %s failed", self.name, self._describe(slot.obj))
        except BaseException as error:
            self._blame(error, "close")
            raise
        finally:
            self._locked(self._core.ended, slot)

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
        while core.doomed or core.refills:
            for slot in _drain(core.doomed):
                self._end(slot)
            for slot in _drain(core.refills):
                self._refill(slot)
        core.gone.clear()

    def _finish(self) -> None:
        """Let go of what is gone, and have the rest done in the background."""
        core = self._core
        core.gone.clear()
        if core.doomed or core.refills or (core.max_delay and not self._kept):
            self._kept = True
            housekeeper.call(self)

    def round(self) -> float:
        """Do what time asks for: the housekeeper's call. Nothing of the user runs here, but in the worker thread."""
        pause = self._locked(self._core.sweep) - self._clock()
        if self._core.doomed or self._core.refills or self._core.gone:
            self._start_worker()
        return max(0.0, pause)

    def _start_worker(self) -> None:
        if self._working.acquire(False):
            try:
                threading.Thread(target=self._run_worker, name=f"{self.name}-worker", daemon=True).start()
            except RuntimeError:  # no more threads, or no more interpreter: the work stays until somebody asks again
                self._working.release()

    def _run_worker(self) -> None:
        try:
            self._work()
        except BaseException:
            # whatever user code raises, SystemExit included, ends nothing but the call that raised it
            log.exception("%s: failed in the background", self.name)
        finally:
            self._working.release()
            housekeeper.call(self)  # for what came after the last look, and to plan the next try of what failed

    def __del__(self) -> None:
        # In a finaliser: nothing may block, no user code may run. The call keeps the pool alive until it is empty.
        core: PoolCore[T] | None = getattr(self, "_core", None)
        if core is not None and core.closes and core.idle:
            self._hold(self._try_acquire, core.shutdown)
            housekeeper.call(self)

    def _holder_name(self, holder: object) -> str:
        names = [thread.name for thread in threading.enumerate() if thread.ident == holder]
        return f"thread {names[0]!r}" if names else "a thread that has ended"

    # -- the lock

    def _locked(self, move: Callable[..., R], *arguments: object) -> R:
        """Run a move of the core under the lock, then bring out what it and others have caused meanwhile."""
        result = self._hold(self._acquire, move, *arguments)
        self._pump()
        return cast(R, result)

    def _pump(self) -> None:
        """Match while there is something to match, then wake who was served. Never blocks.

        Who finds the lock taken may leave: its holder comes by here after releasing it, and looks again.
        """
        core = self._core
        while core.due():
            if self._hold(self._try_acquire, core.match) is BUSY:
                break
        for waiter in _drain(core.wakes):
            cast(ParkedWaiter[T], waiter).parker.unpark()

    def _hold(self, acquire: Callable[[], bool], move: Callable[..., R], *arguments: object) -> R | object:
        """Take the lock, run the move, release the lock: the one place that does. `BUSY` when it was not to be had.

        The loop takes the lock inside a single bytecode: no signal handler that raises can come between taking it and
        the protection of ``try``, as it can with ``acquire(); try:`` or, on some versions, with ``with``.
        """
        for _ in iter(acquire, False):
            try:
                return move(*arguments, self._clock())
            finally:
                self._release()
        return BUSY


class Lease(Generic[T]):
    """One use of an object: a context manager which returns just that use, and not what came of the object later."""

    __slots__ = ("_pool", "_slot", "_timeout", "_use")

    def __init__(self, pool: Pool[T], timeout: float | Default | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._slot: Slot[T] | None = None  # between entering and leaving
        self._use: int  # which of the slot's leases it is

    def __enter__(self) -> T:
        pool = self._pool
        if self._slot is not None:
            raise PoolException(f"{pool.name}: this lease is in use, call obj() again for another")
        slot = pool._take(pool._clock(), get_ident()) or pool._wait(self._timeout)
        self._slot = slot
        self._use = slot.uses
        return slot.obj

    @property
    def held(self) -> T:
        """The object, between entering and leaving."""
        assert self._slot is not None
        return self._slot.obj

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slot, self._slot = self._slot, None
        if slot is not None and slot.state is LEASED and slot.uses == self._use:
            self._pool.ret(slot.obj)


def _drain(queue: deque[T]) -> Iterator[T]:
    """Take items out from the left until there are none; others may do so at the same time."""
    while True:
        try:
            item = queue.popleft()
        except IndexError:
            return
        yield item


def _close_all() -> None:
    for pool in list(_pools):
        pool.shutdown()


_pools: weakref.WeakSet[Pool[Any]] = weakref.WeakSet()
atexit.register(_close_all)
