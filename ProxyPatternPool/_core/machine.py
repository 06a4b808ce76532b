"""PoolMachine: the state machine of both `Pool` and `AsyncPool`.

It decides and never acts. It does not block, read a clock, log, or run user code. The driver tells it what happened,
and when (``now``, in monotonic seconds). Work that must be done outside the lock goes to outboxes: waiters to wake,
objects to close, make or check, slots to release. A returned list would be lost if the thread that should process it
is interrupted. An outbox keeps its content, and the next thread empties it.

A pool's speed depends on a few moves, which take no lock: `take`, `give` and their variants. They rely on the
atomicity of single ``deque`` and ``dict`` operations, and on one ordering that makes a lost wake-up impossible. A
returning caller appends the slot to ``idle`` *before* it looks for waiters. A waiting caller enters ``waiters``
*before* it looks for idle slots. So at least one of the two sees the other. All other moves need the driver's lock;
their docstrings say "Locked".

Without the GIL the ordering still holds, provided that the waiting caller looks with ``pop``, which locks the deque,
and not at the deque's length. If that ``pop`` comes after the ``append``, it finds the slot. If it comes before the
``append``, then so did the entry into ``waiters``, and the deque's own lock makes that entry visible to the returning
caller.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from ProxyPatternPool._core.maintenance import evict_idle, evict_unfit, kill, next_sweep, queue_checks, warn
from ProxyPatternPool._core.slot import CLOSING, CREATING, IDLE, LEASED, NEXT_USE, RESERVED, Reason, Slot, Waiter
from ProxyPatternPool._core.transitions import NotLeased, SlotTable, filled, popped

T = TypeVar("T")

#: Seconds between attempts to refill a pool whose creations fail: the first pause, and the longest.
BACKOFF, BACKOFF_MAX = 0.1, 5.0


class PoolMachine(SlotTable[T]):
    """A state machine that decides which caller gets which slot, and when slots are made and closed."""

    # -- without the lock

    def take(self, now: float, holder: object) -> Slot[T] | None:
        """Lease the idle slot that was used last. Return None if there is none, or if `enter` has to decide."""
        if self.waiters:
            return None
        try:
            slot = self.idle.pop()
        except IndexError:
            return None
        if self.waiters or (self.inspecting and (self.needs_check(slot, now) or self._unfit_reason(slot, now))):
            self.idle.append(slot)  # a waiter has come between the two looks, or the object needs a check or is unfit
            return None
        slot.state = LEASED  # from here on a copy of `_lease`: a call of it would cost a tenth of `get`
        slot.since = now
        slot.holder = holder
        slot.uses += 1
        slot.use = use = slot.use + NEXT_USE
        self.leased[use] = slot
        return slot

    def creation_begins(self, slot: Slot[T], now: float) -> None:
        """Note when the creation of a slot's object begins. The caller owns the slot, and calls `fun` next."""
        slot.since = now

    def give(self, obj: T, now: float) -> bool:
        """End the lease of `obj`. Return True if there may be work, which `due` and the outboxes show.

        Raises `NotLeased`, and changes nothing, if `obj` is not out.
        """
        slot = self.known.get(id(obj))
        if slot is None or self.leased.pop(slot.use, None) is None:
            raise NotLeased(f"no lease of a {type(obj).__name__} at {id(obj):#x}")
        if self.max_use or self.inspecting or slot.caches:
            return self._settle(slot, now)
        held = now - slot.since  # from here on a copy of `_settle`: a call of it would cost a tenth of `ret`
        slot.busy += held
        if held > slot.longest:
            slot.longest = held
        slot.since = slot.alive = now
        slot.state = IDLE
        self.idle.append(slot)  # published before the waiters are looked at: see the module's essay
        return True if self.waiters else False  # noqa: SIM210  # `bool` would be a call

    def give_use(self, use: int, now: float) -> bool:
        """End a use as `give` does. If the use is over already, change nothing, and return False."""
        slot = self.leased.pop(use, None)
        if slot is None:
            return False
        if self.max_use or self.inspecting or slot.caches:
            return self._settle(slot, now)
        held = now - slot.since  # from here on a copy of `_settle`, as in `give`
        slot.busy += held
        if held > slot.longest:
            slot.longest = held
        slot.since = slot.alive = now
        slot.state = IDLE
        self.idle.append(slot)
        return True if self.waiters else False  # noqa: SIM210  # see `give`

    def reserve(self, obj: T) -> Slot[T]:
        """End the lease of `obj` for the `retter`. The caller owns the slot until `put_back`. Raises as `give` does."""
        slot = self._end_lease(obj)
        self._reserve(slot)
        return slot

    def reserve_use(self, use: int) -> Slot[T] | None:
        """End a use as `reserve` does. If the use is over already, change nothing, and return None."""
        slot = self.leased.pop(use, None)
        if slot is not None:
            self._reserve(slot)
        return slot

    def tidy_later(self, use: int) -> None:
        """End a use as `reserve_use` does, and queue its slot for the `retter` in the background."""
        slot = self.reserve_use(use)
        if slot is not None:
            self.to_tidy.append(slot)

    def put_back(self, slot: Slot[T], reason: Reason | None, now: float) -> bool:
        """Put a reserved slot back, or close it if there is a `reason`. Return True if there may be work."""
        self._check(slot, RESERVED)
        return self._settle(slot, now, reason)

    def discard(self, obj: T, now: float) -> None:
        """End the lease of a broken `obj`, and close it. Raises `NotLeased`, and changes nothing, if it is not out."""
        self._settle(self._end_lease(obj), now, Reason.DISCARD)

    def wake_later(self, waiter: Waiter[T]) -> None:
        """Put back a waiter that could not be woken. The next thread that empties `to_wake` tries again."""
        self.to_wake.append(waiter)

    def due(self) -> bool:
        """Tell whether `match` has something to do. Each thread that has held the lock asks after releasing it."""
        if not self.closes and filled(self.to_close):
            return True
        return bool(self.waiters) and filled(self.idle)  # a move that frees capacity matches on its own

    # -- Locked: callers

    def enter(self, waiter: Waiter[T], first: bool, now: float) -> bool:
        """Put a waiter into the queue, and serve it at once if possible. Locked.

        With `first`, it goes ahead of all others, because the object that it was served was no good. Returns False,
        and changes nothing, after `shutdown`, or if `max_waiting` callers are waiting already.
        """
        if self.is_shut_down:
            return False
        waiter.since = now
        waiter.parked = False
        if first:
            self.waiters.appendleft(waiter)
        else:
            self.waiters.append(waiter)
        self.match(now)
        waiter.parked = waiter.slot is None
        if waiter.parked and not first and len(self.waiters) > (self.limits.max_waiting or len(self.waiters)):
            self.waiters.remove(waiter)
            self.counters.refused += 1
            return False
        return True

    def time_out(self, waiter: Waiter[T], late: bool, now: float) -> None:
        """Take a waiter out of the queue, unless it has been served, if only just now. Locked.

        A served waiter keeps its slot, except if it is too `late` to check an object that may be dead. Then the waiter
        times out, and the object goes to the next one.
        """
        self.match(now)  # no waiter may time out beside an idle object, even if an earlier move was interrupted
        slot = waiter.slot
        if slot is None:
            self.counters.timeouts += self._unqueue(waiter, now)
        elif late and slot.made and self.needs_check(slot, now):
            self.counters.timeouts += 1
            self.cancel(waiter, now)

    def cancel(self, waiter: Waiter[T], now: float) -> None:
        """Take a waiter out of the queue. If it was served, its slot goes to the next waiter. Locked."""
        slot, waiter.slot = waiter.slot, None
        if slot is None:
            self._unqueue(waiter, now)
        elif slot.state is CREATING:
            self._drop(slot, Reason.DISCARD)
        elif self._unlease(slot):
            slot.state = IDLE
            slot.since = now
            self.idle.append(slot)
        self.match(now)

    def requeue(self, waiter: Waiter[T], now: float) -> bool:
        """Put a waiter first into the queue: its object was no good, or goes to another waiter. As `enter`. Locked."""
        waiter.slot = None
        return self.enter(waiter, True, now)

    def exchange(self, one: Waiter[T], another: Waiter[T]) -> None:
        """Exchange the slots that two waiters were served. Locked."""
        assert one.slot is not None
        assert another.slot is not None
        one.slot.holder, another.slot.holder = another.holder, one.holder
        one.slot, another.slot = another.slot, one.slot

    def dismiss(self, waiter: Waiter[T]) -> None:
        """Take from a waiter the slot that it was served. The driver settles the slot. Locked."""
        waiter.slot = None

    def overrun(self) -> None:
        """Count a waiter that times out while its object is made or checked. `cancel` has to follow. Locked."""
        self.counters.timeouts += 1

    def made(self, slot: Slot[T], obj: T, jitter: float, now: float) -> None:
        """Record that the object of a slot exists. `delivered` or `stocked` has to follow. Locked.

        `jitter`, in [0, 1), shortens the object's max_lifetime by up to a tenth: objects that were made together do not
        all expire together. Raises `IllegalMove` if the slot is not being created, and `AlreadyPooled` if another slot
        has the same object. In both cases it changes nothing.
        """
        self._adopt(slot, obj, jitter, now)

    def delivered(self, slot: Slot[T], holder: object, now: float) -> bool:
        """Lease a slot to the caller that has made its object. Locked.

        Returns False if the pool was shut down meanwhile; then the object is closed. Raises `IllegalMove` as `made`.
        """
        self._check(slot, CREATING)
        if self.is_shut_down:
            self._close_slot(slot, Reason.SHUTDOWN)
        else:
            self._lease(slot, now, holder)
        self.match(now)
        return slot.state is LEASED

    def failed(self, slot: Slot[T], now: float) -> None:
        """Give up a slot whose object could not be made or opened. Its capacity goes to the next waiter. Locked."""
        self._check(slot, CREATING)
        self.counters.creation_errors += 1
        self._drop(slot, Reason.OPENER)
        self.match(now)

    def reject(self, slot: Slot[T], reason: Reason, now: float) -> None:
        """Close an idle object that was served, but is not fit for use. Does nothing if the lease is over. Locked."""
        if self._unlease(slot):
            self._close_slot(slot, reason)
        self.match(now)

    # -- Locked: maintenance

    def stocked(self, slot: Slot[T], now: float) -> None:
        """Put the new object of a refill among the idle ones. Raises `IllegalMove` as `made`. Locked."""
        self._check(slot, CREATING)
        slot.state = IDLE
        self.idle.append(slot)
        self.match(now)

    def back_off(self, jitter: float, now: float) -> None:
        """Pause after a failed refill before the next one. Locked.

        The pause doubles from `BACKOFF` to `BACKOFF_MAX`. `jitter`, in [0, 1), shortens it by up to half: processes
        that lost the same server do not all come back at the same moment.
        """
        self.refill_at = now + min(BACKOFF_MAX, BACKOFF * 2**self.refill_failures) * (1 - jitter / 2)
        self.refill_failures = min(self.refill_failures + 1, 10)
        self._drop_creations()  # they would fail too
        self.match(now)

    def closed(self, slot: Slot[T], now: float) -> None:
        """Remove a slot whose object has been closed, even if `close` has failed. Its capacity is free. Locked."""
        self._check(slot, CLOSING)
        self._remove(slot)
        self.match(now)

    def reserve_idle(self, slot: Slot[T], _now: float) -> bool:
        """Reserve an idle slot to check its object. Return False if it is not idle any more. Locked."""
        try:
            self.idle.remove(slot)
        except ValueError:
            return False
        slot.state = RESERVED
        return True

    def checked(self, slot: Slot[T], alive: bool, now: float) -> None:
        """Put a slot back after a check, or close its object if that is not `alive`. Locked.

        It goes back to the left of ``idle``, to the slots unused for longest. `_queue_checks` queues the slot used last
        first, so the slots get back their order.
        """
        self._check(slot, RESERVED)
        if alive:
            slot.alive = now
            slot.state = IDLE
            self.idle.appendleft(slot)
        else:
            self._close_slot(slot, Reason.HEALTH)
        self.match(now)

    def sweep(self, now: float) -> float:
        """Do the work that is due by now. Return the time of the next sweep; infinity means none. Locked."""
        evict_idle(self, now)
        evict_unfit(self, now)
        kill(self, now)
        warn(self, now)
        queue_checks(self, now)
        self.match(now)
        return next_sweep(self, now)

    def resize(self, min_size: int | None, max_size: int | None, now: float) -> None:
        """Change the sizes. None leaves a size unchanged. Locked.

        Surplus idle objects are closed now, surplus objects in use when they come back. Raises TypeError or ValueError
        as `Limits` does, and then changes nothing.
        """
        sizes = {"min_size": min_size, "max_size": max_size}
        self.limits = replace(self.limits, **{name: size for name, size in sizes.items() if size is not None})
        self.min_size, self.max_size = self.limits.min_size, self.limits.max_size
        self.shrinking = bool(self.max_size)
        self._watch()
        for _ in range(self._excess() if self.shrinking else 0):  # called once: `_excess` looks at all slots
            slot = popped(self.to_create) or popped(self.idle)
            if slot is None:
                break
            self._drop(slot, Reason.RESIZE)
        self.match(now)

    def refresh(self, now: float) -> None:
        """Replace all objects that exist now: close idle ones one at a time, others when they come back. Locked."""
        self.generation += 1
        self._watch()
        evict_unfit(self, now)
        self.match(now)

    def shutdown(self, now: float) -> None:
        """Shut down forever: wake all waiters, close idle objects now, others when they come back. Locked.

        A second call does nothing more.
        """
        self.is_shut_down = True
        if self.mark not in self.waiters:
            self.waiters.append(self.mark)  # stays forever: it stops `take`, and tells `give` of work, at no cost
        while self.waiters[0] is not self.mark:
            self.to_wake.append(self.waiters[0])
            self.waiters.popleft()
        self.match(now)

    def drain(self, waiter: Waiter[T], now: float) -> bool:
        """Register a waiter to be woken once no slot is left. Return False if none is left already. Locked."""
        waiter.since = now
        if self.registry:
            self.drainers.append(waiter)
        return bool(self.registry)

    def undrain(self, waiter: Waiter[T], _now: float) -> None:
        """Remove a waiter that `drain` has registered. Locked."""
        if waiter in self.drainers:
            self.drainers.remove(waiter)

    def match(self, now: float) -> None:
        """Serve waiters in the order of arrival, until waiters or slots run out. Then queue refills. Locked."""
        if self.is_shut_down:
            self._clear_out()
        self._drop_closing()
        if self.is_shut_down:
            if not self.registry:
                self.to_wake.extend(self.drainers)
                self.drainers.clear()
            return
        if self.shrinking and self._excess() <= 0:
            self.shrinking = False
            self._watch()
        while self.waiters and self._serve(self.waiters[0], now):
            self.to_wake.append(self.waiters[0])
            self.waiters.popleft()  # last: an interrupt before it loses no waiter, and waking twice does no harm
        while len(self.registry) < self.min_size and now >= self.refill_at:
            self.to_create.append(self._new_slot(now))

    # -- the queue

    def _next_slot(self, now: float) -> Slot[T] | None:
        while True:
            try:
                slot = self.idle.pop()  # without a look at the length first: see the module's essay
            except IndexError:
                break
            reason = self._unfit_reason(slot, now) if self.inspecting else None
            if reason is None:
                return slot
            self._close_slot(slot, reason)
        self._drop_closing()
        # a refill that has not begun goes to the waiter, which makes the object itself, at once
        return popped(self.to_create) or (self._new_slot(now) if self._has_room() else None)

    def _serve(self, waiter: Waiter[T], now: float) -> bool:
        """Give a waiter a slot, unless an interrupted move has given it one. Return False if there is no slot."""
        if waiter.slot is None:
            slot = self._next_slot(now)
            if slot is None:
                return False
            if slot.state is IDLE:
                self._lease(slot, now, waiter.holder)
            waiter.slot = slot
            if waiter.parked:
                self._count_wait(waiter, now)
        return True
