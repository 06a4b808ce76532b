"""The guard of the tests' servers: nothing of them is left behind, however pytest ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import until
from tests.support.wire import REPOSITORY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this platform cannot freeze a process"),
]

#: Starts a server, which a test has frozen, and is killed.
KILLED = """
    import os, signal, subprocess, sys
    from tests.support import guard

    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server.send_signal(signal.SIGSTOP)
    guard.watch(server, {directory!r})
    print(server.pid, flush=True)
    {then}
    os.kill(os.getpid(), signal.SIGKILL)
"""


def started_by(then: str, directory: Path) -> int:
    """Run the program to its end, and the guard, which has its output, too; return the process of its server."""
    program = "\n".join(line[4:] for line in KILLED.format(directory=str(directory), then=then).splitlines())
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr
    return int(result.stdout)


def has_ended(process: int) -> bool:
    """Tell whether a process has ended, be it reaped or not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_killed_pytest_leaves_no_server_and_no_file(tmp_path: Path) -> None:
    """Otherwise each killed run would leave a PostgreSQL, with 60 MB of its files."""
    directory = tmp_path / "data"
    directory.mkdir()
    server = started_by("", directory)
    assert not directory.exists()
    until(has_ended, server)


def test_a_forgotten_server_is_left_alone(tmp_path: Path) -> None:
    """Otherwise the guard would end another program that has got the number of an ended server."""
    server = started_by("guard.forget(server)", tmp_path)
    os.kill(server, signal.SIGKILL)
    assert tmp_path.exists()
