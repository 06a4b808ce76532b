"""The housekeeper: one thread per process which keeps time for all pools, and nothing else.

It is started by the first pool that needs something done later or elsewhere, and ends when no pool does. It runs
no user code: a pool's `_round` only changes the pool's state, and starts the pool's own worker thread when there is
an object to make or to close, so that a `close` which hangs stops no other pool.

Everything here can be called from a finaliser or a signal handler: nothing blocks. That is why it is a bare thread of
the interpreter's: `threading.Thread.start` takes locks, and waits.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from math import inf
from time import monotonic
from typing import Protocol

from ProxyPatternPool._process import keep, renew_after_fork
from ProxyPatternPool._threads.parking import Parker, ThreadParker, new_lock, new_parker, start_native_thread

log = logging.getLogger("ProxyPatternPool")

#: Seconds for which the thread stays when there is nothing left to wait for: starting one costs more than that.
LINGER = 1.0
#: Seconds until a round that failed is tried again.
RETRY = 1.0
#: Seconds between two rounds of a pool at least, whatever it wants.
SHORTEST = 0.01


class Kept(Protocol):
    """What the housekeeper knows of a pool."""

    def _round(self) -> float:
        """Do what is due; return in how many seconds to come again, infinity for not at all."""
        ...


class Housekeeper:
    """Calls `_round` of every pool in its time, or at once when asked to by `call`. Keeps no pool alive."""

    def __init__(self) -> None:
        renew_after_fork(self)
        self._begin()

    def _begin(self) -> None:
        self._alive = new_lock()  # held as long as the thread lives
        self._calls: deque[Kept] = deque()  # who wants a round now; kept alive until they have had it
        self._due: dict[weakref.ref[Kept], float] = {}  # when the next rounds are; the thread's own
        self._parker: Parker = ThreadParker()  # what the thread sleeps on, now or next

    def _renew(self) -> None:
        keep(*self._calls)
        self._begin()

    def call(self, pool: Kept) -> None:
        """Have ``pool._round()`` run soon, in the thread. Never blocks, never fails."""
        self._calls.append(pool)
        self._parker.unpark()
        self._start()

    def _start(self) -> None:
        if self._alive.acquire(False):
            try:
                start_native_thread(self._run)
            except (RuntimeError, MemoryError):  # no more threads: what was called waits for the next call
                self._alive.release()

    def _run(self) -> None:
        alive = self._alive
        try:
            self._run_rounds(alive)
        finally:
            alive.release()
        self._calls.rotate(0)  # locks the deque: without the GIL a bare length may be a stale one
        if self._calls:
            self._start()

    def _run_rounds(self, alive: object) -> None:
        lingering = False
        # a green thread of eventlet's lives on in a forked child, which has begun anew: it has to go
        while alive is self._alive and (not lingering or self._due or self._calls):
            # published before the calls are looked at: one that comes after that unparks it
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
            kept = ref()
            if kept is None:
                del self._due[ref]
            elif due <= now:
                self._visit(kept)

    def _visit(self, pool: Kept) -> None:
        try:
            pause = pool._round()
        except BaseException:  # one pool in trouble must not stop the housekeeping of all the others
            log.exception("housekeeping failed, and is tried again in %s s", RETRY)
            pause = RETRY
        ref = weakref.ref(pool, self._dropped)
        if pause == inf:
            self._due.pop(ref, None)
        else:
            self._due[ref] = monotonic() + max(pause, SHORTEST)

    def _dropped(self, _ref: weakref.ref[Kept]) -> None:
        self._parker.unpark()


#: The one of this process.
housekeeper = Housekeeper()
