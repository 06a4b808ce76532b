"""The check of the prose: it must see what it is for, and leave the rest alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project.prose import BAD, docstrings, prose, sentences


@pytest.mark.parametrize(
    "text",
    [
        "Takes an object. Who waits is served in order.",
        "Ends the lease: whoever has it.",
        "What is broken is closed.",
        "It goes to somebody else.",
        "A slot that nobody owns.",
        "The lease of that one ends.",
    ],
)
def test_a_sentence_without_a_noun_is_found(text: str) -> None:
    """Otherwise `make lint` would hold no rule at all."""
    assert [sentence for sentence in sentences(text) if BAD.search(sentence)]


@pytest.mark.parametrize(
    "text",
    ["A caller that waits is served in order.", "What does it cost?", "The `Whole` number of tasks that it has."],
)
def test_a_sentence_with_a_noun_passes(text: str) -> None:
    """Otherwise contributors would write around the check."""
    assert not [sentence for sentence in sentences(text) if BAD.search(sentence)]


def test_docstrings_and_pages_are_read_and_code_is_not(tmp_path: Path) -> None:
    """Otherwise a sentence of a method would go unseen, or a variable called `nobody` be complained of."""
    module = tmp_path / "module.py"
    module.write_text('class A:\n    def b(self):\n        """Who waits."""\n        nobody = 1\n')
    assert [text for text in docstrings(module) if text] == ["Who waits."]
    page = tmp_path / "page.md"
    page.write_text("# What is it\n\n```python\nnobody = 1\n```\n\n`nobody` is a name.\n")
    assert not [sentence for sentence in sentences(prose(page)) if BAD.search(sentence)]
