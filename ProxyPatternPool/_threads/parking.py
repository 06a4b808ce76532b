"""How a caller waits, and where background work runs: chosen when it is needed, by what runs the caller then.

In a thread that runs a hub of gevent or eventlet the caller is a greenlet: it must leave the thread to the hub.
Elsewhere it is the thread itself.

Where gevent has replaced threads, a new one is a greenlet of the thread which starts it; and that one's hub may never
run. So the housekeeper, which runs no user code, is a thread of the operating system even there, and the user's code
runs in the main thread's hub, where its sockets live.

eventlet replaces threads likewise, but another thread cannot wake its hub before that one's next turn. So there the
housekeeper is a green thread, where whoever starts it has a hub: it is in time as long as the hub is.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

#: Seconds after which a parked caller looks around: a signal handler that raised in another thread may have lost its
#: wake-up.
RECHECK = 1.0


class Parker(Protocol):
    """Parks its maker, once. Make it, publish it, then park; whoever finds it may unpark it before that, too."""

    def park(self, timeout: float | None) -> None:
        """Wait until unparked, at most `timeout` seconds (None: for ever)."""
        ...

    def unpark(self) -> bool:
        """End the waiting, now or before it begins; False when its maker cannot be woken: what ran it has ended.

        Never blocks; safe from any thread, finaliser, signal handler.
        """
        ...


def new_parker() -> Parker:
    """Return what the caller can park on."""
    hub = _hub_of_thread()
    if hub is not None:
        return GreenletParker(hub)
    hub = _eventlet_hub_of_thread()
    return ThreadParker() if hub is None else EventletParker(hub)


def park_for_a_while(parker: Parker, timeout: float) -> None:
    """Park for at most `timeout` seconds, or `RECHECK`; the caller looks around then."""
    parker.park(min(timeout, RECHECK))


def new_lock() -> threading.Lock:
    """Return a lock of the operating system, for what is too short to let others run meanwhile.

    A lock of gevent's or eventlet's would be right only among the greenlets of one thread.
    """
    lock: threading.Lock = _original("_thread", "allocate_lock")()
    return lock


def start_native_thread(run: Callable[[], None]) -> None:
    """Run it in a thread of the operating system, but for a green one of eventlet's where the caller is such a one.

    Never blocks. RuntimeError or MemoryError when there is none.
    """
    original = _original("_thread", "start_new_thread")
    (original if _eventlet_hub_of_thread() is None else _thread.start_new_thread)(run, ())


def start_thread(run: Callable[[], None], name: str, hub: Any) -> None:
    """Run user code in the background of those whose `home_hub` this is. Raises as `start_native_thread`."""
    if hub is not None and hub.loop is not None:
        hub.loop.run_callback_threadsafe(sys.modules["gevent"].Greenlet.spawn, run)
    elif _threads_are_greenlets():
        start_native_thread(run)
    else:
        threading.Thread(target=run, name=name, daemon=True).start()


def home_hub() -> Any:
    """Return the gevent hub in which the caller's background work is to run, None for a thread of its own."""
    if not _threads_are_greenlets():
        return None
    hub = sys.modules["gevent"].get_hub()
    return hub if hub.main_hub else None


def _hub_of_thread() -> Any:
    get_hub_if_exists = getattr(sys.modules.get("gevent._hub_local"), "get_hub_if_exists", None)
    return get_hub_if_exists and get_hub_if_exists()


def _eventlet_hub_of_thread() -> Any:
    return getattr(getattr(sys.modules.get("eventlet.hubs"), "_threadlocal", None), "hub", None)


def _threads_are_greenlets() -> bool:
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _original(module: str, name: str) -> Any:
    gevent: Any = sys.modules.get("gevent.monkey")
    if gevent:
        return gevent.get_original(module, name)
    eventlet: Any = sys.modules.get("eventlet.patcher")
    patched = eventlet and eventlet.is_monkey_patched("thread")
    return getattr(eventlet.original(module) if patched else sys.modules[module], name)


class ThreadParker:
    """Parks a thread on a lock of its own."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = new_lock()
        self._lock.acquire()

    def park(self, timeout: float | None) -> None:
        """Wait, see `Parker`."""
        self._lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))

    def unpark(self) -> bool:
        """End the waiting, see `Parker`. A thread that waits cannot end."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # unparked already
        return True


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

    def unpark(self) -> bool:
        """End the waiting, see `Parker`. The hub does it, in its own thread, at its next turn."""
        hub = self._hub
        if hub.loop is None or not (hub is _hub_of_thread() or hub.thread_ident in sys._current_frames()):
            return False
        hub.loop.run_callback_threadsafe(self._waiter.switch, None)
        return True


class EventletParker:
    """Parks a green thread of eventlet, and lets its hub run the others meanwhile."""

    __slots__ = ("_event", "_hub")

    def __init__(self, hub: Any) -> None:
        eventlet: Any = sys.modules["eventlet"]  # it is there, since there is a hub
        self._hub = hub
        self._event = eventlet.Event()

    def park(self, timeout: float | None) -> None:
        """Wait, see `Parker`."""
        self._event.wait(timeout)

    def unpark(self) -> bool:
        """End the waiting, see `Parker`. The hub does it, in its own thread, at its next turn: nothing hastens that."""
        self._hub.schedule_call_global(0, self._send)
        return not self._hub.greenlet.dead

    def _send(self) -> None:
        if not self._event.ready():
            self._event.send()
