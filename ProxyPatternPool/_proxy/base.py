"""The base of `Proxy` and `AsyncProxy`: how a proxy is set, and how it behaves before that.

A proxy's `Provider` knows which object to use, and where it comes from. The type that `transparent_type` makes for a
proxy has the operations that reach the object. All names here that the documentation does not list begin with
``_proxy`` or with two underscores: any other name could be the object's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from enum import Enum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from ProxyPatternPool._config import PoolConfig, ProxyParameters, configure, log
from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._process import FreshLock
from ProxyPatternPool._scopes.provider import Provider, UnsetProvider, leads_to
from ProxyPatternPool._scopes.shared import ObjectProvider
from ProxyPatternPool._transparency.transparent_type import defined_by, is_special, take_on, transparent_type

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")


class ProxyScope(Enum):
    """A choice of which parts of a program share one object of a proxy."""

    AUTO = "auto"  # SHARED for an object; for a function THREAD, or VERSATILE with an `AsyncProxy`
    SHARED = "shared"  # one object per process
    THREAD = "thread"  # one object per thread
    VERSATILE = "versatile"  # one object per asyncio task, greenlet or thread, whichever is the innermost
    LOOP = "loop"  # one object per event loop
    WERKZEUG = GEVENT = EVENTLET = VERSATILE  # names of earlier releases


class BaseProxy(Generic[T]):
    """A stand-in for the object of its `Provider`, once it is set."""

    Scope: TypeAlias = ProxyScope

    __kind: type[BaseProxy[Any]]  # the proxy's type before it took on that of its objects
    __scope: ProxyScope
    __set_name: str | None
    __parameters: dict[str, Any]  # of the pool, which may not exist yet
    __contents: dict[str, Any]  # the obj or the fun that was set, by that name; empty before
    _proxy_provider: Provider[T]  # replaced as a whole by setting the proxy
    __earlier: list[Provider[T]]  # earlier providers, of which some owner may still have an object
    __setting: FreshLock  # held while these fields change

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
        # with an object that is no function, the parameters may be those of a later `fun`
        if scope is ProxyScope.AUTO and _may_make_objects(obj):
            _refuse_pool(obj, parameters.keys() - {"name"})
        self.__kind = type(self)
        self.__scope = scope
        self.__set_name = set_name
        self.__parameters = {**parameters, "name": name}
        self.__contents = {}
        self.__earlier = []
        self.__setting = FreshLock()
        self.__name_setters(set_name)
        unset: Provider[T] = UnsetProvider(f"{name}: the proxy is not set yet: {_advice(set_name)}")
        self._proxy_provider = unset
        if obj is None and fun is None:
            self.__take_on(unset)
        else:
            self._set(obj, fun=fun)

    # -- setting it

    def _set(
        self,
        obj: T | None = None,
        fun: Callable[[int], T] | None = None,
        mandatory: bool = True,
        **parameters: Unpack[ProxyParameters[T]],
    ) -> None:
        """Set the object, or the function and the pool's `parameters`. See `_set_obj` and `_set_fun`.

        `ProxyException` for both, and for an object with parameters. `ProxyException` for neither, unless `mandatory`
        is false and there are no parameters.
        """
        if obj is not None and fun is not None:
            raise ProxyException("Proxy cannot set both obj and fun")
        if fun is not None:
            self._set_fun(fun, **parameters)
        elif obj is not None:
            _refuse_pool(obj, parameters.keys())
            self._set_obj(obj)
        elif mandatory or parameters:
            raise ProxyException("Proxy must set either obj or fun")

    def _set_obj(self, obj: T) -> None:
        """Set the object that all owners share, which may be None. `ProxyException` unless the scope is SHARED or AUTO.

        Logs a warning if the object has a method named `set_name`, which the proxy's setter hides.
        """
        if self.__scope not in (ProxyScope.AUTO, ProxyScope.SHARED):
            raise ProxyException(f"an object is shared by all: scope {self.__scope.name} needs fun")
        if leads_to(obj, self._proxy_provider):
            raise ProxyException("a proxy cannot stand for itself")
        set_name = self.__set_name
        if set_name is not None and hasattr(type(obj), set_name):
            log.warning("a proxy hides %s() of its %s: choose another set_name", set_name, type(obj).__name__)
        self.__point_to(ObjectProvider(obj), {"obj": obj})

    def _set_fun(self, fun: Callable[[int], T], **parameters: Unpack[ProxyParameters[T]]) -> None:
        """Set the function that makes objects, and change `parameters` of its pool. Others stay as they were.

        The function is not called before the first use. Logs a warning for hooks and limits that have no effect because
        there is no pool.
        """
        config = self.__configure(fun, parameters)
        pooled = self.__parameters.get("max_size", 0) is not None
        provider = self._proxy_provider_of(self.__scope, config, pooled, self.__take_on)
        if ignored := [name for name in config.given_on_objects() if name not in provider.obeyed]:
            scope = self.__scope
            setting = f"scope {scope.name}" if scope in (ProxyScope.SHARED, ProxyScope.LOOP) else "max_size=None"
            text = "%s: with %s there is no pool, so these have no effect: %s"
            log.warning(text, config.name, setting, ", ".join(ignored))
        self.__point_to(provider, {"fun": fun})

    def _set_pool(self, **parameters: Unpack[ProxyParameters[T]]) -> None:
        """Change parameters of the pool that the next setting makes. `ProxyException` if there is a pool already."""
        if self._proxy_provider.pooled:
            raise ProxyException("cannot override the parameters of a pool: the proxy has it already")
        self.__configure(_no_function, parameters)

    # -- the object

    def _has_obj(self) -> bool:
        """Tell whether the current owner has an object. Never takes or makes one."""
        return self._proxy_provider.has()

    @property
    def _nobjs(self) -> int:
        """The number of objects. For a `Proxy` with a `max_size` of None, the number made so far."""
        return self._proxy_provider.count()

    @property
    def _local(self) -> SimpleNamespace:
        """A namespace whose ``obj`` is the current owner's object, or None."""
        provider = self._proxy_provider
        return SimpleNamespace(obj=provider.get() if provider.has() else None)

    # -- inside

    @abstractmethod
    def _proxy_provider_of(
        self, scope: ProxyScope, config: PoolConfig[T], pooled: bool, reshape: Callable[[Provider[T]], None]
    ) -> Provider[T]:
        """Return the provider of a function's objects. It calls `reshape` when it knows more of them."""

    def _proxy_providers(self) -> list[Provider[T]]:
        return [self._proxy_provider, *self.__earlier]

    def __point_to(self, provider: Provider[T], contents: dict[str, Any]) -> None:
        with self.__setting.lock:
            previous = self._proxy_provider
            for earlier in self.__earlier:  # directly: a chain of successors would keep all those between
                earlier.successor = provider
            self.__earlier = [previous, *self.__earlier]
            self._proxy_provider = provider
            self.__contents = contents
            self.__take_on(provider)
        previous.end(provider)  # from here on, no owner gets an object of it any more
        with self.__setting.lock:
            self.__earlier = [earlier for earlier in self.__earlier if earlier.in_use()]

    def __take_on(self, provider: Provider[T]) -> None:
        """Take on the operations of the provider's objects, all at once: they are those of the proxy's new type."""
        with self.__setting.lock:
            if provider is self._proxy_provider:
                take_on(self, transparent_type(self.__kind, self.__own_names(), provider))

    def __own_names(self) -> frozenset[str]:
        """Return the names of the attributes that are the proxy's own."""
        names = frozenset(name for name in vars(BaseProxy) if not is_special(name)) - {"Scope"}
        return names.union(_attributes(self), self.__kind._proxy_defined())

    @classmethod
    def _proxy_defined(cls) -> set[str]:
        """Return the names of the attributes that the class and its bases now define for their proxies."""
        return set().union(*(defined_by(base) for base in cls.__mro__ if base not in BaseProxy.__mro__))

    def __name_setters(self, name: object) -> None:
        if name is not None and not (isinstance(name, str) and name.isidentifier()):
            raise ProxyException(f"set_name must be the name of a method or None, not {name!r}")
        for setter, method in _setters(name).items():
            if hasattr(type(self), setter):
                raise ProxyException(f"set_name must not be {name!r}: it would hide {setter} of the proxy itself")
            setattr(self, setter, getattr(self, method))

    def __configure(self, fun: Callable[[int], T], changes: Any) -> PoolConfig[T]:
        with self.__setting.lock:
            parameters = {**self.__parameters, **changes}
            config = configure("Proxy", {**parameters, "fun": fun})
            self.__parameters = parameters
        return config

    # -- these must also work before it is set

    def __repr__(self) -> str:
        return f"<{self.__kind.__name__} {self.__parameters['name']}: not set>"

    def __bool__(self) -> bool:
        return False

    def __reduce_ex__(self, _protocol: object) -> tuple[Any, ...]:
        kind = self.__kind
        if kind.__reduce__ is not object.__reduce__:
            return kind.__reduce__(self)  # type: ignore[return-value]  # pickle knows
        parameters = {"scope": self.__scope, "set_name": self.__set_name, **self.__parameters}
        mine = _attributes(self)
        of_subclass = {name: mine[name] for name in mine if not name.startswith(("_BaseProxy__", "_proxy_"))}
        for setter in _setters(self.__set_name):
            del of_subclass[setter]
        return _revive, (kind, of_subclass, parameters, self.__contents)


def _revive(
    kind: type[BaseProxy[Any]], of_subclass: dict[str, Any], parameters: dict[str, Any], contents: dict[str, Any]
) -> BaseProxy[Any]:
    """Rebuild a proxy from the data that `copy` or `pickle` got from `__reduce_ex__`."""
    proxy = kind.__new__(kind)
    _attributes(proxy).update(of_subclass)
    BaseProxy.__init__(proxy, **parameters)
    for what, value in contents.items():
        (proxy._set_obj if what == "obj" else proxy._set_fun)(value)
    return proxy


def _attributes(proxy: BaseProxy[Any]) -> dict[str, Any]:
    """Return the attributes of the proxy itself, even if its class defines another ``__dict__``."""
    attributes: dict[str, Any] = vars(BaseProxy)["__dict__"].__get__(proxy)
    return attributes


def _setters(name: str | None) -> dict[str, str]:
    """Return the names of the setters, each with the name of its method."""
    return {} if name is None else {name: "_set", f"{name}_obj": "_set_obj", f"{name}_fun": "_set_fun"}


def _no_function(_number: int) -> Any:
    """Stand in for the function in the configuration of a proxy that has none yet."""
    raise NotImplementedError  # replaced before any pool sees it


def _may_make_objects(obj: object) -> bool:
    return callable(obj) and not isinstance(obj, type)


def _refuse_pool(obj: object, parameters: Iterable[str]) -> None:
    """Refuse a pool's parameters for an object, which has no pool."""
    if names := ", ".join(sorted(parameters)):
        hint = ": did you mean fun=…?" if callable(obj) else ""
        raise ProxyException(f"an object that is set has no pool, and cannot have {names}{hint}")


def _advice(set_name: str | None) -> str:
    prefix = set_name or "_set"
    return f"call {prefix}_obj(…) or {prefix}_fun(…) before using it"
