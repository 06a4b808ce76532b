"""Household: the objects that a pool has in one event loop, their keepers, and the pool's other tasks there.

It may outlive its pool: a pool that nothing references is collected, though its objects are still there to be closed.
So it knows its pool by a weak reference only; its objects end with the pool, at the latest with the loop.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, Generic, Protocol, TypeVar
from weakref import ref

from ProxyPatternPool._core.slot import CREATING, LEASED, Slot
from ProxyPatternPool._errors import PoolException
from ProxyPatternPool._loops.context_task import ContextTask, EnteringCancelled
from ProxyPatternPool._loops.factory import PooledContext, outcome
from ProxyPatternPool._loops.shutdown import at_end, before_end
from ProxyPatternPool._loops.system_task import abandon, spawn_system_task
from ProxyPatternPool._loops.waiting import GRACE, Notifier

T = TypeVar("T")
U = TypeVar("U")

#: Does what comes of a task that has ended, or is given up, see `failure`.
Settle = Callable[[Task[Any]], object]


class Host(Protocol[T]):
    """The pool, as its household knows it. All of it is called in the loop, and raises nothing but `_closer`."""

    _closer: Callable[[T], object]  # ends an object

    def _on_entered(self, slot: Slot[T]) -> None:
        """The object is made and open."""
        ...

    def _on_left(self, slot: Slot[T]) -> None:
        """The object is ending by itself."""
        ...

    def _on_ended(self, slot: Slot[T], error: BaseException | None) -> None:
        """The object is closed, by the pool or by itself, or could not be made; with what has been raised."""
        ...

    def _on_loop_ending(self) -> None:
        """Close everything: nobody uses it any more."""
        ...

    def _on_loop_ended(self) -> None:
        """All is closed: in another loop begin anew."""
        ...


class LoopResources(Generic[T]):
    """Of one pool in one loop. `name` is the pool's, for texts."""

    def __init__(self, loop: AbstractEventLoop, host: Host[T], name: str, log: logging.Logger) -> None:
        self.loop = loop
        self.tasks: dict[Slot[T], ContextTask[T]] = {}
        self._hooks: dict[Task[Any], Settle] = {}  # that run, and what is to be done when they have ended
        self._cancelled: set[Task[Any]] = set()  # of these: once each, for they may have to tidy up
        self.ending = False  # the loop is: nothing is to begin that nobody asks for
        self._host = ref(host)
        self._left_closer: Callable[[T], object] | None = None  # of a pool that is gone
        self._name = name
        self._log = log
        self._notifier = Notifier()  # of anything
        self._listed = False  # at the end of the loop, where it comes after what the first object is made of
        self._unlist: list[Callable[[], object]] = [before_end(self._end_work)]

    # -- objects

    def open(self, slot: Slot[T], opening: PooledContext[T]) -> None:
        """Have the object made, by a keeper of its own."""
        self.tasks[slot] = ContextTask(
            opening,
            on_entered=partial(self._on_entered, slot),
            on_left=partial(self._on_left, slot),
            on_ended=partial(self._on_ended, slot),
            name=f"{self._name}: keeper of object {slot.number}",
        )

    def has(self, slot: Slot[T]) -> bool:
        """Tell whether the object is still held, and does not end by itself."""
        keeper = self.tasks.get(slot)
        return keeper is not None and not keeper.left

    def close(self, slot: Slot[T], error: BaseException | None) -> bool:
        """Have the object closed, with that error if it is not fit for use; False when it is gone already."""
        keeper = self.tasks.get(slot)
        if keeper is not None:
            keeper.release(error)
        return keeper is not None

    async def call_close(self, obj: T) -> object:
        """Call the pool's `close`.

        It is not kept here while the pool is there. It may be a method of the object that has the pool: that object,
        and so the pool, would live as long as the loop.
        """
        closer = self._closer()
        while closer is None:  # another thread is collecting the pool, which leaves its `close` in a moment
            await self.wait_for(self._closer, None)
            closer = self._closer()
        return await outcome(closer(obj))

    def _closer(self) -> Callable[[T], object] | None:
        host = self._host()
        return self._left_closer if host is None else host._closer

    def cancel_creations(self) -> None:
        """Give up what is still being made."""
        for slot, keeper in list(self.tasks.items()):
            if slot.state is CREATING:
                keeper.release()

    def _on_entered(self, slot: Slot[T]) -> None:
        host = self._host()
        if host is None or slot not in self.tasks:
            return  # collected, or deserted: it is released, or will be in a moment
        if not self._listed:
            self._listed = True
            self._unlist.append(at_end(self._end))
        host._on_entered(slot)

    def _on_left(self, slot: Slot[T]) -> None:
        host = self._host()
        if host is not None:
            host._on_left(slot)

    def _on_ended(self, slot: Slot[T]) -> None:
        error, host = self.tasks.pop(slot).failure(), self._host()
        if host is not None:
            host._on_ended(slot, error)
        elif not (error is None or isinstance(error, EnteringCancelled)):
            self._log.error("%s: making or closing an object failed", self._name, exc_info=error)
        self.changed()

    # -- hooks

    def run(self, hook: Coroutine[Any, Any, U], context: Context, settle: Callable[[Task[U]], object]) -> Task[U]:
        """Run a hook in a task of its own, which no caller's end cancels; `settle(task)` is called when it has ended.

        At the latest when the loop does: then the task may not have.
        """
        task = spawn_system_task(hook, f"{self._name} hook", context)
        self._hooks[task] = settle
        task.add_done_callback(self._hook_ended, context=Context())
        return task

    def cancel_after(self, task: Task[Any], seconds: float) -> None:
        """Let a hook go on for so long, and cancel it then: nobody waits for it any more."""
        timer = self.loop.call_later(seconds, self._cancel, task, context=Context())
        task.add_done_callback(lambda _: timer.cancel())

    def _cancel(self, task: Task[Any]) -> None:
        if task not in self._cancelled:
            self._cancelled.add(task)
            task.cancel()

    def _hook_ended(self, task: Task[Any]) -> None:
        settle = self._hooks.pop(task, None)
        self._cancelled.discard(task)
        if settle is not None:  # or else it was given up
            settle(task)
            self.changed()

    # -- waiting

    def changed(self) -> None:
        """Have those who wait `until` something holds look again."""
        self._notifier.notify_all()
        if self._host() is None and not self.tasks:
            self._leave()

    async def wait_for(self, condition: Callable[[], object], timeout: float | None) -> None:
        """Wait until the condition holds, or that many seconds. Being cancelled cancels the waiting only."""
        await self._notifier.wait_for(condition, timeout)

    async def end_work(self) -> None:
        """Wait for creations that were cancelled, and for hooks; cancel those which take more than `GRACE`."""
        await self.wait_for(self._is_idle, GRACE)
        for task in self._hooks:
            self._cancel(task)
        await self.wait_for(lambda: not self._hooks, GRACE)

    def _cancel_work(self) -> bool:
        """Cancel what goes on, or has come in its place meanwhile; True when there is nothing."""
        self.cancel_creations()
        for task in self._hooks:
            self._cancel(task)
        return self._is_idle()

    def _is_idle(self) -> bool:
        return not self._hooks and not any(slot.state is CREATING for slot in self.tasks)

    def _give_up_work(self) -> None:
        """Do without what goes on nevertheless."""
        for slot, keeper in list(self.tasks.items()):
            if slot.state is CREATING:
                del self.tasks[slot]
                keeper.abandon()
        for task in list(self._hooks):
            abandon(task)
            self._hook_ended(task)

    # -- the end

    def outlive(self, closer: Callable[[T], object]) -> None:
        """Close what no task uses, with what the pool leaves: it is being collected, by whatever thread."""
        self._left_closer = closer
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._close_unused, context=Context())

    def _close_unused(self) -> None:
        for slot, keeper in list(self.tasks.items()):
            if slot.state is not LEASED:
                keeper.release()
        self.changed()

    def _leave(self) -> None:
        for unlist in self._unlist:
            unlist()

    async def _end_work(self) -> None:
        """Before anything is closed which it may need: give up what is still being made, and what hooks are at."""
        self.ending = True
        await self.wait_for(self._cancel_work, GRACE)
        self._give_up_work()

    async def _end(self) -> None:
        """Close everything: nobody uses it any more. What was in use is closed as broken: its user did not finish."""
        for slot, keeper in list(self.tasks.items()):
            if slot.state is LEASED:  # for each an exception of its own: all keepers raise theirs at the same time
                lost = f"{self._name}: the event loop has ended, and the object was not given back"
                keeper.release(PoolException(lost))
        host = self._host()
        if host is not None:
            host._on_loop_ending()
        await self._end_work()  # it may have begun since: exits run one after the other, and tasks may go on
        for keeper in list(self.tasks.values()):
            keeper.release()
        await self.wait_for(lambda: not self.tasks, None)
        self._leave()
        if host is not None:
            host._on_loop_ended()
