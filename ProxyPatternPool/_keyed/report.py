"""Statistics, texts, log messages and errors of one keyed pool. Nothing here waits, or acts on an instance."""

from __future__ import annotations

from typing import Generic, TypeVar

from ProxyPatternPool._config import log
from ProxyPatternPool._errors import PoolClosed, TimeOut
from ProxyPatternPool._keyed.config import KeyedConfig
from ProxyPatternPool._keyed.instance import Instance, State
from ProxyPatternPool._keyed.machine import KeyedMachine
from ProxyPatternPool._keyed.stats import KeyedStats

T = TypeVar("T")


class KeyedReport(Generic[T]):
    """A report on the state of one machine. The engine has it, and so has the pool, even after the end of the loop.

    Methods are told by `closed` whether the pool is closed for good. The machine does not know: its loop's end closes
    it, too.
    """

    def __init__(self, config: KeyedConfig, machine: KeyedMachine[T]) -> None:
        self.name = str(config.name)
        self.machine = machine
        self._config = config

    @property
    def size(self) -> int:
        """The number of instances, those being entered or closed included."""
        return len(self.machine.registry)

    def stats(self, closed: bool) -> KeyedStats:
        """Return the result of `AsyncKeyedPool.stats`."""
        config, machine = self._config, self.machine
        counters, instances = machine.counters, list(machine.registry)
        return {
            "name": self.name,
            "max_size": machine.max_size,
            "ttl": config.ttl,
            "timeout": config.timeout,
            "closed": closed,
            "size": len(instances),
            "entering": len(machine.entering),
            "in_use": self._nused(),
            "idle": len(machine.idle),
            "closing": len(machine.closing),
            "nwaiting": len(machine.waiting),
            "nuses": counters.uses + sum(instance.uses for instance in instances),
            "nentered": counters.entered,
            "nentering_errors": counters.entering_errors,
            "nclosing_errors": counters.closing_errors,
            "ntimeouts": counters.timeouts,
            "nclosed": dict(counters.closed),
            "wait": counters.wait.snapshot(),
            "entering_time": counters.entering.snapshot(),
        }

    def text(self, kind: str, closed: bool) -> str:
        """Return the `repr` of a pool whose class is named `kind`."""
        state = "closed" if closed else "open"
        limit = self._config.max_size or "unlimited"
        return f"<{kind} {self.name} {state}: max {limit}, {self._sizes()}>"

    def _nused(self) -> int:
        machine = self.machine
        return len(machine.registry) - len(machine.idle) - len(machine.entering) - len(machine.closing)

    def _sizes(self) -> str:
        machine = self.machine
        texts = [f"{self._nused()} in use", f"{len(machine.idle)} idle"]
        if machine.entering:
            texts.append(f"{len(machine.entering)} being entered")
        if machine.closing:
            texts.append(f"{len(machine.closing)} being closed")
        return ", ".join([*texts, f"{len(machine.waiting)} waiting"])

    def closed_error(self) -> PoolClosed:
        """Return the error of a pool that was shut down."""
        return PoolClosed(f"{self.name}: the pool has been shut down")

    def why(self, instance: Instance[T]) -> str:
        """Return the reason why an instance is not open yet, as a text."""
        if instance.state is State.ENTERING:
            return "the instance is still being entered"
        if instance.predecessor is not None:
            broken = instance.predecessor.state is State.BROKEN
            return f"the previous instance is {'discarded, and still in use' if broken else 'still being closed'}"
        return f"pool max size reached ({self.machine.max_size})"

    def log_closing(self, error: BaseException) -> None:
        """Log the exception of a close."""
        log.error("%s: closing an instance failed", self.name, exc_info=error)

    def timeout_error(self, why: str, now: float) -> TimeOut:
        """Return the error of a caller whose timeout is over."""
        text = f"{self.name}: {why}, timeout after {self._config.timeout} s: {self._sizes()}"
        used = [instance.since for instance in self.machine.registry if instance.users]
        if used:
            text += f"; longest in use for {now - min(used):.1f} s"
        return TimeOut(text)
