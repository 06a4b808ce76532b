"""The end of an event loop, and what is run then.

A loop tells nobody that it ends, but two of its methods are called then: ``shutdown_asyncgens``, by `asyncio.run`,
`asyncio.Runner` and everything alike, when all tasks have been cancelled and have finished; and ``close``, which may be
all that there is. Both are replaced on the instance, which asyncio and uvloop allow.

Rejected: a suspended asynchronous generator, for ``shutdown_asyncgens`` to finish. It would be finished at the same
time as every other one, and those of ``@asynccontextmanager`` are among them: objects would be torn down in any order,
by another task than theirs, without what follows their ``yield``. So exits run first, and the generators that the
program has left suspended are finished after that.

What is known of a loop is kept in its `LoopState`.
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
    """Have `function()` awaited at the end of the running loop; return what takes that back.

    Last in, first out; all of them, whatever any of them raises. What is added while they run, runs too.
    """
    return _add(_loop_end().exits, function)


def before_end(function: Exit) -> Callable[[], object]:
    """As `at_end`, but before everything that is there: for what is still being made, perhaps out of that."""
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
    """The end of one loop. Errors go to the loop's exception handler, all in one; a bare `close` raises them.

    A forked child that ends its parent's loop runs none of the exits: they are for the parent's objects.
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
        self.first: dict[object, Exit] = {}  # those which run before them
        self._task: asyncio.Task[None] | None = None  # what runs them; there is never a second one beside it
        self._errors: list[BaseException] = []  # what they have raised, and nobody has been told

    def _renew(self) -> None:
        keep(vars(self).copy())  # and with the loop, all that hangs on it
        self._begin()

    async def shutdown_asyncgens(self) -> None:
        """Stand in for the loop's own method: all tasks have ended, the loop is still open."""
        await self._run_exits()
        interrupt, errors = self._take_errors()
        self._report(errors)
        await self._shutdown_asyncgens()
        if interrupt:
            raise interrupt

    def close(self) -> None:
        """Stand in for the loop's own method: it may be all that tells of the end, or come after an interrupt there."""
        if not self._is_due() or self._loop.is_running() or gc.is_finalized(self._loop):
            self._close()  # raises if it is running; a loop that nobody has closed runs nothing in its finaliser
            return
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "cannot run what is due at the end of this loop while another event loop is running here"
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
        """Run what there is. When `close` comes after an interrupted `shutdown_asyncgens`, it goes on with that."""
        if self._task is None or self._task.done():
            self._task = spawn_system_task(self._run(), "the end of the loop")
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        while exits := self.first or self.exits:
            _, function = exits.popitem()
            try:
                await function()
            except BaseException as error:  # told when all of them have run
                if isinstance(error, GeneratorExit) and not self._loop.is_running():
                    raise  # nobody will go on with this: the loop was closed under it
                self._errors.append(error)

    def _take_errors(self) -> tuple[BaseException | None, list[BaseException]]:
        """Return what has been raised: the first interrupt, which must arrive as what it is, and all others."""
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
