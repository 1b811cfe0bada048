"""Local files: what they are besides the contract of every store (tests/store)."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3

from miniduct.errors import StoreError
from miniduct.stores import local, tree
from miniduct.stores.local import LARGE, LocalStore
from miniduct.stores.staging import Staging

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.chdir(tmp_path)
    return LocalStore()


def put(path: str, data: bytes = b"x") -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1, 2 * local.PIECE + 7])
def test_large_file_has_the_digest_of_all_its_pieces(store: LocalStore, size: int) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    put("a", data)
    assert store.fingerprint("a") == blake3(data).digest()


def test_link_is_followed(store: LocalStore) -> None:
    put("a", b"content")
    os.symlink("a", "link")
    assert store.stat("link") == store.stat("a")
    assert store.fingerprint("link") == store.fingerprint("a")


def test_link_to_nowhere_is_absent_and_not_listed(store: LocalStore) -> None:
    os.symlink("nowhere", "link")
    assert store.stat("link") is None
    assert store.fingerprint("link") is None
    assert store.list("") == []


def test_circle_of_links_is_an_error_with_the_reason(store: LocalStore) -> None:
    os.symlink("a", "b")
    os.symlink("b", "a")
    with pytest.raises(StoreError, match=r"^cannot look at a: too many levels of symbolic links$"):
        store.stat("a")


def test_pipe_is_refused_at_once(store: LocalStore) -> None:
    os.mkfifo("pipe")
    for look in (store.stat, store.fingerprint):
        with pytest.raises(StoreError, match=r"^cannot read pipe: it is not a regular file$"):
            look("pipe")


def test_device_and_socket_are_refused(store: LocalStore) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")
        for key in ("/dev/null", "sock"):
            for look in (store.stat, store.fingerprint):
                with pytest.raises(StoreError, match="not a regular file"):
                    look(key)
        assert store.list("") == []


def test_name_that_no_file_can_have_is_an_error(store: LocalStore) -> None:
    for look in (store.stat, store.fingerprint):
        with pytest.raises(StoreError, match="null"):
            look("a\0b")
        with pytest.raises(StoreError, match="encoding"):
            look("a\ud800b")
        with pytest.raises(StoreError, match="name too long"):
            look("x" * 300)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_an_error(store: LocalStore) -> None:
    put("a")
    os.chmod("a", 0)
    with pytest.raises(StoreError, match=r"^cannot read a: permission denied$"):
        store.fingerprint("a")


def test_circle_of_folders_ends(store: LocalStore) -> None:
    put("d/e/a", b"one")
    os.symlink("..", "d/e/up")
    os.symlink("nowhere", "d/dangling")
    before = store.fingerprint("d/")
    assert store.stat("d/") is not None
    os.unlink("d/dangling")
    os.symlink("elsewhere", "d/dangling")
    assert store.fingerprint("d/") != before


def test_link_to_a_folder_beside_counts_with_its_content(store: LocalStore) -> None:
    put("other/a", b"one")
    os.mkdir("d")
    os.symlink("../other", "d/link")
    before = store.fingerprint("d/")
    put("other/a", b"two")
    assert store.fingerprint("d/") != before


def test_deeper_than_the_stack_of_python(store: LocalStore) -> None:
    here = os.getcwd()
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)
    assert store.stat("d/") is not None
    assert store.fingerprint("d/") is not None
    Staging(".").remove("d/")
    assert not os.path.exists("d")


def test_state_folder_never_counts(store: LocalStore) -> None:
    put("d/a")
    before = store.fingerprint("d/")
    put("d/.duct/journal")
    put("d/.duct-stage-1234/a")
    assert store.fingerprint("d/") == before
    stamp = store.stat("d/")
    put("d/.duct/journal", b"longer")
    assert store.stat("d/") == stamp


def test_stamp_of_a_folder_tells_of_a_name_that_came_and_went(store: LocalStore) -> None:
    put("d/deep/a")
    before = store.stat("d/"), store.fingerprint("d/")
    os.utime("d/deep", ns=(0, 0))
    put("d/deep/b")
    os.unlink("d/deep/b")
    assert store.stat("d/") != before[0]
    assert store.fingerprint("d/") == before[1]


def test_pipe_in_a_folder_counts_by_name(store: LocalStore) -> None:
    put("d/a")
    before = store.fingerprint("d/")
    os.mkfifo("d/pipe")
    assert store.fingerprint("d/") not in (before, None)


def test_odd_times_and_inodes_fit_into_the_columns(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put("old")
    os.utime("old", ns=(-5 * 10**9, -5 * 10**9))
    stamp = store.stat("old")
    assert stamp is not None
    assert stamp.mtime_ns == -5 * 10**9
    real = os.stat

    class Odd:
        """A stat of a file system with 64 bits everywhere."""

        st_mode, st_size = 0o100644, 1
        st_mtime_ns = st_ctime_ns = 2**63 * 10**9
        st_ino = 2**64 - 1

    monkeypatch.setattr(os, "stat", lambda path: Odd() if path == "odd" else real(path))
    odd = store.stat("odd")
    assert odd is not None
    assert all(-(2**63) <= number < 2**63 for number in odd)
    assert tree.word(-(2**80)) >= -(2**63)
