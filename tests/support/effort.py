"""How much the tests try: little with ``pytest --quick``, all there is with ``pytest --thorough``."""

from __future__ import annotations

from typing import TypeVar

import pytest

T = TypeVar("T")

OPTIONS = {"--quick": "try little, and leave out tests marked `slow`", "--thorough": "try all: minutes more"}

_effort = 1  # 0: quick, 1: as a rule, 2: thorough


def effort(quick: T, usual: T, thorough: T) -> T:
    """Return one of three, such as the number of attempts."""
    return (quick, usual, thorough)[_effort]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("effort")
    for option, description in OPTIONS.items():
        group.addoption(option, action="store_true", help=description)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the effort before a test module asks for it."""
    global _effort
    config.addinivalue_line("markers", "slow: left out by --quick")
    _effort = 1 + config.getoption("--thorough") - config.getoption("--quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests, and pages whose examples need a server, if that was asked for."""
    if config.getoption("--quick"):
        slow = [item for item in items if item.get_closest_marker("slow") or item.path.name == "recipes.md"]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]
