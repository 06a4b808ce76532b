"""The objects that the table of `data_model` puts to the test, and what it does with them in more than one line."""

from __future__ import annotations

import asyncio
import collections.abc
import dataclasses
import enum
import functools
import inspect
import mmap
import types
import typing
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

# -- objects


class Thing:
    """The doc of a thing."""

    kind = "class attribute"
    typed: int = 1

    def __init__(self) -> None:
        self.value = 1
        self.log: list[str] = []

    def method(self, /, *args: object, **kwargs: object) -> object:
        """The doc of a method."""
        return args, kwargs

    @property
    def prop(self) -> int:
        return self.value + 1

    @prop.setter
    def prop(self, value: int) -> None:
        self.value = value - 1

    @staticmethod
    def static() -> str:
        return "static"

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__

    def __getattr__(self, name: str) -> str:
        if name.startswith("dynamic"):
            return name
        raise AttributeError(name)

    def __str__(self) -> str:
        return "text"

    def __repr__(self) -> str:
        return "representation"

    def __format__(self, spec: str) -> str:
        return f"formatted as {spec}"

    def __bytes__(self) -> bytes:
        return b"bytes"


class Slotted:
    """Has no dictionary."""

    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


class Plain:
    """Nothing but an object."""


class Call:
    """Is called."""

    def __call__(self, /, *args: object, **kwargs: object) -> object:
        return args, kwargs


class Sized:
    """Has a length, and no truth of its own."""

    def __len__(self) -> int:
        return 0


class Truthless:
    """Has no truth."""

    def __bool__(self) -> bool:
        raise ZeroDivisionError


class Legacy:
    """Can be iterated over only as it was done before there were iterators."""

    def __getitem__(self, index: int) -> int:
        if index > 3:
            raise IndexError
        return index * 2


class Hinted:
    """Guesses its length."""

    def __length_hint__(self) -> int:
        return 7

    def __iter__(self) -> Iterator[int]:
        return iter([1])


class Unfit:
    """Says that it has none of these, although it could."""

    __iter__ = None
    __contains__ = None
    __hash__ = None  # type: ignore[assignment]  # that is how it is said

    def __getitem__(self, index: int) -> int:
        raise IndexError


class Items:
    """Tells what it is asked for."""

    def __init__(self) -> None:
        self.log: list[object] = []

    def __getitem__(self, key: object) -> object:
        return key

    def __setitem__(self, key: object, value: object) -> None:
        self.log.append((key, value))

    def __delitem__(self, key: object) -> None:
        self.log.append(key)

    def __contains__(self, key: object) -> bool:
        return key == "inside"


class Shy:
    """Is equal to what it does not know, if that agrees."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return self.number == other.number if isinstance(other, Shy) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self.number < other.number if isinstance(other, Shy) else NotImplemented

    def __hash__(self) -> int:
        return self.number


class Agreeing:
    """Is equal to everything, from the right."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # equality without a hash


class Number:
    """Has every arithmetic operation; each tells what it was."""

    def __call__(self) -> str:
        return "number"


class InPlace(Number):
    """Has every arithmetic operation in place; each changes the object, and returns it."""

    def __init__(self) -> None:
        self.log: list[object] = []


def _tell(name: str) -> Callable[..., object]:
    return lambda self, *args: (name, *args)


def _notifier(name: str) -> Callable[..., object]:
    def change(self: InPlace, *args: object) -> object:
        self.log.append((name, *args))
        return self

    return change


BINARY = [
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "divmod",
    "pow",
    "lshift",
    "rshift",
    "and",
    "or",
    "xor",
]
for _name in BINARY:
    setattr(Number, f"__{_name}__", _tell(_name))
    setattr(Number, f"__r{_name}__", _tell(f"reflected {_name}"))
    setattr(InPlace, f"__i{_name}__", _notifier(_name))
for _name in ["neg", "pos", "abs", "invert", "trunc", "floor", "ceil", "round"]:
    setattr(Number, f"__{_name}__", _tell(_name))


class Manager:
    """A context manager, plain and asynchronous, which swallows a `ValueError`."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def __enter__(self) -> str:
        self.log.append("enter")
        return "entered"

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self.log.append(f"exit {kind and kind.__name__}")
        return kind is ValueError

    async def __aenter__(self) -> str:
        return self.__enter__()

    async def __aexit__(self, *error: Any) -> bool:
        return self.__exit__(*error)


class Later:
    """Can be awaited, and iterated over asynchronously."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "awaited"

    async def __aiter__(self) -> AsyncIterator[int]:
        for number in range(3):
            yield number


class Counting:
    """An asynchronous iterator."""

    def __init__(self) -> None:
        self.number = 0

    def __aiter__(self) -> Counting:
        return self

    async def __anext__(self) -> int:
        self.number += 1
        if self.number > 3:
            raise StopAsyncIteration
        return self.number


class Descriptor:
    """Is asked, set and deleted as an attribute of a class."""

    def __init__(self) -> None:
        self.log: list[object] = []

    def __set_name__(self, owner: type, name: str) -> None:
        self.log.append(name)

    def __get__(self, instance: object, owner: type | None = None) -> str:
        return "got from a class" if instance is None else "got"

    def __set__(self, instance: object, value: object) -> None:
        self.log.append(value)

    def __delete__(self, instance: object) -> None:
        self.log.append("deleted")


@dataclasses.dataclass(order=True)
class Point:
    """Has a place in patterns."""

    x: int
    y: int


class Colour(enum.Enum):
    """A class with items."""

    RED = 1
    BLUE = 2


class Copied:
    """Is copied in its own way."""

    def __init__(self, text: str = "original") -> None:
        self.text = text

    def __copy__(self) -> Copied:
        return Copied("copy")

    def __deepcopy__(self, memo: dict[int, object]) -> Copied:
        return Copied("deep copy")


def function(first: int, /, second: int = 2, *, third: int = 3) -> tuple[int, ...]:
    """The doc of a function."""
    return first, second, third


async def coroutine_function(value: int) -> int:
    return value


def mapped(content: bytes) -> mmap.mmap:
    """Return memory that is indexed by numbers, and iterated over as bytes."""
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return memory


@types.coroutine
def generator_coroutine(value: int) -> Generator[None, None, int]:
    """The doc of a generator that can be awaited."""
    yield
    return value


def generator_function() -> Generator[str, str, str]:
    got = yield "first"
    yield f"got {got}"
    return "returned"


@typing.runtime_checkable
class Structural(typing.Protocol):
    """A protocol that is checked by what there is."""

    def method(self) -> object: ...


class Virtual(collections.abc.Sized):
    """An abstract class for which `Plain` is registered."""


Virtual.register(Plain)

# -- what is done in more than one line


def entered(manager: Any) -> object:
    with manager as value:
        return value


def swallowed(manager: Any, error: type[BaseException]) -> str:
    with manager:
        raise error
    return "swallowed"


async def async_entered(manager: Any) -> object:
    async with manager as value:
        return value


async def async_swallowed(manager: Any) -> str:
    async with manager:
        raise ValueError
    return "swallowed"


async def awaited(awaitable: Any) -> object:
    return await awaitable


async def collected(items: Any) -> list[object]:
    return [item async for item in items]


async def next_of(items: Any, *default: object) -> object:
    return await anext(items, *default)


def run(work: Any) -> object:
    """Run a coroutine to its end: in a new loop, or in the one that runs already, as nothing here really waits."""
    if asyncio._get_running_loop() is None:
        return asyncio.run(work)
    try:
        while True:
            work.send(None)
    except StopIteration as end:
        return end.value


def raised(what: Any) -> str:
    try:
        raise what
    except ValueError as error:
        return str(error)


def caught(kinds: Any) -> str:
    try:
        raise KeyError
    except kinds:
        return "caught"


def delegated(iterable: Any) -> list[object]:
    def delegate() -> Iterator[object]:
        yield from iterable

    return list(delegate())


def unpacked(iterable: Any) -> object:
    first, *others = iterable
    return first, others


def attribute(descriptor: Any) -> Any:
    return type("Owner", (), {"name": descriptor})


def subclass(base: Any) -> Any:
    class Sub(base):  # type: ignore[misc]  # what it is will be seen
        pass

    return Sub


def without(mapping: Any, key: object) -> object:
    del mapping[key]
    return mapping


def matched(subject: Any) -> object:
    match subject:
        case Point(1, y=y):
            return "point", y
        case int(number):
            return "int", number + 1
        case str() as text:
            return "str", text.upper()
        case {"key": value, **rest}:
            return "mapping", value, rest
        case [first, *others]:
            return "sequence", first, others
        case Colour.RED:
            return "red"
        case _:
            return "nothing"


def finalized(obj: Any) -> tuple[bool, list[str]]:
    log: list[str] = []
    finalizer = weakref.finalize(obj, log.append, "gone")
    alive = finalizer.alive
    finalizer()
    return alive, log


def wrapped(call: Any) -> tuple[object, ...]:
    @functools.wraps(call)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    return wrapper.__name__, wrapper.__doc__, str(inspect.signature(wrapper)), wrapper(5)


def formatted(text: str, *args: object, **kwargs: object) -> str:
    return text.format(*args, **kwargs)
