"""The quick path: a plain build with nothing to do, decided from the saved columns before anything else is imported.

Whatever is not plain (another verb, an unknown flag, a glob, a Ductfile that is not found, a DUCT_ variable that changes what a build does) is not
known here: None, and the long path decides. Imports nothing slow: no argparse, json, re, dataclasses, enum, typing.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..trace.snapshot import Snapshot

_NO_VALUE = {"-k": "", "--keep-going": "", "-q": "quiet", "--quiet": "quiet", "--no-wait": ""}
_VALUE = {
    "-f": "file",
    "--file": "file",
    "-C": "directory",
    "--directory": "directory",
    "-j": "jobs",
    "--jobs": "jobs",
    "--set": "set",
}
_HARMLESS = (
    "DUCT_JOBS",
    "DUCT_KEEP_GOING",
    "DUCT_COLOR",
    "DUCT_OUTPUT",
    "DUCT_NO_WAIT",
    "DUCT_RUN",
    "DUCT_ATTEMPT",
    "DUCT_TEST_DATA",
)
"""Variables that change nothing where there is nothing to do."""
_VERBS = [
    "accept",
    "check",
    "clean",
    "completion",
    "graph",
    "help",
    "init",
    "list",
    "log",
    "schema",
    "status",
    "watch",
    "why",
]
"""Words that are no targets where they come first; "build" is the one verb known here."""
_STATE = ".duct"
_DUCTFILE = "Ductfile"


class _Asked:
    """What the words ask for, as far as it matters here."""

    __slots__ = ("directory", "file", "quiet", "sets", "targets")

    def __init__(self) -> None:
        self.file: str | None = None
        self.directory: str | None = None
        self.sets: dict[str, str] = {}
        self.quiet = False
        self.targets: list[str] = []


def quick(words: Sequence[str]) -> int | None:
    """0 if this is a build and nothing has to be done, and that was said; None: not known here."""
    if len(words) == 1 and words[0] in ("--version", "-V"):
        from .. import __version__

        sys.stdout.write(f"duct {__version__}\n")
        return 0
    asked = _asked(words, os.environ)
    if asked is None:
        return None
    try:
        here = os.getcwd()
        place = _place(asked, here)
        if place is None:
            return None
        jobs = _up_to_date(place, asked, here)
        if jobs is None:
            os.chdir(here)
            return None
    except (OSError, ValueError):
        return None
    if not asked.quiet:
        from ..reporters.nothing import nothing_text

        sys.stderr.write(f"duct: {nothing_text(jobs, asked.targets)}\n")
    return 0


def _asked(words: Sequence[str], environ: Mapping[str, str]) -> _Asked | None:
    for name in environ:
        if name.startswith("DUCT_") and name not in _HARMLESS:
            return None
    asked = _Asked()
    at, end, verb = 0, len(words), False
    while at < end:
        word = words[at]
        at += 1
        if not word.startswith("-"):
            if word == "build" and not (verb or asked.targets):
                verb = True
                continue
            if _is_plain(word) and (verb or asked.targets or word not in _VERBS):
                asked.targets.append(word)
                continue
            return None
        if word in _NO_VALUE:
            asked.quiet = asked.quiet or _NO_VALUE[word] == "quiet"
            continue
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        what = _VALUE.get(name)
        if what is None:
            if word[:2] == "-j" and word[2:].isdigit() and int(word[2:]) > 0:
                continue
            return None
        if not equals:
            if at == end:
                return None
            value = words[at]
            at += 1
        if not _take(asked, what, value):
            return None
    return asked


def _is_plain(word: str) -> bool:
    """A word that names a step or a file, and nothing else."""
    return bool(word) and not (any(letter in word for letter in "*?[:\0") or ".." in word or word[0] in "./")


def _take(asked: _Asked, what: str, value: str) -> bool:
    """Note a flag's value; False where the long path has to say what is wrong with it."""
    if what == "set":
        name, equals, text = value.partition("=")
        asked.sets[name] = text
        return bool(name and equals)
    if what == "jobs":
        return value == "auto" or (value.isdigit() and int(value) > 0)
    setattr(asked, what, value)
    return True


def _place(asked: _Asked, here: str) -> tuple[str, str] | None:
    """Root and name of the Ductfile, found in the same way as the long path finds it."""
    if asked.directory is not None:
        here = _standing(asked, here)
        if not os.path.isdir(here):
            return None
    if asked.file is not None and asked.file.endswith(".py"):
        return None
    if asked.file is not None:
        path = os.path.abspath(os.path.join(here, asked.file))
        if os.path.isdir(path):
            path = os.path.join(path, _DUCTFILE)
        return os.path.split(path)
    while True:
        if os.path.isfile(os.path.join(here, _DUCTFILE)):
            return None if _may_be_included(here) else (here, _DUCTFILE)
        above = os.path.dirname(here)
        if above == here:
            return None
        here = above


def _may_be_included(folder: str) -> bool:
    """Is there a Ductfile further up that includes others? Which ones, the long path finds out."""
    while (above := os.path.dirname(folder)) != folder:
        folder = above
        path = os.path.join(folder, _DUCTFILE)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                if b"include" in file.read():
                    return True
    return False


def _standing(asked: _Asked, here: str) -> str:
    return os.path.abspath(os.path.join(here, asked.directory or ""))


def _up_to_date(place: tuple[str, str], asked: _Asked, here: str) -> int | None:
    """The number of jobs, where all of them are up to date; the process then stands at the root. None: not known."""
    root, name = place
    state = _STATE if name == _DUCTFILE else f"{_STATE}/ductfiles/{name}"
    os.chdir(root)
    if not os.path.exists(f"{state}/snapshot"):
        return None
    from ..trace.check import check, keep

    today = time.strftime("%Y-%m-%d")
    checked = check(state, tuple(asked.sets.items()), os.environ, today, time.time(), named=bool(asked.targets))
    if checked.outcome != "same" or checked.snapshot is None:
        keep(state, checked)
        return None
    if asked.targets and not _are_known(asked.targets, checked.snapshot, os.path.relpath(_standing(asked, here), root)):
        return None
    jobs = checked.snapshot.header["jobs" if asked.targets else "default_jobs"]
    return jobs if isinstance(jobs, int) else None


def _are_known(targets: Sequence[str], snapshot: Snapshot, standing: str) -> bool:
    """Is each target a step, or the name of a key? Only then is it up to date as all others are."""
    steps = snapshot.header["steps"]
    names: set[str] = set()
    for target in targets:
        if target not in steps:
            # Without the orphans, which come last: nobody can say that they are as they should be.
            names = names or set(snapshot.names[: len(snapshot.names) - snapshot.header["orphans"]])
            if os.path.normpath(os.path.join(standing, target)) not in names:
                return False
    return True
