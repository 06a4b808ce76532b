"""OwnerProvider: one object per thread, task or greenlet, from a source of objects: a pool, or a function alone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeVar

from ProxyPatternPool._config import Default
from ProxyPatternPool._errors import PoolClosed
from ProxyPatternPool._process import keep, renew_after_fork
from ProxyPatternPool._scopes.kept import Kept
from ProxyPatternPool._scopes.owner_objects import OwnerObjects
from ProxyPatternPool._scopes.provider import Provider
from ProxyPatternPool._scopes.seen_types import SeenTypes
from ProxyPatternPool._scopes.storage import ThreadStorage
from ProxyPatternPool._threads.pool import Pool
from ProxyPatternPool._transparency.transparent_type import Shape

T = TypeVar("T")


class ObjectSource(Protocol[T]):
    """A source of objects, as an `OwnerProvider` uses it."""

    pooled: bool  # whether objects go back to a pool; otherwise each stays with its owner
    obeyed: Collection[str]  # see `Provider.obeyed`

    @property
    def pool(self) -> Pool[T] | None:
        """The pool, or None."""
        ...

    def take(self, timeout: float | Default | None) -> Kept[T]:
        """Take an object for the current owner, or make one. `PoolClosed` after `end`, if there is a pool."""
        ...

    def take_left(self, trail: object) -> None:
        """Take back the objects that ended owners on `trail` have left."""
        ...

    def end(self) -> None:
        """Close the objects that are not in use, and lend no object any more."""
        ...

    def renew(self) -> None:
        """Forget the parent's objects, in a forked child."""
        ...

    def in_use(self) -> bool:
        """Tell whether an owner has an object that has yet to be given back or closed."""
        ...

    def count(self) -> int:
        """Return the number of objects."""
        ...


class OwnerProvider(Provider[T]):
    """A provider with one object per owner, from the owner's first use on. The kind of `storage` says what an owner is.

    With a pool, the owner keeps its object until it gives it back. Without a pool, the object lives as long as its
    owner.
    """

    def __init__(
        self, storage: ThreadStorage[Kept[T]], source: ObjectSource[T], reshape: Callable[[Provider[T]], None]
    ) -> None:
        super().__init__()
        self._objects = OwnerObjects(storage, self.load)
        self._seen = SeenTypes(self, reshape)
        self._source = source
        self.cache = self._objects.cache
        self.obeyed = source.obeyed
        self.pooled = source.pooled
        renew_after_fork(self)

    def _renew(self) -> None:
        keep(self.cache.drop())
        self._source.renew()

    def shape(self) -> Shape:
        return self._seen.shape

    def class_of_all(self, unknown: type) -> Any:
        return self._seen.class_of_all(unknown)

    @property
    def pool(self) -> Pool[T] | None:
        return self._source.pool

    def get(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        kept = self._objects.still_out()
        if kept is None:
            if self.successor is not None:
                return self.successor.get(timeout)  # the proxy was set again
            try:
                kept = self._source.take(timeout)
            except PoolClosed:
                if self.successor is None:
                    raise
                return self.successor.get(timeout)  # the proxy was set again during the wait
            self._objects.keep(kept, self._seen.see)
        kept.cache_in(self.cache.current())
        return kept.held

    def kept(self) -> Kept[T] | None:
        return self._objects.storage.get()

    def has(self) -> bool:
        return self._objects.has()

    def ret(self) -> None:
        # without a pool, an object goes back nowhere; but its owner no longer needs that of an earlier setting
        if self.pooled or self.successor is not None:
            trail = self._objects.storage.trail_to_clear()
            self._objects.give_back()
            if trail is not None:
                self._source.take_left(trail)

    def end(self, successor: Provider[T]) -> None:
        super().end(successor)
        self._source.end()

    def in_use(self) -> bool:
        return self._source.in_use()

    def count(self) -> int:
        return self._source.count()
