"""`duct accept`: take what stands there for what the jobs would make.

For a changed command that makes the same, and for targets brought from elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import UsageError
from .survey import plan_ahead
from .text import count, shown
from .workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .events import Event, JobName
    from .workspace import Where, Workspace


def accept(where: Where, targets: Sequence[str], *, wait: bool = True) -> list[JobName]:
    """Record the selected stale jobs as up to date with what their inputs and targets hold now; those jobs.

    UsageError where an input or a target of one of them is not there: there is nothing to accept.
    """
    with open_workspace(where, write=True, tell=_quiet, wait=wait) as space:
        plan = space.plan
        ahead = plan_ahead(space, targets)
        # Named targets are meant as such; without any, all that plain `duct` would look at.
        jobs = sorted(ahead.jobs.intersection(ahead.selection.jobs or ()) if targets else ahead.jobs)
        run = space.begin_run()
        accepted = []
        judged = [(job, space.judge.judge(job)) for job in jobs]
        missing = [name for job, each in judged if each.reasons for name in _missing(space, job)]
        if missing:
            shown_ = ", ".join(shown(name) for name in missing[:5])
            raise UsageError(
                f"cannot accept: {count(len(missing), 'file')} not there: {shown_}", hint="`duct build` makes them"
            )
        for job, each in judged:
            space.dirty.discard(job)
            if each.reasons:
                space.judge.fingerprint_inputs(each)
                space.take_for_made(job, each.packed, run, "accepted")
                accepted.append(plan.job_name(job))
        space.save()
        return accepted


def _quiet(event: Event) -> None:
    """Warnings of the plan are told by the verbs that build."""


def _missing(space: Workspace, job: int) -> list[str]:
    plan = space.plan
    keys = [*plan.inputs(job), *plan.targets(job)]
    return [plan.names[key] for key in keys if space.contents.stamp(key) is None]
