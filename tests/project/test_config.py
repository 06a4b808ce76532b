"""The parameters: bad input is refused at once, by name and value."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from functools import partial
from typing import Any

import pytest

from ProxyPatternPool import AsyncPool, AsyncProxy, Pool, Proxy
from ProxyPatternPool._config import (
    EARLIER_NAMES,
    NONE_IS_DEFAULT,
    OTHER_NAMES,
    PoolConfig,
    PoolParameters,
    ProxyParameters,
    configure,
)

Scope = Proxy.Scope


@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"max_size": -1}, ValueError, "max_size must not be negative, but is -1"),
        ({"min_size": -1}, ValueError, "min_size must not be negative, but is -1"),
        ({"max_use": -1}, ValueError, "max_use must not be negative, but is -1"),
        ({"max_size": 2.5}, TypeError, "max_size must be an int, not 2.5"),
        ({"min_size": "3"}, TypeError, "min_size must be an int, not '3'"),
        ({"max_use": True}, TypeError, "max_use must be an int, not True"),
        ({"max_size": ""}, TypeError, "max_size must be an int, not ''"),
        ({"max_size": 2, "min_size": 3}, ValueError, r"min_size must not be above max_size \(2\), but is 3"),
        ({"timeout": -1}, ValueError, "timeout must be a finite number of seconds from 0, not -1"),
        ({"timeout": "1"}, TypeError, "timeout must be a number of seconds, not '1'"),
        ({"max_delay": -0.1}, ValueError, "max_delay must be a finite number of seconds from 0, not -0.1"),
        ({"max_delay": float("nan")}, ValueError, "max_delay must be a finite number of seconds from 0, not nan"),
        ({"min_size": None}, TypeError, "min_size must be an int, not None"),
        ({"close": 3}, TypeError, "close must be a callable, the name of a method, or None, not 3"),
        ({"close": ""}, TypeError, "close must be a callable, the name of a method, or None, not ''"),
        ({"name": 3}, TypeError, "name must be a str, not 3"),
        ({"health": 3}, TypeError, "health must be a callable or None, not 3"),
        ({"opener": "open"}, TypeError, "opener must be a callable or None, not 'open'"),
        ({"getter": 3}, TypeError, "getter must be a callable or None, not 3"),
        ({"retter": 3}, TypeError, "retter must be a callable or None, not 3"),
        ({"tracer": 3}, TypeError, "tracer must be a callable or None, not 3"),
        ({"stats": 3}, TypeError, "stats must be a callable or None, not 3"),
        ({"max_lifetime": -1}, ValueError, "max_lifetime must be a finite number of seconds from 0, not -1"),
        ({"max_using_delay": "1"}, TypeError, "max_using_delay must be a number of seconds, not '1'"),
        ({"max_using_delay_kill": -1}, ValueError, "max_using_delay_kill must be a finite number of seconds"),
        ({"max_waiting": -1}, ValueError, "max_waiting must not be negative, but is -1"),
        ({"health_delay": None}, TypeError, "health_delay must be a number of seconds, not None"),
        ({"health_freq": 0}, ValueError, "health_freq must not be below 1, but is 0"),
        ({"delay": -1}, ValueError, "delay must be a finite number of seconds from 0, not -1"),
        ({"log_level": "DEBUG"}, TypeError, "log_level must be an int, not 'DEBUG'"),
        ({"closer": 3}, TypeError, "close must be a callable, the name of a method, or None, not 3"),
        (
            {"max_delay": 1, "max_avail_delay": 2},
            TypeError,
            "max_avail_delay and max_delay are the same parameter: both were given",
        ),
        ({"max_sise": 3}, TypeError, r"has no parameter max_sise \(given as 3\): did you mean max_size\?"),
        ({"colour": "red"}, TypeError, r"has no parameter colour \(given as 'red'\)$"),
    ],
)
@pytest.mark.parametrize("what", [Pool, Proxy])
def test_bad_parameters(what: Any, parameters: dict[str, Any], error: type[Exception], text: str) -> None:
    """Otherwise a slip would show only under load."""
    with pytest.raises(error, match=text):
        what(fun=lambda n: n, **parameters)


@pytest.mark.parametrize("fun", [None, 3, "connect"])
def test_a_function_that_is_none(fun: Any) -> None:
    """Otherwise the first caller would hear of it, and not the author of the mistake."""
    with pytest.raises(TypeError, match=f"fun must be a callable, not {fun!r}"):
        Pool(fun)


@pytest.mark.parametrize("pool", [Pool, AsyncPool])
def test_a_pool_refuses_parameters_of_a_proxy(pool: Any) -> None:
    """Otherwise it would do nothing, silently."""
    with pytest.raises(TypeError, match=rf"^{pool.__name__} has no parameter auto_return \(given as True\)$"):
        pool(lambda n: n, auto_return=True)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("size", "max_size"),
        ("pool_size", "max_size"),
        ("minsize", "min_size"),
        ("max_age", "max_lifetime"),
        ("max_idle", "max_delay"),
        ("pool_timeout", "timeout"),
        ("pool_pre_ping", "health"),
        ("creator", "fun"),
        ("reset", "retter"),
    ],
)
@pytest.mark.parametrize("what", [Pool, AsyncPool, Proxy, AsyncProxy])
def test_names_of_other_libraries_are_translated(what: Any, theirs: str, ours: str) -> None:
    """Otherwise a user of that library would be led to a parameter that only looks alike."""
    with pytest.raises(TypeError, match=rf"has no parameter {theirs} \(given as 3\): did you mean {ours}\?$"):
        what(fun=lambda n: n, **{theirs: 3})


def test_foreign_parameter_names_lead_to_known_parameters() -> None:
    """Otherwise a hint would lead nowhere, or a parameter that exists be taken for another."""
    known = {field.name for field in fields(PoolConfig)}
    assert set(OTHER_NAMES.values()) <= known
    assert not OTHER_NAMES.keys() & (known | EARLIER_NAMES.keys())


def test_limits_of_earlier_programs_are_accepted() -> None:
    """Otherwise programs written for earlier releases would fail."""
    assert Pool(lambda n: n, None, min_size=0).stats()["max_size"] == 0
    assert Pool(lambda n: n, timeout=None).stats()["timeout"] is None
    assert Pool(lambda n: n, timeout=3, max_delay=1).stats()["max_delay"] == 1


@pytest.mark.parametrize("name", [*NONE_IS_DEFAULT, "max_avail_delay"])
@pytest.mark.parametrize("what", [Pool, Proxy])
def test_none_is_no_limit(what: Any, name: str) -> None:
    """Otherwise programs written for earlier releases would fail, or None would mean another thing for each limit."""
    what(fun=lambda n: n, **{name: None})
    given: dict[str, Any] = {"fun": min, "name": "same"}
    assert configure("Pool", {**given, name: None}) == configure("Pool", given)


def test_the_parameters_are_the_same_for_the_type_checker() -> None:
    """Otherwise a parameter would exist that a type checker refuses, or the other way round."""
    of_config = {field.name for field in fields(PoolConfig)} - {"fun"} | EARLIER_NAMES.keys()
    assert of_config == ProxyParameters.__annotations__.keys()
    assert of_config - {"max_size", "auto_return"} == PoolParameters.__annotations__.keys()


def connect() -> object:
    """Make an object for any number."""
    return object()


class Connection:
    """Is made of nothing."""


@asynccontextmanager
async def connected() -> AsyncIterator[object]:
    yield object()


@pytest.mark.parametrize(
    ("fun", "why"),
    [
        (connect, r"connect\(\) takes 0 positional arguments but 1 was given"),
        (lambda: 1, "takes 0 positional arguments but 1 was given"),
        (Connection, r"Connection\(\) takes no arguments"),
        (partial(connect), "takes 0 positional arguments but 1 was given"),
        (lambda _number, _server: 1, "missing 1 required positional argument: '_server'"),
        (lambda _number, *, server: server, "missing 1 required keyword-only argument: 'server'"),
        (connected, "takes 0 positional arguments but 1 was given"),
    ],
)
def test_a_function_that_takes_no_number_is_told_what_it_is_called_with(fun: Any, why: str) -> None:
    """Otherwise a newcomer would look for the mistake in the library."""
    text = rf"^db: fun is called with the number of the object \(0, 1, 2…\), and does not take it: .*{why}"
    with pytest.raises(TypeError, match=text):
        Pool(fun, name="db")

    async def in_loop() -> None:
        with pytest.raises(TypeError, match=text):
            await AsyncPool(fun, name="db", min_size=0).get()
        with pytest.raises(TypeError, match=text):
            await AsyncProxy(fun=fun, name="db", scope=Scope.LOOP)._get_obj()
        with pytest.raises(TypeError, match=text):
            Proxy(fun=fun, name="db", scope=Scope.LOOP)._get_obj()

    asyncio.run(in_loop())
    for scope in (Scope.SHARED, Scope.THREAD, Scope.VERSATILE):
        for max_size in (1, None):
            with pytest.raises(TypeError, match=text):
                Proxy(fun=fun, name="db", scope=scope, max_size=max_size, min_size=0)._get_obj()


@pytest.mark.parametrize(
    ("fun", "text"),
    [
        (lambda number: number + "1", "unsupported operand"),
        (len, "object of type 'int' has no len"),
        (dict, "'int' object is not iterable"),  # which does not tell what it takes
    ],
)
def test_an_error_of_the_function_itself_stays_what_it_is(fun: Any, text: str) -> None:
    """Otherwise the advice would lead astray."""
    with pytest.raises(TypeError, match=f"^{text}"):
        Pool(fun)
