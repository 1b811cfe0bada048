"""A smoke test against an emulator that others wrote. It ignores preconditions and has no pages: what these are for is tested elsewhere."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from miniduct.errors import StoreError
from miniduct.stores.gcs.settings import GcsSettings
from miniduct.stores.gcs.store import GcsStore
from support import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EMULATOR = os.path.join(os.path.dirname(sys.executable), "gcp-storage-emulator")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if not os.path.exists(EMULATOR):
        pytest.skip("gcp-storage-emulator is not installed")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [EMULATOR, "start", "-H", "127.0.0.1", "--port", str(port), "--in-memory", "--quiet"]
    process = subprocess.Popen([*command, "--default-bucket", "b"], stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: process.poll() is not None or _listens(port), "the emulator", 60)
        assert process.poll() is None
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def store(url: str) -> Iterator[GcsStore]:
    made = GcsStore(GcsSettings(endpoint=url))
    yield made
    made.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("size", [0, 7, (8 << 20) + 1])
def test_what_goes_up_is_found_and_comes_down(store: GcsStore, tmp_path: Path, size: int) -> None:
    key = f"gs://b/dir/{size} ü.csv"
    data = os.urandom(size)
    (tmp_path / "local").write_bytes(data)
    stamp = store.publish(str(tmp_path / "local"), key, None, {"duct-fingerprint": "f"})
    (found,) = store.stats([key])
    assert found is not None
    assert found.stamp == stamp
    assert found.marks["duct-fingerprint"] == "f"
    assert [item.key for item in store.matches(f"gs://b/dir/{size} ")] == [key]
    store.fetch(key, stamp, str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == data
    assert store.remove(key, stamp)
    assert store.stat(key) is None


def test_many_are_listed(store: GcsStore, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"1")
    keys = [f"gs://b/many/{number:03d}" for number in range(100)]
    for key in keys[:70]:
        store.publish(str(tmp_path / "local"), key, None, {})
    assert [item is not None for item in store.stats(keys)] == [True] * 70 + [False] * 30


def test_a_copy_is_made_there(store: GcsStore, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"content")
    stamp = store.publish(str(tmp_path / "local"), "gs://b/x", None, {})
    copy = store.copy("gs://b/x", stamp, "gs://b/y", None, {"duct-fingerprint": "f"})
    assert store.identity(copy) == store.identity(stamp)


def test_a_missing_bucket_is_told(store: GcsStore) -> None:
    with pytest.raises(StoreError, match="there is no bucket nowhere"):
        store.stat("gs://nowhere/x")
