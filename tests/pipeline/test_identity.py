"""What a step rests on counts, wherever it is kept; what is as it was makes nothing run again."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
import time
import types
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import BaseStep, PipelineBuilder, PythonStep, ShellStep
from miniduct.errors import PlanError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from miniduct.pipeline.results import StepResult


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not getattr(sys.modules[name], "__spec__", None):
            del sys.modules[name]


def module(name: str, text: str) -> Any:
    """The module of that text, in a file of its own and loaded."""
    path = os.path.abspath(f"{name}.py")
    with open(path, "w") as file:
        file.write(text)
    made: Any = types.ModuleType(name)
    made.__file__ = path
    sys.modules[name] = made
    exec(compile(text, path, "exec", dont_inherit=True), made.__dict__)
    return made


def executed(*steps: BaseStep) -> StepResult:
    builder = PipelineBuilder("demo")
    builder.add_steps(*steps)
    return builder.execute()[steps[-1]]


def run(text: str, version: int) -> StepResult:
    return executed(PythonStep(module("p", text.replace("@@", str(version))).f, name="f"))


CHANGED = {
    "helper behind lru_cache": """
        from functools import lru_cache
        @lru_cache
        def h(): return @@
        def f(): return h()
        # function h changed""",
    "helper behind cache, in a dict": """
        from functools import cache
        def h(): return @@
        TABLE = {"h": cache(h)}
        def f(): return TABLE["h"]()
        # function h changed""",
    "helper behind wraps": """
        import functools
        def log(function):
            @functools.wraps(function)
            def inner(): return function()
            return inner
        @log
        def h(): return @@
        def f(): return h()
        # function h changed""",
    "decorator": """
        def log(function):
            def inner(): return function() + @@
            return inner
        @log
        def f(): return 1
        # function inner changed""",
    "argument of a decorator": """
        def times(number):
            return lambda function: lambda: function() * number
        @times(@@)
        def h(): return 1
        def f(): return h()
        # changed""",
    "helper behind contextmanager": """
        from contextlib import contextmanager
        @contextmanager
        def h(): yield @@
        def f():
            with h() as x: return x
        # function h changed""",
    "helper that is a step": """
        from miniduct import step
        @step
        def h(): return @@
        def f(): return h()
        # function h changed""",
    "class as a decorator": """
        class Deco:
            def __init__(self, function): self.function = function
            def __call__(self): return self.function()
        @Deco
        def h(): return @@
        def f(): return h()
        # function h changed""",
    "class as a decorator, itself": """
        class Deco:
            def __init__(self, function): self.function = function
            def __call__(self): return self.function() + @@
        @Deco
        def f(): return 1
        # function Deco.__call__ changed""",
    "object that is called": """
        class Adder:
            def __init__(self, number): self.number = number
            def __call__(self): return self.number
        f = Adder(@@)
        # field number changed""",
    "singledispatch": """
        from functools import singledispatch
        @singledispatch
        def h(x): return 0
        @h.register
        def _(x: int): return @@
        def f(): return h(1)
        # function _ changed""",
    "singledispatch, for what": """
        from functools import singledispatch
        @singledispatch
        def h(x): return 0
        def a(x): return 1
        def b(x): return 2
        h.register(int, [a, b][@@ - 1]); h.register(str, a); h.register(list, b)
        def f(): return h(1)
        # changed""",
    "functions in a list of tuples": """
        def h(): return @@
        RULES = [("x", h)]
        def f(): return RULES[0][1]()
        # function h changed""",
    "functions in a dict of lists": """
        def h(): return @@
        T = {"x": [h]}
        def f(): return T["x"][0]()
        # function h changed""",
    "which functions are in a list": """
        def a(): return 1
        def b(): return 2
        T = [a, b, [a, b][@@ - 1]]
        def f(): return T[2]()
        # value T changed""",
    "closures of one code in a list": """
        def mk(n): return lambda: n
        one, two = mk(1), mk(2)
        T = [one, two, [one, two][@@ - 1]]
        def f(): return T[2]()
        # value T changed""",
    "what a global name means": """
        def a(): return 1
        def b(): return 2
        h = [a, b][@@ - 1]
        def f(): return h() + a() + b()
        # function f changed""",
    "which installed function": """
        from os.path import basename, dirname
        h = [basename, dirname][@@ - 1]
        def f(): return h("a/b")
        # function f changed""",
    "function within an object of C code": """
        from functools import cmp_to_key
        def h(a, b): return @@
        KEY = cmp_to_key(h)
        def f(): return sorted([1, 2], key=KEY)
        # function h changed""",
    "method of a global object": """
        TABLE = {"a": @@}
        get = TABLE.get
        def f(): return get("a")
        # function get changed""",
    "partial with a function": """
        from functools import partial
        def h(): return @@
        def g(x): return x()
        f = partial(g, h)
        # function h changed""",
    "partial with a function by name, in a list": """
        from functools import partial
        def h(): return @@
        def g(x): return x()
        f = partial(lambda parts: parts[0](), [partial(g, x=h)])
        # function h changed""",
    "two partials with lambdas": """
        from functools import partial
        def g(h): return h()
        P1 = partial(g, lambda: 10)
        P2 = partial(g, lambda: @@)
        def f(): return P1() + P2()
        # function <lambda> changed""",
    "partialmethod": """
        from functools import partialmethod
        class C:
            def p(self, n): return n
            q = partialmethod(p, @@)
        def f(): return C().q()
        # class C changed""",
    "lru_cache on a method": """
        from functools import lru_cache
        class C:
            @lru_cache
            def p(self): return @@
        def f(): return C().p()
        # changed""",
    "code of a default's class": """
        class M:
            def p(self): return @@
        def f(m=M()): return m.p()
        # function M.p changed""",
    "code of a closure's object's class": """
        class M:
            def p(self): return @@
        def mk(m):
            def f(): return m.p()
            return f
        f = mk(M())
        # function M.p changed""",
    "code of a base class of an object in a global": """
        class Base:
            def p(self): return @@
        class M(Base): pass
        CONF = {"m": M()}
        def f(): return CONF["m"].p()
        # function Base.p changed""",
    "code of a metaclass": """
        class Meta(type):
            def p(self): return @@
        class M(metaclass=Meta): pass
        def f(): return M.p()
        # function Meta.p changed""",
    "object that cannot be pickled": """
        import threading
        class M:
            def __init__(self):
                self.lock, self.top = threading.Lock(), @@
        def mk(m): return lambda: m.top
        f = mk(M())
        # closure m changed""",
    "code of an object that cannot be pickled": """
        import threading
        class M:
            def __init__(self): self.lock = threading.Lock()
            def p(self): return @@
        def mk(m): return lambda: m.p()
        f = mk(M())
        # function M.p changed""",
    "attribute that is no part of the pickle": """
        class M:
            def __init__(self): self.top = @@
            def __getstate__(self): return {}
        CONF = M()
        def f(): return CONF.top
        # value CONF changed""",
    "object with slots": """
        class M:
            __slots__ = ("top",)
            def __init__(self): self.top = @@
        CONF = M()
        def f(): return CONF.top
        # value CONF changed""",
    "object that is a list": """
        class M(list): pass
        CONF = M([@@])
        def f(): return CONF[0]
        # value CONF changed""",
    "dataclass": """
        from dataclasses import dataclass
        @dataclass
        class C:
            top: int
        CONF = C(@@)
        def f(): return CONF.top
        # value CONF changed""",
    "default of a dataclass": """
        from dataclasses import dataclass, field
        @dataclass
        class C:
            top: list = field(default_factory=lambda: [@@])
        def f(): return C().top
        # changed""",
    "namedtuple": """
        from typing import NamedTuple
        class C(NamedTuple):
            top: int
        CONF = C(@@)
        def f(): return CONF.top
        # value CONF changed""",
    "Enum": """
        from enum import Enum
        class E(Enum):
            A = @@
        def f(): return E.A.value
        # class E""",
    "Enum member": """
        from enum import Enum
        class E(Enum):
            A, B = 1, 2
        CONF = E(@@)
        def f(): return CONF.value
        # value CONF changed""",
    "Enum member that knows more than its value": """
        from enum import Enum
        class E(Enum):
            def __new__(cls, value, label):
                made = object.__new__(cls)
                made._value_, made.label = value, label
                return made
            A = 1, @@
        def f(): return E.A.label
        # class E""",
    "singledispatchmethod": """
        from functools import singledispatchmethod
        class C:
            @singledispatchmethod
            def p(self, x): return 0
            @p.register
            def _(self, x: int): return @@
        def f(): return C().p(1)
        # C._ changed""",
    "list of one's own, after an empty one": """
        class M(list): pass
        CONF = [M(), M([@@])]
        def f(): return CONF[1][0]
        # value CONF changed""",
    "field of a thread of one's own": """
        import threading
        class Worker(threading.Thread):
            def __init__(self, top):
                super().__init__(name="worker")
                self.top = top
        CONF = Worker(@@)
        def f(): return CONF.top
        # value CONF changed""",
    "wrappers of one code": """
        def log(function, *more):
            import functools
            @functools.wraps(function)
            def inner(): return function()
            return inner
        @log
        def g(): return 1
        @log
        def h(): return @@
        def f(): return g() + h()
        # function h changed""",
    "class attribute, a list": """
        class C:
            X = [@@]
        def f(): return C.X
        # class C.X changed""",
    "class attribute, a dict of functions": """
        class C:
            X = {"a": lambda: @@}
        def f(): return C.X["a"]()
        # function C.<lambda> changed""",
    "cached_property": """
        from functools import cached_property
        class C:
            @cached_property
            def p(self): return @@
        def f(): return C().p
        # function C.p changed""",
    "setter": """
        class C:
            @property
            def p(self): return self._p
            @p.setter
            def p(self, v): self._p = v + @@
        def f():
            c = C(); c.p = 0; return c.p
        # function C.p changed""",
    "deleter": """
        class C:
            p = property(None, None, lambda self: print(@@))
        def f(): del C().p
        # function C.<lambda> changed""",
    "nested class": """
        class C:
            class D:
                def p(self): return @@
        def f(): return C.D().p()
        # function C.D.p changed""",
    "attribute of a function": """
        def h(): return h.top
        h.top = @@
        def f(): return h()
        # function h attribute top changed""",
    "parameters of a lambda": """
        f = [lambda a=1, b=2: 1, lambda a=1, *, b=2: 1][@@ - 1]
        # function <lambda> changed""",
    "object within itself": """
        class Node:
            def __init__(self, top): self.top, self.me, self.parts = top, self, [self]
        ROOT = Node(@@)
        ROOT.parts.append({"root": ROOT})
        def f(): return ROOT.top
        # value ROOT changed""",
    "object far down": """
        ROOT = [@@]
        for _ in range(5000): ROOT = [ROOT, print]
        def f(): return len(ROOT)
        # value ROOT changed""",
    "reducing that fails": """
        class C:
            def __init__(self): self.top = @@
            def __reduce_ex__(self, protocol): raise RuntimeError("no")
            def __eq__(self, other): raise RuntimeError("no")
            def __getattr__(self, name): raise RuntimeError("no")
            def __hash__(self): raise RuntimeError("no")
            def __repr__(self): raise RuntimeError("no")
        CONF = [C()]
        def f(): return CONF[0].top
        # value CONF changed""",
}
CHANGED.update({
    f"value: {value}": f"""
        import array, collections, datetime, decimal, fractions, pathlib, re, struct, types, uuid
        CONF = {value}
        def f(): return id(CONF)
        # value CONF changed"""
    for value in (
        'pathlib.Path("a@@")', 're.compile("@@")', 're.compile("a", @@ << 3)', "datetime.date(2020, 1, @@)", "datetime.timedelta(@@)",
        "datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=@@)))", "decimal.Decimal(@@)", "range(@@)",
        "fractions.Fraction(1, @@)", "slice(@@)", "bytearray([@@])", "memoryview(bytes([@@]))", "array.array('i', [@@])",
        "types.SimpleNamespace(a=@@)", "collections.OrderedDict(a=@@)", "collections.deque([0], @@)", "collections.Counter(a=@@)",
        "collections.defaultdict([int, str][@@ - 1])", "types.MappingProxyType({1: @@})", "uuid.UUID(int=@@)", "iter([@@])", "struct.Struct('@@i')",
        "{frozenset([@@])}",
        "[1, (2, {3: [@@]})]", "-0.0 if @@ == 1 else 0.0", "[True, 1][@@ - 1]", "[[True], [1]][@@ - 1]", "[(1,), [1]][@@ - 1]",
        "['x' * 1000, 'y' * 1000][@@ - 1]", "[b'x' * 1000, 'x' * 1000][@@ - 1]", "{1: 2, 3: 4} if @@ == 1 else {3: 4, 1: 2}",
    )
})  # fmt: skip


@pytest.mark.parametrize("text", CHANGED.values(), ids=CHANGED)
def test_a_change_is_seen_and_named(text: str) -> None:
    text = textwrap.dedent(text)
    assert run(text, 1).status == "done"
    assert run(text, 1).status == "up to date"
    result = run(text, 2)
    assert result.status == "done"
    assert text.rpartition("# ")[2] in result.reason


IMPORTS = {
    "import": "import {}\n    return {}.X",
    "from": "from {} import X\n    return X",
    "import_module": "from importlib import import_module\n    return import_module('{}').X",
}


@pytest.mark.parametrize("body", IMPORTS.values(), ids=IMPORTS)
@pytest.mark.parametrize("where", ["", "sub"])
def test_a_module_that_is_imported_inside_of_a_function_counts(body: str, where: str, tmp_path: pathlib.Path) -> None:
    name = f"inner_{abs(hash((body, where)))}"
    if where:
        os.mkdir(where)
        sys.path.insert(0, str(tmp_path / where))
    for number in (1, 2):
        with open(os.path.join(where, f"{name}.py"), "w") as file:
            file.write(f"X = {number}")
        sys.modules.pop(name, None)
        f = module("p", f"import os\ndef f():\n    {body.replace('{}', name)}").f
        result = executed(PythonStep(f))
        assert result.status == "done"
        sys.modules.pop(name, None)
        assert executed(PythonStep(f)).status == "up to date"
    assert f"module {name} changed" in result.reason


def test_a_name_of_a_module_counts_as_it_is() -> None:
    helper = module("helper", "X = 1")
    f = module("p", "import helper\ndef f(): return helper.X").f
    assert executed(PythonStep(f)).value == 1
    assert executed(PythonStep(f)).status == "up to date"
    helper.X = 2
    result = executed(PythonStep(f))
    assert result.value == 2
    assert "value helper.X changed" in result.reason


@pytest.mark.parametrize("use", ["helper.h()", "helper.T[0]()"])
def test_a_function_put_into_a_module_counts(use: str) -> None:
    helper = module("helper", "def h(): return 0\nT = []")
    f = module("p", f"import helper\ndef f(): return {use}").f
    for number in (1, 2):
        helper.h = eval(f"lambda: {number}")
        helper.T = [helper.h]
        result = executed(PythonStep(f))
        assert (result.status, result.value) == ("done", number)
        assert executed(PythonStep(f)).status == "up to date"


def test_a_submodule_counts_that_its_package_does_not_import() -> None:
    os.makedirs("pack/deep")
    for number in (1, 2):
        for name, text in (
            ("__init__", ""),
            ("deep/__init__", ""),
            ("deep/sub", f"def h(): return {number}  #{'#' * number}"),
        ):
            with open(f"pack/{name}.py", "w") as file:
                file.write(text)
        for name in [each for each in sys.modules if each.partition(".")[0] == "pack"]:
            del sys.modules[name]
        result = executed(PythonStep(module("p", "import pack.deep.sub\ndef f(): return pack.deep.sub.h()").f))
        assert (result.status, result.value) == ("done", number)
    assert "module pack.deep.sub changed" in result.reason


def test_a_module_counts_as_it_was_loaded() -> None:
    def f() -> Any:
        helper = module("helper", "X = 1\ndef h(): return X")
        yield module("p", "import helper\ndef f(): return helper.h()").f
        with open("helper.py", "w") as file:
            file.write("X = 2\ndef h(): return X")
        yield sys.modules["p"].f
        exec("X = 2", helper.__dict__)
        helper.__spec__ = object()
        yield sys.modules["p"].f

    said = [(result.status, result.value) for result in (executed(PythonStep(each)) for each in f())]
    assert said == [("done", 1), ("up to date", 1), ("done", 2)]


def test_what_cannot_be_looked_at_makes_its_step_run_each_time_and_nothing_else() -> None:
    text = """
        class Meta(type):
            def __getattribute__(cls, name): raise RuntimeError("no")
            def __eq__(cls, other): raise RuntimeError("no")
        class Evil(metaclass=Meta): pass
        class Liar:
            __class__ = property(lambda self: 1 / 0)
        CONF = [Evil, object.__new__(Evil), Liar(), @@]
        def f(): return CONF[3]
        def g(e=Evil): return Evil is e
        """
    for _ in range(2):
        found = module("p", textwrap.dedent(text).replace("@@", "1"))
        results = [executed(PythonStep(each)) for each in (found.f, found.g)]
        assert [each.status for each in results] == ["done", "done"]
    assert "value CONF (cannot be compared: its list cannot be looked at) changed" in results[0].reason
    assert "function g default 0 (cannot be compared: its Meta cannot be looked at) changed" in results[1].reason


REMEMBERING = """
    class CachedProperty:
        def __init__(self, function): self.function = function
        def __get__(self, it, kind): return it.__dict__.setdefault("_cache", {}).setdefault("once", self.function(it))
    CachedProperty.__module__ = "pandas._libs.properties"
    class Plain:
        n = 0
        def __init__(self, n): self.n = n
        @CachedProperty
        def once(self): return [self.n]
    class Pickled(Plain):
        def __reduce__(self): return Pickled, (0,), (self.n, self.__dict__)
    class Own:
        def __init__(self, n): self._cache = {"n": n}
        def __reduce__(self): return Own, (0,), (0, {"_cache": self._cache})
    HELD = Plain(@@)
    PICKLED = Pickled(@@)
    OWN = Own(@@)
    def f(): return HELD.once
    def g(): return PICKLED.once
    def h(): return OWN._cache
    """


@pytest.mark.parametrize("name", ["f", "g", "h"])
def test_what_pandas_cached_properties_remember_does_not_count(name: str) -> None:
    for version in (1, 2):
        found = module("p", textwrap.dedent(REMEMBERING).replace("@@", str(version)))
        assert executed(PythonStep(vars(found)[name])).status == "done"
        assert executed(PythonStep(vars(found)[name])).status == "up to date"


def test_a_function_of_cythons_is_told_by_its_name() -> None:
    for version, status in ((1, "done"), (2, "up to date")):
        members = {"__module__": f"_cython_3_{version}", "__reduce__": lambda self: self.__qualname__}
        found = module("p", "def f(): return g is None")
        found.g = type("cython_function_or_method", (), members)()
        found.g.__module__, found.g.__qualname__ = "p", "g"
        assert executed(PythonStep(found.f)).status == status


def test_a_module_that_is_found_only_where_it_was_loaded_from_counts() -> None:
    os.mkdir("far")
    for number in (1, 2):
        helper = module("far/helper", f"def h(): return {number}")
        helper.__name__ = "helper"
        sys.modules["helper"] = helper
        result = executed(PythonStep(module("p", "import helper\ndef f(): return helper.h()").f))
        assert (result.status, result.value) == ("done", number)


def test_a_file_that_was_edited_since_it_was_loaded_is_not_believed() -> None:
    text = "def f():\n    return {}\n"
    f = module("p", text.format(1)).f
    with open("p.py", "w") as file:
        file.write(text.format(2))
    assert executed(PythonStep(f)).value == 1
    result = executed(PythonStep(module("p", text.format(2)).f))
    assert (result.value, result.status) == (2, "done")


MAIN = """
import sys
import helper
from miniduct import PipelineBuilder, PythonStep
def f():
    from helper import g
    return g()
pipeline = PipelineBuilder("demo")
pipeline.add_step(PythonStep(f))
if len(sys.argv) > 1:
    with open("helper.py", "w") as file:
        file.write("def g(): return 20")
result = pipeline.execute()["f"]
print(result.status, result.value)
"""


def test_a_module_that_was_edited_since_it_was_loaded_is_not_believed() -> None:
    for name, text in (("helper.py", "def g(): return 1"), ("main.py", MAIN)):
        with open(name, "w") as file:
            file.write(text)
    said = [
        subprocess.run([sys.executable, "main.py", *more], check=True, capture_output=True, text=True).stdout
        for more in (["edit"], [], [])
    ]
    assert said == ["done 1\n", "done 20\n", "up to date 20\n"]


STATE = """
import config
TABLE = {"n": 0}
def set(n): TABLE["n"] = n
def table(): return TABLE["n"]
def configured(): return config.N
class C:
    def m(self): return config.N
"""


@pytest.mark.parametrize("call", ["helper.table()", "helper.configured()", "helper.C().m()"])
def test_what_a_modules_function_uses_counts_as_it_is(call: str) -> None:
    config, helper = module("config", "N = 0"), module("helper", STATE)
    step = f"import helper\ndef f(): return {call}"
    for number in (1, 2):
        config.N = number
        helper.set(number)
        result = executed(PythonStep(module("p", step).f))
        assert (result.status, result.value) == ("done", number)
        assert executed(PythonStep(module("p", step).f)).status == "up to date"


STABLE = """
    import contextlib, dataclasses, enum, functools, logging, random, threading, types, weakref
    from concurrent.futures import ThreadPoolExecutor
    from os import environ
    POOL = ThreadPoolExecutor(1)
    T = __import__("typing").TypeVar("T")
    logger = logging.getLogger(__name__)
    SETS = {"a": {"x", "y", "z", "w"}, "b": [frozenset("abcdef"), {("p", 1), ("q", 2)}, {print, len, min}]}
    LOCK, REFS, CACHE = threading.Lock(), weakref.WeakSet(), weakref.WeakKeyDictionary()
    class Color(enum.Enum): RED = "r"
    @dataclasses.dataclass(frozen=True)
    class Conf:
        tags: set
        color: Color = Color.RED
    CONF = {Conf(frozenset("xyz")), Conf(frozenset("pqr"))}
    class Plain:
        def __init__(self): self.lock, self.me, self.event = threading.RLock(), self, threading.Event()
        @functools.cached_property
        def once(self): return random.random()
    PLAIN = Plain()
    class Called(functools.partial): "holds the address of a function of C, as pandas' own functions do"
    CALLED = Called(len, "abc")
    @functools.singledispatch
    def kinds(x): return 0
    @kinds.register
    def _(x: int): return 1
    @functools.lru_cache
    def cached(x): return x
    def f(odd=types.SimpleNamespace(a={"m", "n", "o"})):
        logger.debug(__file__, T)
        environ["CHANGED"] = str(random.random())
        with contextlib.suppress(KeyError), LOCK:
            PLAIN.once, kinds(1), cached(2), kinds("x")
        REFS.add(PLAIN), POOL.submit(len, "a").result()
        CACHE[PLAIN] = 1
        return len(SETS), len(CONF), CALLED(), "x" in {"a", "b", "c", "d"}
    lam = lambda: "x" in {"a", "b", "c", ("d", "e")} and SETS
    """


def test_what_is_as_it_was_is_not_run_again() -> None:
    for status in ("done", "up to date"):
        found = module("p", textwrap.dedent(STABLE))
        assert executed(PythonStep(found.f)).status == status
        assert executed(PythonStep(found.f)).status == "up to date"


def test_nor_in_another_process_nor_under_another_name() -> None:
    tail = """
    from miniduct import PipelineBuilder, PythonStep, ShellStep
    pipeline = PipelineBuilder("p")
    pipeline.add_step(ShellStep("true", name="command", params={"s": [{"x", "y", "z", 4, frozenset({"v", "w"})}]}))
    param = {"s": {"x", "y", "z", "w"}, "o": PLAIN, "f": [cached, f], "t": (1, {2: {3, "a", "b"}})}
    pipeline.add_steps(PythonStep(f), PythonStep(lam, name="lam"), PythonStep(lambda s: 1, name="param", params=param))
    if __name__ == "__main__":
        print(*[each.status for each in pipeline.execute().values()])
    """
    with open("p.py", "w") as file:
        file.write(textwrap.dedent(STABLE + tail))
    said = []
    for seed, how in (
        ("1", ["p.py"]),
        ("2", ["p.py"]),
        ("3", ["-c", "import p; print(*[r.status for r in p.pipeline.execute().values()])"]),
    ):
        done = subprocess.run(
            [sys.executable, *how],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        said.append(done.stdout.strip() or done.stderr)
    assert said == [" ".join(["done"] * 4), *[" ".join(["up to date"] * 4)] * 2]


class Opaque:
    """A representation that does not tell all."""

    def __init__(self, top: int) -> None:
        self.top = top

    def __repr__(self) -> str:
        return "Opaque"


def one() -> int:
    return 1


def two() -> int:
    return 2


PARAMS: dict[str, tuple[Any, Any, str]] = {
    "number": (1, 2, "params.x changed: 1 -> 2"),
    "float or integer": (1.0, 1, "params.x changed"),
    "object": (Opaque(1), Opaque(2), "params.x changed"),
    "tuple or list": ((1,), [1], "params.x changed"),
    "keys of several kinds": ({1: 2, "a": 3}, {1: 2, "a": 4}, "params.x changed"),
    "function": (one, two, "function one is no longer used, function two is used now"),
    "functions in a list": ([one, two], [two, one], "params.x changed"),
    "class": (Opaque, int, "class Opaque is no longer used"),
    "large number": (10**5000, 10**5000 + 1, "params.x changed"),
    "not a number": (float("inf"), float("nan"), "params.x changed"),
    "set": ({1, "a"}, {1, "b"}, "params.x changed"),
    "bytes": (b"a", "a", "params.x changed"),
    "nested": ({"a": [{"b": (1,)}]}, {"a": [{"b": (2,)}]}, "params.x changed"),
}


@pytest.mark.parametrize(("old", "new", "reason"), PARAMS.values(), ids=PARAMS)
def test_a_changed_parameter_is_seen(old: Any, new: Any, reason: str) -> None:
    def f(x: Any) -> str:
        return type(x).__name__

    assert executed(PythonStep(f, params={"x": old})).status == "done"
    assert executed(PythonStep(f, params={"x": old})).status == "up to date"
    result = executed(PythonStep(f, params={"x": new}))
    assert result.status == "done"
    assert reason in result.reason


def test_the_code_of_a_function_that_is_a_parameter_counts() -> None:
    for number in (1, 2):
        h = module("p", f"def h(): return {number}").h
        result = executed(PythonStep(lambda x: x(), name="f", params={"x": h}))
        assert (result.status, result.value) == ("done", number)
    assert "function h changed" in result.reason


@pytest.mark.parametrize(
    "make", [PythonStep, lambda _, **settings: ShellStep("true", **settings)], ids=["python", "shell"]
)
def test_a_parameter_that_nothing_can_be_told_of_is_a_mistake(make: Any) -> None:
    def deep() -> Any:
        found: Any = None
        for _ in range(60_000):
            found = [found, print]
        return found

    bad: dict[str, Any] = {"generator": (each for each in "abc"), "file": [sys.stdout], "deep": deep()}
    for kind, value in bad.items():
        if make is PythonStep:
            with pytest.raises(PlanError, match=rf'step "f": param "{kind}" (holds a|is nested deeper)'):
                executed(make(lambda: 1, name="f", params={kind: value}))


@pytest.mark.parametrize("held", [{1: 2, "a": 3}, {"x": [{"a": 3, 1: 2}]}, ({"a": {1: 2}, None: 3},)])
def test_names_of_several_kinds_in_a_parameter_of_a_command_are_a_mistake(held: Any) -> None:
    def shown(x: Any) -> str:
        return repr(x)

    with pytest.raises(PlanError, match=r'step "f": param "x" cannot be told as text: it has the name (1|None), and a'):
        executed(ShellStep("true", name="f", params={"x": held}))
    assert executed(PythonStep(shown, params={"x": held})).value == repr(held)


def test_a_field_of_a_step_counts_with_its_class() -> None:
    text = """
        from miniduct import BaseStep
        class Model:
            def p(self): return @@
        class Fit(BaseStep):
            def __init__(self, model):
                super().__init__()
                self.model = model
            def run(self): return self.model.p()
        """
    for number in (1, 2):
        found = module("p", textwrap.dedent(text).replace("@@", str(number)))
        assert executed(found.Fit(found.Model())).value == number
        assert executed(found.Fit(found.Model())).status == "up to date"


@pytest.mark.parametrize("passed_on", [False, True])
def test_the_code_of_a_values_class_counts_for_who_reads_it(passed_on: bool) -> None:
    text = """
        class Point:
            def __init__(self, x): self.x = x
            def scaled(self): return self.x * @@
        def load(): return [Point(1), Point(2)]
        def first(points): return points[:1]
        def use(points): return [each.scaled() for each in points]
        """
    for number in (1, 2):
        found = module("p", textwrap.dedent(text).replace("@@", str(number)))
        for status in ("done", "up to date"):
            load, first, use = PythonStep(found.load), PythonStep(found.first), PythonStep(found.use)
            steps = [load, first, use] if passed_on else [load, use]
            for before, then in itertools.pairwise(steps):
                before >> then
            result = executed(*steps)
            assert (result.status, result.value) == (status, [number] if passed_on else [number, 2 * number])


def test_lists_in_many_places_are_looked_at_once() -> None:
    text = "D = ()\nfor _ in range(5_000): D = (D,)\n"
    text += "T = [print]\nfor _ in range(200): T = [T, T]\nS = [1]\nfor _ in range(200): S = (S, S)\ndef f(): return len(T) + len(S) + len(D)"
    began = time.monotonic()
    assert run(text, 1).status == "done"
    assert time.monotonic() - began < 5


def test_a_large_array_is_not_copied() -> None:
    program = """
        import resource
        from miniduct.pipeline.identity import Known
        DATA = {"a": bytearray(300_000_000)}
        def f(): return DATA
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        Known("/").code_of(f)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100


def shown(path: str = "", inputs: Any = (), targets: Any = (), target: str = "") -> None:
    with open(target, "w") as file:
        file.write(f"{path} {inputs} {sorted(targets) if isinstance(targets, dict) else ''}")
    for name, (place,) in targets.items() if isinstance(targets, dict) else ():
        with open(place, "w") as file:
            file.write(name)


class ByName(BaseStep):
    def merge(self, outputs: Any) -> Any:
        return [outputs["a"], outputs["b"]]

    def run(self, first: str, second: str, target: str) -> None:
        with open(target, "w") as file:
            file.write(f"{first} {second}")


def made_by(name: str, key: str) -> ShellStep:
    return ShellStep("echo > {target}", name=name, target=key)


def behind(*before: BaseStep, step: BaseStep) -> list[BaseStep]:
    list(before) >> step
    return [*before, step]


GIVEN: dict[str, tuple[Callable[[], list[BaseStep]], Callable[[], list[BaseStep]]]] = {
    "names of inputs": (
        lambda: [PythonStep(shown, inputs={"a": "x", "b": "y"}, target="o")],
        lambda: [PythonStep(shown, inputs={"b": "x", "a": "y"}, target="o")],
    ),
    "how they are grouped": (
        lambda: [PythonStep(shown, inputs={"a": ["x"], "b": ["y", "z"]}, target="o")],
        lambda: [PythonStep(shown, inputs={"a": ["x", "y"], "b": ["z"]}, target="o")],
    ),
    "names of targets": (
        lambda: [PythonStep(shown, targets={"a": "o", "b": "p"})],
        lambda: [PythonStep(shown, targets={"b": "o", "a": "p"})],
    ),
    "from a step before it, or by itself": (
        lambda: behind(made_by("s", "x"), step=PythonStep(shown, name="f", target="o")),
        lambda: [made_by("s", "x"), PythonStep(shown, name="f", inputs="x", target="o")],
    ),
    "one file, or those of a pattern": (
        lambda: behind(made_by("s", "x"), step=PythonStep(shown, name="f", target="o")),
        lambda: behind(
            ShellStep("echo > {target}/x", name="s", target="x*"), step=PythonStep(shown, name="f", target="o")
        ),
    ),
    "names of the steps before a merge by names": (
        lambda: behind(made_by("a", "x"), made_by("b", "y"), step=ByName(name="m", target="o")),
        lambda: behind(made_by("b", "x"), made_by("a", "y"), step=ByName(name="m", target="o")),
    ),
}


@pytest.mark.parametrize("what", GIVEN)
def test_as_what_a_function_is_given_its_files_counts(what: str) -> None:
    first, then = GIVEN[what]
    for name in ("x", "y", "z"):
        with open(name, "w") as file:
            file.write(name)
    executed(*first())
    assert executed(*first()).status == "up to date"
    result = executed(*then())
    assert result.status == "done"
    assert "arguments changed" in result.reason
    assert executed(*then()).status == "up to date"


def test_the_names_of_the_steps_before_it_do_not_count_otherwise() -> None:
    executed(*behind(made_by("a", "x"), step=PythonStep(shown, name="f", target="o")))
    assert executed(*behind(made_by("b", "x"), step=PythonStep(shown, name="f", target="o"))).status == "up to date"
