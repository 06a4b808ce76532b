"""What a keyed pool is without waiting: its parameters, its core, its keys, its statistics, its words."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from time import monotonic
from typing import Any, Final, Generic, TypeVar, cast

from ProxyPatternPool._errors import PoolClosed, TimeOut, note_once
from ProxyPatternPool._keyed.config import KeyedConfig
from ProxyPatternPool._keyed.instance import Instance, State
from ProxyPatternPool._keyed.machine import KeyedMachine
from ProxyPatternPool._keyed.stats import KeyedStats

T = TypeVar("T")

#: Separates positional from keyword arguments in a key; nobody else has it.
KEYWORDS: Final = object()


class KeyedReport(Generic[T]):
    """Nothing here waits, or acts on an instance."""

    def __init__(self, config: KeyedConfig) -> None:
        self._config = config
        self._closed = False  # for good
        self._start()

    def _start(self) -> None:
        """Begin, or begin again in another loop, or in a forked child: with nothing."""
        self._clock: Callable[[], float] = monotonic  # or the clock of the loop
        self._core: KeyedMachine[T] = KeyedMachine(max_size=cast(int, self._config.max_size), ttl=self._config.ttl)
        self._join = self._core.join
        self._leave = self._core.leave
        if self._closed:
            self._core.shutdown(0.0)

    @property
    def name(self) -> str:
        """What the pool calls itself in logs, errors and statistics."""
        return str(self._config.name)

    def __len__(self) -> int:
        """How many instances there are, those being entered or closed included."""
        return len(self._core.registry)

    def __bool__(self) -> bool:
        """A pool is true, an empty one too: ``if pool:`` asks whether there is one."""
        return True

    def stats(self) -> KeyedStats:
        """Tell configuration, sizes and counters as plain data. They begin anew with each event loop."""
        config, core = self._config, self._core
        counters, instances = core.counters, list(core.registry)
        return {
            "name": self.name,
            "max_size": core.max_size,
            "ttl": config.ttl,
            "timeout": config.timeout,
            "closed": self._closed,
            "size": len(instances),
            "entering": len(core.entering),
            "in_use": self._nused(),
            "idle": len(core.idle),
            "closing": len(core.closing),
            "nwaiting": len(core.waiting),
            "nuses": counters.uses + sum(instance.uses for instance in instances),
            "nentered": counters.entered,
            "nentering_errors": counters.entering_errors,
            "nclosing_errors": counters.closing_errors,
            "ntimeouts": counters.timeouts,
            "nclosed": dict(counters.closed),
            "wait": counters.wait.snapshot(),
            "entering_time": counters.entering.snapshot(),
        }

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        limit = self._config.max_size or "unlimited"
        return f"<{type(self).__name__} {self.name} {state}: max {limit}, {self._sizes()}>"

    def _nused(self) -> int:
        core = self._core
        return len(core.registry) - len(core.idle) - len(core.entering) - len(core.closing)

    def _sizes(self) -> str:
        core = self._core
        texts = [f"{self._nused()} in use", f"{len(core.idle)} idle"]
        if core.entering:
            texts.append(f"{len(core.entering)} being entered")
        if core.closing:
            texts.append(f"{len(core.closing)} being closed")
        return ", ".join([*texts, f"{len(core.waiting)} waiting"])

    def _closed_error(self) -> PoolClosed:
        return PoolClosed(f"{self.name}: the pool has been shut down")

    def _key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
        if self._config.key is not None:
            return self._config.key(*args, **kwargs)
        return (*args, KEYWORDS, frozenset(kwargs.items())) if kwargs else args

    def _explain(self, error: TypeError, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise what helps, if it was an argument that cannot be hashed."""
        if self._config.key is not None:
            note_once(error, f"{self.name}: raised by key, or by what it has returned")
            return
        for argument in (*args, *kwargs.values()):
            try:
                hash(argument)
            except TypeError:
                kind = type(argument).__name__
                raise TypeError(
                    f"{self.name}: an argument of type {kind} cannot tell instances apart, for it is unhashable: give "
                    "the pool a function key(*args, **kwargs) which returns what does"
                ) from error

    def _why(self, instance: Instance[T]) -> str:
        """Tell what an instance that is not open waits for."""
        if instance.state is State.ENTERING:
            return "the instance is still being entered"
        if instance.predecessor is not None:
            broken = instance.predecessor.state is State.BROKEN
            return f"the previous instance is {'discarded, and still in use' if broken else 'still being closed'}"
        return f"pool max size reached ({self._core.max_size})"

    def _timeout_error(self, why: str) -> TimeOut:
        text = f"{self.name}: {why}, timeout after {self._config.timeout} s: {self._sizes()}"
        used = [instance.since for instance in self._core.registry if instance.users]
        if used:
            text += f"; longest in use for {self._clock() - min(used):.1f} s"
        return TimeOut(text)
