"""loop_local with what programs are really made of: aiohttp, anyio, pytest-asyncio, uvloop, Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ProxyPatternPool import AsyncProxy, Proxy
from ProxyPatternPool.loop_local import at_exit, enter_once, singleton, sticky_singleton_acm
from tests.conftest import PATIENCE, run
from tests.support.loops import Run

# -- aiohttp


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Serve greetings over HTTP, from a loop in another thread; return the address."""
    web = pytest.importorskip("aiohttp.web", reason="aiohttp has nothing for this interpreter")
    addresses: queue.Queue[str] = queue.Queue()
    stops: list[Callable[[], object]] = []

    async def greet(_request: object) -> Any:
        return web.Response(text="hello")

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        application = web.Application()
        application.router.add_get("/", greet)
        runner = web.AppRunner(application)
        at_exit(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        addresses.put("http://{}:{}/".format(*runner.addresses[0]))
        await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    yield addresses.get(timeout=PATIENCE)
    stops[0]()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_there_is_one_client_session_per_loop_and_it_is_closed(run_loop: Run, server: str) -> None:
    """Otherwise each request would connect anew, or aiohttp complain of an "Unclosed client session"."""
    import aiohttp

    client_session = sticky_singleton_acm(aiohttp.ClientSession)
    make = singleton(lambda: aiohttp.ClientSession())  # another function: of one and the same, the session is shared
    sessions: list[aiohttp.ClientSession] = []
    reports: list[object] = []

    async def fetch() -> str:
        async with client_session() as session, session.get(server) as response:
            sessions.append(session)
            return await response.text()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        at_exit(fetch)  # the session is closed after that: it was not there before
        assert await asyncio.gather(*(fetch() for _ in range(7))) == ["hello"] * 7
        session = await enter_once(make())
        async with session.get(server) as response:
            assert await response.text() == "hello"
        assert session is not sessions[0]
        assert not session.closed
        sessions.append(session)

    for _ in range(2):
        run_loop(main())
    gc.collect()
    assert all(session.closed and session.connector is None for session in sessions)
    assert len({id(session) for session in sessions}) == 6  # of each loop: the shared one, mine, and at the exit
    assert reports == []


async def open_session(_number: int) -> Any:
    import aiohttp

    return aiohttp.ClientSession()


def plain_session() -> Any:
    import aiohttp

    return Proxy(fun=lambda n: aiohttp.ClientSession(), scope=Proxy.Scope.LOOP, close="close")


def entered_session() -> Any:
    import aiohttp

    return AsyncProxy(fun=lambda n: aiohttp.ClientSession(), scope=Proxy.Scope.LOOP)


def awaited_session() -> Any:
    return AsyncProxy(fun=open_session, scope=Proxy.Scope.LOOP, close="close")


@pytest.mark.parametrize("make", [plain_session, entered_session, awaited_session])
def test_a_module_can_have_a_client_session(run_loop: Run, server: str, make: Callable[[], Any]) -> None:
    """Otherwise each function of a program would have to be given the session by its caller."""
    aiohttp = pytest.importorskip("aiohttp", reason="aiohttp has nothing for this interpreter")
    http = make()
    sessions: list[Any] = []
    reports: list[object] = []

    async def fetch() -> str:
        if isinstance(http, AsyncProxy):
            await http._get_obj()
        async with http.get(server) as response:
            return str(await response.text())

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        assert await asyncio.gather(*(fetch() for _ in range(7))) == ["hello"] * 7
        assert isinstance(http, aiohttp.ClientSession)
        assert not http.closed
        sessions.append(http._get_obj() if isinstance(http, Proxy) else await http._get_obj())

    for _ in range(2):
        run_loop(main())
    gc.collect()
    assert all(session.closed and session.connector is None for session in sessions)
    assert sessions[0] is not sessions[1]
    assert reports == []


# -- anyio


@asynccontextmanager
async def service(log: list[str]) -> AsyncIterator[Any]:
    """Serve in the background, with a group of tasks that must be left by the task that has entered it."""
    anyio = pytest.importorskip("anyio")

    async def echo(receive: Any, send: Any) -> None:
        async for item in receive:
            await send.send(item)

    there, here = anyio.create_memory_object_stream(1), anyio.create_memory_object_stream(1)
    async with anyio.create_task_group() as group:
        group.start_soon(echo, there[1], here[0])
        try:
            yield there[0], here[1]
        finally:
            group.cancel_scope.cancel()
            for stream in (*there, *here):
                stream.close()
            log.append("left")


def test_a_group_of_tasks_is_kept_and_left_by_its_own_task(run_loop: Run) -> None:
    """Otherwise: "Attempted to exit cancel scope in a different task than it was entered in"."""
    log: list[str] = []
    reports: list[object] = []
    echo = sticky_singleton_acm(lambda: service(log))

    async def ask(word: str) -> str:
        async with echo() as (send, receive):
            await send.send(word)
            return str(await receive.receive())

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        for word in ("a", "b"):
            assert await asyncio.create_task(ask(word)) == word
        assert log == []

    run_loop(main())
    assert log == ["left"]
    assert reports == []


def test_a_deadline_is_kept_by_its_own_task(run_loop: Run) -> None:
    anyio = pytest.importorskip("anyio")

    @asynccontextmanager
    async def limited() -> AsyncIterator[Any]:
        with anyio.CancelScope() as scope:
            yield scope

    make = sticky_singleton_acm(limited)

    async def main() -> None:
        async with make() as scope:
            scope.cancel()  # the held context is cancelled, and not the task that uses it
        for _ in range(5):
            await asyncio.sleep(0)
        async with make() as another:
            assert another is not scope

    run_loop(main())


# -- runners


SESSION = """
import asyncio, signal, sys
from contextlib import asynccontextmanager
from ProxyPatternPool import loop_local

@asynccontextmanager
async def connect(name):
    print("enter", name)
    yield name
    await asyncio.sleep(0)
    print("exit", name)

session = loop_local.sticky_singleton_acm(connect)

async def use(name):
    async with session(name):
        await asyncio.sleep(0)
"""


def test_each_test_of_pytest_asyncio_has_its_own(tmp_path: Path) -> None:
    """Otherwise a test would be given a connection of the one before, whose loop is closed."""
    pytest.importorskip("pytest_asyncio")
    test_file = tmp_path / "test_it.py"
    test_file.write_text(
        SESSION
        + """
import pytest

@pytest.mark.asyncio
@pytest.mark.parametrize("number", [1, 2])
async def test_function(number):
    await use("function")

@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("number", [1, 2])
async def test_module(number):
    await use("module")
"""
    )
    arguments = [str(test_file), "-q", "-s", "-p", "no:cacheprovider", "-W", "error", "--rootdir", str(tmp_path)]
    options = ["-o", "asyncio_default_fixture_loop_scope=function"]
    result = run(f"import sys, pytest; sys.exit(pytest.main({arguments + options}))")
    lines = [line.strip(".") for line in result.stdout.splitlines() if "enter" in line or "exit" in line]
    assert lines == ["enter function", "exit function"] * 2 + ["enter module", "exit module"]
    assert (result.returncode, result.stderr) == (0, "")


RUNS = {
    "asyncio.run": "asyncio.run(main())",
    "bare": """
loop = asyncio.new_event_loop()
try:
    loop.run_until_complete(main())
finally:
    loop.close()
""",
    "uvloop.run": "import uvloop; uvloop.run(main())",
}


#: What Python says when a program is interrupted: nothing else is to be seen.
PYTHONS_OWN = {
    "Traceback (most recent call last):",
    "asyncio.exceptions.CancelledError",
    "During handling of the above exception, another exception occurred:",
    "KeyboardInterrupt",
}


@pytest.mark.parametrize("way", RUNS)
@pytest.mark.parametrize("end", ["pass", "signal.raise_signal(signal.SIGINT); await asyncio.sleep(60)"])
def test_a_program_exits_all_it_has_entered_also_on_ctrl_c(way: str, end: str) -> None:
    """Otherwise Ctrl-C would leave sessions behind on the server, or the user with complaints of ours."""
    if "uvloop" in way:
        pytest.importorskip("uvloop", reason="uvloop has nothing for this interpreter")
    program = f"{SESSION}\nasync def main():\n    await use('a')\n    await use('b')\n    {end}\n{RUNS[way]}"
    result = run(program, PYTHONASYNCIODEBUG="", PYTHONWARNINGS="error")
    assert result.stdout.splitlines() == ["enter a", "enter b", "exit b", "exit a"]
    lines = [line for line in result.stderr.splitlines() if line and not line.startswith(" ")]
    if end == "pass":
        assert (result.returncode, lines) == (0, [])
    else:
        assert result.returncode != 0
        assert set(lines) <= PYTHONS_OWN
