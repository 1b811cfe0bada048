"""From a job to its command: which paths its placeholders stand for, and which of its targets the command reaches by itself.

A target that the command gets through a placeholder is staged: the placeholder gives a path below the stage, and duct publishes it by rename. A
target that the command writes without a placeholder is direct, and guarded.
"""

from __future__ import annotations

import json
import os
import shlex
from functools import cached_property
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from .errors import DuctError
from .keys import REMOTE, glob_folder, is_remote
from .model import Work
from .plan.columns import Recent
from .plan.definition import command_digest, object_digest
from .runners.body import BODY_WORD, BodyTemplate
from .runners.call import CallTemplate, grouped
from .runners.command import compile_command, shown_word
from .runners.copying import CopyTemplate
from .shell import stands_alone
from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .model import Step
    from .plan.columns import Job, Plan
    from .runners.command import CommandTemplate, Rendered

    Paths = list[tuple[str | None, list[str]]]


ONE_MORE = 9
"""Bytes that an argument takes beside its text: its end mark, and the pointer to it."""


class Target(NamedTuple):
    """One declared target of one job: a key, or a glob (`dynamic`) whose members are known only after the run.

    `given` is what a placeholder names: the key, or for a glob the folder that its members are to be written to. `place` is where that is written
    first: in the stage, or for a `direct` one where it belongs.
    """

    text: str
    dynamic: bool
    direct: bool
    given: str
    place: str


class Targets(NamedTuple):
    """The declared targets of one job, in order, and the texts of the staged, the direct and the dynamic ones.

    `plain`: all of them are files that the command is given a place in the stage for. `far`: some are remote.
    """

    every: list[Target]
    staged: list[str]
    direct: list[str]
    dynamic: set[str]
    plain: bool
    far: bool


NO_TEXTS: set[str] = set()
NOT_ASKED = Targets([], [], [], set(), plain=False, far=False)
"""Stands for those of a job that will not run."""


class _OfStep:
    """What is the same for all jobs of a step.

    Its compiled command (`template`), how a key looks from its `cwd` (`place`); for each target whether it is dynamic and whether it is
    direct (`kinds`); the inputs of which the command needs a local copy where they are remote (`remote`); may it read whole `folders`?
    The `body` that is given all keys as they are, where it is one.
    """

    def __init__(self, plan: Plan, number: int) -> None:
        step = plan.steps[number]
        self._plan, self._number = plan, number
        self.template = template = _template(step)
        self.place = _plain if step.cwd == "." else _from(step.cwd)
        remote: list[int] = []
        folders = False
        for at, slot in enumerate(step.inputs):
            text = slot.text
            if (slot.step is not None or text.startswith(REMOTE)) and template.reads(at):
                remote.append(at)
            folders = folders or slot.step is not None or text[-1:] == "/" or "{" in text
        self.remote, self.folders = remote, folders
        as_it_is = step.body is not None and not (folders or remote) and self.place is _plain
        self.body = template if as_it_is and isinstance(template, BodyTemplate) else None

    @cached_property
    def kinds(self) -> list[tuple[bool, bool]]:
        uses = self.template.uses
        return [(dynamic, not uses(at)) for at, dynamic in enumerate(self._plan.target_dynamic(self._number))]


class Commands:
    """Renders the commands of a plan's jobs. A step's template is compiled once.

    `staged` tells where a target is written first, from its key and whose stage that is; `copied` where the local copy of a remote input lies.
    """

    def __init__(
        self,
        plan: Plan,
        variables: Mapping[str, str],
        definitions: Sequence[str],
        staged: Callable[[str, str], str],
        copied: Callable[[int], str],
        manifests: str,
    ) -> None:
        self._plan = plan
        self._variables = variables
        self._definitions = definitions
        self._staged = staged
        self._copied = copied
        self._manifests = manifests
        self._steps: dict[int, _OfStep] = {}
        self._targets: Recent[Targets] = Recent()
        # Of the last job asked about: it is asked about several times in a row.
        self._given: tuple[Job, Rendered] | None = None
        self._read: tuple[Job | None, list[list[str]]] = (None, [])
        self._values: tuple[Job | None, dict[str, Any]] = (None, {})

    def template(self, step: int) -> CommandTemplate | CallTemplate | CopyTemplate | BodyTemplate:
        """The compiled command of a step, or what stands for it."""
        return self._of(step).template

    def _of(self, step: int) -> _OfStep:
        found = self._steps.get(step)
        if found is None:
            found = self._steps[step] = _OfStep(self._plan, step)
        return found

    def targets(self, job: Job) -> Targets:
        """The job's declared targets."""
        return self._targets.get(job.number) or self._targets.keep(job.number, self._find_targets(job))

    def _find_targets(self, job: Job) -> Targets:
        if job.is_value:
            (text,) = job.texts
            return Targets(
                [Target(text, False, False, text, self._staged(text, ""))], job.texts, [], NO_TEXTS, True, False
            )
        kinds = self._of(job.step_number).kinds
        owner = job.id if (True, False) in kinds else ""
        every = [self._target(text, dynamic, direct, owner) for text, (dynamic, direct) in zip(job.texts, kinds)]
        staged: list[str] = []
        direct: list[str] = []
        globs: set[str] = set()
        odd = False
        for target in every:
            (direct if target.direct else staged).append(target.text)
            if target.dynamic:
                globs.add(target.text)
            odd = odd or target.text[-1:] == "/"
        far = any(map(is_remote, job.texts))
        return Targets(every, staged, direct, globs, not (direct or globs or far or odd), far)

    def _target(self, text: str, dynamic: bool, direct: bool, owner: str) -> Target:
        if not dynamic:
            return Target(text, dynamic, direct, text, text if direct else self._staged(text, owner))
        folder = glob_folder(text)
        given = _plain(folder or ".")
        # That of what lies in the folder, not of the folder: it may be a link to another file system.
        return Target(text, dynamic, direct, given, given if direct else _plain(self._staged(f"{folder}x", owner)[:-1]))

    def render(self, job: Job) -> Rendered:
        """The command as it is started, from the step's `cwd`. DuctError where it is too long for the system."""
        return self._render(job, started=True)

    def remote_inputs(self, job: Job) -> list[int]:
        """The inputs of which the command is given a local copy."""
        remote = self._of(job.step_number).remote
        if not remote:
            return []
        slots = job.slots()
        keys = dict.fromkeys(key for at in remote for key in slots[at])
        return [key for key in keys if is_remote(self._plan.names[key])]

    def copy_of(self, key: int) -> str:
        """Where the local copy of a remote input lies."""
        return self._copied(key)

    def render_batch(self, jobs: Sequence[Job]) -> Rendered:
        """One command for several jobs of a step: the lists hold what all of them read and make, each path once."""
        first = jobs[0]
        place = _from(first.step.cwd)
        values: dict[str, Any] = dict(self._variables)
        values["inputs"] = _joined([self._local_paths(job, place) for job in jobs])
        values["targets"] = _joined([self._target_paths(job, place, started=True) for job in jobs])
        values["inputs.uri"] = _joined([self._input_paths(job, place) for job in jobs])
        values["targets.uri"] = _joined([self._target_paths(job, place) for job in jobs])
        values["params"] = first.step.params
        values["manifest"] = place(self.manifest_path(first))
        return self.template(first.step_number).render(values)

    def names_length(self, job: Job) -> int:
        """Bytes of a command line that the names of one job of a batch take; 0 where the command gets them by a manifest only."""
        template = self.template(job.step_number)
        if not template.names() & {"inputs", "targets"}:
            return 0
        slots = [*self._local_paths(job, str), *self._target_paths(job, str, started=True)]
        return sum(len(os.fsencode(path)) + ONE_MORE for _, paths in slots for path in paths)

    def digest(self, job: Job) -> bytes:
        """What identifies the command itself, whatever words the Ductfile uses for it, and wherever its targets are staged."""
        body = self._of(job.step_number).body
        if body is not None:
            targets = job.texts if job.is_value else [_plain(target.given) for target in self.targets(job).every]
            about, given = body.body, body.given(job.values)
            text = self._definitions[job.step_number]
            return object_digest(BODY_WORD, about.label, self._inputs(job), targets, given, about.arguments, text)
        return command_digest(self._as_given(job).words, self._definitions[job.step_number])

    def shown(self, job: Job) -> str:
        """The command as a user would type it in the project's root; "" where it cannot be rendered."""
        step = job.step
        if step.body is not None:
            return step.body.label
        if step.group:
            return ""
        try:
            text = self._as_given(job).shown
        except DuctError:
            return ""
        return text if step.cwd in ("", ".") else f"cd {shlex.quote(step.cwd)} && {text}"

    def repeat(self, job: Job) -> str:
        """What a user types in the project's root to do what the job's command does; "" where it cannot be rendered.

        A command that a shell of the user's reads alike stands as it is; any other one with the shell that duct gives it to.
        """
        step = job.step
        text = self.shown(job)
        if not text or step.run is None:
            return text
        rendered = self._as_given(job)
        own_shell = step.run.shell is not None or not stands_alone(rendered.shown)
        if own_shell and step.run.argv is None and rendered.script is None:
            text = " ".join(map(shown_word, rendered.argv))
        else:
            text = rendered.shown
        variables = "".join(f"{name}={shown_word(value)} " for name, value in step.env_set.items())
        text = variables + text
        return text if step.cwd in ("", ".") else f"(cd {shlex.quote(step.cwd)} && {text})"

    def _as_given(self, job: Job) -> Rendered:
        """The command with the targets' final paths. The last one is kept: a job that runs asks for it twice."""
        if self._given is None or self._given[0] is not job:
            self._given = (job, self._render(job, started=False))
        return self._given[1]

    def _render(self, job: Job, *, started: bool) -> Rendered:
        """With the places that it writes to, where it is `started`; else as a user is shown it, and it is known by."""
        of = self._of(job.step_number)
        place = of.place
        if of.body is not None:
            return of.body.call(self._inputs(job), self._places(job), job.values)
        if self._values[0] is not job:
            values: dict[str, Any] = {**self._variables, **job.values}
            values["inputs.uri"] = self._input_paths(job, place)
            values["params"] = job.step.params
            if of.template.uses_manifest:
                values["manifest"] = place(self.manifest_path(job))
            self._values = (job, values)
        values = self._values[1]
        values["targets"] = values["targets.uri"] = self._target_paths(job, place, started=started)
        values["inputs"] = values["inputs.uri"]
        if started and of.remote:
            values["inputs"] = self._local_paths(job, place)
        if started and self.targets(job).far:
            values["targets.uri"] = self._target_paths(job, place)
        return of.template.render(values, shown=not started)

    def work(self, job: Job, place: str, attempt: int, read: Callable[[str], bytes | None]) -> Work:
        """What the object of a light job's step is given; see `model.Work`. `place` is where it writes its value, if that is a large one."""
        of = self._of(job.step_number)
        if of.body is None:
            work = self._render(job, started=True).work
            assert work is not None
            return work._replace(attempt=attempt, read=read)
        return Work(self._inputs(job), [[place]], of.body.given(job.values), attempt, read)

    def _inputs(self, job: Job) -> list[list[str]]:
        """The keys of each slot. The last ones are kept: a job that runs asks for them twice."""
        if self._read[0] is not job:
            names = self._plan.names
            self._read = job, [[names[key] for key in keys] for keys in job.slots()]
        return self._read[1]

    def _places(self, job: Job) -> list[list[str]]:
        """Where the targets are written first, for a command that runs in the root."""
        return [[_plain(target.place)] for target in self.targets(job).every]

    def _input_paths(self, job: Job, place: Callable[[str], str]) -> Paths:
        names = self._plan.names
        paths = [[names[key] for key in keys] for keys in job.slots()]
        if place is not _plain or self._of(job.step_number).folders:
            paths = [[place(path) for path in each] for each in paths]
        return [(slot.name, each) for slot, each in zip(job.step.inputs, paths)]

    def _local_paths(self, job: Job, place: Callable[[str], str]) -> Paths:
        """As `_input_paths`, with the local copies of remote inputs in their place."""
        found = self._input_paths(job, place)
        if not self.remote_inputs(job):
            return found
        return [
            (name, [place(self._copied(key)) if is_remote(path) else path for key, path in zip(keys, paths)])
            for (name, paths), keys in zip(found, job.slots())
        ]

    def _target_paths(self, job: Job, place: Callable[[str], str], *, started: bool = False) -> Paths:
        targets = zip(job.step.targets, self.targets(job).every)
        return [(slot.name, [place(target.place if started else target.given)]) for slot, target in targets]

    def manifest_path(self, job: Job) -> str:
        """Where the manifest of a job, or of the batch that begins with it, is written: the same path each time."""
        name = blake3(os.fsencode(job.id)).hexdigest(length=12)
        return f"{self._manifests}/{name}.jsonl"

    def write_manifest(self, jobs: Sequence[Job]) -> None:
        """One line a job: inputs and targets as lists (tables where they are named), the wildcards' values, and the parameters."""
        step = jobs[0].step
        place = _from(step.cwd)
        path = self.manifest_path(jobs[0])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            for job in jobs:
                line = {
                    "inputs": grouped(self._local_paths(job, place)),
                    "targets": grouped(self._target_paths(job, place, started=True)),
                    "values": job.values,
                    "params": dict(step.params),
                }
                file.write(json.dumps(line, default=str) + "\n")


def _template(step: Step) -> CommandTemplate | CallTemplate | CopyTemplate | BodyTemplate:
    if step.copy:
        return CopyTemplate(step)
    if step.body is not None:
        return BodyTemplate(step)
    return compile_command(step) if step.call is None else CallTemplate(step)


def _joined(jobs: Sequence[Paths]) -> Paths:
    """The slots of several jobs of one step together: each path once, in order."""
    slots: list[tuple[str | None, dict[str, None]]] = [(name, {}) for name, _ in jobs[0]]
    for job in jobs:
        for (_, joined), (_, paths) in zip(slots, job):
            joined.update(dict.fromkeys(paths))
    return [(name, list(joined)) for name, joined in slots]


def _plain(key: str) -> str:
    """How a key looks from the root."""
    return key[:-1] if key[-1:] == "/" and key != "/" else key


def _from(cwd: str) -> Callable[[str], str]:
    """How a key looks from the folder that the command runs in. A folder key loses its slash: commands add their own."""
    if cwd in (".", ""):
        return _plain
    inside = f"{cwd}/"

    def place(key: str) -> str:
        if is_remote(key):
            return key
        if key.startswith(inside):
            return key[len(inside) :].rstrip("/") or "."
        if key.startswith("/"):
            return key.rstrip("/") or "/"
        return os.path.relpath(key, cwd)

    return place
