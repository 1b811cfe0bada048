"""Small values in one file: what is in it, what is left after a kill or damage, what others see of it."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3

from miniduct.errors import StoreError
from miniduct.stores import values
from miniduct.stores.values import PACKED, ValueStore, is_packed

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

FOLDER = ".duct/values/demo/"
PACK = FOLDER + ".pack"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(store: ValueStore, **contents: bytes) -> None:
    for name, content in contents.items():
        store.put(FOLDER + name, content, blake3(content).digest())


def written(**contents: bytes) -> ValueStore:
    """A store for reading, of what another one wrote."""
    store = ValueStore(FOLDER, write=True)
    put(store, **contents)
    store.close()
    return ValueStore(FOLDER)


def read(store: ValueStore, names: str) -> list[bytes | None]:
    return [store.read(FOLDER + name) for name in names]


def test_what_was_put_is_there() -> None:
    store = written(a=b"one", b=b"two", é=b"three")
    assert read(store, "abéc") == [b"one", b"two", b"three", None]
    assert store.fingerprint(FOLDER + "a") == blake3(b"one").digest()
    assert store.fingerprint(FOLDER + "c") is None


def test_its_stamp_tells_of_its_content_only() -> None:
    def stamp(store: ValueStore) -> object:
        found = store.stat(FOLDER + "a")
        assert found is not None
        assert is_packed(found)
        assert found.size == 3
        return found

    first = stamp(written(a=b"one"))
    assert stamp(written(b=b"other", a=b"one")) == first
    assert stamp(written(a=b"two")) != first


def test_the_last_one_of_a_name_counts() -> None:
    assert read(written(a=b"one", b=b"two"), "a") == [b"one"]
    assert read(written(a=b"three"), "ab") == [b"three", b"two"]


def test_a_large_one_is_a_file() -> None:
    store = written(a=b"one")
    with open(FOLDER + "b", "wb") as file:
        file.write(b"large")
    assert store.read(FOLDER + "b") is None
    assert store.fingerprint(FOLDER + "b") == blake3(b"large").digest()
    found = store.stat(FOLDER + "b")
    assert found is not None
    assert not is_packed(found)
    assert found.mtime_ns == os.stat(FOLDER + "b").st_mtime_ns


def test_what_was_put_counts_before_a_file_until_it_is_hidden() -> None:
    store = ValueStore(FOLDER, write=True)
    put(store, a=b"packed")
    with open(FOLDER + "a", "wb") as file:
        file.write(b"file")
    assert store.fingerprint(FOLDER + "a") == blake3(b"packed").digest()
    assert store.hide(FOLDER + "a")
    assert not store.hide(FOLDER + "a")
    for each in (store, ValueStore(FOLDER)):
        assert each.fingerprint(FOLDER + "a") == blake3(b"file").digest()
        assert each.read(FOLDER + "a") is None


def test_who_reads_sees_what_was_put_since() -> None:
    store, reader = ValueStore(FOLDER, write=True), ValueStore(FOLDER)
    assert read(reader, "a") == [None]
    put(store, a=b"one")
    assert read(reader, "ab") == [b"one", None]
    put(store, a=b"two", b=b"three")
    assert read(reader, "ab") == [b"two", b"three"]
    store.hide(FOLDER + "a")
    assert read(reader, "ab") == [None, b"three"]
    os.unlink(PACK)
    assert read(reader, "ab") == [None, None]
    written(b=b"four")
    assert read(reader, "ab") == [None, b"four"]


def test_who_reads_holds_no_file_open() -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    store = written(a=b"one")
    before = opened()
    store.stat(FOLDER + "a"), store.read(FOLDER + "a")
    assert opened() == before


@pytest.mark.parametrize("cut", range(1, 80, 6))
def test_half_an_entry_is_none(cut: int) -> None:
    written(a=b"one", b=b"two " * 10)
    os.truncate(PACK, os.path.getsize(PACK) - cut)
    store = ValueStore(FOLDER)
    assert read(store, "ab") == [b"one", None]
    assert read(written(c=b"three"), "abc") == [b"one", None, b"three"]


@pytest.mark.parametrize("at", [0, 20, 33, 37, 41, 60, 84])
def test_damage_never_gives_something_else(at: int) -> None:
    written(a=b"one", b=b"two")
    with open(PACK, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))
    store = ValueStore(FOLDER)
    for name, content in (("a", b"one"), ("b", b"two")):
        assert store.fingerprint(FOLDER + name) in (None, blake3(store.read(FOLDER + name) or b"").digest())
        assert store.fingerprint(FOLDER + name) in (None, blake3(content).digest()) or at == 84
    assert read(written(c=b"three"), "c") == [b"three"]


def test_damaged_content_has_another_stamp_and_the_pack_is_not_trusted() -> None:
    store = written(a=b"one")
    stamp = store.stat(FOLDER + "a")
    with open(PACK, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    store = ValueStore(FOLDER, write=True)
    assert store.saved(None)[1] is not None
    assert store.stat(FOLDER + "a") != stamp
    assert store.saved(None)[1] == ()


def test_it_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MOST_WASTE", 10_000)
    store, reader = written(), ValueStore(FOLDER)
    for number in range(100):
        store = ValueStore(FOLDER, write=True)
        put(store, a=bytes([number]) * 1000, b=b"b", c=b"c")
        store.hide(FOLDER + "c")
        stamp = store.stat(FOLDER + "a")
        path, there, mark = store.saved(None)
        store.close()
        assert read(reader, "abc") == [bytes([number]) * 1000, b"b", None]
        assert ValueStore(FOLDER).stat(FOLDER + "a") == stamp
        found = os.stat(PACK)
        assert (path, mark) == (PACK, PACKED)
        assert there == (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    assert os.path.getsize(PACK) < 20_000
    assert os.listdir(FOLDER) == [".pack"]


def test_a_full_disk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ValueStore(FOLDER, write=True)
    put(store, a=b"one")
    write = os.pwrite
    left = 30

    def full(fd: int, data: bytes, at: int) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(fd, data[:left], at)
        left -= done
        return done

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(StoreError, match=r"cannot write .*/\.pack.*: no space left on device") as caught:
            put(store, a=b"two")
    assert caught.value.hint is None
    assert read(store, "a") == [b"one"]
    put(store, b=b"three")
    assert read(ValueStore(FOLDER), "ab") == [b"one", b"three"]


@pytest.mark.parametrize("before", [b"", b"something else", b"x" * 1000])
def test_what_is_no_pack_is_written_anew(before: bytes) -> None:
    os.makedirs(FOLDER)
    with open(PACK, "wb") as file:
        file.write(before)
    assert read(ValueStore(FOLDER), "a") == [None]
    assert read(written(a=b"one"), "a") == [b"one"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
@pytest.mark.parametrize("write", [True, False])
def test_what_is_no_file_of_its_own_is_refused(make: Callable[[str], None], write: bool) -> None:
    os.makedirs(FOLDER)
    make(PACK)
    store = ValueStore(FOLDER, write=write)
    asked: list[Callable[[str], object]] = [store.stat, store.read, store.hide]
    for ask in asked:
        with pytest.raises(StoreError, match=r"cannot read .*\.pack: it is .*\n.*remove \.duct/values/demo/\.pack"):
            ask(FOLDER + "a")


def test_what_a_link_leads_to_is_nobodys_pack() -> None:
    os.makedirs(FOLDER)
    with open("precious", "w", encoding="ascii") as file:
        file.write("mine")
    os.symlink(os.path.abspath("precious"), PACK)
    with pytest.raises(StoreError, match="it is a link"):
        put(ValueStore(FOLDER, write=True), a=b"one")
    with open("precious", encoding="ascii") as file:
        assert file.read() == "mine"


def test_a_pack_that_may_not_be_written_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    written(a=b"one")
    store = ValueStore(FOLDER, write=True)
    opened = os.open

    def refusing(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, mode)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refusing)
        assert read(store, "a") == [b"one"]
        with pytest.raises(StoreError, match=r"cannot write .*: permission denied"):
            put(store, b=b"two")
    assert read(ValueStore(FOLDER), "ab") == [b"one", None]


@pytest.mark.parametrize("write", [True, False])
def test_a_pack_that_could_not_be_read_once_is_not_taken_for_an_empty_one(
    monkeypatch: pytest.MonkeyPatch, write: bool
) -> None:
    written(a=b"one")
    store = ValueStore(FOLDER, write=write)

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", failing)
        with pytest.raises(StoreError, match=r"cannot read .*: input/output error"):
            store.read(FOLDER + "a")
    assert read(store, "a") == [b"one"]
    put(ValueStore(FOLDER, write=True), b=b"two")
    assert read(ValueStore(FOLDER), "ab") == [b"one", b"two"]


def test_a_pack_that_cannot_be_written_anew_stays_and_nothing_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MOST_WASTE", 100)
    store = ValueStore(FOLDER, write=True)
    for _ in range(2):
        put(store, a=bytes(1000))

    def failing(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", failing)
        assert store.saved(None)[1]
    assert os.listdir(FOLDER) == [".pack"]
    assert read(store, "a") == [bytes(1000)]
    with open(f"{PACK}.part", "w", encoding="ascii") as file:
        file.write("of a killed run")
    assert store.saved(None)[1]
    assert os.listdir(FOLDER) == [".pack"]
    put(store, b=b"two")
    assert read(ValueStore(FOLDER), "ab") == [bytes(1000), b"two"]


@pytest.mark.parametrize("what", ["another", "longer", "gone"])
def test_a_pack_that_somebody_else_wrote_to_meanwhile_is_not_trusted(what: str) -> None:
    written(a=b"one")
    store = ValueStore(FOLDER, write=True)
    assert read(store, "a") == [b"one"]
    assert store.saved(None)[1]
    if what == "longer":
        with open(PACK, "ab") as file:
            file.write(b"more")
    else:
        shutil.copy(PACK, "copy")
        os.unlink(PACK)
        if what == "another":
            os.rename("copy", PACK)
    assert store.saved(None)[1] == ()


def test_who_finds_damage_lets_the_next_run_look() -> None:
    written(a=b"one")
    with open(PACK, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    store = ValueStore(FOLDER, write=True)
    reader = ValueStore(FOLDER)
    before = os.stat(PACK)
    with pytest.raises(StoreError, match=r"is damaged\n.*the next run makes it again"):
        reader.read(FOLDER + "a")
    assert os.stat(PACK).st_mtime_ns != before.st_mtime_ns
    with pytest.raises(StoreError, match="is damaged"):
        store.read(FOLDER + "a")
    assert store.saved(None)[1] == ()


def test_long_names_are_no_waste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MOST_WASTE", 100)
    store = ValueStore(FOLDER, write=True)
    put(store, **{"\N{GRINNING FACE}" * 60 + str(number): b"x" for number in range(10)})
    before = os.stat(PACK).st_ino
    store.saved(None)
    assert os.stat(PACK).st_ino == before


def test_a_pack_that_was_not_looked_at_is_saved_as_it_was() -> None:
    written(a=b"one")
    before = (PACK, (1, 2, 3, 4), PACKED)
    store = ValueStore(FOLDER, write=True)
    assert store.saved(before) == before
    assert store.saved(None)[1] == ()
    assert read(store, "a") == [b"one"]
    assert store.saved(before)[1] not in ((), None, before[1])
