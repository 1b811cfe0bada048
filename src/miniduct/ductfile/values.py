"""TOML values to the values that a step holds: durations, lists of names, whole numbers, choices.

Each converter gives the value, or None with a mistake on the list: what it must be, what it is instead, and the next move.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..text import nearest
from . import tables
from .source import kind, scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .source import Spot

UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_PIECE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def text(spot: Spot, value: object) -> str | None:
    """A text."""
    if isinstance(value, str):
        return value
    spot.wrong(f"must be a text, not {kind(value)}", hint=example(spot) or _quoted(value))
    return None


def example(spot: Spot) -> str | None:
    """The next move where a setting has a wrong type; None where the spot is no setting but a part of one."""
    path = spot.path
    is_setting = len(path) == {"step": 3, "defaults": 2}.get(str(path[0]), 1)
    written = tables.EXAMPLES.get(str(path[-1])) if is_setting else None
    return f"write {written}" if written else None


def _quoted(value: object) -> str | None:
    """The next move where quotes were forgotten."""
    return None if isinstance(value, bool) or scalar(value) is None else f'write "{scalar(value)}"'


def given(value: object) -> str:
    """What stands there instead of what must be."""
    return f'"{value}"' if isinstance(value, str) else kind(value)


def texts(spot: Spot, value: object) -> list[tuple[str, Spot]] | None:
    """A text, or a list of texts: each with its spot."""
    if isinstance(value, str):
        return [(value, spot)]
    if not isinstance(value, list):
        spot.wrong(f"must be a text or a list of texts, not {kind(value)}", hint=example(spot) or _quoted(value))
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
    hint = f"write {str(value).lower()} without quotes" if quoted else example(spot)
    if value in (0, 1):
        hint = f"write {'true' if value else 'false'}"
    spot.wrong(f"must be true or false, not {kind(value)}", hint=hint)
    return None


def whole(spot: Spot, value: object, least: int) -> int | None:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        hint = f"write {int(value)} without quotes" if isinstance(value, str) and value.isdecimal() else example(spot)
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
        spot.wrong(
            f'must be seconds, or a text such as "90s", "5m", "1h30m" or "2d", not {given(value)}', hint=example(spot)
        )
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
    near = nearest(value, allowed) if isinstance(value, str) else []
    spot.wrong(f"must be {listed}, not {given(value)}", hint=f'did you mean "{near[0]}"?' if near else None)
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
            place.wrong(
                f'must hold exit codes, names of signals such as "SIGKILL", or "timeout", not {given(item)}',
                hint=example(place),
            )
    whole_list = len(found) == (len(value) if isinstance(value, list) else 1)
    return tuple(dict.fromkeys(found)) if whole_list else None
