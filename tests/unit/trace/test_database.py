"""The memory of a project: answers that are those of database and journal together; versions, damage, reading without writing."""

from __future__ import annotations

import os
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from miniduct.errors import StoreError, TraceError
from miniduct.model import Stamp
from miniduct.trace import database
from miniduct.trace.database import Traces
from miniduct.trace.record import Failure, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def trace(name: str = "a", **fields: Any) -> Trace:
    plain = Trace(
        id=f"t:{name}",
        step="clean",
        values={"n": name},
        definition=b"d" * 32,
        command=b"c" * 32,
        check="content",
        inputs=[f"raw/{name}", "clean.py"],
        input_fps=b"1" * 32 + b"2" * 32,
        targets=[f"out/{name}"],
        target_fps=b"3" * 32,
        target_stamps=[Stamp(1, 2, 3, 4)],
        run=1,
        started=100.0,
        seconds=1.5,
        reasons=(("new", None, None, None),),
    )
    return plain._replace(**fields)


def failure(name: str = "a") -> Failure:
    return Failure(f"t:{name}", "clean", {}, 1, 5.0, 0.5, "failed with exit code 3", 3)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "trace.db")


@pytest.fixture
def traces(path: str) -> Iterator[Traces]:
    with Traces(path, write=True, version="1.0") as opened:
        yield opened


def reopened(path: str) -> Traces:
    return Traces(path, write=True, version="1.0")


# -- traces ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folded", [False, True])
def test_recorded_trace_is_loaded(traces: Traces, folded: bool) -> None:
    traces.record(trace())
    if folded:
        traces.fold()
    assert traces.load(["t:a", "t:b"]) == {"t:a": trace()}
    assert traces.load_all_ids() == {"t:a"}
    assert list(traces.made_keys()) == ["out/a"]
    assert traces.members("t:a") == ["out/a"]
    assert traces.members("t:b") == []
    assert traces.durations(["t:a", "t:b"]) == {"t:a": 1.5}
    assert traces.by_run(1) == [trace()]
    assert traces.by_run(2) == []


def test_folded_traces_survive(traces: Traces, path: str) -> None:
    traces.record(trace())
    traces.fold()
    traces.close()
    with reopened(path) as again:
        assert again.load(["t:a"]) == {"t:a": trace()}
    assert os.path.getsize(os.path.join(os.path.dirname(path), "journal")) == 0


def test_unfolded_trace_hides_the_folded_one(traces: Traces) -> None:
    traces.record(trace())
    traces.fold()
    traces.record(trace(run=2, targets=["out/z"]))
    assert traces.load(["t:a"])["t:a"].run == 2
    assert traces.members("t:a") == ["out/z"]
    assert [each.run for each in traces.by_run(1)] == []
    traces.fold()
    assert traces.load(["t:a"])["t:a"].run == 2


def test_stamps_are_kept_whatever_numbers_they_are(traces: Traces) -> None:
    record = trace(target_stamps=[Stamp(9, -9, 2**63 - 1, 0)])
    traces.record(record)
    traces.fold()
    assert traces.load(["t:a"])["t:a"].target_stamps == [Stamp(9, -9, 2**63 - 1, 0)]


def test_thousands_are_loaded_in_chunks(traces: Traces) -> None:
    names = [f"{number:04}" for number in range(2300)]
    for name in names:
        traces.record(trace(name))
    traces.fold()
    asked = [f"t:{name}" for name in names]
    assert list(traces.load(asked)) == asked
    assert len(traces.durations(asked)) == 2300
    assert len(traces.durations(asked * 2)) == 2300
    assert len(list(traces.made_keys())) == 2300


def test_how_runs_left_a_key_is_told_by_all_that_is_known(traces: Traces) -> None:
    traces.record(trace("m", targets=["out/m", "out/n"], target_fps=b"1" * 32 + b"2" * 32))
    traces.fold()
    traces.record(trace("m", targets=["out/m"], target_fps=b"3" * 32))
    assert traces.left(["out/n", "out/other"]) == {"out/n": [("content", b"2" * 32)]}
    assert sorted(traces.left(["out/m"])["out/m"]) == [("content", b"1" * 32), ("content", b"3" * 32)]
    traces.fold()
    assert traces.left(["out/m", "out/n"]) == {"out/m": [("content", b"3" * 32)], "out/n": [("content", b"2" * 32)]}


def test_where_a_link_led_is_remembered(traces: Traces) -> None:
    traces.record(trace("m", through={"out/m": "/disk/m"}))
    assert Trace.from_line(trace("m", through={"out/m": "/disk/m"}).to_line()).through == {"out/m": "/disk/m"}
    traces.fold()
    assert traces.load(["t:m"])["t:m"].through == {"out/m": "/disk/m"}


def test_long_list_of_inputs_is_kept_once(traces: Traces, path: str) -> None:
    names = [f"clean/{number}" for number in range(1000)]
    for fps in (b"x", b"y"):
        traces.record(trace("m", inputs=names, input_fps=fps * 32000))
        traces.record(trace("n", inputs=names, input_fps=fps * 32000))
        traces.fold()
    assert traces.load(["t:m"])["t:m"] == trace("m", inputs=names, input_fps=b"y" * 32000)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM names").fetchone() == (1,)
    db.close()
    traces.record(trace("m"))
    traces.record(trace("n"))
    traces.fold()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM names").fetchone() == (0,)
    db.close()


def test_names_are_bytes(traces: Traces) -> None:
    odd = trace("\udcff\n'\"", values={"n": "\udcff"}, inputs=["\udcfe"] * 100, input_fps=bytes(3200))
    traces.record(odd)
    traces.fold()
    assert traces.load([odd.id]) == {odd.id: odd}
    assert list(traces.made_keys()) == odd.targets
    traces.put_definition(b"x" * 32, "\udcff")
    assert traces.definition(b"x" * 32) == "\udcff"
    assert traces.begin_run(1.0, "build \udcff") > 0


def test_maybe_fold_folds_groups_and_old_records(traces: Traces, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = os.path.join(os.path.dirname(path), "journal")
    traces.maybe_fold()
    traces.record(trace())
    traces.maybe_fold()
    assert os.path.getsize(journal) > 0
    with monkeypatch.context() as patch:
        patch.setattr(database, "GROUP", 1)
        traces.maybe_fold()
    assert os.path.getsize(journal) == 0
    traces.record(trace())
    monkeypatch.setattr(database, "PATIENCE", 0.0)
    traces.maybe_fold()
    assert os.path.getsize(journal) == 0


def test_target_no_longer_made_is_known_as_made(traces: Traces) -> None:
    traces.record(trace(targets=["out/a", "out/b"], target_fps=b"3" * 32 + b"4" * 32))
    traces.fold()
    traces.record(trace())
    traces.fold()
    assert sorted(traces.made_keys()) == ["out/a", "out/b"]
    (former,) = traces.makers(["out/b"])
    assert former.target_fingerprint("out/b") == b"4" * 32
    assert [each.id for each in traces.makers(["out/a", "x"])] == ["t:a"]
    traces.forget_keys(["out/b"])
    assert list(traces.made_keys()) == ["out/a"]
    assert traces.makers(["out/b"]) == traces.makers([]) == []


def test_target_made_again_is_no_former_one(traces: Traces) -> None:
    for targets in (["x", "y"], ["x"], ["x", "y"]):
        traces.record(trace(targets=targets, target_fps=b"3" * 32 * len(targets)))
        traces.fold()
    assert sorted(traces.made_keys()) == ["x", "y"]


def test_forgotten_jobs_have_no_trace_but_their_targets_are_known(traces: Traces) -> None:
    traces.record(trace("a"))
    traces.record(trace("b"))
    traces.fail(failure("a"))
    traces.forget(["t:a", "t:none"])
    assert list(traces.load(["t:a", "t:b"])) == ["t:b"]
    assert traces.failures() == {}
    assert sorted(traces.made_keys()) == ["out/a", "out/b"]


# -- failures, definitions, builds ----------------------------------------------------------------------------------------------------------


def test_failure_stays_until_a_good_run(traces: Traces, path: str) -> None:
    traces.record(trace())
    traces.fail(failure())
    assert traces.failures() == {"t:a": failure()}
    traces.fold()
    traces.close()
    with reopened(path) as again:
        assert again.failures() == {"t:a": failure()}
        assert "t:a" in again.load(["t:a"])
        again.record(trace())
        assert again.failures() == {}
        again.fold()
        assert again.failures() == {}


def test_definitions_are_kept(traces: Traces, path: str) -> None:
    traces.put_definition(b"1" * 32, "{}")
    traces.put_definition(b"1" * 32, "{}")
    assert traces.definition(b"1" * 32) == "{}"
    assert traces.definition(b"2" * 32) is None
    traces.close()
    with reopened(path) as again:
        assert again.definition(b"1" * 32) == "{}"


def test_builds_are_numbered(traces: Traces) -> None:
    first = traces.begin_run(10.0, "build")
    second = traces.begin_run(20.0, "build x")
    traces.end_run(second, 21.0, ran=3, failed=1)
    assert second == first + 1
    assert [tuple(run) for run in traces.runs(5)] == [
        (second, 20.0, "build x", 21.0, 3, 1),
        (first, 10.0, "build", None, 0, 0),
    ]


def test_token_is_a_new_one_with_each_snapshot_and_goes_with_the_file(traces: Traces, path: str) -> None:
    assert traces.token() == 0
    tokens = [traces.renew_token() for _ in range(20)]
    assert len(set(tokens)) == 20
    assert min(tokens) > 0
    assert traces.token() == tokens[-1]
    traces.close()
    shutil.copy(path, f"{path}.copy")
    for write in (True, False):
        with Traces(f"{path}.copy", write=write) as copy:
            assert copy.token() == tokens[-1]


def test_database_begun_anew_in_the_midst_has_no_token(path: str) -> None:
    with reopened(path) as traces:
        traces.renew_token()
        damaged = [sqlite3.DatabaseError("database disk image is malformed")]

        def query(_: sqlite3.Connection) -> None:
            for error in damaged:
                damaged.clear()
                raise error

        traces._ask(query, None)
        assert "set aside" in traces.notes[0]
        assert traces.token() == 0
        assert traces.renew_token() == -1
    with reopened(path) as again:
        assert again.token() > 0
        assert again.renew_token() > 0


# -- after a kill ---------------------------------------------------------------------------------------------------------------------------


def test_recovery_folds_what_is_believed_and_drops_the_rest(path: str) -> None:
    killed = Traces(path, write=True, version="1.0")
    killed.record(trace("a", run=1))
    killed.record(trace("b"))
    killed.fail(failure("c"))
    killed.record(trace("a", run=2))
    killed._journal.close()
    with reopened(path) as again:
        again.recover(lambda found: [each for each in found if each.id == "t:a" and each.run == 2])
        assert again.load_all_ids() == {"t:a"}
        assert again.load(["t:a"])["t:a"].run == 2
        assert again.failures().keys() == {"t:c"}
    with reopened(path) as again:
        again.recover(lambda found: pytest.fail("the journal is empty") if found else [])
    killed.close()


def test_reader_sees_the_journal_of_a_build_that_runs(traces: Traces, path: str) -> None:
    traces.record(trace("a"))
    traces.fold()
    traces.record(trace("b"))
    with Traces(path, write=False) as reader:
        assert reader.load_all_ids() == {"t:a", "t:b"}
        assert reader.load(["t:b"]) == {"t:b": trace("b")}


# -- versions and damage --------------------------------------------------------------------------------------------------------------------


def test_newer_database_is_refused_untouched(path: str) -> None:
    reopened(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("UPDATE meta SET value = '7.1' WHERE name = 'version'")
    db.close()
    with open(path, "rb") as file:
        before = file.read()
    for write in (True, False):
        with pytest.raises(TraceError, match=r"it has format 99 \(duct 7.1\); this is duct 1.0, which knows format 1"):
            Traces(path, write=write, version="1.0")
    with open(path, "rb") as file:
        assert file.read() == before


@pytest.mark.parametrize("damage", [b"this is no database\n" * 500, b"SQLite format 3\0" + b"\xff" * 8000])
def test_damaged_database_is_set_aside(path: str, damage: bytes) -> None:
    with open(path, "wb") as file:
        file.write(damage)
    with Traces(path, write=False) as reader:
        assert reader.load(["t:a"]) == {}
        assert "damaged" in reader.notes[0]
    with reopened(path) as again:
        assert "set aside" in again.notes[0]
        again.record(trace())
        again.fold()
        assert again.load_all_ids() == {"t:a"}
    (aside,) = [name for name in os.listdir(os.path.dirname(path)) if ".damaged-" in name]
    with open(os.path.join(os.path.dirname(path), aside), "rb") as file:
        assert file.read() == damage


def test_damage_found_in_the_midst_of_a_build_loses_nothing_of_that_build(path: str) -> None:
    with reopened(path) as first:
        for number in range(2000):
            first.record(trace(f"{number:05}"))
        first.fold()
    with open(path, "r+b") as file:
        file.seek(4096 * 5)
        file.write(b"\xff" * 4096 * 60)
    with reopened(path) as again:
        again.record(trace("new"))
        again.load([f"t:{number:05}" for number in range(2000)])
        again.fold()
        assert "t:new" in again.load_all_ids()
        assert any("damaged" in note for note in again.notes)


def test_foreign_database_is_set_aside(path: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE precious (x)")
    db.close()
    with reopened(path) as again:
        assert "set aside" in again.notes[0]


def test_empty_file_is_an_empty_database(path: str) -> None:
    open(path, "w").close()
    with reopened(path) as again:
        assert again.notes == []
        assert again.load_all_ids() == set()


def test_older_database_is_migrated_after_a_backup(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with reopened(path) as old:
        old.record(trace())
        old.fold()
    monkeypatch.setattr(database, "SCHEMA", 3)
    monkeypatch.setitem(database.MIGRATIONS, 1, lambda db: db.execute("CREATE TABLE two (x)"))
    monkeypatch.setitem(database.MIGRATIONS, 2, lambda db: db.execute("CREATE TABLE three (x)"))
    with Traces(path, write=True, version="2.0") as new:
        assert new.load_all_ids() == {"t:a"}
        assert "brought from format 1 to 3" in new.notes[0]
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        db.execute("SELECT * FROM two, three")
    db.close()
    with sqlite3.connect(f"{path}.v1") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM traces").fetchone() == (1,)
    db.close()


def test_failed_migration_leaves_the_old_database(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reopened(path).close()

    def migrate(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE two (x)")
        raise KeyError

    monkeypatch.setattr(database, "SCHEMA", 2)
    monkeypatch.setitem(database.MIGRATIONS, 1, migrate)
    with pytest.raises(KeyError):
        reopened(path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'two'").fetchone() == (0,)
    db.close()


def test_disk_that_takes_no_more_is_said(traces: Traces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "FULL", 1 << 62)

    def query(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(StoreError, match=r"^cannot write .*trace\.db: no space left on device$"):
        traces._ask(query, None)


@pytest.mark.parametrize("write", [True, False])
def test_file_that_a_full_disk_left_of_a_new_database_is_an_empty_one(path: str, write: bool) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=WAL")
    db.close()
    assert os.path.getsize(path) > 0
    with Traces(path, write=write, version="1.0") as opened:
        assert opened.notes == []
        assert opened.load_all_ids() == set()


def test_damaged_database_stays_where_there_is_no_room_for_a_new_one(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = reopened(path)
    traces.record(trace())

    def damaged(_: sqlite3.Connection) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    def full(_: Traces) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Traces, "_open_for_writing", full)
        patch.setattr(traces, "_fold", damaged)
        for _ in range(2):
            with pytest.raises(StoreError, match=r"^cannot write .*trace\.db: database or disk is full$"):
                traces.fold()
    traces.close()
    assert not [name for name in os.listdir(os.path.dirname(path)) if "damaged" in name]
    with reopened(path) as again:
        again.recover(lambda found: found)
        assert again.load_all_ids() == {"t:a"}


# -- reading only ---------------------------------------------------------------------------------------------------------------------------


def state(path: str) -> dict[str, bytes]:
    found = {}
    for name in os.listdir(os.path.dirname(path)):
        with open(os.path.join(os.path.dirname(path), name), "rb") as file:
            found[name] = file.read()
    return found


def test_reading_writes_nothing(path: str) -> None:
    with reopened(path) as old:
        old.record(trace())
        old.fold()
        old.record(trace("b"))
    before = state(path)
    with Traces(path, write=False) as reader:
        assert reader.load_all_ids() == {"t:a", "t:b"}
        assert state(path) == before
    assert state(path) == before


def test_reading_no_database_makes_none(path: str) -> None:
    with Traces(path, write=False) as reader:
        assert reader.load(["t:a"]) == {}
        assert list(reader.made_keys()) == []
        assert reader.failures() == {}
        assert reader.definition(b"") is None
        assert reader.runs() == []
    assert os.listdir(os.path.dirname(path)) == []


def test_reading_after_a_kill_sees_what_sqlite_had_not_put_into_place(path: str, tmp_path: Path) -> None:
    """What a killed build leaves: a log of writes beside the database. Also on a disk that takes no writes."""
    left = tmp_path / "left"
    left.mkdir()
    with reopened(path) as killed:
        killed.record(trace())
        killed.fold()
        for name in os.listdir(os.path.dirname(path)):
            if name.startswith("trace.db") and not name.endswith("-shm"):
                shutil.copy(os.path.join(os.path.dirname(path), name), left)
    copy = str(left / "trace.db")
    assert os.path.getsize(f"{copy}-wal") > 0
    before = state(copy)
    with Traces(copy, write=False) as reader:
        assert reader.load_all_ids() == {"t:a"}
    assert state(copy) == before
    with reopened(copy) as writer:
        assert writer.load_all_ids() == {"t:a"}
