"""`duct clean`: remove targets, or those that no job makes any more. Only what duct made and what still holds what duct made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answers import Removal
from .model import Check
from .plan.select import Selection, select
from .trace.fingerprints import mtime_fingerprint
from .workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .events import Event
    from .trace.record import Trace
    from .workspace import Where, Workspace


def plan_clean(where: Where, targets: Sequence[str], *, orphans: bool = False) -> list[Removal]:
    """What would be removed: the existing targets of the selected jobs, or the orphans; those that must stay say why."""
    with open_workspace(where, write=False, tell=_quiet) as space:
        return list(_orphans(space) if orphans else _targets(space, targets))


def clean(where: Where, removals: Sequence[Removal], *, wait: bool = True) -> list[str]:
    """Remove these, each judged once more under the lock; the keys that were removed. StoreError."""
    removed = []
    with open_workspace(where, write=True, tell=_quiet, wait=wait) as space:
        standing = {each.key: each for each in [*_orphans(space), *_targets(space, ())]}
        for each in removals:
            now = standing.get(each.key)
            if now is not None and now.refused is None:
                space.remove(each.key)
                removed.append(each.key)
        space.traces.forget_keys(removed)
    return removed


def clean_objects(where: Where, *, wait: bool = True, dry_run: bool = False) -> int:
    """Remove the local copies of remote inputs, and what is kept of answers; the bytes removed. BuildRunning."""
    with open_workspace(where, write=not dry_run, tell=_quiet, wait=wait) as space:
        return space.objects.size() if dry_run else space.objects.clean()


def _quiet(event: Event) -> None:
    """Warnings of the plan are told by the verbs that build."""


def _orphans(space: Workspace) -> Iterator[Removal]:
    space.ask_remote(Selection(None))
    keys = [*space.orphans(), *space.edited_orphans]
    made = {}
    if keys:
        for trace in space.traces.makers(keys):
            made.update(dict.fromkeys(trace.targets, trace))
    for key in sorted(keys):
        yield _removal(space, key, made.get(key), None)


def _targets(space: Workspace, targets: Sequence[str]) -> Iterator[Removal]:
    plan = space.plan
    if targets:
        selection = select(plan, space.project, targets, space.where.standing)
    else:
        selection = Selection(None)
    space.ask_remote(selection)
    jobs = selection.jobs
    for job in range(plan.jobs) if jobs is None else jobs:
        trace = space.judge.trace(job)
        for key in plan.targets(job):
            if space.contents.look(key) is not None:
                yield _removal(space, plan.names[key], trace, job)


def _removal(space: Workspace, key: str, trace: Trace | None, job: int | None) -> Removal:
    stamp = space.store.stat(key)
    size = stamp.size if stamp else 0
    name = None if job is None else space.plan.job_name(job)
    recorded = trace.target_fingerprint(key) if trace else None
    if recorded is None or trace is None or stamp is None:
        return Removal(key, size, name, "duct did not make it")
    by_content = trace.check == Check.CONTENT.value
    holds = space.store.fingerprint(key) if by_content else mtime_fingerprint(stamp)
    return Removal(key, size, name, None if holds == recorded else "edited since duct made it")
