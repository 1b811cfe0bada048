"""What identifies an object: its kind and all that it holds, at any depth, as bytes that are the same in each process; and the code that it uses.

Functions and classes of the user's are told by their names where they can be found by these, and else by what they are made of; what is
installed is told by its name alone. Of an object of the user's classes all attributes count, of others what they would be pickled as. Which
object is the same as which does not count, nor does the order of a set. Invariant: what raises an error where it is looked at is never as it was.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import gc
import marshal
import os
import pickle
import struct
import sys
import sysconfig
import types
import weakref
from array import array
from importlib.machinery import EXTENSION_SUFFIXES
from itertools import chain
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from ..tuples import NamedTuple
from .sources import Sources, byte_code
from .steps import OWN, BaseStep, own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Walk = Iterator[Any]

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None)})
DEEPEST = 50_000
"""Objects within one another; no stack of Python's grows with them, but the memory does."""

_INSTALLED = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_HOLDERS = frozenset({list, tuple, dict})
_FLAT = PLAIN | _HOLDERS
_FLAT_DEEPEST = 10
_LONG = 64
_CLOSED = sys.maxsize
_BY_KIND = frozenset({
    "_thread.lock", "_thread.RLock", "_thread._local", "_threading_local.local", "threading._RLock", "threading.Condition", "threading.Event",
    "threading.Semaphore", "threading.Barrier", "threading.Thread", "logging.Logger", "weakref.WeakKeyDictionary", "weakref.WeakValueDictionary",
    "_weakrefset.WeakSet", "multiprocessing.synchronize.SemLock", "multiprocessing.queues.Queue", "os._Environ",
    "concurrent.futures._base.Executor",
})  # fmt: skip
"""Kinds whose state is of this process: what a step does is not told by it."""
_PIPELINE = "miniduct.pipeline.builder.PipelineBuilder"
_OF_A_CLASS = frozenset({
    "__slots__", "__match_args__", "__annotations__", "__dataclass_fields__", "__dataclass_params__", "__attrs_attrs__",
})  # fmt: skip
"""Those of its special names whose values count; functions always do."""
_ADDRESSES = frozenset({"__dictoffset__", "__vectorcalloffset__", "__weaklistoffset__"})
"""Slots of compiled classes that hold where something is in this process, not what it is."""
_MEMO = "_cache"
"""Where the objects of classes with pandas' own kind of cached property keep what these remember."""


class UnidentifiedError(Exception):
    """An object that nothing sound can be said of."""


class Part(NamedTuple):
    """What is known of one object. The object itself is kept, so that its id stays its own."""

    thing: object
    said: bytes
    uses: Mapping[int, Any]
    """Functions, classes and modules of the user's, by id."""
    opaque: str | None = None
    """A kind of object in it of which nothing but the kind is known."""
    low: int = _CLOSED
    """How far up it leads back to an object that it is a part of."""
    odd: str | None = None
    """A kind of object in it that raised an error where it was looked at: so it is never as it was."""


class _Frame:
    """An object that is being looked at."""

    __slots__ = ("at", "gathered", "low", "mark", "odd", "opaque", "said", "thing", "uses", "walk")

    def __init__(self, thing: object, at: int, mark: int) -> None:
        self.thing = thing
        self.at = at
        self.mark = mark
        self.said = bytearray()
        self.uses: dict[int, Any] = {}
        self.opaque: str | None = None
        self.odd: str | None = None
        self.low = _CLOSED
        self.gathered: list[Part] | None = None
        self.walk: Walk = iter(())

    def say(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self.said += b"%d:" % len(data) + data

    def take(self, part: Part) -> None:
        if self.gathered is not None:
            self.gathered.append(part)
            return
        self.said += part.said
        if part.uses:
            self.uses.update(part.uses)
        self.opaque = self.opaque or part.opaque
        self.odd = self.odd or part.odd
        self.low = min(self.low, part.low)

    def close(self) -> Part:
        gathered, self.gathered = self.gathered, None
        for part in sorted(gathered or (), key=lambda part: part.said):
            self.take(part)
        low = self.low if self.low < self.at else _CLOSED
        return Part(self.thing, b"#" + blake3(self.said).digest(), self.uses, self.opaque, low, self.odd)


class Objects:
    """Objects, each looked at once. What was changed since it was first asked for is not seen."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._known: dict[int, Part] = {}
        self._ways: dict[int, tuple[type, Callable[[Any, _Frame], Walk]]] = {}
        self._files: dict[str, bool] = {}

    def part(self, value: object) -> Part:
        """What identifies the value. UnidentifiedError where it is nested too deep."""
        if type(value) in PLAIN:
            return Part(value, _plain(value), {})
        # What leads back into an object that is not finished is known only until that one is: it depends on where one came from.
        stack = [_Frame(None, 0, 0)]
        stack[0].walk = iter((value,))
        path: dict[int, int] = {}
        loose: dict[int, Part] = {}
        while True:
            frame = stack[-1]
            blamed = frame.thing
            try:
                child = blamed = next(frame.walk)
                found = self._find(child, path, loose, len(stack))
                way = self._way(type(child)) if found is None else _kind_alone
            except StopIteration:
                stack.pop()
                if not stack:
                    return Part(value, bytes(frame.said), frame.uses, frame.opaque, odd=frame.odd)
                found = frame.close()
                del path[id(frame.thing)]
                if found.low == _CLOSED:
                    self._known[id(found.thing)] = found
                    while len(loose) > frame.mark:
                        loose.popitem()
                else:
                    loose[id(found.thing)] = found
                frame = stack[-1]
            except Exception:  # whatever a class does where it is asked for something: then it is never as it was
                frame.said += os.urandom(16)
                frame.opaque = frame.odd = _name(type(blamed))
                continue
            if found is not None:
                frame.take(found)
                continue
            if len(stack) > DEEPEST:
                raise UnidentifiedError(f"is nested deeper than {DEEPEST:,} objects")
            path[id(child)] = len(stack)
            stack.append(_Frame(child, len(stack), len(loose)))
            stack[-1].walk = way(child, stack[-1])

    def _find(self, value: object, path: dict[int, int], loose: dict[int, Part], depth: int) -> Part | None:
        """What is known of it already, or told by a word."""
        if type(value) in PLAIN:
            return Part(value, _plain(value), {})
        key = id(value)
        found = self._known.get(key) or loose.get(key)
        if found is None and key in path:
            return Part(value, b"^%d;" % (depth - path[key]), {}, None, path[key])
        if found is None:
            found = self.reference(value)
            if found is not None:
                self._known[key] = found
        return found

    def forget(self) -> None:
        """Keep nothing that values hold any longer."""
        self._known.clear()

    # -- code, by name -----------------------------------------------------------------------------------------------------------------

    def is_local(self, thing: Any) -> bool:
        """Is the function, class or module the user's?"""
        file = _file(thing)
        if file is None:
            return False
        if file not in self._files:
            self._files[file] = is_local(file)
        return self._files[file]

    def reference(self, value: Any) -> Part | None:
        """A function, class or module that its name tells."""
        try:
            return self._reference(value)
        except Exception:  # whatever its metaclass does
            return None

    def _reference(self, value: Any) -> Part | None:
        kind = type(value)
        if kind is types.FunctionType:
            name = _by_name(value)
            if name is None:
                return None
            # What a decorator of a library makes of the user's function has the name and the module of that.
            ours = self.is_local(value) or self.is_local(sys.modules[value.__module__])
        elif issubclass(kind, type):
            ours = self.is_local(value)
            name = _by_name(value) if ours else f"{value.__module__}.{value.__qualname__}"
        elif issubclass(kind, types.ModuleType):
            ours, name = self.is_local(value), module_name(value.__name__)
        elif kind is types.BuiltinFunctionType and (value.__self__ is None or type(value.__self__) is types.ModuleType):
            return self._compiled(value, f"{value.__module__}.{value.__qualname__}")
        elif kind.__module__.startswith("_cython_"):  # a function of Cython's; its class is in no file
            name = _by_name(value)
            return None if name is None else self._compiled(value, name)
        else:
            return None
        return None if name is None else Part(value, told(name), {id(value): value} if ours else {})

    def _compiled(self, function: Any, name: str) -> Part:
        """A function of C code; a module of the user's counts as a whole."""
        home = sys.modules.get(function.__module__)
        return Part(function, told(name), {id(home): home} if home is not None and self.is_local(home) else {})

    # -- ways to look at an object -------------------------------------------------------------------------------------------------------

    def _way(self, kind: type) -> Callable[[Any, _Frame], Walk]:
        known = self._ways.get(id(kind))
        if known is None:
            known = self._ways[id(kind)] = kind, self._chosen(kind)
        return known[1]

    def _chosen(self, kind: type) -> Callable[[Any, _Frame], Walk]:
        if kind is types.FunctionType:
            return self._function
        if issubclass(kind, type):
            return self._class
        for base, way in _WAYS.items():
            if kind is base or (base in _WITH_SUBCLASSES and issubclass(kind, base)):
                return way
        bases = {f"{each.__module__}.{each.__qualname__}" for each in kind.__mro__}
        if _PIPELINE in bases or (bases & _BY_KIND and not self.is_local(kind)):
            return _kind_alone
        return self._instance

    def _function(self, value: types.FunctionType, frame: _Frame) -> Walk:
        frame.uses[id(value)] = value
        frame.say(f"function {self.text(value)}")
        for name, held in held_by(value):
            frame.say(name)
            yield held

    def text(self, function: types.FunctionType) -> str:
        """What the function's own code says: the user's its text, what is installed its name."""
        code, home = function.__code__, function.__globals__
        if self.is_local(function):
            return self._sources.text(code, package_of(home)).said
        return f"{home.get('__name__')}.{code.co_name}"

    def _class(self, value: type, frame: _Frame) -> Walk:
        frame.uses[id(value)] = value
        frame.say(f"class {value.__qualname__}")
        yield type(value)
        yield from value.__bases__
        for name, held in members(value):
            frame.say(name)
            yield held

    def _instance(self, value: Any, frame: _Frame) -> Walk:
        kind = type(value)
        yield kind
        ours = self.is_local(kind)
        if ours:  # first: an object may have a __dict__ from when it is asked for, and its pickle tells
            attributes(value, kind)
        usual = _is_usual(kind, "__reduce_ex__", "__reduce__")
        whole = usual and _is_usual(kind, "__getstate__")
        reduce = copyreg.dispatch_table.get(kind)
        parts: tuple[Any, ...] = ()
        try:
            reduced: Any = reduce(value) if reduce else value.__reduce_ex__(5)
            if isinstance(reduced, str):  # the name of an object that there is once
                frame.say(reduced)
                home = sys.modules.get(getattr(value, "__module__", None) or "")
                if is_compiled(home):
                    yield home
            else:
                maker, given, state, *contents = (*reduced, None, None, None)[:5]
                parts = (maker, given or (), state, *(None if each is None else tuple(each) for each in contents))
        except Exception:  # it cannot be pickled; what it holds can be looked at
            frame.opaque = None if ours and not whole else _name(kind)
            yield from (each for each in gc.get_referents(value) if type(each) is types.FunctionType)
        if ours or whole or not parts:
            yield from _attributes(value, frame)
        if not parts:
            return
        maker, given, state, *contents = parts
        if (
            whole
            and not reduce
            and given == (kind,)
            and contents == [None, None]
            and _is_usual(kind, "__getnewargs__", "__getnewargs_ex__")
        ):
            self._ways[id(kind)] = kind, _attributes_alone  # and so for all others of its kind
            return
        frame.say("made by")
        yield maker
        for each in (given, *(each or () for each in contents)):
            frame.say(f"{len(each)}")
            if not _said_flat(each, frame):
                yield from each
        if state is not None and not (usual and (ours or whole)):
            yield _lasting(state) if _has_memo(kind) else state


def _said_flat(value: Any, frame: _Frame) -> bool:
    """Say a container of plain values and such containers at once: of a large one, an object at a time would take a hundred times as long."""
    level, seen, visits = [value], set(), 0
    for _ in range(_FLAT_DEEPEST):
        below: list[Any] = []
        for each in level:
            kinds = {*map(type, each), *map(type, each.values())} if type(each) is dict else set(map(type, each))
            if not kinds <= _FLAT:
                return False
            if kinds <= PLAIN:
                continue
            seen.add(id(each))
            visits += 1
            if visits > 1000 and visits > 4 * len(seen):  # one list in many places, or in itself
                return False
            items = chain(each, each.values()) if type(each) is dict else each
            below += [item for item in items if type(item) in _HOLDERS]
        if not below:
            frame.said += marshal.dumps(value, 2)  # the version that knows of no references
            return True
        level = below
    return False


# -- ways that need nothing else ----------------------------------------------------------------------------------------------------------


def _sequence(value: Any, frame: _Frame) -> Walk:
    if not _said_flat(value, frame):
        frame.say(f"{type(value).__name__} of {len(value)}")
        yield from value


def _mapping(value: Any, frame: _Frame) -> Walk:
    if type(value) is not dict or not _said_flat(value, frame):
        frame.say(f"{type(value).__name__} of {len(value)}")
        yield from chain.from_iterable(value.items())


def _set(value: Any, frame: _Frame) -> Walk:
    frame.say(f"{type(value).__name__} of {len(value)}")
    if set(map(type, value)) <= PLAIN:
        frame.said += b"".join(sorted(map(_plain, value)))
    else:
        frame.gathered = []
        yield from value


def _buffer(value: Any, frame: _Frame) -> Walk:
    view = memoryview(value)
    frame.say(f"{type(value).__name__} {view.format} {view.shape}")
    frame.said += _hashed(pickle.PickleBuffer(value).raw() if view.contiguous else view.tobytes())
    return iter(())


def _attributes_alone(value: object, frame: _Frame) -> Walk:
    yield type(value)
    yield from _attributes(value, frame)


def _attributes(value: object, frame: _Frame) -> Walk:
    found = attributes(value, type(value))
    if not _said_flat(found, frame):
        for name, held in found:
            frame.say(name)
            yield held


def _bound(value: Any, frame: _Frame) -> Walk:
    frame.say("bound")
    yield getattr(value, "__func__", None) or value.__name__
    yield value.__self__


def _accessor(value: property, frame: _Frame) -> Walk:
    frame.say("property")
    yield from (value.fget, value.fset, value.fdel)


def _holder(value: Any, frame: _Frame) -> Walk:
    frame.say(type(value).__name__)
    yield value.__func__


def _remembering(value: Any, frame: _Frame) -> Walk:
    frame.say("lru_cache")
    yield value.__wrapped__
    yield value.cache_parameters()


def _cell(value: types.CellType, frame: _Frame) -> Walk:
    frame.say("cell")
    try:
        yield value.cell_contents
    except ValueError:
        return


def _code(value: types.CodeType, frame: _Frame) -> Walk:
    frame.say(byte_code(value))
    return iter(())


def _step(value: BaseStep, frame: _Frame) -> Walk:
    yield type(value)
    for name, held in step_fields(value):
        frame.say(name)
        yield held


def _referent(value: Any, frame: _Frame) -> Walk:
    frame.say("reference")
    yield value()


def _layout(value: struct.Struct, frame: _Frame) -> Walk:
    frame.say(value.format)
    yield struct.Struct


def _kind_alone(value: object, frame: _Frame) -> Walk:  # noqa: ARG001
    yield type(value)


_WAYS: dict[type, Callable[[Any, _Frame], Walk]] = {
    list: _sequence,
    tuple: _sequence,
    dict: _mapping,
    types.MappingProxyType: _mapping,
    set: _set,
    frozenset: _set,
    bytearray: _buffer,
    memoryview: _buffer,
    pickle.PickleBuffer: _buffer,
    array: _buffer,
    types.MethodType: _bound,
    types.BuiltinFunctionType: _bound,
    property: _accessor,
    staticmethod: _holder,
    classmethod: _holder,
    functools._lru_cache_wrapper: _remembering,
    types.CellType: _cell,
    types.CodeType: _code,
    BaseStep: _step,
    enum.Enum: _attributes_alone,
    weakref.ref: _referent,
    struct.Struct: _layout,
}
_WITH_SUBCLASSES = (BaseStep, enum.Enum, weakref.ref)


# -- what objects hold ----------------------------------------------------------------------------------------------------------------------


def held_by(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function carries with it: defaults, closure, attributes, each with what it is called."""
    for at, default in enumerate(function.__defaults__ or ()):
        yield f"default {at}", default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield f"default {name}", default
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield f"closure {name}", cell.cell_contents
        except ValueError:  # not bound yet
            continue
    for name, held in sorted(function.__dict__.items()):
        yield f"attribute {name}", held


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """What the body of a class defines, by name."""
    for name, held in sorted(vars(kind).items()):
        if type(held) in (types.MemberDescriptorType, types.GetSetDescriptorType) or name == "_abc_impl":
            continue
        special = name.startswith("__") and name.endswith("__") and name not in _OF_A_CLASS
        if not special or hasattr(type(held), "__get__"):
            yield name, held


def attributes(value: object, kind: type) -> list[tuple[str, Any]]:
    """What an object of Python code holds, by name: not what a cached property will find again."""
    try:
        found = dict(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        found = {}
    slots, left_out = _shape(kind)
    for name, slot in slots:
        try:
            found[name] = slot.__get__(value)
        except AttributeError:
            continue
    for name in left_out:
        found.pop(name, None)
    return sorted(found.items())


def step_fields(step: BaseStep) -> list[tuple[str, Any]]:
    """What a step of a class of the user's adds to its settings."""
    function = own(step).function
    fields = sorted((name, held) for name, held in vars(step).items() if name != OWN)
    return fields if function is None else [("function", function), *fields]


def _is_usual(kind: type, *names: str) -> bool:
    return all(getattr(kind, name, None) is getattr(object, name, None) for name in names)


@functools.lru_cache(maxsize=1000)
def _shape(kind: type) -> tuple[list[tuple[str, Any]], frozenset[str]]:
    """The slots of a class, and the attributes that do not count: its cached properties, and where it stands."""
    every = [(name, it) for each in kind.__mro__ for name, it in vars(each).items()]
    slots = [(name, it) for name, it in every if type(it) is types.MemberDescriptorType and name not in _ADDRESSES]
    left_out = {"__module__"} | {name for name, it in every if type(it) is functools.cached_property}
    remembering = [type(it) for _, it in every if _name(type(it)) == "CachedProperty"]
    if any(each.__module__ == "pandas._libs.properties" for each in remembering):
        left_out.add(_MEMO)
    return slots, frozenset(left_out)


def _has_memo(kind: type) -> bool:
    return _MEMO in _shape(kind)[1]


def _lasting(state: Any) -> Any:
    """What an object is pickled as, one of attributes or of several such, without what is only remembered."""
    if type(state) is tuple:
        return tuple([each for each in map(_lasting, state) if type(each) is not dict or each])
    return {name: held for name, held in state.items() if name != _MEMO} if type(state) is dict else state


# -- words ----------------------------------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> bytes:
    kind = type(value)
    if kind is bytes and len(value) > _LONG:
        return b"B" + _hashed(value)
    if kind is str and len(value) > _LONG:
        return b"S" + _hashed(value.encode("utf-8", "surrogatepass"))
    return marshal.dumps(value, 2)


def _hashed(data: bytes | memoryview) -> bytes:
    return blake3(data).digest()


def told(name: str) -> bytes:
    """What is said of a function, class or module that is told by its dotted name."""
    data = name.encode("utf-8", "surrogatepass")
    return b"@%d:" % len(data) + data


def _name(kind: type) -> str:
    return str(type.__getattribute__(kind, "__qualname__"))


# -- whose it is ----------------------------------------------------------------------------------------------------------------------------


def is_local(file: str | None) -> bool:
    """Does the file belong to the user, not to what is installed?"""
    if not file or file.startswith("<frozen "):
        return False
    file = os.path.abspath(file)
    return not file.startswith((PACKAGE, *_INSTALLED)) and "site-packages" not in file and "dist-packages" not in file


def is_compiled(module: object) -> bool:
    """Is it a module of C code?"""
    return str(getattr(module, "__file__", None)).endswith(tuple(EXTENSION_SUFFIXES))


def module_name(name: str) -> str:
    """The module's name; that of the main one is what it would be imported as."""
    if name != "__main__":
        return name
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return spec.name if spec else os.path.splitext(os.path.basename(getattr(main, "__file__", None) or name))[0]


def package_of(home: Mapping[str, Any]) -> str:
    """What relative imports of a function with these globals start from."""
    found = home.get("__package__")
    return found if isinstance(found, str) else ""


def _file(thing: Any) -> str | None:
    """The file of a function, class or module; a word in brackets where it has none and is not installed."""
    if type(thing) is types.FunctionType:
        return thing.__code__.co_filename
    module = thing if issubclass(type(thing), types.ModuleType) else sys.modules.get(thing.__module__)
    found = getattr(module, "__file__", None)
    return found if found or getattr(module, "__spec__", None) else "<made>"


def _by_name(thing: Any) -> str | None:
    """The dotted name under which the object can be found."""
    try:
        found: Any = sys.modules[thing.__module__]
        for part in thing.__qualname__.split("."):
            found = vars(found)[part]
            found = found.__func__ if type(found) in (staticmethod, classmethod) else found
    except (KeyError, TypeError, AttributeError):
        return None
    return f"{module_name(thing.__module__)}.{thing.__qualname__}" if found is thing else None
