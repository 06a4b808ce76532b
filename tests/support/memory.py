"""The memory of the program, when all garbage is gone."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import pytest

#: Python 3.13 without the GIL keeps every class for good, once there has been a second thread; 3.14 does not.
keeps_classes = sys.version_info[:2] == (3, 13) and not getattr(sys, "_is_gil_enabled", lambda: True)()
where_classes_go = pytest.mark.skipif(keeps_classes, reason="this interpreter lets no class go")


def collect() -> None:
    """Have everything collected: without the GIL, a type goes later than what referred to it."""
    for _ in range(3):
        gc.collect()


def bytes_in_use() -> int:
    """Tell how many bytes there are of those that have come since `tracemalloc.start`."""
    collect()
    return tracemalloc.get_traced_memory()[0]
