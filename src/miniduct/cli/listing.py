"""`duct list` and `duct graph`: what there is, and who reads from whom."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..answers import JobRow, KeyRow, StepRow
from ..errors import EXIT_OK, UsageError
from ..reporters.screen import BOLD, DIM
from ..reporters.words import job_text, names_text
from ..text import count, shown
from . import graph as drawing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..answers import ListRow
    from ..reporters.plain import Place
    from .session import Session

_MOST_TARGETS = 3


def list_(session: Session) -> int:
    """Steps, jobs, targets or sources, one a line."""
    from ..status import listing

    values = session.values
    chosen = [what for what in ("jobs", "keys", "sources") if getattr(values, what)]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other", hint="one list at a time")
    what = chosen[0] if chosen else "steps"
    where = session.where()
    rows = listing(where, session.words, what=what)
    if values.null:
        _write_names(rows, session.place(where))
    elif session.json:
        for row in rows:
            _list_json(session, row)
    elif what == "steps":
        _list_steps(session, [row for row in rows if isinstance(row, StepRow)])
    else:
        for row in rows:
            session.answer(_line(row, session.place(where)))
    return EXIT_OK


def _name(row: ListRow, place: Place) -> str:
    if isinstance(row, StepRow):
        return row.step
    return place.seen(row.key) if isinstance(row, KeyRow) else str(row.job)


def _write_names(rows: Iterable[ListRow], place: Place) -> None:
    sys.stdout.flush()
    out = sys.stdout.buffer
    for row in rows:
        out.write(os.fsencode(_name(row, place)) + b"\0")
    out.flush()


def _line(row: ListRow, place: Place) -> str:
    if isinstance(row, KeyRow):
        return place.path(row.key)
    if isinstance(row, JobRow):
        targets = names_text([shown(key) for key in row.targets[:_MOST_TARGETS]])
        further = len(row.targets) - _MOST_TARGETS
        if further > 0:
            targets += f" and {further:,} more"
        return f"{job_text(row.job)} -> {targets}" if targets else job_text(row.job)
    return shown(row.step)


def _list_json(session: Session, row: ListRow) -> None:
    if isinstance(row, StepRow):
        values = {
            "step": row.step,
            "jobs": row.jobs,
            "description": row.description,
            "targets": row.targets,
            "tags": row.tags,
            "group": row.group,
        }
        session.answer_json("step", values)
    elif isinstance(row, JobRow):
        session.answer_json("job", {"job": row.job, "targets": row.targets})
    else:
        kind = "target" if row.job is not None else "source"
        session.answer_json(kind, {"key": row.key, "job": row.job, "readers": row.readers})


def _list_steps(session: Session, rows: list[StepRow]) -> None:
    if not rows:
        asked = ", ".join(map(shown, session.words))
        session.say(f"no step makes {asked}: it is a source" if asked else "there are no steps")
        return
    names = [shown(row.step) for row in rows]
    numbers = ["group" if row.group else count(row.jobs, "job") for row in rows]
    width, wide = max(map(len, names)), max(map(len, numbers))
    paint = session.paint
    for row, name, number in zip(rows, names, numbers):
        what = row.description or names_text([shown(text) for text in row.targets[:_MOST_TARGETS]])
        tags = "".join(f" tag:{shown(tag)}" for tag in row.tags)
        # Padding comes first: colours would count as letters.
        line = f"{paint(f'{name:<{width}}', BOLD)}  {number:>{wide}}  {shown_text(what)}{paint(tags, DIM)}"
        session.answer(line.rstrip())


def shown_text(text: str) -> str:
    """A description on one line."""
    return " ".join(part for part in "".join(c if c.isprintable() else " " for c in text).split(" ") if part)


def graph(session: Session) -> int:
    """The graph of steps or jobs."""
    from ..status import graph as engine

    values = session.values
    nodes, edges = engine(session.where(), session.words, jobs=values.jobs)
    form = "json" if session.json else values.format
    if form == "json":
        session.answer_json("graph", {"nodes": drawing.node_values(nodes), "edges": drawing.edge_values(edges)})
    else:
        draw = drawing.dot if form == "dot" else drawing.mermaid
        for line in draw(nodes, edges):
            session.answer(line)
    return EXIT_OK
