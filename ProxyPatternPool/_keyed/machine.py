"""KeyedMachine: the state machine behind `AsyncKeyedPool`.

The machine decides, and never acts. It does not await, read a clock, log, or run user code, except the hash and the
equality of keys, which a dictionary needs. These may raise, or change. `join` and `ask` pass on such an exception, and
have changed nothing then. All other moves rely on `known` for nothing.

The driver tells the machine what happened, and when (``now``, in seconds). It finds its work in the outboxes: waiters
to wake, instances to enter, instances to close. The machine belongs to one event loop. It needs no lock, since no other
code runs between two of its lines.

An instance is the shared object of one key, from the first request for it::

    QUEUED    in ``queue``, waiting for room; or in ``successors``, waiting for the end of its predecessor
    ENTERING  in ``entering``: the driver makes its object
    OPEN      lent to its users; without users, in ``idle``
    BROKEN    in ``broken``: lent to its users, and never to others
    CLOSING   in ``closing``: the driver closes its object
    GONE      closed, or never made

All but the first and the last state count against ``max_size``. Of the instances of one key, at most one counts. So a
request for a key whose instance is broken, or being closed, gets a new instance after that, when its turn comes. The
order in ``queue`` is that of the first requests.
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
    """A state machine that decides which instance serves a key, and when an instance is entered and closed.

    A `max_size` of 0 is no limit. A `ttl` of None is infinity.
    """

    def __init__(self, *, max_size: int = 0, ttl: float | None = None) -> None:
        self.max_size = max_size
        self.ttl = inf if ttl is None else ttl

        # State.
        # One for each key, QUEUED to CLOSING; empty when closed. An instance that is GONE counts as none. It stays here
        # if its key was not found again
        self.known: dict[Hashable, Instance[T]] = {}
        self.registry: set[Instance[T]] = set()  # ENTERING to CLOSING: the size of the pool
        self.entering: set[Instance[T]] = set()
        self.idle: OrderedDict[Instance[T], None] = OrderedDict()  # OPEN, without users; the longest idle first
        self.broken: set[Instance[T]] = set()
        self.closing: set[Instance[T]] = set()
        self.queue: list[Instance[T]] = []  # QUEUED for room, by number
        # QUEUED behind an instance of the same key that is BROKEN or CLOSING, and will leave room for it
        self.successors: set[Instance[T]] = set()
        self.waiting: set[Waiter[T]] = set()  # for QUEUED and ENTERING instances
        self.is_shut_down = False
        self.hasty = not self.ttl  # no instance stays idle: the `ttl` is 0, or the pool is closed
        self.numbers = 0  # the number of the next instance
        self.counters = KeyedCounters()

        # Outboxes. Filled by moves, emptied by the driver after each of them.
        self.to_wake: deque[Waiter[T]] = deque()  # served or failed, or the pool is closed
        self.starts: deque[Instance[T]] = deque()  # ENTERING: make the object, then call `entered` or `failed`
        self.stops: deque[Instance[T]] = deque()  # CLOSING: close the object, then call `ended`. ENTERING: give it up

    # -- users

    def join(self, key: Hashable, now: float) -> Instance[T] | None:
        """Make the caller a user of the key's instance, and return it. None if it is not open."""
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
        """Remove one user of an instance. Return True if the outboxes have work. `due` may change in any case."""
        users = instance.users - 1
        if users:
            if users < 0:
                raise IllegalMove(f"{instance!r} has no user that could leave")
            instance.users = users
            return False
        instance.users = 0
        if instance.state is OPEN:
            instance.since = now
            self.idle[instance] = None
            if self.hasty or self.queue:
                self._disturb_idle(now)
        elif instance.state is BROKEN:  # and has not ended on its own
            self._close_instance(instance, Reason.DISCARD)
        return bool(self.stops)  # room is only made by a close, so no other outbox has work

    def ask(self, key: Hashable, call: Any, waiter: Waiter[T], now: float) -> bool:
        """Add a waiter for the key's instance, which `join` has not found open. `call` makes the object.

        Returns False, and changes nothing, after `shutdown`.
        """
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
        """Remove a waiter. Return False, and change nothing, if it has been answered already.

        An instance that is being entered goes on without its waiters, and becomes idle.
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
        """Remove a waiter whose timeout is over, and count that. Otherwise the same as `withdraw`."""
        withdrawn = self.withdraw(waiter, now)
        self.counters.timeouts += withdrawn
        return withdrawn

    def discard(self, obj: object) -> bool:
        """Stop lending the instances with this object. An idle one is closed now, one in use when its users have left.

        Returns False, and changes nothing, if no instance has the object.
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
        """Return the function that makes the object, and drop it: the driver begins to make the object."""
        call, instance.call = instance.call, None
        return call

    def entered(self, instance: Instance[T], obj: T, now: float) -> None:
        """Record that the object has been made. Its waiters are its users now."""
        self._check(instance, ENTERING)
        self.entering.remove(instance)
        self.counters.entered += 1
        self.counters.entering.add(1, now - instance.since, now - instance.since)
        instance.state = OPEN
        instance.obj = obj
        instance.since = now
        instance.uses = len(instance.waiters)
        instance.users = instance.uses or 1  # its waiters may all have gone
        self._answer(instance, now, served=True)
        if not instance.uses:
            self.leave(instance, now)

    def failed(self, instance: Instance[T], error: BaseException, now: float) -> None:
        """Record that the object could not be made. Every waiter gets the error, and the instance is gone."""
        self._check(instance, ENTERING)
        self.entering.remove(instance)
        self.counters.entering_errors += 1
        self._answer(instance, now, error=SharedError(error))
        self._remove(instance, now)

    def ended(self, instance: Instance[T], now: float, *, failed: bool = False) -> None:
        """Record that the object has been closed, or that its close has `failed`. Its room and its key are free."""
        self._check(instance, CLOSING)
        self.counters.closing_errors += failed
        self.closing.remove(instance)
        assert instance.reason is not None
        self.counters.closed[instance.reason.value] += 1
        self._remove(instance, now)

    def lost(self, instance: Instance[T], now: float, *, failed: bool = False) -> None:
        """Record that the object has ended on its own, perhaps in use, and perhaps with a `failed` exit.

        The next caller gets a new instance.
        """
        self._check(instance, OPEN, BROKEN)
        self.counters.closing_errors += failed
        self.idle.pop(instance, None)
        self.broken.discard(instance)
        self.counters.closed[Reason.LOST.value] += 1
        self._remove(instance, now)

    # -- time, and the end

    def due(self) -> float:
        """Return the time of the next `expire`. Infinity if no instance is idle, or without a `ttl`."""
        for instance in self.idle:
            return instance.since + self.ttl
        return inf

    def expire(self, now: float) -> None:
        """Close the instances that have been idle for `ttl` seconds."""
        while self.due() <= now:
            self._close_instance(next(iter(self.idle)), Reason.TTL)

    def shutdown(self, now: float) -> None:
        """Close the machine for good. Fail all waiters, give up what is being entered, and close idle instances.

        Instances in use are closed when their users have left. A second call changes nothing.
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
        self.known.clear()  # so `join` finds no instance, and needs no check of its own
        self.stops.extend(sorted(self.entering, key=_number))
        self._close_idle(Reason.SHUTDOWN)

    def abandon(self, now: float) -> None:
        """Shut down, and close instances in use, too: their users will never run again."""
        self.shutdown(now)
        for instance in sorted(self.registry - self.entering - self.closing, key=_number):
            self._close_instance(instance, Reason.SHUTDOWN)

    def detach(self) -> None:
        """Mark all instances as gone, even if users still leave them: they belong to another process."""
        for instance in self.registry:
            instance.state = GONE

    # -- the rules, each in one place

    def _match(self, now: float) -> None:
        """Enter the instances that there is room for. For the others, close idle instances.

        Closes that go on already will make room, so they count.
        """
        while self.queue and (not self.max_size or len(self.registry) < self.max_size):
            self._enter(self.queue.pop(0), now)
        if self.queue:
            coming = len(self.closing) + sum(instance.successor is not None for instance in self.broken)
            lacking = len(self.queue) + len(self.successors) - coming - (self.max_size - len(self.registry))
            for instance in list(islice(self.idle, max(0, lacking))):
                self._close_instance(instance, Reason.MAX_SIZE)

    def _disturb_idle(self, now: float) -> None:
        """Close idle instances, since one has become idle that may not stay so."""
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
        """Remove an instance. Its successor moves to the queue, to the place that its number gives it."""
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
        """Remove an instance without waiters from the queue, or from the successors."""
        instance.state = GONE
        if instance.predecessor is not None:
            self.successors.remove(instance)
            instance.predecessor.successor = None
        else:
            del self.queue[bisect_left(self.queue, instance.number, key=_number)]
            self._lead(instance, None)

    def _lead(self, instance: Instance[T], successor: Instance[T] | None) -> None:
        """Map the key of an instance that is GONE to its successor, or remove the key.

        If the key's hash or equality does not find the entry any more, it stays: an entry that is GONE counts as none.
        """
        with suppress(Exception):
            if self.known.get(instance.key) is not instance:
                return  # the key has another instance by now
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

    def _check(self, instance: Instance[T], *states: State) -> None:
        if instance.state not in states or instance not in self.registry:
            raise IllegalMove(f"{instance!r} should be {' or '.join(state.value for state in states)}")


def _number(instance: Instance[Any]) -> int:
    return instance.number
