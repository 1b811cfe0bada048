"""Two plans of one project: which jobs of the new one are what they were in the old one, told from their columns, without judging any.

`places` tells for each key of the new plan its number in the old one, or -1. Knows neither traces nor contents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .columns import SHARED, SINGLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .columns import Keys, Plan, Table


def same_jobs(plan: Plan, old: Plan, places: Sequence[int], *, by_id: bool) -> list[int]:
    """For each job, the number of the job with its id in the old plan, or -1. `by_id`: look for those too whose id is no key.

    That takes an old plan with its own steps; otherwise such jobs are taken to be new.
    """
    by_key = [-1] * (len(old.names) + 1)  # one more: for -1
    ids: dict[str, int] = {}
    for first, table in zip(old.first, old.tables):
        if (column := _known_by(table)) is not None:
            for job, key in enumerate(column.packed, first):
                by_key[key] = job
        elif by_id:
            ids.update((old.job_id(job), job) for job in range(first, first + table.rows))
    found: list[int] = []
    for first, table in zip(plan.first, plan.tables):
        if (column := _known_by(table)) is not None:
            found += [by_key[places[key]] for key in column.packed]
        else:
            found += [ids.get(plan.job_id(job), -1) for job in range(first, first + table.rows)]
    return found


def _known_by(table: Table) -> Keys | None:
    """The column of the keys that the jobs are known by; None where they have other ids, or where there are no jobs."""
    return table.targets[0] if table.rows and table.targets else None


def other_jobs(plan: Plan, old: Plan, places: Sequence[int], same: Sequence[int], names: Sequence[str]) -> set[int]:
    """The jobs that read or make other keys than the same job did, or are of another step; `names` are those of the old steps."""
    other: set[int] = set()
    for step, (first, table) in enumerate(zip(plan.first, plan.tables)):
        before = same[first : first + table.rows]
        known = max(before, default=-1)
        if known < 0:
            continue
        was = old.step_of(known)
        if names[was] != plan.steps[step].name or not _alike(table, old.tables[was]):
            other.update(range(first, first + table.rows))
            continue
        start, end = old.first[was], old.first[was + 1]
        rows = [job - start if start <= job < end else -1 for job in before]
        differ = {row for row, at in enumerate(rows) if at < 0}
        for mine, its in zip(_columns(table), _columns(old.tables[was])):
            differ |= _differing(mine, its, rows, places)
        other.update(first + row for row in differ)
    return other


def _columns(table: Table) -> list[Keys]:
    return [*table.inputs, *(keys for keys in table.targets if keys is not None)]


def _alike(table: Table, old: Table) -> bool:
    """Have both the same slots?"""
    targets = [[each is None for each in one.targets] for one in (table, old)]
    return len(table.inputs) == len(old.inputs) and targets[0] == targets[1]


def _differing(mine: Keys, its: Keys, rows: Sequence[int], places: Sequence[int]) -> set[int]:
    """The rows of a column whose keys are not those of their rows in the old one."""
    if mine.kind == its.kind == SHARED:
        same = [places[key] for key in mine.packed] == list(its.packed)
        return set() if same else set(range(len(rows)))
    if mine.kind == its.kind == SINGLE:
        old = its.packed
        return {row for row, (key, was) in enumerate(zip(mine.packed, rows)) if was >= 0 and places[key] != old[was]}
    return {
        row for row, was in enumerate(rows) if was >= 0 and [places[key] for key in mine.of(row)] != list(its.of(was))
    }
