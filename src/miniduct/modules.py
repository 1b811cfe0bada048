"""The Python modules of a project, read and never run: where they lie, what they import, what their code says, how a function is called.

The search is Python's own: built-in modules, then the folders given, then what is installed; packages, namespace packages, single files. What
cannot be seen in the text (an import by a computed name, a function made by another) is not known here, and the callers are told so.
Invariant: no module is imported, and nothing is written.
"""

from __future__ import annotations

import ast
import os
import sys
import warnings
from hashlib import blake2b
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES, BuiltinImporter, FrozenImporter
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)
"""In the order in which Python looks for them."""
INSTALLED = ("site-packages", "dist-packages")
SKIPPED = ("ctx", "kind", "type_comment", "type_ignores")
"""Parts of a syntax tree that say nothing of what the code does, or that its other parts say."""

_WITH_DOCSTRING = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Module(NamedTuple):
    """A module that was found. `file` is None for a namespace package and for what has no file; `folders` hold a package's modules."""

    name: str
    file: str | None
    folders: tuple[str, ...]
    local: bool
    """Is it a part of the project?"""


class Signature(NamedTuple):
    """The parameters of a function, by name. `by_place` are those that cannot be given by name and have no default."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    everything: bool = False
    """Does it have `**kwargs`?"""
    by_place: tuple[str, ...] = ()
    decorated: bool = False
    """What a decorator makes of it is not known."""


class Missing(NamedTuple):
    """The module has no such function; those that it has."""

    functions: list[str]


class Other(NamedTuple):
    """The name is something else than a function that can be called."""

    what: str


class Code(NamedTuple):
    """A module and the project's modules that it imports, itself the first: names with digests; and all files that this rests on.

    Among the files are some that do not exist: a module that appeared there would be imported instead.
    """

    digests: tuple[tuple[str, str], ...]
    files: tuple[str, ...]


class BrokenModuleError(Exception):
    """A module's file that cannot be read or parsed."""

    def __init__(self, file: str, line: int, why: str, source: str) -> None:
        super().__init__(why)
        self.file = file
        self.line = line
        self.why = why
        self.source = source


class _File(NamedTuple):
    digest: str
    tree: ast.Module | None
    """None for a compiled one."""


class Modules:
    """The modules that can be imported where `folders` (absolute) are searched before all that is installed; `root` is the project's."""

    def __init__(self, root: str, folders: Sequence[str]) -> None:
        self.folders = tuple(folders)
        self._root = root.rstrip("/")
        self._found: dict[str, Module | None] = {}
        self._tried: dict[str, list[str]] = {}
        self._files: dict[str, _File] = {}

    # -- finding -----------------------------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Module | None:
        """The module of that dotted name; None where there is none."""
        if name not in self._found:
            above, _, last = name.rpartition(".")
            self._found[name] = self._inside(name, above, last) if above else self._top(name)
        return self._found[name]

    def _inside(self, name: str, above: str, last: str) -> Module | None:
        package = self.find(above)
        return self._look(name, last, package.folders, package.local) if package else None

    def _top(self, name: str) -> Module | None:
        if any(importer.find_spec(name) for importer in (BuiltinImporter, FrozenImporter)):
            return self._installed(name)
        found = self._look(name, name, self.folders, True)
        if found is not None and found.file is not None:
            return found
        # Folders without a file of their own come last, wherever they lie.
        return self._installed(name) or found

    def _look(self, name: str, last: str, folders: Iterable[str], local: bool) -> Module | None:
        portions = []
        tried = self._tried.setdefault(name, [])
        for folder in folders:
            place = os.path.join(folder, last)
            for stem, inner in ((os.path.join(place, "__init__"), (place,)), (place, ())):
                for suffix in SUFFIXES:
                    if os.path.isfile(stem + suffix):
                        return Module(name, stem + suffix, inner, local and self._is_ours(stem))
                if local:
                    tried.append(f"{stem}.py")
            if os.path.isdir(place):
                portions.append(place)
        return Module(name, None, tuple(portions), local) if portions else None

    def _installed(self, name: str) -> Module | None:
        try:
            spec = find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None:
            return None
        file = spec.origin if spec.has_location else None
        folders = tuple(spec.submodule_search_locations or ())
        places = [file] if file else folders
        local = bool(places) and all(self._is_below(place) and self._is_ours(place) for place in places)
        return Module(name, file, folders, local)

    def _is_below(self, place: str) -> bool:
        return place.startswith(f"{self._root}/")

    def _is_ours(self, place: str) -> bool:
        """Not a part of an interpreter or environment that merely lies in the project's folder."""
        inside = place.removeprefix(self._root)
        if any(part in inside.split("/") for part in INSTALLED):
            return False
        return not any(place.startswith(f"{prefix}/") for prefix in (sys.prefix, os.path.dirname(os.__file__)))

    def names_in(self, folders: Iterable[str]) -> list[str]:
        """The modules and packages in these folders."""
        found = set()
        for folder in folders:
            try:
                entries = os.listdir(folder)
            except OSError:
                continue
            for entry in entries:
                stem, ending = os.path.splitext(entry)
                if stem.isidentifier() and (ending == ".py" or os.path.isfile(f"{folder}/{entry}/__init__.py")):
                    found.add(stem)
        return sorted(found - {"__init__", "__main__"})

    # -- code --------------------------------------------------------------------------------------------------------------------------

    def code(self, name: str) -> Code:
        """The code of a module of the project. BrokenModuleError."""
        digests: dict[str, str] = {}
        files: dict[str, None] = {}
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            each = waiting.pop()
            if each in seen:
                continue
            seen.add(each)
            module = self.find(each)
            files.update(dict.fromkeys(self._tried.get(each, ())))
            if module is None or not module.local:
                continue
            waiting += list(_ancestors(each))
            if module.file is None:
                continue
            file = self._file(module.file)
            digests[each] = file.digest
            files[module.file] = None
            if file.tree is not None:
                waiting += list(imports(file.tree, each if module.folders else each.rpartition(".")[0]))
        first = [(name, digests.pop(name))] if name in digests else []
        return Code((*first, *sorted(digests.items())), tuple(sorted(files)))

    def _file(self, path: str) -> _File:
        found = self._files.get(path)
        if found is None:
            found = self._files[path] = _read(path)
        return found

    # -- functions ---------------------------------------------------------------------------------------------------------------------

    def function(self, name: str, function: str) -> Signature | Missing | Other | None:
        """How a function of a module that was found is called; None where its text does not tell. BrokenModuleError."""
        seen = set()
        while True:
            module = self.find(name)
            if module is None or (name, function) in seen:
                return None
            seen.add((name, function))
            if module.file is None:
                return Missing([]) if module.folders else None
            tree = self._file(module.file).tree
            if tree is None:
                return None
            bound = _bound(tree)
            node = bound.get(function)
            if not isinstance(node, ast.ImportFrom):
                return _judged(node, bound, function, self.find(f"{name}.{function}") is not None)
            package = name if module.folders else name.rpartition(".")[0]
            original = next(alias.name for alias in node.names if (alias.asname or alias.name) == function)
            name, function = _absolute(node, package), original
            if self.find(f"{name}.{function}") is not None:
                return Other("a module")


def _judged(
    node: ast.stmt | None, bound: dict[str, ast.stmt], function: str, is_module: bool
) -> Signature | Missing | Other | None:
    """What a name is by the statement that binds it."""
    if isinstance(node, ast.FunctionDef):
        return _signature(node)
    if isinstance(node, ast.AsyncFunctionDef):
        return Other("an async function")
    if isinstance(node, ast.ClassDef):
        return Other("a class")
    if isinstance(node, ast.Import) or (node is None and is_module):
        return Other("a module")
    if node is not None or "*" in bound or "__getattr__" in bound:
        return None
    return Missing([each for each, it in bound.items() if isinstance(it, ast.FunctionDef) and each != function])


def _signature(node: ast.FunctionDef) -> Signature:
    args = node.args
    named = [*args.posonlyargs, *args.args]
    with_default = {each.arg for each in named[len(named) - len(args.defaults) :]} if args.defaults else set()
    with_default |= {each.arg for each, default in zip(args.kwonlyargs, args.kw_defaults) if default is not None}
    by_name = [each.arg for each in (*args.args, *args.kwonlyargs)]
    return Signature(
        tuple(name for name in by_name if name not in with_default),
        tuple(name for name in by_name if name in with_default),
        args.kwarg is not None,
        tuple(each.arg for each in args.posonlyargs if each.arg not in with_default),
        bool(node.decorator_list),
    )


def _bound(tree: ast.Module) -> dict[str, ast.stmt]:
    """The names that a module binds, each with the last statement that does so; "*" for names that cannot be known."""
    found: dict[str, ast.stmt] = {}
    waiting: list[ast.stmt] = tree.body[::-1]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update({alias.asname or alias.name.partition(".")[0]: node for alias in node.names})
        else:
            found.update(dict.fromkeys(_assigned(node), node))
            waiting += [each for block in _blocks(node) for each in block][::-1]
    return found


def _assigned(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The statements within a statement that run with it."""
    for name in ("body", "orelse", "finalbody"):
        if not (name == "body" and _is_for_types(node)):
            yield getattr(node, name, [])
    for inner in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield inner.body


# -- imports ---------------------------------------------------------------------------------------------------------------------------


def _ancestors(name: str) -> Iterator[str]:
    """The packages that a module lies in: they are imported before it."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def imports(tree: ast.Module, package: str) -> Iterator[str]:
    """The names of all modules that a module may import; not all of them need exist. `package` is what its relative imports start from."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call):
            yield from _called(node)
        if isinstance(node, ast.If) and _is_for_types(node):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that a `from … import` names; "" where it leads out of the package."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    if node.level > len(parts):
        return ""
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _called(node: ast.Call) -> Iterator[str]:
    """`import_module("name")` and `__import__("name")`."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in ("import_module", "__import__") and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("."):
            yield first.value


def _is_for_types(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:`, whose block never runs."""
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


# -- files -----------------------------------------------------------------------------------------------------------------------------


def _read(path: str) -> _File:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise BrokenModuleError(path, 1, (error.strerror or str(error)).lower(), "") from None
    if not path.endswith(".py"):
        return _File(blake2b(data, digest_size=16).hexdigest(), None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data, path)
    except SyntaxError as error:
        raise BrokenModuleError(path, error.lineno or 1, error.msg, (error.text or "").strip()) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise BrokenModuleError(path, 1, str(error) or "nested too deep", "") from None
    return _File(digest(tree), tree)


def digest(tree: ast.Module) -> str:
    """What identifies the code of a syntax tree: not its layout, comments or docstrings.

    Empty parts are left out, so that a newer Python, whose trees have more parts, sees the same code.
    """
    said: list[str] = []
    waiting: list[object] = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            said.append(item)
        elif isinstance(item, list):
            said.append("[")
            waiting.append("]")
            waiting += [each if isinstance(each, ast.AST) else repr(each) for each in reversed(item)]
        elif isinstance(item, ast.AST):
            said.append(f"{type(item).__name__}(")
            waiting.append(")")
            for name in reversed(item._fields):
                value = getattr(item, name, None)
                if name == "body" and isinstance(item, _WITH_DOCSTRING):
                    value = _without_docstring(item.body)
                if name in SKIPPED or value is None or value == []:
                    continue
                waiting += [value if isinstance(value, (ast.AST, list)) else repr(value), f"{name}="]
    return blake2b(" ".join(said).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:]
    return body
