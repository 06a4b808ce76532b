"""The core by value: the figures and the corner cases which the naive model does not compute."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Any

import pytest

from ProxyPatternPool._core.limits import Limits
from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._core.slot import Reason, Slot, State, Waiter
from ProxyPatternPool._errors import IllegalMove


def new_core(*, closes: bool = True, checks: bool = False, **limits: Any) -> PoolMachine[object]:
    """Make a core of a pool which keeps nothing of its own accord."""
    return PoolMachine(Limits(**{"min_size": 0, **limits}), closes=closes, checks=checks)


def deliver(core: PoolMachine[object], slot: Slot[object], obj: object, now: float) -> bool:
    """Make the object of a slot, as a driver does."""
    core.made(slot, obj, 0.0, now)
    return core.delivered(slot, "me", now)


def lease(core: PoolMachine[object], now: float = 0.0) -> Slot[object]:
    """Get an object as a driver does."""
    slot = core.take(now, "me")
    if slot is None:
        waiter: Waiter[object] = Waiter("me")
        assert core.enter(waiter, False, now)
        slot = waiter.slot
        assert slot is not None
        if slot.state is State.CREATING:
            assert deliver(core, slot, object(), now)
    core.to_wake.clear()
    return slot


def test_creation_wait_and_use_are_timed_apart() -> None:
    """Otherwise the statistics would blame the database for the pool, or the pool for its users."""
    core = new_core(max_size=1, max_use=3)
    waiter: Waiter[object] = Waiter("first")
    core.enter(waiter, False, 10.0)
    slot = waiter.slot
    assert slot is not None
    deliver(core, slot, object(), 12.0)
    second: Waiter[object] = Waiter("second")
    core.enter(second, False, 13.0)
    assert second.parked
    assert not waiter.parked
    core.give(slot.obj, 16.0)
    core.match(16.0)
    assert second.slot is slot
    core.give(slot.obj, 17.0)
    assert core.counters.creation.snapshot() == {"count": 1, "sum": 2.0, "max": 2.0}
    assert core.counters.wait.snapshot() == {"count": 1, "sum": 3.0, "max": 3.0}
    assert (slot.uses, slot.busy, slot.longest) == (2, 5.0, 4.0)
    lease(core, 20.0)
    core.give(slot.obj, 20.5)  # worn out
    assert core.counters.use.count == 0
    core.closed(core.to_close.popleft(), 21.0)
    assert core.counters.use.snapshot() == {"count": 3, "sum": 5.5, "max": 4.0}


def test_two_waiters_exchange_what_they_were_served_with_its_holder() -> None:
    """Otherwise a message would name the wrong task as the holder of an object."""
    core = new_core(max_size=2)
    idle = lease(core)
    first: Waiter[object] = Waiter("first")
    core.enter(first, False, 1.0)
    creating = first.slot
    core.give(idle.obj, 2.0)
    second: Waiter[object] = Waiter("second")
    core.enter(second, False, 3.0)
    core.exchange(first, second)
    assert (first.slot, second.slot) == (idle, creating)
    holders = [idle.holder]
    core.hand_to(idle.use, "owner")
    assert [*holders, idle.holder] == ["first", "owner"]


def test_a_waiter_that_is_put_back_is_served_before_all_others() -> None:
    """Otherwise an object that is found dead would cost its waiter its place."""
    core = new_core(max_size=1)
    slot = lease(core)
    waiters: list[Waiter[object]] = [Waiter("me") for _ in range(2)]
    for waiter in waiters:
        core.enter(waiter, False, 1.0)
    core.give(slot.obj, 2.0)
    core.match(2.0)
    core.reject(slot, Reason.HEALTH, 3.0)
    assert core.requeue(waiters[0], 3.0)
    assert list(core.waiters) == waiters
    core.closed(slot, 4.0)
    assert [waiter.slot is None for waiter in waiters] == [False, True]
    core.dismiss(waiters[0])
    assert waiters[0].slot is None
    core.shutdown(5.0)
    assert not core.requeue(waiters[0], 5.0)


def test_a_time_that_is_over_while_an_object_is_made_is_counted() -> None:
    """Otherwise the statistics would not show that creations are too slow."""
    core = new_core(max_size=1)
    core.overrun()
    core.refuse_return()
    assert (core.counters.timeouts, core.counters.bad_returns) == (1, 1)


def test_a_wait_is_counted_whatever_comes_of_it() -> None:
    """Otherwise a pool that is too small would look better the more callers give up."""
    core = new_core(max_size=1)
    lease(core)
    waiters: list[Waiter[object]] = [Waiter("me") for _ in range(2)]
    for waiter in waiters:
        core.enter(waiter, False, 1.0)
    core.time_out(waiters[0], True, 3.0)
    core.cancel(waiters[1], 4.0)
    assert core.counters.wait.snapshot() == {"count": 2, "sum": 5.0, "max": 3.0}
    assert core.counters.timeouts == 1


def test_min_size_does_not_count_slots_being_closed() -> None:
    """Otherwise the last good objects would be closed for a broken one that is still on its way out."""
    core = new_core(min_size=2, max_delay=5.0)
    slots = [lease(core) for _ in range(3)]
    core.discard(slots[0].obj, 0.0)
    for slot in slots[1:]:
        core.give(slot.obj, 0.0)
    assert core.sweep(100.0) == 105.0
    assert [slot.state for slot in slots] == [State.CLOSING, State.IDLE, State.IDLE]


def test_the_next_sweep_is_when_the_next_object_expires() -> None:
    """Otherwise idle objects would live longer than they may, or the housekeeper would be busy with nothing."""
    core = new_core(max_delay=5.0)
    assert core.sweep(0.0) == 5.0
    one, two = lease(core), lease(core)
    core.give(one.obj, 1.0)
    core.give(two.obj, 2.0)
    assert core.sweep(3.0) == 6.0
    assert core.sweep(6.0) == 7.0
    assert list(core.to_close) == [one]
    core.shutdown(6.5)
    assert core.sweep(6.5) == inf
    assert new_core().sweep(0.0) == inf


def test_a_failed_refill_is_tried_again_when_its_pause_is_over() -> None:
    """Otherwise min_size would be forgotten after the first failure, or tried without a pause."""
    core = new_core(min_size=2)
    core.match(0.0)
    assert len(core.to_create) == 2
    core.failed(core.to_create.popleft(), 0.0)
    core.back_off(0.0, 0.0)
    assert not core.to_create
    assert core.sweep(0.05) == pytest.approx(0.1)
    assert not core.to_create
    assert core.sweep(0.1) == inf
    assert len(core.to_create) == 2


def test_slots_that_are_gone_are_kept_until_the_lock_is_free() -> None:
    """Otherwise a destructor could run under the lock, and ask the same pool for an object."""
    core = new_core(closes=False)
    slot = lease(core)
    core.discard(slot.obj, 0.0)
    core.match(0.0)
    assert list(core.gone) == [slot]
    assert repr(slot) == "<slot 0 gone, 1 uses>"


@pytest.mark.parametrize("state", ["leased", "idle", "closing"])
def test_a_slot_that_is_not_reserved_is_not_put_back(state: str) -> None:
    """Otherwise a hook that settles its slot twice would have its object lent to two callers."""
    core = new_core()
    slot = lease(core)
    if state == "idle":
        core.give(slot.obj, 1.0)
    elif state == "closing":
        core.discard(slot.obj, 1.0)
    before = (list(core.idle), dict(core.leased), list(core.to_close))
    with pytest.raises(IllegalMove, match=f"slot 0 {state}, 1 uses> should be reserved"):
        core.put_back(slot, None, 2.0)
    assert (list(core.idle), dict(core.leased), list(core.to_close)) == before
    assert slot.state.value == state


def test_a_slot_of_another_pool_is_refused() -> None:
    """Otherwise two pools that are mixed up would both lose count."""
    core = new_core()
    with pytest.raises(IllegalMove, match="slot 7 creating"):
        core.delivered(Slot(7, 0, 0.0), "me", 0.0)
    assert not core.registry


def test_a_waiter_between_the_two_looks_of_a_newcomer_has_its_turn() -> None:
    """Otherwise "first come, first served" would not hold for unlucky waiters."""
    core = new_core(max_size=1)
    slot = lease(core)
    waiter: Waiter[object] = Waiter("waiter")

    class Idle(deque[Slot[object]]):
        """Has a waiter queue up just when a newcomer has taken the last slot out."""

        def pop(self) -> Slot[object]:  # type: ignore[override]  # without an index
            taken = super().pop()
            if not waiter.since:
                core.enter(waiter, False, 2.0)
                assert waiter.parked
            return taken

    core.idle = Idle()
    core.give(slot.obj, 1.0)
    assert core.take(2.0, "newcomer") is None
    assert core.due()
    core.match(2.0)
    assert waiter.slot is slot


def test_no_waiter_times_out_beside_an_idle_object() -> None:
    """Otherwise an interrupt of the thread that returned it would fail another one."""
    core = new_core(max_size=1)
    slot = lease(core)
    waiter: Waiter[object] = Waiter("me")
    core.enter(waiter, False, 1.0)
    assert core.give(slot.obj, 2.0)  # and the thread that did that was interrupted before it could match
    core.time_out(waiter, True, 3.0)
    assert waiter.slot is slot
    assert core.counters.timeouts == 0


def test_a_waiter_that_stops_waiting_for_the_end_is_forgotten() -> None:
    """Otherwise each attempt to shut down while an object is out would leave something behind."""
    core = new_core()
    lease(core)
    core.shutdown(1.0)
    waiter: Waiter[object] = Waiter("me")
    assert core.drain(waiter, 1.0)
    core.undrain(waiter, 2.0)
    core.undrain(waiter, 2.0)
    assert not core.drainers


def test_a_waiter_that_queues_just_before_a_return_is_seen_by_it() -> None:
    """Otherwise that caller would sleep beside an idle object: the one ordering that everything rests on."""
    core = new_core(max_size=1)
    slot = lease(core)
    waiter: Waiter[object] = Waiter("me")

    class Idle(deque[Slot[object]]):
        """Has a waiter queue up at the last moment before the slot is published."""

        def append(self, slot: Slot[object]) -> None:
            core.enter(waiter, False, 1.0)
            super().append(slot)

    core.idle = Idle()
    assert core.give(slot.obj, 2.0)
    core.match(2.0)
    assert waiter.slot is slot


def test_a_lease_that_is_over_never_ends_another_one_of_the_same_object() -> None:
    """Otherwise a factory that hands out an object again, after its end, would have it lent to two at once."""
    core = new_core()
    first = lease(core)
    obj, use = first.obj, first.use
    core.discard(obj, 0.0)
    core.closed(core.to_close.popleft(), 0.0)
    waiter: Waiter[object] = Waiter("me")
    core.enter(waiter, False, 0.0)
    second = waiter.slot
    assert second is not None
    assert deliver(core, second, obj, 0.0)
    assert not core.give_use(use, 1.0)
    assert core.holds(second.use)
    assert not core.idle
    core.give(obj, 1.0)
    assert list(core.idle) == [second]


def test_a_cancelled_waiter_is_forgotten_at_once() -> None:
    """Otherwise cancelling it again would end the lease of the caller that got the object instead."""
    core = new_core(max_size=1)
    slot = lease(core)
    gone: Waiter[object] = Waiter("gone")
    core.enter(gone, False, 1.0)
    core.give(slot.obj, 2.0)
    core.match(2.0)
    assert gone.slot is slot
    core.cancel(gone, 3.0)
    assert core.take(4.0, "next") is slot
    core.cancel(gone, 5.0)
    assert core.holds(slot.use)


def test_a_caller_may_take_the_last_idle_slot_during_a_sweep() -> None:
    """Otherwise the sweep would fail in the middle, and no slot would be looked after."""

    class Idle(deque[Slot[object]]):
        """Has one slot less than it says: a caller has taken that slot in between."""

        def __len__(self) -> int:
            return super().__len__() + 1

    core = new_core(max_lifetime=10.0)
    slot = lease(core)
    core.give(slot.obj, 0.0)
    core.idle = Idle(core.idle)
    core.sweep(100.0)
    assert list(core.to_close) == [slot]


def test_an_object_returned_just_before_it_is_taken_away_stays() -> None:
    """Otherwise an idle object, or the next one's, would be closed for the last one's slowness."""
    core = new_core(max_using_delay_kill=5.0)
    slot = lease(core)

    class Leased(dict[int, Slot[object]]):
        """Has its only lease returned between the look at it and the pop."""

        def pop(self, use: int, *default: Any) -> Any:
            self.pop = super().pop  # type: ignore[method-assign, assignment]  # once
            core.give(slot.obj, 3.0)
            return super().pop(use, *default)

    core.leased = Leased(core.leased)
    core.sweep(10.0)
    assert list(core.idle) == [slot]
    assert not core.overdue


def test_a_slot_that_was_taken_away_is_not_rejected_again() -> None:
    """Otherwise an object that was held for too long in a check that fails would be closed twice."""
    core = new_core(max_using_delay_kill=5.0)
    slot = lease(core)
    core.sweep(10.0)
    core.reject(slot, Reason.HEALTH, 11.0)
    assert list(core.to_close) == [slot]
    assert slot.reason is Reason.KILL


def test_a_waiter_that_gives_up_a_creation_leaves_its_place() -> None:
    """Otherwise a caller that is interrupted between its turn and its creation would cost the pool a place."""
    core = new_core(max_size=1)
    waiter: Waiter[object] = Waiter("me")
    core.enter(waiter, False, 0.0)
    assert waiter.slot is not None
    core.cancel(waiter, 1.0)
    assert not core.registry
    assert lease(core, 2.0) in core.registry


def test_nothing_expires_that_is_in_use() -> None:
    """Otherwise a sweep would fail, or doom a slot in use, wherever more slots are out than are to be kept."""
    core = new_core(max_delay=5.0)
    used, unused = lease(core), lease(core)
    core.give(unused.obj, 1.0)
    core.sweep(10.0)
    assert list(core.to_close) == [unused]
    assert list(core.leased.values()) == [used]


def test_a_waiter_served_just_before_an_interrupt_is_woken_with_its_slot() -> None:
    """Otherwise an interrupt in one thread would give another one a second object, and lose the first."""
    core = new_core(max_size=2)
    slots = [lease(core) for _ in range(2)]
    waiter: Waiter[object] = Waiter("me")
    core.enter(waiter, False, 1.0)
    for slot in slots:
        core.give(slot.obj, 2.0)
    assert core._serve(waiter, 2.0)  # and there the interrupt came: it is still in the queue
    core.match(3.0)
    assert list(core.to_wake) == [waiter]
    assert not core.waiters
    assert list(core.leased.values()) == [waiter.slot]


def test_an_object_is_not_cached_when_its_use_ends_just_then() -> None:
    """Otherwise its owner would go on using what another caller has."""
    core = new_core()
    slot = lease(core)

    class Cache(dict[str, Any]):
        """Has the use end just before the object is put here."""

        def __setitem__(self, key: str, value: object) -> None:
            core.give_use(slot.use, 1.0)
            super().__setitem__(key, value)

    cache = Cache()
    core.cache_in(slot.use, cache, slot.obj)
    assert cache == {}
    core.cache_in(slot.use, cache, slot.obj)
    assert cache == {}


def test_a_use_that_is_over_is_left_alone() -> None:
    """Otherwise a late finaliser would take the object from its next user."""
    core = new_core()
    slot = lease(core)
    use = slot.use
    core.give_use(use, 1.0)
    core.tidy_later(use)
    core.hand_to(use, "late")
    assert (slot.state, slot.holder, list(core.to_tidy)) == (State.IDLE, "me", [])


def test_sizes_that_are_not_given_stay() -> None:
    """Otherwise two callers that change one each would undo each other's change."""
    core = new_core(min_size=1, max_size=5)
    core.resize(None, 7, 0.0)
    core.resize(2, None, 0.0)
    assert (core.limits.min_size, core.limits.max_size) == (2, 7)
