"""The whole data model: each operation of an object works with its proxy, and no other does."""

from __future__ import annotations

import sys

import pytest

from tests.transparency.data_model import OPERATIONS, Operation
from tests.transparency.table import ASKS_CLASS, IMPOSSIBLE, OURS, PAGE, UNKNOWN, UNUSED, row

EVERY = [pytest.param(operation, id=f"{operation.target} | {operation.source}") for operation in OPERATIONS]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("operation", EVERY)
def test_a_proxy_does_what_its_object_does(operation: Operation, name: str) -> None:
    """Otherwise code that is given the proxy would have to know that it is one."""
    assert OURS[name](operation) is (operation[1:] not in IMPOSSIBLE)


@pytest.mark.slow
@pytest.mark.parametrize("name", UNUSED)
@pytest.mark.parametrize("operation", EVERY)
def test_the_first_use_makes_no_difference(operation: Operation, name: str) -> None:
    """Otherwise the first caller would find another proxy than all that follow."""
    if operation[1:] not in IMPOSSIBLE and not ASKS_CLASS.search(operation.source):  # some happen to work then
        assert UNUSED[name](operation) is (operation[1:] not in UNKNOWN)


def test_the_page_is_what_is_measured() -> None:
    """Otherwise the documentation would promise what does not hold: run ``make transparency``."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the page is about Python 3.11")
    rows = [line for line in PAGE.read_text().splitlines() if "✓" in line or "✗" in line]
    ours = [row(operation, [operation[1:] not in IMPOSSIBLE] * len(OURS)) for operation in OPERATIONS]
    assert [line[: len(own)] for line, own in zip(rows, ours, strict=True)] == ours


def test_every_impossible_or_unknown_operation_is_tried() -> None:
    """Otherwise a reason would be given for what is not shown."""
    tried = {operation[1:] for operation in OPERATIONS}
    assert (IMPOSSIBLE.keys() | UNKNOWN) <= tried
