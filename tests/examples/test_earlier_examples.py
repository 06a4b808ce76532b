"""The examples of the earlier documentation, as programs of several modules. What was broken in them is mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import run

PROXY_SET_LATER = {
    "database.py": """
from ProxyPatternPool import Proxy
db = Proxy()

def init_app(config):
    db.set_obj(config["database"])
""",
    "app.py": """
import database
from database import db  # db is a proxy to nothing

assert repr(db).endswith("not set>")

# delayed initialization
database.init_app({"database": {"one": 1}})

# db is now a proxy to the initialized object
assert db["one"] == 1 and db.get("two") is None
""",
}

FLASK_WITH_A_BLUEPRINT = {
    "Shared.py": """
from ProxyPatternPool import Proxy
stuff = Proxy()
def init_app(what):  # was called stuff, too
    stuff.set_obj(what)
""",
    "SubStuff.py": """
from flask import Blueprint  # was: from Flask
from Shared import stuff
sub = Blueprint("sub", __name__)  # was: …

@sub.get("/stuff")
def get_stuff():
    return str(stuff), 200
""",
    "app.py": """
from flask import Flask
app = Flask("stuff")

from SubStuff import sub
app.register_blueprint(sub, url_prefix="/sub")

import Shared
Shared.init_app("hello world!")

response = app.test_client().get("/sub/stuff")
assert (response.status_code, response.text) == (200, "hello world!")
""",
}


@pytest.mark.parametrize("modules", [PROXY_SET_LATER, FLASK_WITH_A_BLUEPRINT], ids=["set later", "flask"])
def test_an_example_of_the_earlier_documentation(modules: dict[str, str], tmp_path: Path) -> None:
    if modules is FLASK_WITH_A_BLUEPRINT:
        pytest.importorskip("flask", reason="flask is missing: pip install ProxyPatternPool[flask]")
    for name, text in modules.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    result = run("import app", PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
