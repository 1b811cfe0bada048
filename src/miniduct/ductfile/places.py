"""Where in a TOML text each key and each value stands, down to the letters of a string. tomli keeps no positions, so the text is scanned once more.

The scanner trusts that tomli has read the text; in a text that tomli refused it goes as far as it understands, which is enough to find the first
of two equal keys. It refuses to know what a key means. Invariant: every key and every element that tomli gives has a place, under the same path.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from ..tuples import NamedTuple

Path = tuple[str | int, ...]
"""The keys and list indexes that lead to a value."""


class Span(NamedTuple):
    """Offsets in the text: the first letter, and the one after the last."""

    start: int
    end: int


class Twice(NamedTuple):
    """A key or table that is there for the second time."""

    path: Path
    first: Span
    second: Span


_BLANKS = re.compile(r"[ \t]*")
_SPACE = re.compile(r"[ \t\n]*(?:#[^\n]*[ \t\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""[^"\\]*(?:(?:\\[\s\S]|"{1,2}(?!"))[^"\\]*)*"{3,5}'
    r"|'''[^']*(?:'{1,2}(?!')[^']*)*'{3,5}"
    r'|"(?!"")[^"\\\n]*(?:\\.[^"\\\n]*)*"'
    r"|'(?!'')[^'\n]*'"
)
_PLAIN = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]*|[^\s,\]}#\[{\"']+")
_ESCAPE = re.compile(
    r"\\(?:(?P<line>[ \t]*\n[ \t\n]*)|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<one>.))"
)
_LETTERS = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


class _Lost(Exception):
    """The scanner does not understand the text; tomli does not either."""


class Places:
    """The places of a text's keys and values. `keys` holds the last word of each key or header, `values` what stands behind the `=`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.keys: dict[Path, Span] = {}
        self.values: dict[Path, Span] = {}
        self.twice: list[Twice] = []
        self.lost: int | None = None
        """Where the scanner gave up, if it did."""
        self.open: list[int] = []
        """Where the lists and tables begin that had no end yet when it did."""
        self._starts: list[int] | None = None

    def line_of(self, offset: int) -> int:
        """The number of the line, from 1."""
        if self._starts is None:
            self._starts = [0, *(found.end() for found in re.finditer("\n", self.text))]
        return bisect_right(self._starts, offset)

    def line(self, number: int) -> tuple[int, str]:
        """Where the line begins, and its text."""
        self.line_of(0)
        assert self._starts is not None
        start = self._starts[number - 1]
        end = self.text.find("\n", start)
        return start, self.text[start : end if end >= 0 else len(self.text)]

    def within(self, path: Path, start: int, end: int) -> Span:
        """Where the letters `start` to `end` of a string's value stand in the text."""
        span = self.values[path]
        offsets = letters(self.text[span.start : span.end])[1]
        first = offsets[min(start, len(offsets) - 1)]
        last = offsets[min(max(end - 1, start), len(offsets) - 1)]
        return Span(span.start + first, span.start + max(last, first) + 1)


def letters(source: str) -> tuple[str, list[int]]:
    """The value of a TOML string that is given as it is written, quotes and all; and where each letter of the value, and its end, stand in it."""
    quote = source[:3] if source[:3] in ('"""', "'''") else source[:1]
    at, end = len(quote), len(source) - len(quote)
    if len(quote) == 3 and source[at : at + 1] == "\n":
        at += 1
    value: list[str] = []
    offsets: list[int] = []
    while at < end:
        found = _ESCAPE.match(source, at, end) if source[at] == "\\" and quote[0] == '"' else None
        if found is None:
            value.append(source[at])
            offsets.append(at)
            at += 1
            continue
        if found["line"] is None:
            value.append(_escaped(found))
            offsets.append(at)
        at = found.end()
    return "".join(value), [*offsets, end]


def _escaped(found: re.Match[str]) -> str:
    number = found["x"] or found["u"] or found["U"]
    if number:
        return chr(int(number, 16))
    return _LETTERS.get(found["one"], found["one"])


def scan(text: str) -> Places:
    """The places of all keys and values of a TOML text whose lines end in a plain newline."""
    places = Places(text)
    scanner = _Scanner(places)
    try:
        scanner.document()
    except (_Lost, RecursionError):
        places.lost = scanner.at
    return places


class _Scanner:
    """One pass over the text; each method begins at `self.at` and leaves it behind what it has read."""

    def __init__(self, places: Places) -> None:
        self.text = places.text
        self.places = places
        self.at = 0
        self.arrays: dict[Path, int] = {}
        """How many tables each `[[array]]` has so far."""
        self.headers: dict[Path, Span] = {}

    def document(self) -> None:
        base: Path = ()
        while True:
            self._skip(_SPACE)
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                base = self._header()
            else:
                self._pair(base)
            self._skip(_BLANKS)
            if self.text[self.at : self.at + 1] not in ("", "\n", "#"):
                raise _Lost

    def _header(self) -> Path:
        width = 2 if self.text.startswith("[[", self.at) else 1
        self.at += width
        words = self._key()
        if not self.text.startswith("]" * width, self.at):
            raise _Lost
        self.at += width
        path: Path = ()
        for word, span in words[:-1]:
            path = (*path, word)
            self.places.keys.setdefault(path, span)
            if path in self.arrays:
                path = (*path, self.arrays[path] - 1)
        word, span = words[-1]
        path = (*path, word)
        if width == 2:
            number = self.arrays.get(path, 0)
            self.arrays[path] = number + 1
            self.places.keys.setdefault(path, span)
            path = (*path, number)
        elif path in self.headers or path in self.places.values:
            self.places.twice.append(Twice(path, self.places.keys[path], span))
        self.headers[path] = span
        self.places.keys[path] = span
        return path

    def _pair(self, base: Path) -> None:
        words = self._key()
        if not self.text.startswith("=", self.at):
            raise _Lost
        self.at += 1
        path = base
        seen = (*base, *(word for word, _ in words)) in self.places.keys
        for word, span in words:
            path = (*path, word)
            self.places.keys.setdefault(path, span)
        if seen:
            self.places.twice.append(Twice(path, self.places.keys[path], words[-1][1]))
        self.places.keys[path] = words[-1][1]
        self._skip(_BLANKS)
        self._value(path)

    def _key(self) -> list[tuple[str, Span]]:
        """The words of a dotted key, each with its place."""
        words: list[tuple[str, Span]] = []
        while True:
            self._skip(_BLANKS)
            start = self.at
            found = _BARE.match(self.text, start) or _STRING.match(self.text, start)
            if found is None:
                raise _Lost
            self.at = found.end()
            word = found[0] if self.text[start] not in "\"'" else letters(found[0])[0]
            words.append((word, Span(start, self.at)))
            self._skip(_BLANKS)
            if not self.text.startswith(".", self.at):
                return words
            self.at += 1

    def _value(self, path: Path) -> None:
        start = self.at
        char = self.text[start : start + 1]
        if char == "[":
            self._array(path)
        elif char == "{":
            self._table(path)
        else:
            found = (_STRING if char in ('"', "'") else _PLAIN).match(self.text, start)
            if found is None:
                raise _Lost
            self.at = found.end()
        self.places.values[path] = Span(start, self.at)

    def _array(self, path: Path) -> None:
        self.places.open.append(self.at)
        self.at += 1
        number = 0
        while True:
            self._skip(_SPACE)
            if self._closed("]"):
                return
            self._value((*path, number))
            number += 1
            self._comma("]")

    def _table(self, path: Path) -> None:
        self.places.open.append(self.at)
        self.at += 1
        while True:
            self._skip(_SPACE)
            if self._closed("}"):
                return
            self._pair(path)
            self._comma("}")

    def _closed(self, bracket: str) -> bool:
        if not self.text.startswith(bracket, self.at):
            return False
        self.at += 1
        self.places.open.pop()
        return True

    def _comma(self, bracket: str) -> None:
        """Step over a comma; a closing bracket is left for the caller."""
        self._skip(_SPACE)
        if self.text.startswith(",", self.at):
            self.at += 1
        elif not self.text.startswith(bracket, self.at):
            raise _Lost

    def _skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self.text, self.at)
        assert found
        self.at = found.end()
