"""The snapshot: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING

import pytest

from miniduct.trace import snapshot
from miniduct.trace.snapshot import read, write_snapshot

if TYPE_CHECKING:
    from pathlib import Path

HEADER = {"format": 1, "sets": (("a", "b"),), "dirty": b"", "folders": [("x", (1, 2, 3, 4)), ("y\udcff", None)]}
NAMES = ["a", "b c", "ü", "\udcff"]
STAMPS = [array("q", [1, -1, -2, 2**62]), array("q", [-5, 0, 0, 2**63 - 1]), array("q", [7] * 4), array("q", [8] * 4)]
FPS = bytes(range(128))
PLAN = ([1, 2, "x\udcff"], b"bytes", None, (3,))


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "snapshot")
    write_snapshot(path, HEADER, NAMES, STAMPS, FPS, PLAN)
    return path


def test_all_parts_come_back(path: str) -> None:
    found = read(path)
    assert found is not None
    assert found.header == HEADER
    assert found.names == NAMES
    assert found.raw_names() == [os.fsencode(name) for name in NAMES]
    assert found.keys == 4
    assert list(found.stamps()) == STAMPS
    assert [list(view) for view in found.stamp_views()] == [list(column) for column in STAMPS]
    assert found.fps() == FPS
    assert found.plan() == PLAN


def test_project_without_keys(tmp_path: Path) -> None:
    path = str(tmp_path / "snapshot")
    write_snapshot(path, {}, [], [array("q")] * 4, b"", None)
    found = read(path)
    assert found is not None
    assert found.names == []
    assert found.raw_names() == []
    assert [list(column) for column in found.stamps()] == [[], [], [], []]
    assert found.plan() is None


def test_old_snapshot_stays_readable_while_a_new_one_replaces_it(path: str) -> None:
    old = read(path)
    assert old is not None
    write_snapshot(path, {}, [], [array("q")] * 4, b"", None)
    assert old.names == NAMES
    assert os.listdir(os.path.dirname(path)) == ["snapshot"]


def test_any_cut_file_is_no_snapshot(path: str) -> None:
    with open(path, "rb") as file:
        whole = file.read()
    for end in range(len(whole)):
        with open(path, "wb") as file:
            file.write(whole[:end])
        assert read(path) is None
    with open(path, "wb") as file:
        file.write(whole + b"x")
    assert read(path) is None


def test_damaged_head_and_foreign_files_are_no_snapshots(path: str) -> None:
    with open(path, "rb") as file:
        whole = bytearray(file.read())
    for at in range(snapshot.HEAD):
        whole[at] ^= 0xFF
        with open(path, "wb") as file:
            file.write(whole)
        assert read(path) is None
        whole[at] ^= 0xFF
    assert read(f"{path}.absent") is None
    assert read(os.path.dirname(path)) is None
