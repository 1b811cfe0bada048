"""The examples of the README and the manual do what they say.

Marks in the documents, as comments before a fenced block:

    <!-- run -->          the block is run by bash, in the folder of the files so far; it must end well
    <!-- run: exit 1 -->  it must end with that exit code
    <!-- file: NAME -->   the block is the content of a file
    <!-- new -->          what follows begins in an empty folder
    <!-- sketch -->       a Ductfile that is not whole, or of a later version: not checked

Every other block of TOML with a step in it must be a Ductfile without mistakes. The README's own first block installs the package; the tests
run what follows the installation, with the package that is being tested.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from support import REPOSITORY

if TYPE_CHECKING:
    from support import Sandbox

BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
DOCUMENTS = [name for name in ("README.md", "docs/manual.md") if os.path.exists(os.path.join(REPOSITORY, name))]


class Block(NamedTuple):
    """One fenced block with the mark before it."""

    mark: str
    language: str
    text: str
    line: int


def blocks(document: str) -> list[Block]:
    text = read(document)
    return [
        Block(match["mark"] or "", match["language"], match["text"], text.count("\n", 0, match.start("text")))
        for match in BLOCK.finditer(text)
    ]


def read(document: str) -> str:
    with open(os.path.join(REPOSITORY, document), encoding="utf-8") as source:
        return source.read()


def bash(box: Sandbox, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", text], cwd=box.root, env=box.env, capture_output=True, text=True, check=False
    )


def sketches() -> list[tuple[str, Block]]:
    return [
        (document, block)
        for document in DOCUMENTS
        for block in blocks(document)
        if block.language == "toml" and "[step." in block.text and block.mark != "sketch" and "file:" not in block.mark
    ]


@pytest.mark.parametrize(
    ("document", "block"), sketches(), ids=[f"{document}:{block.line}" for document, block in sketches()]
)
def test_ductfiles_have_no_mistakes(box: Sandbox, document: str, block: Block) -> None:
    del document
    box.ductfile(block.text)
    for key in re.findall(r'"([^"{}*]+\.(?:py|sh|csv|txt|toml|awk))"', block.text):
        if not os.path.isabs(key) and not key.startswith(".."):
            box.write(key, "")
    box.expect(0, "check", "--offline")


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != "README.md"])
def test_marked_blocks_do_what_they_say(box: Sandbox, document: str) -> None:
    for block in blocks(document):
        if block.mark == "new":
            shutil.rmtree(box.root)
            os.makedirs(box.root)
        elif block.mark.startswith("file: "):
            box.write(block.mark[6:], block.text)
        elif match := re.fullmatch(r"run(?:: exit (\d+))?", block.mark):
            done = bash(box, block.text)
            assert done.returncode == int(match[1] or 0), (
                f"{document}:{block.line}\n{block.text}\n{done.stdout}{done.stderr}"
            )


@pytest.fixture
def clone(box: Sandbox) -> Sandbox:
    """The repository's files, with the environment of this test in place of `.venv`."""
    shutil.rmtree(box.root)
    hidden = shutil.ignore_patterns(".git", ".venv", ".duct", "__pycache__", ".*_cache", ".hypothesis", "out")
    shutil.copytree(REPOSITORY, box.root, ignore=hidden)
    os.symlink(sys.prefix, box.path(".venv"))
    return box


def installed(text: str) -> str:
    """The commands of a README block without those that install."""
    pieces = [piece.strip() for piece in text.strip().split("&&")]
    return " && ".join(piece for piece in pieces if " -m venv " not in piece and "pip install" not in piece)


def test_readme_lines_build_the_example_and_then_nothing(clone: Sandbox) -> None:
    (first,) = (block.text for block in blocks("README.md") if block.mark == "run")
    command = installed(first)
    assert command.startswith(".venv/bin/duct")
    done = bash(clone, command)
    assert done.returncode == 0, done.stderr
    assert clone.exists("examples/shop/out/report.html")
    done = bash(clone, command)
    assert "nothing to do" in done.stderr
    clone.write(
        "examples/shop/raw/20260105.csv", clone.read("examples/shop/raw/20260105.csv").replace(",9,", ",19,", 1)
    )
    done = bash(clone, command + " --json")
    steps = [
        event["job"]["step"] for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "job_ended"
    ]
    assert steps.count("clean") == 1
    assert steps.count("monthly") == 1
    assert len(steps) < 12
    for block in blocks("README.md"):
        if block.language == "sh" and " why " in block.text:
            done = bash(clone, block.text)
            assert done.returncode == 0
            assert "raw/20260105.csv" in done.stdout


def test_readme_ductfile_builds_and_its_commands_work(box: Sandbox) -> None:
    (text,) = (block.text for block in blocks("README.md") if block.language == "toml")
    box.ductfile(text)
    box.files({f"raw/2026{month:02d}{day:02d}.csv": f"{month},{day}\n" for month in (1, 2) for day in (1, 2, 3)})
    box.write("clean.py", "import shutil, sys\nshutil.copyfile(*sys.argv[1:])\n")
    box.write("report.py", "import sys\nopen(sys.argv[4], 'w').write('\\n'.join(sys.argv))\n")
    box.build()
    assert box.exists("out/report.html")
    commands = [block.text for block in blocks("README.md") if not block.language and block.text.startswith("duct")]
    for line in "".join(commands).splitlines():
        command = re.split(r"\s{2,}", line)[0]
        # A watch goes on until it is ended.
        done = bash(box, f"timeout -s TERM --preserve-status 3 {command}" if command.endswith("watch") else command)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_example_and_its_folder_are_as_the_documents_say(clone: Sandbox) -> None:
    assert clone.expect(0, "-f", "Ductfile.example", "check").err.count("mistake") == 0
    for folder in os.listdir(clone.path("examples")):
        if clone.exists(f"examples/{folder}/run.py"):
            run = [sys.executable, clone.path(f"examples/{folder}/run.py")]
            done = subprocess.run(run, env=clone.env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        elif clone.exists(f"examples/{folder}/Ductfile"):
            clone.expect(0, "-C", f"examples/{folder}")


@pytest.mark.skipif("docs/manual.md" not in DOCUMENTS, reason="there is no manual")
def test_manual_names_every_setting_and_every_flag(box: Sandbox) -> None:
    manual = read("docs/manual.md")
    schema = json.loads(box.expect(0, "schema").out)
    names = set(schema["properties"])
    text = json.dumps(schema)
    names |= {
        name
        for name in ("inputs", "targets", "run", "foreach", "where", "max_age", "retry_on", "keep", "pool")
        if f'"{name}"' in text
    }
    for found in re.findall(r"--[a-z][a-z-]+", box.expect(0, "build", "--help").out + box.expect(0, "--help").out):
        names.add(found)
    assert {name for name in names if name not in manual} == set()


@pytest.mark.parametrize("document", ["README.md", "docs/design.md", "docs/why-not.md", *DOCUMENTS[1:]])
def test_links_lead_somewhere(document: str) -> None:
    folder = os.path.dirname(os.path.join(REPOSITORY, document))
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", read(document)) if "://" not in link]
    assert [link for link in links if link and not os.path.exists(os.path.join(folder, link))] == []
