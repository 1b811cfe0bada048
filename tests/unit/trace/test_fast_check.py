"""The fast check: "same" only where every fact is as it was written down."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import __version__
from miniduct.stores.local import LocalStore
from miniduct.trace import check as module
from miniduct.trace.check import Checked, check, differing
from miniduct.trace.database import Traces
from miniduct.trace.snapshot import FIELDS, FORMAT, write_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = ["raw/a", "raw/b", "out/a", "absent", "tree/"]
TOKEN = 0x1234


def put(path: str, content: str = "x") -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as file:
        file.write(content)


def put_database(token: int) -> None:
    with open(".duct/trace.db", "wb") as file:
        file.write(bytes(68) + token.to_bytes(4, "big") + bytes(4000))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir(".duct")
    put("Ductfile")
    put_database(TOKEN)
    for key in ("raw/a", "raw/b", "out/a", "tree/x/y"):
        put(key)


def save(keys: list[str] = KEYS, **facts: Any) -> None:
    """The snapshot of what is there now."""
    store = LocalStore()
    columns = [array("q") for _ in range(4)]
    for key in keys:
        for column, number in zip(columns, store.stat(key) or (-1, 0, 0, 0)):
            column.append(number)
    ductfile = store.stat("Ductfile")
    header = {
        **dict.fromkeys(FIELDS),
        "format": FORMAT,
        "version": __version__,
        "token": TOKEN,
        "sets": (("v", "1"),),
        "files": [("Ductfile", tuple(ductfile or ()))],
        "env": [("SET", "1"), ("UNSET", None)],
        "today": "2026-01-05",
        "saved": 1000.0,
        "expires": 2000.0,
        "dirty": b"",
        "folders": [(name, stamp and tuple(stamp)) for name in ("raw", "gone") for stamp in [store.folder_stamp(name)]],
        **facts,
    }
    write_snapshot(".duct/snapshot", header, keys, columns, bytes(32 * len(keys)), ())


def look(
    sets: tuple[tuple[str, str], ...] = (("v", "1"),),
    environ: dict[str, str] | None = None,
    today: str | None = "2026-01-05",
    now: float = 1500.0,
) -> Checked:
    return check(".duct", sets, {"SET": "1"} if environ is None else environ, today, now)


def test_same_facts_are_the_same() -> None:
    save()
    found = look()
    assert (found.outcome, list(found.changed), list(found.folders), found.why_unknown) == ("same", [], [], None)


def test_no_snapshot_is_unknown() -> None:
    found = look()
    assert (found.outcome, found.snapshot) == ("unknown", None)


@pytest.mark.parametrize(
    "deed", [lambda: os.unlink(".duct/trace.db"), lambda: put_database(0), lambda: put_database(7)]
)
def test_snapshot_whose_database_is_gone_or_another_one_is_not_believed(deed: Callable[[], object]) -> None:
    save()
    deed()
    put("raw/a", "y")
    found = look()
    assert (found.outcome, found.why_unknown, list(found.changed)) == ("unknown", module.APART, [0])


def test_open_database_is_asked_and_not_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    save()
    put("raw/a", "y")
    monkeypatch.delattr(module, "_token")
    for token, outcome in ((TOKEN, "differs"), (7, "unknown"), (0, "unknown")):
        assert check(".duct", (("v", "1"),), {"SET": "1"}, "2026-01-05", 1500.0, token=token).outcome == outcome


def test_token_of_a_database_is_found_in_its_file() -> None:
    os.unlink(".duct/trace.db")
    with Traces(".duct/trace.db", write=True) as traces:
        token = traces.renew_token()
    save(token=token)
    assert look().outcome == "same"


def replaced_by(make: Callable[[str], object]) -> Callable[[], object]:
    """out/a goes, and something that is no file comes."""

    def deed() -> None:
        os.unlink("out/a")
        make("out/a")

    return deed


def file_for_folder() -> None:
    shutil.rmtree("out")
    put("out")


def two_files() -> None:
    put("raw/b", "z")
    put("raw/a", "y")


@pytest.mark.parametrize(
    ("deed", "changed"),
    [
        (lambda: put("raw/a", "y"), [0]),
        (lambda: os.utime("raw/b", (1, 1)), [1]),
        (lambda: os.utime("raw/b", ns=(-1, -1)), [1]),
        (lambda: os.unlink("out/a"), [2]),
        (lambda: put("absent"), [3]),
        (lambda: put("tree/x/y", "y"), [4]),
        (lambda: put("tree/x/z"), [4]),
        (lambda: os.rename("tree/x", "tree/renamed"), [4]),
        (replaced_by(os.mkdir), [2]),
        (replaced_by(os.mkfifo), [2]),
        (replaced_by(lambda key: os.symlink("a", key)), [2]),
        (file_for_folder, [2]),
        (two_files, [0, 1]),
    ],
)
def test_changed_keys_are_named(deed: Callable[[], object], changed: list[int]) -> None:
    save()
    deed()
    found = look()
    assert (found.outcome, list(found.changed)) == ("differs", changed)


@pytest.mark.parametrize("deed", [lambda: os.mkdir("absent"), lambda: os.chmod(".", 0o755)])
def test_what_a_store_would_not_call_a_change_is_none(deed: Callable[[], object]) -> None:
    save()
    deed()
    assert look().outcome == "same"


def test_same_size_and_mtime_is_seen_by_ctime_and_inode() -> None:
    save()
    before = os.stat("raw/a")
    put("raw/new", "y")
    os.utime("raw/new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace("raw/new", "raw/a")
    assert list(look().changed) == [0]


@pytest.mark.parametrize(
    ("deed", "folders"),
    [
        (lambda: put("raw/new"), [0]),
        (lambda: os.unlink("raw/b"), [0]),
        (lambda: os.mkdir("gone"), [1]),
        (lambda: put("gone"), []),
    ],
)
def test_changed_folders_are_named(deed: Callable[[], object], folders: list[int]) -> None:
    save([])
    deed()
    found = look()
    assert list(found.folders) == folders
    assert found.outcome == ("differs" if folders else "same")


def test_jobs_not_up_to_date_are_a_difference() -> None:
    save(dirty=b"\0\0\0\0")
    assert look().outcome == "differs"


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"sets": ()}, "--set says something else"),
        ({"sets": (("v", "2"),)}, "--set says something else"),
        ({"environ": {}}, "SET has another value"),
        ({"environ": {"SET": "2"}}, "SET has another value"),
        ({"environ": {"SET": "1", "UNSET": ""}}, "UNSET has another value"),
        ({"today": "2026-01-06"}, "it is another day"),
        ({"now": 2000.0}, "a job's max_age is over"),
        ({"now": 999.0}, "a job's max_age is over"),
    ],
)
def test_other_facts_are_unknown_but_the_keys_are_looked_at(facts: dict[str, Any], why: str) -> None:
    save()
    put("raw/a", "y")
    found = look(**facts)
    assert (found.outcome, found.why_unknown, list(found.changed)) == ("unknown", why, [0])
    assert found.snapshot is not None


def test_changed_ductfile_is_unknown() -> None:
    save()
    put("Ductfile", "other")
    assert look().why_unknown == "Ductfile was changed"
    os.unlink("Ductfile")
    assert look().why_unknown == "Ductfile was changed"


def test_ductfile_without_a_trusted_stamp_is_unknown() -> None:
    save(files=[("Ductfile", None)])
    assert look().outcome == "unknown"


def test_facts_that_do_not_matter_are_not_asked_for() -> None:
    save(today=None, expires=None, env=[], sets=())
    assert look(sets=(), environ={}, today="2030-01-01", now=9e9).outcome == "same"


@pytest.mark.parametrize("facts", [{"version": "0.0.0"}, {"format": 99}, {"folders": 3}, {"files": "x"}])
def test_snapshot_of_another_version_or_shape_is_none(facts: dict[str, Any]) -> None:
    save(**facts)
    found = look()
    assert (found.outcome, found.snapshot) == ("unknown", None)


def test_key_without_a_trusted_stamp_is_changed() -> None:
    save()
    columns = [array("q", [-2]), array("q", [0]), array("q", [0]), array("q", [0])]
    assert list(differing([b"raw/a"], columns)) == [0]
    assert list(differing([b"not there"], columns)) == [0]


def test_names_are_bytes() -> None:
    keys = ["raw/\udcff\n", "raw/ü", "raw/'"]
    for key in keys:
        put(key)
    save(keys)
    assert look().outcome == "same"
    put(keys[0], "y")
    assert list(look().changed) == [0]


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_processes_agree(processes: int) -> None:
    store = LocalStore()
    keys = [f"many/{number}" for number in range(50)]
    for key in keys:
        put(key)
    columns = [array("q", column) for column in zip(*[store.stat(key) or () for key in keys])]
    for number in (0, 7, 25, 49):
        os.unlink(keys[number])
    names = [os.fsencode(key) for key in keys]
    assert differing(names, columns, processes) == [0, 7, 25, 49]


def test_where_no_process_can_be_had_one_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise OSError("no more processes")

    monkeypatch.setattr(os, "fork", fork)
    columns = [array("q", [-1, -1])] * 4
    assert differing([b"a", b"raw/a"], columns, 2) == [1]


def test_slice_of_a_process_that_died_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._collect

    def collect(child: tuple[int, int]) -> list[int] | None:
        assert real(child) == [1]
        return None

    monkeypatch.setattr(module, "_collect", collect)
    columns = [array("q", [-1, -1])] * 4
    assert differing([b"a", b"raw/a"], columns, 2) == [1]


def test_nothing_slow_is_imported() -> None:
    program = "import sys; import miniduct.trace.check; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True, env=_env())
    slow = {"typing", "dataclasses", "re", "json", "enum", "array", "collections", "sqlite3", "blake3", "hashlib"}
    assert slow & set(done.stdout.split()) == set()


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.dirname(module.__file__)))}


def test_header_that_lacks_a_field_is_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    save([])
    monkeypatch.setattr("miniduct.trace.check.FIELDS", FIELDS | {"of a later duct"})
    checked = look()
    assert (checked.outcome, checked.snapshot) == ("unknown", None)
