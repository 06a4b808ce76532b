"""Opening: the life of a pool's object, as one context manager for a keeper: made, opened, held, closed."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from types import TracebackType
from typing import Any, TypeVar

from ProxyPatternPool._errors import note_once
from ProxyPatternPool._keeper import is_only
from ProxyPatternPool._making import Making
from ProxyPatternPool._slips import awaited_result, entered_object

T = TypeVar("T")

Hook = Callable[[T], object]


class Opening(Making[T]):
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
