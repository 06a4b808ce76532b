"""Providers of one object for all owners: an object that was set, or the result of a function at first use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from math import inf
from time import monotonic
from typing import Any, TypeVar

from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._core.limits import checked_timeout
from ProxyPatternPool._core.transitions import popped
from ProxyPatternPool._errors import PoolException, ProxyException, TimeOut
from ProxyPatternPool._owner import this_owner
from ProxyPatternPool._process import keep, renew_after_fork
from ProxyPatternPool._scopes.provider import Provider
from ProxyPatternPool._scopes.seen_types import SeenTypes
from ProxyPatternPool._threads.parking import Parker, new_lock, new_parker, park_for_a_while
from ProxyPatternPool._transparency.transparent_type import Shape, shape_of

T = TypeVar("T")


class ObjectProvider(Provider[T]):
    """A provider of one object that exists already, for all owners."""

    fixed = True

    def __init__(self, obj: T) -> None:
        super().__init__()
        self.obj: T = obj

    def shape(self) -> Shape:
        return shape_of(self.obj)

    def class_of_all(self, unknown: type) -> Any:
        return self.obj.__class__

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        return self.obj

    def has(self) -> bool:
        return True

    def count(self) -> int:
        return 1


class _Making:
    """The state of making one object for all owners, in one process."""

    __slots__ = ("maker", "numbers", "parkers", "turn")

    def __init__(self) -> None:
        self.turn = new_lock()  # held by the caller that runs `fun`; others try it, and never wait for it
        self.maker: object = None  # the owner that runs `fun`
        self.numbers = count()  # the arguments of the calls of `fun`
        self.parkers: deque[Parker] = deque()  # of callers that wait for the end of `fun`


class SingletonProvider(Provider[T]):
    """A provider of one object for all owners. The first caller that needs it makes it, while others park.

    No caller blocks on a lock while `fun` runs. So a greenlet that waits leaves its thread to the hub, and a `fun` that
    uses the proxy itself gets a `ProxyException` instead of a deadlock. If `fun` fails, its caller gets the error, and
    another caller tries.
    """

    obeyed = ()

    def __init__(self, config: PoolConfig[T], reshape: Callable[[Provider[T]], None]) -> None:
        super().__init__()
        self._config = config
        self._seen = SeenTypes(self, reshape)
        self._making = _Making()  # replaced in a forked child
        renew_after_fork(self)

    def _renew(self) -> None:
        keep(self.drop())
        self._making = _Making()
        self.fixed = False
        self._seen.reshape()

    def shape(self) -> Shape:
        return self._seen.shape

    def class_of_all(self, unknown: type) -> Any:
        return self._seen.class_of_all(unknown)

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        if not self.has():
            if self.successor is not None:
                return self.successor.get(timeout)
            self._make_or_wait(None if isinstance(timeout, Default) else checked_timeout(timeout))
        return self.obj

    def _make_or_wait(self, patience: float | None) -> None:
        deadline = inf if patience is None else monotonic() + patience
        if self._making.maker == this_owner():
            raise ProxyException("fun uses the proxy whose object it is to make")
        while not (self._make_in_turn() or self.has()):
            left = deadline - monotonic()
            if left <= 0:
                raise TimeOut(f"{self._config.name}: timeout after {patience} s: still making the shared object")
            self._park(left)

    def _make_in_turn(self) -> bool:
        """Make the object, if there is none. Return False if another caller is making it. Raises the errors of `fun`.

        The loop takes the turn inside a single bytecode, as `LockedMachine` takes its lock. So no interrupt loses it.
        """
        making = self._making
        for _ in iter(partial(making.turn.acquire, False), False):
            try:
                try:
                    if not self.has():
                        self._make(making)
                finally:
                    making.turn.release()
            finally:
                self._wake()
            return True
        return False

    def _make(self, making: _Making) -> None:
        obj = self._call(making)
        if making is not self._making:
            raise PoolException(f"{self._config.name}: the process was forked meanwhile: this object is the parent's")
        self._seen.see(obj)
        self.obj: T = obj
        self.fixed = True
        self._seen.reshape()

    def _call(self, making: _Making) -> T:
        try:
            making.maker = this_owner()
            return self._config.make(next(making.numbers))
        finally:
            making.maker = None

    def _park(self, timeout: float) -> None:
        parker = new_parker()
        self._making.parkers.append(parker)  # published before the look: the maker releases the turn, then wakes
        if self._making.turn.locked():
            park_for_a_while(parker, timeout)

    def _wake(self) -> None:
        """Wake all waiting callers. To wake one would not be enough: it may have given up, or may be about to."""
        while parker := popped(self._making.parkers):
            parker.unpark()

    def drop(self) -> object:
        """Empty the cache, and return the object, or None. This provider is its own cache, see `ThreadCache`."""
        return vars(self).pop("obj", None)

    def has(self) -> bool:
        return "obj" in vars(self)

    def count(self) -> int:
        return int(self.has())
