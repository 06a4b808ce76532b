"""HookRunner: runs the hooks of a pool in an event loop, each in a task of its own.

A hook owns its slot while it runs. Its outcome is settled when its task has ended, and not in the coroutine, for two
reasons. A task may be cancelled before it has begun. And a task that ignores being cancelled is given up with its loop.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Task
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Generic, Protocol, TypeVar
from weakref import ref

from ProxyPatternPool._async_pool.waiter import TaskWaiter
from ProxyPatternPool._callables import awaited_result
from ProxyPatternPool._config import PoolConfig, nothing
from ProxyPatternPool._core.slot import Reason, Slot
from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._loops.factory import awaited
from ProxyPatternPool._loops.resources import LoopResources
from ProxyPatternPool._loops.system_task import failure
from ProxyPatternPool._report import PoolReport

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

#: Seconds for which a hook may go on after its caller has stopped waiting.
PATIENCE = 5.0


class HookRunner(Generic[T]):
    """A runner of `health`, `getter` and `retter`, which logs their failures. It makes no move of the machine."""

    def __init__(self, config: PoolConfig[T], report: PoolReport[T], resources: LoopResources[Slot[T], T]) -> None:
        self._getter = nothing if config.getter is None else config.getter
        self._retter = nothing if config.retter is None else config.retter
        self._health = nothing if config.health is None else config.health
        self._report = report
        self._resources = resources
        self.prepares = config.getter is not None  # a hook runs before each lease
        self.tidies = config.retter is not None  # a hook runs after each lease

    async def _call(self, name: str, hook: Callable[[T], object], slot: Slot[T]) -> None:
        awaited_result(name, await awaited(hook(slot.obj)))

    # -- before an object is lent

    def prepare(
        self, waiter: TaskWaiter[T], slot: Slot[T], doubtful: bool, settle: Callable[[Task[None]], None]
    ) -> None:
        """Start a task that checks an object if it is `doubtful`, then calls the `getter`. At its end, call `settle`.

        By then `waiter.unfit` names the hook that the object has failed. None means that it may be lent.
        """
        waiter.unfit = Reason.HEALTH if doubtful else Reason.GETTER
        waiter.task = self._resources.run(self._prepare(waiter, slot), waiter.context, settle)

    async def _prepare(self, waiter: TaskWaiter[T], slot: Slot[T]) -> None:
        if waiter.unfit is Reason.HEALTH and not await self._is_healthy(slot):
            return
        waiter.unfit = Reason.GETTER
        await self._call("getter", self._getter, slot)
        waiter.unfit = None

    def unprepared(self, waiter: TaskWaiter[T], slot: Slot[T], error: BaseException, task: Task[None]) -> BaseException:
        """Return the error that a waiter raises when a hook has failed. If the waiter is gone, log it."""
        assert waiter.unfit is not None
        self._report.note(error, waiter.unfit.value)
        cancelled = isinstance(error, CancelledError)  # the hook, not the waiter
        if waiter.gone and cancelled:
            self._log_given_up("preparing", slot, task)
        elif waiter.gone:
            what = "%s: preparing an object failed, and no caller waits for it"
            self._report.log.error(what, self._report.name, exc_info=error)
        return PoolException(f"{self._report.name}: a hook was cancelled") if cancelled else error

    def _log_given_up(self, work: str, slot: Slot[T], task: Task[None]) -> None:
        """Log that a hook was cancelled, unless it has ended because its loop ends."""
        if not (self._resources.ending and task.done()):
            what = self._report.describe(slot.obj, slot)
            self._report.log.warning("%s: %s %s did not end: given up", self._report.name, work, what)

    async def _is_healthy(self, slot: Slot[T]) -> bool:
        """Return the answer of `health`. Its Exception is logged, and means no. Any other exception is passed on."""
        try:
            answer = await awaited(self._health(slot.obj))
            healthy = bool(answer)
        except Exception as error:
            self._report.log_failed_check(slot, error)
            return False
        awaited_result("health", answer)  # a forgotten await is no answer, and its error goes to the caller
        if not healthy:
            self._report.log_bad_health(slot)
        return healthy

    # -- while an object is idle

    def check(self, slot: Slot[T], settle: Callable[[bool], object]) -> None:
        """Start the check of an object that no waiter waits for. At its end, call `settle(healthy)`."""
        self._resources.run(self._is_healthy(slot), Context(), partial(self._checked, slot, settle))

    def _checked(self, slot: Slot[T], settle: Callable[[bool], object], task: Task[bool]) -> None:
        error = failure(task)
        if not (error is None or isinstance(error, CancelledError)):
            self._report.log_failed("checking", slot, error)
        settle(error is None and task.result() and self._resources.has(slot))

    # -- when an object comes back

    def tidy(self, slot: Slot[T], context: Context, settle: Callable[[Reason | None], object]) -> Task[None]:
        """Start the `retter` for an object. At its end, call `settle` with the reason to close the object, or None."""
        hook = self._call("retter", self._retter, slot)
        return self._resources.run(hook, context, partial(self._tidied, slot, settle))

    def _tidied(self, slot: Slot[T], settle: Callable[[Reason | None], object], task: Task[None]) -> None:
        error = failure(task)
        if isinstance(error, CancelledError):
            self._log_given_up("tidying up", slot, task)
        elif error is not None:
            self._report.note(error, "retter")
            self._report.log_failed("tidying up", slot, error)
        alive = self._resources.has(slot)
        settle(Reason.RETTER if error is not None else None if alive else Reason.HEALTH)

    async def outlast(self, task: Task[None]) -> None:
        """Wait until an object has been tidied up. After a cancellation, the `retter` goes on for `PATIENCE` seconds.

        An Exception of the `retter` is logged, see `tidy`. Any other exception is raised here.
        """
        try:
            await asyncio.wait((task,))
        except BaseException:
            self._resources.cancel_after(task, PATIENCE)
            raise
        error: Any = failure(task)
        if not (error is None or isinstance(error, (Exception, CancelledError))):
            raise error


class HasCloser(Protocol[T_contra]):
    """An engine, as far as it closes objects."""

    @property
    def closer(self) -> Callable[[T_contra], object]:
        """The function that closes an object."""
        ...


class CloseHook(Generic[T]):
    """A function that calls the pool's `close`, even if the engine has been collected.

    The loop keeps it until all objects are closed. So it refers to `close` through a weak reference to the engine.
    `close` may be a method of the object that has the pool: that object, and so the pool, would live as long as the
    loop.
    """

    def __init__(self, engine: HasCloser[T], resources: LoopResources[Slot[T], T]) -> None:
        self._engine = ref(engine)
        self._left: Callable[[T], object] | None = None  # the `close` of an engine that was collected
        self._resources = resources

    def leave(self, closer: Callable[[T], object]) -> None:
        """Keep `close` from now on. The engine is being collected, by any thread."""
        self._left = closer

    async def __call__(self, obj: T) -> object:
        closer = self._closer()
        while closer is None:  # another thread is collecting the engine, which leaves its `close` in a moment
            await self._resources.wait_for(self._closer)
            closer = self._closer()
        return await awaited(closer(obj))

    def _closer(self) -> Callable[[T], object] | None:
        engine = self._engine()
        return self._left if engine is None else engine.closer
