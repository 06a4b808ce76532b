"""SharedError: an exception for several tasks, as an object of its own for each of them.

An exception object belongs to the task that raises it, for its traceback has the frames of that task. If two tasks
raised one object, the traceback would have frames of both. ``traceback.clear_frames`` in one task, which `unittest`
calls in ``assertRaises``, would then end the other task in the middle of its ``await``. Threads are treated likewise: a
cause that several threads see has no frames of callers.
"""

from __future__ import annotations

from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, TypeVar

E = TypeVar("E", bound=BaseException)

#: The links of an exception. The order matters: setting a cause suppresses the context.
LINKS = ("__cause__", "__context__", "__suppress_context__", "__traceback__")


class SharedError:
    """An exception for several tasks. The first task gets the object itself, the others get copies."""

    __slots__ = ("_next", "_trace")

    def __init__(self, error: BaseException) -> None:
        self._next = error  # no task has raised this object, unless it cannot be copied
        self._trace = error.__traceback__

    def take(self) -> BaseException:
        """Return an exception to be raised at once, and by the caller alone.

        An exception that cannot be copied is the same object for all tasks, with the traceback that it had at first:
        otherwise the traceback would grow by the frames of each task.
        """
        error, self._next = self._next, copied(self._next)
        return error.with_traceback(self._trace)


def copied(error: E) -> E:
    """Return another exception with the type, arguments, attributes, notes, cause, context and traceback of this one.

    Runs no code of the user's: an ``__init__`` may take other arguments than it has passed on, or count and log.
    Returns the exception itself if it has state that only its type knows, in slots or in C.
    """
    try:
        return _twin(error)
    except Exception:
        return error


def _twin(error: E) -> E:
    kind: Any = type(error)
    builtin: Any = kind
    while builtin.__module__ != "builtins":
        if any(_is_state(name, value) for name, value in vars(builtin).items()):
            return error
        builtin = builtin.__base__
    _, arguments, *state = builtin.__reduce__(error)
    twin = builtin.__new__(kind, *arguments)
    builtin.__init__(twin, *arguments)
    attributes = dict(*state)
    if "__notes__" in attributes:
        attributes["__notes__"] = list(attributes["__notes__"])
    attributes.update((name, getattr(error, name)) for name in LINKS)
    for name, value in attributes.items():
        object.__setattr__(twin, name, value)  # a subclass may forbid its own
    return twin if type(twin) is kind else error


def _is_state(name: str, value: object) -> bool:
    """Tell whether a class attribute is a slot, or a field of a type that is written in C."""
    return isinstance(value, (MemberDescriptorType, GetSetDescriptorType)) and name not in ("__dict__", "__weakref__")
