"""What a build would do: the jobs that may be affected, in order, and for a dry run, `status` and `why` a verdict on each without running any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .plan.order import affected, graph
from .plan.select import needed, select
from .rebuilder import MOST_REASONS, Reason
from .scheduler import Scheduler
from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .judging import Judged
    from .model import Step
    from .plan.columns import Plan, Table
    from .plan.select import Selection
    from .scheduler import Graph
    from .workspace import Workspace

WILL, MAY, NO = "will", "may", "no"
COUNTED = 20_000
"""Jobs up to which the selected ones are counted even if only some are selected."""


class Round(NamedTuple):
    """The jobs of one expansion of the plan that are selected and may be affected, with their order."""

    plan: Plan
    selection: Selection
    jobs: set[int]
    graph: Graph
    force: bool

    def behind_dynamic(self) -> set[int]:
        """Its jobs whose inputs may change with the members of a dynamic target."""
        plan = self.plan
        steps = [step for step, before in enumerate(plan.dynamic_steps) if before]
        return {job for step in steps for job in range(plan.first[step], plan.first[step + 1]) if job in self.jobs}


def plan_ahead(space: Workspace, targets: Sequence[str], *, force: bool = False) -> Round:
    """The round that brings these targets up to date. UsageError for an unknown target.

    All jobs that may be affected are noted as dirty, also those that are not selected: they stay so until a build judges them.
    """
    plan = space.plan
    selection = select(plan, space.project, targets, space.where.standing)
    space.ask_remote(selection)
    space.dirty |= affected(plan, space.changed, space.dirty)
    if force:
        jobs = needed(plan, range(plan.jobs), selection) if selection.jobs is not None else set(range(plan.jobs))
    elif selection.jobs is None:
        jobs = set(space.dirty)
    else:
        jobs = needed(plan, space.dirty, selection)
    return Round(plan, selection, jobs, graph(plan, jobs), force)


def by_itself(judged: Judged) -> bool:
    """Is a job that will or may run stale by what is there now, whatever comes out of the jobs before it?"""
    return judged.reasons[0].kind != "upstream"


def total(ahead: Round) -> int:
    """How many jobs are selected; at least those of the round, where counting them would cost more than the build."""
    if ahead.selection.jobs is None:
        return ahead.plan.jobs
    if ahead.plan.jobs <= COUNTED:
        return len(needed(ahead.plan, range(ahead.plan.jobs), ahead.selection))
    return len(ahead.jobs)


def survey(space: Workspace, ahead: Round) -> Iterator[tuple[str, Judged]]:
    """For each job of the round, in order: "will", "may" or "no", with the verdict. Nothing is written. StoreError.

    A job that is stale by itself "may" run where a dynamic target before it moves: it may not be there any more when its turn comes.
    """
    plan = space.plan
    scheduler = Scheduler(ahead.graph, slots=1)
    space.judge.expect(sorted(ahead.jobs))
    moving: set[int] = set()
    """Jobs that will or may run."""
    steps: set[int] = set()
    while True:
        job = scheduler.pop()
        if job is None:
            return
        step = plan.step_of(job)
        unsettled = [key for key in plan.inputs(job) if plan.maker[key] in moving]
        judged = space.judge.judge(job, forced=ahead.force, unsettled=frozenset(unsettled))
        answer = WILL if judged.reasons else NO
        upstream = [plan.names[key] for key in unsettled]
        behind = any(each in steps for each in plan.dynamic_before(step))
        if not upstream and behind:
            upstream = [slot.text for slot in plan.steps[step].inputs if slot.text][:1]
        if upstream and answer == NO:
            answer = MAY
            judged.reasons = _upstream(upstream)
        elif answer == WILL and behind and not _runs_whatever_comes(plan.steps[step], plan.tables[step], judged):
            answer = MAY
        if answer != NO:
            moving.add(job)
            steps.add(step)
        yield answer, judged
        scheduler.settle(job)


def _runs_whatever_comes(step: Step, table: Table, judged: Judged) -> bool:
    """Is the job there, and stale, whatever the members of the dynamic targets before it turn out to be?"""
    if not {name for name, _ in step.foreach}.issuperset(table.names):
        return False
    named = [slot.text for slot in step.inputs]
    return any(each.key in named if each.kind.startswith("input-") else each.kind != "more" for each in judged.reasons)


def _upstream(keys: Sequence[str]) -> tuple[Reason, ...]:
    told = tuple(Reason("upstream", key) for key in keys[:MOST_REASONS])
    return (*told, Reason("more", new=str(len(keys) - MOST_REASONS))) if len(keys) > MOST_REASONS else told
