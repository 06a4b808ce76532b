"""SlotTable: records which slot is in which state, and has each step from one to the next, in one place.

The moves of `PoolMachine` are made of these steps. Whatever a step causes outside the lock goes to an outbox.
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
    """The object is not out: given back twice, taken away, or never ours."""


class AlreadyPooled(IllegalMove):
    """The object that was made is in the pool already: two callers would share it."""


class SlotTable(Generic[T]):
    """The state of a pool, and the steps that change it.

    `closes` tells whether ending an object takes user code: if not, a slot whose object has served its time goes at
    once. `checks` tells whether an object that was idle for long is to be checked before it is used.
    """

    def __init__(self, limits: Limits, *, closes: bool = True, checks: bool = False) -> None:
        self.limits = limits
        self.closes = closes
        self.checks = checks

        # State. Changed under the lock, but for the four marked *, of which every single operation is atomic.
        self.max_size = limits.max_size  # these two can be changed: see `resize`
        self.min_size = limits.min_size
        self.max_use = limits.max_use
        self.registry: set[Slot[T]] = set()  # every slot that is not GONE: its length is the pool's size
        self.known: dict[int, Slot[T]] = {}  # id(obj) -> slot, of every object in the registry: none is there twice
        self.idle: deque[Slot[T]] = deque()  # * IDLE slots: last in, first out, the one unused for longest at the left
        self.leased: dict[int, Slot[T]] = {}  # * use -> slot, of those that are out; popping it is the one way out
        self.waiters: deque[Waiter[T]] = deque()  # first come, first served; once closed, for ever a mark
        self.drainers: list[Waiter[T]] = []  # callers of shutdown, waiting for the registry to become empty
        self.is_shut_down = False
        self.mark: Waiter[T] = Waiter(None)  # the last in the queue of a closed pool
        self.numbers = 0  # of the next slot
        self.generation = 0  # of the objects that are still good: see `refresh`
        self.shrinking = False  # there are more slots than max_size, since a `resize`
        self.inspecting = False  # an object may not be fit for use, though it is idle, or was just returned
        self._watch()
        self.refill_at = -inf  # no refill is tried before: pushed on by failures
        self.refill_failures = 0  # since the last creation that succeeded
        self.counters = Counters()

        # Outboxes. Filled by moves, emptied by the driver after it has released the lock; any thread may.
        self.to_wake: deque[Waiter[T]] = deque()  # to be woken
        self.to_close: deque[Slot[T]] = deque()  # * CLOSING: close the object, then say `closed`
        self.to_create: deque[Slot[T]] = (
            deque()
        )  # CREATING: make an object, then say `stocked`, or `failed` and `back_off`
        self.to_check: deque[Slot[T]] = deque()  # IDLE, perhaps: `reserve_idle` it, check it, then say `checked`
        self.to_tidy: deque[Slot[T]] = deque()  # * RESERVED, by a finaliser: tidy it up, then say `put_back`
        self.overdue: deque[tuple[Slot[T], int, object]] = deque()  # a use that lasts too long, and whose it is
        self.gone: deque[Slot[T]] = deque()  # GONE: clear it; it keeps destructors from running under the lock

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

    def hand_to(self, use: int, holder: object) -> None:
        """Pass that use on to another holder; if it is over already, change nothing."""
        slot = self.leased.get(use)
        if slot is not None:
            slot.holder = holder

    def cache_in(self, use: int, cache: dict[str, Any]) -> None:
        """Put the object of that use into a cache as "obj", until the use ends; if it is over already, do nothing."""
        slot = self.leased.get(use)
        if slot is None or cache.get("obj", slot) is slot.obj:
            return
        slot.caches.append(cache)  # and not put in place of another: this use may be over, and the next one's there
        cache["obj"] = slot.obj
        if use not in self.leased:  # it has ended before its end could find something to remove
            cache.pop("obj", None)

    def _end_lease(self, obj: T) -> Slot[T]:
        slot = self.known.get(id(obj))
        if slot is None or self.leased.pop(slot.use, None) is None:
            raise NotLeased(f"no lease of a {type(obj).__name__} at {id(obj):#x}")
        return slot

    def _settle(self, slot: Slot[T], now: float, reason: Reason | None = None) -> bool:
        """Put a slot whose lease has ended where it belongs; True when there may be work."""
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
        """Have a slot whose lease has ended tidied up: nobody uses its object meanwhile."""
        slot.state = RESERVED
        slot.invalidate()

    def _unlease(self, slot: Slot[T]) -> bool:
        """End a lease that never got into anybody's hands; False when it is over already."""
        if self.leased.pop(slot.use, None) is None:
            return False
        slot.uses -= 1
        return True

    def refuse_return(self) -> None:
        """An object was returned that is not out. Without the lock, since `ret` never blocks."""
        self.counters.bad_returns += 1

    # -- ends

    def _unfit_reason(self, slot: Slot[T], now: float) -> Reason | None:
        """Tell why a slot must not be used any more, None if it may be."""
        if now >= slot.expires:
            return Reason.MAX_LIFETIME
        if slot.generation != self.generation:
            return Reason.REFRESH
        if self.shrinking and self._excess() > 0:
            return Reason.RESIZE
        return None

    def _excess(self) -> int:
        """How many slots there are above max_size, without those which are on their way out."""
        return sum(slot.state is not CLOSING for slot in list(self.registry)) - self.max_size

    def _close_slot(self, slot: Slot[T], reason: Reason) -> None:
        slot.state = CLOSING
        slot.reason = reason
        self.to_close.append(slot)

    def _drop(self, slot: Slot[T], reason: Reason) -> None:
        """Give a slot up in the middle of its creation."""
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
        self.registry.remove(slot)  # afterwards: see `Past`
        slot.state = GONE
        self.gone.append(slot)

    def _drop_closing(self) -> None:
        """Let go of what is doomed, where no user code has to close it."""
        while not self.closes and (slot := popped(self.to_close)):  # a worker may be at it, too
            self._remove(slot)

    def _drop_creations(self) -> None:
        while slot := popped(self.to_create):
            self._remove(slot)

    def _clear_out(self) -> None:
        self._drop_creations()
        while slot := popped(self.idle):
            self._close_slot(slot, Reason.SHUTDOWN)

    def resting(self) -> list[Slot[T]]:
        """Return the idle slots, in no order: without the GIL, `idle` itself cannot be read while others use it."""
        return [slot for slot in list(self.registry) if slot.state is IDLE]

    def _has_room(self) -> bool:
        return not self.max_size or len(self.registry) < self.max_size

    def _check(self, slot: Slot[T], *states: State) -> None:
        if slot.state not in states or slot not in self.registry:
            raise IllegalMove(f"{slot!r} should be {' or '.join(state.value for state in states)}")


def popped(queue: deque[U]) -> U | None:
    """Take the first item out, None when there is none: others may be at it, too."""
    try:
        return queue.popleft()
    except IndexError:
        return None


def filled(queue: deque[U]) -> bool:
    """Tell whether there is an item in it."""
    queue.rotate(0)  # does nothing but lock the deque: without the GIL a bare length may be a stale one
    return bool(queue)
