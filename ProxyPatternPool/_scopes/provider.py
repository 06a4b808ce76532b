"""Providers: a proxy gets its object from one, and learns from it how the objects behave.

A provider has no object yet, or one object, or a function that makes objects, for all owners or for each. `Proxy.set`
chooses the class; from then on the proxy knows nothing of scopes itself. There is one way to the object:
``provider.cache.obj``. The provider loads an object that is not cached.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Generic, TypeVar

from ProxyPatternPool._config import ON_OBJECTS, Default
from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._process import keep, renew_after_fork
from ProxyPatternPool._scopes.cache import CacheMiss
from ProxyPatternPool._scopes.kept import Kept
from ProxyPatternPool._threads.pool import Pool
from ProxyPatternPool._transparency.transparent_type import UNKNOWN, UNSET, Shape, shape_of

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: Tools ask an object of these types for its code or its bases. A proxy has no answer while its owner has no object.
INTROSPECTED = (type, FunctionType, MethodType, partial)


def leads_to(obj: object, provider: Provider[Any]) -> bool:
    """Tell whether `obj` is a proxy of `provider`, or a proxy of an object that leads to `provider`."""
    source = getattr(type(obj), "_proxy_source", None)
    return isinstance(source, Provider) and (
        source is provider or (source.fixed and leads_to(source.cache.obj, provider))
    )


class Provider(Generic[T]):
    """A provider without an object, as a proxy has it before it is set. All other providers derive from it."""

    obj = CacheMiss()
    fixed = False  # whether the one object exists already, and will never be replaced
    pooled = False  # whether objects come from a pool
    obeyed: Collection[str] = ON_OBJECTS  # those of `ON_OBJECTS` that take effect here

    def __init__(self, advice: str = "") -> None:
        self._advice = advice
        self.cache: Any = self
        self.successor: Provider[T] | None = None  # the proxy's provider now, if it was set again

    def shape(self) -> Shape:
        """Return the shape of the objects, as far as it is known."""
        return UNSET

    def class_of_all(self, unknown: type) -> Any:
        """Return the class of the objects, or `unknown` if no object has been seen.

        An object is taken only where the objects seen have different types.
        """
        return unknown

    @property
    def pool(self) -> Pool[T] | None:
        """The pool that the objects come from, or None."""
        return None

    def load(self) -> T:
        """Return the current owner's object, which is not cached."""
        return self.get()

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Return the current owner's object. Without one, take it from the pool, or make it."""
        raise ProxyException(self._advice)

    async def fetch(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Return the same object as `get`. Waiting for it suspends the task, and does not block the thread."""
        return self.get(timeout)

    def has(self) -> bool:
        """Tell whether the current owner has an object."""
        return False

    def lacks(self) -> str | None:
        """Return the reason why `repr` cannot get an object, None if it can."""
        return None

    def kept(self) -> Kept[T] | None:
        """Return what the storage has for the current owner, or None."""
        return None

    def ret(self) -> None:
        """Give the current owner's object back to where it came from. Does nothing without an object."""

    async def give_back(self, failed: bool) -> None:
        """Give back an object that `fetch` has returned, and await the return. Otherwise the same as `ret`.

        `failed` means that the block which used the object has raised an exception.
        """

    def end(self, successor: Provider[T]) -> None:
        """Close the objects that are not in use: `successor` has replaced this provider."""
        self.successor = successor

    def in_use(self) -> bool:
        """Tell whether an owner has an object that has yet to be given back or closed."""
        return False

    def count(self) -> int:
        """Return the number of objects."""
        return 0


class FunctionProvider(Provider[T]):
    """A provider whose function makes the objects. The first object of each type shows what that type can do.

    `reshape` is called after each such discovery.
    """

    def __init__(self, reshape: Callable[[Provider[T]], None]) -> None:
        super().__init__()
        self._reshape = reshape
        self._shape = UNKNOWN
        self._classes: dict[type, type] = {}  # the `__class__` of the objects seen, by their types
        self._introspected = False  # whether one of these types is `INTROSPECTED`
        renew_after_fork(self)

    def _renew(self) -> None:
        """Empty the cache in a forked child, and keep the object, which is the parent's."""
        keep(self.cache.drop())

    def shape(self) -> Shape:
        return self._shape

    def _see(self, obj: T) -> None:
        if leads_to(obj, self):
            raise ProxyException("a proxy cannot stand for itself: its fun has returned it")
        if type(obj) not in self._classes:
            self._introspected |= issubclass(type(obj), INTROSPECTED)
            shape = shape_of(obj)
            self._shape = shape.joined(self._shape) if self._classes else shape
            self._reshape(self)
            self._classes[type(obj)] = obj.__class__

    def class_of_all(self, unknown: type) -> Any:
        classes = list(self._classes.values())  # a copy: another thread may be making the first object
        if self._introspected and not self.has():
            return unknown
        return self.cache.obj.__class__ if len(classes) > 1 else next(iter(classes), unknown)
