"""From a step's `python` and a job's values to the function's arguments.

Paths are texts; what the step names (inputs in a table, wildcards, parameters) is handed over under its name. The same questions are answered as
for a command: which targets it gets, what identifies it, how a user repeats it.
"""

from __future__ import annotations

import json
import keyword
import os
import sys
from typing import TYPE_CHECKING, Any

from ..plan.definition import canonical
from ..template import parse
from .base import Invocation
from .command import Rendered, shown_word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model import Step

CALL_WORD = "<python>"
"""The first of the identifying words of a function call."""
GIVEN = ("input", "inputs", "target", "targets", "params")
"""The arguments that are not called as the user likes."""


class CallTemplate:
    """A step's function before the values of a job are known."""

    uses_manifest = False

    def __init__(self, step: Step) -> None:
        if step.call is None:
            raise ValueError(f"step {step.name} has no function")
        self._step = step
        self._call = step.call
        takes = step.call.takes
        self._takes = takes
        slots = step.targets or step.inputs
        self._values = {each.name for slot in slots for each in parse(slot.text, is_key=True).placeholders}
        self._values |= {name for name, _ in step.foreach}

    def names(self) -> set[str]:
        """The names of the arguments that are known beforehand."""
        return set(self._takes or ())

    def uses(self, slot: int) -> bool:
        """Does the function get the path of this target (its number among the declared ones)?"""
        if self._takes is None or "targets" in self._takes:
            return True
        return slot == 0 and "target" in self._takes

    def reads(self, slot: int) -> bool:
        """Does the function get the path of these inputs (their number among the declared ones)?"""
        if self._takes is None or "inputs" in self._takes:
            return True
        return slot == 0 and "input" in self._takes

    def render(self, values: Mapping[str, Any], *, shown: bool = True) -> Rendered:
        """The call for a job's values: texts by name, `inputs` and `targets` as lists of (slot's name, paths), `params`.

        What identifies it, and what a user is shown, comes only where it is `shown`: a start needs neither.
        """
        arguments = self._arguments(values)
        call = self._call
        invocation = Invocation(call.module, call.function, call.root, arguments, self._takes is None)
        if not shown:
            return Rendered([], [], "", call=invocation)
        words = [CALL_WORD, str(call), canonical(arguments)]
        return Rendered([], words, self._shown(arguments), call=invocation)

    def _arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """By name. What the job has no value for (`input` of a pattern that matches nothing) is left out."""
        params: Mapping[str, Any] = values["params"]
        found: dict[str, Any] = {**params, "params": dict(params)}
        found.update({name: values[name] for name in self._values if name in values})
        for setting in ("inputs", "targets"):
            paths = [path for _, listed in values[setting] for path in listed]
            for name in (setting, setting[:-1]):
                found.pop(name, None)
            if getattr(self._step, setting):
                found[setting] = grouped(values[setting])
                if paths:
                    found[setting[:-1]] = paths[0]
        return found if self._takes is None else {name: found[name] for name in self._takes if name in found}

    def _shown(self, arguments: Mapping[str, Any]) -> str:
        """The call as a user would type it, from the step's `cwd`."""
        call = self._call
        named = [f"{name}={_literal(value)}" for name, value in arguments.items() if _is_plain(name)]
        rest = {name: value for name, value in arguments.items() if not _is_plain(name)}
        listed = ", ".join([*named, *([f"**{_literal(rest)}"] if rest else [])])
        dates = "import datetime; " if "datetime." in listed else ""
        program = f"{dates}from {call.module} import {call.function}; {call.function}({listed})"
        root = os.path.relpath(call.root, self._step.cwd)
        path = "" if root == "." else f"PYTHONPATH={shown_word(root)} "
        return f"{path}python3 -c {shown_word(program)}"


def grouped(slots: Sequence[tuple[str | None, list[str]]]) -> Any:
    """A flat list, or a table of lists where the slots have names."""
    if not any(name for name, _ in slots):
        return [path for _, paths in slots for path in paths]
    table: dict[str, list[str]] = {}
    for name, paths in slots:
        table.setdefault(name or "", []).extend(paths)
    return table


def _is_plain(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _literal(value: Any) -> str:
    """The value as Python text, texts in double quotes: the whole stands in single ones."""
    if isinstance(value, str):
        # Surrogates stand for bytes that are no UTF-8: the escape is the same in Python.
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(name)}: {_literal(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, float) and (value != value or abs(value) > sys.float_info.max):
        return f'float("{value}")'
    return repr(value)
