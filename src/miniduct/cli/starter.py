"""The Ductfile that `duct init` writes: a step for the files that are there, with what is needed to go on from it.

It must build as it is: a newcomer's first `duct` works.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".xml", ".log", ".gz", ".xlsx", ".avro")
_PLAIN = re.compile(r"[\w@+,=.-]+(/[\w@+,=.-]+)*", re.ASCII)
_LEAST = 2
_DEEP = 2
_MOST_FOLDERS = 200
_SKIPPED = ("out", "build", "dist", "node_modules", "__pycache__", "venv")


class Batch(NamedTuple):
    """Files of one kind in one folder."""

    folder: str
    ending: str
    files: int


def text(folder: str) -> str:
    """A first Ductfile for a project in that folder."""
    batch = find_batch(folder)
    return _HEAD + (_for_batch(batch) if batch is not None else _FOR_NOTHING) + _TAIL


def find_batch(root: str) -> Batch | None:
    """The most files with one ending in one folder, not deeper than two levels; None where there are no such files."""
    best: Batch | None = None
    for folder, names in _folders(root):
        counts: dict[str, int] = {}
        for name in names:
            ending = os.path.splitext(name)[1]
            if ending.lower() in _ENDINGS and not name.startswith("."):
                counts[ending] = counts.get(ending, 0) + 1
        for ending, number in sorted(counts.items()):
            if number >= _LEAST and (best is None or number > best.files):
                best = Batch(folder, ending, number)
    return best


def _folders(root: str) -> Iterator[tuple[str, list[str]]]:
    """Folders whose names need no quoting in a Ductfile, with the names of their files; the nearest first."""
    queue = [""]
    for seen, folder in enumerate(queue):
        if seen >= _MOST_FOLDERS:
            return
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        yield folder, [entry.name for entry in found if entry.is_file()]
        depth = folder.count("/") + 1 if folder else 0
        if depth >= _DEEP:
            continue
        above = f"{folder}/" if folder else ""
        queue.extend([above + entry.name for entry in found if _is_looked_into(entry)])


def _is_looked_into(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    hidden = name.startswith(".") or name in _SKIPPED
    return not hidden and entry.is_dir(follow_symlinks=False) and bool(_PLAIN.fullmatch(name))


def _for_batch(batch: Batch) -> str:
    place = f"{batch.folder}/" if batch.folder else ""
    where = batch.folder or "this folder"
    return _FOR_BATCH.format(
        files=f"{batch.files:,}", where=where, pattern=f"{place}{{name}}{batch.ending}", ending=batch.ending
    )


_HEAD = """\
# What is made from what. "duct" makes what is stale, "duct -n" says what that is, "duct help" tells the rest.
# Every setting: "duct schema", and the manual.

"""

_FOR_BATCH = """\
# One job for each of the {files} files in {where}: {{name}} is a wildcard, found in the names of the files that exist.
# The command gets its input and its target; each is quoted for the shell by duct.
[step.each]
description = "lines in each file"
inputs = "{pattern}"
targets = "out/each/{{name}}.txt"
run = "wc -l < {{input}} > {{target}}"

# One job that reads all of them. When one file changes, one job of "each" and this one run.
[step.total]
description = "lines in all files"
inputs = "out/each/*.txt"
targets = "out/total.txt"
run = "cat {{inputs}} | awk '{{ n += $1 }} END {{ print n }}' > {{target}}"
"""

_FOR_NOTHING = """\
# A target and the command that makes it. {target} is quoted for the shell by duct.
[step.hello]
description = "a first target"
targets = "out/hello.txt"
run = "echo hello > {target}"

# With daily files in raw/, this would be one job for each of them:
#
# [step.clean]
# inputs = ["raw/{day}.csv", "clean.py"]
# targets = "clean/{day}.csv"
# run = "python3 {inputs[1]} {inputs[0]} {target}"
"""

_TAIL = """
# What else a step may have:
#   params = { top = 10 }       counted: a change makes its jobs stale; {params.top} in `run`
#   env = ["TZ"]                variables whose values count
#   timeout = "5m"              for one attempt
#   retries = 2                 further attempts after a failure
#   tags = ["nightly"]          "duct tag:nightly" makes it
"""
