"""What a pool counts, and the snapshot in which it tells it.

A file of its own because both drivers count the same things, and because the snapshot is a public promise.
"""

from __future__ import annotations

from collections import Counter
from typing import TypedDict


class Duration(TypedDict):
    """How often, and for how many seconds in total and at most."""

    count: int  #: how often
    sum: float  #: seconds in total
    max: float  #: seconds at most


class PoolStats(TypedDict):
    """What `Pool.stats` returns: plain numbers, texts and dictionaries, ready for ``json.dumps``."""

    name: str  #: of the pool
    max_size: int  #: as configured, or resized; of those that begin with ``max_``, 0 is "no limit"
    min_size: int  #: as configured, or resized
    timeout: float | None  #: as configured, as are those down to `delay`
    max_use: int  #: as configured
    max_delay: float  #: as configured
    max_lifetime: float  #: as configured
    max_using_delay: float  #: as configured
    max_using_delay_kill: float  #: as configured
    max_waiting: int  #: as configured
    health_delay: float  #: as configured
    health_freq: int  #: as configured: background rounds from one asking of `health` to the next
    delay: float  #: as configured
    closed: bool  #: whether the pool was shut down
    size: int  #: everything that counts against `max_size`: the five that follow
    creating: int  #: being made
    in_use: int  #: lent
    idle: int  #: ready to be lent
    reserved: int  #: being checked, or tidied up on return: nobody can have them meanwhile
    closing: int  #: being closed, or about to be
    nwaiting: int  #: callers in the queue
    nuses: int  #: leases given, those that are out included
    ncreated: int  #: objects made
    ncreation_errors: int  #: exceptions of `fun` and `opener`
    ntimeouts: int  #: callers that got `TimeOut`
    nrefused: int  #: callers that got `PoolFull`, because `max_waiting` others were waiting
    nbad_returns: int  #: objects given back that were not out
    nclosed: dict[str, int]  #: objects closed, by what has ended them
    wait: Duration  #: of callers that had to queue, whatever came of it
    use: Duration  #: of leases that have ended
    creation: Duration  #: of creations that succeeded
    objects: list[ObjectInfo]  #: what the pool's `stats` tells of each; empty without one


class ObjectInfo(TypedDict):
    """What `Pool.stats` tells of one object, when the pool was given a `stats`."""

    number: int  #: of the object
    state: str  #: ``"idle"``, ``"leased"``, ``"reserved"`` or another one of a slot's
    uses: int  #: leases of it, the one that is out included
    stats: object  #: what that function returned


class LeaseInfo(TypedDict):
    """What `Pool.leases` tells of one object that is in use."""

    number: int  #: of the object
    object: str  #: its type and number, and what the pool's `tracer` tells
    #: the task that took it from an `AsyncPool`; the task, greenlet or thread that owns it through a proxy; the thread
    #: that took it from a plain `Pool`, or the greenlet if gevent or eventlet has replaced threads
    holder: str
    seconds: float  #: since then
    uses: int  #: leases of it, this one included


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

    def copy(self) -> Timing:
        """The figures as they are now."""
        copy = Timing()
        copy.add(self.count, self.total, self.longest)
        return copy

    def snapshot(self) -> Duration:
        """The figures as plain data."""
        return {"count": self.count, "sum": self.total, "max": self.longest}


class Past(Timing):
    """The uses of all slots that are gone. Never changed, but replaced: so whoever looks at it sees one moment.

    The latest of them may be in the registry still: it is told by its number.
    """

    __slots__ = ("latest",)

    def __init__(self) -> None:
        super().__init__()
        self.latest = -1

    def and_slot(self, number: int, uses: int, busy: float, longest: float) -> Past:
        """Return these uses, and those of one slot more."""
        past = Past()
        past.add(self.count, self.total, self.longest)
        past.add(uses, busy, longest)
        past.latest = number
        return past


class Counters:
    """What cannot be told from the slots that exist: it happened, and is over. Changed under the pool's lock."""

    __slots__ = (
        "bad_returns",
        "closed",
        "created",
        "creation",
        "creation_errors",
        "refused",
        "timeouts",
        "use",
        "wait",
    )

    def __init__(self) -> None:
        self.created = 0
        self.creation_errors = 0
        self.timeouts = 0
        self.refused = 0  # because max_waiting callers were waiting
        self.bad_returns = 0  # counted without the lock, since `ret` never blocks: without the GIL it may miss one
        self.closed: Counter[str] = Counter()
        self.wait = Timing()
        self.use = Past()  # of slots that are gone: those which exist keep their own
        self.creation = Timing()
