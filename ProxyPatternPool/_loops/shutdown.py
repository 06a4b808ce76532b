"""The end of an event loop, and the exits that run then.

A loop announces its end to no other code, but two of its methods are called then. `asyncio.run`, `asyncio.Runner` and
the like call ``shutdown_asyncgens`` when all tasks have been cancelled and have finished. Some programs call only
``close``. Both methods are replaced on the instance, which asyncio and uvloop allow.

Rejected: a suspended asynchronous generator that ``shutdown_asyncgens`` finishes. It would be finished at the same time
as all other generators, those of ``@asynccontextmanager`` included. Objects would be torn down in any order, by another
task than theirs, and the code after their ``yield`` would not run. So exits run first. The generators that the program
has left suspended are finished after that.

The `LoopState` of a loop holds its `LoopEnd`.
"""

from __future__ import annotations

import asyncio
import gc
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Any

from ProxyPatternPool._loops.state import state_of
from ProxyPatternPool._loops.system_task import spawn_system_task
from ProxyPatternPool._process import keep, renew_after_fork

Exit = Callable[[], Awaitable[object]]


def at_end(function: Exit) -> Callable[[], object]:
    """Have `function()` awaited at the end of the running loop. Return a function that takes this back.

    The last function added runs first. All of them run, even if some raise. Those added meanwhile run, too.
    """
    return _add(_loop_end().exits, function)


def before_end(function: Exit) -> Callable[[], object]:
    """Have `function()` awaited before all functions of `at_end`. Otherwise the same as `at_end`.

    Such a function ends creations, which may use objects that the others close.
    """
    return _add(_loop_end().first, function)


def _add(exits: dict[object, Exit], function: Exit) -> Callable[[], object]:
    key = object()
    exits[key] = function
    return lambda: exits.pop(key, None)


def _loop_end() -> LoopEnd:
    loop = asyncio.get_running_loop()
    state = state_of(loop)
    if state.end is None:
        state.end = LoopEnd(loop)
    end: LoopEnd = state.end
    return end


class LoopEnd:
    """The end of one loop. The loop's exception handler gets all errors in one group; a bare `close` raises the group.

    A forked child that ends its parent's loop runs none of the exits, since these close the parent's objects.
    """

    def __init__(self, loop: Any) -> None:
        self._begin()
        self._loop = loop
        self._close = loop.close
        self._shutdown_asyncgens = loop.shutdown_asyncgens
        loop.close = self.close
        loop.shutdown_asyncgens = self.shutdown_asyncgens
        renew_after_fork(self)

    def _begin(self) -> None:
        self.exits: dict[object, Exit] = {}  # in the order of registration: the last one runs first
        self.first: dict[object, Exit] = {}  # run before `exits`, likewise
        self._task: asyncio.Task[None] | None = None  # runs the exits; there is never a second one beside it
        self._errors: list[BaseException] = []  # that the exits have raised, not yet reported

    def _renew(self) -> None:
        keep(vars(self).copy())  # the loop, and all objects that it refers to
        self._begin()

    async def shutdown_asyncgens(self) -> None:
        """Run the exits, then the loop's own method. All tasks have ended, and the loop is still open."""
        await self._run_exits()
        interrupt, errors = self._take_errors()
        self._report(errors)
        await self._shutdown_asyncgens()
        if interrupt:
            raise interrupt

    def close(self) -> None:
        """Run the exits that have not run, then the loop's own method.

        There are some if ``shutdown_asyncgens`` was not called, or was interrupted.
        """
        if not self._is_due() or self._loop.is_running() or gc.is_finalized(self._loop):
            self._close()  # raises if the loop is running; a loop that its finaliser closes runs no exits
            return
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "cannot close this event loop while another one is running here: functions are to run at its end"
            )
        try:
            self._finish()
        finally:
            self._close()

    def _is_due(self) -> bool:
        return bool(self.exits or self.first or self._errors or (self._task and not self._task.done()))

    def _finish(self) -> None:
        self._loop.run_until_complete(self._run_exits())
        interrupt, errors = self._take_errors()
        if interrupt:
            self._report(errors)
            raise interrupt
        if errors:
            raise _grouped(errors)

    async def _run_exits(self) -> None:
        """Run all exits. After an interrupted `shutdown_asyncgens`, `close` goes on with the same task."""
        if self._task is None or self._task.done():
            self._task = spawn_system_task(self._run(), "the end of the loop")
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        while exits := self.first or self.exits:
            _, function = exits.popitem()
            try:
                await function()
            except BaseException as error:  # reported when all exits have run
                if isinstance(error, GeneratorExit) and not self._loop.is_running():
                    raise  # this task never goes on: the loop was closed while it was suspended
                self._errors.append(error)

    def _take_errors(self) -> tuple[BaseException | None, list[BaseException]]:
        """Return the first interrupt, which must be raised as it is, and all other exceptions of the exits."""
        errors, self._errors = self._errors, []
        interrupts = (error for error in errors if not isinstance(error, (Exception, CancelledError)))
        interrupt = next(interrupts, None)
        return interrupt, [error for error in errors if error is not interrupt]

    def _report(self, errors: list[BaseException]) -> None:
        if errors:
            group = _grouped(errors)
            self._loop.call_exception_handler({"message": group.message, "exception": group})


def _grouped(errors: list[BaseException]) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("errors at the end of the event loop", errors)
