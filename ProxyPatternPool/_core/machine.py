"""PoolMachine: the one state machine behind every pool.

It decides and never acts. It does not block, read a clock, log, or run a line of user code: the driver tells it
what happened and when (``now``, monotonic seconds), and finds what is to be done outside the lock in its outboxes:
waiters to wake, objects to close, to make or to check, slots to let go. An outbox, unlike a returned list, loses
nothing when the thread that should have emptied it is interrupted: whoever comes next empties it.

Some moves take no lock, because a pool lives by them: `take`, `give` and their like. They rest on the atomicity of
single ``deque`` and ``dict`` operations, and on one ordering which makes a lost wake-up impossible: who returns a
slot publishes it in ``idle`` *before* looking for waiters; who waits enters ``waiters`` *before* looking for idle
slots; so at least one of the two sees the other. All other moves need the driver's lock, and say "Locked".

Without the GIL the ordering holds for the same reason, as long as who waits looks with ``pop``, which locks the
deque, and not at its length: either that ``pop`` comes after the ``append`` and finds the slot, or before it; then
so did the entry into ``waiters``, and the deque's own lock hands that on to who returns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from ProxyPatternPool._core.maintenance import Maintenance
from ProxyPatternPool._core.slot import CLOSING, CREATING, IDLE, LEASED, NEXT_USE, RESERVED, Reason, Slot, Waiter
from ProxyPatternPool._core.transitions import NotLeased, filled, popped

T = TypeVar("T")

#: Seconds between attempts to refill a pool whose creations fail: the first pause, and the longest.
BACKOFF, BACKOFF_MAX = 0.1, 5.0


class PoolMachine(Maintenance[T]):
    """Who may have which slot, when one is made, and when and why one is closed."""

    # -- without the lock

    def take(self, now: float, holder: object) -> Slot[T] | None:
        """Lease the idle slot that was used last; None when there is none, or when `enter` has to look into it."""
        if self.waiters:
            return None
        try:
            slot = self.idle.pop()
        except IndexError:
            return None
        if self.waiters or (self.inspecting and (self.needs_check(slot, now) or self._unfit_reason(slot, now))):
            self.idle.append(slot)  # a waiter has come between the two looks, or the object has had its time
            return None
        slot.state = LEASED  # from here on as `_lease`, whose call would cost a tenth of `get`
        slot.since = now
        slot.holder = holder
        slot.uses += 1
        slot.use = use = slot.use + NEXT_USE
        self.leased[use] = slot
        return slot

    def needs_check(self, slot: Slot[T], now: float) -> bool:
        """Tell whether the object has to be checked before it is used."""
        delay = self.limits.health_delay
        return self.checks and (not delay or now - slot.alive > delay)  # a clock may stand still: 0 is always

    def create(self, slot: Slot[T], now: float) -> None:
        """The creation of a slot's object starts now, by the slot's owner."""
        slot.since = now

    def holds(self, use: int) -> bool:
        """Tell whether that use is still on: another caller may have returned its object."""
        return use in self.leased

    def give(self, obj: T, now: float) -> bool:
        """End the lease of `obj`; True when there may be work: then `due` and the outboxes tell.

        Raises `NotLeased`, having changed nothing, when `obj` is not out.
        """
        slot = self.known.get(id(obj))
        if slot is None or self.leased.pop(slot.use, None) is None:
            raise NotLeased(f"no lease of a {type(obj).__name__} at {id(obj):#x}")
        if self.max_use or self.inspecting or slot.caches:
            return self._settle(slot, now)
        held = now - slot.since  # from here on as `_settle`, whose call would cost a tenth of `ret`
        slot.busy += held
        if held > slot.longest:
            slot.longest = held
        slot.since = slot.alive = now
        slot.state = IDLE
        self.idle.append(slot)  # published before the waiters are looked at: see the module's essay
        return True if self.waiters else False  # noqa: SIM210  # `bool` would be a call

    def give_use(self, use: int, now: float) -> bool:
        """End that use as `give` does; if it is over already, change nothing, and return False."""
        slot = self.leased.pop(use, None)
        if slot is None:
            return False
        if self.max_use or self.inspecting or slot.caches:
            return self._settle(slot, now)
        held = now - slot.since  # from here on as `give`
        slot.busy += held
        if held > slot.longest:
            slot.longest = held
        slot.since = slot.alive = now
        slot.state = IDLE
        self.idle.append(slot)
        return True if self.waiters else False  # noqa: SIM210  # see `give`

    def reserve(self, obj: T) -> Slot[T]:
        """End the lease of `obj`, which is to be tidied up: the slot is the caller's, until `put_back`. As `give`."""
        slot = self._end_lease(obj)
        self._reserve(slot)
        return slot

    def reserve_use(self, use: int) -> Slot[T] | None:
        """End that use as `reserve` does; if it is over already, change nothing, and return None."""
        slot = self.leased.pop(use, None)
        if slot is not None:
            self._reserve(slot)
        return slot

    def tidy_later(self, use: int) -> None:
        """End that use as `reserve_use` does, and queue its slot to be tidied up in the background."""
        slot = self.reserve_use(use)
        if slot is not None:
            self.to_tidy.append(slot)

    def put_back(self, slot: Slot[T], reason: Reason | None, now: float) -> bool:
        """Put back what was reclaimed, or doom it for that reason; True when there may be work."""
        return self._settle(slot, now, reason)

    def discard(self, obj: T, now: float) -> None:
        """End the lease of `obj`, which is broken. Raises `NotLeased`, having changed nothing, when it is not out."""
        self._settle(self._end_lease(obj), now, Reason.DISCARD)

    def bad_return(self) -> None:
        """Count an object that was returned without a lease."""
        self.counters.bad_returns += 1

    def wake_later(self, waiter: Waiter[T]) -> None:
        """Put a waiter back which could not be woken: the next thread that empties `to_wake` tries again."""
        self.to_wake.append(waiter)

    def due(self) -> bool:
        """Tell whether `match` has something to do. Whoever has held the lock asks after releasing it."""
        if not self.closes and filled(self.to_close):
            return True
        return bool(self.waiters) and filled(self.idle)  # free places are matched by the move that frees them

    # -- Locked: callers

    def enter(self, waiter: Waiter[T], first: bool, now: float) -> bool:
        """Queue up, and be served at once if possible. Locked.

        `first`: before all others, having been served an object that was no good. False, and nothing has changed, after
        `shutdown`, or when max_waiting callers wait already.
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
        """Stop waiting: out of the queue, unless it was served, if only just now: the slot is to be used. Locked.

        Unless it is too `late` to check an object that may be dead: then it is put back.
        """
        self.match(now)  # so that nobody can time out beside an idle object, whatever was interrupted before
        slot = waiter.slot
        if slot is None:
            self.counters.timeouts += self._unqueue(waiter, now)
        elif late and slot.made and self.needs_check(slot, now):
            self.counters.timeouts += 1
            self.cancel(waiter, now)

    def cancel(self, waiter: Waiter[T], now: float) -> None:
        """Stop waiting and want nothing: out of the queue, or what was served goes on to the next one. Locked."""
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
        """Queue up first: the object was no good, or goes to another waiter. As `enter`. Locked."""
        waiter.slot = None
        return self.enter(waiter, True, now)

    def exchange(self, one: Waiter[T], another: Waiter[T]) -> None:
        """Let two waiters have what the other one was served. Locked."""
        assert one.slot is not None
        assert another.slot is not None
        one.slot.holder, another.slot.holder = another.holder, one.holder
        one.slot, another.slot = another.slot, one.slot

    def dismiss(self, waiter: Waiter[T]) -> None:
        """Take what a waiter was served out of its hands: the slot is settled by the driver. Locked."""
        waiter.slot = None

    def overrun(self) -> None:
        """A waiter's time is over while its object is made or checked; `cancel` is to follow. Locked."""
        self.counters.timeouts += 1

    def made(self, slot: Slot[T], obj: T, jitter: float, now: float) -> None:
        """The object of a slot exists; `delivered` or `stocked` is to follow. `jitter` is in [0, 1). Locked.

        It shortens the object's max_lifetime by up to a tenth, so that objects which were made together do not all
        expire together. Raises `IllegalMove` when the slot is not being created, `AlreadyPooled` when another slot has
        that very object; nothing has changed then.
        """
        self._adopt(slot, obj, jitter, now)

    def delivered(self, slot: Slot[T], holder: object, now: float) -> bool:
        """A caller has made the object of its slot, and leases it. Locked.

        False when the pool was closed meanwhile: the slot is doomed. Raises `IllegalMove` as `made`.
        """
        self._check(slot, CREATING)
        if self.is_shut_down:
            self._close_slot(slot, Reason.SHUTDOWN)
        else:
            self._lease(slot, now, holder)
        self.match(now)
        return slot.state is LEASED

    def failed(self, slot: Slot[T], now: float) -> None:
        """The object of a slot could not be made, or not be opened: the place is free for the next one. Locked."""
        self._check(slot, CREATING)
        self.counters.creation_errors += 1
        self._drop(slot, Reason.OPENER)
        self.match(now)

    def reject(self, slot: Slot[T], reason: Reason, now: float) -> None:
        """What was served from the idle ones is not fit for use. Locked. Does nothing if the lease is over already."""
        if self._unlease(slot):
            self._close_slot(slot, reason)
        self.match(now)

    # -- Locked: maintenance

    def stocked(self, slot: Slot[T], now: float) -> None:
        """The object of a refill has been made: it is idle now. Locked. Raises as `delivered` does."""
        self._check(slot, CREATING)
        slot.state = IDLE
        self.idle.append(slot)
        self.match(now)

    def back_off(self, jitter: float, now: float) -> None:
        """A refill has failed: pause before the next try. `jitter` is in [0, 1). Locked.

        The pause doubles from `BACKOFF` to `BACKOFF_MAX`, less up to half of it at random, so that processes which
        lost the same server do not all come back to it at the same moment.
        """
        self.refill_at = now + min(BACKOFF_MAX, BACKOFF * 2**self.refill_failures) * (1 - jitter / 2)
        self.refill_failures = min(self.refill_failures + 1, 10)
        self._drop_creations()  # they would fail too
        self.match(now)

    def closed(self, slot: Slot[T], now: float) -> None:
        """The object of a doomed slot has been closed, well or badly: its place is free. Locked."""
        self._check(slot, CLOSING)
        self._remove(slot)
        self.match(now)

    def reserve_idle(self, slot: Slot[T], _now: float) -> bool:
        """Take a suspect out of the idle ones, to check its object; False when it is not there any more. Locked."""
        try:
            self.idle.remove(slot)
        except ValueError:
            return False
        slot.state = RESERVED
        return True

    def checked(self, slot: Slot[T], alive: bool, now: float) -> None:
        """A reserved slot's object was checked: it is idle again, where it was, or doomed. Locked.

        It goes back to the left, to those unused for longest: suspects come in the order in which that is right.
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
        """Do what time asks for; return when to come back (infinity: no need to). Locked."""
        self._evict_idle(now)
        self._evict_unfit(now)
        self._kill(now)
        self._warn(now)
        self._queue_checks(now)
        self.match(now)
        return self._next_sweep(now)

    def resize(self, min_size: int | None, max_size: int | None, now: float) -> None:
        """Have other sizes from now on; None leaves one as it is. Locked.

        Idle objects beyond the sizes are doomed, and objects in use when they come back. TypeError or ValueError as for
        `Limits`; nothing has changed then.
        """
        sizes = {"min_size": min_size, "max_size": max_size}
        self.limits = replace(self.limits, **{name: size for name, size in sizes.items() if size is not None})
        self.min_size, self.max_size = self.limits.min_size, self.limits.max_size
        self.shrinking = bool(self.max_size)
        self._watch()
        for _ in range(self._excess() if self.shrinking else 0):  # counted once: it looks at all slots
            slot = popped(self.to_create) or popped(self.idle)
            if slot is None:
                break
            self._drop(slot, Reason.RESIZE)
        self.match(now)

    def refresh(self, now: float) -> None:
        """Use no object any more that exists now: idle ones are doomed one by one, others when they return. Locked."""
        self.generation += 1
        self._watch()
        self._evict_unfit(now)
        self.match(now)

    def shutdown(self, now: float) -> None:
        """Send everybody away, doom what is idle now and what comes back later. For good; twice is once. Locked."""
        self.is_shut_down = True
        if self.mark not in self.waiters:
            self.waiters.append(self.mark)  # for ever: it makes `take` and `give` see that something is up, at no cost
        while self.waiters[0] is not self.mark:
            self.to_wake.append(self.waiters[0])
            self.waiters.popleft()
        self.match(now)

    def drain(self, waiter: Waiter[T], now: float) -> bool:
        """Ask to be woken once nothing is left; False when nothing is left already. After `shutdown`. Locked."""
        waiter.since = now
        if self.registry:
            self.drainers.append(waiter)
        return bool(self.registry)

    def undrain(self, waiter: Waiter[T], _now: float) -> None:
        """Ask no more to be woken. Locked."""
        if waiter in self.drainers:
            self.drainers.remove(waiter)

    def match(self, now: float) -> None:
        """Bring waiters and slots together, in the order of arrival, until one or the other runs out. Locked."""
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
            self.waiters.popleft()  # last: an interrupt before it loses no waiter, and waking twice is no harm
        while len(self.registry) < self.min_size and now >= self.refill_at:
            self.to_create.append(self._new_slot(now))

    # -- the queue

    def _next_slot(self, now: float) -> Slot[T] | None:
        while True:
            try:
                slot = self.idle.pop()  # and not a look at its length first: see the module's essay
            except IndexError:
                break
            reason = self._unfit_reason(slot, now) if self.inspecting else None
            if reason is None:
                return slot
            self._close_slot(slot, reason)
        self._drop_closing()
        # a refill that nobody has begun: whoever waits makes that object itself, at once
        return popped(self.to_create) or (self._new_slot(now) if self._has_room() else None)

    def _serve(self, waiter: Waiter[T], now: float) -> bool:
        """Give the waiter a slot, unless it has one, from before an interrupt; False when there is none."""
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

    def _unqueue(self, waiter: Waiter[T], now: float) -> bool:
        try:
            self.waiters.remove(waiter)
        except ValueError:
            return False
        self._count_wait(waiter, now)
        return True

    def _count_wait(self, waiter: Waiter[T], now: float) -> None:
        waited = now - waiter.since
        self.counters.wait.add(1, waited, waited)
