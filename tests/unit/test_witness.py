"""Which files were finished, as the kernel tells it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from miniduct.witness import Witness

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("out")


def write(path: str) -> None:
    with open(path, "w") as file:
        file.write("x")


def test_files_written_one_after_the_other_are_finished_but_for_the_last() -> None:
    witness = Witness(["out/a", "out/b", "out/c"])
    for name in "abc":
        write(f"out/{name}")
    assert witness.finished() == {"out/a", "out/b"}


def test_files_open_at_the_same_time_are_not_finished() -> None:
    """As at the death of a process: all are closed, and nothing is written any more."""
    witness = Witness(["out/a", "out/b", "out/c"])
    files = [open(f"out/{name}", "w") for name in "abc"]  # noqa: SIM115
    for file in files:
        file.write("half")
        file.flush()
    for file in files:
        file.close()
    assert witness.finished() == set()


def test_file_written_to_again_is_not_finished() -> None:
    witness = Witness(["out/a", "out/b"])
    write("out/a")
    write("out/b")
    write("out/a")
    assert witness.finished() == {"out/b"}


def test_file_moved_into_place_is_finished() -> None:
    witness = Witness(["out/a", "out/b"])
    write("out/a.part")
    os.rename("out/a.part", "out/a")
    write("out/b.part")
    assert witness.finished() == {"out/a"}


def test_other_files_do_not_count_but_tell_the_time() -> None:
    witness = Witness(["out/a"])
    write("out/a")
    write("out/log")
    assert witness.finished() == {"out/a"}


def test_nothing_is_believed_where_nothing_can_be_watched() -> None:
    witness = Witness(["gone/a", "out/b"])
    write("out/b")
    write("out/c")
    assert witness.finished() == set()
    witness.close()
