"""The rows of one step: which combinations of wildcard values there are, and which keys each slot has for each of them.

Everything is done for all rows at once. This module asks `find` for the keys that may match a pattern and knows nothing of where they come from; it
returns texts, not key numbers. The order of rows is that of their first appearance among the sorted keys.
"""

from __future__ import annotations

from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from ..tuples import NamedTuple
from .columns import RAGGED, SHARED, SINGLE
from .listing import between
from .patterns import Pattern, Wildcard, bound_texts, normal, plain
from .relation import Relation, combinations, relation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .shapes import Shape

    Find = Callable[[Pattern], list[str]]
    Row = tuple[str, ...]


class SlotTexts(NamedTuple):
    """One slot's keys for all rows: texts, as `Keys` will hold them. `sought`: all of them were found, none needs to be looked for."""

    kind: int
    texts: list[str]
    counts: list[int] | None = None
    sought: bool = False


class Rows(NamedTuple):
    """The rows of one step. `all` has every combination of wildcards, `jobs` those that make a job, `job_of` the job of each of all."""

    all: Relation
    jobs: Relation
    job_of: Sequence[int]
    matches: dict[int, list[Row]]
    """For each input that is sought: key and values of each match."""
    lacking: list[tuple[int, list[str]]]
    """Inputs by slot that must have a match for each row and have none for some: the patterns as those rows mean them."""


ONE_ROW = Rows(Relation({}, 1), Relation({}, 1), range(1), {}, [])
"""Of each step without `foreach` and without an input that is sought: one job, whatever there is."""


def enumerate_rows(shape: Shape, find: Find) -> Rows:
    """Bring the step's `foreach` and the matches of its inputs together."""
    if not shape.fixed and not shape.seeks:
        return ONE_ROW
    rows = combinations(shape.step.foreach)
    names = job_names(shape)
    found: dict[int, list[Row]] = {}
    lacking: list[tuple[int, list[str]]] = []
    for at, pattern in enumerate(shape.inputs):
        new = [name for name in pattern.names if name not in rows.columns] if pattern else []
        if pattern is None or not (new or pattern.globs):
            continue
        matches = found[at] = _matches(pattern, rows, find)
        if not new:
            continue
        values = relation(pattern.names, dict.fromkeys([row[1:] for row in matches]))
        if not any(name in names for name in new):
            without = _lacking(pattern, rows, values, shape.fixed)
            if without:
                lacking.append((at, without))
        rows = rows.join(values)
    return _with_jobs(rows, names, shape, found, lacking)


def job_names(shape: Shape) -> tuple[str, ...]:
    """The names whose values make a job: those of the targets and `foreach`; without targets, all there are."""
    patterns = shape.targets or [pattern for pattern in shape.inputs if pattern]
    return tuple(dict.fromkeys(chain.from_iterable([*(pattern.names for pattern in patterns), shape.fixed])))


def _with_jobs(
    rows: Relation,
    names: Sequence[str],
    shape: Shape,
    found: dict[int, list[Row]],
    lacking: list[tuple[int, list[str]]],
) -> Rows:
    if set(rows.columns) == set(names):
        jobs = Relation({name: rows.columns[name] for name in names}, rows.rows)
        return Rows(rows, jobs, range(rows.rows), found, lacking)
    if set(names) == set(shape.fixed):
        # Nothing that was found decides which jobs there are: each exists with or without files.
        jobs = combinations(shape.step.foreach).project(names)
    else:
        jobs = rows.project(names)
    places = dict(zip(jobs.tuples(names), range(jobs.rows)))
    return Rows(rows, jobs, [places[values] for values in rows.tuples(names)], found, lacking)


def _lacking(pattern: Pattern, rows: Relation, values: Relation, fixed: Sequence[str]) -> list[str]:
    """A collected input that names a wildcard of an earlier one must have a match for each of its values."""
    shared = [name for name in pattern.names if name in rows.columns]
    if all(name in fixed for name in shared):
        return []
    have = set(values.tuples(shared))
    return [
        pattern.bind(dict(zip(shared, each))).source for each in dict.fromkeys(rows.tuples(shared)) if each not in have
    ]


# -- matches ----------------------------------------------------------------------------------------------------------------------------


def _matches(pattern: Pattern, rows: Relation, find: Find) -> list[Row]:
    """Key and values (in the pattern's order) of all keys that match, for those values that the rows have where they name them already."""
    bound = [name for name in pattern.names if name in rows.columns]
    if not bound:
        return pattern.match(find(pattern))
    wanted = list(dict.fromkeys(rows.tuples(bound)))
    if not wanted:
        return []
    if not plain(chain.from_iterable(wanted)):
        return _one_by_one(pattern, bound, wanted, find)
    if pattern.sharp:
        places = [pattern.names.index(name) + 1 for name in bound]
        have = set(wanted)
        return [row for row in pattern.match(find(pattern)) if tuple([row[place] for place in places]) in have]
    cut = _cut(pattern, bound)
    if any(isinstance(token, Wildcard) and token.name in bound for token in pattern.tokens[cut:]):
        return _one_by_one(pattern, bound, wanted, find)
    return _by_heads(pattern, cut, bound, wanted, find)


def _cut(pattern: Pattern, bound: Sequence[str]) -> int:
    """Up to which token the pattern is known once its bound names are."""
    for at, token in enumerate(pattern.tokens):
        if not isinstance(token, str) and not (isinstance(token, Wildcard) and token.name in bound):
            return at
    return len(pattern.tokens)


def _by_heads(pattern: Pattern, cut: int, bound: Sequence[str], wanted: list[Row], find: Find) -> list[Row]:
    """The text before the first open sign is known for each row: keys are looked up by it, and only what follows is matched.

    Each row needs its own search, because the expression alone cannot tell where a value ends (`{day}-*.pdf`).
    """
    head = Pattern(pattern.tokens[:cut])
    texts = head.texts(dict(zip(bound, zip(*wanted))), len(wanted))
    before = pattern.tokens[cut - 1]
    starts = isinstance(before, str) and before.endswith("/")
    tail = Pattern(["/", *pattern.tokens[cut:]] if starts else ["-", *pattern.tokens[cut:]], pattern.where)
    keys = sorted(find(pattern))
    order = [("b", bound.index(name)) if name in bound else ("t", tail.names.index(name)) for name in pattern.names]
    found: list[Row] = []
    for values, text in zip(wanted, texts):
        candidates = between(keys, text)
        for rest in tail.match([tail.prefix + key[len(text) :] for key in candidates]):
            key = text + rest[0][1:]
            found.append((key, *(values[at] if kind == "b" else rest[at + 1] for kind, at in order)))
    return found


def _one_by_one(pattern: Pattern, bound: Sequence[str], wanted: list[Row], find: Find) -> list[Row]:
    found: list[Row] = []
    for values in wanted:
        given = dict(zip(bound, values))
        special = _normalised(pattern.bind(given))
        places = {name: at + 1 for at, name in enumerate(special.names)}
        found += [
            (row[0], *(given[name] if name in given else row[places[name]] for name in pattern.names))
            for row in special.match(find(special))
        ]
    return found


# -- slots ------------------------------------------------------------------------------------------------------------------------------


def input_texts(shape: Shape, rows: Rows) -> list[SlotTexts | None]:
    """The keys of each input; None for one that names a step."""
    if not shape.inputs:
        return []
    names = set(rows.jobs.columns)
    found: list[SlotTexts | None] = []
    for at, pattern in enumerate(shape.inputs):
        if pattern is None:
            found.append(None)
            continue
        if pattern.literal is not None:
            found.append(SlotTexts(SHARED, [pattern.literal]))
            continue
        sought = at in rows.matches
        if not pattern.names:
            found.append(SlotTexts(SHARED, sorted(row[0] for row in rows.matches[at]), sought=True))
        elif names.issuperset(pattern.names):
            found.append(_for_jobs(pattern, rows, at, sought))
        else:
            found.append(_collected(pattern, rows, at, sought))
    return found


def target_texts(shape: Shape, rows: Rows) -> list[list[str] | None]:
    """The keys of each target, one for each job; None for a dynamic one."""
    jobs = rows.jobs
    found: list[list[str] | None] = []
    for pattern in shape.targets:
        if pattern.literal is not None:
            found.append([pattern.literal] * jobs.rows)
        else:
            found.append(None if pattern.globs else bound_texts(pattern, jobs.columns, jobs.rows))
    return found


def _for_jobs(pattern: Pattern, rows: Rows, at: int, sought: bool) -> SlotTexts:
    if not pattern.globs:
        return SlotTexts(SINGLE, bound_texts(pattern, rows.jobs.columns, rows.jobs.rows), sought=sought)
    keys = _by_values(rows.matches[at])
    lists = [sorted(keys.get(values, ())) for values in rows.jobs.tuples(pattern.names)]
    return SlotTexts(RAGGED, list(chain.from_iterable(lists)), list(map(len, lists)), sought=True)


def _collected(pattern: Pattern, rows: Rows, at: int, sought: bool) -> SlotTexts:
    """All that the rows of a job name, sorted, each once."""
    if pattern.globs:
        keys = _by_values(rows.matches[at])
        pairs = [
            (job, key)
            for job, values in dict.fromkeys(zip(rows.job_of, rows.all.tuples(pattern.names)))
            for key in keys.get(values, ())
        ]
    else:
        pairs = list(dict.fromkeys(zip(rows.job_of, bound_texts(pattern, rows.all.columns, rows.all.rows))))
    pairs.sort()
    counts = [0] * rows.jobs.rows
    for job, group in groupby(map(itemgetter(0), pairs)):
        counts[job] = sum(1 for _ in group)
    return SlotTexts(RAGGED, [key for _, key in pairs], counts, sought=sought)


def _by_values(matches: Iterable[Row]) -> dict[Row, list[str]]:
    keys: dict[Row, list[str]] = {}
    for row in matches:
        keys.setdefault(row[1:], []).append(row[0])
    return keys


def _normalised(pattern: Pattern) -> Pattern:
    """The pattern with the folders that it begins with normalised: a bound value may have brought `..`."""
    if not pattern.prefix:
        return pattern
    folder, slash, rest = pattern.prefix.rpartition("/")
    return Pattern([normal(folder + slash) + rest, *pattern.tokens[1:]], pattern.where)
