"""Flask views that are coroutines: their tasks are other owners than the threads of their requests."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ProxyPatternPool import Proxy, _trail
from tests.conftest import Crew, Factory, Thing, until

for _extra in ("flask", "asgiref"):
    pytest.importorskip(_extra, reason=f"{_extra} is missing: pip install flask[async]")

from asgiref.sync import async_to_sync  # noqa: E402  # it may be missing
from asgiref.wsgi import WsgiToAsgi  # noqa: E402  # likewise
from flask import Flask, Response, abort  # noqa: E402  # likewise

if TYPE_CHECKING:
    from flask.testing import FlaskClient


@pytest.fixture(autouse=True)
def no_trail() -> Iterator[None]:
    """Begin and end without a mark in the context of this thread, where asgiref leaves the marks of tasks."""
    token = _trail._mark.set(None)
    yield
    _trail._mark.reset(token)


class Site:
    """An application whose teardown gives back, and its proxy of two things."""

    def __init__(self, factory: Factory, scope: str) -> None:
        self.db: Proxy[Thing] = Proxy(fun=factory, max_size=2, timeout=0.2, scope=Proxy.Scope[scope])
        self.app = Flask("site")
        self.app.logger.disabled = True  # of the views that raise
        self.app.teardown_appcontext(lambda _: self.db._ret_obj())
        self.seen: list[int] = []  # the number of each thing that was used

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def use(self) -> int:
        self.seen.append(self.db.number)
        return self.seen[-1]

    def in_use(self) -> int:
        return self.db._pool.stats()["in_use"]

    def statuses(self, path: str = "/", requests: int = 6) -> set[int]:
        """Request a page several times; return the statuses, once no thing is out."""
        statuses = {self.client.get(path).status_code for _ in range(requests)}
        assert self.in_use() == 0
        return statuses


@pytest.fixture(params=["WERKZEUG", "VERSATILE"])
def site(request: pytest.FixtureRequest, factory: Factory) -> Iterator[Site]:
    site = Site(factory, request.param)
    yield site
    site.db._pool.shutdown()


def raise_error() -> str:
    raise ValueError("on purpose")


@pytest.mark.parametrize(
    ("end", "status"),
    [(lambda: "done", 200), (raise_error, 500), (lambda: abort(418), 418)],
    ids=["ok", "error", "abort"],
)
def test_the_object_of_a_coroutine_view_goes_back_at_the_end_of_the_request(
    site: Site, end: Callable[[], str], status: int
) -> None:
    """Otherwise each request keeps an object out, and the third one times out."""

    @site.app.get("/")
    async def view() -> str:
        site.use()
        await asyncio.sleep(0)
        assert site.use() == site.seen[-2]
        return end()

    assert site.statuses() == {status}


def test_gathered_coroutines_of_a_view_have_an_object_each_and_all_go_back(site: Site) -> None:
    """Otherwise two coroutines write into one transaction, or the objects of the view's children stay out."""

    async def use() -> int:
        return site.use()

    @site.app.get("/")
    async def view() -> str:
        assert len(set(await asyncio.gather(use(), use()))) == 2
        return "done"

    assert site.statuses() == {200}


def test_the_object_of_a_thread_that_a_view_awaits_goes_back(site: Site) -> None:
    """Otherwise a view that leaves blocking calls to threads keeps an object out."""

    @site.app.get("/")
    async def view() -> str:
        return str(await asyncio.to_thread(site.use))

    assert site.statuses() == {200}


def test_the_objects_of_the_thread_and_of_the_view_both_go_back(site: Site) -> None:
    """Otherwise a `before_request` that uses the proxy hides what the view has left."""
    site.app.before_request(lambda: site.seen.append(site.db.number))

    @site.app.get("/")
    async def view() -> str:
        assert site.use() != site.seen[-2]
        return "done"

    assert site.statuses() == {200}


def test_a_coroutine_teardown_gives_back_as_well(factory: Factory) -> None:
    """Otherwise the teardown's task, another owner again, finds nothing to give back."""
    site = Site(factory, "WERKZEUG")
    site.app.teardown_appcontext_funcs.clear()

    @site.app.teardown_appcontext
    async def give_back(_error: BaseException | None) -> None:
        site.db._ret_obj()

    @site.app.get("/")
    async def view() -> str:
        return str(site.use())

    assert site.statuses() == {200}


def test_a_plain_view_shares_one_object_with_its_request(site: Site) -> None:
    """Otherwise programs without coroutines would not work as before."""
    site.app.before_request(lambda: site.seen.append(site.db.number))

    @site.app.get("/")
    def view() -> str:
        assert site.use() == site.seen[-2]
        assert site.db._has_obj()
        return "done"

    assert site.statuses() == {200}
    assert set(site.seen) == {0}


def test_a_client_that_goes_in_the_middle_of_a_stream_leaves_nothing_out(site: Site) -> None:
    """Otherwise each download that is broken off costs an object."""

    @site.app.get("/")
    async def view() -> Response:
        def pieces() -> Iterator[str]:
            with site.db._obj() as thing:
                while True:
                    yield str(thing.number)

        site.use()
        return Response(pieces())

    for _ in range(6):
        response = site.client.get("/", buffered=False)
        assert next(iter(response.response)) in (b"0", b"1")
        response.close()
    assert site.in_use() == 0


def test_interleaved_requests_of_one_thread_give_back_their_own(site: Site) -> None:
    """Otherwise the end of one request takes the object of another, whose transaction is not over."""

    async def query() -> int:
        return site.use()

    with site.app.app_context():
        assert async_to_sync(query)() == 0
        for _ in range(4):
            with site.app.app_context():
                assert async_to_sync(query)() == 1
            assert [lease["number"] for lease in site.db._pool.leases()] == [0]
    assert site.in_use() == 0


def test_interleaved_calls_without_flask_never_take_from_a_living_task(factory: Factory, crew: Crew) -> None:
    """Otherwise a mark that stays in the context of a thread has one request rob another."""
    site = Site(factory, "VERSATILE")
    taken, finished = threading.Event(), threading.Event()

    async def query() -> int:
        return site.use()

    async def hold() -> int:
        number = site.use()
        taken.set()
        await asyncio.to_thread(finished.wait)
        assert site.use() == number
        return number

    assert async_to_sync(query)() == 0  # the mark of this task stays in the context of this thread
    site.db._ret_obj()
    crew.start(contextvars.copy_context().run, async_to_sync(hold))
    assert taken.wait(20)
    for _ in range(4):
        assert async_to_sync(query)() == 1
        site.db._ret_obj()
        assert [lease["number"] for lease in site.db._pool.leases()] == [0]
    finished.set()
    crew.join()


def test_an_object_that_is_dismissed_in_use_goes_back_at_the_end_of_its_task(site: Site, crew: Crew) -> None:
    """Otherwise the end of a request comes a moment too early for its task, as under ASGI, and the object stays out."""
    taken, finished = threading.Event(), threading.Event()

    async def hold() -> None:
        number = site.use()
        taken.set()
        await asyncio.to_thread(finished.wait)
        assert site.use() == number

    with site.app.app_context():
        crew.start(contextvars.copy_context().run, asyncio.run, hold())
        assert taken.wait(20)
    assert site.in_use() == 1
    finished.set()
    crew.join()
    until(lambda: site.in_use() == 0)


def test_requests_under_asgi_leave_nothing_out(site: Site) -> None:
    """Otherwise a server whose loop goes on, as uvicorn's, runs out of objects."""

    @site.app.get("/")
    async def view() -> str:
        return str(site.use())

    async def request(application: Any) -> int:
        incoming: list[dict[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]
        answers: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return incoming.pop() if incoming else await asyncio.Future()

        async def send(message: dict[str, Any]) -> None:
            answers.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": b"",
            "headers": [],
            "http_version": "1.1",
        }
        await application(scope, receive, send)
        return int(answers[0]["status"])

    async def serve() -> set[int]:
        application = WsgiToAsgi(site.app)  # type: ignore[no-untyped-call]  # asgiref's
        return {await request(application) for _ in range(20)}

    assert asyncio.run(serve()) == {200}
    until(lambda: site.in_use() == 0)


def test_the_scope_of_threads_gives_back_with_the_thread_of_the_view(factory: Factory) -> None:
    """Otherwise `auto_return`, which the page on Flask advises for that scope, would not be enough."""
    db: Proxy[Thing] = Proxy(fun=factory, max_size=2, timeout=20.0, auto_return=True)
    app = Flask("threads")

    @app.get("/")
    async def view() -> str:
        return str(db.number)

    assert {app.test_client().get("/").status_code for _ in range(6)} == {200}
    until(lambda: db._pool.stats()["in_use"] == 0)
    assert len(factory.things) <= 2


def test_the_scope_of_loops_makes_an_object_for_each_call_of_a_view(factory: Factory) -> None:
    """Otherwise the page on Flask would be wrong, and objects of ended loops would stay open."""
    db: Proxy[Thing] = Proxy(fun=factory, scope=Proxy.Scope.LOOP, close="close")
    app = Flask("loops")

    @app.get("/")
    async def view() -> str:
        return str(db.number)

    assert [app.test_client().get("/").text for _ in range(3)] == ["0", "1", "2"]
    assert factory.closed == [0, 1, 2]
