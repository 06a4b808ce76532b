"""Objects that are made once per event loop, and live until its end.

A client session, a connection pool or a lock belongs to the loop in which it was made. So a module cannot make one when
it is imported. This module keeps such objects with the running loop. All tasks of a loop get the same object, and
another loop has an object of its own. At the loop's end the objects are exited, last in, first out, while the loop is
still open.

A call outside a running loop raises ``RuntimeError: no running event loop``. Decorators may be applied anywhere: the
decorated function needs the loop. Loops in different threads share nothing, so there is nothing to lock.
"""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from functools import partial, wraps
from inspect import isawaitable
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from ProxyPatternPool._callables import check_manager_function, dispose_of
from ProxyPatternPool._loops.context_task import ContextTask
from ProxyPatternPool._loops.outcome import Outcome
from ProxyPatternPool._loops.shutdown import at_end, before_end
from ProxyPatternPool._loops.state import state_of

__all__ = ["at_exit", "enter", "enter_once", "singleton", "sticky_acm", "sticky_singleton_acm", "storage"]

P = ParamSpec("P")
T = TypeVar("T")


class _Local:
    """A loop's own data."""

    def __init__(self) -> None:
        self.storage: dict[Any, Any] = {}  # the program's
        self.results: dict[object, Any] = {}  # (function, arguments) -> the singleton's result
        self.keys: dict[int, list[object]] = {}  # id(result) -> its keys in `results`
        self.once: dict[int, _LoopContext[Any]] = {}  # id(manager) -> its context task, which keeps the id in use

    def remember(self, key: object, made: T) -> T:
        """Store a result, and return it. If making it has stored another under the same key, return that."""
        result: T = self.results.setdefault(key, made)
        self.keys.setdefault(id(result), []).append(key)
        return result

    def forget(self, manager: object) -> None:
        """Remove a manager from the results, since it could not be entered, or has been exited."""
        for key in self.keys.pop(id(manager), ()):
            self.results.pop(key, None)


def _local() -> _Local:
    state = state_of(get_running_loop())
    if state.local is None:
        state.local = _Local()
    local: _Local = state.local
    return local


def storage() -> dict[Any, Any]:
    """Return the running loop's dictionary, always the same, for any use. It lives as long as the loop."""
    return _local().storage


def at_exit(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Callable[P, T]:
    """Register a function to be called with these arguments at the end of the running loop. Return the function.

    An awaitable result is awaited. Registered functions run last in, first out, in an empty context. The order includes
    the exits of objects that `enter` and its variants have entered. A function that is registered meanwhile, runs too.

    All of them run, even if some raise. Their errors go to the loop's exception handler in one `ExceptionGroup`; a bare
    ``loop.close()`` raises that group.

    `TypeError` if `function` cannot be called: pass the function and its arguments, not a coroutine.
    """
    _check_function("at_exit", function)

    async def call() -> None:
        result: object = function(*args, **kwargs)
        if isawaitable(result):
            await result

    at_end(call)
    return function


def _check_function(caller: str, function: object) -> None:
    if not callable(function):
        dispose_of(function)
        raise TypeError(f"{caller} needs a callable, not an object of type {type(function).__name__}")


class _LoopContext(ContextTask[T]):
    """A context task that exits its object at the end of the loop, unless the manager ends it earlier."""

    def __init__(self, manager: AbstractAsyncContextManager[T, Any], local: _Local) -> None:
        super().__init__(manager, on_entered=self._stay, on_ended=self._go)
        self._local = local
        self._unregister = before_end(self._exit)

    def _stay(self) -> None:
        self._unregister()
        self._unregister = at_end(self._exit)  # registered after the objects it has entered itself, so exited before

    def _go(self) -> None:
        self._unregister()
        self._local.forget(self._manager)
        if self._local.once.get(id(self._manager)) is self:
            del self._local.once[id(self._manager)]

    async def _exit(self) -> None:
        self.release()
        await self.ended()
        self.failure()  # of an entering that the end cut short: the tasks that waited for it have ended


def _begin(manager: AbstractAsyncContextManager[T, Any], local: _Local) -> _LoopContext[T]:
    _check(manager)
    return _LoopContext(manager, local)


def _check(manager: object) -> None:
    if not _can_be_entered(manager):
        kind = type(manager)
        hint = ": await it first" if hasattr(kind, "__await__") else ""
        raise TypeError(f"an object of type {kind.__name__} is not an asynchronous context manager{hint}")


def _can_be_entered(manager: object) -> bool:
    return hasattr(type(manager), "__aenter__") and hasattr(type(manager), "__aexit__")


async def enter(manager: AbstractAsyncContextManager[T, Any]) -> T:
    """Enter an asynchronous context manager, and exit it at the end of the running loop. Return the entered object.

    A task of its own enters and exits the manager, in an empty context. Cancelling the caller does not stop that task.
    Waits without a limit.

    Raises the error of ``__aenter__``. `TypeError` if `manager` is not an asynchronous context manager. `RuntimeError`
    if the loop ends before the manager is entered.
    """
    return await _begin(manager, _local()).entered()


async def enter_once(manager: AbstractAsyncContextManager[T, Any]) -> T:
    """Enter an asynchronous context manager as `enter` does, but once per loop. Return the same object every time.

    A task that calls this while the manager is being entered waits for that. An error is raised in all tasks that wait,
    in each as an exception object of its own.

    An error is not remembered: the next call enters the manager again. If a `singleton` has made the manager, the
    `singleton` makes another one.
    """
    local = _local()
    context: _LoopContext[T] | None = local.once.get(id(manager))
    if context is None:
        context = local.once[id(manager)] = _begin(manager, local)
    return await context.entered()


class _Sticky(AbstractAsyncContextManager[T, None]):
    """A context manager that enters another one once per loop. Its exit does nothing."""

    __slots__ = ("_manager",)

    def __init__(self, manager: AbstractAsyncContextManager[T, Any]) -> None:
        self._manager = manager

    async def __aenter__(self) -> T:
        return await enter_once(self._manager)

    async def __aexit__(self, *_error: object) -> None:
        pass


def sticky_acm(manager: AbstractAsyncContextManager[T, Any]) -> AbstractAsyncContextManager[T, None]:
    """Wrap an asynchronous context manager: ``async with`` enters it as `enter_once` does, and does not exit it.

    It is exited at the loop's end. `TypeError` if `manager` is not an asynchronous context manager.
    """
    _check(manager)
    return _Sticky(manager)


class _Shared(Generic[T]):
    """A result of a coroutine, which any number of tasks can await, any number of times.

    The coroutine runs once, in a task of its own and in an empty context. The first ``await`` starts it. Cancelling a
    waiting task does not stop it. An error is raised in all waiting tasks, and is not remembered: the next ``await``
    runs the coroutine again.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], again: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._coroutines = [coroutine]  # empty, once it runs
        self._again = again
        self._outcome: Outcome[T] | None = None

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()

    async def _wait(self) -> T:
        outcome = self._outcome
        if outcome is None or _failed(outcome.future):
            outcome = self._outcome = self._start()
        await outcome.come()
        if outcome.future.cancelled():
            raise RuntimeError("the run of a singleton's coroutine was cancelled")
        return outcome.result()

    def _start(self) -> Outcome[T]:
        coroutine = self._coroutines.pop() if self._coroutines else self._again()
        return Outcome(get_running_loop().create_task(coroutine, context=Context()))


def _failed(future: asyncio.Future[Any]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


class _Singleton(Protocol):
    """A decorator, as ``singleton()`` returns it."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, Awaitable[T]]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def singleton() -> _Singleton: ...
@overload
def singleton(function: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, Awaitable[T]]: ...
@overload
def singleton(function: Callable[P, T], /) -> Callable[P, T]: ...
def singleton(function: Callable[..., Any] | None = None, /) -> Any:
    """Wrap a class, function or coroutine function. It is called once per loop and arguments, and its result is reused.

    Functions and arguments are compared by equality: two modules that both write ``singleton(ClientSession)`` share the
    results. An argument given by position differs from the same argument given by name. The order of names does not
    matter. An unhashable argument raises `TypeError`. An exception of the function is not remembered.

    A coroutine runs once, in a task of its own and in an empty context. Any number of tasks can await its result, any
    number of times. Cancelling one of them does not affect the others.
    """
    if function is None:
        return singleton
    _check_function("singleton", function)
    return _once(function, function)


def _once(function: Any, make: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `make`: it is called once per loop and arguments. All wrappers of the same `function` share the results."""

    @wraps(function, updated=())
    def once(*args: Any, **kwargs: Any) -> Any:
        local = _local()
        key: tuple[object, ...] = (identity, args)
        try:
            if kwargs:
                key = (identity, args, frozenset(kwargs.items()))
            return local.results[key]
        except KeyError:
            pass
        except TypeError as error:
            raise TypeError(f"{_name(function)}: the arguments of a singleton must be hashable: {error}") from error
        return local.remember(key, _made(partial(make, *args, **kwargs)))

    identity = function if isinstance(function, Hashable) else once
    return once


def _made(make: Callable[[], Any]) -> Any:
    made = make()
    return _Shared(made, make) if asyncio.iscoroutine(made) else made


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def sticky_singleton_acm(
    factory: Callable[P, AbstractAsyncContextManager[T, Any]], /
) -> Callable[P, AbstractAsyncContextManager[T, None]]:
    """Wrap a function that makes an asynchronous context manager: once per loop and arguments, it is made and entered.

    ``async with`` gives all tasks the same object, and does not exit it. It is exited at the loop's end. This is
    `singleton` and `sticky_acm` in one: the manager is that of a `singleton` of the same function.

    `TypeError` for an ``async`` function. A call raises `TypeError` if `factory` does not return an asynchronous
    context manager.
    """
    _check_function("sticky_singleton_acm", factory)
    check_manager_function("sticky_singleton_acm", factory)

    def made(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T, Any]:
        manager = factory(*args, **kwargs)
        if not _can_be_entered(manager):
            dispose_of(manager)
            raise TypeError(f"{_name(factory)} must return an asynchronous context manager: is a decorator missing?")
        return manager

    make = _once(factory, made)

    @wraps(factory, updated=())
    def sticky(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T, None]:
        return _Sticky(make(*args, **kwargs))

    return sticky
