"""The core against a naive model: whatever happens, in whatever order, it decides as the model does.

The model is the specification in the simplest words: lists, and one rule (`settle`) applied until nothing changes.
Time is a number that the test moves. There is no thread, no lock and no sleep: what a driver does is a rule here.
"""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ProxyPatternPool._core import BACKOFF, BACKOFF_MAX, AlreadyPooled, NotLeased, PoolCore
from ProxyPatternPool._errors import IllegalMove
from ProxyPatternPool._slot import Slot, State, Waiter

INDEX = st.integers(0, 1000)  # which one of those there are


class Thing:
    """An object to be pooled. All are equal, and unhashable: only identity tells one from another."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing)

    __hash__ = None  # type: ignore[assignment]  # that is the point


Queued = Waiter[Thing]
Place = Slot[Thing]


class CoreMachine(RuleBasedStateMachine):
    """Drives a `PoolCore` and the model side by side."""

    @initialize(
        max_size=st.integers(0, 4),
        min_size=st.integers(0, 3),
        max_use=st.integers(0, 3),
        max_delay=st.sampled_from([0.0, 1.0, 1.0, 3.0]),
        closes=st.booleans(),
    )
    def start(self, max_size: int, min_size: int, max_use: int, max_delay: float, closes: bool) -> None:
        self.max_size, self.min_size = max_size, min(min_size, max_size) if max_size else min_size
        self.max_use, self.max_delay, self.closes = max_use, max_delay, closes
        self.core: PoolCore[Thing] = PoolCore(
            max_size=max_size, min_size=self.min_size, max_use=max_use, max_delay=max_delay, closes=closes
        )
        self.now = 100.0
        self.settled = True  # False between a return and the pump that follows it
        # the model
        self.idle: list[tuple[Place, float]] = []  # and since when; the last one is next
        self.leased: list[Place] = []
        self.queue: list[Queued] = []
        self.served: list[Queued] = []  # woken, but not running yet
        self.making: list[Queued] = []  # callers in `fun`
        self.refills: list[Place] = []  # asked for
        self.refilling: list[Place] = []  # in the worker
        self.doomed: list[tuple[Place, str]] = []  # and why
        self.closing: list[tuple[Place, str]] = []  # in the worker
        self.drainers: list[Queued] = []
        self.closed = False
        self.failures = 0  # of refills, in a row
        self.uses: dict[int, int] = {}  # by number of the slot
        # for the ledger
        self.made: list[Place] = []
        self.ended: list[tuple[Place, str]] = []
        self.numbers: set[int] = set()

    # -- the model

    def size(self) -> int:
        making = [waiter for waiter in self.served + self.making if waiter.slot and waiter.slot.state is State.CREATING]
        lists: list[list[Any]] = [self.idle, self.leased, making, self.refills, self.refilling]
        return sum(map(len, [*lists, self.doomed, self.closing]))

    def room(self) -> bool:
        return not self.max_size or self.size() < self.max_size

    def lease(self, slot: Place) -> None:
        self.uses[slot.number] = self.uses.get(slot.number, 0) + 1
        self.leased.append(slot)

    def settle(self) -> None:
        """Let the driver pump; then the one rule: serve in order while there is something to serve."""
        while self.core.due():
            self.core.match(self.now)
        woken_by_pump = len(self.core.wakes)
        self.core.match(self.now)  # as the next holder of the lock will: it may refill, but owes nobody anything
        assert len(self.core.wakes) == woken_by_pump, "`due` did not tell all that there was to do"
        self.settled = True
        woken: list[Queued] = []
        if self.closed:
            self.doomed += [(slot, "shutdown") for slot, _ in self.idle]
            self.idle.clear()
            self.refills.clear()
        if not self.closes:
            self.ended += self.doomed
            self.doomed.clear()
        while self.queue and not self.closed and (self.idle or self.refills or self.room()):
            waiter = self.queue.pop(0)
            assert waiter.slot is not None, "a waiter beside an idle object or free capacity"
            if self.idle:
                expected, _ = self.idle.pop()
                assert waiter.slot is expected, "not the object that was used last"
                self.lease(expected)
            elif self.refills:
                assert waiter.slot is self.refills.pop(0), "a refill that nobody has begun was left alone"
            else:
                assert waiter.slot.state is State.CREATING
                self.note_new(waiter.slot)
            self.served.append(waiter)
            woken.append(waiter)
        new = list(self.core.refills)[len(self.refills) :]
        if not self.closed and self.now >= self.core.refill_at:
            assert len(new) == max(0, self.min_size - self.size()), "not as many refills as are missing"
        else:
            assert not new, "a refill too soon, or after the end"
        for slot in new:
            self.note_new(slot)
        self.refills += new
        if self.closed and not self.size():
            woken += self.drainers
            self.drainers.clear()
        assert list(self.core.wakes) == woken, "not first come, first served"
        self.core.wakes.clear()
        self.core.gone.clear()

    def note_new(self, slot: Place) -> None:
        assert slot.number not in self.numbers, "a number used twice"
        self.numbers.add(slot.number)

    # -- callers

    @rule()
    def get(self) -> None:
        slot = self.core.take(self.now, "me")
        if self.idle and not self.queue and not self.closed:
            assert slot is self.idle.pop()[0], "not the object that was used last"
            self.lease(slot)
            return
        assert slot is None, "a newcomer overtook those who wait, or came in after the end"
        waiter = Queued("me")
        assert self.core.enter(waiter, self.now) is not self.closed
        if not self.closed:
            self.queue.append(waiter)
        self.settle()

    @rule(times=st.integers(1, 3))
    def get_and_make(self, times: int) -> None:
        """What most callers do, so that leases are not rare."""
        for _ in range(times):
            before = len(self.served)
            self.get()
            if len(self.served) > before:
                self.wake_up(before)
            if len(self.served) == before and self.making:
                self.deliver(len(self.making) - 1)

    @precondition(lambda self: self.queue and self.leased)
    @rule(index=INDEX)
    def get_between_return_and_pump(self, index: int) -> None:
        self.ret(index, pump=False)
        self.get()

    @precondition(lambda self: self.served)
    @rule(index=INDEX)
    def wake_up(self, index: int) -> None:
        waiter = self.served.pop(index % len(self.served))
        self.core.leave(waiter, self.now)  # as one does whose time was up just when it was served: it keeps its slot
        if waiter.slot and waiter.slot.state is State.CREATING:
            self.making.append(waiter)
        self.settle()

    @precondition(lambda self: self.making)
    @rule(index=INDEX)
    def deliver(self, index: int) -> None:
        slot = self.making.pop(index % len(self.making)).slot
        assert slot
        delivered = self.core.delivered(slot, Thing(), "me", self.now)
        self.made.append(slot)
        self.failures = 0
        assert delivered is not self.closed
        if delivered:
            self.lease(slot)
        else:
            self.doomed.append((slot, "shutdown"))
        self.settle()

    @precondition(lambda self: self.making)
    @rule(index=INDEX, twice=st.booleans())
    def fail(self, index: int, twice: bool) -> None:
        slot = self.making.pop(index % len(self.making)).slot
        assert slot
        if twice and self.leased:
            self.refused(AlreadyPooled, lambda: self.core.delivered(slot, self.leased[0].obj, "me", self.now))
        self.core.failed(slot, self.now)
        self.settle()

    @precondition(lambda self: self.leased)
    @rule(index=INDEX, pump=st.booleans())
    def ret(self, index: int, pump: bool) -> None:
        slot = self.pick_lease(index)
        if slot is None:
            return
        work = self.core.give(slot.obj, self.now)
        if self.max_use and self.uses[slot.number] >= self.max_use:
            self.doomed.append((slot, "max_use"))
            assert work
        else:
            self.idle.append((slot, self.now))
            assert work or not self.queue, "a return that overlooks a waiter"
        self.pump(pump)

    @precondition(lambda self: self.leased)
    @rule(index=INDEX, pump=st.booleans())
    def discard(self, index: int, pump: bool) -> None:
        slot = self.pick_lease(index)
        if slot is not None:
            self.core.discard(slot.obj, self.now)
            self.doomed.append((slot, "discard"))
            self.pump(pump)

    def pick_lease(self, index: int) -> Place | None:
        """Choose a lease of somebody who runs."""
        asleep = {id(waiter.slot) for waiter in self.served}
        slots = [slot for slot in self.leased if id(slot) not in asleep]
        if not slots:
            return None
        slot = slots[index % len(slots)]
        self.leased.remove(slot)
        return slot

    def pump(self, now: bool) -> None:
        """Pump after a return; or find the lock taken, so that its holder will."""
        if now:
            self.settle()
        else:
            self.settled = False

    @rule()
    def release_the_lock(self) -> None:
        self.settle()

    @precondition(lambda self: self.queue)
    @rule(index=INDEX)
    def time_out(self, index: int) -> None:
        waiter = self.queue[index % len(self.queue)]
        self.core.leave(waiter, self.now)
        self.settle()  # first who can be served is served: nobody times out beside an idle object
        if waiter in self.queue:
            self.queue.remove(waiter)
            assert waiter.slot is None

    @precondition(lambda self: self.queue or self.served or self.making)
    @rule(index=INDEX)
    def cancel(self, index: int) -> None:
        waiters = self.queue + self.served + self.making
        waiter = waiters[index % len(waiters)]
        for some in (self.queue, self.served, self.making):
            if waiter in some:
                some.remove(waiter)
        if waiter.slot in self.leased:
            assert waiter.slot is not None
            self.leased.remove(waiter.slot)
            self.idle.append((waiter.slot, self.now))
            self.uses[waiter.slot.number] -= 1
        self.core.abandon(waiter, self.now)
        self.settle()

    # -- maintenance

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 2.5, 10.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: len(self.leased) > 1)
    @rule(index=INDEX, seconds=st.sampled_from([0.5, 1.0]))
    def calm_down(self, index: int, seconds: float) -> None:
        """Return some, one after the other, throw one away, and let time pass: most sweeps find nothing to do."""
        self.discard(index, pump=True)
        for _ in range(len(self.leased)):
            self.ret(0, pump=True)
            self.tick(seconds)
        self.sweep()

    @rule()
    def sweep(self) -> None:
        due = self.core.sweep(self.now)
        spare = self.size() - len(self.doomed) - len(self.closing) - self.min_size
        while self.max_delay and spare > 0 and self.idle and self.idle[0][1] + self.max_delay <= self.now:
            self.doomed.append((self.idle.pop(0)[0], "max_delay"))
            spare -= 1
        self.settle()
        assert due > self.now
        assert not self.closed or due == inf
        if not self.closed and self.size() < self.min_size:
            assert due <= self.core.refill_at
        if not self.closed and self.max_delay:
            assert due <= self.now + self.max_delay
            overdue = [since for _, since in self.idle if since + self.max_delay <= self.now]
            assert not overdue or spare <= 0, "kept beyond its time"
            assert spare <= 0 or all(due <= since + self.max_delay for _, since in self.idle)

    @precondition(lambda self: self.core.doomed)
    @rule()
    def start_closing(self) -> None:
        slot = self.core.doomed.popleft()
        expected, reason = self.doomed.pop(0)
        assert slot is expected
        self.closing.append((slot, reason))

    @precondition(lambda self: self.closing)
    @rule(index=INDEX)
    def end_closing(self, index: int) -> None:
        slot, reason = self.closing.pop(index % len(self.closing))
        self.core.ended(slot, self.now)
        self.ended.append((slot, reason))
        self.settle()

    @precondition(lambda self: self.core.refills)
    @rule()
    def start_refill(self) -> None:
        slot = self.core.refills.popleft()
        assert slot is self.refills.pop(0)
        self.refilling.append(slot)

    @precondition(lambda self: self.refilling)
    @rule(index=INDEX)
    def end_refill(self, index: int) -> None:
        slot = self.refilling.pop(index % len(self.refilling))
        self.core.stocked(slot, Thing(), self.now)
        self.made.append(slot)
        self.failures = 0
        self.idle.append((slot, self.now))
        self.settle()
        assert self.now >= self.core.refill_at

    @precondition(lambda self: self.refilling)
    @rule(index=INDEX, jitter=st.floats(0, 1, exclude_max=True), twice=st.booleans())
    def fail_refill(self, index: int, jitter: float, twice: bool) -> None:
        slot = self.refilling.pop(index % len(self.refilling))
        if twice and self.leased:
            self.refused(AlreadyPooled, lambda: self.core.stocked(slot, self.leased[0].obj, self.now))
        self.core.refill_failed(slot, jitter, self.now)
        self.refills.clear()
        pause = min(BACKOFF * 2**self.failures, BACKOFF_MAX)
        assert pause / 2 <= round(self.core.refill_at - self.now, 6) <= pause
        self.failures += 1
        self.settle()

    # -- the end

    @precondition(lambda self: not self.closed or self.now % 2 < 1)
    @rule(sure=st.integers(0, 9))
    def shutdown(self, sure: int) -> None:
        if sure:
            return  # not too often, or there is little to see
        self.core.shutdown(self.now)
        if not self.closed:
            self.closed = True
            assert [self.core.wakes.popleft() for _ in self.queue] == self.queue, "who waits was not sent away"
            assert all(waiter.slot is None for waiter in self.queue)
            self.queue.clear()
        self.settle()

    @precondition(lambda self: self.closed)
    @rule()
    def drain(self) -> None:
        waiter = Queued("drainer")
        if self.core.drain(waiter, self.now):
            self.drainers.append(waiter)
        else:
            assert not self.size()

    # -- what must not be

    def refused(self, error: type[Exception], move: Any) -> None:
        """Make an illegal move: it raises, and nothing has changed."""
        before = self.snapshot()
        with pytest.raises(error):
            move()
        assert self.snapshot() == before

    def snapshot(self) -> object:
        core = self.core
        queues = [list(queue) for queue in (core.idle, core.waiters, core.wakes, core.doomed, core.refills, core.gone)]
        states = sorted((slot.number, slot.state.value, slot.uses) for slot in core.registry)
        return queues, states, dict(core.leased), dict(core.known), core.numbers, core.counters.created

    @rule(index=INDEX)
    def illegal_moves(self, index: int) -> None:
        core, now = self.core, self.now
        self.refused(NotLeased, lambda: core.give(Thing(), now))
        self.refused(NotLeased, lambda: core.discard(Thing(), now))
        if not self.made:
            return
        slot = self.made[index % len(self.made)]
        self.refused(IllegalMove, lambda: core.delivered(slot, Thing(), "me", now))
        self.refused(IllegalMove, lambda: core.stocked(slot, Thing(), now))
        self.refused(IllegalMove, lambda: core.failed(slot, now))
        self.refused(IllegalMove, lambda: core.refill_failed(slot, 0.0, now))
        if slot.state is not State.CLOSING:
            self.refused(IllegalMove, lambda: core.ended(slot, now))
        if slot.state is not State.LEASED:
            self.refused(NotLeased, lambda: core.give(slot.obj, now))

    # -- what always holds

    @invariant()
    def never_over_size(self) -> None:
        assert not self.max_size or len(self.core.registry) <= self.max_size
        assert len(self.core.registry) == self.size()

    @invariant()
    def nobody_waits_beside_what_he_waits_for(self) -> None:
        if self.settled and not self.closed and self.core.waiters:
            assert not self.core.idle
            assert not self.room()

    @invariant()
    def every_slot_has_one_owner(self) -> None:
        core = self.core
        assert [slot for slot, _ in self.idle] == list(core.idle)
        assert {(slot, slot.uses): slot for slot in self.leased} == core.leased
        assert [slot for slot, _ in self.doomed] == list(core.doomed)
        making = [w.slot for w in self.served + self.making if w.slot and w.slot.state is State.CREATING]
        hands = making + self.refilling + [slot for slot, _ in self.closing]
        owners = list(core.idle) + list(core.leased.values()) + list(core.doomed) + list(core.refills) + hands
        assert len(owners) == len(set(owners))
        assert set(owners) == core.registry
        assert set(core.known) == {id(slot.obj) for slot in owners if slot.state is not State.CREATING}

    @invariant()
    def every_object_is_closed_once_and_for_the_right_reason(self) -> None:
        core = self.core
        gone = [slot for slot, _ in self.ended]
        assert len(gone) == len(set(gone))
        assert all(slot.state is State.GONE and slot.reason and slot.reason.value == why for slot, why in self.ended)
        assert {slot for slot in self.made if slot not in core.registry} == set(gone)
        counts: dict[str, int] = {}
        for _, why in self.ended:
            counts[why] = counts.get(why, 0) + 1
        assert dict(core.counters.closed) == counts
        assert core.counters.created == len(self.made)

    @invariant()
    def every_use_is_counted(self) -> None:
        for slot in self.core.registry:
            assert slot.uses == self.uses.get(slot.number, 0)
        gone = sum(uses for number, uses in self.uses.items() if number not in {s.number for s in self.core.registry})
        assert self.core.counters.use.count == gone


CoreMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=80, deadline=None)
TestCore = CoreMachine.TestCase
