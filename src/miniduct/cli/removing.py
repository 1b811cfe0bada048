"""`duct clean` and `duct accept`: the verbs that change what is there without running a job. What may be removed is the engine's to say."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..errors import EXIT_FAILED, EXIT_OK, UsageError
from ..reporters.screen import DIM
from ..reporters.words import job_text, names_text
from ..text import count, shown, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..answers import Removal
    from ..workspace import Where
    from .session import Session

_MOST = 20
"""Files that are listed before the question; all of them with -n or -v."""
_MOST_ACCEPTED = 5


def clean(session: Session) -> int:
    """List what would be removed, ask, remove."""
    from ..clean import clean as engine
    from ..clean import plan_clean

    where = session.where()
    values = session.values
    if values.objects:
        return _objects(session, where)
    removals = plan_clean(where, session.words, orphans=values.orphans)
    wanted = [each for each in removals if each.refused is None]
    _list(session, removals, wanted)
    if not wanted:
        session.say("nothing to remove")
        return EXIT_OK
    if values.dry_run:
        session.say(f"{_amount(wanted)} would be removed (dry run, nothing was done)")
        return EXIT_OK
    if not values.yes and not _agreed(session, wanted):
        session.say("nothing was removed")
        return EXIT_OK
    removed = engine(where, wanted, wait=not values.no_wait)
    if session.json:
        session.answer_json("removed", {"keys": removed})
    gone = set(removed)
    left = [each.key for each in wanted if each.key not in gone]
    session.say(f"removed {_amount([each for each in wanted if each.key in gone])}")
    if left:
        session.say(f"left alone: {names_text([shown(key) for key in left])}")
    return EXIT_FAILED if left else EXIT_OK


def _objects(session: Session, where: Where) -> int:
    """They are copies: nobody is asked."""
    from ..clean import clean_objects

    if session.words or session.values.orphans:
        raise UsageError("--objects takes no targets, and no --orphans", hint="copies are removed all together")
    removed = clean_objects(where, wait=not session.values.no_wait, dry_run=session.values.dry_run)
    if session.json:
        session.answer_json("objects_removed", {"bytes": removed})
    if session.values.dry_run:
        session.say(f"copies of {size(removed)} would be removed (dry run, nothing was done)")
    else:
        session.say(f"removed copies of {size(removed)}" if removed else "nothing to remove")
    return EXIT_OK


def _amount(removals: Sequence[Removal]) -> str:
    return f"{count(len(removals), 'target')} ({size(sum(each.size for each in removals))})"


def _list(session: Session, removals: Sequence[Removal], wanted: Sequence[Removal]) -> None:
    if session.json:
        for each in removals:
            values = {"key": each.key, "size": each.size, "job": each.job, "refused": each.refused}
            session.answer_json("removal", values)
        return
    if session.quiet:
        return
    everything = session.verbose or session.values.dry_run
    told = wanted if everything or len(wanted) <= _MOST else wanted[:_MOST]
    widest = max((len(shown(each.key)) for each in told), default=0)
    for each in told:
        maker = f"   {job_text(each.job)}" if each.job is not None else ""
        session.answer(f"{shown(each.key):<{min(widest, 60)}}  {size(each.size):>7}{session.paint(maker, DIM)}")
    if len(told) < len(wanted):
        session.answer(f"and {len(wanted) - len(told):,} more")
    refused = [each for each in removals if each.refused is not None]
    for each in refused if everything else refused[:_MOST]:
        session.say(f"left alone: {shown(each.key)}: {each.refused}")
    if not everything and len(refused) > _MOST:
        session.say(f"left alone: {len(refused) - _MOST:,} more (-v tells all)")


def _agreed(session: Session, wanted: Sequence[Removal]) -> bool:
    if session.json or session.quiet or not (sys.stdin and sys.stdin.isatty()):
        raise UsageError(
            f"nothing was removed: {_amount(wanted)} to remove, and nobody to ask",
            hint="-y removes without asking, -n only lists",
        )
    if not session.words and any(each.job is not None and each.job.step == "clean" for each in wanted):
        session.say('to build the step "clean": duct build clean')
    sys.stdout.flush()
    sys.stderr.write(f"remove {_amount(wanted)}? [y/N] ")
    sys.stderr.flush()
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    return answer.strip().lower() in ("y", "yes")


def accept(session: Session) -> int:
    """Take what is there as made."""
    from ..accept import accept as engine

    if not session.words and not session.values.all:
        raise UsageError("accept needs a target", hint="accept --all takes all that plain `duct` makes")
    if session.words and session.values.all:
        raise UsageError("accept takes targets or --all, not both")
    jobs = engine(session.where(), session.words, wait=not session.values.no_wait)
    if session.json:
        for job in jobs:
            session.answer_json("accepted", {"job": job})
        return EXIT_OK
    if not jobs:
        session.say("nothing to accept: all is up to date")
        return EXIT_OK
    most = len(jobs) if session.verbose else _MOST_ACCEPTED
    session.say(
        f"accepted {count(len(jobs), 'job')}: {names_text([job_text(job) for job in jobs[:most]], most)}"
        + (f" and {len(jobs) - most:,} more" if len(jobs) > most else "")
    )
    return EXIT_OK
