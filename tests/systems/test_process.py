"""Forks and ends of real processes: what a child may touch, and what is left when a program is over."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import run

# -- the end of a program


EXIT = """
    import sys, threading, time
    from ProxyPatternPool import Pool, PoolException
    from ProxyPatternPool._threads import engine as _engine
    from ProxyPatternPool._threads import housekeeper as _housekeeper
    from ProxyPatternPool._threads import parking as _parking
    _parking.RECHECK = _engine.PATIENCE = _housekeeper.LINGER = 3600.0  # a waiter at the end waits for too long

    def until(condition):
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.001)

    def close(number):
        time.sleep(0.05)  # others go on meanwhile, and may have something to say
        print("closed", number)

    def start(work, daemon):
        threading.Thread(target=work, daemon=daemon).start()

    busy = Pool(lambda n: n, 1, close=close, timeout=None, name="busy")
    taken = busy.get()
    pool = Pool(lambda n: n, 2, min_size=2, close=close)
"""

EXITS = {
    "idle": "",
    "in use": """
    held = pool.get()
    """,
    "a daemon waits": """
    _parking.RECHECK = 0.01  # it looks around meanwhile
    start(busy.get, daemon=True)
    until(lambda: busy.stats()["nwaiting"])
    """,
    "a thread waits, but not for ever": """
    def wait():
        try:
            busy.get(timeout=0.2)
        except PoolException:
            print("gave up")
    start(wait, daemon=False)
    until(lambda: busy.stats()["nwaiting"])
    """,
    "a daemon creates": """
    making = Pool(lambda n: threading.Event().wait(), 1, min_size=0)
    start(making.get, daemon=True)
    until(lambda: making.stats()["creating"])
    """,
    "the background creates": """
    refilled = Pool(lambda n: threading.Event().wait(), 1, min_size=0)
    refilled.resize(min_size=1)
    until(lambda: refilled.stats()["creating"])
    """,
    "house is kept": """
    often = Pool(lambda n: n, 2, min_size=0, max_delay=0.001)
    seldom = Pool(lambda n: n, 2, min_size=0, max_delay=3600.0)
    for some in (often, seldom):
        some.ret(some.get())
    until(lambda: often.stats()["nclosed"])
    """,
}

PRINTED = {"in use": "closed 0\n", "a thread waits, but not for ever": "gave up\nclosed 1\nclosed 0\n"}
ENDS = {"": 0, "sys.exit(3)": 3, "1 / 0": 1}


@pytest.mark.parametrize("situation", EXITS)
def test_a_program_that_ends_without_shutdown(situation: str) -> None:
    """Otherwise a server would be left with half-open sessions, or the user with a hang or a hint of ours."""
    with ThreadPoolExecutor() as executor:
        results = executor.map(lambda end: run(f"{EXIT}{EXITS[situation]}\n    {end}"), ENDS)
    for end, result in zip(ENDS, results, strict=True):
        assert sorted(result.stdout.split("\n")) == sorted(PRINTED.get(situation, "closed 1\nclosed 0\n").split("\n"))
        assert result.returncode == ENDS[end]
        # the program's own traceback has two lines that are not indented
        assert len(re.findall(r"^\S", result.stderr, re.MULTILINE)) == (2 if end == "1 / 0" else 0), result.stderr


CLOSES = """
    import gc, sys, time
    from ProxyPatternPool import Pool

    class Owner:
        def __init__(self):
            self.pool = Pool(lambda n: n, 3, min_size=3, close=self.close)

        def close(self, number):
            sys.stdout.write(f"closed {number}\\n")  # in one piece: two threads may be at it
"""


def test_a_close_in_the_background_is_waited_for_at_the_end() -> None:
    """Otherwise a connection that was given back broken just before the end would be half closed."""
    result = run("""
        import threading, time
        from ProxyPatternPool import Pool
        begun = threading.Event()
        def close(number):
            begun.set()
            time.sleep(0.3)
            print("closed", number)
        pool = Pool(lambda n: n, 1, close=close, min_size=0)
        pool.discard(pool.get())
        begun.wait()
    """)
    assert (result.stdout, result.stderr) == ("closed 0\n", "")


def test_a_pool_that_was_just_collected_is_closed_at_the_end() -> None:
    """Otherwise the objects of a pool in a cycle, which most are, would be left open."""
    result = run(CLOSES + "\n    owner = Owner(); del owner; gc.collect()")
    assert sorted(result.stdout.split()) == ["0", "1", "2", "closed", "closed", "closed"]
    assert result.stderr == ""


LATE = {
    "Pool": """
    import atexit, sys
    atexit.register(lambda: pool.ret(held))  # runs after the pool's own function, which is registered later
    from ProxyPatternPool import Pool
    pool = Pool(lambda n: n, 1, close=print)
    held = pool.get()
    sys._kept = pool
    """,
    "AsyncPool": """
    import asyncio, sys
    from ProxyPatternPool import AsyncPool
    async def make(number):
        return number
    async def use():
        async with pool.obj():
            pass
    pool = AsyncPool(make, 1)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use())
    sys._kept = pool, loop
    del pool, loop
    """,
}


@pytest.mark.parametrize("kind", LATE)
def test_a_pool_that_is_finalised_after_the_globals_of_its_module_prints_no_error(kind: str) -> None:
    """Otherwise a program would end with a traceback of the library. Without the GIL this order is common."""
    assert run(LATE[kind]).stderr == ""


def test_a_close_that_raises_at_the_end_leaves_nothing_open() -> None:
    """Otherwise one bad close would leave the connections of all other pools open."""
    result = run("""
        import sys
        from ProxyPatternPool import Pool
        def close(number):
            print("closed", number)
            sys.exit(1)
        pools = [Pool(lambda n: n, 2, min_size=2, close=close) for _ in range(3)]
    """)
    assert result.stdout.count("closed") == 6
    assert result.stderr.count("failed") == 6


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "1 / 0"])
def test_a_waiter_for_an_object_of_the_ended_program_is_sent_away(end: str) -> None:
    """Otherwise a program would not end, because one of its threads waits for an object that no thread can return."""
    result = run(f"""
        import sys, threading, time
        from ProxyPatternPool import Pool, PoolClosed
        pool = Pool(lambda n: n, 2, min_size=2, timeout=None, close=lambda n: print("closed", n))
        held = pool.get()
        ended = threading.Thread(target=pool.get)
        ended.start()
        ended.join()
        waiting = threading.Thread(target=pool.get, daemon=True)
        waiting.start()
        def work():
            try:
                pool.get()
            except PoolClosed as error:
                print(error)
        threading.Thread(target=work).start()
        while pool.stats()["nwaiting"] < 2:
            time.sleep(0.001)
        {end}
    """)
    assert result.stdout == "pool-1: the program has ended, and so have all threads that had an object\n"
    assert result.returncode == {"": 0, "sys.exit(3)": 3, "1 / 0": 1}[end]


@pytest.mark.parametrize("step", ["asks", "creates"])
def test_a_daemon_that_asks_while_the_program_closes_its_pool_sleeps_on(step: str) -> None:
    """Otherwise a program with a daemon would end with a traceback, which is no error of its own."""
    result = run(f"""
        import threading
        from ProxyPatternPool import Pool
        closing, begun = threading.Event(), threading.Event()
        def make(number):
            if number:
                begun.set()
                closing.wait()
            return [number]
        def work():
            if {step == "asks"}:
                begun.set()
                closing.wait()
            pool.get(timeout=None)
        def close(obj):
            closing.set()
            if obj is held:
                daemon.join(0.3)
                print("asleep" if daemon.is_alive() else "sent away")
        pool = Pool(make, 2, close=close)
        held = pool.get()
        daemon = threading.Thread(target=work, daemon=True)
        daemon.start()
        begun.wait()
        pool.ret(held)
    """)
    assert (result.stdout, result.stderr) == ("asleep\n", "")


def test_the_thread_that_ends_the_program_gets_nothing_more_and_does_not_wait() -> None:
    """Otherwise a program whose end uses the pool would hang for its timeout, or for ever."""
    result = run("""
        import atexit
        def last():
            try:
                pool.get(timeout=None)
            except PoolClosed as error:
                print(error)
        atexit.register(last)
        from ProxyPatternPool import Pool, PoolClosed
        pool = Pool(lambda n: n, name="db", close=print)
    """)
    assert (result.stdout, result.stderr) == ("0\ndb: the pool has been shut down\n", "")


def test_a_waiter_for_an_ended_thread_goes_on_while_the_program_does() -> None:
    """Otherwise an object that was passed on to another thread would send its waiters away."""
    result = run("""
        import threading, time
        from ProxyPatternPool import Pool
        from ProxyPatternPool._threads import parking as _parking
        from ProxyPatternPool._threads.lending import Request
        _parking.RECHECK = 0.01
        pool = Pool(lambda n: n, 1, timeout=20)
        passed = []
        first = threading.Thread(target=lambda: passed.append(pool.get()))
        first.start()
        first.join()
        looks = 0
        give_up = Request._give_up_if_alone
        def look(request):
            global looks
            looks += 1
            give_up(request)
        Request._give_up_if_alone = look
        second = threading.Thread(target=lambda: print("served", pool.get()))
        second.start()
        while looks < 3:
            time.sleep(0.001)
        pool.ret(passed.pop())
        second.join()
    """)
    assert (result.stderr, result.stdout) == ("", "served 0\n")


def test_a_waiter_for_a_living_thread_goes_on_after_the_main_thread() -> None:
    """Otherwise a program whose main thread only starts the others would lose its pool."""
    result = run("""
        import threading, time
        from ProxyPatternPool import Pool
        from ProxyPatternPool._threads import parking as _parking
        from ProxyPatternPool._threads.lending import Request
        _parking.RECHECK = 0.01
        pool = Pool(lambda n: n, 1, timeout=20)
        looks = 0
        give_up = Request._give_up_if_alone
        def look(request):
            global looks
            looks += not threading.main_thread().is_alive()
            give_up(request)
        Request._give_up_if_alone = look
        def hold():
            with pool.obj():
                held.set()
                while looks < 3:
                    time.sleep(0.001)
        def wait():
            with pool.obj():
                print("served")
        held = threading.Event()
        threading.Thread(target=hold).start()
        held.wait()
        threading.Thread(target=wait).start()
    """)
    assert (result.stderr, result.stdout) == ("", "served\n")


# -- forks

FORK = '''
    import gc, os, socket, sys, threading, time, warnings
    from ProxyPatternPool import Pool, Proxy
    warnings.simplefilter("ignore", DeprecationWarning)  # that forking with threads is risky is what is tested

    server = socket.create_server(("127.0.0.1", 0))
    heard = {}  # what came over each connection: bytes, or None for its end

    def listen(connection):
        name = connection.recv(20, socket.MSG_WAITALL).decode().strip()
        heard[name] = []
        while data := connection.recv(100):
            heard[name].append(data)
        heard[name].append(None)

    def serve():
        while True:
            connection, _ = server.accept()
            threading.Thread(target=listen, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()

    class Connection:
        """Says good-bye at its end, as a database driver does."""

        def __init__(self, number):
            self.name = f"{os.getpid()}-{number}"
            self.socket = socket.create_connection(server.getsockname())
            self.socket.sendall(f"{self.name:20}".encode())
            while self.name not in heard and os.getpid() == parent:
                time.sleep(0.001)

        def close(self):
            if self.socket.fileno() >= 0:
                self.socket.sendall(b"bye")
                self.socket.close()

        __del__ = close

    parent = os.getpid()

    def until(condition):
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.001)

    def in_child(work):
        """Fork; the child works and ends as a program does; return when it has."""
        child = os.fork()
        if not child:
            work()
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, status

    def child():
        """Use the pool, keep house, end; touch nothing of the parent."""
        assert pool.stats()["size"] == 0, pool
        for thing in held:
            pool.ret(thing)
            pool.discard(thing)
        assert pool.stats()["nbad_returns"] == 0
        with pool.obj(timeout=5) as one, pool.obj(timeout=5) as two:
            for mine in (one, two):
                assert mine.name.startswith(f"{os.getpid()}-")
                mine.socket.sendall(b"hello")
        until(lambda: pool.stats()["nclosed"] == {"max_delay": 1})
        held.clear()
        gc.collect()

    def child_inside():
        """Do the same from inside a function of the user's, from which a child had better not return."""
        meanwhile.clear()
        child()
        pool.shutdown()
        os._exit(0)

    def connect(number):
        if threading.current_thread() is not threading.main_thread() and slow:
            making.set()
            assert go.wait(20)
        meanwhile.get("fun", int)()
        return Connection(number)

    def disconnect(connection):
        meanwhile.get("close", int)()
        connection.close()

    meanwhile = {}
    slow, making, go = False, threading.Event(), threading.Event()
    held = []
    pool = Pool(connect, 3, min_size=1, max_delay=0.05, timeout=20, close=disconnect, name="db")
'''

UNDISTURBED = """
    own = [name for name in heard if name.startswith(f"{parent}-")]
    assert all(heard[name] == [] for name in own), heard
    until(lambda: all(heard[name][-1:] == [None] for name in heard.keys() - own))
    assert {b"".join(heard[name][:-1]) for name in heard.keys() - own} <= {b"bye", b"hellobye"}, heard
    assert len(heard.keys() - own) >= 2
    for thing in held:
        pool.ret(thing)
    assert pool.stats()["in_use"] == 0
    go.set()
    pool.shutdown(delay=5)
    until(lambda: all(heard[name] == [b"bye", None] for name in own))
    print("undisturbed")
"""

SITUATIONS = {
    "idle": """
    in_child(child)
    """,
    "in use": """
    held.append(pool.get())
    in_child(child)
    """,
    "twice": """
    held.append(pool.get())
    def grandchild():
        held.append(pool.get())
        in_child(child)
        pool.ret(held.pop())
    in_child(grandchild)
    """,
    "another thread creates": """
    slow = True
    held.append(pool.get())
    maker = threading.Thread(target=lambda: held.append(pool.get()))
    maker.start()
    making.wait()
    in_child(child)
    go.set()
    maker.join()
    """,
    "another thread has the lock": """
    held.append(pool.get())
    locked, go = threading.Event(), threading.Event()
    def move(now):
        locked.set()
        assert go.wait(20)
    holder = threading.Thread(target=lambda: pool._engine.locked.run(move))
    holder.start()
    locked.wait()
    in_child(child)
    go.set()
    holder.join()
    """,
    "others wait": """
    held.extend(pool.get() for _ in range(3))
    got = []
    waiters = [threading.Thread(target=lambda: got.append(pool.get())) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    until(lambda: pool.stats()["nwaiting"] == 3)
    in_child(child)
    assert pool.stats()["nwaiting"] == 3
    for thing in held:
        pool.ret(thing)
    for waiter in waiters:
        waiter.join()
    held = got
    """,
    "in the middle of fun": """
    held.append(pool.get())
    meanwhile["fun"] = lambda: in_child(child_inside)
    held.append(pool.get())
    """,
    "in the middle of a close": """
    held.extend(pool.get() for _ in range(3))
    forked, go = threading.Event(), threading.Event()
    def fork_once():
        if not forked.is_set():
            in_child(child_inside)
            forked.set()
            assert go.wait(20)
    meanwhile["close"] = fork_once
    pool.discard(held.pop())
    pool.discard(held.pop())  # a child must not go on with this one
    assert forked.wait(20)
    """,
    "in the middle of the locked region": """
    held.append(pool.get())
    pool._engine.locked.run(lambda now: in_child(child))
    """,
    "the housekeeper is at it": """
    from ProxyPatternPool._threads.housekeeper import housekeeper
    until(lambda: housekeeper._due)
    in_child(child)
    """,
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_child_starts_with_nothing_and_leaves_the_parent_alone(situation: str) -> None:
    """Otherwise two processes would talk over one connection, or the child would end the parent's sessions."""
    result = run(FORK + SITUATIONS[situation] + UNDISTURBED)
    assert (result.stderr, result.stdout) == ("", "undisturbed\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_proxies_in_a_child() -> None:
    """Otherwise the first request of each worker would use the connection of the process that started it."""
    result = run(
        FORK
        + """
    pooled = Proxy(fun=Connection, max_size=2)
    shared = Proxy(fun=Connection, scope=Proxy.Scope.SHARED)
    unpooled = Proxy(fun=Connection, max_size=None)
    proxies = (pooled, shared, unpooled)
    mine = [proxy.name for proxy in proxies]
    def child():
        assert not any(proxy._has_obj() for proxy in proxies)
        assert all(proxy.name == f"{os.getpid()}-0" for proxy in proxies)
        for proxy in proxies:
            proxy._ret_obj()
    in_child(child)
    assert [proxy.name for proxy in proxies] == mine
    assert all(heard[name] == [] for name in mine)
    print("undisturbed")
    """
    )
    assert (result.stderr, result.stdout) == ("", "undisturbed\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_child_that_comes_out_of_fun_is_told_so() -> None:
    """Otherwise it would use an object that is half its parent's, or be told of an error of the library's own."""
    result = run("""
        import os, warnings
        from ProxyPatternPool import Pool, PoolException
        warnings.simplefilter("ignore", DeprecationWarning)
        child = None
        def fun(number):
            global child
            if child is None:
                child = os.fork()
            return number
        pool = Pool(fun, 1, min_size=0, close=lambda n: os.write(1, b"closed\\n"), name="db")
        try:
            pool.get()
        except PoolException as error:
            os.write(1, f"{error}\\n".encode())
            with pool.obj(timeout=0) as obj:
                assert obj == 0
            os._exit(0)
        os.waitpid(child, 0)
        assert pool.stats()["in_use"] == 1
    """)
    told = "db: the process was forked meanwhile: this object is the parent's\n"
    assert (result.stderr, result.stdout) == ("", told)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_child_that_comes_out_of_fun_waits_for_no_thread_of_its_parent() -> None:
    """Otherwise a child would hang for a lock whose holder does not exist there."""
    result = run("""
        import os, threading, warnings
        from ProxyPatternPool import Pool, PoolException
        warnings.simplefilter("ignore", DeprecationWarning)
        locked, go = threading.Event(), threading.Event()
        child = None
        def move(now):
            locked.set()
            assert go.wait(20)
        def fun(number):
            global child
            if child is None:
                threading.Thread(target=pool._engine.locked.run, args=(move,)).start()
                assert locked.wait(20)
                child = os.fork()
                go.set()
            return number
        pool = Pool(fun, 1, min_size=0)
        try:
            pool.get()
        except PoolException as error:
            os.write(1, b"told\\n")
            os._exit(0)
        os.waitpid(child, 0)
    """)
    assert (result.stderr, result.stdout) == ("", "told\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.parametrize("retter", ["None", "tidy"])
def test_a_block_that_was_entered_before_a_fork_ends_nothing_in_the_child(retter: str) -> None:
    """Otherwise the child would lend an object of its own to two users, or tidy up an object of its parent."""
    result = run(f"""
        import os, warnings
        from ProxyPatternPool import Pool, TimeOut
        warnings.simplefilter("ignore", DeprecationWarning)
        def tidy(thing):
            assert thing == [os.getpid()]
        pool = Pool(lambda n: [os.getpid()], 1, timeout=0, retter={retter})
        later = pool.obj()
        with pool.obj():
            child = os.fork()
            if not child:
                mine = pool.get()
        if not child:
            assert mine == [os.getpid()]
            assert pool.stats()["in_use"] == 1, pool
            pool.ret(mine)
            with later as one:
                assert one is mine
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert pool.stats()["in_use"] == 0
    """)
    assert result.stderr == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_collected_pool_is_not_closed_by_a_child() -> None:
    """Otherwise a child that is forked just then would end its parent's sessions when it ends."""
    result = run("""
        import gc, os, sys, threading, warnings
        from ProxyPatternPool import Pool
        warnings.simplefilter("ignore", DeprecationWarning)
        closing, go = threading.Event(), threading.Event()
        def close(number):
            closing.set()
            assert go.wait(20)
            os.write(1, f"{number} in {'child' if child == 0 else 'parent'}\\n".encode())
        child = None
        pool = Pool(lambda n: n, 2, min_size=2, close=close)
        pool.cycle = pool
        del pool
        gc.collect()
        assert closing.wait(20)
        child = os.fork()
        go.set()
        if not child:
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
    """)
    assert result.stderr == ""
    assert sorted(result.stdout.splitlines()) == ["0 in parent", "1 in parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_child_that_comes_out_of_close_closes_nothing_more() -> None:
    """Otherwise it would go on to end its parent's sessions."""
    result = run("""
        import os, warnings
        from ProxyPatternPool import Pool
        warnings.simplefilter("ignore", DeprecationWarning)
        parent, child = os.getpid(), None
        def close(number):
            global child
            if child is None:
                child = os.fork()
            os.write(1, b"parent\\n" if child else b"child\\n")
        pool = Pool(lambda n: n, 3, min_size=3, close=close)
        pool.shutdown()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    """)
    assert result.stderr == ""
    assert sorted(result.stdout.split()) == ["child", "parent", "parent", "parent"]


#: The beginning of a program whose objects tell, when they are finalised, in which process.
TELLTALE = """
        import os, sys, threading, warnings
        from ProxyPatternPool import Pool, Proxy
        warnings.simplefilter("ignore", DeprecationWarning)
        class Thing:
            def __init__(self, number):
                self.maker = os.getpid()
            def __del__(self, getpid=os.getpid, write=os.write):
                write(1, b"own\\n" if self.maker == getpid() else b"of the parent\\n")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_objects_of_other_threads_are_not_finalised_in_a_child() -> None:
    """Otherwise the first thing that a child does would be to end the sessions of its parent's threads."""
    result = run(
        TELLTALE
        + """
        proxy = Proxy(fun=Thing, max_size=None)
        has, go = threading.Event(), threading.Event()
        def work():
            proxy.maker
            has.set()
            go.wait()
        other = threading.Thread(target=work)
        other.start()
        has.wait()
        child = os.fork()
        if not child:
            sys.exit(0)
        os.waitpid(child, 0)
        go.set()
        other.join()
        os.write(1, b"end\\n")
    """
    )
    assert (result.stderr, result.stdout) == ("", "own\nend\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_objects_of_pending_and_of_past_warnings_are_not_finalised_in_a_child() -> None:
    """Otherwise a child would end a session of its parent, whose pool had just to warn of it."""
    result = run(
        """
        import gc, os, threading, time, warnings
        from ProxyPatternPool import Pool
        warnings.simplefilter("ignore", DeprecationWarning)
        parent, closing, go = os.getpid(), threading.Event(), threading.Event()
        class Thing:
            __slots__ = ()
            def __del__(self):
                if os.getpid() != parent:
                    os.write(1, b"finalised in the child\\n")
        def close(thing):
            closing.set()
            go.wait(20)
        killing = Pool(lambda n: Thing(), 1, max_using_delay_kill=0.001)
        killed = killing.get()
        while not killing.stats()["nclosed"]:
            time.sleep(0.001)
        while not killing._report._killed:
            time.sleep(0.001)
        del killed
        pool = Pool(lambda n: Thing(), 1, close=close)
        pool.discard(pool.get())
        closing.wait(20)
        pool.ret(Thing())
        child = os.fork()
        if not child:
            gc.collect()
            assert (pool.size, killing.size) == (0, 0)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        go.set()
    """,
        PYTHONUNBUFFERED="1",
    )
    assert result.stdout == ""
    assert "Thing object given back, but it is not out: ignored" in result.stderr
    assert "finalised" not in result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_inherited_objects_are_not_finalised_at_the_end_of_a_child() -> None:
    """Otherwise a driver whose destructor says good-bye would end the parent's session when the child ends."""
    result = run(
        TELLTALE
        + """
        pool = Pool(Thing, 2)
        held = pool.get()
        child = os.fork()
        if not child:
            pool.ret(held)
            del held
            with pool.obj():
                pass
            sys.exit(0)
        os.waitpid(child, 0)
        os._exit(0)
    """
    )
    assert (result.stderr, result.stdout) == ("", "own\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_pool_that_was_shut_down_is_so_in_a_child() -> None:
    """Otherwise a child would open connections which its parent has done with."""
    result = run(
        FORK
        + """
    from ProxyPatternPool import PoolClosed
    pool.shutdown()
    def child():
        try:
            pool.get()
        except PoolClosed:
            os.write(1, b"closed\\n")
    in_child(child)
    """
    )
    assert (result.stderr, result.stdout) == ("", "closed\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_fork_without_a_pool_costs_nothing() -> None:
    """Otherwise each fork of a program that only imports the library would pay for what it does not use."""
    result = run("""
        import os, sys, warnings
        import ProxyPatternPool
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if not child:
            os.write(1, str("ctypes" in sys.modules).encode())
            sys.exit(0)
        os.waitpid(child, 0)
    """)
    assert (result.stderr, result.stdout) == ("", "False")
