"""What is not imported before it is needed: the price of `duct` with nothing to do is the price of Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Sandbox

SLOW = {"rich", "requests", "google", "watchdog", "argparse", "json", "sqlite3", "shtab", "tomli", "asyncio", "blake3"}
UNNEEDED = {
    "dataclasses",
    "inspect",
    "ast",
    "subprocess",
    "shutil",
    "textwrap",
    "rich",
    "requests",
    "google",
    "shtab",
    "asyncio",
    "logging",
}
"""What a build of files is done without: together they cost more than the build of a few."""
PROGRAM = """
import sys
before = set(sys.modules)
from miniduct.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
sys.exit(code)
"""


def imported(box: Sandbox, *args: str) -> set[str]:
    """Top-level names of the modules that one run of the command imports."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *args], cwd=box.root, env=box.env, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_version_imports_nothing_slow(box: Sandbox) -> None:
    assert imported(box, "--version") & SLOW == set()


@pytest.mark.parametrize(
    "args", [(), ("build",), ("build", "b"), ("-j", "2"), ("c.txt",), ("-q",), ("-C", "."), ("-f", "Ductfile")]
)
def test_nothing_to_do_imports_nothing_slow(box: Sandbox, args: tuple[str, ...]) -> None:
    box.files({"a.txt": "1"})
    box.ductfile(
        """
        [step.b]
        inputs = "a.txt"
        targets = "b.txt"
        run = "cp {input} {target}"

        [step.c]
        inputs = "b.txt"
        targets = "c.txt"
        run = "cp {input} {target}"
        """
    )
    box.build()
    assert imported(box, *args) & SLOW == set()


def test_state_that_was_touched_or_copied_imports_nothing_slow(box: Sandbox) -> None:
    box.write("a.txt", "1")
    box.ductfile("[step.b]\ninputs = 'a.txt'\ntargets = 'b.txt'\nrun = 'cp {input} {target}'\n")
    box.build()
    box.touch(".duct/trace.db")
    box.rename(".duct", "state")
    shutil.copytree(box.path("state"), box.path(".duct"))
    assert imported(box) & SLOW == set()


@pytest.mark.parametrize("args", [("build",), ("status",), ("why", "b.txt"), ("-n",)])
def test_a_build_imports_only_what_it_needs(box: Sandbox, args: tuple[str, ...]) -> None:
    box.files({"a.txt": "1"})
    box.ductfile(
        """
        [step.b]
        inputs = "a.txt"
        targets = "b.txt"
        run = ["cp", "{input}", "{target}"]
        """
    )
    box.build()
    box.files({"a.txt": "2"})
    assert imported(box, *args) & UNNEEDED == set()
