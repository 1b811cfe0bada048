"""`duct status`, `duct why`, `duct log`: answers of the engine as text or JSON Lines. Nothing here judges or writes."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from ..answers import FAILED, MAY, STALE, UP_TO_DATE
from ..errors import EXIT_OK, EXIT_STALE
from ..reporters.screen import BOLD, CYAN, GREEN, RED, YELLOW
from ..reporters.words import (
    clean_line,
    exit_text,
    job_text,
    orphans_lines,
    reason_lines,
    reasons_text,
)
from ..text import count, duration, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..answers import JobStatus, LastRun, StatusReport, Why
    from ..rebuilder import Reason
    from ..reporters.plain import Place
    from ..trace.record import Failure
    from .session import Session

_CHUNK = 1 << 16
_FEW = 8
"""Up to that many stale jobs of one step are all told; of more, the first ones and their number."""
_FIRST = 5
_MOST_KEYS = 5

_STATES = {MAY: "may be stale"}
_COLOURS = {STALE: (YELLOW,), MAY: (CYAN,), FAILED: (RED, BOLD), UP_TO_DATE: (GREEN,)}


def status(session: Session) -> int:
    """What is stale, what failed, what is left over; 3 with --exit-code if anything is not up to date."""
    from ..status import status as engine

    where = session.where()
    report = engine(where, session.words)
    if session.json:
        _status_json(session, report)
    elif not session.quiet:
        for text in report.notes:
            session.say(f"note: {text}")
        for text in _status_lines(session, report, session.place(where)):
            session.answer(text)
    return EXIT_STALE if session.values.exit_code and report.jobs else EXIT_OK


def _counts(report: StatusReport) -> dict[str, int]:
    counts = {FAILED: 0, STALE: 0, MAY: 0}
    for each in report.jobs:
        counts[each.state] = counts.get(each.state, 0) + 1
    return counts


def _status_json(session: Session, report: StatusReport) -> None:
    for each in report.jobs:
        session.answer_json("job_status", each._asdict())
    counts = _counts(report)
    session.answer_json(
        "status",
        {
            "total": report.total,
            "up_to_date": report.total - len(report.jobs),
            **counts,
            "orphans": report.orphans,
            "notes": report.notes,
        },
    )


def _status_lines(session: Session, report: StatusReport, place: Place) -> Iterator[str]:
    groups: dict[tuple[str, str], list[JobStatus]] = {}
    for each in report.jobs:
        groups.setdefault((each.job.step, each.state), []).append(each)
    for (step, state), jobs in groups.items():
        head = session.paint(f"{state:<7}", *_COLOURS.get(state, ()))
        told = jobs if session.verbose or len(jobs) <= _FEW else jobs[:_FIRST]
        for each in told:
            yield f"{head} {_status_line(each, place)}"
            if session.verbose:
                yield from (f"          {line}" for reason in each.reasons for line in reason_lines(reason))
        if len(told) < len(jobs):
            yield f"{head} {shown(step)}: {len(jobs) - len(told):,} more (-v tells all)"
    yield from orphans_lines(report.orphans)
    yield _sum(session, report)


def _status_line(each: JobStatus, place: Place) -> str:
    name = job_text(each.job)
    if each.failure is not None and each.state == FAILED:
        return f"{name}: {_failure_text(each.failure, place)}"
    reasons = reasons_text(each.reasons)
    return f"{name}: {reasons}" if reasons else name


def _failure_text(failure: Failure, place: Place) -> str:
    what = (failure.error or exit_text(failure.exit_code)).split("\n")[0]
    log = f", log in {place.path(failure.log)}" if failure.log else ""
    return f"{what}, {_ago(failure.when)}{log}"


def _ago(when: float) -> str:
    return f"{duration(max(0.0, time.time() - when))} ago"


def _sum(session: Session, report: StatusReport) -> str:
    counts = _counts(report)
    if not report.jobs:
        return session.paint(f"up to date ({count(report.total, 'job')})", GREEN)
    parts = []
    if counts[FAILED]:
        parts.append(f"{counts[FAILED]:,} failed")
    if counts[STALE]:
        parts.append(f"{counts[STALE]:,} stale")
    if counts[MAY]:
        parts.append(f"{counts[MAY]:,} may follow")
    if report.total > len(report.jobs):
        parts.append(f"{report.total - len(report.jobs):,} up to date")
    return ", ".join(parts)


def why(session: Session) -> int:
    """Why targets are stale, or why they last ran."""
    from ..status import why as engine

    where = session.where()
    place = session.place(where)
    found = [each for target in session.words for each in engine(where, target)]
    if session.json:
        for each in found:
            session.answer_json("why", each._asdict())
        return EXIT_OK
    groups: dict[tuple[str, str], list[Why]] = {}
    for each in found:
        groups.setdefault((each.job.step, each.state), []).append(each)
    blocks = []
    for (step, state), whys in groups.items():
        told = whys if session.verbose or len(whys) <= _FEW else whys[:_FIRST]
        blocks += ["\n".join(_why_lines(session, each, place)) for each in told]
        if len(told) < len(whys):
            blocks.append(f"{shown(step)}: {len(whys) - len(told):,} more {_STATES.get(state, state)} (-v tells all)")
    if blocks:
        session.answer("\n\n".join(blocks))
    return EXIT_OK


def _why_lines(session: Session, each: Why, place: Place) -> Iterator[str]:
    state = _STATES.get(each.state, each.state)
    yield f"{session.paint(job_text(each.job), BOLD)}: {session.paint(state, *_COLOURS.get(each.state, ()))}"
    for reason in each.reasons:
        yield from (f"  {line}" for line in reason_lines(reason))
    if each.failure is not None:
        yield f"  last attempt: {_failure_text(each.failure, place)}"
        yield from (f"    {clean_line(line)}" for fact in each.failure.facts for line in fact.split("\n"))
    if each.state != UP_TO_DATE:
        yield from _chain_lines(each, "  because of", place)
    if each.last is not None:
        yield from _last_lines(each.last, place)
        if each.state == UP_TO_DATE and any(reason.kind != "new" for cause in each.chain for reason in cause.reasons):
            yield from _chain_lines(each, "  which came from", place)
    else:
        yield "  last good run: none"
    if session.verbose:
        yield from _detail_lines(each)


def _chain_lines(each: Why, head: str, place: Place) -> Iterator[str]:
    if each.chain:
        yield head
        for cause in each.chain:
            told = _past_lines if each.state == UP_TO_DATE else reason_lines
            lines = [line for reason in cause.reasons for line in told(reason)] or ["up to date"]
            if cause.failure is not None and each.state != UP_TO_DATE:
                lines = [_failure_text(cause.failure, place)]
            yield f"    {job_text(cause.job)}: {lines[0]}"
            yield from (f"      {line}" for line in lines[1:])


def _last_lines(last: LastRun, place: Place) -> Iterator[str]:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last.started))
    if [reason.kind for reason in last.reasons] == ["accepted"]:
        yield f"  accepted in build {last.run}, {at} ({_ago(last.started)}): nothing was run"
        return
    attempts = f", {last.attempts} attempts" if last.attempts > 1 else ""
    yield f"  last good run: build {last.run}, {at} ({_ago(last.started)}), took {duration(last.seconds)}{attempts}"
    yield "    it ran because"
    for reason in last.reasons:
        yield from (f"      {line}" for line in _past_lines(reason))
    if last.log:
        yield f"    log: {place.path(last.log)}"


def _past_lines(reason: Reason) -> list[str]:
    """A reason, told of a run that is over."""
    return ["it had never run"] if reason.kind == "new" else reason_lines(reason)


def _detail_lines(each: Why) -> Iterator[str]:
    yield from _keys_lines("reads", each.inputs)
    yield from _keys_lines("makes", each.targets)
    if each.command:
        yield "  command"
        yield from (f"    {clean_line(line)}" for line in each.command.strip().split("\n"))


def _keys_lines(head: str, keys: Sequence[str]) -> Iterator[str]:
    if keys:
        yield f"  {head}"
        yield from (f"    {shown(key)}" for key in keys[:_MOST_KEYS])
        if len(keys) > _MOST_KEYS:
            yield f"    and {len(keys) - _MOST_KEYS:,} more"


def log(session: Session) -> int:
    """What jobs said in their last run."""
    from ..status import logs

    where = session.where()
    place = session.place(where)
    found = [row for target in session.words for row in logs(where, target)]
    there = [(row.job, row.path) for row in found if row.path is not None and os.path.isfile(row.path)]
    if session.json:
        for job, path in there:
            session.answer_json("log", {"job": job, "path": path})
        return EXIT_OK
    if session.values.path:
        for _, path in there:
            session.answer(place.path(path))
        return EXIT_OK
    for job, path in there:
        if len(there) > 1:
            session.say(f"{job_text(job)}   ({place.path(path)})")
        sys.stdout.flush()
        with open(path, "rb") as file:
            while data := file.read(_CHUNK):
                sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    if not there:
        said = "said nothing" if any(row.ran for row in found) else "never ran"
        session.say(f"{', '.join(map(shown, session.words))} {said}")
    return EXIT_OK
