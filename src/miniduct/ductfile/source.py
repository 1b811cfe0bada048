"""One Ductfile as text: its TOML values, their places, and the list that mistakes in it are put on.

A `Spot` is a value's address: what a message calls it, and where it stands. This module knows TOML and wording, no setting and no step.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tomli

from ..errors import Mistake
from ..model import Location
from ..text import escaped
from .places import Span, scan

if TYPE_CHECKING:
    from .places import Path, Places

REWORDED = {
    "Invalid value": "here should be a value",
    "Invalid statement": "here should be a setting or a [table]",
    "Unterminated string": "a text has no closing quotes",
    "Unclosed array": "a list has no closing ], or a comma is missing",
    "Unclosed inline table": "a table has no closing }, or a comma is missing",
    "Expected '=' after a key in a key/value pair": "here should be a =",
    "Expected newline or end of document after a statement": "here should be the end of the line",
    "Unescaped '\\' in a string": "a backslash in a text in double quotes begins an escape, and there is none like this",
    "Expected ']' at the end of a table declaration": "here should be a ]",
    "Expected ']]' at the end of an array declaration": "here should be a ]]",
    "Cannot overwrite a value": "this is set already",
}
"""tomli's facts, in our words."""

HINTS = {
    "Unescaped '\\' in a string": "write it twice (\\\\), or put the text in single quotes",
    "Invalid value": "texts need quotes, lists [ ], tables { }",
}


@dataclass
class Source:
    """A Ductfile: how messages call it, its tables, and where everything stands. `mistakes` is shared by all files of a project."""

    shown: str
    places: Places
    data: dict[str, Any]
    mistakes: list[Mistake] = field(default_factory=list)

    def location(self, path: Path, *, key: bool = False, part: tuple[int, int] | None = None) -> Location:
        """Where a value, its key, or some letters of a text stand. What has no place of its own stands where its table does."""
        span = self._span(path, key, part)
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


@dataclass(frozen=True)
class Spot:
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

    def location(self, *, key: bool = False, part: tuple[int, int] | None = None) -> Location:
        return self.source.location(self.path, key=key, part=part)

    def wrong(self, what: str, *, hint: str | None = None, facts: tuple[str, ...] = (), key: bool = False) -> None:
        """Put a mistake on the list: the subject, then what is wrong with it."""
        self.say(f"{self.subject} {what}", hint=hint, facts=facts, key=key)

    def say(
        self,
        what: str,
        *,
        hint: str | None = None,
        facts: tuple[str, ...] = (),
        key: bool = False,
        part: tuple[int, int] | None = None,
    ) -> None:
        """Put a mistake on the list, in these words."""
        self.source.mistakes.append(mistake_at(self.location(key=key, part=part), what, facts=facts, hint=hint))


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
    return "a table"


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
        mistakes.append(_refused(Source(shown, scan(text), {}, mistakes), error))
    except RecursionError:
        mistakes.append(Mistake(shown, 1, "lists or tables are nested too deep"))
    return None


def _refused(source: Source, error: tomli.TOMLDecodeError) -> Mistake:
    """tomli's error, where it has one name for it a better one."""
    places, text = source.places, source.places.text
    fact, at = error.msg, min(error.pos, len(text))
    already = any(word in fact for word in ("overwrite", "twice", "Duplicate", "already", "immutable"))
    if already and places.twice:
        twice = places.twice[0]
        first = source.location(twice.path)._replace(line=places.line_of(twice.first.start))
        names = [escaped(str(word)) for word in twice.path]
        if names[0] == "step" and len(names) in (2, 3):
            what = f'step "{names[1]}" ' + (f'has "{names[2]}" twice' if len(names) == 3 else "is there twice")
        else:
            what = f'"{".".join(names)}" is there twice'
        return _at(source, twice.second, what, f"the first one is at {source.shown}:{first.line}")
    while at > 0 and (at >= len(text) or text[at] == "\n") and text[at - 1] in " \t\n":
        at -= 1
    if fact == "Illegal character '\\n'":
        fact, at = "Unterminated string", max(at - 1, 0)
    what = REWORDED.get(fact, f"{fact[:1].lower()}{fact[1:]}")
    hint = HINTS.get(fact)
    if fact.startswith("Expected newline") and text[at - 1 : at] in ("'", '"'):
        hint = "the quote before it ends the text; a text with quotes in it can stand in '''…'''"
    return _at(source, Span(at, at + 1), f"not valid TOML: {what}", hint)


def _at(source: Source, span: Span, what: str, hint: str | None) -> Mistake:
    places = source.places
    number = places.line_of(span.start)
    start, line = places.line(number)
    width = max(1, min(span.end, start + len(line)) - span.start)
    return Mistake(source.shown, number, what, span.start - start + 1, width, _harmless(line), hint=hint)
