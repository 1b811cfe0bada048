"""What the user may ask for, and what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miniduct.errors import PlanError, UsageError
from miniduct.model import Call, Location
from miniduct.plan.select import select
from support_plan import plan, project, step

if TYPE_CHECKING:
    from miniduct.plan.columns import Plan


@pytest.fixture(scope="module")
def made() -> Plan:
    return plan(
        step("clean", "raw/{n}.csv", "out/{n}.csv", tags=("nightly",)),
        step("merge", "out/*.csv", "all.csv"),
        step("report", "all.csv", "report"),
        step("site", "report", "site/"),
        step("split", "raw/1.csv", "parts/*.txt"),
        step("everything", ["all.csv", "step:setup"], group=True, tags=("nightly",)),
        step("setup"),
        disk=["raw/1.csv", "raw/2.csv"],
    )


def chosen(made: Plan, *targets: str, standing: str = ".") -> list[int] | None:
    return select(made, project(*made.steps), targets, standing).jobs


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("clean", [0, 1]),
        ("out/2.csv", [1]),
        ("./out/2.csv", [1]),
        ("/root/out/2.csv", [1]),
        ("out/*.csv", [0, 1]),
        ("out/[2].csv", [1]),
        ("out/", [0, 1]),
        ("out", [0, 1]),
        ("tag:nightly", [0, 1, 2, 6]),
        ("everything", [2, 6]),
        ("report", [3]),
        ("./report", [3]),
        ("step:merge", [2]),
        ("clean[n=2]", [1]),
        ("site", [4]),
        ("site/index.html", [4]),
        ("parts/*.txt", [5]),
        ("parts/a.txt", [5]),
    ],
)
def test_target_means_its_jobs(made: Plan, target: str, expected: list[int]) -> None:
    assert chosen(made, target) == expected


def test_keys_and_globs_are_relative_to_the_users_folder(made: Plan) -> None:
    assert chosen(made, "2.csv", standing="out") == [1]
    assert chosen(made, "*.csv", standing="out") == [0, 1]
    assert chosen(made, "../all.csv", standing="out") == [2]
    assert chosen(made, "clean", standing="out") == [0, 1]


def test_several_targets_are_added_up(made: Plan) -> None:
    assert chosen(made, "all.csv", "out/1.csv") == [0, 2]


def test_source_is_no_mistake_and_selects_nothing(made: Plan) -> None:
    found = select(made, project(*made.steps), ["raw/1.csv"], ".")
    assert (found.jobs, found.sources) == ([], ["raw/1.csv"])


def test_nothing_asked_for_means_all_or_the_default(made: Plan) -> None:
    assert chosen(made) is None
    default = project(*made.steps, default=(("all.csv", Location("Ductfile", 1)),))
    assert select(made, default, [], "out").jobs == [2]


def test_unknown_default_is_a_mistake_of_the_ductfile(made: Plan) -> None:
    default = project(*made.steps, default=(("al.csv", Location("Ductfile", 3)),))
    with pytest.raises(PlanError) as caught:
        select(made, default, [], ".")
    assert (
        str(caught.value)
        == 'Ductfile:3: "default" names "al.csv", which is no step and which no step makes\n  did you mean "all.csv"?'
    )


def test_an_empty_target_is_none(made: Plan) -> None:
    with pytest.raises(UsageError, match="a target is empty"):
        chosen(made, "")


@pytest.mark.parametrize(
    ("target", "near"), [("clean[2]", "clean[n=2]"), ("clean[n=x]", "clean[n=1]"), ("clean[1", "clean[n=1]")]
)
def test_a_job_that_does_not_exist_brings_one_that_does(made: Plan, target: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(made, target)
    assert caught.value.hint == f'did you mean "{near}"?'


def test_a_step_of_an_included_file_is_found_by_its_own_name() -> None:
    plans = plan(step("etl.clean", (), "a"))
    for name in ("clean", "claen"):
        with pytest.raises(UsageError) as caught:
            chosen(plans, name)
        assert caught.value.hint == 'did you mean "etl.clean"?'


def test_a_glob_of_the_default_that_may_match_some_day_is_a_warning(made: Plan) -> None:
    default = project(
        *made.steps, default=(("out/*.c?v", Location("Ductfile", 3)), ("out/x*.csv", Location("Ductfile", 4)))
    )
    found = select(made, default, [], ".")
    assert (found.jobs, found.idle) == ([0, 1], ['Ductfile:4: "default" names "out/x*.csv", which matches nothing'])


def test_a_glob_of_the_default_may_match_what_a_function_makes_some_day() -> None:
    plans = plan(step("clean", "raw/{n}.csv", "out/{n}.csv", call=Call("work", "clean")))
    default = project(*plans.steps, default=(("out/*.csv", Location("Ductfile", 1)),))
    assert select(plans, default, [], ".").idle == ['Ductfile:1: "default" names "out/*.csv", which matches nothing']


@pytest.mark.parametrize(
    ("target", "standing", "near"),
    [
        ("cleam", ".", "clean"),
        ("out/3.csv", ".", "out/1.csv"),
        ("3.csv", "out", "1.csv"),
        ("tag:nightli", ".", "tag:nightly"),
    ],
)
def test_unknown_target_is_told_with_the_nearest(made: Plan, target: str, standing: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(made, target, standing=standing)
    assert str(caught.value) == f'no step, key or tag is called "{target}"\n  did you mean "{near}"?'
