"""Making: what a function returns, be it a context manager or an awaitable, as one context manager for a keeper."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from types import TracebackType
from typing import Any, Generic, TypeVar

from ProxyPatternPool._callables import described

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
