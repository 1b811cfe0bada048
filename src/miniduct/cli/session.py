"""What every verb is given: its flags and targets, the project, and the two streams. A verb is a function from a Session to an exit code.

Answers go to stdout, duct's own words to stderr; with `--json` answers are JSON Lines. Refuses to know what any verb does.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..reporters.plain import Place
from ..reporters.screen import Paint, wants_colour

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

    from ..workspace import Where


class Session:
    """One call of one verb."""

    def __init__(self, values: Namespace, environ: Mapping[str, str]) -> None:
        self.values = values
        self.environ = environ
        self.json: bool = values.json
        self.quiet: bool = values.quiet
        self.verbose: int = values.verbose
        self.words: tuple[str, ...] = values.words
        self.paint = Paint(not self.json and wants_colour(values.color, sys.stdout, environ))
        self.paint_err = Paint(wants_colour(values.color, sys.stderr, environ))

    def where(self) -> Where:
        """The project; from now on the process stands at its root. UsageError where there is none."""
        from ..workspace import locate

        sets = tuple(dict(self.values.set).items())
        values = self.values
        if values.file is not None and values.file.endswith(".py"):
            where = _pipeline(values.file, values.directory, sets, offline=values.offline)
        else:
            where = locate(values.file, values.directory, current_folder(), sets, offline=values.offline)
        os.chdir(where.root)
        return where

    @staticmethod
    def place(where: Where) -> Place:
        """How paths look from where the user stands."""
        return Place(where.standing)

    def answer(self, text: str) -> None:
        """Lines of an answer."""
        sys.stdout.write(text + "\n")

    def answer_json(self, event: str, values: Mapping[str, Any]) -> None:
        """One JSON line of an answer."""
        from ..reporters.jsonl import line, plain

        sys.stdout.write(line(event, {name: plain(value) for name, value in values.items()}).decode("ascii"))

    def say(self, text: str) -> None:
        """A message of duct's own; not with --quiet."""
        if not self.quiet:
            sys.stdout.flush()
            sys.stderr.write(f"duct: {text}\n")


def _pipeline(file: str, directory: str | None, sets: Sequence[tuple[str, str]], *, offline: bool) -> Where:
    """The project of the pipeline that a Python file defines. UsageError where it does not."""
    from ..pipeline.reloading import Reloading
    from ..workspace import Where

    here = os.path.abspath(os.path.join(current_folder(), directory or ""))
    path = os.path.abspath(os.path.join(here, file))
    if not os.path.isfile(path):
        raise UsageError(f'there is no file "{file}"', hint="-f names a Ductfile, or a Python file with a pipeline")
    if sets:
        raise UsageError("--set has no meaning for a pipeline in Python", hint="it has no vars")
    pipeline = Reloading(path)
    root = pipeline.root
    return Where(root, os.path.relpath(path, root), file, os.path.relpath(here, root), offline=offline, source=pipeline)


def current_folder() -> str:
    """Where the process stands. UsageError where that folder was removed."""
    try:
        return os.getcwd()
    except OSError:
        raise UsageError("the current folder does not exist any more", hint="go to another one") from None
