"""What both pools have in common: everything that does not wait."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Generic, TypeVar

from ProxyPatternPool._config import PoolConfig
from ProxyPatternPool._core import PoolCore
from ProxyPatternPool._errors import PoolClosed, PoolException, TimeOut
from ProxyPatternPool._owner import thread_name
from ProxyPatternPool._process import keep
from ProxyPatternPool._slot import Slot, State
from ProxyPatternPool._stats import PoolStats, Timing

T = TypeVar("T")

log = logging.getLogger("ProxyPatternPool")


class BasePool(Generic[T]):
    """The configuration, the core, the statistics and the words of a pool."""

    def __init__(self, config: PoolConfig[T]) -> None:
        self._config = config
        self._clock = config.clock
        self._closer = config.closer()
        self._parents: dict[int, Slot[T]] = {}  # id(obj) -> slot: the objects that a forked child must leave alone
        self._start()

    def _start(self) -> None:
        """Begin, or begin again in a forked child: with nothing."""
        self._core: PoolCore[T] = PoolCore(
            max_size=self._config.max_size,
            min_size=self._config.min_size,
            max_use=self._config.max_use,
            max_delay=self._config.max_delay,
            closes=self._config.close is not None,
        )

    def _renew(self) -> None:
        parent = self._core
        keep(parent)
        self._parents = {**self._parents, **parent.known}
        self._start()
        if parent.closed:
            self._core.shutdown(self._clock())

    @property
    def name(self) -> str:
        """What the pool calls itself in logs, errors and statistics."""
        return str(self._config.name)

    @property
    def size(self) -> int:
        """How many objects there are, those being made or closed included."""
        return len(self._core.registry)

    def stats(self) -> PoolStats:
        """Tell configuration, sizes and counters as plain data. Takes no lock, never blocks.

        The figures are read one after the other while others go on: each is right, but a sum may be off by those
        who were just moving.
        """
        config, core = self._config, self._core
        counters = core.counters
        slots = list(core.registry)
        states = [slot.state for slot in slots]
        use = Timing()
        use.add(counters.use.count, counters.use.total, counters.use.longest)
        for slot in slots:
            use.add(slot.uses, slot.busy, slot.longest)
        nuses, use.count = use.count, use.count - states.count(State.LEASED)
        return {
            "name": self.name,
            "max_size": config.max_size,
            "min_size": config.min_size,
            "timeout": config.timeout,
            "max_use": config.max_use,
            "max_delay": config.max_delay,
            "closed": core.closed,
            "size": len(slots),
            "creating": states.count(State.CREATING),
            "in_use": states.count(State.LEASED),
            "idle": states.count(State.IDLE),
            "closing": states.count(State.CLOSING),
            "nwaiting": self._nwaiting(),
            "nuses": nuses,
            "ncreated": counters.created,
            "ncreation_errors": counters.creation_errors,
            "ntimeouts": counters.timeouts,
            "nbad_returns": counters.bad_returns,
            "nclosed": dict(counters.closed),
            "wait": counters.wait.snapshot(),
            "use": use.snapshot(),
            "creation": counters.creation.snapshot(),
        }

    def __repr__(self) -> str:
        state = "closed" if self._core.closed else "open"
        limit = self._config.max_size or "unlimited"
        return f"<{type(self).__name__} {self.name} {state}: max {limit}, {self._sizes()}>"

    def _nwaiting(self) -> int:
        return len(self._core.waiters) - self._core.closed  # the mark that shutdown leaves is nobody

    def _sizes(self) -> str:
        states = [slot.state for slot in list(self._core.registry)]
        texts = [f"{states.count(State.LEASED)} in use", f"{states.count(State.IDLE)} idle"]
        if State.CREATING in states:
            texts.append(f"{states.count(State.CREATING)} being made")
        if State.CLOSING in states:
            texts.append(f"{states.count(State.CLOSING)} being closed")
        return ", ".join([*texts, f"{self._nwaiting()} waiting"])

    def _describe(self, obj: object) -> str:
        """Tell an object in a log or an error, without its own text, which may hold a password."""
        slot = self._core.known.get(id(obj))
        return f"{type(obj).__name__} object" + (f" number {slot.number}" if slot else "")

    def _closed_error(self) -> PoolClosed:
        return PoolClosed(f"{self.name}: the pool has been shut down")

    def _timeout_error(self, timeout: float) -> TimeOut:
        limit, seconds = self._config.max_size, float(timeout)
        text = f"{self.name}: pool max size reached ({limit}), timeout after {seconds} s: {self._sizes()}"
        oldest = min(list(self._core.leased.values()), key=lambda slot: slot.since, default=None)
        if oldest is not None:
            text += f"; oldest held {self._clock() - oldest.since:.1f} s by {thread_name(oldest.holder)}"
        return TimeOut(text)

    def _twice_error(self, slot: Slot[T], obj: T) -> PoolException:
        return PoolException(
            f"{self.name}: fun({slot.number}) returned an object that is already in the pool: {self._describe(obj)}"
        )

    def _blame(self, error: BaseException, what: str) -> None:
        """Note on an exception of user code which pool it hit; once, for the same one may be raised again and again."""
        note = f"{self.name}: raised by {what}"
        with suppress(Exception):  # an exception that takes no notes is more important than our note
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
