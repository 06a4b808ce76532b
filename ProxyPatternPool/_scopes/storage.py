"""Where the value of an owner is kept: until it is taken away, or the owner ends.

When an owner ends, the storage lets go of its value: in the dying thread, at the loop's next turn, or at the gevent
hub's. A raw greenlet, and a task whose loop was closed, end silently, and are noticed when they are collected. The
value itself does what should happen then, in its ``__del__``.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Generic, TypeVar

from ProxyPatternPool._owner import Holder, HolderOnTrail, current_greenlet, current_task, running_thread
from ProxyPatternPool._process import keep, renew_after_fork
from ProxyPatternPool._trail import begin_trail, current_trail

V = TypeVar("V")


class ThreadStorage(Generic[V]):
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
        return Holder(running_thread())


class OwnerStorage(ThreadStorage[V]):
    """A value for each task, greenlet or thread: the innermost that runs the code.

    A greenlet may run inside a task, and an event loop inside a greenlet: so the two together are the owner.
    """

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[tuple[int, int], _Entry[V]] = {}  # of tasks and greenlets, by their identities

    def _renew(self) -> None:
        super()._renew()
        keep(*[entry.value for entry in self._entries.values()])
        self._entries = {}

    def get(self) -> V | None:
        """Return the current owner's value, None if it has none."""
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            return super().get()
        entry = self._entries.get((id(task), id(greenlet)))
        return None if entry is None else entry.value

    def set(self, value: V) -> None:
        """Keep a value for the current owner, until that one ends."""
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            super().set(value)
        else:
            entry = self._entries.get((id(task), id(greenlet))) or _Entry(self._entries, task, greenlet)
            entry.value = value

    def pop(self) -> V | None:
        """Forget the current owner's value, and return it."""
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            return super().pop()
        value, entry = None, self._entries.get((id(task), id(greenlet)))
        if entry is not None:
            value, entry.value = entry.value, None
        return value

    def cache(self) -> dict[str, Any] | None:
        """Return a dictionary which the current owner has besides, until it ends; None when that is the thread."""
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            return None
        entry = self._entries.get((id(task), id(greenlet)))
        return {} if entry is None else entry.cache

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


class _Entry(Generic[V]):
    """Where a task or a greenlet has its value; it leaves the table at its owner's end.

    The table knows owners by their identity, which may be another's as soon as this one is no more: the end of it, at
    the latest as it is collected, takes the room out before that.
    """

    __slots__ = ("__weakref__", "_entries", "_key", "cache", "value")

    def __init__(self, entries: dict[tuple[int, int], _Entry[V]], task: Any, greenlet: Any) -> None:
        self.value: V | None = None
        self.cache: dict[str, Any] = {}
        self._entries = entries
        self._key = (id(task), id(greenlet))
        for owner in (task, greenlet):
            if owner is not None:
                _end_of(owner).concerns(self)
        entries[self._key] = self  # not before its end is watched for

    def leave(self) -> None:
        """Let go of the value."""
        if self._entries.get(self._key) is self:  # it may be another's by now, when its second owner ends
            del self._entries[self._key]
        self.value = None
        self.cache.clear()


#: The ends that somebody waits for, by the identity of whose end it is.
_ends: dict[int, _OwnerEnd] = {}


def _end_of(owner: Any) -> _OwnerEnd:
    return _ends.get(id(owner)) or _OwnerEnd(owner)


class _OwnerEnd:
    """The end of a task or a greenlet. It knows rooms, and they need not outlive their table for it.

    There is one for all of an owner's rooms: a task may outlive any number of greenlets, and of settings of a proxy,
    and must not remember all of them.
    """

    __slots__ = ("_entries", "_key", "_reference")

    def __init__(self, owner: Any) -> None:
        self._entries: set[weakref.ref[_Entry[Any]]] = set()
        self._key = id(owner)
        self._reference: weakref.ref[Any] | None = weakref.ref(owner, self._come)
        hook = getattr(owner, "add_done_callback", None) or getattr(owner, "rawlink", None)  # asyncio's, or gevent's
        if hook is not None:
            hook(self._come)
        _ends[self._key] = self

    def concerns(self, entry: _Entry[Any]) -> None:
        """Have a room left at the end, if it is still there."""
        self._entries.add(weakref.ref(entry, self._entries.discard))

    def _come(self, _owner: object) -> None:
        self._reference = None
        _ends.pop(self._key, None)
        for entry in filter(None, [reference() for reference in self._entries.copy()]):
            entry.leave()
