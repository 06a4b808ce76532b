"""Run the table of `data_model` over proxies of all makes, and write a page about it: ``make transparency``."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ProxyPatternPool import Proxy
from tests.transparency.data_model import OPERATIONS, Operation, make, outcome

PAGE = Path(__file__).parents[2] / "docs" / "transparency.md"

Wrap = Callable[[object], object]
Attempt = Callable[[Operation], bool]

TYPE = "Python looks at `type(p)`, which is the proxy's"
CONCRETE = "C code looks at the concrete type, or into the object's memory"
IDENTITY = "a proxy is another object"

#: What pure Python cannot do, and why: operations on a target, by their source.
IMPOSSIBLE: dict[tuple[str, str], str] = {
    ("'text'", '",".join([p])'): CONCRETE,
    ("'12'", "int(p, 8)"): CONCRETE + "; `int(str(p), 8)` does it",
    ("'12'", '"%d" % p'): "the proxy has an `__int__`, so that `int(p)` works, and counts as a number here",
    ("'12'", "math.sqrt(p)"): "the proxy has a `__float__`, so that `float(p)` works, and counts as a number here",
    ("'/dev/null'", "isinstance(p, os.PathLike)"): "the proxy has an `__fspath__`, so that `open(p)` works",
    ("b'12'", 'array.array("h", p).tolist()'): CONCRETE + ", and collects the items of anything else",
    ("(1, 2)", '"%s %s" % p'): CONCRETE + ": only a real tuple has several arguments",
    ("[3, 1, 2]", "json.dumps(p)"): CONCRETE + "; `json.dumps(list(p))` does it",
    ("mapped(b'text')", 'b"e" in p, isinstance(p, collections.abc.Iterable)'): (
        "the proxy has an `__iter__`, so that iterating gives the same as with the object"
    ),
    ("[1]", "q = r = [0]; q += p; r"): (
        "a `list` first asks `p` for `q + p`, so that `q` is a new list; `q.extend(p)` does it"
    ),
    ("KeyError", "caught(p)"): CONCRETE + ": `except p`",
    ("ValueError('text')", "raised(p)"): CONCRETE + ": `raise p`",
    ("7", "pow(2, p, 5)"): "three-argument `pow` calls only the first number",
    ("7", "pow(2, 3, p)"): "three-argument `pow` calls only the first number",
    ("7", "type(p) is type(o)"): TYPE + "; `p.__class__` is the object's",
    ("Thing", 'type("Sub", (p,), {}).__mro__[1] is o'): TYPE + "; `class Sub(p)` does it",
    ("Colour.RED", "p is Colour.RED"): IDENTITY,
    ("Thing", "issubclass(p, Thing)"): IDENTITY + ": Python finds the bases of `Thing`, but not `Thing`",
}
if sys.version_info < (3, 12):
    IMPOSSIBLE |= {
        (target, source): CONCRETE + ", before Python 3.12"
        for target, sources in {
            "b'bytes'": ["memoryview(p).tobytes()"],
            "array.array('i', [1, 2])": [
                "memoryview(p).tolist()",
                "with memoryview(p) as view: view[0] = 5; p.append(3); o",
                'b"".join([p])',
                'struct.unpack("ii", p)',
                "hashlib.sha256(p).digest()",
                "io.BytesIO().write(p)",
                "int(p)",
            ],
            "(ctypes.c_int * 2)(1, 2)": ["memoryview(p).nbytes"],
            "bytearray(b'bytes')": ["memoryview(p).release(); p.append(1); o"],
        }.items()
        for source in sources
    }
    IMPOSSIBLE |= {
        (
            "array.array('i', [1, 2])",
            source,
        ): f"{CONCRETE}, before Python 3.12, and collects the items: {instead} does it"
        for source, instead in {
            "bytearray(p)": "`bytearray(bytes(p))`",
            "q = bytearray(); q.extend(p); q": "`q.extend(bytes(p))`",
            "q = bytearray(2); q[:] = p; q": "`q[:] = bytes(p)`",
        }.items()
    }
    IMPOSSIBLE["array.array('i', [1, 2])", "isinstance(p, typing.SupportsBytes)"] = (
        "before Python 3.12, the proxy has a `__bytes__`, so that `bytes(p)` works"
    )
if sys.version_info >= (3, 14):
    del IMPOSSIBLE["7", "pow(2, p, 5)"]

#: What the table cannot show.
LIMITS = """\
Before a function has made its first object, the object's type is not known. `callable(p)` is true, and `p` is
no descriptor. `isinstance` finds a `Proxy`, and each class that looks for a method, such as `os.PathLike`.
Any other operation makes the object, and so does looking for an attribute.
The exceptions are names that tools look for on every object, such as `__wrapped__`,
`__name__` and `__test__`. These names are missing as long as the owner has no object.

Code that looks at the type of `p` first does not make the object. It works after `p._get_obj()`, or any other use:

- `match p:` looks at flags of the type. `case [*_]`, `case {}` and `case Point()` do not match before the first use.
- Code that calls `isinstance` finds none of its types: `os.getenv(p)`, `fractions.Fraction(p)`, `asyncio.run(p)`,
  `collections.Counter(p)`, `ipaddress.ip_address(p)`, `urllib.parse.quote(p)`.
- C code that accepts a number or another type treats `p` as a number, and raises `TypeError`: `os.stat(p)`,
  `os.listdir(p)`, `b[:] = p` of a `bytearray`.
- From Python 3.12 on, `b.extend(p)` and `b.find(p)` treat `p` as bytes, and raise `TypeError` for
  any other object.

C code that reads memory looks at the type of `p`. From Python 3.12 on, a proxy gives it the object's memory. Before
Python 3.12:

- `bytes(p)` is correct, and so are `int.from_bytes(p)` and `b"%b" % p`, which call it.
- These raise `TypeError`: `memoryview`, `b"".join`, `struct.unpack`, `hashlib`, `zlib`, `socket.send`, `os.write`, the
  `write` of a binary file. Pass `bytes(p)` instead of `p`.
- `bytearray(p)` collects the items. Pass `bytes(p)` there, too.

C code that accepts only its own type refuses `p`, with any object. Pass `str(p)`, `bytes(p)`, `int(p)` or
`p._get_obj()` instead of `p` to such code:

- `str` methods with a `str` argument, `re` on a `str`, `str.upper(p)`
- `struct.pack("4s", p)`, `sqlite3` parameters, slices, `exec` and `eval`
- `int.__add__(1, p)`, which returns `NotImplemented`

C code reads the memory of an `int`, `dict` or `list`. For `p` it calls the methods, including those that a subclass
has replaced: `dict(p)` and `{**p}` call `keys` and `__getitem__` then.

An operation that a proxy has for one function is visible to other functions:

- A proxy of a `str` or `bytes` is an `os.PathLike`, because `open(p)` needs it.
- It has `__int__`, `__float__` and `__complex__`, because `int(p)` needs them. So `math.sqrt`, and `b[:] = p` of a
  `bytearray`, treat it as a number.
- A proxy of a `str` has `__bytes__`, so that `bytes(p)` gives the same as with the object. So has a proxy of an
  `array.array` before Python 3.12.
"""

#: What asks for the class: no object is made for the answer, so it is not known before the first one.
ASKS_CLASS = re.compile(r"isinstance|dataclasses|issubclass\(p|matched|__class__|inspect\.is|callable")
#: What else is not known of an object that is still to be made.
UNKNOWN = {
    ("Thing()", "p.__annotations__"),
    ("math", "p.__name__"),
    ("function", "p.__name__"),
    ("function", "p.__defaults__, p.__kwdefaults__"),
    ("function", "p.__code__ is o.__code__"),
    ("function", "inspect.getsource(p) == inspect.getsource(o)"),
    ("Thing()", 'inspect.getattr_static(type(p), "__len__", None)'),
    ("'/dev/null'", "os.path.exists(p)"),
    ("function", 'type("Owner", (), {"method": p})().method(9)[1:]'),
    ("Descriptor()", "attribute(p).name, attribute(p)().name"),
    ("Descriptor()", 'setattr(attribute(p)(), "name", 5); o.log'),
    ("Descriptor()", 'delattr(attribute(p)(), "name"); o.log'),
    ("property(lambda self: 'property')", "attribute(p)().name"),
}
if sys.version_info >= (3, 12):
    UNKNOWN |= {
        ("[3, 1, 2]", "q = bytearray(); q.extend(p); q"),
        ("array.array('i', [1, 2])", "q = bytearray(2); q[:] = p; q"),
    }


class Returning:
    """A function which makes one object, and can be pickled."""

    def __init__(self, obj: object) -> None:
        self.obj = obj

    def __call__(self, _number: int) -> object:
        return self.obj


def shared(obj: object) -> object:
    proxy: Proxy[object] = Proxy(set_name=None)
    proxy._set_obj(obj)
    return proxy


def unused(scope: Proxy.Scope, obj: object) -> object:
    # the same one for tasks and their thread
    return Proxy(fun=Returning(obj), scope=scope, set_name=None, max_size=None)


def used(scope: Proxy.Scope, obj: object) -> object:
    proxy: Any = unused(scope, obj)
    proxy._get_obj()
    return proxy


def passes(operation: Operation, wrap: Wrap) -> bool:
    """Tell whether the operation gives the same through the proxy as with the object itself."""
    obj = make(operation.target)
    expected = outcome(operation.source, obj, obj)
    obj = make(operation.target)
    try:
        return bool(outcome(operation.source, wrap(obj), obj) == expected)
    except Exception:  # it cannot be wrapped, or what came of it cannot be compared
        return False


def passes_in_loop(operation: Operation, wrap: Wrap) -> bool:
    """Tell the same from inside an event loop."""

    async def main() -> bool:
        return passes(operation, wrap)

    return asyncio.run(main())


def passes_apart(operation: Operation, wrap: Wrap) -> bool:
    """Tell the same from a process of its own: there are peers which crash."""
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os._exit(0 if passes(operation, wrap) else 1)
    return os.waitpid(child, 0)[1] == 0


#: Ours, in each scope, and before the first use.
OURS: dict[str, Attempt] = {
    "SHARED": partial(passes, wrap=shared),
    "SHARED function": partial(passes, wrap=partial(used, Proxy.Scope.SHARED)),
    "THREAD": partial(passes, wrap=partial(used, Proxy.Scope.THREAD)),
    "VERSATILE": partial(passes, wrap=partial(used, Proxy.Scope.VERSATILE)),
    "LOOP": partial(passes_in_loop, wrap=partial(used, Proxy.Scope.LOOP)),
}
UNUSED: dict[str, Attempt] = {
    "THREAD, first use": partial(passes, wrap=partial(unused, Proxy.Scope.THREAD)),
    "VERSATILE, first use": partial(passes, wrap=partial(unused, Proxy.Scope.VERSATILE)),
    "LOOP, first use": partial(passes_in_loop, wrap=partial(unused, Proxy.Scope.LOOP)),
}


def peers() -> dict[str, Attempt]:
    """Return the peers; imported here, so that the tests do without them."""
    from lazy_object_proxy import Proxy as LazyProxy
    from werkzeug.local import LocalProxy
    from wrapt import AutoObjectProxy, ObjectProxy

    wraps: dict[str, Wrap] = {
        "wrapt `ObjectProxy`": ObjectProxy,
        "wrapt `AutoObjectProxy`": AutoObjectProxy,
        "werkzeug `LocalProxy`": lambda obj: LocalProxy(lambda: obj),
        "lazy-object-proxy": lambda obj: LazyProxy(lambda: obj),
    }
    return {name: partial(passes_apart, wrap=wrap) for name, wrap in wraps.items()}


def page() -> Iterator[str]:
    """Write the page, line by line."""
    columns = OURS | peers()
    results = {name: [attempt(operation) for operation in OPERATIONS] for name, attempt in columns.items()}
    yield "# Transparency"
    yield ""
    yield "This page shows for each operation whether a proxy gives the same value or exception as its object."
    yield "`p` is the proxy, `o` its object."
    version = f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}"
    yield f"`make transparency` has measured them, with {version}, by the table in `tests/transparency/data_model.py`."
    yield "The first columns are for `Proxy`, in each scope."
    yield ""
    yield "| passed, of " + f"{len(OPERATIONS)} | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    yield "| | " + " | ".join(str(sum(results[name])) for name in columns) + " |"
    yield from impossible()
    group = None
    for number, operation in enumerate(OPERATIONS):
        if operation.group != group:
            group = operation.group
            yield ""
            yield f"## {group}"
            yield ""
            yield "| the object | the operation | " + " | ".join(columns) + " |"
            yield "|---" * (len(columns) + 2) + "|"
        yield row(operation, [results[name][number] for name in columns])


def impossible() -> Iterator[str]:
    """Tell what ours cannot do."""
    yield ""
    yield "A `Proxy` does not do these operations. Most of them are impossible in Python:"
    yield ""
    yield "| the object | the operation | why not |"
    yield "|---|---|---|"
    for (target, source), reason in IMPOSSIBLE.items():
        yield f"| {code(target)} | {code(source)} | {reason} |"
    yield ""
    yield from LIMITS.splitlines()
    yield ""
    yield "Only the interpreter may call the special methods of a proxy with a fixed object: write `len(p)`, and not"
    yield "`type(p).__len__(p)`."


def row(operation: Operation, cells: list[bool]) -> str:
    """Write one row."""
    texts = [code(operation.target), code(operation.source), *("✓" if cell else "✗" for cell in cells)]
    return "| " + " | ".join(texts) + " |"


def code(source: str) -> str:
    """Write source text into a cell."""
    return "`` " + source.replace("|", "\\|") + " ``"


if __name__ == "__main__":
    PAGE.write_text("\n".join(page()) + "\n")
