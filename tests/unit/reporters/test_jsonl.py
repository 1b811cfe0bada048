"""JSON Lines: versioned, ASCII, the fields of the events."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from miniduct import events as ev
from miniduct.reporters.jsonl import JsonReporter, plain
from support_reporters import CHANGED, Scene, begun, done, failed, job, over, started

EXAMPLES: list[ev.Event] = [
    begun(),
    started(job(day="1")),
    done(job(), targets=("out/x",)),
    failed(job()),
    ev.JobUpToDate(job()),
    ev.JobSkipped(job("a"), job("b")),
    ev.JobPlanned(job(), "may", CHANGED, "cmd"),
    ev.JobRetried(job(), 1, 2.0, "x"),
    ev.Kept("a", "b"),
    ev.Warned("x", ("y",)),
    ev.FetchStarted("gs://b/x", 10),
    ev.FetchEnded("gs://b/x", True),
    ev.Waiting("somebody"),
    over(ran=1),
]


def lines(*events: ev.Event) -> list[dict[str, Any]]:
    scene = Scene()
    reporter = JsonReporter(scene.streams)
    for event in events:
        reporter.tell(event)
    reporter.tick()
    reporter.close()
    assert scene.err == ""
    assert scene.out.isascii()
    return [json.loads(line) for line in scene.out.splitlines()]


def test_there_is_an_example_of_every_event() -> None:
    assert {type(event) for event in EXAMPLES} == set(get_args(ev.Event))


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_every_event_is_one_line_with_version_and_all_of_its_fields(event: ev.Event) -> None:
    (line,) = lines(event)
    assert line.pop("v") == 1
    assert line.pop("event").replace("_", "") == type(event).__name__.lower()
    assert set(line) == set(event._fields) - {"live", "repeat"}


def test_jobs_and_reasons_are_tables() -> None:
    (line,) = lines(started(job(day="1")))
    assert line["event"] == "job_started"
    assert line["job"] == {"step": "clean", "values": {"day": "1"}, "target": "clean.csv"}
    assert line["reasons"] == [{"kind": "input-changed", "key": "raw/a.csv", "old": "00", "new": "11"}]


def test_names_that_are_no_text_survive() -> None:
    (line,) = lines(ev.Kept("caf\udce9\n", "x"))
    assert line["key"] == "caf\udce9\n"


def test_bytes_are_hexadecimal() -> None:
    assert plain({"a": b"\x01\xff"}) == {"a": "01ff"}
