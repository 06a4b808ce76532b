"""Pending: the objects that are being made or prepared for waiters, and the order in which waiters get them.

A waiter is in the machine's queue, then here while its object is made or prepared, then ready. Each object that comes
back, or is made, goes to the waiter that came first. So no waiter is overtaken, or times out beside an idle object.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from ProxyPatternPool._async_pool.waiter import TaskWaiter
from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._core.slot import Slot

T = TypeVar("T")


class Pending(Generic[T]):
    """The creations and hooks of one engine, and the waiter of each."""

    def __init__(self, machine: PoolMachine[T]) -> None:
        self._machine = machine
        self.creating: dict[Slot[T], TaskWaiter[T]] = {}  # CREATING slots, one of them each waiter's own
        self.preparing: dict[Slot[T], TaskWaiter[T]] = {}  # LEASED slots that `health` or `getter` has
        self.refilling: set[Slot[T]] = set()  # CREATING slots without a waiter
        self.filling: list[BaseException] | None = None  # the first error of `refilling`, while a task waits for all
        self.checking = False  # an idle object is being checked; one at a time, since no waiter can have it meanwhile

    def is_with(self, waiter: TaskWaiter[T]) -> bool:
        """Tell whether a hook has the waiter's object."""
        return waiter.slot is not None and self.preparing.get(waiter.slot) is waiter

    def drop_creation(self, waiter: TaskWaiter[T]) -> bool:
        """Separate a waiter from the creation of its object, which goes on. False if there is no such creation."""
        slot = waiter.slot
        if slot is None or self.creating.get(slot) is not waiter:
            return False
        del self.creating[slot]
        return True

    def pop_first(self) -> TaskWaiter[T]:
        """Remove and return the waiter that has waited for a creation for longest."""
        return self.creating.pop(self._first_slot())

    def first_come(self, slot: Slot[T], waiter: TaskWaiter[T]) -> TaskWaiter[T]:
        """Return the waiter that a slot goes to: `waiter`, unless another waiter for a creation has come earlier.

        If so, the two waiters are exchanged: `waiter` waits for that creation instead.
        """
        if not self.creating or waiter.number < self.creating[begun := self._first_slot()].number:
            return waiter
        first, self.creating[begun] = self.creating[begun], waiter
        self._machine.exchange(first, waiter)
        return first

    def _first_slot(self) -> Slot[T]:
        return min(self.creating, key=lambda slot: self.creating[slot].number)
