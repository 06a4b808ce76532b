"""PoolCore: the one state machine behind every pool.

It decides and never acts. It does not block, read a clock, log, or run a line of user code: the driver tells it
what happened and when (``now``, monotonic seconds), and finds what is to be done outside the lock in its outboxes:
waiters to wake, objects to close, objects to make, slots to let go. An outbox, unlike a returned list, loses
nothing when the thread that should have emptied it is interrupted: whoever comes next empties it.

Three moves take no lock, because a pool lives by them: `take`, `give` and `discard`. They rest on the atomicity of
single ``deque`` and ``dict`` operations, and on one ordering which makes a lost wake-up impossible: who returns a
slot publishes it in ``idle`` *before* looking for waiters; who waits enters ``waiters`` *before* looking for idle
slots; so at least one of the two sees the other. All other moves need the driver's lock, and say "Locked".

Without the GIL the ordering holds for the same reason, as long as who waits looks with ``pop``, which locks the
deque, and not at its length: either that ``pop`` comes after the ``append`` and finds the slot, or before it; then
so did the entry into ``waiters``, and the deque's own lock hands that on to who returns.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Generic, TypeVar

from ProxyPatternPool._errors import IllegalMove
from ProxyPatternPool._slot import CLOSING, CREATING, GONE, IDLE, LEASED, Reason, Slot, State, Waiter
from ProxyPatternPool._stats import Counters

T = TypeVar("T")
U = TypeVar("U")

#: Seconds between attempts to refill a pool whose creations fail: the first pause, and the longest.
BACKOFF, BACKOFF_MAX = 0.1, 5.0


class NotLeased(IllegalMove):
    """The object is not out: given back twice, taken away, or never ours."""


class AlreadyPooled(IllegalMove):
    """The object that was made is in the pool already: two callers would share it."""


class PoolCore(Generic[T]):
    """Who may have which slot, when one is made, and when and why one is closed.

    `max_size`, `max_use` and `max_delay` of 0 mean no limit. `closes` tells whether ending an object takes user
    code: if not, a slot whose object has served its time goes at once.
    """

    def __init__(
        self, *, max_size: int = 0, min_size: int = 0, max_use: int = 0, max_delay: float = 0.0, closes: bool = True
    ) -> None:
        self.max_size = max_size
        self.min_size = min_size
        self.max_use = max_use
        self.max_delay = max_delay
        self.closes = closes

        # State. Changed under the lock, but for the four marked *, of which every single operation is atomic.
        self.registry: set[Slot[T]] = set()  # every slot that is not GONE: its length is the pool's size
        self.known: dict[int, Slot[T]] = {}  # id(obj) -> slot, of every object in the registry: none is there twice
        self.idle: deque[Slot[T]] = deque()  # * IDLE slots: last in, first out, the one unused for longest at the left
        self.leased: dict[tuple[Slot[T], int], Slot[T]] = {}  # * (slot, use) -> slot; popping it is the one way out
        self.waiters: deque[Waiter[T]] = deque()  # first come, first served; once closed, for ever a mark
        self.drainers: list[Waiter[T]] = []  # callers of shutdown, waiting for the registry to become empty
        self.closed = False
        self.mark: Waiter[T] = Waiter(None)  # the last in the queue of a closed pool
        self.numbers = 0  # of the next slot
        self.refill_at = -inf  # no refill is tried before: pushed on by failures
        self.refill_failures = 0  # since the last creation that succeeded
        self.counters = Counters()

        # Outboxes. Filled by moves, emptied by the driver after it has released the lock; any thread may.
        self.wakes: deque[Waiter[T]] = deque()  # to be woken
        self.doomed: deque[Slot[T]] = deque()  # * CLOSING: close the object, then say `ended`
        self.refills: deque[Slot[T]] = deque()  # CREATING: make an object, then say `stocked` or `refill_failed`
        self.gone: deque[Slot[T]] = deque()  # GONE: clear it; it keeps destructors from running under the lock

    # -- without the lock

    def take(self, now: float, holder: object) -> Slot[T] | None:
        """Lease the idle slot that was used last; None when there is none, or when somebody waits already."""
        if self.waiters:
            return None
        try:
            slot = self.idle.pop()
        except IndexError:
            return None
        if self.waiters:
            self.idle.append(slot)  # somebody has come between the two looks: it is that one's turn
            return None
        self._lease(slot, now, holder)
        return slot

    def begin(self, slot: Slot[T], now: float) -> None:
        """The creation of a slot's object starts now, by the slot's owner."""
        slot.since = now

    def holds(self, slot: Slot[T], use: int) -> bool:
        """Tell whether that use of the slot is still on: its object may have been returned by somebody else."""
        return (slot, use) in self.leased

    def give(self, obj: T, now: float) -> bool:
        """End the lease of `obj`; True when there may be work: then `due` and the outboxes tell.

        Raises `NotLeased`, having changed nothing, when `obj` is not out.
        """
        return self._settle(self._end_lease(obj), now)

    def give_use(self, slot: Slot[T], use: int, now: float) -> bool:
        """End that use of the slot as `give` does; if it is over already, change nothing, and return False."""
        return self.leased.pop((slot, use), None) is not None and self._settle(slot, now)

    def discard(self, obj: T, now: float) -> None:
        """End the lease of `obj`, which is broken. Raises `NotLeased`, having changed nothing, when it is not out."""
        self._settle(self._end_lease(obj), now, Reason.DISCARD)

    def due(self) -> bool:
        """Tell whether `match` has something to do. Whoever has held the lock asks after releasing it."""
        if not self.closes and _filled(self.doomed):
            return True
        return bool(self.waiters) and _filled(self.idle)  # free places are matched by the move that frees them

    # -- Locked: callers

    def enter(self, waiter: Waiter[T], now: float) -> bool:
        """Queue up, and be served at once if possible. False, and nothing changed, after `shutdown`. Locked."""
        if self.closed:
            return False
        waiter.since = now
        self.waiters.append(waiter)
        self.match(now)
        waiter.parked = waiter.slot is None
        return True

    def leave(self, waiter: Waiter[T], now: float) -> None:
        """Stop waiting: out of the queue, unless it was served, if only just now: the slot is to be used. Locked."""
        self.match(now)  # so that nobody can time out beside an idle object, whatever was interrupted before
        if waiter.slot is None and self._unqueue(waiter, now):
            self.counters.timeouts += 1

    def abandon(self, waiter: Waiter[T], now: float) -> None:
        """Stop waiting and want nothing: out of the queue, or what was served goes on to the next one. Locked."""
        slot, waiter.slot = waiter.slot, None
        if slot is None:
            self._unqueue(waiter, now)
        elif slot.state is CREATING:
            self._retire(slot)
        elif self.leased.pop((slot, slot.uses), None):
            slot.uses -= 1  # it never got into anybody's hands
            slot.state = IDLE
            slot.since = now
            self.idle.append(slot)
        self.match(now)

    def delivered(self, slot: Slot[T], obj: T, holder: object, now: float) -> bool:
        """A caller has made the object of its slot, and leases it. Locked.

        False when the pool was closed meanwhile: the slot is doomed. Raises `IllegalMove` when the slot is not being
        created, `AlreadyPooled` when another slot has that very object; nothing has changed then.
        """
        self._adopt(slot, obj, now)
        if self.closed:
            self._doom(slot, Reason.SHUTDOWN)
        else:
            self._lease(slot, now, holder)
        self.match(now)
        return slot.state is LEASED

    def failed(self, slot: Slot[T], now: float) -> None:
        """A caller could not make the object of its slot: the place is free for the next one. Locked."""
        self._check(slot, CREATING)
        self.counters.creation_errors += 1
        self._retire(slot)
        self.match(now)

    # -- Locked: maintenance

    def stocked(self, slot: Slot[T], obj: T, now: float) -> None:
        """The object of a refill has been made: it is idle now. Locked. Raises as `delivered` does."""
        self._adopt(slot, obj, now)
        slot.state = IDLE
        self.idle.append(slot)
        self.match(now)

    def refill_failed(self, slot: Slot[T], jitter: float, now: float) -> None:
        """The object of a refill could not be made: pause before the next try. `jitter` is in [0, 1). Locked.

        The pause doubles from `BACKOFF` to `BACKOFF_MAX`, less up to half of it at random, so that processes which
        lost the same server do not all come back to it at the same moment.
        """
        self._check(slot, CREATING)
        self.refill_at = now + min(BACKOFF_MAX, BACKOFF * 2**self.refill_failures) * (1 - jitter / 2)
        self.refill_failures = min(self.refill_failures + 1, 10)
        self._drop_refills()  # they would fail too
        self.failed(slot, now)

    def ended(self, slot: Slot[T], now: float) -> None:
        """The object of a doomed slot has been closed, well or badly: its place is free. Locked."""
        self._check(slot, CLOSING)
        self._retire(slot)
        self.match(now)

    def sweep(self, now: float) -> float:
        """Doom what was idle for too long, refill; return when to come back (infinity: no need to). Locked."""
        if self.max_delay:
            self._expire(now)
        self.match(now)
        return self._next_sweep(now)

    def shutdown(self, now: float) -> None:
        """Send everybody away, doom what is idle now and what comes back later. For good; twice is once. Locked."""
        self.closed = True
        if self.mark not in self.waiters:
            self.waiters.append(self.mark)  # for ever: it makes `take` and `give` see that something is up, at no cost
        while self.waiters[0] is not self.mark:
            self.wakes.append(self.waiters[0])
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
        if self.closed:
            self._clear_out()
        if not self.closes:
            while slot := popped(self.doomed):  # a worker may be at it, too
                self._retire(slot)
        if self.closed:
            if not self.registry:
                self.wakes.extend(self.drainers)
                self.drainers.clear()
            return
        while self.waiters and self._serve(self.waiters[0], now):
            self.wakes.append(self.waiters[0])
            self.waiters.popleft()  # last: an interrupt before it loses no waiter, and waking twice is no harm
        while len(self.registry) < self.min_size and now >= self.refill_at:
            self.refills.append(self._new_slot(now))

    # -- the rules, each in one place

    def _next_slot(self, now: float) -> Slot[T] | None:
        try:
            return self.idle.pop()  # and not a look at its length first: see the module's essay
        except IndexError:
            pass
        # a refill that nobody has begun: whoever waits makes that object itself, at once
        return popped(self.refills) or (self._new_slot(now) if self._has_room() else None)

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

    def _has_room(self) -> bool:
        return not self.max_size or len(self.registry) < self.max_size

    def _new_slot(self, now: float) -> Slot[T]:
        slot: Slot[T] = Slot(self.numbers, now)
        self.numbers += 1
        self.registry.add(slot)
        return slot

    def _adopt(self, slot: Slot[T], obj: T, now: float) -> None:
        self._check(slot, CREATING)
        if id(obj) in self.known:
            raise AlreadyPooled(f"{slot!r}: its object is that of {self.known[id(obj)]!r}")
        self.known[id(obj)] = slot
        slot.obj = obj
        self.counters.created += 1
        self.counters.creation.add(1, now - slot.since, now - slot.since)
        slot.since = now
        self.refill_failures, self.refill_at = 0, -inf

    def _lease(self, slot: Slot[T], now: float, holder: object) -> None:
        slot.state = LEASED
        slot.since = now
        slot.holder = holder
        slot.uses += 1
        self.leased[slot, slot.uses] = slot

    def _end_lease(self, obj: T) -> Slot[T]:
        slot = self.known.get(id(obj))
        if slot is None or self.leased.pop((slot, slot.uses), None) is None:
            raise NotLeased(f"no lease of a {type(obj).__name__} at {id(obj):#x}")
        return slot

    def _settle(self, slot: Slot[T], now: float, reason: Reason | None = None) -> bool:
        held = now - slot.since
        slot.busy += held
        if held > slot.longest:
            slot.longest = held
        slot.since = now
        if self.max_use and slot.uses >= self.max_use and reason is None:
            reason = Reason.MAX_USE
        if reason is not None:
            self._doom(slot, reason)
            return True
        slot.state = IDLE
        self.idle.append(slot)  # published before the waiters are looked at: see the module's essay
        return bool(self.waiters)

    def _doom(self, slot: Slot[T], reason: Reason) -> None:
        slot.state = CLOSING
        slot.reason = reason
        self.doomed.append(slot)

    def _retire(self, slot: Slot[T]) -> None:
        if slot.state is CLOSING:
            del self.known[id(slot.obj)]
            assert slot.reason is not None
            self.counters.closed[slot.reason.value] += 1
        self.registry.remove(slot)
        self.counters.use.add(slot.uses, slot.busy, slot.longest)
        slot.state = GONE
        self.gone.append(slot)

    def _expire(self, now: float) -> None:
        spare = sum(slot.state is not CLOSING for slot in self.registry) - self.min_size
        while spare > 0:
            try:
                slot = self.idle.popleft()
            except IndexError:
                return
            if slot.since + self.max_delay > now:
                self.idle.appendleft(slot)  # a look without a pop would own nothing; whoever missed it now waits for us
                return
            self._doom(slot, Reason.MAX_DELAY)
            spare -= 1

    def _next_sweep(self, now: float) -> float:
        if self.closed:
            return inf
        due = self.refill_at if len(self.registry) < self.min_size else inf
        if self.max_delay:
            due = min(due, self._next_expiry(now))
        return due

    def _next_expiry(self, now: float) -> float:
        try:
            expiry = self.idle[0].since + self.max_delay
        except IndexError:
            expiry = now
        return expiry if expiry > now else now + self.max_delay  # what is overdue is kept for min_size: later, perhaps

    def _drop_refills(self) -> None:
        while slot := popped(self.refills):
            self._retire(slot)

    def _clear_out(self) -> None:
        self._drop_refills()
        while slot := popped(self.idle):
            self._doom(slot, Reason.SHUTDOWN)

    def _check(self, slot: Slot[T], state: State) -> None:
        if slot.state is not state or slot not in self.registry:
            raise IllegalMove(f"{slot!r} should be {state.value}")


def popped(queue: deque[U]) -> U | None:
    """Take the first item out, None when there is none: others may be at it, too."""
    try:
        return queue.popleft()
    except IndexError:
        return None


def _filled(queue: deque[Slot[T]]) -> bool:
    queue.rotate(0)  # does nothing but lock the deque: without the GIL a bare length may be a stale one
    return bool(queue)
