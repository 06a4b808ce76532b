"""Stress: many threads do all that can be done to small pools in which everything fails now and then.

``python -m tests.project.stress --seconds 300 --seed 7`` goes on for minutes, and watches the memory:
`make soak`.
"""

from __future__ import annotations

import argparse
import gc
import logging
import random
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from ProxyPatternPool import Pool, PoolClosed, TimeOut
from tests.conftest import Crew, until

THREADS = 32
MAX_SIZE = 5


class Part:
    """Something that is to be pooled. It knows whether two have it at once, and how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0
        self._in_use = threading.Lock()

    def use(self) -> None:
        """Be used by one at a time."""
        assert self._in_use.acquire(False), "shared"
        assert not self.closed, "used after its end"
        self._in_use.release()


class Line:
    """A pool, and the factory of its objects, which counts them itself."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._lock = threading.Lock()
        self.alive = self.peak = self.made = self.ended = self.uses = 0
        self.failing = False
        self.parts: list[Part] = []
        self.pool: Pool[Part] = Pool(
            self._make, MAX_SIZE, min_size=1, max_use=7, max_delay=0.002, timeout=0.02, close=self._close
        )
        self.failing = True

    def _make(self, _: int) -> Part:
        with self._lock:
            self.alive += 1
            self.peak = max(self.peak, self.alive)
            fails = self.failing and self._chance.random() < 0.1
            if not fails:
                self.parts.append(part := Part())
                return part
        time.sleep(0)
        with self._lock:
            self.alive -= 1
        raise self._chance.choice([OSError("no route"), SystemExit(1)])

    def _close(self, part: Part) -> None:
        time.sleep(0)
        with self._lock:
            part.closed += 1
            self.alive -= 1
            fails = self.failing and self._chance.random() < 0.1
        if fails:
            raise OSError("already gone")

    def count(self) -> None:
        """Count a use."""
        with self._lock:
            self.uses += 1

    def check_end(self) -> None:
        """Check that everything was lent right, and closed once."""
        until(lambda: self.pool.size == 0)
        assert self.alive == 0
        assert self.peak <= MAX_SIZE, self.peak
        assert [part.closed for part in self.parts] == [1] * len(self.parts)
        stats = self.pool.stats()
        assert stats["nwaiting"] == 0, stats
        assert stats["nuses"] == self.uses, (stats, self.uses)
        assert sum(stats["nclosed"].values()) == stats["ncreated"] == len(self.parts), stats


class Stress:
    """One run: the pool that is used now, and those before it."""

    def __init__(self, seed: str, turns: int) -> None:
        self.seed = seed
        self.turns = turns
        self.lines = [Line(random.Random(seed))]
        self.handed_over: deque[tuple[Line, Part]] = deque()

    def run(self) -> None:
        """Work with all threads, then look at what is left."""
        crew = Crew()
        for number in range(THREADS):
            crew.start(self._work, random.Random(f"{self.seed}-{number}"))
        crew.join()
        while self.handed_over:
            self._take_over()
        self._check_last(self.lines[-1])
        for line in self.lines:
            line.pool.shutdown()  # two may have renewed the same one: then no thread has shut the first new one down
            line.check_end()

    def _work(self, chance: random.Random) -> None:
        ways = [self._block, self._get, self._hand_over, self._broken, self._twice, self._foreign, self._renew]
        weights = [20, 20, 10, 5, 5, 1, 0.2]
        for way in chance.choices(ways, weights, k=self.turns):
            try:
                way(self.lines[-1], chance)
            except (TimeOut, PoolClosed, OSError, SystemExit):
                pass

    def _check_last(self, line: Line) -> None:
        """All that are not in use are idle, all can be lent."""
        line.failing = False
        pool = line.pool
        until(lambda: pool.size == pool.stats()["idle"])
        parts = [pool.get(timeout=20) for _ in range(MAX_SIZE)]
        for part in parts:
            line.count()
            pool.ret(part)
        assert len(set(parts)) == MAX_SIZE
        pool.shutdown(delay=20)

    # -- what a thread does

    def _block(self, line: Line, chance: random.Random) -> None:
        with line.pool.obj(timeout=chance.choice([0, 0.001, 0.05])) as part:
            line.count()
            part.use()

    def _lend(self, line: Line, chance: random.Random) -> Part:
        part = line.pool.get(timeout=chance.choice([0, 0.001, 0.05]))
        line.count()
        part.use()
        return part

    def _get(self, line: Line, chance: random.Random) -> None:
        line.pool.ret(self._lend(line, chance))

    def _hand_over(self, line: Line, chance: random.Random) -> None:
        self.handed_over.append((line, self._lend(line, chance)))
        self._take_over()

    def _take_over(self) -> None:
        line, part = self.handed_over.popleft()
        part.use()
        line.pool.ret(part)

    def _broken(self, line: Line, chance: random.Random) -> None:
        part = self._lend(line, chance)
        line.pool.discard(part)
        line.pool.discard(part)
        line.pool.ret(part)

    def _twice(self, line: Line, chance: random.Random) -> None:
        with line.pool.obj(timeout=0.01) as part:
            line.count()
            part.use()
            line.pool.ret(part)

    def _foreign(self, line: Line, chance: random.Random) -> None:
        line.pool.ret(Part())

    def _renew(self, line: Line, chance: random.Random) -> None:
        self.lines.append(Line(random.Random(chance.random())))
        line.pool.shutdown(delay=chance.choice([0, 0.01]))


def quietly(work: Callable[[], None]) -> None:
    """Work without a log of all that is meant to fail, and with many switches between threads."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    logging.disable()
    try:
        work()
    finally:
        logging.disable(logging.NOTSET)
        sys.setswitchinterval(interval)


def peak_memory() -> int:
    """Return how many bytes the process has had at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


def soak(seconds: float, seed: int) -> None:
    """Run again and again, in smaller portions; fail when something is wrong, or the memory grows."""
    began = time.monotonic()
    run, warm = 0, 0
    while (spent := time.monotonic() - began) < seconds:
        sys.stdout.write(f"seed {seed}, run {run}, {spent:.0f} s, {peak_memory() >> 20} MB\n")
        quietly(Stress(f"{seed}-{run}", 500).run)
        gc.collect()
        run += 1
        if spent < seconds / 3:
            warm = peak_memory()
    assert peak_memory() < warm + (8 << 20), f"{peak_memory() - warm} bytes more than after a third of the time"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    soak(arguments.seconds, arguments.seed)


if __name__ == "__main__":
    main()
