"""Proxy: a name that can be imported before its object exists, and then behaves as that object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._owner import this_owner
from ProxyPatternPool._proxy.base import BaseProxy, ProxyScope
from ProxyPatternPool._scopes.per_owner import PooledOnTrail, PooledProvider, UnpooledProvider
from ProxyPatternPool._scopes.provider import Provider
from ProxyPatternPool._scopes.shared import SingletonProvider
from ProxyPatternPool._scopes.storage import OwnerStorage, ThreadStorage
from ProxyPatternPool._threads.pool import Pool

if TYPE_CHECKING:
    from ProxyPatternPool._scopes.per_loop import MadeLoopProvider

T = TypeVar("T")


class Proxy(BaseProxy[T]):
    """Stands for an object, or for one object per owner, that may be set later.

    It does what its object does, and nothing else: attributes, calls, items, ``with``, operators, text, truth, hash,
    ``isinstance``... each of them takes the object, if its owner has none yet. What is the proxy's own begins with an
    underscore, but for its setters.

    Set it with an object (`obj`), which everybody shares, or with a function (`fun`), called with 0, 1, 2... to make
    an object whenever a `scope` needs one; ``Proxy(connect)`` is the function itself. ``Proxy()`` waits for
    ``set(obj)`` or ``set(fun=…)``, ``set_obj(obj)``, ``set_fun(fun)``, which `set_name` renames, and None removes.

    Objects of a function live in a `Pool`, unless `max_size` is None or the scope is SHARED or LOOP; all other
    parameters are the pool's. An owner keeps its object from its first use until it calls `_ret_obj`, or, with
    `auto_return`, until it ends; a loop keeps it until its end. The pool opens at first use: setting a function creates
    nothing. Setting again shuts the previous pool down.

    - `_get_obj`: the owner's object, taken or made if it has none
    - `_ret_obj`: give it back
    - `_obj`: have it for a ``with`` block
    - `_has_obj`: whether the owner has one; `_local.obj`: that one, or None
    - `_nobjs`: how many objects there are; with a `max_size` of None, how many were made
    - `_pool`: the pool, to look at it, discard from it, shut it down
    - `_set`, `_set_obj`, `_set_fun`: the setters, whatever `set_name` is
    - `_set_pool`: change the parameters of the pool before there is one
    """

    def _get_obj(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Return the current owner's object; if it has none, take one from the pool as `Pool.get` does, or make it.

        `ProxyException` when nothing is set.
        """
        return self._proxy_provider.get(timeout)

    def _ret_obj(self) -> None:
        """Give the current owner's object back to the pool that it is from. Never blocks, except in the `retter`.

        With the scope VERSATILE, also give back what ended owners of the same request have left. So the teardown of a
        Flask request gives back the objects of its coroutine views; objects of living owners go back at their end.

        Does nothing without an object, or without a pool. An object that is broken is given back with
        ``_pool.discard(_get_obj())`` instead; the next use takes another.
        """
        for provider in self._proxy_providers():
            provider.ret()

    @contextmanager
    def _obj(self, timeout: float | Default | None = Default.TIMEOUT) -> Iterator[T]:
        """Have the object for a ``with`` block; at its end, whatever ended it, it is given back.

        An owner that had the object before keeps it: it belongs to an outer block, perhaps in mid-transaction. A block
        in a generator may be left by another thread or task than has entered it: that one's own object is not touched.
        But two such generators that one thread has begun share its object: where that can be, as with the dependencies
        of FastAPI that are no coroutines, each takes its own, ``with db._pool.obj() as connection: yield connection``.
        """
        had = {provider for provider in self._proxy_providers() if provider.has()}
        owner, obj = this_owner(), self._get_obj(timeout)
        taken = [provider.kept() for provider in self._proxy_providers() if provider not in had]
        try:
            yield obj
        finally:
            if this_owner() != owner:
                for kept in filter(None, taken):
                    kept.end()
            else:
                for (
                    provider
                ) in self._proxy_providers():  # all of them: it may have been set again, and used, in the block
                    if provider not in had:
                        provider.ret()

    @property
    def _pool(self) -> Pool[T]:
        """The pool. None if there is none: before a function is set, with an object, SHARED, LOOP, `max_size` None.

        Its type does not say so: a program knows how it sets its proxy, and would have to say so at each use.
        """
        return cast("Pool[T]", self._proxy_provider.pool)

    def _proxy_provider_of(
        self, scope: ProxyScope, config: PoolConfig[T], pooled: bool, reshape: Callable[[Provider[T]], None]
    ) -> Provider[T]:
        if scope is ProxyScope.SHARED:
            return SingletonProvider(config, reshape)
        if scope is ProxyScope.LOOP:
            return _per_loop()(config, reshape)
        if scope is ProxyScope.VERSATILE:
            return (PooledOnTrail if pooled else UnpooledProvider)(OwnerStorage(), reshape, config)
        return (PooledProvider if pooled else UnpooledProvider)(ThreadStorage(), reshape, config)


def transparent(proxy: Proxy[T]) -> T:
    """Return the proxy itself; type checkers see what it stands for.

    ``db = transparent(Proxy(fun=connect))`` is a ``Connection`` to them; nothing else is different.
    """
    return cast(T, proxy)


def _per_loop() -> type[MadeLoopProvider[Any]]:
    """Load what needs asyncio: a program without an event loop does not pay for one."""
    kind: type[MadeLoopProvider[Any]] = import_module("ProxyPatternPool._scopes.per_loop").MadeLoopProvider
    return kind
