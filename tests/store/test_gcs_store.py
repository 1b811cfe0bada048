"""Objects of Google Cloud Storage through the store: requests counted, faults survived, refusals in words."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pytest_httpserver import HTTPServer

from gcs_server import Bucket, GcsServer
from miniduct.errors import StoreError
from miniduct.stores.gcs.settings import GcsSettings
from miniduct.stores.gcs.store import LARGE, LARGE_AT_ONCE, ONE_REQUEST, GcsStore
from miniduct.stores.patience import Patience, Retry
from miniduct.stores.refusals import Changed, ForeignWrite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from miniduct.model import Stamp

QUICK = Patience(total=5.0, contact=0.5, first=0.01, most=0.02, tries=4)
MARKS = {"duct-fingerprint": "f1"}
ODD = ["a b", "#x?y=1&z", "*", "a/../b", "..a", "ä\nö", "%2F", "+", "x" * 1000, "a//b", '"quoted"', "-rf"]


class Told(list[Retry]):
    """The tries that were told."""

    def __call__(self, retry: Retry) -> None:
        self.append(retry)


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer("b") as running:
        yield running


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def store(server: GcsServer, told: Told) -> Iterator[GcsStore]:
    made = GcsStore(settings(server.url), told)
    yield made
    made.close()


def settings(url: str, patience: Patience = QUICK) -> GcsSettings:
    return GcsSettings(endpoint=url, read_timeout=5.0, patience=patience)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "local"
    path.write_bytes(b"content")
    return path


def stamp_of(store: GcsStore, key: str) -> Stamp:
    stamp = store.stat(key)
    assert stamp is not None
    return stamp


def content(server: GcsServer, name: str) -> bytes | None:
    found = server.get("b", name)
    return None if found is None else found.data


# judging


@pytest.mark.parametrize(("count", "most"), [(1000, 2), (10_000, 12)])
def test_many_targets_under_one_prefix_take_few_requests(
    server: GcsServer, store: GcsStore, count: int, most: int
) -> None:
    names = [f"clean/{number:05d}.csv" for number in range(count)]
    server.fill("b", names)
    found = store.stats([f"gs://b/{name}" for name in reversed(names)])
    assert [item.key for item in found if item] == [f"gs://b/{name}" for name in reversed(names)]
    assert len(server.log) <= most
    assert set(server.operations()) == {"list"}


def test_scattered_objects_are_asked_for_singly_and_at_once(server: GcsServer, store: GcsStore) -> None:
    server.fill("b", ["x", "y"])
    found = store.stats(["gs://b/x", "gs://b/nothing", "gs://b/y"])
    assert [item and item.key for item in found] == ["gs://b/x", None, "gs://b/y"]
    assert server.operations().count("get") == 3


def test_several_buckets_are_looked_at_in_one_question(server: GcsServer, store: GcsStore) -> None:
    server.buckets["other"] = Bucket("other")
    names = [f"{number:03d}" for number in range(100)]
    server.fill("b", names)
    server.fill("other", names, b"1")
    found = store.stats([f"gs://{bucket}/{name}" for name in names for bucket in ("other", "b")])
    assert [item.stamp.size for item in found if item] == [1, 0] * 100
    assert server.operations() == ["list", "list"]


def test_the_same_content_written_again_has_another_stamp_and_the_same_fingerprint(
    server: GcsServer, store: GcsStore
) -> None:
    server.put("b", "x", "1")
    before = stamp_of(store, "gs://b/x")
    server.put("b", "x", "1")
    after = stamp_of(store, "gs://b/x")
    assert before != after
    assert store.identity(before) == store.identity(after) == store.fingerprint("gs://b/x")
    server.put("b", "x", "2")
    assert store.fingerprint("gs://b/x") != store.identity(after)


def test_a_patch_of_the_metadata_is_no_change(server: GcsServer, store: GcsStore) -> None:
    server.put("b", "x", "1")
    before = stamp_of(store, "gs://b/x")
    server.patch("b", "x", {"k": "v"})
    assert stamp_of(store, "gs://b/x") == before


def test_an_object_without_md5_has_a_stamp_and_a_fingerprint(server: GcsServer, store: GcsStore) -> None:
    server.put("b", "x", "1", composed=True)
    assert stamp_of(store, "gs://b/x").inode == 0
    assert store.fingerprint("gs://b/x") is not None


def test_marks_count_only_for_the_content_they_came_with(server: GcsServer, store: GcsStore, file: Path) -> None:
    store.publish(str(file), "gs://b/x", None, MARKS)
    found = store.look("gs://b/x")
    assert found is not None
    assert found.marks["duct-fingerprint"] == "f1"
    made = server.get("b", "x")
    assert made is not None
    server.put("b", "x", "other", made.metadata)
    again = store.look("gs://b/x")
    assert again is not None
    assert again.marks == {}


def test_marks_stand_in_listings(store: GcsStore, file: Path) -> None:
    store.publish(str(file), "gs://b/d/x", None, MARKS)
    assert [found.marks["duct-fingerprint"] for found in store.matches("gs://b/d/")] == ["f1"]


def test_a_hundred_thousand_objects_are_listed(server: GcsServer, store: GcsStore) -> None:
    names = [f"d/{number:06d}" for number in range(100_000)]
    server.fill("b", names)
    assert [found.key for found in store.matches("gs://b/d/")] == [f"gs://b/{name}" for name in names]
    assert len(server.log) == 100


def test_matches_can_stay_in_one_folder(server: GcsServer, store: GcsStore) -> None:
    server.fill("b", ["d/", "d/a.csv", "d/sub/x", "d/sub/y", "d/z.csv", "e"])
    assert [found.key for found in store.matches("gs://b/d/", deep=False)] == ["gs://b/d/a.csv", "gs://b/d/z.csv"]
    assert [found.key for found in store.matches("gs://b/d/a")] == ["gs://b/d/a.csv"]
    assert len([*store.matches("gs://b/")]) == 5


# reading


def test_what_is_fetched_is_the_generation_of_the_stamp(server: GcsServer, store: GcsStore, tmp_path: Path) -> None:
    server.put("b", "x", "old")
    stamp = stamp_of(store, "gs://b/x")
    store.fetch("gs://b/x", stamp, str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == b"old"
    server.put("b", "x", "new")
    with pytest.raises(Changed, match="cannot fetch gs://b/x: it was changed or removed since it was judged"):
        store.fetch("gs://b/x", stamp, str(tmp_path / "x"))
    server.drop("b", "x")
    with pytest.raises(Changed):
        store.fetch("gs://b/x", stamp, str(tmp_path / "x"))


def test_an_empty_object_is_fetched(server: GcsServer, store: GcsStore, tmp_path: Path) -> None:
    server.put("b", "x", "")
    store.fetch("gs://b/x", stamp_of(store, "gs://b/x"), str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == b""


def test_a_packed_object_is_fetched_as_it_is_stored(server: GcsServer, store: GcsStore, tmp_path: Path) -> None:
    packed = gzip.compress(b"content")
    server.put("b", "x", packed, content_encoding="gzip")
    store.fetch("gs://b/x", stamp_of(store, "gs://b/x"), str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == packed


def test_a_cut_download_goes_on_behind_what_has_come(
    server: GcsServer, store: GcsStore, told: Told, tmp_path: Path
) -> None:
    data = os.urandom(1 << 20)
    server.put("b", "x", data)
    stamp = stamp_of(store, "gs://b/x")
    server.forget()
    server.fail("media", cut=400_000)
    server.fail("media", cut=300_000)
    store.fetch("gs://b/x", stamp, str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == data
    spans = [request.headers.get("range", request.headers.get("Range", "")) for request in server.log]
    assert spans[0] == ""
    starts = [int(span.removeprefix("bytes=").partition("-")[0]) for span in spans[1:]]
    assert 0 < starts[0] < starts[1]
    assert [retry.verb for retry in told] == ["fetch", "fetch"]


def test_more_cuts_than_tries_are_survived_while_bytes_come(server: GcsServer, store: GcsStore, tmp_path: Path) -> None:
    server.put("b", "x", bytes(1 << 20))
    stamp = stamp_of(store, "gs://b/x")
    server.fail("media", cut=100_000, times=3 * QUICK.tries)
    store.fetch("gs://b/x", stamp, str(tmp_path / "x"))
    assert (tmp_path / "x").stat().st_size == 1 << 20


def test_wrong_bytes_are_fetched_again_and_never_taken(
    server: GcsServer, store: GcsStore, told: Told, tmp_path: Path
) -> None:
    server.put("b", "x", "content")
    stamp = stamp_of(store, "gs://b/x")
    server.fail("media", wrong=True)
    store.fetch("gs://b/x", stamp, str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == b"content"
    assert "checksum" in told[0].reason
    server.fail("media", wrong=True, times=100)
    with pytest.raises(StoreError, match="what arrived is not what"):
        store.fetch("gs://b/x", stamp, str(tmp_path / "x"))


def test_wrong_bytes_before_a_cut_are_noticed(server: GcsServer, store: GcsStore, tmp_path: Path) -> None:
    """The client itself does not check a download that it has resumed."""
    data = os.urandom(500_000)
    server.put("b", "x", data)
    stamp = stamp_of(store, "gs://b/x")
    server.fail("media", cut=200_000, wrong=True)
    store.fetch("gs://b/x", stamp, str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == data


def test_a_full_disk_is_not_taken_for_the_network(server: GcsServer, store: GcsStore, told: Told) -> None:
    server.put("b", "x", bytes(1 << 20))
    with pytest.raises(StoreError, match="cannot write /dev/full: no space left on device"):
        store.fetch("gs://b/x", stamp_of(store, "gs://b/x"), "/dev/full")
    assert told == []


def test_silence_ends_and_is_tried_again(server: GcsServer, told: Told, tmp_path: Path) -> None:
    server.put("b", "x", "content")
    store = GcsStore(dataclasses.replace(settings(server.url), read_timeout=0.3), told)
    stamp = stamp_of(store, "gs://b/x")
    server.fail("media", stall=True)
    server.fail("media", cut=3, stall=True)
    store.fetch("gs://b/x", stamp, str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == b"content"
    assert {retry.reason for retry in told} == {f"{server.url.removeprefix('http://')} does not answer"}
    store.close()


# publishing


def test_what_is_published_is_there_with_its_marks(server: GcsServer, store: GcsStore, file: Path) -> None:
    stamp = store.publish(str(file), "gs://b/x.csv", None, MARKS)
    made = server.get("b", "x.csv")
    assert made is not None
    assert (made.data, made.generation, made.content_type) == (b"content", stamp.mtime_ns, "text/csv")
    assert made.metadata["duct-fingerprint"] == "f1"
    assert made.metadata["duct-digest"] == f"7-{stamp.ctime_ns:08x}"
    assert stamp == store.stat("gs://b/x.csv")
    assert server.operations()[0] == "insert"


def test_the_expected_generation_is_replaced(server: GcsServer, store: GcsStore, file: Path) -> None:
    server.put("b", "x", "old")
    stamp = store.publish(str(file), "gs://b/x", stamp_of(store, "gs://b/x"), MARKS)
    assert content(server, "x") == b"content"
    assert stamp == store.stat("gs://b/x")


def test_a_strangers_write_is_named_and_not_overwritten(server: GcsServer, store: GcsStore, file: Path) -> None:
    old = server.put("b", "x", "old").generation
    expected = stamp_of(store, "gs://b/x")
    new = server.put("b", "x", "stranger").generation
    with pytest.raises(ForeignWrite) as refused:
        store.publish(str(file), "gs://b/x", expected, MARKS)
    assert str(refused.value) == (
        "cannot publish gs://b/x: somebody else changed it meanwhile\n"
        f"  expected generation {old}, found generation {new}; nothing was overwritten\n"
        "  build again: the object that is there now is then judged"
    )
    assert content(server, "x") == b"stranger"


@pytest.mark.parametrize("size", [7, ONE_REQUEST + 1])
def test_what_was_written_or_removed_just_before_is_noticed(
    server: GcsServer, store: GcsStore, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "local"
    path.write_bytes(bytes(size))
    operation = "insert" if size < ONE_REQUEST else "start"
    server.fail(operation, call=lambda: server.put("b", "x", "stranger"))
    with pytest.raises(ForeignWrite, match="expected no object, found generation"):
        store.publish(str(path), "gs://b/x", None, MARKS)
    assert content(server, "x") == b"stranger"
    expected = stamp_of(store, "gs://b/x")
    server.fail(operation, call=lambda: server.drop("b", "x"))
    with pytest.raises(ForeignWrite, match="found no object"):
        store.publish(str(path), "gs://b/x", expected, MARKS)
    assert content(server, "x") is None


def test_a_write_during_an_upload_in_parts_is_noticed(server: GcsServer, store: GcsStore, tmp_path: Path) -> None:
    path = tmp_path / "local"
    path.write_bytes(bytes(ONE_REQUEST + 1))
    server.fail("chunk", call=lambda: server.put("b", "x", "stranger"))
    with pytest.raises(ForeignWrite):
        store.publish(str(path), "gs://b/x", None, MARKS)
    assert content(server, "x") == b"stranger"


def test_of_sixteen_publishers_one_wins(server: GcsServer, store: GcsStore, tmp_path: Path) -> None:
    begin = threading.Barrier(16)
    won: list[int] = []
    lost: list[int] = []

    def publish(number: int) -> None:
        path = tmp_path / str(number)
        path.write_bytes(f"content of {number}".encode())
        begin.wait()
        try:
            store.publish(str(path), "gs://b/x", None, MARKS)
        except ForeignWrite:
            lost.append(number)
        else:
            won.append(number)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 15)
    assert content(server, "x") == f"content of {won[0]}".encode()


@pytest.mark.parametrize("lost", [{"lost": True}, {"status": 503}])
def test_a_lost_answer_is_our_own_write(
    server: GcsServer, store: GcsStore, told: Told, file: Path, lost: dict[str, Any]
) -> None:
    server.fail("insert", after=True, **lost)
    stamp = store.publish(str(file), "gs://b/x", None, MARKS)
    made = server.get("b", "x")
    assert made is not None
    assert made.generation == stamp.mtime_ns
    assert server.operations() == ["insert", "insert", "get"]
    assert len(told) == 1


def test_a_lost_answer_that_was_replaced_since_is_a_strangers(server: GcsServer, store: GcsStore, file: Path) -> None:
    server.fail("insert", lost=True, after=True)
    server.fail("insert", call=lambda: server.put("b", "x", "content", {"duct-attempt": "other"}))
    with pytest.raises(ForeignWrite):
        store.publish(str(file), "gs://b/x", None, MARKS)


def test_a_large_file_goes_up_in_parts_through_every_fault(
    server: GcsServer, store: GcsStore, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miniduct.stores.gcs.store.PART", 4 << 20)
    data = os.urandom(ONE_REQUEST + (1 << 20))
    path = tmp_path / "local"
    path.write_bytes(data)
    server.fail("start", 503)
    server.fail("chunk", 503)
    server.fail("chunk", lost=True)
    store.publish(str(path), "gs://b/x", None, MARKS)
    assert content(server, "x") == data
    assert len(told) == 3
    server.forget()
    expected = store.stat("gs://b/x")
    server.fail("chunk", lost=True, times=1)
    store.publish(str(path), "gs://b/x", expected, MARKS)
    assert content(server, "x") == data


def test_each_part_has_its_own_tries(
    server: GcsServer, store: GcsStore, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miniduct.stores.gcs.store.PART", 4 << 20)
    path = tmp_path / "local"
    path.write_bytes(bytes(ONE_REQUEST + 1))
    parts = iter([3, 3, 3])

    def fail_again() -> None:
        times = next(parts, 0)
        if times:
            server.fail("chunk", 503, times=times - 1)
            server.fail("chunk", call=fail_again)

    server.fail("start", call=fail_again)
    store.publish(str(path), "gs://b/x", None, MARKS)
    assert content(server, "x") == path.read_bytes()
    assert len(told) == 6 > QUICK.tries
    server.fail("chunk", 503, times=QUICK.tries)
    with pytest.raises(StoreError, match="answers 503"):
        store.publish(str(path), "gs://b/y", None, MARKS)


def test_the_answer_to_the_last_part_can_get_lost(server: GcsServer, store: GcsStore, tmp_path: Path) -> None:
    path = tmp_path / "local"
    path.write_bytes(bytes(ONE_REQUEST + 1))
    server.fail("chunk", lost=True, after=True)
    stamp = store.publish(str(path), "gs://b/x", None, MARKS)
    made = server.get("b", "x")
    assert made is not None
    assert made.generation == stamp.mtime_ns


def test_an_upload_in_parts_that_is_gone_begins_anew(server: GcsServer, store: GcsStore, tmp_path: Path) -> None:
    path = tmp_path / "local"
    path.write_bytes(bytes(ONE_REQUEST + 1))
    server.fail("chunk", 410, reason="gone")
    store.publish(str(path), "gs://b/x", None, MARKS)
    assert content(server, "x") == path.read_bytes()


@pytest.mark.parametrize("size", [7, ONE_REQUEST + 1])
def test_bytes_damaged_on_the_way_up_are_sent_again(
    server: GcsServer, store: GcsStore, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "local"
    path.write_bytes(os.urandom(size))
    server.fail("insert" if size < ONE_REQUEST else "chunk", wrong=True)
    store.publish(str(path), "gs://b/x", None, MARKS)
    assert content(server, "x") == path.read_bytes()


def test_bytes_damaged_in_the_store_are_removed_again(server: GcsServer, store: GcsStore, file: Path) -> None:
    server.fail("insert", wrong=True, unchecked=True)
    with pytest.raises(StoreError, match="what arrived is not what"):
        store.publish(str(file), "gs://b/x", None, MARKS)
    assert content(server, "x") is None


@pytest.mark.parametrize("now", [b"", b"CONTENT", b"content and more"])
@pytest.mark.parametrize("size", [7, ONE_REQUEST + 1])
def test_a_file_that_changes_while_it_goes_up_is_not_taken_for_what_it_was(
    server: GcsServer, store: GcsStore, tmp_path: Path, now: bytes, size: int
) -> None:
    path = tmp_path / "local"
    path.write_bytes(b"content".ljust(size, b"."))
    server.fail("insert" if size < ONE_REQUEST else "start", 503, call=lambda: path.write_bytes(now))
    if now.startswith(b"content") and size == 7:
        store.publish(str(path), "gs://b/x", None, MARKS)
        assert content(server, "x") == b"content"
    else:
        with pytest.raises(StoreError):
            store.publish(str(path), "gs://b/x", None, MARKS)
        assert content(server, "x") is None


def test_many_large_files_go_up_with_few_at_once(server: GcsServer, store: GcsStore, tmp_path: Path) -> None:
    path = tmp_path / "local"
    path.write_bytes(bytes(LARGE))
    lock, under_way, most = threading.Lock(), [0], [0]

    def begin() -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.02)
        with lock:
            under_way[0] -= 1

    server.fail("insert", call=begin, times=32)
    threads = [threading.Thread(target=store.publish, args=(str(path), f"gs://b/{n}", None, MARKS)) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.buckets["b"].names) == 32
    assert 1 < most[0] <= LARGE_AT_ONCE


def test_a_file_that_is_gone_is_named(store: GcsStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read .*nothing: no such file"):
        store.publish(str(tmp_path / "nothing"), "gs://b/x", None, MARKS)


# copies and removals


def test_a_copy_moves_no_bytes_here(server: GcsServer, store: GcsStore) -> None:
    server.rewrite_step = 3
    server.put("b", "x", "content", {"other": "1"})
    stamp = stamp_of(store, "gs://b/x")
    server.forget()
    made = store.copy("gs://b/x", stamp, "gs://b/y", None, MARKS)
    assert content(server, "y") == b"content"
    assert server.operations() == ["get", *["rewrite"] * 3]
    assert store.identity(made) == store.identity(stamp)
    found = store.look("gs://b/y")
    assert found is not None
    assert found.marks["duct-fingerprint"] == "f1"


def test_a_copy_is_described_as_its_source(server: GcsServer, store: GcsStore) -> None:
    source = server.put("b", "x", gzip.compress(b"1"), {"other": "1", "duct-old": "1"}, content_encoding="gzip")
    source.content_type = "text/x-own"
    store.copy("gs://b/x", stamp_of(store, "gs://b/x"), "gs://b/y", None, MARKS)
    made = server.get("b", "y")
    assert made is not None
    assert (made.content_type, made.content_encoding) == ("text/x-own", "gzip")
    assert made.metadata.keys() == {"other", "duct-fingerprint", "duct-digest", "duct-attempt"}


def test_a_copy_overwrites_no_stranger_and_copies_none(server: GcsServer, store: GcsStore) -> None:
    server.put("b", "x", "content")
    server.put("b", "y", "stranger")
    stamp = stamp_of(store, "gs://b/x")
    with pytest.raises(ForeignWrite):
        store.copy("gs://b/x", stamp, "gs://b/y", None, MARKS)
    server.put("b", "x", "stranger")
    with pytest.raises(Changed, match="cannot copy gs://b/x"):
        store.copy("gs://b/x", stamp, "gs://b/z", None, MARKS)
    with pytest.raises(StoreError, match="there is no bucket nowhere"):
        store.copy("gs://b/x", stamp_of(store, "gs://b/x"), "gs://nowhere/z", None, MARKS)
    assert content(server, "y") == b"stranger"
    assert content(server, "z") is None


def test_a_copy_whose_answer_got_lost_is_our_own(server: GcsServer, store: GcsStore) -> None:
    server.put("b", "x", "content")
    server.fail("rewrite", lost=True, after=True)
    made = store.copy("gs://b/x", stamp_of(store, "gs://b/x"), "gs://b/y", None, MARKS)
    assert made == store.stat("gs://b/y")


def test_removed_is_only_what_was_judged(server: GcsServer, store: GcsStore) -> None:
    server.put("b", "x", "1")
    stamp = stamp_of(store, "gs://b/x")
    server.put("b", "x", "stranger")
    assert not store.remove("gs://b/x", stamp)
    assert content(server, "x") == b"stranger"
    assert store.remove("gs://b/x", stamp_of(store, "gs://b/x"))
    assert content(server, "x") is None


def test_a_removal_whose_answer_got_lost_is_done(server: GcsServer, store: GcsStore) -> None:
    server.put("b", "x", "1")
    server.fail("delete", lost=True, after=True)
    assert store.remove("gs://b/x", stamp_of(store, "gs://b/x"))
    assert server.operations().count("delete") == 2


# faults of every operation


def publish(store: GcsStore, path: str) -> object:
    return store.publish(path, "gs://b/new", None, MARKS)


OPERATIONS: list[tuple[str, Callable[[GcsStore, str], object]]] = [
    ("get", lambda store, _: store.stat("gs://b/x")),
    ("list", lambda store, _: [*store.matches("gs://b/")]),
    ("list", lambda store, _: store.stats([f"gs://b/{number}" for number in range(100)])),
    ("media", lambda store, path: store.fetch("gs://b/x", stamp_of(store, "gs://b/x"), path + ".new")),
    ("insert", publish),
    ("rewrite", lambda store, _: store.copy("gs://b/x", stamp_of(store, "gs://b/x"), "gs://b/new", None, MARKS)),
    ("delete", lambda store, _: store.remove("gs://b/x", stamp_of(store, "gs://b/x"))),
]


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503, "times": 2},
        {"status": 500},
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"status": 403, "reason": "rateLimitExceeded"},
        {"lost": True},
        {"cut": 0},
        {"cut": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize(("operation", "act"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_what_passes_is_survived(
    server: GcsServer,
    store: GcsStore,
    told: Told,
    file: Path,
    operation: str,
    act: Callable[[GcsStore, str], object],
    fault: dict[str, Any],
) -> None:
    if operation == "delete" and "cut" in fault:
        pytest.skip("the answer has no body")
    if operation == "media" and "reason" in fault:
        pytest.skip("a refusal to send content comes as plain text")
    server.put("b", "x", "content")
    server.fail(operation, **fault)
    act(store, str(file))
    assert server.faults == []
    assert len(told) == fault.get("times", 1)


@pytest.mark.parametrize(
    ("status", "words"), [(503, "answers 503: told to fail"), (404, ""), (403, "permission denied")]
)
@pytest.mark.parametrize(("operation", "act"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_what_stays_is_an_error(
    server: GcsServer,
    store: GcsStore,
    file: Path,
    operation: str,
    act: Callable[[GcsStore, str], object],
    status: int,
    words: str,
) -> None:
    if status == 404 and operation in ("get", "delete"):
        pytest.skip("that is an answer")
    server.put("b", "x", "content")
    words_of_service = "somebody does not have access" if status == 403 else "told to fail"
    server.fail(operation, status, times=1000, message=words_of_service)
    with pytest.raises(StoreError) as refused:
        act(store, str(file))
    assert words in str(refused.value)
    assert content(server, "new") is None


def test_the_wait_is_what_the_service_asks_for(server: GcsServer, store: GcsStore, told: Told) -> None:
    server.put("b", "x", "1")
    server.fail("get", 429, headers={"Retry-After": "1"}, message="slow down")
    store.stat("gs://b/x")
    assert told == [Retry("gs://b/x", "look at", 2, 1.0, told[0].reason)]
    assert told[0].reason.endswith("refuses more requests for now: slow down")


# refusals in words


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as refused:
        act()
    return str(refused.value)


def test_a_missing_right_is_named(server: GcsServer, store: GcsStore, file: Path) -> None:
    server.denied.add("storage.objects.create")
    assert refusal(lambda: publish(store, str(file))) == (
        "cannot publish gs://b/new: permission denied for loader@acme.iam.gserviceaccount.com\n"
        "  grant storage.objects.create on b"
    )


def test_a_missing_bucket_is_told_from_a_missing_object(server: GcsServer, store: GcsStore, file: Path) -> None:
    words = "cannot look at gs://nowhere/x: there is no bucket nowhere\n  create the bucket, or correct its name"
    assert refusal(lambda: store.stat("gs://nowhere/x")) == words
    assert refusal(lambda: store.stats([f"gs://nowhere/{n}" for n in range(99)])).startswith(
        "cannot look at gs://nowhere/"
    )
    assert "no bucket nowhere" in refusal(lambda: store.publish(str(file), "gs://nowhere/x", None, MARKS))
    assert "no bucket nowhere" in refusal(lambda: [*store.matches("gs://nowhere/")])
    server.put("b", "x", "1")
    assert store.stat("gs://b/bucket does not exist") is None
    assert store.stat("gs://b/y") is None
    server.forget()
    assert store.stat("gs://b/z") is None
    assert server.operations() == ["get"]


def test_who_may_not_list_may_still_miss_an_object(server: GcsServer, store: GcsStore) -> None:
    server.denied.add("storage.objects.list")
    assert store.stat("gs://b/x") is None


def test_who_asks_has_to_pay(server: GcsServer, store: GcsStore) -> None:
    server.buckets["b"].requester_pays = True
    server.put("b", "x", "1")
    assert refusal(lambda: store.stat("gs://b/x")) == (
        "cannot look at gs://b/x: the bucket b lets the one who asks pay\n"
        "  name the project to be charged as user_project of b in [stores.gcs]"
    )
    paying = GcsStore(dataclasses.replace(settings(server.url), user_projects={"b": "mine"}))
    assert paying.stat("gs://b/x") is not None
    paying.close()


def test_a_retention_is_named(server: GcsServer, store: GcsStore, file: Path) -> None:
    server.fail("insert", 403, reason="retentionPolicyNotMet", message="not before May")
    assert "does not let the object be changed yet: not before May" in refusal(lambda: publish(store, str(file)))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("gs://", "it names no bucket"),
        ("gs://b", "it names a bucket and no object"),
        ("gs://b/", "it names a bucket and no object"),
        ("gs://b/..", 'an object cannot be called "." or ".."'),
        ("gs://-b/x", "the name of a bucket begins and ends with a letter or a digit"),
        ("gs://b/" + "ä" * 600, "its name has 1,200 bytes, and 1,024 are allowed"),
    ],
)
def test_a_key_that_cannot_be_is_refused(store: GcsStore, key: str, words: str) -> None:
    assert words in refusal(lambda: store.stat(key))


@pytest.mark.parametrize("name", ODD)
def test_any_name_goes_up_and_comes_down(
    server: GcsServer, store: GcsStore, file: Path, tmp_path: Path, name: str
) -> None:
    key = f"gs://b/{name}"
    stamp = store.publish(str(file), key, None, MARKS)
    assert content(server, name) == b"content"
    assert [found.key for found in store.matches(key)] == [key]
    assert [found.stamp for found in store.stats([key, *[f"gs://b/{n}" for n in range(100)]]) if found] == [stamp]
    store.fetch(key, stamp, str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == b"content"
    copy = store.copy(key, stamp, key + "2", None, MARKS)
    assert store.remove(key + "2", copy)
    assert store.remove(key, stamp)
    assert server.buckets["b"].names == []


# without a network, without credentials


def test_nobody_there_is_told_within_seconds() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        store = GcsStore(settings(f"http://127.0.0.1:{taken.getsockname()[1]}"))
        began = time.monotonic()
        words = refusal(lambda: store.stat("gs://b/x"))
        assert time.monotonic() - began < 15
    assert "cannot be reached: connection refused" in words
    assert "check the network" in words
    store.close()


def test_a_host_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = GcsStore(dataclasses.replace(settings(url), read_timeout=60.0, contact_timeout=0.5))
        assert "no answer in time" in refusal(lambda: store.stats([f"gs://b/{n}" for n in range(100)]))
        store.close()


def test_an_unknown_host_is_told() -> None:
    store = GcsStore(settings("http://nowhere.invalid"))
    assert "nowhere.invalid cannot be reached" in refusal(lambda: store.stat("gs://b/x"))
    store.close()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nobody has logged in."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))


@pytest.mark.usefixtures("nobody")
def test_who_has_not_logged_in_is_told_how() -> None:
    store = GcsStore(GcsSettings())
    assert refusal(lambda: store.stat("gs://b/x")) == (
        "cannot look at gs://b/x: there are no credentials for Google Cloud\n"
        '  log in with "gcloud auth application-default login", or name a key file as credentials in [stores.gcs]'
    )
    store.close()


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("text", [None, "not json", "{}", json.dumps({"type": "service_account"})])
def test_a_bad_key_file_is_told(server: GcsServer, tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "key.json"
    if text is not None:
        path.write_text(text)
    store = GcsStore(dataclasses.replace(settings(server.url), credentials=str(path)))
    words = refusal(lambda: store.stat("gs://b/x"))
    assert "the credentials cannot be used: " in words
    assert "check the key file" in words
    store.close()


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture
def with_key(server: GcsServer, tmp_path: Path, private_key: str) -> Iterator[Callable[[str], GcsStore]]:
    """Makes a store that logs in with a key file, at a service for tokens of the test."""
    made: list[GcsStore] = []

    def store(tokens: str) -> GcsStore:
        account = {
            "type": "service_account",
            "client_email": "loader@acme",
            "token_uri": tokens,
            "private_key": private_key,
        }
        (tmp_path / "key.json").write_text(json.dumps(account))
        made.append(GcsStore(dataclasses.replace(settings(server.url), credentials=str(tmp_path / "key.json"))))
        return made[-1]

    yield store
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def tokens() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1", threaded=True) as running:
        yield running


@pytest.fixture
def service(tokens: HTTPServer) -> Iterator[HTTPServer]:
    """Where tokens come from."""
    yield tokens
    tokens.clear()


TOKEN = {"access_token": "t0ken", "expires_in": 3600, "token_type": "Bearer"}


@pytest.mark.usefixtures("nobody")
def test_a_key_file_gives_a_token_that_is_sent(
    server: GcsServer,
    with_key: Callable[[str], GcsStore],
    service: HTTPServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "netrc").write_text("default login me password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    service.expect_request("/token").respond_with_json(TOKEN)
    server.put("b", "x", "1")
    store = with_key(service.url_for("/token"))
    store.fetch("gs://b/x", stamp_of(store, "gs://b/x"), str(tmp_path / "x"))
    sent = [{name.lower(): value for name, value in request.headers.items()} for request in server.log]
    assert [headers.get("authorization") for headers in sent] == ["Bearer t0ken"] * 2
    assert len(service.log) == 1


@pytest.mark.usefixtures("nobody")
def test_a_key_that_was_withdrawn_is_told(with_key: Callable[[str], GcsStore], service: HTTPServer) -> None:
    answer = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    service.expect_request("/token").respond_with_json(answer, status=400)
    words = refusal(lambda: with_key(service.url_for("/token")).stat("gs://b/x"))
    assert "the credentials cannot be used: " in words
    assert "Invalid JWT Signature" in words


@pytest.mark.usefixtures("nobody")
def test_a_service_for_tokens_that_is_not_there_is_told(with_key: Callable[[str], GcsStore]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        words = refusal(lambda: with_key(f"http://127.0.0.1:{taken.getsockname()[1]}/token").stat("gs://b/x"))
    assert "the service for credentials cannot be reached: connection refused" in words


@pytest.mark.usefixtures("nobody")
def test_a_token_that_is_refused_is_told(
    server: GcsServer, with_key: Callable[[str], GcsStore], service: HTTPServer
) -> None:
    service.expect_request("/token").respond_with_json(TOKEN)
    server.fail("get", 401, times=10, reason="authError", message="Invalid Credentials")
    words = refusal(lambda: with_key(service.url_for("/token")).stat("gs://b/x"))
    assert "does not accept the credentials (answer 401)" in words


@pytest.mark.usefixtures("nobody")
def test_a_token_that_is_not_accepted_is_told(server: GcsServer, store: GcsStore) -> None:
    server.fail("get", 401, times=10, reason="required", message="Login Required")
    assert "there are no credentials for Google Cloud" in refusal(lambda: store.stat("gs://b/x"))


def test_an_entry_for_the_host_in_netrc_is_not_sent(
    server: GcsServer, store: GcsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password hidden\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.put("b", "x", "1")
    store.stat("gs://b/x")
    assert not any(name.lower() == "authorization" for name in server.log[0].headers)


# the end


def test_closing_ends_what_waits(server: GcsServer) -> None:
    waiting = threading.Event()
    store = GcsStore(settings(server.url, Patience(total=600, first=300, most=300)), lambda _: waiting.set())
    server.put("b", "x", "1")
    stamp_of(store, "gs://b/x")
    server.fail("get", 503, times=10)
    ends: list[str] = []
    thread = threading.Thread(target=lambda: ends.append(refusal(lambda: store.stat("gs://b/x"))))
    thread.start()
    assert waiting.wait(30)
    store.close()
    thread.join(30)
    assert ends == ["cannot look at gs://b/x: the build has ended"]


@pytest.mark.parametrize("operation", ["get", "list", "media", "insert", "rewrite"])
def test_closing_ends_what_is_under_way(server: GcsServer, store: GcsStore, file: Path, operation: str) -> None:
    begun = threading.Event()
    server.put("b", "x", "1")
    stamp_of(store, "gs://b/x")
    server.fail(operation, call=begun.set, stall=True)
    act = next(act for name, act in OPERATIONS if name == operation)
    ends: list[str] = []
    thread = threading.Thread(target=lambda: ends.append(refusal(lambda: act(store, str(file)))))
    thread.start()
    assert begun.wait(30)
    began = time.monotonic()
    store.close()
    thread.join(30)
    assert time.monotonic() - began < 4, "it waited until the time for silence was over"
    assert "the build has ended" in ends[0]


def test_no_bucket_is_asked_for_behind_our_back(server: GcsServer, store: GcsStore, file: Path) -> None:
    publish(store, str(file))
    stamp = stamp_of(store, "gs://b/new")
    store.fetch("gs://b/new", stamp, str(file))
    store.remove("gs://b/new", stamp)
    assert set(server.operations()) == {"insert", "get", "media", "delete"}
