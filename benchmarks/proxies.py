"""What it costs to reach an object through its proxy, and to set a proxy."""

from __future__ import annotations

import gc
import statistics
import timeit
import tracemalloc
from collections.abc import Iterator

from lazy_object_proxy import Proxy as LazyProxy
from rich.table import Table
from werkzeug.local import LocalProxy
from wrapt import CallableObjectProxy

from ProxyPatternPool import Proxy

LOOPS = 20_000
ROUNDS = 15  # the contenders take turns, so that all of them meet the machine's moods
SETTINGS = 300

OPERATIONS = ("p.attr", "p.method()", "p[0]", "p == 1", "str(p)", "p()", "len(p)")
OURS = ("Proxy SHARED", "Proxy THREAD", "Proxy VERSATILE")
PEERS_IN_C = ("wrapt", "lazy-object-proxy")


class Resource:
    """Does everything, at no cost."""

    attr = 1

    def method(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1

    def __str__(self) -> str:
        return ""

    def __call__(self) -> int:
        return 1

    def __len__(self) -> int:
        return 1


def contenders() -> dict[str, object]:
    """Return the object itself, and each proxy of it."""
    resource = Resource()
    return {
        "direct": resource,
        "Proxy SHARED": Proxy(resource),
        "Proxy THREAD": Proxy(fun=lambda _: resource, max_size=1),
        "Proxy VERSATILE": Proxy(fun=lambda _: resource, max_size=1, scope=Proxy.Scope.VERSATILE),
        "wrapt": CallableObjectProxy(resource),
        "lazy-object-proxy": LazyProxy(lambda: resource),
        "werkzeug LocalProxy": LocalProxy(lambda: resource),
    }


def measured() -> dict[tuple[str, str], float]:
    """Return the median of each operation of each contender, in ns."""
    times: dict[tuple[str, str], list[float]] = {}
    proxies = contenders()
    for _ in range(ROUNDS):
        for name, proxy in proxies.items():
            for operation in OPERATIONS:
                seconds = timeit.timeit(operation, globals={"p": proxy}, number=LOOPS)
                times.setdefault((name, operation), []).append(seconds / LOOPS * 1e9)
    return {key: statistics.median(values) for key, values in times.items()}


def operations() -> Iterator[Table]:
    """Show what the operations cost, and how that compares with the faster of the peers that are written in C."""
    cost = measured()
    table = Table("ns", *OPERATIONS, title="Through a proxy")
    for name in contenders():
        table.add_row(name, *(f"{cost[name, operation]:,.0f}" for operation in OPERATIONS))
    yield table
    table = Table(
        "ratio", *OPERATIONS, title="Against the faster of wrapt and lazy-object-proxy, which are C extensions"
    )
    for name in OURS:
        faster = {operation: min(cost[peer, operation] for peer in PEERS_IN_C) for operation in OPERATIONS}
        table.add_row(name, *(f"{cost[name, operation] / faster[operation]:.2f}" for operation in OPERATIONS))
    table.caption = (
        "wanted: SHARED p.attr and p.method() at most 0.35 on 3.11, 1.00 later; THREAD 0.50 on 3.11; SHARED others 2.00"
    )
    yield table


def settings() -> Iterator[Table]:
    """Show what a proxy costs in time and in memory, and whether nothing of it stays."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    proxies = [Proxy(Resource()) for _ in range(SETTINGS)]
    gc.collect()
    size = (tracemalloc.get_traced_memory()[0] - before) / SETTINGS
    proxies.clear()
    gc.collect()
    left = (tracemalloc.get_traced_memory()[0] - before) / SETTINGS
    tracemalloc.stop()
    proxy: Proxy[Resource] = Proxy()
    seconds = statistics.median(timeit.repeat(lambda: proxy.set_obj(Resource()), number=1, repeat=SETTINGS))
    table = Table("set, µs", "bytes per proxy", "bytes left when it is gone", title="Setting a proxy")
    table.add_row(f"{seconds * 1e6:,.0f}", f"{size:,.0f}", f"{left:,.0f}")
    table.caption = "wanted: below 200 µs, below 10,000 bytes, nothing left"
    yield table


def tables() -> Iterator[Table]:
    """Measure all of it."""
    yield from operations()
    yield from settings()
