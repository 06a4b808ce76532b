"""Keeper: the task that enters an asynchronous context manager, holds what it gives, and exits it.

Some context managers must be exited by the task that has entered them: those of anyio, `asyncio.TaskGroup`,
`asyncio.timeout`. And an object that many use must not depend on which of them came first: neither on that one's being
cancelled, nor on its context variables. So each object that is entered has a task of its own.

A keeper is a hidden task: cancelling all tasks does not reach it, and whoever made it must release it, at the latest
at the end of the loop. There is one that may cancel it all the same: the manager itself, as a task group does when
a child of it has failed. Then the object is exited at once, with that `CancelledError`, as ``async with`` would do.
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
    """The entering was cancelled, by `release` or by the manager itself: who waits for it has not been."""


def _nothing() -> None:
    pass


class ContextTask(Generic[T]):
    """Begins at once to enter `manager`; belongs to the running loop, and is used in that one alone.

    `on_entered()` is called as soon as the object is there, before anybody who waits for it goes on; `on_left()` when
    the manager ends it, and not `release`; `on_ended()` when it has been exited, or could not be entered. They are
    called in the loop, and must not raise. `name` is the task's, for debuggers; by default it tells the manager's type.
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
        self.left = False  # the object is being exited, though nobody has released it
        self._value: asyncio.Future[T] = loop.create_future()  # what __aenter__ has returned or raised
        self._entered = Outcome(self._value)
        self._released: asyncio.Future[None] = loop.create_future()  # the object is to be exited
        self._end: asyncio.Future[None] = loop.create_future()  # what __aexit__ has raised, if anything
        self._ended = Outcome(self._end)
        self._reason: BaseException | None = None  # what the object is exited with
        self._raised: BaseException | None = None  # what came out of the manager
        self._task = spawn_system_task(self._keep(), name or f"keeper of {type(manager).__name__}")
        # and not at the end of _keep: a task may end before it has begun. By default, the context of whoever makes the
        # keeper would be kept, with all that the variables of that one refer to
        self._task.add_done_callback(self._finish, context=Context())

    @property
    def obj(self) -> T:
        """The object, once it is there."""
        return self._value.result()

    async def entered(self) -> T:
        """Wait until the object is there, and return it; raise what `__aenter__` raises.

        Any number of tasks may wait; each of them is raised an exception object of its own. Being cancelled does not
        cancel the entering, which goes on for the other tasks. When the entering is cancelled, by `release` or by the
        manager itself: `EnteringCancelled`.
        """
        return await self._entered.wait()

    def release(self, error: BaseException | None = None) -> None:
        """Have the object exited, with that error; have the entering cancelled, if it still goes on. Does not wait.

        Only the first call counts.
        """
        if not self._released.done():
            self._reason = error
            self._released.set_result(None)
            if not self._value.done():
                self._task.cancel()

    async def ended(self) -> None:
        """Wait until the object has been exited; raise what `__aexit__` raises, unless it is what `release` was given.

        Being cancelled cancels nothing but the waiting. An entering that fails, ends, and raises nothing here.
        """
        await self._ended.wait()

    def abandon(self) -> None:
        """Wait no more for an end that does not come: the loop is about to be closed, and is not to complain of it.

        Nor of what may still be raised by then.
        """
        abandon(self._task)
        self._on_ended = self.failure  # asked for, for nobody: or the loop would report it

    def failure(self) -> BaseException | None:
        """Return what `entered` or `ended` raises, if anything so far; it counts as told then.

        What nobody waits for, and nobody asks for here, the loop reports as an exception that was never retrieved.
        """
        outcomes = [outcome.exception() for outcome in (self._value, self._end) if outcome.done()]
        return next((error for error in outcomes if error is not None), None)

    async def _keep(self) -> None:
        try:
            await self._hold()
        except BaseException as error:  # an interrupt, too, goes to who waits, and not into the middle of the loop
            self._raised = error
        del self

    # Each of these frames stays in the traceback of what is raised, and the keeper refers to that: so the frames let go
    # of the keeper. Otherwise such a cycle would keep what has failed, and all that were told of it, until the garbage
    # collector comes by. Rejected: clearing the frames of the traceback. An exception that another keeper raises, too,
    # has the frames of that keeper, which may still be exiting its object: clearing them ends it in the middle of that.

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
            cancelled = EnteringCancelled(
                f"the entering of something of type {type(self._manager).__name__} was cancelled"
            )
            self._value.set_exception(cancelled if raised is None else raised)
            self._end.set_result(None)
        elif raised is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(raised)
        self._on_ended()


def is_only(raised: BaseException | None, reason: BaseException | None) -> bool:
    """Tell whether this is the reason and nothing new, perhaps as a group of tasks tells it, in an exception group."""
    if isinstance(raised, BaseExceptionGroup):
        return raised.split(lambda error: error is reason)[1] is None
    return raised is reason
