"""The demonstration, of whatever application: ``make demo``, or ``python -m examples.flask_app.demo``.

Serves the application from a process of its own over a temporary database, and loads it over HTTP with more clients
than the pool has connections. Then the same with a connection per request. Ends with both side by side; exits with 1 if
a figure is wrong, with 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from examples.bank import ledger
from examples.bank.calls import choose
from examples.bank.report import Result, table, wrong_figures
from examples.harness.load import Choose, Load
from examples.harness.server import Server, ServerError, serving

#: Seconds between two looks at the server while it works, and between two lines about it where there is no terminal.
GLANCE, LINE = 0.2, 1.0

GOOD_NEWS = "Nothing lost, nothing written twice, no connection too many."


@dataclass(frozen=True)
class Application:
    """What is demonstrated: a module that serves it, and what there is to say about that."""

    module: str  # takes ``--database FILE``, and ``--max-size N`` or ``--per-request``
    setting: str
    remark: str
    choose: Choose = choose  # what the clients want

    @property
    def demo(self) -> str:
        """The module that demonstrates it."""
        return self.module.removesuffix(".serve") + ".demo"


@dataclass(frozen=True)
class Variant:
    """One way of having connections."""

    name: str
    max_size: int | None  # None: a connection per request

    def options(self) -> list[str]:
        """The same, told to the server."""
        return ["--per-request"] if self.max_size is None else ["--max-size", str(self.max_size)]


# -- the load, and how it looks


def run(
    application: Application, variant: Variant, options: argparse.Namespace, directory: Path, console: Console
) -> Result:
    """Serve, load, stop, audit."""
    database = directory / ("pool.db" if variant.max_size else "per_request.db")
    arguments = "--database", str(database), *variant.options()
    with serving(application.module, *arguments, log=database.with_suffix(".log")) as server:
        with Load(server.port, application.choose, clients=options.clients, requests=options.requests) as load:
            watch(variant, server, load, options.requests, console)
        stats = at_rest(server)
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


def at_rest(server: Server) -> dict[str, Any]:
    """Return its statistics when nothing is in use: soon, since clients that have gone leave work behind. Or not."""
    deadline = monotonic() + 10
    while (stats := server.stats())["pool"] and stats["pool"]["in_use"] and monotonic() < deadline:
        sleep(GLANCE)
    return stats


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


def demonstrate(application: Application, options: argparse.Namespace, console: Console) -> int:
    """Run both variants, show the table; return the exit status."""
    console.print(f"{options.clients} HTTP clients, {application.setting}, a file of SQLite.")
    variants = Variant(f"a pool of {options.max_size}", options.max_size), Variant("one per request", None)
    with TemporaryDirectory(prefix="bank-") as directory:
        results = [run(application, variant, options, Path(directory), console) for variant in variants]
    console.print(table(results))
    console.print(application.remark)
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


def main(application: Application) -> int:
    """Run the demonstration; return the exit status."""
    options = parse_options(application)
    console = Console(highlight=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        return demonstrate(application, options, console)
    except ServerError as error:
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


def parse_options(application: Application) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {application.demo}",
        description="Load an application with a pool of connections, then with a connection per request.",
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
