"""Events as JSON Lines on stdout, for programs: `{"v": 1, "event": "job_started", …}`, the fields as in `events`.

The schema is a promise: fields are added within a version, never changed or dropped. Nothing else is written to stdout with `--json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..events import Event
    from .screen import Streams

VERSION = 1

INNER = ("live", "repeat")
"""Fields for those who look on, and not for programs."""
_NAMES: dict[type, tuple[str, tuple[str, ...]]] = {}


class JsonReporter:
    """One line for each event, at once."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def tell(self, event: Event) -> None:
        """Write the event."""
        self._streams.put(line(_described(type(event))[0], plain(event)))

    def tick(self) -> None:
        """Nothing is said between events."""

    def close(self) -> None:
        """Nothing is held."""


def line(event: str, values: Mapping[str, Any]) -> bytes:
    """One line: version, the event's name, its fields. Pure ASCII; bytes of file names that are no UTF-8 stand as lone surrogates."""
    return json.dumps({"v": VERSION, "event": event, **values}, separators=(",", ":")).encode("ascii") + b"\n"


def plain(value: Any) -> Any:
    """A value of `events` or `answers` as JSON knows it."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if hasattr(value, "_fields"):
        return {name: plain(getattr(value, name)) for name in _described(type(value))[1]}
    return [plain(each) for each in value]


def _described(kind: Any) -> tuple[str, tuple[str, ...]]:
    found = _NAMES.get(kind)
    if found is None:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
        found = _NAMES[kind] = (name, tuple(each for each in kind._fields if each not in INNER))
    return found
