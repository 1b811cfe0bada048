"""What can go wrong, as values: fields first, the wording in `__str__`.

    DuctError                 the user can do something about it; shown without a traceback
    ├── UsageError            a wrong flag, an unknown target                            exit 2
    ├── DuctfileError         mistakes in a Ductfile, all of them together               exit 2
    ├── PlanError             steps that cannot become jobs: two makers, a circle, …     exit 2
    ├── StoreError            a key cannot be listed, read or written                    exit 1
    ├── JobFailed             a job failed, with what the user needs to repeat it        exit 1
    ├── TraceError            the state in `.duct/` is damaged or from a newer duct      exit 2
    └── BuildRunning          another build holds the project                            exit 2

Anything else that is raised is a bug of ours: traceback and exit code 70. The shape of a message: one line `where: what` with names
quoted, then indented facts, last the next move; lower case, no period, no blame. This module refuses to know where messages go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_LINE = 160
"""Letters of a line of the Ductfile that a message shows."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_STALE = 3
EXIT_BUG = 70
EXIT_INTERRUPTED = 130


class DuctError(Exception):
    """A mistake or mishap that the user can do something about."""

    exit_code = EXIT_FAILED

    def __init__(
        self, what: str, *, where: str | None = None, facts: Sequence[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.facts = tuple(facts)
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        tail = [*self.facts, self.hint] if self.hint else list(self.facts)
        return "\n".join([head, *(f"  {line}" for text in tail for line in text.split("\n"))])


class UsageError(DuctError):
    """A flag, a target or a folder that makes no sense here."""

    exit_code = EXIT_USAGE


class Mistake(NamedTuple):
    """One mistake in a Ductfile: the place, the fact, the suggestion.

    `source` is the text of the line, `column` counts from 1, `width` is the number of characters to underline (0: no excerpt).
    """

    file: str
    line: int
    what: str
    column: int = 1
    width: int = 0
    source: str = ""
    facts: tuple[str, ...] = ()
    hint: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.file}:{self.line}: {self.what}"]
        if self.width:
            number = f"{self.line:4d}"
            source, before, marked = _clipped(self.source, self.column - 1, self.width)
            pad = "".join("\t" if char == "\t" else " " * _columns(char) for char in before)
            carets = "^" * max(1, _columns(marked))
            lines += [f"{number} | {source}", f"{' ' * len(number)} | {pad}{carets}"]
        tail = [*self.facts, self.hint] if self.hint else list(self.facts)
        return "\n".join([*lines, *(f"  {line}" for text in tail for line in text.split("\n"))])


def _clipped(source: str, start: int, width: int) -> tuple[str, str, str]:
    """What of a line is shown, the part of it before the marked letters, and these: a line too long for a terminal is cut around them."""
    marked = source[start : start + width]
    if len(source) <= LONGEST_LINE:
        return source, source[:start], marked
    first = max(0, min(start - LONGEST_LINE // 4, len(source) - LONGEST_LINE))
    last = first + LONGEST_LINE
    head, tail = "…" * (first > 0), "…" * (last < len(source))
    return f"{head}{source[first:last]}{tail}", head + source[first:start], source[start : min(start + width, last)]


def _columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


class DuctfileError(DuctError):
    """All mistakes found in the Ductfile and in what it includes, in order of file and line."""

    exit_code = EXIT_USAGE

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__(mistakes[0].what)
        self.mistakes = tuple(mistakes)

    def __str__(self) -> str:
        return "\n\n".join(str(mistake) for mistake in self.mistakes)


class PlanError(DuctfileError):
    """Steps that are well formed, but cannot become jobs: two makers of one key, a circle, an input nobody makes."""


class StoreError(DuctError):
    """A key that cannot be listed, read or written, with the operation and the system's reason."""


class JobFailed(DuctError):
    """A job failed; the facts hold exit code, last lines, log and the command to repeat."""


class TraceError(DuctError):
    """The state in `.duct/` cannot be used: damaged, or written by a newer duct."""

    exit_code = EXIT_USAGE


class BuildRunning(DuctError):
    """Another build holds the project's lock, and the user asked not to wait."""

    exit_code = EXIT_USAGE
