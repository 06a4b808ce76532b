"""Sphinx: the documentation is written in Markdown, and built by ``make docs``."""

from sphinx.application import Sphinx
from sphinx.ext.autodoc import between

from ProxyPatternPool import __version__

project = "ProxyPatternPool"
version = release = __version__
project_copyright = "public domain (CC0-1.0)"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"ProxyPatternPool {__version__}"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"


def setup(app: Sphinx) -> None:
    """Leave out what `help(Pool)` says of the parameters: the page has a table, which says more."""
    app.connect("autodoc-process-docstring", between(r"The parameters, all but", what=["class"], exclude=True))
