"""The lock of a pool: every move that needs it is run here, and who was served is woken here.

User code never runs under the lock, and a lock is held for microseconds. A return only tries it: so `ret` and
`discard` never block, also in a finaliser that interrupts the locked region of its own thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar, cast

from ProxyPatternPool._core.machine import PoolMachine
from ProxyPatternPool._core.slot import Waiter
from ProxyPatternPool._core.transitions import popped
from ProxyPatternPool._owner import me
from ProxyPatternPool._threads.parking import new_lock, new_parker

T = TypeVar("T")
R = TypeVar("R")

#: The answer of `LockedMachine._hold` when another thread has the lock.
BUSY: Final = object()


class ParkedWaiter(Waiter[T]):
    """A thread in the queue."""

    __slots__ = ("parker",)

    def __init__(self) -> None:
        super().__init__(me.thread)
        self.parker = new_parker()


class LockedMachine(Generic[T]):
    """A machine, and the lock under which its moves are run."""

    def __init__(self, machine: PoolMachine[T], clock: Callable[[], float]) -> None:
        self.machine = machine
        self.clock = clock
        self.is_inherited = False  # for good once true: this process is a forked child of the machine's
        self._lock = new_lock()  # replaced in a forked child, where the thread that holds it does not exist

    def run(self, move: Callable[..., R], *arguments: object) -> R:
        """Run a move under the lock, then wake the waiters that it, and others meanwhile, have served."""
        try:
            return cast(R, self._hold(True, move, *arguments))
        finally:
            self.pump()

    def attempt(self, move: Callable[..., object], *arguments: object) -> bool:
        """Run a move under the lock, unless another thread has it: False. Never blocks."""
        return self._hold(False, move, *arguments) is not BUSY

    def is_held(self) -> bool:
        """Tell whether a thread has the lock, perhaps this one."""
        return self._lock.locked()

    def disown(self) -> None:
        """Mark the machine as the parent's, in a forked child. Its moves still run, and settle nothing but memory."""
        self.is_inherited = True
        self._lock = new_lock()

    def _hold(self, blocking: bool, move: Callable[..., R], *arguments: object) -> R | object:
        """Take the lock, run the move, release the lock: the one place that does. `BUSY` when it was not to be had.

        The loop takes the lock inside a single bytecode: no signal handler that raises can come between taking it and
        the protection of ``try``, as it can with ``acquire(); try:`` or, on some versions, with ``with``.
        """
        lock = self._lock  # this one, also when a signal handler forks: the machine has another in the child
        for _ in iter(partial(lock.acquire, blocking), False):
            try:
                return move(*arguments, self.clock())
            finally:
                lock.release()
        return BUSY

    def pump(self) -> None:
        """Match while there is something to match, then wake the waiters that were served. Never blocks.

        A thread that finds the lock taken may leave: its holder comes by here after releasing it, and looks again.
        """
        machine = self.machine
        try:
            while machine.due():
                if not self.attempt(machine.match):
                    break
        finally:
            while waiter := popped(machine.to_wake):
                woken = cast("ParkedWaiter[T]", waiter).parker.unpark()
                if not woken and not self.attempt(machine.cancel, waiter):
                    machine.wake_later(waiter)  # its thread has ended: the holder of the lock comes by here
                    break
