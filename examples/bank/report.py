"""What came of the load: the table, and whether its figures are what they must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

from rich.table import Table

from examples.bank.ledger import Audit
from examples.harness.load import Tally


@dataclass(frozen=True)
class Result:
    """One way of having connections, under load."""

    name: str
    max_size: int | None  # of the pool; None: a connection per request
    requested: int  # requests that were to be sent
    seconds: float
    tally: Tally  # what the clients have seen
    opened: int  # connections, counted where they are opened
    in_use: int | None  # connections that were still out when every client had its answer; None without a pool
    audit: Audit  # what the database file held after the server had ended
    log: str  # what the server complained about


def wrong_figures(result: Result) -> list[str]:
    """Tell, one by one, what is not as it must be; an empty list when all is well. Speed is never wrong."""
    return [
        f"{result.name}: {text}"
        for text in (*_wrong_requests(result), *_wrong_connections(result), *_wrong_writes(result))
    ]


def _wrong_requests(result: Result) -> Iterator[str]:
    done, errors = len(result.tally.latencies), result.tally.errors
    if done < result.requested:
        yield f"{done} requests were made instead of {result.requested}"
    if errors:
        yield f"{len(errors)} requests went wrong, the first one: {errors[0]}\n{result.log}".rstrip()


def _wrong_connections(result: Result) -> Iterator[str]:
    done, opened = len(result.tally.latencies), result.opened
    if result.max_size is None:
        if not done - len(result.tally.abandoned) <= opened <= done:
            yield f"{opened} connections were opened for {done} requests: it should be one for each"
    elif not 0 < opened <= result.max_size:
        yield f"{opened} connections were opened, where 1 to {result.max_size} are allowed"
    if result.in_use:
        yield f"{result.in_use} connections were not given back"


def _wrong_writes(result: Result) -> Iterator[str]:
    found = Counter(result.audit.references)
    acknowledged = set(result.tally.acknowledged)
    kinds = {
        "acknowledged transfers are not in the database": acknowledged - found.keys(),
        "transfers are in the database more than once": {name for name, times in found.items() if times > 1},
        "transfers are in the database though they failed": found.keys() - acknowledged - set(result.tally.abandoned),
        "accounts do not hold what their transfers make it": result.audit.unbalanced,
    }
    for text, names in kinds.items():
        if names:
            yield f"{len(names)} {text}: {_some(names)}"


def _some(names: Iterable[object], most: int = 3) -> str:
    texts = sorted(map(str, names))
    return ", ".join(texts[:most]) + (", ..." if len(texts) > most else "")


def table(results: Iterable[Result]) -> Table:
    """Both ways side by side."""
    columns = [(result.name, _figures(result)) for result in results]
    made = Table(title="The same application, the same load")
    made.add_column("")
    for name, _ in columns:
        made.add_column(name, justify="right")
    for label in columns[0][1]:
        made.add_row(label, *(figures[label] for _, figures in columns))
    return made


def _figures(result: Result) -> dict[str, str]:
    tally = result.tally
    done = len(tally.latencies)
    return {
        "connections opened": f"{result.opened:,}",
        "connections not given back": "-" if result.in_use is None else f"{result.in_use:,}",
        "requests": f"{done:,}",
        "errors": f"{len(tally.errors):,}",
        "clients gone in mid-request": f"{len(tally.abandoned):,}",
        "requests/s": f"{done / result.seconds:,.0f}",
        "latency p50": f"{percentile(tally.latencies, 50) * 1000:,.1f} ms",
        "latency p99": f"{percentile(tally.latencies, 99) * 1000:,.1f} ms",
        "transfers acknowledged": f"{len(tally.acknowledged):,}",
        "transfers found in the database": f"{len(result.audit.references):,}",
        "overdrafts refused, and undone": f"{len(tally.refused):,}",
    }


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the values do not exceed; 0.0 of no values."""
    if not values:
        return 0.0
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]
