"""What identifies the code of a Python object: names of pieces of code, each with a digest, so that a change can be told by name.

A function is its text, what its globals mean, its defaults and its closure, and what of the project these name: functions, classes, modules. A class
is its members and its bases, a module its syntax tree and those of the modules that it imports. Values are told by `objects`. What is installed is
known by its name alone.
"""

from __future__ import annotations

import functools
import math
import os
import struct
import sys
import time
import types
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from ..modules import BrokenModuleError, Modules
from ..tuples import NamedTuple
from .objects import (
    Objects,
    Part,
    UnidentifiedError,
    attributes,
    held_by,
    is_compiled,
    is_local,
    members,
    module_name,
    package_of,
    step_fields,
    told,
)
from .sources import Sources
from .steps import BaseStep

if TYPE_CHECKING:
    from collections.abc import Iterable

_OF_A_MODULE = frozenset(
    {"__name__", "__file__", "__spec__", "__loader__", "__package__", "__builtins__", "__cached__", "__path__"}
)
_LARGEST = 1 << 256
_BEGAN = time.time()
"""When this module was loaded."""


class _Piece(NamedTuple):
    """Some code of the user's: named digests, and the code that it rests on."""

    thing: object
    said: list[tuple[str, str]]
    uses: dict[int, Any]


class Known:
    """The code of a project's objects, each looked at once. `root` is the project's folder.

    All methods raise UnidentifiedError where an object is nested too deep.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._sources = Sources()
        self._objects = Objects(self._sources)
        self._pieces: dict[int, _Piece] = {}
        self._codes: dict[int, tuple[tuple[str, str], ...]] = {}
        """Of things in `_pieces`, by id."""
        self._homes: dict[tuple[str, types.CodeType, int], _Piece] = {}
        self._searched: dict[str, Modules] = {}
        self._classes: dict[tuple[int, ...], tuple[list[object], bytes]] = {}

    def code_of(self, thing: object, *others: Part) -> tuple[tuple[str, str], ...]:
        """The pieces of code that a callable object or a step rests on, each with a digest, its own one first; and those of `others`."""
        if others:
            return self._code_of(thing, others)
        if id(thing) not in self._codes:
            self._codes[id(thing)] = self._code_of(thing, ())
        return self._codes[id(thing)]

    def _code_of(self, thing: object, others: Iterable[Part]) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        seen: set[int] = set()
        waiting: list[Any] = [thing]
        for part in others:
            waiting[:0] = list(part.uses.values())
        while waiting:
            each = waiting.pop()
            if id(each) in seen:
                continue
            seen.add(id(each))
            piece = self._pieces.get(id(each))
            if piece is None:
                piece = self._pieces[id(each)] = self._looked_at(each)
            for name, digest in piece.said:
                # Things of one name, of two modules perhaps, count together.
                found[name] = _digest(f"{found[name]} {digest}".encode()) if name in found else digest
            if piece.uses:
                waiting += list(piece.uses.values())[::-1]
        return tuple(found.items())

    def param(self, value: object) -> tuple[Any, Part]:
        """What stands for a value in texts: it itself, where JSON has it, else its kind with a digest. UnidentifiedError where it has neither."""
        part = self._objects.part(value)
        if part.opaque is not None:
            raise UnidentifiedError(f"holds a {part.opaque}, of which nothing can be told but its type")
        return _shown(value, part), part

    def classes(self, kinds: Iterable[object]) -> bytes:
        """What identifies the code of those of the functions and classes that are the user's; empty where none is."""
        asked = list(kinds)
        key = tuple(map(id, asked))
        if key not in self._classes:
            try:
                parts = [self._objects.part(kind) for kind in asked]
                pieces = self.code_of(None, *parts) if any(part.uses for part in parts) else ()
            except UnidentifiedError:
                return os.urandom(32)
            self._classes[key] = asked, blake3(repr(pieces).encode()).digest() if pieces else b""
        return self._classes[key][1]

    def _looked_at(self, thing: object) -> _Piece:
        try:
            return self._piece(thing)
        except UnidentifiedError:
            raise
        except Exception:  # whatever a class does where it is asked for something: then it is never as it was
            kind = type.__getattribute__(type(thing), "__qualname__")
            return _Piece(thing, [(_never_as_it_was("what it uses", kind), os.urandom(16).hex())], {})

    def forget_values(self) -> None:
        """Let go of the values that were looked at; they may be many. The code stays known."""
        self._objects.forget()

    # -- pieces ---------------------------------------------------------------------------------------------------------------------------

    def _piece(self, thing: Any) -> _Piece:
        found = _Piece(thing, [], {})
        kind = type(thing)  # a proxy says that it is something else
        if kind is types.FunctionType:
            self._function(thing, found)
        elif issubclass(kind, type):
            self._class(thing, found)
        elif issubclass(kind, types.ModuleType):
            self._module(module_name(thing.__name__), getattr(thing, "__file__", None), found)
        elif thing is not None:
            self._object(thing, found)
        return found

    def _add(self, found: _Piece, name: str, value: object) -> None:
        part = self._objects.part(value)
        found.said.append((_never_as_it_was(name, part.odd) if part.odd else name, _digest(part.said)))
        found.uses.update(part.uses)

    def _function(self, function: types.FunctionType, found: _Piece) -> None:
        name = f"function {name_of(function)}"
        if self._objects.is_local(function):
            place = (name, function.__code__, id(function.__globals__))
            home = self._homes.get(place)
            if home is None:
                home = self._homes[place] = self._home(name, function)
            found.said.extend(home.said)
            found.uses.update(home.uses)
        else:
            found.said.append((name, _digest(self._objects.text(function).encode())))
        for what, held in held_by(function):
            if held is not function:
                inner = type(held) is types.FunctionType
                self._add(found, f"function {name_of(held)}" if inner else f"{name} {what}", held)

    def _home(self, name: str, function: types.FunctionType) -> _Piece:
        """What all functions of one code object and one module have in common: the text, and what its globals mean."""
        code, home = function.__code__, function.__globals__
        found = _Piece(home, [], {})
        text = self._sources.text(code, package_of(home))
        said = [text.said.encode()]
        for key in text.globals:
            if key not in home or key in _OF_A_MODULE:
                continue
            value = home[key]
            known = self._objects.reference(value)
            if known is None:
                self._add(found, f"{'function' if callable(value) else 'value'} {key}", value)
                continue
            # That the name means this, is a part of what the function says.
            said.append(f"{key}=".encode() + known.said)
            found.uses.update(known.uses)
            if known.uses and issubclass(type(value), types.ModuleType):
                self._attributes(value, text.names, found)
        found.said.insert(0, (name, _digest(b"\n".join(said))))
        for each in text.imports:
            self._module(each, None, found)
        return found

    def _attributes(self, module: types.ModuleType, names: frozenset[str], found: _Piece) -> None:
        """What a module's names mean now: values, functions and classes with all that these rest on, submodules."""
        held = vars(module)
        for name in sorted(names & held.keys() - _OF_A_MODULE):
            value, full = held[name], f"{module_name(module.__name__)}.{name}"
            known = self._objects.reference(value)
            if known is None:
                self._add(found, f"{'function' if callable(value) else 'value'} {full}", value)
            elif issubclass(type(value), types.ModuleType):
                if known.uses.keys() - found.uses.keys():
                    found.uses.update(known.uses)
                    self._attributes(value, names, found)
            else:
                if known.said != told(full):  # not what its file says
                    found.said.append((f"value {full}", _digest(known.said)))
                found.uses.update(known.uses)

    def _class(self, kind: type, found: _Piece) -> None:
        name = f"class {kind.__qualname__}"
        parts = [self._objects.part(each) for each in (type(kind), *kind.__bases__)]
        said = [part.said for part in parts]
        for key, value in members(kind):
            if callable(value) or hasattr(type(value), "__get__"):
                parts.append(self._objects.part(value))
                said += [key.encode(), parts[-1].said]
            else:
                self._add(found, f"{name}.{key}", value)
        for part in parts:
            found.uses.update(part.uses)
        found.said.insert(0, (name, _digest(b"\n".join(said))))
        home = sys.modules.get(kind.__module__)
        if home is not None and is_compiled(home):
            self._use(found, home)

    def _object(self, thing: Any, found: _Piece) -> None:
        """An object that is called, or a step: field by field, so that each can be named."""
        kind = type(thing)
        name = name_of(thing)
        if kind is functools.partial:
            self._use(found, thing.func)
            self._add(found, f"function {name_of(thing.func)} arguments", (thing.args, sorted(thing.keywords.items())))
        elif kind is types.MethodType:
            self._use(found, thing.__func__)
            self._use(found, thing.__self__)
        elif issubclass(kind, BaseStep):
            self._add(found, f"class {kind.__qualname__}", kind)
            for key, value in step_fields(thing):
                self._add(found, f"field {key.removeprefix('_')}", value)
        elif self._objects.is_local(kind) and kind.__bases__ == (object,):
            self._add(found, f"class {kind.__qualname__}", kind)
            for key, value in attributes(thing, kind):
                self._add(found, f"field {key}", value)
        else:
            self._add(found, f"function {name}", thing)

    @staticmethod
    def _use(found: _Piece, thing: Any) -> None:
        found.uses[id(thing)] = thing

    # -- modules --------------------------------------------------------------------------------------------------------------------------

    def _module(self, name: str, file: str | None, found: _Piece) -> None:
        """A module by its text; with a `file`, the one that was loaded from there."""
        modules = self._modules("")
        known = modules.find(name)
        if file is not None and (known is None or known.file is None or not _same(known.file, file)):
            modules = self._modules(_above(file, name))
            known = modules.find(name)
        if known is None or not known.local or not is_local(known.file or next(iter(known.folders), None)):
            return
        try:
            found.said.extend(
                (each, _as_loaded(each, digest, self._sources)) for each, digest in modules.code(name).digests
            )
        except BrokenModuleError as error:
            found.said.append((name, f"{error.file}:{error.line}: {error}"))

    def _modules(self, above: str) -> Modules:
        """The modules that the user's functions can import; first those in the folder `above`."""
        if above not in self._searched:
            folders = [os.path.abspath(each) for each in (*sys.path, self._root)]
            ours = [
                each
                for each in folders
                if os.path.isdir(each) and is_local(os.path.join(each, "_")) and not _holds_us(each)
            ]
            self._searched[above] = Modules(self._root, list(dict.fromkeys([above, *ours] if above else ours)))
        return self._searched[above]


def _never_as_it_was(name: str, kind: str) -> str:
    return f"{name} (cannot be compared: its {kind} cannot be looked at)"


def name_of(thing: object) -> str:
    """What an object is called in messages."""
    try:
        name = getattr(thing, "__qualname__", None)
    except Exception:  # whatever a class of the user's does where it is asked for something
        name = None
    return str(name or type(thing).__qualname__).rpartition("<locals>.")[2]


_loaded: dict[str, tuple[object, str]] = {}
"""Modules by name: what they were loaded by, and the digest that their files had when this process first looked."""


def _as_loaded(name: str, digest: str, sources: Sources) -> str:
    """The digest of a module's file; of one that is loaded, the file's that it was loaded from. One of its own where that is no longer there."""
    module = sys.modules.get(name)
    if module is None:
        return digest
    loaded = getattr(module, "__spec__", None) or module  # loaded anew, it has another one
    if name not in _loaded or _loaded[name][0] is not loaded:
        _loaded[name] = loaded, os.urandom(16).hex() if _was_edited(module, sources) else digest
    return _loaded[name][1]


def _was_edited(module: types.ModuleType, sources: Sources) -> bool:
    """Has the file of a loaded module another text by now? Where it was written to since we were loaded, its compiled file tells, which was
    written or found right when it was loaded (PEP 552); where there is none, its functions do.
    """
    file, spec = getattr(module, "__file__", None) or "", getattr(module, "__spec__", None)
    if type(getattr(spec, "loader", None)) is not SourceFileLoader:
        return False  # other loaders have ways of their own; ours always takes the file of the moment
    try:
        now = os.stat(file)
    except OSError:
        return False
    if now.st_mtime < _BEGAN:
        return False
    try:
        with open(str(getattr(spec, "cached", None)), "rb") as compiled:
            _, flags, mtime, size = struct.unpack("<4sIII", compiled.read(16))
    except (OSError, struct.error):
        functions = [each for each in vars(module).values() if type(each) is types.FunctionType]
        return not all(sources.is_current(each.__code__) for each in functions if each.__code__.co_filename == file)
    return flags == 0 and (mtime, size) != (int(now.st_mtime) & 0xFFFFFFFF, now.st_size & 0xFFFFFFFF)


def _digest(data: bytes) -> str:
    return blake3(data).hexdigest(length=16)


def _shown(value: Any, part: Part) -> Any:
    if _is_json(value):
        return value
    return {type(value).__qualname__: _digest(part.said)}


def _is_json(value: Any) -> bool:
    """Is it, all through, what JSON tells apart from all else?"""
    kind = type(value)
    if kind is int:
        return bool(-_LARGEST < value < _LARGEST)
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(map(_is_json, value))
    if kind is dict:
        return all(type(key) is str and _is_json(each) for key, each in value.items())
    return kind in (str, bool, type(None))


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _above(file: str, name: str) -> str:
    """The folder that a module of that name is found from."""
    depth = name.count(".") + (os.path.basename(file).startswith("__init__."))
    folder = os.path.dirname(os.path.abspath(file))
    for _ in range(depth):
        folder = os.path.dirname(folder)
    return folder


def _holds_us(folder: str) -> bool:
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) == folder
