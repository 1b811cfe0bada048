"""`duct build`: options from the flags, and the choice of a reporter."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..reporters.plain import PlainReporter
from ..reporters.screen import Paint, standard_streams, wants_colour
from ..text import nearest
from .verbs import COMING, HABITS, VERBS

if TYPE_CHECKING:
    from ..events import Reporter
    from ..workspace import Where
    from .session import Session


def build(session: Session) -> int:
    """Make what is stale; the engine's exit code."""
    from ..build import Options
    from ..build import build as engine

    where = session.where()
    values = session.values
    options = Options(
        targets=session.words,
        jobs=values.jobs,
        keep_going=values.keep_going,
        dry_run=values.dry_run,
        force=values.force,
        wait=not values.no_wait,
    )
    reporter = choose_reporter(session, where)
    told = reporter if where.source is None or values.dry_run else where.source.notifier(reporter, where.state)
    try:
        return engine(where, options, told)
    finally:
        reporter.close()


def build_unsaid(session: Session) -> int:
    """A build without the verb, where an unknown target may be a misspelt verb."""
    try:
        return build(session)
    except UsageError as error:
        first = session.words[0] if session.words else ""
        if first in COMING and first in error.what:
            hint = '"duct help" lists the verbs'
            raise UsageError(f'"{first}" is not supported yet: {COMING[first]}', hint=hint) from None
        near = (
            [HABITS[first]] if first in HABITS else [f"duct {verb}" for verb in nearest(first, VERBS)] if first else []
        )
        if near and first in error.what:
            verb = f'did you mean "{" ".join([near[0], *session.words[1:]])}"?'
            if near[0] == "duct":
                verb = "plain `duct` makes all"
            also = f"\n{error.hint}" if error.hint and error.hint.startswith("did you mean") else ""
            raise UsageError(error.what, where=error.where, facts=error.facts, hint=verb + also) from None
        raise


def choose_reporter(session: Session, where: Where) -> Reporter:
    """JSON Lines where asked for; the live view on a terminal that can show it; else plain lines."""
    values = session.values
    streams = standard_streams()
    if session.json:
        from ..reporters.jsonl import JsonReporter

        return JsonReporter(streams)
    paint = Paint(wants_colour(values.color, sys.stderr, session.environ))
    place = session.place(where)
    if _wants_live(session):
        from ..reporters.live import LiveReporter

        return LiveReporter(
            streams,
            paint=paint,
            output=values.output,
            verbose=session.verbose,
            place=place,
            targets=session.words,
            out_is_terminal=sys.stdout.isatty(),
        )
    return PlainReporter(
        streams,
        paint=paint,
        output=values.output,
        quiet=session.quiet,
        verbose=session.verbose,
        place=place,
        targets=session.words,
    )


def _wants_live(session: Session) -> bool:
    """Is there a terminal for the live view, and somebody who looks at it?"""
    values, environ = session.values, session.environ
    if session.quiet or getattr(values, "dry_run", False) or values.output == "stream":
        # A stream may stop within a line at any time: nothing can be drawn below it.
        return False
    if environ.get("CI", "").lower() not in ("", "0", "false") or environ.get("TERM") == "dumb":
        return False
    encoding = (sys.stderr.encoding or "").lower().replace("-", "")
    return sys.stderr.isatty() and encoding == "utf8"
