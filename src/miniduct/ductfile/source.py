"""One Ductfile as text: its TOML values, their places, and the list that mistakes in it are put on.

A `Spot` is a value's address: what a message calls it, and where it stands. This module knows TOML and wording, no setting and no step.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import tomli

from ..errors import Mistake
from ..model import Location
from ..text import escaped
from ..tuples import NamedTuple
from .places import Span, scan
from .refused import refused

if TYPE_CHECKING:
    from .places import Path, Places


class Source:
    """A Ductfile: how messages call it, its tables, and where everything stands. `mistakes` is shared by all files of a project."""

    def __init__(self, shown: str, places: Places, data: dict[str, Any], mistakes: list[Mistake]) -> None:
        self.shown = shown
        self.places = places
        self.data = data
        self.mistakes = mistakes

    def location(self, path: Path, *, key: bool = False, part: tuple[int, int] | None = None) -> Location:
        """Where a value, its key, or some letters of a text stand. What has no place of its own stands where its table does."""
        span = self._span(path, key, part)
        return self.at(span)

    def at(self, span: Span) -> Location:
        """A place of the text, as messages tell it."""
        places = self.places
        number = places.line_of(span.start)
        start, line = places.line(number)
        width = max(1, min(span.end, start + len(line)) - span.start)
        return Location(self.shown, number, span.start - start + 1, width, _harmless(line))

    def _span(self, path: Path, key: bool, part: tuple[int, int] | None) -> Span:
        places = self.places
        if part is not None and path in places.values:
            return places.within(path, *part)
        value = places.values.get(path)
        name = places.keys.get(path)
        # A value of several lines has no caret that says anything: its key has.
        if value is not None and not (name is not None and (key or "\n" in places.text[value.start : value.end])):
            return value
        if name is not None:
            return name
        return self._span(path[:-1], key, None) if path else Span(0, 0)


def _harmless(line: str) -> str:
    """The line with each letter that a terminal could act upon replaced, so that columns stay."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in line)


def mistake_at(place: Location, what: str, *, facts: tuple[str, ...] = (), hint: str | None = None) -> Mistake:
    """A mistake at a location. Whatever a text quotes from the file is made harmless here, once for all."""
    facts = tuple(map(escaped, facts))
    return Mistake(
        place.file, place.line, escaped(what), place.column, place.width, place.source, facts, hint and escaped(hint)
    )


class Spot(NamedTuple):
    """A value's address. `subject` is how a message calls it: `"retries" of step "clean"`."""

    source: Source
    path: Path
    subject: str
    owner: str = ""
    """What it belongs to: `step "clean"`, `[defaults]`, or nothing."""

    def named(self, *names: str) -> Spot:
        """A value of this table, or of one inside it."""
        path = (*self.path, *names)
        text = f'"{".".join(names)}"'
        return Spot(self.source, path, f"{text} of {self.owner}" if self.owner else text, self.owner)

    def inside(self, outer: str, name: str) -> Spot:
        """A value of the table that is the setting `outer`."""
        text = f'"{outer}.{name}"'
        subject = f"{text} of {self.owner}" if self.owner else text
        return Spot(self.source, (*self.path, name), subject, self.owner)

    def inside_range(self, name: str) -> Spot:
        """An end of this range: messages call it by the range's name."""
        return Spot(self.source, (*self.path, name), f'"{name}" in {self.subject}', self.owner)

    def item(self, number: int) -> Spot:
        """An element of this list: messages call it by the list's name."""
        return Spot(self.source, (*self.path, number), self.subject, self.owner)

    def is_header(self) -> bool:
        """Is this a table that a [header] begins?"""
        places = self.source.places
        name = places.keys.get(self.path)
        return name is not None and self.path not in places.values and places.text[name.end : name.end + 1] == "]"

    def location(self, *, key: bool = False, part: tuple[int, int] | None = None) -> Location:
        return self.source.location(self.path, key=key, part=part)

    def wrong(
        self,
        what: str,
        *,
        hint: str | None = None,
        facts: tuple[str, ...] = (),
        key: bool = False,
        quoted: bool = True,
    ) -> None:
        """Put a mistake on the list: the subject, then what is wrong with it. Without `quoted`, the line itself is not shown."""
        self.say(f"{self.subject} {what}", hint=hint, facts=facts, key=key, quoted=quoted)

    def say(
        self,
        what: str,
        *,
        hint: str | None = None,
        facts: tuple[str, ...] = (),
        key: bool = False,
        part: tuple[int, int] | None = None,
        quoted: bool = True,
    ) -> None:
        """Put a mistake on the list, in these words."""
        place = self.location(key=key, part=part)
        if not quoted:
            place = place._replace(width=0, source="")
        self.source.mistakes.append(mistake_at(place, what, facts=facts, hint=hint))


def kind(value: object) -> str:
    """What a message calls a value's type."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, (datetime.date, datetime.time)):
        return "a date" if type(value) is datetime.date else "a time"
    return "a table" if isinstance(value, dict) else type(value).__name__


def scalar(value: object) -> str | None:
    """How a text, number, truth value or date is written in a command; None for lists and tables."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return None


def source_of(raw: bytes, shown: str, mistakes: list[Mistake]) -> Source | None:
    """The file's values and places; None, with a mistake on the list, where it is not TOML."""
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        mistakes.append(Mistake(shown, line, "this is not UTF-8", hint="save the file with the encoding UTF-8"))
        return None
    try:
        return Source(shown, scan(text), tomli.loads(text), mistakes)
    except tomli.TOMLDecodeError as error:
        source = Source(shown, scan(text), {}, mistakes)
        span, what, facts, hint = refused(source.places, shown, error)
        mistakes.append(mistake_at(source.at(span), what, facts=facts, hint=hint))
    except RecursionError:
        mistakes.append(Mistake(shown, 1, "lists or tables are nested too deep"))
    return None
