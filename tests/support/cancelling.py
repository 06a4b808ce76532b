"""A task that is cancelled at its n-th suspension, and a loop that must have nothing to complain about."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Generator
from typing import Any

from tests.support.loops import NewLoop

Operation = Coroutine[Any, Any, object]


class Cancelling:
    """Awaits something, and cancels the task that does at its n-th suspension: while it waits, or when it is woken."""

    def __init__(self, awaited: Operation, n: int, when_woken: bool) -> None:
        self.awaited = awaited
        self.n = n
        self.when_woken = when_woken
        self.cancelled = False

    def __await__(self) -> Generator[Any, Any, object]:
        task = asyncio.current_task()
        assert task
        thrown: BaseException | None = None
        while True:
            try:
                future = self.awaited.send(None) if thrown is None else self.awaited.throw(thrown)
            except StopIteration as end:
                return end.value
            if self.n == 0:
                self._cancel(task, future)
            self.n -= 1
            try:
                thrown = None
                yield future
            except BaseException as error:
                thrown = error

    def _cancel(self, task: asyncio.Task[Any], future: asyncio.Future[Any] | None) -> None:
        """Cancel in the next turn; or when what it waits for has come, but before it runs."""
        self.cancelled = True
        if self.when_woken and future is not None:
            future.add_done_callback(lambda _: task.cancel())
        else:
            asyncio.get_running_loop().call_soon(task.cancel)


async def watched(main: Coroutine[Any, Any, Any]) -> Any:
    """Run it; fail if the loop has had anything to complain about."""
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    result = await main
    gc.collect()
    await asyncio.sleep(0)
    assert not problems
    return result


def run_watched(new_loop: NewLoop, main: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a loop of its own, as `asyncio.run` does; fail if the loop has had anything to complain about.

    Up to its end, and of tasks that are collected afterwards.
    """
    problems: list[Any] = []
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.get_loop().set_exception_handler(lambda _, problem: problems.append(problem))
        result = runner.run(main)
    gc.collect()
    assert not problems
    return result
