"""The core against a naive model: after any events, in any order, it decides as the model does.

The model is the specification in the simplest words: lists, and one rule (`settle`) applied until nothing changes.
Time is a number that the test moves. There is no thread, no lock and no sleep: what a driver does is a rule here.
"""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ProxyPatternPool._core.limits import Limits
from ProxyPatternPool._core.machine import BACKOFF, BACKOFF_MAX, PoolMachine
from ProxyPatternPool._core.maintenance import PERIOD
from ProxyPatternPool._core.slot import Reason, Slot, State, Waiter
from ProxyPatternPool._core.transitions import AlreadyPooled, NotLeased
from ProxyPatternPool._errors import IllegalMove
from tests.support.effort import effort

pytestmark = pytest.mark.timeout(300)  # should it fail, finding the shortest example takes its time

INDEX = st.integers(0, 1000)  # which one of those there are


class Thing:
    """An object to be pooled. All are equal, and unhashable: only identity tells one from another."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing)

    __hash__ = None  # type: ignore[assignment]  # that is the point


Queued = Waiter[Thing]
Place = Slot[Thing]


class CoreMachine(RuleBasedStateMachine):
    """Drives a `PoolMachine` and the model side by side."""

    @initialize(
        max_size=st.integers(0, 4),
        min_size=st.integers(0, 3),
        max_use=st.integers(0, 3),
        max_delay=st.sampled_from([0.0, 1.0, 1.0, 3.0]),
        max_lifetime=st.sampled_from([0.0, 0.0, 4.0]),
        max_using_delay=st.sampled_from([0.0, 2.0]),
        max_using_delay_kill=st.sampled_from([0.0, 0.0, 3.0]),
        max_waiting=st.sampled_from([0, 0, 1, 2]),
        delay=st.sampled_from([0.0, 0.0, 2.0]),
        health_freq=st.integers(1, 2),
        closes=st.booleans(),
        checks=st.booleans(),
    )
    def start(self, closes: bool, checks: bool, **limits: Any) -> None:
        if limits["max_size"]:
            limits["min_size"] = min(limits["min_size"], limits["max_size"])
        self.limits = Limits(**limits, health_delay=1.0)
        self.max_size, self.min_size = self.limits.max_size, self.limits.min_size
        self.closes, self.checks = closes, checks
        self.core: PoolMachine[Thing] = PoolMachine(self.limits, closes=closes, checks=checks)
        self.now = 100.0
        self.settled = True  # False between a return and the pump that follows it
        # the model
        self.idle: list[tuple[Place, float]] = []  # and since when; the last one is next
        self.leased: list[Place] = []
        self.queue: list[Queued] = []
        self.served: list[Queued] = []  # woken, but not running yet
        self.making: list[Queued] = []  # callers in `fun`
        self.to_create: list[Place] = []  # asked for
        self.refilling: list[Place] = []  # in the worker
        self.to_close: list[tuple[Place, str]] = []  # and why
        self.closing: list[tuple[Place, str]] = []  # in the worker
        self.tidying: list[Place] = []  # on return
        self.checking: list[tuple[Place, float]] = []  # in the background; and since when it was idle
        self.drainers: list[Queued] = []
        self.is_shut_down = False
        self.failures = 0  # of refills, in a row
        self.uses: dict[int, int] = {}  # by number of the slot, as those that follow
        self.alive: dict[int, float] = {}  # when it was known to be so
        self.expires: dict[int, float] = {}
        self.generations: dict[int, int] = {}
        self.lent: dict[int, float] = {}  # when
        self.warned: dict[int, int] = {}  # of which use
        self.generation = 0
        self.shrinking = False
        self.to_check: list[Place] = []
        self.before = 0  # the size at the last look
        # for the ledger
        self.made: list[Place] = []
        self.ended: list[tuple[Place, str]] = []
        self.numbers: set[int] = set()

    # -- the model

    def size(self) -> int:
        making = [waiter for waiter in self.served + self.making if waiter.slot and waiter.slot.state is State.CREATING]
        lists: list[list[Any]] = [self.idle, self.leased, making, self.to_create, self.refilling, self.tidying]
        return sum(map(len, [*lists, self.checking, self.to_close, self.closing]))

    def excess(self, in_hand: int = 0) -> int:
        return self.size() + in_hand - len(self.to_close) - len(self.closing) - self.max_size

    def unfit(self, slot: Place) -> str | None:
        """Why a slot that was just taken from its list must not be used any more."""
        if self.now >= self.expires.get(slot.number, inf):
            return "max_lifetime"
        if self.generations[slot.number] != self.generation:
            return "refresh"
        return "resize" if self.shrinking and self.excess(in_hand=1) > 0 else None

    def doubtful(self, slot: Place) -> bool:
        return self.checks and self.now - self.alive[slot.number] > self.limits.health_delay

    def room(self) -> bool:
        return not self.max_size or self.size() < self.max_size

    def lease(self, slot: Place) -> None:
        self.uses[slot.number] = self.uses.get(slot.number, 0) + 1
        self.lent[slot.number] = self.now
        self.leased.append(slot)

    def unlease(self, slot: Place) -> None:
        self.leased.remove(slot)
        self.uses[slot.number] -= 1

    def settle(self) -> None:
        """Let the driver pump; then the one rule: serve in order while there is something to serve."""
        while self.core.due():
            self.core.match(self.now)
        woken_by_pump = len(self.core.to_wake)
        self.core.match(self.now)  # as the next holder of the lock will: it may refill, but owes no waiter anything
        assert len(self.core.to_wake) == woken_by_pump, "`due` did not tell all that there was to do"
        self.settled = True
        woken: list[Queued] = []
        if self.is_shut_down:
            self.to_close += [(slot, "shutdown") for slot, _ in self.idle]
            self.idle.clear()
            self.to_create.clear()
        self.bury()
        if not self.is_shut_down and self.excess() <= 0:
            self.shrinking = False
        while self.queue and not self.is_shut_down:
            fit = self.pop_idle()
            if not (fit or self.to_create or self.room()):
                break
            waiter = self.queue.pop(0)
            assert waiter.slot is not None, "a waiter beside an idle object or free capacity"
            if fit:
                assert waiter.slot is fit, "not the object that was used last"
                self.lease(fit)
            elif self.to_create:
                assert waiter.slot is self.to_create.pop(0), "a refill that nobody has begun was left alone"
            else:
                assert waiter.slot.state is State.CREATING
                self.note_new(waiter.slot)
            self.served.append(waiter)
            woken.append(waiter)
        new = list(self.core.to_create)[len(self.to_create) :]
        if not self.is_shut_down and self.now >= self.core.refill_at:
            assert len(new) == max(0, self.min_size - self.size()), "not as many to_create as are missing"
        else:
            assert not new, "a refill too soon, or after the end"
        for slot in new:
            self.note_new(slot)
        self.to_create += new
        if self.is_shut_down and not self.size():
            woken += self.drainers
            self.drainers.clear()
        assert list(self.core.to_wake) == woken, "not first come, first served"
        self.core.to_wake.clear()
        self.core.gone.clear()

    def bury(self) -> None:
        if not self.closes:
            self.ended += self.to_close
            self.to_close.clear()

    def pop_idle(self) -> Place | None:
        """Take the slot used last that is fit for use. Evict the unfit slots on the way there."""
        while self.idle:
            slot, _ = self.idle.pop()
            reason = self.unfit(slot)
            if reason is None:
                return slot
            self.to_close.append((slot, reason))
            self.bury()
        return None

    def note_new(self, slot: Place) -> None:
        assert slot.number not in self.numbers, "a number used twice"
        self.numbers.add(slot.number)
        self.generations[slot.number] = self.generation

    def note_made(self, slot: Place, jitter: float = 0.5) -> None:
        self.made.append(slot)
        self.alive[slot.number] = self.now
        if self.limits.max_lifetime:
            self.expires[slot.number] = self.now + self.limits.max_lifetime * (1 - jitter / 10)
        self.failures = 0

    # -- callers

    @rule()
    def get(self) -> None:
        slot = self.core.take(self.now, "me")
        if self.idle and not self.queue and not self.is_shut_down:
            last, since = self.idle.pop()
            if not self.doubtful(last) and self.unfit(last) is None:
                assert slot is last, "not the object that was used last"
                self.lease(slot)
                return
            self.idle.append((last, since))
        assert slot is None, "a newcomer overtook those who wait, or came in after the end, or got what is unfit"
        waiter = Queued("me")
        accepted = self.core.enter(waiter, False, self.now)
        if self.is_shut_down:
            assert not accepted
            return
        self.queue.append(waiter)
        self.settle()
        full = bool(self.limits.max_waiting) and len(self.queue) > self.limits.max_waiting
        if not accepted:
            assert full
            assert self.queue.pop() is waiter
        else:
            assert not (full and waiter is self.queue[-1]), "more wait than may"

    @rule(times=st.integers(1, 3))
    def get_and_make(self, times: int) -> None:
        """Get and make at once, as most callers do, so that leases are not rare."""
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
    @rule(index=INDEX, late=st.booleans(), alive=st.booleans())
    def wake_up(self, index: int, late: bool = False, alive: bool = True) -> None:
        self.settle()
        waiter = self.served.pop(index % len(self.served))
        slot = waiter.slot
        assert slot is not None
        self.core.time_out(
            waiter, late, self.now
        )  # as one whose time was up just when it was served: it keeps its slot
        if slot.state is State.CREATING:
            self.making.append(waiter)
        elif slot in self.leased and self.doubtful(slot) and (late or not alive):
            self.unlease(slot)
            if late:
                assert waiter.slot is None, "there is no time left to check it"
                self.idle.append((slot, self.now))
            else:
                self.core.reject(slot, Reason.HEALTH, self.now)
                self.to_close.append((slot, "health"))
                self.settle()
                again = Queued("me")
                assert self.core.enter(again, True, self.now) is not self.is_shut_down
                self.queue[:0] = [] if self.is_shut_down else [again]
        self.settle()

    @precondition(lambda self: self.making)
    @rule(index=INDEX)
    def deliver(self, index: int) -> None:
        slot = self.making.pop(index % len(self.making)).slot
        assert slot
        self.core.made(slot, Thing(), 0.5, self.now)
        delivered = self.core.delivered(slot, "me", self.now)
        self.note_made(slot)
        assert delivered is not self.is_shut_down
        if delivered:
            self.lease(slot)
        else:
            self.to_close.append((slot, "shutdown"))
        self.settle()

    @precondition(lambda self: self.making)
    @rule(index=INDEX, twice=st.booleans())
    def fail(self, index: int, twice: bool) -> None:
        slot = self.making.pop(index % len(self.making)).slot
        assert slot
        if twice and self.leased:
            self.refused(AlreadyPooled, lambda: self.core.made(slot, self.leased[0].obj, 0.5, self.now))
        self.core.failed(slot, self.now)
        self.settle()

    @precondition(lambda self: self.making)
    @rule(index=INDEX, interrupted=st.booleans())
    def fail_to_open(self, index: int, interrupted: bool) -> None:
        waiter = self.making.pop(index % len(self.making))
        slot = waiter.slot
        assert slot
        self.core.made(slot, Thing(), 0.5, self.now)
        self.note_made(slot)
        if interrupted:
            self.core.cancel(waiter, self.now)
        else:
            self.core.failed(slot, self.now)
        self.to_close.append((slot, "discard" if interrupted else "opener"))
        self.settle()

    @precondition(lambda self: self.leased)
    @rule(index=INDEX, pump=st.booleans())
    def ret(self, index: int, pump: bool) -> None:
        slot = self.pick_lease(index)
        if slot is None:
            return
        work = self.core.give(slot.obj, self.now)
        self.take_back(slot, work)
        self.pump(pump)

    def take_back(self, slot: Place, work: bool) -> None:
        max_use = self.limits.max_use
        reason = "max_use" if max_use and self.uses[slot.number] >= max_use else self.unfit(slot)
        self.alive[slot.number] = self.now
        if reason:
            self.to_close.append((slot, reason))
            assert work
        else:
            self.idle.append((slot, self.now))
            assert work or not self.queue, "a return that overlooks a waiter"

    @precondition(lambda self: self.leased)
    @rule(index=INDEX, of_use=st.booleans())
    def start_tidying(self, index: int, of_use: bool) -> None:
        slot = self.pick_lease(index)
        if slot is None:
            return
        if of_use:
            assert self.core.reserve_use(slot.use)
            assert not self.core.reserve_use(slot.use)
        else:
            assert self.core.reserve(slot.obj) is slot
        self.tidying.append(slot)

    @precondition(lambda self: self.tidying)
    @rule(index=INDEX, fails=st.booleans(), pump=st.booleans())
    def end_tidying(self, index: int, fails: bool, pump: bool) -> None:
        slot = self.tidying.pop(index % len(self.tidying))
        work = self.core.put_back(slot, Reason.RETTER if fails else None, self.now)
        if fails:
            self.to_close.append((slot, "retter"))
        else:
            self.take_back(slot, work)
        self.pump(pump)

    @precondition(lambda self: self.leased)
    @rule(index=INDEX, pump=st.booleans())
    def discard(self, index: int, pump: bool) -> None:
        slot = self.pick_lease(index)
        if slot is not None:
            self.core.discard(slot.obj, self.now)
            self.to_close.append((slot, "discard"))
            self.pump(pump)

    def pick_lease(self, index: int) -> Place | None:
        """Choose a lease of a thread that runs."""
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
        self.settle()
        self.core.time_out(waiter, False, self.now)
        self.settle()  # first the waiters are served: none of them times out beside an idle object
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
            self.unlease(waiter.slot)
            self.idle.append((waiter.slot, self.now))
        self.core.cancel(waiter, self.now)
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
        self.settle()
        max_delay = self.limits.max_delay
        due = self.core.sweep(self.now)
        spare = self.excess() + self.max_size - self.min_size
        while max_delay and spare > 0 and self.idle and self.idle[0][1] + max_delay <= self.now:
            self.to_close.append((self.idle.pop(0)[0], "max_delay"))
            spare -= 1
        self.cull()
        kill, warn = self.limits.max_using_delay_kill, self.limits.max_using_delay
        told = [slot for slot in self.leased if kill and self.lent[slot.number] + kill <= self.now]
        for slot in told:
            self.leased.remove(slot)
            self.to_close.append((slot, "max_using_delay_kill"))
            assert slot.was_killed(slot.use)
        for slot in self.leased if warn else ():
            if self.lent[slot.number] + warn <= self.now and self.warned.get(slot.number) != slot.use:
                self.warned[slot.number] = slot.use
                told.append(slot)
        assert list(self.core.overdue) == [(slot, slot.use, slot.holder) for slot in told]
        self.core.overdue.clear()
        if self.checks and not self.to_check:
            period = (self.limits.delay or PERIOD) * self.limits.health_freq
            self.to_check = [slot for slot, _ in reversed(self.idle) if self.alive[slot.number] + period <= self.now]
        assert list(self.core.to_check) == self.to_check
        self.settle()
        assert due > self.now
        if self.is_shut_down:
            assert due == inf
        else:
            self.in_time(due, spare)

    def in_time(self, due: float, spare: int) -> None:
        """Check that nothing reaches its limit before the next sweep; unless rounds have a period of their own."""
        limits = self.limits
        if self.size() < self.min_size:
            assert due <= self.core.refill_at
        if limits.delay:
            assert due <= self.now + limits.delay
            return
        lent = [self.lent[slot.number] for slot in self.leased]
        begins = {limits.max_using_delay: lent, limits.max_using_delay_kill: lent}
        if self.checks:
            begins[PERIOD * limits.health_freq] = [self.alive[slot.number] for slot, _ in self.idle]
        if spare > 0:
            assert all(since + limits.max_delay > self.now for _, since in self.idle if limits.max_delay)
            begins[limits.max_delay] = [since for _, since in self.idle]
        ends = [begin + limit for limit, some in begins.items() if limit for begin in some]
        ends += [self.expires.get(slot.number, inf) for slot in self.core.registry]
        assert all(due <= end for end in ends if end > self.now)
        assert not any(self.unfit(slot) == "max_lifetime" for slot, _ in self.idle)
        assert all(due <= self.now + limit for limit in (*begins, limits.max_lifetime) if limit)

    def cull(self) -> None:
        """Doom what is unfit, beginning with the one unused for longest; after a refresh one at a time."""
        kept: list[tuple[Place, float]] = []
        while self.idle:
            slot, since = self.idle.pop(0)
            self.idle += kept  # it counts
            reason = self.unfit(slot)
            del self.idle[len(self.idle) - len(kept) :]
            if reason is None or (reason == "refresh" and self.closes and (self.to_close or self.closing)):
                kept.append((slot, since))
            else:
                self.to_close.append((slot, reason))
        self.idle = kept

    @precondition(lambda self: self.core.to_check)
    @rule()
    def start_check(self) -> None:
        self.settle()
        slot = self.core.to_check.popleft()
        assert slot is self.to_check.pop(0)
        found = [entry for entry in self.idle if entry[0] is slot]
        assert self.core.reserve_idle(slot, self.now) is bool(found)
        for entry in found:
            self.idle.remove(entry)
            self.checking.append(entry)

    @precondition(lambda self: self.checking)
    @rule(index=INDEX, alive=st.booleans())
    def end_check(self, index: int, alive: bool) -> None:
        self.settle()
        slot, since = self.checking.pop(index % len(self.checking))
        self.core.checked(slot, alive, self.now)
        if alive:
            self.alive[slot.number] = self.now
            self.idle.insert(0, (slot, since))
        else:
            self.to_close.append((slot, "health"))
        self.settle()

    @rule(min_size=st.integers(0, 3), max_size=st.integers(0, 4), sure=st.integers(0, 4))
    def resize(self, min_size: int, max_size: int, sure: int) -> None:
        if sure:
            return  # not too often
        self.settle()
        self.max_size, self.min_size = max_size, min(min_size, max_size) if max_size else min_size
        self.core.resize(self.min_size, max_size, self.now)
        self.shrinking = bool(max_size)
        while self.shrinking and self.excess() > 0 and (self.to_create or self.idle):
            if self.to_create:
                self.to_create.pop(0)
            else:
                self.to_close.append((self.idle.pop(0)[0], "resize"))
        self.settle()

    @rule(sure=st.integers(0, 9))
    def refresh(self, sure: int) -> None:
        if sure:
            return  # not too often
        self.settle()
        self.core.refresh(self.now)
        self.generation += 1
        self.cull()
        self.settle()

    @precondition(lambda self: self.core.to_close)
    @rule()
    def start_closing(self) -> None:
        slot = self.core.to_close.popleft()
        expected, reason = self.to_close.pop(0)
        assert slot is expected
        self.closing.append((slot, reason))

    @precondition(lambda self: self.closing)
    @rule(index=INDEX)
    def end_closing(self, index: int) -> None:
        slot, reason = self.closing.pop(index % len(self.closing))
        self.core.closed(slot, self.now)
        self.ended.append((slot, reason))
        self.settle()

    @precondition(lambda self: self.core.to_create)
    @rule()
    def start_refill(self) -> None:
        slot = self.core.to_create.popleft()
        assert slot is self.to_create.pop(0)
        self.refilling.append(slot)

    @precondition(lambda self: self.refilling)
    @rule(index=INDEX)
    def end_refill(self, index: int) -> None:
        slot = self.refilling.pop(index % len(self.refilling))
        self.core.made(slot, Thing(), 0.5, self.now)
        self.core.stocked(slot, self.now)
        self.note_made(slot)
        self.idle.append((slot, self.now))
        self.settle()
        assert self.now >= self.core.refill_at

    @precondition(lambda self: self.refilling)
    @rule(index=INDEX, jitter=st.floats(0, 1, exclude_max=True), twice=st.booleans())
    def fail_refill(self, index: int, jitter: float, twice: bool) -> None:
        slot = self.refilling.pop(index % len(self.refilling))
        if twice and self.leased:
            self.refused(AlreadyPooled, lambda: self.core.made(slot, self.leased[0].obj, 0.5, self.now))
        self.core.failed(slot, self.now)
        self.settle()
        self.core.back_off(jitter, self.now)
        self.to_create.clear()
        pause = min(BACKOFF * 2**self.failures, BACKOFF_MAX)
        assert pause / 2 <= round(self.core.refill_at - self.now, 6) <= pause
        self.failures += 1
        self.settle()

    # -- the end

    @precondition(lambda self: not self.is_shut_down or self.now % 2 < 1)
    @rule(sure=st.integers(0, 9))
    def shutdown(self, sure: int) -> None:
        if sure:
            return  # not too often, or there is little to see
        self.core.shutdown(self.now)
        if not self.is_shut_down:
            self.is_shut_down = True
            assert [self.core.to_wake.popleft() for _ in self.queue] == self.queue, "who waits was not sent away"
            assert all(waiter.slot is None for waiter in self.queue)
            self.queue.clear()
        self.settle()

    @precondition(lambda self: self.is_shut_down)
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
        queues = [
            list(queue) for queue in (core.idle, core.waiters, core.to_wake, core.to_close, core.to_create, core.gone)
        ]
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
        self.refused(IllegalMove, lambda: core.made(slot, Thing(), 0.5, now))
        self.refused(IllegalMove, lambda: core.delivered(slot, "me", now))
        self.refused(IllegalMove, lambda: core.stocked(slot, now))
        self.refused(IllegalMove, lambda: core.failed(slot, now))
        if slot.state is not State.RESERVED:
            self.refused(IllegalMove, lambda: core.checked(slot, True, now))
        if slot.state is not State.CLOSING:
            self.refused(IllegalMove, lambda: core.closed(slot, now))
        if slot.state is not State.LEASED:
            self.refused(NotLeased, lambda: core.give(slot.obj, now))

    # -- what always holds

    @invariant()
    def never_over_size(self) -> None:
        assert not self.max_size or self.shrinking or len(self.core.registry) <= max(self.max_size, self.before)
        assert len(self.core.registry) == self.size()
        self.before = self.size()  # above max_size only on the way down

    @invariant()
    def no_waiter_beside_an_idle_object_or_room(self) -> None:
        if self.settled and not self.is_shut_down and self.core.waiters:
            assert not self.core.idle
            assert not self.room()

    @invariant()
    def every_slot_has_one_owner(self) -> None:
        core = self.core
        assert [slot for slot, _ in self.idle] == list(core.idle)
        assert {slot.use: slot for slot in self.leased} == core.leased
        assert [slot for slot, _ in self.to_close] == list(core.to_close)
        making = [w.slot for w in self.served + self.making if w.slot and w.slot.state is State.CREATING]
        caches = making + self.refilling + self.tidying + [slot for slot, _ in self.closing + self.checking]
        owners = list(core.idle) + list(core.leased.values()) + list(core.to_close) + list(core.to_create) + caches
        assert len(owners) == len(set(owners))
        assert set(owners) == core.registry
        assert set(core.known) == {id(slot.obj) for slot in owners if slot.state is not State.CREATING}
        too_many = self.shrinking and self.excess() > 0
        assert core.inspecting or not (self.checks or self.expires or self.generation or too_many)

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


CoreMachine.TestCase.settings = settings(
    max_examples=effort(10, 60, 300),
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # a machine may have much else to do
)
TestCore = pytest.mark.no_cover(CoreMachine.TestCase)
