"""Housekeeper: one thread per process, which keeps time for all pools, and does nothing else.

The first pool that needs something done later, or in another thread, starts it. It ends when no pool needs it. It runs
no user code. A pool's `_round` only changes the pool's state, and starts the pool's own worker thread if there is an
object to make or to close. So a `close` that hangs stops no other pool.

Everything here may be called from a finaliser or a signal handler: nothing blocks. For that reason the thread is
started by `_thread`: `threading.Thread.start` takes locks, and waits.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from contextlib import suppress
from math import inf
from threading import Lock
from time import monotonic
from typing import Protocol

from ProxyPatternPool._process import keep, renew_after_fork
from ProxyPatternPool._threads.parking import (
    Parker,
    ThreadParker,
    new_lock,
    new_parker,
    start_alone,
    start_native_thread,
)

log = logging.getLogger("ProxyPatternPool")

#: The seconds for which the thread stays when it has nothing left to wait for. Starting a new one would cost more.
LINGER = 1.0
#: The seconds until a failed round is tried again.
RETRY = 1.0
#: The minimum of seconds between two rounds of a pool.
SHORTEST = 0.01


class Client(Protocol):
    """The part of a pool that the housekeeper knows."""

    def _round(self) -> float:
        """Do the work that is due. Return the seconds until the next round; infinity means none."""
        ...


class Housekeeper:
    """A timer for all pools. It calls `_round` of each when it is due, or soon after `call`. It keeps no pool alive."""

    def __init__(self) -> None:
        renew_after_fork(self)
        self._begin()

    def _begin(self) -> None:
        self._alive = new_lock()  # held as long as the thread lives
        self._calls: deque[Client] = deque()  # pools that need a round now; kept alive until they have had it
        self._due: dict[weakref.ref[Client], float] = {}  # the times of the next rounds; only the thread uses it
        self._parker: Parker = ThreadParker()  # the parker that the thread sleeps on, now or next

    def _renew(self) -> None:
        keep(*self._calls)
        self._begin()

    def call(self, pool: Client) -> None:
        """Run ``pool._round()`` soon, in the housekeeper's thread. Never blocks, and never fails."""
        self._calls.append(pool)
        self._parker.unpark()
        self._start()

    def _start(self) -> None:
        with suppress(RuntimeError, MemoryError):  # no more threads: the pool waits for the next call
            start_alone(self._alive, start_native_thread, self._run)

    def _run(self, alive: Lock) -> None:
        try:
            self._run_rounds(alive)
        finally:
            alive.release()
        self._calls.rotate(0)  # locks the deque: without the GIL a bare length may be a stale one
        if self._calls:
            self._start()

    def _run_rounds(self, alive: Lock) -> None:
        lingering = False
        # a green thread of eventlet lives on in a forked child, which has made a new `_alive`: it must end there
        while alive is self._alive and (not lingering or self._due or self._calls):
            # published before the look at the calls: a later call unparks it
            self._parker = parker = new_parker()
            self._visit_due()
            lingering = not self._due
            parker.park(LINGER if lingering else max(0.0, min(self._due.values()) - monotonic()))

    def _visit_due(self) -> None:
        while True:
            try:
                pool = self._calls.popleft()
            except IndexError:
                break
            self._visit(pool)
        now = monotonic()
        for ref, due in list(self._due.items()):
            client = ref()
            if client is None:
                del self._due[ref]
            elif due <= now:
                self._visit(client)

    def _visit(self, pool: Client) -> None:
        try:
            pause = pool._round()
        except BaseException:  # a pool in trouble must not stop the others
            log.exception("housekeeping failed, and is tried again in %s s", RETRY)
            pause = RETRY
        ref = weakref.ref(pool, self._dropped)
        if pause == inf:
            self._due.pop(ref, None)
        else:
            self._due[ref] = monotonic() + max(pause, SHORTEST)

    def _dropped(self, _ref: weakref.ref[Client]) -> None:
        self._parker.unpark()


#: The housekeeper of this process.
housekeeper = Housekeeper()
