"""Exact stdout, stderr and exit codes, one file of `cases/` for each case; `pytest tests/golden --rewrite-golden` writes what duct says now.

A case is a text: first a line that says what it shows; then `==> NAME <==` begins a file, and `$ COMMAND` is run by bash in the folder of these
files, with what it wrote below it: `out| ` and `err| ` begin its lines, `exit N` ends it where N is not 0. Times, dates, process numbers and the
sandbox's place are written as `T s`, `DATE`, `PID`, `HOME`, so that the texts are the same everywhere. Bytes that are no text are written `\\udcXX`.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from support import WITHOUT_RIGHTS, can_lose_rights, can_mount, decoded

if TYPE_CHECKING:
    from support import Sandbox

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")
NAMES = sorted(os.path.basename(path)[:-4] for path in glob.glob(os.path.join(CASES, "*.txt")))

NORMAL = [
    (re.compile(r"\b\d+(\.\d+)? (ms|s)\b"), "T s"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?"), "DATE"),
    (re.compile(r"\b\d{8}[-T]\d{6}(\.\d+)?"), "DATE"),
    (re.compile(r"\b(pid|process) \d+"), r"\1 PID"),
    (re.compile(r"\bduct \d+\.\d+\.\d+"), "duct VERSION"),
    (re.compile(r" on \S+, started "), " on HOST, started "),
    (re.compile(r"\.duct-stage-[0-9a-f]+"), ".duct-stage-ID"),
]


class Command:
    """A line that is run, and what the case says it does."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.expected: list[str] = []


def parse(text: str) -> tuple[str, dict[str, str], list[Command | tuple[str, str]]]:
    """The title, the files at the start, and the commands in order; a file after a command is a (name, content) among them."""
    title, *lines = text.split("\n")
    files: dict[str, str] = {}
    steps: list[Command | tuple[str, str]] = []
    name: str | None = None
    content: list[str] = []

    def close() -> None:
        nonlocal name
        if name is not None:
            entry = (name, "".join(line + "\n" for line in content))
            if steps:
                steps.append(entry)
            else:
                files.update([entry])
        name = None
        content.clear()

    for line in lines:
        head = re.fullmatch(r"==> (.+) <==", line)
        if head or line.startswith("$ "):
            close()
        if head:
            name = head[1]
        elif line.startswith("$ "):
            steps.append(Command(line[2:]))
        elif name is not None:
            content.append(line)
        elif line and steps and isinstance(steps[-1], Command):
            steps[-1].expected.append(line)
    close()
    return title, files, steps


def normalised(text: str, box: Sandbox) -> str:
    text = text.replace(box.home, "HOME")
    for pattern, word in NORMAL:
        text = pattern.sub(word, text)
    return text.encode("utf-8", "backslashreplace").decode()


def run(box: Sandbox, line: str) -> list[str]:
    """What one command says, in the form of a case."""
    done = subprocess.run(
        ["bash", "-c", line], cwd=box.root, env=box.env, capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    said = []
    for mark, data in (("out", done.stdout), ("err", done.stderr)):
        text = normalised(decoded(data), box)
        said += [f"{mark}| {piece}".rstrip(" ") if not piece else f"{mark}| {piece}" for piece in text.split("\n")[:-1]]
        if text and not text.endswith("\n"):
            said.append(f"{mark}| {text.rsplit(chr(10), 1)[-1]}<no newline>")
    return [*said, f"exit {done.returncode}"] if done.returncode else said


def written(title: str, files: dict[str, str], steps: list[Command | tuple[str, str]]) -> str:
    """The case as its file."""
    text = [title]
    for step in [*files.items(), *steps]:
        if isinstance(step, Command):
            text += [f"$ {step.line}", *step.expected]
        else:
            text += [f"==> {step[0]} <==", *step[1].split("\n")[:-1]]
    return "\n".join(text) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_says_exactly(box: Sandbox, name: str, request: pytest.FixtureRequest) -> None:
    path = os.path.join(CASES, name + ".txt")
    with open(path, encoding="utf-8") as source:
        text = source.read().rstrip("\n")
    if re.search(r"^\$ .*\bmount ", text, re.MULTILINE) and not can_mount():
        pytest.skip("needs root and the right to mount")
    if "$WITHOUT_RIGHTS" in text and not can_lose_rights():
        pytest.skip("permissions do not apply to root here")
    box.env["WITHOUT_RIGHTS"] = " ".join(WITHOUT_RIGHTS)
    title, files, steps = parse(text)
    box.files(files)
    seen: list[Command | tuple[str, str]] = []
    for step in steps:
        if isinstance(step, Command):
            now = Command(step.line)
            now.expected = run(box, step.line)
            seen.append(now)
        else:
            box.write(*step)
            seen.append(step)
    if request.config.getoption("--rewrite-golden"):
        with open(path, "w", encoding="utf-8") as sink:
            sink.write(written(title, files, seen))
        return
    assert written(title, files, seen) == written(title, files, steps)


def test_there_are_cases() -> None:
    assert len(NAMES) > 30
