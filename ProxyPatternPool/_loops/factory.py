"""Making: what a function returns, be it a context manager or an awaitable, as one context manager for a keeper."""

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
    """Calls the function when it is entered, so that its code runs where the object is kept, and in that context.

    An asynchronous context manager is entered, and exited. Anything else that can be awaited, is awaited: the result
    is the object, and nothing ends it. What is both, is entered. What is neither: `TypeError`.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._manager: Any = None  # what is to be exited
        self.obj: T  # once entered

    async def __aenter__(self) -> T:
        made: Any = self._call()
        del self._call  # what it was called with may be large, and is not needed as long as the object
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
        """Return what is neither, if it may be the object itself."""
        raise TypeError(f"fun must return an asynchronous context manager or an awaitable, not {described(made)}")


Hook = Callable[[T], object]


class PooledContext(FactoryContext[T]):
    """Makes the object, tells `on_made`, calls `opener`; at the end `close`, which replaces the exit.

    What `fun` returns is the object itself if it is neither an asynchronous context manager nor an awaitable; but not
    what only a forgotten call or a forgotten `async` can have left there: `TypeError`.
    """

    def __init__(
        self, call: Callable[[], object], *, on_made: Hook[T], opener: Hook[T] | None, close: Hook[T] | None
    ) -> None:
        super().__init__(call)
        self._on_made = on_made
        self._opener = opener
        self._given = close
        self._close: Hook[T] | None = None  # not before the object is known to be nobody else's

    async def __aenter__(self) -> T:
        await super().__aenter__()
        try:
            self._claim()
            opener, self._opener = self._opener, None  # it may refer to the pool, which this must not keep
            if opener is not None:
                awaited_result("opener", await outcome(opener(self.obj)))
        except BaseException as error:
            await self._undo(error)
            raise
        return self.obj

    def _claim(self) -> None:
        """Have the object known as this one's: from here on it is to be closed."""
        try:
            self._on_made(self.obj)
        except BaseException:
            if self._manager is self.obj:
                self._manager = None  # it is somebody else's: not to be exited while that one uses it
            raise
        self._close = self._given

    async def _undo(self, error: BaseException) -> None:
        """Close what is not fit for use. What that raises is noted on the error, which is what matters."""
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
        awaited_result("close", await outcome(self._close(self.obj)))
        return None

    def _as_it_is(self, made: T) -> T:
        return entered_object(made)


async def outcome(result: object) -> object:
    """Return what a hook has returned, or what that gives when it is awaited: hooks may be plain or `async`."""
    return await result if isawaitable(result) else result
