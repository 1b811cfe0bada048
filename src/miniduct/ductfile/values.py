"""TOML values to the values that a step holds: durations, lists of names, whole numbers, ranges of `foreach`.

Each converter gives the value, or None with a mistake on the list: what it must be, what it is instead, and the next move.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any

from ..text import nearest
from .source import kind, scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .source import Spot

UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_PIECE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LONGEST_RANGE = 1_000_000


def text(spot: Spot, value: object) -> str | None:
    """A text."""
    if isinstance(value, str):
        return value
    spot.wrong(f"must be a text, not {kind(value)}", hint=_quoted(value))
    return None


def _quoted(value: object) -> str | None:
    """The next move where quotes were forgotten."""
    return None if isinstance(value, bool) or scalar(value) is None else f'write "{scalar(value)}"'


def texts(spot: Spot, value: object) -> list[tuple[str, Spot]] | None:
    """A text, or a list of texts: each with its spot."""
    if isinstance(value, str):
        return [(value, spot)]
    if not isinstance(value, list):
        spot.wrong(f"must be a text or a list of texts, not {kind(value)}", hint=_quoted(value))
        return None
    found: list[tuple[str, Spot]] = []
    for number, item in enumerate(value):
        if isinstance(item, str):
            found.append((item, spot.item(number)))
        else:
            spot.item(number).wrong(f"must hold texts, not {kind(item)}", hint=_quoted(item))
    return found if len(found) == len(value) else None


def words(spot: Spot, value: object) -> tuple[str, ...] | None:
    """A text or a list of texts, none of them empty."""
    found = texts(spot, value)
    if found is None:
        return None
    for word, place in found:
        if not word.strip():
            place.wrong("has an empty text")
            return None
    return tuple(dict.fromkeys(word for word, _ in found))


def truth(spot: Spot, value: object) -> bool | None:
    """true or false."""
    if isinstance(value, bool):
        return value
    quoted = isinstance(value, str) and value.lower() in ("true", "false")
    hint = f"write {str(value).lower()} without quotes" if quoted else None
    spot.wrong(f"must be true or false, not {kind(value)}", hint=hint)
    return None


def whole(spot: Spot, value: object, least: int) -> int | None:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        hint = f"write {int(value)} without quotes" if isinstance(value, str) and value.isdecimal() else None
        spot.wrong(f"must be a whole number, not {_named(value)}", hint=hint)
        return None
    if value < least:
        spot.wrong(f"must be at least {least}, not {value}")
        return None
    return value


def _named(value: object) -> str:
    return str(value) if isinstance(value, float) else kind(value)


def duration(spot: Spot, value: object, *, zero: bool = False) -> float | None:
    """Seconds: a number of them, or a text such as "90s", "5m", "1h30m", "2d"."""
    seconds: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        seconds = _seconds(value)
    if seconds is None:
        given = f'"{value}"' if isinstance(value, str) and value.isprintable() else kind(value)
        spot.wrong(f'must be seconds, or a text such as "90s", "5m", "1h30m" or "2d", not {given}')
    elif not 0 <= seconds < float("inf") or (seconds == 0 and not zero):
        spot.wrong(f"must be {'at least' if zero else 'more than'} 0 seconds, not {value}")
        return None
    return seconds


def _seconds(value: str) -> float | None:
    total, at = 0.0, 0
    trimmed = value.strip()
    while at < len(trimmed):
        piece = _PIECE.match(trimmed, at)
        if piece is None:
            return None
        total += float(piece[1]) * UNITS[piece[2]]
        at = piece.end()
    return total if trimmed else None


def choice(spot: Spot, value: object, allowed: Sequence[str]) -> str | None:
    """One of these texts."""
    if isinstance(value, str) and value in allowed:
        return value
    listed = ", ".join(f'"{each}"' for each in allowed[:-1]) + f' or "{allowed[-1]}"'
    given = f'"{value}"' if isinstance(value, str) and value.isprintable() else kind(value)
    near = nearest(value, allowed) if isinstance(value, str) else []
    spot.wrong(f"must be {listed}, not {given}", hint=f'did you mean "{near[0]}"?' if near else None)
    return None


def variables(spot: Spot, value: object) -> tuple[str, ...] | None:
    """Names of environment variables."""
    found = texts(spot, value)
    if found is None:
        return None
    good = True
    for name, place in found:
        if _NAME.fullmatch(name):
            continue
        good = False
        before, _, after = name.partition("=")
        hint = f'to set it, write a table: {{ {before} = "{after}" }}' if _NAME.fullmatch(before) else None
        place.wrong(f'must hold names of variables, not "{name}"', hint=hint)
    return tuple(dict.fromkeys(name for name, _ in found)) if good else None


def is_variable(name: str) -> bool:
    """May an environment variable be called so?"""
    return bool(_NAME.fullmatch(name))


def failures(spot: Spot, value: object) -> tuple[int | str, ...] | None:
    """Exit codes, names of signals, "timeout"."""
    import signal

    found: list[int | str] = []
    for number, item in enumerate(value if isinstance(value, list) else [value]):
        place = spot.item(number) if isinstance(value, list) else spot
        if isinstance(item, int) and not isinstance(item, bool):
            if 1 <= item <= 255:
                found.append(item)
            else:
                place.wrong(f"has the exit code {item}, and those of failures are 1 to 255")
            continue
        name = item.upper() if isinstance(item, str) else ""
        signal_name = name if name.startswith("SIG") else f"SIG{name}"
        if name == "TIMEOUT":
            found.append("timeout")
        elif signal_name in signal.Signals.__members__:
            found.append(signal_name)
        else:
            given = f'"{item}"' if isinstance(item, str) else kind(item)
            place.wrong(f'must hold exit codes, names of signals such as "SIGKILL", or "timeout", not {given}')
    whole_list = len(found) == (len(value) if isinstance(value, list) else 1)
    return tuple(dict.fromkeys(found)) if whole_list else None


# -- foreach ---------------------------------------------------------------------------------------------------------------------------


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
    given = f'"{value}"' if isinstance(value, str) and value.isprintable() else kind(value)
    spot.wrong(f'must be a date such as "2026-01-31", "today", or a whole number, not {given}')
    return None
