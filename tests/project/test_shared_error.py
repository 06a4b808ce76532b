"""Exceptions that several tasks or threads are told of: each of them has an object of its own."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ProxyPatternPool import AsyncKeyedPool, AsyncPool, AsyncProxy, Pool, Proxy, TimeOut
from ProxyPatternPool._shared_error import SharedError, copied
from ProxyPatternPool.loop_local import enter_once, singleton, sticky_acm, sticky_singleton_acm
from tests.conftest import PATIENCE, Crew
from tests.support.loops import Run, settle, turns

# -- copies


class WithOtherArguments(Exception):
    """Its constructor takes other arguments than it passes on, so that neither `copy` nor `pickle` could make it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class OfSystem(OSError):
    """Its constructor takes other arguments than those of the type that is written in C."""

    def __init__(self, host: str) -> None:
        super().__init__(2, "no such host", host)
        self.host = host


class Frozen(Exception):
    """Its attributes cannot be set."""

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(name)


class WithSlot(Exception):
    """It has state that only its type knows."""

    __slots__ = ("code",)


class Unwilling(Exception):
    """It cannot be made as others are."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__context__":
            raise RuntimeError
        return super().__getattribute__(name)


def mistaken() -> OSError:
    """Return an exception which, made of its arguments, would be one of another type."""
    error = OSError()
    error.args = (2, "not found")
    return error


def raised(error: BaseException) -> BaseException:
    """Raise it, out of another one, and return it with what comes of that."""
    error.__cause__, error.__suppress_context__ = LookupError("cause"), False
    try:
        try:
            raise ValueError("context")
        except ValueError:
            raise error  # noqa: B904  # its cause is set
    except BaseException as caught:
        return caught


COPIED = [
    ValueError("text", 1),
    KeyError("key"),
    WithOtherArguments(404, "gone"),
    OfSystem("here"),
    FileNotFoundError(2, "no such file", "name", None, "other name"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
    ImportError("no module", name="module", path="path"),
    SystemExit(3),
    StopAsyncIteration("end"),
    ExceptionGroup("group", [ValueError("text")]),
    TimeOut("late"),
]

FIELDS = ("args", "errno", "filename", "filename2", "start", "name", "path", "code", "host", "exceptions", "message")
LINKS = ("__cause__", "__context__", "__suppress_context__", "__traceback__")


@pytest.mark.parametrize("error", COPIED, ids=lambda error: type(error).__name__)
def test_a_copy_of_an_exception_tells_the_same(error: BaseException) -> None:
    """Otherwise a handler would catch something else in one task than in another, or find no cause."""
    raised(error)
    error.add_note("note")
    copy = copied(error)
    assert copy is not error
    assert type(copy) is type(error)
    assert (str(copy), repr(copy), vars(copy)) == (str(error), repr(error), vars(error))
    for name in (*FIELDS, *LINKS):
        assert getattr(copy, name, None) == getattr(error, name, None), name
    copy.add_note("another")
    assert error.__notes__ == ["note"]


def test_the_attributes_of_an_exception_may_be_read_only() -> None:
    """Otherwise exceptions that are frozen data would be shared."""
    error = Frozen("text")
    copy = copied(error)
    assert copy is not error
    assert copy.args == error.args


@pytest.mark.parametrize("error", [WithSlot("text"), Unwilling("text"), mistaken()], ids=lambda error: repr(error))
def test_an_exception_that_cannot_be_copied_is_shared_and_its_traceback_does_not_grow(error: BaseException) -> None:
    """Otherwise a task would get an exception without its state, or one with the frames of hundreds of others."""
    assert copied(error) is error
    try:
        raise error
    except Exception as caught:
        trace = caught.__traceback__
    shared = SharedError(error)
    for _ in range(3):
        with pytest.raises(type(error)) as told:
            raise shared.take()
        assert told.value is error
        assert len(traceback.extract_tb(error.__traceback__)) == len(traceback.extract_tb(trace)) + 1


def test_the_first_task_gets_the_exception_itself_and_no_other_one_sees_what_becomes_of_it() -> None:
    """Otherwise a note or a traceback of one request would be in the log of another."""
    error = raised(ValueError("text"))
    trace = error.__traceback__
    shared = SharedError(error)
    first = shared.take()
    assert first is error
    first.add_note("mine")
    raised(first)
    others = [shared.take() for _ in range(2)]
    assert len({id(one) for one in (first, *others)}) == 3
    assert all(other.__traceback__ is trace and not hasattr(other, "__notes__") for other in others)


# -- which task is told


Enter = Callable[[], Awaitable[object]]


class Down(Exception):
    """An error of a user."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} is down")


async def fail(_number: int = 0) -> object:
    await turns()
    raise Down("db", 5432)


@asynccontextmanager
async def failing_manager(number: int = 0) -> AsyncIterator[object]:
    yield await fail(number)


def by_keyed_pool() -> Enter:
    pool = AsyncKeyedPool(failing_manager)
    return lambda: pool.get(1).__aenter__()


def by_scope_loop() -> Enter:
    db: Any = AsyncProxy(fun=fail, scope=Proxy.Scope.LOOP, max_size=None)
    return lambda: db._get_obj()


def by_coroutine() -> Enter:
    once = singleton(fail)

    async def wait() -> object:
        return await once()

    return wait


def by_sticky_singleton() -> Enter:
    manager = sticky_singleton_acm(failing_manager)
    return lambda: manager().__aenter__()


def by_sticky_manager() -> Enter:
    manager = sticky_acm(failing_manager())
    return lambda: manager.__aenter__()


def by_entering_once() -> Enter:
    manager = failing_manager()
    return lambda: enter_once(manager)


def by_pool() -> Enter:
    pool = AsyncPool(fail, 3, min_size=0)
    return lambda: pool.get()


WAYS = [by_keyed_pool, by_scope_loop, by_coroutine, by_sticky_singleton, by_sticky_manager, by_entering_once, by_pool]


@pytest.mark.parametrize("way", WAYS)
def test_a_task_that_clears_the_frames_of_its_exception_ends_no_other_task(run_loop: Run, way: Any) -> None:
    """Otherwise a test that uses `assertRaises`, or a tracker of errors, would end other tasks in mid-`await`."""
    caught: list[Down] = []
    ended: list[int] = []

    async def ask(enter: Enter, number: int, go: asyncio.Event) -> None:
        try:
            await enter()
        except Down as error:
            caught.append(error)
            await go.wait()
            traceback.clear_frames(error.__traceback__)
            await turns()
            ended.append(number)

    async def main() -> None:
        enter, go = way(), asyncio.Event()
        tasks = [asyncio.create_task(ask(enter, number, go)) for number in range(3)]
        await settle(lambda: len(caught) == 3)
        go.set()
        await asyncio.wait(tasks)
        assert [task.exception() for task in tasks] == [None] * 3

    run_loop(main())
    assert sorted(ended) == [0, 1, 2]
    assert len({id(error) for error in caught}) == 3
    assert {str(error) for error in caught} == {"db:5432 is down"}


def frames(error: BaseException | None) -> list[str]:
    assert error is not None
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_each_timeout_of_threads_has_a_cause_of_its_own(crew: Crew) -> None:
    """Otherwise two threads would share an exception, which has the frames of a third one."""
    making, go = threading.Event(), threading.Event()

    def connect(number: int) -> object:
        if not number:
            raise Down("db", 5432)
        making.set()
        assert go.wait(PATIENCE)
        return number

    pool = Pool(connect, 1, min_size=0)
    with pytest.raises(Down) as first:
        pool.get()
    crew.start(pool.get)
    assert making.wait(PATIENCE)
    causes = []
    for _ in range(2):
        with pytest.raises(TimeOut) as late:
            pool.get(timeout=0)
        causes.append(late.value.__cause__)
    go.set()
    crew.join()
    check_causes(causes, first.value)


def check_causes(causes: list[BaseException | None], first: BaseException) -> None:
    assert len({id(error) for error in (first, *causes)}) == 3
    for cause in causes:
        assert isinstance(cause, Down)
        assert cause.args == first.args
        assert set(frames(cause)) < set(frames(first))


def test_each_timeout_of_tasks_has_a_cause_of_its_own(run_loop: Run) -> None:
    """Otherwise two tasks would share an exception, which has the frames of a third one."""

    async def connect(number: int) -> object:
        if not number:
            return await fail()
        return await asyncio.get_running_loop().create_future()

    async def main() -> None:
        pool = AsyncPool(connect, 1, min_size=0)
        with pytest.raises(Down) as first:
            await pool.get()
        causes = []
        for _ in range(2):
            with pytest.raises(TimeOut) as late:
                await pool.get(timeout=0.001)
            causes.append(late.value.__cause__)
        check_causes(causes, first.value)

    run_loop(main())
