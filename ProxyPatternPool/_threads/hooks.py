"""HookRunner: calls `fun` and the hooks of a pool, always without the lock.

The caller owns the slot. Each method settles its slot itself, even if user code raises a BaseException. So no slot is
ever lost.
"""

from __future__ import annotations

import random
from typing import Generic, TypeVar

from ProxyPatternPool._callables import plain_object, plain_result
from ProxyPatternPool._config import PoolConfig, nothing
from ProxyPatternPool._core.slot import Reason, Slot
from ProxyPatternPool._core.transitions import AlreadyPooled
from ProxyPatternPool._report import PoolReport
from ProxyPatternPool._shared_error import copied
from ProxyPatternPool._threads.locking import LockedMachine

T = TypeVar("T")


class HookRunner(Generic[T]):
    """A runner of the user functions of one pool: `fun`, `opener`, `health`, `getter`, `retter` and `close`."""

    def __init__(self, config: PoolConfig[T], locked: LockedMachine[T], report: PoolReport[T]) -> None:
        self._make = config.make
        self._opener = nothing if config.opener is None else config.opener
        self._health = nothing if config.health is None else config.health
        self._getter = nothing if config.getter is None else config.getter
        self._retter = nothing if config.retter is None else config.retter
        self._closer = config.closer()
        self._locked = locked
        self._machine = locked.machine
        self._report = report

    def create(self, slot: Slot[T]) -> None:
        """Make the object of a slot, and call the `opener`. If either fails, give up the slot, and raise the error."""
        machine, locked = self._machine, self._locked
        machine.creation_begins(slot, locked.clock())
        try:
            obj = plain_object(self._make(slot.number))
        except BaseException as error:
            self._fail(slot, error)
            raise
        try:
            locked.run(machine.made, slot, obj, random.random())
        except AlreadyPooled:
            locked.run(machine.failed, slot)
            raise self._report.duplicate_error(slot, obj) from None
        try:
            plain_result("opener", self._opener(obj))
        except BaseException as error:
            self._fail(slot, error)
            raise
        self._report.succeeded()

    def _fail(self, slot: Slot[T], error: BaseException) -> None:
        self._report.note_creation(error, slot)
        self._report.last_error = copied(error)
        self._locked.run(self._machine.failed, slot)

    def refill(self, slot: Slot[T]) -> None:
        """Make an idle object, for `min_size`. If that fails, pause before the next refill, and raise as `create`."""
        try:
            self.create(slot)
        except BaseException:
            self._locked.run(self._machine.back_off, random.random())
            raise
        self._locked.run(self._machine.stocked, slot)

    def is_healthy(self, slot: Slot[T]) -> bool:
        """Call `health` and return its answer. An Exception is logged and means no. Other BaseExceptions are raised."""
        try:
            try:
                answer = self._health(slot.obj)
                healthy = bool(answer)
            except Exception as error:
                self._report.log_failed_check(slot, error)
                return False
            plain_result("health", answer)  # raises TypeError for an awaitable, which is no answer
        except BaseException as error:
            self._report.note(error, "health")
            raise
        if not healthy:
            self._report.log_bad_health(slot)
        return healthy

    def check_served(self, slot: Slot[T]) -> bool:
        """Check an object that this caller was served. If it is dead, close it, and return False."""
        healthy = False
        try:
            healthy = self.is_healthy(slot)
        finally:
            if not healthy:
                self._locked.run(self._machine.reject, slot, Reason.HEALTH)
        return healthy

    def check_idle(self, slot: Slot[T]) -> None:
        """Check an idle object. Does nothing if it is not idle any more."""
        if not self._locked.run(self._machine.reserve_idle, slot):
            return
        healthy = False
        try:
            healthy = self.is_healthy(slot)
        finally:
            self._locked.run(self._machine.checked, slot, healthy)

    def prepare(self, slot: Slot[T]) -> None:
        """Call the `getter` for an object about to be lent. If it raises, close the object, and raise the error."""
        try:
            plain_result("getter", self._getter(slot.obj))
        except BaseException as error:
            self._locked.run(self._machine.reject, slot, Reason.GETTER)
            self._report.note(error, "getter")
            raise

    def tidy(self, slot: Slot[T]) -> None:
        """Call the `retter` for a reserved object, and put it back. If the `retter` raises, close the object.

        An Exception is logged. Other BaseExceptions are raised.
        """
        reason: Reason | None = Reason.RETTER
        try:
            plain_result("retter", self._retter(slot.obj))
            reason = None
        except Exception as error:
            self._report.log_failed("tidying up", slot, error)
        except BaseException as error:
            self._report.note(error, "retter")
            raise
        finally:
            self._machine.put_back(slot, reason, self._locked.clock())
            self._locked.pump()

    def close(self, slot: Slot[T]) -> None:
        """Close the object of a slot. An Exception of `close` is logged. Other BaseExceptions are raised."""
        try:
            plain_result("close", self._closer(slot.obj))
        except Exception as error:
            self._report.log_failed("closing", slot, error)
        except BaseException as error:
            self._report.note(error, "close")
            raise
        finally:
            self._locked.run(self._machine.closed, slot)
