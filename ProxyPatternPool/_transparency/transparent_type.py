"""The type that a proxy takes on. It has the operations of the object, and forwards attributes to the object.

`transparent_type` makes one for each setting of each proxy. The proxy takes it on by its ``__class__``. Attributes need
no table: ``__getattribute__`` forwards all of them, except the proxy's own names.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from inspect import isawaitable, signature
from types import GeneratorType, GetSetDescriptorType, MethodType, WrapperDescriptorType
from typing import Any, NamedTuple, Protocol

from ProxyPatternPool._transparency.operations import (
    ARITHMETIC,
    COPIES,
    EXITS,
    GENERAL,
    METHODS,
    OPERATIONS,
    bind,
    found,
)

#: Attributes that the interpreter and the standard library read to learn about the proxy, and not about the object.
_ASKED_OF_PROXY = frozenset({"__class__", "__deepcopy__", "__mro_entries__", "__reduce_ex__", "__signature__"})

#: Attributes that tools read of everything in a module or a class. No object is made or taken for the answer.
_ASKED_OF_EVERYTHING = frozenset(
    {
        "__wrapped__",  # inspect.unwrap, and by it doctest and pytest
        *("__test__", "__bases__", "_pytestfixturefunction", "_mock_name"),  # pytest
        *("__name__", "__code__", "__defaults__", "__kwdefaults__", "__annotations__"),  # inspect.iscoroutinefunction…
        *("__func__", "__partialmethod__", "_is_coroutine", "_is_coroutine_marker"),  # …mock.patch
        "__isabstractmethod__",  # the body of an abstract class
    }
)

#: Names that concern a class itself, or how its instances are made or accessed. A proxy forwards them to its object.
_OF_CLASSES = frozenset(
    {
        *("__doc__", "__module__", "__qualname__", "__slots__", "__orig_bases__", "__parameters__", "__type_params__"),
        *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"),
        *("__conditional_annotations__", "__firstlineno__", "__static_attributes__", "__abstractmethods__"),
        *("__init_subclass__", "__class_getitem__"),
        *("__new__", "__init__", "__getattribute__", "__setattr__", "__delattr__"),
    }
)

#: Names by which a type describes itself, besides its doc. The type made for a proxy copies their values.
_SELF_DESCRIPTION = ("__module__", "__qualname__")


def _pattern(abstract: Any) -> type:
    """Make a base class that lets a ``case`` pattern match an instance as one of the abstract class."""
    base = type(f"{abstract.__name__}Pattern", (), {"__slots__": ()})
    abstract.register(base)
    return base


_SEQUENCE, _MAPPING = _pattern(Sequence), _pattern(Mapping)


class Shape(NamedTuple):
    """A description of an object from which the type of its proxy is made."""

    operations: dict[str, bool]  # by name; False: the object's type sets it to None, so as not to have it
    bases: tuple[type, ...] = ()  # of the proxy's type: a pattern that the object matches, or a class with operations
    fields: dict[str, Any] | None = None  # of a dataclass

    def joined(self, other: Shape) -> Shape:
        """Return a shape with the operations, bases and fields that either of the two has."""
        mine, others = self.operations, other.operations
        operations = {name: mine.get(name, False) or others.get(name, False) for name in {*mine, *others}}
        return Shape(operations, self.bases or other.bases, self.fields or other.fields)


def _unshaped(but: Set[str]) -> Shape:
    """Return a shape with all general operations except `but`. Most are inherited, and so take no memory."""
    names = GENERAL.keys() - but
    methods = {name: METHODS[name] for name in names - EXITS}
    return Shape(dict.fromkeys(names, True), (type("Unshaped", (), {"__slots__": (), **methods}),))


#: The shape of an object that does not exist yet, and may turn out to have any operation.
UNKNOWN = _unshaped(frozenset())

#: The shape of a proxy that is not set: an operation that it does not answer itself raises the error that says so.
UNSET = _unshaped({"__bool__", *COPIES, "__dir__", "__repr__"})


#: Types that ``int()`` and ``float()`` read directly, since these types have no method for it.
_READABLE = (str, bytes, bytearray)

#: Before Python 3.12, no type made in Python gives C code access to memory.
_MEMORY_IS_HIDDEN = not hasattr(bytes, "__buffer__")


def shape_of(obj: object) -> Shape:
    """Return the shape of an object."""
    kind = type(obj)
    had = _names(kind.__mro__)
    names = {"__bool__", *COPIES, *(had & OPERATIONS.keys())}
    names.update(f"__r{name}__" for name in ARITHMETIC if f"__{name}__" in had)  # ``[1] + proxy`` asks the proxy
    if issubclass(kind, _READABLE):
        names.update(("__int__", "__float__", "__complex__"))
    if "__iter__" not in had and isinstance(found(kind, "__getitem__"), WrapperDescriptorType):
        names.update(("__iter__", "__reversed__"))  # in C, iteration may give other items: so with `mmap`
    if issubclass(kind, (str, bytes)):
        names.add("__fspath__")  # C code takes a str or bytes path as it is, but asks a proxy
    if issubclass(kind, str) or (_MEMORY_IS_HIDDEN and _has_memory(obj)):
        names.add("__bytes__")  # else ``bytes(proxy)`` would collect the items: wrong, unless they are bytes
    if isinstance(obj, GeneratorType) and isawaitable(obj):
        names.add("__await__")
    if issubclass(kind, type):
        names.add("__mro_entries__")
        if hasattr(obj, "__class_getitem__"):
            names.add("__getitem__")
    operations = frozenset((name, getattr(kind, name, ...) is not None) for name in names)
    return Shape(_operations(operations), _patterns(obj), getattr(kind, "__dataclass_fields__", None))


@lru_cache(maxsize=64)
def _operations(items: frozenset[tuple[str, bool]]) -> dict[str, bool]:
    """Return a dict of the items that shapes share: it takes nearly a kilobyte. No code changes it."""
    return dict(items)


def _has_memory(obj: Any) -> bool:
    try:
        memoryview(obj).release()
    except Exception:  # a type may refuse with an error of its own
        return False
    return True


def _patterns(obj: object) -> tuple[type, ...]:
    match obj:
        case [*_]:
            return (_SEQUENCE,)
        case {}:
            return (_MAPPING,)
    return ()


def _names(types: Iterable[type]) -> set[str]:
    return {name for kind in types for name in vars(kind)}


class Source(Protocol):
    """A source of a proxy's objects, as this folder sees a `Provider`."""

    cache: Any  # cache.obj is the object to use here and now
    fixed: bool  # whether the one object exists already, and will never be replaced

    def has(self) -> bool:
        """Tell whether the current owner has an object."""
        ...

    def lacks(self) -> str | None:
        """Return the reason why `repr` cannot get an object, None if it can."""
        ...

    def shape(self) -> Shape:
        """Return the shape of the objects, as far as it is known."""
        ...

    def class_of_all(self, unknown: type) -> Any:
        """Return the class of the objects, or `unknown`."""
        ...


def transparent_type(declared: type, own: frozenset[str], source: Source) -> type:
    """Make a subclass of `declared` with the operations of the objects, and all their attributes except the `own` ones.

    The type is small and quick to make: it shares most methods with all other such types.
    """
    shape = source.shape()
    namespace = _special_methods(declared, own, source, shape)
    namespace.update({name: getattr(declared, name) for name in _SELF_DESCRIPTION})
    namespace.update({name: value for name, value in _answers(shape) if name not in own})
    namespace.update(__slots__=(), _proxy_source=source, _proxy_cache=source.cache)
    if shape is UNSET:
        own = own.union(dir(declared), namespace, ["_proxy_own"])
        names: Container[str] = _AndSpecial(_shared(own | _ASKED_OF_EVERYTHING), declared)
    else:
        own |= _ASKED_OF_PROXY & {"__reduce_ex__", *shape.operations, *namespace}
        names = _shared(own | _ASKED_OF_EVERYTHING)
    namespace.update(_proxy_own=names, __setattr__=_setattr, __delattr__=_delattr)
    namespace["__getattribute__"] = _getattribute(names, source)
    made = type(declared)(declared.__name__, (declared, *shape.bases), namespace)
    made.__doc__ = declared.__doc__  # set afterwards, it is not copied: a copy would be a sixth of the type
    return made


def _answers(shape: Shape) -> Iterator[tuple[str, object]]:
    """Yield the attributes that the type answers for the object, besides operations."""
    yield "__class__", _CLASS
    if shape.fields is not None:
        yield "__dataclass_fields__", shape.fields
    if "__call__" in shape.operations:
        yield "__signature__", _ANY_SIGNATURE if shape is UNSET else _SIGNATURE


def _special_methods(declared: type, own: Set[str], source: Source, shape: Shape) -> dict[str, Any]:
    inherited = _names(shape.bases) - _names(declared.__mro__[:-1])  # bases come after `declared`, before `object`
    namespace = {
        name: bind(name, source.cache, fixed=source.fixed) if has else None
        for name, has in shape.operations.items()
        if name not in own and name not in inherited
    }
    if shape is not UNSET and not source.fixed and "__repr__" not in own:
        namespace["__repr__"] = _repr
    if "__hash__" in own:
        namespace["__hash__"] = declared.__hash__  # a class that defines ``__eq__`` does not inherit it
    return namespace


def _repr(proxy: Any) -> str:
    kind = type(proxy)  # read once: the proxy may be set meanwhile
    missing = kind._proxy_source.lacks()
    return repr(kind._proxy_cache.obj) if missing is None else f"<{kind.__name__} {missing}>"


def _signature(proxy: Any) -> object:
    return signature(type(proxy)._proxy_cache.obj)


def _any_signature(proxy: object) -> object:
    return signature(MethodType(METHODS["__call__"], proxy))


def _set_class(proxy: Any, kind: type) -> None:
    type(proxy)._proxy_cache.obj.__class__ = kind


_SIGNATURE, _ANY_SIGNATURE = property(_signature), property(_any_signature)
#: Does not take an object: tools read the class of everything that they find, and must not wait for a pool.
_CLASS = property(lambda proxy: type(proxy)._proxy_source.class_of_all(type(proxy)), _set_class)


def take_on(proxy: object, made: type) -> None:
    """Give a proxy the type that was made for it."""
    vars(object)["__class__"].__set__(proxy, made)  # past the proxy's own attribute, its object's class


@lru_cache(maxsize=64)
def _shared(names: frozenset[str]) -> frozenset[str]:
    """Return an equal set that other types use already. A set takes a quarter of the memory of a type."""
    return names


class _AndSpecial:
    """A set of the own names of a proxy that is not set, all special names included.

    So `inspect`, `copy` and `pickle` work on the proxy itself.
    """

    __slots__ = ("_declared", "_names")

    def __init__(self, names: frozenset[str], declared: type[Any]) -> None:
        self._names = names
        self._declared = declared

    def __contains__(self, name: Any) -> bool:
        return name in self._names or is_special(name) or name in self._declared._proxy_defined()


def defined_by(base: type) -> set[str]:
    """Return the names of the attributes that a class defines for its proxies."""
    return {
        name
        for name, value in vars(base).items()
        if name not in _OF_CLASSES and type(value) is not GetSetDescriptorType  # ``__dict__`` and ``__weakref__``
    }


def is_special(name: str) -> bool:
    """Tell whether a name belongs to the language, as ``__len__`` does."""
    return name.startswith("__") and name.endswith("__")


# Attributes. Reading one has to be fastest, so `_getattribute` has the cache in a closure, and not from the type.


def _getattribute(own: Container[str], source: Source) -> Callable[[object, str], Any]:
    cache = source.cache
    mine: Any = object

    # and not __getattr__: the interpreter calls that only after making an AttributeError, which takes longer
    def getattribute(self: object, name: str) -> Any:
        if name in own and not (name in _ASKED_OF_EVERYTHING and not _declares(self, name) and source.has()):
            return mine.__getattribute__(self, name)
        try:
            return getattr(cache.obj, name)
        except AttributeError:
            if _declares(self, name):  # by now: the class has got it since the proxy was set
                return mine.__getattribute__(self, name)
            raise

    return getattribute


def _setattr(proxy: Any, name: str, value: object) -> None:
    if _is_own(proxy, name) or name == "__orig_class__":  # set by ``Proxy[T](…)``, which must not take an object
        object.__setattr__(proxy, name, value)
    else:
        setattr(type(proxy)._proxy_cache.obj, name, value)


def _delattr(proxy: Any, name: str) -> None:
    if _is_own(proxy, name):
        object.__delattr__(proxy, name)
    else:
        delattr(type(proxy)._proxy_cache.obj, name)


def _is_own(proxy: Any, name: str) -> bool:
    return name in type(proxy)._proxy_own and (name not in _ASKED_OF_EVERYTHING or _declares(proxy, name))


def _declares(proxy: object, name: str) -> bool:
    """Tell whether the class that the proxy was made from now has such an attribute of its own."""
    declared: Any = type(proxy).__bases__[0]
    return found(declared, name) is not None and name in declared._proxy_defined()
