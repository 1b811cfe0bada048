"""What can be wrong in one step although each setting is well formed: its names, its targets, the placeholders of its command.

A check is skipped where a setting that it needs is broken: that has its own message already. No disk, no other step.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..keys import HTTP, is_remote
from ..shell import check_command
from ..template import Placeholder, parse
from ..text import count, nearest, shown
from . import tables
from .drafts import ACTIONS, RESERVED
from .source import kind, scalar

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .drafts import Declared, Draft
    from .fill import Key
    from .source import Spot

_NEARLY = re.compile(
    r"(?<!\$)\{([^\W\d]\w*)(\.[\w-]+(?:[.\[][\w\].-]*)|\[[\w-]*\](?:\.[\w.-]+)?|\*\*?|![rsa]|:(?:q|[<>^=]?0?\d*[dsfx]?))\}"
)

_NOT_FOR_COPIES = ("shell", "batch", "params", "env", "secrets", "cwd", "keep")

_HABITS = {
    "wildcards": "a wildcard stands alone: write {{{part}}}",
    "foreach": "a name of foreach stands alone: write {{{part}}}",
    "item": "write the name that foreach gives the values",
    "vars": "a var stands alone: write {{{part}}}",
    "threads": "write the number itself, or params = {{ threads = 4 }} and {{params.threads}}",
    "cores": "write the number itself, or params = {{ cores = 4 }} and {{params.cores}}",
    "stem": "write the name that the wildcard has in the targets",
    "config": "write params = {{ {part} = … }} and {{params.{part}}}, or a var",
    "log": "what a command prints is in its log already: leave it out",
}
"""Names that mean something in the commands of other tools, and what to write here."""


def check(draft: Draft) -> None:
    """Put all mistakes of the step on the list that need more than one of its settings."""
    _action(draft)
    _targets(draft)
    _foreach(draft)
    _where(draft)
    if draft.run is not None and "run" not in draft.broken:
        _run(draft)


def keys_of(declared: Sequence[Declared]) -> list[Key]:
    return [each.key for each in declared if each.key is not None]


# -- the action ------------------------------------------------------------------------------------------------------------------------


def _action(draft: Draft) -> None:
    spot = draft.spot
    actions = [name for name in ACTIONS if name in draft.spots]
    for name in actions[1:]:
        draft.spots[name].wrong(
            f'stands beside "{actions[0]}", and a step does one thing', key=True, hint="make two steps of it"
        )
    if draft.action is not None:
        shell = draft.spots.get("shell")
        if shell is not None and "shell" in draft.own and draft.run is not None and draft.run.argv is not None:
            shell.wrong('has no effect, for "run" is a list of words', key=True, hint='write "run" as one text')
        for name in (
            ("shell", "batch") if draft.action == "python" else _NOT_FOR_COPIES if draft.action == "copy" else ()
        ):
            if name in draft.own:
                what = "function" if draft.action == "python" else "copy"
                draft.spots[name].wrong(f"has no effect on a {what}", key=True, hint="leave it out")
        _copy(draft)
        variables = draft.values.get("env")
        for name in draft.values.get("secrets") or ():
            if variables and (name in variables[0] or name in variables[1]):
                draft.spots["secrets"].wrong(f"has {name}, which {draft.spots['env'].subject} counts", key=True)
        return
    if "targets" in draft.values:
        spot.say(f"{spot.subject} has targets, but nothing that makes them", key=True, hint='add run = "…"')
    elif not draft.puzzling and "inputs" not in draft.values and "after" not in draft.values:
        spot.say(f"{spot.subject} has neither inputs nor a command", key=True, hint='add run = "…"')


def _copy(draft: Draft) -> None:
    """What only copies, and only remote keys, can have."""
    for each in draft.targets:
        if each.key is not None and is_remote(each.key.text):
            if each.key.text.startswith(HTTP):
                each.spot.wrong(f"has {shown(each.key.text)}, and addresses of the web can only be read")
            elif each.key.globs:
                each.spot.wrong(
                    f"has {shown(each.key.text)}, and a target of gs:// is one object", hint="name it without *"
                )
    if draft.values.get("keep") and any(is_remote(key.text) for key in keys_of(draft.targets)):
        draft.spots["keep"].wrong("has no effect on a target in a bucket, which is replaced as a whole", key=True)
    _addresses(draft)
    if (
        "sha256" in draft.own
        and "sha256" not in draft.broken
        and not any(key.text.startswith(HTTP) for key in keys_of(draft.inputs))
    ):
        draft.spots["sha256"].wrong("has no effect, for no input is an address of the web", key=True)
    if draft.action != "copy" or draft.broken & {"inputs", "targets"}:
        return
    for setting, declared in (("inputs", draft.inputs), ("targets", draft.targets)):
        if len(declared) != 1 or declared[0].key is None or declared[0].key.globs or declared[0].key.text.endswith("/"):
            place = draft.spots.get(setting, draft.spot)
            place.say(
                f"{draft.spot.subject} copies, and so has one key as its {setting}, without globs",
                key=True,
                hint="a wildcard copies many: one job for each",
            )


def _addresses(draft: Draft) -> None:
    """A web server has no listing: the names in an address must have their values from elsewhere."""
    named = set(draft.foreach)
    for each in draft.inputs:
        if each.key is None:
            continue
        if not each.key.text.startswith(HTTP):
            named |= set(each.key.names)
            continue
        for wildcard in each.key.wildcards:
            if wildcard.name not in named:
                each.spot.say(
                    f"{each.spot.subject} has {wildcard}, and a web server does not tell what it has",
                    part=(wildcard.start, wildcard.end),
                    hint="name it in an input of files before, or give its values in foreach",
                )


# -- keys and their names --------------------------------------------------------------------------------------------------------------


def _targets(draft: Draft) -> None:
    seen: dict[str, Key] = {}
    for each in draft.targets:
        if each.key is None:
            each.spot.say(
                f'{each.spot.subject} names step "{each.step}", and a target is a key', hint="steps can be inputs only"
            )
        elif each.key.text in seen:
            each.spot.wrong(f"has {shown(each.key.text)} twice")
        else:
            seen[each.key.text] = each.key
    inputs = {key.text for key in keys_of(draft.inputs)}
    for text, key in seen.items():
        if text in inputs:
            key.spot.say(
                f"{draft.spot.subject} reads and makes {shown(text)}",
                hint="for a target that is updated in place, write keep = true and leave it out of the inputs",
            )
    _inside_folders(draft)
    if _known_wildcards(draft, list(seen.values())):
        _same_wildcards(draft, list(seen.values()))


def _inside_folders(draft: Draft) -> None:
    """A folder as a whole is replaced as a whole, and read as a whole: nothing else of the step can lie in it."""
    inputs, targets = keys_of(draft.inputs), keys_of(draft.targets)
    for target in targets:
        for other in (*inputs, *targets):
            if target.text.endswith("/") and other.text.startswith(target.text) and other.text != target.text:
                does = "reads" if other in inputs else "makes"
                other.spot.say(
                    f"{draft.spot.subject} makes the folder {shown(target.text)} as a whole, and {does} {shown(other.text)} in it"
                )
        for other in inputs:
            if other.text.endswith("/") and target.text.startswith(other.text) and other.text != target.text:
                target.spot.say(
                    f"{draft.spot.subject} reads the folder {shown(other.text)} as a whole, and makes {shown(target.text)} in it",
                    hint=f"to read the files in it, write {shown(other.text + '*')}",
                )


def _same_wildcards(draft: Draft, targets: list[Key]) -> None:
    for key in targets[1:]:
        if set(key.names) != set(targets[0].names):
            key.spot.say(
                f"the targets of {draft.spot.subject} name different wildcards",
                facts=tuple(f"{shown(each.text)} names {_and(each.names)}" for each in (targets[0], key)),
                hint="all targets of a step belong to the same job, so that they name the same",
            )
            return


def _and(names: Sequence[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _known_wildcards(draft: Draft, targets: list[Key]) -> bool:
    """Are the wildcards of the targets known from the inputs? True when in doubt."""
    if draft.broken & {"inputs", "foreach"}:
        return True
    named = {name for key in keys_of(draft.inputs) for name in key.names} | set(draft.foreach)
    said: set[str] = set()
    for key in targets:
        for wildcard in key.wildcards:
            if wildcard.name in named or wildcard.name in said:
                continue
            said.add(wildcard.name)
            near = nearest(wildcard.name, [*named, *draft.scope.vars])
            key.spot.say(
                f"{key.spot.subject} has {wildcard}, which no input names and which is no var",
                part=(wildcard.start, wildcard.end),
                hint=f"did you mean {{{near[0]}}}?" if near else "name it in an input, or give its values in foreach",
            )
    return not said


def _foreach(draft: Draft) -> None:
    keys = keys_of([*draft.inputs, *draft.targets])
    used = {name for key in keys for name in key.names}
    for name, items in draft.foreach.items():
        for value, spot in items if name in used else ():
            if any(part in ("", ".", "..") for part in value.split("/")):
                spot.say(f"{spot.subject} has the value {shown(value)}, which cannot be a part of a key")
    targets = keys_of(draft.targets)
    if not targets or draft.broken & {"targets", "foreach"}:
        return
    for name, items in draft.foreach.items():
        if len(items) > 1 and not any(name in key.names for key in targets):
            draft.spots["foreach"].inside("foreach", name).say(
                f"the jobs of {draft.spot.subject} for each {name} would all make {shown(targets[0].text)}",
                key=True,
                hint=f"name {{{name}}} in the targets",
            )


def _where(draft: Draft) -> None:
    where = draft.values.get("where")
    if not where or "where" not in draft.own or draft.broken & {"inputs", "targets"}:
        return
    named = [name for key in keys_of(draft.inputs) for name in key.names if name not in draft.foreach]
    for name in where:
        if name in named:
            continue
        spot = draft.spots["where"].inside("where", name)
        if name in draft.foreach:
            spot.wrong("is a name of foreach, whose values are those given there", key=True)
            continue
        near = nearest(name, named)
        spot.wrong(
            "is a var, and no wildcard" if name in draft.scope.vars else "is no wildcard of its inputs",
            key=True,
            hint=f'did you mean "{near[0]}"?' if near else None,
        )


# -- the placeholders of a command -----------------------------------------------------------------------------------------------------


def _run(draft: Draft) -> None:
    run, spot = draft.run, draft.spots["run"]
    assert run is not None
    command = _Command(draft)
    if run.text is not None:
        command.text(spot, run.text)
        for message, start, end in check_command(run.text, draft.values.get("shell")):
            spot.say(f"{spot.subject}: {message}", part=(start, end))
    for number, word in enumerate(run.argv or ()):
        command.text(spot.item(number), word)


def valued(draft: Draft) -> set[str]:
    """The wildcards and `foreach` names that a job has one value for."""
    keys = keys_of(draft.targets or draft.inputs)
    return {name for key in keys for name in key.names} | set(draft.foreach)


class _Command:
    """Judges placeholders. `job` are the names that a job has one value for, `collected` those that it has many of."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        read = [name for key in keys_of(draft.inputs) for name in key.names]
        self.job = valued(draft)
        self.collected = set(read) - self.job
        self.known = [*RESERVED, *draft.scope.vars, *sorted(self.job)]

    def text(self, spot: Spot, text: str) -> None:
        for placeholder in parse(text, is_key=False).placeholders:
            found = self._judge(placeholder)
            if found is not None:
                spot.say(found[0], hint=found[1], part=(placeholder.start, placeholder.end))
        for nearly in _NEARLY.finditer(text):
            name, tail = nearly[1], nearly[2]
            if (
                name in self.known
                and not (tail == "**" and name not in self.job)
                and parse(nearly[0], is_key=False).literal
            ):
                plain = parse(f"{{{name}{_first(tail)}}}", is_key=False).placeholders
                hint = f"write {plain[0]}" if plain and name in RESERVED and plain[0].part else f"write {{{name}}}"
                if name == "params":
                    hint = "write {params.NAME}"
                elif tail[0] == ":":
                    hint = (
                        f"write {{{name}}}, which is quoted already"
                        if tail == ":q"
                        else f"write {{{name}}}, which has no formats"
                    )
                spot.say(
                    f"{spot.subject} has {nearly[0]}, which means nothing",
                    part=nearly.span(),
                    hint=f"{hint}, or {{{nearly[0]}}} for braces that are meant as they are",
                )

    def _judge(self, it: Placeholder) -> tuple[str, str | None] | None:
        """What is wrong with a placeholder, and the next move."""
        subject = f'"run" of {self.draft.spot.subject}'
        if (self.draft.values.get("batch") or 1) > 1:
            several = self._one_of_many(it)
            if several is not None:
                return f"{subject} has {it}, and a batch has many values for it", several
        if it.name in ("input", "target"):
            return self._single(it, subject)
        if it.name in ("inputs", "targets"):
            return self._several(it, subject)
        if it.name == "params":
            return self._param(it, subject)
        if it.name == "manifest" or it.name in self.job or it.name in self.draft.scope.vars:
            if it.part is not None or it.item is not None:
                return f"{subject} has {it}, and {it.name} has no parts", f"write {{{it.name}}}"
            return None
        return self._unknown(it, subject)

    def _one_of_many(self, it: Placeholder) -> str | None:
        """The next move for what has one value a job, where a command works on many jobs."""
        if it.name in ("input", "target"):
            return f"write {{{it.name}s}}, the list of all jobs, or {{manifest}}, a file with a line for each job"
        if it.name in ("inputs", "targets") and it.item is not None:
            return f"give the {it.name} names and write {{{it.name}.NAME}}, or {{manifest}}, a file with a line for each job"
        if it.name in self.job and it.name not in RESERVED:
            return "write {manifest}, a file with a line for each job, its values among them"
        return None

    def _unknown(self, it: Placeholder, subject: str) -> tuple[str, str | None] | None:
        if self.draft.broken & {"inputs", "targets", "foreach"}:
            return None
        if it.name in self.collected:
            return (
                f"{subject} has {it}, and a job reads files with many values for it",
                "only the wildcards of the targets have one value for a job",
            )
        if it.name == "env":
            return f"{subject} has an unknown name {it}", f"write ${{{it.part or 'NAME'}}}: the shell replaces it"
        habit = _HABITS.get(it.name)
        if habit is not None:
            return f"{subject} has an unknown name {it}", habit.format(part=it.part or "NAME")
        near = nearest(it.name, self.known)
        word = tables.meant(it.name, tables.FOREIGN)
        if not near and word in ("inputs", "targets"):
            near = [word if it.name.endswith("s") else word[:-1]]
        literal = f"for braces that are meant as they are, write {{{it}}}"
        return f"{subject} has an unknown name {it}", f"did you mean {{{near[0]}}}?" if near else literal

    def _declared(self, name: str) -> tuple[str, Sequence[Declared]]:
        setting = "inputs" if name.startswith("input") else "targets"
        return setting, self.draft.inputs if setting == "inputs" else self.draft.targets

    def _single(self, it: Placeholder, subject: str) -> tuple[str, str | None] | None:
        setting, declared = self._declared(it.name)
        if it.part == "uri":
            return self._empty(it, subject, setting, declared)
        if it.part is not None or it.item is not None:
            return f"{subject} has {it}, which means nothing", f"write {Placeholder(setting, it.part, it.item)}"
        return self._empty(it, subject, setting, declared)

    def _empty(
        self, it: Placeholder, subject: str, setting: str, declared: Sequence[Declared]
    ) -> tuple[str, str | None] | None:
        if declared or setting in self.draft.broken:
            return None
        return f"{subject} has {it}, and the step has no {setting}", None

    def _several(self, it: Placeholder, subject: str) -> tuple[str, str | None] | None:
        setting, declared = self._declared(it.name)
        if setting in self.draft.broken:
            return None
        if not declared or (it.slot is None and it.item is None):
            return self._empty(it, subject, setting, declared)
        if it.item is not None:
            return self._indexed(it, subject, setting, declared)
        names = [each.name for each in declared if each.name is not None]
        if it.slot in names:
            return None
        if not names:
            return f"{subject} has {it}, and the {setting} have no names", f'write {setting} = {{ {it.part} = "…" }}'
        near = nearest(it.slot or "", names)
        known = ", ".join(dict.fromkeys(names))
        return (
            f'{subject} has {it}, and none of the {setting} is called "{it.part}"',
            f"did you mean {{{setting}.{near[0]}}}?" if near else f"known: {known}",
        )

    def _indexed(
        self, it: Placeholder, subject: str, setting: str, declared: Sequence[Declared]
    ) -> tuple[str, str | None] | None:
        if it.item is None or it.item < len(declared):
            return None
        if setting == "inputs" and not all(self._one_key(each) for each in declared):
            return None
        return (
            f"{subject} has {it}, and the step has {count(len(declared), setting[:-1])}",
            f"the first is {{{setting}[0]}}",
        )

    def _one_key(self, each: Declared) -> bool:
        return (
            each.key is not None and not each.key.globs and not any(name in self.collected for name in each.key.names)
        )

    def _param(self, it: Placeholder, subject: str) -> tuple[str, str | None] | None:
        if "params" in self.draft.broken:
            return None
        params = self.draft.values.get("params") or {}
        if it.part is None:
            return f"{subject} has {it}, and params is a table", "write {params.NAME}"
        if it.part not in params:
            near = nearest(it.part, params)
            known: Collection[str] = list(params)
            listed = f"known: {', '.join(known)}" if known else f"write params = {{ {it.part} = … }}"
            return f"{subject} has an unknown name {it}", f"did you mean {{params.{near[0]}}}?" if near else listed
        value = params[it.part]
        if any(scalar(each) is None for each in (value if isinstance(value, list) else [value])):
            what = "a list of lists or tables" if isinstance(value, list) else kind(value)
            return (
                f"{subject} has {it}, which is {what}",
                "only texts, numbers, dates, true and false can be written, and lists of them",
            )
        return None


def _first(tail: str) -> str:
    """The part of a longer tail that could stand alone: `.a` of `.a.b`."""
    found = re.match(r"\.[\w-]+", tail)
    return found[0] if found else ""
