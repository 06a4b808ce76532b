"""What a waiting caller parks on: chosen when it waits, by what runs it then, never at import.

In a thread that runs a gevent hub the caller is a greenlet: it must leave the thread to the hub. Elsewhere it is the
thread itself. eventlet, and gevent where no hub has begun, replace `threading.Lock` by one that knows what to do.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import Any, Protocol


class Parker(Protocol):
    """Parks its maker, once. Make it, publish it, then park; whoever finds it may unpark it before that, too."""

    def park(self, timeout: float | None) -> None:
        """Wait until unparked, at most `timeout` seconds (None: for ever)."""
        ...

    def unpark(self) -> None:
        """End the waiting, now or before it begins. Never blocks; safe from any thread, finaliser, signal handler."""
        ...


def new_parker() -> Parker:
    """Return what the caller can park on."""
    hub_of_thread = getattr(sys.modules.get("gevent._hub_local"), "get_hub_if_exists", None)
    hub = hub_of_thread and hub_of_thread()
    return ThreadParker() if hub is None else GreenletParker(hub)


def new_lock() -> threading.Lock:
    """Return a lock of the operating system, for what is too short to let others run meanwhile.

    A lock of gevent's would be right only among the greenlets of one thread.
    """
    monkey: Any = sys.modules.get("gevent.monkey")
    lock: threading.Lock = monkey.get_original("threading", "Lock")() if monkey else threading.Lock()
    return lock


class ThreadParker:
    """Parks a thread on a lock of its own."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()  # looked up now: eventlet may have replaced it since the import
        self._lock.acquire()

    def park(self, timeout: float | None) -> None:
        """Wait, see `Parker`."""
        self._lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))

    def unpark(self) -> None:
        """End the waiting, see `Parker`."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # unparked already


class GreenletParker:
    """Parks a greenlet, and lets its hub run the others meanwhile."""

    __slots__ = ("_hub", "_timeout", "_waiter")

    def __init__(self, hub: Any) -> None:
        gevent: Any = sys.modules["gevent"]  # it is there, since there is a hub
        self._hub = hub
        self._waiter = gevent.hub.Waiter(hub)
        self._timeout = gevent.Timeout

    def park(self, timeout: float | None) -> None:
        """Wait, see `Parker`."""
        with self._timeout(timeout, False):
            self._waiter.get()

    def unpark(self) -> None:
        """End the waiting, see `Parker`. The hub does it, in its own thread, at its next turn; if it still exists."""
        with suppress(AttributeError):  # a hub that was destroyed has no loop
            self._hub.loop.run_callback_threadsafe(self._waiter.switch, None)
