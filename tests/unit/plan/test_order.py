"""What a change may reach, and who waits for whom. The random projects of `test_against_naive` hold the general case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miniduct.plan.order import affected, graph
from miniduct.plan.select import Selection, needed
from support_plan import calls, chain, expanded, plan, step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miniduct.plan.columns import Plan


def test_order_alone_makes_nothing_stale() -> None:
    made = plan(step("setup", "s", "t"), step("a", "x", "y", after=("setup",)), disk=["s", "x"])
    assert affected(made, {made.key("s") or 0}, ()) == {0}


def test_a_chain_of_steps_costs_a_few_calls() -> None:
    long, short = expanded(chain(300)), expanded(chain(200))
    assert calls(_ahead, long, range(300), range(300)) - calls(_ahead, short, range(200), range(200)) <= 100 * 4
    assert calls(_ahead, long, range(1), ()) - calls(_ahead, short, range(1), ()) <= 100 * 13


def _ahead(plan: Plan, changed: Sequence[int], dirty: Sequence[int]) -> None:
    graph(plan, affected(plan, changed, dirty))


def test_maker_of_a_changed_target_is_affected() -> None:
    made = plan(step("a", "x", "y"), step("b", "y", "z"), disk=["x"])
    assert affected(made, {made.key("y") or 0}, ()) == {0, 1}


def test_dirty_job_affects_its_readers() -> None:
    made = plan(step("a", "x", "y"), step("b", "y", "z"), step("c", "x", "w"), disk=["x"])
    assert affected(made, (), {0}) == {0, 1}


def test_readers_of_a_folder_are_affected_by_what_is_made_in_it() -> None:
    made = plan(step("r", "out/", "sum"), step("a", "raw/{x}", "out/{x}"), disk=["raw/1"])
    assert affected(made, {made.key("raw/1") or 0}, ()) == {0, 1}


def test_readers_in_a_made_folder_are_affected() -> None:
    made = plan(step("r", "out/a", "sum"), step("w", "x", "out/"), disk=["x"])
    assert affected(made, {made.key("x") or 0}, ()) == {0, 1}


def test_steps_behind_an_affected_dynamic_job_are_affected() -> None:
    made = plan(step("s", "x", "p/*"), step("r", "p/*", "all"), step("q", "all", "end"), disk=["x"])
    assert affected(made, {made.key("x") or 0}, ()) == {0, 1, 2}


def test_shared_inputs_with_many_makers_cost_one_barrier() -> None:
    names = [str(number) for number in range(50)]
    made = plan(step("a", [], "o/{n}", foreach={"n": names}), step("b", "step:a", "p/{n}", foreach={"n": names}))
    found = graph(made, range(made.jobs))
    assert sum(map(len, found.readers.values())) == 100


def test_graph_holds_the_given_jobs_only() -> None:
    made = plan(step("a", "x", "y"), step("b", "y", "z"), step("c", "z", "w"), disk=["x"])
    found = graph(made, {0, 2})
    assert found.waits == {0: 0, 2: 0}
    assert graph(made, [1, 2]).readers == {1: [2]}


def test_order_makes_jobs_wait() -> None:
    made = plan(
        step("setup", [], "s/{n}", foreach={"n": ["1", "2"]}),
        step("a", "x/{m}", "y/{m}", after=("setup",)),
        disk=["x/1", "x/2"],
    )
    found = graph(made, range(4))
    assert found.readers == {0: [-1], 1: [-1], -1: [2, 3]}


def test_needed_are_the_affected_jobs_on_the_way_to_the_roots() -> None:
    made = plan(step("a", "x", "y"), step("b", "y", "z"), step("c", "x", "w"), disk=["x"])
    assert needed(made, {0, 1, 2}, Selection([1])) == {0, 1}
    assert needed(made, {2}, Selection([1])) == set()
    assert needed(made, {1, 2}, Selection(None)) == {1, 2}


def test_needed_follows_order_from_jobs_that_are_up_to_date() -> None:
    made = plan(step("setup", "s"), step("a", "x", "y", after=("setup",)), step("b", "y", "z"), disk=["s", "x"])
    assert needed(made, {0}, Selection([2])) == {0}
