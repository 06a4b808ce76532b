"""What a keyed pool counts, and the snapshot in which it tells it."""

from __future__ import annotations

from collections import Counter
from typing import TypedDict

from ProxyPatternPool._core.stats import Duration, Timing


class KeyedStats(TypedDict):
    """What `AsyncKeyedPool.stats` returns: plain numbers, texts and dictionaries, ready for ``json.dumps``."""

    name: str  #: of the pool
    max_size: int  #: as configured: 0 is "no limit"
    ttl: float | None  #: as configured
    timeout: float | None  #: as configured
    closed: bool  #: whether the pool was shut down
    size: int  #: everything that counts against `max_size`: the four that follow
    entering: int  #: instances being made
    in_use: int  #: instances that somebody has
    idle: int  #: instances that nobody has
    closing: int  #: instances being closed
    nwaiting: int  #: callers that have no instance yet
    nuses: int  #: callers served, those that are at it included
    nentered: int  #: instances made
    nentering_errors: int  #: instances that could not be made
    nclosing_errors: int  #: instances whose closing raised
    ntimeouts: int  #: callers that got `TimeOut`
    nclosed: dict[str, int]  #: instances closed, by what has ended them
    wait: Duration  #: of callers that found no open instance, whatever came of it
    entering_time: Duration  #: of what was entered


class KeyedCounters:
    """What cannot be told from the instances that exist: it happened, and is over. Changed in the pool's loop."""

    __slots__ = ("closed", "closing_errors", "entered", "entering", "entering_errors", "timeouts", "uses", "wait")

    def __init__(self) -> None:
        self.entered = 0
        self.entering_errors = 0
        self.closing_errors = 0
        self.timeouts = 0
        self.uses = 0  # of instances that are gone: those which exist keep their own
        self.closed: Counter[str] = Counter()
        self.wait = Timing()
        self.entering = Timing()
