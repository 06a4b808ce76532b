"""The counters of a keyed pool, and the type of its statistics."""

from __future__ import annotations

from collections import Counter
from typing import TypedDict

from ProxyPatternPool._core.stats import Duration, Timing


class KeyedStats(TypedDict):
    """The result of `AsyncKeyedPool.stats`: a dictionary of plain data, ready for ``json.dumps``."""

    name: str  #: of the pool
    max_size: int  #: as configured: 0 is "no limit"
    ttl: float | None  #: as configured
    timeout: float | None  #: as configured
    closed: bool  #: whether the pool was shut down
    size: int  #: instances that count against `max_size`: the sum of the next four
    entering: int  #: instances being entered
    in_use: int  #: instances with users, the discarded ones included
    idle: int  #: open instances without users
    closing: int  #: instances being closed
    nwaiting: int  #: callers that wait for an instance
    nuses: int  #: callers served, those that use an instance now included
    nentered: int  #: instances that were entered
    nentering_errors: int  #: instances that could not be entered
    nclosing_errors: int  #: instances whose closing raised
    ntimeouts: int  #: callers that got `TimeOut`
    nclosed: dict[str, int]  #: instances closed, by reason
    wait: Duration  #: of callers that found no open instance, served or not
    entering_time: Duration  #: of the instances that were entered


class KeyedCounters:
    """A set of counters of past events, which the present instances do not show. Changed only in the pool's loop."""

    __slots__ = ("closed", "closing_errors", "entered", "entering", "entering_errors", "timeouts", "uses", "wait")

    def __init__(self) -> None:
        self.entered = 0
        self.entering_errors = 0
        self.closing_errors = 0
        self.timeouts = 0
        self.uses = 0  # of instances that are gone; the others count their own
        self.closed: Counter[str] = Counter()
        self.wait = Timing()
        self.entering = Timing()
