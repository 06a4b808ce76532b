"""loop_local: an object is made once per loop, for all tasks, and exited at its end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, assert_type

import pytest

from ProxyPatternPool import loop_local
from ProxyPatternPool.loop_local import at_exit, enter, enter_once, singleton, sticky_acm, sticky_singleton_acm, storage
from tests.conftest import PATIENCE, Crew, run
from tests.support.effort import effort
from tests.support.loops import NewLoop, Run, bytes_left_by_loops, run_and_close, run_and_shut_down

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="nobody's")


class Session:
    """A session, of which a program wants one per loop."""

    made: list[Session]
    log: list[str]

    def __init__(self, name: str = "", *, port: int = 0) -> None:
        self.name = name
        self.port = port
        self.entered = 0
        self.task: object = None
        self.made.append(self)

    async def __aenter__(self) -> Session:
        self.entered += 1
        self.task = asyncio.current_task()
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        assert asyncio.current_task() is self.task
        await asyncio.sleep(0)
        self.log.append(f"exit {self.name}")


@pytest.fixture(autouse=True)
def _new_world() -> None:
    Session.made, Session.log = [], []


async def yield_often() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


# -- storage


def test_a_storage_is_the_loops_own(run_loop: Run) -> None:
    async def main(value: int) -> dict[Any, Any]:
        assert storage() == {}
        storage()["value"] = value
        await asyncio.sleep(0)
        assert await asyncio.create_task(read()) == value
        return storage()

    async def read() -> int:
        return assert_type(storage(), dict[Any, Any])["value"]  # type: ignore[no-any-return]  # it is one

    assert run_loop(main(1)) is not run_loop(main(2))


def test_a_storage_can_hold_what_belongs_to_a_loop(run_loop: Run) -> None:
    async def main() -> None:
        async with storage().setdefault("lock", asyncio.Lock()):
            storage()["purpose"] = ("whatever", {"you": "want"})
            assert storage()["lock"].locked()

    run_loop(main())
    run_loop(main())


# -- singleton


def test_a_singleton_is_made_once_per_loop(run_loop: Run) -> None:
    make = singleton(Session)

    async def main() -> Session:
        assert make("a") is make("a")
        return assert_type(make("a"), Session)

    assert run_loop(main()) is not run_loop(main())
    assert make.__name__ == "Session"
    assert not hasattr(make, "__aenter__")  # it stands for the class, and is none


def test_a_singleton_is_one_per_arguments(run_loop: Run) -> None:
    @singleton()
    def make(*args: int, **kwargs: int) -> list[object]:
        return [args, kwargs]

    async def main() -> None:
        assert make(a=1, b=2) is make(b=2, a=1)
        made = [make(), make(1), make(2), make(a=1), make(-1), make(-2), make(1, a=1), make(a=1, b=2)]
        assert len(set(map(id, made))) == 8
        assert make(1, a=1) == [(1,), {"a": 1}]
        assert make(True) is make(1)

    run_loop(main())


def test_modules_that_each_wrap_a_function_share_its_singletons(run_loop: Run) -> None:
    """Otherwise two modules that each write ``sticky_singleton_acm(ClientSession)`` have two sessions."""

    async def entered(*args: str) -> Session:
        async with sticky_singleton_acm(Session)(*args) as session:
            return session

    async def main() -> None:
        session = singleton(Session)()
        assert session is singleton(Session)() is await entered() is await entered()
        assert len({session, singleton(Session)("a"), await entered("b")}) == 3

    run_loop(main())
    assert sorted(Session.log) == ["exit ", "exit b"]


class Greeter:
    """Is equal to nothing by its hash."""

    __hash__ = None  # type: ignore[assignment]  # that is what is tested

    def __call__(self) -> list[str]:
        return ["hello"]


def test_a_function_without_a_hash_has_singletons_of_each_wrapper(run_loop: Run) -> None:
    """Otherwise such a function could not be a singleton, with an error that blames its arguments."""
    greeter = Greeter()
    once = singleton(greeter)

    async def main() -> None:
        assert once() is once()
        assert once() is not singleton(greeter)()

    run_loop(main())


@pytest.mark.parametrize("value", [None, 0, "", []])
def test_a_singleton_may_be_anything(run_loop: Run, value: object) -> None:
    calls: list[object] = []

    @singleton
    def make() -> object:
        calls.append(value)
        return value

    async def main() -> None:
        assert make() is make() is value
        assert len(calls) == 1

    run_loop(main())


def test_a_singleton_whose_making_makes_it_is_still_one(run_loop: Run) -> None:
    """Otherwise part of the program would go on with an object that no other part sees."""
    inner: list[object] = []

    @singleton
    def make() -> object:
        if not inner:
            inner.append(None)
            inner[0] = make()
        return object()

    async def main() -> None:
        assert make() is make() is inner[0]
        inner.clear()

    run_loop(main())


def test_a_failed_making_is_tried_again(run_loop: Run) -> None:
    calls: list[int] = []

    @singleton
    def make() -> int:
        calls.append(1)
        return 1 // (len(calls) - 1)

    async def main() -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            make()
        assert not isinstance(caught.value.__context__, KeyError)  # how it was looked up is nobody's business
        assert make() == 1

    run_loop(main())


@pytest.mark.parametrize("arguments", [(([],), {}), ((), {"a": []})])
def test_unhashable_arguments_are_refused(run_loop: Run, arguments: Any) -> None:
    args, kwargs = arguments

    async def main() -> None:
        with pytest.raises(TypeError, match=r"^Session: the arguments .* must be hashable: .*unhashable type: 'list'"):
            singleton(Session)(*args, **kwargs)
        with pytest.raises(TypeError, match=r"^partial: "):
            singleton(partial(Session))(*args, **kwargs)

    run_loop(main())


@pytest.mark.parametrize("decorate", [singleton, sticky_singleton_acm])
def test_only_what_can_be_called_makes_a_singleton(decorate: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{decorate.__name__} needs a callable, not an object of type int$"):
        decorate(3)


def test_a_forgotten_decorator_is_missed(run_loop: Run) -> None:
    """Otherwise the text would be about what the library has made of it, and not about the function."""

    async def connect(name: str = "") -> Session:
        return Session(name)

    async def connected() -> AsyncIterator[Session]:
        yield Session()

    async def main() -> None:
        for function in (connect, connected, partial(connect, "a")):
            mistake: Any = function
            with pytest.raises(
                TypeError, match=r"^sticky_singleton_acm needs .* not the async .*asynccontextmanager mi"
            ):
                sticky_singleton_acm(mistake)
        hidden: Any = lambda: connect()  # noqa: E731  # that is what users write
        mistake = sticky_singleton_acm(hidden)
        with pytest.raises(TypeError, match=r"<lambda> must return an asynchronous context manager: is a decorator"):
            mistake()
        with pytest.raises(TypeError, match=r"^partial: the arguments of a singleton must be hashable"):
            sticky_singleton_acm(partial(Session))([])
        await singleton(connect)()

    run_loop(main())
    assert len(Session.made) == 1


def test_a_method_may_be_a_singleton(run_loop: Run) -> None:
    class Client:
        @singleton
        def session(self, name: str) -> Session:
            return Session(name)

    async def main() -> None:
        one, other = Client(), Client()
        assert one.session("a") is one.session("a") is not other.session("a")

    run_loop(main())


# -- singletons of coroutine functions


def test_a_coroutine_runs_once_and_is_awaited_often(run_loop: Run) -> None:
    calls: list[str] = []

    @singleton
    async def fetch(name: str) -> object:
        calls.append(request_id.get() + " " + name)
        await asyncio.sleep(0)
        return object()

    async def main() -> None:
        request_id.set("mine")
        coming = assert_type(fetch("a"), Awaitable[object])
        results = await asyncio.gather(coming, fetch("a"), *(fetch("a") for _ in range(5)))
        assert len({*results, await coming, await coming}) == 1
        assert calls == ["nobody's a"]
        assert await fetch("b") not in results

    run_loop(main())


class AsyncCallable:
    """Asynchronous without being a function."""

    async def __call__(self) -> object:
        return object()


async def new_object() -> object:
    return object()


@pytest.mark.parametrize("function", [AsyncCallable(), partial(new_object), lambda: new_object()])
def test_a_callable_that_returns_a_coroutine_is_a_coroutine_function(
    run_loop: Run, function: Callable[[], Coroutine[Any, Any, object]]
) -> None:
    """Otherwise its second user would be told "cannot reuse already awaited coroutine"."""

    async def main() -> None:
        make = singleton(function)
        assert await make() is await make()

    run_loop(main())


def test_a_waiter_that_is_cancelled_leaves_the_coroutine_to_the_others(run_loop: Run) -> None:
    async def main() -> None:
        begun, may_go = asyncio.Event(), asyncio.Event()

        @singleton
        async def fetch() -> int:
            begun.set()
            await may_go.wait()
            return 1

        async def wait() -> int:
            return await fetch()

        first, second = (asyncio.create_task(wait()) for _ in range(2))
        await begun.wait()
        first.cancel()
        await asyncio.wait([first])
        may_go.set()
        assert first.cancelled()
        assert await second == 1

    run_loop(main())


def test_a_coroutine_that_fails_fails_for_all_waiters_and_runs_again(run_loop: Run) -> None:
    calls: list[int] = []

    @singleton
    async def fetch() -> int:
        calls.append(1)
        await asyncio.sleep(0)
        return 1 // (len(calls) - 1)

    async def main() -> None:
        coming = fetch()
        results = await asyncio.gather(*(coming for _ in range(1)), fetch(), return_exceptions=True)
        assert [type(result) for result in results] == [ZeroDivisionError] * 2
        assert await coming == await fetch() == 1
        assert len(calls) == 2

    run_loop(main())


def test_a_coroutine_that_is_cancelled_does_not_cancel_its_waiter(run_loop: Run) -> None:
    """Otherwise a request would take itself for cancelled, and end without a word."""
    calls: list[int] = []

    @singleton
    async def fetch() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise asyncio.CancelledError
        return 1

    async def main() -> None:
        with pytest.raises(RuntimeError, match="was cancelled"):
            await fetch()
        assert await fetch() == 1

    run_loop(main())


# -- enter and enter_once


def test_enter_exits_at_the_end_and_in_its_task(run_loop: Run) -> None:
    async def main() -> None:
        for name in ("first", "second"):
            session = assert_type(await enter(Session(name)), Session)
            assert session.task is not asyncio.current_task()
        assert Session.log == []

    run_loop(main())
    assert Session.log == ["exit second", "exit first"]


def test_many_tasks_that_enter_at_once_enter_once(run_loop: Run) -> None:
    make = singleton(Session)

    async def main() -> None:
        sessions = await asyncio.gather(*(enter_once(make("a")) for _ in range(7)))
        assert assert_type(await enter_once(make("a")), Session) is sessions[0]
        assert len(set(sessions)) == 1
        assert sessions[0].entered == 1

    run_loop(main())
    assert Session.log == ["exit a"]


def test_enter_once_tells_managers_apart_by_identity(run_loop: Run) -> None:
    class Equal(Session):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # an unhashable class is made that way

    async def main() -> None:
        first, second = Equal(), Equal()
        assert await enter_once(first) is first
        assert await enter_once(second) is second

    run_loop(main())


def test_an_entered_value_may_be_none(run_loop: Run) -> None:
    entered: list[int] = []

    @asynccontextmanager
    async def nothing() -> AsyncIterator[None]:
        entered.append(1)
        yield

    async def main() -> None:
        manager = nothing()
        for _ in range(2):
            assert await enter_once(manager) is None  # type: ignore[func-returns-value]  # that is the point

    run_loop(main())
    assert entered == [1]


def test_an_entering_goes_on_when_its_first_user_is_cancelled(run_loop: Run) -> None:
    async def main() -> None:
        may_enter, begun = asyncio.Event(), asyncio.Event()

        class Slow(Session):
            async def __aenter__(self) -> Session:
                begun.set()
                await may_enter.wait()
                return await super().__aenter__()

        manager = Slow()
        first, second = (asyncio.create_task(enter_once(manager)) for _ in range(2))
        await begun.wait()
        first.cancel()
        await asyncio.wait([first])
        may_enter.set()
        assert await second is manager
        assert manager.entered == 1

    run_loop(main())


class Refusing(Session):
    """Cannot be entered the first time, and never again after that, as a generator's."""

    async def __aenter__(self) -> Session:
        if self is self.made[0]:
            raise ConnectionError("no server")
        return await super().__aenter__()


def test_a_failed_entering_fails_for_all_waiters_and_is_tried_again(run_loop: Run) -> None:
    """Otherwise a server that was down at first would be down for ever."""
    make, make_sticky = singleton(Refusing), sticky_singleton_acm(Refusing)

    async def plainly() -> Session:
        return await enter_once(make())

    async def sticky() -> Session:
        async with make_sticky() as session:
            return session

    async def main(use: Callable[[], Awaitable[Session]]) -> None:
        Session.made = []
        results = await asyncio.gather(use(), use(), return_exceptions=True)
        assert [str(result) for result in results] == ["no server"] * 2
        assert len(Session.made) == 1
        assert await use() is await use() is Session.made[1]

    run_loop(main(plainly))
    run_loop(main(sticky))


def test_an_object_that_ends_by_itself_is_not_handed_out_again(run_loop: Run) -> None:
    """Otherwise all tasks would share a broken task group for the rest of the loop's life."""
    make = sticky_singleton_acm(asyncio.TaskGroup)

    async def fail() -> None:
        raise ValueError("the child has failed")

    async def main() -> list[str]:
        reports: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(str(context["exception"])))
        async with make() as group:
            child = group.create_task(fail())
        await asyncio.wait([child])
        await yield_often()
        async with make() as another:
            assert another is not group
            await another.create_task(asyncio.sleep(0))
        del group, child
        gc.collect()
        return reports

    reports = run_loop(main())
    assert reports == ["unhandled errors in a TaskGroup (1 sub-exception)"]


@pytest.mark.parametrize("use", [enter, enter_once, lambda manager: sticky_acm(manager).__aenter__()])
def test_only_asynchronous_context_managers_can_be_entered(run_loop: Run, use: Callable[[Any], Any]) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"^an object of type Lock is not an asynchronous context manager$"):
            await use(type("Lock", (), {})())
        coming = asyncio.get_running_loop().create_future()
        with pytest.raises(TypeError, match=r"is not an asynchronous context manager: await it first$"):
            await use(coming)
        with pytest.raises(TypeError, match=r"^an object of type type is not an"):  # the class itself, not called
            await use(Session)

    run_loop(main())


def test_a_context_still_being_entered_at_the_end_is_cancelled_first(run_loop: Run) -> None:
    """Otherwise a server that does not answer would keep the program from ending, or the connection half open."""

    async def never(begun: asyncio.Event) -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            Session.log.append("cancelled")

    reports: list[object] = []

    async def main() -> None:
        begun = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))

        @asynccontextmanager
        async def connect() -> AsyncIterator[None]:
            await enter_once(Session("of connect"))
            await never(begun)
            yield

        waiter = asyncio.create_task(enter_once(connect()))
        await begun.wait()
        waiter.cancel()
        await asyncio.wait([waiter])

    run_loop(main())
    gc.collect()
    assert Session.log == ["cancelled", "exit of connect"]
    assert reports == []


class Counted:
    """Entered and exited in several steps, either of which may be cut short."""

    def __init__(self) -> None:
        self.begun = self.entered = self.exited = 0

    async def __aenter__(self) -> Counted:
        self.begun += 1
        await yield_often()
        self.entered += 1
        return self

    async def __aexit__(self, *_error: object) -> None:
        await yield_often()
        self.exited += 1


STEPS = range(15)  # more than there are: the last ones come when all is done


@pytest.mark.parametrize("step", STEPS)
def test_whenever_a_user_is_cancelled_the_others_have_the_object(run_loop: Run, step: int) -> None:
    counted = Counted()

    async def main() -> None:
        first, second = (asyncio.create_task(enter_once(counted)) for _ in range(2))
        for _ in range(step):
            await asyncio.sleep(0)
        first.cancel()
        assert await second is counted
        await asyncio.wait([first])

    run_loop(main())
    assert (counted.begun, counted.entered, counted.exited) == (1, 1, 1)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("late", STEPS[::4])
def test_whenever_a_loop_ends_what_was_entered_is_exited(run_loop: Run, step: int, late: int) -> None:
    counted = Counted()

    async def main() -> None:
        user = asyncio.create_task(enter_once(counted))
        for _ in range(step):
            await asyncio.sleep(0)
        user.cancel()
        await asyncio.wait([user])
        for _ in range(late):
            await asyncio.sleep(0)

    run_loop(main())
    assert counted.begun == min(step, 1)
    assert counted.entered == counted.exited


# -- sticky


def test_a_sticky_manager_is_entered_once_and_left_as_it_is(run_loop: Run) -> None:
    async def main() -> None:
        manager = Session("a")
        sticky = assert_type(sticky_acm(manager), AbstractAsyncContextManager[Session, None])
        for _ in range(2):
            async with sticky as session:
                assert session is manager
        with pytest.raises(ZeroDivisionError):
            async with sticky:
                raise ZeroDivisionError
        assert manager.entered == 1
        assert Session.log == []

    run_loop(main())
    assert Session.log == ["exit a"]


def test_a_sticky_singleton_is_one_per_loop_and_arguments(run_loop: Run) -> None:
    make = sticky_singleton_acm(Session)

    async def use() -> Session:
        async with assert_type(make("a", port=1), AbstractAsyncContextManager[Session, None]) as session:
            await asyncio.sleep(0)
            return session

    async def main() -> None:
        assert len(set(await asyncio.gather(*(use() for _ in range(7))))) == 1
        async with make("b") as other:
            assert other is not await use()

    for _ in range(2):
        run_loop(main())
    assert len(Session.made) == 4
    assert Session.log == ["exit b", "exit a"] * 2


# -- the end


def test_functions_run_at_the_end_together_with_what_was_entered(run_loop: Run) -> None:
    def plain(word: str) -> None:
        Session.log.append(f"plain {word}")

    async def asynchronous(*, word: str) -> None:
        await asyncio.sleep(0)
        Session.log.append(f"asynchronous {word}")
        at_exit(plain, "from there")

    async def main() -> None:
        assert at_exit(plain, "first") is plain
        await enter(Session("a"))
        at_exit(asynchronous, word="last")

    run_loop(main())
    assert Session.log == ["asynchronous last", "plain from there", "exit a", "plain first"]


def test_a_session_can_be_had_again_while_exits_run(run_loop: Run) -> None:
    """Otherwise an exit that says goodbye to a server would be given a closed session."""
    make = sticky_singleton_acm(Session)

    async def say_goodbye() -> None:
        async with make("a") as session:
            Session.log.append(f"goodbye {session.name}")

    async def main() -> None:
        at_exit(say_goodbye)
        async with make("a"):
            pass

    run_loop(main())
    assert Session.log == ["exit a", "goodbye a", "exit a"]
    assert len(Session.made) == 2


def test_only_what_can_be_called_is_called_at_the_end(run_loop: Run) -> None:
    """Otherwise the error would come at the loop's end, far from the call that caused it."""

    async def close() -> None:
        """Do nothing: this coroutine is never run."""

    async def main() -> None:
        for mistake in (3, close(), None):
            given: Any = mistake
            with pytest.raises(TypeError, match=r"^at_exit needs a callable, not an object of type") as caught:
                at_exit(given)
        assert str(caught.value).endswith("NoneType")
        with pytest.raises(TypeError, match=r"^singleton needs a callable, not an object of type coroutine$"):
            singleton(close())  # type: ignore[call-overload]  # that is the mistake

    run_loop(main())


def test_one_failing_exit_skips_no_other(run_loop: Run) -> None:
    @asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        yield
        raise ValueError("cannot say goodbye")

    reports: list[BaseExceptionGroup[Exception]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["exception"]))
        await enter(Session("a"))
        await enter(failing())
        await enter(Session("b"))

    try:
        run_loop(main())
    except ExceptionGroup as group:  # a bare close
        reports.append(group)
    gc.collect()
    assert Session.log == ["exit b", "exit a"]
    assert [str(error) for group in reports for error in group.exceptions] == ["cannot say goodbye"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_loop_that_ends_with_an_error_exits_what_it_has(run_loop: Run, error: type[BaseException]) -> None:
    async def main() -> None:
        await enter(Session("a"))
        raise error

    with pytest.raises(error):
        run_loop(main())
    assert Session.log == ["exit a"]


def test_the_finally_blocks_of_tasks_still_have_their_objects(new_loop: NewLoop) -> None:
    """Otherwise a task that is cancelled at the end could not roll back on the connection that it has used."""
    make = sticky_singleton_acm(Session)

    async def work() -> None:
        async with make("a"):
            try:
                await asyncio.Event().wait()
            finally:
                await yield_often()
                async with make("a") as session:
                    Session.log.append(f"rolled back on {session.name}")

    async def main() -> None:
        task = asyncio.create_task(work())
        await yield_often()
        assert Session.made
        assert not task.done()

    run_and_shut_down(new_loop, main())
    assert Session.log == ["rolled back on a", "exit a"]
    assert len(Session.made) == 1


def test_cancelling_all_tasks_in_mid_life_exits_nothing(run_loop: Run) -> None:
    """Otherwise a server that drops its requests would lose its connections with them, and for good."""
    make = sticky_singleton_acm(Session)
    inside = asyncio.Semaphore(0)

    async def request() -> None:
        async with make("a") as session:
            inside.release()
            try:
                await asyncio.Event().wait()
            finally:
                await yield_often()
                Session.log.append(f"rolled back on {session.name}")

    async def main() -> None:
        requests = [asyncio.create_task(request()) for _ in range(2)]
        for _ in requests:
            await inside.acquire()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.wait(requests)
        await yield_often()
        async with make("a") as session:
            assert session.entered == 1

    run_loop(main())
    assert Session.log == ["rolled back on a"] * 2 + ["exit a"]
    assert len(Session.made) == 1


def test_a_sticky_singleton_stays_from_one_run_to_the_next(new_loop: NewLoop) -> None:
    """Otherwise every cell of a notebook would connect anew."""
    make = sticky_singleton_acm(Session)

    async def cell() -> Session:
        async with make("a") as session:
            return session

    loop = new_loop()
    assert len({loop.run_until_complete(cell()) for _ in range(3)}) == 1
    assert Session.log == []
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert len({runner.run(cell()) for _ in range(3)}) == 1
    assert Session.log == ["exit a"]
    assert len(Session.made) == 1


def test_loops_in_two_threads_have_nothing_in_common(new_loop: NewLoop, crew: Crew) -> None:
    make = sticky_singleton_acm(Session)
    both = threading.Barrier(2, timeout=PATIENCE)
    seen: list[Session] = []

    async def main() -> None:
        for name in map(str, range(50)):
            async with make(name) as session:
                seen.append(session)
                assert session.entered == 1
        await asyncio.to_thread(both.wait)

    for way in (run_and_shut_down, run_and_close):
        crew.start(lambda way=way: way(new_loop, main()))
    crew.join()
    assert len({id(session) for session in seen}) == len(Session.log) == 100


def test_there_is_nothing_without_a_loop() -> None:
    def here() -> None:
        raise AssertionError

    uses: list[Callable[[], object]] = [
        storage,
        singleton(Session),
        sticky_singleton_acm(Session),
        lambda: at_exit(here),
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match=r"^no running event loop$"):
            use()
    assert Session.made == []


# -- memory


class Big:
    """Something that is seen to be gone."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()  # the reference that a weak mapping by loop would never get rid of
        self.content = bytearray(10_000)

    async def __aenter__(self) -> Big:
        return self

    async def __aexit__(self, *_error: object) -> None:
        pass


async def use_everything() -> list[weakref.ref[Any]]:
    big, manager, sticky = singleton(Big)(), Big(), Big()
    await enter(manager)
    await enter_once(big)
    async with sticky_acm(sticky):
        storage()["big"] = kept = Big()
    at_exit(lambda: None)

    @singleton
    async def coming() -> Big:
        return Big()

    return [weakref.ref(thing) for thing in (asyncio.get_running_loop(), big, manager, sticky, kept, await coming())]


def test_a_closed_loop_is_collected_with_all_that_hung_on_it(run_loop: Run) -> None:
    references = run_loop(use_everything())
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)


@pytest.mark.no_cover
def test_a_thousand_loops_of_loop_local_leave_no_memory(new_loop: NewLoop) -> None:
    assert bytes_left_by_loops(new_loop, effort(100, 1000, 1000), use_everything) < 1_000_000


# -- how it is had


def test_asyncio_is_loaded_when_it_is_asked_for() -> None:
    """Otherwise a threaded program would pay for an event loop."""
    result = run("""
        import sys
        import ProxyPatternPool
        assert "asyncio" not in sys.modules
        assert "loop_local" in ProxyPatternPool.__all__
        assert not hasattr(ProxyPatternPool, "loop_locale")
        first = ProxyPatternPool.loop_local
        from ProxyPatternPool import loop_local
        import ProxyPatternPool.loop_local
        assert first is loop_local is ProxyPatternPool.loop_local
    """)
    assert (result.returncode, result.stderr) == (0, "")
    assert loop_local.storage is storage
