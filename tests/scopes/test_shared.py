"""The object that everybody shares, interrupted while it is made."""

from __future__ import annotations

import pytest

from ProxyPatternPool._config import PoolConfig
from ProxyPatternPool._scopes.shared import SingletonProvider
from tests.conftest import Crew
from tests.support.bytecodes import at_bytecode, at_each_bytecode


class Interrupted(BaseException):
    """What a signal handler raises."""


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
