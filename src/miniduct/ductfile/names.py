"""Names that a step gives of others: of steps, and of a pool. And the table of the pools.

Which files and prefixes there are is not known here: who asks says which names exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..text import nearest
from . import values
from .source import kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .drafts import Draft
    from .source import Spot


def pools(spot: Spot, table: object) -> dict[str, int] | None:
    """The pools with their numbers; None, with a mistake on the list, where it is no table."""
    if not isinstance(table, dict):
        spot.wrong(f"must be a table, not {kind(table)}", hint="write [pools] and below it: name = 2")
        return None
    return {name: values.whole(spot.inside("pools", name), value, 1) or 1 for name, value in table.items()}


def check_pool(draft: Draft, known: Iterable[str]) -> None:
    """Is the step's pool one of these?"""
    pool = draft.values.get("pool")
    if pool is None or pool in known:
        return
    near = nearest(pool, known)
    hint = f'did you mean "{near[0]}"?' if near else f'add to [pools]: "{pool}" = 1'
    draft.spots["pool"].wrong(f'is "{pool}", which is no pool', hint=hint)


def step_named(draft: Draft, name: str, spot: Spot, known: Collection[str], *, certain: bool = True) -> str | None:
    """The full name of a step as this step's file calls it: its own steps come first. Not `certain`: there may be more names than are known."""
    own = f"{draft.scope.prefix}.{name}" if draft.scope.prefix else name
    for each in (own, name):
        if each in known:
            if each == draft.name:
                spot.say(f"{draft.spot.subject} waits for itself")
            return each
    if certain:
        near = nearest(name, [*known, *(each.removeprefix(f"{draft.scope.prefix}.") for each in known)])
        listed = ", ".join(list(known)[:8])
        spot.wrong(
            f'names step "{name}", which does not exist',
            hint=f'did you mean "{near[0]}"?' if near else f"steps: {listed}" if len(known) <= 8 else None,
        )
    return None
