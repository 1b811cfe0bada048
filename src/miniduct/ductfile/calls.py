"""`python = "module:function"`: the function is found in the project's code, and its parameters are matched with what the step can give.

Nothing of the project is run for that. Whatever is wrong (no such module, no such function, a parameter that nothing gives, code that is no
Python) is a mistake of the Ductfile, with its place there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..model import Call
from ..modules import BrokenModuleError, Missing, Modules, Other, Signature
from ..text import nearest
from ..tuples import NamedTuple
from .checks import valued

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .drafts import Draft, Function
    from .source import Spot

ASIDE = {"input": "inputs", "inputs": "inputs", "target": "targets", "targets": "targets", "params": "params"}
"""Arguments that have a meaning of their own, and the setting that each comes from."""
PATH = "PYTHONPATH"
BESIDE = "a module lies beside the Ductfile, in a package there, or is installed"


class Resolved(NamedTuple):
    """The call, the code that it rests on, and the files of that code, absolute."""

    call: Call
    code: tuple[tuple[str, str], ...]
    files: tuple[str, ...]


class Calls:
    """Resolves the functions of one project; what was read of its code is shared by all steps."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._modules: dict[tuple[str, ...], Modules] = {}

    def resolve(self, draft: Draft) -> Resolved | None:
        """What the step's `python` means; None, with mistakes on the list, where it means nothing."""
        function: Function = draft.values["python"]
        spot = draft.spots["python"]
        modules = self._searching(draft)
        name = function.module
        found = modules.find(name)
        if found is None or (found.file is None and found.folders):  # a bare folder has no functions
            _no_module(spot, function, modules)
            return None
        try:
            code = modules.code(name)
            signature = modules.function(name, function.name)
        except BrokenModuleError as error:
            self._broken(spot, error)
            return None
        if isinstance(signature, (Missing, Other)):
            _no_function(spot, function, signature)
            return None
        if signature is not None and not _fits(draft, function, signature):
            return None
        takes = None if signature is None else _takes(draft, signature)
        call = Call(name, function.name, draft.scope.base.folder or ".", takes)
        # A module that is not of the project may still be hidden by one that appears there.
        return Resolved(call, code.digests, code.files)

    def _searching(self, draft: Draft) -> Modules:
        """The modules as the step's process will see them: those beside its Ductfile first, then those on a path that it sets."""
        base = draft.scope.base
        env: tuple[object, dict[str, str]] = draft.values.get("env") or ((), {})
        further = [each for each in env[1].get(PATH, "").split(os.pathsep) if each]
        folders = tuple(os.path.normpath(os.path.join(self._root, each)) for each in (base.folder or ".", *further))
        if folders not in self._modules:
            self._modules[folders] = Modules(self._root, folders)
        return self._modules[folders]

    def _broken(self, spot: Spot, error: BrokenModuleError) -> None:
        file = os.path.relpath(error.file, self._root)
        facts = (f"{error.line:4d} | {error.source}",) if error.source else ()
        spot.say(f"{spot.subject} needs {file}, which is broken: {file}:{error.line}: {error.why}", facts=facts)


def _no_module(spot: Spot, function: Function, modules: Modules) -> None:
    above, _, last = function.module.rpartition(".")
    package = modules.find(above) if above else None
    part = function.module_part
    if above and package is None:
        near = nearest(above.split(".")[0], modules.names_in(modules.folders))
        hint = f'did you mean package "{near[0]}"?' if near else BESIDE
        spot.say(
            f'{spot.subject} names module "{function.module}", and there is no package "{above}"', part=part, hint=hint
        )
        return
    folders = package.folders if package else modules.folders
    near = nearest(last, modules.names_in(folders))
    full = f"{above}.{near[0]}" if above and near else near[0] if near else ""
    hint = f'did you mean "{full}:{function.name}"?' if near else BESIDE
    where = f'which package "{above}" does not have' if above else "which is neither beside the Ductfile nor installed"
    spot.say(f'{spot.subject} names module "{function.module}", {where}', part=part, hint=hint)


def _no_function(spot: Spot, function: Function, found: Missing | Other) -> None:
    what = f'"{function.name}" of module "{function.module}"'
    part = function.name_part
    if isinstance(found, Other):
        spot.say(
            f"{spot.subject} names {what}, which is {found.what}", part=part, hint="only plain functions can be called"
        )
        return
    near = nearest(function.name, found.functions)
    known = ", ".join(found.functions[:8])
    hint = f'did you mean "{function.module}:{near[0]}"?' if near else f"its functions: {known}" if known else None
    spot.say(f"{spot.subject} names {what}, which does not exist", part=part, hint=hint)


# -- parameters ------------------------------------------------------------------------------------------------------------------------


def _given(draft: Draft) -> dict[str, str]:
    """The names that the step has a value for, each with where the value comes from. A name with a meaning of its own comes first."""
    found = {name: f"params.{name}" for name in draft.values.get("params") or {}}
    found.update({name: f"{{{name}}}" for name in sorted(valued(draft))})
    for name, setting in ASIDE.items():
        found.pop(name, None)
        if name == "params" or draft.values.get(setting):
            found[name] = f"{{{name}}}"
    return found


def _takes(draft: Draft, signature: Signature) -> tuple[str, ...]:
    given = _given(draft)
    if signature.everything:
        return tuple(given)
    return tuple(name for name in (*signature.required, *signature.optional) if name in given)


def _fits(draft: Draft, function: Function, signature: Signature) -> bool:
    """Does each parameter get one value, if it needs one?"""
    if draft.broken & {"inputs", "targets", "foreach", "params"}:
        return True
    spot, given = draft.spots["python"], _given(draft)
    good = True
    for name in signature.by_place:
        good = False
        spot.say(
            f'{spot.subject}: parameter "{name}" of {function.text} cannot be given by its name',
            hint='leave the "/" out of its parameters',
        )
    params = draft.values.get("params") or {}
    for name in (*signature.required, *signature.optional):
        if name in params and given[name] != f"params.{name}":
            good = False
            spot.say(
                f'{spot.subject}: parameter "{name}" of {function.text} is both {given[name]} and params.{name}',
                hint="give one of them another name",
            )
    for name in () if signature.decorated else signature.required:
        if name not in given:
            good = False
            _not_given(draft, spot, function, name, list(given))
    return good


def _not_given(draft: Draft, spot: Spot, function: Function, name: str, given: Collection[str]) -> None:
    near = nearest(name, given)
    hint = f'did you mean "{near[0]}"?' if near else f"give it one: params = {{ {name} = … }}"
    if name in ASIDE:
        hint = f"the step has no {ASIDE[name]}"
    elif name in draft.scope.vars:
        hint = f'a var is handed over as a parameter: params = {{ {name} = "{{{name}}}" }}'
    known: Sequence[str] = list(given)
    spot.say(
        f'{spot.subject}: parameter "{name}" of {function.text} gets no value',
        facts=(f"there are: {', '.join(known)}",),
        hint=hint,
    )
