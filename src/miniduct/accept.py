"""`duct accept`: take what stands there for what the jobs would make.

For a changed command that makes the same, and for targets brought from elsewhere.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .errors import UsageError
from .model import Check
from .survey import plan_ahead
from .text import count, shown
from .trace.record import Trace
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
                space.traces.record(_trace(space, job, each.packed, run))
                space.judge.drop(job)
                accepted.append(plan.job_name(job))
        space.save()
        return accepted


def _quiet(event: Event) -> None:
    """Warnings of the plan are told by the verbs that build."""


def _missing(space: Workspace, job: int) -> list[str]:
    plan = space.plan
    keys = [*plan.inputs(job), *plan.targets(job)]
    return [plan.names[key] for key in keys if space.contents.stamp(key) is None]


def _trace(space: Workspace, job: int, packed: bytes, run: int) -> Trace:
    plan, contents = space.plan, space.contents
    number = plan.step_of(job)
    step = plan.steps[number]
    check = Check.CONTENT if step.check is Check.CONTENT else Check.MTIME
    targets = plan.targets(job)
    stamps = [contents.stamp(key) for key in targets]
    return Trace(
        id=plan.job_id(job),
        step=step.name,
        values=plan.values(job),
        definition=space.digests[number],
        command=space.commands.digest(job),
        check=step.check.value,
        inputs=[plan.names[key] for key in plan.inputs(job)],
        input_fps=packed,
        targets=[plan.names[key] for key in targets],
        target_fps=b"".join(contents.fingerprint(key, check) or b"" for key in targets),
        target_stamps=[stamp for stamp in stamps if stamp is not None],
        run=run,
        started=time.time(),
        seconds=0.0,
        attempts=0,
        output=0,
        log=None,
        reasons=[("accepted", None, None, None)],
    )
