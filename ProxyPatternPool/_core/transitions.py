"""SlotTable: the table of all slots by state, and each step from one state to another.

The moves of `PoolMachine` are made of these steps. Work that a step causes outside the lock goes to an outbox.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Any, Generic, TypeVar

from ProxyPatternPool._core.limits import Limits
from ProxyPatternPool._core.slot import (
    CLOSING,
    CREATING,
    GONE,
    IDLE,
    LEASED,
    NEXT_USE,
    RESERVED,
    Reason,
    Slot,
    State,
    Waiter,
)
from ProxyPatternPool._core.stats import Counters
from ProxyPatternPool._errors import IllegalMove

T = TypeVar("T")
U = TypeVar("U")


class NotLeased(IllegalMove):
    """An error for an object that is not out: it was returned before, was taken away, or never belonged to the pool."""


class AlreadyPooled(IllegalMove):
    """An error for a new object that is in the pool already: two callers would share it."""


class SlotTable(Generic[T]):
    """The state of a pool, and the steps that change it.

    `closes`: whether user code closes objects. Otherwise a slot to be closed is removed at once.
    `checks`: whether an object that was idle for long has to be checked before it is used.
    """

    def __init__(self, limits: Limits, *, closes: bool = True, checks: bool = False) -> None:
        self.limits = limits
        self.closes = closes
        self.checks = checks

        # State. Changed under the lock, except the four marked *: each single operation on these is atomic.
        self.max_size = limits.max_size  # `resize` changes these two
        self.min_size = limits.min_size
        self.max_use = limits.max_use
        self.registry: set[Slot[T]] = set()  # all slots that are not GONE: its length is the pool's size
        self.known: dict[int, Slot[T]] = {}  # id(obj) -> slot, for each object in the registry: none is there twice
        self.idle: deque[Slot[T]] = deque()  # * IDLE slots: last in, first out; unused for longest at the left
        self.leased: dict[int, Slot[T]] = {}  # * use -> LEASED slot; only popping it ends the use
        self.waiters: deque[Waiter[T]] = deque()  # first come, first served; after `shutdown`, only `mark`
        self.drainers: list[Waiter[T]] = []  # callers of shutdown, which wait for an empty registry
        self.is_shut_down = False
        self.mark: Waiter[T] = Waiter(None)  # the last in the queue of a closed pool
        self.numbers = 0  # the number of the next slot
        self.generation = 0  # objects of earlier generations are replaced: see `refresh`
        self.shrinking = False  # whether there are more slots than max_size, since a `resize`
        self.inspecting = False  # whether an idle or returned object may be unfit for use, and has to be inspected
        self._watch()
        self.refill_at = -inf  # no refill begins before this time; failures postpone it
        self.refill_failures = 0  # since the last creation that succeeded
        self.counters = Counters()

        # Outboxes. Moves fill them. The driver, in any thread, empties them after it has released the lock.
        self.to_wake: deque[Waiter[T]] = deque()  # served, or sent away by `shutdown`
        self.to_close: deque[Slot[T]] = deque()  # * CLOSING: close the object, then call `closed`
        # CREATING: make the object, then call `stocked`, or `failed` and `back_off`
        self.to_create: deque[Slot[T]] = deque()
        self.to_check: deque[Slot[T]] = deque()  # IDLE, perhaps: `reserve_idle`, check, then call `checked`
        self.to_tidy: deque[Slot[T]] = deque()  # * RESERVED, by a finaliser: run the `retter`, then `put_back`
        self.overdue: deque[tuple[Slot[T], int, object]] = deque()  # a use that lasts too long, and its holder
        self.gone: deque[Slot[T]] = deque()  # GONE: clear it; it keeps objects' destructors from running under the lock

    def _watch(self) -> None:
        self.inspecting = bool(self.checks or self.limits.max_lifetime or self.generation or self.shrinking)

    # -- beginnings

    def _new_slot(self, now: float) -> Slot[T]:
        slot: Slot[T] = Slot(self.numbers, self.generation, now)
        self.numbers += 1
        self.registry.add(slot)
        return slot

    def _adopt(self, slot: Slot[T], obj: T, jitter: float, now: float) -> None:
        self._check(slot, CREATING)
        if id(obj) in self.known:
            raise AlreadyPooled(f"{slot!r}: its object is that of {self.known[id(obj)]!r}")
        self.known[id(obj)] = slot
        slot.obj = obj
        slot.made = True
        slot.alive = now
        if self.limits.max_lifetime:
            slot.expires = now + self.limits.max_lifetime * (1 - jitter / 10)
        self.counters.created += 1
        self.counters.creation.add(1, now - slot.since, now - slot.since)
        slot.since = now
        self.refill_failures, self.refill_at = 0, -inf

    # -- leases

    def _lease(self, slot: Slot[T], now: float, holder: object) -> None:
        slot.state = LEASED
        slot.since = now
        slot.holder = holder
        slot.uses += 1
        slot.use = use = slot.use + NEXT_USE
        self.leased[use] = slot

    def leased_slot(self, obj: object) -> Slot[T] | None:
        """Return the slot of an object that is out, None for anything else."""
        slot = self.known.get(id(obj))
        return slot if slot is not None and slot.use in self.leased else None

    def holds(self, use: int) -> bool:
        """Tell whether a use still lasts. Any caller may have returned its object."""
        return use in self.leased

    def hand_to(self, use: int, holder: object) -> None:
        """Pass a use on to another holder. If the use is over already, change nothing."""
        slot = self.leased.get(use)
        if slot is not None:
            slot.holder = holder

    def cache_in(self, use: int, cache: dict[str, Any], obj: object) -> None:
        """Put the object of a use, or a wrapper of it, into a cache as "obj", until the use ends.

        If the use is over already, do nothing.
        """
        slot = self.leased.get(use)
        if slot is None or cache.get("obj", slot) is obj:
            return
        slot.caches.append(cache)  # never a replacement: this use may be over, and the next use may have its caches
        cache["obj"] = obj
        if use not in self.leased:  # the use has ended meanwhile, and its end may not have found this cache
            cache.pop("obj", None)

    def _end_lease(self, obj: T) -> Slot[T]:
        slot = self.known.get(id(obj))
        if slot is None or self.leased.pop(slot.use, None) is None:
            raise NotLeased(f"no lease of a {type(obj).__name__} at {id(obj):#x}")
        return slot

    def _settle(self, slot: Slot[T], now: float, reason: Reason | None = None) -> bool:
        """Put a slot whose lease has ended among the idle ones, or close it. Return True if there may be work."""
        held = now - slot.since
        slot.busy += held
        if held > slot.longest:
            slot.longest = held
        slot.since = slot.alive = now
        if slot.caches:
            slot.invalidate()
        if reason is None:
            if self.max_use and slot.uses >= self.max_use:
                reason = Reason.MAX_USE
            elif self.inspecting:
                reason = self._unfit_reason(slot, now)
        if reason is not None:
            self._close_slot(slot, reason)
            return True
        slot.state = IDLE
        self.idle.append(slot)  # published before the waiters are looked at: see the essay of `PoolMachine`
        return bool(self.waiters)

    def _reserve(self, slot: Slot[T]) -> None:
        """Reserve a slot whose lease has ended for the `retter`. No caller gets its object meanwhile."""
        slot.state = RESERVED
        slot.invalidate()

    def _unlease(self, slot: Slot[T]) -> bool:
        """End a lease that no caller has used, and do not count it. Return False if it is over already."""
        if self.leased.pop(slot.use, None) is None:
            return False
        slot.uses -= 1
        return True

    def refuse_return(self) -> None:
        """Count the return of an object that is not out. Takes no lock, since `ret` never blocks."""
        self.counters.bad_returns += 1

    # -- the queue

    def _unqueue(self, waiter: Waiter[T], now: float) -> bool:
        """Take a waiter out of the queue. Return False if it is not there any more."""
        try:
            self.waiters.remove(waiter)
        except ValueError:
            return False
        self._count_wait(waiter, now)
        return True

    def _count_wait(self, waiter: Waiter[T], now: float) -> None:
        waited = now - waiter.since
        self.counters.wait.add(1, waited, waited)

    # -- ends

    def _unfit_reason(self, slot: Slot[T], now: float) -> Reason | None:
        """Return the reason why a slot must not be used any more, None if it may be used."""
        if now >= slot.expires:
            return Reason.MAX_LIFETIME
        if slot.generation != self.generation:
            return Reason.REFRESH
        if self.shrinking and self._excess() > 0:
            return Reason.RESIZE
        return None

    def needs_check(self, slot: Slot[T], now: float) -> bool:
        """Tell whether the object has to be checked before it is used."""
        delay = self.limits.health_delay
        return self.checks and (not delay or now - slot.alive > delay)  # a clock may stand still: 0 means always

    def _excess(self) -> int:
        """Return by how much the number of slots, without those that are being closed, exceeds max_size."""
        return sum(slot.state is not CLOSING for slot in list(self.registry)) - self.max_size

    def _close_slot(self, slot: Slot[T], reason: Reason) -> None:
        slot.state = CLOSING
        slot.reason = reason
        self.to_close.append(slot)

    def _drop(self, slot: Slot[T], reason: Reason) -> None:
        """Give up a slot: close its object, or remove the slot if no object was made."""
        if slot.made:
            self._close_slot(slot, reason)
        else:
            self._remove(slot)

    def _remove(self, slot: Slot[T]) -> None:
        if slot.state is CLOSING:
            del self.known[id(slot.obj)]
            assert slot.reason is not None
            self.counters.closed[slot.reason.value] += 1
        self.counters.use = self.counters.use.and_slot(slot.number, slot.uses, slot.busy, slot.longest)
        self.registry.remove(slot)  # after its uses were added to the counters: see `Past`
        slot.state = GONE
        self.gone.append(slot)

    def _drop_closing(self) -> None:
        """Remove the slots to be closed, if no user code closes objects."""
        while not self.closes and (slot := popped(self.to_close)):  # a worker thread may pop at the same time
            self._remove(slot)

    def _drop_creations(self) -> None:
        while slot := popped(self.to_create):
            self._remove(slot)

    def _clear_out(self) -> None:
        self._drop_creations()
        while slot := popped(self.idle):
            self._close_slot(slot, Reason.SHUTDOWN)

    def resting(self) -> list[Slot[T]]:
        """Return the idle slots, in no order. Without the GIL, `idle` cannot be iterated while other threads use it."""
        return [slot for slot in list(self.registry) if slot.state is IDLE]

    def _has_room(self) -> bool:
        return not self.max_size or len(self.registry) < self.max_size

    def _check(self, slot: Slot[T], *states: State) -> None:
        if slot.state not in states or slot not in self.registry:
            raise IllegalMove(f"{slot!r} should be {' or '.join(state.value for state in states)}")


def popped(queue: deque[U]) -> U | None:
    """Pop and return the first item, or None if there is none. Other threads may pop at the same time."""
    try:
        return queue.popleft()
    except IndexError:
        return None


def filled(queue: deque[U]) -> bool:
    """Tell whether a queue has an item. Without the GIL, its length alone may be out of date."""
    queue.rotate(0)  # does nothing but lock the deque
    return bool(queue)
