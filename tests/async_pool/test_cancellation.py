"""AsyncPool: cancelled at every point at which a task can be suspended, and then at random.

What comes of it is the table in docs/cancellation.md, which is written by ``make cancellation``.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ProxyPatternPool import AsyncPool, PoolClosed, TimeOut
from ProxyPatternPool._core.stats import PoolStats
from tests.support.cancelling import Cancelling, Operation, watched
from tests.support.loops import NewLoop, Waited, settle, turns
from tests.support.parts import Part, Pool, Source, use
from tests.support.virtual_time import VirtualLoop

pytestmark = pytest.mark.no_cover  # see CONTRIBUTING.md

PAGE = Path(__file__).parents[2] / "docs" / "cancellation.md"


class Scene:
    """A pool, others who use it, and the operation that is cancelled."""

    def __init__(self) -> None:
        self.source = Source(turns, turns)
        self.others: list[asyncio.Task[Any]] = []
        self.end = asyncio.Event()  # of what is in use, at the latest when the operation has ended
        self.held: Part | None = None  # by the operation, which gives it back if it runs at all
        self.over = False  # nothing fails any more
        self.operation: Callable[[], Operation]

    def pool(self, max_size: int = 2, **parameters: Any) -> Pool:
        parameters = {"min_size": 0, **parameters}
        self.the_pool: Pool = AsyncPool(self.source, max_size, **parameters)
        return self.the_pool

    def start(self, *operations: Operation) -> None:
        self.others += [asyncio.create_task(operation) for operation in operations]


async def creating(scene: Scene) -> None:
    """`get`, while its object is being made."""
    pool = scene.pool()
    scene.operation = lambda: use(pool)


async def creating_with_waiters(scene: Scene) -> None:
    """`get`, while its object is being made, and other callers wait."""
    pool = scene.pool(1)

    async def operation() -> None:
        asyncio.get_running_loop().call_soon(scene.start, use(pool), use(pool))
        await use(pool)

    scene.operation = operation


async def creating_deaf(scene: Scene) -> None:
    """`get`, while its object is being made by a function that swallows cancellations."""

    async def deaf(_part: Part) -> None:
        for _ in range(5):
            try:
                await asyncio.sleep(0)
            except CancelledError:
                pass

    scene.source.making = deaf
    pool = scene.pool()
    scene.operation = lambda: use(pool)


async def creating_in_vain(scene: Scene) -> None:
    """`get`, while the creation of its object is about to fail."""

    async def failing(part: Part) -> None:
        await turns(part)
        if part.number == 0 and not scene.over:
            raise OSError

    scene.source.making = failing
    pool = scene.pool(1)

    async def operation() -> None:
        scene.start(use(pool))
        with pytest.raises(OSError):  # noqa: PT011  # it has no text
            await use(pool)
        await use(pool)

    scene.operation = operation


async def creating_for_ever(scene: Scene) -> None:
    """`get`, while the creation of its object never ends."""

    async def endless(part: Part) -> None:
        if part.number == 0 and not scene.over:
            await asyncio.Event().wait()

    scene.source.making = endless
    pool = scene.pool(timeout=60)

    async def operation() -> None:
        with pytest.raises(TimeOut, match="still creating"):
            await use(pool)

    scene.operation = operation


async def opening(scene: Scene) -> None:
    """`get`, while the `opener` has the new object."""
    pool = scene.pool(opener=turns)
    scene.operation = lambda: use(pool)


async def waiting(scene: Scene) -> None:
    """`get`, in the queue, between other callers."""
    pool = scene.pool(1)
    scene.start(use(pool), use(pool))
    await settle(lambda: pool.stats()["nwaiting"] == 1)

    async def operation() -> None:
        asyncio.get_running_loop().call_soon(scene.start, use(pool))
        await use(pool)

    scene.operation = operation


async def checking(scene: Scene) -> None:
    """`get`, while `health` has the object."""
    pool = scene.pool(1, health=alive, health_delay=0)
    await use(pool)
    await asyncio.sleep(0.001)

    async def operation() -> None:
        asyncio.get_running_loop().call_soon(scene.start, use(pool))
        await use(pool)

    scene.operation = operation


async def checking_dead(scene: Scene) -> None:
    """`get`, while `health` finds that the object is dead."""

    async def only_later_ones(part: Part) -> bool:
        await turns(part)
        return part.number > 0

    pool = scene.pool(1, health=only_later_ones, health_delay=0)
    await use(pool)
    await asyncio.sleep(0.001)
    scene.operation = lambda: use(pool)


async def checking_for_ever(scene: Scene) -> None:
    """`get`, while `health` has the object, and never ends."""

    async def endless(part: Part) -> bool:
        if part.number == 0 and not scene.over:
            await asyncio.Event().wait()
        return True

    pool = scene.pool(1, health=endless, health_delay=0, timeout=60)
    await use(pool)
    await asyncio.sleep(0.001)

    async def operation() -> None:
        with pytest.raises(TimeOut, match="still checking"):
            await use(pool)

    scene.operation = operation


async def getting(scene: Scene) -> None:
    """`get`, while the `getter` has the object."""
    pool = scene.pool(1, getter=turns)
    await use(pool)
    scene.start(use(pool))
    scene.operation = lambda: use(pool)


async def using(scene: Scene) -> None:
    """Inside `async with pool.obj()`."""
    pool = scene.pool(1)
    await use(pool)
    scene.operation = lambda: use(pool)


async def tidying(scene: Scene) -> None:
    """`ret`, or the end of `obj`, while the `retter` has the object."""
    pool = scene.pool(1, retter=turns)
    part = scene.held = await pool.get()
    scene.start(use(pool))

    async def operation() -> None:
        await pool.ret(part)
        await use(pool)

    scene.operation = operation


async def tidying_for_ever(scene: Scene) -> None:
    """`ret`, while the `retter` has the object, and never ends."""

    async def endless(part: Part) -> None:
        if part.number == 0 and not scene.over:
            await asyncio.Event().wait()

    pool = scene.pool(1, retter=endless)
    part = scene.held = await pool.get()

    async def operation() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await pool.ret(part)

    scene.operation = operation


async def discarding(scene: Scene) -> None:
    """`discard`, while other callers wait for the place."""
    pool = scene.pool(1)
    part = scene.held = await pool.get()
    scene.start(use(pool))

    async def operation() -> None:
        await pool.discard(part)
        await use(pool)

    scene.operation = operation


async def while_it_is_closed(scene: Scene) -> None:
    """`get`, while a worn out object is being closed to make room."""
    pool = scene.pool(1, max_use=1)
    await use(pool)
    scene.operation = lambda: use(pool)


async def filling(scene: Scene) -> None:
    """`async with AsyncPool(…)`, while the first objects are made, and at its end."""
    pool = scene.pool(2, min_size=2)

    async def operation() -> None:
        async with pool:
            await use(pool)

    scene.operation = operation


async def shutting_down(scene: Scene) -> None:
    """`shutdown`, with objects that are idle, in use or being made, and with waiters."""
    pool = scene.pool(4)
    scene.start(use(pool, until=scene.end), use(pool), use(pool))
    await settle(lambda: scene.others[2].done())

    async def operation() -> None:
        scene.start(use(pool, until=scene.end), use(pool, until=scene.end), *(refused(pool) for _ in range(3)))
        await settle(lambda: pool.stats()["nwaiting"] == 2)
        asyncio.get_running_loop().call_later(0.001, scene.end.set)
        await pool.shutdown(delay=10)

    scene.operation = operation


async def shutting_down_beside_hooks(scene: Scene) -> None:
    """`shutdown`, while hooks have the objects."""
    pool = scene.pool(2, min_size=2, retter=turns, getter=turns)
    await pool.__aenter__()
    part = scene.held = await pool.get()

    async def operation() -> None:
        scene.start(pool.ret(part), refused(pool))
        await settle(lambda: pool.stats()["reserved"] and pool.stats()["in_use"])
        await pool.shutdown(delay=10)

    scene.operation = operation


async def alive(part: Part) -> bool:
    await turns(part)
    return True


async def refused(pool: Pool) -> None:
    """Use it, or find it closed, whichever comes first."""
    try:
        await use(pool)
    except PoolClosed:
        pass


SCENES = [
    creating,
    creating_with_waiters,
    creating_deaf,
    creating_in_vain,
    creating_for_ever,
    opening,
    waiting,
    checking,
    checking_dead,
    checking_for_ever,
    getting,
    using,
    tidying,
    tidying_for_ever,
    discarding,
    while_it_is_closed,
    filling,
    shutting_down,
    shutting_down_beside_hooks,
]

#: What others are known to lose there.
ELSEWHERE: dict[Any, str] = {
    creating_with_waiters: "SQLAlchemy 2.1: a failing creator wakes no waiter, and one slept 5 s beside free capacity. "
    "asyncio-contextmanager-pool: a second caller that asks meanwhile gets a `RuntimeError`",
    creating_for_ever: "psycopg_pool 3.3.3: `asyncio.run` does not end while a pool that was left open is connecting",
    waiting: "pools made of `asyncio.Semaphore` or `asyncio.Condition` lose the wake-up of a task that is cancelled "
    "just then. psycopg_pool 3.3.3: a caller that has timed out stays in the queue, and counts against `max_waiting`",
    checking_dead: "psycopg_pool 3.3.3: six stale connections made the first caller wait for 29.5 s",
    shutting_down: "asyncio-contextmanager-pool: one exit that fails leaves all other instances open",
}

ENDLESS = [creating_for_ever, checking_for_ever, tidying_for_ever]

SetUp = Callable[[Scene], Awaitable[None]]


@dataclass
class Row:
    """The outcome of all cancellations of one scene."""

    point: str
    played: int = 0
    cancellations_lost: int = 0  # that did not come out, or came from nowhere
    objects_lost: int = 0  # that neither the pool has, nor have been closed once
    places_lost: int = 0  # that no caller can have any more
    outcomes: set[str] = field(default_factory=set)  # for the objects

    @property
    def lost(self) -> tuple[int, int, int]:
        """All that must be zero."""
        return self.cancellations_lost, self.objects_lost, self.places_lost

    def note(self, parts: list[Part]) -> None:
        """Add what has become of the objects, before the pool is closed."""
        self.played += 1
        if any(part.open for part in parts):
            self.outcomes.add("kept")
        if any(part.error is not None for part in parts):
            self.outcomes.add("closed as broken")
        elif any("exited" in part.calls for part in parts):
            self.outcomes.add("closed")


async def in_turn(operation: Operation, turn: int, row: Row) -> bool:
    """Run it in a task which is cancelled in that turn of the loop, unless it has ended; tell whether it was."""
    task = asyncio.create_task(operation)
    for _ in range(turn):
        await asyncio.sleep(0)
    return await ended(task, task.cancel(), row)


async def at_suspension(operation: Operation, number: int, row: Row) -> bool:
    """Run it in a task which is cancelled when what it waits for has come, but before it goes on."""
    cancelling = Cancelling(operation, number, when_woken=True)

    async def run() -> None:
        await cancelling

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    return await ended(task, cancelling.cancelled, row)


async def ended(task: asyncio.Task[Any], cancelled: bool, row: Row) -> bool:
    await asyncio.wait([task])
    row.cancellations_lost += task.cancelled() is not cancelled
    if not task.cancelled():
        task.result()
    return cancelled


Way = Callable[[Operation, int, Row], Awaitable[bool]]


async def cancel(set_up: SetUp, way: Way, number: int, row: Row) -> bool:
    """Play the scene; tell whether its operation was long enough to be cancelled there."""
    scene = Scene()
    await set_up(scene)
    cancelled = await way(scene.operation(), number, row)
    pool, source = scene.the_pool, scene.source
    scene.end.set()
    if number == 0 and scene.held is not None and pool.leases():
        scene.over = True
        await pool.ret(scene.held)
    await asyncio.gather(*scene.others)
    if set_up in ENDLESS:
        await asyncio.sleep(6)  # of virtual time: what goes on in the background has had its own
    with suppress(Waited):
        await settle(lambda: is_quiet(pool.stats(), hanging=set_up is creating_for_ever))
    row.objects_lost += abs(sum(part.open for part in source.parts) - len(pool._avail))
    if cancelled:
        row.note(source.parts)
    if not pool.stats()["closed"]:
        scene.over = True
        row.places_lost += await unusable(pool)
    await pool.shutdown()
    row.places_lost += pool.size
    row.objects_lost += sum(not part.gone for part in source.parts)
    return cancelled


def is_quiet(stats: PoolStats, hanging: int) -> bool:
    assert stats["nwaiting"] == 0
    return stats["size"] == stats["idle"] + stats["creating"] and stats["creating"] <= hanging


async def unusable(pool: Pool) -> int:
    """Use all places at the same time; return how many cannot be."""
    stats, parts = pool.stats(), list[Part]()
    wanted = stats["max_size"] - stats["creating"]
    with suppress(TimeoutError):
        while len(parts) < wanted:
            parts.append(await pool.get(timeout=10))
    for part in parts:
        part.use()
    for part in parts:
        part.leave()
        await pool.ret(part)
    return wanted - len(parts)


def play(set_up: SetUp, new_loop: NewLoop) -> Row:
    """Cancel its operation wherever that is possible."""
    row = Row((set_up.__doc__ or "").rstrip("."))

    async def main() -> None:
        for way in (in_turn, at_suspension):
            number = 0
            while number < 40 and await cancel(set_up, way, number, row):
                number += 1

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(watched(main()))
    return row


@pytest.mark.parametrize("set_up", SCENES)
def test_cancelling_at_every_suspension_loses_no_object(new_loop: NewLoop, set_up: SetUp) -> None:
    """Otherwise a client that hangs up at the wrong moment would take an object, or its place, with it for ever."""
    if set_up in ENDLESS:
        new_loop = VirtualLoop
    row = play(set_up, new_loop)
    assert row.lost == (0, 0, 0)
    assert row.played >= 3, "it was never suspended"


def table() -> str:
    """Play all scenes; return what came of them as a table."""
    titles = ["cancelled in", "times", "`CancelledError` lost", "objects lost", "places lost", "the objects are then"]
    lines = [f"| {' | '.join([*titles, 'elsewhere'])} |", "|---" * (len(titles) + 1) + "|"]
    for scene in SCENES:
        row = play(scene, VirtualLoop)
        cells = [row.point, row.played, *row.lost, ", ".join(sorted(row.outcomes)) or "still made"]
        lines.append(f"| {' | '.join(map(str, cells))} | {ELSEWHERE.get(scene, '')} |")
    return "\n".join(lines) + "\n"


def test_the_table_in_the_documentation_is_what_was_played() -> None:
    """Otherwise it would tell what once was so."""
    assert table() in PAGE.read_text()


if __name__ == "__main__":
    logging.disable()
    page = PAGE.read_text()
    begin = page.index("| cancelled in")
    PAGE.write_text(page[:begin] + table() + page[page.index("\n\n", begin) + 1 :])
