"""The service with a Redis client per tenant, under examples/: real Redis, real HTTP, more tenants than clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from random import Random

import pytest

from tests.conftest import until

for _extra in ("fastapi", "redis", "urllib3", "uvicorn"):
    pytest.importorskip(_extra, reason=f"{_extra} is missing: pip install ProxyPatternPool[demo,servers,test]")

from redis import Redis  # noqa: E402  # what it needs may be missing

from examples.harness.load import Call, Load, Tally  # noqa: E402  # likewise
from examples.harness.server import Server, serving  # noqa: E402  # likewise

pytestmark = pytest.mark.slow  # it starts servers or programs

TENANTS = [f"tenant-{number}" for number in range(12)]

#: Clients, and what each of them has of connections.
MAX_SIZE, CONNECTIONS = 4, 2


PASSWORD = "secret"


class Administrator:
    """The administrator of an empty Redis."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._client = Redis(port=port, decode_responses=True)
        self._client.flushall()

    def close(self) -> None:
        self._client.close()

    def add_user(self, name: str) -> None:
        """Add a user that owns the keys that begin with its name."""
        rights = ["+@all", "-@admin", "-@dangerous"]
        self._client.acl_setuser(name, enabled=True, passwords=f"+{PASSWORD}", keys=[f"{name}:*"], categories=rights)

    def remove_user(self, name: str) -> None:
        self._client.acl_deluser(name)

    def connections(self) -> list[str]:
        """Return the user of each connection that is logged in."""
        return [client["user"] for client in self._client.client_list() if client["user"] != "default"]

    def items(self, key: str) -> list[str]:
        """Return a list."""
        return [str(item) for item in self._client.lrange(key, 0, -1)]


@pytest.fixture
def redis(redis_port: int) -> Iterator[Administrator]:
    """Return the administrator of a Redis that knows the tenants."""
    with closing(Administrator(redis_port)) as administrator:
        for tenant in TENANTS:
            administrator.add_user(tenant)
        yield administrator
        for tenant in [*TENANTS, "late"]:
            administrator.remove_user(tenant)


def service(redis: Administrator, directory: Path, ttl: float) -> AbstractContextManager[Server]:
    """Serve the tenants."""
    options = {"redis-port": redis.port, "password": PASSWORD, "max-size": MAX_SIZE, "ttl": ttl}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    return serving("examples.tenants_redis.serve", *arguments, log=directory / "service.log")


def choose(random: Random, reference: str) -> Call:
    """Most requests are for a few tenants, some for all; now and then for one that does not exist."""
    tenant = random.choice([*TENANTS, *TENANTS[:3], *TENANTS[:3], "nobody"])
    expected = 404 if tenant == "nobody" else 200
    if expected == 404 or random.random() < 0.5:
        return Call("GET", f"/{tenant}/events", expected)
    return Call("POST", f"/{tenant}/events", 201, {"reference": f"{tenant} {reference}"})


def put_under_load(server: Server, redis: Administrator, requests: int) -> tuple[Tally, list[list[str]]]:
    """Return the answers that clients have seen, and the users that were connected meanwhile."""
    seen: list[list[str]] = []

    def finished() -> bool:
        seen.append(redis.connections())
        return load.finished

    with Load(server.port, choose, clients=10, requests=requests) as load:
        until(finished)
    tally = load.total()
    assert (tally.errors, len(tally.latencies)) == ([], requests), server.log()
    return tally, seen


def check_books(redis: Administrator, tally: Tally) -> None:
    """See that each tenant has what it was told it has, and had one client at a time, all of which were closed."""
    for tenant in TENANTS:
        journal = redis.items(f"{tenant}:journal")
        assert journal == ["opened", "closed"] * (len(journal) // 2)
        told = [reference for reference in tally.acknowledged if reference.startswith(f"{tenant} ")]
        assert sorted(redis.items(f"{tenant}:events")) == sorted(told) != []


def test_more_tenants_than_clients(tmp_path: Path, redis: Administrator) -> None:
    """Otherwise a service would fail when it has more tenants than it may have clients, or overrun its database."""
    with service(redis, tmp_path, ttl=0.5) as server:
        tally, seen = put_under_load(server, redis, requests=300)
        assert max(len(set(users)) for users in seen) == MAX_SIZE
        assert max(len(users) for users in seen) <= MAX_SIZE * CONNECTIONS
        until(lambda: not redis.connections())  # no client asks any more
        until(lambda: not server.stats()["pool"]["size"])  # what was just closed
        stats = server.stats()["pool"]
        assert stats["nentering_errors"] > 0
        assert min(stats["nclosed"][reason] for reason in ("max_size", "ttl")) > 0, stats
        server.stop()
        assert server.log() == ""
    check_books(redis, tally)


def test_stopping_the_service_closes_its_clients(tmp_path: Path, redis: Administrator) -> None:
    """Otherwise a client would be cut off in the middle, at each deployment."""
    with service(redis, tmp_path, ttl=3600.0) as server:
        tally, _ = put_under_load(server, redis, requests=120)
        for tenant in TENANTS:
            assert server.get(f"/{tenant}/events")[0] == 200
        assert set(redis.connections()) == set(TENANTS[-MAX_SIZE:])
        server.stop()
        assert server.log() == ""
    check_books(redis, tally)


def test_a_tenant_that_comes_later(tmp_path: Path, redis: Administrator) -> None:
    """Otherwise a tenant that was refused once would stay refused until the service is restarted."""
    with service(redis, tmp_path, ttl=3600.0) as server:
        assert server.get("/late/events") == (404, {"error": "there is no tenant late"})
        redis.add_user("late")
        assert server.get("/late/events") == (200, {"number": 0, "latest": []})
