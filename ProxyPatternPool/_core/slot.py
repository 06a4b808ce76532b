"""The place of one object, the states of its life, and who owns it in each.

In each state exactly one thing owns a slot::

    CREATING  whoever runs ``fun``; before that, its place in ``to_create`` or in a waiter's hand
    LEASED    its entry in ``leased``
    IDLE      its place in ``idle``
    RESERVED  whoever took it out of ``leased`` or ``idle`` to tidy its object up, or to check it
    CLOSING   its place in ``to_close``, then whoever popped it there
    GONE      nobody

Only a successful ``pop`` makes the next owner, so that no two ever settle the same slot.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class State(Enum):
    """Where a slot is in its life."""

    CREATING = "creating"
    LEASED = "leased"
    IDLE = "idle"
    RESERVED = "reserved"
    CLOSING = "closing"
    GONE = "gone"


class Reason(Enum):
    """Why an object is closed; the value is the key under which it is counted."""

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


#: The step from the key of one lease of a slot to that of the next. The keys of different slots never meet, and the
#: owner of a slot alone changes its key: a counter for all slots would need a lock without the GIL.
NEXT_USE = 1 << 32

#: The key of a use that is over: no lease has it.
OVER = 0

# Bound once: on 3.11 looking a member up through its class takes 40 ns, on a path of 300.
CREATING, LEASED, IDLE, RESERVED, CLOSING, GONE = State


class Slot(Generic[T]):
    """The place of one object: it counts against ``max_size`` from before the creation until after the close."""

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
        self.number = number
        self.generation = generation  # of the pool's objects: see `refresh`
        self.made = False  # there is an object
        self.obj: T  # set when made, kept until the slot is dropped
        self.state = CREATING
        self.since = now  # when the present state began
        self.alive = now  # when the object was last known to be so: made, returned, or checked
        self.expires = inf  # when the object has reached its max_lifetime
        self.holder: object = None  # who has the lease, in the driver's terms
        self.caches: list[dict[str, Any]] = []  # where a proxy has put the object at hand, as "obj", during the lease
        self.uses = 0  # leases so far, the one that is out included
        self.use = number  # the key of the latest lease: no two leases of a pool have the same
        self.warned = 0  # the use of which somebody was told that it lasts too long
        self.busy = 0.0  # seconds spent leased, in all
        self.longest = 0.0  # seconds of the longest lease
        self.reason: Reason | None = None  # set with CLOSING

    def was_killed(self, use: int) -> bool:
        """Tell whether the object was taken away from whoever had that use of it."""
        return self.reason is Reason.KILL and self.use == use

    def invalidate(self) -> None:
        """Let nobody have the object at hand any more: the lease has ended."""
        while self.caches:
            self.caches.pop().pop("obj", None)

    def __repr__(self) -> str:
        return f"<slot {self.number} {self.state.value}, {self.uses} uses>"


class Waiter(Generic[T]):
    """A caller in the queue. The driver's subclass adds what it parks on and how it is woken."""

    __slots__ = ("holder", "parked", "since", "slot")

    def __init__(self, holder: object) -> None:
        self.holder = holder
        self.since = 0.0  # when it entered
        self.parked = False  # it was not served at once
        self.slot: Slot[T] | None = None  # what it was served: from then on its own to settle
