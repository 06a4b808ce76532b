"""AsyncLease: one use of an object of an AsyncPool."""

from __future__ import annotations

from asyncio import current_task
from contextvars import copy_context
from threading import get_ident
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar
from weakref import ref

from ProxyPatternPool._async_pool.deferred import discard_soon, give_soon
from ProxyPatternPool._async_pool.engine import Engine
from ProxyPatternPool._async_pool.lending import Request
from ProxyPatternPool._config import Default
from ProxyPatternPool._core.slot import OVER, Slot
from ProxyPatternPool._errors import PUBLIC, PoolException

T = TypeVar("T")


class Lender(Protocol[T]):
    """An `AsyncPool`, as its leases know it."""

    _engine: Engine[T]  # of the pool's loop

    @property
    def name(self) -> str:
        """The pool's name."""
        ...

    def _take_idle(self) -> Slot[T] | None:
        """Bind the pool, and lease an idle object that needs no preparation. None if there is none."""
        ...

    async def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Take an object."""
        ...

    async def ret(self, obj: T) -> None:
        """Give an object back."""
        ...


class AsyncLease(Generic[T]):
    """A context manager for one use of an object. Its end gives back that use, and no later use of the same object."""

    __slots__ = ("_engine", "_entered", "_pool", "_slot", "_timeout", "_use")

    def __init__(self, pool: Lender[T], timeout: float | Default | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._entered = False
        self._engine: Engine[T]  # of the object, once entered
        self._slot: Slot[T] | None = None  # between entering and leaving
        self._use = OVER  # which of the slot's leases it is

    async def __aenter__(self) -> T:
        pool = self._pool
        if self._entered:
            raise PoolException(f"{pool.name}: this lease is in use, call obj() again for another")
        self._entered = True
        try:
            slot = pool._take_idle()
            self._engine = engine = pool._engine
            if slot is None:
                slot = await Request(engine, self._timeout).wait()
        except BaseException:
            self._entered = False
            raise
        self._slot = slot
        self._use = slot.use
        return slot.obj

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slot, self._slot = self._slot, None
        self._entered = False
        if slot is None:
            return
        engine = self._engine
        if kind is GeneratorExit or get_ident() != engine.thread or current_task(engine.loop) is None:
            # The task is collected, perhaps in the middle of a move of the pool, and cannot await. Or the block is left
            # in another loop, or outside any task
            give_soon(engine, slot, self._use)
        elif not engine.tidies:
            if engine.machine.give_use(self._use, engine.clock()) or engine.creating:
                engine.act()
        elif engine.machine.reserve_use(self._use):
            await engine.hooks.outlast(engine.tidy(slot, copy_context()))

    # -- for a proxy, which keeps the lease for a task

    def is_out(self) -> bool:
        """Tell whether the object has not been returned or discarded yet, by any caller."""
        return self._slot is not None and self._engine.machine.holds(self._use)

    def check(self) -> None:
        """Raise `PoolException` if the pool has taken the object away."""
        if self._slot is not None and self._slot.was_killed(self._use):
            raise self._engine.report.killed_error()

    def hand_to(self, holder: object) -> None:
        """Make `holder` the holder of the object, in place of the task."""
        self._engine.machine.hand_to(self._use, holder)

    def cache_in(self, cache: dict[str, Any], obj: T) -> None:
        """Put the object, or its wrapper, into a cache as "obj". The end of the lease removes it."""
        self._engine.machine.cache_in(self._use, cache, obj)

    def end(self, failed: bool = False) -> None:
        """Have the loop return the object, or close it if its use has `failed`. Never waits. Safe in finalisers."""
        if self._slot is not None and self.is_out():
            (discard_soon if failed else give_soon)(self._engine, self._slot, self._use)
        self._use = OVER  # the task still has this lease, but another thread may be ending it


AsyncLease.__module__ = PUBLIC


class IndirectLease(AsyncLease[T]):
    """A lease of a pool whose `get` or `ret` is overridden. It takes and gives back the object through these methods.

    An overridden `get` may return an object other than the pool's, such as a wrapper. `returns` tells whether `ret` is
    overridden, and to be called: the pool's own `ret` would not know a wrapper.
    """

    __slots__ = ("_obj", "_returns")

    def __init__(self, pool: Lender[T], timeout: float | Default | None, returns: bool) -> None:
        super().__init__(pool, timeout)
        self._obj: T  # the result of `get`
        self._returns = returns

    async def __aenter__(self) -> T:
        pool = self._pool
        if self._entered:
            raise PoolException(f"{pool.name}: this lease is in use, call obj() again for another")
        self._entered = True
        try:
            begin = pool._engine.clock()
            timeout = self._timeout  # an overridden `get` may have no such parameter
            self._obj = obj = await (pool.get() if isinstance(timeout, Default) else pool.get(timeout))
        except BaseException:
            self._entered = False
            raise
        self._engine = pool._engine
        self._slot = slot = self._taken_slot(obj, begin)
        self._use = OVER if slot is None else slot.use
        return obj

    def _taken_slot(self, obj: T, begin: float) -> Slot[T] | None:
        """Return the object's slot. If it is not the pool's, return the slot that the task has leased meanwhile."""
        leased, me = list(self._engine.machine.leased.values()), current_task()
        own = [slot for slot in leased if slot.obj is obj]
        meanwhile = [slot for slot in leased if slot.since >= begin and _is_held_by(slot.holder, me)]
        return next(reversed(own or meanwhile), None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slot, entered = self._slot, self._entered
        if not self._returns or kind is GeneratorExit:
            await super().__aexit__(kind, error, trace)
            return
        self._slot, self._entered = None, False
        if entered and (slot is None or self._engine.machine.holds(self._use)):
            try:
                await self._pool.ret(self._obj)
            except BaseException:
                if slot is not None:
                    give_soon(self._engine, slot, self._use)  # `ret` may have failed before the return
                raise

    def is_out(self) -> bool:
        return self._entered and (self._slot is None or super().is_out())


def _is_held_by(holder: object, task: object) -> bool:
    return isinstance(holder, ref) and holder() is task
