"""Have the examples in README and docs executed: each file is one program, read from top to bottom."""

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"]).pytest()
pytest_plugins = ["tests.postgres"]  # servers which tests and examples share
