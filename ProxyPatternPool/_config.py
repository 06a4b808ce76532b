"""The parameters of a pool, written once: names, types, defaults, checks.

`PoolConfig` is what a pool obeys, and its `Limits` are what the core knows of it; `PoolParameters` is the same list as
keyword arguments, for type checkers. A test holds the two together.
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

T = TypeVar("T")

log = logging.getLogger("ProxyPatternPool")

_numbers = count(1)  # of pools without a name


class Default(Enum):
    """The default of `timeout` in `get` and `obj`: the one which the pool was made with."""

    TIMEOUT = "the pool's own timeout"


#: Parameters whose names were others in earlier releases.
EARLIER_NAMES = {"max_avail_delay": "max_delay", "closer": "close"}

#: What is called otherwise in other libraries. These names are not accepted, but known to whoever tries them.
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

#: Parameters which are called with an object, and may do something with it.
HOOKS = ("health", "opener", "getter", "retter", "close")

#: Parameters which say what is to happen to an object: whoever gives one relies on it.
ON_OBJECTS = (*HOOKS, "max_use", "max_delay", "max_lifetime", "max_using_delay", "max_using_delay_kill")


class PoolParameters(TypedDict, Generic[T], total=False):
    """The keyword-only parameters of every pool; `PoolConfig` says what they mean."""

    min_size: int
    max_use: int
    max_delay: float
    max_lifetime: float
    max_using_delay: float
    max_using_delay_kill: float
    max_waiting: int
    health_delay: float
    health_freq: int
    delay: float
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
    max_avail_delay: float
    closer: Callable[[T], object] | str | None


class ProxyParameters(PoolParameters[T], total=False):
    """The parameters of the pool of a proxy, all keyword-only; a `max_size` of None means no pool."""

    max_size: int | None
    auto_return: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig(Limits, Generic[T]):
    """The checked parameters of a pool: its limits, and what the driver needs beside them.

    Raises TypeError or ValueError naming the parameter and the value.
    """

    fun: Callable[[int], T]  # makes object number n: 0, 1, 2...
    timeout: float | None = 30.0  # seconds that `get` waits; 0 tries once, None waits for ever
    close: Callable[[T], object] | str | None = None  # ends an object: a function, or the name of its method
    health: Callable[[T], object] | None = None  # tells whether an object is alive; false or an exception: it is not
    opener: Callable[[T], object] | None = None  # called with each new object; an exception: it is closed, and raised
    getter: Callable[[T], object] | None = None  # called before an object is lent; an exception: likewise
    retter: Callable[[T], object] | None = None  # called when it is given back; an exception: it is closed, and logged
    tracer: Callable[[T], str] | None = None  # tells an object in logs, errors, statistics; else its type and number
    stats: Callable[[T], object] | None = None  # tells more of it in the statistics: JSON-compatible data
    name: str | None = None  # in logs, errors and statistics
    log_level: int | None = None  # of this pool's messages alone, which are logged as `ProxyPatternPool.<name>` then
    auto_return: bool = False  # of a proxy's pool: what an owner has goes back when that one ends
    clock: Callable[[], float] = monotonic  # for tests that need another time

    def __post_init__(self) -> None:
        Limits.__post_init__(self)
        if not callable(self.fun):
            raise TypeError(f"fun must be callable, not {self.fun!r}")
        check_fun(self.fun)
        object.__setattr__(self, "timeout", checked_timeout(self.timeout))
        for hook in ("health", "opener", "getter", "retter", "tracer", "stats"):
            function = getattr(self, hook)
            if not (function is None or callable(function)):
                raise TypeError(f"{hook} must be a callable, or None, not {function!r}")
        if self.close == "" or not (self.close is None or callable(self.close) or isinstance(self.close, str)):
            raise TypeError(f"close must be a callable, the name of a method, or None, not {self.close!r}")
        for hook in HOOKS:
            check_hook(hook, getattr(self, hook))
        for teller in ("tracer", "stats"):
            check_plain(teller, getattr(self, teller), PLAIN)
        if not (self.name is None or isinstance(self.name, str)):
            raise TypeError(f"name must be a text, not {self.name!r}")
        if self.log_level is not None:
            check_count("log_level", self.log_level)
        if not isinstance(self.auto_return, bool):
            raise TypeError(f"auto_return must be True or False, not {self.auto_return!r}")
        object.__setattr__(self, "name", self.name or f"pool-{next(_numbers)}")

    def check_plain(self) -> None:
        """Refuse what has to be awaited, for a pool that cannot: TypeError."""
        for name in ("fun", *HOOKS):
            check_plain(name, getattr(self, name), ADVICE)

    def given_on_objects(self) -> list[str]:
        """Return the names of what is to happen to an object."""
        return [name for name in ON_OBJECTS if getattr(self, name)]

    def patience(self, timeout: float | Default | None) -> float | None:
        """Return the seconds that a call waits, given its `timeout`. ValueError or TypeError if it is none."""
        return self.timeout if isinstance(timeout, Default) else checked_timeout(timeout)

    def limits(self) -> Limits:
        """Return what the core obeys."""
        return Limits(**{field.name: getattr(self, field.name) for field in fields(Limits)})

    def make(self, number: int) -> T:
        """Return what `fun` does, given a number; `TypeError` that says so when it does not take one."""
        try:
            return self.fun(number)
        except TypeError as error:
            if _refuses(self.fun, number):
                what = "fun is called with the number of the object (0, 1, 2…), and does not take it"
                raise TypeError(f"{self.name}: {what}: {error}") from error
            raise

    def closer(self) -> Callable[[T], object]:
        """Return the function that ends an object; it does nothing when no `close` was given.

        An object may lack the method that `close` names: nothing is called then, and the log is told, the first time.
        """
        if not isinstance(self.close, str):
            return nothing if self.close is None else self.close
        method, complaints = self.close, count()

        def call_method(obj: T) -> object:
            function: Callable[[], object] | None = getattr(obj, method, None)
            if function is not None:
                return function()
            if next(complaints) == 0:
                what = f"something of type {type(obj).__name__} has no method {method}"
                self.logger().warning("%s: %s: nothing is called to close it", self.name, what)
            return None

        return call_method

    def logger(self) -> logging.Logger:
        """Return where the pool's messages go: to a logger of its own, if they have a level of their own."""
        if self.log_level is None:
            return log
        own = log.getChild(str(self.name))
        own.setLevel(self.log_level)
        return own


def configure(who: str, parameters: dict[str, Any]) -> PoolConfig[Any]:
    """Check the parameters given to a `who` ("Pool", "Proxy"); TypeError for one that does not exist."""
    known = {field.name for field in fields(PoolConfig)} - (set() if who == "Proxy" else {"auto_return"})
    for earlier in EARLIER_NAMES.keys() & parameters.keys():
        if EARLIER_NAMES[earlier] in parameters:
            raise TypeError(f"{earlier} and {EARLIER_NAMES[earlier]} are the same parameter: both were given")
    parameters = {EARLIER_NAMES.get(name, name): value for name, value in parameters.items()}
    for name, value in parameters.items():
        if name not in known:
            likely = [OTHER_NAMES[name]] if name in OTHER_NAMES else get_close_matches(name, known, 1)
            hint = "".join(f": did you mean {ours}?" for ours in likely)
            raise TypeError(f"{who} has no parameter {name} (given as {value!r}){hint}")
    if parameters.get("max_size", 0) is None:
        parameters["max_size"] = 0
    return PoolConfig(**parameters)


def _refuses(function: Callable[..., object], argument: object) -> bool:
    """Tell whether a function cannot be called with that argument, if it tells."""
    try:
        parameters = signature(function)
    except (TypeError, ValueError):  # it does not, as those built into the interpreter
        return False
    try:
        parameters.bind(argument)
    except TypeError:
        return True
    return False


def nothing(*_: object) -> None:
    """Stand in for the function that was not given."""
