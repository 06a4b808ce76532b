"""The stress, for a moment. `make soak` has it for minutes."""

from __future__ import annotations

import os
import random

from tests.project.stress import Stress, quietly
from tests.support.effort import effort


def test_stress() -> None:
    """Otherwise all that other tests show would hold one at a time only."""
    seed = os.environ.get("SEED") or str(random.randrange(10**6))
    print(f"SEED={seed}")  # noqa: T201  # to do it again
    quietly(Stress(seed, effort(30, 100, 300)).run)
