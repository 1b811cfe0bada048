"""Where words go: stdout for jobs' output, stderr for duct's own. Colours, where they are wanted.

A reader that went away (`duct | head`) ends the writing, never the build. Refuses to know what is written.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, BinaryIO, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"


class Paint:
    """Colours a text, or leaves it alone."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __call__(self, text: str, *codes: str) -> str:
        if not self.on or not codes or not text:
            return text
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"


class Streams:
    """The two streams of a reporter; `same` tells whether both end up in one place, such as the same terminal."""

    def __init__(self, out: BinaryIO, err: TextIO, *, same: bool = False) -> None:
        self._out: BinaryIO | None = out
        self._err: TextIO | None = err
        self.same = same

    def say(self, text: str) -> None:
        """One or more lines of duct's own, to stderr."""
        if self._err is not None:
            try:
                self._err.write(text + "\n")
                self._err.flush()
            except (BrokenPipeError, ValueError):
                self._err = None

    def draw(self, text: str) -> None:
        """Text with control sequences, to stderr as it is."""
        if self._err is not None:
            try:
                self._err.write(text)
                self._err.flush()
            except (BrokenPipeError, ValueError):
                self._err = None

    def put(self, data: bytes) -> None:
        """Output of a job, to stdout as it is."""
        if self._out is not None and data:
            try:
                self._out.write(data)
                self._out.flush()
            except (BrokenPipeError, ValueError):
                self._out = None


def standard_streams() -> Streams:
    """This process's own stdout and stderr."""
    return Streams(sys.stdout.buffer, sys.stderr, same=_same_place(sys.stdout, sys.stderr))


def terminal_size() -> os.terminal_size:
    """The size of the terminal that stderr is, wherever stdout goes; 80 columns and 24 rows where it has none."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        size = os.terminal_size((0, 0))
    return os.terminal_size((size.columns or 80, size.lines or 24))


def _same_place(one: TextIO, other: TextIO) -> bool:
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):
        return False


def wants_colour(choice: str, stream: TextIO, environ: Mapping[str, str]) -> bool:
    """The flag decides; then NO_COLOR and FORCE_COLOR; then whether the stream is a terminal."""
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"
