"""The operations of Python's data model in one table, and how a proxy performs each of them on its object.

The interpreter looks up the method behind an operator, ``with``, ``len``… on the type alone. So the type of a proxy
must have exactly the special methods that the type of its object has. A proxy of a number is not callable, and a proxy
of a list has no hash.
"""

from __future__ import annotations

import copy
import math
import operator
import os
from collections.abc import Callable
from types import BuiltinFunctionType, GeneratorType, MethodType, resolve_bases
from typing import Any, TypeAlias

#: The work of a special method, as a function of the object and the arguments.
Operation: TypeAlias = Callable[..., Any]


def _of_type(name: str) -> Operation:
    """Return the operation that calls a special method as the interpreter does: looked up on the type, then bound."""

    def call(obj: object, /, *args: Any) -> Any:
        kind = type(obj)
        method = found(kind, name)
        if method is None:
            raise TypeError(f"{kind.__name__!r} object has no {name}")
        bind = getattr(type(method), "__get__", None)
        return (bind(method, obj, kind) if bind else method)(*args)

    return call


def found(kind: type, name: str) -> Any:
    """Return the attribute of a type or of one of its bases, not bound to anything. None if there is none."""
    for base in kind.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def _await(obj: Any) -> Any:
    """Return the iterator that an ``await`` of the object runs."""
    if isinstance(obj, GeneratorType):  # a generator of `types.coroutine` can be awaited, and has no ``__await__``
        return _awaited(obj).__await__()
    return _of_type("__await__")(obj)


async def _awaited(obj: Any) -> Any:
    return await obj


def _itself(obj: Any) -> Any:
    """Return the object behind a proxy, or behind a proxy of a proxy. Return any other object as it is."""
    while cache := getattr(type(obj), "_proxy_cache", None):
        obj = cache.obj
    return obj


def _reflected(operation: Operation) -> Operation:
    return lambda obj, other, *args: operation(other, obj, *args)


def _added(obj: Any, other: Any) -> Any:
    try:
        return other + obj
    except TypeError:  # ``[…] += proxy`` asks the proxy first, and after NotImplemented iterates over it
        return NotImplemented


ARITHMETIC: dict[str, Operation] = {
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

#: Operations on the object alone, each with the function that asks for it.
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
    "__await__": _await,
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
    "__trunc__": math.trunc,
    "__floor__": math.floor,
    "__ceil__": math.ceil,
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
    **{f"__{name}__": operation for name, operation in ARITHMETIC.items()},
    **{f"__r{name}__": _reflected(operation) for name, operation in ARITHMETIC.items()},
    "__radd__": _added,
    "__instancecheck__": lambda obj, instance: isinstance(instance, obj),
    "__subclasscheck__": lambda obj, subclass: issubclass(_itself(subclass), obj),
    "__mro_entries__": lambda obj, _bases: resolve_bases((obj,)),
    "__buffer__": _of_type("__buffer__"),  # looked up by Python 3.12 and later
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

#: Operations that change the object and return it, so that the name stays bound to the proxy; or return another object.
_IN_PLACE: dict[str, Operation] = {
    f"__i{name}__": getattr(operator, f"__i{name}__") for name in (*ARITHMETIC, "pow") if name != "divmod"
}

#: Operations whose mere existence changes how others work. A proxy has them only if its object is known to have them.
_ROLES: dict[str, Operation] = {
    "__get__": _of_type("__get__"),
    "__set__": _of_type("__set__"),
    "__delete__": _of_type("__delete__"),
    "__set_name__": _of_type("__set_name__"),
    "__release_buffer__": _of_type("__release_buffer__"),
}

#: The operations of a proxy whose object is not known yet.
GENERAL = {**_UNARY, **_BINARY, **_VARIADIC, **_IN_PLACE}
#: All operations.
OPERATIONS = {**GENERAL, **_ROLES}

COPIES = frozenset({"__copy__", "__deepcopy__"})
EXITS = frozenset({"__exit__", "__aexit__"})


# The methods of a proxy, one per operation. They reach the object through the type, so all proxies share them.


def _unary(operation: Operation) -> Callable[..., Any]:
    return lambda self: operation(type(self)._proxy_cache.obj)


def _binary(operation: Operation) -> Callable[..., Any]:
    return lambda self, operand: operation(type(self)._proxy_cache.obj, operand)


def _variadic(operation: Operation) -> Callable[..., Any]:
    return lambda self, /, *args, **kwargs: operation(type(self)._proxy_cache.obj, *args, **kwargs)


def _in_place(operation: Operation) -> Callable[..., Any]:
    def operate(self: Any, operand: object) -> object:
        obj = type(self)._proxy_cache.obj
        result = operation(obj, operand)
        return self if result is obj else result

    return operate


#: The method of each operation, for a proxy whose object may change.
METHODS = {
    name: method(operation)
    for method, group in ((_unary, _UNARY), (_binary, _BINARY), (_variadic, _VARIADIC | _ROLES), (_in_place, _IN_PLACE))
    for name, operation in group.items()
}
METHODS["__call__"] = lambda self, /, *args, **kwargs: type(self)._proxy_cache.obj(*args, **kwargs)  # quicker


def bind(name: str, cache: Any, *, fixed: bool) -> Any:
    """Return the function that performs an operation on the object in `cache`. A `fixed` object never changes."""
    operation = OPERATIONS[name]
    if fixed and _is_quick(name) and cache.obj is not None:
        # no Python frame runs between the interpreter and the object. A method cannot be bound to None
        return MethodType(operation, cache.obj)
    if name in EXITS:
        # a block looks its exit up on entering: it leaves what it has entered, even if the proxy was set meanwhile
        return lambda _self, *error: operation(cache.obj, *error)
    return METHODS[name]


def _is_quick(name: str) -> bool:
    """Tell whether an operation runs no Python code of its own, and does not need the proxy."""
    return isinstance(OPERATIONS[name], BuiltinFunctionType | type) and name not in _IN_PLACE
