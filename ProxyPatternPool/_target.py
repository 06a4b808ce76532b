"""What a proxy stands for: nothing yet, one object, or a function that makes one, for all or for each owner.

There is one way to the object: ``target.place.obj``. Where it is not at hand there, the target finds it. `Proxy.set`
chooses one of these classes; from then on the proxy knows nothing of scopes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Generic, Protocol, TypeVar

from ProxyPatternPool._config import ON_OBJECTS, Default, PoolConfig
from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._lazy_pool import LazyPool
from ProxyPatternPool._owner import this_owner
from ProxyPatternPool._place import Found
from ProxyPatternPool._pool import Pool
from ProxyPatternPool._process import keep, renew_after_fork
from ProxyPatternPool._transparent import UNKNOWN, UNSET, Shape, shape_of

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: Whoever finds one of these asks it for more, its code or its bases, which an owner that has none cannot tell.
TELLING_MORE = (type, FunctionType, MethodType, partial)


class Kept(Protocol[T_co]):
    """What an owner keeps: an object, and the way to give it back."""

    @property
    def held(self) -> T_co:
        """The object."""
        ...

    def is_out(self) -> bool:
        """Tell whether the object is still the owner's."""
        ...

    def check(self) -> None:
        """Raise `PoolException` when the object was taken away, and its owner may not know of it."""
        ...

    def show_in(self, hand: dict[str, Any]) -> None:
        """Put the object into a place, as ``obj``, for as long as it is the owner's."""
        ...

    def end(self) -> None:
        """Give the object back, if it is still the owner's."""
        ...


def leads_to(obj: object, target: Target[Any]) -> bool:
    """Tell whether an object is a proxy of `target`, or of another proxy that is."""
    source = getattr(type(obj), "_proxy_source", None)
    return isinstance(source, Target) and (source is target or (source.fixed and leads_to(source.place.obj, target)))


class Target(Generic[T]):
    """Nothing yet: what a proxy stands for before it is set, and what all the other targets are like."""

    obj = Found()
    fixed = False  # there is one object already, and there will never be another
    pooled = False  # objects come from a pool
    obeyed: Collection[str] = ON_OBJECTS  # those of them which hold here

    def __init__(self, advice: str = "") -> None:
        self._advice = advice
        self.place: Any = self
        self.successor: Target[T] | None = None  # what the proxy stands for now

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

    def end(self, successor: Target[T]) -> None:
        """Close what is not in use: the proxy stands for something else now."""
        self.successor = successor

    def in_use(self) -> bool:
        """Tell whether some owner has an object that is to be given back, or closed."""
        return False

    def count(self) -> int:
        """Return how many objects there are."""
        return 0


class SharedObject(Target[T]):
    """One object for everybody."""

    fixed = True

    def __init__(self, obj: T) -> None:
        super().__init__()
        self.obj: T = obj

    def shape(self) -> Shape:
        return shape_of(self.obj)

    def class_of_all(self, unknown: type) -> Any:
        return self.obj.__class__

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        return self.obj

    def has(self) -> bool:
        return True

    def count(self) -> int:
        return 1


class Function(Target[T]):
    """A function which makes objects. What they can do is known when the first one of its type is made.

    `reshape` is called whenever more is known than before.
    """

    def __init__(self, reshape: Callable[[Target[T]], None]) -> None:
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


class SharedFunction(Function[T]):
    """One object for everybody, made by whoever needs it first; the others wait for it meanwhile.

    They queue at a pool of one: so a greenlet that waits leaves its thread to the others, and when `fun` fails, the
    next one tries.
    """

    obeyed = ()

    def __init__(self, fun: Callable[[int], T], reshape: Callable[[Target[T]], None]) -> None:
        super().__init__(reshape)
        self._fun = fun
        self._maker: object = None  # who runs `fun`
        self._queue: LazyPool[tuple[T]] = LazyPool(PoolConfig(fun=self._make, max_size=1, min_size=0, timeout=None))

    def _make(self, number: int) -> tuple[T]:
        if self.has():
            return (self.obj,)  # somebody has been so quick that this is another queue
        self._maker = this_owner()
        try:
            return (self._fun(number),)  # wrapped: that may be a coroutine, too, which a pool refuses
        finally:
            self._maker = None

    def _renew(self) -> None:
        super()._renew()
        self.fixed = False
        self._reshape(self)

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        if not self.has():
            if self.successor is not None:
                return self.successor.get(timeout)
            if self._maker == this_owner():
                raise ProxyException("fun uses the proxy whose object it is to make")
            with self._queue.pool.obj(timeout) as (obj,):
                self._see(obj)
                self.obj: T = obj
            self._queue.drop()
            self.fixed = True
            self._reshape(self)
        return self.obj

    def drop(self) -> object:
        """Have nothing at hand any more, see `AtHand`: this target is its own place."""
        return vars(self).pop("obj", None)

    def has(self) -> bool:
        return "obj" in vars(self)

    def count(self) -> int:
        return int(self.has())
