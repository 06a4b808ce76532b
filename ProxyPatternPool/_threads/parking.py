"""Parkers: how a caller waits. Starting threads: where background work runs.

Both are chosen at the moment of need, by the kind of caller. In a thread that runs a hub of gevent or eventlet, the
caller is a greenlet, and has to leave the thread to the hub. Elsewhere the caller is the thread itself.

If gevent has replaced threads, a new thread is a greenlet of the thread that starts it, whose hub may never run. So the
housekeeper, which runs no user code, is a thread of the operating system even then. User code runs in the main thread's
hub, to which its sockets belong.

eventlet replaces threads in the same way. But another thread cannot wake an eventlet hub before the hub's next turn. So
the housekeeper is a green thread if the caller that starts it has an eventlet hub. It is on time as long as the hub is.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ProxyPatternPool._core.transitions import popped

#: The seconds after which a parked caller looks around. Its wake-up may be lost, if a signal handler has raised in the
#: thread that was about to wake it.
RECHECK = 1.0


class Parker(Protocol):
    """A means of waiting for the caller that makes it, to be used once.

    The caller makes a parker, publishes it, and then parks. Another thread may unpark it even before that.
    """

    def park(self, timeout: float | None) -> None:
        """Wait until unparked, at most `timeout` seconds (None: without a limit)."""
        ...

    def unpark(self) -> bool:
        """End the waiting, even before it begins. Return False if the caller's thread or hub has ended.

        Never blocks. Safe in any thread, finaliser or signal handler.
        """
        ...


def new_parker() -> Parker:
    """Return a parker for the current thread or greenlet."""
    hub = _hub_of_thread()
    if hub is not None:
        return GreenletParker(hub)
    hub = _eventlet_hub_of_thread()
    return ThreadParker() if hub is None else EventletParker(hub)


def park_for_a_while(parker: Parker, timeout: float) -> None:
    """Park for at most `timeout` seconds, and at most `RECHECK`. The caller then looks around."""
    parker.park(min(timeout, RECHECK))


def new_lock() -> threading.Lock:
    """Return a lock of the operating system, for regions too short to let other greenlets run meanwhile.

    A lock of gevent or eventlet would be right only among the greenlets of one thread.
    """
    lock: threading.Lock = _original("_thread", "allocate_lock")()
    return lock


def start_native_thread(run: Callable[[], None]) -> None:
    """Run a function in a thread of the operating system. If the caller has an eventlet hub, run it in a green thread.

    Never blocks. Raises RuntimeError or MemoryError if no thread can be started.
    """
    original = _original("_thread", "start_new_thread")
    (original if _eventlet_hub_of_thread() is None else _thread.start_new_thread)(run, ())


def start_thread(run: Callable[[], None], name: str, hub: Any) -> None:
    """Run user code in a greenlet of `hub`, a result of `home_hub`, or in a thread. Raises as `start_native_thread`."""
    if hub is not None and hub.loop is not None:
        hub.loop.run_callback_threadsafe(sys.modules["gevent"].Greenlet.spawn, run)
    elif _threads_are_greenlets():
        start_native_thread(run)
    else:
        threading.Thread(target=run, name=name, daemon=True).start()


def start_alone(
    alive: threading.Lock, start: Callable[[Callable[[], None]], None], run: Callable[[threading.Lock], None]
) -> None:
    """Have `start` run a function in a thread, unless `alive` is taken. The function releases it at its end.

    The caller may be interrupted at any bytecode. The loop takes `alive` inside a single bytecode, as in
    `LockedMachine._hold`. A thread may be running when `start` raises. So the thread and the caller both try to pop the
    ticket: the one that gets it owns `alive`. A thread that does not get it ends at once.
    """
    ticket = deque((alive,))
    for _ in iter(partial(alive.acquire, False), False):
        try:
            start(partial(_run_alone, ticket, run))
        except BaseException:
            if popped(ticket):
                alive.release()
            raise
        return


def _run_alone(ticket: deque[threading.Lock], run: Callable[[threading.Lock], None]) -> None:
    if alive := popped(ticket):
        run(alive)


def home_hub() -> Any:
    """Return the gevent hub in which the caller's background work has to run. None means in a thread of its own."""
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
    """A parker for a thread, with a lock of its own."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = new_lock()
        self._lock.acquire()

    def park(self, timeout: float | None) -> None:
        """Wait, see `Parker`."""
        self._lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))

    def unpark(self) -> bool:
        """End the waiting, see `Parker`. Always return True, since a waiting thread cannot end."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # unparked already
        return True


class GreenletParker:
    """A parker for a greenlet of gevent. Its hub runs the other greenlets meanwhile."""

    __slots__ = ("_hub", "_timeout", "_waiter")

    def __init__(self, hub: Any) -> None:
        gevent: Any = sys.modules["gevent"]  # imported, since there is a hub
        self._hub = hub
        self._waiter = gevent.hub.Waiter(hub)
        self._timeout = gevent.Timeout

    def park(self, timeout: float | None) -> None:
        """Wait, see `Parker`."""
        with self._timeout(timeout, False):
            self._waiter.get()

    def unpark(self) -> bool:
        """End the waiting, see `Parker`. The hub wakes the greenlet in its own thread, at its next turn."""
        hub = self._hub
        if hub.loop is None or not (hub is _hub_of_thread() or hub.thread_ident in sys._current_frames()):
            return False
        hub.loop.run_callback_threadsafe(self._waiter.switch, None)
        return True


class EventletParker:
    """A parker for a green thread of eventlet. Its hub runs the others meanwhile."""

    __slots__ = ("_event", "_hub")

    def __init__(self, hub: Any) -> None:
        eventlet: Any = sys.modules["eventlet"]  # imported, since there is a hub
        self._hub = hub
        self._event = eventlet.Event()

    def park(self, timeout: float | None) -> None:
        """Wait, see `Parker`."""
        self._event.wait(timeout)

    def unpark(self) -> bool:
        """End the waiting, see `Parker`. The hub wakes the green thread at its next turn, which nothing can hasten."""
        self._hub.schedule_call_global(0, self._send)
        return not self._hub.greenlet.dead

    def _send(self) -> None:
        if not self._event.ready():
            self._event.send()
