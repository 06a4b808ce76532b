"""The service with a database file per tenant, under examples/: real HTTP, more tenants than may be open."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.conftest import until

for _extra in ("aiosqlite", "fastapi", "urllib3", "uvicorn"):
    pytest.importorskip(_extra, reason=f"{_extra} is missing: pip install ProxyPatternPool[demo]")

from examples.bank import calls, ledger  # noqa: E402  # what it needs may be missing
from examples.harness.load import Call, Load, Tally  # noqa: E402  # likewise
from examples.harness.server import Server, serving  # noqa: E402  # likewise

pytestmark = pytest.mark.slow  # it starts servers or programs

TENANTS = [f"tenant-{number}" for number in range(12)]

#: Tenants with open databases, and connections of each.
MAX_SIZE, CONNECTIONS = 4, 3


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory with a bank for each tenant."""
    for tenant in TENANTS:
        ledger.create(tmp_path / f"{tenant}.db")
    return tmp_path


def service(directory: Path, ttl: float) -> AbstractContextManager[Server]:
    """Serve the tenants."""
    options = f"--directory={directory}", f"--max-size={MAX_SIZE}", f"--ttl={ttl}"
    return serving("examples.tenants.serve", *options, log=directory / "service.log")


def choose(random: Random, reference: str) -> Call:
    """Most requests are for a few tenants, some for all; now and then for one that does not exist. Some clients go."""
    tenant = random.choice([*TENANTS, *TENANTS[:3], *TENANTS[:3], "nobody"])
    call = calls.choose_impatiently(random, f"{tenant} {reference}")
    return replace(call, path=f"/{tenant}{call.path}", expected=404 if tenant == "nobody" else call.expected)


def open_databases(server: Server) -> Counter[str]:
    """Tell by the system how often the server has which database open. It stands still: a look takes some time."""
    os.kill(server.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, server.pid, os.WSTOPPED)
    try:
        files = [link.readlink().name for link in Path(f"/proc/{server.pid}/fd").iterdir()]
    finally:
        os.kill(server.pid, signal.SIGCONT)
    return Counter(name for name in files if name.endswith(".db"))


def put_under_load(server: Server, requests: int) -> tuple[Tally, list[Counter[str]]]:
    """Return what the clients have seen, and what was open at the same time, again and again."""
    seen: list[Counter[str]] = []

    def finished() -> bool:
        seen.append(open_databases(server))
        return load.wait(0.02)  # let the server have most of the time

    with Load(server.port, choose, clients=10, requests=requests) as load:
        until(finished)
    tally = load.total()
    assert (tally.errors, len(tally.latencies)) == ([], requests), server.log()
    return tally, seen


def check_books(directory: Path, tally: Tally) -> None:
    """See that each bank has what its clients were told, once, and nothing that was not ordered from it.

    A client that has gone does not know what has come of the order.
    """
    for tenant in TENANTS:
        audit = ledger.audit(directory / f"{tenant}.db")
        told, untold = (
            {reference for reference in references if reference.startswith(f"{tenant} ")}
            for references in (tally.acknowledged, tally.abandoned)
        )
        assert (audit.unbalanced, len(set(audit.references))) == ([], len(audit.references))
        assert told <= set(audit.references) <= told | untold
        assert told


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a process has open is told by Linux")
def test_more_tenants_than_may_be_open(directory: Path) -> None:
    """Otherwise a service would fail when it has more tenants than it may have databases open."""
    with service(directory, ttl=0.5) as server:
        tally, seen = put_under_load(server, requests=400)
        assert tally.abandoned
        assert max(map(len, seen)) == MAX_SIZE
        assert 1 < max(max(files.values(), default=0) for files in seen) <= CONNECTIONS
        until(lambda: not open_databases(server))  # no client asks any more
        until(lambda: not server.stats()["pool"]["size"])  # what was just closed
        stats = server.stats()["pool"]
        assert stats["nentering_errors"] > 0
        assert min(stats["nclosed"][reason] for reason in ("max_size", "ttl")) > 0, stats
        server.stop()
        assert server.log() == ""
    check_books(directory, tally)


def test_stopping_the_service_closes_its_databases(directory: Path) -> None:
    """Otherwise each deployment would leave logs, which the next process must recover from."""
    with service(directory, ttl=3600.0) as server:
        for tenant in TENANTS:  # one after the other: when two connections close at the same time, a log may be left
            assert server.get(f"/{tenant}/accounts")[0] == 200
        assert logs(directory) == {f"{tenant}.db-wal" for tenant in TENANTS[-MAX_SIZE:]}
        server.stop()
        assert server.log() == ""
    assert logs(directory) == set()


def logs(directory: Path) -> set[str]:
    """Return the names of those that are there: SQLite has one for each database that is open, or was not closed."""
    return {path.name for path in directory.glob("*-wal")}
