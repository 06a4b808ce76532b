"""KeyedMachine: the state machine behind `AsyncKeyedPool`.

It decides and never acts: it does not await, read a clock, log, or run user code, but for the hash and the equality of
keys, which is what a dictionary is about. These may raise, or change their minds: `join` and `ask` pass on what they
raise, and have changed nothing; all other moves rely on `known` for nothing. The driver tells it what happened and when
(``now``, in seconds), and finds what is to be done in its outboxes: waiters to wake, instances to enter, instances to
end. One event loop has it: nothing here is locked, since nothing can come between two lines.

An instance is what the pool shares under one key, from the moment somebody wants it::

    QUEUED    in ``queue``, waiting for room; or in ``successors``, waiting for the end of its predecessor
    ENTERING  in ``entering``: the driver makes its object
    OPEN      its users have it; without any, it is in ``idle``
    BROKEN    in ``broken``: its users have it, and nobody else will
    CLOSING   in ``closing``: the driver ends its object
    GONE      nobody has it

All but the first and the last count against ``max_size``. There are never two of a key that do, so what is asked for
while it is broken, or being closed, is made again afterwards, when its turn comes: ``queue`` is in the order of the
first asking.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Hashable
from contextlib import suppress
from itertools import islice
from math import inf
from typing import Any, Generic, TypeVar

from ProxyPatternPool._errors import IllegalMove
from ProxyPatternPool._keyed.instance import (
    BROKEN,
    CLOSING,
    ENTERING,
    GONE,
    OPEN,
    QUEUED,
    Instance,
    Reason,
    State,
    Waiter,
)
from ProxyPatternPool._keyed.stats import KeyedCounters
from ProxyPatternPool._shared_error import SharedError

T = TypeVar("T")


class KeyedMachine(Generic[T]):
    """Which instance serves which key, what is entered, and what is closed, when and why.

    `max_size` of 0 is no limit; `ttl` of None is infinity.
    """

    def __init__(self, *, max_size: int = 0, ttl: float | None = None) -> None:
        self.max_size = max_size
        self.ttl = inf if ttl is None else ttl

        # State.
        # one for each key, QUEUED to CLOSING; empty when closed. GONE is as good as nothing: a key was not found again
        self.known: dict[Hashable, Instance[T]] = {}
        self.registry: set[Instance[T]] = set()  # ENTERING to CLOSING: its length is the pool's size
        self.entering: set[Instance[T]] = set()
        self.idle: OrderedDict[Instance[T], None] = OrderedDict()  # OPEN, no users; first who rests longest
        self.broken: set[Instance[T]] = set()
        self.closing: set[Instance[T]] = set()
        self.queue: list[Instance[T]] = []  # QUEUED for room, by number
        self.successors: set[Instance[T]] = (
            set()
        )  # QUEUED behind one that is BROKEN or CLOSING, and will leave room for it
        self.waiting: set[Waiter[T]] = set()  # for QUEUED and ENTERING ones
        self.is_shut_down = False
        self.hasty = not self.ttl  # nothing stays idle: that, or it is closed
        self.numbers = 0  # of the next instance
        self.counters = KeyedCounters()

        # Outboxes. Filled by moves, emptied by the driver after each of them.
        self.to_wake: deque[Waiter[T]] = deque()  # to be woken: served, failed, or sent away by the end of the pool
        self.starts: deque[Instance[T]] = deque()  # ENTERING: make the object, then say `entered` or `failed`
        self.stops: deque[Instance[T]] = deque()  # CLOSING: end the object, then say `ended`. ENTERING: give it up

    # -- users

    def join(self, key: Hashable, now: float) -> Instance[T] | None:
        """Become a user of the key's instance, if it is open."""
        instance = self.known.get(key)
        if instance is None or instance.state is not OPEN:
            return None
        if not instance.users:
            del self.idle[instance]
            instance.since = now
        instance.users += 1
        instance.uses += 1
        return instance

    def leave(self, instance: Instance[T], now: float) -> bool:
        """Be a user no more. True when there is something in the outboxes; `due` may have changed all the same."""
        users = instance.users - 1
        if users:
            if users < 0:
                raise IllegalMove(f"{instance!r} has no user who could leave")
            instance.users = users
            return False
        instance.users = 0
        if instance.state is OPEN:
            instance.since = now
            self.idle[instance] = None
            if self.hasty or self.queue:
                self._disturb_idle(now)
        elif instance.state is BROKEN:  # and was not taken away
            self._close_instance(instance, Reason.DISCARD)
        return bool(self.stops)  # only by closing something it could have made room

    def ask(self, key: Hashable, call: Any, waiter: Waiter[T], now: float) -> bool:
        """Wait for the key's instance, which is not open: `join` has told. False, and nothing changed, when closed."""
        if self.is_shut_down:
            return False
        instance = self.known.get(key)
        if instance is None or instance.state is GONE:
            instance = self.known[key] = self._new(key, call)
            self.queue.append(instance)
        elif instance.state in (BROKEN, CLOSING):
            instance = self._successor(instance, call)
        waiter.instance = instance
        waiter.since = now
        instance.waiters[waiter] = None
        self.waiting.add(waiter)
        self._match(now)
        return True

    def withdraw(self, waiter: Waiter[T], now: float) -> bool:
        """Wait no more. False, and nothing changed, when it has been answered already.

        What is being entered goes on: it will be idle.
        """
        instance = waiter.instance
        if waiter not in instance.waiters:
            return False
        del instance.waiters[waiter]
        self._wait_is_over(waiter, now)
        if instance.state is QUEUED and not instance.waiters:
            self._unqueue(instance)
        return True

    def time_out(self, waiter: Waiter[T], now: float) -> bool:
        """Wait no more, for the time is over. As `withdraw`."""
        withdrawn = self.withdraw(waiter, now)
        self.counters.timeouts += withdrawn
        return withdrawn

    def discard(self, obj: object) -> bool:
        """Let nobody else use the instances that have this object: close what is idle, the others when they are left.

        False, and nothing changed, when there is none.
        """
        found = [instance for instance in self.registry if instance.state is not ENTERING and instance.obj is obj]
        for instance in sorted(found, key=_number):
            if instance in self.idle:
                self._close_instance(instance, Reason.DISCARD)
            elif instance.state is OPEN:
                instance.state = BROKEN
                self.broken.add(instance)
        return bool(found)

    # -- what the driver reports

    def begin(self, instance: Instance[T]) -> Any:
        """The object begins to be made: return what the first caller has asked with, which is not kept."""
        call, instance.call = instance.call, None
        return call

    def entered(self, instance: Instance[T], obj: T, now: float) -> None:
        """The object has been made: everyone who waits for it has it."""
        self._check(instance, ENTERING)
        self.entering.remove(instance)
        self.counters.entered += 1
        self.counters.entering.add(1, now - instance.since, now - instance.since)
        instance.state = OPEN
        instance.obj = obj
        instance.since = now
        instance.uses = len(instance.waiters)
        instance.users = instance.uses or 1  # somebody may have waited for it and gone
        self._answer(instance, now, served=True)
        if not instance.uses:
            self.leave(instance, now)

    def failed(self, instance: Instance[T], error: BaseException, now: float) -> None:
        """The object could not be made: every waiter gets the error, and it is forgotten."""
        self._check(instance, ENTERING)
        self.entering.remove(instance)
        self.counters.entering_errors += 1
        self._answer(instance, now, error=SharedError(error))
        self._remove(instance, now)

    def ended(self, instance: Instance[T], now: float, *, failed: bool = False) -> None:
        """The object has been ended, well or, having `failed`, badly: its room is free, and its key."""
        self._check(instance, CLOSING)
        self.counters.closing_errors += failed
        self.closing.remove(instance)
        assert instance.reason is not None
        self.counters.closed[instance.reason.value] += 1
        self._remove(instance, now)

    def lost(self, instance: Instance[T], now: float, *, failed: bool = False) -> None:
        """The object has ended on its own, whoever uses it, `failed` or not: the next caller gets another."""
        self._check(instance, OPEN, BROKEN)
        self.counters.closing_errors += failed
        self.idle.pop(instance, None)
        self.broken.discard(instance)
        self.counters.closed[Reason.LOST.value] += 1
        self._remove(instance, now)

    # -- time, and the end

    def due(self) -> float:
        """Tell when to `expire` next: infinity while nothing is idle, or nothing ever expires."""
        for instance in self.idle:
            return instance.since + self.ttl
        return inf

    def expire(self, now: float) -> None:
        """Close what has been idle for `ttl`."""
        while self.due() <= now:
            self._close_instance(next(iter(self.idle)), Reason.TTL)

    def shutdown(self, now: float) -> None:
        """Send everybody away, give up what is being entered, close what is idle, and later what is left by its users.

        For good; twice is once.
        """
        if self.is_shut_down:
            return
        self.is_shut_down = self.hasty = True
        for instance in [*self.queue, *self.successors, *self.entering]:
            self._answer(instance, now)
        for instance in [*self.queue, *self.successors]:
            instance.state = GONE
        self.queue.clear()
        self.successors.clear()
        self.known.clear()  # so that `join` finds nothing any more, and pays nothing for it
        self.stops.extend(sorted(self.entering, key=_number))
        self._close_idle(Reason.SHUTDOWN)

    def abandon(self, now: float) -> None:
        """Shut down, and close what is in use, too: its users will never run again."""
        self.shutdown(now)
        for instance in sorted(self.registry - self.entering - self.closing, key=_number):
            self._close_instance(instance, Reason.SHUTDOWN)

    def detach(self) -> None:
        """Have nothing to do with the instances any more, whoever leaves them: they are another process's."""
        for instance in self.registry:
            instance.state = GONE

    # -- the rules, each in one place

    def _match(self, now: float) -> None:
        """Enter what there is room for; then close idle ones for the rest, unless as many are being closed already."""
        while self.queue and (not self.max_size or len(self.registry) < self.max_size):
            self._enter(self.queue.pop(0), now)
        if self.queue:
            coming = len(self.closing) + sum(instance.successor is not None for instance in self.broken)
            lacking = len(self.queue) + len(self.successors) - coming - (self.max_size - len(self.registry))
            for instance in list(islice(self.idle, max(0, lacking))):
                self._close_instance(instance, Reason.MAX_SIZE)

    def _disturb_idle(self, now: float) -> None:
        """Something has become idle that may not stay so."""
        if self.is_shut_down:
            self._close_idle(Reason.SHUTDOWN)
        elif not self.ttl:
            self._close_idle(Reason.TTL)
        else:
            self._match(now)

    def _close_idle(self, reason: Reason) -> None:
        for instance in list(self.idle):
            self._close_instance(instance, reason)

    def _new(self, key: Hashable, call: Any) -> Instance[T]:
        instance: Instance[T] = Instance(self.numbers, key, call)
        self.numbers += 1
        return instance

    def _successor(self, instance: Instance[T], call: Any) -> Instance[T]:
        if instance.successor is None:
            instance.successor = self._new(instance.key, call)
            instance.successor.predecessor = instance
            self.successors.add(instance.successor)
        return instance.successor

    def _enter(self, instance: Instance[T], now: float) -> None:
        instance.state = ENTERING
        instance.since = now
        self.registry.add(instance)
        self.entering.add(instance)
        self.starts.append(instance)

    def _close_instance(self, instance: Instance[T], reason: Reason) -> None:
        self.idle.pop(instance, None)
        self.broken.discard(instance)
        instance.state = CLOSING
        instance.reason = reason
        self.closing.add(instance)
        self.stops.append(instance)

    def _remove(self, instance: Instance[T], now: float) -> None:
        """Forget the instance. Whatever was to follow it under its key takes its place in the queue."""
        instance.state = GONE
        self.registry.remove(instance)
        self.counters.uses += instance.uses
        if not self.is_shut_down:
            successor, instance.successor = instance.successor, None
            if successor is not None:
                self.successors.remove(successor)
                successor.predecessor = None
                insort(self.queue, successor, key=_number)
            self._lead(instance, successor)
            self._match(now)

    def _unqueue(self, instance: Instance[T]) -> None:
        """Nobody wants it any more: out of the queue, or of the succession."""
        instance.state = GONE
        if instance.predecessor is not None:
            self.successors.remove(instance)
            instance.predecessor.successor = None
        else:
            del self.queue[bisect_left(self.queue, instance.number, key=_number)]
            self._lead(instance, None)

    def _lead(self, instance: Instance[T], successor: Instance[T] | None) -> None:
        """Have the key of an instance that is GONE lead to its heir, or nowhere.

        When its hash or its equality does not find it any more, all stays as it is: what it leads to is GONE.
        """
        with suppress(Exception):
            if self.known.get(instance.key) is not instance:
                return  # it leads to another one by now
            if successor is None:
                del self.known[instance.key]
            else:
                self.known[instance.key] = successor

    def _answer(
        self, instance: Instance[T], now: float, *, served: bool = False, error: SharedError | None = None
    ) -> None:
        for waiter in instance.waiters:
            waiter.served = served
            waiter.error = error
            self._wait_is_over(waiter, now)
            self.to_wake.append(waiter)
        instance.waiters = {}

    def _wait_is_over(self, waiter: Waiter[T], now: float) -> None:
        self.waiting.remove(waiter)
        waited = now - waiter.since
        self.counters.wait.add(1, waited, waited)

    def _check(self, instance: Instance[T], *phases: State) -> None:
        if instance.state not in phases or instance not in self.registry:
            raise IllegalMove(f"{instance!r} should be {' or '.join(state.value for state in phases)}")


def _number(instance: Instance[Any]) -> int:
    return instance.number
