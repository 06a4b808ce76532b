"""The Flask example under gunicorn: real processes, real HTTP, a real server at the other end of the pool."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import PATIENCE, Crew, until
from tests.support import guard
from tests.support.wire import Server

if not hasattr(os, "fork"):
    pytest.skip("gunicorn needs fork, which this platform does not have", allow_module_level=True)
for _extra in ("flask", "gunicorn", "urllib3"):
    pytest.importorskip(_extra, reason=f"{_extra} is missing: pip install ProxyPatternPool[demo,test]")

from examples.bank import ledger  # noqa: E402  # what it needs may be missing
from examples.bank.calls import choose  # noqa: E402  # likewise
from examples.harness.load import Load  # noqa: E402  # likewise

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

pytestmark = pytest.mark.slow  # it starts servers or programs

#: The example, and beside its database a pool of connections to the test's server.
APPLICATION = """
    import os
    from flask import request
    from examples.flask_app.app import create_app
    from ProxyPatternPool import Proxy
    from tests.support.wire import Connection

    app = create_app({"DB_PATH": "bank.db", "DB_MAX_SIZE": 3})
    wire = Proxy(fun=Connection, scope=Proxy.Scope.VERSATILE, max_size=3, timeout=20.0, close="close", name="wire")

    @app.get("/say/<word>")
    def say(word):
        with wire._obj() as mine:
            mine.say(word)
            return {"pid": os.getpid(), "name": mine.name}

    @app.get("/wire")
    def stats():
        return {"pid": os.getpid(), **wire._pool.stats()}
"""

#: What makes the master hold one connection and leave another one idle, before it forks.
PRELOADED = """
    import examples.flask_app.database
    examples.flask_app.database.db.execute("SELECT 1")
    wire.say("preloaded")
    with wire._pool.obj() as other:
        other.say("preloaded")
"""


class Gunicorn:
    """A running gunicorn, which shares its listening socket with the test: no request comes too early."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def get(self, path: str) -> Any:
        """Request a page over a connection of its own."""
        answer = self.request(path)
        assert answer.status == 200, answer.data
        return answer.json()

    def status(self, path: str) -> int:
        """Request a page, and return the status of any answer."""
        return self.request(path).status

    def request(self, path: str) -> BaseHTTPResponse:
        """Send a request over a connection of its own."""
        from urllib3 import HTTPConnectionPool

        with HTTPConnectionPool("127.0.0.1", self.port, retries=False, timeout=PATIENCE) as http:
            return http.request("GET", path)

    def stop(self) -> None:
        """Ask it to end gracefully: it does so in time, and says nothing."""
        self.process.send_signal(signal.SIGTERM)
        output, errors = self.process.communicate(timeout=PATIENCE)
        assert (self.process.returncode, output, errors) == (0, "", "")


@pytest.fixture
def wire() -> Iterator[Server]:
    """Return a server that listens."""
    with Server() as server:
        yield server


@contextmanager
def gunicorn(directory: Path, wire: Server, application: str, *options: str) -> Iterator[Gunicorn]:
    """Serve an application for a ``with`` block."""
    ledger.create(directory / "bank.db")
    (directory / "application.py").write_text(textwrap.dedent(application))
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        bind = f"fd://{listener.fileno()}"
        command = [sys.executable, "-m", "gunicorn", "--bind", bind, "--log-level", "warning", *options]
        process = subprocess.Popen(
            [*command, "application:app"],
            cwd=directory,
            env=wire.environment,
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        guard.watch(process)
        try:
            yield Gunicorn(process, listener.getsockname()[1])
        finally:
            end_group(process)


def end_group(process: subprocess.Popen[str]) -> None:
    """End what a failing test would leave, workers included."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()
    guard.forget(process)


def load(server: Gunicorn, directory: Path) -> None:
    """Have many clients, and find in the database exactly what they were told."""
    with Load(server.port, choose, clients=12, requests=300) as clients:
        until(lambda: clients.finished)
    tally, audit = clients.total(), ledger.audit(directory / "bank.db")
    assert (tally.errors, len(tally.latencies), audit.unbalanced) == ([], 300, [])
    assert sorted(audit.references) == sorted(tally.acknowledged) != []


def workers(server: Gunicorn, number: int) -> dict[int, set[str]]:
    """Have so many workers answer; return the connections that each of them has used."""
    used: dict[int, set[str]] = {}

    def all_have() -> bool:
        answer = server.get("/say/hello")
        used.setdefault(answer["pid"], set()).add(answer["name"])
        return len(used) == number

    until(all_have)
    return used


def test_preloaded_threads(tmp_path: Path, wire: Server) -> None:
    """Otherwise two workers would talk over a connection that the master has made, or leave theirs open at the end."""
    options = ("--preload", "--worker-class", "gthread", "--workers", "2", "--threads", "4")
    with gunicorn(tmp_path, wire, APPLICATION + PRELOADED, *options) as server:
        load(server, tmp_path)
        used = workers(server, 2)
        master = wire.of(server.process.pid)
        assert server.process.pid not in used
        assert list(master.values()) == ["preloaded "] * 2
        for pid, names in used.items():
            assert names <= wire.of(pid).keys()
            assert len(wire.of(pid)) <= 3

        server.process.send_signal(signal.SIGTTOU)  # one worker less: it ends, and the master lives on
        until(lambda: [pid for pid in used if wire.of(pid).keys() <= wire.ended])
        assert wire.of(server.process.pid) == master
        assert not master.keys() & wire.ended
        server.stop()

    until(lambda: wire.ended == wire.heard.keys())
    for pid in used:
        assert all(words.endswith("hello bye ") and words.count("bye") == 1 for words in wire.of(pid).values())
    # the master has said good-bye in its own name, once; the other connection was in use, and is lost
    assert list(wire.of(server.process.pid).values()).count("preloaded bye ") == 1


#: Keeps connections until told otherwise.
HOLDING = """
    import threading
    released = threading.Event()

    @app.get("/hold")
    def hold():
        with wire._obj() as mine:
            released.wait()
            mine.say("held")
        return {}

    @app.get("/release")
    def release():
        released.set()
        return {}
"""


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["", "preloaded"])
def test_a_gevent_worker_answers_while_other_requests_wait(
    tmp_path: Path, wire: Server, crew: Crew, options: list[str]
) -> None:
    """Otherwise one request that waits for a connection would stop a whole worker, the one that has it included."""
    pytest.importorskip("gevent", reason="gevent is missing: pip install ProxyPatternPool[gevent]")
    options = ["--worker-class", "gevent", "--workers", "1", *options]
    with gunicorn(tmp_path, wire, APPLICATION + HOLDING, *options) as server:
        for _ in range(3):
            crew.start(server.get, "/hold")
        until(lambda: server.get("/wire")["in_use"] == 3)
        for _ in range(5):
            crew.start(server.get, "/say/waited")
        until(lambda: server.get("/wire")["nwaiting"] == 5)  # it answers while others wait
        load(server, tmp_path)
        assert server.get("/wire")["nwaiting"] == 5
        server.get("/release")
        crew.join()
        stats = server.get("/wire")
        assert (stats["size"], stats["in_use"], stats["nwaiting"], stats["nuses"]) == (3, 0, 0, 8)
        server.stop()
    until(lambda: wire.ended == wire.heard.keys())
    assert len(wire.heard) == 3
    assert all(words.startswith("held ") and words.endswith(" bye ") for words in wire.heard.values()), wire.heard
    assert "".join(wire.heard.values()).count("waited ") == 5


#: Views that are coroutines, and a teardown that knows nothing of them.
COROUTINES = """
    import asyncio
    from flask import Response

    app.logger.disabled = True  # of the view that raises
    app.teardown_appcontext(lambda error: wire._ret_obj())

    @app.get("/query/<word>")
    async def query(word):
        wire.say(word)
        await asyncio.sleep(0)
        if word == "bad":
            raise ValueError("on purpose")
        return {"name": wire.name}

    @app.get("/stream")
    async def stream():
        def pieces():
            with wire._obj():
                while True:
                    yield "piece " * 1000

        wire.say("stream")
        return Response(pieces())
"""


def test_coroutine_views_in_threads(tmp_path: Path, wire: Server, crew: Crew) -> None:
    """Otherwise each request of such a view, each error and each client that goes, keeps a connection out."""
    pytest.importorskip("asgiref", reason="asgiref is missing: pip install flask[async]")
    options = ("--worker-class", "gthread", "--workers", "1", "--threads", "6", "--log-level", "critical")
    with gunicorn(tmp_path, wire, APPLICATION + COROUTINES, *options) as server:

        def work() -> None:
            for word in ("good", "bad", "good"):
                assert server.status(f"/query/{word}") == (500 if word == "bad" else 200)
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
                client.sendall(b"GET /stream HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                assert client.recv(10) == b"HTTP/1.1 2"

        for _ in range(6):
            crew.start(work)
        crew.join()
        until(lambda: server.get("/wire")["in_use"] == 0)
        stats = server.get("/wire")
        assert (stats["size"] <= 3, stats["ntimeouts"], stats["nuses"]) == (True, 0, 6 * 5)
        server.stop()
    until(lambda: wire.ended == wire.heard.keys())
