"""From a stale job to a running attempt: its command, environment, log, and the words for how it ended."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import events as ev
from .publishing import Publisher
from .runners.base import Task
from .text import duration
from .trace.record import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .events import Event
    from .judging import Judged
    from .model import Step
    from .rebuilder import Reason
    from .runners.base import Done, Runner
    from .workspace import Workspace

ORDINARY = re.compile(r"[\w.@%+=,-]{1,80}", re.ASCII)
"""What a log's name may hold as it is; anything else is told apart by a digest."""


@dataclass
class Attempt:
    """One attempt of one job, from its start to its record. `number` counts from 1; `started` is in seconds since the epoch."""

    id: int
    job: int
    number: int
    judged: Judged
    log: str
    started: float
    timeout: float | None


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
        self._environments: dict[int, Mapping[str, str]] = {}
        self._masks: dict[int, tuple[bytes, ...]] = {}

    def start(
        self, judged: Judged, tell: Callable[[Event], None], expected: float | None
    ) -> tuple[Attempt, list[tuple[str, str]]]:
        """Make room, and start the job's command; the attempt, and the user's copies that were put aside for it. DuctError."""
        space = self._space
        job = judged.job
        plan = space.plan
        number = plan.step_of(job)
        step = plan.steps[number]
        rendered = space.commands.render(job)
        kept = self.publisher.prepare(judged)
        if space.commands.template(number).uses_manifest:
            space.commands.write_manifest(job)
        log = self._log(job)
        count = self.attempts.pop(job, 1)
        attempt = Attempt(space.next_attempt(), job, count, judged, log, time.time(), step.timeout)
        task = Task(
            attempt=attempt.id,
            argv=rendered.argv if rendered.script is None else space.script(rendered, step.cwd),
            log=log,
            cwd=step.cwd,
            env=self._environment(number, count),
            timeout=step.timeout,
            append=count > 1,
            mask=self._mask(number),
        )
        if count == 1:
            self._forget_log(judged)
        self._runner.submit(task)
        tell(
            ev.JobStarted(
                plan.job_name(job),
                judged.reasons,
                count,
                space.commands.shown(job),
                log,
                description=step.description,
                expected=expected,
                live=None if task.mask else self._runner.running_log(attempt.id),
            )
        )
        return attempt, kept

    def undo(self, job: int) -> None:
        self.publisher.undo(job)

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
        plan = self._space.plan
        self._space.traces.fail(
            Failure(
                id=plan.job_id(job),
                step=plan.steps[plan.step_of(job)].name,
                values=plan.values(job),
                run=self._run,
                when=time.time(),
                seconds=seconds,
                error=error,
                exit_code=code,
                log=log,
                facts=list(facts),
                reasons=[(each.kind, each.key, each.old, each.new) for each in reasons],
            )
        )

    def _forget_log(self, judged: Judged) -> None:
        """A log tells of the last run: the one before must not stay where the coming one says nothing."""
        if judged.past is not None and judged.past.log:
            try:
                os.unlink(judged.past.log)
            except OSError:
                pass

    def _log(self, job: int) -> str:
        plan = self._space.plan
        step = plan.steps[plan.step_of(job)].name
        values = plan.values(job)
        folder = self._space.logs
        if not values:
            return f"{folder}/{_ordinary(step)}.log"
        return f"{folder}/{_ordinary(step)}/{_ordinary(','.join(f'{k}={v}' for k, v in values.items()))}.log"

    def _environment(self, step: int, attempt: int) -> Mapping[str, str]:
        found = self._environments.get(step)
        if found is None:
            found = {**self._space.environ, **self._space.plan.steps[step].env_set, "DUCT_RUN": self._space.marker}
            self._environments[step] = found
        return found if attempt == 1 else {**found, "DUCT_ATTEMPT": str(attempt)}

    def _mask(self, step: int) -> tuple[bytes, ...]:
        found = self._masks.get(step)
        if found is None:
            values = [self._space.environ.get(name, "") for name in self._space.plan.steps[step].secrets]
            found = self._masks[step] = tuple(
                sorted({os.fsencode(value) for value in values if value}, key=len, reverse=True)
            )
        return found


def _ordinary(name: str) -> str:
    if ORDINARY.fullmatch(name) and not name.startswith("."):
        return name
    digest = hashlib.blake2b(os.fsencode(name), digest_size=6).hexdigest()
    plain = re.sub(r"[^\w.@%+=,-]+", "_", name, flags=re.ASCII).lstrip(".")
    return f"{plain[:80]}-{digest}"


def failure_of(done: Done, attempt: Attempt) -> str | None:
    """How the attempt failed, in words; None where it ended well."""
    if done.timed_out:
        limit = duration(attempt.timeout) if attempt.timeout is not None else "its time"
        return f"ran past its timeout of {limit}"
    if done.error:
        return done.error
    if done.code < 0:
        return f"was killed by {_signal(-done.code)}"
    if done.code > 0:
        return f"failed with exit code {done.code}"
    return None


def may_retry(step: Step, attempt: int, code: int | None, *, timed_out: bool) -> bool:
    """Is another attempt allowed after this one, by the step's `retries` and `retry_on`?"""
    if attempt > step.retries:
        return False
    if not step.retry_on:
        return True
    if timed_out:
        return "timeout" in step.retry_on
    if code is None:
        return False
    return (code in step.retry_on) if code >= 0 else (_signal(-code) in step.retry_on)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
