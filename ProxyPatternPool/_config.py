"""The parameters of a pool, written once: names, types, defaults, checks.

`PoolConfig` is what a pool obeys; `PoolParameters` is the same list as keyword arguments, for type checkers. A
test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import Enum
from itertools import count
from math import inf, isfinite
from numbers import Real
from time import monotonic
from typing import Any, Generic, TypedDict, TypeVar

T = TypeVar("T")

_numbers = count(1)  # of pools without a name


class Default(Enum):
    """The default of `timeout` in `get` and `obj`: the one which the pool was made with."""

    TIMEOUT = "the pool's own timeout"


class PoolParameters(TypedDict, Generic[T], total=False):
    """The keyword-only parameters of every pool; `PoolConfig` says what they mean."""

    min_size: int
    timeout: float | None
    max_use: int
    max_delay: float
    close: Callable[[T], object] | str | None
    name: str | None
    clock: Callable[[], float]


class ProxyParameters(PoolParameters[T], total=False):
    """The parameters of the pool of a proxy, all keyword-only; a `max_size` of None means no pool."""

    max_size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig(Generic[T]):
    """The checked parameters of a pool. Seconds are floats on the monotonic clock; a ``max_`` of 0 is no limit.

    Raises TypeError or ValueError naming the parameter and the value.
    """

    fun: Callable[[int], T]  # makes object number n: 0, 1, 2...
    max_size: int = 0  # objects at most, those being made or closed included
    min_size: int = 1  # objects kept, idle or not
    timeout: float | None = 30.0  # seconds that `get` waits; 0 tries once, None waits for ever
    max_use: int = 0  # leases after which an object is closed
    max_delay: float = 0.0  # seconds unused after which an idle object is closed, above min_size
    close: Callable[[T], object] | str | None = None  # ends an object: a function, or the name of its method
    name: str | None = None  # in logs, errors and statistics
    clock: Callable[[], float] = monotonic  # for tests that need another time

    def __post_init__(self) -> None:
        if not callable(self.fun):
            raise TypeError(f"fun must be callable, not {self.fun!r}")
        for parameter in ("max_size", "min_size", "max_use"):
            _check_count(parameter, getattr(self, parameter))
        if 0 < self.max_size < self.min_size:
            raise ValueError(f"min_size must not be above max_size ({self.max_size}), but is {self.min_size}")
        object.__setattr__(self, "timeout", checked_timeout(self.timeout))
        object.__setattr__(self, "max_delay", checked_seconds("max_delay", self.max_delay))
        if self.close == "" or not (self.close is None or callable(self.close) or isinstance(self.close, str)):
            raise TypeError(f"close must be a callable, the name of a method, or None, not {self.close!r}")
        if not (self.name is None or isinstance(self.name, str)):
            raise TypeError(f"name must be a text, not {self.name!r}")
        object.__setattr__(self, "name", self.name or f"pool-{next(_numbers)}")

    def closer(self) -> Callable[[T], object]:
        """Return the function that ends an object; it does nothing when no `close` was given."""
        if not isinstance(self.close, str):
            return self.close or _nothing
        method = self.close

        def call_method(obj: T) -> object:
            return getattr(obj, method, _nothing)()

        return call_method


def configure(who: str, parameters: dict[str, Any]) -> PoolConfig[Any]:
    """Check the parameters given to a `who` ("Pool", "Proxy"); TypeError for one that does not exist."""
    known = {field.name for field in fields(PoolConfig)}
    for name, value in parameters.items():
        if name not in known:
            hint = "".join(f": did you mean {close}?" for close in get_close_matches(name, known, 1))
            raise TypeError(f"{who} has no parameter {name} (given as {value!r}){hint}")
    if parameters.get("max_size", 0) is None:
        parameters["max_size"] = 0
    return PoolConfig(**parameters)


def checked_timeout(value: object) -> float | None:
    """Return a number of seconds as a float, None as it is; refuse anything else."""
    return None if value is None else checked_seconds("timeout", value)


def checked_seconds(parameter: str, value: object) -> float:
    """Return a number of seconds as a float; refuse what is not finite, negative, or no number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{parameter} must be a number of seconds, not {value!r}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = inf
    if not isfinite(seconds) or seconds < 0:
        raise ValueError(f"{parameter} must be a finite number of seconds from 0, not {value!r}")
    return seconds


def _check_count(parameter: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{parameter} must be a whole number, not {value!r}")
    if value < 0:
        raise ValueError(f"{parameter} must not be negative, but is {value!r}")


def _nothing(*_: object) -> None:
    """Stand in for the function that was not given, or the method that an object does not have."""
