"""What happened in a build, as values, and the protocol of those who tell it.

Events hold data, never wording: reporters choose the words, `--json` writes the fields as they are. Times are seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .rebuilder import Reason


class JobName(NamedTuple):
    """How a job is called: its step, the values of its wildcards, and its first target (None for a step without)."""

    step: str
    values: Mapping[str, str]
    target: str | None

    def __str__(self) -> str:
        if not self.values:
            return self.step
        return f"{self.step}[{','.join(f'{k}={v}' for k, v in self.values.items())}]"


class BuildStarted(NamedTuple):
    """Planning is done: `jobs` are selected, at most `affected` of them will run."""

    run: int
    root: str
    jobs: int
    affected: int
    slots: int


class JobStarted(NamedTuple):
    """One attempt of a job has started; `expected` is how long it took the last time, if that is known.

    `live` is the file that the attempt's output goes to while it runs; None where it may be shown only when it has ended (there are secrets to
    mask). It is only good until the job's end: the log holds the output from then on.
    """

    job: JobName
    reasons: Sequence[Reason]
    attempt: int
    command: str
    log: str
    description: str = ""
    expected: float | None = None
    live: str | None = None


class JobEnded(NamedTuple):
    """A job is over: `status` is "done", "failed" or "interrupted".

    `changed` tells whether any target differs from the last good run (False: its readers may be spared). `error` is set for a failure.
    `output` is the number of bytes in the log.
    """

    job: JobName
    status: str
    seconds: float
    changed: bool
    attempt: int
    log: str | None
    output: int
    exit_code: int | None = None
    error: str | None = None
    facts: Sequence[str] = ()
    targets: Sequence[str] = ()
    repeat: str = ""
    """What a user types in the root to do what a failed command did."""
    told_by: JobName | None = None
    """Set where the job failed with its batch: the failed job of the batch that tells for all."""


class JobUpToDate(NamedTuple):
    """A job that might have been affected was judged up to date: nothing ran."""

    job: JobName


class JobSkipped(NamedTuple):
    """A job was not run because the job `because` failed or was not run itself."""

    job: JobName
    because: JobName


class JobPlanned(NamedTuple):
    """Dry run: `answer` is "will", "may" or "no"."""

    job: JobName
    answer: str
    reasons: Sequence[Reason]
    command: str


class JobRetried(NamedTuple):
    """An attempt failed and another one follows after `delay` seconds."""

    job: JobName
    attempt: int
    delay: float
    error: str


class Kept(NamedTuple):
    """The user's copy of a target was put aside before the target was made anew."""

    key: str
    path: str


class Warned(NamedTuple):
    """Something the user should know; nothing stops because of it."""

    text: str
    facts: Sequence[str] = ()


class FetchStarted(NamedTuple):
    """A remote input is being fetched, for the jobs that read it; `size` is in bytes."""

    key: str
    size: int


class FetchEnded(NamedTuple):
    """A remote input is here; or, not `good`, it could not be had (its jobs tell why)."""

    key: str
    good: bool


class Waiting(NamedTuple):
    """Another build holds the project; this one waits for it."""

    holder: str


class BuildEnded(NamedTuple):
    """The sum: jobs by how they ended. `orphans` are the targets that no job makes any more, `moved` the keys that changed meanwhile, after they
    were looked at: what was built from them is stale again.
    """

    ran: int
    failed: int
    skipped: int
    up_to_date: int
    interrupted: int
    seconds: float
    orphans: Sequence[str] = ()
    moved: Sequence[str] = ()
    dry_run: bool = False


Event = (
    BuildStarted
    | JobStarted
    | JobEnded
    | JobUpToDate
    | JobSkipped
    | JobPlanned
    | JobRetried
    | Kept
    | Warned
    | FetchStarted
    | FetchEnded
    | Waiting
    | BuildEnded
)


class Reporter(Protocol):
    """Told of everything, in order, from one thread. `tick` is called now and then while jobs run (a live view redraws)."""

    def tell(self, event: Event) -> None: ...

    def tick(self) -> None: ...

    def close(self) -> None: ...
