"""The clients: threads that send real requests, each over a connection of its own, and write down what came back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from time import perf_counter, sleep
from types import TracebackType
from typing import Any, Self

from urllib3 import HTTPConnectionPool, Timeout
from urllib3.exceptions import HTTPError, ReadTimeoutError

from examples.harness.server import HOST


@dataclass(frozen=True)
class Call:
    """One request, the status that answers it if all is well, and for how many seconds the client waits for it."""

    method: str
    path: str
    expected: int = 200
    order: dict[str, Any] | None = None
    patience: float | None = None  # None: for ever


@dataclass
class Tally:
    """What the clients have seen: of one of them, while it runs; of all of them in the end."""

    latencies: list[float] = field(default_factory=list)  # seconds, one for each request
    acknowledged: list[str] = field(default_factory=list)  # references of orders: the server has said "written"
    refused: list[str] = field(default_factory=list)  # references of others: the server has said "no", as it should
    abandoned: list[str] = field(default_factory=list)  # references or paths: the client went, and does not know more
    errors: list[str] = field(default_factory=list)  # whatever else was answered, or not answered
    ended: float = 0.0  # when the last client had its last answer, on `perf_counter`; 0.0 before that

    @classmethod
    def total(cls, tallies: Iterable[Tally]) -> Tally:
        """Add up."""
        total = cls()
        for tally in tallies:
            total.latencies += tally.latencies
            total.acknowledged += tally.acknowledged
            total.refused += tally.refused
            total.abandoned += tally.abandoned
            total.errors += tally.errors
            total.ended = max(total.ended, tally.ended)
        return total

    def note(self, call: Call, seconds: float, status: int | None, answer: str) -> None:
        """Write down how a call went; `status` None: not at all."""
        self.latencies.append(seconds)
        if status != call.expected:
            self.errors.append(f"{call.method} {call.path}: {status or 'no answer'}: {answer}")
        elif call.order is not None:
            (self.acknowledged if status == 201 else self.refused).append(call.order["reference"])

    def abandon(self, call: Call, seconds: float) -> None:
        """Write down that the client has not waited for the answer: what it wanted may have been done, or not."""
        self.latencies.append(seconds)
        self.abandoned.append(call.path if call.order is None else call.order["reference"])


#: Chooses the next request, by chance, given the reference that nobody else uses.
Choose = Callable[[Random, str], Call]


class Load:
    """So many requests from so many clients, from entering the ``with`` block on; leaving it stops what still runs.

    The clients and the main thread share no lock: Ctrl-C raises KeyboardInterrupt anywhere in the main thread, which
    could leave one held (`concurrent.futures.wait` does), and a client waiting for it for ever.
    """

    def __init__(self, port: int, choose: Choose, *, clients: int, requests: int) -> None:
        self._port = port
        self._choose = choose
        self._tallies = [Tally() for _ in range(clients)]  # each is written by one thread only
        self._stopping = False
        self._started = 0.0
        each, rest = divmod(requests, clients)
        self._threads = [
            # daemons: a server that hangs must not keep the program from ending
            threading.Thread(target=self._be_client, args=(number, each + (number < rest)), daemon=True)
            for number in range(clients)
        ]

    def __enter__(self) -> Self:
        self._started = perf_counter()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True

    @property
    def done(self) -> int:
        """How many requests have been answered so far."""
        return sum(len(tally.latencies) for tally in self._tallies)

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return (self.total().ended if self.finished else perf_counter()) - self._started

    @property
    def finished(self) -> bool:
        """Tell whether all clients have ended."""
        return all(tally.ended for tally in self._tallies)

    def wait(self, seconds: float) -> bool:
        """Let the clients work for a while; return `finished`."""
        sleep(seconds)
        return self.finished

    def total(self) -> Tally:
        """What all clients together have seen."""
        return Tally.total(self._tallies)

    def _be_client(self, number: int, requests: int) -> None:
        random, tally = Random(number), self._tallies[number]  # the same requests every time
        try:
            with HTTPConnectionPool(HOST, self._port, maxsize=1, retries=False) as http:
                for sequence in range(requests):
                    if self._stopping:
                        break
                    _send(http, self._choose(random, f"{number}-{sequence}"), tally)
        finally:
            tally.ended = perf_counter()


def _send(http: HTTPConnectionPool, call: Call, tally: Tally) -> None:
    started = perf_counter()
    status, answer = None, ""
    try:
        response = http.request(call.method, call.path, json=call.order, timeout=Timeout(read=call.patience))
        status, answer = response.status, response.data.decode(errors="replace")[:200]
    except ReadTimeoutError:  # the connection is closed: the client has gone
        tally.abandon(call, perf_counter() - started)
        return
    except HTTPError as error:
        answer = f"{type(error).__name__}: {error}"
    tally.note(call, perf_counter() - started, status, answer)
