"""FlaskSimpleAuth, which was written for earlier releases, with this one: a small application of it, over real HTTP."""

# FlaskSimpleAuth reads the annotations of its views, which must not be texts

import base64
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

import ProxyPatternPool
from tests.conftest import Crew

for _extra in ("flask", "FlaskSimpleAuth"):
    pytest.importorskip(_extra, reason=f"{_extra} is missing: pip install ProxyPatternPool[demo,test]")

import FlaskSimpleAuth  # noqa: E402  # it may be missing
from werkzeug.serving import make_server  # noqa: E402  # likewise: it comes with flask

pytestmark = pytest.mark.slow  # it starts servers or programs

MAX_SIZE = 3

Request = Callable[..., tuple[int, Any]]


class Application:
    """Notes of users that log in with a password, all in a database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened: list[int] = []  # numbers
        self.db: Any = FlaskSimpleAuth.Reference(
            set_name="set_object", max_size=MAX_SIZE, max_use=20, timeout=20, close="close"
        )
        self.greeting: Any = FlaskSimpleAuth.Reference()
        self.app = self._app()
        self.db.set_object_fun(self._connect)
        self.greeting.set("hello")

    def _connect(self, number: int) -> sqlite3.Connection:
        self.opened.append(number)
        return sqlite3.connect(self.path, check_same_thread=False, timeout=20)

    def _app(self) -> Any:
        app, db, greeting = (
            FlaskSimpleAuth.Flask("notes", FSA_AUTH="basic", FSA_PASSWORD_SCHEME="plaintext"),
            self.db,
            self.greeting,
        )

        @app.get_user_pass
        def get_user_pass(user: str) -> Any:
            found = db.execute("SELECT password FROM person WHERE name = ?", [user]).fetchone()
            return found and found[0]

        @app.get("/hello", authz="OPEN")
        def hello() -> Any:
            return FlaskSimpleAuth.jsonify(str(greeting))

        @app.post("/notes", authz="AUTH")
        def add(text: str, user: FlaskSimpleAuth.CurrentUser) -> Any:
            db.execute("INSERT INTO note VALUES (?, ?)", [user, text])
            return "", 201

        @app.get("/notes", authz="AUTH")
        def notes(user: FlaskSimpleAuth.CurrentUser) -> Any:
            return FlaskSimpleAuth.jsonify(
                [text for (text,) in db.execute("SELECT text FROM note WHERE name = ?", [user])]
            )

        @app.get("/pool", authz="OPEN")
        def pool() -> Any:
            return FlaskSimpleAuth.jsonify(db._pool.stats())

        @app.after_request
        def give_back(response: Any) -> Any:
            if db._has_obj():
                (db.commit if response.status_code < 400 else db.rollback)()
                db._ret_obj()
            return response

        return app


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    path = tmp_path / "notes.db"
    with sqlite3.connect(path) as database:
        database.executescript(
            "CREATE TABLE person (name TEXT, password TEXT); INSERT INTO person VALUES ('ann', 'a'), ('bob', 'b');"
            "CREATE TABLE note (name TEXT, text TEXT CHECK (text <> ''))"
        )
    database.close()
    application = Application(path)
    yield application
    application.db._pool.shutdown(delay=20)


@pytest.fixture
def request_page(application: Application) -> Iterator[Request]:
    """Return what requests a page of the application, which a thread for each request serves."""
    server = make_server("127.0.0.1", 0, application.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def ask(method: str, path: str, user: str = "", **data: str) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        headers = {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()} if user else {}
        connection.request(method, path, json.dumps(data), {**headers, "Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, json.loads(body) if response.headers.get_content_subtype() == "json" else body

    yield ask
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_runs_with_this_package() -> None:
    """Otherwise the rest of this file would prove nothing."""
    assert FlaskSimpleAuth.ppp is ProxyPatternPool
    assert issubclass(FlaskSimpleAuth.Reference, ProxyPatternPool.Proxy)


def test_an_application_serves_concurrent_clients(application: Application, request_page: Request, crew: Crew) -> None:
    """Otherwise its users could not change over."""
    assert request_page("GET", "/hello") == (200, "hello")
    assert request_page("GET", "/notes")[0] == 401
    assert request_page("GET", "/notes", "ann:wrong")[0] == 401
    assert request_page("POST", "/notes", "ann:a", text="")[0] == 500  # rolled back, and given back

    def client(user: str, number: int) -> None:
        for note in range(10):
            assert request_page("POST", "/notes", user, text=f"{number}.{note}")[0] == 201

    for number in range(8):
        crew.start(client, "ann:a" if number % 2 else "bob:b", number)
    crew.join()
    _, anns = request_page("GET", "/notes", "ann:a")
    assert sorted(anns) == sorted(f"{number}.{note}" for number in (1, 3, 5, 7) for note in range(10))
    _, stats = request_page("GET", "/pool")
    assert (stats["in_use"], stats["max_size"], stats["ntimeouts"]) == (0, MAX_SIZE, 0)
    assert stats["size"] <= MAX_SIZE
    assert stats["ncreated"] == len(application.opened)
    assert stats["nclosed"]["max_use"] >= 80 // 20 - MAX_SIZE
