"""Packed columns: what they answer, and that they survive being kept."""

from __future__ import annotations

import marshal

import pytest

from miniduct.plan.columns import Keys, Plan, Texts, under
from support_plan import jobs, plan, step

COLUMNS = {
    "shared": Keys.shared([3, 5], 3),
    "single": Keys.single([3, 4, 3]),
    "ragged": Keys.ragged([2, 0, 1], [3, 4, 5]),
    "empty": Keys.ragged([0, 0, 0], []),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_with_keys_are_those_that_hold_them(name: str) -> None:
    column = COLUMNS[name]
    for wanted in ({3}, {4}, {5}, {3, 5}, {9}, set(), {3, 4, 5}):
        expected = [row for row in range(3) if wanted.intersection(column.of(row))]
        assert list(column.rows_with(wanted)) == expected


@pytest.mark.parametrize("name", COLUMNS)
def test_column_survives_being_kept(name: str) -> None:
    column = COLUMNS[name]
    again = Keys.load(marshal.loads(marshal.dumps(column.dump())))
    assert [list(again.of(row)) for row in range(3)] == [list(column.of(row)) for row in range(3)]


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["a", "\udcff", "ü\n"], ["with\0nul", "b"]])
def test_texts_survive_being_kept(texts: list[str]) -> None:
    assert Texts(dumped=marshal.loads(marshal.dumps(Texts(texts).dump()))).all() == texts


def test_plan_survives_being_kept() -> None:
    made = plan(
        step("split", "raw/{x}", "p/{x}/*"),
        step("f", "d/", "o/"),
        step("sum", "p/{x}/{y}", "s/{x}"),
        step("g", "s/*", group=True),
        step("last", "step:g", after=("f",)),
        disk=["raw/1", "raw/2", "d/x"],
        members={"t:p/1/*": ["p/1/a"]},
        once={"p/1/a", "gone"},
    )
    again = Plan.load(made.steps, marshal.loads(marshal.dumps(made.dump())))
    bare = Plan.load(made.steps, marshal.loads(marshal.dumps(made.dump(names=False))), made.names)
    for other in (again, bare):
        assert jobs(other) == jobs(made)
        assert [other.job_id(job) for job in range(other.jobs)] == [made.job_id(job) for job in range(made.jobs)]
        for name in ("names", "orphans", "folders", "warnings", "holds", "ranks", "first", "jobs", "maker"):
            assert getattr(other, name) == getattr(made, name)
        for number in range(len(made.steps)):
            assert other.after(number) == made.after(number)
            assert other.dynamic_before(number) == made.dynamic_before(number)
            assert other.target_dynamic(number) == made.target_dynamic(number)


def test_job_number_tells_step_and_row() -> None:
    made = plan(step("none", "no/{x}", "n/{x}"), step("a", "raw/{x}", "o/{x}"), step("b"), disk=["raw/1", "raw/2"])
    assert [(made.step_of(job), made.row_of(job)) for job in range(3)] == [(1, 0), (1, 1), (2, 0)]
    assert str(made.job_name(1)) == "a[x=2]"
    assert made.job_name(1).target == "o/2"
    assert made.job_name(2).target is None


def test_what_is_known_of_the_jobs_of_a_large_batch_is_kept() -> None:
    made = plan(step("f", "raw/{x}", "o/{x}"), disk=[f"raw/{x}" for x in range(500)])
    first = [made.job(job) for job in range(500)]
    assert all(made.job(job) is first[job] for job in range(500))


def test_input_slots_are_those_declared() -> None:
    made = plan(step("a", ["x", "d/*", "step:b", "x"], "o"), step("b", [], "c"), disk=["x", "d/1", "d/2"])
    assert [[made.names[key] for key in slot] for slot in made.input_slots(0)] == [["x"], ["d/1", "d/2"], ["c"], ["x"]]
    assert [made.names[key] for key in made.inputs(0)] == ["x", "d/1", "d/2", "c"]


def test_key_that_changes_moves_the_folder_read_around_it() -> None:
    made = plan(step("r", "out/", "sum"), step("a", "raw/{x}", "out/{x}"), disk=["raw/1"])
    moved = made.moved_with({made.key("out/1") or 0})
    assert {made.names[key] for key in moved} == {"out/1", "out/"}


def test_folder_that_is_made_moves_what_is_read_in_it() -> None:
    made = plan(step("r", "out/a", "sum"), step("w", [], "out/"))
    moved = made.moved_with(made.made_in(1, {1}))
    assert {made.names[key] for key in moved} == {"out/", "out/a"}


def test_under_gives_what_lies_below_a_folder() -> None:
    assert under(sorted(["a", "a-b", "a/", "a/b", "a/b/c", "a0", "b"]), "a/") == ["a/b", "a/b/c"]
