"""The core of the keyed pool by value: the figures and the corner cases which the naive model does not compute."""

from __future__ import annotations

from math import inf

import pytest

from ProxyPatternPool._errors import IllegalMove
from ProxyPatternPool._keyed_core import Instance, KeyedCore, Phase, Waiter


def opened(core: KeyedCore[str], key: str, now: float = 0.0) -> Instance[str]:
    """Ask for an instance as a driver does, and have it entered; be its user."""
    waiter: Waiter[str] = Waiter()
    assert core.ask(key, None, waiter, now)
    core.entered(waiter.instance, f"object of {key}", now)
    core.starts.clear()
    core.wakes.clear()
    return waiter.instance


def test_durations_are_counted_where_they_belong() -> None:
    """Otherwise the statistics would blame the server for the pool, or the pool for its users."""
    core: KeyedCore[str] = KeyedCore(max_size=1)
    first = opened(core, "a", 1.0)
    waiters: list[Waiter[str]] = [Waiter() for _ in range(3)]
    for waiter in waiters:
        core.ask("b", None, waiter, 2.0)
    assert core.withdraw(waiters[0], 3.0)
    core.leave(first, 4.0)
    core.ended(first, 5.0)
    core.entered(waiters[1].instance, "b", 7.0)
    assert core.counters.wait.snapshot() == {"count": 4, "sum": 11.0, "max": 5.0}
    assert core.counters.entering.snapshot() == {"count": 2, "sum": 2.0, "max": 2.0}
    assert core.counters.uses == 1
    assert waiters[1].instance.uses == 2


def test_a_failure_that_fails_all_is_where_it_came_from_for_each() -> None:
    """Otherwise a traceback would grow with each who hears of it."""
    core: KeyedCore[str] = KeyedCore()
    waiter: Waiter[str] = Waiter()
    core.ask("a", None, waiter, 0.0)
    with pytest.raises(OSError, match="down") as caught:
        raise OSError("down")
    core.failed(waiter.instance, caught.value, 1.0)
    assert waiter.error is caught.value
    assert waiter.trace is caught.value.__traceback__ is not None


def test_the_next_expiry_is_that_of_the_one_unused_for_longest() -> None:
    """Otherwise instances would live longer than they may, or the loop would be woken for nothing."""
    core: KeyedCore[str] = KeyedCore(ttl=5.0)
    one, two = opened(core, "a"), opened(core, "b")
    assert core.due() == inf
    core.leave(one, 1.0)
    core.leave(two, 2.0)
    assert core.due() == 6.0
    core.expire(5.9)
    assert not core.stops
    assert core.join("a", 6.0) is one
    assert core.due() == 7.0
    core.expire(100.0)
    assert list(core.stops) == [two]
    never: KeyedCore[str] = KeyedCore(ttl=None)
    never.leave(opened(never, "a"), 1.0)
    assert never.due() == inf


def test_room_that_is_being_made_is_not_made_twice() -> None:
    """Otherwise one newcomer would cost several idle instances their lives."""
    core: KeyedCore[str] = KeyedCore(max_size=3)
    for key in "abc":
        core.leave(opened(core, key), 0.0)
    for key in "ddde":
        core.ask(key, None, Waiter(), 1.0)
    assert [instance.key for instance in core.stops] == ["a", "b"]
    assert repr(core.stops[0]) == "<instance 0 closing, 0 users, 0 waiting>"
    assert [len(instance.waiters) for instance in core.queue] == [3, 1]
    assert core.nwaiting() == 4


def test_who_waits_for_a_key_that_is_closed_keeps_its_place_in_the_queue() -> None:
    """Otherwise keys that are asked for often would never let others in, or never come in themselves."""
    core: KeyedCore[str] = KeyedCore(max_size=1)
    first = opened(core, "a")
    core.leave(first, 0.0)
    for key in "bac":
        core.ask(key, None, Waiter(), 1.0)
    assert core.nwaiting() == 3
    order = []
    instance = first
    for _ in range(3):
        core.ended(instance, 2.0)
        instance = core.starts.popleft()
        order.append(instance.key)
        core.entered(instance, "object", 2.0)
        core.leave(instance, 2.0)
    assert order == ["b", "a", "c"]


def test_what_belongs_to_another_process_is_left_without_effect() -> None:
    """Otherwise a forked child would close what its parent uses."""
    core: KeyedCore[str] = KeyedCore(ttl=0.0)
    instance = opened(core, "a")
    core.disown()
    assert instance.phase is Phase.GONE
    assert not core.leave(instance, 1.0)
    assert not core.stops


def test_an_illegal_move_changes_nothing() -> None:
    """Otherwise one mistake of a driver would close what others use."""
    core: KeyedCore[str] = KeyedCore()
    instance = opened(core, "a")
    with pytest.raises(IllegalMove, match="should be entering"):
        core.entered(instance, "another", 1.0)
    core.leave(instance, 1.0)
    with pytest.raises(IllegalMove, match="no user who could leave"):
        core.leave(instance, 2.0)
    assert core.join("a", 3.0) is instance
    assert (instance.users, instance.obj) == (1, "object of a")
