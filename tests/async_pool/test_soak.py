"""AsyncPool: cancelled, out of time, and failing at random, in orders of events that no other test has."""

from __future__ import annotations

import asyncio
import random
from asyncio import CancelledError
from collections import Counter
from typing import Any

import pytest

from ProxyPatternPool import AsyncPool, PoolClosed, PoolFull
from tests.support.cancelling import run_watched
from tests.support.effort import effort
from tests.support.loops import NewLoop
from tests.support.parts import Part, Pool, Source
from tests.support.virtual_time import VirtualLoop

USERS = 100


class Soak:
    """Tasks that use a pool, are cancelled, time out, and meet failures: the source sees whether all goes well."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.source = Source(self.step, self.step)
        choice = self.random.choice
        hooks = ("opener", "getter", "retter")
        parameters: dict[str, Any] = {hook: self.step for hook in hooks if choice([False, False, True])}
        if choice([False, True]):
            parameters.update(health=self.is_alive, health_delay=choice([0, 0.001, 0.5]))
        self.pool: Pool = AsyncPool(
            self.source,
            choice([1, 2, 5]),
            min_size=choice([0, 1]),
            timeout=choice([None, 0.003, 0.01]),
            max_use=choice([0, 0, 5]),
            max_delay=choice([0, 0, 0.01]),
            max_lifetime=choice([0, 0, 0.02]),
            max_using_delay_kill=choice([0, 0, 0.01]),
            max_waiting=choice([0, 0, 10]),
            **parameters,
        )
        self.failing = True
        self.dying: set[Part] = set()
        self.tasks: list[asyncio.Task[None]] = []
        self.end = choice(["when all is done", "in the middle", "with its loop"])
        self.counts: Counter[str] = Counter()

    async def step(self, _part: Part) -> None:
        try:
            await self.pause()
        except CancelledError:
            if self.random.random() < 0.7:
                raise
            await self.pause()
        if self.failing and self.random.random() < 0.1:
            raise OSError

    async def is_alive(self, part: Part) -> bool:
        await self.step(part)
        return not self.failing or self.random.random() < 0.9

    async def pause(self) -> None:
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.random() * 0.004)
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)

    async def user(self) -> None:
        for _ in range(self.random.randrange(1, 4)):
            try:
                await self.random.choice([self.in_block, self.by_hand])()
            except (OSError, PoolClosed, PoolFull) as error:  # TimeOut is an OSError, too
                self.counts[type(error).__name__] += 1

    async def in_block(self) -> None:
        async with self.pool.obj() as part:
            await self.work(part)

    async def by_hand(self) -> None:
        part = await self.pool.get()
        try:
            await self.work(part)
        finally:
            # not what a program should do: the second cancellation hits the return
            await (self.pool.discard(part) if self.random.random() < 0.1 else self.pool.ret(part))

    async def work(self, part: Part) -> None:
        killable = self.pool.stats()["max_using_delay_kill"] > 0
        killable = killable or part in self.dying
        if not killable:  # what is taken away may be closed in use: that is what taking away means
            part.use()
        try:
            await self.pause()
        finally:
            if not killable:
                part.leave()

    def disturb(self) -> None:
        """Have the pool, or one of its objects, change under its users."""
        what = self.random.random()
        if what < 0.01:
            self.pool.refresh()
        elif what < 0.02:
            self.pool.resize(max_size=self.random.choice([1, 2, 5]))
        elif what < 0.03 and (idle := self.pool._avail):
            dying = self.random.choice(idle)
            self.dying.add(dying)  # it may be lent before it knows
            task: Any = dying.tasks[0]
            task.cancel()  # as its task group would do

    async def run(self) -> None:
        """Start users, cancel many at some time, some of them twice; then see that nothing is left."""
        tasks, cancelled = self.tasks, set[asyncio.Task[None]]()
        for number in range(USERS):
            tasks.append(asyncio.create_task(self.user()))
            await self.pause()
            self.disturb()
            for task in self.random.sample(tasks[-20:], min(2, len(tasks))):
                if self.random.random() < 0.5 and not task.done():
                    task.cancel()
                    cancelled.add(task)
            if number == USERS * 3 // 4 and self.end == "with its loop":
                break
            if number == USERS // 2 and self.end == "in the middle":
                tasks.append(asyncio.create_task(self.pool.shutdown(delay=self.random.choice([0, 0.01]))))
        self.counts["cancelled"] += len(cancelled)
        if self.end != "with its loop":
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for task, outcome in zip(tasks, outcomes, strict=True):
                assert task.cancelled() is (task in cancelled), outcome
                assert outcome is None or task.cancelled(), outcome
            await self.check_end()

    async def check_end(self) -> None:
        pool = self.pool
        self.failing = False
        await settle_in_time(
            lambda: not pool.leases() and pool.size == pool.stats()["idle"] <= pool.stats()["max_size"]
        )
        if not pool.stats()["closed"]:
            parts = [await pool.get(timeout=20) for _ in range(pool.stats()["max_size"])]
            assert len(set(parts)) == len(parts)
            for part in parts:
                await pool.ret(part)
        await pool.shutdown(delay=20)
        assert pool.size == 0
        self.source.check_all_gone()

    def check_after_its_loop(self) -> None:
        """See that the end of the loop has left nothing."""
        assert all(task.done() for task in self.tasks)
        assert self.pool.size == 0
        self.source.check_all_gone()


async def settle_in_time(condition: Any) -> None:
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0.2)
    raise AssertionError("waited in vain")


def soak(new_loop: NewLoop, wanted: int) -> None:
    """Play until that many tasks were cancelled or out of time, and all that can happen has happened."""
    counts: Counter[str] = Counter()
    first = random.randrange(1_000_000)
    for seed in range(first, first + wanted):
        print(f"seed {seed}")  # noqa: T201  # shown when it fails
        one = Soak(seed)
        run_watched(new_loop, one.run())
        one.check_after_its_loop()
        counts += one.counts
        happened = counts["cancelled"] and counts["TimeOut"] and counts["OSError"]
        if happened and counts["cancelled"] + counts["TimeOut"] >= wanted:
            return
    raise AssertionError(counts)


@pytest.mark.no_cover
def test_thousands_of_cancellations_and_timeouts(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise an object would be lost in some order of events that no other test has."""
    caplog.set_level("CRITICAL")
    soak(VirtualLoop, effort(500, 2_000, 10_000))


@pytest.mark.no_cover
def test_the_soak_holds_on_real_loops(new_loop: NewLoop, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a promise that holds in virtual time may not hold in the time of a loop."""
    caplog.set_level("CRITICAL")
    soak(new_loop, effort(100, 250, 500))
