"""What both pools inherit until they hold a `PoolReport`."""

from __future__ import annotations

import logging
from typing import Generic, TypeVar

from ProxyPatternPool._callables import PLAIN, plain_result
from ProxyPatternPool._config import PoolConfig, nothing
from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._core.slot import Slot, State
from ProxyPatternPool._core.stats import LeaseInfo, ObjectInfo, Past, PoolStats, Timing
from ProxyPatternPool._errors import PoolClosed, PoolException, PoolFull, TimeOut, note_once
from ProxyPatternPool._owner import Holder
from ProxyPatternPool._process import keep
from ProxyPatternPool._shared_error import copied

T = TypeVar("T")

#: What comes after the failure of a creation which is not repeated.
UNWANTED = "and nobody waits for it"


class PoolBase(Generic[T]):
    """The configuration, the core, the statistics and the words of a pool."""

    def __init__(self, config: PoolConfig[T]) -> None:
        self._config = config
        self._limits = config.limits()  # changed by `resize`
        self._clock = config.clock
        self._closer = config.closer()
        self._opener = nothing if config.opener is None else config.opener
        self._getter = nothing if config.getter is None else config.getter
        self._retter = nothing if config.retter is None else config.retter
        self._health = nothing if config.health is None else config.health
        self._log = config.logger()
        self._parents: dict[int, Slot[T]] = {}  # id(obj) -> slot: the objects that a forked child must leave alone
        self._start()

    def _start(self) -> None:
        """Begin, or begin again in a forked child: with nothing."""
        config = self._config
        self._core: PoolMachine[T] = PoolMachine(self._limits, closes=self._closes(), checks=config.health is not None)
        self._last_error: BaseException | None = None  # of the last creation, if that failed
        self._failing = False  # no object could be made lately, and the log has been told why

    def _holder_name(self, holder: object) -> str:
        """Tell who has an object, for a message."""
        return str(holder)

    def _closes(self) -> bool:
        """Tell whether it takes user code to end an object."""
        return self._config.close is not None

    def _renew(self) -> None:
        parent = self._core
        keep(parent)
        self._parents = {**self._parents, **parent.known}
        self._start()
        if parent.is_shut_down:
            self._core.shutdown(self._clock())

    # -- what it tells

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
        who were just moving. `objects` calls the `stats` that the pool was given, for each object; otherwise no user
        code runs.
        """
        config, limits, core = self._config, self._limits, self._core
        counters = core.counters
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
            "closed": core.is_shut_down,
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
        """Return the uses of the slots that are gone, and the other slots: none is missed, and none in both.

        Otherwise sums would now and then go down, which monitoring takes for a restart.
        """
        core, past = self._core, Past()
        present: list[Slot[T]] = []
        while past is not core.counters.use:  # not read yet, or a slot has gone while they were read
            past, present = core.counters.use, list(core.registry)
        return past.copy(), [slot for slot in present if slot.number != past.latest]

    def leases(self) -> list[LeaseInfo]:
        """Tell who has which object, and for how long; the one held for longest comes first. Takes no lock."""
        now = self._clock()
        leased = list(self._core.leased.values())
        leased.sort(key=lambda slot: slot.since)
        return [
            {
                "number": slot.number,
                "object": self._describe(slot.obj, slot),
                "holder": self._holder_name(slot.holder),
                "seconds": max(0.0, now - slot.since),
                "uses": slot.uses,
            }
            for slot in leased
        ]

    # -- names of earlier releases

    @property
    def _avail(self) -> list[T]:
        return [slot.obj for slot in self._core.resting()]

    @property
    def _using(self) -> list[T]:
        return [slot.obj for slot in list(self._core.leased.values())]

    @property
    def _nobjs(self) -> int:
        return self.size

    @property
    def _nuses(self) -> int:
        return self.stats()["nuses"]

    @property
    def _ncreated(self) -> int:
        return self._core.counters.created

    # -- its words

    def _object_info(self, slot: Slot[T]) -> ObjectInfo:
        assert self._config.stats is not None
        try:
            data = plain_result("stats", self._config.stats(slot.obj), PLAIN)
        except Exception as error:
            data = f"stats raised {type(error).__name__}"
        return {"number": slot.number, "state": slot.state.value, "uses": slot.uses, "stats": data}

    def __repr__(self) -> str:
        state = "closed" if self._core.is_shut_down else "open"
        limit = self._limits.max_size or "unlimited"
        return f"<{type(self).__name__} {self.name} {state}: max {limit}, {self._sizes()}>"

    def _nwaiting(self) -> int:
        return len(self._core.waiters) - self._core.is_shut_down  # the mark that shutdown leaves is nobody

    def _sizes(self) -> str:
        states = [slot.state for slot in list(self._core.registry)]
        texts = [f"{states.count(State.LEASED)} in use", f"{states.count(State.IDLE)} idle"]
        others = {
            State.CREATING: "being made",
            State.RESERVED: "being checked or tidied up",
            State.CLOSING: "being closed",
        }
        texts += [f"{states.count(state)} {what}" for state, what in others.items() if state in states]
        return ", ".join([*texts, f"{self._nwaiting()} waiting"])

    def _describe(self, obj: T, slot: Slot[T] | None = None) -> str:
        """Tell an object in a log or an error: in its tracer's words, never in its own, which may hold a password."""
        slot = slot or self._core.known.get(id(obj))
        text = f"{type(obj).__name__} object" + (f" number {slot.number}" if slot else "")
        if self._config.tracer is None:
            return text
        try:
            return f"{text} ({plain_result('tracer', self._config.tracer(obj), PLAIN)})"
        except Exception as error:
            return f"{text} (tracer raised {type(error).__name__})"

    def _succeeded(self) -> None:
        """Forget failures: an object has been made."""
        self._last_error = None
        self._failing = False

    def _log_failed_creation(self, number: int, error: BaseException, outlook: str) -> None:
        # an outage may last for days, and each traceback would tell the same: one of them is enough, until it ends
        detail = not self._failing or self._log.isEnabledFor(logging.DEBUG)
        self._failing = True
        self._log.error(
            "%s: making object %d failed in the background, %s: %s: %s",
            self.name,
            number,
            outlook,
            type(error).__name__,
            error,
            exc_info=error if detail else None,
        )

    def _outlook(self) -> str:
        """Tell what comes after a refill that has failed."""
        if self._core.is_shut_down:
            return UNWANTED
        return f"tried again in {max(0.0, self._core.refill_at - self._clock()):.1f} s"

    def _log_failed_check(self, slot: Slot[T], error: Exception) -> None:
        # it is expected of a dead one, and its traceback would tell the same for each of many
        what, detail = self._describe(slot.obj), self._log.isEnabledFor(logging.DEBUG)
        self._log.warning(
            "%s: checking %s failed: %s: %s", self.name, what, type(error).__name__, error, exc_info=detail
        )

    def _log_overdue(self, slot: Slot[T], use: int, holder: object) -> None:
        killed = slot.was_killed(use)
        limit = self._limits.max_using_delay_kill if killed else self._limits.max_using_delay
        self._log.warning(
            "%s: %s %s within %s s by %s",
            self.name,
            self._describe(slot.obj, slot),
            "was taken away: not given back" if killed else "was not given back",
            limit,
            self._holder_name(holder),
        )

    def _closed_error(self) -> PoolClosed:
        return PoolClosed(f"{self.name}: the pool has been shut down")

    def _full_error(self) -> PoolFull:
        limit = self._limits.max_waiting
        return PoolFull(f"{self.name}: {limit} callers are waiting already (max_waiting): {self._sizes()}")

    def _timeout_error(self, timeout: float, why: str = "") -> TimeOut:
        why = why or f"pool max size reached ({self._limits.max_size})"
        text = f"{self.name}: {why}, timeout after {float(timeout)} s: {self._sizes()}"
        leased = list(self._core.leased.values())
        oldest = min(leased, key=lambda slot: slot.since, default=None)
        if oldest is not None:
            text += f"; oldest held {self._clock() - oldest.since:.1f} s by {self._holder_name(oldest.holder)}"
        left_behind = sum(isinstance(slot.holder, Holder) and slot.holder.ended for slot in leased)
        if left_behind:
            text += f"; {left_behind} held for owners that have ended: auto_return=True would give them back"
        error = TimeOut(text)
        error.__cause__ = None if self._last_error is None else copied(self._last_error)
        return error

    def _killed_error(self) -> PoolException:
        limit = self._limits.max_using_delay_kill
        return PoolException(
            f"{self.name}: the object was taken away, having been held for more than {limit} s: call _ret_obj()"
        )

    def _duplicate_error(self, slot: Slot[T], obj: T) -> PoolException:
        return PoolException(
            f"{self.name}: fun({slot.number}) returned an object that is already in the pool: {self._describe(obj)}"
        )

    def _note(self, error: BaseException, what: str, arguments: str = "") -> None:
        """Note on an exception of user code which pool it hit."""
        note_once(error, f"{self.name}: raised by {what}", arguments)

    def _note_creation(self, error: BaseException, slot: Slot[T]) -> None:
        """Note on an exception of `fun` or `opener` which object it has cost."""
        if slot.made:
            self._note(error, "opener")
        else:
            self._note(error, "fun", f"({slot.number})")
