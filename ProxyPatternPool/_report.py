"""Statistics, texts, log messages and errors of `Pool` and `AsyncPool`. Nothing here waits or takes a lock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import ref

from ProxyPatternPool._callables import PLAIN, plain_result
from ProxyPatternPool._config import PoolConfig, nothing
from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._core.slot import CLOSING, GONE, Slot, State
from ProxyPatternPool._core.stats import LeaseInfo, ObjectInfo, Past, PoolStats, Timing
from ProxyPatternPool._errors import PoolClosed, PoolException, PoolFull, TimeOut, note_once
from ProxyPatternPool._owner import Holder
from ProxyPatternPool._shared_error import copied

T = TypeVar("T")

#: The outlook in the log after a failed creation that is not repeated.
UNWANTED = "and no caller waits for it"

#: The number of objects taken away that a pool remembers, to name them when they are returned late.
REMEMBERED = 20


class PoolReport(Generic[T]):
    """A report on the state of one machine. It belongs to an engine, and lives as long as the engine does.

    `clock` is the engine's clock, in seconds. `name_of` names the holder of a lease.
    """

    def __init__(
        self,
        config: PoolConfig[T],
        machine: PoolMachine[T],
        clock: Callable[[], float],
        name_of: Callable[[object], str] = str,
    ) -> None:
        self.name = str(config.name)
        self.log = config.logger()
        self.last_error: BaseException | None = None  # of the last creation, if it failed; a copy, never raised itself
        self._config = config
        self.machine = machine
        self._clock = clock
        self._name_of = name_of
        self._failing = False  # whether the last creation failed, and its traceback has been logged
        # id(obj) -> a reference to the object, and its number. Replaced, never changed: any thread may read it.
        self._killed: dict[int, tuple[Callable[[], T | None], int]] = {}

    # -- statistics

    @property
    def size(self) -> int:
        """The number of objects, including those being made or closed."""
        return len(self.machine.registry)

    def stats(self) -> PoolStats:
        """Return the statistics of `PoolFace.stats`."""
        config, limits, machine = self._config, self.machine.limits, self.machine
        counters = machine.counters
        use, slots = self._past_and_present()
        states = [slot.state for slot in slots]
        for slot in slots:
            use.add(slot.uses, slot.busy, slot.longest)
        nuses, use.count = use.count, use.count - states.count(State.LEASED)
        return {
            "name": self.name,
            "max_size": limits.max_size,
            "min_size": limits.min_size,
            "timeout": config.timeout,
            "max_use": limits.max_use,
            "max_delay": limits.max_delay,
            "max_lifetime": limits.max_lifetime,
            "max_using_delay": limits.max_using_delay,
            "max_using_delay_kill": limits.max_using_delay_kill,
            "max_waiting": limits.max_waiting,
            "health_delay": limits.health_delay,
            "health_freq": limits.health_freq,
            "delay": limits.delay,
            "closed": machine.is_shut_down,
            "size": len(slots),
            "creating": states.count(State.CREATING),
            "in_use": states.count(State.LEASED),
            "idle": states.count(State.IDLE),
            "reserved": states.count(State.RESERVED),
            "closing": states.count(State.CLOSING),
            "nwaiting": self._nwaiting(),
            "nuses": nuses,
            "ncreated": counters.created,
            "ncreation_errors": counters.creation_errors,
            "ntimeouts": counters.timeouts,
            "nrefused": counters.refused,
            "nbad_returns": counters.bad_returns,
            "nclosed": dict(counters.closed),
            "wait": counters.wait.snapshot(),
            "use": use.snapshot(),
            "creation": counters.creation.snapshot(),
            "objects": [self._object_info(slot) for slot in slots if slot.made] if config.stats else [],
        }

    def _past_and_present(self) -> tuple[Timing, list[Slot[T]]]:
        """Return the uses of all gone slots, and the list of all other slots. Each slot is in exactly one of the two.

        If a slot were missed or counted twice, a sum would sometimes go down. Monitoring takes that for a restart.
        """
        machine, past = self.machine, Past()
        present: list[Slot[T]] = []
        while past is not machine.counters.use:  # the first round, or a slot has gone while both were read
            past, present = machine.counters.use, list(machine.registry)
        return past.copy(), [slot for slot in present if slot.number != past.latest]

    def leases(self) -> list[LeaseInfo]:
        """Return the leases of `PoolFace.leases`."""
        now = self._clock()
        leased = list(self.machine.leased.values())
        leased.sort(key=lambda slot: slot.since)
        return [
            {
                "number": slot.number,
                "object": self.describe(slot.obj, slot),
                "holder": self._name_of(slot.holder),
                "seconds": max(0.0, now - slot.since),
                "uses": slot.uses,
            }
            for slot in leased
        ]

    # -- texts

    def _object_info(self, slot: Slot[T]) -> ObjectInfo:
        assert self._config.stats is not None
        try:
            data = plain_result("stats", self._config.stats(slot.obj), PLAIN)
        except Exception as error:
            data = f"stats raised {type(error).__name__}"
        return {"number": slot.number, "state": slot.state.value, "uses": slot.uses, "stats": data}

    def text(self, kind: str) -> str:
        """Return the `repr` of a pool whose class is named `kind`."""
        state = "closed" if self.machine.is_shut_down else "open"
        limit = self.machine.limits.max_size or "unlimited"
        return f"<{kind} {self.name} {state}: max {limit}, {self.sizes()}>"

    def _nwaiting(self) -> int:
        return len(self.machine.waiters) - self.machine.is_shut_down  # without the mark that shutdown leaves

    def sizes(self) -> str:
        """Return the number of objects in each state, and the number of waiting callers, as one str."""
        states = [slot.state for slot in list(self.machine.registry)]
        texts = [f"{states.count(State.LEASED)} in use", f"{states.count(State.IDLE)} idle"]
        others = {
            State.CREATING: "being made",
            State.RESERVED: "being checked or tidied up",
            State.CLOSING: "being closed",
        }
        texts += [f"{states.count(state)} {text}" for state, text in others.items() if state in states]
        return ", ".join([*texts, f"{self._nwaiting()} waiting"])

    def describe(self, obj: T, slot: Slot[T] | None = None) -> str:
        """Return the type, number and `tracer` str of an object; never its own `str`, which may contain a password."""
        slot = slot or self.machine.known.get(id(obj))
        text = f"{type(obj).__name__} object" + (f" number {slot.number}" if slot else "")
        if self._config.tracer is None:
            return text
        try:
            return f"{text} ({plain_result('tracer', self._config.tracer(obj), PLAIN)})"
        except Exception as error:
            return f"{text} (tracer raised {type(error).__name__})"

    def log_bad_return(self, obj: T, slot: Slot[T] | None) -> None:
        """Log the return of an object that is not out. The `tracer` is called only for an open object of the pool."""
        if slot is not None and slot.state not in (CLOSING, GONE):
            text = self.describe(obj, slot)
        else:
            number = self._killed_number(obj) if slot is None else slot.number
            text = f"{type(obj).__name__} object" + ("" if number is None else f" number {number}")
        self.log.warning("%s: %s given back, but it is not out: ignored", self.name, text)

    def _killed_number(self, obj: T) -> int | None:
        reference, number = self._killed.get(id(obj), (nothing, None))
        return number if reference() is obj else None  # otherwise another object has that `id` by now

    def _remember_killed(self, slot: Slot[T]) -> None:
        """Remember the number of an object that was taken away. Its holder may still return it."""
        killed = [*self._killed.items(), (id(slot.obj), (_reference(slot.obj), slot.number))]
        self._killed = dict(killed[-REMEMBERED:])

    def succeeded(self) -> None:
        """Forget earlier failures, because an object has been made."""
        self.last_error = None
        self._failing = False

    def log_failed_creation(self, number: int, error: BaseException, outlook: str) -> None:
        """Log that the background failed to make an object, and the `outlook` for the next try.

        Only the first failure is logged with its traceback, except at DEBUG. An outage may last for days, and each
        traceback would be the same.
        """
        detail = not self._failing or self.log.isEnabledFor(logging.DEBUG)
        self._failing = True
        self.log.error(
            "%s: making object %d failed in the background, %s: %s: %s",
            self.name,
            number,
            outlook,
            type(error).__name__,
            error,
            exc_info=error if detail else None,
        )

    def outlook(self) -> str:
        """Return the words of the log about the next try after a failed creation."""
        if self.machine.is_shut_down:
            return UNWANTED
        return f"tried again in {max(0.0, self.machine.refill_at - self._clock()):.1f} s"

    def log_failed_check(self, slot: Slot[T], error: Exception) -> None:
        """Log that `health` has raised. The traceback is added only at DEBUG: a dead object is expected to raise."""
        text, detail = self.describe(slot.obj), self.log.isEnabledFor(logging.DEBUG)
        self.log.warning(
            "%s: checking %s failed: %s: %s", self.name, text, type(error).__name__, error, exc_info=detail
        )

    def log_bad_health(self, slot: Slot[T]) -> None:
        """Log that `health` has returned false."""
        self.log.warning("%s: %s is in bad health: closed", self.name, self.describe(slot.obj))

    def log_failed(self, what: str, slot: Slot[T], error: BaseException) -> None:
        """Log the exception of a hook. `what` is the activity of the hook, for example "closing"."""
        self.log.error("%s: %s %s failed", self.name, what, self.describe(slot.obj, slot), exc_info=error)

    def log_overdue(self, slot: Slot[T], use: int, holder: object) -> None:
        """Log that a lease lasts too long, or that its object was taken away for that reason."""
        killed = slot.was_killed(use)
        if killed:
            self._remember_killed(slot)
        limit = self.machine.limits.max_using_delay_kill if killed else self.machine.limits.max_using_delay
        self.log.warning(
            "%s: %s %s within %s s by %s",
            self.name,
            self.describe(slot.obj, slot),
            "was taken away: not given back" if killed else "was not given back",
            limit,
            self._name_of(holder),
        )

    def closed_error(self) -> PoolClosed:
        """Return the error for callers of a pool that was shut down."""
        return PoolClosed(f"{self.name}: the pool has been shut down")

    def full_error(self) -> PoolFull:
        """Return the error for a caller that `max_waiting` refuses."""
        limit = self.machine.limits.max_waiting
        return PoolFull(f"{self.name}: {limit} callers are waiting already (max_waiting): {self.sizes()}")

    def timeout_error(self, timeout: float, why: str = "") -> TimeOut:
        """Return the error for a caller whose timeout is over. Its cause is the last creation error, if any."""
        why = why or f"pool max size reached ({self.machine.limits.max_size})"
        text = f"{self.name}: {why}, timeout after {float(timeout)} s: {self.sizes()}"
        leased = list(self.machine.leased.values())
        oldest = min(leased, key=lambda slot: slot.since, default=None)
        if oldest is not None:
            text += f"; oldest held {self._clock() - oldest.since:.1f} s by {self._name_of(oldest.holder)}"
        left_behind = sum(isinstance(slot.holder, Holder) and slot.holder.ended for slot in leased)
        if left_behind:
            text += f"; {left_behind} held for owners that have ended: auto_return=True would give them back"
        error = TimeOut(text)
        error.__cause__ = None if self.last_error is None else copied(self.last_error)
        return error

    def killed_error(self) -> PoolException:
        """Return the error for a holder whose object was taken away."""
        limit = self.machine.limits.max_using_delay_kill
        return PoolException(
            f"{self.name}: the object was taken away, having been held for more than {limit} s: call _ret_obj()"
        )

    def duplicate_error(self, slot: Slot[T], obj: T) -> PoolException:
        """Return the error for a `fun` that has returned an object that is in the pool already."""
        return PoolException(
            f"{self.name}: fun({slot.number}) returned an object that is already in the pool: {self.describe(obj)}"
        )

    def note(self, error: BaseException, what: str, arguments: str = "") -> None:
        """Add a note to an exception of user code: the name of the pool, and the function `what` that raised it."""
        note_once(error, f"{self.name}: raised by {what}", arguments)

    def note_creation(self, error: BaseException, slot: Slot[T]) -> None:
        """Add a note to an exception of `fun` or `opener`. For `fun`, it includes the number of the object."""
        if slot.made:
            self.note(error, "opener")
        else:
            self.note(error, "fun", f"({slot.number})")


class PoolFace(Generic[T]):
    """The part of `Pool` and `AsyncPool` that reports its state. Safe from any thread. Takes no lock, never blocks."""

    _report: PoolReport[T]  # that of the pool's current engine

    @property
    def name(self) -> str:
        """The pool's name in logs, errors and statistics."""
        return self._report.name

    @property
    def size(self) -> int:
        """The number of objects, including those being made or closed."""
        return self._report.size

    def stats(self) -> PoolStats:
        """Return the configuration, sizes and counters as JSON-compatible data. Takes no lock, and never blocks.

        Other threads may use the pool while the figures are read. Each figure is right, but a sum may be off by the
        objects that are just changing their state.

        For the entry ``objects``, the pool's `stats` parameter is called with each object. No other user code runs.
        """
        return self._report.stats()

    def leases(self) -> list[LeaseInfo]:
        """Return the current leases, the longest first: the object, its holder, and the seconds so far.

        Takes no lock. Objects are described by type, number and `tracer`, which is user code.
        """
        return self._report.leases()

    def __repr__(self) -> str:
        return self._report.text(type(self).__name__)

    # -- names of earlier releases

    @property
    def _avail(self) -> list[T]:
        return [slot.obj for slot in self._report.machine.resting()]

    @property
    def _using(self) -> list[T]:
        return [slot.obj for slot in list(self._report.machine.leased.values())]

    @property
    def _nobjs(self) -> int:
        return self.size

    @property
    def _nuses(self) -> int:
        return self.stats()["nuses"]

    @property
    def _ncreated(self) -> int:
        return self._report.machine.counters.created


def _reference(obj: T) -> Callable[[], T | None]:
    """Return a weak reference. Types without one, as `list` and `sqlite3.Connection`, get a strong reference."""
    try:
        return ref(obj)
    except TypeError:
        return lambda: obj
