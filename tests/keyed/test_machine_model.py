"""The core of the keyed pool against a naive model: after any events, in any order, it decides as the model does.

The model is the specification in the simplest words: two lists, and one rule (`settle`) applied until nothing changes.
Time is a number that the test moves. There is no loop, no task and no sleep: what a driver does is a rule here.
"""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ProxyPatternPool._errors import IllegalMove
from ProxyPatternPool._keyed.instance import Instance, State, Waiter
from ProxyPatternPool._keyed.machine import KeyedMachine
from tests.support.effort import effort

INDEX = st.integers(0, 1000)  # which one of those there are
KEYS = st.sampled_from([-1, -2, 1, True, 1.0, "a", "b"])  # two with the same hash, three that are equal


class Wanted:
    """An instance that a caller has asked for, and which is not gone."""

    def __init__(self, key: object) -> None:
        self.key = key
        self.state = State.QUEUED
        self.waiters: list[Waiter[object]] = []
        self.users = 0
        self.uses = 0
        self.idle_since = 0.0
        self.reason = ""
        self.real: Instance[object] | None = None


class KeyedRules(RuleBasedStateMachine):
    """Drives a `KeyedMachine` and the model side by side."""

    @initialize(max_size=st.integers(0, 3), ttl=st.sampled_from([None, 0.0, 1.0, 3.0]))
    def start(self, max_size: int, ttl: float | None) -> None:
        self.max_size, self.ttl = max_size, inf if ttl is None else ttl
        self.core: KeyedMachine[object] = KeyedMachine(max_size=max_size, ttl=ttl)
        self.now = 100.0
        # the model
        self.line: list[Wanted] = []  # not begun, in the order of asking
        self.live: list[Wanted] = []  # begun, and not gone
        self.resting: list[Wanted] = []  # those without users, the one which has been so for longest first
        self.users: list[Wanted] = []  # one entry for each user
        self.is_shut_down = False
        self.abandoned = False
        # what the core should put into its outboxes
        self.to_wake: list[Waiter[object]] = []
        self.starts: list[Wanted] = []
        self.stops: list[Wanted] = []
        # for the ledger
        self.gone: list[Wanted] = []
        self.failures = self.nentered = 0

    # -- the model

    def settle(self) -> None:
        """Apply the one rule, then compare what the core wants to be done."""
        while wanted := self.next_in_line():
            self.line.remove(wanted)
            self.live.append(wanted)
            self.starts.append(wanted)
            wanted.state = State.ENTERING
        if self.is_shut_down or not self.ttl:
            self.close_resting(len(self.resting), "shutdown" if self.is_shut_down else "ttl")
        else:
            room = self.max_size - len(self.live) if self.max_size else inf
            broken = self.keys_of(State.BROKEN)
            lacking = sum(wanted.key not in broken for wanted in self.line) - room - self.count(State.CLOSING)
            self.close_resting(int(max(0, min(lacking, len(self.resting)))), "max_size")
        self.compare()

    def next_in_line(self) -> Wanted | None:
        if self.max_size and len(self.live) >= self.max_size:
            return None
        taken = self.keys_of(*State)
        return next((wanted for wanted in self.line if wanted.key not in taken), None)

    def close_resting(self, number: int, reason: str) -> None:
        for _ in range(number):
            self.close(self.resting.pop(0), reason)

    def close(self, wanted: Wanted, reason: str) -> None:
        wanted.state = State.CLOSING
        wanted.reason = reason
        self.stops.append(wanted)

    def compare(self) -> None:
        core = self.core
        assert list(core.to_wake) == self.to_wake, "not those who should be woken, or not in order"
        for wanted, instance in zip(self.starts, core.starts, strict=True):
            assert wanted.real in (None, instance)
            wanted.real = instance
            assert instance.key == wanted.key, "not first come, first served"
            assert instance.call == f"call {wanted.key}", "the arguments of another"
        assert list(core.stops) == [wanted.real for wanted in self.stops], "not those unused for longest"
        for outbox in (core.to_wake, core.starts, core.stops, self.to_wake, self.starts, self.stops):
            outbox.clear()

    def keys_of(self, *phases: State) -> list[object]:
        return [wanted.key for wanted in self.live if wanted.state in phases]

    def count(self, state: State) -> int:
        return sum(wanted.state is state for wanted in self.live)

    def pick(self, state: State, index: int) -> Wanted | None:
        some = [wanted for wanted in self.live if wanted.state is state]
        return some[index % len(some)] if some else None

    def rest(self, wanted: Wanted) -> None:
        wanted.idle_since = self.now
        self.resting.append(wanted)

    def forget(self, wanted: Wanted) -> None:
        self.live.remove(wanted)
        self.gone.append(wanted)

    # -- users

    @rule(key=KEYS)
    def get(self, key: Any) -> None:
        instance = self.core.join(key, self.now)
        open_one = next((w for w in self.live if w.key == key and w.state is State.OPEN), None)
        if open_one and not self.is_shut_down:
            assert instance is open_one.real, "another instance of the same key, or none"
            if open_one in self.resting:
                self.resting.remove(open_one)
            open_one.users += 1
            open_one.uses += 1
            self.users.append(open_one)
            return
        assert instance is None, "something that is not open"
        waiter: Waiter[object] = Waiter()
        assert self.core.ask(key, f"call {key}", waiter, self.now) is not self.is_shut_down
        if not self.is_shut_down:
            self.wait_for(key, waiter)
        self.settle()

    def wait_for(self, key: object, waiter: Waiter[object]) -> None:
        ending = (State.BROKEN, State.CLOSING)
        coming = [w for w in [*self.live, *self.line] if w.key == key and w.state not in ending]
        if not coming:
            coming = [Wanted(key)]
            self.line += coming
        coming[0].waiters.append(waiter)

    @precondition(lambda self: self.users)
    @rule(index=INDEX)
    def leave(self, index: int) -> None:
        wanted = self.users.pop(index % len(self.users))
        assert wanted.real
        wanted.users -= 1
        told = self.core.leave(wanted.real, self.now)
        assert told is bool(self.core.stops)
        if not wanted.users and wanted.state is State.OPEN:
            self.rest(wanted)
        if not wanted.users and wanted.state is State.BROKEN:
            self.close(wanted, "discard")
        self.settle()

    @rule(index=INDEX)
    def discard(self, index: int) -> None:
        wanted = self.pick(State.OPEN, index)
        if wanted is None or wanted.real is None:
            return
        assert self.core.discard(wanted.real.obj)
        if wanted.users:
            wanted.state = State.BROKEN
            assert self.core.discard(wanted.real.obj), "twice is once"
        else:
            self.resting.remove(wanted)
            self.close(wanted, "discard")
        self.settle()
        assert not self.core.discard(object())

    @precondition(lambda self: self.users)
    @rule(seconds=st.sampled_from([0.0, 0.5]))
    def calm_down(self, seconds: float) -> None:
        """Have all leave, one after the other."""
        while self.users:
            self.leave(0)
            self.now += seconds

    @rule(index=INDEX)
    def withdraw(self, index: int) -> None:
        waiting = [(wanted, waiter) for wanted in [*self.line, *self.live] for waiter in wanted.waiters]
        if not waiting:
            return
        wanted, waiter = waiting[index % len(waiting)]
        assert self.core.withdraw(waiter, self.now)
        assert not self.core.withdraw(waiter, self.now), "twice"
        assert not waiter.served
        wanted.waiters.remove(waiter)
        if not wanted.waiters and wanted in self.line:
            self.line.remove(wanted)
        self.settle()

    # -- what the driver reports

    @rule(index=INDEX)
    def entered(self, index: int) -> None:
        wanted = self.pick(State.ENTERING, index)
        if wanted is None or wanted.real is None:
            return
        obj = object()
        self.core.entered(wanted.real, obj, self.now)
        assert wanted.real.obj is obj
        self.nentered += 1
        wanted.state = State.OPEN
        assert all(waiter.served and waiter.instance is wanted.real for waiter in wanted.waiters)
        self.answer(wanted)
        wanted.users = wanted.uses = len(self.to_wake)
        self.users += [wanted] * wanted.users
        if not wanted.users:
            self.rest(wanted)
        self.settle()

    @rule(index=INDEX)
    def failed(self, index: int) -> None:
        wanted = self.pick(State.ENTERING, index)
        if wanted is None or wanted.real is None:
            return
        error = OSError()
        self.core.failed(wanted.real, error, self.now)
        assert all(waiter.error is not None and not waiter.served for waiter in wanted.waiters)
        self.failures += 1
        self.answer(wanted)
        self.live.remove(wanted)
        self.settle()

    def answer(self, wanted: Wanted) -> None:
        self.to_wake += wanted.waiters
        wanted.waiters.clear()

    @rule(index=INDEX)
    def ended(self, index: int) -> None:
        wanted = self.pick(State.CLOSING, index)
        if wanted is None or wanted.real is None:
            return
        self.core.ended(wanted.real, self.now)
        self.forget(wanted)
        self.settle()

    @rule(index=INDEX, state=st.sampled_from([State.OPEN, State.BROKEN]))
    def lost(self, index: int, state: State) -> None:
        wanted = self.pick(state, index)
        if wanted is None or wanted.real is None:
            return
        self.core.lost(wanted.real, self.now)
        wanted.state = State.GONE
        wanted.reason = "lost"
        if wanted in self.resting:
            self.resting.remove(wanted)
        self.forget(wanted)
        self.settle()

    # -- time, and the end

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 2.5]))
    def tick(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        self.core.expire(self.now)
        while self.resting and self.resting[0].idle_since + self.ttl <= self.now:
            self.close(self.resting.pop(0), "ttl")
        self.settle()
        assert self.core.due() > self.now

    @precondition(lambda self: self.now % 2 < 1)
    @rule(sure=st.integers(0, 9), for_good=st.booleans())
    def shutdown(self, sure: int, for_good: bool) -> None:
        if sure:
            return  # not too often, or there is little to see
        (self.core.abandon if for_good else self.core.shutdown)(self.now)
        if not self.is_shut_down:
            self.is_shut_down = True
            self.send_everybody_away()
            self.stops += [wanted for wanted in self.oldest_first() if wanted.state is State.ENTERING]
            self.close_resting(len(self.resting), "shutdown")
        if for_good:
            self.abandoned = True
            for wanted in self.oldest_first():
                if wanted.state in (State.OPEN, State.BROKEN):
                    self.close(wanted, "shutdown")
        self.settle()

    def oldest_first(self) -> list[Wanted]:
        """Return the living instances in the order in which they were asked for."""
        return sorted(self.live, key=lambda wanted: wanted.real.number if wanted.real else -1)

    def send_everybody_away(self) -> None:
        waiters = [waiter for wanted in [*self.live, *self.line] for waiter in wanted.waiters]
        assert not any(waiter.served or waiter.error for waiter in waiters)
        assert set(self.core.to_wake) == set(waiters), "who waits was not sent away"
        self.to_wake += self.core.to_wake
        self.line.clear()
        for wanted in self.live:
            wanted.waiters.clear()

    # -- what must not be

    @rule(index=INDEX)
    def illegal_moves(self, index: int) -> None:
        """Each of them raises, and nothing has changed."""
        some = [wanted.real for wanted in [*self.live, *self.gone] if wanted.real]
        if not some:
            return
        instance, core, now = some[index % len(some)], self.core, self.now
        moves: list[tuple[bool, Any]] = [
            (instance.state is State.ENTERING, lambda: core.entered(instance, object(), now)),
            (instance.state is State.ENTERING, lambda: core.failed(instance, OSError(), now)),
            (instance.state is State.CLOSING, lambda: core.ended(instance, now)),
            (instance.state in (State.OPEN, State.BROKEN), lambda: core.lost(instance, now)),
            (instance.users > 0, lambda: core.leave(instance, now)),
        ]
        before = self.snapshot()
        for legal, move in moves:
            if not legal:
                with pytest.raises(IllegalMove, match=f"instance {instance.number} "):
                    move()
        assert self.snapshot() == before

    def snapshot(self) -> object:
        core = self.core
        phases = sorted((i.number, i.state.value, i.users, i.uses, len(i.waiters)) for i in core.registry)
        boxes = [list(box) for box in (core.to_wake, core.starts, core.stops, core.queue, core.idle)]
        return phases, boxes, dict(core.known), set(core.successors), core.counters.entered, dict(core.counters.closed)

    # -- what always holds

    @invariant()
    def the_phases_are_those_of_the_model(self) -> None:
        core = self.core
        assert {wanted.real: wanted.state for wanted in self.live} == {i: i.state for i in core.registry}
        assert len(core.registry) == len(self.live)
        assert [wanted.real for wanted in self.resting] == list(core.idle)
        assert [w.key for w in self.line] == [
            i.key for i in sorted([*core.queue, *core.successors], key=lambda one: one.number)
        ]
        assert {i for i in core.registry if i.state is State.ENTERING} == core.entering
        assert {i for i in core.registry if i.state is State.BROKEN} == core.broken
        assert core.waiting == {waiter for wanted in [*self.line, *self.live] for waiter in wanted.waiters}
        assert {i for i in core.registry if i.state is State.CLOSING} == core.closing

    @invariant()
    def never_over_size(self) -> None:
        assert not self.max_size or len(self.core.registry) <= self.max_size

    @invariant()
    def never_two_of_a_key(self) -> None:
        keys = [instance.key for instance in self.core.registry]
        assert len(keys) == len(set(keys))
        if not self.is_shut_down:
            assert set(self.core.known) == set(keys) | {wanted.key for wanted in self.line}

    @invariant()
    def never_closed_in_use(self) -> None:
        for wanted in self.live:
            assert wanted.real
            assert wanted.real.users == self.users.count(wanted)
            assert self.abandoned or wanted.state is not State.CLOSING or not wanted.users

    @invariant()
    def no_waiter_beside_room(self) -> None:
        if self.core.queue:
            assert self.max_size
            assert len(self.core.registry) == self.max_size
            broken = self.keys_of(State.BROKEN)
            assert not self.core.idle or len(self.core.closing) >= sum(w.key not in broken for w in self.line)

    @invariant()
    def everything_is_counted(self) -> None:
        counters = self.core.counters
        reasons = [wanted.reason for wanted in self.gone]
        assert dict(counters.closed) == {reason: reasons.count(reason) for reason in reasons}
        assert (counters.entered, counters.entering_errors) == (self.nentered, self.failures)
        assert counters.uses == sum(wanted.uses for wanted in self.gone)
        for wanted in self.live:
            assert wanted.real
            assert wanted.real.uses == wanted.uses


KeyedRules.TestCase.settings = settings(
    max_examples=effort(10, 40, 200),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # a machine may have much else to do
)
TestKeyedCore = pytest.mark.no_cover(KeyedRules.TestCase)
