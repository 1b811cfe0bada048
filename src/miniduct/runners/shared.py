"""What calls on threads share with the whole process, and must not take from each other: its standard streams, and its current folder.

What a job's thread prints goes to its log. The engine stands in the current folder: a thread that changes it while it works on a job gets an
error instead.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from ..errors import DuctError
from ..forks import forks
from .attempts import ENCODING, ERRORS, attempt_here

_guarded = False


def keep_folder() -> None:
    """Keep the current folder from now on. A hook cannot be taken away again; outside of jobs it lets everything pass."""
    global _guarded
    if not _guarded:
        _guarded = True
        sys.addaudithook(_refuse_to_move)


def _refuse_to_move(event: str, args: tuple[Any, ...]) -> None:  # noqa: ARG001
    """Called by Python for whatever it audits, each file that is opened too: 0.5 µs where it is nothing of ours."""
    if event != "os.chdir":  # fchdir's as well
        return
    attempt = attempt_here()
    if attempt is None or attempt.process != forks():  # a process that was forked off has a folder of its own
        return
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__") == "contextlib" and frame.f_back is not None:
        frame = frame.f_back
    raise DuctError(
        "it changes the current folder, which is the same for all steps",
        facts=[f"in {frame.f_code.co_filename}:{frame.f_lineno}"],
        hint='use absolute paths, ShellStep(…, cwd=…), or PipelineBuilder(…, workers="processes")',
    )


class Stream(io.TextIOBase):
    """Stands for a standard stream: what a job's thread prints goes to its log, unbuffered. `original` is None where the process has none."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def write(self, text: str) -> int:
        attempt = attempt_here()
        if attempt is not None:
            attempt.write(text.encode(ENCODING, ERRORS))
        elif self.original is not None:
            return int(self.original.write(text) or 0)
        return len(text)

    def flush(self) -> None:
        if attempt_here() is None and self.original is not None:
            self.original.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return attempt_here() is None and self.original is not None and bool(self.original.isatty())

    def fileno(self) -> int:
        attempt = attempt_here()
        if attempt is not None:
            return attempt.number()
        return super().fileno() if self.original is None else int(self.original.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return ENCODING if attempt_here() is not None else getattr(self.original, "encoding", ENCODING)

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return ERRORS if attempt_here() is not None else getattr(self.original, "errors", ERRORS)

    @property
    def buffer(self) -> Any:
        """A new one each time: whoever wraps it closes it at last."""
        return _Bytes(self) if attempt_here() is not None else self.original.buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


class _Bytes(io.BufferedIOBase):
    """What stands for a stream, for bytes."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        attempt = attempt_here()
        if attempt is None:
            return int(self._stream.original.buffer.write(data))
        view = memoryview(data).cast("B")
        attempt.write(view)
        return len(view)

    def flush(self) -> None:
        self._stream.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()
