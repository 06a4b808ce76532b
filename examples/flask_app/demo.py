"""The demonstration: ``python -m examples.flask_app.demo``, or ``make demo``.

Serves the application from a process of its own over a temporary database, and loads it over HTTP with more clients
than the server has threads, and more threads than the pool has connections. Then the same with a connection per
request. Ends with both side by side; exits with 1 if a figure is wrong, with 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import HTTPError

from examples.flask_app import ledger
from examples.flask_app.load import HOST, Load
from examples.flask_app.report import Result, table, wrong_figures
from examples.flask_app.serve import THREADS

#: Seconds between two looks at the server while it works, and between two lines about it where there is no terminal.
GLANCE, LINE = 0.2, 1.0

GOOD_NEWS = "Nothing lost, nothing written twice, no connection too many."


class DemoError(Exception):
    """The demonstration cannot go on; the message says why."""


@dataclass(frozen=True)
class Variant:
    """One way of having connections."""

    name: str
    max_size: int | None  # None: a connection per request

    def options(self) -> list[str]:
        """The same, told to the server."""
        return ["--per-request"] if self.max_size is None else ["--max-size", str(self.max_size)]


# -- the server


class Server:
    """A server process that listens on `port`."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log
        self.port = self._announced_port()

    def log(self) -> str:
        """What it has complained about."""
        return self._log.read_text()

    def stats(self) -> dict[str, Any]:
        """Ask it what its pool is doing. `DemoError` when it does not answer."""
        try:
            with HTTPConnectionPool(HOST, self.port, retries=False) as http:
                answer: dict[str, Any] = http.request("GET", "/stats").json()
        except HTTPError as error:
            raise DemoError(f"the server has stopped answering: {error}\n{self.log()}") from error
        return answer

    def stop(self) -> None:
        """Ask it to end, and wait until it has. `DemoError` unless it ends well."""
        self._process.terminate()
        if self._process.wait():
            raise DemoError(f"the server has ended with status {self._process.returncode}:\n{self.log()}")

    def _announced_port(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DemoError(f"the server did not start:\n{self.log()}")
        port: int = json.loads(line)["port"]
        return port


@contextmanager
def serving(variant: Variant, database: Path) -> Iterator[Server]:
    """Have a server for a ``with`` block; whatever ends the block, no process is left."""
    log = database.with_suffix(".log")  # a file: a pipe that nobody reads stops its writer once it is full
    command = [sys.executable, "-m", "examples.flask_app.serve", "--database", str(database), *variant.options()]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            yield Server(process, log)
        finally:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """End a process, in the friendly way if it lets us. Does nothing to one that has ended."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


# -- the load, and how it looks


def run(variant: Variant, options: argparse.Namespace, directory: Path, console: Console) -> Result:
    """Serve, load, stop, audit."""
    database = directory / ("pool.db" if variant.max_size else "per_request.db")
    with serving(variant, database) as server:
        with Load(server.port, clients=options.clients, requests=options.requests) as load:
            watch(variant, server, load, options.requests, console)
        stats = server.stats()
        server.stop()
    return Result(
        name=variant.name,
        max_size=variant.max_size,
        requested=options.requests,
        seconds=load.seconds,
        tally=load.total(),
        opened=stats["opened"],
        in_use=stats["pool"]["in_use"] if stats["pool"] else None,
        audit=ledger.audit(database),
        log=server.log(),
    )


def watch(variant: Variant, server: Server, load: Load, requests: int, console: Console) -> None:
    """Show how it goes until the load is done: a bar in a terminal, now and then a line elsewhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[now]}"),
    )
    next_line = 0.0
    with Progress(
        *columns, console=console, auto_refresh=False, expand=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(variant.name, total=requests, now="")
        finished = False
        while not finished:
            finished = load.wait(GLANCE)
            done, now = load.done, f"{load.done / load.seconds:,.0f}/s  {activity(server.stats())}"
            progress.update(task, completed=done, now=now, refresh=True)
            if not console.is_terminal and (finished or monotonic() >= next_line):
                console.print(f"{variant.name}: {done:,} of {requests:,} requests  {now}", soft_wrap=True)
                next_line = monotonic() + LINE


def activity(stats: dict[str, Any]) -> str:
    """What the connections are doing, in a few words."""
    pool = stats["pool"]
    if pool is None:
        return f"{stats['opened']:,} connections opened"
    return f"{pool['in_use']} in use  {pool['idle']} idle  {pool['nwaiting']} waiting"


def demonstrate(options: argparse.Namespace, console: Console) -> int:
    """Run both variants, show the table; return the exit status."""
    console.print(f"{options.clients} HTTP clients, {THREADS} threads in the server, a file of SQLite.")
    variants = Variant(f"a pool of {options.max_size}", options.max_size), Variant("one per request", None)
    with TemporaryDirectory(prefix="flask_app-") as directory:
        results = [run(variant, options, Path(directory), console) for variant in variants]
    console.print(table(results))
    console.print("SQLite opens a connection in microseconds: what a pool saves in time with a server, it cannot show.")
    return judge(results, console)


def judge(results: list[Result], console: Console) -> int:
    """Say what is wrong with the figures, if anything; return the exit status."""
    wrong = [text for result in results for text in wrong_figures(result)]
    for text in wrong:
        console.print(f"WRONG: {text}", style="bold red", markup=False, soft_wrap=True)
    if not wrong:
        console.print(GOOD_NEWS, style="bold green")
    return 1 if wrong else 0


# -- the program


def main() -> int:
    """Run the demonstration; return the exit status."""
    options = parse_options()
    console = Console(highlight=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        return demonstrate(options, console)
    except DemoError as error:
        console.print(f"The demonstration has failed: {error}", style="bold red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt as error:
        console.print("Interrupted: the server is stopped, the temporary files are removed.")
        return 128 + int(error.args[0])


def interrupt(number: int, _frame: object) -> None:
    """Stop the program, once: a second Ctrl-C must not stop it halfway through its cleaning up."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.flask_app.demo",
        description="Load a Flask application with a pool of connections, then with a connection per request.",
    )
    parser.add_argument("--requests", type=positive, default=5_000, help="for each of the two (default %(default)s)")
    parser.add_argument("--clients", type=positive, default=50, help="at the same time (default %(default)s)")
    parser.add_argument("--max-size", type=positive, default=10, help="connections in the pool (default %(default)s)")
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


if __name__ == "__main__":
    sys.exit(main())
