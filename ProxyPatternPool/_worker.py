"""At most one thread for what nobody waits for: user code which the housekeeper must not run itself."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from ProxyPatternPool._owner import me
from ProxyPatternPool._park import Parker, new_lock, new_parker


class Worker:
    """Runs something in a thread of its own, unless it is running already."""

    def __init__(self) -> None:
        self._alive = new_lock()  # held as long as the thread lives
        self._thread: object = None  # which one it is
        self._joiners: deque[Parker] = deque()  # of those who wait for its end

    def start(self, work: Callable[[], None], name: str, then: Callable[[], None]) -> bool:
        """Have `work` done, and `then` called; nothing if it is being done. False when no thread could be started."""
        if self._alive.acquire(False):
            try:
                threading.Thread(target=self._run, args=(work, then), name=name, daemon=True).start()
            except (RuntimeError, MemoryError):  # no more threads, or no more interpreter
                self._alive.release()
                return False
        return True

    def join(self, timeout: float) -> None:
        """Wait for the end of what is being done, at most `timeout` seconds. Not when it is the worker that asks."""
        parker = new_parker()
        self._joiners.append(parker)  # published before the look: the worker ends first, and looks here afterwards
        if self._alive.locked() and self._thread is not me.thread:
            parker.park(timeout)

    def _run(self, work: Callable[[], None], then: Callable[[], None]) -> None:
        self._thread = me.thread
        try:
            work()
        finally:
            self._thread = None
            self._alive.release()
            for _ in range(len(self._joiners)):
                self._wake_joiner()
            then()

    def _wake_joiner(self) -> None:
        with suppress(IndexError):  # the next worker may be at it already
            self._joiners.popleft().unpark()
