"""Who runs this code, and where that one's value is kept.

Two kinds of owner: the thread, and the innermost of asyncio task, greenlet, thread. An owner is never found through
context variables: a child task, `asyncio.to_thread` and many greenlets run in a copy of their parent's context,
and would share its object.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any, Generic, TypeVar

V = TypeVar("V")


def current_task() -> Any:
    """Return the asyncio task that runs this code, if any. Imports nothing: without asyncio there is no task."""
    asyncio: Any = sys.modules.get("asyncio")
    # another thread may be importing it just now: then it has nothing yet, and nobody runs a loop
    running_loop = getattr(asyncio, "_get_running_loop", None)
    return None if running_loop is None or running_loop() is None else asyncio.current_task()


def current_greenlet() -> Any:
    """Return the greenlet that runs this code, unless it is its thread's own. Imports nothing, as `current_task`."""
    getcurrent = getattr(sys.modules.get("greenlet"), "getcurrent", None)
    current = None if getcurrent is None else getcurrent()
    return None if current is None or current.parent is None else current


class _Me(threading.local):
    """The running thread: the interpreter's own numbers are given to another one as soon as a thread has ended."""

    def __init__(self) -> None:
        self.thread = weakref.ref(threading.current_thread())


me = _Me()


def living_thread(thread: object) -> threading.Thread | None:
    """Return the thread that ``me.thread`` was, None if it has ended."""
    running = thread() if isinstance(thread, weakref.ref) else None
    return running if running is not None and running.is_alive() else None


def thread_name(thread: object) -> str:
    """Tell which thread ``me.thread`` was, for a message."""
    running = living_thread(thread)
    return f"thread {running.name!r}" if running else "a thread that has ended"


def this_owner() -> tuple[object, ...]:
    """Return what tells who runs this code from all others that live now."""
    return (me.thread, *_key(_inner_owners()))


class PerThread(Generic[V]):
    """A value for each thread, which nobody else sees, and which goes with the thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    def get(self) -> V | None:
        """Return the current owner's value, None if it has none."""
        return getattr(self._local, "value", None)

    def set(self, value: V) -> None:
        """Keep a value for the current owner."""
        self._local.value = value

    def pop(self) -> V | None:
        """Forget the current owner's value, and return it."""
        value = self.get()
        self._local.__dict__.clear()
        return value


class PerOwner(PerThread[V]):
    """A value for each task, greenlet or thread: the innermost that runs the code.

    A greenlet may run inside a task, and an event loop inside a greenlet: so the two together tell the owner.
    """

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[tuple[int, ...], tuple[V, list[weakref.ref[object]]]] = {}

    def get(self) -> V | None:
        """Return the current owner's value, None if it has none."""
        owners = _inner_owners()
        if not owners:
            return super().get()
        value, _ = self._values.get(_key(owners), (None, None))
        return value

    def set(self, value: V) -> None:
        """Keep a value for the current owner, until that one is no more."""
        owners = _inner_owners()
        if not owners:
            super().set(value)
            return
        key, values = _key(owners), self._values

        def forget(_ref: weakref.ref[object]) -> None:
            values.pop(key, None)  # before the identity of the dead owner can become another's

        values[key] = (value, [weakref.ref(owner, forget) for owner in owners])

    def pop(self) -> V | None:
        """Forget the current owner's value, and return it."""
        owners = _inner_owners()
        if not owners:
            return super().pop()
        value, _ = self._values.pop(_key(owners), (None, None))
        return value


def _inner_owners() -> list[object]:
    return [owner for owner in (current_task(), current_greenlet()) if owner is not None]


def _key(owners: list[object]) -> tuple[int, ...]:
    return tuple(map(id, owners))
