"""AsyncKeyedPool: cancelled at every point at which a task can be suspended, and then at random."""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ProxyPatternPool import AsyncKeyedPool, PoolClosed
from tests.support.cancelling import Cancelling, Operation, watched
from tests.support.effort import effort
from tests.support.instances import AsyncInstance, Pool, Source, settle, turns, use
from tests.support.loops import NewLoop
from tests.support.virtual_time import VirtualLoop


class Scene:
    """A pool, others who use it, and the operation that is cancelled."""

    def __init__(self) -> None:
        self.source = Source(turns, turns)
        self.others: list[asyncio.Task[Any]] = []
        self.end = asyncio.Event()  # of what is in use, at the latest when the operation has ended
        self.operation: Callable[[], Operation]

    def pool(self, **parameters: Any) -> Pool:
        self.the_pool: Pool = AsyncKeyedPool(self.source, **parameters)
        return self.the_pool

    def start(self, *operations: Operation) -> None:
        self.others += [asyncio.create_task(operation) for operation in operations]


async def alone(scene: Scene) -> None:
    """Have one task alone ask for the instance."""
    pool = scene.pool()
    scene.operation = lambda: use(pool, "a")


async def first_of_many(scene: Scene) -> None:
    """Others wait for the entering that it has begun."""
    pool = scene.pool()

    async def operation() -> None:
        scene.start(use(pool, "a"), use(pool, "a"))
        await use(pool, "a")

    scene.operation = operation


async def one_of_many(scene: Scene) -> None:
    """It waits for the entering that another one has begun."""
    pool = scene.pool()
    scene.start(use(pool, "a"), use(pool, "a"))
    await settle(lambda: scene.source.calls)
    scene.operation = lambda: use(pool, "a")


async def for_room(scene: Scene) -> None:
    """It waits for room, with others before and behind it."""
    pool = scene.pool(max_size=1)
    scene.start(use(pool, "a"), use(pool, "b"))
    await settle(lambda: pool.stats()["nwaiting"] == 2)

    async def operation() -> None:
        asyncio.get_running_loop().call_soon(scene.start, use(pool, "c"), use(pool, "d"))
        await use(pool, "d")

    scene.operation = operation


async def last_to_leave(scene: Scene) -> None:
    """It sees its instance closed, and another one wants that again meanwhile."""
    pool = scene.pool(ttl=0)

    async def again() -> None:
        await settle(lambda: "exit a" in scene.source.calls or scene.others[0].done())
        await use(pool, "a")

    async def operation() -> None:
        scene.start(again())
        await use(pool, "a")

    scene.operation = operation


async def while_it_is_closed(scene: Scene) -> None:
    """It waits for the end of the previous instance, and for its own."""
    pool = scene.pool(ttl=0, max_size=1)
    scene.start(use(pool, "a"))
    await settle(lambda: "exit a" in scene.source.calls)
    scene.start(use(pool, "b"))
    scene.operation = lambda: use(pool, "a")


async def with_a_broken_one(scene: Scene) -> None:
    """It finds its instance broken, while others use that, or wait for the next one."""
    pool = scene.pool()
    scene.start(use(pool, "a", until=scene.end))
    await settle(lambda: pool.stats()["in_use"])

    async def operation() -> None:
        async with pool.get("a") as thing:
            await pool.discard(thing)
            scene.start(use(pool, "a"))
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.001, scene.end.set)
        await use(pool, "a")

    scene.operation = operation


async def with_a_failure(scene: Scene) -> None:
    """Fail the entering that the task waits for."""

    async def failing(thing: AsyncInstance) -> None:
        await turns(thing)
        if len(scene.source.things) == 1:
            raise OSError

    scene.source.entering = failing
    pool = scene.pool()

    async def operation() -> None:
        with pytest.raises(OSError):  # noqa: PT011  # it has no text
            await use(pool, "a")
        await use(pool, "a")

    scene.operation = operation


async def shutting_down(scene: Scene) -> None:
    """Some are idle, some in use, some being entered, some being closed, and some are waited for."""
    pool = scene.pool(max_size=4)
    scene.start(use(pool, "used", until=scene.end))
    for name in "abc":
        await use(pool, name)

    async def operation() -> None:
        scene.start(use(pool, "entering"), refused(pool, "waiting"))
        await settle(lambda: pool.stats()["closing"] == 2)
        asyncio.get_running_loop().call_later(0.001, scene.end.set)
        await pool.shutdown(delay=10)

    scene.operation = operation


async def leaving_the_pool(scene: Scene) -> None:
    """Others are still being entered."""
    pool = scene.pool()

    async def operation() -> None:
        async with pool:
            await use(pool, "a")
            scene.start(refused(pool, "b"), refused(pool, "b"))
            await settle(lambda: "enter b" in scene.source.calls)

    scene.operation = operation


async def refused(pool: Pool, *args: object) -> None:
    """Use it, or find it closed, whichever comes first."""
    try:
        await use(pool, *args)
    except PoolClosed:
        pass


SCENES = [
    alone,
    first_of_many,
    one_of_many,
    for_room,
    last_to_leave,
    while_it_is_closed,
    with_a_broken_one,
    with_a_failure,
    shutting_down,
    leaving_the_pool,
]


async def cancel_at(set_up: Callable[[Scene], Awaitable[None]], n: int, when_woken: bool) -> bool:
    """Play the scene; tell whether its operation was long enough to be cancelled."""
    scene = Scene()
    await set_up(scene)
    operation = Cancelling(scene.operation(), n, when_woken)

    async def run() -> None:
        await operation

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    scene.end.set()
    assert task.cancelled() is operation.cancelled, "a CancelledError did not come out, or came from nowhere"
    for other in scene.others:
        try:
            await other
        except PoolClosed:
            pass
    pool, stats = scene.the_pool, scene.the_pool.stats()
    assert (stats["in_use"], stats["nwaiting"]) == (0, 0), stats
    await settle(lambda: not pool.stats()["entering"])  # an entering without waiters may still fail
    if not stats["closed"]:
        await asyncio.wait_for(use(pool, "a"), 10)
        await asyncio.wait_for(use(pool, "z"), 10)
    await pool.shutdown()
    assert len(pool) == 0
    scene.source.check_all_gone()
    return operation.cancelled


@pytest.mark.parametrize("when_woken", [False, True])
@pytest.mark.parametrize("set_up", SCENES)
def test_cancelling_at_every_suspension_loses_no_instance(
    new_loop: NewLoop, set_up: Callable[[Scene], Awaitable[None]], when_woken: bool
) -> None:
    """Otherwise a client that hangs up at the wrong moment would take an instance, or its room, with it for ever."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        n = 0
        while runner.run(watched(cancel_at(set_up, n, when_woken))):
            n += 1
    assert n >= 2, "it was never suspended"


@pytest.mark.parametrize("when_woken", [False, True])
@pytest.mark.parametrize("early", [0.0, 1e-9, 0.5])
def test_cancelled_when_asked_for_at_the_moment_of_expiry(when_woken: bool, early: float) -> None:
    """Otherwise an instance would be handed out while it is closed, or be closed in use."""

    async def expiring(scene: Scene) -> None:
        pool = scene.pool(ttl=5.0)
        await use(pool, "a")
        await asyncio.sleep(5.0 - early)
        scene.start(use(pool, "a"))
        scene.operation = lambda: use(pool, "a")

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        n = 0
        while runner.run(watched(cancel_at(expiring, n, when_woken))):
            n += 1
    assert n


def test_being_cancelled_while_the_pool_closes_loses_no_error(
    new_loop: NewLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise an error of closing would be lost with the CancelledError that came first."""
    go = asyncio.Event()

    async def exiting(thing: AsyncInstance) -> None:
        if thing.args == ("b",):
            await go.wait()
        raise OSError(thing.args[0])

    async def main() -> None:
        source = Source(exiting=exiting)
        pool: Pool = AsyncKeyedPool(source, name="db")
        await use(pool, "a")
        await use(pool, "b")
        closing = asyncio.create_task(pool.shutdown())
        await settle(lambda: len(pool) == 1)
        second = asyncio.create_task(pool.shutdown())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        go.set()
        await second
        assert len(pool) == 0

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(watched(main()))
    assert caplog.messages == ["db: closing an instance failed"] * 2


class Soak:
    """Tasks that use a few keys, are cancelled, time out, and meet failures: the source sees whether all goes well."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.source = Source(self.step, self.step)
        self.pool: Pool = AsyncKeyedPool(
            self.source,
            ttl=self.random.choice([None, 0, 0.0005, 0.002]),
            max_size=self.random.choice([0, 1, 2, 4]),
            timeout=self.random.choice([None, 0.01, 0.05]),
        )
        self.cancelled = 0
        self.outcomes: dict[str, int] = {}

    async def step(self, _thing: AsyncInstance) -> None:
        await self.pause()
        if self.random.random() < 0.2:
            raise OSError

    async def pause(self) -> None:
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.random() * 0.002)
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)

    async def user(self) -> None:
        for _ in range(self.random.randrange(1, 5)):
            try:
                async with self.pool.get(self.random.randrange(6)) as thing:
                    assert thing.calls == ["enter", "entered"], "not open"
                    thing.users += 1
                    try:
                        await self.pause()
                        if self.random.random() < 0.05:
                            await self.pool.discard(thing)
                    finally:
                        thing.users -= 1
            except (OSError, PoolClosed) as error:
                kind = type(error).__name__  # TimeOut is an OSError, too
                self.outcomes[kind] = self.outcomes.get(kind, 0) + 1

    async def run(self, users: int) -> None:
        """Start users, and cancel a third of them at some time; then see that nothing is left."""
        tasks = []
        for _ in range(users):
            tasks.append(asyncio.create_task(self.user()))
            await self.pause()
            if self.random.random() < 0.3:
                await self.cancel(self.random.choice(tasks))
        for task in tasks:
            try:
                await task
            except CancelledError:
                pass
        assert all(task.done() for task in tasks)
        assert sum(task.cancelled() for task in tasks) == self.cancelled, "a CancelledError did not come out"
        stats = self.pool.stats()
        assert (stats["in_use"], stats["nwaiting"]) == (0, 0), stats
        try:
            await self.pool.shutdown()
        except ExceptionGroup:
            pass
        assert len(self.pool) == 0
        self.source.check_all_gone()

    async def cancel(self, task: asyncio.Task[None]) -> None:
        if not task.done():
            self.cancelled += bool(not task.cancelling())
            task.cancel()


def soak(new_loop: NewLoop, least: int) -> None:
    """Play so many seeds, and more until all that can happen has happened."""
    totals = dict.fromkeys(("cancelled", "entered", "failed", "timeouts", "discarded"), 0)
    seed = random.randrange(1_000_000)
    for number in range(seed, seed + 300):
        print(f"seed {number}")  # noqa: T201  # shown when it fails
        soak = Soak(number)
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(watched(soak.run(60)))
        stats = soak.pool.stats()
        totals["cancelled"] += soak.cancelled
        totals["entered"] += stats["nentered"]
        totals["failed"] += stats["nentering_errors"]
        totals["timeouts"] += stats["ntimeouts"]
        totals["discarded"] += stats["nclosed"].get("discard", 0)
        if number >= seed + least and all(totals.values()):
            break
    assert all(totals.values()), totals


def new_eager_loop() -> VirtualLoop:
    """Return a loop whose tasks run at once, inside the task that makes them, until they have to wait."""
    if sys.version_info < (3, 12):
        pytest.skip("tasks are not eager before Python 3.12")
    loop = VirtualLoop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


@pytest.mark.no_cover
@pytest.mark.parametrize("new_loop", [VirtualLoop, new_eager_loop])
def test_soak(new_loop: NewLoop, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise an object would be lost in some order of events that no other test has."""
    caplog.set_level("CRITICAL")
    soak(new_loop, effort(5, 20, 60))


@pytest.mark.no_cover
def test_the_keyed_soak_holds_on_real_loops(new_loop: NewLoop, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a promise that holds in virtual time may not hold in the time of a loop."""
    caplog.set_level("CRITICAL")
    soak(new_loop, effort(1, 3, 5))
