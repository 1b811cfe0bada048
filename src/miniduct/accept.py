"""`duct accept`: take what stands there for what the jobs would make.

For a changed command that makes the same, and for targets brought from elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import UsageError
from .plan.patterns import glob
from .rebuilder import ACCEPTED
from .survey import plan_ahead
from .text import count, shown
from .workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .events import Event, JobName
    from .plan.columns import Plan
    from .workspace import Where, Workspace


def accept(where: Where, targets: Sequence[str], *, wait: bool = True) -> list[JobName]:
    """Record the selected stale jobs as up to date with what their inputs and targets hold now; those jobs.

    UsageError where an input or a target of one of them is not there, or nobody can tell which job made a file: there is nothing to accept.
    """
    with open_workspace(where, write=True, tell=_quiet, wait=wait) as space:
        jobs = _jobs(space, targets)
        plan = space.plan
        accepted = []
        judged = [(job, space.judge.judge(job)) for job in sorted(jobs)]
        missing = [name for job, each in judged if each.reasons for name in _missing(space, job)]
        if missing:
            shown_ = ", ".join(shown(name) for name in missing[:5])
            raise UsageError(
                f"cannot accept: {count(len(missing), 'file')} not there: {shown_}", hint="`duct build` makes them"
            )
        run = space.begin_run()
        for job, each in judged:
            space.dirty.discard(job)
            if each.reasons:
                space.judge.fingerprint_inputs(each)
                space.take_for_made(job, each.packed, run, ACCEPTED)
                accepted.append(plan.job_name(job))
        space.save()
        return accepted


def _jobs(space: Workspace, targets: Sequence[str]) -> set[int]:
    """The selected jobs, in a plan where the members of dynamic targets are what is there. UsageError where a member may be that of two jobs."""
    members: dict[str, list[str]] = {}
    found: set[str] = set()
    while True:
        ahead = plan_ahead(space, targets)
        # Named targets are meant as such; without any, all that plain `duct` would look at.
        jobs = ahead.jobs.intersection(ahead.selection.jobs or ()) if targets else ahead.jobs
        now = {**members, **_members(space, jobs, found)}
        if now == members:
            return jobs
        # With other members there may be other jobs, and those may have members too.
        members = now
        space.suppose(members)


def _members(space: Workspace, jobs: set[int], found: set[str]) -> dict[str, list[str]]:
    """What stands there of the dynamic targets of these jobs where they are stale, by their ids. Keys that no trace tells of are added to `found`.

    UsageError where another job may have made one of them.
    """
    plan = space.plan
    makers: dict[str, list[int]] = {}
    members: dict[str, set[str]] = {}
    for job in _dynamic(plan, space.dirty):
        judged = space.judge.judge(job)
        if not judged.reasons:
            continue
        if job in jobs:
            members[plan.job_id(job)] = {plan.names[key] for key in plan.targets(job)}
        past = judged.past
        # What was there when the last run ended, and was not made by it, is the user's.
        ended_ns = 0 if past is None else int((past.started + past.seconds) * 1e9)
        read = _read_before(plan, job)
        for key in {key for text in _globs(plan, job) for key, _ in space.staging.members(text)} - read:
            number = plan.key(key)
            is_others = number is not None and plan.maker[number] >= 0 and key not in found
            stamp = space.store.stat(key)
            if not is_others and stamp is not None and min(stamp.ctime_ns, stamp.mtime_ns) > ended_ns:
                makers.setdefault(key, []).append(job)
    for key, by in sorted(makers.items()):
        if jobs.isdisjoint(by):
            continue
        if len(by) > 1:
            names = " and ".join(str(plan.job_name(job)) for job in by[:2])
            raise UsageError(
                f"cannot accept: {shown(key)} may be of {names}",
                hint="`duct build` makes it; a target that only one of them matches tells them apart",
            )
        members[plan.job_id(by[0])].add(key)
        found.add(key)
    return {job_id: sorted(keys) for job_id, keys in members.items()}


def _dynamic(plan: Plan, jobs: set[int]) -> list[int]:
    """Those with a target whose members are known only after the run."""
    steps = [step for step in range(len(plan.steps)) if any(plan.target_dynamic(step))]
    return [job for step in steps for job in range(plan.first[step], plan.first[step + 1]) if job in jobs]


def _globs(plan: Plan, job: int) -> list[str]:
    dynamic = plan.target_dynamic(plan.step_of(job))
    return [text for text, is_glob in zip(plan.target_texts(job), dynamic) if is_glob]


def _read_before(plan: Plan, job: int) -> set[str]:
    """What the job reads, and what is read by those that it waits for: it makes none of it."""
    queue, seen = [job], {job}
    keys: set[int] = set()
    for each in queue:
        keys.update(plan.inputs(each))
        further = plan.makers_of(each) - seen
        seen |= further
        queue += further
    return {plan.names[key] for key in keys}


def _quiet(event: Event) -> None:
    """Warnings of the plan are told by the verbs that build."""


def _missing(space: Workspace, job: int) -> list[str]:
    plan = space.plan
    keys = [*plan.inputs(job), *plan.targets(job)]
    names = [plan.names[key] for key in keys if space.contents.stamp(key) is None]
    made = [plan.names[key] for key in plan.targets(job)]
    return names + [text for text in _globs(plan, job) if not any(map(glob(text).matches, made))]
