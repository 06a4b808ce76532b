"""A use of an object of a `Pool`, as a context manager: `Lease`, and its twin for a pool whose `get` is overridden."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from ProxyPatternPool._config import Default
from ProxyPatternPool._core.slot import OVER, Slot
from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._owner import Holder, me
from ProxyPatternPool._threads.engine import Engine
from ProxyPatternPool._threads.lending import Request

T = TypeVar("T")


class Lender(Protocol[T]):
    """What a lease knows of a pool."""

    _engine: Engine[T]

    @property
    def name(self) -> str:
        """The name in errors."""
        ...

    def get(self, timeout: float | Default | None = ..., /) -> T:
        """Take an object."""
        ...

    def ret(self, obj: T, /) -> None:
        """Return an object."""
        ...


class Lease(Generic[T]):
    """One use of an object: a context manager which returns just that use, and not what came of the object later."""

    __slots__ = ("_engine", "_free", "_pool", "_slot", "_timeout", "_use")

    def __init__(self, pool: Lender[T], timeout: float | Default | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._free = True  # to be entered: deleting it is atomic, so that of two threads one is refused
        self._engine = pool._engine  # that the object is from: the pool has another one in a forked child
        self._slot: Slot[T] | None = None  # set by entering
        self._use = OVER  # the key of the lease, set by entering

    def __enter__(self) -> T:
        try:
            del self._free
        except AttributeError:
            raise self._in_use_error() from None
        try:
            engine = self._pool._engine
            take, clock = engine.take, engine.clock  # two loads and two calls: the calls of attributes would cost more
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

    # -- what a proxy does with a lease that it keeps

    def is_out(self) -> bool:
        """Tell whether the object has not been returned or discarded yet, by any thread."""
        return self._engine.machine.holds(self._use)

    def check(self) -> None:
        """Raise `PoolException` when the object was taken away: its user must not go on with another one unawares."""
        if self._slot is not None and self._slot.was_killed(self._use):
            raise self._engine.report.killed_error()

    def hand_to(self, holder: Holder) -> None:
        """Pass the object on to another holder."""
        self._engine.machine.hand_to(self._use, holder)

    def cache_in(self, cache: dict[str, Any]) -> None:
        """Put the object into a cache as "obj", until the lease ends, in whatever way."""
        self._engine.machine.cache_in(self._use, cache)

    def end(self) -> None:
        """Return the object, if it is still out. Safe from any thread."""
        self.__exit__(None, None, None)
        self._use = OVER  # not before it is returned: whatever interrupts this, the use is either out, or over

    def end_later(self) -> None:
        """Return the object, if it is still out, in a finaliser: nothing blocks, and no user code runs here."""
        self._engine.give_later(self._use)


class MethodLease(Lease[T]):
    """A lease of a pool whose `get` or `ret` is overridden: it calls the two.

    What such a `get` returns need not be an object of the pool, but may be a wrapper of one: then nothing is known of
    the use, and the wrapper goes to `ret`.
    """

    __slots__ = ("_caches", "_obj")

    def __init__(self, pool: Lender[T], timeout: float | Default | None) -> None:
        super().__init__(pool, timeout)
        self._obj: T  # between entering and leaving: deleting it is atomic, so that one thread alone returns it
        self._caches: list[dict[str, Any]] = []  # where a proxy has put a wrapper

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
