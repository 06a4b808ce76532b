"""Children of `multiprocessing`: each begins with nothing, leaves the parent's connections alone, closes its own."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import run, until
from tests.support.wire import Server

pytestmark = pytest.mark.slow  # it starts servers or programs

METHODS = multiprocessing.get_all_start_methods()

PROGRAM = """
    import os, sys, threading
    from ProxyPatternPool import Pool, Proxy
    from tests.support.wire import Connection

    pool = Pool(Connection, 3, min_size=0, close="close")
    db = Proxy(fun=Connection, max_size=3, close="close")

    import multiprocessing  # only now: there was nothing yet that the pools could be made known to
    from concurrent.futures import ProcessPoolExecutor

    def use():
        with pool.obj() as mine:
            mine.say("hello")
        db.say("hello")
        db._ret_obj()

    def task(number):
        use()
        return os.getpid()

    def begin_with_nothing():
        assert not db._has_obj()
        assert (pool.size, db._pool.size) == (0, 0)
        use()

    def have_child():
        use()
        have_one("fork", begin_with_nothing)
        use()

    def leave_a_thread():
        def use_later():
            threading.main_thread().join()
            use()
        threading.Thread(target=use_later).start()

    def have_two(method):
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as children:
            assert os.getpid() not in set(children.map(task, range(20)))

    def have_one(method, target):
        child = multiprocessing.get_context(method).Process(target=target)
        child.start()
        child.join()
        assert child.exitcode == 0

    if __name__ == "__main__":
        use()
        held = pool.get()
        with pool.obj() as idle:
            idle.say("hello")
        db.say("hello")
"""

END = """
        held.say("still")
        db.say("still")
        idle.say("still")
        print(os.getpid())
        pool.ret(held)
        db._ret_obj()
"""


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a server that listens."""
    with Server() as server:
        yield server


def run_file(server: Server, directory: Path, program: str) -> str:
    """Run a program from a file, for spawned children to import; return its output once all connections have ended."""
    path = directory / "program.py"
    path.write_text(textwrap.dedent(program))
    result = subprocess.run(
        [sys.executable, path], env=server.environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    until(lambda: server.ended == server.heard.keys())
    return result.stdout


def check(server: Server, directory: Path, children: str) -> list[str]:
    """Have children under a parent which is undisturbed; return what their connections have said."""
    parent = server.of(int(run_file(server, directory, PROGRAM + children + END)))
    # in this order: no child has said anything in its parent's name, good-bye least of all
    assert sorted(parent.values()) == ["hello hello still bye ", "hello still bye ", "hello still bye "]
    return [words for name, words in server.heard.items() if name not in parent]


@pytest.mark.parametrize("method", METHODS)
def test_a_child_begins_with_nothing_and_closes_what_it_has_made(server: Server, tmp_path: Path, method: str) -> None:
    """Otherwise two processes would talk over one connection, or a server would be left with half-open sessions."""
    assert check(server, tmp_path, f"        have_one({method!r}, begin_with_nothing)") == ["hello bye "] * 2


@pytest.mark.parametrize("method", METHODS)
def test_children_of_an_executor_keep_their_connections_until_they_end(
    server: Server, tmp_path: Path, method: str
) -> None:
    """Otherwise each task would connect anew, or what the last one has left would stay open."""
    children = check(server, tmp_path, f"        have_two({method!r})")
    assert len(children) in (2, 4)  # the first of the two may have done it all
    assert "".join(children).count("hello ") == 40
    assert all(words.endswith("hello bye ") and words.count("bye") == 1 for words in children)


@pytest.mark.parametrize("method", METHODS)
def test_a_child_lets_its_threads_finish_first(server: Server, tmp_path: Path, method: str) -> None:
    """Otherwise a thread that goes on when the target has returned would find its pool shut down."""
    assert check(server, tmp_path, f"        have_one({method!r}, leave_a_thread)") == ["hello bye "] * 2


@pytest.mark.skipif("fork" not in METHODS, reason="there is no fork on this platform")
def test_a_child_of_a_child(server: Server, tmp_path: Path) -> None:
    """Otherwise only the first generation would clean up."""
    children = check(server, tmp_path, "        have_one('fork', have_child)")
    assert sorted(children) == ["hello bye ", "hello bye ", "hello hello bye ", "hello hello bye "]


@pytest.mark.parametrize("method", METHODS)
def test_a_child_that_imports_the_library_itself(server: Server, tmp_path: Path, method: str) -> None:
    """Otherwise the objects left open would depend on the module that imports it first."""
    program = f"""
        import multiprocessing
        def work():
            from ProxyPatternPool import Pool
            from tests.support.wire import Connection
            pool = Pool(Connection, close="close")
        if __name__ == "__main__":
            child = multiprocessing.get_context({method!r}).Process(target=work)
            child.start()
            child.join()
    """
    run_file(server, tmp_path, program)
    assert list(server.heard.values()) == ["bye "]


def test_a_program_that_uses_its_pool_at_exit(server: Server, tmp_path: Path) -> None:
    """Otherwise the mere import of multiprocessing would take a pool away from the handlers of atexit."""
    program = """
        import atexit
        from ProxyPatternPool import Pool
        from tests.support.wire import Connection
        def use():
            with pool.obj() as mine:
                mine.say("hello")
        atexit.register(use)
        import multiprocessing, multiprocessing.util
        pool = Pool(Connection, 1, min_size=0, close="close")
        def work():
            print("worked", flush=True)
        if __name__ == "__main__":
            child = multiprocessing.get_context("spawn").Process(target=work)
            child.start()
            child.join()
    """
    assert run_file(server, tmp_path, program) == "worked\n"
    assert list(server.heard.values()) == ["hello bye ", "hello bye "]


def test_multiprocessing_is_not_loaded_for_that() -> None:
    """Otherwise every program would pay for what few use."""
    result = run("""
        import sys
        before = set(sys.modules)  # a coverage tool may have loaded it
        from ProxyPatternPool import Pool
        pool = Pool(lambda n: n, 1)
        print("multiprocessing" in sys.modules.keys() - before)
    """)
    assert (result.stdout, result.stderr) == ("False\n", "")
