"""Pool: the driver for threads, as its callers see it. It waits, and it lends."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

from ProxyPatternPool._callables import plain_result
from ProxyPatternPool._config import Default, PoolConfig, PoolParameters, configure
from ProxyPatternPool._core.limits import checked_timeout
from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._core.slot import CREATING, LEASED, Reason, Slot
from ProxyPatternPool._core.transitions import NotLeased
from ProxyPatternPool._errors import PoolClosed, PoolException
from ProxyPatternPool._owner import Holder, Owner, me
from ProxyPatternPool._process import end_with_program, renew_after_fork
from ProxyPatternPool._threads.engine import ParkedWaiter, ThreadedPool
from ProxyPatternPool._threads.lease import Lease

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")

#: The default of a timeout, bound once: on 3.11 looking a member up through its class takes 40 ns.
CONFIGURED: Final = Default.TIMEOUT

#: Seconds after which a waiting caller looks around.
RECHECK = 1.0


class Pool(ThreadedPool[T]):
    """At least `min_size` and at most `max_size` objects, each lent to one thread at a time.

    `fun(n)` makes object number ``n`` (0, 1, 2...); the `min_size` first ones are made here, and an error of theirs
    is raised once those made before it are closed. All methods may be called from any thread; `discard` and `stats`,
    and without a `retter` `ret`, from a finaliser or a signal handler, too. User code runs without a lock held: others
    go on meanwhile. What is wrong with a parameter is raised at once, as TypeError or ValueError.

    The parameters, all but the first two by keyword, and their defaults; seconds. A ``max_`` of 0 or None
    is no limit:

    - `max_size` (0): objects at most, those being made or closed included
    - `min_size` (1): objects kept, idle or not
    - `timeout` (30.0): seconds that `get` waits while all are out; 0 tries once, None waits for ever
    - `max_use` (0): leases after which an object is closed
    - `max_delay` (0.0): seconds unused after which an idle object is closed, above `min_size`
    - `max_lifetime` (0.0): seconds after which an object is closed, idle, or on return; up to a tenth earlier
    - `max_using_delay` (0.0): seconds after which a lease is warned about
    - `max_using_delay_kill` (0.0): seconds after which the object is taken away from who has it
    - `max_waiting` (0): callers that wait at most: the next one gets `PoolFull` at once
    - `close` (None): ends an object: a function, or the name of its method
    - `health` (None): tells whether an object is alive; false or an exception: it is closed, and not lent
    - `health_delay` (0.5): seconds unused after which `health` is asked before an object is lent; 0: each time, except
      for the caller that the object was made for
    - `opener` (None): called with each new object; an exception: it is closed, and raised to the caller
    - `getter` (None): called before an object is lent; an exception: likewise
    - `retter` (None): called when an object is given back; an exception: it is closed, and logged
    - `tracer` (None): tells an object, as a text, in logs, errors and statistics, beside its type and number
    - `stats` (None): tells more of it in the statistics, as JSON-compatible data
    - `delay` (0.0): seconds from one background round to the next; 0: as the limits ask for
    - `name` (None): of the pool, in logs, errors and statistics; None: ``pool-1``, ``pool-2``...
    - `log_level` (None): of this pool's messages alone, which are logged as ``ProxyPatternPool.<name>`` then
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
        config.check_plain()
        super().__init__(config)
        # the name of `shutdown` in earlier releases. A method would make a descriptor of each pool: a pool that is a
        # class attribute could not be hidden by an attribute of an instance. A `__getattr__` would make `get` slower
        vars(self)["__delete__"] = partial(_end, weakref.ref(self))
        renew_after_fork(self)
        end_with_program(self)

    def _start(self) -> None:
        super()._start()
        core, config = self._core, self._config
        # what uses no hook goes straight to the core
        self._take = core.take if config.getter is None else _take_nothing
        self._give = core.give if config.retter is None else self._give_tidied
        self._give_use = core.give_use if config.retter is None else self._give_use_tidied

    # -- using it

    def get(self, timeout: float | Default | None = CONFIGURED) -> T:
        """Take an object, to be given back with `ret` or `discard`.

        Waits at most `timeout` seconds (0: not at all; None: for ever; by default, as the pool was told to) while
        all `max_size` objects are out, in the order of arrival; then raises `TimeOut`, whose cause is the last
        creation error, if any; or at once `PoolFull`, when `max_waiting` others wait. What `fun`, `opener` or `getter`
        raise when it is this caller's turn is raised here, with a note that names the pool. `PoolClosed` after
        `shutdown`.
        """
        if timeout is not CONFIGURED:
            timeout = checked_timeout(timeout)
        slot = self._take(self._clock(), me.thread)
        if slot is None:
            slot = self._wait(timeout)
        return slot.obj

    def ret(self, obj: T) -> None:
        """Give an object back. Never blocks, and never calls `close`: safe in a finaliser or a signal handler.

        With a `retter` it takes the time which that one takes, and is safe where that one is. What is not out (given
        back twice, taken away, or never ours) is counted, logged as a warning, and changes nothing.
        """
        try:
            if self._give(obj, self._clock()):
                self._follow_up()
        except NotLeased:
            self._report_bad_return(obj)

    def discard(self, obj: T) -> None:
        """Give an object back broken: it is closed in the background, not lent again. Never blocks; else as `ret`."""
        try:
            self._core.discard(obj, self._clock())
            self._follow_up()
        except NotLeased:
            self._report_bad_return(obj)

    def obj(self, timeout: float | Default | None = CONFIGURED) -> Lease[T]:
        """Borrow an object for a ``with`` block, at whose end it is returned, whatever ended it. Waits as `get`."""
        return Lease(self, timeout if timeout is CONFIGURED else checked_timeout(timeout))

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes; None leaves one as it is, and a `max_size` of 0 is no limit. Does not wait for objects.

        A larger pool serves who waits at once. In a smaller one the idle objects beyond its size are closed now, in the
        background, and those in use when they come back. TypeError or ValueError as for a new pool.
        """
        sizes = {"min_size": min_size, "max_size": max_size}
        self._locked(self._resize, {name: size for name, size in sizes.items() if size is not None})
        self._finish()

    def refresh(self) -> None:
        """Replace all objects: none that exists now is lent again. Does not wait for anything.

        Idle ones are closed one at a time in the background, and those in use when they come back. What `min_size`
        asks for is made again then, the others when they are needed.
        """
        self._locked(self._core.refresh)
        self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def _resize(self, sizes: dict[str, int], now: float) -> None:
        # locked, from reading the sizes on: of two who change one each, both are obeyed
        self._limits = replace(self._limits, **sizes)
        self._core.resize(self._limits.min_size, self._limits.max_size, now)

    # -- lending

    def _wait(self, timeout: float | Default | None) -> Slot[T]:
        """Have a slot leased that is fit for use, by way of the queue. Whatever goes wrong, one handler settles it."""
        core = self._core
        patience = self._config.timeout if isinstance(timeout, Default) else timeout
        deadline = inf if patience is None else monotonic() + patience
        waiter: ParkedWaiter[T] = ParkedWaiter()
        try:
            slot = self._served(core, waiter, deadline, patience)
            while not self._is_fit(core, slot):
                waiter = ParkedWaiter()
                slot = self._served(core, waiter, deadline, patience, first=True)
            if core is not self._core:
                raise PoolException(f"{self.name}: the process was forked meanwhile: this object is the parent's")
            return slot
        except BaseException as error:
            self._locked(core.cancel, waiter)
            if isinstance(error, PoolClosed) and self._ending not in (None, me.thread):
                self._finish()
                self._park(ParkedWaiter(), deadline)  # a daemon that comes while the program ends, as one that waits
            raise
        finally:
            self._finish()

    def _served(
        self,
        core: PoolMachine[T],
        waiter: ParkedWaiter[T],
        deadline: float,
        patience: float | None,
        first: bool = False,
    ) -> Slot[T]:
        """Queue up until a slot is served, or until the deadline: `TimeOut`."""
        if not self._locked(core.enter, waiter, first):
            raise self._closed_error() if core.is_shut_down else self._full_error()
        if waiter.parked:
            self._finish()  # what was doomed on the way here is to be closed meanwhile: its place may be what comes
            self._return_ended()
            self._park(waiter, deadline)
        if waiter.parked or first:
            self._locked(core.time_out, waiter, monotonic() >= deadline)
        if waiter.slot is None:
            raise self._closed_error() if core.is_shut_down else self._timeout_error(patience or 0.0)
        return waiter.slot

    def _park(self, waiter: ParkedWaiter[T], deadline: float) -> None:
        """Wait to be served, until the deadline.

        Looks around each `RECHECK` seconds: a signal handler that raised in another thread may have lost the wake-up.
        """
        while (
            waiter.slot is None
            and (self._ending or not self._core.is_shut_down)
            and (left := deadline - monotonic()) > 0
        ):
            waiter.parker.park(min(left, RECHECK))
            if waiter.slot is None:
                self._return_ended()
                self._locked(self._core.match)
                self._work_if_nobody_does()
                self._give_up_if_deserted()

    def _give_up_if_deserted(self) -> None:
        """Raise `PoolClosed` when nobody is left to give anything back: the program waits for this thread to end."""
        if not (self._ending or threading.main_thread().is_alive()) and all(
            slot.state is LEASED and cast(Owner, slot.holder).ended for slot in list(self._core.registry)
        ):
            raise PoolClosed(f"{self.name}: the program has ended, and so has everybody who had an object")

    def _return_ended(self) -> None:
        """With `auto_return`, take back what is kept for owners whose end nobody has told.

        That is a raw greenlet which is dead, but which somebody still refers to.
        """
        if self._config.auto_return:
            self._take_back(lambda holder: holder.ended)
            self._pump()

    def _reclaim_left(self, trail: object) -> None:
        """Take back the objects that ended owners on a trail have left. Those of living owners go back at their end."""
        self._take_back(lambda holder: holder.dismiss(trail))
        self._follow_up()

    def _take_back(self, is_left: Callable[[Holder], bool]) -> None:
        for slot in list(self._core.leased.values()):
            use, holder = slot.use, slot.holder  # in this order: of a lease that begins in between, nothing is ended
            if isinstance(holder, Holder) and is_left(holder):
                self._give_use(use, self._clock())

    def _is_fit(self, core: PoolMachine[T], slot: Slot[T]) -> bool:
        """Make the object of a slot that was served, or see whether it is alive; False when it was not."""
        if slot.state is CREATING:
            self._create(core, slot)
            if not self._locked(core.delivered, slot, me.thread):
                raise self._closed_error()
        elif core.needs_check(slot, self._clock()):
            healthy = False
            try:
                healthy = self._is_healthy(slot)
            finally:
                if not healthy:
                    self._locked(core.reject, slot, Reason.HEALTH)
            if not healthy:
                return False
        try:
            plain_result("getter", self._getter(slot.obj))
        except BaseException as error:
            self._locked(core.reject, slot, Reason.GETTER)
            self._note(error, "getter")
            raise
        return core.holds(slot.use)  # or it has been taken away meanwhile, as held for too long

    # -- returning, with a retter

    def _give_tidied(self, obj: T, _now: float) -> bool:
        self._tidy(self._core, self._core.reserve(obj))
        return False

    def _give_use_tidied(self, use: int, _now: float) -> bool:
        core = self._core
        slot = core.reserve_use(use)
        if slot is not None:
            self._tidy(core, slot)
        return False

    def _give_finally(self, use: int) -> None:
        """End that use in a finaliser, where no user code may run."""
        core = self._core
        if self._config.retter is None:
            core.give_use(use, self._clock())
        elif (slot := core.reserve_use(use)) is not None:
            core.to_tidy.append(slot)
        self._follow_up()

    # -- the beginning

    def _fill(self) -> None:
        """Make the first `min_size` objects, here and now, or none."""
        self._locked(self._core.match)
        try:
            self._work()
        except BaseException:
            self.shutdown()
            raise
        self._finish()


def _end(reference: weakref.ref[Pool[T]]) -> None:
    """End a pool, which does not refer to itself in order to have this called."""
    pool = reference()
    if pool is not None:
        pool.shutdown()


def _take_nothing(_now: float, _holder: object) -> None:
    """Stand in for `take` where each object that is lent needs a word with its `getter` first."""
