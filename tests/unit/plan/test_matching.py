"""Which jobs of a new plan are what they were in the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miniduct.plan.matching import other_jobs, same_jobs
from support_plan import plan, step

if TYPE_CHECKING:
    from miniduct.plan.columns import Plan

FILES = ["raw/1", "raw/2", "raw/3"]
COPY = step("copy", "raw/{n}", "out/{n}")
MERGE = step("merge", "out/*", "all")


def others(new: Plan, old: Plan) -> set[str]:
    numbers = {name: number for number, name in enumerate(old.names)}
    places = [numbers.get(name, -1) for name in new.names]
    same = same_jobs(new, old, places, by_id=False)
    names = [each.name for each in old.steps]
    unknown = {job for job, number in enumerate(same) if number < 0}
    return {str(new.job_name(job)) for job in unknown | other_jobs(new, old, places, same, names)}


def test_same_plan_has_the_same_jobs() -> None:
    assert others(plan(COPY, MERGE, disk=FILES), plan(COPY, MERGE, disk=FILES)) == set()


def test_new_file_makes_a_new_job_and_another_merge() -> None:
    old = plan(COPY, MERGE, disk=FILES)
    assert others(plan(COPY, MERGE, disk=[*FILES, "raw/0"]), old) == {"copy[n=0]", "merge"}
    assert others(plan(COPY, MERGE, disk=FILES[:2]), old) == {"merge"}


def test_new_step_leaves_the_others_alone() -> None:
    old = plan(COPY, MERGE, disk=FILES)
    new = plan(step("first", "raw/1", "one"), COPY, MERGE, disk=FILES)
    assert others(new, old) == {"first"}


def test_step_with_one_more_input_has_other_jobs() -> None:
    old = plan(COPY, disk=[*FILES, "tool"])
    new = plan(step("copy", ["raw/{n}", "tool"], "out/{n}"), disk=[*FILES, "tool"])
    assert len(others(new, old)) == 3


def test_job_that_reads_another_file_is_another_one() -> None:
    old = plan(step("x", ["raw/1", "raw/2"], "x"), disk=FILES)
    assert others(plan(step("x", ["raw/1", "raw/3"], "x"), disk=FILES), old) == {"x"}
    assert others(plan(step("x", ["raw/2", "raw/1"], "x"), disk=FILES), old) == {"x"}


def test_job_of_another_step_is_another_one() -> None:
    assert len(others(plan(step("kopie", "raw/{n}", "out/{n}"), disk=FILES), plan(COPY, disk=FILES))) == 3


def test_rows_that_read_several_files_are_compared_one_by_one() -> None:
    gather = step("gather", "raw/{d}/*", "out/{d}")
    old = plan(gather, disk=["raw/a/1", "raw/a/2", "raw/b/1", "raw/b/2", "raw/c/1"])
    new = plan(gather, disk=["raw/a/1", "raw/a/2", "raw/b/1", "raw/b/3", "raw/c/1"])
    assert others(new, old) == {"gather[d=b]"}


def test_jobs_without_a_key_are_found_by_their_ids_among_the_same_steps() -> None:
    told = step("tell", "raw/{n}")
    old = plan(told, disk=FILES)
    new = plan(told, disk=["raw/0", *FILES])
    numbers = {name: number for number, name in enumerate(old.names)}
    places = [numbers.get(name, -1) for name in new.names]
    assert same_jobs(new, old, places, by_id=True) == [-1, 0, 1, 2]
    assert same_jobs(new, old, places, by_id=False) == [-1, -1, -1, -1]
