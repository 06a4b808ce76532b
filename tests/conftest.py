"""The fixtures of the tests: objects to pool, and a way to wait for a state without guessing how long it takes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from ProxyPatternPool._threads import parking as _parking
from tests.support.loops import ENDS, LOOPS, NewLoop, Run

#: Seconds after which something that should have happened is called lost. Never waited for when all is well; a machine
#: that has much else to do is no reason to fail.
PATIENCE = 40.0

#: What tests have counted, to be told at the end.
REPORT: list[str] = []


def pytest_configure() -> None:
    """Hear interrupts, and let the programs that tests run do so: a shell has its background jobs ignore them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Pass what a worker of pytest-xdist has counted to the process that tells it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["report"] = REPORT


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker of pytest-xdist has counted."""
    REPORT.extend(getattr(node, "workeroutput", {}).get("report", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what tests have counted."""
    for line in REPORT:
        terminalreporter.write_line(line)


@pytest.fixture(autouse=True, scope="module")
def spared_collector() -> None:
    """Spare the garbage collector what is here for good: hundreds of times, tests have it look for what they leave.

    Once per file: tests import more, and pytest keeps what it will tell.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def no_rechecks() -> Iterator[None]:
    """Switch the rechecks of waiters off: they would hide a waiter that is not woken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_parking, "RECHECK", 3600.0)
        yield


def until(condition: Callable[..., object], *arguments: object) -> None:
    """Wait until the condition holds; fail when it does not within `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while not condition(*arguments):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


class Thing:
    """Something expensive: it knows whether it is used by two at once, or after its end."""

    def __init__(self, factory: Factory, number: int) -> None:
        self.factory = factory
        self.number = number
        self.closed = 0
        self.users = 0

    def close(self) -> None:
        self.closed += 1
        self.factory.closed.append(self.number)

    def __enter__(self) -> None:
        self.users += 1
        assert self.users == 1, "shared"
        assert not self.closed, "used after its end"

    def __exit__(self, *error: object) -> None:
        self.users -= 1


class Factory:
    """Makes things, and remembers all of them."""

    def __init__(self) -> None:
        self.things: list[Thing] = []
        self.closed: list[int] = []  # numbers, in the order of closing

    def __call__(self, number: int) -> Thing:
        thing = Thing(self, number)
        self.things.append(thing)
        return thing


@pytest.fixture
def factory() -> Factory:
    """Return a new factory of things."""
    return Factory()


class Crew:
    """Threads whose failures are the test's."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []

    def start(self, work: Callable[..., object], *arguments: object) -> threading.Thread:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:  # passed on by `join`
                self.errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def join(self) -> None:
        """Wait for all of them; raise what the first of them to fail raised."""
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread.name} hangs"
        self.threads.clear()
        if self.errors:
            raise self.errors[0]


@pytest.fixture
def crew() -> Crew:
    """Return a new crew."""
    return Crew()


def run(program: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own."""
    arguments = [sys.executable, "-c", textwrap.dedent(program)]
    environment = {**os.environ, **changes}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=3 * PATIENCE, check=False)


@pytest.fixture(params=LOOPS)
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    """Return what makes a loop, of each kind."""
    make: NewLoop = request.param
    if make is not asyncio.new_event_loop:
        make().close()  # skips where there is none
    return make


@pytest.fixture(params=ENDS)
def run_loop(request: pytest.FixtureRequest, new_loop: NewLoop) -> Run:
    """Return what runs a coroutine in a loop of its own, of each kind and with each kind of end."""
    return partial(request.param, new_loop)
