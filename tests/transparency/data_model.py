"""Python's data model as a table: what one can do with an object, each operation on something that it is meant for.

An operation is source text over ``p``, what is tried (the object, or a proxy of it), and ``o``, the object itself. It
is transparent when it gives the same as with the object: an equal value, or the same type of exception.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

from tests.support import objects

#: Modules that the table uses by name, besides `objects`.
MODULES = [
    "array",
    "asyncio",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "ctypes",
    "dataclasses",
    "datetime",
    "decimal",
    "fractions",
    "functools",
    "hashlib",
    "inspect",
    "io",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "os",
    "pathlib",
    "pickle",
    "re",
    "string",
    "struct",
    "textwrap",
    "types",
    "typing",
    "weakref",
]

SIGNS = ("+", "-", "*", "@", "/", "//", "%", "**", "<<", ">>", "&", "|", "^")


class Operation(NamedTuple):
    """An operation, and the object it is tried on."""

    group: str
    target: str  # makes the object
    source: str  # what is done: statements, if any, then an expression after the last ";"


def _operations() -> Iterator[Operation]:
    for group, targets in TABLE.items():
        for target, sources in targets.items():
            for source in sources.strip().splitlines():
                yield Operation(group, target, source.strip())


#: Group -> what makes the object -> operations, one per line.
TABLE: dict[str, dict[str, str]] = {
    "Attributes": {
        "Thing()": """
            p.value
            p.method(1, self=2, name=3)
            p.prop
            p.kind
            p.static(), p.of_class()
            p.dynamic_attribute
            p.missing
            hasattr(p, "missing"), hasattr(p, "value")
            getattr(p, "missing", "default")
            p.value = 5; o.value
            p.prop = 5; o.value
            p.fresh = 5; o.fresh
            setattr(p, "obj", 5); o.obj, p.obj
            setattr(p, "_obj_of_mine", 5); o._obj_of_mine
            del p.value; hasattr(o, "value"), "value" in o.__dict__
            del p.missing; None
            p.value += 1; o.value
            dir(p)
            vars(p) is vars(o)
            p.__dict__ is o.__dict__
            p.__doc__
            p.__class__ is o.__class__
            p.__module__
            p.__annotations__
            p.method.__doc__
            p.method.__self__ is o
            operator.attrgetter("value")(p), operator.methodcaller("static")(p)
            hasattr(p, "__len__"), hasattr(p, "__iter__"), hasattr(p, "__call__")
            hasattr(p, "__wrapped__"), hasattr(p, "__fspath__"), hasattr(p, "__index__")
            inspect.getattr_static(type(p), "__len__", None)
        """,
        "Slotted()": """
            p.a
            p.a = 2; o.a
            p.b = 2; None
            vars(p)
        """,
        "math": """
            p.floor(1.5)
            p.__name__
            inspect.ismodule(p)
        """,
        "function": """
            p.__name__
            p.__qualname__
            p.__defaults__, p.__kwdefaults__
            p.__code__ is o.__code__
        """,
    },
    "Text": {
        "Thing()": """
            str(p)
            repr(p)
            bytes(p)
            format(p, "spec")
            f"{p} {p!r} {p!s} {p:spec}"
            formatted("{0} {0!r} {0.value} {k}", p, k=p)
            "%s %r" % (p, p)
            ascii(p)
            textwrap.dedent(str(p))
        """,
        "'text'": """
            p.upper(), p[1:], p[::-1], len(p), "e" in p
            p + "!", "!" + p, p * 2, 2 * p
            p % ()
            p == "text", "text" == p, p < "u", "u" > p
            ",".join([p])
            {"text": 1}[p]
            sorted(["z", p, "a"]) == ["a", "text", "z"]
        """,
        "'12'": """
            int(p), float(p), complex(p)
            int(p, 8)
            "%d" % p
            operator.index(p)
            round(p)
            abs(p)
            bytes(p)
            math.sqrt(p)
        """,
        "''": """
            bytes(p)
        """,
        "'/dev/null'": """
            os.fspath(p), os.fspath(p)
            with open(p) as file: text = file.read(); text
            pathlib.Path(p), pathlib.Path(p, "c"), os.path.join(p, "c")
            os.path.exists(p)
            isinstance(p, os.PathLike)
            hasattr(p, "__fspath__")
        """,
        "b'/dev/null'": """
            os.fspath(p), os.path.join(p, b"c")
            with open(p) as file: text = file.read(); text
        """,
        "b'bytes'": """
            bytes(p)
            p.decode()
            p + b"!"
            memoryview(p).tobytes()
            bytearray(p)
            int(p)
        """,
        "b'12'": """
            int(p), float(p)
            complex(p)
        """,
        "pathlib.PurePosixPath('/a/b')": """
            os.fspath(p)
            os.path.join(p, "c")
            p / "c", p.name
            "/x" / p
        """,
        "2.5": """
            f"{p:06.2f}"
            "%.1f" % p
            str(p), repr(p)
        """,
    },
    "Identity and order": {
        "Shy(3)": """
            hash(p) == hash(o)
            p == o, o == p, p != o, o != p
            p == Shy(3), Shy(3) == p, p == Shy(4)
            p == 3, 3 == p
            p == Agreeing(), p != Agreeing()
            p < Shy(4), Shy(4) > p, p < Shy(3)
            p < 4
            p >= Shy(4)
            {o: 1}[p], {p: 1}[o]
            p in [o], o in [p], p in {o}
            p == p, p != p
            len({p, o})
            max([p, Shy(9)], key=lambda shy: shy.number).number
        """,
        "Plain()": """
            dataclasses.is_dataclass(p)
            p == o, o == p
            p == 1, p != 1
            hash(p) == hash(o)
            p < o
            bool(p)
            not p
        """,
        "[1, 2]": """
            hash(p)
            p == [1, 2], [1, 2] == p, p != [1]
            p < [1, 3], [1, 3] > p, p <= [1, 2], p >= [2]
            isinstance(p, collections.abc.Hashable)
        """,
        "Sized()": """
            bool(p), not p
            len(p)
        """,
        "Truthless()": """
            bool(p)
            p and 1
        """,
        "Point(1, 2)": """
            p < Point(1, 3), p == Point(1, 2), p > Point(0, 9)
            dataclasses.asdict(p)
            dataclasses.replace(p, x=5)
            dataclasses.is_dataclass(p), dataclasses.fields(p) == dataclasses.fields(o)
            dataclasses.asdict(Point(p, [p])), dataclasses.astuple(p)
        """,
    },
    "Containers": {
        "[3, 1, 2]": """
            len(p), p[0], p[-1], p[1:], p[::2]
            p[0] = 9; o
            p[1:] = [7, 8]; o
            without(p, 0) == [1, 2]
            1 in p, 5 in p
            list(p), tuple(p), set(p)
            list(iter(p))
            list(reversed(p))
            sorted(p), sum(p), max(p)
            [*p], (lambda *args: args)(*p)
            unpacked(p)
            p.append(4); o
            p + [4], [4] + p, p * 2, 2 * p
            p[9]
            p["key"]
            list(zip(p, p)), list(enumerate(p)), list(map(str, p))
            operator.length_hint(p)
            delegated(p)
            list(itertools.chain(p, p))
            copy.copy(p) is not o, copy.copy(p) == o
            json.dumps(list(p))
            json.dumps(p)
            p.sort(); o
            q = bytearray(); q.extend(p); q
        """,
        "{'a': 1}": """
            p["a"], p.get("b", 2), len(p), "a" in p
            p["b"] = 2; o
            without(p, "a") == {}
            p["missing"]
            dict(p), {**p}
            (lambda **kwargs: kwargs)(**p)
            list(p), list(p.items())
            p | {"b": 2}, {"b": 2} | p
            p |= {"c": 3}; p, o
            list(reversed(p))
            "%(a)s" % p
            string.Template("$a").substitute(p)
            collections.ChainMap(p)["a"]
            eval("a", {}, p)
        """,
        "collections.defaultdict(list)": """
            p["new"].append(1); o
        """,
        "Items()": """
            p[1, 2], p[1:2, ...], p[:], p[None]
            p["key"] = 1; del p["key"]; o.log
            "inside" in p, "outside" in p
            len(p)
            iter(p) is None
        """,
        "Legacy()": """
            list(p)
            2 in p, 5 in p
            unpacked(p)
            isinstance(p, collections.abc.Iterable)
        """,
        "re.match('(a)', 'a')": """
            p[0], p[1]
            list(p)
        """,
        "Hinted()": """
            operator.length_hint(p)
            len(p)
            list(p)
        """,
        "Unfit()": """
            iter(p)
            1 in p
            hash(p)
            list(reversed(p))
        """,
        "iter([1, 2])": """
            next(p), next(p), next(p, "end")
            list(p)
            iter(p) is o or iter(p) is p
            next(p); next(p); next(p)
        """,
        "generator_function()": """
            next(p), p.send("x")
            list(p)
            p.close(); list(p)
            delegated(p)
        """,
        "{1, 2}": """
            q = r = [0]; q += p; r
            p | {3}, p & {1}, p - {1}, p ^ {1, 3}
            {3} | p, {1, 3} & p, {1, 3} - p
            p <= {1, 2, 3}, p < {1, 2}, p >= {1}
            p |= {3}; p, o
            p.union({5}), {5}.union(p)
        """,
        "range(5)": """
            p[1:3], len(p), 3 in p, list(reversed(p))
        """,
        "list": """
            p[int] == list[int]
        """,
        "Colour": """
            p["RED"], len(p), list(p), Colour.RED in p, p(2), p.BLUE
            repr(p)
        """,
    },
    "Calls and contexts": {
        "Call()": """
            p(), p(1, 2), p(a=1)
            p(self=1, obj=2, args=3, operation=4, name=5)
            callable(p)
            list(map(p, [1]))
            functools.partial(p, 1)(2)
            (lambda decorated: decorated(1))(p)
        """,
        "function": """
            p(1, 5, third=6)
            p()
            type("Owner", (), {"method": p})().method(9)[1:]
        """,
        "Plain()": """
            callable(p)
            p()
            entered(p)
            run(awaited(p))
        """,
        "Manager()": """
            entered(p), o.log
            swallowed(p, ValueError), o.log
            swallowed(p, KeyError)
            contextlib.ExitStack().enter_context(p)
            run(async_entered(p)), o.log
            run(async_swallowed(p)), o.log
        """,
        "io.StringIO('one\\ntwo')": """
            list(p)
            entered(p).read()
            print("x", file=p); o.getvalue()
        """,
        "Later()": """
            run(awaited(p))
            run(collected(p))
            inspect.isawaitable(p)
        """,
        "Counting()": """
            run(collected(p))
            run(next_of(p))
            run(next_of(p, None))
        """,
        "generator_coroutine(3)": """
            run(awaited(p))
            inspect.isawaitable(p)
        """,
        "generator_function()": """
            run(awaited(p))
        """,
        "coroutine_function(3)": """
            run(awaited(p))
            o.close(); inspect.iscoroutine(p)
        """,
    },
    "Numbers": {
        "Number()": "\n".join(
            [
                *(f"p {sign} 2, 2 {sign} p" for sign in SIGNS),
                "divmod(p, 2), divmod(2, p)",
                "pow(p, 2), pow(2, p)",
                "pow(p, 2, 3)",
                "-p, +p, abs(p), ~p",
                "math.trunc(p), math.floor(p), math.ceil(p)",
                "round(p), round(p, 2)",
                "p += 1; p",
                "int(p)",
            ]
        ),
        "InPlace()": "\n".join(
            [*(f"p {sign}= 2; o.log" for sign in SIGNS), "q = p; p += 2; p is q", "p += 1; p -= 2; o.log"]
        ),
        "7": """
            p + 1, 1 + p, p - 1, 1 - p, p * 2, p / 2, p // 2, p % 4, p ** 2, 2 ** p
            p + p, p * p, p - p
            divmod(p, 4), divmod(30, p)
            pow(p, 2, 5)
            pow(2, p, 5)
            pow(2, 3, p)
            p << 1, 1 << p, p >> 1, p & 3, p | 8, p ^ 1, 3 & p
            -p, +p, ~p, abs(p)
            int(p), float(p), complex(p), bool(p)
            operator.index(p), [0] * p, "abcdefgh"[p], list(range(10))[p], bytes(p), hex(p)
            round(p, -1), math.floor(p), math.trunc(p), math.sqrt(p), math.gcd(p, 14)
            p += 1; p, o
            p -= 1; p
            q = p; p **= 2; p, q == 7
            p == 7.0, 7 == p, p < 8, 8 > p, p != 7
            hash(p) == hash(7), {7: "x"}[p]
            p.bit_length(), p.real, p.numerator
            f"{p:03d}", "%d" % p
            range(p), list(range(p, 9))
            decimal.Decimal(2) * p, fractions.Fraction(1, 2) * p
            isinstance(p, int), isinstance(p, numbers.Integral)
            datetime.timedelta(days=1) * p
            len(p)
            p @ 2
            p()
        """,
        "2.5": """
            round(p), round(p, 1), int(p), math.floor(p), math.ceil(p), math.trunc(p)
            p.is_integer(), p.hex(), p.as_integer_ratio()
            float(p), complex(p)
            operator.index(p)
            math.isclose(p, 2.5), math.cos(p) == math.cos(2.5)
        """,
        "2 + 1j": """
            complex(p), abs(p), p.conjugate(), p * 2
            float(p)
        """,
        "(1, 2)": """
            q = r = [0]; q += p; r
            [0] + p
            p += (3,); p, o
            "%s %s" % p
            p + (3,), (0,) + p
        """,
        "[1]": """
            q = p; p += [2]; p, o, p is q
            q = r = [0]; q += p; q
            q = r = [0]; q += p; r
            p *= 2; p, o
        """,
        "datetime.date(2026, 1, 2)": """
            p - datetime.date(2026, 1, 1), datetime.date(2026, 1, 3) - p
            p + datetime.timedelta(1), p < datetime.date.max, f"{p:%Y}"
        """,
    },
    "Types": {
        "7": """
            isinstance(p, collections.abc.Callable), isinstance(p, collections.abc.Iterable)
            isinstance(p, collections.abc.Sized), isinstance(p, collections.abc.Container)
            isinstance(p, collections.abc.Hashable)
            isinstance(p, typing.SupportsInt), isinstance(p, typing.SupportsIndex)
            isinstance(p, collections.abc.Awaitable), isinstance(p, os.PathLike)
            issubclass(p.__class__, int)
            matched(p)
            functools.singledispatch(lambda x: "other").dispatch(p.__class__)(p)
            type(p) is type(o)
        """,
        "'text'": """
            isinstance(p, str), isinstance(p, (int, str)), isinstance(p, int | str)
            isinstance(p, collections.abc.Sequence), isinstance(p, collections.abc.Callable)
            matched(p)
        """,
        "[1, 2, 3]": """
            isinstance(p, list), isinstance(p, collections.abc.MutableSequence)
            isinstance(p, collections.abc.Reversible)
            isinstance(p, collections.abc.Callable), isinstance(p, collections.abc.Mapping)
            matched(p)
        """,
        "collections.deque([1, 2])": """
            matched(p)
            isinstance(p, collections.abc.MutableSequence)
        """,
        "{'key': 1, 'other': 2}": """
            isinstance(p, dict), isinstance(p, collections.abc.Mapping), isinstance(p, collections.abc.Sequence)
            matched(p)
        """,
        "types.MappingProxyType({'key': 1})": """
            matched(p)
        """,
        "Point(1, 2)": """
            isinstance(p, Point)
            matched(p)
        """,
        "Colour.RED": """
            matched(p)
            p is Colour.RED
            p == Colour.RED, p.name
        """,
        "Plain()": """
            isinstance(p, Virtual), isinstance(p, Thing)
            isinstance(p, Structural)
        """,
        "Thing()": """
            isinstance(p, Structural)
            isinstance(p, Thing)
        """,
        "Thing": """
            isinstance(p, type), inspect.isclass(p)
            p().value, p.kind, p.__name__
            isinstance(Thing(), p), isinstance(3, p)
            issubclass(type("Sub", (Thing,), {}), p), issubclass(int, p)
            issubclass(p, object)
            issubclass(p, p)
            issubclass(p, Thing)
            subclass(p).kind, subclass(p).__mro__[1] is o
            type("Sub", (p,), {}).__mro__[1] is o
            p | None == Thing | None
            p.kind = "class attribute"; o.kind
            repr(p) == repr(o)
        """,
        "list[int]": """
            subclass(p).__mro__[1]
        """,
        "KeyError": """
            caught(p)
            isinstance(p("x"), o)
        """,
        "ValueError('text')": """
            isinstance(p, ValueError), p.args, str(p)
            raised(p)
        """,
    },
    "Copies, references, introspection": {
        "{'a': [1]}": """
            copy.copy(p), copy.copy(p)["a"] is o["a"]
            copy.deepcopy(p), copy.deepcopy(p)["a"] is not o["a"]
            copy.deepcopy([p, p]) == [o, o]
            pickle.loads(pickle.dumps(p)) == o
            pickle.loads(pickle.dumps([p, p])) == [o, o]
        """,
        "Copied()": """
            copy.copy(p).text, copy.deepcopy(p).text
            type(copy.copy(p)) is Copied
        """,
        "Point(1, 2)": """
            pickle.loads(pickle.dumps(p, 2)) == o
            copy.copy(p) == o, copy.copy(p) is not o
        """,
        "Plain()": """
            weakref.ref(p)() is p
            finalized(p)
            weakref.WeakSet([p]).__len__()
            p in weakref.WeakKeyDictionary({p: 1})
            weakref.proxy(p).__class__
        """,
        "function": """
            str(inspect.signature(p))
            inspect.isfunction(p), inspect.iscoroutinefunction(p), inspect.isroutine(p)
            wrapped(p)
            inspect.getdoc(p)
            inspect.getsource(p) == inspect.getsource(o)
            typing.get_type_hints(p) == typing.get_type_hints(o)
            inspect.unwrap(p) == o
        """,
        "coroutine_function": """
            inspect.iscoroutinefunction(p)
            run(p(4))
            str(inspect.signature(p))
        """,
        "Thing().method": """
            inspect.ismethod(p), p(1), p.__func__ is Thing.method
            str(inspect.signature(p))
        """,
        "Thing": """
            str(inspect.signature(p))
            inspect.getdoc(p)
            sorted(name for name, _ in inspect.getmembers(p)) == dir(o)
        """,
        "Call()": """
            str(inspect.signature(p))
        """,
        "Descriptor()": """
            attribute(p).name, attribute(p)().name
            setattr(attribute(p)(), "name", 5); o.log
            delattr(attribute(p)(), "name"); o.log
            inspect.isdatadescriptor(p)
        """,
        "property(lambda self: 'property')": """
            attribute(p)().name
        """,
        "contextlib.nullcontext(5)": """
            entered(p)
            run(async_entered(p))
        """,
    },
    "Memory": {
        "array.array('i', [1, 2])": """
            list(p), p[0], len(p)
            bytes(p), int.from_bytes(p, "big"), b"%b" % p
            memoryview(p).tolist()
            with memoryview(p) as view: view[0] = 5; p.append(3); o
            b"".join([p])
            struct.unpack("ii", p)
            hashlib.sha256(p).digest()
            io.BytesIO().write(p)
            bytearray(p)
            q = bytearray(); q.extend(p); q
            q = bytearray(2); q[:] = p; q
            int(p)
            isinstance(p, typing.SupportsBytes)
        """,
        "(ctypes.c_int * 2)(1, 2)": """
            bytes(p), bytes(p)
            memoryview(p).nbytes
        """,
        "memoryview(array.array('i', [1, 2]))": """
            bytes(p), bytes(p)
            p.tolist(), p[0]
        """,
        "mapped(b'text')": """
            list(p), p[0], p[1:]
            list(reversed(p))
            b"e" in p, isinstance(p, collections.abc.Iterable)
        """,
        "bytearray(b'bytes')": """
            bytes(p), bytearray(p)
            memoryview(p).release(); p.append(1); o
        """,
        "b'12'": """
            array.array("B", p).tolist()
            array.array("h", p).tolist()
        """,
    },
}

OPERATIONS = list(_operations())
SCOPE: dict[str, Any] = {**vars(objects), **{name: import_module(name) for name in MODULES}}


def make(target: str) -> object:
    """Make the object of an operation."""
    return eval(target, SCOPE)


def outcome(source: str, p: object, o: object) -> object:
    """Do what is told to `p`, a stand-in for `o` or itself: return what comes of it."""
    *statements, expression = source.split("; ")
    scope = {**SCOPE, "p": p, "o": o}
    try:
        exec("\n".join(statements), scope)
        return "value", eval(expression, scope)
    except Exception as error:
        return "raises", type(error)
