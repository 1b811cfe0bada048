"""What the engine calls for a Python step: gather what the steps before it gave, call its function, keep its value.

A recipe says how; it is plain data, so that a worker process can be given one. Values are copies: each step reads its own.
"""

from __future__ import annotations

import copy
import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import DuctError
from ..forks import forks
from ..stores.values import ValueStore
from ..tuples import NamedTuple
from . import values
from .identity import Known

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from ..model import Product, Work


Source = tuple[str, tuple[int, ...]]
"""What a step before gives: its kind ("value", "path", "paths", "nothing"), and the slots meant."""
Merge = Callable[[Mapping[str, Any]], Any]


_KEEP_IT_HERE, _KEEP_IT_ELSEWHERE = (
    f"give the step a target file, or say {settings}: then it always runs, and its value stays in this process"
    for settings in ("cache=False", 'workers="threads" and cache=False')
)
"""Hints for a value that cannot be pickled: in this process, and in a worker."""


class Recipe(NamedTuple):
    """How a step's function is called.

    `sources` are what the steps before it give, in order of connection, and `names` those of these steps, where `merge` asks
    for them. `own` is the number of slots that the step itself names, `input_names` their names. `makes_value`: what the
    function returns is the step's value; `keeps`: it must be pickled.
    """

    sources: tuple[Source, ...]
    names: tuple[str, ...]
    own: int
    input_names: tuple[str | None, ...]
    target_names: tuple[str | None, ...]
    params: Mapping[str, Any]
    makes_value: bool
    keeps: bool = True

    def plain(self) -> dict[str, Any]:
        return self._asdict()

    def arguments(self) -> tuple[Any, ...]:
        """As what the function is given what is read and made."""
        names = self.names or [""] * len(self.sources)
        before = tuple([(name, kind, slots) for name, (kind, slots) in zip(names, self.sources)])
        return self.input_names, self.target_names, before


class Takes(NamedTuple):
    """The parameters of a function: names, the first `by_place` of which can be given by place. `rest`: it has `*args`."""

    named: tuple[str, ...]
    by_place: int
    required: frozenset[str]
    only_by_place: frozenset[str]
    rest: bool


def is_async(function: object) -> bool:
    """Does a call of it only begin, or not even begin, what it does?"""
    called = getattr(function, "func", function)
    flags: int | None = getattr(getattr(called, "__code__", None), "co_flags", None)
    return flags is not None and bool(flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR))


_known: dict[object, tuple[types.CodeType, Takes | None]] = {}
"""By the id of a code object, which is no other's as long as it is kept here: Python takes long to find a code object itself."""


def takes(function: Callable[..., Any]) -> Takes | None:
    """What the function takes; None where it does not say. Functions of the same code are looked at once."""
    plain = type(function) is types.FunctionType and not function.__dict__
    if not plain:
        return _takes(function)
    code, defaults, named = function.__code__, function.__defaults__, function.__kwdefaults__
    key = id(code), len(defaults) if defaults else 0, frozenset(named) if named else None
    if key not in _known:
        _known[key] = code, _takes(function)
    return _known[key][1]


def _takes(function: Callable[..., Any]) -> Takes | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    placed = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    required = frozenset(
        p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    )
    kinds = {p.kind for p in parameters}
    return Takes(
        (*placed, *named),
        len(placed),
        required,
        frozenset(p.name for p in parameters if p.kind is p.POSITIONAL_ONLY),
        inspect.Parameter.VAR_POSITIONAL in kinds,
    )


def perform(
    function: Callable[..., Any],
    merge: Merge | None,
    recipe: Recipe,
    work: Work,
    held: MutableMapping[str, Any] | None,
    code: values.Code,
    known: Takes | None,
    *,
    to_file: bool = False,
) -> Mapping[str, Product]:
    """Call the function for one job; its value, where it makes one: written to its file where it is large, or with `to_file`.

    `held` are values that this process keeps for later steps; None in a process that does not see these.
    `code` tells what identifies the code of classes, for those in the value; `known` what the function takes.
    """
    named: dict[str, Any] = {}
    args = outputs = [_output(kind, slots, work, held) for kind, slots in recipe.sources]
    if merge is not None:
        args, named = _merged(merge(dict(zip(recipe.names, outputs))))
    placed = () if known is None else known.named[: min(len(args), known.by_place)]
    if known is not None and (merge is not None or len(placed) < len(known.named)):
        bound = {*placed, *named}
        given = _given(recipe, work)
        taken = [name for name in ("target", "targets") if merge is not None and name in given and name in bound]
        if taken:
            raise DuctError(f'merge gives a value for the argument "{taken[0]}", which the step\'s own target has')
        named.update({name: given[name] for name in known.named if name in given and name not in bound})
        if "input" in known.required and "input" not in bound and "input" not in named and recipe.own:
            raise DuctError(
                'there is no file for its argument "input"', hint='what may be no file is a list: take "inputs"'
            )
    process = forks()
    result = function(*args, **named)
    if forks() != process:  # a forked child that came back from the function: the value is the other one's to write
        return {}
    if isinstance(result, types.CoroutineType):
        result.close()
        raise TypeError("it is an async function: what it does was not begun")
    if not recipe.makes_value:
        return {}
    path = work.targets[0][0]
    hint = _KEEP_IT_HERE if held is not None else _KEEP_IT_ELSEWHERE
    return {path: values.write(path, result, None if recipe.keeps else held, code, hint=hint, to_file=to_file)}


def _merged(found: Any) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(found, Mapping):
        return [], dict(found)
    if isinstance(found, Sequence) and not isinstance(found, (str, bytes)):
        return list(found), {}
    raise TypeError(f"merge returned {type(found).__name__}; it must return a sequence or a mapping of arguments")


def _output(kind: str, slots: Sequence[int], work: Work, held: MutableMapping[str, Any] | None) -> Any:
    if kind == "value":
        path = work.inputs[slots[0]][0]
        return values.read(path, held, content=work.read(path))
    paths = [path for at in slots for path in work.inputs[at]]
    if kind == "path":
        return paths[0]
    return paths if kind == "paths" else None


def _copied(params: Mapping[str, Any]) -> dict[str, Any]:
    """Each job's own; what cannot be copied is shared."""
    found = {}
    for name, value in params.items():
        try:
            found[name] = copy.deepcopy(value)
        except Exception:  # whatever the user's classes do
            found[name] = value
    return found


def _given(recipe: Recipe, work: Work) -> dict[str, Any]:
    params = _copied(recipe.params)
    found: dict[str, Any] = {**params, **work.values, "params": params}
    for name, names, slots in (
        ("inputs", recipe.input_names, work.inputs[: recipe.own]),
        ("targets", recipe.target_names, () if recipe.makes_value else work.targets),
    ):
        paths = [path for slot in slots for path in slot]
        if paths:
            found[name[:-1]] = paths[0]
        if not slots:
            continue
        if any(names):
            table: dict[str, list[str]] = {}
            for key, slot in zip(names, slots):
                table.setdefault(key or "", []).extend(slot)
            found[name] = table
        else:
            found[name] = paths
    return found


@lru_cache(maxsize=1)
def _store(folder: str) -> ValueStore:
    return ValueStore(folder)


def remote(
    function: str,
    folder: str,
    recipe: Mapping[str, Any],
    inputs: list[list[str]],
    targets: list[list[str]],
    values: Mapping[str, str],
) -> None:
    """What a worker process calls: `function` is "module:name", and `folder` the one that its module is found in, "" where it is built in."""
    from ..model import Work
    from .values import script

    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    module, _, name = function.partition(":")
    script(module)
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    found = getattr(found, "function", found)
    called = Recipe(**recipe)
    if called.makes_value:  # the function may leave the current folder
        targets = [[os.path.abspath(path) for path in paths] for paths in targets]
    work = Work(inputs, targets, values, read=lambda path: _store(f"{os.path.dirname(path)}/").read(path))
    perform(found, None, called, work, None, Known(os.getcwd()).classes, takes(found), to_file=True)
