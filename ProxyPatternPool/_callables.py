"""Checks for a forgotten ``async``, call or decorator, which would otherwise surface when an object is used.

A function that shows its fault is refused when the pool is made. Otherwise its first call shows it.
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

#: Advice for a function that has to be awaited.
ADVICE = "use AsyncPool, or AsyncProxy in place of a Proxy, which await it"

#: The reason why a function cannot be awaited anywhere.
PLAIN = "it is called where nothing can be awaited"


# -- functions, when the pool is made


def check_fun(fun: Callable[..., object]) -> None:
    """Refuse a generator function as `fun`, since its generators would be lent: TypeError."""
    if _is(isasyncgenfunction, fun):
        raise TypeError(f"fun must not be an asynchronous generator, but is {fun!r}: is @asynccontextmanager missing?")
    if _is(_never_runs, fun):
        advice = "return the object, and do in `close` what follows the yield"
        raise TypeError(f"fun must not be a generator, but is {fun!r}: {advice}")


def check_hook(name: str, hook: object) -> None:
    """Refuse a generator function as a hook, since its code would never run: TypeError."""
    if _is(_never_runs, hook) or _is(isasyncgenfunction, hook):
        raise TypeError(f"{name} must be a function that does something, not the generator {hook!r}")


def check_manager_function(caller: str, function: object) -> None:
    """Refuse an ``async`` function in place of one that returns an asynchronous context manager: TypeError.

    `caller` is the name of the function that needs it.
    """
    if _is(iscoroutinefunction, function) or _is(isasyncgenfunction, function):
        needed = "needs a function that returns an asynchronous context manager, not the async"
        raise TypeError(f"{caller} {needed} {function!r}: is @asynccontextmanager missing?")


def check_plain(name: str, function: object, advice: str) -> None:
    """Refuse an ``async`` function: TypeError."""
    if _is(iscoroutinefunction, function):
        raise TypeError(f"{name} must be a plain function, not the async {function!r}: {advice}")


def _never_runs(function: object) -> bool:
    """Tell whether a call would make a generator. A coroutine function of `types.coroutine` does not count."""
    return isgeneratorfunction(function) and not function.__code__.co_flags & CO_ITERABLE_COROUTINE


def _is(kind: Callable[[object], bool], function: object) -> bool:
    while isinstance(function, partial):
        function = function.func
    return kind(function) or kind(getattr(type(function), "__call__", None))  # noqa: B004  # that function itself is looked at


# -- their results


def plain_object(obj: T) -> T:
    """Return the result of a `Pool`'s `fun`. TypeError if it has to be awaited or entered to get the object."""
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
    """Return the result of a hook. TypeError if it has to be awaited."""
    if result is not None and isawaitable(result):
        dispose_of(result)
        raise TypeError(f"{name} must be a plain function, but has returned {described(result)}: {advice}")
    return result


def entered_object(obj: T) -> T:
    """Return the result of an `AsyncPool`'s `fun` that can be neither entered nor awaited: it is the object.

    TypeError if it has to be called, decorated, or entered in another way to get the object.
    """
    if _is_left_uncalled(obj):
        raise TypeError("fun must return an object, but has returned a coroutine function: call it")
    if isasyncgen(obj) or isinstance(obj, (_GeneratorContextManager, closing)):
        raise TypeError(f"fun must return an object or an asynchronous context manager, not {described(obj)}")
    return obj


def awaited_result(name: str, result: T) -> T:
    """Return the result of an `AsyncPool`'s hook, after awaiting it. TypeError if it has to be called or iterated."""
    if _is_left_uncalled(result) or isasyncgen(result):
        raise TypeError(f"{name} must do something, but has returned {result!r}: call it, or await what it gives")
    return result


def _is_left_uncalled(result: object) -> bool:
    """Tell whether a result is an ``async`` function. An `AsyncMock`, which only passes for one, does not count."""
    return issubclass(type(result), (FunctionType, MethodType)) and iscoroutinefunction(result)


def described(made: object) -> str:
    """Describe an object by its type, and not by its `str` or `repr`, which may hold a password."""
    if made is None:
        return "None"
    hint = ""
    if isasyncgen(made):
        hint = ": is @asynccontextmanager missing?"
    elif hasattr(type(made), "__enter__"):
        hint = ", which is a synchronous context manager"
    return f"something of type {type(made).__name__}{hint}"


def dispose_of(awaitable: object) -> None:
    """Close a coroutine, since Python would also warn that it was never awaited."""
    if isinstance(awaitable, Coroutine):
        awaitable.close()
