"""What a Ductfile may say but hardly means: warnings, as against the mistakes of `checks`.

A remark stops nothing. It comes only where the other reading is the likelier one: a wildcard that is nearly a var, a var that nothing uses, a
command with the placeholders of make or of the shell where those of duct were meant. No disk, no other step.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..template import parse
from ..text import nearest, shown
from .checks import keys_of
from .drafts import RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .drafts import Draft
    from .source import Spot

Remark = tuple[str, tuple[str, ...]]
"""A warning: where and what in one line, then facts."""

_TELLING = 4
"""Letters that a name has at least, so that another one near it is no chance."""
_NAMED = re.compile(r"\{([^\W\d]\w*)")
_SHELLS = re.compile(r"\$\{([^\W\d]\w*)(\.[\w-]+|\[\d+\])?\}")
_MAKES = re.compile(r"\$[@<^]")
_GIVES_ARGUMENTS = re.compile(r"\(\)|\bset --|\bfunction\b")
_FOR_A_SHELL = (">", ">>", "2>", "&>", "2>&1", "&&", "||")


def unused(spot: Spot, table: Mapping[str, object], data: Mapping[str, object]) -> Iterator[Remark]:
    """A remark for each var of `[vars]`, whose spot and table these are, that no text of the file uses."""
    used = {name for text in _texts(data) for name in _NAMED.findall(text)}
    for name in table:
        if name not in used:
            place = spot.inside("vars", name)
            yield f"{place.location(key=True)}: the var {{{name}}} is never used", ()


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def of_step(draft: Draft) -> Iterator[Remark]:
    """The remarks on one step."""
    yield from _nearly_vars(draft)
    run, spot = draft.run, draft.spots.get("run")
    if run is None or spot is None or "run" in draft.broken:
        return
    if run.argv is not None:
        yield from _words(draft, run.argv)
    elif run.text is not None:
        yield from _text(draft, run.text)


def _nearly_vars(draft: Draft) -> Iterator[Remark]:
    """Wildcards that only inputs name, and whose names are nearly those of vars or of `foreach`."""
    known = [*draft.scope.vars, *draft.foreach]
    job = {name for key in keys_of(draft.targets) for name in key.names} | set(draft.foreach)
    told: set[str] = set()
    for key in keys_of(draft.inputs) if draft.targets else ():
        for wildcard in key.wildcards:
            name = wildcard.name
            near = nearest(name, known) if len(name) >= _TELLING and name not in job and name not in told else []
            if near:
                told.add(name)
                place = key.spot.location(part=(wildcard.start, wildcard.end))
                text = f"{place}: {wildcard} in {key.spot.subject} is a wildcard that matches every name"
                yield text, (f"did you mean {{{near[0]}}}?",)


def _words(draft: Draft, words: Iterable[str]) -> Iterator[Remark]:
    for word in words:
        if word in _FOR_A_SHELL:
            what = (
                f'"run" of {draft.spot.subject} is a list of words, and {word} is one of them, not the sign of a shell'
            )
            yield f"{draft.spots['run'].location(key=True)}: {what}", ('for a shell, write run = "…"',)
            return


def _text(draft: Draft, text: str) -> Iterator[Remark]:
    """Placeholders of other tools, in a command for a shell."""
    run = draft.spots["run"]
    names = {name for each in (*draft.inputs, *draft.targets) if each.key for name in each.key.names}
    known = {*RESERVED, *names, *draft.scope.vars, *draft.foreach}
    told: set[str] = set()
    for found in _SHELLS.finditer(text):
        name = found[1]
        if name not in known or found[0] in told or _is_variable(draft, name, text):
            continue
        told.add(found[0])
        place = run.location(part=found.span())
        yield f"{place}: {found[0]} in {run.subject} is a variable of the shell", (f"for duct's, write {found[0][1:]}",)
    makes = _MAKES.search(text)
    if makes and not _GIVES_ARGUMENTS.search(text) and not parse(text, is_key=False).placeholders:
        place = run.location(part=makes.span())
        what = f"{place}: {makes[0]} in {run.subject} means nothing here"
        yield what, (f"write {'{target}' if makes[0] == '$@' else '{input}' if makes[0] == '$<' else '{inputs}'}",)


def _is_variable(draft: Draft, name: str, text: str) -> bool:
    """Does the command, or the step's environment, give the shell a variable of that name?"""
    names, table = draft.values.get("env") or ((), {})
    if name in names or name in table or name in (draft.values.get("secrets") or ()) or name.isupper():
        return True
    word = shown(name)
    return re.search(rf"\b{word}=|\b(?:for|read|declare|local|mapfile|readarray)\b[^\n;]*\b{word}\b", text) is not None
