"""A pipeline from a Python file: the file is run, and what it defines is looked for.

Whatever ends the running is the file's affair, and told with the user's line, in whichever of their files it stands. Only Ctrl-C goes through.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from ..errors import DuctError, UsageError
from ..text import escaped
from ..tuples import NamedTuple
from . import values
from .builder import PipelineBuilder
from .objects import PACKAGE, is_local
from .wording import one_line, raised, said

if TYPE_CHECKING:
    from types import FrameType, TracebackType

_PLACE = re.compile(r"([^\n]+\.py):([0-9]+): ")
_LISTS = re.compile(r"unsupported operand type\(s\) for >>: '(?:list|tuple)' and '(?:list|tuple)'")


def load(path: str) -> PipelineBuilder:
    """The one pipeline that a Python file defines. UsageError where there is none, or more than one, or the file cannot be run."""
    import importlib.util

    from ..runners.worker import Fresh

    path = os.path.abspath(path)
    folder, name = os.path.split(path)
    own = os.path.splitext(name)[0]
    spec = importlib.util.spec_from_file_location(own, path, loader=Fresh(own, path))
    if spec is None or spec.loader is None:
        raise UsageError(f'"{path}" is no Python file')
    module = importlib.util.module_from_spec(spec)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[spec.name] = module
    values.script(own)
    try:
        spec.loader.exec_module(module)
    except (DuctError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _wrong(error, path) from error
    found = list({id(value): value for value in vars(module).values() if isinstance(value, PipelineBuilder)}.values())
    if len(found) != 1:
        what = "no pipeline" if not found else f"{len(found)} pipelines: {', '.join(each.name for each in found)}"
        raise UsageError(f'"{name}" defines {what}', hint="the command needs one PipelineBuilder in the module")
    return found[0]


class _Place(NamedTuple):
    """A line of the user's that was being run; `line` is None where it is the file as a whole."""

    file: str
    line: int | None
    imports: bool = False
    """Is it a line of a module itself, and of no function?"""

    def seen_from(self, folder: str) -> str:
        file = self.file.removeprefix(folder + os.sep)
        return escaped(file if self.line is None else f"{file}:{self.line}")


def _wrong(error: BaseException, path: str) -> UsageError:
    """What ended the running of the file, in the user's words, with where it happened and how that was come to."""
    folder = os.path.dirname(path)
    frames = _frames(error.__traceback__)
    places = [_at(frame, line) for frame, line in frames if _is_users(frame.f_code.co_filename, path)]
    within = next((place for place in reversed(places) if place.file == path), None)
    unread = _unread(error, frames)
    place = unread or (places[-1] if places else _Place(path, None))
    what, hint = _words(error, frames, folder, unread=unread is not None)
    stands = _PLACE.match(what)
    if stands and unread is None and _is_ours(error, frames):
        place, what = _Place(os.path.join(folder, stands[1]), int(stands[2])), what[stands.end() :]
    facts = []
    if within is not None and place.file != path:
        how = "imported" if unread is not None or place.imports else "called"
        facts.append(f"{how} at {within.seen_from(folder)}")
    if isinstance(error, SystemExit) and isinstance(error.code, str) and error.code.strip():
        facts.insert(0, f"it said: {one_line(error.code)}")
    return UsageError(what, where=place.seen_from(folder), facts=facts, hint=hint)


def _words(
    error: BaseException, frames: list[tuple[FrameType, int]], folder: str, *, unread: bool
) -> tuple[str, str | None]:
    """The sentence, and the next move where one is obvious."""
    text = said(error)
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else None
        return (
            f"the file ended by itself{f', with {code},' if code else ''} before its pipeline could be used",
            'what only a script does stands below: if __name__ == "__main__":',
        )
    if unread:
        if isinstance(error, OSError):
            return f"it cannot be read: {(error.strerror or text).lower()}", None
        return f"it is no Python: {one_line(getattr(error, 'msg', None) or text)}", None
    if _LISTS.fullmatch(text):
        return "a list >> a list means nothing to Python", "write: for each in the_first: each >> the_second"
    if _is_ours(error, frames):
        return text.replace(folder + os.sep, ""), None
    return f"running it raised {raised(error)}", None


def _is_ours(error: BaseException, frames: list[tuple[FrameType, int]]) -> bool:
    """Was it raised by this package over what it was given? Then its words are a sentence, and the name of its class says nothing more."""
    return isinstance(error, (TypeError, ValueError)) and frames[-1][0].f_code.co_filename.startswith(PACKAGE)


def _unread(error: BaseException, frames: list[tuple[FrameType, int]]) -> _Place | None:
    """The place in a file that could not even be read as Python, this one or an imported one; None: that was not it."""
    if not isinstance(error, (SyntaxError, ValueError, OSError)):
        return None
    # A loader, ours or Python's own, has the file in hand: under one of these names.
    held = [frame.f_locals for frame, _ in frames if frame.f_code.co_name == "get_code"]
    file = (held[-1].get("path") or held[-1].get("source_path")) if held else getattr(error, "filename", None)
    if not isinstance(file, str) or not (held or (isinstance(error, SyntaxError) and _is_users(file))):
        return None
    line = error.lineno if isinstance(error, SyntaxError) else None
    return _Place(file, line or _line_of_null(file))


def _line_of_null(file: str) -> int | None:
    """The line of the first null byte, of which Python does not tell it."""
    try:
        with open(file, "rb") as source:
            head, null, _ = source.read().partition(b"\0")
    except OSError:
        return None
    return head.count(b"\n") + 1 if null else None


def _frames(trace: TracebackType | None) -> list[tuple[FrameType, int]]:
    found = []
    while trace is not None:
        found.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return found


def _is_users(file: str, path: str = "") -> bool:
    """Is it a file of the user's? What is run from a text has no file."""
    return file == path or (os.path.isabs(file) and is_local(file))


def _at(frame: FrameType, line: int) -> _Place:
    return _Place(frame.f_code.co_filename, line, frame.f_code.co_name == "<module>")
