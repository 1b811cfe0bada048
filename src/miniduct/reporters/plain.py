"""Events to plain lines: one for each job that runs, with its reason; failures in full; a sum at the end. For pipes, files, cron and CI.

Without a terminal somebody still wants to know that a long job is alive: a line of what runs comes every half minute in which nothing else
was said. Refuses to know terminals: the live view draws around these lines.
"""

from __future__ import annotations

import os
import shlex
import time
from typing import TYPE_CHECKING, Any

from .. import events as ev
from ..text import count, duration, shown, size
from .output import JobKey, Output, job_key, last_lines
from .screen import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Paint, Streams
from .words import (
    clean_line,
    failure_headline,
    failure_text,
    inner_signal_text,
    job_text,
    names_text,
    orphans_lines,
    planned_sum_text,
    reasons_text,
    sum_text,
    values_lines,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..events import Event, JobName

HEARTBEAT = 30.0
"""Seconds of silence after which a line says what runs."""

_MOST_FAILURES = 10
_LONGEST_COMMAND = 5_000
_ANSWERS = {"will": YELLOW, "may": CYAN, "no": DIM}


class Place:
    """How paths and commands look from where the user stands: `standing` is that folder, relative to the root."""

    def __init__(self, standing: str = ".") -> None:
        self._standing = standing

    def seen(self, path: str) -> str:
        """A path relative to the root, from where the user stands. A folder keeps its slash."""
        if self._standing == "." or os.path.isabs(path):
            return path
        return os.path.relpath(path, self._standing) + ("/" if path.endswith("/") else "")

    def path(self, path: str) -> str:
        """The same for a message."""
        return shown(self.seen(path))

    def command(self, command: str) -> str:
        """A command that is right at the root, as the user may type it."""
        if self._standing == ".":
            return command
        return f"(cd {shlex.quote(os.path.relpath('.', self._standing))} && {command})"


class Tally:
    """How far a build is. `total` is the most jobs that may run; early cutoff makes it fewer, a dynamic target more."""

    def __init__(self) -> None:
        self.total = 0
        self.seen = 0
        """Jobs that were started, or were over without a start: what the numbers of plain lines count."""
        self.over = 0
        self.failed = 0

    def begin(self, affected: int) -> None:
        """A round of a build begins: what ended before stays counted."""
        self.total = self.over + affected

    def number(self, at: int) -> str:
        """`[3/17]`, padded to the total's width."""
        total = max(self.total, at)
        return f"[{at:>{len(str(total))}}/{total}]"


class Running:
    """An attempt that runs: what its lines need when it ends."""

    __slots__ = ("event", "since")

    def __init__(self, event: ev.JobStarted, since: float) -> None:
        self.event = event
        self.since = since


class PlainReporter:
    """Lines to the streams.

    `targets` are those that the user named. `lines` says when a job's own line comes: at its "start", at its "end" (a live view shows the
    running ones), or "never".
    """

    def __init__(
        self,
        streams: Streams,
        *,
        paint: Paint | None = None,
        output: str = "group",
        quiet: bool = False,
        verbose: int = 0,
        place: Place | None = None,
        targets: Sequence[str] = (),
        lines: str = "start",
        clock: Callable[[], float] = time.monotonic,
        heartbeat: float | None = HEARTBEAT,
    ) -> None:
        self.lines = lines
        self.tally = Tally()
        self.running: dict[JobKey, Running] = {}
        self.fetching: dict[str, tuple[int, float]] = {}
        """The remote inputs that are on their way: size, and since when."""
        self._streams = streams
        self._paint = paint or Paint(on=False)
        self._quiet = quiet
        self._verbose = verbose
        self._place = place or Place()
        self._targets = targets
        self._clock = clock
        self._heartbeat = heartbeat
        self._begun = self._spoke = clock()
        self._output = Output(output, self._put, self._head)
        self._last_line: JobKey | None = None
        self._failures: list[ev.JobEnded] = []
        self._after_failure = False
        self._skipped: dict[str, list[str]] = {}
        self._roots: dict[JobKey, str] = {}
        self._planned = {"will": 0, "may": 0, "no": 0}
        self._tellers: dict[type, Callable[[Any], None]] = {
            ev.BuildStarted: self._build_started,
            ev.JobStarted: self._job_started,
            ev.JobEnded: self._job_ended,
            ev.JobUpToDate: self._job_up_to_date,
            ev.JobSkipped: self._job_skipped,
            ev.JobPlanned: self._job_planned,
            ev.JobRetried: self._job_retried,
            ev.Kept: self._kept,
            ev.Warned: self._warned,
            ev.FetchStarted: self._fetch_started,
            ev.FetchEnded: self._fetch_ended,
            ev.Waiting: self._waiting,
            ev.BuildEnded: self._build_ended,
        }

    def tell(self, event: Event) -> None:
        """Say what there is to say of the event."""
        self._tellers[type(event)](event)

    def tick(self) -> None:
        """Show output that has come; say what runs if nothing was said for long."""
        if self._output.poll():
            self._spoke = self._clock()
        if self._heartbeat is None or self._quiet or not (self.running or self.fetching):
            return
        if self._clock() - self._spoke >= self._heartbeat:
            self._say(self._alive())

    def close(self) -> None:
        """Nothing is held."""

    def _say(self, text: str) -> None:
        self._spoke = self._clock()
        self._last_line = None
        self._after_failure = True
        self._streams.say(text)

    def _duct(self, text: str, *lines: str) -> None:
        self._say("\n".join([f"duct: {text}", *(f"  {line}" for each in lines for line in each.split("\n"))]))

    def _put(self, data: bytes) -> None:
        self._spoke = self._clock()
        self._last_line = None
        self._streams.put(data)

    def _head(self, job: JobName) -> None:
        """Whose output follows, unless the line just said tells it, or is read elsewhere."""
        if self._streams.same and self._last_line != job_key(job):
            self._say(self._paint(f"output of {job_text(job)}:", DIM))

    def _alive(self) -> str:
        now = self._clock()
        if not self.running:
            return f"duct: still {self.fetching_text()} after {duration(now - self._begun)}"
        longest = sorted(self.running.values(), key=lambda running: running.since)
        told = []
        for running in longest[:3]:
            expected = running.event.expected
            usual = f", usually {duration(expected)}" if expected is not None and expected >= 1 else ""
            told.append(f"{job_text(running.event.job)} ({duration(now - running.since)}{usual})")
        over = f"{self.tally.over:,} of {count(max(self.tally.total, self.tally.over), 'job')} over"
        return f"duct: still running after {duration(now - self._begun)}: {_names(told, len(longest))}; {over}"

    def _build_started(self, event: ev.BuildStarted) -> None:
        self.tally.begin(event.affected)
        if self._verbose:
            build = f"build {event.run}: " if event.run else ""
            self._duct(
                f"{build}{event.affected:,} of {count(event.jobs, 'job')} may have to run, {event.slots} at a time"
            )

    def _job_started(self, event: ev.JobStarted) -> None:
        key = job_key(event.job)
        if event.attempt <= 1:
            self.tally.seen += 1
        self.running[key] = Running(event, self._clock())
        self._output.started(event)
        if self.lines == "start" and not self._quiet and event.attempt <= 1:
            self._job_line(event, self.tally.seen, None)

    def _job_line(self, event: ev.JobStarted, at: int, seconds: float | None) -> None:
        number = self._paint(self.tally.number(at), DIM)
        reasons = reasons_text(event.reasons)
        line = f"{number} {self._paint(job_text(event.job), BOLD)}{': ' if reasons else ''}{reasons}"
        if seconds is not None:
            line += self._paint(f"   {duration(seconds)}", DIM)
        if self._verbose:
            line += "".join(f"\n  {self._paint(clean_line(part), DIM)}" for part in event.command.strip().split("\n"))
        self._say(line)
        self._last_line = job_key(event.job)

    def _job_ended(self, event: ev.JobEnded) -> None:
        key = job_key(event.job)
        running = self.running.pop(key, None)
        self.tally.over += 1
        if running is None:
            self.tally.seen += 1
        if self.lines == "end" and running is not None and event.status in ("done", "failed") and not self._quiet:
            self._job_line(running.event, self.tally.over, event.seconds)
        told = False
        if not self._quiet:
            told = self._output.ended(event) and self._streams.same
        if event.status == "failed":
            self.tally.failed += 1
            if event.told_by is not None:
                return
            self._failures.append(event)
            self._failure(event, running.event if running else None, told=told)
            self._after_failure = False
        elif event.status == "interrupted" and self._verbose:
            self._duct(f"interrupted {job_text(event.job)}")

    def _failure(self, event: ev.JobEnded, started: ev.JobStarted | None, *, told: bool) -> None:
        """All that is needed to understand a failure and to repeat it. `told`: the output stands right above."""
        headline = failure_headline(event.job, event.error, event.exit_code)
        if event.attempt > 1:
            headline += f", after {event.attempt} attempts"
        lines = values_lines(event.job)
        within = inner_signal_text(event.exit_code)
        if within:
            lines.append(within)
        lines += event.facts
        output, more = ([], False) if told or not event.output else last_lines(event.log)
        if output:
            lines.append(f"the last {len(output)} lines of its output:" if more else "its output:")
            lines += [f"  {line}" for line in output]
        if event.log and event.output:
            lines.append(f"log: {self._place.path(event.log)}   ({duration(event.seconds)})")
        elif started is not None:
            lines.append(f"it said nothing   ({duration(event.seconds)})")
        command = event.repeat or (started.command if started is not None else "")
        if command:
            lines.append(_repeat(self._place.command(command.strip())))
        self._duct(self._paint(headline, RED, BOLD), *lines)

    def _job_up_to_date(self, event: ev.JobUpToDate) -> None:
        self.tally.over += 1
        self.tally.seen += 1
        if self._verbose:
            at = self.tally.over if self.lines == "end" else self.tally.seen
            self._say(f"{self._paint(self.tally.number(at), DIM)} {job_text(event.job)}: up to date")

    def _job_skipped(self, event: ev.JobSkipped) -> None:
        self.tally.over += 1
        self.tally.seen += 1
        root = self._roots.get(job_key(event.because)) or job_text(event.because)
        self._roots[job_key(event.job)] = root
        self._skipped.setdefault(root, []).append(job_text(event.job))

    def _job_planned(self, event: ev.JobPlanned) -> None:
        self._planned[event.answer] += 1
        if (event.answer == "no" and not self._verbose) or self._quiet:
            return
        answer = self._paint(f"{event.answer:<4}", _ANSWERS[event.answer])
        reasons = reasons_text(event.reasons)
        line = f"{answer}  {job_text(event.job)}{': ' if reasons else ''}{reasons}"
        if self._verbose and event.command:
            line += "".join(f"\n        {clean_line(part)}" for part in event.command.strip().split("\n"))
        self._put(line.encode("utf-8", "backslashreplace") + b"\n")

    def _job_retried(self, event: ev.JobRetried) -> None:
        running = self.running.pop(job_key(event.job), None)
        self._output.retried(event, running.event.log if running else None)
        if not self._quiet:
            self._duct(
                f"{job_text(event.job)} {failure_text(event.error, None)} in attempt {event.attempt}; "
                f"the next one in {duration(event.delay)}"
            )

    def _kept(self, event: ev.Kept) -> None:
        self._duct(f"{shown(event.key)} was not what duct made; your copy is kept in {self._place.path(event.path)}")

    def _warned(self, event: ev.Warned) -> None:
        if not self._quiet:
            self._duct(f"{self._paint('warning', YELLOW)}: {event.text}", *event.facts)

    def _fetch_started(self, event: ev.FetchStarted) -> None:
        self.fetching[event.key] = event.size, self._clock()
        if self._verbose:
            self._say(self._paint(f"fetching {shown(event.key)} ({size(event.size)})", DIM))

    def _fetch_ended(self, event: ev.FetchEnded) -> None:
        self.fetching.pop(event.key, None)

    def fetching_text(self) -> str:
        """What is on its way, as a part of a sentence."""
        return (
            f"fetching {count(len(self.fetching), 'input')} ({size(sum(each for each, _ in self.fetching.values()))})"
        )

    def _waiting(self, event: ev.Waiting) -> None:
        if not self._quiet:
            self._duct(f"waiting for another build of this project: {event.holder}")

    def _build_ended(self, event: ev.BuildEnded) -> None:
        if self._quiet and not (event.failed or event.interrupted):
            return
        if len(self._failures) > 1 or self._after_failure:
            self._failed_again()
        for root, names in self._skipped.items():
            self._duct(f"not run because of {root}: {names_text(names)}")
        if not self._quiet:
            orphans = orphans_lines(event.orphans)
            if orphans:
                self._duct(orphans[0], *(line.strip() for line in orphans[1:]))
        if event.dry_run:
            will, may, no = (self._planned[answer] for answer in ("will", "may", "no"))
            self._duct(planned_sum_text(will, may, max(no, event.up_to_date), self._targets))
            return
        bad = event.failed or event.interrupted
        text = sum_text(event, self._targets)
        self._duct(self._paint(text, *((RED, BOLD) if bad else (GREEN,) if event.ran else ())))

    def _failed_again(self) -> None:
        """The failures once more, a line each, for those whose first telling has scrolled away."""
        for event in self._failures[:_MOST_FAILURES]:
            log = f", log in {self._place.path(event.log)}" if event.log and event.output else ""
            what = failure_text(event.error, event.exit_code).split("\n")[0]
            self._duct(f"{job_text(event.job)} {what}{log}")
        further = len(self._failures) - _MOST_FAILURES
        if further > 0:
            self._duct(f'{further:,} more failed ("duct status" lists them)')


def _names(told: list[str], number: int) -> str:
    further = number - len(told)
    return ", ".join(told) + (f" and {further:,} more" if further > 0 else "")


def _repeat(command: str) -> str:
    if len(command) > _LONGEST_COMMAND:
        command = f"{command[:_LONGEST_COMMAND]}… ({count(len(command), 'character')}; duct why -v tells all)"
    command = "\n".join(map(clean_line, command.split("\n")))
    if "\n" not in command:
        return f"to repeat it: {command}"
    return "\n".join(["to repeat it:", *(f"  {line}" for line in command.split("\n"))])
