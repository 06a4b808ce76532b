"""Providers: a proxy gets its object from one, and learns from it how the objects behave.

A provider has no object yet, or one object, or a function that makes objects, for all owners or for each. `Proxy.set`
chooses the class; from then on the proxy knows nothing of scopes itself. There is one way to the object:
``provider.cache.obj``. The provider loads an object that is not cached.

Each provider derives from `Provider` directly. A provider holds its parts: the types that it has seen, the objects of
its owners, and the source of new objects.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import Any, Generic, TypeVar

from ProxyPatternPool._config import ON_OBJECTS, Default
from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._scopes.cache import CacheMiss
from ProxyPatternPool._scopes.kept import Kept
from ProxyPatternPool._threads.pool import Pool
from ProxyPatternPool._transparency.transparent_type import UNSET, Shape

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def leads_to(obj: object, provider: Provider[Any]) -> bool:
    """Tell whether `obj` is a proxy of `provider`, or a proxy of an object that leads to `provider`."""
    source = getattr(type(obj), "_proxy_source", None)
    return isinstance(source, Provider) and (
        source is provider or (source.fixed and leads_to(source.cache.obj, provider))
    )


class Provider(Generic[T]):
    """Everything that a proxy asks about its objects. The methods that are not abstract suit objects without a pool."""

    obj = CacheMiss()  # a provider of one object for all owners is its own cache
    fixed = False  # whether the one object exists already, and will never be replaced
    pooled = False  # whether objects come from a pool
    obeyed: Collection[str] = ON_OBJECTS  # those of `ON_OBJECTS` that take effect here

    def __init__(self) -> None:
        self.cache: Any = self
        self.successor: Provider[T] | None = None  # the proxy's provider now, if it was set again

    @abstractmethod
    def shape(self) -> Shape:
        """Return the shape of the objects, as far as it is known."""

    @abstractmethod
    def class_of_all(self, unknown: type) -> Any:
        """Return the class of the objects, or `unknown` if no object has been seen.

        An object is taken only where the objects seen have different types.
        """

    @property
    def pool(self) -> Pool[T] | None:
        """The pool that the objects come from, or None."""
        return None

    def load(self) -> T:
        """Return the current owner's object, which is not cached."""
        return self.get()

    @abstractmethod
    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Return the current owner's object. Without one, take it from the pool, or make it."""

    async def fetch(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Return the same object as `get`. Waiting for it suspends the task, and does not block the thread."""
        return self.get(timeout)

    @abstractmethod
    def has(self) -> bool:
        """Tell whether the current owner has an object."""

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

    @abstractmethod
    def count(self) -> int:
        """Return the number of objects."""


class UnsetProvider(Provider[T]):
    """A provider without an object, as a proxy has it before it is set. `advice` says how to set the proxy."""

    def __init__(self, advice: str) -> None:
        super().__init__()
        self._advice = advice

    def shape(self) -> Shape:
        return UNSET

    def class_of_all(self, unknown: type) -> Any:
        return unknown

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        raise ProxyException(self._advice)

    def has(self) -> bool:
        return False

    def count(self) -> int:
        return 0
