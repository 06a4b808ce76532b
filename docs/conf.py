"""Sphinx: the documentation is written in Markdown, and built by ``make docs``."""

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
