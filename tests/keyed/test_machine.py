"""The core of the keyed pool by value: the figures and the corner cases which the naive model does not compute."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from math import inf
from typing import ClassVar

import pytest

from ProxyPatternPool._errors import IllegalMove
from ProxyPatternPool._keyed.instance import Instance, State, Waiter
from ProxyPatternPool._keyed.machine import KeyedMachine


def opened(core: KeyedMachine[str], key: Hashable, now: float = 0.0) -> Instance[str]:
    """Ask for an instance as a driver does, and have it entered; be its user."""
    waiter: Waiter[str] = Waiter()
    assert core.ask(key, None, waiter, now)
    core.entered(waiter.instance, f"object of {key}", now)
    core.starts.clear()
    core.to_wake.clear()
    return waiter.instance


def test_durations_are_counted_where_they_belong() -> None:
    """Otherwise the statistics would blame the server for the pool, or the pool for its users."""
    core: KeyedMachine[str] = KeyedMachine(max_size=1)
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


def test_what_goes_wrong_is_counted() -> None:
    """Otherwise monitoring would see neither slow servers nor bad endings."""
    core: KeyedMachine[str] = KeyedMachine(max_size=1)
    first = opened(core, "a")
    waiter: Waiter[str] = Waiter()
    core.ask("b", "the call", waiter, 1.0)
    assert core.time_out(waiter, 2.0)
    assert not core.time_out(waiter, 2.0)
    core.lost(first, 3.0, failed=True)
    core.ask("b", "the call", waiter, 4.0)
    assert core.begin(waiter.instance) == "the call"
    assert waiter.instance.call is None
    core.entered(waiter.instance, "b", 5.0)
    core.leave(waiter.instance, 6.0)
    core.shutdown(6.0)
    core.ended(waiter.instance, 7.0, failed=True)
    assert (core.counters.timeouts, core.counters.closing_errors) == (1, 2)


def test_a_failure_that_fails_all_is_where_it_came_from_for_each() -> None:
    """Otherwise a traceback would grow with each who hears of it."""
    core: KeyedMachine[str] = KeyedMachine()
    waiter: Waiter[str] = Waiter()
    core.ask("a", None, waiter, 0.0)
    with pytest.raises(OSError, match="down") as caught:
        raise OSError("down")
    core.failed(waiter.instance, caught.value, 1.0)
    assert waiter.error is not None
    first, second = waiter.error.take(), waiter.error.take()
    assert first is caught.value
    assert first.__traceback__ is second.__traceback__ is not None


def test_the_next_expiry_is_that_of_the_one_unused_for_longest() -> None:
    """Otherwise instances would live longer than they may, or the loop would be woken for nothing."""
    core: KeyedMachine[str] = KeyedMachine(ttl=5.0)
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
    never: KeyedMachine[str] = KeyedMachine(ttl=None)
    never.leave(opened(never, "a"), 1.0)
    assert never.due() == inf


def test_room_that_is_being_made_is_not_made_twice() -> None:
    """Otherwise one newcomer would cost several idle instances their lives."""
    core: KeyedMachine[str] = KeyedMachine(max_size=3)
    for key in "abc":
        core.leave(opened(core, key), 0.0)
    for key in "ddde":
        core.ask(key, None, Waiter(), 1.0)
    assert [instance.key for instance in core.stops] == ["a", "b"]
    assert repr(core.stops[0]) == "<instance 0 closing, 0 users, 0 waiting>"
    assert [len(instance.waiters) for instance in core.queue] == [3, 1]
    assert len(core.waiting) == 4


def test_room_that_a_broken_one_will_leave_is_not_made_twice() -> None:
    """Otherwise who waits for its successor would cost an idle instance its life, for nothing."""
    core: KeyedMachine[str] = KeyedMachine(max_size=3)
    broken = opened(core, "broken")
    for key in ("idle", "idle, too"):
        core.leave(opened(core, key), 0.0)
    assert core.discard(broken.obj)
    core.ask("broken", None, Waiter(), 1.0)
    assert not core.stops
    core.ask("another", None, Waiter(), 2.0)
    assert [instance.key for instance in core.stops] == ["idle"]
    core.ask("broken", None, Waiter(), 3.0)
    assert len(core.stops) == 1


def test_a_broken_one_that_ends_by_itself_makes_way_for_its_successor() -> None:
    """Otherwise who waits for that would wait for users who have nothing to leave any more."""
    core: KeyedMachine[str] = KeyedMachine()
    instance, waiter = opened(core, "a"), Waiter[str]()
    core.discard(instance.obj)
    core.ask("a", None, waiter, 0.0)
    assert not core.starts
    core.lost(instance, 1.0)
    assert list(core.starts) == [waiter.instance]
    assert not core.broken
    assert not core.leave(instance, 2.0)
    assert dict(core.counters.closed) == {"lost": 1}


def test_all_instances_that_have_a_broken_object_go() -> None:
    """Otherwise a client that serves several keys would be handed out again for the others."""
    core: KeyedMachine[str] = KeyedMachine()
    instances = [opened(core, key) for key in "abc"]
    waiter: Waiter[str] = Waiter()
    core.ask("not yet", None, waiter, 0.0)
    for instance in instances:
        instance.obj = "the same"
        core.leave(instance, 0.0)
    assert core.discard("the same")
    assert list(core.stops) == instances
    assert core.discard("the same"), "it is still being closed"
    assert len(core.stops) == 3


def test_who_waits_for_a_key_that_is_closed_keeps_its_place_in_the_queue() -> None:
    """Otherwise keys that are asked for often would never let others in, or never come in themselves."""
    core: KeyedMachine[str] = KeyedMachine(max_size=1)
    first = opened(core, "a")
    core.leave(first, 0.0)
    for key in "bac":
        core.ask(key, None, Waiter(), 1.0)
    assert len(core.waiting) == 3
    order = []
    instance = first
    for _ in range(3):
        core.ended(instance, 2.0)
        instance = core.starts.popleft()
        order.append(instance.key)
        core.entered(instance, "object", 2.0)
        core.leave(instance, 2.0)
    assert order == ["b", "a", "c"]


def test_who_follows_a_key_that_is_closed_may_give_up_at_any_time() -> None:
    """Otherwise the next one who asks would wait for ever for what nobody makes."""
    core: KeyedMachine[str] = KeyedMachine(max_size=1, ttl=0.0)
    first = opened(core, "a")
    core.leave(first, 0.0)
    waiters: list[Waiter[str]] = [Waiter() for _ in range(4)]
    core.ask("a", None, waiters[0], 1.0)
    assert core.withdraw(waiters[0], 1.0)
    core.ask("b", None, waiters[1], 1.0)
    core.ask("a", None, waiters[2], 1.0)
    core.ended(first, 2.0)
    assert list(core.starts) == [waiters[1].instance]
    assert core.withdraw(waiters[2], 2.0)
    core.ask("a", None, waiters[3], 2.0)
    assert core.queue == [waiters[3].instance]
    assert waiters[3].instance is not waiters[2].instance is not waiters[0].instance


def test_what_belongs_to_another_process_is_left_without_effect() -> None:
    """Otherwise a forked child would close what its parent uses."""
    core: KeyedMachine[str] = KeyedMachine(ttl=0.0)
    instance = opened(core, "a")
    core.detach()
    assert instance.state is State.GONE
    assert not core.leave(instance, 1.0)
    assert not core.stops


def test_an_illegal_move_changes_nothing() -> None:
    """Otherwise one mistake of a driver would close what others use."""
    core: KeyedMachine[str] = KeyedMachine()
    instance = opened(core, "a")
    with pytest.raises(IllegalMove, match="should be entering"):
        core.entered(instance, "another", 1.0)
    core.leave(instance, 1.0)
    with pytest.raises(IllegalMove, match="no user that could leave"):
        core.leave(instance, 2.0)
    assert core.join("a", 3.0) is instance
    assert (instance.users, instance.obj) == (1, "object of a")


class Whim:
    """A key whose hash and equality can be spoilt."""

    spoil: ClassVar[dict[str, BaseException]] = {}  # what they raise; of all keys

    def __init__(self, text: str) -> None:
        self.text = text

    def __hash__(self) -> int:
        if "hash" in self.spoil:
            raise self.spoil["hash"]
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        if "eq" in self.spoil:
            raise self.spoil["eq"]
        return isinstance(other, Whim) and self.text == other.text


def become(key: Whim, text: str) -> None:
    key.text = text


SPOIL: list[tuple[str, Callable[[Whim], object]]] = [
    ("another hash", lambda key: become(key, "unheard of")),
    ("the hash of another one", lambda key: become(key, "other")),
    ("no hash", lambda _: Whim.spoil.update(hash=RuntimeError("hash"))),
    ("no equality", lambda _: Whim.spoil.update(eq=RuntimeError("equality"))),
]


@pytest.fixture(params=SPOIL, ids=lambda case: case[0])
def spoil(request: pytest.FixtureRequest) -> Iterator[Callable[[Whim], object]]:
    """Return a way in which a key goes bad after it has been asked for."""
    yield request.param[1]
    Whim.spoil.clear()


def test_a_key_that_goes_bad_harms_nobody_who_waits_for_it(spoil: Callable[[Whim], object]) -> None:
    """Otherwise a mistake in one tenant's key would have somebody wait for ever, or hide why it stops waiting."""
    core: KeyedMachine[str] = KeyedMachine(max_size=2, ttl=0.0)
    held, other, key = opened(core, "held"), opened(core, Whim("other")), Whim("key")
    gives_up: Waiter[str] = Waiter()
    core.ask(key, None, gives_up, 0.0)
    core.ask("last", None, Waiter(), 0.0)
    spoil(key)
    assert core.withdraw(gives_up, 1.0)
    assert [instance.key for instance in core.queue] == ["last"]

    core.leave(held, 1.0)
    core.ask("held", None, Waiter(), 1.0)
    core.ended(held, 2.0)
    assert [instance.key for instance in core.starts] == ["last"]
    Whim.spoil.clear()
    assert core.join(Whim("other"), 2.0) is other


def test_a_key_that_goes_bad_makes_room_for_others(spoil: Callable[[Whim], object]) -> None:
    """Otherwise a mistake in one tenant's key would fill the pool until nobody gets in."""
    core: KeyedMachine[str] = KeyedMachine(max_size=1, ttl=0.0)
    key, successor, other = Whim("key"), Waiter[str](), Waiter[str]()
    instance = opened(core, key)
    core.leave(instance, 1.0)
    core.ask(key, None, successor, 1.0)
    core.ask("other", None, other, 1.0)
    spoil(key)
    core.ended(instance, 2.0)
    assert list(core.starts) == [successor.instance], "who has been waiting for longest"
    core.entered(core.starts.popleft(), "object", 3.0)
    core.leave(successor.instance, 3.0)
    core.ended(successor.instance, 3.0)
    assert list(core.starts) == [other.instance]
    core.shutdown(4.0)
    assert list(core.to_wake) == [successor, other]
    assert not core.waiting


def test_a_key_that_was_bad_for_a_while_leads_to_what_lives() -> None:
    """Otherwise who asks with it would wait for something that has ended, until the timeout."""
    core: KeyedMachine[str] = KeyedMachine(ttl=0.0)
    key = Whim("key")
    instance = opened(core, key)
    become(key, "another")
    core.leave(instance, 1.0)
    core.ended(instance, 1.0)
    become(key, "key")
    assert core.join(key, 2.0) is None
    again = opened(core, key, 2.0)
    assert again is not instance
    assert core.join(Whim("key"), 3.0) is again


def test_a_key_that_has_become_equal_to_another_does_not_take_its_place() -> None:
    """Otherwise the end of the one would make the pool forget the other, and open it twice."""
    core: KeyedMachine[str] = KeyedMachine(ttl=0.0)
    key = Whim("key")
    other, instance = opened(core, Whim("other")), opened(core, key)
    become(key, "other")
    core.leave(instance, 1.0)
    core.ended(instance, 1.0)
    assert core.join(Whim("other"), 2.0) is other
