"""The wording: short, on one line, and safe whatever a name is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniduct.events import BuildEnded, JobName
from miniduct.rebuilder import Reason
from miniduct.reporters.words import (
    clean_line,
    exit_text,
    failure_headline,
    inner_signal_text,
    job_text,
    names_text,
    orphans_lines,
    planned_sum_text,
    reason_lines,
    reason_text,
    reasons_text,
    sum_text,
)

KINDS = [
    (Reason("new"), "never ran"),
    (Reason("forced"), "forced"),
    (Reason("accepted"), "accepted as it was"),
    (Reason("input-changed", "raw/a.csv", "aa", "bb"), "raw/a.csv changed"),
    (Reason("input-moved", "raw/a.csv"), "raw/a.csv changed while it was read"),
    (Reason("input-added", "raw/a.csv"), "raw/a.csv is a new input"),
    (Reason("input-removed", "raw/a.csv"), "raw/a.csv is no longer an input"),
    (Reason("input-order"), "the inputs' order changed"),
    (Reason("target-missing", "out/x"), "out/x is missing"),
    (Reason("target-edited", "out/x", "aa", "bb"), "out/x was edited"),
    (Reason("target-added", "out/x"), "out/x is a new target"),
    (Reason("command"), "command changed"),
    (Reason("params", "top", "3", "10"), "params.top changed: 3 -> 10"),
    (Reason("params", "top", None, "10"), "params.top added (10)"),
    (Reason("params", "top", "3", None), "params.top removed (was 3)"),
    (Reason("env", "TZ", "UTC", "CET"), "$TZ changed: UTC -> CET"),
    (Reason("settings", "shell"), "shell changed"),
    (Reason("code", "etl.clean", "1", "2"), "module etl.clean changed"),
    (Reason("code", "helper", None, "2"), "module helper is imported now"),
    (Reason("code", "helper", "1", None), "module helper is no longer imported"),
    (Reason("code", "function h", None, "2"), "function h is used now"),
    (Reason("code", "function h", "1", None), "function h is no longer used"),
    (Reason("expired", None, "75 s", "60 s"), "last run 75 s ago, max_age is 60 s"),
    (Reason("expired", None, None, "60 s"), "the clock was set back since the last run, max_age is 60 s"),
    (Reason("expired", None, "75 s", None), "it is never cached"),
    (Reason("upstream", "clean/a.csv"), "clean/a.csv may change"),
    (Reason("upstream"), "an input may change"),
    (Reason("more", None, None, "1200"), "and 1,200 more"),
    (Reason("some-later-kind", "x"), "some later kind: x"),
]


@pytest.mark.parametrize(("reason", "text"), KINDS, ids=[f"{r.kind}-{at}" for at, (r, _) in enumerate(KINDS)])
def test_each_kind_of_reason_has_its_words(reason: Reason, text: str) -> None:
    assert reason_text(reason) == text


def test_reasons_beyond_the_first_two_are_counted_together_with_those_not_told() -> None:
    reasons = [Reason("input-changed", name) for name in ("a", "b", "c")]
    assert reasons_text(reasons) == "a changed, b changed, and 1 more"
    assert reasons_text([*reasons, Reason("more", None, None, "99980")]) == "a changed, b changed, and 99,981 more"


def test_all_that_is_known_of_a_changed_command_is_told_line_by_line() -> None:
    lines = reason_lines(Reason("command", None, "a {input}\nb", "a {input}"))
    assert lines == ["command changed", "  - a {input}", "  - b", "  + a {input}"]


def test_contents_are_told_before_and_after() -> None:
    assert reason_lines(Reason("input-changed", "a", "0011", "2233")) == ["a changed   0011 -> 2233"]


@given(st.text(), st.text(), st.sampled_from(["input-changed", "params", "env", "command", "upstream", "strange"]))
def test_no_name_or_value_breaks_a_line(key: str, value: str, kind: str) -> None:
    reason = Reason(kind, key, value, value + "x")
    for line in [reason_text(reason), *reason_lines(reason)]:
        assert line.replace("\t", " ").isprintable()


@given(st.text())
def test_a_job_is_told_on_one_line(value: str) -> None:
    assert job_text(JobName("clean", {"day": value}, None)).isprintable()


def test_a_command_cannot_move_the_cursor() -> None:
    assert clean_line("a\x1b[2J\tb") == "a\\x1b[2J\tb"


def test_exit_codes_and_signals_have_names() -> None:
    assert exit_text(2) == "exit code 2"
    assert exit_text(-9) == "killed by SIGKILL"
    assert inner_signal_text(137) == "a command in it was ended by SIGKILL"
    assert inner_signal_text(2) is None


def test_a_failure_is_one_sentence_whatever_the_error_is() -> None:
    job = JobName("clean", {"day": "1"}, "x")
    assert failure_headline(job, "failed with exit code 2", 2) == 'step "clean" failed with exit code 2'
    assert failure_headline(job, "ended well but did not make x", 0) == 'step "clean" ended well but did not make x'
    assert failure_headline(job, "command not found: pyhton", 127) == 'step "clean" failed: command not found: pyhton'
    assert failure_headline(job, None, 3) == 'step "clean" failed: exit code 3'


def ended(**numbers: int) -> BuildEnded:
    counts = {"ran": 0, "failed": 0, "skipped": 0, "up_to_date": 0, "interrupted": 0, **numbers}
    return BuildEnded(
        counts["ran"], counts["failed"], counts["skipped"], counts["up_to_date"], counts["interrupted"], seconds=1.2
    )


def test_the_sum_tells_what_is_not_zero() -> None:
    assert sum_text(ended(ran=3, failed=1, skipped=2, up_to_date=40)) == (
        "3 jobs ran, 1 failed, 2 skipped, 40 up to date (1.2 s)"
    )
    assert sum_text(ended(failed=1)) == "1 job failed (1.2 s)"
    assert sum_text(ended(up_to_date=2), ["a b"]) == 'nothing to do: "a b" is up to date'
    assert sum_text(ended(up_to_date=2), ["a", "b"]) == "nothing to do: a, b are up to date"
    assert sum_text(ended(up_to_date=2), ["a", "b", "c", "d"]) == "nothing to do: 4 targets are up to date"
    assert sum_text(ended(up_to_date=1781)) == "nothing to do (1,781 jobs up to date)"


def test_the_sum_of_a_dry_run_says_that_nothing_was_done() -> None:
    assert planned_sum_text(1, 2, 0) == "1 job will run, 2 may run (dry run, nothing was done)"
    assert planned_sum_text(0, 0, 5) == "nothing to do (5 jobs up to date)"


def test_of_many_names_the_first_are_told() -> None:
    assert names_text(["a", "b", "c"]) == "a, b, c"
    assert names_text(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_orphans_come_with_the_way_to_remove_them() -> None:
    assert orphans_lines([]) == []
    assert orphans_lines(["a"])[0] == "a is made by no step any more"
    assert orphans_lines(["a", "b", "c", "d"]) == [
        "a, b, c and 1 more are made by no step any more",
        '  "duct clean --orphans" removes what duct made',
    ]
