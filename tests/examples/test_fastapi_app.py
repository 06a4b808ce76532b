"""The FastAPI application under examples/, served by uvicorn: real HTTP, and clients that go in mid-request."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ProxyPatternPool import AsyncPool, PoolClosed
from tests.conftest import PATIENCE, until

for _extra in ("aiosqlite", "fastapi", "rich", "urllib3", "uvicorn"):
    pytest.importorskip(_extra, reason=f"{_extra} is missing: pip install ProxyPatternPool[demo]")

from examples.bank import ledger  # noqa: E402  # what it needs may be missing
from examples.bank.calls import choose  # noqa: E402  # likewise
from examples.fastapi_app.database import Connector  # noqa: E402  # likewise
from examples.harness.load import Call, Load  # noqa: E402  # likewise
from examples.harness.server import HOST, Server, serving  # noqa: E402  # likewise

pytestmark = pytest.mark.slow  # it starts servers or programs

REPOSITORY = Path(__file__).parents[2]


class Bank:
    """A served bank, whose file can be looked into."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server = server
        self.path = path

    def ask(self, method: str, path: str, order: object = None) -> tuple[int, Any]:
        """Send a request, and wait for its answer."""
        from urllib3 import HTTPConnectionPool

        with HTTPConnectionPool(HOST, self.server.port, retries=False) as http:
            answer = http.request(method, path, json=order, timeout=PATIENCE)
            return answer.status, json.loads(answer.data)

    def references(self) -> list[str]:
        """Return the references in the file."""
        audit = ledger.audit(self.path)
        assert audit.unbalanced == []
        return audit.references

    def sizes(self) -> tuple[int, int, int, int]:
        """Connections opened; in use; idle. Requests waiting."""
        stats = self.server.stats()
        return stats["opened"], stats["pool"]["in_use"], stats["pool"]["idle"], stats["pool"]["nwaiting"]


@contextmanager
def served(directory: Path, *options: str) -> Iterator[Bank]:
    """Serve a bank for a ``with`` block; in the end, see that the server has nothing to complain about."""
    path = directory / "bank.db"
    with serving("examples.fastapi_app.serve", "--database", str(path), *options, log=directory / "log") as server:
        yield Bank(server, path)
        server.stop()
        assert server.log() == ""


def order(reference: str, amount: int = 5) -> dict[str, Any]:
    return {"reference": reference, "source": 1, "target": 2, "amount": amount}


@contextmanager
def hanging_up(bank: Bank, order: dict[str, Any]) -> Iterator[None]:
    """Order a transfer, and go at the end of the ``with`` block, without having read the answer."""
    body = json.dumps(order)
    with socket.create_connection((HOST, bank.server.port)) as client:
        client.sendall(
            f"POST /transfers HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        yield


@pytest.mark.parametrize("options", [["--max-size=2"], ["--per-request"]], ids=["pool", "per request"])
def test_the_bank(tmp_path: Path, options: list[str]) -> None:
    """Otherwise the demonstration would compare two different things, or what does not work."""
    with served(tmp_path, *options) as bank:
        assert bank.ask("POST", "/transfers", order("one")) == (201, order("one"))
        status, refusal = bank.ask("POST", "/transfers", order("too much", amount=10**9))
        assert (status, "CHECK constraint failed" in refusal["error"]) == (409, True)
        assert bank.ask("POST", "/transfers", {"reference": "no amount"})[0] == 422
        assert bank.ask("GET", "/accounts/999") == (404, {"detail": "there is no account 999"})
        assert bank.ask("GET", "/accounts/2") == (
            200,
            {
                "id": 2,
                "owner": "owner 2",
                "balance": ledger.OPENING_BALANCE + 5,
                "latest": [["one", 1, 2, 5]],
            },
        )
        total = ledger.ACCOUNTS * ledger.OPENING_BALANCE
        assert bank.ask("GET", "/accounts") == (200, {"accounts": ledger.ACCOUNTS, "total": total})
        if options == ["--per-request"]:
            assert bank.server.stats() == {"opened": 5, "pool": None}
        else:
            assert bank.sizes() == (1, 0, 1, 0)
    assert bank.references() == ["one"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a process has open is told by Linux")
def test_a_connection_that_is_given_up_while_it_is_made_is_closed(tmp_path: Path) -> None:
    """Otherwise a pool would have files open after its end, or one more than it may have."""
    path = tmp_path / "bank.db"
    ledger.create(path)

    def open_files() -> int:
        return sum(link.resolve() == path.resolve() for link in Path("/proc/self/fd").iterdir())

    async def main() -> None:
        for turns in range(4):
            pool = AsyncPool(Connector(path), 2, min_size=0)
            wanted = asyncio.create_task(pool.get())
            for _ in range(turns):
                await asyncio.sleep(0)
            await pool.shutdown()
            await asyncio.wait([wanted])
            for _ in range(20):  # a look takes some time, in which threads go on
                assert not open_files()
                await asyncio.sleep(0)
            assert isinstance(wanted.exception(), PoolClosed)

    asyncio.run(main())


def test_a_client_that_goes_in_mid_statement(tmp_path: Path) -> None:
    """Otherwise the next request would have a busy connection, and commit what no client has confirmed."""
    with served(tmp_path, "--max-size=1") as bank, closing(sqlite3.connect(bank.path)) as other:
        other.execute("BEGIN IMMEDIATE")  # no other connection writes now
        with hanging_up(bank, order("was writing")), hanging_up(bank, order("was waiting")):
            until(lambda: bank.sizes() == (1, 1, 0, 1))
        until(lambda: bank.sizes() == (1, 0, 0, 0))  # not idle: its statement goes on, though its client has gone
        other.rollback()
        until(lambda: bank.sizes() == (1, 0, 1, 0))
        assert bank.ask("POST", "/transfers", order("next"))[0] == 201
        assert bank.sizes() == (1, 0, 1, 0)
    assert bank.references() == ["next"]


def half_patient(random: Random, reference: str) -> Call:
    """Every other client goes soon. No overdrafts: a transfer that is not written has been stopped."""
    call = choose(random, reference)
    while call.expected == 409:
        call = choose(random, reference)
    return replace(call, patience=random.uniform(0.001, 0.05)) if random.random() < 0.5 else call


def test_many_clients_that_go(tmp_path: Path) -> None:
    """Otherwise a bad mobile network would empty the pool, or spoil the books."""
    with served(tmp_path, "--max-size=3") as bank:
        with Load(bank.server.port, half_patient, clients=16, requests=800) as load:
            until(lambda: load.finished)
        until(lambda: bank.sizes() == (3, 0, 3, 0))
    tally, references = load.total(), bank.references()
    assert (tally.errors, len(tally.latencies)) == ([], 800)
    assert len(references) == len(set(references))
    assert set(tally.acknowledged) <= set(references) <= {*tally.acknowledged, *tally.abandoned}
    stopped = [name for name in tally.abandoned if not name.startswith("/") and name not in references]
    assert stopped  # it is not for nothing that the server watches its clients


def test_the_fastapi_demonstration_in_small(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.fastapi_app.demo", "--requests=300", "--clients=8", "--max-size=3"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.stdout.splitlines() if "│" in line]
    figures = {label: values for label, *values in rows}
    assert figures["requests"] == ["300", "300"]
    assert figures["errors"] == ["0", "0"]
    assert figures["connections not given back"] == ["0", "-"]
    assert "0" not in figures["clients gone in mid-request"]
    assert list(tmp_path.iterdir()) == []
