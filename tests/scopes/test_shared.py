"""The object that all threads share, and what may come in between while it is made."""

from __future__ import annotations

import pytest

from ProxyPatternPool import PoolException
from ProxyPatternPool._config import PoolConfig
from ProxyPatternPool._scopes.shared import SingletonProvider
from tests.conftest import Crew
from tests.support.bytecodes import at_bytecode, at_each_bytecode


class Interrupted(BaseException):
    """The exception that a signal handler raises."""


def interrupt() -> None:
    raise Interrupted


@pytest.mark.no_cover
def test_a_function_that_is_interrupted_anywhere_is_called_again(crew: Crew) -> None:
    """Otherwise Ctrl-C in the first request would leave all others waiting for ever."""

    def attempt(number: int) -> bool:
        provider: SingletonProvider[list[int]] = SingletonProvider(PoolConfig(fun=lambda n: [n]), lambda _: None)
        interrupted = False
        try:
            at_bytecode(number, interrupt, provider.get, spare="_make_in_turn")
        except Interrupted:
            interrupted = True
        crew.start(lambda: provider.get(20))
        crew.join()
        assert provider.get(0) in ([0], [1])
        return interrupted

    assert at_each_bytecode(attempt) > 100


def test_a_caller_that_comes_just_after_the_end_does_not_park() -> None:
    """Otherwise it would sleep beside the object."""
    provider: SingletonProvider[list[int]] = SingletonProvider(PoolConfig(fun=lambda n: [n]), lambda _: None)
    provider._park(3600.0)


def test_a_function_that_forks_makes_nothing_in_the_child() -> None:
    """Otherwise the child would use an object that is half its parent's. Here, no fork goes unmeasured."""

    def fun(number: int) -> list[int]:
        provider._renew()
        return [number]

    provider: SingletonProvider[list[int]] = SingletonProvider(PoolConfig(fun=fun, name="db"), lambda _: None)
    with pytest.raises(PoolException, match="db: the process was forked meanwhile: this object is the parent's"):
        provider.get()
    assert not provider.has()
