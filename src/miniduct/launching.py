"""From a stale job to a running attempt: its command, environment, log, and the words for how it ended."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import TYPE_CHECKING

from blake3 import blake3

from . import events as ev
from .model import nowhere
from .publishing import Publisher
from .runners.base import Task
from .text import duration
from .trace.record import Failure
from .witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .events import Event
    from .judging import Judged
    from .model import Step
    from .plan.columns import Job
    from .rebuilder import Reason
    from .runners.base import Done, Runner
    from .workspace import Workspace

ORDINARY = re.compile(r"[\w.@%+=,-]{1,80}", re.ASCII)
"""What a log's name may hold as it is; anything else is told apart by a digest."""

BATCH_LOG = re.compile(r"batch-(\d+)-\d+\.log")
KEPT_BATCH_LOGS = 20
"""Builds whose batches' logs are kept."""


class Attempt:
    """One attempt of one job, from its start to its record. `number` counts from 1; `started` is in seconds since the epoch.

    `witness` is, of a batch, what saw its targets being written.
    """

    def __init__(
        self,
        id: int,  # noqa: A002
        number: int,
        judged: Judged,
        log: str,
        started: float,
        witness: Witness | None = None,
    ) -> None:
        self.id = id
        self.job = judged.job
        self.number = number
        self.judged = judged
        self.log = log
        self.started = started
        self.witness = witness
        self.said = 0
        """Bytes of output to be told with this job; of the jobs of a batch, one tells for all."""


class Launcher:
    """Starts the attempts of one round, and undoes the failed ones."""

    def __init__(self, space: Workspace, runner: Runner, run: int) -> None:
        self.attempts: dict[int, int] = {}
        """The number of the next attempt, for jobs that are tried again."""
        self.publisher = Publisher(
            space.plan,
            space.contents,
            space.commands,
            store=space.store,
            staging=space.staging,
            traces=space.traces,
            digests=space.digests,
        )
        self._space = space
        self._runner = runner
        self._run = run
        self._read = nowhere if space.store.values is None else space.store.values.read
        self._environments: dict[int, Mapping[str, str]] = {}
        self._masks: dict[int, tuple[bytes, ...]] = {}
        self._swept: set[str] = set()
        self._batches = 0

    def prepare(self, judged: Judged) -> list[tuple[str, str]]:
        """Make room for a job's targets; the user's copies that were put aside for it. DuctError."""
        judged.command = self._space.commands.digest(judged.about)
        return self.publisher.prepare(judged)

    def start(self, batch: Sequence[Judged], tell: Callable[[Event], None], expected: float | None) -> list[Attempt]:
        """Start one command for these prepared jobs of one step; an attempt for each job. DuctError: nothing was started."""
        if batch[0].about.is_light:
            return [self.call(batch[0], tell, expected, self._runner.submit)]
        space = self._space
        commands = space.commands
        jobs = [judged.about for judged in batch]
        about = jobs[0]
        number, step = about.step_number, about.step
        if step.batch > 1:
            rendered = commands.render_batch(jobs)
            # Names by the hundred are not worth showing: then each job's command is told as if it stood alone.
            by_manifest = not commands.names_length(about)
            shown = [commands.shown(about)] * len(jobs) if by_manifest else [commands.shown(job) for job in jobs]
        else:
            rendered, shown = commands.render(about), [commands.shown(about)]
        if commands.template(number).uses_manifest:
            commands.write_manifest(jobs)
        counts = [self.attempts.pop(judged.job, 1) for judged in batch]
        log = self._batch_log(about) if step.batch > 1 else log_path(space.logs, about)
        attempt, started = space.next_attempt(), time.time()
        task = Task(
            attempt=attempt,
            argv=rendered.argv if rendered.script is None else space.script(rendered, step.cwd),
            call=rendered.call,
            stdout=rendered.stdout,
            body=rendered.body,
            work=None if rendered.work is None else rendered.work._replace(attempt=counts[0], read=self._read),
            log=log,
            cwd=step.cwd,
            env=None if rendered.body is not None else self._environment(number, max(counts)),
            timeout=step.timeout,
            append=step.batch == 1 and counts[0] > 1,
            mask=self._mask(number),
        )
        if step.batch == 1 and counts[0] == 1:
            self._forget_log(batch[0])
        places = self.publisher.places
        witness = Witness([path for judged in batch for path in places(judged)]) if len(batch) > 1 else None
        self._runner.submit(task)
        live = None if task.mask else self._runner.running_log(attempt)
        for at, (judged, count) in enumerate(zip(batch, counts)):
            tell(
                ev.JobStarted(
                    judged.about.name,
                    judged.reasons,
                    count,
                    shown[at],
                    log,
                    description=step.description,
                    expected=expected,
                    live=None if at else live,
                )
            )
        return [Attempt(attempt, count, judged, log, started, witness) for judged, count in zip(batch, counts)]

    def call(
        self,
        judged: Judged,
        tell: Callable[[Event], None],
        expected: float | None,
        submit: Callable[[Task], None],
    ) -> Attempt:
        """As `start`, by `submit`, for a job that is light."""
        space, about = self._space, judged.about
        step, body = about.step, about.step.body
        assert body is not None
        count = self.attempts.pop(judged.job, 1)
        work = space.commands.work(about, judged.declared.every[0].place, count, self._read)
        log = log_path(space.logs, about)
        attempt, started = space.next_attempt(), time.time()
        task = Task(
            attempt,
            (),
            log,
            step.cwd,
            None,
            step.timeout,
            count > 1,
            (),
            None,
            None,
            body.call,
            work,
        )
        if count == 1:
            self._forget_log(judged)
        submit(task)
        live = self._runner.running_log(attempt)
        tell(ev.JobStarted(about.name, judged.reasons, count, body.label, log, step.description, expected, live))
        return Attempt(attempt, count, judged, log, started)

    def copying(self, judged: Judged, tell: Callable[[Event], None], expected: float | None) -> Attempt:
        """Tell of a prepared job that copies; its attempt. The copying is the caller's."""
        space, job, about = self._space, judged.job, judged.about
        count = self.attempts.pop(job, 1)
        tell(
            ev.JobStarted(
                about.name,
                judged.reasons,
                count,
                space.commands.shown(about),
                "",
                description=about.step.description,
                expected=expected,
            )
        )
        return Attempt(space.next_attempt(), count, judged, "", time.time())

    def undo(self, judged: Judged) -> None:
        self.publisher.undo(judged)

    def record_failure(
        self,
        job: int,
        error: str,
        facts: Sequence[str],
        reasons: Sequence[Reason],
        code: int | None,
        seconds: float,
        log: str | None,
    ) -> None:
        """Remember how the job failed, for `status` and `why`."""
        about = self._space.plan.job(job)
        self._space.traces.fail(
            Failure(
                id=about.id,
                step=about.step.name,
                values=about.values,
                run=self._run,
                when=time.time(),
                seconds=seconds,
                error=error,
                exit_code=code,
                log=log,
                facts=tuple(facts),
                reasons=tuple(reasons),
            )
        )

    def _forget_log(self, judged: Judged) -> None:
        """A log tells of the last run: the one before must not stay where the coming one says nothing."""
        if judged.past is not None and judged.past.log:
            try:
                os.unlink(judged.past.log)
            except OSError:
                pass

    def _batch_log(self, job: Job) -> str:
        """A batch's own log: its jobs may end up in other batches the next time. Those of long past builds are removed."""
        folder = f"{self._space.logs}/{_ordinary(job.step.name)}"
        if folder not in self._swept:
            self._swept.add(folder)
            _sweep(folder, self._run - KEPT_BATCH_LOGS)
        self._batches += 1
        return f"{folder}/batch-{self._run}-{self._batches}.log"

    def _environment(self, step: int, attempt: int) -> Mapping[str, str]:
        found = self._environments.get(step)
        if found is None:
            found = {**self._space.environ, **self._space.plan.steps[step].env_set, "DUCT_RUN": self._space.marker}
            self._environments[step] = found
        return found if attempt == 1 else {**found, "DUCT_ATTEMPT": str(attempt)}

    def _mask(self, step: int) -> tuple[bytes, ...]:
        secrets = self._space.plan.steps[step].secrets
        if not secrets:
            return ()
        found = self._masks.get(step)
        if found is None:
            values = [self._space.environ.get(name, "") for name in secrets]
            found = self._masks[step] = tuple(
                sorted({os.fsencode(value) for value in values if value}, key=len, reverse=True)
            )
        return found


def _ordinary(name: str) -> str:
    if ORDINARY.fullmatch(name) and not name.startswith("."):
        return name
    digest = blake3(os.fsencode(name)).hexdigest(length=6)
    plain = re.sub(r"[^\w.@%+=,-]+", "_", name, flags=re.ASCII).lstrip(".")
    return f"{plain[:80]}-{digest}"


def _sweep(folder: str, last: int) -> None:
    """Remove the logs of batches up to this build."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        found = BATCH_LOG.fullmatch(name)
        if found and int(found[1]) <= last:
            os.unlink(f"{folder}/{name}")


def log_path(folder: str, job: Job) -> str:
    """Where a job's own log lies in the folder of logs."""
    if not job.values:
        return f"{folder}/{_ordinary(job.step.name)}.log"
    return f"{folder}/{_ordinary(job.step.name)}/{_ordinary(','.join(f'{k}={v}' for k, v in job.values.items()))}.log"


def failure_of(done: Done, attempt: Attempt) -> str | None:
    """How the attempt failed, in words; None where it ended well."""
    if done.timed_out:
        timeout = attempt.judged.about.step.timeout
        limit = duration(timeout) if timeout is not None else "its time"
        return f"ran past its timeout of {limit}"
    if done.error:
        return done.error
    if done.code < 0:
        return f"was killed by {_signal(-done.code)}"
    if done.code > 0:
        return f"failed with exit code {done.code}"
    return None


def may_retry(step: Step, attempt: int, code: int | None, *, timed_out: bool, raised: Sequence[str] = ()) -> bool:
    """Is another attempt allowed after this one, by the step's `retries` and `retry_on`?"""
    if attempt > step.retries:
        return False
    if not step.retry_on:
        return True
    if timed_out:
        return "timeout" in step.retry_on
    if code is None:
        return False
    if any(name in step.retry_on for name in raised):
        return True
    return (code in step.retry_on) if code >= 0 else (_signal(-code) in step.retry_on)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
