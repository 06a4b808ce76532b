"""Storage of one value per owner, until the value is removed or the owner ends.

When an owner ends, the storage drops its value: in the dying thread, in the loop's next turn, or in the gevent hub's
next turn. A raw greenlet ends silently, and so does a task whose loop was closed. The storage drops their values when
they are garbage-collected. A value that has something to do at that point does it in its ``__del__``.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Generic, TypeVar

from ProxyPatternPool._owner import Holder, current_greenlet, current_task, running_thread
from ProxyPatternPool._process import keep, renew_after_fork
from ProxyPatternPool._trail import begin_trail, current_trail

V = TypeVar("V")


class ThreadStorage(Generic[V]):
    """A storage of one value per thread. No other thread sees the value, and it is dropped when its thread ends.

    A forked child starts without values. It keeps the values that it has inherited, so that they are never finalised
    there.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        renew_after_fork(self)

    def _renew(self) -> None:
        keep(self.pop())

    def get(self) -> V | None:
        """Return the current owner's value, or None."""
        return getattr(self._local, "value", None)

    def set(self, value: V) -> None:
        """Store a value for the current owner, until the owner ends."""
        self._local.value = value

    def pop(self) -> V | None:
        """Remove the current owner's value, and return it. None without one."""
        value: V | None = vars(self._local).pop("value", None)
        return value

    def holder(self) -> Holder:
        """Return a `Holder` by which others remember the current owner."""
        return Holder(running_thread())

    holder_on_trail = holder  # where threads alone are owners, a request has one

    def trail_to_clear(self) -> object | None:
        """Return the trail on which other owners may have left objects, or None."""
        return None


class OwnerStorage(ThreadStorage[V]):
    """A storage of one value per task, greenlet or thread: the owner is the innermost that runs the code.

    A greenlet may run inside a task, and an event loop inside a greenlet. So both together identify the owner.
    """

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[tuple[int, int], _Entry[V]] = {}  # by the id of the task and that of the greenlet

    def _renew(self) -> None:
        super()._renew()
        keep(*[entry.value for entry in self._entries.values()])
        self._entries = {}

    def get(self) -> V | None:
        """Return the current owner's value, or None."""
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            return super().get()
        entry = self._entries.get((id(task), id(greenlet)))
        return None if entry is None else entry.value

    def set(self, value: V) -> None:
        """Store a value for the current owner, until the owner ends."""
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            super().set(value)
        else:
            entry = self._entries.get((id(task), id(greenlet))) or _Entry(self._entries, task, greenlet)
            entry.value = value

    def pop(self) -> V | None:
        """Remove the current owner's value, and return it. None without one."""
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            return super().pop()
        value, entry = None, self._entries.get((id(task), id(greenlet)))
        if entry is not None:
            value, entry.value = entry.value, None
        return value

    def cache(self) -> dict[str, Any] | None:
        """Return the current owner's part of a cache. None if the owner is a thread, which has no entry here.

        A task or a greenlet without a value gets a new dictionary, which is not kept.
        """
        task, greenlet = current_task(), current_greenlet()
        if task is None and greenlet is None:
            return None
        entry = self._entries.get((id(task), id(greenlet)))
        return {} if entry is None else entry.cache

    def holder(self) -> Holder:
        """Return a `Holder` by which others remember the current owner."""
        return Holder(*_innermost())

    def holder_on_trail(self) -> Holder:
        """Return a `Holder` that also knows the owner's trail, if it has one. A task without a trail begins one."""
        trail = current_trail() if current_task() is None else begin_trail()
        return Holder(*_innermost(), trail=trail)

    def trail_to_clear(self) -> object | None:
        """Return the trail on which other owners may have left objects. None for a task that has an object itself.

        Such a task is in the middle of its work, and does not pay for other owners. A thread does: it may have used the
        proxy before or after a coroutine of the same request.
        """
        return None if current_task() is not None and self.get() is not None else current_trail()


def _innermost() -> list[Any]:
    """Return the task and the greenlet that run this code. Without either, return the thread."""
    return [owner for owner in (current_task(), current_greenlet()) if owner is not None] or [
        threading.current_thread()
    ]


class _Entry(Generic[V]):
    """An entry in a storage's table: the value of a task or a greenlet. It leaves the table at its owner's end.

    The table knows owners by their `id`, which another object may get as soon as the owner is freed. The entry leaves
    before that: at the owner's end, or at the latest while the owner is collected.
    """

    __slots__ = ("__weakref__", "_entries", "_key", "cache", "value")

    def __init__(self, entries: dict[tuple[int, int], _Entry[V]], task: Any, greenlet: Any) -> None:
        self.value: V | None = None
        self.cache: dict[str, Any] = {}
        self._entries = entries
        self._key = (id(task), id(greenlet))
        for owner in (task, greenlet):
            if owner is not None:
                _end_of(owner).add(self)
        entries[self._key] = self  # not before its owner's end is watched

    def leave(self) -> None:
        """Leave the table, and drop the value."""
        # an entry of two owners leaves twice, and another entry may have its key the second time
        if self._entries.get(self._key) is self:
            del self._entries[self._key]
        self.value = None
        self.cache.clear()


#: The ends that are watched, by the `id` of the owner.
_ends: dict[int, _OwnerEnd] = {}


def _end_of(owner: Any) -> _OwnerEnd:
    return _ends.get(id(owner)) or _OwnerEnd(owner)


class _OwnerEnd:
    """A watch on the end of one task or greenlet. It refers to entries weakly: they need not outlive their table.

    All entries of an owner share one watch. A task may outlive any number of greenlets, and any number of settings of a
    proxy, and must not remember all of them.
    """

    __slots__ = ("_entries", "_key", "_reference")

    def __init__(self, owner: Any) -> None:
        self._entries: set[weakref.ref[_Entry[Any]]] = set()
        self._key = id(owner)
        self._reference: weakref.ref[Any] | None = weakref.ref(owner, self._on_end)
        hook = getattr(owner, "add_done_callback", None) or getattr(owner, "rawlink", None)  # asyncio's, or gevent's
        if hook is not None:
            hook(self._on_end)
        _ends[self._key] = self

    def add(self, entry: _Entry[Any]) -> None:
        """Have an entry leave its table at the owner's end, if the entry still exists."""
        self._entries.add(weakref.ref(entry, self._entries.discard))

    def _on_end(self, _owner: object) -> None:
        self._reference = None
        _ends.pop(self._key, None)
        for entry in filter(None, [reference() for reference in self._entries.copy()]):
            entry.leave()
