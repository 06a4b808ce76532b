"""LockedMachine: runs all moves that need the pool's lock, and wakes the waiters that they have served.

User code never runs under the lock, and each move takes microseconds. A return only tries to take it. So `ret` and
`discard` never block, even in a finaliser that interrupts the locked region of its own thread.
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

#: The result of `LockedMachine._hold` if another thread has the lock.
BUSY: Final = object()


class ParkedWaiter(Waiter[T]):
    """A thread or greenlet in the queue, with the parker that it waits on."""

    __slots__ = ("parker",)

    def __init__(self) -> None:
        super().__init__(me.thread)
        self.parker = new_parker()


class LockedMachine(Generic[T]):
    """A machine, and the lock under which its moves run."""

    def __init__(self, machine: PoolMachine[T], clock: Callable[[], float]) -> None:
        self.machine = machine
        self.clock = clock
        self.is_inherited = False  # true, and never false again, in a forked child of the process that made the machine
        self._lock = new_lock()  # replaced in a forked child, where the thread that may hold it does not exist

    def run(self, move: Callable[..., R], *arguments: object) -> R:
        """Run a move under the lock, and return its result. Wake the waiters that this or another move has served."""
        try:
            return cast(R, self._hold(True, move, *arguments))
        finally:
            self.pump()

    def attempt(self, move: Callable[..., object], *arguments: object) -> bool:
        """Run a move under the lock. If the lock is taken, do nothing and return False. Never blocks."""
        return self._hold(False, move, *arguments) is not BUSY

    def is_held(self) -> bool:
        """Tell whether a thread has the lock. It may be the current thread."""
        return self._lock.locked()

    def disown(self) -> None:
        """Mark the machine as the parent's, in a forked child. Its moves still run, but change nothing but memory."""
        self.is_inherited = True
        self._lock = new_lock()

    def _hold(self, blocking: bool, move: Callable[..., R], *arguments: object) -> R | object:
        """Take the lock, run a move, and release the lock. Only this method takes it. `BUSY` if it was taken.

        The loop takes the lock inside a single bytecode. So a signal handler that raises cannot come between taking it
        and the protection of ``try``. With ``acquire(); try:`` it can, and on some versions also with ``with``.
        """
        lock = self._lock  # a local: if a signal handler forks, the child's machine has another lock
        for _ in iter(partial(lock.acquire, blocking), False):
            try:
                return move(*arguments, self.clock())
            finally:
                lock.release()
        return BUSY

    def pump(self) -> None:
        """Match while there is something to match, then wake the waiters that were served. Never blocks.

        A thread that finds the lock taken may leave, because each holder pumps after releasing the lock.
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
                    machine.wake_later(waiter)  # its thread has ended; the holder of the lock pumps next
                    break
