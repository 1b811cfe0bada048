"""The verdict on a job, from values alone."""

from __future__ import annotations

import pytest

from miniduct.model import Check
from miniduct.rebuilder import MOST_REASONS, Past, Present, Reason, judge


def digest(text: str) -> bytes:
    return text.encode().ljust(32, b".")


PAST = Past(
    definition=digest("definition"),
    command=digest("command"),
    inputs=["a", "b"],
    input_fingerprints=digest("a1") + digest("b1"),
    targets=["t"],
    target_fingerprints=digest("t1"),
    ended=1000.0,
)
PRESENT = Present(
    definition=digest("definition"),
    command=lambda: digest("command"),
    differences=list,
    inputs=["a", "b"],
    input_fingerprints=digest("a1") + digest("b1"),
    targets=["t"],
    target_fingerprints=[digest("t1")],
    now=1010.0,
)


def kinds(reasons: tuple[Reason, ...]) -> list[tuple[str, str | None]]:
    return [(reason.kind, reason.key) for reason in reasons]


def test_same_as_last_time_is_up_to_date() -> None:
    assert judge(PAST, PRESENT) == ()


def test_changed_input_is_named_with_old_and_new() -> None:
    present = PRESENT._replace(input_fingerprints=digest("a1") + digest("b2"))
    assert judge(PAST, present) == (Reason("input-changed", "b", digest("b1")[:6].hex(), digest("b2")[:6].hex()),)


@pytest.mark.parametrize(
    ("before", "now", "stale"),
    [
        (Check.EXISTS, Check.CONTENT, True),
        (Check.MTIME, Check.CONTENT, True),
        (Check.EXISTS, Check.MTIME, True),
        (Check.CONTENT, Check.MTIME, False),
        (Check.CONTENT, Check.EXISTS, False),
        (Check.MTIME, Check.EXISTS, False),
    ],
)
def test_trace_answers_for_its_own_check_and_laxer_ones(before: Check, now: Check, stale: bool) -> None:
    reasons = judge(PAST._replace(check=before), PRESENT._replace(check=now))
    assert reasons == ((Reason("settings", "check", before.value, now.value),) if stale else ())


def test_added_and_removed_inputs_are_named() -> None:
    present = PRESENT._replace(inputs=["a", "c"], input_fingerprints=digest("a1") + digest("c1"))
    assert kinds(judge(PAST, present)) == [("input-added", "c"), ("input-removed", "b")]


def test_same_inputs_in_another_order_make_stale() -> None:
    present = PRESENT._replace(inputs=["b", "a"], input_fingerprints=digest("b1") + digest("a1"))
    assert kinds(judge(PAST, present)) == [("input-order", None)]


def test_input_whose_maker_has_yet_to_run_is_not_compared() -> None:
    present = PRESENT._replace(input_fingerprints=digest("a1") + digest("b2"), unsettled=frozenset({"b"}))
    assert judge(PAST, present) == ()


def test_missing_and_edited_targets_make_stale() -> None:
    assert kinds(judge(PAST, PRESENT._replace(target_fingerprints=[None]))) == [("target-missing", "t")]
    assert kinds(judge(PAST, PRESENT._replace(target_fingerprints=[digest("t2")]))) == [("target-edited", "t")]


def test_target_that_the_last_run_did_not_make_makes_stale() -> None:
    present = PRESENT._replace(targets=["t", "u"], target_fingerprints=[digest("t1"), digest("u1")])
    assert kinds(judge(PAST, present)) == [("target-added", "u")]


def test_other_definition_with_the_same_command_is_up_to_date() -> None:
    assert judge(PAST, PRESENT._replace(definition=digest("reworded"))) == ()


def test_other_command_tells_its_differences() -> None:
    present = PRESENT._replace(
        definition=digest("other"),
        command=lambda: digest("other command"),
        differences=lambda: [("params", "top", "3", "4")],
    )
    assert judge(PAST, present) == (Reason("params", "top", "3", "4"),)


def test_command_is_not_rendered_while_the_definition_is_the_same() -> None:
    def command() -> bytes:
        raise AssertionError("rendered")

    assert judge(PAST, PRESENT._replace(command=command)) == ()


def test_age_is_counted_from_the_last_good_run() -> None:
    assert judge(PAST, PRESENT._replace(max_age=11.0)) == ()
    assert kinds(judge(PAST, PRESENT._replace(max_age=10.0))) == [("expired", None)]


def test_what_may_have_no_age_says_none() -> None:
    assert judge(PAST, PRESENT._replace(max_age=0.0)) == (Reason("expired", None, "10 s", None),)


def test_run_in_the_future_is_expired() -> None:
    """A clock set back must not keep a job fresh for ever."""
    assert judge(PAST, PRESENT._replace(now=900.0, max_age=10.0)) == (Reason("expired", None, None, "10 s"),)


def test_forced_job_tells_what_else_is_true_of_it() -> None:
    present = PRESENT._replace(forced=True, target_fingerprints=[None])
    assert kinds(judge(PAST, present)) == [("target-missing", "t"), ("forced", None)]


def test_long_lists_of_reasons_are_cut_with_a_count() -> None:
    names = [f"in{n}" for n in range(100)]
    past = PAST._replace(inputs=names, input_fingerprints=digest("old") * 100)
    present = PRESENT._replace(inputs=names, input_fingerprints=digest("new") * 100)
    reasons = judge(past, present)
    assert len(reasons) == MOST_REASONS + 1
    assert reasons[-1] == Reason("more", new=str(100 - MOST_REASONS))
