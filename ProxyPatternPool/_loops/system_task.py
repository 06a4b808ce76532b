"""A system task: a task of the library's own, which a program that cancels all tasks does not reach.

`asyncio.run` cancels every task of the loop before it ends. Web servers and test runners do the same, each at its own
time. A task that holds an object must outlive the tasks that use the object, their ``finally`` blocks included. So it
is removed from the list that `asyncio.all_tasks` reads, by the function that asyncio documents for task managers.

Rejected: letting the task be cancelled, and waiting for all others there. The program that has cancelled it waits for
*it*, and some programs cancel all tasks in mid-life without ending the loop.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


def spawn_system_task(coroutine: Coroutine[Any, Any, T], name: str, context: Context | None = None) -> asyncio.Task[T]:
    """Start a task in the running loop, by default in an empty context.

    A task that serves several callers must not see the context variables of one. The caller has to end the task, since
    no other code knows of it.
    """
    # without the loop's task factory: an eager one would run the coroutine inside the caller's code
    if context is None:
        context = Context()
    task = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), name=name, context=context)
    asyncio.tasks._unregister_task(task)
    return task


def failure(task: asyncio.Task[Any]) -> BaseException | None:
    """Return the exception that a task has raised, or None. A task that was given up counts as cancelled."""
    if not task.done() or task.cancelled():
        return CancelledError()
    return task.exception()


def abandon(task: asyncio.Task[Any]) -> None:
    """Give a task up: the loop is about to be closed, and must not report that the task has not ended."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio.gather does for its own
