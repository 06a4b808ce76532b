"""What is made once per event loop, and stays until its end.

A client session, a connection pool, a lock: such things belong to the loop in which they were made, so a module cannot
make one when it is imported. Here they hang on the running loop: everybody in it finds the same one, another loop
has its own, and at the loop's end each is exited, last in, first out, while the loop is still open.

Everything is called in a running loop (``RuntimeError: no running event loop`` otherwise) and is for that loop alone;
loops in other threads have nothing in common, so that there is nothing to lock.
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
    """What hangs on one loop."""

    def __init__(self) -> None:
        self.storage: dict[Any, Any] = {}  # the user's
        self.results: dict[object, Any] = {}  # (function, arguments) -> what a singleton has returned
        self.keys: dict[int, list[object]] = {}  # id(result) -> where it is in `results`
        self.once: dict[int, _Kept[Any]] = {}  # id(manager) -> its keeper, which keeps that identity from being reused

    def remember(self, key: object, made: T) -> T:
        """Keep a result; the first one, if making it has made another."""
        kept: T = self.results.setdefault(key, made)
        self.keys.setdefault(id(kept), []).append(key)
        return kept

    def forget(self, manager: object) -> None:
        """Have another one made when it is wanted again: this one could not be entered, or has been exited."""
        for key in self.keys.pop(id(manager), ()):
            self.results.pop(key, None)


def _local() -> _Local:
    state = state_of(get_running_loop())
    if state.local is None:
        state.local = _Local()
    local: _Local = state.local
    return local


def storage() -> dict[Any, Any]:
    """Return a dictionary of the running loop, always the same, for whatever you like. It goes with the loop."""
    return _local().storage


def at_exit(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Callable[P, T]:
    """Have ``function(*args, **kwargs)`` called at the end of the running loop, and awaited if it is asynchronous.

    Last in, first out, together with what `enter` and the others have entered; in an empty context. All of them are
    called, whatever any of them raises: errors go to the loop's exception handler, in one `ExceptionGroup`; a bare
    ``loop.close()`` raises that. What is added while they are called, is called too. `TypeError` for what cannot be
    called, as a coroutine: it is the function that is wanted, and its arguments.
    """
    _check_function("at_exit", function)

    async def call() -> None:
        result: object = function(*args, **kwargs)
        if isawaitable(result):
            await result

    at_end(call)
    return function


def _check_function(who: str, function: object) -> None:
    if not callable(function):
        dispose_of(function)
        raise TypeError(f"{who} needs something to call, not an object of type {type(function).__name__}")


class _Kept(ContextTask[T]):
    """An object that is exited at the end of the loop, or when its manager wants that earlier."""

    def __init__(self, manager: AbstractAsyncContextManager[T, Any], local: _Local) -> None:
        super().__init__(manager, on_entered=self._stay, on_ended=self._go)
        self._local = local
        self._take_back = before_end(self._exit)

    def _stay(self) -> None:
        self._take_back()
        self._take_back = at_end(self._exit)  # after what it has itself entered: so it is exited before that

    def _go(self) -> None:
        self._take_back()
        self._local.forget(self._manager)
        if self._local.once.get(id(self._manager)) is self:
            del self._local.once[id(self._manager)]

    async def _exit(self) -> None:
        self.release()
        await self.ended()
        self.failure()  # of an entering cut short by the end: those who wanted the object have ended


def _keep(manager: AbstractAsyncContextManager[T, Any], local: _Local) -> _Kept[T]:
    _check(manager)
    return _Kept(manager, local)


def _check(manager: object) -> None:
    if not _can_be_entered(manager):
        kind = type(manager)
        hint = ": await it first" if hasattr(kind, "__await__") else ""
        raise TypeError(f"something of type {kind.__name__} is no asynchronous context manager{hint}")


def _can_be_entered(manager: object) -> bool:
    return hasattr(type(manager), "__aenter__") and hasattr(type(manager), "__aexit__")


async def enter(manager: AbstractAsyncContextManager[T, Any]) -> T:
    """Enter an asynchronous context manager, and have it exited at the end of the running loop.

    Both are done by a task of its own, in an empty context, which being cancelled here does not stop. Raises what
    `__aenter__` raises; `TypeError` for anything that is no asynchronous context manager; `RuntimeError` when the loop
    ends before the object is there.
    """
    return await _keep(manager, _local()).entered()


async def enter_once(manager: AbstractAsyncContextManager[T, Any]) -> T:
    """Do as `enter`, the first time; return what that gave, every other time. For everybody in the running loop.

    A task that comes while it is being entered waits for that. A failure is raised in all tasks that wait, in each as
    an exception object of its own. It is not remembered: the next call enters it again; and if a `singleton` has made
    it, that makes another one.
    """
    local = _local()
    kept: _Kept[T] | None = local.once.get(id(manager))
    if kept is None:
        kept = local.once[id(manager)] = _keep(manager, local)
    return await kept.entered()


class _Sticky(AbstractAsyncContextManager[T, None]):
    """Entered once per loop; left as often as you like, which does nothing."""

    __slots__ = ("_manager",)

    def __init__(self, manager: AbstractAsyncContextManager[T, Any]) -> None:
        self._manager = manager

    async def __aenter__(self) -> T:
        return await enter_once(self._manager)

    async def __aexit__(self, *_error: object) -> None:
        pass


def sticky_acm(manager: AbstractAsyncContextManager[T, Any]) -> AbstractAsyncContextManager[T, None]:
    """Wrap an asynchronous context manager: ``async with`` enters it as `enter_once` does, and does not exit it.

    The loop's end does. Raises `TypeError` for anything that is no asynchronous context manager.
    """
    _check(manager)
    return _Sticky(manager)


class _Shared(Generic[T]):
    """The result of a coroutine, for anybody to await, any number of times: it is run once, by a task of its own.

    That is started by the first one who waits, in an empty context. Being cancelled here does not stop it. A failure
    reaches all who wait, and is not remembered: the next one to wait has it run again.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], again: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._coroutines = [coroutine]  # to be run: none, when it has been
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
    """What ``singleton()`` returns: the decorator."""

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
    """Have a class, a function or a coroutine function called once per loop and arguments; return what that gave.

    Functions and arguments are told apart by equality: two modules that each write ``singleton(ClientSession)`` share
    its results. Arguments are compared by position or by name as they are given, and the names in any order. For an
    argument without a hash: `TypeError`. What raises is not remembered.

    A coroutine runs once, in a task of its own and in an empty context, and its result can be awaited by anybody, any
    number of times; one of them being cancelled harms nobody.
    """
    if function is None:
        return singleton
    _check_function("singleton", function)
    return _once(function, function)


def _once(function: Any, make: Callable[..., Any]) -> Callable[..., Any]:
    """Have `make` called once per loop and arguments, for all who wrap the same function."""

    @wraps(function, updated=())
    def once(*args: Any, **kwargs: Any) -> Any:
        local = _local()
        key: tuple[object, ...] = (whose, args)
        try:
            if kwargs:
                key = (whose, args, frozenset(kwargs.items()))
            return local.results[key]
        except KeyError:
            pass
        except TypeError as error:
            raise TypeError(f"{_name(function)}: the arguments of a singleton must be hashable: {error}") from error
        return local.remember(key, _made(partial(make, *args, **kwargs)))

    whose = function if isinstance(function, Hashable) else once
    return once


def _made(make: Callable[[], Any]) -> Any:
    made = make()
    return _Shared(made, make) if asyncio.iscoroutine(made) else made


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def sticky_singleton_acm(
    factory: Callable[P, AbstractAsyncContextManager[T, Any]], /
) -> Callable[P, AbstractAsyncContextManager[T, None]]:
    """Have an asynchronous context manager made and entered once per loop and arguments, and exited at the loop's end.

    ``async with`` gives everybody the same object, and leaves it as it is. `singleton` and `sticky_acm` in one: the
    object is that of a `singleton` of the same function. Raises `TypeError` for an ``async`` function, and when it is
    called, if `factory` returns no asynchronous context manager.
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
