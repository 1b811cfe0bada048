"""The server of the tests is itself tested, by the client that it is there for."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import storage

import gcs_server
from gcs_server import GcsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer("b", page=10) as running:
        yield running


@pytest.fixture
def bucket(server: GcsServer) -> Iterator[Any]:
    client = connected(server.url)
    yield client.bucket("b")
    client.close()


def connected(url: str) -> Any:
    client = storage.Client(project="p", client_options={"api_endpoint": url}, use_auth_w_custom_endpoint=False)
    client._bucket_metadata_cache = None
    return client


def names(found: Any) -> list[str]:
    return [blob.name for blob in found]


def test_what_goes_up_comes_down_with_its_metadata(server: GcsServer, bucket: Any) -> None:
    blob = bucket.blob("a/ü #?*.csv")
    blob.metadata = {"duct-fingerprint": "f"}
    blob.upload_from_string(b"content", if_generation_match=0, retry=None)
    again = bucket.get_blob("a/ü #?*.csv")
    assert (again.size, again.metadata, again.generation) == (7, {"duct-fingerprint": "f"}, blob.generation)
    assert again.md5_hash is not None
    assert again.download_as_bytes(checksum="crc32c", retry=None) == b"content"
    assert server.operations() == ["insert", "get", "media"]


@pytest.mark.parametrize("size", [9_000_000, 8 * 1024 * 1024 + 1])
def test_a_resumable_upload_arrives_whole(server: GcsServer, bucket: Any, size: int) -> None:
    data = os.urandom(size)
    blob = bucket.blob("big")
    blob.chunk_size = 4 * 1024 * 1024
    blob.upload_from_file(io.BytesIO(data), size=size, if_generation_match=0, retry=None)
    assert server.buckets["b"].objects["big"].data == data
    assert server.operations() == ["start", *["chunk"] * 3]


def test_a_page_ends_and_the_next_goes_on(server: GcsServer, bucket: Any) -> None:
    server.fill("b", [f"d/{number:03d}" for number in range(25)] + ["c", "e"])
    found = names(bucket.list_blobs(prefix="d/", fields="items(name,metadata),nextPageToken", retry=None))
    assert found == [f"d/{number:03d}" for number in range(25)]
    assert server.operations() == ["list"] * 3


def test_offsets_and_a_delimiter_narrow_a_listing(server: GcsServer, bucket: Any) -> None:
    server.fill("b", ["a/1", "a/2/x", "a/2/y", "a/3", "a/4"])
    assert names(bucket.list_blobs(start_offset="a/2/y", end_offset="a/4", retry=None)) == ["a/2/y", "a/3"]
    listed = bucket.list_blobs(prefix="a/", delimiter="/", retry=None)
    assert names(listed) == ["a/1", "a/3", "a/4"]
    assert listed.prefixes == {"a/2/"}


def test_of_racing_creators_one_wins(server: GcsServer, bucket: Any) -> None:
    wins: list[int] = []
    begin = threading.Barrier(16)

    def create(number: int) -> None:
        begin.wait()
        try:
            bucket.blob("x").upload_from_string(str(number), if_generation_match=0, retry=None)
        except exceptions.PreconditionFailed:
            return
        wins.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert server.buckets["b"].objects["x"].data == str(wins[0]).encode()


def test_preconditions_hold_for_every_operation(server: GcsServer, bucket: Any) -> None:
    made = server.put("b", "x", "1")
    blob = bucket.blob("x")
    failing: list[Callable[[], Any]] = [
        lambda: blob.upload_from_string("2", if_generation_match=1, retry=None),
        lambda: blob.upload_from_file(io.BytesIO(bytes(9_000_000)), size=9_000_000, if_generation_match=1, retry=None),
        lambda: blob.delete(if_generation_match=1, retry=None),
        lambda: blob.reload(if_metageneration_match=7, retry=None),
        lambda: bucket.blob("y").rewrite(blob, if_generation_match=1, retry=None),
        lambda: blob.download_as_bytes(if_generation_match=1, retry=None),
    ]
    for refused in failing:
        with pytest.raises(exceptions.PreconditionFailed):
            refused()
    unchanged: list[Callable[[], Any]] = [
        lambda: blob.reload(if_generation_not_match=made.generation, retry=None),
        lambda: blob.upload_from_string("2", if_metageneration_not_match=1, retry=None),
    ]
    for operation in unchanged:
        with pytest.raises(exceptions.NotModified):
            operation()
    assert server.get("b", "x") is made


def test_a_patch_changes_the_metageneration_only(server: GcsServer, bucket: Any) -> None:
    made = server.put("b", "x", "1")
    blob = bucket.get_blob("x")
    blob.metadata = {"k": "v"}
    blob.patch(retry=None)
    assert (blob.generation, blob.metageneration, made.metadata) == (made.generation, 2, {"k": "v"})


def test_another_generation_is_not_there(server: GcsServer, bucket: Any) -> None:
    old = server.put("b", "x", "1").generation
    server.put("b", "x", "2")
    with pytest.raises(exceptions.NotFound):
        bucket.blob("x", generation=old).download_as_bytes(retry=None)


def test_a_range_gives_the_rest(server: GcsServer, bucket: Any) -> None:
    server.put("b", "x", "0123456789")
    assert bucket.blob("x").download_as_bytes(start=7, raw_download=True, checksum=None, retry=None) == b"789"
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        bucket.blob("x").download_as_bytes(start=10, raw_download=True, checksum=None, retry=None)


def test_a_copy_on_the_server_goes_on_where_it_was(server: GcsServer, bucket: Any) -> None:
    server.rewrite_step = 4
    server.put("b", "x", "0123456789", {"k": "v"}, composed=True)
    target, token, steps = bucket.blob("y"), None, 0
    target.metadata = {"mine": "1"}
    while steps == 0 or token:
        token, _, _ = target.rewrite(bucket.blob("x"), token=token, if_generation_match=0, retry=None)
        steps += 1
    made = server.get("b", "y")
    assert made is not None
    assert (steps, made.data, made.metadata, made.md5) == (3, b"0123456789", {"mine": "1"}, None)


def test_wrong_bytes_are_refused_when_a_checksum_came_along(server: GcsServer, bucket: Any) -> None:
    server.fail("insert", wrong=True)
    with pytest.raises(exceptions.BadRequest):
        bucket.blob("x").upload_from_string("1", checksum="crc32c", retry=None)
    assert server.get("b", "x") is None


def test_an_answer_lost_after_the_commit_leaves_the_object(server: GcsServer, bucket: Any) -> None:
    server.fail("insert", lost=True, after=True)
    with pytest.raises(requests.ConnectionError):
        bucket.blob("x").upload_from_string("1", retry=None)
    assert server.get("b", "x") is not None
    assert [request.status for request in server.log] == [0]
    server.fail("insert", 503, after=True)
    with pytest.raises(exceptions.ServiceUnavailable):
        bucket.blob("y").upload_from_string("1", retry=None)
    assert server.get("b", "y") is not None


def test_a_fault_before_the_commit_leaves_nothing(server: GcsServer, bucket: Any) -> None:
    server.fail("insert", 429, headers={"Retry-After": "3"}, name="x")
    server.put("b", "z", "1")
    bucket.blob("y").upload_from_string("1", retry=None)
    with pytest.raises(exceptions.TooManyRequests) as refused:
        bucket.blob("x").upload_from_string("1", retry=None)
    assert refused.value.response.headers["Retry-After"] == "3"
    assert server.get("b", "x") is None
    assert server.faults == []


def test_a_body_can_be_cut(server: GcsServer, bucket: Any) -> None:
    server.put("b", "x", bytes(1000))
    server.fail("media", cut=10)
    with pytest.raises(requests.exceptions.RequestException):
        bucket.blob("x").download_as_bytes(retry=None)
    assert bucket.blob("x").download_as_bytes(retry=None) == bytes(1000)


def test_missing_buckets_and_missing_rights_are_told_apart(server: GcsServer, bucket: Any) -> None:
    with pytest.raises(exceptions.NotFound, match="bucket does not exist"):
        list(bucket.client.list_blobs("nowhere", retry=None))
    server.denied.add("storage.objects.get")
    with pytest.raises(exceptions.Forbidden, match=r"storage\.objects\.get"):
        bucket.get_blob("x", retry=None)
    server.buckets["b"].requester_pays = True
    with pytest.raises(exceptions.BadRequest, match="requester pays"):
        list(bucket.list_blobs(retry=None))
    assert list(bucket.client.bucket("b", user_project="me").list_blobs(retry=None)) == []


def test_it_runs_as_a_program_until_its_input_ends() -> None:
    command = [sys.executable, gcs_server.__file__, "b"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        client = connected(process.stdout.readline().strip())
        client.bucket("b").blob("x").upload_from_string("1", retry=None)
        client.close()
        process.communicate()
    assert process.returncode == 0
