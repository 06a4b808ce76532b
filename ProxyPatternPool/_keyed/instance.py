"""Instance: what a keyed pool shares under one key, the phases of its life, and who waits for it.

Plain data. `machine` says what may follow what.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Any, Generic, TypeVar

from ProxyPatternPool._shared_error import SharedError

T = TypeVar("T")


class State(Enum):
    """Where an instance is in its life."""

    QUEUED = "queued"
    ENTERING = "entering"
    OPEN = "open"
    BROKEN = "broken"
    CLOSING = "closing"
    GONE = "gone"


class Reason(Enum):
    """Why an instance is closed; the value is the key under which it is counted."""

    TTL = "ttl"
    MAX_SIZE = "max_size"
    SHUTDOWN = "shutdown"
    LOST = "lost"
    DISCARD = "discard"


# Bound once: on 3.11 looking a member up through its class takes 40 ns.
QUEUED, ENTERING, OPEN, BROKEN, CLOSING, GONE = State


class Instance(Generic[T]):
    """What is shared under one key."""

    __slots__ = (
        "call",
        "key",
        "number",
        "obj",
        "predecessor",
        "reason",
        "since",
        "state",
        "successor",
        "users",
        "uses",
        "waiters",
    )

    def __init__(self, number: int, key: Hashable, call: Any) -> None:
        self.number = number  # also its place in the queue
        self.key = key
        self.call = call  # what the first caller has asked with, for the driver, until `begin`
        self.state = QUEUED
        self.since = 0.0  # when it began to be entered, in use, or idle
        self.obj: T  # from OPEN on
        self.users = 0
        self.uses = 0  # users that there are and have been
        self.waiters: dict[Waiter[T], None] = {}  # who wants it, before it is OPEN
        self.successor: Instance[T] | None = None  # BROKEN, CLOSING: what will follow under this key, if it is wanted
        self.predecessor: Instance[T] | None = None  # in ``successors``: the one whose heir it is
        self.reason: Reason | None = None  # set with CLOSING

    def __repr__(self) -> str:
        return f"<instance {self.number} {self.state.value}, {self.users} users, {len(self.waiters)} waiting>"


class Waiter(Generic[T]):
    """Somebody who waits for an instance. The driver's subclass adds how it is woken."""

    __slots__ = ("error", "instance", "served", "since")

    def __init__(self) -> None:
        self.instance: Instance[T]  # what it waits for, set by `ask`
        self.since = 0.0
        self.served = False  # it is a user of the instance now, and has to `leave` it
        self.error: SharedError | None = None  # or that is why not
