"""The core of the keyed pool against a naive model: whatever happens, in whatever order, it decides as the model does.

The model is the specification in the simplest words: two lists, and one rule (`settle`) applied until nothing changes.
Time is a number that the test moves. There is no loop, no task and no sleep: what a driver does is a rule here.
"""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ProxyPatternPool._errors import IllegalMove
from ProxyPatternPool._instance import Instance, Phase, Waiter
from ProxyPatternPool._keyed_core import KeyedCore

INDEX = st.integers(0, 1000)  # which one of those there are
KEYS = st.sampled_from([-1, -2, 1, True, 1.0, "a", "b"])  # two with the same hash, three that are equal


class Wanted:
    """An instance that somebody has asked for, and which is not gone."""

    def __init__(self, key: object) -> None:
        self.key = key
        self.phase = Phase.QUEUED
        self.waiters: list[Waiter[object]] = []
        self.users = 0
        self.uses = 0
        self.idle_since = 0.0
        self.reason = ""
        self.real: Instance[object] | None = None


class KeyedMachine(RuleBasedStateMachine):
    """Drives a `KeyedCore` and the model side by side."""

    @initialize(max_size=st.integers(0, 3), ttl=st.sampled_from([None, 0.0, 1.0, 3.0]))
    def start(self, max_size: int, ttl: float | None) -> None:
        self.max_size, self.ttl = max_size, inf if ttl is None else ttl
        self.core: KeyedCore[object] = KeyedCore(max_size=max_size, ttl=ttl)
        self.now = 100.0
        # the model
        self.line: list[Wanted] = []  # not begun, in the order of asking
        self.live: list[Wanted] = []  # begun, and not gone
        self.resting: list[Wanted] = []  # those without users, the one which has been so for longest first
        self.users: list[Wanted] = []  # one entry for each user
        self.closed = False
        self.abandoned = False
        # what the core should put into its outboxes
        self.wakes: list[Waiter[object]] = []
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
            wanted.phase = Phase.ENTERING
        if self.closed or not self.ttl:
            self.close_resting(len(self.resting), "shutdown" if self.closed else "ttl")
        else:
            room = self.max_size - len(self.live) if self.max_size else inf
            broken = self.keys_of(Phase.BROKEN)
            lacking = sum(wanted.key not in broken for wanted in self.line) - room - self.count(Phase.CLOSING)
            self.close_resting(int(max(0, min(lacking, len(self.resting)))), "max_size")
        self.compare()

    def next_in_line(self) -> Wanted | None:
        if self.max_size and len(self.live) >= self.max_size:
            return None
        taken = self.keys_of(*Phase)
        return next((wanted for wanted in self.line if wanted.key not in taken), None)

    def close_resting(self, number: int, reason: str) -> None:
        for _ in range(number):
            self.close(self.resting.pop(0), reason)

    def close(self, wanted: Wanted, reason: str) -> None:
        wanted.phase = Phase.CLOSING
        wanted.reason = reason
        self.stops.append(wanted)

    def compare(self) -> None:
        core = self.core
        assert list(core.wakes) == self.wakes, "not those who should be woken, or not in order"
        for wanted, instance in zip(self.starts, core.starts, strict=True):
            assert wanted.real in (None, instance)
            wanted.real = instance
            assert instance.key == wanted.key, "not first come, first served"
            assert instance.call == f"call {wanted.key}", "the arguments of another"
        assert list(core.stops) == [wanted.real for wanted in self.stops], "not those unused for longest"
        for outbox in (core.wakes, core.starts, core.stops, self.wakes, self.starts, self.stops):
            outbox.clear()

    def keys_of(self, *phases: Phase) -> list[object]:
        return [wanted.key for wanted in self.live if wanted.phase in phases]

    def count(self, phase: Phase) -> int:
        return sum(wanted.phase is phase for wanted in self.live)

    def pick(self, phase: Phase, index: int) -> Wanted | None:
        some = [wanted for wanted in self.live if wanted.phase is phase]
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
        open_one = next((w for w in self.live if w.key == key and w.phase is Phase.OPEN), None)
        if open_one and not self.closed:
            assert instance is open_one.real, "another instance of the same key, or none"
            if open_one in self.resting:
                self.resting.remove(open_one)
            open_one.users += 1
            open_one.uses += 1
            self.users.append(open_one)
            return
        assert instance is None, "something that is not open"
        waiter: Waiter[object] = Waiter()
        assert self.core.ask(key, f"call {key}", waiter, self.now) is not self.closed
        if not self.closed:
            self.wait_for(key, waiter)
        self.settle()

    def wait_for(self, key: object, waiter: Waiter[object]) -> None:
        ending = (Phase.BROKEN, Phase.CLOSING)
        coming = [w for w in [*self.live, *self.line] if w.key == key and w.phase not in ending]
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
        if not wanted.users and wanted.phase is Phase.OPEN:
            self.rest(wanted)
        if not wanted.users and wanted.phase is Phase.BROKEN:
            self.close(wanted, "discard")
        self.settle()

    @rule(index=INDEX)
    def discard(self, index: int) -> None:
        wanted = self.pick(Phase.OPEN, index)
        if wanted is None or wanted.real is None:
            return
        assert self.core.discard(wanted.real.obj)
        if wanted.users:
            wanted.phase = Phase.BROKEN
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
        wanted = self.pick(Phase.ENTERING, index)
        if wanted is None or wanted.real is None:
            return
        obj = object()
        self.core.entered(wanted.real, obj, self.now)
        assert wanted.real.obj is obj
        self.nentered += 1
        wanted.phase = Phase.OPEN
        assert all(waiter.served and waiter.instance is wanted.real for waiter in wanted.waiters)
        self.answer(wanted)
        wanted.users = wanted.uses = len(self.wakes)
        self.users += [wanted] * wanted.users
        if not wanted.users:
            self.rest(wanted)
        self.settle()

    @rule(index=INDEX)
    def failed(self, index: int) -> None:
        wanted = self.pick(Phase.ENTERING, index)
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
        self.wakes += wanted.waiters
        wanted.waiters.clear()

    @rule(index=INDEX)
    def ended(self, index: int) -> None:
        wanted = self.pick(Phase.CLOSING, index)
        if wanted is None or wanted.real is None:
            return
        self.core.ended(wanted.real, self.now)
        self.forget(wanted)
        self.settle()

    @rule(index=INDEX, phase=st.sampled_from([Phase.OPEN, Phase.BROKEN]))
    def lost(self, index: int, phase: Phase) -> None:
        wanted = self.pick(phase, index)
        if wanted is None or wanted.real is None:
            return
        self.core.lost(wanted.real, self.now)
        wanted.phase = Phase.GONE
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
        if not self.closed:
            self.closed = True
            self.send_everybody_away()
            self.stops += [wanted for wanted in self.oldest_first() if wanted.phase is Phase.ENTERING]
            self.close_resting(len(self.resting), "shutdown")
        if for_good:
            self.abandoned = True
            for wanted in self.oldest_first():
                if wanted.phase in (Phase.OPEN, Phase.BROKEN):
                    self.close(wanted, "shutdown")
        self.settle()

    def oldest_first(self) -> list[Wanted]:
        """Return those that live in the order in which they were asked for."""
        return sorted(self.live, key=lambda wanted: wanted.real.number if wanted.real else -1)

    def send_everybody_away(self) -> None:
        waiters = [waiter for wanted in [*self.live, *self.line] for waiter in wanted.waiters]
        assert not any(waiter.served or waiter.error for waiter in waiters)
        assert set(self.core.wakes) == set(waiters), "who waits was not sent away"
        self.wakes += self.core.wakes
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
            (instance.phase is Phase.ENTERING, lambda: core.entered(instance, object(), now)),
            (instance.phase is Phase.ENTERING, lambda: core.failed(instance, OSError(), now)),
            (instance.phase is Phase.CLOSING, lambda: core.ended(instance, now)),
            (instance.phase in (Phase.OPEN, Phase.BROKEN), lambda: core.lost(instance, now)),
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
        phases = sorted((i.number, i.phase.value, i.users, i.uses, len(i.waiters)) for i in core.registry)
        boxes = [list(box) for box in (core.wakes, core.starts, core.stops, core.queue, core.idle)]
        return phases, boxes, dict(core.known), set(core.heirs), core.counters.entered, dict(core.counters.closed)

    # -- what always holds

    @invariant()
    def the_phases_are_those_of_the_model(self) -> None:
        core = self.core
        assert {wanted.real: wanted.phase for wanted in self.live} == {i: i.phase for i in core.registry}
        assert len(core.registry) == len(self.live)
        assert [wanted.real for wanted in self.resting] == list(core.idle)
        assert [w.key for w in self.line] == [
            i.key for i in sorted([*core.queue, *core.heirs], key=lambda one: one.number)
        ]
        assert {i for i in core.registry if i.phase is Phase.ENTERING} == core.entering
        assert {i for i in core.registry if i.phase is Phase.BROKEN} == core.broken
        assert core.waiting == {waiter for wanted in [*self.line, *self.live] for waiter in wanted.waiters}
        assert {i for i in core.registry if i.phase is Phase.CLOSING} == core.closing

    @invariant()
    def never_over_size(self) -> None:
        assert not self.max_size or len(self.core.registry) <= self.max_size

    @invariant()
    def never_two_of_a_key(self) -> None:
        keys = [instance.key for instance in self.core.registry]
        assert len(keys) == len(set(keys))
        if not self.closed:
            assert set(self.core.known) == set(keys) | {wanted.key for wanted in self.line}

    @invariant()
    def never_closed_in_use(self) -> None:
        for wanted in self.live:
            assert wanted.real
            assert wanted.real.users == self.users.count(wanted)
            assert self.abandoned or wanted.phase is not Phase.CLOSING or not wanted.users

    @invariant()
    def nobody_waits_beside_room(self) -> None:
        if self.core.queue:
            assert self.max_size
            assert len(self.core.registry) == self.max_size
            broken = self.keys_of(Phase.BROKEN)
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


KeyedMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestKeyedCore = pytest.mark.no_cover(KeyedMachine.TestCase)
