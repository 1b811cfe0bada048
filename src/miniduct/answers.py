"""What the asking verbs answer with: `status`, `why`, `list`, `graph`, `clean`. Values only: no wording, no disk.

The engine fills them, the command line words them and `--json` writes them. Paths and keys are relative to the project's root; times are
seconds since the epoch, durations are seconds. Nothing here grows with the number of jobs that are up to date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .events import JobName
    from .rebuilder import Reason
    from .trace.record import Failure

UP_TO_DATE = "up to date"
STALE = "stale"
MAY = "may"
FAILED = "failed"
"""States of a job, as `status` and `why` tell them. "may": it depends on what the jobs before it make. "failed": its last run failed, and
nothing was changed since that would make it up to date."""


class JobStatus(NamedTuple):
    """One job that is not up to date. `failure` is set where its last run failed."""

    job: JobName
    state: str
    reasons: Sequence[Reason] = ()
    failure: Failure | None = None


class StatusReport(NamedTuple):
    """Of `total` jobs asked for, those that are not up to date (in plan order), and what is left over.

    `orphans` are existing targets that no job makes any more. `notes` are what the user should know besides, one text each: a wildcard that
    matches nothing, a build that runs just now, state that could not be read.
    """

    jobs: Sequence[JobStatus]
    total: int
    orphans: Sequence[str] = ()
    notes: Sequence[str] = ()


class LastRun(NamedTuple):
    """The last good run of a job, and why it ran."""

    run: int
    started: float
    seconds: float
    attempts: int
    reasons: Sequence[Reason]
    log: str | None = None
    """None: the job said nothing."""


class Cause(NamedTuple):
    """One link of the chain to the root cause: a job, and why it is stale or why it ran."""

    job: JobName
    reasons: Sequence[Reason]
    failure: Failure | None = None


class LogRow(NamedTuple):
    """The log of a job's last run, good, failed or interrupted; None where it said nothing, and not `ran` where there was no run."""

    job: JobName
    path: str | None
    ran: bool = True


class Why(NamedTuple):
    """Why a job is stale, or why it last ran.

    `chain` leads from the nearest maker of a changed input to the root cause: for a job that is stale through what is stale now, for a job that is
    up to date through the build in which it last ran. `command` is what would be run.
    """

    job: JobName
    state: str
    reasons: Sequence[Reason]
    chain: Sequence[Cause] = ()
    last: LastRun | None = None
    failure: Failure | None = None
    command: str = ""
    inputs: Sequence[str] = ()
    targets: Sequence[str] = ()


class Removal(NamedTuple):
    """One file or folder that `clean` would remove. `refused` says why it must not be: edited since, not made by duct.

    `job` is the job that makes it, None for an orphan. `size` is in bytes.
    """

    key: str
    size: int
    job: JobName | None = None
    refused: str | None = None


class StepRow(NamedTuple):
    """One step: the number of its jobs, and how its entry in the Ductfile describes it. `targets` are its patterns."""

    step: str
    jobs: int
    description: str = ""
    targets: Sequence[str] = ()
    tags: Sequence[str] = ()
    group: bool = False
    """A name for its inputs: it has no jobs of its own."""


class JobRow(NamedTuple):
    """One job and what it makes."""

    job: JobName
    targets: Sequence[str]


class KeyRow(NamedTuple):
    """One key: a target with its `job`, or a source (None). `readers` is the number of jobs that read it."""

    key: str
    job: JobName | None
    readers: int


ListRow = StepRow | JobRow | KeyRow
"""`list` answers "steps" with StepRow, "jobs" with JobRow, "keys" (targets) and "sources" with KeyRow. Any iterable of them will do."""


class GraphNode(NamedTuple):
    """A step, a job or a pattern of sources. `id` is unique; It `stands_for` so many jobs or files."""

    id: str
    label: str
    kind: str
    """ "step", "group", "job" or "source"."""
    stands_for: int = 1


class GraphEdge(NamedTuple):
    """`end` reads what `start` makes; `order` marks an edge that is there for the order only (`after`)."""

    start: str
    end: str
    order: bool = False
