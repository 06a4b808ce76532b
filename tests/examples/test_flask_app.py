"""The Flask application under examples/, and the demonstration that loads it: both run for real."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from ProxyPatternPool import Proxy, ProxyException

for _extra in ("flask", "rich", "urllib3", "waitress"):
    pytest.importorskip(_extra, reason=f"{_extra} is missing: pip install ProxyPatternPool[demo]")

if TYPE_CHECKING:
    from flask import Flask, Response
    from flask.testing import FlaskClient

    from examples.bank.report import Result

pytestmark = pytest.mark.slow  # it starts servers or programs

REPOSITORY = Path(__file__).parents[2]


# -- the application


@dataclass
class Bank:
    """The application's modules as a new process has them, and an empty database."""

    db: Proxy[sqlite3.Connection]
    ledger: ModuleType
    per_request: ModuleType
    create_app: Callable[..., Flask]
    config: dict[str, Any]

    def references(self) -> list[str]:
        """Return the references in the database file, seen from outside."""
        audit = self.ledger.audit(self.config["DB_PATH"])
        assert audit.unbalanced == []
        return list(audit.references)


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    # imported anew: `db` belongs to its module, and each test needs it as it is before it is set
    for name in [name for name in sys.modules if name.startswith("examples.flask_app")]:
        del sys.modules[name]
    from examples.bank import ledger
    from examples.flask_app import database, per_request
    from examples.flask_app.app import create_app

    path = tmp_path / "bank.db"
    ledger.create(path)
    yield Bank(database.db, ledger, per_request, create_app, {"DB_PATH": path, "DB_MAX_SIZE": 3})
    database.shutdown()


@pytest.fixture
def client(bank: Bank) -> FlaskClient:
    return bank.create_app(bank.config).test_client()


def order(reference: str, amount: int = 5) -> dict[str, Any]:
    return {"reference": reference, "source": 1, "target": 2, "amount": amount}


def overdraft(reference: str) -> dict[str, Any]:
    return order(reference, amount=10**9)


def sizes(client: FlaskClient) -> tuple[int, int, int]:
    """Connections opened; in use; idle."""
    stats = client.get("/stats").get_json()
    return stats["opened"], stats["pool"]["in_use"], stats["pool"]["idle"]


def watch_leases(app: Flask, bank: Bank) -> list[bool]:
    """Note whether the thread has a connection when a handler has answered, before the request's end cleans up."""
    seen: list[bool] = []

    @app.after_request
    def note(response: Response) -> Response:
        seen.append(bank.db._has_obj())
        return response

    return seen


def test_the_blueprints_import_db_before_it_is_set(bank: Bank) -> None:
    """Lost otherwise: the import order would decide whether an application starts."""
    with pytest.raises(ProxyException, match="db: the proxy is not set yet"):
        bank.db.execute("SELECT 1")
    client = bank.create_app(bank.config).test_client()
    assert client.get("/accounts/1").get_json() == {
        "id": 1,
        "owner": "owner 1",
        "balance": bank.ledger.OPENING_BALANCE,
        "latest": [],
    }


def test_making_the_application_opens_nothing(client: FlaskClient) -> None:
    assert sizes(client) == (0, 0, 0)


@pytest.mark.parametrize("path", ["/accounts", "/accounts/1", "/accounts/999"])
def test_reading_gives_the_connection_back(bank: Bank, path: str) -> None:
    app = bank.create_app(bank.config)
    held = watch_leases(app, bank)
    client = app.test_client()
    assert client.get(path).status_code == (404 if "999" in path else 200)
    assert held == [False]
    assert sizes(client) == (1, 0, 1)


def test_commit_gives_the_connection_back(bank: Bank) -> None:
    """Otherwise a thread that has done its work would keep others waiting."""
    app = bank.create_app(bank.config)
    held = watch_leases(app, bank)
    client = app.test_client()
    for reference in ("one", "two"):
        assert client.post("/transfers", json=order(reference)).status_code == 201
    assert held == [False, False]
    assert sizes(client) == (1, 0, 1)
    assert bank.references() == ["one", "two"]
    assert client.get("/accounts/2").get_json()["balance"] == bank.ledger.OPENING_BALANCE + 10
    assert client.get("/accounts/1").get_json()["latest"][0] == ["two", 1, 2, 5]


def test_a_refused_transfer_is_undone_and_its_connection_given_back(bank: Bank) -> None:
    """Lost otherwise: half a transaction, which the next user of that connection would commit."""
    app = bank.create_app(bank.config)
    held = watch_leases(app, bank)
    client = app.test_client()
    assert client.post("/transfers", json=overdraft("too much")).status_code == 409
    assert held == [True]  # it is the end of the request which cleans up
    assert not bank.db._has_obj()
    assert sizes(client) == (1, 0, 1)
    assert client.post("/transfers", json=order("next")).status_code == 201
    assert bank.references() == ["next"]


def test_a_crash_in_mid_transaction_is_undone_and_its_connection_given_back(bank: Bank) -> None:
    app = bank.create_app(bank.config)

    @app.post("/crash")
    def crash() -> str:
        bank.db.execute("INSERT INTO transfer VALUES (NULL, 'crashed', 1, 2, 5)")
        raise RuntimeError("in mid-transaction")

    client = app.test_client()
    assert client.post("/crash").status_code == 500
    assert sizes(client) == (1, 0, 1)
    assert client.post("/transfers", json=order("next")).status_code == 201
    assert bank.references() == ["next"]


def test_an_incomplete_order_takes_no_connection(client: FlaskClient) -> None:
    assert client.post("/transfers", json={"reference": "no amount"}).status_code == 400
    assert client.post("/transfers", json=["no order"]).status_code == 400
    assert sizes(client) == (0, 0, 0)


def test_a_connection_per_request_does_the_same_with_more_connections(bank: Bank) -> None:
    """Lost otherwise: the demonstration would compare two different things."""
    client = bank.create_app(bank.config, bank.per_request.init_app).test_client()
    assert client.get("/accounts/1").status_code == 200
    assert client.post("/transfers", json=order("one")).status_code == 201
    assert client.post("/transfers", json=overdraft("too much")).status_code == 409
    assert client.get("/stats").get_json() == {"opened": 3, "pool": None}
    assert bank.references() == ["one"]


# -- the demonstration's checks


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Real results: of a pool, and of a connection per request."""
    from rich.console import Console

    from examples.bank import demo
    from examples.flask_app.demo import APPLICATION

    options, console = Namespace(requests=60, clients=3), Console(file=StringIO())
    directory, variants = tmp_path_factory.mktemp("demo"), (demo.Variant("pool", 2), demo.Variant("per request", None))
    return {one.name: demo.run(APPLICATION, one, options, directory, console) for one in variants}


def verdict(result: Result) -> tuple[int, str]:
    """The demonstration's exit status, and what it says."""
    from rich.console import Console

    from examples.bank import demo

    console = Console(file=StringIO(), width=80)
    status = demo.judge([result], console)
    assert isinstance(console.file, StringIO)
    return status, console.file.getvalue()


def with_tally(result: Result, **changes: Any) -> Result:
    return replace(result, tally=replace(result.tally, **changes))


def with_audit(result: Result, **changes: Any) -> Result:
    return replace(result, audit=replace(result.audit, **changes))


ALTERATIONS: dict[str, tuple[str, Callable[[Result], Result]]] = {
    "pool: 59 requests were made instead of 60": (
        "pool",
        lambda it: with_tally(it, latencies=it.tally.latencies[1:]),
    ),
    "pool: 1 requests went wrong, the first one: GET /accounts: 500": (
        "pool",
        lambda it: with_tally(it, errors=["GET /accounts: 500"]),
    ),
    "pool: 3 connections were opened, where 1 to 2 are allowed": ("pool", lambda it: replace(it, opened=3)),
    "pool: 0 connections were opened, where 1 to 2 are allowed": ("pool", lambda it: replace(it, opened=0)),
    "pool: 1 connections were not given back": ("pool", lambda it: replace(it, in_use=1)),
    "per request: 2 connections were opened for 60 requests": ("per request", lambda it: replace(it, opened=2)),
    "pool: 1 acknowledged transfers are not in the database: ": (
        "pool",
        lambda it: with_audit(it, references=it.audit.references[1:]),
    ),
    "pool: 1 transfers are in the database more than once: ": (
        "pool",
        lambda it: with_audit(it, references=[*it.audit.references, it.audit.references[0]]),
    ),
    "pool: 1 transfers are in the database though they failed: ": (
        "pool",
        lambda it: with_audit(it, references=[*it.audit.references, it.tally.refused[0]]),
    ),
    "pool: 2 accounts do not hold what their transfers make it: 1, 7": (
        "pool",
        lambda it: with_audit(it, unbalanced=[1, 7]),
    ),
}


@pytest.mark.parametrize("name", ["pool", "per request"])
def test_right_figures_pass(results: dict[str, Result], name: str) -> None:
    result = results[name]
    assert result.tally.acknowledged  # there is something to lose
    assert result.tally.refused
    assert verdict(result) == (0, "Nothing lost, nothing written twice, no connection too many.\n")


@pytest.mark.parametrize("complaint", ALTERATIONS)
def test_a_wrong_figure_is_told_and_fails(results: dict[str, Result], complaint: str) -> None:
    """Lost otherwise: a demonstration that shows nothing, since it could not fail."""
    name, alter = ALTERATIONS[complaint]
    status, text = verdict(alter(results[name]))
    assert status == 1
    assert text.startswith(f"WRONG: {complaint}")
    assert text.count("WRONG") == 1


def test_the_audit_finds_half_a_transaction(bank: Bank) -> None:
    with sqlite3.connect(bank.config["DB_PATH"]) as connection:
        connection.execute("UPDATE account SET balance = balance + 1 WHERE id = 7")
    connection.close()
    assert bank.ledger.audit(bank.config["DB_PATH"]).unbalanced == [7]


def test_percentile() -> None:
    from examples.bank.report import percentile

    assert percentile([], 99) == 0.0
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 99) == 99.0


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    from examples.harness.server import ServerError, serving

    database = tmp_path / "bank.db"
    database.mkdir()
    with (
        pytest.raises(ServerError, match=r"(?s)did not start.*unable to open database file"),
        serving("examples.flask_app.serve", "--database", str(database), log=tmp_path / "log"),
    ):
        pytest.fail("there is no server")


# -- the demonstration as a program


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "examples.flask_app.demo", *options]


def environment(directory: Path) -> dict[str, str]:
    """Have temporary files in `directory`, and the output as bytes mean it, terminal or not."""
    plain = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
    return {**plain, "TMPDIR": str(directory), "PYTHONUTF8": "1"}


def test_the_flask_demonstration_in_small(tmp_path: Path) -> None:
    done = subprocess.run(
        command("--requests", "300", "--clients", "8", "--max-size", "3"),
        cwd=REPOSITORY,
        env=environment(tmp_path),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.stdout.splitlines() if "│" in line]
    figures = {label: values for label, *values in rows}
    assert figures["connections opened"][1] == "300"
    assert 1 <= int(figures["connections opened"][0]) <= 3
    assert figures["requests"] == ["300", "300"]
    assert figures["errors"] == ["0", "0"]
    assert figures["connections not given back"] == ["0", "-"]
    assert figures["transfers acknowledged"] == figures["transfers found in the database"] != ["0", "0"]
    assert {"requests/s", "latency p50", "latency p99"} <= figures.keys()
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are a POSIX thing")
@pytest.mark.parametrize("send", ["kill", "killpg"])  # to the program alone; as a terminal does, to the server too
def test_interrupting_the_demonstration_leaves_nothing(tmp_path: Path, send: str) -> None:
    """Lost otherwise: servers and databases that stay behind, a traceback instead of a line."""
    with subprocess.Popen(
        command("--requests", "1000000"),
        cwd=REPOSITORY,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("50 HTTP clients, 16 threads")
            first = process.stdout.readline()
            assert re.match(r"a pool of 10: [\d,]+ of 1,000,000 requests", first), first
            getattr(os, send)(process.pid, signal.SIGINT)
            *_, last = process.stdout.read().splitlines()
            assert process.wait() == 130
            assert last == "Interrupted: the server is stopped, the temporary files are removed."
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)
            assert list(tmp_path.iterdir()) == []
        finally:
            kill_group(process.pid)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="a signal that can be caught is a POSIX thing")
def test_the_server_announces_its_port_and_ends_well(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "examples.flask_app.serve", "--database", str(tmp_path / "bank.db")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["port"] > 0
            process.terminate()
            assert process.stdout.read() == ""
            assert process.wait() == 0
        finally:
            process.kill()


def kill_group(group: int) -> None:
    """End what a failing test would leave."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
