"""The operations of Python's data model, in one table, and the subclass that has those of them which an object has.

The interpreter looks for what is behind an operator, ``with``, ``len``… on the type alone. So whoever shall not be
told from an object needs a type which has just the special methods that the object's type has: a proxy of a number is
not callable, and one of a list has no hash. `transparent_type` makes one, and the proxy takes it on through
``__class__``. Attributes need no table: ``__getattribute__`` sends them to the object, but for a few own names.
"""

from __future__ import annotations

import copy
import operator
import os
from collections.abc import Callable, Container, Mapping, Sequence
from functools import lru_cache
from types import BuiltinFunctionType, MethodType
from typing import Any, NamedTuple, Protocol, TypeAlias

#: What a special method does, as a function of the object and the arguments.
Operation: TypeAlias = Callable[..., Any]


def _of_type(name: str) -> Operation:
    """Return the operation that calls a special method as the interpreter does: found on the type, then bound."""

    def call(obj: object, /, *args: Any) -> Any:
        kind = type(obj)
        for base in kind.__mro__:
            if name in vars(base):
                method = vars(base)[name]
                bind = getattr(type(method), "__get__", None)
                return (bind(method, obj, kind) if bind else method)(*args)
        raise TypeError(f"{kind.__name__!r} object has no {name}")

    return call


def _reflected(operation: Operation) -> Operation:
    return lambda obj, other, *args: operation(other, obj, *args)


_ARITHMETIC: dict[str, Operation] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "matmul": operator.matmul,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "divmod": divmod,
    "lshift": operator.lshift,
    "rshift": operator.rshift,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
}

#: Operations on the object alone, and how each of them is asked for.
_UNARY: dict[str, Operation] = {
    "__repr__": repr,
    "__str__": str,
    "__bytes__": bytes,
    "__fspath__": os.fspath,
    "__hash__": hash,
    "__bool__": operator.truth,
    "__len__": len,
    "__length_hint__": _of_type("__length_hint__"),
    "__iter__": iter,
    "__next__": next,
    "__reversed__": reversed,
    "__enter__": _of_type("__enter__"),
    "__aenter__": _of_type("__aenter__"),
    "__await__": _of_type("__await__"),
    "__aiter__": aiter,
    "__anext__": anext,
    "__neg__": operator.neg,
    "__pos__": operator.pos,
    "__abs__": abs,
    "__invert__": operator.invert,
    "__int__": int,
    "__float__": float,
    "__complex__": complex,
    "__index__": operator.index,
    "__trunc__": _of_type("__trunc__"),
    "__floor__": _of_type("__floor__"),
    "__ceil__": _of_type("__ceil__"),
    "__dir__": dir,
    "__copy__": copy.copy,
}

#: Operations with one operand.
_BINARY: dict[str, Operation] = {
    "__format__": format,
    "__eq__": operator.eq,
    "__ne__": operator.ne,
    "__lt__": operator.lt,
    "__le__": operator.le,
    "__gt__": operator.gt,
    "__ge__": operator.ge,
    "__getitem__": operator.getitem,
    "__delitem__": operator.delitem,
    "__contains__": operator.contains,
    **{f"__{name}__": operation for name, operation in _ARITHMETIC.items()},
    **{f"__r{name}__": _reflected(operation) for name, operation in _ARITHMETIC.items()},
    "__instancecheck__": lambda obj, instance: isinstance(instance, obj),
    "__subclasscheck__": lambda obj, subclass: issubclass(subclass, obj),
    "__deepcopy__": copy.deepcopy,
}

#: Operations with any arguments.
_VARIADIC: dict[str, Operation] = {
    "__call__": operator.call,
    "__setitem__": operator.setitem,
    "__exit__": _of_type("__exit__"),
    "__aexit__": _of_type("__aexit__"),
    "__pow__": pow,
    "__rpow__": _reflected(pow),
    "__round__": round,
}

#: Operations which change the object and return it: the name stays bound to the proxy; or which return another one.
_IN_PLACE: dict[str, Operation] = {
    f"__i{name}__": getattr(operator, f"__i{name}__") for name in (*_ARITHMETIC, "pow") if name != "divmod"
}

#: Operations of which the mere existence changes what others do: only for an object that is known to have them.
_ROLES: dict[str, Operation] = {
    "__get__": _of_type("__get__"),
    "__set__": _of_type("__set__"),
    "__delete__": _of_type("__delete__"),
    "__set_name__": _of_type("__set_name__"),
    "__buffer__": _of_type("__buffer__"),  # Python 3.12 and later look for it
    "__release_buffer__": _of_type("__release_buffer__"),
    "__mro_entries__": lambda obj, _bases: (obj,),
}

_GENERAL = {**_UNARY, **_BINARY, **_VARIADIC, **_IN_PLACE}
_OPERATIONS = {**_GENERAL, **_ROLES}
_COPIES = {"__copy__", "__deepcopy__"}

#: What the interpreter and the standard library ask of the proxy as an attribute, but not on behalf of the object.
_ASKED_OF_PROXY = frozenset({"__class__", "__deepcopy__", "__mro_entries__", "__reduce_ex__", "__signature__"})


#: What a type says of itself, and the one that is made for a proxy says, too.
_SELF_DESCRIPTION = ("__doc__", "__module__", "__qualname__")


def _pattern(abstract: Any) -> type:
    """Make a base which has ``case`` look into instances as it looks into those of the abstract class."""
    base = type(f"{abstract.__name__}Pattern", (), {"__slots__": ()})
    abstract.register(base)
    return base


_SEQUENCE, _MAPPING = _pattern(Sequence), _pattern(Mapping)


class Shape(NamedTuple):
    """Which operations an object has: None for one which its type says that it does not have. What patterns it fits."""

    operations: dict[str, Operation | None]
    patterns: tuple[type, ...] = ()

    def joined(self, other: Shape) -> Shape:
        """Return a shape which has what either has."""
        mine, others = self.operations, other.operations
        operations = {name: mine.get(name) or others.get(name) for name in {*mine, *others}}
        return Shape(operations, self.patterns or other.patterns)


#: Of an object that is not there yet: it may turn out to have anything.
UNKNOWN = Shape({**_GENERAL})

#: Of nothing: what a proxy does not answer itself is an error, which says what is missing.
UNSET = Shape({name: _GENERAL[name] for name in _GENERAL.keys() - _COPIES - {"__bool__", "__dir__", "__repr__"}})


def shape_of(obj: object) -> Shape:
    """Tell which operations an object has."""
    kind = type(obj)
    had = {name for base in kind.__mro__ for name in vars(base)}
    names = {"__bool__", *_COPIES, *(had & _OPERATIONS.keys())}
    names.update(f"__r{name}__" for name in _ARITHMETIC if f"__{name}__" in had)  # ``[1] + proxy`` asks the proxy
    if issubclass(kind, type):
        names.add("__mro_entries__")
        if hasattr(obj, "__class_getitem__"):
            names.add("__getitem__")
    return Shape(
        {name: None if getattr(kind, name, ...) is None else _OPERATIONS[name] for name in names}, _patterns(obj)
    )


def _patterns(obj: object) -> tuple[type, ...]:
    match obj:
        case [*_]:
            return (_SEQUENCE,)
        case {}:
            return (_MAPPING,)
    return ()


class Source(Protocol):
    """Where the objects come from that a proxy stands for."""

    place: Any  # place.obj is the object to use here and now
    fixed: bool  # it will never be another
    shape: Shape

    def class_of_all(self, unknown: type) -> Any:
        """Return the class of the objects."""
        ...


def transparent_type(declared: type, own: frozenset[str], source: Source) -> type:
    """Make a subclass of `declared` with the operations of the objects, and all their attributes but the `own` ones."""
    operations, patterns = source.shape
    namespace = {
        name: operation and _bind(name, operation, source) for name, operation in operations.items() if name not in own
    }
    # not the object's: tools ask for the class of everything that they find, and nobody shall wait for a pool then
    namespace["__class__"] = property(lambda self: source.class_of_all(type(self)), _set_class_of(source.place))
    if source.shape is UNSET:
        own = _AndSpecial(own.union(dir(declared)))
    else:
        if "__call__" in namespace:
            namespace["__signature__"] = property(lambda _self: _signature(source.place.obj))
        own = _shared(own | _ASKED_OF_PROXY & {*dir(declared), *namespace, "__orig_class__"})  # ``Proxy[T](…)`` sets it
    namespace.update(_attribute_access(own, source.place))
    namespace.update(__slots__=(), **{name: getattr(declared, name) for name in _SELF_DESCRIPTION})
    return type(declared)(declared.__name__, (declared, *patterns), namespace)


def _set_class_of(place: Any) -> Callable[[object, type], None]:
    return lambda _self, kind: setattr(place.obj, "__class__", kind)


def take_on(proxy: object, made: type) -> None:
    """Give a proxy the type that was made for it."""
    vars(object)["__class__"].__set__(proxy, made)  # past the attribute that says what its object is


@lru_cache(maxsize=64)
def _shared(names: frozenset[str]) -> frozenset[str]:
    """Return an equal set that other types have, too: it takes as much memory as a quarter of a type."""
    return names


class _AndSpecial(frozenset[str]):
    """The own names of a proxy that is not set: it lets itself be introspected, by `copy` and `pickle`, too."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or is_special(str(name))


def is_special(name: str) -> bool:
    """Tell whether a name belongs to the language."""
    return name.startswith("__") and name.endswith("__")


def is_operation(name: str) -> bool:
    """Tell whether a name is that of an operation."""
    return name in _OPERATIONS


def _signature(obj: Any) -> object:
    from inspect import signature  # by whom this is asked for

    return signature(obj)


def _bind(name: str, operation: Operation, source: Source) -> Any:
    if _is_quick(name, operation) and source.fixed and source.place.obj is not None:
        # no frame of Python's between the interpreter and the object; None is the one object that has no methods
        return MethodType(operation, source.place.obj)
    for bind, names in ((_unary, _UNARY), (_binary, _BINARY), (_in_place, _IN_PLACE)):
        if name in names:
            return bind(operation, source.place)
    return _variadic(operation, source.place)


def _is_quick(name: str, operation: Operation) -> bool:
    """Tell whether it runs no Python of its own, and needs no proxy."""
    return isinstance(operation, BuiltinFunctionType | type) and name not in _IN_PLACE


def _unary(operation: Operation, place: Any) -> Callable[..., Any]:
    return lambda _self: operation(place.obj)


def _binary(operation: Operation, place: Any) -> Callable[..., Any]:
    return lambda _self, operand: operation(place.obj, operand)


def _variadic(operation: Operation, place: Any) -> Callable[..., Any]:
    return lambda _self, /, *args, **kwargs: operation(place.obj, *args, **kwargs)


def _in_place(operation: Operation, place: Any) -> Callable[..., Any]:
    def operate(self: object, operand: object) -> object:
        obj = place.obj
        result = operation(obj, operand)
        return self if result is obj else result

    return operate


def _attribute_access(own: Container[str], place: Any) -> dict[str, Callable[..., Any]]:
    mine: Any = object

    def __getattribute__(self: object, name: str) -> Any:  # noqa: N807  # that is its name
        # and not __getattr__: that is asked only when an AttributeError has been made first, which takes longer
        if name in own:
            return mine.__getattribute__(self, name)
        return getattr(place.obj, name)

    def __setattr__(self: object, name: str, value: object) -> None:  # noqa: N807  # that is its name
        if name in own or name == "__orig_class__":  # set by ``Proxy[T](…)``, which must not take an object for it
            mine.__setattr__(self, name, value)
        else:
            setattr(place.obj, name, value)

    def __delattr__(self: object, name: str) -> None:  # noqa: N807  # that is its name
        if name in own:
            mine.__delattr__(self, name)
        else:
            delattr(place.obj, name)

    return {function.__name__: function for function in (__getattribute__, __setattr__, __delattr__)}
