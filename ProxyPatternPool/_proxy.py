"""Proxy: a name that can be imported before its object exists, and then behaves as that object.

There is one way to the object, `_get_obj`, and one table of the operations that take it, at the end of this file.
Whose object it is, and where it comes from, is known to the proxy's `Target`, which ``set`` has put there.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from ProxyPatternPool._base import log
from ProxyPatternPool._config import Default, PoolConfig, ProxyParameters, configure
from ProxyPatternPool._errors import PoolClosed, ProxyException
from ProxyPatternPool._owner import PerOwner, PerThread
from ProxyPatternPool._pool import Pool
from ProxyPatternPool._target import Pooled, SharedFunction, SharedObject, Storage, Target, Unpooled

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")


class ProxyScope(Enum):
    """Who shares one object of a `Proxy`."""

    AUTO = "auto"  # SHARED for an object, THREAD for a function
    SHARED = "shared"  # everybody in the process
    THREAD = "thread"  # nobody but the thread
    VERSATILE = "versatile"  # nobody but the innermost of asyncio task, greenlet, thread
    WERKZEUG = GEVENT = EVENTLET = VERSATILE


class Proxy(Generic[T]):
    """Stands for an object, or for one object per owner, that may be set later.

    Attributes, calls, items, length, iteration, ``with``, comparison, text, truth and hash are the object's: each of
    them takes the object, if its owner has none yet. What is the proxy's own begins with an underscore.

    Set it with an object (`obj`), which everybody shares, or with a function (`fun`), called with 0, 1, 2... to make
    an object whenever a `scope` needs one. ``Proxy()`` waits for ``set(obj)`` or ``set(fun=…)``, ``set_obj(obj)``,
    ``set_fun(fun)``, which `set_name` renames, and None removes.

    Objects of a function live in a `Pool`, unless `max_size` is None or the scope is shared; all other parameters are
    the pool's. An owner keeps its object from its first use until it calls `_ret_obj`. The pool opens at first use:
    setting a function creates nothing. Setting again shuts the previous pool down.
    """

    Scope: TypeAlias = ProxyScope

    # Everything else that is set on a proxy is set on its object.
    __scope: ProxyScope
    __set_name: str | None
    __parameters: dict[str, Any]  # of the pool that there is, or will be
    __storage: Storage[T]  # what each owner has
    __target: Target[T]  # replaced as a whole by setting, never changed
    __setting: threading.Lock

    def __init__(
        self,
        obj: T | None = None,
        *,
        fun: Callable[[int], T] | None = None,
        scope: ProxyScope = ProxyScope.AUTO,
        set_name: str | None = "set",
        **parameters: Unpack[ProxyParameters[T]],
    ) -> None:
        if not isinstance(scope, ProxyScope):
            names = ", ".join(ProxyScope.__members__)
            raise ProxyException(f"scope must be a Proxy.Scope ({names}), not {scope!r}")
        name = configure("Proxy", {"fun": _no_function, **parameters}).name
        own = object.__setattr__
        own(self, "_Proxy__scope", scope)
        own(self, "_Proxy__set_name", set_name)
        own(self, "_Proxy__parameters", {**parameters, "name": name})
        storage: Storage[T] = PerOwner() if scope is ProxyScope.VERSATILE else PerThread()
        own(self, "_Proxy__storage", storage)
        own(self, "_Proxy__target", Target(storage, f"{name}: the proxy is not set yet: {_advice(set_name)}"))
        own(self, "_Proxy__setting", threading.Lock())
        if set_name is not None:
            self.__name_setters(set_name)
        if obj is not None or fun is not None:
            self._set(obj, fun=fun)

    # -- setting it

    def _set(
        self,
        obj: T | None = None,
        *,
        fun: Callable[[int], T] | None = None,
        **parameters: Unpack[ProxyParameters[T]],
    ) -> None:
        """Set the object or the function; `ProxyException` for both or neither. See `_set_obj` and `_set_fun`."""
        if obj is not None and fun is not None:
            raise ProxyException("Proxy cannot set both obj and fun")
        if fun is not None:
            self._set_fun(fun, **parameters)
        elif obj is not None:
            self._set_obj(obj)
        else:
            raise ProxyException("Proxy must set either obj or fun")

    def _set_obj(self, obj: T) -> None:
        """Set the object which everybody shares, None included. `ProxyException` when the scope is not shared."""
        if self.__scope not in (ProxyScope.AUTO, ProxyScope.SHARED):
            raise ProxyException(f"an object is shared by everybody: scope {self.__scope.name} needs fun")
        set_name = self.__set_name
        if set_name is not None and hasattr(type(obj), set_name):
            log.warning("a proxy hides %s() of its %s: choose another set_name", set_name, type(obj).__name__)
        self.__point_to(SharedObject(self.__storage, obj))

    def _set_fun(self, fun: Callable[[int], T], **parameters: Unpack[ProxyParameters[T]]) -> None:
        """Set the function that makes objects, and change what `parameters` the pool is to have.

        What is not given stays as it was. The function is not called before the first use.
        """
        config: PoolConfig[T] = self.__configure(fun, parameters)
        if self.__scope is ProxyScope.SHARED:
            self.__point_to(SharedFunction(self.__storage, fun))
        elif self.__parameters.get("max_size", 0) is None:
            self.__point_to(Unpooled(self.__storage, fun))
        else:
            self.__point_to(Pooled(self.__storage, Pool._unopened(config)))

    def _set_pool(self, **parameters: Unpack[ProxyParameters[T]]) -> None:
        """Change parameters of the pool that will be: before the proxy is set, `ProxyException` afterwards."""
        if self.__is_set:
            raise ProxyException("the pool's parameters come too late: the proxy is set already")
        self.__configure(_no_function, parameters)

    # -- the object

    def _get_obj(self, timeout: float | Default | None = Default.TIMEOUT) -> T:
        """Return the current owner's object; if it has none, take one from the pool as `Pool.get` does, or make it.

        `ProxyException` when nothing is set.
        """
        target = self.__target
        try:
            return target.get(timeout)
        except PoolClosed:
            if target is self.__target:
                raise
            return self._get_obj(timeout)  # the proxy was set again meanwhile

    def _has_obj(self) -> bool:
        """Tell whether the current owner has an object. Never makes one."""
        return self.__target.has()

    def _ret_obj(self) -> None:
        """Give the current owner's object back to the pool that it is from. Never blocks.

        Does nothing without one, or without a pool. An object that is broken is given back with
        ``_pool.discard(_get_obj())`` instead; the next use takes another.
        """
        self.__target.ret()

    @contextmanager
    def _obj(self, timeout: float | Default | None = Default.TIMEOUT) -> Iterator[T]:
        """Have the object for a ``with`` block; at its end, whatever ended it, it is given back.

        An owner that had the object before keeps it: it belongs to an outer block, perhaps in mid-transaction.
        """
        target = self.__target
        had = target.has()
        obj = target.get(timeout)
        try:
            yield obj
        finally:
            if not had:
                target.ret()

    @property
    def _pool(self) -> Pool[T] | None:
        """The pool, if there is one."""
        return self.__target.pool

    @property
    def _nobjs(self) -> int:
        """How many objects there are."""
        return self.__target.count()

    @property
    def _local(self) -> Target[T]:
        """What the current owner has: ``_local.obj``, None if nothing."""
        return self.__target

    # -- inside

    @property
    def __is_set(self) -> bool:
        return type(self.__target) is not Target

    def __point_to(self, target: Target[T]) -> None:
        with self.__setting:
            previous = self.__target
            object.__setattr__(self, "_Proxy__target", target)
        previous.end()

    def __name_setters(self, name: object) -> None:
        if not isinstance(name, str) or not name.isidentifier():
            raise ProxyException(f"set_name must be the name of a method, or None, not {name!r}")
        for setter, method in {name: self._set, f"{name}_obj": self._set_obj, f"{name}_fun": self._set_fun}.items():
            if hasattr(type(self), setter):
                raise ProxyException(f"set_name must not be {name!r}: it would hide {setter} of the proxy itself")
            object.__setattr__(self, setter, method)

    def __configure(self, fun: Callable[[int], T], changes: Any) -> PoolConfig[T]:
        with self.__setting:
            parameters = {**self.__parameters, **changes}
            config = configure("Proxy", {**parameters, "fun": fun})
            object.__setattr__(self, "_Proxy__parameters", parameters)
        return config

    # -- attributes: what the proxy does not have itself is the object's

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_Proxy__") or (_is_special(name) and not self.__is_set):
            raise AttributeError(name)  # introspection of a proxy that is not set, or, by copy and pickle, not made yet
        return getattr(self._get_obj(), name)

    def __setattr__(self, name: str, value: object) -> None:
        if self.__owns(name):
            object.__setattr__(self, name, value)
        else:
            setattr(self._get_obj(), name, value)

    def __delattr__(self, name: str) -> None:
        if self.__owns(name):
            object.__delattr__(self, name)
        else:
            delattr(self._get_obj(), name)

    def __owns(self, name: str) -> bool:
        return name in self.__dict__ or hasattr(type(self), name) or name == "__orig_class__"

    # -- what must work before it is set, too

    def __repr__(self) -> str:
        return repr(self._get_obj()) if self.__is_set else f"<Proxy {self.__parameters['name']}: not set>"

    def __bool__(self) -> bool:
        return bool(self._get_obj()) if self.__is_set else False

    def __dir__(self) -> list[str]:
        return dir(self._get_obj()) if self.__is_set else list(object.__dir__(self))


def _no_function(_number: int) -> Any:
    """Stand in the configuration of a proxy for the function that is not known yet."""
    raise NotImplementedError  # replaced before any pool sees it


def _advice(set_name: str | None) -> str:
    prefix = set_name or "_set"
    return f"call {prefix}_obj(…) or {prefix}_fun(…) before using it"


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _enter(obj: Any) -> Any:
    return type(obj).__enter__(obj)


def _exit(obj: Any, *error: Any) -> Any:
    return type(obj).__exit__(obj, *error)


#: The operations that reach the object, and how each of them is asked for.
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "__call__": operator.call,
    "__getitem__": operator.getitem,
    "__setitem__": operator.setitem,
    "__delitem__": operator.delitem,
    "__contains__": operator.contains,
    "__len__": len,
    "__iter__": iter,
    "__next__": next,
    "__reversed__": reversed,
    "__enter__": _enter,
    "__exit__": _exit,
    "__eq__": operator.eq,
    "__ne__": operator.ne,
    "__lt__": operator.lt,
    "__le__": operator.le,
    "__gt__": operator.gt,
    "__ge__": operator.ge,
    "__hash__": hash,
    "__str__": str,
    "__format__": format,
}


def _forward(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
    def forwarded(self: Proxy[Any], /, *args: Any, **kwargs: Any) -> Any:
        return operation(self._get_obj(), *args, **kwargs)

    forwarded.__name__ = name
    forwarded.__qualname__ = f"Proxy.{name}"
    return forwarded


for _name, _operation in _OPERATIONS.items():
    setattr(Proxy, _name, _forward(_name, _operation))
