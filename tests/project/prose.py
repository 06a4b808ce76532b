"""Hold the prose to one rule: every sentence has a noun as its subject. ``make lint`` runs this.

Docstrings and the pages of the documentation are read sentence by sentence. A sentence must not begin with Who, What,
Whoever or Whatever, and must not hang on somebody, nobody, whoever or "that one". Questions in headings may.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: The beginnings and the words that leave a sentence without a noun.
BAD = re.compile(r"^(who|what|whoever|whatever)\b(?!.*\?$)|\b(somebody|nobody|whoever|that one)\b", re.IGNORECASE)

#: The pages that readers see.
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", *sorted(path.name for path in ROOT.glob("docs/*.md")))


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text, each on one line."""
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*[-*#|])", text):
        for sentence in re.split(r"(?<=[.:;?!])\s+", " ".join(paragraph.split())):
            yield sentence.strip("-*|#> ")


def docstrings(path: Path) -> Iterator[str]:
    """Yield the docstrings of a module and of what it defines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.get_docstring(node) or ""


def prose(page: Path) -> str:
    """Return a page without its code, headings and tables' rules."""
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^#.*$|`[^`\n]*`", "x", text, flags=re.MULTILINE)


def complaints() -> Iterator[str]:
    """Yield each sentence without a noun, with its file."""
    for path in sorted((ROOT / "ProxyPatternPool").rglob("*.py")):
        for text in docstrings(path):
            yield from (f"{path.relative_to(ROOT)}: {sentence}" for sentence in sentences(text) if BAD.search(sentence))
    for name in PAGES:
        path = ROOT / name if (ROOT / name).exists() else ROOT / "docs" / name
        found = (sentence for sentence in sentences(prose(path)) if BAD.search(sentence))
        yield from (f"{path.relative_to(ROOT)}: {sentence}" for sentence in found)


def main() -> None:
    """Print the complaints; end with an error when there is one."""
    found = list(complaints())
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(f"{len(found)} sentences without a noun as their subject" if found else 0)


if __name__ == "__main__":
    main()
