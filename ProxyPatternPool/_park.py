"""What a waiting caller parks on. Chosen when it waits, by what runs it then."""

from __future__ import annotations

import threading


class Parker:
    """Parks its maker, once. Make it, publish it, then park; whoever finds it may unpark it before that, too."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()  # looked up now: monkey patching may have replaced it since the import
        self._lock.acquire()

    def park(self, timeout: float | None) -> None:
        """Wait until unparked, at most `timeout` seconds (None: for ever)."""
        self._lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))

    def unpark(self) -> None:
        """End the waiting, now or before it begins. Never blocks; safe from any thread, finaliser, signal handler."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # unparked already
