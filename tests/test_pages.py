"""The pages that speak of the source: what they name exists, and what exists is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ProxyPatternPool

ROOT = Path(__file__).parent.parent
MODULES = sorted(path.stem for path in Path(ProxyPatternPool.__file__).parent.glob("*.py"))
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))


def test_the_architecture_names_each_module_once() -> None:
    """Otherwise who opens a file for the first time would not know where it belongs."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[page.index("| module |") : page.index("**The core is pure.**")]
    cells = [line.split("|")[1] for line in table.splitlines()[2:] if line]
    assert sorted(name for cell in cells for name in re.findall("`(.+?)`", cell)) == MODULES


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text())))
)
def test_the_tests_that_guarantees_name_exist(name: str) -> None:
    """Otherwise a promise would be said to be proven, and is not."""
    assert f"def {name}(" in TESTS or (Path(__file__).parent / f"{name}.py").exists()
