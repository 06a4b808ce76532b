"""Request: the wait of a task for an object."""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED, current_task, get_running_loop
from contextvars import Context
from typing import Any, Generic, TypeVar, cast
from weakref import ref

from ProxyPatternPool._async_pool.engine import Engine
from ProxyPatternPool._async_pool.hooks import PATIENCE
from ProxyPatternPool._async_pool.waiter import TaskWaiter
from ProxyPatternPool._config import Default
from ProxyPatternPool._core.slot import CREATING, Slot

T = TypeVar("T")


class Request(Generic[T]):
    """A task's wait for an object, in the engine's loop. `timeout` is the argument of `AsyncPool.get`."""

    def __init__(self, engine: Engine[T], timeout: float | Default | None) -> None:
        loop = get_running_loop()
        task = current_task(loop)
        self._engine = engine
        self._patience = engine.config.patience(timeout)
        self._waiter: TaskWaiter[T] = TaskWaiter(loop, task and ref(task))

    async def wait(self) -> Slot[T]:
        """Wait for a slot whose object is fit for use, and return it. One handler settles all errors."""
        engine, waiter, patience = self._engine, self._waiter, self._patience
        entered = engine.machine.enter(waiter, False, engine.clock())
        engine.act()
        if not entered:
            raise engine.report.closed_error() if engine.machine.is_shut_down else engine.report.full_error()
        timer = get_running_loop().call_later(patience, waiter.wake, context=Context()) if patience else None
        try:
            if patience != 0.0:
                await waiter.future
            else:
                await self._own_preparations()
            return self._served_slot()
        except BaseException:
            self._cancel()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def _own_preparations(self) -> None:
        """Wait for the hooks that have an object which was idle, and for nothing else."""
        waiter, changed = self._waiter, True
        while changed and self._engine.pending.is_with(waiter) and not waiter.future.done():
            task = cast("asyncio.Task[None]", waiter.task)
            done, _ = await asyncio.wait((task, waiter.future), timeout=PATIENCE, return_when=FIRST_COMPLETED)
            changed = bool(done)

    def _served_slot(self) -> Slot[T]:
        """Return the slot that the waiter was served. Without one, raise the error that says why."""
        waiter, machine, report = self._waiter, self._engine.machine, self._engine.report
        if not waiter.ready and waiter.error is None and waiter.slot is None:
            machine.time_out(waiter, True, self._engine.clock())  # it may be served in this moment
            self._engine.act()
        if waiter.error is not None:
            raise waiter.error
        if waiter.ready:
            return cast(Slot[T], waiter.slot)
        if machine.is_shut_down:
            raise report.closed_error()
        why = ""
        if waiter.slot is not None:
            machine.overrun()
            why = "still creating an object" if waiter.slot.state is CREATING else "still checking an object"
        raise report.timeout_error(self._patience or 0.0, why)

    def _cancel(self) -> None:
        """Stop waiting. A creation or a hook goes on for other waiters, and finds that this one is gone."""
        engine, waiter = self._engine, self._waiter
        waiter.gone = True
        if engine.pending.is_with(waiter):
            engine.resources.cancel_after(cast("asyncio.Task[Any]", waiter.task), PATIENCE)
        elif not engine.pending.drop_creation(waiter):
            engine.machine.cancel(waiter, engine.clock())
            engine.act()
