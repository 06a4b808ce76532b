"""The names of earlier releases: programs that were written for them run on."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ProxyPatternPool import Pool
from tests.conftest import Factory


def test_parameters_of_earlier_releases_mean_the_same(factory: Factory) -> None:
    """Otherwise each such program would have to be changed."""
    pool = Pool(factory, 3, max_avail_delay=60.0, closer=lambda thing: thing.close(), health_freq=2)
    assert (pool.stats()["max_delay"], pool.stats()["health_freq"]) == (60.0, 2)
    pool.__delete__()
    assert factory.closed == [0]


def test_attributes_of_earlier_releases_tell_the_same(factory: Factory) -> None:
    """Otherwise their monitoring would fail."""
    pool: Any = Pool(factory, 3, min_size=2)
    thing = pool.get()
    assert (len(pool._avail), len(pool._using), pool._nobjs, pool._nuses, pool._ncreated) == (1, 1, 2, 1, 2)
    assert pool._using == [thing]
    pool.ret(thing)
    assert (len(pool._avail), len(pool._using), pool._nuses) == (2, 0, 1)


def test_log_level_is_the_pools_own(factory: Factory, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise one pool would silence all others, as it did once."""
    quiet = Pool(factory, 1, health=lambda _: False, health_delay=0, log_level=logging.ERROR, name="quiet")
    loud = Pool(factory, 1, health=lambda _: False, health_delay=0, name="loud")
    for pool in (quiet, loud):
        pool.ret(pool.get())
    assert "loud: " in caplog.text
    assert "quiet: " not in caplog.text
    assert logging.getLogger("ProxyPatternPool").level == logging.NOTSET
