"""Forks and the end of the process, which concern every pool.

After a fork, the child has the parent's objects in its memory, and their open connections; but both are still the
parent's. So the child renews everything that can be renewed. It keeps the inherited objects untouched for as long as it
lives: no destructor must speak on the parent's connections.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from contextlib import suppress
from threading import get_ident
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Renewable(Protocol):
    """A thing that must start anew in a forked child."""

    def _renew(self) -> None:
        """Make all state anew, and `keep` the inherited state. No other thread is running."""
        ...


class Ending(Protocol):
    """A thing that must be closed when the program ends."""

    def _close_at_exit(self) -> None:
        """Close idle objects. All threads have ended, except daemons. Raises nothing."""
        ...


class _Multiprocessing:
    """A hook at the end of the children of `multiprocessing`.

    Most of these children end by ``os._exit``: they call the finalizers of the package, but not those of `atexit`. The
    package is never imported for that.
    """

    def __init__(self) -> None:
        self._joined = False  # whether this process, or one that it was forked from, has registered the finalizer

    def join(self) -> None:
        """Register the finalizer, if the package is imported: for this process, and for children that it forks."""
        util: Any = sys.modules.get("multiprocessing.util")
        if not self._joined and hasattr(util, "Finalize"):  # otherwise another thread is still importing it
            self._joined = True
            util.register_after_fork(self, _Multiprocessing._finalize)  # a child starts by removing all finalizers
            self._finalize()

    def _finalize(self) -> None:
        util: Any = sys.modules["multiprocessing.util"]
        util.Finalize(None, self._at_end, exitpriority=-sys.maxsize)  # after all other finalizers

    def _at_end(self) -> None:
        """Wait for threads, then close idle objects, in the order of a program's end.

        Does nothing where `atexit` functions are called anyway.
        """
        multiprocessing: Any = sys.modules["multiprocessing"]
        if multiprocessing.parent_process() and multiprocessing.get_start_method() != "spawn":
            try:
                threading._shutdown()  # type: ignore[attr-defined]  # waits for the threads, as the child does next
            finally:
                _at_exit()


_multiprocessing = _Multiprocessing()
_renewables: weakref.WeakValueDictionary[int, Renewable] = weakref.WeakValueDictionary()
_endings: weakref.WeakValueDictionary[int, Ending] = weakref.WeakValueDictionary()
_untouchables: weakref.WeakValueDictionary[int, object] = weakref.WeakValueDictionary()
_at_fork: dict[int, list[object]] = {}  # the untouchables during a fork, by the thread that forks
_inherited: list[object] = []  # never finalised in this process


class FreshLock:
    """A lock that is free in a forked child, even if a thread of the parent held it."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self._renew()
        renew_after_fork(self)

    def _renew(self) -> None:
        self.lock = threading.RLock()  # re-entrant: a finaliser may run while the lock is held


def renew_after_fork(thing: Renewable) -> None:
    """Have `thing` renewed in forked children, as long as it lives. It is not kept alive."""
    _renewables[id(thing)] = thing


def end_with_program(thing: Ending) -> None:
    """Have `thing` closed at the end of the program, if it still lives. It is not kept alive."""
    _endings[id(thing)] = thing
    _multiprocessing.join()


def keep(*things: object) -> None:
    """Keep inherited things in a child, so that they are never finalised there."""
    _inherited.extend(things)


def keep_in_children(thing: object) -> None:
    """Have `thing` kept in forked children, even if it belongs to a thread that does not exist there."""
    _untouchables[id(thing)] = thing


def _before_fork() -> None:
    """Import here what the child needs, and hold the things that it keeps.

    An import in the child could wait for a thread that does not exist there.
    """
    _multiprocessing.join()
    _at_fork[get_ident()] = _living(_untouchables)
    if _endings or _untouchables:
        with suppress(ImportError):
            import ctypes  # noqa: F401  # for `_never_free`


def _after_fork_in_parent() -> None:
    del _at_fork[get_ident()]


def _after_fork() -> None:
    keep(*_at_fork.pop(get_ident()))
    for thing in _living(_renewables):
        thing._renew()
    if _inherited:
        _never_free(_inherited)


def _at_exit() -> None:
    for thing in _living(_endings):
        thing._close_at_exit()


def _never_free(thing: object) -> None:
    """Add a reference that is never released: at its very end, the interpreter clears modules and what they hold."""
    ctypes: Any = sys.modules.get("ctypes")
    with suppress(AttributeError):  # an interpreter that is not CPython, or has no ctypes
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _living(things: weakref.WeakValueDictionary[int, T]) -> list[T]:
    return [thing for reference in things.valuerefs() if (thing := reference()) is not None]


def _unsupported(*_: object, **__: object) -> None:
    """Stand in for a function that a platform, or a version of Python, does not have."""


getattr(os, "register_at_fork", _unsupported)(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork
)
atexit.register(_at_exit)
