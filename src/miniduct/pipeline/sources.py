"""What a function's own text says: its syntax tree where its file still holds the code that is in memory, else its byte code and constants.

Comments, layout, docstrings and decorators are no part of a tree: what a decorator makes of a function is seen in what it returns.
"""

from __future__ import annotations

import ast
import copy
import dis
import linecache
from typing import TYPE_CHECKING, Any

from ..modules import digest as tree_digest
from ..modules import imports
from ..tuples import NamedTuple

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator

    Def = ast.FunctionDef | ast.AsyncFunctionDef

_COUNTS = ("co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags")
_NAMES = ("co_names", "co_varnames", "co_freevars", "co_cellvars")
_READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")


class Text(NamedTuple):
    """What a code object says, the globals that it reads, all names in it, and the modules that it may import."""

    said: str
    globals: tuple[str, ...]
    names: frozenset[str]
    imports: tuple[str, ...]


_texts: dict[tuple[types.CodeType, str], Text] = {}
"""By code object and the file that it comes from."""


class Sources:
    """The texts of functions. Each file is read once, and only where a code object is met for the first time in this process."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[set[types.CodeType], dict[tuple[str, int], Def]]] = {}

    def text(self, code: types.CodeType, package: str) -> Text:
        """`package` is what relative imports start from."""
        place = (code, code.co_filename)
        if place not in _texts:
            tree = None if code.co_name == "<lambda>" else self._tree(code)
            names, imported = _looked_up(code, package)
            if tree is not None:
                module = ast.Module([tree], [])
                imported = list(imports(module, package))
            attributes = frozenset(name for each in _within(code) for name in each.co_names)
            said = byte_code(code) if tree is None else tree_digest(module)
            _texts[place] = Text(said, tuple(dict.fromkeys(names)), attributes, tuple(dict.fromkeys(imported)))
        return _texts[place]

    def is_current(self, code: types.CodeType) -> bool:
        """Does its file still hold this code?"""
        return code in self._file(code.co_filename)[0]

    def _tree(self, code: types.CodeType) -> Def | None:
        # A file that was edited since it was loaded holds other code than what will be called.
        codes, trees = self._file(code.co_filename)
        found = trees.get((code.co_name, code.co_firstlineno))
        if found is None or code not in codes:
            return None
        found = copy.copy(found)
        found.decorator_list = []
        return found

    def _file(self, name: str) -> tuple[set[types.CodeType], dict[tuple[str, int], Def]]:
        if name not in self._files:
            linecache.checkcache(name)
            try:
                source = "".join(linecache.getlines(name))
                tree = ast.parse(source)
                whole = compile(source, name, "exec", dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                tree, whole = ast.Module([], []), None
            defs = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
            trees = {(node.name, min([node.lineno, *(at.lineno for at in node.decorator_list)])): node for node in defs}
            self._files[name] = set(_within(whole)) if whole else set(), trees
        return self._files[name]


def byte_code(code: types.CodeType) -> str:
    """The code object as text, the same in each process of one Python."""
    counts = [getattr(code, name) for name in _COUNTS]
    names = [getattr(code, name) for name in _NAMES]
    constants = [_constant(each) for each in code.co_consts]
    return repr((code.co_code, getattr(code, "co_exceptiontable", b""), constants, counts, names))


def _constant(value: Any) -> str:
    if hasattr(value, "co_code"):
        return byte_code(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_constant, value))})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_constant, value)))}}}"
    return repr(value)


def _within(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for each in code.co_consts:
        if hasattr(each, "co_code"):
            yield from _within(each)


def _looked_up(code: types.CodeType, package: str) -> tuple[list[str], list[str]]:
    """The globals that byte code reads, and the modules that it may import."""
    names: list[str] = []
    imported: list[str] = []
    for each in _within(code):
        before: list[Any] = [None, None]
        for step in dis.get_instructions(each):
            if step.opname in _READS:
                names.append(step.argval)
            elif step.opname == "IMPORT_NAME":
                level, listed = before
                known = [ast.alias(name) for name in listed or ()]
                node = (
                    ast.ImportFrom(step.argval, known, level)
                    if known or level
                    else ast.Import([ast.alias(step.argval)])
                )
                imported += imports(ast.Module([node], []), package)
            before = [before[1], step.argval]
    return names, imported
