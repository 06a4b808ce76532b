"""Who runs this code, and where that one's value is kept: until it is taken away, or its owner ends.

Two kinds of owner: the thread, and the innermost of asyncio task, greenlet, thread. An owner is never found through
context variables: a child task, `asyncio.to_thread` and many greenlets run in a copy of their parent's context,
and would share its object.

When an owner ends, its value is let go of: in the dying thread, at the loop's next turn, or at the gevent hub's. A raw
greenlet, and a task whose loop was closed, tell nobody, and are noticed when they are collected. That is all: what
should happen then, the value does itself, in its ``__del__``.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any, Generic, TypeVar

from ProxyPatternPool._process import keep, renew_after_fork
from ProxyPatternPool._trail import begin_trail, current_trail

V = TypeVar("V")


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


def _running_thread() -> Any:
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
        self.thread = Owner(_running_thread())


me = _Me()


def this_owner() -> tuple[object, ...]:
    """Return what tells who runs this code from all others, for good: an identity may soon be another's."""
    parts = (current_task(), current_greenlet())
    return (me.thread, *[None if part is None else weakref.ref(part) for part in parts])


class PerThread(Generic[V]):
    """A value for each thread, which nobody else sees, and which is let go of when the thread ends.

    A forked child starts with none; what it has inherited is kept, so that it is never finalised there.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        renew_after_fork(self)

    def _renew(self) -> None:
        keep(self.pop())

    def get(self) -> V | None:
        """Return the current owner's value, None if it has none."""
        return getattr(self._local, "value", None)

    def set(self, value: V) -> None:
        """Keep a value for the current owner, until that one ends."""
        self._local.value = value

    def pop(self) -> V | None:
        """Forget the current owner's value, and return it."""
        value: V | None = vars(self._local).pop("value", None)
        return value

    def holder(self) -> Holder:
        """Return the current owner, for others to remember."""
        return Holder(_running_thread())


class PerOwner(PerThread[V]):
    """A value for each task, greenlet or thread: the innermost that runs the code.

    A greenlet may run inside a task, and an event loop inside a greenlet: so the two together are the owner.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rooms: dict[tuple[int, int], _Room[V]] = {}  # of tasks and greenlets, by their identities

    def _renew(self) -> None:
        super()._renew()
        keep(*[room.value for room in self._rooms.values()])
        self._rooms = {}

    def get(self) -> V | None:
        """Return the current owner's value, None if it has none."""
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            return super().get()
        room = self._rooms.get((id(task), id(greenlet)))
        return None if room is None else room.value

    def set(self, value: V) -> None:
        """Keep a value for the current owner, until that one ends."""
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            super().set(value)
        else:
            room = self._rooms.get((id(task), id(greenlet))) or _Room(self._rooms, task, greenlet)
            room.value = value

    def pop(self) -> V | None:
        """Forget the current owner's value, and return it."""
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            return super().pop()
        value, room = None, self._rooms.get((id(task), id(greenlet)))
        if room is not None:
            value, room.value = room.value, None
        return value

    def hand(self) -> dict[str, Any] | None:
        """Return a dictionary which the current owner has besides, until it ends; None when that is the thread."""
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            return None
        room = self._rooms.get((id(task), id(greenlet)))
        return {} if room is None else room.hand

    def holder(self) -> Holder:
        """Return the current owner, for others to remember."""
        return Holder(*_innermost())

    def holder_on_trail(self) -> Holder:
        """Return the current owner, for others to remember, with its trail. A task begins one."""
        trail = current_trail() if current_task() is None else begin_trail()
        return Holder(*_innermost()) if trail is None else HolderOnTrail(trail, *_innermost())

    def trail_to_clear(self) -> object | None:
        """Return the trail on which other owners may have left objects; None for a task that has an object itself.

        Such a task is in mid-work, and does not pay for other owners. A thread does: it may have used the proxy before
        or after a coroutine of the same request.
        """
        return None if current_task() is not None and self.get() is not None else current_trail()


def _innermost() -> list[Any]:
    """Return the task and the greenlet that run this code, or else the thread."""
    return [owner for owner in (current_task(), current_greenlet()) if owner is not None] or [
        threading.current_thread()
    ]


class _Room(Generic[V]):
    """Where a task or a greenlet has its value; it leaves the table at its owner's end.

    The table knows owners by their identity, which may be another's as soon as this one is no more: the end of it, at
    the latest as it is collected, takes the room out before that.
    """

    __slots__ = ("__weakref__", "_key", "_rooms", "hand", "value")

    def __init__(self, rooms: dict[tuple[int, int], _Room[V]], task: Any, greenlet: Any) -> None:
        self.value: V | None = None
        self.hand: dict[str, Any] = {}
        self._rooms = rooms
        self._key = (id(task), id(greenlet))
        for owner in (task, greenlet):
            if owner is not None:
                _end_of(owner).concerns(self)
        rooms[self._key] = self  # not before its end is watched for

    def leave(self) -> None:
        """Let go of the value."""
        if self._rooms.get(self._key) is self:  # it may be another's by now, when its second owner ends
            del self._rooms[self._key]
        self.value = None
        self.hand.clear()


#: The ends that somebody waits for, by the identity of whose end it is.
_ends: dict[int, _End] = {}


def _end_of(owner: Any) -> _End:
    return _ends.get(id(owner)) or _End(owner)


class _End:
    """The end of a task or a greenlet. It knows rooms, and they need not outlive their table for it.

    There is one for all of an owner's rooms: a task may outlive any number of greenlets, and of settings of a proxy,
    and must not remember all of them.
    """

    __slots__ = ("_key", "_reference", "_rooms")

    def __init__(self, owner: Any) -> None:
        self._rooms: set[weakref.ref[_Room[Any]]] = set()
        self._key = id(owner)
        self._reference: weakref.ref[Any] | None = weakref.ref(owner, self._come)
        hook = getattr(owner, "add_done_callback", None) or getattr(owner, "rawlink", None)  # asyncio's, or gevent's
        if hook is not None:
            hook(self._come)
        _ends[self._key] = self

    def concerns(self, room: _Room[Any]) -> None:
        """Have a room left at the end, if it is still there."""
        self._rooms.add(weakref.ref(room, self._rooms.discard))

    def _come(self, _owner: object) -> None:
        self._reference = None
        _ends.pop(self._key, None)
        for room in filter(None, [reference() for reference in self._rooms.copy()]):
            room.leave()
