"""Proxy: a name that can be imported before its object exists, and that then behaves as the object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar, cast

from ProxyPatternPool._config import Default, PoolConfig
from ProxyPatternPool._owner import this_owner
from ProxyPatternPool._proxy.base import BaseProxy, ProxyScope
from ProxyPatternPool._scopes.per_owner import ObjectSource, OwnerProvider
from ProxyPatternPool._scopes.pool_source import PoolSource
from ProxyPatternPool._scopes.provider import Provider
from ProxyPatternPool._scopes.shared import SingletonProvider
from ProxyPatternPool._scopes.storage import OwnerStorage, ThreadStorage
from ProxyPatternPool._scopes.unpooled_source import UnpooledSource
from ProxyPatternPool._threads.pool import Pool
from ProxyPatternPool._transparency.type_hints import AnyOperations

T = TypeVar("T")


class Proxy(BaseProxy[T], AnyOperations):
    """A stand-in for an object, or for one object per owner, that can be set later.

    The owner is the current thread by default. Another `scope` makes it the current task, greenlet or event loop.

    A proxy does what its object does, and nothing else: attributes, calls, items, ``with``, operators, ``str``, truth,
    hash, ``isinstance``... If the owner has no object, each of these, except ``isinstance``, first takes one from the
    pool, or makes one. The proxy's own attributes start with an underscore, except its setters.

    There are three ways to set a proxy:

    - With an object, `obj`, which all owners share. ``Proxy(connect)`` stands for the function ``connect`` itself.
    - With a function, `fun`, which makes an object whenever the `scope` needs one. Its argument is 0, 1, 2...
    - Later: ``Proxy()`` has the methods ``set(obj)`` or ``set(fun=…)``, ``set_obj(obj)`` and ``set_fun(fun)``.
      `set_name` renames them, and a `set_name` of None removes them.

    A function's objects live in a `Pool`, unless `max_size` is None or the scope is SHARED or LOOP. All other
    parameters are the pool's. The pool opens at first use: setting a function creates nothing. Setting the proxy again
    shuts the previous pool down.

    An owner keeps its object from its first use until it calls `_ret_obj`, or, with `auto_return`, until the owner
    ends. A loop keeps its object until the loop's end.

    The proxy's own methods and attributes are:

    - `_get_obj`: return the owner's object; without one, take it from the pool, or make it
    - `_ret_obj`: give the object back
    - `_obj`: borrow the object for a ``with`` block
    - `_has_obj`: tell whether the owner has an object; `_local.obj` is that object, or None
    - `_nobjs`: the number of objects; with a `max_size` of None, the number made so far
    - `_pool`: the pool, to look at it, discard an object from it, or shut it down
    - `_set`, `_set_obj`, `_set_fun`: the setters, independent of `set_name`
    - `_set_pool`: change the parameters of the pool, as long as there is none
    """

    def _get_obj(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Return the current owner's object. Without one, take it from the pool as `Pool.get` does, or make it.

        Waits for the pool at most `timeout` seconds (0: not at all; None: without a limit; by default, the pool's own
        `timeout`). Raises the errors of `Pool.get`, and `ProxyException` if the proxy is not set. Safe from any thread.
        """
        return self._proxy_provider.get(timeout)

    def _ret_obj(self) -> None:
        """Give the current owner's object back to its pool. Never blocks, except in the `retter`.

        Does nothing without an object, or without a pool. For a broken object, call ``_pool.discard(_get_obj())``
        instead; the next use takes another object.

        With the scope VERSATILE, also give back the objects that ended owners of the same request have left. So the
        teardown of a Flask request gives back the objects of its coroutine views. An object of an owner that has not
        ended goes back at that owner's end.
        """
        for provider in self._proxy_providers():
            provider.ret()

    @contextmanager
    def _obj(self, timeout: float | Default | None = Default.TIMEOUT) -> Iterator[T]:
        """Borrow the object for a ``with`` block, and give it back when the block ends, even after an exception.

        Waits and raises as `_get_obj` does. Nested blocks share one object. Only the block that has borrowed it gives
        it back, because an outer block may be in the middle of a transaction.

        A block in a generator may be left by a thread or task other than the one that entered it. The block gives back
        the object that it has borrowed, and does not touch the object of the thread or task that leaves it.

        Two such generators share an object if the same thread begins both. FastAPI does that with dependencies that
        are not coroutines. There, each generator takes an object of its own from the pool:
        ``with db._pool.obj() as connection: yield connection``.
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
                # all providers: the proxy may have been set again, and used, in the block
                for provider in self._proxy_providers():
                    if provider not in had:
                        provider.ret()

    @property
    def _pool(self) -> Pool[T]:
        """The pool. None before a function is set, with an object, with SHARED or LOOP, and with a `max_size` of None.

        Its type does not include None: a program knows how it sets its proxy, and would have to check at each use.
        """
        return cast("Pool[T]", self._proxy_provider.pool)

    def _proxy_provider_of(
        self, scope: ProxyScope, config: PoolConfig[T], pooled: bool, reshape: Callable[[Provider[T]], None]
    ) -> Provider[T]:
        if scope is ProxyScope.SHARED:
            return SingletonProvider(config, reshape)
        if scope is ProxyScope.LOOP:
            return _made_per_loop()(config, reshape)
        storage: ThreadStorage[Any] = OwnerStorage() if scope is ProxyScope.VERSATILE else ThreadStorage()
        source: ObjectSource[T] = PoolSource(config, storage) if pooled else UnpooledSource(config)
        return OwnerProvider(storage, source, reshape)


def transparent(proxy: Proxy[T]) -> T:
    """Return the proxy itself, with the type of its object for type checkers.

    They take ``db = transparent(Proxy(fun=connect))`` for a ``Connection``. Nothing changes at run time.
    """
    return cast(T, proxy)


def _made_per_loop() -> Callable[[PoolConfig[T], Callable[[Provider[T]], None]], Provider[T]]:
    """Import the module that needs asyncio: a program without an event loop does not pay for it."""
    made: Callable[[PoolConfig[T], Callable[[Provider[T]], None]], Provider[T]]
    made = import_module("ProxyPatternPool._scopes.per_loop").made_per_loop
    return made
