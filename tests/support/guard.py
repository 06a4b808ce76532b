"""Servers that end with the tests: also when pytest is killed, and can end nothing any more.

Run as a program, this module is the guard: a process beside pytest, in a session of its own. The guard reads of servers
until pytest has gone, and ends those that are left.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

Server = subprocess.Popen[Any]


class _Guard:
    """A process that is started for the first server."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def tell(self, pid: int, directory: str | None) -> None:
        """Tell the guard of a server and of its directory; None says that the server has ended."""
        if self._process is None:
            command = [sys.executable, "-I", "-S", __file__]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
            atexit.register(self._process.communicate)
        assert self._process.stdin
        self._process.stdin.write(json.dumps([pid, directory]) + "\n")
        self._process.stdin.flush()


_guard = _Guard()


def watch(server: Server, directory: str = "") -> None:
    """Have a server ended, and its directory removed, should pytest be killed."""
    _guard.tell(server.pid, directory)


def forget(server: Server) -> None:
    """Forget a server that has ended."""
    _guard.tell(server.pid, None)


def _end(pid: int, directory: str) -> None:
    """End it without a good-bye: SIGQUIT has PostgreSQL and gunicorn end their children, too, frozen ones included."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGQUIT)
        os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
    if directory:
        shutil.rmtree(directory, ignore_errors=True)


def _main() -> None:
    servers: dict[int, str | None] = {}
    for line in sys.stdin:  # it ends with pytest
        pid, directory = json.loads(line)
        servers[pid] = directory
    for pid, directory in servers.items():
        if directory is not None:
            _end(pid, directory)


if __name__ == "__main__":
    _main()
