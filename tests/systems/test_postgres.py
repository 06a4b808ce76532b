"""A real PostgreSQL that is restarted, away, or hangs: the effect on callers of a pool of connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from ProxyPatternPool import Pool, TimeOut
from tests.conftest import PATIENCE, Crew, Factory, until
from tests.support.postgres import PostgreSQL

pytest.importorskip("psycopg", reason="psycopg is missing: pip install ProxyPatternPool[servers]")

import psycopg  # it may be missing

from tests.support.connections import Attempts, Connection, is_alive, is_usable  # likewise

pytestmark = pytest.mark.slow  # it starts servers or programs


@pytest.fixture
def server(postgres: PostgreSQL) -> Iterator[PostgreSQL]:
    """Return the server, and leave it as it was."""
    yield postgres
    postgres.restart()  # which thaws it, too


@pytest.fixture
def attempts(server: PostgreSQL) -> Attempts:
    """Return what connects to the server."""
    return Attempts(server)


def pool_of(attempts: Attempts, max_size: int, min_size: int = 0, patience: float = PATIENCE) -> Pool[Connection]:
    """Return a pool that checks each connection each time, as others do that had been idle for a moment."""
    return Pool(
        attempts.connect,
        max_size,
        min_size=min_size,
        timeout=PATIENCE,
        health=partial(is_alive, patience=patience),
        health_delay=0,
        close="close",
        name="db",
    )


def lend_all(pool: Pool[Connection], number: int) -> list[bool]:
    """Lend so many at once; return for each whether it could be used."""
    with ExitStack() as leases:
        return [is_usable(leases.enter_context(pool.obj())) for _ in range(number)]


def test_after_a_restart_no_caller_is_lent_a_stale_connection(server: PostgreSQL, attempts: Attempts) -> None:
    """Otherwise the first requests after it would fail, one for each connection."""
    with pool_of(attempts, 6, min_size=6) as pool:
        server.restart()
        assert lend_all(pool, 6) == [True] * 6
        assert pool.stats()["nclosed"] == {"health": 6}
        assert attempts.failed == []


def test_a_connection_that_broke_in_use_is_not_lent_again(server: PostgreSQL, attempts: Attempts) -> None:
    """Otherwise each caller that had one at the moment of the restart would pass the failure on."""
    with pool_of(attempts, 1) as pool:
        with pool.obj() as connection:
            server.restart()
            assert not is_usable(connection)
        assert lend_all(pool, 1) == [True]


def test_the_first_caller_after_an_outage_is_served(server: PostgreSQL, attempts: Attempts) -> None:
    """Otherwise callers would wait for the pauses between background attempts, which grow."""
    with pool_of(attempts, 6, min_size=6) as pool:
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            pool.get()
        until(lambda: pool.stats()["ncreation_errors"] >= 4)  # its own, and three by the background
        assert pool.stats()["idle"] == 0
        server.start()
        pool.ret(pool.get(timeout=0))
        until(lambda: pool.stats()["idle"] == 6)


def test_a_server_that_comes_back_meets_no_stampede(server: PostgreSQL, attempts: Attempts, crew: Crew) -> None:
    """Otherwise it would be asked for more connections than it was promised, and go down again."""
    attempts.options["connect_timeout"] = int(PATIENCE)
    with pool_of(attempts, 3) as pool:
        server.freeze()
        for _ in range(12):
            crew.start(lambda: lend_all(pool, 1))
        until(lambda: (attempts.now, pool.stats()["nwaiting"]) == (3, 9))
        server.thaw()
        crew.join()
        assert attempts.peak == 3


def test_after_an_outage_all_callers_are_served(server: PostgreSQL, attempts: Attempts, crew: Crew) -> None:
    """Otherwise one of the many failures at once would have cost a place, or left a waiter asleep."""
    failed = threading.Semaphore(0)

    def ask_until_served() -> None:
        while True:
            try:
                with pool.obj() as connection:
                    assert is_usable(connection)
                return
            except psycopg.OperationalError:
                failed.release()

    with pool_of(attempts, 3, min_size=3) as pool:
        server.stop()
        for _ in range(12):
            crew.start(ask_until_served)
        for _ in range(36):
            assert failed.acquire(timeout=PATIENCE)
        server.start()
        crew.join()
        assert attempts.peak <= 3
        assert lend_all(pool, 3) == [True] * 3


def test_a_waiter_has_its_turn_when_connecting_fails(attempts: Attempts, crew: Crew) -> None:
    """Otherwise it would sleep beside a free place, until its timeout."""
    go = threading.Event()

    def fail() -> None:
        assert go.wait(PATIENCE)
        raise psycopg.OperationalError("no more")

    def meet_the_fault() -> None:
        with pytest.raises(psycopg.OperationalError, match="no more"):
            pool.get()

    attempts.faults.append(fail)
    with pool_of(attempts, 1) as pool:
        crew.start(meet_the_fault)
        until(lambda: attempts.now)
        crew.start(lambda: lend_all(pool, 1))
        until(lambda: pool.stats()["nwaiting"])
        go.set()
        crew.join()
        assert pool.stats()["nuses"] == 1


@pytest.mark.parametrize("min_size", [2, 0], ids=["while it is checked", "while it is made"])
def test_a_server_that_hangs_keeps_no_caller_beyond_the_timeout(
    server: PostgreSQL, attempts: Attempts, crew: Crew, factory: Factory, min_size: int
) -> None:
    """Otherwise one database would stop the whole program, and go on doing so when it is back."""
    attempts.options["connect_timeout"] = int(PATIENCE)
    with pool_of(attempts, 2, min_size) as pool, Pool(factory, 1, close="close") as other:
        server.freeze()
        for _ in range(2):
            crew.start(lambda: lend_all(pool, 1))
        until(lambda: pool.stats()["in_use" if min_size else "creating"] == 2)
        with pytest.raises(TimeOut, match=r"db: pool max size reached \(2\), timeout after 0\.05 s"):
            pool.get(timeout=0.05)
        other.discard(other.get(timeout=0))  # goes on, and so does what it has in the background
        until(lambda: factory.closed == [0])
        server.thaw()
        crew.join()
        assert lend_all(pool, 2) == [True, True]


def test_a_connection_to_a_server_that_hangs_is_given_up(server: PostgreSQL, attempts: Attempts) -> None:
    """Otherwise the next caller would wait for as long as the server hangs."""
    with pool_of(attempts, 1, min_size=1, patience=0.05) as pool:
        server.freeze()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            pool.get()
        assert pool.stats()["nclosed"] == {"health": 1}
        server.thaw()
        assert lend_all(pool, 1) == [True]
