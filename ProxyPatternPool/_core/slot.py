"""The slot of one object, the states of its life, and its owner in each state.

A slot has exactly one owner in each state::

    CREATING  its entry in ``to_create``, or a waiter; then the caller, thread or task that runs ``fun``
    LEASED    its entry in ``leased``
    IDLE      its entry in ``idle``
    RESERVED  the caller, thread or task that took it out of ``leased`` or ``idle``, for the `retter` or for a check
    CLOSING   its entry in ``to_close``; then the caller, thread or task that popped it there
    GONE      none

Only a successful ``pop`` makes the next owner. So no two owners ever settle the same slot.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class State(Enum):
    """A state in the life of a slot."""

    CREATING = "creating"
    LEASED = "leased"
    IDLE = "idle"
    RESERVED = "reserved"
    CLOSING = "closing"
    GONE = "gone"


class Reason(Enum):
    """A reason to close an object. The statistics count it under the value."""

    MAX_USE = "max_use"
    MAX_DELAY = "max_delay"
    MAX_LIFETIME = "max_lifetime"
    KILL = "max_using_delay_kill"
    HEALTH = "health"
    OPENER = "opener"
    GETTER = "getter"
    RETTER = "retter"
    DISCARD = "discard"
    RESIZE = "resize"
    REFRESH = "refresh"
    SHUTDOWN = "shutdown"


#: The step from the key of one lease of a slot to the key of the next. The keys of two slots never coincide, and only
#: the owner of a slot changes its key. Without the GIL, a counter for all slots would need a lock.
NEXT_USE = 1 << 32

#: The key of a use that is over: no lease has it.
OVER = 0

# Bound once: on 3.11 looking a member up through its class takes 40 ns, on a path of 300.
CREATING, LEASED, IDLE, RESERVED, CLOSING, GONE = State


class Slot(Generic[T]):
    """A slot for one object. It counts against ``max_size`` from before the creation until after the close."""

    __slots__ = (
        "alive",
        "busy",
        "caches",
        "expires",
        "generation",
        "holder",
        "longest",
        "made",
        "number",
        "obj",
        "reason",
        "since",
        "state",
        "use",
        "uses",
        "warned",
    )

    def __init__(self, number: int, generation: int, now: float) -> None:
        self.number: int = number
        self.generation: int = generation  # `refresh` counts it up, and replaces the objects of earlier generations
        self.made: bool = False  # whether there is an object
        self.obj: T  # set when made, kept until the slot is dropped
        self.state: State = CREATING
        self.since: float = now  # when the present state began
        self.alive: float = now  # when the object was last known to work: when it was made, returned, or checked
        self.expires: float = inf  # when the object reaches its max_lifetime
        self.holder: object = None  # the holder of the lease, in the driver's terms
        self.caches: list[dict[str, Any]] = []  # of proxies, which have cached the object as "obj" during the lease
        self.uses: int = 0  # leases so far, a current one included
        self.use: int = number  # the key of the latest lease: no two leases of a pool have the same
        self.warned: int = 0  # the key of the lease that was last reported as too long
        self.busy: float = 0.0  # seconds spent leased, in total
        self.longest: float = 0.0  # seconds of the longest lease
        self.reason: Reason | None = None  # set with CLOSING

    def was_killed(self, use: int) -> bool:
        """Tell whether the object was taken away during the lease with the key `use`."""
        return self.reason is Reason.KILL and self.use == use

    def invalidate(self) -> None:
        """Remove the object from the caches of proxies: the lease has ended."""
        while self.caches:
            self.caches.pop().pop("obj", None)

    def __repr__(self) -> str:
        return f"<slot {self.number} {self.state.value}, {self.uses} uses>"


class Waiter(Generic[T]):
    """A caller in the queue. The driver's subclass adds how the caller waits, and how it is woken."""

    __slots__ = ("holder", "parked", "since", "slot")

    def __init__(self, holder: object) -> None:
        self.holder = holder
        self.since = 0.0  # when it entered the queue
        self.parked = False  # whether it was not served at once
        self.slot: Slot[T] | None = None  # the slot that it was served, and has to settle from then on
