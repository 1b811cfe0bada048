"""Brings the pure rebuilder together with what is there: loads traces by need, looks at inputs and targets, renders a command if it must."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING

from blake3 import blake3

from .commands import NOT_ASKED
from .keys import is_remote
from .model import FINGERPRINT_SIZE, Check
from .plan.definition import differences
from .rebuilder import FORCED, NEW, Past, Present, Reason, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from .commands import Commands, Targets
    from .contents import Contents
    from .plan.columns import Job, Plan
    from .plan.definition import Difference
    from .trace.database import Traces
    from .trace.record import Failure, Trace

AHEAD = 500
"""Traces are loaded in chunks: one query for 500 jobs costs about as much as twenty single ones."""
LONG = 256
"""A job with more inputs than this is judged by the stamps of the build's start; a shorter one looks at its inputs again."""


PLANNED = "duct-fingerprint"
"""The mark of a remote target that says what it was made of."""


class Judged:
    """A verdict, with what it was based on: the trace of the last good run, and what the inputs and targets hold now.

    `packed` are the inputs' fingerprints, 32 bytes each, `missing` the inputs that are not there, `standing` the targets that are, with their
    fingerprints. `since` is how much had been seen to move when the inputs were fingerprinted (`Contents.seen_to_move`).
    """

    command = b""
    """What identifies the command, once it is known."""
    adopted = False
    """Is it up to date by the marks of its remote targets, though no trace here says so?"""
    through: Mapping[str, str] = MappingProxyType({})
    """Direct targets that the command writes through a symbolic link, and where it leads."""

    def __init__(
        self,
        about: Job,
        declared: Targets,
        reasons: tuple[Reason, ...],
        past: Trace | None,
        inputs: list[int],
        packed: bytes,
        missing: list[int],
        check: Check,
        standing: dict[str, bytes],
        since: int,
    ) -> None:
        self.job = about.number
        self.about = about
        self.declared = declared
        self.reasons = reasons
        self.past = past
        self.inputs = inputs
        self.packed = packed
        self.missing = missing
        self.check = check
        self.standing = standing
        self.since = since

    def recorded(self, key: str) -> bytes | None:
        """What the last good run made of this key."""
        return self.past.target_fingerprint(key) if self.past else None


def planned(judged: Judged, plan: Plan, digests: Sequence[bytes]) -> str:
    """What identifies a run beforehand: its command, its step's definition, its inputs and their fingerprints. The same on each machine."""
    names = "\0".join([plan.names[key] for key in judged.inputs]).encode("utf-8", "surrogateescape")
    definition = digests[judged.about.step_number]
    return blake3(b"\0".join((judged.command, definition, blake3(names).digest(), judged.packed))).hexdigest()


class Judge:
    """Judges the jobs of one plan. `digests` and `definitions` hold one entry for each step."""

    def __init__(
        self,
        plan: Plan,
        contents: Contents,
        traces: Traces,
        commands: Commands,
        digests: Sequence[bytes],
        definitions: Sequence[str],
        marks: Callable[[str], Mapping[str, str]],
    ) -> None:
        self._plan = plan
        self._contents = contents
        self._traces = traces
        self._commands = commands
        self._digests = digests
        self._definitions = definitions
        self._marks = marks
        self._loaded: dict[int, Trace] = {}
        self._asked: set[int] = set()
        self._failures: Mapping[str, Failure] | None = None
        self._differing: dict[tuple[bytes, bytes], list[Difference]] = {}
        """Between definitions, by their digests: most jobs that are stale by theirs are so by the same ones."""
        self._none = False
        """Is there no trace at all?"""
        self._queue: Sequence[int] = ()
        self._at = 0

    def expect(self, jobs: Sequence[int]) -> None:
        """These jobs will be judged, once each, probably in this order: load their traces together."""
        self._none = self._traces.is_empty()
        self._queue = jobs
        self._at = 0

    def trace(self, job: int) -> Trace | None:
        """The trace of the job's last good run."""
        if self._none:
            return None
        if job not in self._asked:
            chunk = [job]
            while self._at < len(self._queue) and len(chunk) < AHEAD:
                coming = self._queue[self._at]
                self._at += 1
                if coming not in self._asked and coming != job:
                    chunk.append(coming)
            self._asked.update(chunk)
            ids = {self._plan.job_id(each): each for each in chunk}
            for job_id, trace in self._traces.load(list(ids)).items():
                self._loaded[ids[job_id]] = trace
        return self._loaded.get(job)

    def drop(self, job: int) -> None:
        """The job's trace is no longer needed here, or no longer true."""
        if not self._none:
            self._loaded.pop(job, None)
            self._asked.discard(job)

    def judge(self, job: int, *, forced: bool = False, unsettled: Collection[int] = ()) -> Judged:
        """All reasons to run the job. Inputs in `unsettled` are not looked at: their makers have yet to run.

        StoreError where an input or a target cannot be read.
        """
        plan, contents = self._plan, self._contents
        about = plan.job(job)
        number, step = about.step_number, about.step
        reasons: tuple[Reason, ...]
        inputs = about.inputs()
        settled = inputs if not unsettled else [key for key in inputs if key not in unsettled]
        if len(inputs) <= LONG:
            contents.look_again(settled)
        since = len(contents.seen_to_move)
        past = self.trace(job)
        if past is None and about.is_light and not unsettled:  # in the place of a value stands nothing of the user's
            first = self._first(about.id)
            reasons = (first, FORCED) if forced else (first,)
            missing, declared = contents.missing(inputs), self._commands.targets(about)
            return Judged(about, declared, reasons, None, inputs, b"", missing, step.check, {}, since)
        check = Check(past.check) if past else step.check
        # Where it never ran, what its inputs hold is asked only when it starts.
        packed = contents.packed(inputs, check, unsettled) if past else b""
        missing = contents.missing(settled)
        target_check = Check.CONTENT if check is Check.CONTENT else Check.MTIME
        names = plan.names
        standing: dict[str, bytes] = {}
        for key in about.targets:
            if contents.look(key) is not None:
                fingerprint = contents.fingerprint(key, target_check)
                if fingerprint is not None:
                    standing[names[key]] = fingerprint
        if past is None:
            first = self._first(about.id)
            reasons = (first, FORCED) if forced else (first,)
        else:
            target_names = [names[key] for key in about.targets]
            present = Present(
                definition=self._digests[number],
                command=lambda: self._commands.digest(about),
                differences=lambda: self._differences(past.definition, number),
                inputs=[names[key] for key in inputs],
                input_fingerprints=packed,
                targets=target_names,
                target_fingerprints=[standing.get(name) for name in target_names],
                now=time.time(),
                max_age=None if step.copy else step.max_age,
                forced=forced,
                check=step.check,
                unsettled=frozenset([names[key] for key in set(inputs).intersection(unsettled)])
                if unsettled
                else frozenset(),
            )
            reasons = judge(_past(past), present)
        declared = self._commands.targets(about) if reasons else NOT_ASKED
        judged = Judged(about, declared, reasons, past, inputs, packed, missing, check, standing, since)
        # How old a target is that another machine made, its marks do not say.
        may_age = step.max_age is not None and not step.copy
        if declared.far and not (forced or unsettled or missing or may_age):
            self._adopt(judged, [names[key] for key in about.targets])
        return judged

    def _adopt(self, judged: Judged, targets: Sequence[str]) -> None:
        """Remote targets carry a mark that says what they were made of: where it is what would be done now, nothing is to be done.

        They may have been made on another machine, or by a build that was killed before it could record them.
        """
        if not all(map(is_remote, targets)):
            return
        marks = [self._marks(target).get(PLANNED) for target in targets]
        if None in marks:
            return
        self.fingerprint_inputs(judged)
        judged.command = self._commands.digest(judged.about)
        if set(marks) == {planned(judged, self._plan, self._digests)}:
            judged.adopted, judged.reasons = True, ()

    def _first(self, job_id: str) -> Reason:
        """Why a job without a good run is to run: it never ran, or it failed."""
        if self._failures is None:
            self._failures = self._traces.failures()
        failure = self._failures.get(job_id) if self._failures else None
        if failure is None:
            return NEW
        ended = failure.error or (f"exit code {failure.exit_code}" if failure.exit_code else None)
        return Reason("failed", old=ended and ended.partition("\n")[0].removeprefix("failed with "))

    def fingerprint_inputs(self, judged: Judged) -> None:
        """Complete the verdict with what the inputs hold, for the step's own check: this is what the trace of the coming run will say."""
        step = judged.about.step
        if len(judged.packed) != len(judged.inputs) * FINGERPRINT_SIZE or judged.check is not step.check:
            judged.check = step.check
            judged.since = len(self._contents.seen_to_move)
            judged.packed = self._contents.packed(judged.inputs, step.check)

    def _differences(self, past: bytes, step: int) -> list[Difference]:
        both = past, self._digests[step]
        found = self._differing.get(both)
        if found is None:
            old = self._traces.definition(past)
            found = self._differing[both] = differences(old, self._definitions[step]) if old else []
        return found


def _past(trace: Trace) -> Past:
    return Past(
        definition=trace.definition,
        command=trace.command,
        inputs=trace.inputs,
        input_fingerprints=trace.input_fps,
        targets=trace.targets,
        target_fingerprints=trace.target_fps,
        ended=trace.started + trace.seconds,
        check=Check(trace.check),
    )
