"""The limits that the state machine obeys, and the checks of all parameters that are numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf, isfinite
from numbers import Real


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A pool's limits, as the state machine obeys them. Seconds are floats on the monotonic clock.

    For a ``max_`` field, 0 means no limit. Raises TypeError or ValueError, naming the parameter and the value.
    """

    max_size: int = 0  # objects at most, including those being made or closed
    min_size: int = 1  # objects at least, idle or in use
    max_use: int = 0  # leases after which an object is closed
    max_delay: float = 0.0  # seconds after which an unused object is closed, unless min_size needs it
    max_lifetime: float = 0.0  # age in seconds at which an object is closed, idle or on return; up to a tenth earlier
    max_using_delay: float = 0.0  # seconds after which a lease is logged as too long
    max_using_delay_kill: float = 0.0  # seconds after which a lease ends, and its object is closed
    max_waiting: int = 0  # waiting callers at most: the next caller gets `PoolFull` at once
    health_delay: float = 0.5  # seconds unused after which `health` precedes a lease; 0: always, unless just made
    health_freq: int = 1  # background rounds from one call of `health` to the next
    delay: float = 0.0  # seconds from one background round to the next; 0: as the other limits need

    def __post_init__(self) -> None:
        for field in fields(Limits):
            value = getattr(self, field.name)
            if field.type == "int":
                check_count(field.name, value, 1 if field.name == "health_freq" else 0)
            else:
                object.__setattr__(self, field.name, checked_seconds(field.name, value))
        if 0 < self.max_size < self.min_size:
            raise ValueError(f"min_size must not be above max_size ({self.max_size}), but is {self.min_size}")


def checked_timeout(value: object) -> float | None:
    """Return a number of seconds as a float, and None as None. Refuse anything else."""
    return None if value is None else checked_seconds("timeout", value)


def checked_seconds(parameter: str, value: object) -> float:
    """Return a number of seconds as a float. Refuse a value that is not a number, not finite, or negative."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{parameter} must be a number of seconds, not {value!r}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = inf
    if not isfinite(seconds) or seconds < 0:
        raise ValueError(f"{parameter} must be a finite number of seconds from 0, not {value!r}")
    return seconds


def check_count(parameter: str, value: object, least: int = 0) -> None:
    """Refuse a value that is not an int, or is less than `least`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{parameter} must be an int, not {value!r}")
    if value < least:
        raise ValueError(f"{parameter} must not be {'negative' if least == 0 else f'below {least}'}, but is {value!r}")
