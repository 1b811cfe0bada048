"""Keys in buckets and on the web, through the command: what runs, what is asked, what becomes of faults, strangers and kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from gcs_server import GcsServer
from support import REPOSITORY, Sandbox, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support import Result

RAN = "printf '%s\\0' {} >> \"$RUNS\"; "
"""At the head of a command: tells that a job ran."""


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer("b", "c") as running:
        yield running


@pytest.fixture
def cloud(box: Sandbox, server: GcsServer) -> Sandbox:
    """A project whose buckets are those of the server."""
    return connect(box, server)


def connect(box: Sandbox, server: GcsServer) -> Sandbox:
    box.env["STORAGE_EMULATOR_HOST"] = server.url
    box.env["NO_PROXY"] = "127.0.0.1,localhost"
    return box


@pytest.fixture(scope="module")
def running() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1", threaded=True) as web:
        yield web


@pytest.fixture
def web(running: HTTPServer) -> Iterator[HTTPServer]:
    yield running
    running.clear()


def content(server: GcsServer, name: str, bucket: str = "b") -> bytes | None:
    found = server.get(bucket, name)
    return None if found is None else found.data


def up(box: Sandbox, text: str = "content") -> None:
    """A project that makes one object of one file."""
    box.files({"a.txt": text})
    box.ductfile(
        f"""
        [step.up]
        inputs = "a.txt"
        targets = "gs://b/out/a.txt"
        run = '''{RAN.format("up")}cp {{input}} {{target}}'''
        """
    )


def down(box: Sandbox, server: GcsServer, data: bytes | str = "content") -> None:
    """A project that makes one file of one object."""
    server.put("b", "in/a.txt", data)
    box.ductfile(
        f"""
        [step.down]
        inputs = "gs://b/in/a.txt"
        targets = "a.txt"
        run = '''{RAN.format("down")}cp {{input}} {{target}}'''
        """
    )


# what runs


def test_a_target_in_a_bucket_is_made_once(cloud: Sandbox, server: GcsServer) -> None:
    up(cloud)
    cloud.build()
    assert cloud.ran() == ["up"]
    assert content(server, "out/a.txt") == b"content"
    cloud.nothing_to_do()
    cloud.files({"a.txt": "changed"})
    cloud.build()
    assert cloud.ran() == ["up"]
    assert content(server, "out/a.txt") == b"changed"
    cloud.nothing_to_do()


def test_a_target_of_an_input_that_changed_meanwhile_tells_nobody_what_it_was_made_of(
    cloud: Sandbox, server: GcsServer
) -> None:
    up(cloud)
    cloud.ductfile(cloud.read("Ductfile").replace("cp {input} {target}", "cp {input} {target}; echo more >> a.txt"))
    result = cloud.build()
    made = server.get("b", "out/a.txt")
    assert made is not None
    assert "an input changed while up ran" in result.err
    assert "duct-fingerprint" not in made.metadata


def test_an_object_is_an_input_whose_content_counts(cloud: Sandbox, server: GcsServer) -> None:
    down(cloud, server)
    cloud.build()
    assert cloud.read("a.txt") == "content"
    assert cloud.ran() == ["down"]
    server.put("b", "in/a.txt", "content")
    cloud.nothing_to_do()
    server.patch("b", "in/a.txt", {"k": "v"})
    cloud.nothing_to_do()
    server.put("b", "in/a.txt", "changed")
    cloud.build()
    assert cloud.ran() == ["down"]
    assert cloud.read("a.txt") == "changed"
    cloud.nothing_to_do()


def test_a_chain_through_a_bucket_stops_where_nothing_changes(cloud: Sandbox, server: GcsServer) -> None:
    cloud.files({"a.txt": "one\ntwo\n"})
    cloud.ductfile(
        f"""
        [step.first]
        inputs = "a.txt"
        targets = "gs://b/first"
        run = '''{RAN.format("first")}head -n 1 {{input}} > {{target}}'''

        [step.second]
        inputs = "gs://b/first"
        targets = "gs://c/second"
        run = '''{RAN.format("second")}cat {{input}} {{input}} > {{target}}'''

        [step.third]
        inputs = "gs://c/second"
        targets = "third"
        run = '''{RAN.format("third")}cp {{input}} {{target}}'''
        """
    )
    cloud.build()
    assert cloud.ran() == ["first", "second", "third"]
    assert cloud.read("third") == "one\none\n"
    cloud.nothing_to_do()
    cloud.files({"a.txt": "one\nother\n"})
    cloud.build()
    assert cloud.ran() == ["first"]
    assert content(server, "second", "c") == b"one\none\n"
    cloud.nothing_to_do()


def test_wildcards_and_globs_hold_for_objects(cloud: Sandbox, server: GcsServer) -> None:
    for name in ("raw/1.csv", "raw/2.csv", "raw/.hidden.csv", "raw/sub/3.csv", "raw/x.txt"):
        server.put("b", name, name)
    cloud.ductfile(
        f"""
        [step.clean]
        inputs = "gs://b/raw/{{day}}.csv"
        targets = "gs://b/clean/{{day}}.csv"
        run = '''{RAN.format("{day}")}cp {{input}} {{target}}'''

        [step.all]
        inputs = "gs://b/clean/*.csv"
        targets = "all.txt"
        run = '''{RAN.format("all")}cat {{inputs}} > {{target}}'''
        """
    )
    cloud.build()
    assert cloud.ran() == ["1", "2", "all"]
    assert cloud.read("all.txt") == "raw/1.csvraw/2.csv"
    cloud.nothing_to_do()
    server.put("b", "raw/4.csv", "4")
    cloud.build()
    assert cloud.ran() == ["4", "all"]
    cloud.nothing_to_do()


def test_a_machine_without_state_sees_what_is_up_to_date(cloud: Sandbox, server: GcsServer, tmp_path: Path) -> None:
    up(cloud)
    cloud.build()
    cloud.ran()
    server.forget()
    other = connect(Sandbox(str(tmp_path / "other")), server)
    up(other)
    other.nothing_to_do()
    assert "insert" not in server.operations()
    other.files({"a.txt": "changed"})
    other.build()
    assert other.ran() == ["up"]
    assert content(server, "out/a.txt") == b"changed"


def test_a_machine_without_state_sees_that_inputs_have_other_names(cloud: Sandbox, server: GcsServer) -> None:
    cloud.files({"in/a": "same"})
    cloud.ductfile(
        """
        [step.list]
        inputs = "in/*"
        targets = "gs://b/list"
        run = "ls in > {target}"
        """
    )
    cloud.build()
    cloud.rename("in/a", "in/b")
    cloud.remove(".duct")
    cloud.build()
    assert content(server, "list") == b"b\n"


def test_a_target_in_a_bucket_grows_old(cloud: Sandbox) -> None:
    cloud.files({"a": "1"})
    cloud.ductfile(
        f"""
        [step.up]
        inputs = "a"
        targets = "gs://b/a"
        run = '''{RAN.format("up")}cp {{input}} {{target}}'''
        max_age = "1s"
        """
    )
    cloud.build()
    ended = time.time()
    assert cloud.ran() == ["up"]
    wait_for(lambda: time.time() > ended + 1.1, "the target to be too old")
    cloud.build()
    assert cloud.ran() == ["up"]


def test_uri_placeholders_move_no_bytes(cloud: Sandbox, server: GcsServer) -> None:
    server.put("b", "in", "content")
    cloud.ductfile(
        """
        [step.tell]
        inputs = "gs://b/in"
        targets = "told"
        run = "printf %s {input.uri} > {target}"
        """
    )
    cloud.build()
    assert cloud.read("told") == "gs://b/in"
    assert "media" not in server.operations()


def test_copies_go_everywhere(cloud: Sandbox, server: GcsServer, web: HTTPServer) -> None:
    web.expect_request("/page").respond_with_data("page")
    cloud.files({"local": "local"})
    cloud.ductfile(
        f"""
        [step.up]
        inputs = "local"
        targets = "gs://b/up"
        copy = true

        [step.across]
        inputs = "gs://b/up"
        targets = "gs://c/across"
        copy = true

        [step.down]
        inputs = "gs://c/across"
        targets = "down"
        copy = true

        [step.from-web]
        inputs = "{web.url_for("/page")}"
        targets = "page"
        copy = true

        [step.web-up]
        inputs = "{web.url_for("/page")}"
        targets = "gs://b/page"
        copy = true
        """
    )
    cloud.build()
    assert cloud.read("down") == "local"
    assert cloud.read("page") == "page"
    assert content(server, "page") == b"page"
    assert content(server, "across", "c") == b"local"
    assert server.operations().count("rewrite") == 1
    assert "nothing to do" in cloud.build().err.lower()


# how many requests


@pytest.mark.parametrize(("count", "most"), [(1000, 2), (3000, 5)])
def test_many_targets_are_judged_with_few_requests(cloud: Sandbox, server: GcsServer, count: int, most: int) -> None:
    cloud.files({f"raw/{number:05d}": "" for number in range(count)})
    cloud.ductfile(
        """
        [step.up]
        inputs = "raw/{n}"
        targets = "gs://b/out/{n}"
        run = "touch -- {targets}"
        batch = 500
        """
    )
    cloud.build(timeout=600)
    assert len(server.buckets["b"].names) == count
    server.forget()
    result = cloud.build()
    assert "nothing to do" in result.err.lower()
    assert len(server.log) <= most
    assert set(server.operations()) == {"list"}


def test_a_hundred_thousand_objects_are_listed_for_the_few_that_match(cloud: Sandbox, server: GcsServer) -> None:
    server.fill("b", [f"raw/{number:06d}.txt" for number in range(100_000)])
    server.put("b", "raw/x.csv", "content")
    cloud.ductfile(
        """
        [step.down]
        inputs = "gs://b/raw/{n}.csv"
        targets = "out/{n}"
        run = "cp {input} {target}"
        """
    )
    cloud.build()
    assert cloud.tree("out") == {"out/x": b"content"}


def test_local_files_alone_import_no_client(box: Sandbox) -> None:
    box.files({"a": "1"})
    box.ductfile('[step.b]\ninputs = "a"\ntargets = "b"\nrun = "cp {input} {target}"\n')
    box.env["PYTHONPROFILEIMPORTTIME"] = "1"
    result = box.build()
    for name in ("requests", "google.auth", "google.cloud.storage", "urllib3"):
        assert f" {name}\n" not in result.err


# faults


def faulty(box: Sandbox, server: GcsServer) -> None:
    """A project whose build makes every kind of request."""
    for number in range(100):
        server.put("b", f"many/{number:03d}", str(number))
    server.put("b", "in/a.txt", "content")
    box.ductfile(
        """
        [step.up]
        inputs = "gs://b/in/a.txt"
        targets = "gs://b/out/a.txt"
        run = "cp {input} {target}"

        [step.across]
        inputs = "gs://b/in/a.txt"
        targets = "gs://c/a.txt"
        copy = true

        [step.count]
        inputs = "gs://b/many/*"
        targets = "count"
        run = "cat {inputs} | wc -c > {target}"
        """
    )


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503, "times": 2},
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"lost": True},
        {"cut": 3},
    ],
    ids=["503", "429", "reset", "cut"],
)
def test_what_passes_is_survived_and_told(cloud: Sandbox, server: GcsServer, fault: dict[str, Any]) -> None:
    faulty(cloud, server)
    for operation in ("list", "get", "media", "insert", "rewrite"):
        server.fail(operation, **fault)
    result = cloud.build()
    assert server.faults == []
    assert content(server, "out/a.txt") == b"content"
    assert content(server, "a.txt", "c") == b"content"
    assert cloud.read("count").strip() == "190"
    for verb in ("list", "look at", "fetch", "publish", "copy"):
        assert f"warning: cannot {verb} gs://" in result.err
    cloud.nothing_to_do()


@pytest.mark.parametrize("args", [("build",), ("build", "-n")])
def test_a_new_try_is_told_while_it_is_waited_for(cloud: Sandbox, server: GcsServer, args: tuple[str, ...]) -> None:
    down(cloud, server)
    server.fail("get", 429, headers={"Retry-After": "50"})
    process = cloud.start(*args)
    assert process.stderr is not None
    told = b"".join(process.stderr.readline() for _ in range(3)).decode()
    assert process.poll() is None
    cloud.kill_everything()
    process.communicate()
    assert "cannot look at gs://b/in/a.txt yet" in told
    assert "try 2 in 50 s" in told


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        *[(operation, status) for operation in ("list", "media", "insert", "rewrite") for status in (403, 404)],
        ("insert", 503),
    ],
)
def test_what_stays_is_an_error_and_touches_nothing(
    cloud: Sandbox, server: GcsServer, operation: str, status: int
) -> None:
    faulty(cloud, server)
    cloud.files({"count": "of the user"})
    server.fail(operation, status, times=10_000, message="somebody does not have access", reason="forbidden")
    result = cloud.expect(
        1, "build", "up" if operation in ("media", "insert") else "across" if operation == "rewrite" else "count"
    )
    assert "gs://" in result.err
    assert cloud.read("count") == "of the user"
    assert content(server, "out/a.txt") is None
    assert content(server, "a.txt", "c") is None


def test_local_targets_stay_as_they_were_when_an_upload_fails(cloud: Sandbox, server: GcsServer) -> None:
    cloud.files({"a.txt": "1"})
    cloud.ductfile(
        """
        [step.both]
        inputs = "a.txt"
        targets = ["local", "gs://b/remote"]
        run = "cp {input} {targets[0]}; cp {input} {targets[1]}"
        """
    )
    cloud.build()
    cloud.files({"a.txt": "2"})
    server.denied.add("storage.objects.create")
    result = cloud.expect(1, "build")
    assert "storage.objects.create" in result.err
    assert cloud.read("local") == "1"
    assert content(server, "remote") == b"1"
    server.denied.clear()
    cloud.build()
    assert cloud.read("local") == "2"
    assert content(server, "remote") == b"2"


@pytest.mark.parametrize("fault", [{"lost": True}, {"status": 503}], ids=["reset", "503"])
def test_an_answer_lost_after_the_commit_is_a_success(cloud: Sandbox, server: GcsServer, fault: dict[str, Any]) -> None:
    up(cloud)
    server.fail("insert", after=True, **fault)
    cloud.build()
    made = server.get("b", "out/a.txt")
    assert made is not None
    cloud.ran()
    cloud.nothing_to_do()
    assert server.get("b", "out/a.txt") is made


def test_wrong_bytes_are_never_seen(cloud: Sandbox, server: GcsServer) -> None:
    down(cloud, server)
    server.fail("media", wrong=True)
    cloud.build()
    assert cloud.read("a.txt") == "content"
    server.put("b", "in/a.txt", "changed")
    server.fail("media", wrong=True, times=10_000)
    result = cloud.expect(1, "build")
    assert "what arrived is not what" in result.err
    assert cloud.read("a.txt") == "content"


def test_an_object_overwritten_meanwhile_is_not_overwritten_again(cloud: Sandbox, server: GcsServer) -> None:
    up(cloud)
    cloud.build()
    before = server.get("b", "out/a.txt")
    assert before is not None
    cloud.files({"a.txt": "changed"})
    server.fail("insert", call=lambda: server.put("b", "out/a.txt", "stranger"))
    result = cloud.expect(1, "build")
    after = server.get("b", "out/a.txt")
    assert after is not None
    assert after.data == b"stranger"
    assert str(before.generation) in result.err
    assert str(after.generation) in result.err


def test_an_object_that_duct_did_not_make_is_kept_before_it_is_replaced(cloud: Sandbox, server: GcsServer) -> None:
    up(cloud)
    server.put("b", "out/a.txt", "stranger")
    result = cloud.build()
    assert "gs://b/out/a.txt was not what duct made" in result.err
    (kept,) = os.listdir(cloud.path(".duct/kept"))
    assert cloud.read(f".duct/kept/{kept}") == "stranger"
    assert content(server, "out/a.txt") == b"content"


def test_an_object_removed_before_it_is_read_fails_its_job(cloud: Sandbox, server: GcsServer) -> None:
    down(cloud, server)
    server.fail("media", call=lambda: server.drop("b", "in/a.txt"))
    result = cloud.expect(1, "build")
    assert "gs://b/in/a.txt" in result.err
    assert not cloud.exists("a.txt")


def test_of_sixteen_builds_one_wins_and_the_others_say_so(server: GcsServer, tmp_path: Path) -> None:
    meet = threading.Barrier(16)
    server.fail("insert", call=lambda: meet.wait(60), times=16)
    boxes = [connect(Sandbox(str(tmp_path / str(number))), server) for number in range(16)]
    for number, box in enumerate(boxes):
        up(box, f"content of {number}\n" * 1000)
    processes = [box.start("build") for box in boxes]
    results = [box.finish(process, 120) for box, process in zip(boxes, processes)]
    winners = [number for number, result in enumerate(results) if result.code == 0]
    assert len(winners) == 1, [str(result) for result in results]
    assert content(server, "out/a.txt") == f"content of {winners[0]}\n".encode() * 1000
    made = server.get("b", "out/a.txt")
    assert made is not None
    for number, result in enumerate(results):
        if number not in winners:
            assert result.code == 1
            assert str(made.generation) in result.err


def killed(box: Sandbox, server: GcsServer, operation: str, **fault: Any) -> None:
    """Start a build and kill everything while a request of this operation is under way."""
    begun = threading.Event()
    server.fail(operation, call=begun.set, **fault)
    process = box.start("build")
    wait_for(begun.is_set, f"the operation {operation}")
    box.kill_everything()
    process.communicate()


@pytest.mark.parametrize("size", [7, 9_000_000])
def test_a_kill_in_the_middle_of_an_upload_leaves_nothing(cloud: Sandbox, server: GcsServer, size: int) -> None:
    up(cloud, "x" * size)
    killed(cloud, server, "insert" if size < 8_000_000 else "chunk", stall=True)
    assert content(server, "out/a.txt") is None
    cloud.ran()
    cloud.build()
    assert cloud.ran() == ["up"]
    assert content(server, "out/a.txt") == b"x" * size
    cloud.nothing_to_do()


def test_a_kill_between_the_upload_and_its_record_runs_nothing_again(cloud: Sandbox, server: GcsServer) -> None:
    up(cloud)
    gate = threading.Event()
    server.fail("insert", lost=True, after=True)
    server.fail("insert", call=gate.set, stall=True)
    process = cloud.start("build")
    wait_for(gate.is_set, "the second try of the upload")
    cloud.kill_everything()
    process.communicate()
    assert content(server, "out/a.txt") == b"content"
    assert cloud.ran() == ["up"]
    cloud.nothing_to_do()


def test_a_kill_in_the_middle_of_a_download_leaves_no_half(cloud: Sandbox, server: GcsServer) -> None:
    data = os.urandom(2_000_000)
    down(cloud, server, data)
    killed(cloud, server, "media", cut=1_000_000, stall=True)
    assert not cloud.exists("a.txt")
    cloud.build()
    assert cloud.tree()["a.txt"] == data
    assert cloud.ran() == ["down"]
    cloud.nothing_to_do()


@pytest.mark.parametrize(
    "name",
    ["a b", "#x?y=1", "a*b", "ä\nö", "it's", "$HOME", "x" * 1000, "-rf", "a/b", "%41"],
    ids=lambda name: name[:8],
)
def test_any_name_comes_down_and_goes_up(cloud: Sandbox, server: GcsServer, name: str) -> None:
    server.put("b", f"in/{name}", "content")
    cloud.ductfile(
        """
        [step.across]
        inputs = "gs://b/in/{name**}"
        targets = "gs://c/out/{name}"
        run = "cp -- {input} {target}"
        """
    )
    cloud.build()
    assert content(server, f"out/{name}", "c") == b"content"
    assert "nothing to do" in cloud.build().err.lower()


@pytest.mark.parametrize("operation", ["get", "media", "insert"])
def test_an_interrupt_ends_what_waits_for_an_answer(cloud: Sandbox, server: GcsServer, operation: str) -> None:
    server.put("b", "in", "content")
    cloud.ductfile('[step.up]\ninputs = "gs://b/in"\ntargets = "gs://b/out"\nrun = "cp {input} {target}"\n')
    begun = threading.Event()
    server.fail(operation, call=begun.set, stall=True)
    process = cloud.start("build")
    wait_for(begun.is_set, f"the operation {operation}")
    os.killpg(process.pid, signal.SIGINT)
    result = cloud.finish(process, 20)
    assert result.code == 130
    assert "failed" not in result.err
    assert "Traceback" not in result.err
    cloud.build()
    assert content(server, "out") == b"content"


# refusals through the command


def test_a_missing_object_is_told_at_its_line(cloud: Sandbox, server: GcsServer) -> None:
    down(cloud, server)
    server.drop("b", "in/a.txt")
    result = cloud.expect(2, "build")
    assert "reads gs://b/in/a.txt, which does not exist and which no step makes" in result.err
    assert "folder" not in result.err


def test_a_missing_bucket_is_told_before_anything_runs(cloud: Sandbox, server: GcsServer) -> None:
    up(cloud)
    del server.buckets["b"]
    result = cloud.expect(1, "build")
    assert "there is no bucket b" in result.err
    assert cloud.ran() == []


def test_no_network_is_told_within_seconds(box: Sandbox) -> None:
    box.env["STORAGE_EMULATOR_HOST"] = "http://127.0.0.1:9"
    up(box)
    result = box.expect(1, "build", timeout=15)
    assert "cannot be reached" in result.err
    assert box.ran() == []


def test_what_has_nothing_to_do_with_a_bucket_is_built_without_it(cloud: Sandbox, server: GcsServer) -> None:
    local = '[step.local]\ninputs = "b.txt"\ntargets = "c.txt"\nrun = "cp {input} {target}"\n'
    up(cloud)
    cloud.write("b.txt", "1")
    cloud.ductfile(cloud.read("Ductfile") + local)
    cloud.build()
    cloud.ductfile(local)
    assert "out/a.txt is made by no step any more" in cloud.build().err
    cloud.env["STORAGE_EMULATOR_HOST"] = "http://127.0.0.1:1"
    cloud.write("b.txt", "2")
    cloud.build("c.txt")
    assert cloud.read("c.txt") == "2"
    cloud.env["STORAGE_EMULATOR_HOST"] = server.url
    assert "gs://b/out/a.txt" in cloud.expect(0, "clean", "--orphans", "-n").out


def test_offline_the_last_known_state_counts(cloud: Sandbox, server: GcsServer) -> None:
    down(cloud, server)
    cloud.build()
    cloud.ran()
    server.put("b", "in/a.txt", "changed")
    server.forget()
    result = cloud.build("--offline")
    assert "offline" in result.err
    assert cloud.ran() == []
    assert server.log == []
    cloud.build()
    assert cloud.ran() == ["down"]


def test_a_dry_run_writes_and_fetches_nothing(cloud: Sandbox, server: GcsServer) -> None:
    faulty(cloud, server)
    before = cloud.state()
    server.forget()
    cloud.build("-n")
    assert cloud.state() == before
    assert set(server.operations()) <= {"list", "get"}


def test_settings_of_the_ductfile_reach_the_service(box: Sandbox, server: GcsServer) -> None:
    server.buckets["b"].requester_pays = True
    up(box)
    text = box.read("Ductfile")
    box.ductfile(f'[stores.gcs]\nendpoint = "{server.url}"\n\n{text}')
    result = box.expect(1, "build")
    assert "name the project to be charged as user_project of b in [stores.gcs]" in result.err
    box.ductfile(f'[stores.gcs]\nendpoint = "{server.url}"\nuser_project = {{ b = "mine" }}\n\n{text}')
    box.build()
    assert content(server, "out/a.txt") == b"content"
    assert server.log[-1].query["userProject"] == "mine"


def test_who_has_not_logged_in_is_told_how(box: Sandbox) -> None:
    box.env["NO_GCE_CHECK"] = "true"
    up(box)
    result = box.expect(1, "build")
    assert "there are no credentials for Google Cloud" in result.err
    assert "gcloud auth application-default login" in result.err
    assert box.ran() == []


@pytest.mark.parametrize("fault", [{"status": 503, "times": 2}, {"lost": True}, {"lost": True, "after": True}], ids=str)
def test_objects_are_cleaned_through_faults(cloud: Sandbox, server: GcsServer, fault: dict[str, Any]) -> None:
    up(cloud)
    cloud.build()
    server.fail("delete", **fault)
    cloud.expect(0, "clean", "-y")
    assert server.buckets["b"].names == []


def test_a_strangers_object_is_not_cleaned(cloud: Sandbox, server: GcsServer) -> None:
    up(cloud)
    cloud.build()
    server.put("b", "out/a.txt", "stranger")
    cloud.duct("clean", "-y")
    assert content(server, "out/a.txt") == b"stranger"


# the web


def test_pages_are_fetched_again_only_when_they_change(cloud: Sandbox, web: HTTPServer) -> None:
    pages = {"/1.csv": "one", "/2.csv": "two"}
    sent: list[str] = []

    def answer(request: Request) -> Response:
        etag = f'"{pages[request.path]}"'
        if request.headers.get("If-None-Match") == etag:
            return Response(status=304)
        sent.append(request.path)
        return Response(pages[request.path], headers={"ETag": etag})

    for path in pages:
        web.expect_request(path).respond_with_handler(answer)
    cloud.ductfile(
        f"""
        [step.fetch]
        foreach = {{ day = ["1", "2"] }}
        inputs = "{web.url_for("/")}{{day}}.csv"
        targets = "raw/{{day}}.csv"
        run = '''{RAN.format("{day}")}cp {{input}} {{target}}'''
        """
    )
    cloud.build()
    assert cloud.ran() == ["1", "2"]
    cloud.nothing_to_do()
    assert sorted(sent) == ["/1.csv", "/2.csv"]
    pages["/2.csv"] = "changed"
    cloud.build()
    assert cloud.ran() == ["2"]
    assert cloud.read("raw/2.csv") == "changed"
    cloud.nothing_to_do()
    assert len(sent) == 3


def test_a_page_is_sent_once_to_all_who_read_it(cloud: Sandbox, server: GcsServer, web: HTTPServer) -> None:
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.append(request.path)
        return Response("content")

    web.expect_request("/x").respond_with_handler(answer)
    page = web.url_for("/x")
    cloud.ductfile(
        f"""
        [step.copy]
        inputs = "{page}"
        targets = "copy"
        copy = true

        [step.up]
        inputs = "{page}"
        targets = "gs://b/up"
        copy = true

        [step.read]
        inputs = "{page}"
        targets = "read"
        run = "cp {{input}} {{target}}"
        """
    )
    cloud.build()
    assert asked == ["/x"]
    assert (cloud.read("copy"), cloud.read("read"), content(server, "up")) == ("content", "content", b"content")


def test_secrets_are_sent_and_kept_nowhere(cloud: Sandbox, web: HTTPServer) -> None:
    secret = "h1dden-value"
    seen: list[str | None] = []

    def answer(request: Request) -> Response:
        seen.append(request.headers.get("Authorization"))
        return Response("content")

    web.expect_request("/x").respond_with_handler(answer)
    host = web.url_for("/").rstrip("/")
    cloud.env["WEB_TOKEN"] = secret
    cloud.ductfile(
        f"""
        [stores.http]
        secrets = ["WEB_TOKEN"]

        [stores.http.headers]
        "{host}" = {{ Authorization = "Bearer {{WEB_TOKEN}}" }}

        [step.fetch]
        inputs = "{host}/x"
        targets = "x"
        copy = true
        """
    )
    result = cloud.build("-v")
    assert seen[0] == f"Bearer {secret}"
    assert secret not in result.out + result.err
    for folder, _, names in os.walk(cloud.root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert secret.encode() not in file.read()


def test_an_address_with_a_secret_is_refused(cloud: Sandbox) -> None:
    cloud.ductfile(
        """
        [step.fetch]
        inputs = "https://me:h1dden@127.0.0.1/x"
        targets = "x"
        copy = true
        """
    )
    result: Result = cloud.expect(2, "build")
    assert "Ductfile:3" in result.err
    assert "secret" in result.err


# the example


def test_the_example_runs_by_one_command(tmp_path: Path) -> None:
    command = [sys.executable, os.path.join(REPOSITORY, "examples", "daily", "run.py")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DUCT_")}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("7 days\nharbour ")
    told = [line for line in done.stderr.splitlines() if line.startswith("duct: ")]
    assert [line.partition(" (")[0] for line in told] == [
        "duct: 16 jobs ran",
        "duct: nothing to do",
        "duct: 4 jobs ran, 12 up to date",
        "duct: 15 jobs ran, 1 up to date",
    ]
