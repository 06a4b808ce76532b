"""AsyncProxy: cancelled at every point at which a task can be suspended in it.

That the pool itself loses nothing is shown by `test_async_cancellation`, whose scenes these are like.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ProxyPatternPool import AsyncProxy
from tests.async_pool.test_cancellation import Scene, SetUp, alive, play
from tests.support.loops import NewLoop
from tests.support.parts import settle, turns

pytestmark = pytest.mark.no_cover  # see CONTRIBUTING.md


def proxy(scene: Scene, **parameters: Any) -> Any:
    """Return a proxy with a pool of one part."""
    db: Any = AsyncProxy(fun=scene.source, **{"max_size": 1, "min_size": 0, **parameters})
    scene.the_pool = db._pool
    return db


async def block(db: Any) -> None:
    """Use it in a block."""
    async with db._obj() as part:
        await use(db)
        assert db._local.obj is part


async def use(db: Any) -> None:
    part = db._local.obj
    part.use()
    try:
        await turns(part)
    finally:
        part.leave()


async def having_one_made(scene: Scene) -> None:
    """`async with _obj()`, from the making of the object on."""
    db = proxy(scene, opener=turns)
    scene.operation = lambda: block(db)


async def waiting(scene: Scene) -> None:
    """`async with _obj()`, with others before and behind."""
    db = proxy(scene)
    scene.start(block(db), block(db))
    await settle(lambda: db._pool.stats()["nwaiting"])

    async def operation() -> None:
        asyncio.get_running_loop().call_soon(scene.start, block(db))
        await block(db)

    scene.operation = operation


async def checking(scene: Scene) -> None:
    """`async with _obj()`, while hooks have the object."""
    db = proxy(scene, health=alive, health_delay=0, getter=turns, retter=turns)
    await block(db)
    scene.operation = lambda: block(db)


async def nesting(scene: Scene) -> None:
    """Blocks in a block."""
    db = proxy(scene, retter=turns)

    async def operation() -> None:
        async with db._obj():
            await block(db)
            assert db._has_obj()
            await block(db)
            assert db._has_obj()
        assert not db._has_obj()

    scene.start(block(db))
    scene.operation = operation


async def returning(scene: Scene) -> None:
    """`_ret_obj`, while the `retter` has the object, in tasks which give it back at their end."""
    db = proxy(scene, retter=turns, auto_return=True)
    scene.start(block(db))

    async def operation() -> None:
        for _ in range(2):
            await db._get_obj()
            await use(db)
            await db._ret_obj()
            assert not db._has_obj()

    scene.operation = operation


async def ending(scene: Scene) -> None:
    """A task that gives its object back at its end."""
    db = proxy(scene, auto_return=True)

    async def operation() -> None:
        await db._get_obj()
        await use(db)

    scene.start(operation(), block(db))
    scene.operation = operation


async def without_a_pool(scene: Scene) -> None:
    """`_get_obj` and `_ret_obj` where nothing is lent twice."""
    db = proxy(scene, max_size=None)
    scene.the_pool.resize(max_size=2)

    async def operation() -> None:
        for _ in range(2):
            await db._get_obj()
            await use(db)
            await db._ret_obj()

    scene.operation = operation


async def setting_again(scene: Scene) -> None:
    """`async with _obj()`, while the proxy is set again, and what there was is given back."""
    db = proxy(scene, retter=turns)
    old = db._pool

    async def operation() -> None:
        async with db._obj():
            db.set_fun(scene.source)
            scene.the_pool = db._pool
            await db._get_obj()
            await use(db)
        await settle(lambda: old.size == 0)

    scene.operation = operation


SCENES = [having_one_made, waiting, checking, nesting, returning, ending, without_a_pool, setting_again]


@pytest.mark.parametrize("set_up", SCENES)
def test_cancelling_at_every_suspension_of_a_proxy_loses_no_object(new_loop: NewLoop, set_up: SetUp) -> None:
    """Otherwise a client that hangs up at the wrong moment would take an object, or its place, with it for ever."""
    assert play(set_up, new_loop).played >= 3, "it was never suspended"
