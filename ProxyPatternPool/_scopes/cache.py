"""Places where an object is at hand, as ``place.obj``; where it is not, it is found, and put there.

Reading ``place.obj`` is all that stands between an operation on a proxy and its object: so this is the path that
counts. A place keeps nothing: what an owner has is in a `PerThread` or a `PerOwner`, with the way to give it back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from ProxyPatternPool._owner import PerOwner


class Found:
    """The attribute ``obj`` of a place that does not have it at hand. Not a data descriptor: what is at hand wins."""

    def __get__(self, place: Any, _type: type) -> Any:
        return place.find()


def at_hand(find: Callable[[], Any]) -> AtHand:
    """Make a place where each thread has its own object at hand.

    What a thread is, is decided now: gevent may have replaced `threading.local` since the import.
    """
    place: AtHand = _per_thread(threading.local)(find)
    return place


@cache
def _per_thread(local: type) -> Any:
    return type("AtHand", (AtHand, local), {})


class AtHand:
    """A place with an object at hand. `find` gets it from elsewhere, and may put it there."""

    obj = Found()

    def __init__(self, find: Callable[[], Any]) -> None:
        self.find = find  # this is run by each thread, at its first look

    def hand(self) -> dict[str, Any]:
        """Return where the current owner's object is to be put, as "obj"."""
        return vars(self)

    def drop(self) -> object:
        """Have nothing at hand for the current owner any more; return what there was."""
        return vars(self).pop("obj", None)


class NearOwner:
    """A place where each task, greenlet or thread has its own object at hand; otherwise as `AtHand`."""

    def __init__(self, owners: PerOwner[Any], find: Callable[[], Any]) -> None:
        self._owners = owners
        self._find = find
        self._threads = at_hand(find)

    @property
    def obj(self) -> Any:
        """The current owner's object."""
        hand = self._owners.hand()
        if hand is None:
            return self._threads.obj
        return hand["obj"] if "obj" in hand else self._find()

    def hand(self) -> dict[str, Any]:
        """Return where the current owner's object is to be put, as "obj"."""
        hand = self._owners.hand()
        return self._threads.hand() if hand is None else hand

    def drop(self) -> object:
        """Have nothing at hand for the thread any more; of a task or a greenlet, it goes with what is kept for it."""
        return self._threads.drop()
