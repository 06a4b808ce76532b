"""The figures that a pool counts, and the snapshot that reports them.

This is a file of its own because both drivers count the same things, and because the snapshot is a public promise.
"""

from __future__ import annotations

from collections import Counter
from typing import TypedDict


class Duration(TypedDict):
    """A summary of durations: their number, and their total and maximum in seconds."""

    count: int  #: number of durations
    sum: float  #: total, in seconds
    max: float  #: longest, in seconds


class PoolStats(TypedDict):
    """A snapshot of a pool, as `stats` returns it: numbers, strings, lists and dictionaries, fit for ``json.dumps``."""

    name: str  #: name of the pool
    max_size: int  #: as configured or resized; 0 means no limit, as in all fields that begin with ``max_``
    min_size: int  #: as configured or resized
    timeout: float | None  #: as configured, in seconds; None means no limit
    max_use: int  #: as configured
    max_delay: float  #: as configured, in seconds
    max_lifetime: float  #: as configured, in seconds
    max_using_delay: float  #: as configured, in seconds
    max_using_delay_kill: float  #: as configured, in seconds
    max_waiting: int  #: as configured
    health_delay: float  #: as configured, in seconds
    health_freq: int  #: as configured, in background rounds from one call of `health` to the next
    delay: float  #: as configured, in seconds
    closed: bool  #: whether the pool has been shut down
    size: int  #: objects that count against `max_size`: the sum of the next five figures
    creating: int  #: objects being made
    in_use: int  #: objects lent
    idle: int  #: objects ready to be lent
    reserved: int  #: objects in a `health` check or in the `retter`: no caller can get them meanwhile
    closing: int  #: objects being closed, or about to be
    nwaiting: int  #: callers in the queue
    nuses: int  #: leases so far, current ones included
    ncreated: int  #: objects made
    ncreation_errors: int  #: exceptions of `fun` and `opener`
    ntimeouts: int  #: callers that got `TimeOut`
    nrefused: int  #: callers that got `PoolFull`, because `max_waiting` others were waiting
    nbad_returns: int  #: objects given back that were not in use
    nclosed: dict[str, int]  #: objects closed, by the limit, hook or method that has ended them
    wait: Duration  #: waits in the queue, with or without success
    use: Duration  #: leases that have ended
    creation: Duration  #: creations that succeeded
    objects: list[ObjectInfo]  #: results of the pool's `stats` parameter, one per object; empty without that parameter


class ObjectInfo(TypedDict):
    """An object's part of `PoolStats`, for a pool that has a `stats` parameter."""

    number: int  #: number of the object
    state: str  #: ``"idle"``, ``"leased"``, ``"reserved"`` or another state of a slot
    uses: int  #: leases of the object so far, a current one included
    stats: object  #: result of the pool's `stats` parameter


class LeaseInfo(TypedDict):
    """An object that is in use, and its holder, from `Pool.leases`."""

    number: int  #: number of the object
    object: str  #: type and number of the object, and the result of the pool's `tracer`
    #: the task that took it from an `AsyncPool`; the task, greenlet or thread that owns it through a proxy; the thread
    #: that took it from a plain `Pool`, or the greenlet if gevent or eventlet has replaced threads
    holder: str
    seconds: float  #: duration of the lease so far
    uses: int  #: leases of the object so far, this one included


class Timing:
    """A sum of durations. It has no lock: only one owner may use it at a time."""

    __slots__ = ("count", "longest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.longest = 0.0

    def add(self, count: int, total: float, longest: float) -> None:
        """Add `count` durations of `total` seconds together, the longest of which took `longest` seconds."""
        self.count += count
        self.total += total
        self.longest = max(self.longest, longest)

    def copy(self) -> Timing:
        """Return a copy of the figures as they are now."""
        copy = Timing()
        copy.add(self.count, self.total, self.longest)
        return copy

    def snapshot(self) -> Duration:
        """Return the figures as plain data."""
        return {"count": self.count, "sum": self.total, "max": self.longest}


class Past(Timing):
    """A sum of the leases of all slots that are gone. It is never changed, only replaced, so readers see one moment.

    The slot that was added last may still be in the registry: `latest` is its number.
    """

    __slots__ = ("latest",)

    def __init__(self) -> None:
        super().__init__()
        self.latest = -1

    def and_slot(self, number: int, uses: int, busy: float, longest: float) -> Past:
        """Return the sum of these leases and those of one more slot."""
        past = Past()
        past.add(self.count, self.total, self.longest)
        past.add(uses, busy, longest)
        past.latest = number
        return past


class Counters:
    """A record of past events, which the slots that exist do not show. It is changed under the pool's lock."""

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
        self.use = Past()  # of slots that are gone: a slot that exists has its own figures
        self.creation = Timing()
