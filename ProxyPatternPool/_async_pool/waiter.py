"""TaskWaiter: stands for a task in the queue of a pool. Its one future is done when the task has to go on."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from contextvars import copy_context
from itertools import count
from typing import Any, TypeVar

from ProxyPatternPool._core.slot import Reason, Waiter
from ProxyPatternPool._loops.waiting import Woken

T = TypeVar("T")

_numbers = count()  # of waiters, in the order of arrival


class TaskWaiter(Waiter[T], Woken):
    """A task in the queue, and from then on until its object is made, checked, and fit for use."""

    __slots__ = ("context", "error", "future", "gone", "number", "ready", "task", "unfit")

    def __init__(self, loop: AbstractEventLoop, holder: object) -> None:
        super().__init__(holder)
        self.number = next(_numbers)
        self.future = loop.create_future()
        self.context = copy_context()  # for hooks
        self.ready = False  # the slot may be used
        self.unfit: Reason | None = None  # the hook that the object has not passed yet
        self.error: BaseException | None = None  # why there is no object
        self.gone = False  # the task has stopped waiting
        self.task: asyncio.Task[Any] | None = None  # prepares the object
