"""From a job to its command: which paths its placeholders stand for, and which of its targets the command reaches by itself.

A target that the command gets through a placeholder is staged: the placeholder gives a path below the stage, and duct publishes it by rename. A
target that the command writes without a placeholder is direct, and guarded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import DuctError
from .plan.definition import command_digest
from .plan.patterns import glob
from .runners.command import compile_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .plan.columns import Plan
    from .runners.command import CommandTemplate, Rendered


class Target(NamedTuple):
    """One declared target of one job: a key, or a glob (`dynamic`) whose members are known only after the run."""

    text: str
    dynamic: bool
    direct: bool


class Commands:
    """Renders the commands of a plan's jobs. A step's template is compiled once. `staged` tells where a target is written first."""

    def __init__(
        self,
        plan: Plan,
        variables: Mapping[str, str],
        definitions: Sequence[str],
        staged: Callable[[str], str],
        manifests: str,
    ) -> None:
        self._plan = plan
        self._variables = variables
        self._definitions = definitions
        self._staged = staged
        self._manifests = manifests
        self._templates: dict[int, CommandTemplate] = {}
        self._given: tuple[int, Rendered] | None = None

    def template(self, step: int) -> CommandTemplate:
        """The compiled command of a step."""
        found = self._templates.get(step)
        if found is None:
            found = self._templates[step] = compile_command(self._plan.steps[step])
        return found

    def targets(self, job: int) -> list[Target]:
        """The job's declared targets, in order."""
        step = self._plan.step_of(job)
        uses = self.template(step).uses
        dynamic = self._plan.target_dynamic(step)
        return [Target(text, dynamic[at], not uses(at)) for at, text in enumerate(self._plan.target_texts(job))]

    def render(self, job: int) -> Rendered:
        """The command as it is started, from the step's `cwd`. DuctError where it is too long for the system."""
        return self._render(job, self._written)

    def digest(self, job: int) -> bytes:
        """What identifies the command itself, whatever words the Ductfile uses for it, and wherever its targets are staged."""
        return command_digest(self._as_given(job).words, self._definitions[self._plan.step_of(job)])

    def shown(self, job: int) -> str:
        """The command as a user would type it in the project's root; "" where it cannot be rendered."""
        step = self._plan.steps[self._plan.step_of(job)]
        if step.run is None:
            return ""
        try:
            text = self._as_given(job).shown
        except DuctError:
            return ""
        return text if step.cwd in ("", ".") else f"cd {shlex.quote(step.cwd)} && {text}"

    def _as_given(self, job: int) -> Rendered:
        """The command with the targets' final paths. The last one is kept: a job that runs asks for it twice."""
        if self._given is None or self._given[0] != job:
            self._given = (job, self._render(job, _given))
        return self._given[1]

    def _written(self, target: Target) -> str:
        return _given(target) if target.direct else self._staged(_given(target))

    def _render(self, job: int, where: Callable[[Target], str]) -> Rendered:
        plan = self._plan
        number = plan.step_of(job)
        step = plan.steps[number]
        place = _from(step.cwd)
        values: dict[str, Any] = {**self._variables, **plan.values(job)}
        values["inputs"], values["targets"] = self._paths(job, place, where)
        values["params"] = step.params
        template = self.template(number)
        if template.uses_manifest:
            values["manifest"] = place(self.manifest_path(job))
        return template.render(values)

    def _paths(
        self, job: int, place: Callable[[str], str], where: Callable[[Target], str]
    ) -> tuple[list[tuple[str | None, list[str]]], list[tuple[str | None, list[str]]]]:
        plan = self._plan
        names = plan.names
        step = plan.steps[plan.step_of(job)]
        inputs = [
            (slot.name, [place(names[key]) for key in keys]) for slot, keys in zip(step.inputs, plan.input_slots(job))
        ]
        targets = [(slot.name, [place(where(target))]) for slot, target in zip(step.targets, self.targets(job))]
        return inputs, targets

    def manifest_path(self, job: int) -> str:
        """Where the job's manifest is written: the same path each time, so that the command stays the same."""
        name = hashlib.blake2b(os.fsencode(self._plan.job_id(job)), digest_size=12).hexdigest()
        return f"{self._manifests}/{name}.jsonl"

    def write_manifest(self, job: int) -> None:
        """One line: inputs and targets as lists (tables where they are named), the wildcards' values, and the parameters."""
        plan = self._plan
        step = plan.steps[plan.step_of(job)]
        inputs, targets = self._paths(job, _from(step.cwd), self._written)
        line = {
            "inputs": _grouped(inputs),
            "targets": _grouped(targets),
            "values": plan.values(job),
            "params": dict(step.params),
        }
        path = self.manifest_path(job)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(json.dumps(line, default=str) + "\n")


def _given(target: Target) -> str:
    """What a placeholder names: the key, or for a glob the folder that its members are to be written to."""
    return (glob(target.text).folder or ".") if target.dynamic else target.text


def _grouped(slots: Sequence[tuple[str | None, list[str]]]) -> Any:
    """A flat list, or a table of lists where the slots have names."""
    if not any(name for name, _ in slots):
        return [path for _, paths in slots for path in paths]
    table: dict[str, list[str]] = {}
    for name, paths in slots:
        table.setdefault(name or "", []).extend(paths)
    return table


def _from(cwd: str) -> Callable[[str], str]:
    """How a key looks from the folder that the command runs in. A folder key loses its slash: commands add their own."""
    if cwd in (".", ""):
        return lambda key: key[:-1] if key[-1:] == "/" and key != "/" else key
    inside = f"{cwd}/"

    def place(key: str) -> str:
        if key.startswith(inside):
            return key[len(inside) :].rstrip("/") or "."
        if key.startswith("/"):
            return key.rstrip("/") or "/"
        return os.path.relpath(key, cwd)

    return place
