"""A Redis of the tests' own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import until
from tests.support import guard


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of 127.0.0.1 where a server listens."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("Redis is missing: apt-get install redis-server")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port: int = free.getsockname()[1]
    directory: Path = tmp_path_factory.mktemp("redis")
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    guard.watch(process)
    try:
        until(lambda: listens(port) or process.poll() is not None)
        yield port
    finally:
        process.terminate()
        process.wait()
        guard.forget(process)


def listens(port: int) -> bool:
    """Tell whether a server listens at this port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
