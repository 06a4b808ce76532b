"""A task of the library's own: what a program cancels when it cancels all tasks is not among them.

`asyncio.run` cancels every task of the loop before it ends, as do web servers and test runners, each in its own
moment. What holds an object must outlive the tasks that use it, their ``finally`` blocks included; so it is taken off
the list that `asyncio.all_tasks` reads, with the function that the documentation gives to those who manage tasks
themselves. Rejected: letting it be cancelled and waiting for all others; who cancels waits for *it*, and some
programs cancel everything in mid-life without ending anything.
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

    What is shared must not see one user's context variables. Nobody but its maker knows it: who starts it brings it to
    an end.
    """
    # not through the loop's task factory: an eager one would run the coroutine inside the caller's code
    if context is None:
        context = Context()
    task = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), name=name, context=context)
    asyncio.tasks._unregister_task(task)
    return task


def failure(task: asyncio.Task[Any]) -> BaseException | None:
    """Return what a task has raised, if anything: a CancelledError also for one that has not ended, and is given up."""
    if not task.done() or task.cancelled():
        return CancelledError()
    return task.exception()


def abandon(task: asyncio.Task[Any]) -> None:
    """Wait no more for an end that does not come: the loop is about to be closed, and is not to complain of it."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio.gather does for its own
