"""Lease: one use of an object of a `Pool`. MethodLease: the same for a pool whose `get` or `ret` is overridden."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from ProxyPatternPool._config import Default
from ProxyPatternPool._core.slot import OVER, Slot
from ProxyPatternPool._errors import PUBLIC, PoolException
from ProxyPatternPool._owner import Holder, me
from ProxyPatternPool._threads.engine import Engine
from ProxyPatternPool._threads.lending import Request

T = TypeVar("T")


class Lender(Protocol[T]):
    """The part of a pool that its leases know."""

    _engine: Engine[T]

    @property
    def name(self) -> str:
        """The pool's name, for errors."""
        ...

    def get(self, timeout: float | Default | None = ..., /) -> T:
        """Take an object."""
        ...

    def ret(self, obj: T, /) -> None:
        """Return an object."""
        ...


class Lease(Generic[T]):
    """A context manager for one use of an object. Its end returns this use only, never a later use of the object.

    It may be entered again once it was left. Two threads cannot enter it at the same time: one gets `PoolException`.
    """

    __slots__ = ("_engine", "_free", "_pool", "_slot", "_timeout", "_use")

    def __init__(self, pool: Lender[T], timeout: float | Default | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._free = True  # deleted by entering: that is atomic, so one of two threads is refused
        self._engine = pool._engine  # that of the object: a forked child's pool has another engine
        self._slot: Slot[T] | None = None  # set by entering
        self._use = OVER  # the key of the lease, set by entering

    def __enter__(self) -> T:
        try:
            del self._free
        except AttributeError:
            raise self._in_use_error() from None
        try:
            engine = self._pool._engine
            take, clock = engine.take, engine.clock  # two loads and two calls: calls of attributes would cost more
            slot = take(clock(), me.thread) or Request(engine, self._timeout).wait()
        except BaseException:
            self._free = True
            raise
        self._engine = engine
        self._slot = slot
        self._use = slot.use
        return slot.obj

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        engine, use = self._engine, self._use
        self._free = True
        give_use, clock = engine.give_use, engine.clock
        if give_use(use, clock()):
            engine.follow_up()

    def _in_use_error(self) -> PoolException:
        return PoolException(f"{self._pool.name}: this lease is in use, call obj() again for another")

    # -- for proxies, which keep a lease

    def is_out(self) -> bool:
        """Tell whether the use still lasts: no thread has returned or discarded the object."""
        return self._engine.machine.holds(self._use)

    def check(self) -> None:
        """Raise `PoolException` if the object was taken away: its holder must not go on with another one unawares."""
        if self._slot is not None and self._slot.was_killed(self._use):
            raise self._engine.report.killed_error()

    def hand_to(self, holder: Holder) -> None:
        """Pass the object on to another holder."""
        self._engine.machine.hand_to(self._use, holder)

    def cache_in(self, cache: dict[str, Any]) -> None:
        """Put the object into a cache as "obj". The end of the lease, of any kind, removes it."""
        assert self._slot is not None  # a lease without one has an own way to cache its wrapper
        self._engine.machine.cache_in(self._use, cache, self._slot.obj)

    def end(self) -> None:
        """Return the object, if the use still lasts. Safe from any thread."""
        self.__exit__(None, None, None)
        self._use = OVER  # set after the return: an interrupt in between leaves the use out, or over, but never lost

    def end_later(self) -> None:
        """Return the object in a finaliser, if the use still lasts. Never blocks; a `retter` runs in the background."""
        self._engine.give_later(self._use)


Lease.__module__ = PUBLIC


class MethodLease(Lease[T]):
    """A lease of a pool whose `get` or `ret` is overridden. It calls both methods.

    Such a `get` may return a wrapper instead of an object of the pool. Then the lease does not know the use, and passes
    the wrapper to `ret`.
    """

    __slots__ = ("_caches", "_obj")

    def __init__(self, pool: Lender[T], timeout: float | Default | None) -> None:
        super().__init__(pool, timeout)
        self._obj: T  # between entering and leaving: deleting it is atomic, so only one thread returns it
        self._caches: list[dict[str, Any]] = []  # of proxies, which have cached a wrapper

    def __enter__(self) -> T:
        try:
            del self._free
        except AttributeError:
            raise self._in_use_error() from None
        pool = self._pool
        try:
            obj = pool.get() if isinstance(self._timeout, Default) else pool.get(self._timeout)
        except BaseException:
            self._free = True
            raise
        self._engine = pool._engine
        self._slot = self._engine.machine.leased_slot(obj)
        self._use = OVER if self._slot is None else self._slot.use
        self._obj = obj
        return obj

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            obj = self._obj
            del self._obj
        except AttributeError:
            return
        is_out = self._slot is None or super().is_out()
        self._free = True
        while self._caches:
            self._caches.pop().pop("obj", None)
        if is_out:
            self._pool.ret(obj)

    def is_out(self) -> bool:
        return hasattr(self, "_obj") and (self._slot is None or super().is_out())

    def cache_in(self, cache: dict[str, Any]) -> None:
        if self._slot is not None:
            super().cache_in(cache)
        else:
            self._caches.append(cache)
            cache["obj"] = self._obj

    def end_later(self) -> None:
        if self._slot is not None:
            super().end_later()
        else:
            self._engine.call_later(self.end)
