"""LoopResources: the objects and tasks of a pool in one event loop.

The loop refers to the resources, and these have only a weak reference to the pool's engine. So an engine without a pool
is collected, although some of its objects are still open. They are closed soon after, at the latest with the loop.
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

#: A function that settles a task which has ended, or was given up, see `failure`.
Settle = Callable[[Task[Any]], object]


class ResourceOwner(Protocol[K_contra]):
    """An engine. The loop calls its methods; none raises, except `on_loop_ended`. An item stands for one object."""

    def on_entered(self, item: K_contra, /) -> None:
        """Note that the object is made and open."""
        ...

    def on_left(self, item: K_contra, /) -> None:
        """Note that the object is ending on its own."""
        ...

    def on_ended(self, item: K_contra, error: BaseException | None, left: bool, /) -> None:
        """Note that the object is closed, or could not be made, with the error raised. `left`: it ended on its own."""
        ...

    def on_time(self) -> None:
        """Do the work that is due at the time given to `schedule`."""
        ...

    def on_loop_ending(self) -> None:
        """Close all objects: no task uses them any more."""
        ...

    def on_loop_ended(self) -> None:
        """Note that all objects are closed. An exception goes to the loop's exception handler."""
        ...


class LoopResources(Generic[K, T]):
    """The objects of one engine, by the item that the engine's machine has for each.

    `loop` is None for an engine without a loop, which has no objects. If an object is in use when the loop ends,
    `lost(item)` returns the exception that closes it, and otherwise None. `name` is the pool's, for logs and names of
    tasks.
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
        self.ending = False  # the loop is ending: no work begins that no task has asked for
        self.timed = False  # `schedule` was called
        self._hooks: dict[Task[Any], Settle] = {}  # the hooks that run
        self._cancelled: set[Task[Any]] = set()  # of the hooks; each is cancelled once, since it may tidy up
        self._owner = ref(owner)
        self._kept: object = None  # the owner, while it has to live without its pool
        self._lost = lost
        self._name = name
        self._log = log
        self._timer: asyncio.Handle | None = None  # the only one
        self._notifier = Notifier()  # of any change
        # `_end` is in the exits of the loop. It is added when the first object exists. So it runs before the exits of
        # all that the object is made of
        self._listed = False
        self._unlist: list[Callable[[], object]] = [] if loop is None else [before_end(self._end_work)]

    # -- objects

    def open(self, item: K, manager: AbstractAsyncContextManager[T, Any], kind: str) -> None:
        """Have an object made, by a task of its own. The task's name contains `kind`, a name of the object."""
        self.entering.add(item)
        self.tasks[item] = ContextTask(
            manager,
            on_entered=partial(self._on_entered, item),
            on_left=partial(self._on_left, item),
            on_ended=partial(self._on_ended, item),
            name=f"{self._name}: task of {kind}",
        )

    def has(self, item: K) -> bool:
        """Tell whether the object is still held, and is not ending on its own."""
        task = self.tasks.get(item)
        return task is not None and not task.left

    def close(self, item: K, error: BaseException | None) -> bool:
        """Have the object closed, with an error if it is not fit for use. Return False if it is gone already."""
        task = self.tasks.get(item)
        if task is not None:
            task.release(error)
        return task is not None

    def cancel_creations(self) -> None:
        """Cancel the creations that still go on."""
        for item in list(self.entering):
            self.tasks[item].release()

    def _on_entered(self, item: K) -> None:
        owner = self._owner()
        if owner is None or item not in self.tasks:
            return  # the engine was collected, or the object was given up: it is released now, or in a moment
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
        """Remove an object that has ended, or was given up."""
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
        """Run a hook in a task of its own, and call `settle(task)` when it has ended. No caller's end cancels it.

        At the end of the loop, `settle` is called even if the task goes on.
        """
        task = spawn_system_task(hook, f"{self._name} hook", context)
        self._hooks[task] = settle
        task.add_done_callback(self._hook_ended, context=Context())
        return task

    def cancel_after(self, task: Task[Any], seconds: float) -> None:
        """Cancel a hook that has not ended after `seconds`: its caller has stopped waiting."""
        timer = asyncio.get_running_loop().call_later(seconds, self._cancel, task, context=Context())
        task.add_done_callback(lambda _: timer.cancel())

    def _cancel(self, task: Task[Any]) -> None:
        if task not in self._cancelled:
            self._cancelled.add(task)
            task.cancel()

    def _hook_ended(self, task: Task[Any]) -> None:
        settle = self._hooks.pop(task, None)
        self._cancelled.discard(task)
        if settle is not None:  # otherwise the hook was given up
            settle(task)
            self.changed()

    # -- time

    def schedule(self, seconds: float) -> None:
        """Have the owner's `on_time` called in `seconds`. This replaces the time of any previous call."""
        self.stop_timer()
        self.timed = True
        # in an empty context: a timer keeps the variables of the request that starts it, even when it was cancelled
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_time, context=Context())

    def stop_timer(self) -> None:
        """Stop calling `on_time`."""
        if self._timer is not None:
            self._timer.cancel()

    def _on_time(self) -> None:
        owner = self._owner()
        if owner is not None:
            owner.on_time()

    # -- waiting

    def changed(self) -> None:
        """Have the tasks in `wait_for` check their conditions again."""
        self._notifier.notify_all()
        if self._owner() is None and not self.tasks:
            self._leave()

    async def wait_for(self, condition: Callable[[], object], timeout: float | None = None) -> None:
        """Wait until the condition holds, at most `timeout` seconds. Being cancelled ends only the waiting."""
        await self._notifier.wait_for(condition, timeout)

    async def end_work(self) -> None:
        """Wait for creations, which were cancelled, and for hooks. Cancel hooks that take longer than `GRACE`."""
        await self.wait_for(self._is_idle, GRACE)
        for task in self._hooks:
            self._cancel(task)
        await self.wait_for(lambda: not self._hooks, GRACE)

    def _cancel_work(self) -> bool:
        """Cancel all creations and hooks, those that began meanwhile included. Return True if there are none."""
        self.cancel_creations()
        for task in self._hooks:
            self._cancel(task)
        return self._is_idle()

    def _is_idle(self) -> bool:
        return not self._hooks and not self.entering

    def _give_up_work(self) -> None:
        """Give up the creations and hooks that go on although they were cancelled."""
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
        """Keep the owner alive as long as the loop. With None, stop that."""
        self._kept = owner

    def outlive_owner(self, is_finalizing: Callable[[], bool] = is_finalizing) -> None:
        """Close the objects that no task uses: the owner is being collected, by any thread."""
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
        """End all creations and hooks, before any object is closed that they may need."""
        self.ending = True
        await self.wait_for(self._cancel_work, GRACE)
        self._give_up_work()
        if not self._listed:  # there has never been an object
            self._finish()

    async def _end(self) -> None:
        """Close all objects. An object that was in use is closed as broken, since its user did not finish."""
        for item, task in list(self.tasks.items()):
            if (error := self._lost(item)) is not None:
                task.release(error)
        owner = self._owner()
        if owner is not None:
            owner.on_loop_ending()
        await self._end_work()  # more may have begun since: exits run one after the other, and tasks may go on
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
    """Have a loop call a function in its next turn. Safe from any thread, and in finalisers.

    Does nothing if the loop is closed.
    """
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments, context=Context())
