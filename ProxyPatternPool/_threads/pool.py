"""Pool: the pool for threads. It is a thin face over an `Engine`, and gets a new engine in a forked child."""

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
    """A pool of at least `min_size` and at most `max_size` objects, each lent to one thread at a time.

    `fun(n)` makes object number ``n`` (0, 1, 2...). The constructor makes the first `min_size` objects. If one of them
    fails, the constructor closes the others and raises the error. An error in a parameter is raised at once, as
    TypeError or ValueError.

    Any thread may call any method. A finaliser or a signal handler may call `discard`, `stats` and `leases`, and also
    `ret` if there is no `retter`. User code runs without a lock, so it does not hold up other threads. A pool is a
    context manager, whose end calls `shutdown`.

    These are the parameters, with their defaults; all but the first two are keyword-only. Durations are in seconds.
    For a ``max_`` parameter, 0 or None means no limit.

    - `max_size` (0): the maximum number of objects, including those being made or closed
    - `min_size` (1): the number of objects that the pool keeps, idle or in use
    - `timeout` (30.0): how long `get` waits while all objects are in use; 0 tries once, None waits without a limit
    - `max_use` (0): the number of leases after which an object is closed
    - `max_delay` (0.0): how long an object may be idle before it is closed, unless `min_size` needs it
    - `max_lifetime` (0.0): the age at which an object is closed, idle or on return; up to a tenth earlier at random
    - `max_using_delay` (0.0): the length of a lease after which the pool logs a warning
    - `max_using_delay_kill` (0.0): the length of a lease after which the object is taken away and closed
    - `max_waiting` (0): the maximum number of waiting callers; the next caller gets `PoolFull` at once
    - `close` (None): ends an object; a function, or the name of a method of the object
    - `health` (None): returns whether an object is alive; if it returns false or raises, the object is closed, not lent
    - `health_delay` (0.5): how long an object may be unused before `health` is called ahead of a lease; 0 calls it
      ahead of each lease, except for an object just made for the caller
    - `opener` (None): called with each new object; if it raises, the object is closed, and the caller gets the error
    - `getter` (None): called before an object is lent; if it raises, the same happens
    - `retter` (None): called when an object is returned; if it raises, the object is closed, and the error is logged
    - `tracer` (None): returns a str that describes an object in logs, errors and `leases`, beside its type and number
    - `stats` (None): returns JSON-compatible data of an object, for the statistics
    - `delay` (0.0): the time from one background round to the next; 0 means whenever a limit needs a round
    - `name` (None): the pool's name in logs, errors and statistics; None means ``pool-1``, ``pool-2``...
    - `log_level` (None): the level of this pool's messages alone, which then go to ``ProxyPatternPool.<name>``
    """

    _is_patched = False  # true, and never false again, once this one pool was given a `get` or `ret` of its own

    def __init__(
        self, fun: Callable[[int], T], max_size: int | None = 0, **parameters: Unpack[PoolParameters[T]]
    ) -> None:
        self._open(configure("Pool", {"fun": fun, "max_size": max_size, **parameters}))
        self._engine.fill()

    @classmethod
    def _unopened(cls, config: PoolConfig[T]) -> Self:
        """Make a pool that creates nothing before its first use, not even `min_size` objects."""
        pool = cls.__new__(cls)
        pool._open(config)
        return pool

    def _open(self, config: PoolConfig[T]) -> None:
        config.check_plain()
        self._use(Engine(config, config.limits(), {}))
        # The name of `shutdown` in earlier releases. As a method, it would make each pool a descriptor: an instance
        # could not have an attribute of the name under which its class has a pool. A `__getattr__` would slow `get`.
        vars(self)["__delete__"] = partial(_end, weakref.ref(self))
        renew_after_fork(self)

    def _use(self, engine: Engine[T]) -> None:
        self._engine = engine  # of the current process
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
        """Take an object, which `ret` or `discard` gives back.

        While all `max_size` objects are in use, waits at most `timeout` seconds (0: not at all; None: without a limit;
        by default, the pool's own `timeout`). Callers are served in the order of arrival. The time that this caller's
        own call of `fun` takes is not limited. A waiting greenlet leaves its thread to its hub.

        An exception may interrupt the waiting, for example KeyboardInterrupt, or the kill of a greenlet. An object that
        was already on its way then goes to the next caller. A finaliser or a signal handler must not call `get`: it may
        wait for the very thread that it has interrupted.

        The possible errors are:

        - `TimeOut` if no object came in time; its cause is the last creation error, if any
        - `PoolFull`, at once, if `max_waiting` callers are waiting already
        - `PoolClosed` after `shutdown`
        - `PoolException` if `fun` returns an object that is in the pool already
        - the exception of `fun`, `opener` or `getter`, when this caller runs it, with a note that names the pool
        """
        if timeout is not CONFIGURED:
            timeout = checked_timeout(timeout)
        engine = self._engine
        take, clock = engine.take, engine.clock  # two loads and two calls: calls of attributes would cost more
        slot = take(clock(), me.thread)
        if slot is None:
            slot = Request(engine, timeout).wait()
        return slot.obj

    def ret(self, obj: T) -> None:
        """Give an object back. Never blocks, except in the `retter`, and never calls `close`.

        Without a `retter`, `ret` is safe in finalisers and signal handlers. With a `retter`, `ret` takes as long as the
        `retter` does, and is only as safe in finalisers and signal handlers as the `retter` is.

        The return of an object that is not out is counted and logged as a warning, and changes nothing. Such an object
        was returned before, was taken away, or never belonged to the pool.
        """
        engine = self._engine
        try:
            give, clock = engine.give, engine.clock
            if give(obj, clock()):
                engine.follow_up()
        except NotLeased:
            engine.report_bad_return(obj)

    def discard(self, obj: T) -> None:
        """Give back a broken object, which is closed in the background and never lent again.

        Never blocks, and does not call the `retter`: safe in finalisers and signal handlers. The discard of an object
        that is not out is counted, logged, and changes nothing, as in `ret`.
        """
        engine = self._engine
        try:
            engine.machine.discard(obj, engine.clock())
            engine.follow_up()
        except NotLeased:
            engine.report_bad_return(obj)

    def obj(self, timeout: float | Default | None = CONFIGURED) -> Lease[T]:
        """Borrow an object for a ``with`` block. The end of the block returns it, even after an exception.

        Entering the block waits and raises as `get` does. The returned lease may be used again after its block, but not
        for two blocks at the same time: the second one gets `PoolException`.

        If a subclass overrides `get` or `ret`, each block calls both of them. The same holds for a patch of the class
        or of the pool. An overridden `get` may return a wrapper, which the end of the block passes to `ret`.
        """
        if timeout is not CONFIGURED:
            timeout = checked_timeout(timeout)
        kind = type(self)
        if kind.get is GET and kind.ret is RET and not self._is_patched:
            return Lease(self, timeout)
        return MethodLease(self, timeout)

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes. None leaves a size unchanged; a `max_size` of 0 means no limit. Does not wait for objects.

        A larger pool serves waiting callers at once. In a smaller pool, surplus idle objects are closed now, in the
        background. Surplus objects in use are closed when they come back. Raises TypeError or ValueError as the
        constructor does.
        """
        engine = self._engine
        engine.locked.run(engine.machine.resize, min_size, max_size)
        engine.finish()

    def refresh(self) -> None:
        """Replace all objects: no object that exists now is lent again. Does not wait.

        Idle objects are closed one at a time in the background, objects in use when they come back. As many as
        `min_size` needs are then made again. Further objects are made when callers need them.
        """
        engine = self._engine
        engine.locked.run(engine.machine.refresh)
        engine.finish()

    def shutdown(self, delay: float = 0.0) -> None:
        """Close the pool forever. Waiting callers get `PoolClosed`, and this call closes the idle objects.

        It then waits at most `delay` seconds for the objects in use. An object that comes back later is closed in the
        background. No object is closed while it is in use.

        It also waits for the pool's worker thread: at most 5 seconds for a running `close`, and half a second for a
        running `fun` or `health`. A second call is allowed.
        """
        self._engine.shutdown(delay)

    def _give_left(self, trail: object) -> None:
        """Take back the objects that ended owners on a trail have left. Never blocks, except in the `retter`."""
        self._engine.give_left(trail)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()


def _end(reference: weakref.ref[Pool[T]]) -> None:
    """Shut down a pool. The reference is weak: a pool that refers to itself would wait for the cyclic collector."""
    pool = reference()
    if pool is not None:
        pool.shutdown()


#: The methods that a `Lease` bypasses. If a pool has others, a `MethodLease` calls them.
GET: Final = Pool.get
RET: Final = Pool.ret


def _set_attribute(pool: Pool[T], name: str, value: object) -> None:
    """Set an attribute, and note if it is `get` or `ret`. Looking for them would slow each block by a tenth."""
    object.__setattr__(pool, name, value)
    if name in ("get", "ret"):
        pool._is_patched = True


# set here: a `__setattr__` in the class would make type checkers accept any attribute
Pool.__setattr__ = _set_attribute  # type: ignore[assignment, method-assign]  # on purpose, see above
