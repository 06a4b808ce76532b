"""What a proxy answers itself, whoever waits for its objects: how it is set, and what is known of it before that.

Whose object it stands for, and where that comes from, is known to its `Provider`; what reaches the object is in the
type that `transparent_type` makes for it. All names here that the documentation does not list begin with
``_proxy`` or with two underscores: any other one could be the object's.
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
from ProxyPatternPool._scopes.provider import Provider, leads_to
from ProxyPatternPool._scopes.shared import ObjectProvider
from ProxyPatternPool._transparency.transparent_type import defined_by, is_special, take_on, transparent_type
from ProxyPatternPool._transparency.type_hints import AnyOperations

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")


class ProxyScope(Enum):
    """Who shares one object of a `Proxy`."""

    AUTO = "auto"  # SHARED for an object, THREAD for a function, or VERSATILE if it is awaited
    SHARED = "shared"  # everybody in the process
    THREAD = "thread"  # nobody but the thread
    VERSATILE = "versatile"  # nobody but the innermost of asyncio task, greenlet, thread
    LOOP = "loop"  # everybody in one event loop
    WERKZEUG = GEVENT = EVENTLET = VERSATILE


class BaseProxy(Generic[T], AnyOperations):
    """Stands for what its `Provider` finds, once it is set."""

    Scope: TypeAlias = ProxyScope

    __kind: type[BaseProxy[Any]]  # its type before it took on that of its objects
    __scope: ProxyScope
    __set_name: str | None
    __parameters: dict[str, Any]  # of the pool that there is, or will be
    __contents: dict[str, Any]  # what it was set with: obj, or fun, or nothing
    _proxy_provider: Provider[T]  # replaced as a whole by setting
    __earlier: list[Provider[T]]  # those of which some owner may have an object still
    __setting: FreshLock  # of these

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
        if scope is ProxyScope.AUTO and _may_make_objects(obj):
            _refuse_pool(
                obj, parameters.keys() - {"name"}
            )  # but for one that is no function, they may be of a later fun
        self.__kind = type(self)
        self.__scope = scope
        self.__set_name = set_name
        self.__parameters = {**parameters, "name": name}
        self.__contents = {}
        self.__earlier = []
        self.__setting = FreshLock()
        self.__name_setters(set_name)
        unset: Provider[T] = Provider(f"{name}: the proxy is not set yet: {_advice(set_name)}")
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
        """Set the object, or the function and `parameters`. See `_set_obj` and `_set_fun`.

        `ProxyException` for both, and for an object with parameters; for neither, unless `mandatory` is false.
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
        """Set the object which everybody shares, None included. `ProxyException` when the scope is not shared."""
        if self.__scope not in (ProxyScope.AUTO, ProxyScope.SHARED):
            raise ProxyException(f"an object is shared by everybody: scope {self.__scope.name} needs fun")
        if leads_to(obj, self._proxy_provider):
            raise ProxyException("a proxy cannot stand for itself")
        set_name = self.__set_name
        if set_name is not None and hasattr(type(obj), set_name):
            log.warning("a proxy hides %s() of its %s: choose another set_name", set_name, type(obj).__name__)
        self.__point_to(ObjectProvider(obj), {"obj": obj})

    def _set_fun(self, fun: Callable[[int], T], **parameters: Unpack[ProxyParameters[T]]) -> None:
        """Set the function that makes objects, and change what `parameters` the pool is to have.

        What is not given stays as it was. The function is not called before the first use. Of what should happen to an
        object, and cannot where there is no pool, a warning is logged.
        """
        config = self.__configure(fun, parameters)
        pooled = self.__parameters.get("max_size", 0) is not None
        provider = self._proxy_provider_of(self.__scope, config, pooled, self.__take_on)
        if vain := [name for name in config.given_on_objects() if name not in provider.obeyed]:
            scope = self.__scope
            setting = f"scope {scope.name}" if scope in (ProxyScope.SHARED, ProxyScope.LOOP) else "max_size=None"
            log.warning("%s: with %s there is no pool, and nothing comes of %s", config.name, setting, ", ".join(vain))
        self.__point_to(provider, {"fun": fun})

    def _set_pool(self, **parameters: Unpack[ProxyParameters[T]]) -> None:
        """Change parameters of the pool that the next setting makes. `ProxyException` when there is a pool already."""
        if self._proxy_provider.pooled:
            raise ProxyException("cannot override the parameters of a pool: the proxy has it already")
        self.__configure(_no_function, parameters)

    # -- the object

    def _has_obj(self) -> bool:
        """Tell whether the current owner has an object. Never makes one."""
        return self._proxy_provider.has()

    @property
    def _nobjs(self) -> int:
        """How many objects there are; without a pool, how many have been made."""
        return self._proxy_provider.count()

    @property
    def _local(self) -> SimpleNamespace:
        """What the current owner has: ``_local.obj``, None if nothing."""
        provider = self._proxy_provider
        return SimpleNamespace(obj=provider.get() if provider.has() else None)

    # -- inside

    @abstractmethod
    def _proxy_provider_of(
        self, scope: ProxyScope, config: PoolConfig[T], pooled: bool, reshape: Callable[[Provider[T]], None]
    ) -> Provider[T]:
        """Return what makes or lends the objects of a function, and calls `reshape` when it knows more of them."""

    def _proxy_providers(self) -> list[Provider[T]]:
        return [self._proxy_provider, *self.__earlier]

    def __point_to(self, provider: Provider[T], contents: dict[str, Any]) -> None:
        with self.__setting.lock:
            previous = self._proxy_provider
            for earlier in self.__earlier:  # and not by way of those between, which would be kept for that
                earlier.successor = provider
            self.__earlier = [previous, *self.__earlier]
            self._proxy_provider = provider
            self.__contents = contents
            self.__take_on(provider)
        previous.end(provider)  # from here on, nobody gets an object of it any more
        with self.__setting.lock:
            self.__earlier = [earlier for earlier in self.__earlier if earlier.in_use()]

    def __take_on(self, provider: Provider[T]) -> None:
        """Have the operations of what the proxy stands for, all at once: they are those of its type."""
        with self.__setting.lock:
            if provider is self._proxy_provider:
                take_on(self, transparent_type(self.__kind, self.__own_names(), provider))

    def __own_names(self) -> frozenset[str]:
        """Return the names of attributes which are the proxy's own."""
        names = frozenset(name for name in vars(BaseProxy) if not is_special(name)) - {"Scope"}
        return names.union(_attributes(self), self.__kind._proxy_defined())

    @classmethod
    def _proxy_defined(cls) -> set[str]:
        """Return the names of the attributes that the class and its bases give, by now, to their proxies."""
        return set().union(*(defined_by(base) for base in cls.__mro__ if base not in BaseProxy.__mro__))

    def __name_setters(self, name: object) -> None:
        if name is not None and not (isinstance(name, str) and name.isidentifier()):
            raise ProxyException(f"set_name must be the name of a method, or None, not {name!r}")
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

    # -- what must work before it is set, too

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
    """Make a proxy again of what `copy` or `pickle` has got of it."""
    proxy = kind.__new__(kind)
    _attributes(proxy).update(of_subclass)
    BaseProxy.__init__(proxy, **parameters)
    for what, value in contents.items():
        (proxy._set_obj if what == "obj" else proxy._set_fun)(value)
    return proxy


def _attributes(proxy: BaseProxy[Any]) -> dict[str, Any]:
    """Return the attributes of the proxy itself, also when its class says that ``__dict__`` is something else."""
    attributes: dict[str, Any] = vars(BaseProxy)["__dict__"].__get__(proxy)
    return attributes


def _setters(name: str | None) -> dict[str, str]:
    """Return the names of the setters, and those of the methods that they stand for."""
    return {} if name is None else {name: "_set", f"{name}_obj": "_set_obj", f"{name}_fun": "_set_fun"}


def _no_function(_number: int) -> Any:
    """Stand in the configuration of a proxy for the function that is not known yet."""
    raise NotImplementedError  # replaced before any pool sees it


def _may_make_objects(obj: object) -> bool:
    return callable(obj) and not isinstance(obj, type)


def _refuse_pool(obj: object, parameters: Iterable[str]) -> None:
    """Refuse parameters of a pool for an object, which has none."""
    if names := ", ".join(sorted(parameters)):
        hint = ": did you mean fun=…?" if callable(obj) else ""
        raise ProxyException(f"an object that is set has no pool, and cannot have {names}{hint}")


def _advice(set_name: str | None) -> str:
    prefix = set_name or "_set"
    return f"call {prefix}_obj(…) or {prefix}_fun(…) before using it"
