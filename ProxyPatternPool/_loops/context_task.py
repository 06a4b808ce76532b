"""ContextTask: a task that enters an asynchronous context manager, holds its object, and exits it.

Some context managers must be exited by the task that has entered them: those of anyio, `asyncio.TaskGroup`,
`asyncio.timeout`. And an object that several tasks use must not depend on the first of these tasks. Neither that
task's cancellation nor its context variables may affect the object. So each object that is entered has its own task.

A context task is a system task: a program that cancels all tasks does not reach it. Its maker must release it, at the
latest at the end of the loop. Only the manager itself may cancel it, as a task group does when a child has failed. Then
the object is exited at once, with that `CancelledError`, as ``async with`` would do.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from typing import Any, Generic, TypeVar

from ProxyPatternPool._loops.outcome import Outcome
from ProxyPatternPool._loops.system_task import abandon, spawn_system_task

T = TypeVar("T")


class EnteringCancelled(RuntimeError):
    """An error that tells waiting tasks of a cancelled entering. These tasks have not been cancelled themselves.

    Either `release` or the manager itself has cancelled the entering.
    """


def _nothing() -> None:
    pass


class ContextTask(Generic[T]):
    """A task that begins at once to enter `manager`. It belongs to the running loop, and is used only there.

    The loop calls three functions, which must not raise:

    - `on_entered()`: as soon as the object exists, before any task that waits for it goes on
    - `on_left()`: when the manager ends the object, and not `release`
    - `on_ended()`: when the object has been exited, or could not be entered

    `name` is the task's name, for debuggers. By default it contains the manager's type.
    """

    def __init__(
        self,
        manager: AbstractAsyncContextManager[T, Any],
        *,
        on_entered: Callable[[], object] = _nothing,
        on_left: Callable[[], object] = _nothing,
        on_ended: Callable[[], object] = _nothing,
        name: str | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._manager = manager
        self._on_entered = on_entered
        self._on_left = on_left
        self._on_ended = on_ended
        self.left = False  # the object is being exited, although it was not released
        self._value: asyncio.Future[T] = loop.create_future()  # the result or exception of __aenter__
        self._entered = Outcome(self._value)
        self._released: asyncio.Future[None] = loop.create_future()  # done when the object is to be exited
        self._end: asyncio.Future[None] = loop.create_future()  # done after __aexit__, with its exception, if any
        self._ended = Outcome(self._end)
        self._reason: BaseException | None = None  # the exception that the object is exited with
        self._raised: BaseException | None = None  # the exception that the manager has raised
        self._task = spawn_system_task(self._run(), name or f"task of {type(manager).__name__}")
        # A callback, and not the end of `_run`: a task may end before it has begun. In an empty context: by default,
        # the context of the caller would be kept, with all objects that its variables refer to
        self._task.add_done_callback(self._finish, context=Context())

    @property
    def obj(self) -> T:
        """The object, once it is entered."""
        return self._value.result()

    async def entered(self) -> T:
        """Wait until the object is entered, and return it.

        Raises the exception of `__aenter__`, or `EnteringCancelled` if `release` or the manager itself has cancelled
        the entering. Any number of tasks may wait: each raises an exception object of its own. Being cancelled does not
        cancel the entering, which goes on for the other tasks.
        """
        return await self._entered.wait()

    def release(self, error: BaseException | None = None) -> None:
        """Have the object exited with `error`. If it is still being entered, cancel that. Does not wait.

        Only the first call has an effect.
        """
        if not self._released.done():
            self._reason = error
            self._released.set_result(None)
            if not self._value.done():
                self._task.cancel()

    async def ended(self) -> None:
        """Wait until the object has been exited. Raise the exception of `__aexit__`, unless `release` was given it.

        Being cancelled ends only the waiting. An entering that has failed counts as ended, and raises nothing here.
        """
        await self._ended.wait()

    def abandon(self) -> None:
        """Give the task up: the loop is about to be closed, and must not report that the task has not ended.

        Nor must the loop report an exception that the task may still raise.
        """
        abandon(self._task)
        self._on_ended = self.failure  # retrieves the exception, or else the loop would report it

    def failure(self) -> BaseException | None:
        """Return the exception that `entered` or `ended` raises, if there is one so far. It then counts as retrieved.

        An exception that no task waits for, and that this method has not returned, is reported by the loop as never
        retrieved.
        """
        outcomes = [outcome.exception() for outcome in (self._value, self._end) if outcome.done()]
        return next((error for error in outcomes if error is not None), None)

    async def _run(self) -> None:
        try:
            await self._hold()
        except BaseException as error:  # an interrupt, too: for the waiting tasks, not the loop
            self._raised = error
        del self

    # Each of these frames stays in the traceback of an exception, and `self` refers to the exception. So the frames
    # drop `self`. Otherwise the cycle would keep the failed manager, and all tasks that raise the exception, until the
    # garbage collector runs. Rejected: clearing the frames of the traceback. An exception that another context task
    # raises, too, has the frames of that task, which may still be exiting its object. Clearing would end that halfway.

    async def _hold(self) -> None:
        try:
            async with self._manager as value:
                self._value.set_result(value)
                del value
                self._on_entered()
                await self._until_released()
        finally:
            del self

    async def _until_released(self) -> None:
        try:
            await self._released
        except CancelledError:
            self.left = True
            self._on_left()
            raise
        else:
            if self._reason is not None:
                raise self._reason
        finally:
            del self

    def _finish(self, _task: asyncio.Task[None]) -> None:
        raised, self._raised = self._raised, None
        if isinstance(raised, CancelledError) or is_only(raised, self._reason):
            raised = None
        if not self._value.done():
            cancelled = EnteringCancelled(f"entering something of type {type(self._manager).__name__} was cancelled")
            self._value.set_exception(cancelled if raised is None else raised)
            self._end.set_result(None)
        elif raised is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(raised)
        self._on_ended()


def is_only(raised: BaseException | None, reason: BaseException | None) -> bool:
    """Tell whether an exception is `reason` and nothing else. A task group wraps it in an exception group."""
    if isinstance(raised, BaseExceptionGroup):
        return raised.split(lambda error: error is reason)[1] is None
    return raised is reason
