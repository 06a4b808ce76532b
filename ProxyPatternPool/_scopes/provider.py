"""What a proxy stands for: nothing yet, one object, or a function that makes one, for all or for each owner.

There is one way to the object: ``provider.place.obj``. Where it is not cached, the provider finds it. `Proxy.set`
chooses one of these classes; from then on the proxy knows nothing of scopes itself.
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

#: Whoever finds one of these asks it for more, its code or its bases, which an owner that has none cannot tell.
TELLING_MORE = (type, FunctionType, MethodType, partial)


def leads_to(obj: object, provider: Provider[Any]) -> bool:
    """Tell whether an object is a proxy of `provider`, or of another proxy that is."""
    source = getattr(type(obj), "_proxy_source", None)
    return isinstance(source, Provider) and (
        source is provider or (source.fixed and leads_to(source.place.obj, provider))
    )


class Provider(Generic[T]):
    """Nothing yet: what a proxy stands for before it is set, and what all the other targets are like."""

    obj = CacheMiss()
    fixed = False  # there is one object already, and there will never be another
    pooled = False  # objects come from a pool
    obeyed: Collection[str] = ON_OBJECTS  # those of them which hold here

    def __init__(self, advice: str = "") -> None:
        self._advice = advice
        self.place: Any = self
        self.successor: Provider[T] | None = None  # what the proxy stands for now

    def shape(self) -> Shape:
        """Return what the objects are like, as far as they are known."""
        return UNSET

    def class_of_all(self, unknown: type) -> Any:
        """Return the class of the objects; `unknown` when there has not been any. Takes none, if they have but one."""
        return unknown

    @property
    def pool(self) -> Pool[T] | None:
        """The pool that the objects come from, if any."""
        return None

    def find(self) -> T:
        """Find what is not at hand."""
        return self.get()

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Return the current owner's object, made or taken from the pool if it has none."""
        raise ProxyException(self._advice)

    async def fetch(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Do as `get`, and wait for it as an asyncio task does, if it takes time."""
        return self.get(timeout)

    def has(self) -> bool:
        """Tell whether the current owner has an object."""
        return False

    def lacks(self) -> str | None:
        """Tell what is missing, where just looking at the proxy cannot get an object."""
        return None

    def kept(self) -> Kept[T] | None:
        """Return what is kept for the current owner, if anything is."""
        return None

    def ret(self) -> None:
        """Give the current owner's object back to where it came from. Does nothing when there is nothing to do."""

    async def give_back(self, failed: bool) -> None:
        """Give back what has been had by `fetch`, and wait for that as an asyncio task does. Otherwise as `ret`.

        `failed`: what it was used for has come to no good end.
        """

    def end(self, successor: Provider[T]) -> None:
        """Close what is not in use: the proxy stands for something else now."""
        self.successor = successor

    def in_use(self) -> bool:
        """Tell whether some owner has an object that is to be given back, or closed."""
        return False

    def count(self) -> int:
        """Return how many objects there are."""
        return 0


class FunctionProvider(Provider[T]):
    """A function which makes objects. What they can do is known when the first one of its type is made.

    `reshape` is called whenever more is known than before.
    """

    def __init__(self, reshape: Callable[[Provider[T]], None]) -> None:
        super().__init__()
        self._reshape = reshape
        self._shape = UNKNOWN
        self._classes: dict[type, type] = {}  # of the objects seen, by their types
        self._tells_more = False  # some of them are asked for more than their class
        renew_after_fork(self)

    def _renew(self) -> None:
        """In a forked child, have nothing at hand; what there was is the parent's."""
        keep(self.place.drop())

    def shape(self) -> Shape:
        return self._shape

    def _see(self, obj: T) -> None:
        if leads_to(obj, self):
            raise ProxyException("a proxy cannot stand for itself: its fun has returned it")
        if type(obj) not in self._classes:
            self._tells_more |= issubclass(type(obj), TELLING_MORE)
            shape = shape_of(obj)
            self._shape = shape.joined(self._shape) if self._classes else shape
            self._reshape(self)
            self._classes[type(obj)] = obj.__class__

    def class_of_all(self, unknown: type) -> Any:
        classes = list(self._classes.values())  # at once: another thread may be making the first object
        if self._tells_more and not self.has():
            return unknown
        return self.place.obj.__class__ if len(classes) > 1 else next(iter(classes), unknown)
