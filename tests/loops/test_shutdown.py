"""Exits at the end of a loop: when they run, in which order, and what becomes of errors."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ProxyPatternPool._loops.shutdown import at_end, before_end
from tests.conftest import run
from tests.support.loops import NewLoop, Run, run_and_close, run_and_shut_down


class Diary:
    """Exits that write their names down."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.reports: list[dict[str, Any]] = []

    def exit(self, name: str, error: BaseException | None = None) -> Any:
        async def write() -> None:
            assert not asyncio.get_running_loop().is_closed()
            await asyncio.sleep(0)
            self.entries.append(name)
            if error:
                raise error

        return write

    def watch(self) -> None:
        """Note what is told to the loop's exception handler."""
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.reports.append(context))

    def told(self) -> list[str]:
        return [str(error) for report in self.reports for error in report["exception"].exceptions]


def test_exits_run_last_in_first_out(run_loop: Run) -> None:
    diary = Diary()

    async def main() -> None:
        at_end(diary.exit("first"))
        before_end(diary.exit("being made"))
        forget = at_end(diary.exit("taken back"))
        at_end(diary.exit("last"))
        forget()
        forget()  # says nothing the second time
        assert diary.entries == []

    run_loop(main())
    assert diary.entries == ["being made", "last", "first"]


def test_an_exit_that_is_added_while_exits_run_runs_too(run_loop: Run) -> None:
    diary = Diary()

    async def again() -> None:
        diary.entries.append("again")
        at_end(diary.exit("added"))

    async def main() -> None:
        at_end(diary.exit("first"))
        at_end(again)

    run_loop(main())
    assert diary.entries == ["again", "added", "first"]


def test_errors_skip_no_exit_and_are_told_together(new_loop: NewLoop) -> None:
    diary = Diary()

    async def main() -> None:
        diary.watch()
        at_end(diary.exit("first", ValueError("a")))
        at_end(diary.exit("second"))
        at_end(diary.exit("last", KeyError("b")))

    run_and_shut_down(new_loop, main())
    assert diary.entries == ["last", "second", "first"]
    assert diary.told() == ["'b'", "a"]
    assert [report["message"] for report in diary.reports] == ["errors at the end of the event loop"]


def test_a_bare_close_raises_the_errors_and_closes(new_loop: NewLoop) -> None:
    diary, loop = Diary(), new_loop()

    async def main() -> None:
        at_end(diary.exit("first", ValueError("a")))
        at_end(diary.exit("second", asyncio.CancelledError()))

    loop.run_until_complete(main())
    with pytest.raises(BaseExceptionGroup, match="errors at the end of the event loop") as caught:
        loop.close()
    assert [type(error) for error in caught.value.exceptions] == [asyncio.CancelledError, ValueError]
    assert loop.is_closed()
    loop.close()
    assert diary.entries == ["second", "first"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_in_an_exit_arrives_when_all_have_run(run_loop: Run, interrupt: type[BaseException]) -> None:
    """Otherwise Ctrl-C at a bad moment would leave transactions open, or be taken for an error that is logged."""
    diary = Diary()

    async def main() -> None:
        diary.watch()
        at_end(diary.exit("first", ValueError("a")))
        at_end(diary.exit("last", interrupt()))

    with pytest.raises(interrupt):
        run_loop(main())
    assert diary.entries == ["last", "first"]
    assert diary.told() == ["a"]


def test_of_two_interrupts_the_first_arrives_and_the_other_is_told(run_loop: Run) -> None:
    """Otherwise the interrupt that ended the second exit too early would be lost."""
    diary = Diary()

    async def main() -> None:
        diary.watch()
        at_end(diary.exit("first", SystemExit("three")))
        at_end(diary.exit("second", ValueError("two")))
        at_end(diary.exit("last", KeyboardInterrupt("one")))

    with pytest.raises(KeyboardInterrupt, match="one"):
        run_loop(main())
    assert diary.entries == ["last", "second", "first"]
    assert diary.told() == ["two", "three"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_loop_that_is_ended_by_an_error_runs_its_exits(run_loop: Run, error: type[BaseException]) -> None:
    diary = Diary()

    async def main() -> None:
        at_end(diary.exit("first"))
        raise error

    with pytest.raises(error):
        run_loop(main())
    assert diary.entries == ["first"]


def test_an_end_that_is_interrupted_from_outside_is_gone_on_with_by_close(new_loop: NewLoop) -> None:
    """Otherwise Ctrl-C while a server is slow to say goodbye would leave all the others without a goodbye."""
    diary = Diary()

    async def slow() -> None:
        asyncio.get_running_loop().call_soon(interrupt)
        diary.entries.append("begun")
        for _ in range(20):
            await asyncio.sleep(0)
        diary.entries.append("done")

    def interrupt() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        diary.watch()
        at_end(diary.exit("first", ValueError("a")))
        at_end(slow)

    with pytest.raises(KeyboardInterrupt):
        run_and_shut_down(new_loop, main())
    assert diary.entries == ["begun", "done", "first"]
    gc.collect()
    assert diary.told() == ["a"]  # and nothing is said of tasks that were destroyed


def test_an_end_goes_on_when_its_waiter_is_cancelled(new_loop: NewLoop) -> None:
    """Otherwise half of the objects would be exited, and what went wrong be forgotten."""
    diary = Diary()
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await may_end.wait()

    async def main() -> None:
        at_end(diary.exit("first", ValueError("a")))
        at_end(slow)
        ending = asyncio.create_task(asyncio.get_running_loop().shutdown_asyncgens())
        await begun.wait()
        ending.cancel()
        await asyncio.wait([ending])
        may_end.set()
        while not diary.entries:
            await asyncio.sleep(0)

    with pytest.raises(ExceptionGroup) as caught:
        run_and_close(new_loop, main())
    assert [str(error) for error in caught.value.exceptions] == ["a"]


def test_an_exit_that_hangs_can_be_interrupted(new_loop: NewLoop) -> None:
    """Otherwise Ctrl-C would not end a program whose server does not answer any more."""
    reports: list[str] = []
    reached: list[bool] = []

    async def never_reached() -> None:
        reached.append(True)

    async def hang() -> None:
        asyncio.get_running_loop().call_soon(interrupt)
        await asyncio.get_running_loop().create_future()

    def interrupt() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["message"]))
        at_end(never_reached)
        at_end(hang)

    with pytest.raises(KeyboardInterrupt):
        run_and_close(new_loop, main())
    gc.collect()
    assert reports == ["Task was destroyed but it is pending!"]
    assert reached == []


def test_the_tasks_of_the_program_end_before_any_exit(new_loop: NewLoop) -> None:
    """Otherwise a `finally` block would use what is closed already."""
    diary = Diary()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            diary.entries.append("work")

    async def main() -> None:
        at_end(diary.exit("exit"))
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        assert not task.done()

    run_and_shut_down(new_loop, main())
    assert diary.entries == ["work", "exit"]


def test_suspended_generators_are_finished_after_the_exits(new_loop: NewLoop) -> None:
    """Otherwise an object made by @asynccontextmanager would be torn down by the loop, and not to its end."""
    diary = Diary()

    @asynccontextmanager
    async def connection() -> AsyncIterator[None]:
        yield
        await asyncio.sleep(0)
        diary.entries.append("properly exited")

    async def abandoned() -> AsyncIterator[None]:
        try:
            yield
        finally:
            diary.entries.append("abandoned")

    generator = abandoned()

    async def main() -> None:
        manager = connection()
        await manager.__aenter__()
        await anext(generator)
        at_end(lambda: manager.__aexit__(None, None, None))

    run_and_shut_down(new_loop, main())
    assert diary.entries == ["properly exited", "abandoned"]


def test_a_running_loop_refuses_to_be_closed_and_goes_on(new_loop: NewLoop) -> None:
    diary = Diary()

    async def main() -> None:
        at_end(diary.exit("exit"))
        with pytest.raises(RuntimeError, match="close a running"):
            asyncio.get_running_loop().close()
        assert diary.entries == []

    run_and_close(new_loop, main())
    assert diary.entries == ["exit"]


def test_a_loop_that_cannot_run_its_exits_here_stays_open(new_loop: NewLoop) -> None:
    """Otherwise closing a loop inside another one would lose them."""
    diary, other = Diary(), new_loop()

    async def add() -> None:
        at_end(diary.exit("exit"))

    async def close_other() -> None:
        with pytest.raises(RuntimeError, match="while another one is running here"):
            other.close()
        assert not other.is_closed()

    other.run_until_complete(add())
    run_and_close(new_loop, close_other())
    other.close()
    assert diary.entries == ["exit"]


def test_a_loop_may_go_on_after_its_shutdown(new_loop: NewLoop) -> None:
    diary, loop = Diary(), new_loop()

    async def add(name: str) -> None:
        at_end(diary.exit(name))

    loop.run_until_complete(add("first"))
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert diary.entries == ["first"]
    loop.run_until_complete(add("second"))
    loop.close()
    assert diary.entries == ["first", "second"]


def test_a_closed_loop_is_collected(run_loop: Run) -> None:
    async def main() -> weakref.ref[object]:
        loop = asyncio.get_running_loop()

        async def exit_of(kept: object = loop) -> None:
            assert kept is loop

        at_end(exit_of)
        return weakref.ref(loop)

    loop = run_loop(main())
    gc.collect()
    assert loop() is None


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")  # that is what it is
def test_an_unclosed_loop_runs_nothing_when_it_is_collected() -> None:
    """Otherwise a program would run its exits in the midst of anything, with any lock held."""
    diary = Diary()

    async def main() -> weakref.ref[object]:
        at_end(diary.exit("exit"))
        return weakref.ref(asyncio.get_running_loop())

    # of uvloop there is nothing to see: it never lets go of a loop that is not closed
    loop = asyncio.new_event_loop().run_until_complete(main())
    gc.collect()
    assert loop() is None
    assert diary.entries == []


def test_there_is_no_end_without_a_loop() -> None:
    async def never() -> None:
        raise AssertionError

    with pytest.raises(RuntimeError, match="no running event loop"):
        at_end(never)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.parametrize("run_it", ["asyncio.run(main())", "bare(main())"])
def test_a_forked_child_runs_no_exit_of_its_parent(run_it: str) -> None:
    """Otherwise a child that ends inside a loop would say good-bye on its parent's connections."""
    result = run(f"""
        import asyncio, os
        from contextlib import asynccontextmanager
        from ProxyPatternPool import loop_local

        @asynccontextmanager
        async def connect():
            yield
            print("disconnect", os.getpid() == parent, flush=True)

        def bare(coroutine):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(coroutine)
            loop.close()

        async def main():
            loop_local.at_exit(print, "exit", flush=True)
            await loop_local.enter(connect())
            if child := os.fork():
                os.waitpid(child, 0)

        parent = os.getpid()
        {run_it}
    """)
    assert (result.stdout.splitlines(), result.stderr) == (["disconnect True", "exit"], "")
