"""The parameters of a pool, written once: names, types, defaults, checks.

A pool obeys a `PoolConfig`. The core knows only the `Limits` in it. `PoolParameters` is the same list as keyword
arguments, for type checkers. A test keeps the two equal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import Enum
from inspect import signature
from itertools import count
from time import monotonic
from typing import Any, Generic, TypedDict, TypeVar

from ProxyPatternPool._callables import ADVICE, PLAIN, check_fun, check_hook, check_plain
from ProxyPatternPool._core.limits import Limits, check_count, checked_timeout
from ProxyPatternPool._errors import PUBLIC, note_once

T = TypeVar("T")

log = logging.getLogger("ProxyPatternPool")

_numbers = count(1)  # of pools without a name


class Default(Enum):
    """A default for `timeout` in `get` and `obj`: the `timeout` that the pool was made with."""

    TIMEOUT = "the pool's own timeout"


Default.__module__ = PUBLIC


#: Names of parameters in earlier releases, which are still accepted.
EARLIER_NAMES = {"max_avail_delay": "max_delay", "closer": "close"}

#: Names of parameters in other libraries. They are not accepted, but the error message suggests ours.
OTHER_NAMES = {
    name: ours
    for ours, theirs in {
        "fun": "create creator factory connect",
        "max_size": "size pool_size maxsize max maximum limit max_connections max_overflow",
        "min_size": "minsize min minimum min_idle",
        "timeout": "pool_timeout wait_timeout max_wait acquire_timeout",
        "max_use": "max_usage max_queries max_requests",
        "max_delay": "max_idle idle_timeout max_inactive_connection_lifetime",
        "max_lifetime": "max_age recycle pool_recycle",
        "health": "check pre_ping pool_pre_ping ping validate",
        "opener": "configure init setup",
        "retter": "reset",
        "close": "dispose destroy",
    }.items()
    for name in theirs.split()
}

#: Parameters that are called with an object, and may act on it.
HOOKS = ("health", "opener", "getter", "retter", "close")

#: Parameters that have an effect on objects. A program that gives one relies on that effect.
ON_OBJECTS = (*HOOKS, "max_use", "max_delay", "max_lifetime", "max_using_delay", "max_using_delay_kill")


#: Parameters that accept None, which stands for the default.
NONE_IS_DEFAULT = (
    *("max_size", "max_use", "max_delay", "max_lifetime", "max_using_delay", "max_using_delay_kill", "max_waiting"),
    *("delay", "health_freq"),
)


class PoolParameters(TypedDict, Generic[T], total=False):
    """A dictionary of the keyword-only parameters of every pool. `PoolConfig` says what they mean."""

    min_size: int
    max_use: int | None
    max_delay: float | None
    max_lifetime: float | None
    max_using_delay: float | None
    max_using_delay_kill: float | None
    max_waiting: int | None
    health_delay: float
    health_freq: int | None
    delay: float | None
    timeout: float | None
    close: Callable[[T], object] | str | None
    health: Callable[[T], object] | None
    opener: Callable[[T], object] | None
    getter: Callable[[T], object] | None
    retter: Callable[[T], object] | None
    tracer: Callable[[T], str] | None
    stats: Callable[[T], object] | None
    name: str | None
    log_level: int | None
    clock: Callable[[], float]
    max_avail_delay: float | None
    closer: Callable[[T], object] | str | None


class ProxyParameters(PoolParameters[T], total=False):
    """A dictionary of the parameters of a proxy's pool, all keyword-only. A `max_size` of None means no pool."""

    max_size: int | None
    auto_return: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig(Limits, Generic[T]):
    """A pool's checked parameters: its limits, and the parameters that only the driver needs.

    Raises TypeError or ValueError, naming the parameter and the value.
    """

    fun: Callable[[int], T]  # makes object number n: 0, 1, 2...
    timeout: float | None = 30.0  # seconds that `get` waits; 0 tries once, None waits without a limit
    close: Callable[[T], object] | str | None = None  # ends an object: a function, or the name of its method
    health: Callable[[T], object] | None = None  # tells whether an object works; false or an error closes it
    opener: Callable[[T], object] | None = None  # called with each new object; an error closes it, and is raised
    getter: Callable[[T], object] | None = None  # called with an object before each lease; an error does the same
    retter: Callable[[T], object] | None = None  # called with each object given back; an error closes it, and is logged
    tracer: Callable[[T], str] | None = None  # describes an object in logs, errors and `leases`, with type and number
    stats: Callable[[T], object] | None = None  # adds JSON-compatible data of an object to the statistics
    name: str | None = None  # in logs, errors and statistics
    log_level: int | None = None  # of this pool's messages; its logger is then `ProxyPatternPool.<name>`
    auto_return: bool = False  # of a proxy's pool: an owner's object goes back when the owner ends
    clock: Callable[[], float] = monotonic  # for tests that need another time

    def __post_init__(self) -> None:
        Limits.__post_init__(self)
        if not callable(self.fun):
            raise TypeError(f"fun must be a callable, not {self.fun!r}")
        check_fun(self.fun)
        object.__setattr__(self, "timeout", checked_timeout(self.timeout))
        for hook in ("health", "opener", "getter", "retter", "tracer", "stats"):
            function = getattr(self, hook)
            if not (function is None or callable(function)):
                raise TypeError(f"{hook} must be a callable or None, not {function!r}")
        if self.close == "" or not (self.close is None or callable(self.close) or isinstance(self.close, str)):
            raise TypeError(f"close must be a callable, the name of a method, or None, not {self.close!r}")
        for hook in HOOKS:
            check_hook(hook, getattr(self, hook))
        for name in ("tracer", "stats"):
            check_plain(name, getattr(self, name), PLAIN)
        if not (self.name is None or isinstance(self.name, str)):
            raise TypeError(f"name must be a str, not {self.name!r}")
        if self.log_level is not None:
            check_count("log_level", self.log_level)
        if not isinstance(self.auto_return, bool):
            raise TypeError(f"auto_return must be True or False, not {self.auto_return!r}")
        object.__setattr__(self, "name", self.name or f"pool-{next(_numbers)}")

    def check_plain(self) -> None:
        """Refuse functions that have to be awaited, for a pool that cannot await: TypeError."""
        for name in ("fun", *HOOKS):
            check_plain(name, getattr(self, name), ADVICE)

    def given_on_objects(self) -> list[str]:
        """Return the names of those parameters given that have an effect on objects."""
        return [name for name in ON_OBJECTS if getattr(self, name)]

    def patience(self, timeout: float | Default | None) -> float | None:
        """Return the seconds that a call waits, given its `timeout`. ValueError or TypeError if it is none."""
        return self.timeout if isinstance(timeout, Default) else checked_timeout(timeout)

    def limits(self) -> Limits:
        """Return the part that the core obeys."""
        return Limits(**{field.name: getattr(self, field.name) for field in fields(Limits)})

    def make(self, number: int) -> T:
        """Call `fun` with the object's number, and return its result. An exception gets a note that names the pool.

        TypeError if `fun` does not take a number.
        """
        try:
            return self._call_fun(number)
        except BaseException as error:
            note_once(error, f"{self.name}: raised by fun", f"({number})")
            raise

    def _call_fun(self, number: int) -> T:
        try:
            return self.fun(number)
        except TypeError as error:
            if _refuses(self.fun, number):
                text = "fun is called with the number of the object (0, 1, 2…), and does not take it"
                raise TypeError(f"{self.name}: {text}: {error}") from error
            raise

    def closer(self) -> Callable[[T], object]:
        """Return the function that closes an object. It does nothing if there is no `close`.

        It calls nothing for an object without the method that `close` names. The first time, it logs a warning.
        """
        if not isinstance(self.close, str):
            return nothing if self.close is None else self.close
        method, complaints = self.close, count()

        def call_method(obj: T) -> object:
            function: Callable[[], object] | None = getattr(obj, method, None)
            if function is not None:
                return function()
            if next(complaints) == 0:
                text = "%s: something of type %s has no method %s: nothing is called to close it"
                self.logger().warning(text, self.name, type(obj).__name__, method)
            return None

        return call_method

    def logger(self) -> logging.Logger:
        """Return the logger of the pool's messages. It is the pool's own if there is a `log_level`."""
        if self.log_level is None:
            return log
        own = log.getChild(str(self.name))
        own.setLevel(self.log_level)
        return own


def configure(kind: str, parameters: dict[str, Any]) -> PoolConfig[Any]:
    """Check the parameters of a `kind` ("Pool", "AsyncPool", "Proxy"). TypeError for one that does not exist."""
    known = {field.name for field in fields(PoolConfig)} - (set() if kind == "Proxy" else {"auto_return"})
    for earlier in EARLIER_NAMES.keys() & parameters.keys():
        if EARLIER_NAMES[earlier] in parameters:
            raise TypeError(f"{earlier} and {EARLIER_NAMES[earlier]} are the same parameter: both were given")
    parameters = {EARLIER_NAMES.get(name, name): value for name, value in parameters.items()}
    for name, value in parameters.items():
        if name not in known:
            likely = [OTHER_NAMES[name]] if name in OTHER_NAMES else get_close_matches(name, known, 1)
            hint = "".join(f": did you mean {ours}?" for ours in likely)
            raise TypeError(f"{kind} has no parameter {name} (given as {value!r}){hint}")
    defaulted = {name for name in NONE_IS_DEFAULT if parameters.get(name, 0) is None}
    return PoolConfig(**{name: value for name, value in parameters.items() if name not in defaulted})


def _refuses(function: Callable[..., object], argument: object) -> bool:
    """Tell whether a function's signature does not accept the argument. False if it has no signature."""
    try:
        parameters = signature(function)
    except (TypeError, ValueError):  # a function built into the interpreter may have none
        return False
    try:
        parameters.bind(argument)
    except TypeError:
        return True
    return False


def nothing(*_: object) -> None:
    """Stand in for a function that was not given."""
