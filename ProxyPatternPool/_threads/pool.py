"""Pool: the pool for threads. It is a thin face over an `Engine`, and has a new one in a forked child."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from sys import is_finalizing
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from ProxyPatternPool._config import Default, PoolConfig, PoolParameters, configure
from ProxyPatternPool._core.limits import checked_timeout
from ProxyPatternPool._core.transitions import NotLeased
from ProxyPatternPool._owner import me
from ProxyPatternPool._process import renew_after_fork
from ProxyPatternPool._report import PoolFace
from ProxyPatternPool._threads.engine import Engine
from ProxyPatternPool._threads.lease import Lease, MethodLease
from ProxyPatternPool._threads.lending import Request

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")

#: The default of a timeout, bound once: on 3.11 looking a member up through its class takes 40 ns.
CONFIGURED: Final = Default.TIMEOUT


class Pool(PoolFace[T]):
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

    _is_patched = False  # for good once true: this very pool was given a `get` or `ret` of its own

    def __init__(
        self, fun: Callable[[int], T], max_size: int | None = 0, **parameters: Unpack[PoolParameters[T]]
    ) -> None:
        self._open(configure("Pool", {"fun": fun, "max_size": max_size, **parameters}))
        self._engine.fill()

    @classmethod
    def _unopened(cls, config: PoolConfig[T]) -> Self:
        """Make a pool which creates nothing, not even `min_size` objects, before its first use."""
        pool = cls.__new__(cls)
        pool._open(config)
        return pool

    def _open(self, config: PoolConfig[T]) -> None:
        config.check_plain()
        self._use(Engine(config, config.limits(), {}))
        # the name of `shutdown` in earlier releases. A method would make a descriptor of each pool: a pool that is a
        # class attribute could not be hidden by an attribute of an instance. A `__getattr__` would make `get` slower
        vars(self)["__delete__"] = partial(_end, weakref.ref(self))
        renew_after_fork(self)

    def _use(self, engine: Engine[T]) -> None:
        self._engine = engine  # of this process
        self._report = engine.report

    def _renew(self) -> None:
        self._use(self._engine.successor())

    def __del__(self, is_finalizing: Callable[[], bool] = is_finalizing) -> None:
        # bound when defined: at its very end, the interpreter finalises what is left over, when globals are gone
        engine: Engine[T] | None = getattr(self, "_engine", None)
        if engine is not None and not is_finalizing():
            engine.abandon()

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
        engine = self._engine
        take, clock = engine.take, engine.clock  # two loads and two calls: the calls of attributes would cost more
        slot = take(clock(), me.thread)
        if slot is None:
            slot = Request(engine, timeout).wait()
        return slot.obj

    def ret(self, obj: T) -> None:
        """Give an object back. Never blocks, and never calls `close`: safe in a finaliser or a signal handler.

        With a `retter` it takes the time which that one takes, and is safe where that one is. What is not out (given
        back twice, taken away, or never ours) is counted, logged as a warning, and changes nothing.
        """
        engine = self._engine
        try:
            give, clock = engine.give, engine.clock
            if give(obj, clock()):
                engine.follow_up()
        except NotLeased:
            engine.report_bad_return(obj)

    def discard(self, obj: T) -> None:
        """Give an object back broken: it is closed in the background, not lent again. Never blocks; else as `ret`."""
        engine = self._engine
        try:
            engine.machine.discard(obj, engine.clock())
            engine.follow_up()
        except NotLeased:
            engine.report_bad_return(obj)

    def obj(self, timeout: float | Default | None = CONFIGURED) -> Lease[T]:
        """Borrow an object for a ``with`` block, at whose end it is returned, whatever ended it. Waits as `get`.

        A subclass that overrides `get` or `ret` sees a call of both for each block; so does a patch of the class or of
        the pool. What an overridden `get` returns may be a wrapper: the end of the block passes it to `ret`.
        """
        if timeout is not CONFIGURED:
            timeout = checked_timeout(timeout)
        kind = type(self)
        if kind.get is GET and kind.ret is RET and not self._is_patched:
            return Lease(self, timeout)
        return MethodLease(self, timeout)

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes; None leaves one as it is, and a `max_size` of 0 is no limit. Does not wait for objects.

        A larger pool serves who waits at once. In a smaller one the idle objects beyond its size are closed now, in the
        background, and those in use when they come back. TypeError or ValueError as for a new pool.
        """
        engine = self._engine
        engine.locked.run(engine.machine.resize, min_size, max_size)
        engine.finish()

    def refresh(self) -> None:
        """Replace all objects: none that exists now is lent again. Does not wait for anything.

        Idle ones are closed one at a time in the background, and those in use when they come back. What `min_size`
        asks for is made again then, the others when they are needed.
        """
        engine = self._engine
        engine.locked.run(engine.machine.refresh)
        engine.finish()

    def shutdown(self, delay: float = 0.0) -> None:
        """End the pool, for good. Whoever waits is sent away with `PoolClosed`, idle objects are closed, here and now.

        Then waits at most `delay` seconds for those in use. Those which come back later are closed then, in the
        background, never while they are used. What is being closed in the background already is waited for, 5 seconds
        at most; what is being made or checked there, half a second. Doing it twice does no harm.
        """
        self._engine.shutdown(delay)

    def _give_left(self, trail: object) -> None:
        """Return the objects that ended owners on a trail have left. Never blocks."""
        self._engine.give_left(trail)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()


def _end(reference: weakref.ref[Pool[T]]) -> None:
    """Shut down a pool, which must not refer to itself in order to have this called."""
    pool = reference()
    if pool is not None:
        pool.shutdown()


#: The methods that a `Lease` does without: where they are others, they are called.
GET: Final = Pool.get
RET: Final = Pool.ret


def _set_attribute(pool: Pool[T], name: str, value: object) -> None:
    """Set an attribute, and note a `get` or `ret`: a look for them would cost each block a tenth of its time."""
    object.__setattr__(pool, name, value)
    if name in ("get", "ret"):
        pool._is_patched = True


Pool.__setattr__ = _set_attribute  # type: ignore[assignment, method-assign]  # here: type checkers know the attributes
