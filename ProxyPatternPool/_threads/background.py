"""At most one thread for what nobody waits for: user code which the housekeeper must not run itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic

from ProxyPatternPool._core.transitions import popped
from ProxyPatternPool._owner import me
from ProxyPatternPool._threads.parking import Parker, home_hub, new_lock, new_parker, start_thread


class Worker:
    """Runs something in a thread of its own, unless it is running already."""

    def __init__(self) -> None:
        self._alive = new_lock()  # held as long as the thread lives
        self._thread: object = None  # which one it is
        self._hub = home_hub()
        self._joiners: deque[Parker] = deque()  # of those who wait for its end

    def start(self, work: Callable[[], None], name: str, then: Callable[[], None]) -> bool:
        """Have `work` done, and `then` called; nothing if it is being done. False when no thread could be started."""
        if self._alive.acquire(False):
            try:
                start_thread(partial(self._run, work, then), name, self._hub)
            except (RuntimeError, MemoryError):  # no more threads, or no more interpreter
                self._alive.release()
                return False
        return True

    def is_alive(self) -> bool:
        """Tell whether something is being done."""
        return self._alive.locked()

    def join(self, timeout: float) -> None:
        """Wait for the end of what is being done, at most `timeout` seconds. Not when it is the worker that asks."""
        deadline = monotonic() + timeout
        while self._thread is not me.thread and (left := deadline - monotonic()) > 0:
            parker = new_parker()
            self._joiners.append(parker)  # published before the look: the worker ends first, and looks here afterwards
            if not self._alive.locked():
                break
            parker.park(left)

    def _run(self, work: Callable[[], None], then: Callable[[], None]) -> None:
        self._thread = me.thread
        try:
            work()
        finally:
            self._thread = None
            self._alive.release()
            while joiner := popped(self._joiners):
                joiner.unpark()
            then()
