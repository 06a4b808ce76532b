"""The pages that speak of the source: what they name exists, and what exists is named."""

from __future__ import annotations

import configparser
import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

import ProxyPatternPool
from ProxyPatternPool._config import PoolConfig
from tests.project.broken_rules import FUNCTIONS

ROOT = Path(__file__).parents[2]
PACKAGE = Path(ProxyPatternPool.__file__).parent
TESTS = {
    path.relative_to(ROOT / "tests").as_posix(): path.read_text(encoding="utf-8")
    for path in ROOT.glob("tests/*/test_*.py")
}


def architecture() -> str:
    return (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_architecture_has_each_folders_idea() -> None:
    """Otherwise a stranger would not know which folder a module belongs to."""
    ideas = {path.parent.name: path.read_text(encoding="utf-8") for path in PACKAGE.glob("_*/__init__.py")}
    assert ideas
    for folder, text in ideas.items():
        first = text.removeprefix('"""').split("\n")[0].removesuffix('"""')
        assert f"| `{folder}` | {first} |" in architecture()


def test_the_architecture_has_the_layers_that_are_checked() -> None:
    """Otherwise a contributor would put a new module where `make lint` does not want it."""
    contract = configparser.ConfigParser()
    contract.read(ROOT / "setup.cfg", encoding="utf-8")
    shown = architecture()[architecture().index("```text\n_proxy\n") :].split("```")[1]
    assert shown.split("\n")[1:-1] == contract["importlinter:contract:layers"]["layers"].split("\n")[1:]


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`([A-Z]\w+\.\w+)`", (ROOT / "docs" / "architecture.md").read_text())))
)
def test_the_functions_that_the_architecture_walks_through_exist(name: str) -> None:
    """Otherwise a reader would look for a function in vain."""
    assert name in FUNCTIONS


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:\w+/)?test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text())))
)
def test_the_tests_that_guarantees_name_exist(name: str) -> None:
    """Otherwise a promise would be said to be proven, and is not."""
    assert f"{name}.py" in TESTS or any(f"def {name}(" in text for text in TESTS.values())


def test_parameters_have_their_defaults_in_help_and_in_the_reference() -> None:
    """Otherwise a default that was changed would be another one there, and a new parameter nowhere."""
    defaults = {
        field.name: repr(field.default)
        for field in fields(PoolConfig)
        if field.name not in ("fun", "health_freq", "auto_return", "clock")  # required, of old, of proxies, of tests
    }
    assert (
        dict(re.findall(r"^- `(\w+)` \((.+?)\):", inspect.cleandoc(ProxyPatternPool.Pool.__doc__ or ""), re.MULTILINE))
        == defaults
    )
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(\w+)(?:\(obj\))?` \| `(.+?)` \|", page, re.MULTILINE)) == defaults
