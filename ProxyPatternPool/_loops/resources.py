"""LoopResources: the objects that a pool has in one event loop, and its tasks there.

The loop refers to the resources, and they refer to the pool's engine by a weak reference only. So an engine that its
pool has let go of is collected, although there are objects to be closed; they end soon, at the latest with the loop.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import Context
from functools import partial
from sys import is_finalizing
from typing import Any, Generic, Protocol, TypeVar
from weakref import ref

from ProxyPatternPool._loops.context_task import ContextTask, EnteringCancelled
from ProxyPatternPool._loops.shutdown import at_end, before_end
from ProxyPatternPool._loops.system_task import abandon, spawn_system_task
from ProxyPatternPool._loops.waiting import GRACE, Notifier

K = TypeVar("K")
K_contra = TypeVar("K_contra", contravariant=True)
T = TypeVar("T")
U = TypeVar("U")

#: Settles a task that has ended or is given up, see `failure`.
Settle = Callable[[Task[Any]], object]


class ResourceOwner(Protocol[K_contra]):
    """An engine. Each method is called in the loop; none raises, except `on_loop_ended`. An item is one object's."""

    def on_entered(self, item: K_contra, /) -> None:
        """Note that the object is made and open."""
        ...

    def on_left(self, item: K_contra, /) -> None:
        """Note that the object is ending on its own."""
        ...

    def on_ended(self, item: K_contra, error: BaseException | None, left: bool, /) -> None:
        """Note that the object is closed, or could not be made, and what has been raised. `left`: on its own."""
        ...

    def on_time(self) -> None:
        """Do the work of `schedule`."""
        ...

    def on_loop_ending(self) -> None:
        """Close everything: no task uses it any more."""
        ...

    def on_loop_ended(self) -> None:
        """Note that all objects are closed. An exception goes to the loop's exception handler."""
        ...


class LoopResources(Generic[K, T]):
    """The objects of one engine, by the item that the engine's machine has for each.

    `loop` is None for an engine that has begun in none: it has no objects. `lost(item)` returns the exception that
    closes an object which is in use when the loop ends, and None for an object which is not in use. `name` is the
    pool's, for texts.
    """

    def __init__(
        self,
        loop: AbstractEventLoop | None,
        owner: ResourceOwner[K],
        lost: Callable[[K], BaseException | None],
        name: str,
        log: logging.Logger,
    ) -> None:
        self.loop = loop
        self.tasks: dict[K, ContextTask[T]] = {}  # one per object, from before the creation until after the close
        self.entering: set[K] = set()  # the items of `tasks` whose objects are being made
        self.ending = False  # the loop is ending: no work begins that no task asks for
        self.timed = False  # `schedule` was called
        self._hooks: dict[Task[Any], Settle] = {}  # the hooks that run
        self._cancelled: set[Task[Any]] = set()  # the hooks that were cancelled; once each, for they may tidy up
        self._owner = ref(owner)
        self._kept: object = None  # the owner, while it is to live without its pool
        self._lost = lost
        self._name = name
        self._log = log
        self._timer: asyncio.Handle | None = None  # the only one
        self._notifier = Notifier()  # of any change
        self._listed = False  # in the exits of the loop, where it comes after what the first object is made of
        self._unlist: list[Callable[[], object]] = [] if loop is None else [before_end(self._end_work)]

    # -- objects

    def open(self, item: K, manager: AbstractAsyncContextManager[T, Any], kind: str) -> None:
        """Have an object made, by a task of its own. `kind` names the object in the task's name."""
        self.entering.add(item)
        self.tasks[item] = ContextTask(
            manager,
            on_entered=partial(self._on_entered, item),
            on_left=partial(self._on_left, item),
            on_ended=partial(self._on_ended, item),
            name=f"{self._name}: keeper of {kind}",
        )

    def has(self, item: K) -> bool:
        """Tell whether the object is still held, and is not ending on its own."""
        task = self.tasks.get(item)
        return task is not None and not task.left

    def close(self, item: K, error: BaseException | None) -> bool:
        """Have the object closed, with an error if it is not fit for use; False when it is gone already."""
        task = self.tasks.get(item)
        if task is not None:
            task.release(error)
        return task is not None

    def cancel_creations(self) -> None:
        """Cancel what is still being made."""
        for item in list(self.entering):
            self.tasks[item].release()

    def _on_entered(self, item: K) -> None:
        owner = self._owner()
        if owner is None or item not in self.tasks:
            return  # the engine was collected, or the object given up: it is released, or will be in a moment
        self.entering.remove(item)
        if not self._listed:
            self._listed = True
            self._unlist.append(at_end(self._end))
        owner.on_entered(item)

    def _on_left(self, item: K) -> None:
        owner = self._owner()
        if owner is not None:
            owner.on_left(item)

    def _on_ended(self, item: K) -> None:
        self._drop(item, self.tasks[item].failure())

    def _drop(self, item: K, error: BaseException | None) -> None:
        """Forget an object that has ended, or is given up."""
        task = self.tasks.pop(item)
        self.entering.discard(item)
        owner = self._owner()
        if owner is not None:
            owner.on_ended(item, error, task.left)
        elif not (error is None or isinstance(error, EnteringCancelled)):
            self._log.error("%s: making or closing an object failed", self._name, exc_info=error)
        self.changed()

    # -- hooks

    def run(self, hook: Coroutine[Any, Any, U], context: Context, settle: Callable[[Task[U]], object]) -> Task[U]:
        """Run a hook in a task of its own, which no caller's end cancels; `settle(task)` is called when it has ended.

        At the end of the loop `settle` is called although the task may go on.
        """
        task = spawn_system_task(hook, f"{self._name} hook", context)
        self._hooks[task] = settle
        task.add_done_callback(self._hook_ended, context=Context())
        return task

    def cancel_after(self, task: Task[Any], seconds: float) -> None:
        """Let a hook go on for that long, and cancel it then: its caller has stopped waiting."""
        timer = asyncio.get_running_loop().call_later(seconds, self._cancel, task, context=Context())
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

    # -- time

    def schedule(self, seconds: float) -> None:
        """Call the owner's `on_time` in so many seconds, and not at an earlier time that was asked for."""
        self.stop_timer()
        self.timed = True
        # in an empty context: a timer would keep the variables of the request that starts it, when cancelled too
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_time, context=Context())

    def stop_timer(self) -> None:
        """Call `on_time` no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _on_time(self) -> None:
        owner = self._owner()
        if owner is not None:
            owner.on_time()

    # -- waiting

    def changed(self) -> None:
        """Have the tasks that wait until something holds look again."""
        self._notifier.notify_all()
        if self._owner() is None and not self.tasks:
            self._leave()

    async def wait_for(self, condition: Callable[[], object], timeout: float | None = None) -> None:
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
        return not self._hooks and not self.entering

    def _give_up_work(self) -> None:
        """Do without what goes on nevertheless."""
        while self.entering:
            item = next(iter(self.entering))
            task = self.tasks[item]
            task.release()
            task.abandon()
            self._drop(item, EnteringCancelled())
        for hook in list(self._hooks):
            abandon(hook)
            self._hook_ended(hook)

    # -- the end

    def keep_owner(self, owner: ResourceOwner[K] | None) -> None:
        """Have the loop keep the owner, or no longer keep it."""
        self._kept = owner

    def outlive_owner(self, is_finalizing: Callable[[], bool] = is_finalizing) -> None:
        """Close what no task uses: the owner is being collected, by any thread."""
        # bound when defined: at its very end, the interpreter finalises what is left over, when globals are gone
        if self.loop is not None and not is_finalizing():
            call_soon(self.loop, self._close_unused)

    def _close_unused(self) -> None:
        for item, task in list(self.tasks.items()):
            if self._lost(item) is None:
                task.release()
        self.changed()

    def _leave(self) -> None:
        for unlist in self._unlist:
            unlist()

    async def _end_work(self) -> None:
        """Before anything is closed which it may need: give up what is still being made, and what hooks do."""
        self.ending = True
        await self.wait_for(self._cancel_work, GRACE)
        self._give_up_work()
        if not self._listed:  # there has never been an object
            self._finish()

    async def _end(self) -> None:
        """Close everything: no task uses it any more. What was in use is closed as broken: its user did not finish."""
        for item, task in list(self.tasks.items()):
            if (error := self._lost(item)) is not None:
                task.release(error)
        owner = self._owner()
        if owner is not None:
            owner.on_loop_ending()
        await self._end_work()  # it may have begun since: exits run one after the other, and tasks may go on
        for task in list(self.tasks.values()):
            task.release()
        await self.wait_for(lambda: not self.tasks)
        self._finish()

    def _finish(self) -> None:
        owner = self._owner()
        self._leave()
        self.stop_timer()
        if owner is not None:
            owner.on_loop_ended()


def call_soon(loop: AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    """Have a loop call a function in its next turn: from any thread, in a finaliser, too. Not if it is closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments, context=Context())
