"""A second, simple build system, for comparison: steps in order, contents in a dict, no stamps, no plan, no database.

`Model.build` says which jobs have to run and what every file holds afterwards. It shares no code with the package, and is slow and plain on
purpose: a job runs if its command, the names or contents of its inputs, or its targets are not what they were when it last ran.

Every step reads sources or steps before it, and has a folder of its own for its targets. What a command does is a pure function of its inputs
(`apply` here, `shell` there); lossy operations make sure that readers are often spared.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import NamedTuple

Files = dict[str, bytes]
"""Content by key."""


@dataclass
class Step:
    """One step of a random project.

    `kind`: "map" (a wildcard), "collect" (a wildcard that the target does not name), "merge" (a glob), "foreach", "plain", "dynamic" (a glob as
    target), "folder" (a folder as target), "group". `reads` are slots: a literal key, a pattern `folder/{x}.ending`, a glob, or `step:NAME`.
    `op` is one of OPS. `direct`: the command writes to the target's own path. `way`: "run", "batch" (at most `size` jobs in a command) or
    "python" (a function of MODULE, whose helper has the constant `mark`; only there does it count).
    """

    name: str
    kind: str
    reads: list[str]
    folder: str
    op: str = "cat"
    tag: str = "t"
    param: int | None = None
    two: bool = False
    direct: bool = False
    values: tuple[str, ...] = ()
    way: str = "run"
    size: int = 1
    mark: str = ""

    @property
    def wildcard(self) -> str | None:
        """The name that tells the jobs of the step apart."""
        return {"map": "x", "foreach": "x", "collect": "g"}.get(self.kind)

    @property
    def dynamic(self) -> bool:
        return self.kind in ("dynamic", "folder")


UNORDERED = ("first", "count", "const", "least")
"""Operations for which the order of the inputs does not matter."""

OPS = ("cat", *UNORDERED)
"""What a command may do; "tree" besides, for readers of a folder."""

ENUMERABLE = ("map", "collect", "foreach", "merge", "plain")
"""The kinds whose steps may have any `way`."""


def lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def apply(op: str, tag: str, inputs: list[bytes]) -> bytes:
    """What a command writes; `shell` says the same in shell."""
    data = b"".join(inputs)
    if op in ("cat", "tree"):
        made = data
    elif op == "first":
        made = b"".join(sorted({line[:1] + b"\n" for line in lines(data)}))
    elif op == "count":
        made = b"%d\n" % len(lines(data))
    elif op == "least":
        made = b"".join(sorted(lines(data))[:1])
    else:
        made = b""
    return made + tag.encode() + b"\n"


def shell(op: str, tag: str, inputs: str) -> str:
    return {
        "cat": f"cat {inputs}",
        "first": f"cat {inputs} | cut -c1 | sort -u",
        "count": f"cat {inputs} | wc -l",
        "least": f"cat {inputs} | sort | sed -n 1p",
        "const": f": {inputs}",
        "tree": f"cat {inputs}/*",
    }[op] + f"; echo {tag}"


def parts(tag: str, inputs: list[bytes]) -> Files:
    """What a dynamic command makes: a file for each first letter."""
    made: Files = {}
    for line in [*lines(b"".join(inputs)), tag.encode() + b"\n"]:
        name = line[:1].decode() + ".p"
        made[name] = made.get(name, b"") + line
    return made


WORK = f"""
import os
import sys

{inspect.getsource(lines)}
{inspect.getsource(apply)}
def told_to_fail(name):
    with open(os.environ["RUNS"], "ab") as log:
        log.write(os.fsencode(name) + b"\\0")
    return os.path.exists(os.path.join(os.environ["FAILS"], name))

def read(paths):
    return [open(path, "rb").read() for path in paths]

def write(path, data):
    with open(path, "wb") as target:
        target.write(b"half")
        target.flush()
        target.seek(0)
        target.truncate()
        target.write(data)
"""
"""What the module of functions and the program for batches have in common."""

MODULE = f"""from __future__ import annotations
{WORK}
import tool

def by_x(inputs, targets, params, x):
    made(f"{{params['step']}}/{{x}}", inputs, targets, params)

def by_g(inputs, targets, params, g):
    made(f"{{params['step']}}/{{g}}", inputs, targets, params)

def plain(inputs, targets, params):
    made(f"{{params['step']}}/", inputs, targets, params)

def made(name, inputs, targets, params):
    tag = params["tag"]
    if told_to_fail(name):
        write(targets[0], b"half")
        sys.exit(9)
    write(targets[0], apply(params["op"], tag, read(inputs)) + tool.MARK.encode() + b"\\n")
    for path in targets[1:]:
        write(path, tag.encode() + b"\\n")
"""

PROGRAM = f"""from __future__ import annotations
import json
{WORK}
manifest, step, op, tag = sys.argv[1:]
with open(manifest) as rows:
    jobs = [json.loads(row) for row in rows]
for job in jobs:
    if told_to_fail(step + "/" + "".join(job["values"].values())):
        write(job["targets"][0], b"half")
        sys.exit(9)
    contents = [apply(op, tag, read(job["inputs"])), tag.encode() + b"\\n"]
    for path, data in zip(job["targets"], contents):
        write(path + ".half", data)
        os.replace(path + ".half", path)
"""


def helper(mark: str) -> str:
    """The module that the functions use."""
    return f"MARK = {mark!r}\n"


def ductfile(steps: list[Step]) -> str:
    """The steps as TOML."""
    return "\n".join(_entry(step) for step in steps)


def _entry(step: Step) -> str:
    text = [f"[step.{step.name}]", f"inputs = {_list(step.reads)}"]
    if step.kind == "group":
        return "\n".join([*text, ""])
    if step.kind == "collect":
        text.append("where = { g = '[a-z]', i = '[0-9]' }")
    if step.kind == "foreach":
        text.append(f"foreach = {{ x = {_list(step.values)} }}")
    targets = target_texts(step)
    text.append(f"targets = {_list(targets)}")
    params = {} if step.param is None else {"level": str(step.param)}
    if step.way == "python":
        params |= {"step": f"'{step.name}'", "op": f"'{step.op}'", "tag": f"'{step.tag}'"}
        text.append(f'python = "work:{f"by_{step.wildcard}" if step.wildcard else "plain"}"')
    elif step.way == "batch":
        text.append(f"batch = {step.size}")
        text.append(f"run = 'python3 -IS \"$PROGRAM\" {{manifest}} {step.name} {step.op} {step.tag}'")
    else:
        text.append(f"run = '''\n{_command(step, targets)}\n'''")
    if params:
        text.append(f"params = {{ {', '.join(f'{name} = {value}' for name, value in params.items())} }}")
    return "\n".join([*text, ""])


def _list(texts: list[str] | tuple[str, ...]) -> str:
    return "[" + ", ".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts) + "]"


def target_texts(step: Step) -> list[str]:
    if step.kind == "dynamic":
        return [f"{step.folder}/*.p"]
    if step.kind == "folder":
        return [f"{step.folder}/"]
    stem = f"{{{step.wildcard}}}" if step.wildcard else "all"
    return [f"{step.folder}/{stem}.t", *([f"{step.folder}/second/{stem}.u"] if step.two else [])]


def _command(step: Step, targets: list[str]) -> str:
    name = f"{{{step.wildcard}}}" if step.wildcard else "''"
    head = f'printf \'%s\\0\' {step.name}/{name} >> "$RUNS"\n[ ! -e "$FAILS/{step.name}"/{name} ] || exit 9\n'
    if step.dynamic:
        folder = step.folder if step.direct else "{target}"
        awk = '{{ print > (folder "/" substr($0, 1, 1) ".p") }}'
        return head + f"mkdir -p {folder}\n(cat {{inputs}}; echo {step.tag}) | awk -v folder={folder} '{awk}'"
    target = targets[0] if step.direct else "{target}"
    text = head + f"echo half > {target}\n({shell(step.op, step.tag, '{inputs}')}) > {target}"
    if step.two:
        text += f"\necho {step.tag} > {targets[1] if step.direct else '{targets[1]}'}"
    return text


class Job(NamedTuple):
    """One job: `name` is what its command appends to the log."""

    name: str
    step: Step
    inputs: list[str]
    targets: list[str]


@dataclass
class Trace:
    """What a job saw and made when it last ran well."""

    command: tuple[object, ...]
    inputs: list[tuple[str, bytes]]
    targets: Files


@dataclass
class Outcome:
    """What one build comes to."""

    ran: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    jobs: list[Job] = field(default_factory=list)
    needs: dict[str, set[str]] = field(default_factory=dict)
    """For each job the jobs that make its inputs, or may."""


class Model:
    """The traces of the model, and a build over a dict of files."""

    def __init__(self) -> None:
        self.traces: dict[str, Trace] = {}

    def copy(self) -> Model:
        twin = Model()
        twin.traces = dict(self.traces)
        return twin

    def build(
        self,
        steps: list[Step],
        sources: Files,
        disk: Files,
        *,
        failing: frozenset[str] = frozenset(),
        only: set[str] | None = None,
        selected: set[str] | None = None,
    ) -> Outcome:
        """Build with `-k`. `disk` is changed to what it holds afterwards.

        `only`: nothing but these jobs may run (the others are taken as they are): a replay. `selected`: the jobs asked for and what they need.
        """
        outcome = Outcome()
        made: dict[str, list[str]] = {}
        maker: dict[str, str] = {}
        bad: set[str] = set()
        open_to: dict[str, set[str]] = {}
        for step in steps:
            made[step.name] = []
            waits_for = self._waits_for(step, steps, open_to)
            # The jobs of these are as many as there are matches; all others make what they make.
            open_to[step.name] = waits_for if step.kind in ("map", "collect", "group") else set()
            for job in self._expand(step, steps, sources, made):
                outcome.jobs.append(job)
                outcome.needs[job.name] = {maker[key] for key in job.inputs if key in maker} | waits_for
                if step.kind == "group":
                    continue
                targets = self._one(job, disk, outcome, bad, failing, only, selected)
                made[step.name] += targets
                maker.update(dict.fromkeys(targets, job.name))
                if step.dynamic:
                    open_to[step.name] = {job.name}
        return outcome

    @staticmethod
    def _waits_for(step: Step, steps: list[Step], open_to: dict[str, set[str]]) -> set[str]:
        """The dynamic jobs that must have run before it is known what the step reads."""
        found: set[str] = set()
        for slot in step.reads:
            for other in steps:
                by_pattern = ("*" in slot or "{" in slot) and _folder(slot) == other.folder
                if by_pattern or slot == f"step:{other.name}" or slot == f"{other.folder}/":
                    found |= open_to.get(other.name, set())
        return found

    def _one(
        self,
        job: Job,
        disk: Files,
        outcome: Outcome,
        bad: set[str],
        failing: frozenset[str],
        only: set[str] | None,
        selected: set[str] | None,
    ) -> list[str]:
        """Judge one job and run it if it has to; the keys that it makes."""
        trace = self.traces.get(job.name)
        known = job.targets
        if job.step.dynamic:
            known = list(trace.targets) if trace else []
        if outcome.needs[job.name] & bad:
            outcome.skipped.add(job.name)
            bad.add(job.name)
            return known
        if selected is not None and job.name not in selected:
            return known
        if only is not None and job.name not in only:
            return known
        if trace and not self._stale(job, trace, disk):
            return known
        outcome.ran.add(job.name)
        if job.name in failing:
            outcome.failed.add(job.name)
            bad.add(job.name)
            return known
        seen = [(key, _content(key, disk)) for key in job.inputs]
        fresh = self._run(job, [_data(key, disk) for key in job.inputs])
        for key in trace.targets if trace else ():
            if key not in fresh and job.step.dynamic:
                disk.pop(key, None)
        if job.step.kind == "folder":
            for key in [key for key in disk if key.startswith(job.step.folder + "/")]:
                del disk[key]
        disk.update(fresh)
        self.traces[job.name] = Trace(_identity(job), seen, fresh)
        return list(fresh)

    def _stale(self, job: Job, trace: Trace, disk: Files) -> bool:
        if trace.command != _identity(job) or trace.inputs != [(key, _content(key, disk)) for key in job.inputs]:
            return True
        if job.step.kind == "folder":
            return trace.targets != {key: data for key, data in disk.items() if key.startswith(job.step.folder + "/")}
        return any(disk.get(key) != data for key, data in trace.targets.items())

    @staticmethod
    def _run(job: Job, inputs: list[bytes]) -> Files:
        step = job.step
        if step.dynamic:
            return {f"{step.folder}/{name}": data for name, data in parts(step.tag, inputs).items()}
        mark = step.mark.encode() + b"\n" if step.way == "python" else b""
        contents = [apply(step.op, step.tag, inputs) + mark, step.tag.encode() + b"\n"]
        return dict(zip(job.targets, contents))

    def _expand(self, step: Step, steps: list[Step], sources: Files, made: dict[str, list[str]]) -> list[Job]:
        """The jobs of one step, now that all steps before it are through."""
        known = [*sources, *(key for keys in made.values() for key in keys)]
        if step.kind in ("map", "collect"):
            return self._matched(step, known)
        inputs: list[str] = []
        for slot in step.reads:
            inputs += _slot(slot, steps, known, made)
        values = step.values if step.kind == "foreach" else ("",)
        return [
            Job(f"{step.name}/{value}", step, inputs, [text.replace("{x}", value) for text in target_texts(step)])
            for value in values
            if step.kind != "group"
        ]

    @staticmethod
    def _matched(step: Step, known: list[str]) -> list[Job]:
        pattern, *shared = step.reads
        name = "{x}" if step.kind == "map" else "{g}"
        regex = re.escape(pattern).replace(r"\{x\}", "(?P<v>[^/]+)")
        regex = regex.replace(r"\{g\}", "(?P<v>[a-z])").replace(r"\{i\}", "[0-9]")
        rows: dict[str, list[str]] = {}
        for key in sorted(known):
            match = re.fullmatch(regex, key)
            if match and not match["v"].startswith("."):
                rows.setdefault(match["v"], []).append(key)
        return [
            Job(
                f"{step.name}/{value}",
                step,
                [*keys, *shared],
                [text.replace(name, value) for text in target_texts(step)],
            )
            for value, keys in sorted(rows.items())
        ]


def _folder(slot: str) -> str:
    return slot.rsplit("/", 1)[0] if "/" in slot else ""


def _slot(slot: str, steps: list[Step], known: list[str], made: dict[str, list[str]]) -> list[str]:
    if slot.startswith("step:"):
        (step,) = (step for step in steps if step.name == slot[5:])
        if step.kind == "group":
            return [key for inner in step.reads for key in _slot(inner, steps, known, made)]
        return [step.folder + "/"] if step.kind == "folder" else sorted(made[step.name])
    if "*" in slot:
        head, tail = slot.split("*")
        found = [key for key in known if key.startswith(head) and key.endswith(tail) and "/" not in key[len(head) :]]
        return sorted(key for key in found if not key[len(head) :].startswith("."))
    return [slot]


def _content(key: str, disk: Files) -> bytes:
    if not key.endswith("/"):
        return disk[key]
    # A folder as a whole: its names count as well.
    return repr(sorted((name, data) for name, data in disk.items() if name.startswith(key))).encode()


def _data(key: str, disk: Files) -> bytes:
    """What a command reads there; `_content` is what identifies it."""
    if not key.endswith("/"):
        return disk[key]
    return b"".join(disk[name] for name in sorted(disk) if name.startswith(key))


def _identity(job: Job) -> tuple[object, ...]:
    step = job.step
    mark = step.mark if step.way == "python" else None
    return (step.kind, step.op, step.tag, step.param, step.two, step.direct, step.folder, mark)
