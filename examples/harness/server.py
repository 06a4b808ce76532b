"""A server in a process of its own, which is started by a demonstration or a test, and ended with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from urllib3 import HTTPConnectionPool
from urllib3.exceptions import HTTPError

#: The address of the servers.
HOST = "127.0.0.1"

#: Seconds that a server may take to answer, or to end. A sound one never does.
PATIENCE = 30.0


class ServerError(Exception):
    """The server does not do as it should; the message says what, and what the server has complained about."""


class Server:
    """A server process that listens on `port`: it has said so in its first line of output, ``{"port": 12345}``."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log
        self.port = self._announced_port()

    def log(self) -> str:
        """What it has complained about."""
        return self._log.read_text()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def get(self, path: str) -> tuple[int, Any]:
        """Request a page; return the status, and what its JSON says. `ServerError` when nobody answers."""
        try:
            with HTTPConnectionPool(HOST, self.port, retries=False, timeout=PATIENCE) as http:
                answer = http.request("GET", path)
        except HTTPError as error:
            raise ServerError(f"the server has stopped answering: {error}\n{self.log()}") from error
        return answer.status, answer.json()

    def stats(self) -> dict[str, Any]:
        """Ask it what its pool is doing. `ServerError` when it does not answer."""
        stats: dict[str, Any] = self.get("/stats")[1]
        return stats

    def stop(self) -> None:
        """Ask it to end, and wait until it has. `ServerError` unless it ends well, and in time."""
        self._process.terminate()
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise ServerError(f"the server does not end:\n{self.log()}") from error
        if status:
            raise ServerError(f"the server has ended with status {status}:\n{self.log()}")

    def _announced_port(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ServerError(f"the server did not start:\n{self.log()}")
        port: int = json.loads(line)["port"]
        return port


@contextmanager
def serving(module: str, *options: str, log: Path) -> Iterator[Server]:
    """Run ``python -m module`` for a ``with`` block; whatever ends the block, no process is left."""
    command = [sys.executable, "-m", module, *options]
    with (
        log.open("w") as stderr,  # a file: a pipe that nobody reads stops its writer once it is full
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            yield Server(process, log)
        finally:
            end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process, in the friendly way if it lets us. Does nothing to one that has ended."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
