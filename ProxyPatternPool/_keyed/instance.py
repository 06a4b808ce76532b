"""Instance: an object that a keyed pool shares under one key, with its state, its users and its waiters.

Plain data. The moves between the states are in `machine`.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Any, Generic, TypeVar

from ProxyPatternPool._shared_error import SharedError

T = TypeVar("T")


class State(Enum):
    """The state of an instance. `machine` says what each one means."""

    QUEUED = "queued"
    ENTERING = "entering"
    OPEN = "open"
    BROKEN = "broken"
    CLOSING = "closing"
    GONE = "gone"


class Reason(Enum):
    """The reason to close an instance. The value is its key in the statistics."""

    TTL = "ttl"
    MAX_SIZE = "max_size"
    SHUTDOWN = "shutdown"
    LOST = "lost"
    DISCARD = "discard"


# Bound once: on 3.11 looking a member up through its class takes 40 ns.
QUEUED, ENTERING, OPEN, BROKEN, CLOSING, GONE = State


class Instance(Generic[T]):
    """An object that is shared under one key, or is to be shared."""

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
        self.call = call  # the function that makes the object, until `begin`
        self.state = QUEUED
        self.since = 0.0  # when it began to be entered, to be in use, or to be idle
        self.obj: T  # from OPEN on
        self.users = 0
        self.uses = 0  # present and past users
        self.waiters: dict[Waiter[T], None] = {}  # before it is OPEN
        self.successor: Instance[T] | None = None  # BROKEN, CLOSING: the next instance of this key, if callers wait
        self.predecessor: Instance[T] | None = None  # in ``successors``: the instance before this one
        self.reason: Reason | None = None  # set with CLOSING

    def __repr__(self) -> str:
        return f"<instance {self.number} {self.state.value}, {self.users} users, {len(self.waiters)} waiting>"


class Waiter(Generic[T]):
    """A caller that waits for an instance. The driver's subclass adds the way to wake it."""

    __slots__ = ("error", "instance", "served", "since")

    def __init__(self) -> None:
        self.instance: Instance[T]  # set by `ask`
        self.since = 0.0
        self.served = False  # it is a user of the instance now, and has to `leave` it
        self.error: SharedError | None = None  # the reason why it was not served, if that is an exception
