"""The parameters of a keyed pool, and their checks. A pickled pool consists of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from ProxyPatternPool._callables import PLAIN, check_fun, check_hook, check_plain
from ProxyPatternPool._core.limits import check_count, checked_seconds, checked_timeout
from ProxyPatternPool._errors import note_once

_numbers = count(1)  # of pools without a name

#: Separates positional from keyword arguments in a key; no other object equals it.
KEYWORDS: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedConfig:
    """A keyed pool's checked parameters. Raises TypeError or ValueError, naming the parameter and the value."""

    fun: Callable[..., object]  # makes the instance of its arguments
    key: Callable[..., Hashable] | None  # returns the key of arguments; None: they are the key
    ttl: float | None  # seconds after which an unused instance is closed; None: never
    max_size: int | None  # of instances, those being entered or closed included; 0 or None: no limit
    timeout: float | None  # seconds that a caller waits for an instance; None: without a limit
    name: str | None  # in logs, errors and statistics

    def __post_init__(self) -> None:
        for parameter in ("fun", "key"):
            value = getattr(self, parameter)
            if not callable(value) and (parameter, value) != ("key", None):
                optional = " or None" if parameter == "key" else ""
                raise TypeError(f"{parameter} must be a callable{optional}, not {value!r}")
        check_fun(self.fun)
        check_hook("key", self.key)  # generators and coroutines are hashable, but each call returns another
        check_plain("key", self.key, PLAIN)
        object.__setattr__(self, "max_size", self.max_size if self.max_size is not None else 0)
        check_count("max_size", self.max_size)
        object.__setattr__(self, "ttl", None if self.ttl is None else checked_seconds("ttl", self.ttl))
        object.__setattr__(self, "timeout", checked_timeout(self.timeout))
        if not (self.name is None or isinstance(self.name, str)):
            raise TypeError(f"name must be a str, not {self.name!r}")
        object.__setattr__(self, "name", self.name or f"keyed-pool-{next(_numbers)}")

    def key_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
        """Return the key of these arguments."""
        if self.key is not None:
            return self.key(*args, **kwargs)
        return (*args, KEYWORDS, frozenset(kwargs.items())) if kwargs else args

    def explain(self, error: TypeError, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Explain the TypeError of a key. Without `key`, raise a TypeError with the type of the unhashable argument."""
        if self.key is not None:
            note_once(error, f"{self.name}: raised by key, or by the key that it has returned")
            return
        for argument in (*args, *kwargs.values()):
            try:
                hash(argument)
            except TypeError:
                kind = type(argument).__name__
                raise TypeError(
                    f"{self.name}: an argument of type {kind} cannot tell instances apart, since it is unhashable: "
                    "give the pool a function key(*args, **kwargs) that returns a hashable key"
                ) from error
