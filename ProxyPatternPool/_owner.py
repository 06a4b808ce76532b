"""Identifies the current thread, task or greenlet.

An owner is either the thread, or the innermost of asyncio task, greenlet and thread. Context variables do not identify
an owner: a child task, `asyncio.to_thread` and many greenlets run in a copy of their parent's context. They would share
its object.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any


def current_task() -> Any:
    """Return the asyncio task that runs this code, or None. Imports nothing: without asyncio there is no task."""
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        loop = asyncio._get_running_loop()
        # without the argument, current_task would look for the loop again, on 3.11 by a system call
        return None if loop is None else asyncio.current_task(loop)
    except AttributeError:
        return None  # another thread is importing asyncio just now, and no loop runs yet


def current_greenlet() -> Any:
    """Return the greenlet that runs this code. None for its thread's main greenlet. Imports nothing."""
    greenlet: Any = sys.modules.get("greenlet")
    if greenlet is None:
        return None
    try:
        current = greenlet.getcurrent()
    except AttributeError:
        return None
    return None if current.parent is None else current


class Owner:
    """A unique and lasting identity of a thread, a greenlet or a task. It keeps none of them alive."""

    __slots__ = ("_kind", "_references")

    def __init__(self, *parts: Any) -> None:
        self._kind = _kind(parts[0])
        self._references = [weakref.ref(part) for part in parts]

    @property
    def ended(self) -> bool:
        """True if the owner has ended. Of a task and a greenlet together, one end is enough."""
        return any(part is None or _has_ended(part) for part in self._parts())

    def __str__(self) -> str:
        return f"a {self._kind} that has ended" if self.ended else " and ".join(map(_name, self._parts()))

    def _parts(self) -> list[Any]:
        return [reference() for reference in self._references]


class Holder(Owner):
    """An owner for which a proxy keeps an object, and the trail of the request that it works for. See `_trail`."""

    __slots__ = ("_trail", "dismissed")

    def __init__(self, *parts: Any, trail: object | None = None) -> None:
        super().__init__(*parts)
        self._trail = None if trail is None else weakref.ref(trail)
        self.dismissed: bool = False  # whether the object goes back at the owner's end, even without `auto_return`

    def dismiss(self, trail: object) -> bool:
        """Have an owner on `trail` give its object back at its end. Return True if such an owner has ended already."""
        if self._trail is None or self._trail() is not trail:
            return False
        self.dismissed = True  # before `ended` is read: an owner that ends meanwhile is noticed by one of the two
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


#: True if each greenlet has its own `threading.local`, since gevent or eventlet replaced threads before this import.
GREENLETS_ARE_THREADS = threading.local.__module__ != "_thread"


def running_thread() -> Any:
    """Return the running thread. Where gevent has replaced threads, return a greenlet that has no `Thread` object.

    Such a greenlet has a name. The dummy that `threading` makes for it has a name that says nothing.
    """
    thread = threading.current_thread()
    greenlet = current_greenlet() if GREENLETS_ARE_THREADS else None
    return thread if greenlet is None or not isinstance(thread, threading._DummyThread) else greenlet


class _Me(threading.local):
    """A thread-local reference to the running thread, since an ended thread's number goes to another thread at once.

    Each thread looks its name up once. A name per lease, that of a task or of a greenlet where gevent has replaced
    nothing, would need a lookup at every `get`. Threads would pay for it, too.
    """

    def __init__(self) -> None:
        self.thread = Owner(running_thread())


me = _Me()


def this_owner() -> tuple[object, ...]:
    """Return a key for the current owner, which no other owner ever equals. An `id` may be reused."""
    parts = (current_task(), current_greenlet())
    return (me.thread, *[None if part is None else weakref.ref(part) for part in parts])
