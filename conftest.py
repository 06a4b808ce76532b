"""Have the examples in README and docs executed: each file is one program, read from top to bottom."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.sybil import SybilCollection
from sybil.typing import Parser

#: The servers which tests and examples share, and how much the tests try.
pytest_plugins = ["tests.support.effort", "tests.support.postgres", "tests.support.redis_server"]

PARSERS: list[Parser] = [PythonCodeBlockParser(), SkipParser()]
pytest_collect_file = SybilCollection(
    [
        Sybil(PARSERS, patterns=["*.md"], excludes=["**/recipes.md"]),
        Sybil(
            PARSERS,
            patterns=["**/recipes.md"],
            fixtures=["have_postgres", "have_asyncpg", "have_aiosqlite", "have_redis"],
        ),
    ]
).pytest()


@pytest.fixture(scope="module")
def have_postgres(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Tell whether there is a PostgreSQL, which the environment leads to."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            server = request.getfixturevalue("postgres")
        except pytest.skip.Exception:
            yield False
            return
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield find_spec("psycopg") is not None


@pytest.fixture(scope="module")
def have_asyncpg(have_postgres: bool) -> bool:
    """Tell whether there is something to try asyncpg with."""
    return have_postgres and find_spec("asyncpg") is not None


@pytest.fixture(scope="module")
def have_aiosqlite() -> bool:
    """Tell whether aiosqlite is installed."""
    return find_spec("aiosqlite") is not None


@pytest.fixture(scope="module")
def have_redis(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Tell whether there is a Redis, which the environment leads to."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            port = request.getfixturevalue("redis_port")
        except pytest.skip.Exception:
            yield False
            return
        patch.setenv("REDIS_URL", f"redis://127.0.0.1:{port}/0")
        yield find_spec("redis") is not None
