"""The values of a name in `foreach`: a list of texts, numbers or dates, or a range of whole numbers or days.

A range is inclusive. What `today` is comes in as a value, and it is remembered whether anything asked for it: such a project changes by itself.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any

from ..text import nearest
from .source import kind, scalar
from .values import given, whole

if TYPE_CHECKING:
    from .source import Spot

LONGEST_RANGE = 1_000_000


class Today:
    """The date of this reading, and whether anything asked for it."""

    def __init__(self, date: datetime.date) -> None:
        self._date = date
        self.used = False

    def date(self) -> datetime.date:
        self.used = True
        return self._date


def listed(spot: Spot, value: object, today: Today) -> list[tuple[str, Spot]] | None:
    """The values of one name of `foreach`: of a list, or of a range { from, to, step }. Each with its spot."""
    if isinstance(value, dict):
        values = _range(spot, value, today)
        return None if values is None else [(each, spot) for each in values]
    if not isinstance(value, list):
        spot.wrong(f"must be a list, or a range {{ from = …, to = … }}, not {kind(value)}", hint=_as_list(value))
        return None
    if not value:
        spot.wrong("has no values, so that no job would exist")
        return None
    found: dict[str, Spot] = {}
    for number, item in enumerate(value):
        written = scalar(item)
        place = spot.item(number)
        if written is None or "\0" in written:
            place.wrong(f"must hold texts, numbers or dates, not {kind(item)}")
        elif written in found:
            place.wrong(f'has the value "{written}" twice')
        else:
            found[written] = place
    return list(found.items()) if len(found) == len(value) else None


def _as_list(value: object) -> str | None:
    written = f'"{value}"' if isinstance(value, str) else scalar(value)
    return None if written is None else f"write [{written}]"


def _range(spot: Spot, value: dict[str, Any], today: Today) -> list[str] | None:
    for name in value:
        if name not in ("from", "to", "step"):
            near = nearest(name, ("from", "to", "step"))
            spot.inside_range(name).wrong(
                "is not known in a range",
                key=True,
                hint=f'did you mean "{near[0]}"?' if near else "known: from, to, step",
            )
            return None
    for name in ("from", "to"):
        if name not in value:
            spot.wrong(f'is a range without "{name}"', hint='write { from = "2026-01-01", to = "today" }, or a list')
            return None
    first, last = (_bound(spot.inside_range(name), value[name], today) for name in ("from", "to"))
    step = whole(spot.inside_range("step"), value.get("step", 1), 1)
    if first is None or last is None or step is None:
        return None
    if isinstance(first, int) != isinstance(last, int):
        spot.wrong(
            "is a range from a number to a date" if isinstance(first, int) else "is a range from a date to a number"
        )
        return None
    start, end = (each if isinstance(each, int) else each.toordinal() for each in (first, last))
    if start > end:
        spot.wrong(f"is a range whose end, {last}, comes before its beginning, {first}")
        return None
    numbers = range(start, end + 1, step)
    if len(numbers) > LONGEST_RANGE:
        spot.wrong(f"is a range of {len(numbers):,} values, and {LONGEST_RANGE:,} are the most")
        return None
    if isinstance(first, int):
        width = len(value["from"]) if isinstance(value["from"], str) else 0
        return [f"{number:0{width}d}" for number in numbers]
    return [datetime.date.fromordinal(number).isoformat() for number in numbers]


def _bound(spot: Spot, value: object, today: Today) -> datetime.date | int | None:
    if value == "today":
        return today.date()
    if type(value) is datetime.date or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value, re.ASCII):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            spot.wrong(f'is "{value}", and the calendar has no such day')
            return None
    spot.wrong(f'must be a date such as "2026-01-31", "today", or a whole number, not {given(value)}')
    return None
