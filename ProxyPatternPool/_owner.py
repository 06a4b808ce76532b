"""Identifies the current thread, task or greenlet.

There are two kinds of owner: the thread, and the innermost of asyncio task, greenlet and thread. Context variables
identify no owner: a child task, `asyncio.to_thread` and many greenlets run in a copy of their parent's context, and
would share its object.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any


def current_task() -> Any:
    """Return the asyncio task that runs this code, if any. Imports nothing: without asyncio there is no task."""
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        loop = asyncio._get_running_loop()
        return None if loop is None else asyncio.current_task(loop)  # which would ask again; on 3.11 by a system call
    except AttributeError:
        return None  # another thread is importing it just now, and nobody runs a loop yet


def current_greenlet() -> Any:
    """Return the greenlet that runs this code, unless it is its thread's own. Imports nothing, as `current_task`."""
    greenlet: Any = sys.modules.get("greenlet")
    if greenlet is None:
        return None
    try:
        current = greenlet.getcurrent()
    except AttributeError:
        return None
    return None if current.parent is None else current


class Owner:
    """A thread, a greenlet or a task, as others remember it: told apart for good, and not kept alive."""

    __slots__ = ("_kind", "_references")

    def __init__(self, *parts: Any) -> None:
        self._kind = _kind(parts[0])
        self._references = [weakref.ref(part) for part in parts]

    @property
    def ended(self) -> bool:
        """It has ended; or one of the task and the greenlet that it was has."""
        return any(part is None or _has_ended(part) for part in self._parts())

    def __str__(self) -> str:
        return f"a {self._kind} that has ended" if self.ended else " and ".join(map(_name, self._parts()))

    def _parts(self) -> list[Any]:
        return [reference() for reference in self._references]


class Holder(Owner):
    """An owner for whom a proxy keeps an object."""

    __slots__ = ()

    dismissed = False  # the object goes back at the owner's end, whatever `auto_return` says

    def dismiss(self, trail: object) -> bool:
        """Have an owner on that trail give its object back at its end; tell whether that has come already."""
        return False


class HolderOnTrail(Holder):
    """A holder that works for a request, see `_trail`."""

    __slots__ = ("_trail", "dismissed")

    def __init__(self, trail: object, *parts: Any) -> None:
        super().__init__(*parts)
        self._trail = weakref.ref(trail)
        self.dismissed = False

    def dismiss(self, trail: object) -> bool:
        if self._trail() is not trail:
            return False
        self.dismissed = True  # before the look: an owner that ends meanwhile is noticed by one of the two
        return self.ended


def _kind(part: Any) -> str:
    if hasattr(part, "is_alive"):
        return "thread"
    return "task" if hasattr(part, "add_done_callback") else "greenlet"


def _has_ended(part: Any) -> bool:
    kind = _kind(part)
    return bool(not part.is_alive() if kind == "thread" else part.done() if kind == "task" else part.dead)


def _name(part: Any) -> str:
    kind = _kind(part)
    name = part.get_name() if kind == "task" else getattr(part, "name", f"at {id(part):#x}")
    return f"{kind} {name!r}"


#: Each greenlet has its own `threading.local`: gevent or eventlet has replaced threads before this import.
GREENLETS_ARE_THREADS = threading.local.__module__ != "_thread"


def running_thread() -> Any:
    """Return the running thread, or the greenlet that gevent has put in its place, which has a name there."""
    thread = threading.current_thread()
    greenlet = current_greenlet() if GREENLETS_ARE_THREADS else None
    return thread if greenlet is None or not isinstance(thread, threading._DummyThread) else greenlet


class _Me(threading.local):
    """The running thread: the interpreter's own numbers are given to another one as soon as a thread has ended.

    Each thread looks for its name once. A name for each lease, of the task or of the greenlet of a gevent that has
    replaced nothing, would need a look at every `get`, for which threads would pay, too.
    """

    def __init__(self) -> None:
        self.thread = Owner(running_thread())


me = _Me()


def this_owner() -> tuple[object, ...]:
    """Return what tells who runs this code from all others, for good: an identity may soon be another's."""
    parts = (current_task(), current_greenlet())
    return (me.thread, *[None if part is None else weakref.ref(part) for part in parts])
