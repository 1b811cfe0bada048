"""The asking verbs: what is stale and why, what there is, what a job said. Read-only: nothing is locked, nothing is written."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .answers import (
    FAILED,
    MAY,
    STALE,
    UP_TO_DATE,
    Cause,
    GraphEdge,
    GraphNode,
    JobRow,
    JobStatus,
    KeyRow,
    LastRun,
    LogRow,
    StatusReport,
    StepRow,
    Why,
)
from .errors import UsageError
from .events import JobName
from .launching import log_path
from .plan.select import needed, select
from .rebuilder import Reason
from .survey import by_itself, plan_ahead, survey, total
from .workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .answers import ListRow
    from .events import Event
    from .judging import Judged
    from .trace.record import Failure, Trace
    from .workspace import Where, Workspace

LONGEST_CHAIN = 50
"""Links of a chain to a root cause that are told at most."""


@contextmanager
def _reading(where: Where, notes: list[str] | None = None) -> Iterator[Workspace]:
    def tell(event: Event) -> None:
        text = getattr(event, "text", None)
        if notes is not None and text:
            notes.append(text)

    with open_workspace(where, write=False, tell=tell) as space:
        if notes is not None:
            notes += ["\n".join([text, *(f"  {fact}" for fact in facts)]) for text, facts in space.warnings()]
        yield space


def status(where: Where, targets: Sequence[str]) -> StatusReport:
    """The selected jobs that are not up to date, and the orphans."""
    notes: list[str] = []
    with _reading(where, notes) as space:
        ahead = plan_ahead(space, targets)
        failures = space.traces.failures()
        jobs = []
        for answer, judged in survey(space, ahead):
            failure = failures.get(space.plan.job_id(judged.job))
            if answer == "no":
                continue
            state = FAILED if failure else STALE if by_itself(judged) else MAY
            jobs.append((judged.job, JobStatus(space.plan.job_name(judged.job), state, judged.reasons, failure)))
        jobs.sort(key=lambda pair: pair[0])
        return StatusReport([each for _, each in jobs], total(ahead), space.orphans(), notes)


# -- why ------------------------------------------------------------------------------------------------------------------------------


def why(where: Where, target: str) -> list[Why]:
    """Why the jobs of this target are stale, or why they last ran."""
    with _reading(where) as space:
        ahead = plan_ahead(space, [target])
        verdicts = {judged.job: (answer, judged) for answer, judged in survey(space, ahead)}
        roots = _roots(space, target)
        if not roots:
            raise _source(target, "why")
        failures = space.traces.failures()
        return [_why(space, job, verdicts, failures) for job in roots]


def _source(target: str, verb: str) -> UsageError:
    return UsageError(f'"{target}" is a file that no step makes', hint=f"`duct {verb}` answers for targets and steps")


def _roots(space: Workspace, target: str) -> list[int]:
    selection = select(space.plan, space.project, [target] if target else [], space.where.standing)
    return list(range(space.plan.jobs)) if selection.jobs is None else list(selection.jobs)


def _why(space: Workspace, job: int, verdicts: dict[int, tuple[str, Judged]], failures: Mapping[str, Failure]) -> Why:
    plan = space.plan
    failure = failures.get(plan.job_id(job))
    answer, judged = verdicts.get(job, ("no", None))
    past = judged.past if judged else space.judge.trace(job)
    reasons = judged.reasons if judged else ()
    state = UP_TO_DATE
    if judged is not None and answer != "no":
        state = FAILED if failure else STALE if by_itself(judged) else MAY
    chain = _chain_now(space, job, verdicts, failures) if answer != "no" else _chain_then(space, past)
    last = None
    if past is not None:
        told = tuple(Reason(*each) for each in past.reasons)
        last = LastRun(past.run, past.started, past.seconds, past.attempts, told, past.log)
    return Why(
        plan.job_name(job),
        state,
        reasons,
        chain,
        last,
        failure,
        space.commands.shown(space.plan.job(job)),
        [plan.names[key] for key in plan.inputs(job)],
        plan.target_texts(job),
    )


def _chain_now(
    space: Workspace, job: int, verdicts: dict[int, tuple[str, Judged]], failures: Mapping[str, Failure]
) -> list[Cause]:
    """From job to job through the first input that is not settled, to one that is stale by itself."""
    chain: list[Cause] = []
    seen = {job}
    plan = space.plan
    while len(chain) < LONGEST_CHAIN:
        above = [
            each for each in sorted(plan.makers_of(job)) if each not in seen and verdicts.get(each, ("no",))[0] != "no"
        ]
        if not above:
            break
        job = next((each for each in above if by_itself(verdicts[each][1])), above[0])
        seen.add(job)
        chain.append(Cause(plan.job_name(job), verdicts[job][1].reasons, failures.get(plan.job_id(job))))
    return chain


def _chain_then(space: Workspace, past: Trace | None) -> list[Cause]:
    """The same through the build in which the job last ran: the jobs of that build that made its changed inputs."""
    chain: list[Cause] = []
    seen: set[str] = set()
    while past is not None and past.id not in seen and len(chain) < LONGEST_CHAIN:
        seen.add(past.id)
        above = _maker_then(space, past)
        if above is None:
            break
        target = above.targets[0] if above.targets else None
        chain.append(Cause(JobName(above.step, above.values, target), tuple(Reason(*each) for each in above.reasons)))
        past = above
    return chain


def _maker_then(space: Workspace, past: Trace) -> Trace | None:
    plan = space.plan
    for kind, key, *_ in past.reasons:
        if key is None or kind not in ("input-changed", "input-moved", "input-added"):
            continue
        number = plan.key(key)
        if number is not None and plan.maker[number] >= 0:
            found = space.judge.trace(plan.maker[number])
            if found is not None and found.run == past.run:
                return found
    return None


# -- what there is --------------------------------------------------------------------------------------------------------------------


def listing(where: Where, targets: Sequence[str], what: str = "steps") -> list[ListRow]:
    """The "steps", "jobs", "keys" (targets) or "sources" of the project, or of what these targets need."""
    with _reading(where) as space:
        jobs = _selected(space, targets)
        if what == "steps":
            return list(_step_rows(space, jobs, everything=not targets))
        if what == "jobs":
            return [JobRow(space.plan.job_name(job), _made(space, job)) for job in jobs]
        return list(_key_rows(space, jobs, sources=what == "sources"))


def _selected(space: Workspace, targets: Sequence[str]) -> Sequence[int]:
    """The jobs that these targets need; all jobs where none are named, whatever the default is."""
    plan = space.plan
    if not targets:
        return range(plan.jobs)
    return sorted(needed(plan, range(plan.jobs), select(plan, space.project, targets, space.where.standing)))


def _made(space: Workspace, job: int) -> list[str]:
    """What a job makes: its declared targets, and the known members of the dynamic ones."""
    names = [space.plan.names[key] for key in space.plan.targets(job)]
    return names or space.plan.target_texts(job)


def _step_rows(space: Workspace, jobs: Sequence[int], *, everything: bool) -> Iterator[StepRow]:
    plan = space.plan
    counts = [0] * len(plan.steps)
    if everything:
        counts = [end - start for start, end in zip(plan.first, plan.first[1:])]
    else:
        for job in jobs:
            counts[plan.step_of(job)] += 1
    for number, step in enumerate(space.project.steps):
        if everything or counts[number]:
            texts = [slot.text for slot in step.targets]
            yield StepRow(step.name, counts[number], step.description, texts, step.tags, step.group)


def _key_rows(space: Workspace, jobs: Sequence[int], *, sources: bool) -> Iterator[KeyRow]:
    plan = space.plan
    readers: dict[int, int] = {}
    makers: dict[int, int] = {}
    for job in jobs:
        for key in plan.inputs(job):
            readers[key] = readers.get(key, 0) + 1
        for key in plan.targets(job):
            makers[key] = job
    for key in sorted(readers if sources else makers, key=lambda number: plan.names[number]):
        if sources and plan.maker[key] >= 0:
            continue
        maker = None if sources else plan.job_name(makers[key])
        yield KeyRow(plan.names[key], maker, readers.get(key, 0))


def logs(where: Where, target: str) -> list[LogRow]:
    """The logs of the last runs of a target's jobs."""
    with _reading(where) as space:
        failures = space.traces.failures()
        roots = _roots(space, target)
        if target and not roots:
            raise _source(target, "log")
        return [_log_row(space, job, failures.get(space.plan.job_id(job))) for job in roots]


def _log_row(space: Workspace, job: int, failure: Failure | None) -> LogRow:
    past = space.judge.trace(job)
    log = failure.log if failure else past.log if past else None
    interrupted = log_path(space.logs, space.plan.job(job))
    try:
        written = os.stat(interrupted).st_mtime
    except OSError:
        written = 0.0
    # A run that was interrupted leaves its log, and no word about itself.
    if written > max(failure.when if failure else 0.0, past.started + past.seconds if past else 0.0):
        log = interrupted
    return LogRow(space.plan.job_name(job), log, ran=bool(past or failure or log))


# -- graph ----------------------------------------------------------------------------------------------------------------------------


def graph(where: Where, targets: Sequence[str], *, jobs: bool = False) -> tuple[list[GraphNode], list[GraphEdge]]:
    """Who waits for whom: steps with the patterns of their sources, or single jobs with their source files."""
    with _reading(where) as space:
        selected = _selected(space, targets)
        return _job_graph(space, selected) if jobs else _step_graph(space, selected, everything=not targets)


def _job_graph(space: Workspace, jobs: Sequence[int]) -> tuple[list[GraphNode], list[GraphEdge]]:
    plan = space.plan
    chosen = set(jobs)
    nodes = {f"job:{job}": GraphNode(f"job:{job}", str(plan.job_name(job)), "job") for job in jobs}
    edges: dict[GraphEdge, None] = {}
    for job in jobs:
        for key in plan.inputs(job):
            maker = plan.maker[key]
            if maker < 0:
                node = GraphNode(f"file:{plan.names[key]}", plan.names[key], "source")
                nodes.setdefault(node.id, node)
                edges[GraphEdge(node.id, f"job:{job}")] = None
            elif maker in chosen and maker != job:
                edges[GraphEdge(f"job:{maker}", f"job:{job}")] = None
    return list(nodes.values()), list(edges)


def _step_graph(space: Workspace, jobs: Sequence[int], *, everything: bool) -> tuple[list[GraphNode], list[GraphEdge]]:
    plan = space.plan
    project = space.project
    numbers = {step.name: number for number, step in enumerate(project.steps)}
    counts = {row.step: row for row in _step_rows(space, jobs, everything=everything)}
    nodes: dict[str, GraphNode] = {}
    edges: dict[GraphEdge, None] = {}
    for name, row in counts.items():
        nodes[name] = GraphNode(f"step:{name}", name, "group" if row.group else "step", max(row.jobs, 1))
    for name in counts:
        number = numbers[name]
        for slot, keys in zip(project.steps[number].inputs, plan.tables[number].inputs):
            found = dict.fromkeys(keys.flat())
            if slot.step is not None:
                edges[GraphEdge(f"step:{slot.step}", f"step:{name}")] = None
                continue
            sources = 0
            for key in found:
                maker = plan.maker[key]
                if maker >= 0:
                    edges[GraphEdge(f"step:{project.steps[plan.step_of(maker)].name}", f"step:{name}")] = None
                else:
                    sources += 1
            if sources:
                nodes[slot.text] = GraphNode(f"file:{slot.text}", slot.text, "source", sources)
                edges[GraphEdge(f"file:{slot.text}", f"step:{name}")] = None
        for first in project.steps[number].after:
            edges[GraphEdge(f"step:{first}", f"step:{name}", order=True)] = None
    there = {node.id for node in nodes.values()}
    return list(nodes.values()), [edge for edge in edges if edge.start in there and edge.start != edge.end]
