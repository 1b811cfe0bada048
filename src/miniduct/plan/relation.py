"""Small relations: columns of texts under names. How wildcards found by several inputs are brought together.

A row is one combination of values. Rows keep the order of their first appearance, so that a plan does not depend on chance. Joins go through one
dictionary; 100,000 rows take some 50 ms, and the usual case (one input names all wildcards) makes no join at all.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Relation:
    """Rows of values. `rows` matters where there are no names: the relation of nothing has one row, the empty one has none."""

    __slots__ = ("columns", "rows")

    def __init__(self, columns: dict[str, list[str]], rows: int) -> None:
        self.columns = columns
        self.rows = rows

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    def tuples(self, names: Sequence[str]) -> Iterable[tuple[str, ...]]:
        """The rows, reduced to these names; duplicates are kept."""
        return zip(*(self.columns[name] for name in names)) if names else [()] * self.rows

    def project(self, names: Sequence[str]) -> Relation:
        """The distinct rows over these names."""
        return relation(names, dict.fromkeys(self.tuples(names)))

    def join(self, other: Relation) -> Relation:
        """All pairs of rows that agree in the names that both have."""
        if not self.columns and self.rows == 1:
            return other
        shared = [name for name in self.columns if name in other.columns]
        places: dict[tuple[str, ...], list[int]] = {}
        for at, values in enumerate(other.tuples(shared)):
            places.setdefault(values, []).append(at)
        pairs = [(at, there) for at, values in enumerate(self.tuples(shared)) for there in places.get(values, ())]
        left, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        columns = {name: [values[at] for at in left] for name, values in self.columns.items()}
        for name, column in other.columns.items():
            if name not in columns:
                columns[name] = [column[at] for at in right]
        return Relation(columns, len(pairs))


def relation(names: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Relation:
    """The relation of these rows, one value for each name."""
    listed = list(rows)
    columns: Iterable[Sequence[str]] = zip(*listed) if listed else ((),) * len(names)
    return Relation({name: list(values) for name, values in zip(names, columns)}, len(listed))


def combinations(lists: Sequence[tuple[str, Sequence[str]]]) -> Relation:
    """Every combination of fixed lists; of no lists: one empty row."""
    return relation([name for name, _ in lists], product(*(dict.fromkeys(values) for _, values in lists)))
