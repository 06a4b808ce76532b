"""What a pool counts, and the snapshot in which it tells it.

A file of its own because both drivers count the same things, and because the snapshot is a public promise.
"""

from __future__ import annotations

from collections import Counter
from typing import TypedDict


class Duration(TypedDict):
    """How often, and for how many seconds in total and at most."""

    count: int
    sum: float
    max: float


class PoolStats(TypedDict):
    """What `Pool.stats` returns: plain numbers, texts and dictionaries, ready for ``json.dumps``."""

    name: str
    max_size: int  # configuration: 0 is "no limit" for these four
    max_use: int
    max_delay: float
    min_size: int
    timeout: float | None
    closed: bool
    size: int  # everything that counts against max_size: the four that follow
    creating: int
    in_use: int
    idle: int
    closing: int
    nwaiting: int
    nuses: int  # leases given, those that are out included
    ncreated: int
    ncreation_errors: int
    ntimeouts: int
    nbad_returns: int  # objects given back that were not out
    nclosed: dict[str, int]  # by reason
    wait: Duration  # of callers that had to queue, whatever came of it
    use: Duration  # of leases that have ended
    creation: Duration  # of creations that succeeded


class Timing:
    """Adds durations up. Not locked: one owner at a time."""

    __slots__ = ("count", "longest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.longest = 0.0

    def add(self, count: int, total: float, longest: float) -> None:
        """Count `count` durations of `total` seconds together, the longest of which took `longest`."""
        self.count += count
        self.total += total
        self.longest = max(self.longest, longest)

    def snapshot(self) -> Duration:
        """The figures as plain data."""
        return {"count": self.count, "sum": self.total, "max": self.longest}


class Counters:
    """What cannot be told from the slots that exist: it happened, and is over. Changed under the pool's lock."""

    __slots__ = ("bad_returns", "closed", "created", "creation", "creation_errors", "timeouts", "use", "wait")

    def __init__(self) -> None:
        self.created = 0
        self.creation_errors = 0
        self.timeouts = 0
        self.bad_returns = 0  # counted without the lock, since `ret` never blocks: without the GIL it may miss one
        self.closed: Counter[str] = Counter()
        self.wait = Timing()
        self.use = Timing()  # of slots that are gone: those which exist keep their own
        self.creation = Timing()
