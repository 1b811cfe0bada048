"""What identifies the code of a Python object: names of pieces of code, each with a digest, so that a change can be told by name.

A function is its source as a syntax tree (comments, layout and docstrings do not count), its defaults and its closure, and what of the project
it names: functions, classes, modules, plain values. Without readable source (lambdas, `eval`, `exec`) it is its byte code and constants. What is
installed is known by its name alone, and so is an object that cannot be pickled.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import pickle
import sys
import sysconfig
import textwrap
import types
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from ..modules import Modules
from ..modules import digest as tree_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_INSTALLED = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_PLAIN = (int, float, complex, str, bytes, bool, type(None))
_texts: dict[tuple[types.CodeType, str], str] = {}
"""Digests of code objects, with the file that they come from."""


def code_of(thing: object, root: str) -> tuple[tuple[str, str], ...]:
    """The pieces of code that a callable object rests on, each with a digest, its own one first. `root` is the project's folder."""
    found = _Finder(root)
    found.add(name_of(thing), thing)
    return tuple(found.pieces.items())


def name_of(thing: object) -> str:
    return str(getattr(thing, "__qualname__", None) or type(thing).__qualname__).rpartition("<locals>.")[2]


def is_local(file: str | None) -> bool:
    """Does the file belong to the user, not to what is installed?"""
    if not file:
        return False
    file = os.path.abspath(file)
    return not file.startswith((_PACKAGE, *_INSTALLED)) and "site-packages" not in file and "dist-packages" not in file


class _Finder:
    def __init__(self, root: str) -> None:
        self.pieces: dict[str, str] = {}
        self._seen: set[int] = set()
        self._root = root
        self._modules: Modules | None = None

    def add(self, name: str, thing: Any) -> None:
        """One piece, and what it rests on."""
        if id(thing) in self._seen:
            return
        self._seen.add(id(thing))
        if isinstance(thing, functools.partial):
            self.add(name, thing.func)
            self._value(f"{name} arguments", (thing.args, sorted(thing.keywords.items())))
        elif isinstance(thing, types.MethodType):
            self.add(name, thing.__func__)
            self._state(name, thing.__self__)
        elif isinstance(thing, types.FunctionType):
            self._function(name if " " in name else f"function {name}", thing)
        elif isinstance(thing, type):
            self._class(thing)
        elif isinstance(thing, types.ModuleType):
            self._module(thing)
        elif isinstance(thing, types.BuiltinFunctionType):
            self._note(f"function {name}", f"{thing.__module__}.{thing.__qualname__}")
        else:
            self._state(name, thing)

    def _note(self, name: str, text: str | bytes) -> None:
        # Things of one name, of two modules perhaps, count together.
        before = self.pieces.get(name, "").encode()
        self.pieces[name] = blake3(before + (text.encode() if isinstance(text, str) else text)).hexdigest(length=16)

    def _value(self, name: str, value: object) -> None:
        if callable(value) or isinstance(value, types.ModuleType):
            self.add(name, value)
            return
        if isinstance(value, (tuple, list, dict)) and any(
            map(callable, value.values() if isinstance(value, dict) else value)
        ):
            self._parts(name, value)
            return
        try:
            self._note(name, repr(value) if isinstance(value, _PLAIN) else pickle.dumps(_ordered(value), protocol=5))
        except Exception:  # whatever an object does where it is pickled
            if isinstance(value, (tuple, list, dict)):
                self._parts(name, value)
            else:
                self._note(name, type(value).__qualname__)

    def _parts(self, name: str, value: tuple[Any, ...] | list[Any] | dict[Any, Any]) -> None:
        """A container of what cannot be pickled, or is more than its name: part by part."""
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        items = [(repr(key), each) for key, each in value.items()] if isinstance(value, dict) else enumerate(value)
        self._note(name, f"{type(value).__qualname__} of {len(value)}")
        for key, each in items:
            self._value(f"{name}[{key}]", each)

    def _state(self, name: str, thing: object) -> None:
        """An object: its class, and what it holds."""
        kind = thing if isinstance(thing, type) else type(thing)
        self.add(kind.__qualname__, kind)
        for key, value in sorted(getattr(thing, "__dict__", {}).items()) if kind is not thing else ():
            self._value(f"field {key}" if name == kind.__qualname__ else f"{name}.{key}", value)

    def _function(self, name: str, function: types.FunctionType) -> None:
        code = function.__code__
        self._note(name, _text(function))
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            self.add(f"{name} wrapped", wrapped)
        for at, default in enumerate(function.__defaults__ or ()):
            if not isinstance(default, _PLAIN) or function.__name__ == "<lambda>" or not is_local(code.co_filename):
                self._value(f"{name} default {at}", default)
            else:
                self._note(f"{name} default {at}", repr(default))
        for key, default in sorted((function.__kwdefaults__ or {}).items()):
            self._value(f"{name} default {key}", default)
        for key, cell in zip(code.co_freevars, function.__closure__ or ()):
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            if value is not function:
                self._value(f"{name} closure {key}", value)
        for key in _names(code):
            if key in function.__globals__:
                self._global(key, function.__globals__[key])

    def _global(self, key: str, value: Any) -> None:
        if isinstance(value, types.ModuleType):
            if is_local(getattr(value, "__file__", None)):
                self.add(value.__name__, value)
        elif isinstance(value, (types.FunctionType, type)):
            if is_local(_file(value)):
                self.add(key, value)
        elif isinstance(value, (*_PLAIN, tuple, frozenset, list, dict, set)):
            self._value(f"value {key}", value)
        elif isinstance(value, (functools.partial, types.MethodType)):
            self.add(key, value)

    def _class(self, kind: type) -> None:
        if not is_local(_file(kind)):
            self.pieces.setdefault(f"class {kind.__qualname__}", f"{kind.__module__}.{kind.__qualname__}")
            return
        for each in kind.__mro__:
            if is_local(_file(each)):
                self.pieces.setdefault(f"class {each.__qualname__}", "")
                for key, value in sorted(vars(each).items()):
                    inner = getattr(value, "__func__", getattr(value, "fget", value))
                    if isinstance(inner, types.FunctionType):
                        self.add(f"{each.__qualname__}.{key}", inner)
                    elif isinstance(inner, (*_PLAIN, tuple)) and not key.startswith("__"):
                        self._value(f"class {each.__qualname__}.{key}", inner)

    def _module(self, module: types.ModuleType) -> None:
        if not is_local(getattr(module, "__file__", None)):
            return
        if self._modules is None:
            self._modules = Modules(self._root, [self._root])
        try:
            self.pieces.update(self._modules.code(module.__name__).digests)
        except Exception:  # a module that cannot be found by its name, or read: as it is in memory
            for key, value in sorted(vars(module).items()):
                if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
                    self.add(f"{module.__name__}.{key}", value)


def _ordered(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    return value


def _file(thing: Any) -> str | None:
    if isinstance(thing, types.FunctionType):
        return thing.__code__.co_filename
    module = sys.modules.get(thing.__module__)
    return getattr(module, "__file__", None) or (thing.__module__ == "__main__" and "<main>") or None


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _text(function: types.FunctionType) -> str:
    """What the function's own text or byte code says."""
    code = function.__code__
    place = (code, code.co_filename)
    if place not in _texts:
        _texts[place] = _source(function) or _byte_code(code)
    return _texts[place]


def _source(function: types.FunctionType) -> str | None:
    if function.__name__ == "<lambda>":
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function.__code__)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    if len(tree.body) != 1 or not isinstance(tree.body[0], (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    tree.body[0].decorator_list = []
    return tree_digest(tree)


def _byte_code(code: types.CodeType) -> str:
    constants = [_byte_code(each) if isinstance(each, types.CodeType) else repr(each) for each in code.co_consts]
    return repr((code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars))
