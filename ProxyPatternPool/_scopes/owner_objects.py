"""OwnerObjects: the objects that a provider has given to its owners, each stored and cached until it is given back.

The storage keeps more than the object for an owner, see `Kept`: it also keeps the way to give the object back. Where
there is a pool, that is the lease. So an object that was returned or discarded behind the proxy is not used again, and
giving it back never touches another owner's later lease of the same object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ProxyPatternPool._scopes.cache import OwnerCache, ThreadCache, thread_cache
from ProxyPatternPool._scopes.kept import Kept
from ProxyPatternPool._scopes.storage import OwnerStorage, ThreadStorage

K = TypeVar("K", bound=Kept[Any])


class OwnerObjects(Generic[K]):
    """The objects of all owners: at most one per owner. `load` gets the current owner's object if it is not cached."""

    __slots__ = ("cache", "storage")

    def __init__(self, storage: ThreadStorage[K], load: Callable[[], Any]) -> None:
        self.storage = storage  # of what each owner keeps, even if its lease was ended elsewhere
        self.cache: OwnerCache | ThreadCache = (
            OwnerCache(storage, load) if isinstance(storage, OwnerStorage) else thread_cache(load)
        )

    def still_out(self) -> K | None:
        """Return what the storage has for the current owner. None if its object was returned or discarded elsewhere.

        `PoolException` if the pool has taken the object away.
        """
        kept = self.storage.get()
        if kept is None or kept.is_out():
            return kept
        kept.check()
        return None

    def has(self) -> bool:
        """Tell whether the current owner has an object."""
        kept = self.storage.get()
        return kept is not None and kept.is_out()

    def keep(self, kept: K, see: Callable[[Any], object]) -> None:
        """Store an object that was taken for the current owner, and show it to `see`. On an error, give it back."""
        try:
            see(kept.held)
            self.storage.set(kept)
        except BaseException:
            kept.end()
            raise

    def give_back(self) -> None:
        """Give the current owner's object back. Does nothing without one."""
        self.cache.drop()
        kept = self.storage.pop()
        if kept is not None:
            kept.end()
