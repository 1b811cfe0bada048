"""What every store promises, run against each of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import pytest
from blake3 import blake3

from miniduct.stores.local import LocalStore
from miniduct.stores.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from miniduct.stores.base import Store


class World(Protocol):
    """A store, and somebody who changes what is in it."""

    @property
    def store(self) -> Store: ...

    def write(self, key: str, data: bytes) -> None:
        """Make the file, or write it in place, later than whatever was done before."""

    def replace(self, key: str, data: bytes) -> None:
        """Put another file in its place, with the mtime of the old one."""

    def touch(self, key: str) -> None:
        """Set the mtime to now."""

    def remove(self, key: str) -> None:
        """Remove a file."""

    def make_folder(self, folder: str) -> None:
        """Make a folder."""


class Local:
    """Local files below the working folder. Times are set by hand, so that no test waits for the clock."""

    def __init__(self) -> None:
        self.store = LocalStore()
        self.time = 1_700_000_000 * 10**9

    def _later(self, key: str) -> None:
        self.time += 10**9
        os.utime(key, ns=(self.time, self.time))

    def write(self, key: str, data: bytes) -> None:
        os.makedirs(os.path.dirname(key) or ".", exist_ok=True)
        with open(key, "wb") as file:
            file.write(data)
        self._later(key)

    def replace(self, key: str, data: bytes) -> None:
        mtime = os.stat(key).st_mtime_ns
        with open(f"{key}.new", "wb") as file:
            file.write(data)
        os.utime(f"{key}.new", ns=(mtime, mtime))
        os.replace(f"{key}.new", key)

    def touch(self, key: str) -> None:
        self._later(key)

    def remove(self, key: str) -> None:
        os.unlink(key)

    def make_folder(self, folder: str) -> None:
        os.makedirs(folder)


class Memory:
    """The twin in memory."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def write(self, key: str, data: bytes) -> None:
        self.store.tick()
        self.store.write(key, data)

    def replace(self, key: str, data: bytes) -> None:
        stamp = self.store.stat(key)
        assert stamp is not None
        self.store.tick()
        self.store.replace(key, data, stamp.mtime_ns)

    def touch(self, key: str) -> None:
        self.store.tick()
        self.store.touch(key)

    def remove(self, key: str) -> None:
        self.store.tick()
        self.store.remove(key)

    def make_folder(self, folder: str) -> None:
        self.store.tick()
        self.store.make_folder(folder)


@pytest.fixture(params=["local", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return Local() if request.param == "local" else Memory()


def names(store: Store, folder: str) -> list[tuple[str, bool]] | None:
    listed = store.list(folder)
    return None if listed is None else sorted((entry.name, entry.is_dir) for entry in listed)


def test_file_has_a_stamp_with_its_size(world: World) -> None:
    world.write("d/a", b"abc")
    stamp = world.store.stat("d/a")
    assert stamp is not None
    assert stamp.size == 3
    assert world.store.stat("d/a") == stamp


def test_what_is_not_there_has_no_stamp_and_no_fingerprint(world: World) -> None:
    world.write("a", b"")
    for key in ("b", "d/b", "a/b", "d/", "a/"):
        assert world.store.stat(key) is None
        assert world.store.fingerprint(key) is None


def test_folder_is_no_file(world: World) -> None:
    world.make_folder("d")
    assert world.store.stat("d") is None
    assert world.store.fingerprint("d") is None


def test_fingerprint_is_the_blake3_digest_of_the_content(world: World) -> None:
    for content in (b"", b"x", bytes(100_000)):
        world.write("a", content)
        assert world.store.fingerprint("a") == blake3(content).digest()


def test_write_in_place_changes_the_stamp(world: World) -> None:
    world.write("a", b"one")
    before = world.store.stat("a")
    world.write("a", b"two")
    assert world.store.stat("a") != before


def test_touch_changes_the_stamp_and_not_the_fingerprint(world: World) -> None:
    world.write("a", b"one")
    stamp, fingerprint = world.store.stat("a"), world.store.fingerprint("a")
    world.touch("a")
    assert world.store.stat("a") != stamp
    assert world.store.fingerprint("a") == fingerprint


def test_replaced_file_of_same_size_and_mtime_changes_the_stamp(world: World) -> None:
    world.write("a", b"one")
    before = world.store.stat("a")
    world.replace("a", b"two")
    after = world.store.stat("a")
    assert before is not None
    assert after is not None
    assert (before.size, before.mtime_ns) == (after.size, after.mtime_ns)
    assert before != after


def test_removed_file_is_gone(world: World) -> None:
    world.write("a", b"one")
    world.remove("a")
    assert world.store.stat("a") is None


def test_list_names_files_and_folders_of_one_folder(world: World) -> None:
    world.write("d/a", b"")
    world.write("d/e/b", b"")
    assert names(world.store, "") == [("d", True)]
    assert names(world.store, "d") == [("a", False), ("e", True)]
    assert names(world.store, "d/e") == [("b", False)]


def test_list_of_no_folder_is_none(world: World) -> None:
    world.write("a", b"")
    assert world.store.list("d") is None
    assert world.store.list("a") is None
    assert world.store.folder_stamp("d") is None
    assert world.store.folder_stamp("a") is None


def test_folder_stamp_changes_when_a_name_comes_or_goes(world: World) -> None:
    world.write("d/a", b"")
    stamps = [world.store.folder_stamp("d")]
    world.write("d/b", b"")
    stamps.append(world.store.folder_stamp("d"))
    world.remove("d/a")
    stamps.append(world.store.folder_stamp("d"))
    assert world.store.folder_stamp("") is not None
    assert None not in stamps
    if isinstance(world.store, MemoryStore):  # local clocks may stand still within a test
        assert len(set(stamps)) == 3


def test_folder_as_a_whole_has_a_stamp_and_a_fingerprint(world: World) -> None:
    world.write("d/a", b"one")
    world.write("d/e/b", b"two")
    stamp = world.store.stat("d/")
    assert stamp is not None
    assert stamp.size == 6
    assert world.store.fingerprint("d/") == world.store.fingerprint("d/")


@pytest.mark.parametrize("deed", ["write", "add", "remove", "replace", "folder"])
def test_folder_as_a_whole_changes_with_anything_below_it(world: World, deed: str) -> None:
    world.write("d/a", b"one")
    world.write("d/e/b", b"two")
    stamp, fingerprint = world.store.stat("d/"), world.store.fingerprint("d/")
    if deed == "write":
        world.write("d/e/b", b"TWO")
    elif deed == "add":
        world.write("d/e/c", b"")
    elif deed == "remove":
        world.remove("d/e/b")
    elif deed == "replace":
        world.replace("d/e/b", b"TWO")
    else:
        world.make_folder("d/f")
    assert world.store.stat("d/") != stamp
    assert world.store.fingerprint("d/") != fingerprint


def test_touch_below_a_folder_changes_its_stamp_only(world: World) -> None:
    world.write("d/a", b"one")
    stamp, fingerprint = world.store.stat("d/"), world.store.fingerprint("d/")
    world.touch("d/a")
    assert world.store.stat("d/") != stamp
    assert world.store.fingerprint("d/") == fingerprint


def test_content_moved_from_one_name_to_another_changes_the_folder(world: World) -> None:
    world.write("d/a", b"one")
    world.write("d/b", b"two")
    before = world.store.fingerprint("d/")
    world.write("d/a", b"two")
    world.write("d/b", b"one")
    assert world.store.fingerprint("d/") != before


def test_empty_folder_has_a_fingerprint(world: World) -> None:
    world.make_folder("d")
    assert world.store.stat("d/") is not None
    assert world.store.fingerprint("d/") == blake3(b"").digest()


@pytest.mark.parametrize("name", ["with space", "new\nline", "-dash", "ünïcode", "quo'te\"", "star*[x]?", "byte\udcff"])
def test_names_are_data(world: World, name: str) -> None:
    world.write(f"d/{name}", b"x")
    assert world.store.stat(f"d/{name}") is not None
    assert world.store.fingerprint(f"d/{name}") == blake3(b"x").digest()
    assert names(world.store, "d") == [(name, False)]
    assert world.store.fingerprint("d/") is not None
