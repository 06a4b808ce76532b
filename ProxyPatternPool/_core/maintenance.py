"""The maintenance that time demands: of objects idle, alive or leased for too long, and when to look again.

These are the steps of a sweep. They run under the lock; `take` and `give` go on meanwhile.
"""

from __future__ import annotations

from math import inf
from typing import TypeVar

from ProxyPatternPool._core.slot import CLOSING, Reason, Slot
from ProxyPatternPool._core.transitions import SlotTable

T = TypeVar("T")

#: Seconds from one background round to the next, in which idle objects are checked, if no `delay` was given.
PERIOD = 30.0


def timed(table: SlotTable[T]) -> bool:
    """Tell whether time alone can create work to do."""
    limits = table.limits
    return table.inspecting or any(
        (limits.delay, limits.max_delay, limits.max_using_delay, limits.max_using_delay_kill)
    )


def evict_idle(table: SlotTable[T], now: float) -> None:
    """Evict objects that were idle for too long, those unused for longest first. Leave `min_size` objects."""
    spare = sum(slot.state is not CLOSING for slot in table.registry) - table.min_size
    while table.limits.max_delay and spare > 0:
        try:
            slot = table.idle.popleft()
        except IndexError:
            return
        if slot.since + table.limits.max_delay > now:
            # a look without a pop would own nothing; a caller that missed the slot meanwhile waits for this lock
            table.idle.appendleft(slot)
            return
        table._close_slot(slot, Reason.MAX_DELAY)
        spare -= 1


def evict_unfit(table: SlotTable[T], now: float) -> None:
    """Evict idle objects that are no longer fit for use; after a `refresh`, one at a time."""
    closing = table.closes and any(slot.state is CLOSING for slot in table.registry)
    for _ in range(len(table.idle) if table.inspecting else 0):
        try:
            slot = table.idle.popleft()  # and back in on the right: after one round the order is the same
        except IndexError:
            return
        reason = table._unfit_reason(slot, now)
        if reason is None or (reason is Reason.REFRESH and closing):
            table.idle.append(slot)
        else:
            table._close_slot(slot, reason)
            closing = table.closes


def warn(table: SlotTable[T], now: float) -> None:
    """Report leases that last too long, each of them once."""
    for slot, use in _held_since(table, now - table.limits.max_using_delay) if table.limits.max_using_delay else ():
        holder = slot.holder
        if slot.warned != use and use in table.leased:  # still: otherwise `holder` might be that of the next lease
            slot.warned = use
            table.overdue.append((slot, use, holder))


def kill(table: SlotTable[T], now: float) -> None:
    """End leases that last much too long, and close their objects."""
    limit = table.limits.max_using_delay_kill
    for slot, use in _held_since(table, now - limit) if limit else ():
        if table.leased.pop(use, None) is not None:  # otherwise it has just been returned
            table._settle(slot, now, Reason.KILL)
            table.overdue.append((slot, use, slot.holder))


def _held_since(table: SlotTable[T], then: float) -> list[tuple[Slot[T], int]]:
    # values() and not items(), which makes tuples: a collection in the middle may run a finaliser that returns an
    # object. The use is read before the time: a lease that begins in between has another use, and a later time
    uses = [(slot, slot.use, slot.since) for slot in list(table.leased.values())]
    return [(slot, use) for slot, use, since in uses if since <= then]


def queue_checks(table: SlotTable[T], now: float) -> None:
    """Queue the idle objects not checked for a period, the one used last first. See `PoolMachine.checked`."""
    if table.checks and not table.to_check:
        unheard = [slot for slot in table.resting() if slot.alive + _check_period(table) <= now]
        table.to_check.extend(sorted(unheard, key=lambda slot: slot.since, reverse=True))


def _check_period(table: SlotTable[T]) -> float:
    return (table.limits.delay or PERIOD) * table.limits.health_freq


def next_sweep(table: SlotTable[T], now: float) -> float:
    if table.is_shut_down:
        return inf
    refill = table.refill_at if len(table.registry) < table.min_size else inf
    if table.limits.delay:
        return min(refill, now + table.limits.delay)
    return min([refill, *_next_limits(table, now)])


def _next_limits(table: SlotTable[T], now: float) -> list[float]:
    """Return when the next slot of each kind reaches its limit.

    A slot that enters its state later reaches the limit a whole limit from now, or later.
    """
    limits, idle, leased = table.limits, table.resting(), [slot.since for slot in list(table.leased.values())]
    kinds = [
        (limits.max_delay, [min((slot.since for slot in idle), default=now)]),
        (limits.max_using_delay, leased),
        (limits.max_using_delay_kill, leased),
        (_check_period(table) if table.checks else 0.0, [slot.alive for slot in idle]),
        # up to a tenth earlier, see `PoolMachine.made`
        (limits.max_lifetime * 0.9, [slot.expires - limits.max_lifetime * 0.9 for slot in table.registry]),
    ]
    # an overdue slot was dealt with just now, or is kept for min_size: it is looked at again later
    return [
        min([now + limit, *(begin + limit for begin in begins if begin + limit > now)])
        for limit, begins in kinds
        if limit
    ]
