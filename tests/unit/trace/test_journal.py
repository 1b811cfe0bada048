"""The journal: appended lines, and what a kill, a full disk or a bad disk leaves of them."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from miniduct.errors import StoreError
from miniduct.trace.journal import Journal
from miniduct.trace.record import Failure, Trace

if TYPE_CHECKING:
    from pathlib import Path


def trace(name: str) -> Trace:
    return Trace(name, "s", {}, bytes(32), bytes(32), "content", [], b"", [name], bytes(32), [], 1, 1.0, 1.0)


def ids(path: Path) -> list[str]:
    return [record.id for record in Journal(str(path)).read()[0]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_records_come_back_in_order(path: Path) -> None:
    journal = Journal(str(path))
    failure = Failure("b", "s", {}, 1, 1.0, 1.0, "failed")
    for record in (trace("a"), failure, trace("a")):
        journal.append(record)
    assert journal.read() == ([trace("a"), failure, trace("a")], [])
    journal.close()


def test_no_journal_is_an_empty_one(path: Path) -> None:
    assert Journal(str(path)).read() == ([], [])
    Journal(str(path)).clear()
    assert not path.exists()


def test_record_is_in_the_file_when_append_returns(path: Path) -> None:
    journal = Journal(str(path))
    journal.append(trace("a"))
    assert ids(path) == ["a"]
    journal.close()


def test_torn_tail_is_ignored_and_cut_off_before_the_next_line(path: Path) -> None:
    path.write_bytes(trace("a").to_line() + trace("b").to_line()[:-20])
    assert Journal(str(path)).read() == ([trace("a")], [])
    journal = Journal(str(path))
    journal.append(trace("c"))
    journal.close()
    assert path.read_bytes() == trace("a").to_line() + trace("c").to_line()


def test_damaged_line_is_skipped_and_said(path: Path) -> None:
    path.write_bytes(trace("a").to_line() + b"\x00\xffgarbage\n" + trace("b").to_line())
    records, notes = Journal(str(path)).read()
    assert [record.id for record in records] == ["a", "b"]
    assert notes == [f"{path}: 1 damaged line skipped; those jobs run again"]


def test_full_disk_leaves_the_journal_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(str(path))
    journal.append(trace("a"))
    real = os.write
    left = [10]

    def write(fd: int, data: bytes) -> int:
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[: left.pop()])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(StoreError, match="no space left on device"):
            journal.append(trace("b"))
    assert ids(path) == ["a"]
    journal.append(trace("c"))
    journal.close()
    assert path.read_bytes() == trace("a").to_line() + trace("c").to_line()


def test_cleared_journal_takes_new_records(path: Path) -> None:
    journal = Journal(str(path))
    journal.append(trace("a"))
    journal.clear()
    assert path.read_bytes() == b""
    journal.append(trace("b"))
    journal.close()
    assert ids(path) == ["b"]
