"""Checks for a forgotten ``async``, call or decorator: told at once, and not to whoever uses the object later.

What can be seen of a function is refused when the pool is made; the rest when it shows, by the first call.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import _AsyncGeneratorContextManager, _GeneratorContextManager, closing
from functools import partial
from inspect import (
    CO_ITERABLE_COROUTINE,
    isasyncgen,
    isasyncgenfunction,
    isawaitable,
    iscoroutinefunction,
    isgeneratorfunction,
)
from types import FunctionType, MethodType
from typing import TypeVar

T = TypeVar("T")

#: What to do about a function that has to be awaited.
ADVICE = "use AsyncPool, or AsyncProxy in place of a Proxy, which await it"

#: Why there is nothing to do about it.
PLAIN = "it is called where nobody can wait"


# -- functions, as they are given


def check_fun(fun: Callable[..., object]) -> None:
    """Refuse a generator function, whose generators would be lent: TypeError."""
    if _is(isasyncgenfunction, fun):
        raise TypeError(f"fun must not be an asynchronous generator, but is {fun!r}: is @asynccontextmanager missing?")
    if _is(_never_runs, fun):
        advice = "return the object, and have `close` do what follows"
        raise TypeError(f"fun must not be a generator, but is {fun!r}: {advice}")


def check_hook(name: str, hook: object) -> None:
    """Refuse a generator function, whose code would never run: TypeError."""
    if _is(_never_runs, hook) or _is(isasyncgenfunction, hook):
        raise TypeError(f"{name} must be a function that does something, not the generator {hook!r}")


def check_manager_function(who: str, function: object) -> None:
    """Refuse an ``async`` function where one is needed that returns an asynchronous context manager: TypeError."""
    if _is(iscoroutinefunction, function) or _is(isasyncgenfunction, function):
        what = "needs a function that returns an asynchronous context manager, not the async"
        raise TypeError(f"{who} {what} {function!r}: is @asynccontextmanager missing?")


def check_plain(name: str, function: object, advice: str) -> None:
    """Refuse an ``async`` function: TypeError."""
    if _is(iscoroutinefunction, function):
        raise TypeError(f"{name} must be a plain function, not the async {function!r}: {advice}")


def _never_runs(function: object) -> bool:
    """Tell whether it is a generator function, and not a coroutine function of `types.coroutine`."""
    return isgeneratorfunction(function) and not function.__code__.co_flags & CO_ITERABLE_COROUTINE


def _is(kind: Callable[[object], bool], function: object) -> bool:
    while isinstance(function, partial):
        function = function.func
    return kind(function) or kind(getattr(type(function), "__call__", None))  # noqa: B004  # that function itself is looked at


# -- what they return


def plain_object(obj: T) -> T:
    """Return what `fun` has returned to a `Pool`, unless that is not the object, but only leads to it: TypeError."""
    if issubclass(type(obj), Coroutine):
        dispose_of(obj)
        raise TypeError(f"fun must return an object, but has returned {described(obj)}: {ADVICE}")
    if isasyncgen(obj) or isinstance(obj, (_GeneratorContextManager, _AsyncGeneratorContextManager)):
        advice = "" if isinstance(obj, _GeneratorContextManager) else ", but an AsyncPool does"
        raise TypeError(
            f"fun must return an object, but has returned {described(obj)}: a Pool does not enter it{advice}"
        )
    return obj


def plain_result(name: str, result: T, advice: str = ADVICE) -> T:
    """Return what a hook has returned, unless that is to be awaited: TypeError."""
    if result is not None and isawaitable(result):
        dispose_of(result)
        raise TypeError(f"{name} must be a plain function, but has returned {described(result)}: {advice}")
    return result


def entered_object(obj: T) -> T:
    """Return what `fun` has returned to an `AsyncPool`, and can be neither entered nor awaited, if it is the object.

    TypeError for what is only to be called, decorated, or entered in another way.
    """
    if _is_left_uncalled(obj):
        raise TypeError("fun must return an object, but has returned a coroutine function: call it")
    if isasyncgen(obj) or isinstance(obj, (_GeneratorContextManager, closing)):
        raise TypeError(f"fun must return an object or an asynchronous context manager, not {described(obj)}")
    return obj


def awaited_result(name: str, result: T) -> T:
    """Return what came of a hook of an `AsyncPool`, unless that was to be called, or to be iterated over: TypeError."""
    if _is_left_uncalled(result) or isasyncgen(result):
        raise TypeError(f"{name} must do something, but has returned {result!r}: call it, or await what it gives")
    return result


def _is_left_uncalled(result: object) -> bool:
    """Tell whether it is an ``async`` function, and not what only passes for one, as an `AsyncMock` does."""
    return issubclass(type(result), (FunctionType, MethodType)) and iscoroutinefunction(result)


def described(made: object) -> str:
    """Tell what it is without its own text, which may hold a password."""
    if made is None:
        return "None"
    hint = ""
    if isasyncgen(made):
        hint = ": is @asynccontextmanager missing?"
    elif hasattr(type(made), "__enter__"):
        hint = ", which is a synchronous context manager"
    return f"something of type {type(made).__name__}{hint}"


def dispose_of(awaitable: object) -> None:
    """Close a coroutine, or Python would warn of it as well."""
    if isinstance(awaitable, Coroutine):
        awaitable.close()
