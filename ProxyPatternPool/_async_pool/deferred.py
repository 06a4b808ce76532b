"""Deferred ends: uses that end in a finaliser, in another loop or in another thread, and are ended by the pool's loop.

Such a caller cannot await, and a finaliser may run in any thread, between any two steps.
The loop ends such a use in its next turn, unless the loop is closed. It does not keep the engine for that: the engine
may be collected together with the task that has the object.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar
from weakref import ref

from ProxyPatternPool._async_pool.engine import Engine
from ProxyPatternPool._async_pool.hooks import PATIENCE
from ProxyPatternPool._core.slot import Slot
from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._loops.resources import LoopResources, call_soon

T = TypeVar("T")


def give_soon(engine: Engine[T], slot: Slot[T], use: int) -> None:
    """Have the loop end a use, and tidy up its object, if the use is not over by then."""
    _end_soon(engine, slot, use, _give)


def discard_soon(engine: Engine[T], slot: Slot[T], use: int) -> None:
    """Have the loop end a use, and close its object with an exception, if the use is not over by then."""
    _end_soon(engine, slot, use, _discard)


def _end_soon(engine: Engine[T], slot: Slot[T], use: int, end: Callable[[Engine[T], int], None]) -> None:
    call_soon(engine.loop, _end, ref(engine), engine.resources, slot, use, end)


def _end(
    engine: ref[Engine[T]],
    resources: LoopResources[Slot[T], T],
    slot: Slot[T],
    use: int,
    end: Callable[[Engine[T], int], None],
) -> None:
    """End a use, in its loop. If the engine has been collected, too, close the object as its task has left it."""
    alive = engine()
    if alive is None:
        resources.close(slot, PoolException("the task that had the object was collected, and so was the pool"))
    else:
        end(alive, use)


def _give(engine: Engine[T], use: int) -> None:
    if not engine.tidies:
        engine.machine.give_use(use, engine.clock())
        engine.act()
    elif slot := engine.machine.reserve_use(use):
        engine.resources.cancel_after(engine.tidy(slot, copy_context()), PATIENCE)  # no task waits for it


def _discard(engine: Engine[T], use: int) -> None:
    if engine.machine.holds(use):
        engine.machine.discard(engine.machine.leased[use].obj, engine.clock())
        engine.act()
