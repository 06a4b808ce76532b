"""Slips: a forgotten ``async``, call or decorator is told by name, at once, and costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from types import coroutine
from typing import Any
from unittest.mock import AsyncMock

import pytest

from ProxyPatternPool import AsyncPool, AsyncProxy, Pool, PoolException, Proxy
from tests.conftest import Factory, Thing
from tests.support.cancelling import watched
from tests.support.parts import Part, Source, settle, use

HOOKS = ["health", "opener", "getter", "retter", "close"]


async def awaited(_thing: object) -> str:
    return "awaited"


class Awaited:
    """Can be called, and has to be awaited then."""

    async def __call__(self, _thing: object) -> str:
        return "awaited"


def generator(_thing: object) -> Iterator[str]:
    yield "never run"


async def asynchronous_generator(_thing: object) -> AsyncIterator[str]:
    yield "never run"


@contextmanager
def synchronous_manager(_number: int) -> Iterator[str]:
    yield "entered"


@asynccontextmanager
async def asynchronous_manager(_number: int) -> AsyncIterator[str]:
    yield "entered"


class Client:
    """Can be awaited, and is good for something before that."""

    def __await__(self) -> Iterator[None]:
        yield


# -- what is given


@pytest.mark.parametrize("function", [awaited, Awaited(), Awaited().__call__, partial(awaited), partial(Awaited())])
@pytest.mark.parametrize("name", ["fun", *HOOKS])
def test_async_functions_are_refused_by_pool_and_proxy(factory: Factory, name: str, function: Any) -> None:
    """Otherwise coroutines would be lent instead of connections, and each of them would be in good health."""
    parameters: dict[str, Any] = {"fun": factory, name: function}
    with pytest.raises(
        TypeError, match=f"^{name} must be a plain function, not the async .*: use AsyncPool, or AsyncProxy in place"
    ):
        Pool(**parameters)
    assert not factory.things
    proxy: Proxy[Any] = Proxy()
    with pytest.raises(TypeError, match=f"^{name} must be a plain function"):
        proxy._set_fun(**parameters)


@pytest.mark.parametrize("function", [generator, asynchronous_generator])
@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("kind", [Pool, AsyncPool])
def test_a_hook_whose_code_would_never_run_is_refused(
    factory: Factory, kind: type[Any], name: str, function: Any
) -> None:
    """Otherwise it would do nothing, without a word."""
    with pytest.raises(TypeError, match=f"^{name} must be a function that does something, not the generator <"):
        kind(factory, **{name: function})
    assert not factory.things


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_may_be_a_coroutine_function_of_the_old_kind(factory: Factory, name: str) -> None:
    """Otherwise `types.coroutine` would not do, though what it makes runs as soon as it is awaited."""
    told: list[object] = []

    @coroutine
    def hook(thing: object) -> Generator[None, None, bool]:
        yield
        told.append(thing)
        return True

    async def main() -> None:
        hooks: dict[str, Any] = {name: hook}
        pool = AsyncPool(factory, 1, min_size=0, health_delay=0, **hooks)
        for _ in range(2):
            async with pool.obj():
                pass
        await pool.shutdown()

    asyncio.run(watched(main()))
    assert told == factory.things * (2 if name in ("getter", "retter") else 1)


@pytest.mark.parametrize("function", [awaited, Awaited(), partial(awaited)])
@pytest.mark.parametrize("name", ["tracer", "stats"])
@pytest.mark.parametrize("kind", [Pool, AsyncPool])
def test_async_tracer_and_stats_are_refused(factory: Factory, kind: type[Any], name: str, function: Any) -> None:
    """Otherwise logs would tell of coroutines, and statistics be no JSON."""
    with pytest.raises(TypeError, match=f"^{name} must be a plain function, not the async <?.*nothing can be awaited$"):
        kind(factory, **{name: function})


@pytest.mark.parametrize("kind", [Pool, AsyncPool])
def test_a_missing_asynccontextmanager_is_missed(kind: type[Any]) -> None:
    """Otherwise the generator would be lent as if it were the connection."""
    with pytest.raises(TypeError, match=r"^fun must not be an asynchronous generator.*is @asynccontextmanager missing"):
        kind(asynchronous_generator)


class Generating:
    """Can be called, and gives a generator then."""

    def __call__(self, _number: int) -> Iterator[str]:
        yield "never run"


@pytest.mark.parametrize(
    "fun", [generator, Generating(), Generating().__call__, partial(generator), partial(Generating())]
)
@pytest.mark.parametrize("kind", [Pool, AsyncPool])
def test_a_generator_is_no_object(kind: type[Any], fun: Any) -> None:
    """Otherwise the generator would be lent as if it were the connection that it yields."""
    told = r"^fun must not be a generator, but is .*: return the object, and do in `close` what follows the yield$"
    with pytest.raises(TypeError, match=told):
        kind(fun)
    with pytest.raises(TypeError, match=told):
        (Proxy if kind is Pool else AsyncProxy)(fun=fun)


def test_a_generator_that_can_be_awaited_still_makes_objects(factory: Factory) -> None:
    """Otherwise a coroutine function of the old kind, or a compiled one, would be refused; and so would a factory."""

    @coroutine
    def awaited_by_hand(number: int) -> Generator[None, None, Thing]:
        yield
        return factory(number)

    async def main() -> None:
        assert await AsyncPool(awaited_by_hand).get() is factory.things[0]

    asyncio.run(main())
    pool: Pool[Iterator[str]] = Pool(lambda n: generator(n))
    assert next(pool.get()) == "never run", "who says so gets one"


# -- what is returned to a Pool


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (awaited, "something of type coroutine: use AsyncPool, or AsyncProxy in place of a Proxy, which await it"),
        (asynchronous_generator, "something of type async_generator: is @asynccontextmanager missing?"),
        (synchronous_manager, "something of type _GeneratorContextManager, .*: a Pool does not enter it\n"),
        (
            asynchronous_manager,
            "something of type _AsyncGeneratorContextManager: a Pool does not enter it, but an AsyncPool does",
        ),
    ],
)
def test_a_coroutine_generator_or_manager_is_not_lent_as_an_object(factory: Factory, made: Any, told: str) -> None:
    """Otherwise the mistake would show up far away, in a caller that uses the object."""
    made_by = made
    pool: Pool[Any] = Pool(lambda n: made_by(n), 1, min_size=0)
    with pytest.raises(TypeError, match=f"^fun must return an object, but has returned {told}"):
        pool.get()
    assert pool.size == 0
    made_by = factory
    assert isinstance(pool.get(timeout=20), Thing)


@pytest.mark.parametrize(("result", "told"), [(awaited, "coroutine"), (lambda _: Client(), "Client")])
@pytest.mark.parametrize("name", ["health", "opener", "getter"])
def test_a_hook_that_returns_an_awaitable_fails_for_the_caller(
    factory: Factory, name: str, result: Any, told: str
) -> None:
    """Otherwise nothing would be checked or prepared, and Python would warn of a coroutine, somewhere."""
    slip = True
    hook: Any = lambda thing: result(thing) if slip else True  # noqa: E731  # that is what users write
    pool = Pool(factory, 1, min_size=0, close="close", health_delay=0, **{name: hook})
    if name == "health":
        pool.ret(pool.get())
    with pytest.raises(
        TypeError, match=f"^{name} must be a plain function, but has returned something of type {told}: use Async"
    ) as caught:
        pool.get()
    assert caught.value.__notes__ == [f"{pool.name}: raised by {name}"]
    slip = False
    assert pool.get(timeout=20).number == 1
    assert factory.closed == [0]


@pytest.mark.parametrize("name", ["retter", "close"])
def test_a_retter_or_close_that_returns_a_coroutine_is_logged(
    factory: Factory, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise connections would be lent again as they came back, or be left open."""
    hook: Any = lambda thing: awaited(thing)  # noqa: E731  # that is what users write
    pool = Pool(factory, 1, **{name: hook})
    (pool.discard if name == "close" else pool.ret)(pool.get())
    assert pool.get(timeout=20).number == 1
    assert (
        f"TypeError: {name} must be a plain function, but has returned something of type coroutine: use AsyncPool"
        in caplog.text
    )


def test_an_awaitable_object_may_be_lent() -> None:
    """Otherwise a client that may be awaited, as that of redis.asyncio may, could not have a pool for threads."""
    pool = Pool(lambda _: Client())
    assert isinstance(pool.get(), Client)


@pytest.mark.parametrize("kind", [Pool, AsyncPool])
def test_a_tracer_or_stats_that_returns_a_coroutine_harms_nothing(factory: Factory, kind: type[Any]) -> None:
    """Otherwise a log entry would end in a warning of Python's."""

    async def look() -> None:
        pool = kind(factory, tracer=lambda thing: awaited(thing), stats=lambda thing: awaited(thing))
        got = pool.get()
        await got if kind is AsyncPool else got
        assert pool.leases()[0]["object"].endswith("(tracer raised TypeError)")
        assert pool.stats()["objects"][0]["stats"] == "stats raised TypeError"

    asyncio.run(look())


# -- what is returned to an AsyncPool


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (synchronous_manager, "not something of type _GeneratorContextManager, which is a synchronous context manager"),
        (
            lambda _: closing(Thing(Factory(), 0)),
            "not something of type closing, which is a synchronous context manager",
        ),
        (lambda _: awaited, "has returned a coroutine function: call it"),
        (asynchronous_generator, "not something of type async_generator: is @asynccontextmanager missing?"),
    ],
)
def test_an_async_pool_does_not_lend_a_product_of_the_wrong_kind(made: Any, told: str) -> None:
    """Otherwise the mistake would show up far away, in a caller that uses the object."""

    async def main() -> None:
        source = Source()
        made_by = made
        pool: AsyncPool[Any] = AsyncPool(lambda n: made_by(n), 1, min_size=0)
        with pytest.raises(TypeError, match=told):
            await pool.get()
        assert pool.size == 0
        made_by = source
        assert isinstance(await pool.get(), Part)

    asyncio.run(watched(main()))


def test_mocks_may_replace_objects_and_hooks() -> None:
    """Otherwise a mock, which passes for an ``async`` function and returns another one, could not be in a pool."""

    async def main() -> None:
        hooks: dict[str, Any] = {name: AsyncMock() for name in HOOKS}
        pool: AsyncPool[Any] = AsyncPool(lambda _: AsyncMock(spec=Thing), 1, health_delay=0, **hooks)
        for _ in range(2):
            async with pool.obj() as thing:
                assert isinstance(thing, Thing)
        await pool.shutdown()
        assert {name: hook.await_count for name, hook in hooks.items()} == {
            "opener": 1,
            "getter": 2,
            "retter": 2,
            "health": 1,
            "close": 1,
        }

    asyncio.run(watched(main()))


def test_none_is_an_object_but_not_two() -> None:
    """Otherwise two would share what `fun` has forgotten to return."""

    async def main() -> None:
        pool: AsyncPool[Any] = AsyncPool(lambda _: None, 2, name="db")
        nothing: object = await pool.get()
        assert nothing is None
        with pytest.raises(
            PoolException, match=r"db: fun\(1\) returned an object that is already in the pool: NoneType"
        ):
            await pool.get()
        await pool.ret(None)
        assert pool.stats()["idle"] == pool.size == 1

    asyncio.run(watched(main()))


@pytest.mark.parametrize("result", [awaited, asynchronous_generator])
@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_does_nothing_is_told(name: str, result: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a call that was forgotten would count as a check that was passed, or as a rollback."""
    slip = True

    def hook(_part: Part) -> Any:
        if not slip:
            return True
        return result if result is awaited else result(_part)

    async def main() -> None:
        nonlocal slip
        source = Source()
        hooks: dict[str, Any] = {name: hook}
        pool: AsyncPool[Part] = AsyncPool(source, 1, min_size=0, health_delay=0, **hooks)
        told = rf"{name} must do something, but has returned <(function awaited|async_generator) .*: call it"
        if name == "health":
            await use(pool)
        if name in ("retter", "close"):
            await (pool.discard if name == "close" else pool.ret)(await pool.get())
            await settle(lambda: pool.size == 0)
        else:
            with pytest.raises(TypeError, match=told):
                await pool.get()
        slip = False
        assert (await pool.get()).number == 1
        assert (f"TypeError: {name} must do something" in caplog.text) is (name in ("retter", "close"))
        assert source.parts[0].open is (name == "close")

    asyncio.run(watched(main()))
