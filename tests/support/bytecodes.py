"""Have something happen at any bytecode of the library: what signal handlers and the collector may do to it."""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from tests.support.effort import effort


def at_bytecode(number: int, act: Callable[[], object], work: Callable[[], object], *, spare: str = "") -> bool:
    """Do the work, and `act` before its bytecode of that number; False when it has not so many.

    Only bytecodes of the library count, except in the function `spare`. An exception of `act` ends the work.
    """
    left = number

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if "ProxyPatternPool" not in frame.f_code.co_filename or frame.f_code.co_name == spare:
            return None if event == "call" else trace
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0:
                sys.settrace(None)
                act()
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(previous)
    return left < 0


def at_each_bytecode(attempt: Callable[[int], bool]) -> int:
    """Attempt with the numbers 0, 1, 2... as long as that returns True; return the first for which it did not.

    Each number is tried by `make check-all` and `make soak`. Otherwise it is one of four or of twenty, by chance.
    """
    attempt(sys.maxsize)  # 3.12 reports bytecodes only from the second time on
    step = effort(20, 4, 1)
    number = random.randrange(step)
    gc.disable()  # or it would run finalisers of earlier attempts, and those would be hit
    try:
        while attempt(number):
            number += step
    finally:
        gc.enable()
    return number
