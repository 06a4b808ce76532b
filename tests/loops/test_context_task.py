"""Context tasks: entered and exited in one task of their own, with any waiters, and any cancellation."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from typing import Any

import pytest

from ProxyPatternPool._loops.context_task import ContextTask
from tests.support.loops import Run, settle, turns

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="nobody's")


class Manager:
    """An asynchronous context manager that is entered and exited when it is told to, and remembers by whom."""

    def __init__(self, *, entering: Any = None, exiting: Any = None) -> None:
        self.failures = {"enter": entering, "exit": exiting}
        self.may_enter = asyncio.Event()
        self.may_exit = asyncio.Event()
        self.may_enter.set()
        self.may_exit.set()
        self.begun = asyncio.Event()
        self.tasks: list[object] = []
        self.contexts: list[str] = []
        self.reason: BaseException | None = None
        self.exits = 0

    async def __aenter__(self) -> Manager:
        self._note()
        self.begun.set()
        await self.may_enter.wait()
        if self.failures["enter"]:
            raise self.failures["enter"]
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._note()
        self.reason = error
        await self.may_exit.wait()
        self.exits += 1
        if self.failures["exit"]:
            raise self.failures["exit"]

    def _note(self) -> None:
        self.tasks.append(asyncio.current_task())
        self.contexts.append(request_id.get())


async def ended(context_task: ContextTask[Any], error: BaseException | None = None) -> None:
    context_task.release(error)
    await context_task.ended()


def test_an_object_is_entered_and_exited_by_one_task_in_an_empty_context(run_loop: Run) -> None:
    """Otherwise anyio would complain of a different task, and one request's variables would show up in another's."""

    async def main() -> None:
        request_id.set("mine")
        manager = Manager()
        context_task = ContextTask(manager)
        assert await context_task.entered() is manager
        await ended(context_task)
        assert manager.tasks[0] is manager.tasks[1] is not asyncio.current_task()
        assert manager.contexts == ["nobody's"] * 2
        assert (manager.exits, manager.reason, context_task.failure()) == (1, None, None)

    run_loop(main())


def test_a_waiter_that_is_cancelled_leaves_the_entering_to_the_others(run_loop: Run) -> None:
    async def main() -> None:
        manager = Manager()
        manager.may_enter.clear()
        context_task = ContextTask(manager)
        first, second = (asyncio.create_task(context_task.entered()) for _ in range(2))
        await manager.begun.wait()
        first.cancel()
        await asyncio.wait([first])
        manager.may_enter.set()
        assert first.cancelled()
        assert await second is manager
        await ended(context_task)

    run_loop(main())


def test_a_waiter_for_the_end_that_is_cancelled_does_not_stop_the_exit(run_loop: Run) -> None:
    async def main() -> None:
        manager = Manager()
        context_task = ContextTask(manager)
        await context_task.entered()
        manager.may_exit.clear()
        context_task.release()
        waiter = asyncio.create_task(context_task.ended())
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        manager.may_exit.set()
        await context_task.ended()
        assert waiter.cancelled()
        assert manager.exits == 1

    run_loop(main())


def test_cancelling_all_tasks_does_not_reach_a_context_task(run_loop: Run) -> None:
    """Otherwise a server that stops its requests would lose the connections that their `finally` blocks need."""

    async def main() -> None:
        manager = Manager()
        context_task = ContextTask(manager)
        await context_task.entered()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.sleep(0)
        assert manager.exits == 0
        await ended(context_task)

    run_loop(main())


@pytest.mark.parametrize("error", [ValueError("no server"), SystemExit(3)])
def test_an_error_of_entering_reaches_all_waiters(run_loop: Run, error: BaseException) -> None:
    async def main() -> None:
        context_task = ContextTask(Manager(entering=error))
        for is_first in (True, False):
            with pytest.raises(type(error)) as caught:
                await context_task.entered()
            assert caught.value.args == error.args
            assert (caught.value is error) == is_first
        await context_task.ended()  # it has, and there is nothing to raise twice
        context_task.release()
        assert context_task.failure() is error

    run_loop(main())


def test_an_error_of_exiting_reaches_its_waiter(run_loop: Run) -> None:
    async def main() -> None:
        error = ValueError("cannot say goodbye")
        context_task = ContextTask(Manager(exiting=error))
        await context_task.entered()
        assert context_task.failure() is None
        with pytest.raises(ValueError, match="goodbye"):
            await ended(context_task)
        assert context_task.failure() is error

    run_loop(main())


def test_an_object_is_exited_with_what_it_is_released_with(run_loop: Run) -> None:
    """Otherwise a driver would commit what has failed."""

    async def main() -> None:
        manager, error = Manager(), RuntimeError("broken")
        context_task = ContextTask(manager)
        await context_task.entered()
        context_task.release(error)
        context_task.release()  # too late
        await context_task.ended()  # does not raise what is known
        assert manager.reason is error

    run_loop(main())


def test_a_group_that_tells_the_reason_again_has_not_failed(run_loop: Run) -> None:
    """Otherwise each broken object that is a group of tasks would be logged as an exit that has failed, too."""

    async def main() -> None:
        broken = RuntimeError("broken")
        context_task = ContextTask(asyncio.TaskGroup())
        await context_task.entered()
        await ended(context_task, broken)

        other = ContextTask(Manager(exiting=ExceptionGroup("", [broken, ValueError("new")])))
        await other.entered()
        with pytest.raises(ExceptionGroup):
            await ended(other, broken)

    run_loop(main())


def test_an_entering_that_raises_stopiteration_hangs_no_waiter(run_loop: Run) -> None:
    """Otherwise a waiter would wait for ever: a future cannot hold a StopIteration."""

    class Exhausted(Manager):
        def __aenter__(self) -> Any:
            raise StopIteration

    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await ContextTask(Exhausted()).entered()

    run_loop(main())


@pytest.mark.parametrize("begun", [True, False])
def test_releasing_what_is_being_entered_cancels_that(run_loop: Run, begun: bool) -> None:
    """Otherwise the end of a pool would wait for a server that does not answer."""

    async def main() -> None:
        manager = Manager()
        manager.may_enter.clear()
        context_task = ContextTask(manager)
        waiter = asyncio.create_task(context_task.entered())
        if begun:
            await manager.begun.wait()
        context_task.release()
        with pytest.raises(RuntimeError, match=r"^entering something of type Manager was cancelled$"):
            await waiter
        await context_task.ended()
        assert manager.begun.is_set() == begun
        assert manager.exits == 0

    run_loop(main())


def test_an_entering_that_is_released_but_succeeds_is_exited(run_loop: Run) -> None:
    class Stubborn(Manager):
        async def __aenter__(self) -> Manager:
            try:
                return await super().__aenter__()
            except asyncio.CancelledError:
                return self

    async def main() -> None:
        manager = Stubborn()
        manager.may_enter.clear()
        context_task = ContextTask(manager)
        await manager.begun.wait()
        await ended(context_task)
        assert manager.exits == 1

    run_loop(main())


def test_the_owner_of_a_context_task_is_told_before_waiters(run_loop: Run) -> None:
    async def main() -> None:
        events: list[str] = []

        async def wait_for_it() -> None:
            await context_task.entered()
            events.append("waiter")

        context_task = ContextTask(
            Manager(), on_entered=lambda: events.append("entered"), on_ended=lambda: events.append("ended")
        )
        await wait_for_it()
        await ended(context_task)
        assert events == ["entered", "waiter", "ended"]

    run_loop(main())


def test_a_manager_that_cancels_its_task_is_exited_at_once(run_loop: Run) -> None:
    """Otherwise a task group one of whose children has failed would be handed out as if it lived."""

    async def main() -> None:
        told = asyncio.Event()
        group = asyncio.TaskGroup()
        context_task = ContextTask(group, on_ended=told.set)
        await context_task.entered()

        async def child() -> None:
            raise ValueError("the child has failed")

        group.create_task(child())
        await told.wait()
        with pytest.raises(ExceptionGroup) as caught:
            await context_task.ended()
        assert [str(error) for error in caught.value.exceptions] == ["the child has failed"]

    run_loop(main())


def test_a_cancelled_hold_is_no_failure_of_the_exit(run_loop: Run) -> None:
    async def main() -> None:
        manager, told = Manager(), asyncio.Event()
        context_task = ContextTask(manager, on_ended=told.set)
        await context_task.entered()
        task: Any = manager.tasks[0]
        task.cancel()
        await told.wait()
        await context_task.ended()
        assert isinstance(manager.reason, asyncio.CancelledError)

    run_loop(main())


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("when", ["entering", "exiting"])
def test_an_unseen_failure_is_reported_by_the_loop(run_loop: Run, when: str, asked: bool) -> None:
    """Otherwise it would be lost, or logged by a pool and once more by the loop."""
    reports: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["message"]))
        told = asyncio.Event()
        context_task = ContextTask(Manager(**{when: ValueError(when)}), on_ended=told.set)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        context_task.release()
        await told.wait()
        if asked:
            assert str(context_task.failure()) == when
        del context_task, told
        await asyncio.sleep(0)
        gc.collect()

    run_loop(main())
    assert reports == ([] if asked else ["Future exception was never retrieved"])


def test_context_tasks_that_are_released_with_one_exception_end_each_in_its_own_time(run_loop: Run) -> None:
    """Otherwise the first context_task that ends would silently end the exits of the others in mid-`await`."""
    broken = OSError("broken")
    ended: list[int] = []

    class Slow(Manager):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
            for _ in range(5 * self.number):
                await asyncio.sleep(0)
            ended.append(self.number)

    async def main() -> None:
        tasks = [ContextTask(Slow(number)) for number in range(3)]
        for context_task in tasks:
            await context_task.entered()
        for context_task in tasks:
            context_task.release(broken)
        await settle(lambda: all(context_task._task.done() for context_task in tasks))
        for context_task in tasks:
            await context_task.ended()

    run_loop(main())
    assert ended == [0, 1, 2]


def test_a_context_task_that_has_failed_is_no_work_for_the_garbage_collector(run_loop: Run) -> None:
    """Otherwise a failed task would stay in memory, with all that it refers to, until the collector comes by."""
    references: list[weakref.ref[Any]] = []

    async def fail(manager: Manager) -> None:
        context_task = ContextTask(manager)
        references.append(weakref.ref(context_task))
        await manager.begun.wait()
        await turns()
        context_task.release(RuntimeError("broken"))
        await settle(context_task._task.done)
        await turns()
        assert context_task.failure() is not None

    async def main() -> None:
        await fail(Manager(entering=OSError("down")))
        await fail(Manager(exiting=OSError("down")))
        await turns()
        assert [reference() for reference in references] == [None, None]

    gc.disable()
    try:
        run_loop(main())
    finally:
        gc.enable()
