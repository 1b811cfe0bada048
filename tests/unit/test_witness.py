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


def test_files_written_in_place_are_not_finished() -> None:
    """Each was closed before the next was begun, and each may be a half that was to be opened again."""
    witness = Witness(["out/a", "out/b", "out/c"])
    for name in "abc":
        write(f"out/{name}")
    assert witness.finished() == set()


def test_file_written_to_after_its_move_is_not_finished() -> None:
    witness = Witness(["out/a", "out/b"])
    for name in "ab":
        write(f"out/{name}.part")
        os.rename(f"out/{name}.part", f"out/{name}")
    with open("out/a", "a") as file:
        file.write("more")
    assert witness.finished() == {"out/b"}


def test_file_moved_into_place_is_finished() -> None:
    witness = Witness(["out/a", "out/b"])
    write("out/a.part")
    os.rename("out/a.part", "out/a")
    write("out/b.part")
    assert witness.finished() == {"out/a"}


def test_nothing_is_believed_where_nothing_can_be_watched() -> None:
    witness = Witness(["gone/a", "out/b"])
    write("part")
    os.rename("part", "out/b")
    assert witness.finished() == set()
    witness.close()
