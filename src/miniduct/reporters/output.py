"""Jobs' output on its way to stdout: grouped when a job has ended, line by line with the job's name, or as it comes.

The log is the truth: what was not shown while the job ran is read from its log when it has ended, so that nothing is lost and nothing is
shown twice. Refuses to know duct's own messages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .words import LAST_LINES, clean_line, job_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import JobEnded, JobName, JobRetried, JobStarted

MODES = ("group", "prefix", "stream")

_CHUNK = 1 << 16
_LONGEST_LINE = 500
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")
JobKey = tuple[str, str | None, tuple[tuple[str, str], ...]]


def job_key(job: JobName) -> JobKey:
    """Identity of a job among the events of one build (its values are a mapping, which has no hash)."""
    return (job.step, job.target, tuple(job.values.items()))


class _Followed:
    """A running job whose output is shown while it runs: how far, and the piece of a line that is not whole yet."""

    __slots__ = ("base", "live", "offset", "piece", "prefix")

    def __init__(self, job: JobName) -> None:
        self.live: str | None = None
        self.base = 0
        self.offset = 0
        self.piece = b""
        self.prefix = job_text(job).encode("utf-8", "backslashreplace") + b" | "


class Output:
    """Shows the output of jobs by `put`; `before` is called with the job before the first byte of a group."""

    def __init__(
        self, mode: str, put: Callable[[bytes], None], before: Callable[[JobName], None] = lambda _job: None
    ) -> None:
        self._mode = mode
        self._put = put
        self._before = before
        self._followed: dict[JobKey, _Followed] = {}

    def started(self, event: JobStarted) -> None:
        """An attempt has started; from now on its output may be read."""
        if self._mode == "group":
            return
        for other in self._followed.values():
            # The file of a slot is used again, and what now comes is of another job: the rest of that one's output is in its log.
            if other.live is not None and other.live == event.live:
                other.live = None
        key = job_key(event.job)
        followed = self._followed.get(key)
        if followed is None:
            followed = self._followed[key] = _Followed(event.job)
        followed.live = event.live

    def poll(self) -> bool:
        """Show what has come since the last call; was there anything?"""
        some = False
        for followed in self._followed.values():
            if followed.live is not None:
                some = self._read(followed, followed.live, followed.offset) or some
        return some

    def _read(self, followed: _Followed, path: str, offset: int) -> bool:
        some = False
        try:
            with open(path, "rb") as file:
                file.seek(offset)
                while data := file.read(_CHUNK):
                    followed.offset += len(data)
                    self._show(followed, data)
                    some = True
        except OSError:
            pass
        return some

    def _show(self, followed: _Followed, data: bytes) -> None:
        if self._mode == "stream":
            self._put(data)
            return
        whole, newline, piece = (followed.piece + data).rpartition(b"\n")
        followed.piece = piece
        if newline:
            self._put(b"".join([followed.prefix + line + b"\n" for line in whole.split(b"\n")]))

    def retried(self, event: JobRetried, log: str | None) -> None:
        """An attempt is over and another one follows, with a file of its own."""
        followed = self._followed.get(job_key(event.job))
        if followed is None:
            return
        self._rest(followed, log)
        followed.live = None
        followed.base += followed.offset
        followed.offset = 0

    def _rest(self, followed: _Followed, log: str | None) -> None:
        if log is not None:
            self._read(followed, log, followed.base + followed.offset)
        if followed.piece:
            self._put(followed.prefix + followed.piece + b"\n")
            followed.piece = b""

    def ended(self, event: JobEnded) -> bool:
        """A job is over: show what of its output was not shown yet. Was there anything?"""
        if self._mode != "group":
            followed = self._followed.pop(job_key(event.job), None) or _Followed(event.job)
            shown = followed.offset
            self._rest(followed, event.log if event.output else None)
            return followed.offset > shown
        return bool(event.output and event.log) and self._group(event.job, str(event.log))

    def _group(self, job: JobName, log: str) -> bool:
        last = b""
        try:
            with open(log, "rb") as file:
                while data := file.read(_CHUNK):
                    if not last:
                        self._before(job)
                    self._put(data)
                    last = data[-1:]
        except OSError:
            pass
        if last and last != b"\n":
            self._put(b"\n")
        return bool(last)


def last_lines(path: str | None, most: int = LAST_LINES) -> tuple[list[str], bool]:
    """The last lines of a log as plain text (no colours, no control characters), and whether there are more before them."""
    if path is None:
        return [], False
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            start = max(0, size - most * 4096)
            file.seek(start)
            data = file.read(size - start)
    except OSError:
        return [], False
    lines = data.decode("utf-8", "backslashreplace").rstrip("\n").split("\n")
    if start and len(lines) > 1:
        del lines[:1]
    elif start:
        lines = [f"…{lines[0][-_LONGEST_LINE + 1 :]}"]
    return [plain_line(line) for line in lines[-most:]] if data.strip() else [], bool(start) or len(lines) > most


def plain_line(line: str) -> str:
    """What a terminal would show of a line of output in the end: colours dropped, overwritten parts too, control characters escaped."""
    line = _CONTROL.sub("", line).rstrip("\r")
    line = line.rpartition("\r")[2]
    line = clean_line(line)
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"
