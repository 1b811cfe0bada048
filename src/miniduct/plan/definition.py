"""What a step means to its jobs, as canonical text: only what can change the command or its effect.

Where things stand in the Ductfile, how a command is laid out, descriptions, retries, tags and the like are no part of it. The text is kept in the
traces' database, so its form is a format: a change of it makes jobs rerun only where their commands differ too.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from ..shell import normalise
from ..template import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..model import Step

    Difference = tuple[str, str | None, str | None, str | None]

LONGEST_SHOWN = 200
COMMAND = ("run", "argv", "vars", "call", "slots")
SETTINGS = ("shell", "cwd", "keep")


def definition(step: Step, environ: Mapping[str, str], vars: Mapping[str, str]) -> str:  # noqa: A002
    """The step's definition. Variables of the environment that are not set are null; secrets are no part of it."""
    run = step.run
    found: dict[str, Any] = {
        "run": normalise(run.text, run.shell) if run and run.text is not None else None,
        "argv": list(run.argv) if run and run.argv is not None else None,
        "shell": list(run.shell) if run and run.shell is not None else None,
        "cwd": step.cwd,
        "params": step.params,
        "env": {name: environ.get(name) for name in step.env},
        "env_set": dict(step.env_set),
        "keep": step.keep,
        "vars": {name: vars[name] for name in sorted(_named(step) & vars.keys())},
    }
    if run is not None:
        # How the inputs are spread over the placeholders: the same files under other names are another command.
        found["slots"] = [[slot.name, slot.step or slot.text] for slot in (*step.inputs, *step.targets)]
    if step.call is not None:
        # Only here, so that what was known of commands before there were functions still holds.
        names = [[slot.name for slot in slots] for slots in (step.inputs, step.targets)]
        found.update(call=str(step.call), code=dict(step.code), arguments=names)
    if step.copy:
        found.update(copy=True)
    if step.sha256 is not None:
        found.update(sha256=step.sha256)
    if step.body is not None:
        found.update(call=step.body.label, code=dict(step.code), arguments=step.body.arguments)
    return canonical(found)


def definitions(steps: Iterable[Step], environ: Mapping[str, str], vars: Mapping[str, str]) -> list[str]:  # noqa: A002
    """Those of all steps, in order. One that several steps have is written once: most functions of a large pipeline are alike."""
    known: dict[object, str] = {}
    found = []
    for step in steps:
        rests_on = _rests_on(step)
        text = None if rests_on is None else known.get(rests_on)
        if text is None:
            text = definition(step, environ, vars)
            if rests_on is not None:
                known[rests_on] = text
        found.append(text)
    return found


def _rests_on(step: Step) -> object:
    """All that the definition is made of, where that is little and can be compared; else None."""
    body = step.body
    if body is None or step.run is not None or step.call is not None or step.params or step.env or step.env_set:
        return None
    return body.label, body.arguments, step.code, step.cwd, step.keep, step.copy, step.sha256


def _named(step: Step) -> set[str]:
    """The plain names in braces of the step's command. A wildcard hides a var of its name: the reader sees to it that there are no such."""
    texts = [] if step.run is None else [step.run.text or "", *(step.run.argv or ())]
    return {each.name for text in texts for each in parse(text, is_key=False).placeholders if each.part is None}


def canonical(value: object) -> str:
    """JSON with sorted keys and without blanks; what JSON does not have (dates) as text with its type."""
    return _encode(value)


def _plain(value: object) -> object:
    if hasattr(value, "isoformat"):
        return {type(value).__name__: value.isoformat()}
    if hasattr(value, "items"):
        return dict(value.items())
    if isinstance(value, (set, frozenset)):  # its order is another one in each process
        return sorted(value, key=_encode)
    return str(value)


_quoted = json.encoder.encode_basestring_ascii
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_plain).encode


def definition_digest(text: str) -> bytes:
    """32 bytes that identify a definition."""
    return blake3(text.encode()).digest()


def command_digest(words: Sequence[Any], definition_text: str) -> bytes:
    """32 bytes that identify what a job's command does: its words and what surrounds it, not how they were spelt in the Ductfile."""
    return blake3(f"[{canonical(words)},{_surroundings(definition_text)}]".encode()).digest()


def object_digest(
    word: str,
    label: str,
    inputs: Sequence[Iterable[str]],
    targets: Sequence[str],
    values: Mapping[str, str],
    arguments: object,
    definition_text: str,
) -> bytes:
    """As `command_digest`, for words that are a text, a label, the paths of each input, the targets, the wildcards' values, and arguments."""
    read = "],[".join([",".join(map(_quoted, paths)) for paths in inputs])
    made = "],[".join(map(_quoted, targets))
    given = canonical(values) if values else "{}"
    paths = f"{f'[[{read}]]' if inputs else '[]'},{f'[[{made}]]' if targets else '[]'}"
    words = f'["{word}",{_quoted(label)},{paths},{given},{_arguments(arguments)}]'
    return blake3(f"[{words},{_surroundings(definition_text)}]".encode()).digest()


@lru_cache(maxsize=256)
def _arguments(arguments: object) -> str:
    return canonical(arguments)


@lru_cache(maxsize=256)
def _surroundings(definition_text: str) -> str:
    """The definition without the words of the command: the same for all jobs of a step."""
    about = json.loads(definition_text)
    for name in (*COMMAND, "arguments"):
        about.pop(name, None)
    return canonical(about)


def differences(old: str, new: str) -> list[Difference]:
    """What differs between two definitions: kind ("command", "code", "params", "env", "settings"), name, old and new value as short texts."""
    before, now = json.loads(old), json.loads(new)
    found: list[Difference] = []
    if any(before.get(name) != now.get(name) for name in COMMAND):
        found.append(("command", None, _command(before), _command(now)))
    if "call" in before and "call" in now:
        found += _between("code", before.get("code"), now.get("code"))
    found += _between("params", before.get("params"), now.get("params"))
    found += _between("env", before.get("env"), now.get("env"))
    found += _between("env", before.get("env_set"), now.get("env_set"))
    both = ("arguments",) if "arguments" in before and "arguments" in now else ()
    for name in (*SETTINGS, *both):
        if before.get(name) != now.get(name):
            found.append(("settings", name, _short(before.get(name)), _short(now.get(name))))
    return found


def _command(about: Mapping[str, Any]) -> str | None:
    """The command's text; the same text with other vars is told by the vars."""
    text = next((about[name] for name in ("run", "call", "argv") if about.get(name) is not None), None)
    given = about.get("vars") or {}
    known = " ".join(f"{name}={value}" for name, value in given.items())
    return _short(f"{text if isinstance(text, str) else canonical(text)}{f'  ({known})' if known else ''}")


def _between(kind: str, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[Difference]:
    old, new = before or {}, now or {}
    return [
        (kind, name, _short(old[name]) if name in old else None, _short(new[name]) if name in new else None)
        for name in sorted(old.keys() | new.keys())
        if name not in old
        or name not in new
        or canonical(old[name]) != canonical(new[name])  # to Python, 1 and 1.0 are the same
    ]


def _short(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else canonical(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
