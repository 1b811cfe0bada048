"""Full disks, missing permissions, damaged state."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from support import Sandbox, can_mount, mounted

if TYPE_CHECKING:
    from pathlib import Path

COPY = """
[step.b]
inputs = "a.txt"
targets = "out/b.txt"
run = "printf 'b\\\\0' >> $RUNS; cat {input} > {target}"
"""


def test_full_disk_fails_by_name_keeps_the_last_good_target_and_recovers(tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("needs root and the right to mount a small tmpfs")
    home = str(tmp_path / "small")
    with mounted(home, "3m"):
        box = Sandbox(home)
        box.env["RUNS"] = box.runs = str(tmp_path / "runs")
        box.write("a.txt", "good\n")
        box.ductfile(COPY)
        box.build()
        box.write("a.txt", b"x" * 1_000_000)
        box.write("filler", b"\0" * 900_000)
        with open(box.path("filler2"), "wb") as sink:
            fill(sink.fileno())
        result = box.expect(1, "build")
        assert "no space left on device" in result.err.lower()
        assert box.read("out/b.txt") == "good\n"
        box.remove("filler")
        box.remove("filler2")
        box.build()
        assert len(box.read("out/b.txt")) == 1_000_000
        box.ran()
        box.nothing_to_do()


def fill(descriptor: int) -> None:
    """Write until the disk is full."""
    for size in (65536, 4096, 512):
        try:
            while True:
                os.write(descriptor, b"\0" * size)
        except OSError:
            continue


def test_disk_full_for_the_state_itself_is_no_traceback(tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("needs root and the right to mount a small tmpfs")
    home = str(tmp_path / "small")
    with mounted(home, "1m"):
        box = Sandbox(home)
        box.env["RUNS"] = box.runs = str(tmp_path / "runs")
        box.write("a.txt", "good\n")
        box.ductfile(COPY)
        with open(box.path("filler"), "wb") as sink:
            fill(sink.fileno())
        result = box.duct("build")
        assert result.code in (1, 2), str(result)
        assert "Traceback" not in result.err
        assert "no space left on device" in result.err.lower(), str(result)
        box.remove("filler")
        box.build()
        assert box.read("out/b.txt") == "good\n"


def test_limit_that_no_database_fits_in_is_said_each_time(box: Sandbox) -> None:
    box.write("a.txt", "good\n")
    box.ductfile(COPY)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40960, before[1]))
    try:
        told = [box.expect(1, "build").err for _ in range(2)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for text in told:
        assert text.startswith("duct: cannot write .duct/trace.db: "), text
        assert text.count("\n") == 1, text
    assert "damaged" not in box.build().err
    assert box.ran() == ["b"]
    box.nothing_to_do()


def test_damaged_database_on_a_full_disk_is_set_aside_when_there_is_room(tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("needs root and the right to mount a small tmpfs")
    home = str(tmp_path / "small")
    with mounted(home, "1m"):
        box = Sandbox(home)
        box.env["RUNS"] = box.runs = str(tmp_path / "runs")
        path = built(box)
        box.write("a.txt", "new\n")
        with open(path, "r+b") as file:
            file.write(b"\xa5" * 3000)
        with open(path, "rb") as file:
            data = file.read()
        with open(box.path("filler"), "wb") as sink:
            fill(sink.fileno())
        result = box.expect(1, "build")
        assert result.err == "duct: cannot write .duct/trace.db: no space left on device\n"
        with open(path, "rb") as file:
            assert file.read() == data
        box.remove("filler")
        assert "set aside" in box.build().err
        assert box.read("out/b.txt") == "new\n"
        box.ran()
        box.nothing_to_do()


def test_read_only_state_answers_status_and_dry_run(modest_box: Sandbox) -> None:
    box = modest_box
    box.write("a.txt", "1\n")
    box.ductfile(COPY)
    box.build(without_rights=True)
    box.write("a.txt", "2\n")
    for folder, _, names in os.walk(box.root):
        os.chmod(folder, 0o555)
        for name in names:
            os.chmod(os.path.join(folder, name), 0o444)
    before = box.state()
    result = box.expect(0, "status", without_rights=True)
    assert "a.txt" in result.out + result.err
    result = box.expect(0, "build", "-n", without_rights=True)
    assert "a.txt" in result.out + result.err
    box.expect(0, "why", "out/b.txt", without_rights=True)
    assert box.state() == before
    result = box.duct("build", without_rights=True)
    assert result.code in (1, 2), str(result)
    assert "Traceback" not in result.err
    assert "ermission denied" in result.err


def test_state_on_a_read_only_mount_answers_status_and_dry_run(box: Sandbox) -> None:
    if not can_mount():
        pytest.skip("needs root and the right to mount")
    box.write("a.txt", "1\n")
    box.ductfile(COPY)
    box.build()
    box.write("a.txt", "2\n")
    state = box.path(".duct")
    assert os.system(f"mount --bind {state} {state} && mount -o remount,ro,bind {state}") == 0
    try:
        assert "a.txt" in str(box.expect(0, "status"))
        assert "a.txt" in str(box.expect(0, "build", "-n"))
        result = box.duct("build")
        assert result.code in (1, 2)
        assert "Traceback" not in result.err
        assert "ead-only file system" in result.err
    finally:
        assert os.system(f"umount {state}") == 0


def test_status_and_dry_run_leave_no_state_behind(box: Sandbox) -> None:
    box.write("a.txt", "1\n")
    box.ductfile(COPY)
    before = box.state()
    box.expect(0, "status")
    box.expect(0, "build", "-n")
    box.expect(0, "list")
    box.expect(0, "graph")
    assert box.state() == before


def test_target_folder_without_write_permission_fails_by_name(modest_box: Sandbox) -> None:
    box = modest_box
    box.write("a.txt", "1\n")
    box.ductfile(COPY)
    os.makedirs(box.path("out"))
    os.chmod(box.path("out"), 0o555)
    result = box.duct("build", without_rights=True)
    assert result.code == 1, str(result)
    assert "out" in result.err
    assert "ermission denied" in result.err
    assert "Traceback" not in result.err
    os.chmod(box.path("out"), 0o755)
    box.build(without_rights=True)
    assert box.read("out/b.txt") == "1\n"


def test_unreadable_input_fails_by_name(modest_box: Sandbox) -> None:
    box = modest_box
    os.chmod(box.write("a.txt", "1\n"), 0o000)
    box.ductfile(COPY + '\n[step.c]\ntargets = "c.txt"\nrun = "echo c > {target}"\n')
    result = box.duct("build", "-k", without_rights=True)
    assert result.code == 1, str(result)
    assert "a.txt" in result.err
    assert "ermission denied" in result.err
    assert "Traceback" not in result.err
    assert box.ran() == []
    assert box.read("c.txt") == "c\n", "other jobs go on"
    os.chmod(box.path("a.txt"), 0o644)
    box.build(without_rights=True)
    assert box.read("out/b.txt") == "1\n"


def built(box: Sandbox) -> str:
    """The path of the database after a build."""
    box.write("a.txt", "1\n")
    box.ductfile(COPY)
    box.build()
    box.ran()
    return box.path(".duct/trace.db")


@pytest.mark.parametrize("damage", ["overwritten", "truncated", "empty", "text"])
def test_damaged_database_is_set_aside_never_deleted(box: Sandbox, damage: str) -> None:
    path = built(box)
    with open(path, "r+b") as file:
        size = os.path.getsize(path)
        if damage == "overwritten":
            file.write(b"\xff" * min(size, 8192))
        elif damage == "truncated":
            file.truncate(size // 2 + 7)
        elif damage == "empty":
            file.truncate(0)
        else:
            file.truncate(0)
            file.write(b"this is no database\n" * 1000)
    with open(path, "rb") as file:
        data = file.read()
    box.write("a.txt", "2\n")
    result = box.build()
    assert box.read("out/b.txt") == "2\n"
    if damage != "empty":
        aside = [name for name in os.listdir(box.path(".duct")) if name.startswith("trace.db.damaged")]
        assert len([name for name in aside if not name.endswith(("-wal", "-shm"))]) == 1, str(result)
        with open(box.path(os.path.join(".duct", min(aside))), "rb") as file:
            assert file.read() == data
        assert "damaged" in result.err
        assert aside[0].split("-wal")[0].split("-shm")[0] in result.err
    box.ran()
    box.nothing_to_do()


def test_newer_database_is_refused_with_both_versions_and_untouched(box: Sandbox) -> None:
    path = built(box)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    with open(path, "rb") as file:
        before = file.read()
    box.write("a.txt", "2\n")
    for args in (["build"], ["status"], ["build", "-n"]):
        result = box.expect(2, *args)
        assert "999" in result.err
        assert "newer" in result.err
    assert box.ran() == []
    with open(path, "rb") as file:
        assert file.read() == before


@pytest.mark.parametrize("name", ["snapshot", "journal"])
@pytest.mark.parametrize("damage", ["gone", "empty", "torn", "noise"])
def test_damaged_helper_file_costs_at_most_work(box: Sandbox, name: str, damage: str) -> None:
    built(box)
    path = box.path(f".duct/{name}")
    with open(path, "rb") as source:
        data = source.read()
    if damage == "gone":
        os.unlink(path)
    else:
        with open(path, "wb") as sink:
            sink.write({"empty": b"", "torn": data[: len(data) // 2], "noise": b"\xa5" * 5000}[damage])
    box.build()
    assert box.read("out/b.txt") == "1\n"
    box.ran()
    box.write("a.txt", "2\n")
    box.build()
    assert box.read("out/b.txt") == "2\n"
    assert box.ran() == ["b"]
    box.nothing_to_do()


def test_state_folder_deleted_is_a_clean_build(box: Sandbox) -> None:
    built(box)
    shutil.rmtree(box.path(".duct"))
    box.build()
    assert box.ran() == ["b"]
    assert not os.path.exists(box.path(".duct/kept")) or os.listdir(box.path(".duct/kept")) == []


def test_moved_project_stays_up_to_date(box: Sandbox) -> None:
    built(box)
    moved = os.path.join(box.home, "moved")
    os.rename(box.root, moved)
    box.root = moved
    box.nothing_to_do()


def test_copied_project_with_its_state_stays_right(box: Sandbox) -> None:
    built(box)
    copy = os.path.join(box.home, "copy")
    shutil.copytree(box.root, copy)
    box.root = copy
    box.nothing_to_do()
    box.write("a.txt", "2\n")
    box.build()
    assert box.read("out/b.txt") == "2\n"


def test_state_ignores_itself_in_git(box: Sandbox) -> None:
    built(box)
    assert box.read(".duct/.gitignore").strip() == "*"


def test_target_on_another_file_system(box: Sandbox) -> None:
    if not can_mount():
        pytest.skip("needs root and the right to mount")
    box.write("a.txt", "1\n")
    box.ductfile(COPY)
    with mounted(box.path("out"), "1m"):
        box.build()
        assert box.read("out/b.txt") == "1\n"
        assert [name for name in os.listdir(box.path("out")) if not name.startswith(".")] == ["b.txt"]
        box.ran()
        box.nothing_to_do()
        box.write("a.txt", "2\n")
        box.build()
        assert box.read("out/b.txt") == "2\n"
