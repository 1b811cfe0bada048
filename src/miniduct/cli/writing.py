"""`duct init`, `check`, `schema` and `completion`: what helps to write a Ductfile and to use duct. Nothing is run."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..errors import EXIT_OK, UsageError
from ..text import count, nearest, shown
from . import starter
from .session import current_folder

if TYPE_CHECKING:
    from .session import Session


def init(session: Session) -> int:
    """Write a first Ductfile; never over another one."""
    folder = session.values.directory or current_folder()
    if not os.path.isdir(folder):
        raise UsageError(f"{shown(folder)} is not a folder", where="init")
    path = os.path.join(folder, "Ductfile")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(starter.text(folder))
    except FileExistsError:
        raise UsageError(
            "there is a Ductfile already; nothing was written", hint='"duct check" looks for mistakes in it'
        ) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot write {shown(os.path.relpath(path))}: {reason}") from None
    if session.json:
        session.answer_json("written", {"path": path})
    session.say(f"wrote {shown(os.path.relpath(path))}")
    if not session.quiet:
        at = f" -C {shown(session.values.directory)}" if session.values.directory else ""
        sys.stderr.write(f"  look at it, then: duct{at} -n\n")
    return EXIT_OK


def check(session: Session) -> int:
    """Read the Ductfile and plan its jobs; mistakes are errors, all of them together."""
    from ..workspace import open_workspace

    where = session.where()
    with open_workspace(where, write=False, tell=lambda _event: None) as space:
        steps, jobs = len(space.project.steps), space.plan.jobs
        warnings = space.warnings()
    if session.json:
        values = {"file": where.shown_as, "steps": steps, "jobs": jobs}
        session.answer_json("checked", {**values, "warnings": [text for text, _ in warnings]})
        return EXIT_OK
    for text, facts in warnings:
        session.say("\n".join([f"warning: {text}", *(f"  {fact}" for fact in facts)]))
    verdict = f"has no mistakes, {count(len(warnings), 'warning')}" if warnings else "is fine"
    session.say(f"{shown(where.shown_as)} {verdict}: {count(steps, 'step')}, {count(jobs, 'job')}")
    return EXIT_OK


def schema(session: Session) -> int:
    """The JSON Schema of the Ductfile."""
    import json

    from ..ductfile import schema as engine

    session.answer(json.dumps(engine(), indent=2))
    return EXIT_OK


def completion(session: Session) -> int:
    """The completion of a shell, to stdout."""
    import shtab

    from .completing import SHELLS, script

    shell = session.words[0]
    if shell not in SHELLS:
        near = nearest(shell, SHELLS)
        raise UsageError(
            f'there is no completion for "{shell}"',
            hint=f'did you mean "{near[0]}"?' if near else f"there is one for {', '.join(SHELLS)}",
        )
    if shell not in shtab.SUPPORTED_SHELLS:
        raise UsageError(f"the installed shtab knows no {shell}", hint="pip install --upgrade shtab")
    session.answer(script(shell))
    return EXIT_OK
