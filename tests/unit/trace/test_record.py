"""Records as lines: what goes in comes out, and damage shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniduct.model import Stamp
from miniduct.trace.record import Failure, Trace, parse, unsealed

NAMES = st.text(st.characters(exclude_categories=[]), max_size=8)  # surrogates and all
NUMBERS = st.integers(-(2**63), 2**63 - 1)


def trace(**fields: Any) -> Trace:
    plain = Trace(
        id="t:out/a",
        step="clean",
        values={"day": "1"},
        definition=b"d" * 32,
        command=b"c" * 32,
        check="content",
        inputs=["raw/a", "clean.py"],
        input_fps=b"1" * 32 + b"2" * 32,
        targets=["out/a", "out/b"],
        target_fps=b"3" * 32 + b"4" * 32,
        target_stamps=[Stamp(1, 2, 3, 4), Stamp(5, 6, 7, 8)],
        run=3,
        started=1700000000.25,
        seconds=1.5,
        attempts=2,
        output=10,
        log=".duct/logs/clean.log",
        reasons=(("input-changed", "raw/a", "01", "02"), ("command", None, None, None)),
    )
    return plain._replace(**fields)


def test_the_text_of_a_trace_is_json_as_the_encoder_writes_it() -> None:
    for record in (trace(), trace(values={}, log=None, reasons=(), through={"out/\udcff": "/disk"}, started=1e-9)):
        body = record.body()
        assert json.dumps(json.loads(body), separators=(",", ":")) == body
    assert json.loads(trace().body(inputs=False))[8:10] == [[], ""]


def test_trace_survives_its_line() -> None:
    assert Trace.from_line(trace().to_line()) == trace()


@given(NAMES, st.lists(NAMES, max_size=3), st.lists(st.builds(Stamp, NUMBERS, NUMBERS, NUMBERS, NUMBERS), max_size=3))
def test_any_name_and_number_survives_on_one_line(name: str, names: list[str], stamps: list[Stamp]) -> None:
    record = trace(id=name, values={name: name}, inputs=names, targets=names, target_stamps=stamps, log=name)
    line = record.to_line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert Trace.from_line(line) == record


def test_failure_survives_its_line() -> None:
    failure = Failure(
        "t:\udcff", "s", {"a": "b"}, 2, 1.5, 0.25, "failed", 3, "log", ("a fact",), (("new", None, None, None),)
    )
    assert parse(unsealed(failure.to_line())) == failure
    with pytest.raises(ValueError, match="not a trace"):
        Trace.from_line(failure.to_line())


@given(st.data())
def test_any_damaged_byte_shows(data: st.DataObject) -> None:
    line = trace().to_line()
    at = data.draw(st.integers(0, len(line) - 2))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[at]))
    with pytest.raises(ValueError, match="damaged"):
        Trace.from_line(line[:at] + bytes([other]) + line[at + 1 :])


@given(st.integers(0, 100))
def test_any_torn_line_shows(end: int) -> None:
    with pytest.raises(ValueError, match="damaged"):
        unsealed(trace().to_line()[:end])


def test_line_of_another_format_is_refused() -> None:
    for body in ("[2]", "{}", "[]", "1", "[1]", '[1,"x"]', '[1,"t",3]', "nonsense"):
        with pytest.raises(ValueError, match=r"."):
            parse(body)


def test_fingerprint_of_a_target() -> None:
    assert trace().target_fingerprint("out/b") == b"4" * 32
    assert trace().target_fingerprint("raw/a") is None
