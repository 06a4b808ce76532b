"""The maintenance that time demands: of objects idle, alive or leased for too long, and when to look again."""

from __future__ import annotations

from math import inf
from typing import TypeVar

from ProxyPatternPool._core.slot import CLOSING, Reason, Slot
from ProxyPatternPool._core.transitions import SlotTable

T = TypeVar("T")

#: Seconds from one background round to the next, in which idle objects are checked, if no `delay` was given.
PERIOD = 30.0


class Maintenance(SlotTable[T]):
    """A slot table with the steps of a sweep. They run under the lock; `take` and `give` go on meanwhile."""

    @property
    def timed(self) -> bool:
        """True if time alone can create work to do."""
        limits = self.limits
        return self.inspecting or any(
            (limits.delay, limits.max_delay, limits.max_using_delay, limits.max_using_delay_kill)
        )

    def _evict_idle(self, now: float) -> None:
        """Evict objects that were idle for too long, those unused for longest first. Leave `min_size` objects."""
        spare = sum(slot.state is not CLOSING for slot in self.registry) - self.min_size
        while self.limits.max_delay and spare > 0:
            try:
                slot = self.idle.popleft()
            except IndexError:
                return
            if slot.since + self.limits.max_delay > now:
                # a look without a pop would own nothing; a caller that missed the slot meanwhile waits for this lock
                self.idle.appendleft(slot)
                return
            self._close_slot(slot, Reason.MAX_DELAY)
            spare -= 1

    def _evict_unfit(self, now: float) -> None:
        """Evict idle objects that are no longer fit for use; after a `refresh`, one at a time."""
        closing = self.closes and any(slot.state is CLOSING for slot in self.registry)
        for _ in range(len(self.idle) if self.inspecting else 0):
            try:
                slot = self.idle.popleft()  # and back in on the right: after one round the order is the same
            except IndexError:
                return
            reason = self._unfit_reason(slot, now)
            if reason is None or (reason is Reason.REFRESH and closing):
                self.idle.append(slot)
            else:
                self._close_slot(slot, reason)
                closing = self.closes

    def _warn(self, now: float) -> None:
        """Report leases that last too long, each of them once."""
        for slot, use in self._held_since(now - self.limits.max_using_delay) if self.limits.max_using_delay else ():
            holder = slot.holder
            if slot.warned != use and use in self.leased:  # still: otherwise `holder` might be that of the next lease
                slot.warned = use
                self.overdue.append((slot, use, holder))

    def _kill(self, now: float) -> None:
        """End leases that last much too long, and close their objects."""
        limit = self.limits.max_using_delay_kill
        for slot, use in self._held_since(now - limit) if limit else ():
            if self.leased.pop(use, None) is not None:  # otherwise it has just been returned
                self._settle(slot, now, Reason.KILL)
                self.overdue.append((slot, use, slot.holder))

    def _held_since(self, then: float) -> list[tuple[Slot[T], int]]:
        # values() and not items(), which makes tuples: a collection in the middle may run a finaliser that returns an
        # object. The use is read before the time: a lease that begins in between has another use, and a later time
        uses = [(slot, slot.use, slot.since) for slot in list(self.leased.values())]
        return [(slot, use) for slot, use, since in uses if since <= then]

    def _queue_checks(self, now: float) -> None:
        """Queue the idle objects not checked for a period, the one used last first. See `PoolMachine.checked`."""
        if self.checks and not self.to_check:
            unheard = [slot for slot in self.resting() if slot.alive + self._check_period <= now]
            self.to_check.extend(sorted(unheard, key=lambda slot: slot.since, reverse=True))

    @property
    def _check_period(self) -> float:
        return (self.limits.delay or PERIOD) * self.limits.health_freq

    def _next_sweep(self, now: float) -> float:
        if self.is_shut_down:
            return inf
        refill = self.refill_at if len(self.registry) < self.min_size else inf
        if self.limits.delay:
            return min(refill, now + self.limits.delay)
        return min([refill, *self._next_limits(now)])

    def _next_limits(self, now: float) -> list[float]:
        """Return when the next slot of each kind reaches its limit.

        A slot that enters its state later reaches the limit a whole limit from now, or later.
        """
        limits, idle, leased = self.limits, self.resting(), [slot.since for slot in list(self.leased.values())]
        kinds = [
            (limits.max_delay, [min((slot.since for slot in idle), default=now)]),
            (limits.max_using_delay, leased),
            (limits.max_using_delay_kill, leased),
            (self._check_period if self.checks else 0.0, [slot.alive for slot in idle]),
            # up to a tenth earlier, see `PoolMachine.made`
            (limits.max_lifetime * 0.9, [slot.expires - limits.max_lifetime * 0.9 for slot in self.registry]),
        ]
        # an overdue slot was dealt with just now, or is kept for min_size: it is looked at again later
        return [
            min([now + limit, *(begin + limit for begin in begins if begin + limit > now)])
            for limit, begins in kinds
            if limit
        ]
