"""Steps that fetch from the web and upload to a bucket, and what comes after them; the clients by themselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gcs_server import GcsServer
from miniduct import CopyStep, GCSClient, GCSUploadStep, HttpClient, HttpGetStep, PipelineBuilder, PythonStep
from miniduct.errors import PlanError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_httpserver import HTTPServer


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer("acme") as found:
        yield found


def count_rows(path: str) -> int:
    with open(path) as file:
        return len(file.readlines())


def daily(root: Path, httpserver: HTTPServer, server: GcsServer) -> tuple[PipelineBuilder, PythonStep]:
    fetch = HttpGetStep(httpserver.url_for("/day.csv"), target="raw/day.csv", name="fetch", retries=3, backoff=2.0)
    count = PythonStep(count_rows, name="count")
    store = GCSUploadStep("raw/day.csv", target="gs://acme/day.csv", name="store")
    fetch >> [count, store]
    pipeline = PipelineBuilder("daily", root=str(root), stores={"gcs": {"endpoint": server.url}})
    pipeline.add_steps(fetch, count, store)
    return pipeline, count


def test_a_day_is_fetched_counted_and_stored(tmp_path: Path, httpserver: HTTPServer, server: GcsServer) -> None:
    httpserver.expect_request("/day.csv").respond_with_data("a\nb\n")
    pipeline, count = daily(tmp_path, httpserver, server)
    results = pipeline.execute()
    assert results[count].value == 2
    assert results["store"].paths == ("gs://acme/day.csv",)
    stored = server.get("acme", "day.csv")
    assert stored is not None
    assert stored.data == b"a\nb\n"
    again, count = daily(tmp_path, httpserver, server)
    results = again.execute()
    assert {results[name].status for name in ("fetch", "count", "store")} == {"up to date"}
    assert results[count].value == 2


def test_a_step_after_an_object_is_given_a_local_path(tmp_path: Path, server: GcsServer) -> None:
    server.put("acme", "in.csv", "1\n2\n3\n")
    move = CopyStep("gs://acme/in.csv", target="gs://acme/out.csv", name="move")
    count = PythonStep(count_rows, name="count")
    move >> count
    pipeline = PipelineBuilder("far", root=str(tmp_path), stores={"gcs": {"endpoint": server.url}})
    pipeline.add_steps(move, count)
    assert pipeline.execute()[count].value == 3


@pytest.mark.parametrize(
    ("source", "target", "what"),
    [
        ("https://me:secret@example.com/a", "a", "has an address with a secret in it"),
        ("a", "https://example.com/a", "addresses of the web can only be read"),
        ("gs://acme", "a", "it names no object"),
        ("s3://acme/a", "a", "has a key of s3://, which is not supported"),
        ("folder/", "a", "has one key as its inputs"),
    ],
)
def test_what_cannot_be_copied_is_told_before_anything_runs(
    tmp_path: Path, source: str, target: str, what: str
) -> None:
    pipeline = PipelineBuilder("wrong", root=str(tmp_path))
    pipeline.add_step(CopyStep(source, target=target, name="copy"))
    with pytest.raises(PlanError, match=what) as caught:
        pipeline.execute()
    assert "me:secret" not in str(caught.value)


def test_the_client_of_buckets(tmp_path: Path, server: GcsServer) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one\n")
    with GCSClient(endpoint=server.url) as client:
        assert not client.exists("gs://acme/a.txt")
        first = client.upload(file, "gs://acme/a.txt")
        file.write_text("two\n")
        assert client.upload(file, "gs://acme/a.txt") != first
        assert client.list("gs://acme/") == ["gs://acme/a.txt"]
        assert client.download("gs://acme/a.txt", tmp_path / "down" / "b.txt") == str(tmp_path / "down" / "b.txt")
        assert (tmp_path / "down" / "b.txt").read_text() == "two\n"
        with pytest.raises(StoreError, match="it is not there"):
            client.download("gs://acme/none", tmp_path / "none")
    assert os.listdir(tmp_path / "down") == ["b.txt"]


def test_the_client_of_the_web(tmp_path: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/x").respond_with_data("content")
    with HttpClient() as client:
        assert client.get(httpserver.url_for("/x"), tmp_path / "x") == str(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "content"
