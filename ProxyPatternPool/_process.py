"""What the process does to a pool: it forks, and it ends.

After a fork the child has the parent's objects in its memory, and its ends of their connections; but they are still the
parent's. So whatever can be renewed is renewed in the child, and what it had is kept, untouched, for as long as the
child lives: no destructor must speak on the parent's connections.
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
    """What must start anew in a forked child."""

    def _renew(self) -> None:
        """Make everything anew, and `keep` what there was. No other thread is running."""
        ...


class Ending(Protocol):
    """What must be brought to an end with the program."""

    def _close_at_exit(self) -> None:
        """Close what is idle: all threads have ended but daemons. Raises nothing."""
        ...


class _Multiprocessing:
    """The package `multiprocessing`: most of its children end by ``os._exit``, and call its finalizers, but no atexit.

    It is joined when it is loaded; never loaded for that.
    """

    def __init__(self) -> None:
        self._joined = False  # by this process or by one that it was forked from

    def join(self) -> None:
        """Be called at the end of such a child, this process or a later one."""
        util: Any = sys.modules.get("multiprocessing.util")
        if not self._joined and hasattr(util, "Finalize"):  # or else another thread is still loading it
            self._joined = True
            util.register_after_fork(self, _Multiprocessing._finalize)  # a child begins by forgetting all finalizers
            self._finalize()

    def _finalize(self) -> None:
        util: Any = sys.modules["multiprocessing.util"]
        util.Finalize(None, self._at_end, exitpriority=-sys.maxsize)  # after everybody else's

    def _at_end(self) -> None:
        """Do what a program does at its end, in its order: threads, then `atexit`. Not where that comes anyway."""
        multiprocessing: Any = sys.modules["multiprocessing"]
        if multiprocessing.parent_process() and multiprocessing.get_start_method() != "spawn":
            try:
                threading._shutdown()  # type: ignore[attr-defined]  # waits for the threads; next would be just that
            finally:
                _at_exit()


_multiprocessing = _Multiprocessing()
_renewables: weakref.WeakValueDictionary[int, Renewable] = weakref.WeakValueDictionary()
_endings: weakref.WeakValueDictionary[int, Ending] = weakref.WeakValueDictionary()
_untouchables: weakref.WeakValueDictionary[int, object] = weakref.WeakValueDictionary()
_at_fork: dict[int, list[object]] = {}  # by the thread that forks: what there is of these meanwhile
_inherited: list[object] = []


class FreshLock:
    """A lock that nobody has in a forked child, whoever had it in the parent."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self._renew()
        renew_after_fork(self)

    def _renew(self) -> None:
        self.lock = threading.RLock()  # re-entrant: a finaliser may come by while it is held


def renew_after_fork(thing: Renewable) -> None:
    """Have it renewed in forked children, as long as it lives."""
    _renewables[id(thing)] = thing


def end_with_program(thing: Ending) -> None:
    """Have it brought to an end at the end of the program, if it is still there."""
    _endings[id(thing)] = thing
    _multiprocessing.join()


def keep(*things: object) -> None:
    """Keep what a child has inherited, so that it is never finalised there."""
    _inherited.extend(things)


def keep_in_children(thing: object) -> None:
    """Have it kept in forked children, though a thread has it which does not exist there."""
    _untouchables[id(thing)] = thing


def _before_fork() -> None:
    """Load here what the child needs, an import there could wait for a thread that is not there; hold what it keeps."""
    _multiprocessing.join()
    _at_fork[get_ident()] = _living(_untouchables)
    if _endings or _untouchables:
        with suppress(ImportError):
            import ctypes  # noqa: F401  # it is loaded, for `_never_free`


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
    """Add a reference that nobody gives back: at its very end the interpreter clears modules, and what they hold."""
    ctypes: Any = sys.modules.get("ctypes")
    with suppress(AttributeError):  # an interpreter that is not CPython, or has no ctypes
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _living(things: weakref.WeakValueDictionary[int, T]) -> list[T]:
    return [thing for reference in things.valuerefs() if (thing := reference()) is not None]


def _unsupported(*_: object, **__: object) -> None:
    """Stand in for what a platform, or a version of Python, does not have."""


getattr(os, "register_at_fork", _unsupported)(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork
)
atexit.register(_at_exit)
