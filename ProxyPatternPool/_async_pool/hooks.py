"""HookedPool: runs the hooks of a pool in an event loop, each in a task of its own.

A hook owns its slot while it runs. What comes of it is settled when its task has ended, and not in the coroutine: a
task may be cancelled before it has begun, and one that ignores being cancelled is given up with its loop.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from asyncio import CancelledError, Task
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from ProxyPatternPool._async_pool.resources import LoopResources
from ProxyPatternPool._async_pool.waiter import TaskWaiter
from ProxyPatternPool._callables import awaited_result
from ProxyPatternPool._core.slot import Reason, Slot
from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._legacy import PoolBase
from ProxyPatternPool._loops.factory import outcome
from ProxyPatternPool._loops.system_task import failure

T = TypeVar("T")

#: Seconds for which a hook goes on when its caller has stopped waiting.
PATIENCE = 5.0


class HookedPool(PoolBase[T], ABC):
    """What `health`, `getter` and `retter` do for those who wait, or for nobody."""

    def _start(self) -> None:
        super()._start()
        self._resources: LoopResources[T]  # where the tasks are
        self._preparing: dict[Slot[T], TaskWaiter[T]] = {}  # for whom objects are being checked, or got ready
        self._checking = False  # one that is idle: never two at a time, for nobody can have it meanwhile

    @abstractmethod
    def _act(self) -> None:
        """Do what the core has decided."""

    async def _call(self, name: str, hook: Callable[[T], object], slot: Slot[T]) -> None:
        awaited_result(name, await outcome(hook(slot.obj)))

    # -- before an object is lent

    def _lend(self, waiter: TaskWaiter[T], slot: Slot[T], doubtful: bool) -> None:
        """Let the waiter have the object; if need be, when it has been checked, and shown to the `getter`."""
        if self._config.getter is None and not doubtful:
            waiter.ready = True
            waiter.wake()
        else:
            waiter.unfit = Reason.HEALTH if doubtful else Reason.GETTER
            self._preparing[slot] = waiter
            settle = partial(self._prepared, waiter, slot, slot.use)
            waiter.task = self._resources.run(self._prepare(waiter, slot), waiter.context, settle)

    async def _prepare(self, waiter: TaskWaiter[T], slot: Slot[T]) -> None:
        if waiter.unfit is Reason.HEALTH and not await self._is_healthy(slot):
            return
        waiter.unfit = Reason.GETTER
        await self._call("getter", self._getter, slot)
        waiter.unfit = None

    def _prepared(self, waiter: TaskWaiter[T], slot: Slot[T], use: int, task: Task[None]) -> None:
        core, now, error = self._core, self._clock(), failure(task)
        del self._preparing[slot]
        if waiter.unfit is not None:
            core.reject(slot, waiter.unfit, now)
        if error is not None:
            self._log_unprepared(waiter, slot, error, task)
        elif waiter.unfit is None and core.holds(use) and not waiter.gone:
            waiter.ready = True
            waiter.wake()
        elif not waiter.gone:
            waiter.slot = None
            core.enter(waiter, True, now)  # but not when the pool was closed: then it has been woken, and will see
        if waiter.gone:
            core.cancel(waiter, now)
        self._act()

    def _log_unprepared(self, waiter: TaskWaiter[T], slot: Slot[T], error: BaseException, task: Task[None]) -> None:
        """Tell who waits what the hook has raised. When nobody does, the log is told."""
        assert waiter.unfit is not None
        self._note(error, waiter.unfit.value)
        cancelled = isinstance(error, CancelledError)  # who waits was not
        if not waiter.gone:
            waiter.fail(PoolException(f"{self.name}: a hook was cancelled") if cancelled else error)
        elif cancelled:
            self._tell_given_up("preparing", slot, task)
        else:
            self._log.error("%s: preparing an object failed, and nobody waits for it", self.name, exc_info=error)

    def _tell_given_up(self, work: str, slot: Slot[T], task: Task[None]) -> None:
        """Log that a hook was cancelled; not for a hook that has ended because its loop ends."""
        if not (self._resources.ending and task.done()):
            self._log.warning("%s: %s %s did not end: given up", self.name, work, self._describe(slot.obj, slot))

    async def _is_healthy(self, slot: Slot[T]) -> bool:
        """Ask `health`. What it raises is logged, and means no; but it is passed on when it is no Exception."""
        try:
            answer = await outcome(self._health(slot.obj))
            healthy = bool(answer)
        except Exception as error:
            self._log_failed_check(slot, error)
            return False
        awaited_result("health", answer)  # that is no answer: whoever asks has to know
        if not healthy:
            self._log.warning("%s: %s is in bad health: closed", self.name, self._describe(slot.obj))
        return healthy

    # -- while it is idle

    def _check(self, slot: Slot[T]) -> None:
        """Check an object which is idle, if it still is."""
        if self._core.reserve_idle(slot, self._clock()):
            self._checking = True
            self._resources.run(self._is_healthy(slot), Context(), partial(self._checked, slot))

    def _checked(self, slot: Slot[T], task: Task[bool]) -> None:
        self._checking = False
        error = failure(task)
        if not (error is None or isinstance(error, CancelledError)):
            self._log.error("%s: checking %s failed", self.name, self._describe(slot.obj, slot), exc_info=error)
        healthy = error is None and task.result() and self._resources.has(slot)
        self._core.checked(slot, healthy, self._clock())
        self._act()

    # -- when it comes back

    def _tidy(self, slot: Slot[T], context: Context) -> Task[None]:
        """Have the retter tidy an object up, which is closed if that fails, and put it back."""
        return self._resources.run(self._call("retter", self._retter, slot), context, partial(self._tidied, slot))

    def _tidied(self, slot: Slot[T], task: Task[None]) -> None:
        error = failure(task)
        if isinstance(error, CancelledError):
            self._tell_given_up("tidying up", slot, task)
        elif error is not None:
            self._note(error, "retter")
            self._log.error("%s: tidying up %s failed", self.name, self._describe(slot.obj, slot), exc_info=error)
        alive = self._resources.has(slot)
        reason = Reason.RETTER if error is not None else None if alive else Reason.HEALTH
        self._core.put_back(slot, reason, self._clock())
        self._act()

    async def _outlast(self, task: Task[None]) -> None:
        """Wait until an object has been tidied up. That goes on when the caller is cancelled: not for ever.

        What the retter raises is the log's; but it is passed on when it is no Exception.
        """
        try:
            await asyncio.wait((task,))
        except BaseException:
            self._resources.cancel_after(task, PATIENCE)
            raise
        error: Any = failure(task)
        if not (error is None or isinstance(error, (Exception, CancelledError))):
            raise error
