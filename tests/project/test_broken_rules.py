"""The list of rules that are broken on purpose: it must fit the code, or breaking them would prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project.broken_rules import BREAKS, ROOT, Break


@pytest.mark.parametrize("entry", BREAKS, ids=lambda entry: f"{entry.rule}: {entry.how}")
def test_each_break_fits_the_code_and_has_a_test(entry: Break) -> None:
    """Otherwise `make broken-rules` would break nothing, or run nothing."""
    file, test = entry.test.split("::")
    assert entry.fits()
    assert f"def {test}(" in Path(ROOT, "tests", file).read_text()


@pytest.mark.slow
def test_a_break_is_noticed() -> None:
    """Otherwise the list would pass always. The other breaks take minutes, and are run by hand."""
    first = next(entry for entry in BREAKS if "core/test_machine.py" in entry.test)
    assert first.is_noticed()
    assert not Break(first.rule, "not at all", first.where, first.old, first.old, first.test).is_noticed()
