"""FactoryContext: the call of a function, and its result, as one context manager for a context task."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from types import TracebackType
from typing import Any, Generic, TypeVar

from ProxyPatternPool._callables import awaited_result, described, entered_object
from ProxyPatternPool._errors import note_once
from ProxyPatternPool._loops.context_task import is_only

T = TypeVar("T")


class FactoryContext(Generic[T]):
    """A context manager that calls a function when it is entered.

    So the function runs in the task of the object, and in that task's context variables.

    If the function returns an asynchronous context manager, that is entered, and exited at the end. Another awaitable
    is awaited: its result is the object, and nothing ends it. A result that is both is entered. `TypeError` for a
    result that is neither.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._manager: Any = None  # to be exited
        self.obj: T  # once entered

    async def __aenter__(self) -> T:
        made: Any = self._call()
        del self._call  # its arguments may be large, and the object may live for long
        if hasattr(type(made), "__aenter__") and hasattr(type(made), "__aexit__"):
            self.obj = await type(made).__aenter__(made)
            self._manager = made
        elif isawaitable(made):
            self.obj = await made
        else:
            self.obj = self._as_it_is(made)
        return self.obj

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        if self._manager is None:
            return None
        return await type(self._manager).__aexit__(self._manager, kind, error, trace)

    def _as_it_is(self, made: Any) -> T:
        """Return a result that is neither, if it may be the object itself. Otherwise raise `TypeError`."""
        raise TypeError(f"fun must return an asynchronous context manager or an awaitable, not {described(made)}")


Hook = Callable[[T], object]


class PooledContext(FactoryContext[T]):
    """A context manager that makes the object, then calls `on_made` and `opener`. Its exit is `close`, if there is one.

    A result that is neither an asynchronous context manager nor an awaitable is the object itself. `TypeError` for a
    result that only a forgotten call or a forgotten `async` explains.
    """

    def __init__(
        self, call: Callable[[], object], *, on_made: Hook[T], opener: Hook[T] | None, close: Hook[T] | None
    ) -> None:
        super().__init__(call)
        self._on_made = on_made
        self._opener = opener
        self._given = close
        self._close: Hook[T] | None = None  # `close`, once the object is known to be in no other slot

    async def __aenter__(self) -> T:
        await super().__aenter__()
        try:
            self._claim()
            opener, self._opener = self._opener, None  # it may refer to the pool, which must not be kept
            if opener is not None:
                awaited_result("opener", await awaited(opener(self.obj)))
        except BaseException as error:
            await self._undo(error)
            raise
        return self.obj

    def _claim(self) -> None:
        """Register the object with the pool. From here on it has to be closed."""
        try:
            self._on_made(self.obj)
        except BaseException:
            if self._manager is self.obj:
                self._manager = None  # the object of another slot, which must not be exited while it is in use
            raise
        self._close = self._given

    async def _undo(self, error: BaseException) -> None:
        """Close an object that is not fit for use. If that fails, too, add a note to `error`, which matters more."""
        try:
            await self.__aexit__(type(error), error, error.__traceback__)
        except Exception as another:
            if not is_only(another, error):
                note_once(error, f"closing the object failed, too: {another!r}")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        if self._close is None:
            return await super().__aexit__(kind, error, trace)
        awaited_result("close", await awaited(self._close(self.obj)))
        return None

    def _as_it_is(self, made: T) -> T:
        return entered_object(made)


async def awaited(result: object) -> object:
    """Return a hook's result, and await it if it is an awaitable: hooks may be plain or ``async`` functions."""
    return await result if isawaitable(result) else result
