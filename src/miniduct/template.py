"""Texts with placeholders: `{name}`, `{name.part}`, `{name[0]}`, and in keys `{name**}`.

Only braces around a plain name that do not follow a `$` are placeholders. `{{` and the `}}` that closes it are literal braces; every other brace is
literal text: `${HOME}`, `{print $1}`, `{a,b}`, `{}` and the `}}` of `${a:-${b}}` stay as they are. What a name means is not known here.
`unparse` is the inverse: whatever the literal parts hold, `parse` reads the same parts again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIGN = re.compile(
    r"(?<!\$)\{(?P<name>[^\W\d]\w*)(?:(?P<deep>\*\*)|\.(?P<part>[\w-]+(?:\.uri)?)|\[(?P<index>[0-9]+)\])?\}|(?P<open>\{\{?)|\}"
)


class Placeholder(NamedTuple):
    """`{name}`; `part` is what follows a dot, `item` the number in brackets, `deep` tells of `**`; `start` and `end` are places in the text."""

    name: str
    part: str | None = None
    item: int | None = None
    deep: bool = False
    start: int = 0
    end: int = 0

    @property
    def is_uri(self) -> bool:
        """Does it stand for keys as they are called, not for local paths?"""
        return self.part is not None and (self.part == "uri" or self.part.endswith(".uri"))

    @property
    def slot(self) -> str | None:
        """The name of the inputs or targets that are meant; None: all."""
        return self.part if not self.is_uri or self.part is None else self.part[:-4].rstrip(".") or None

    def __str__(self) -> str:
        tail = "**" if self.deep else f".{self.part}" if self.part is not None else ""
        return f"{{{self.name}{tail}{'' if self.item is None else f'[{self.item}]'}}}"


class Template(NamedTuple):
    """The parts of a text in order: literal text, never empty and never two in a row, and placeholders."""

    parts: tuple[str | Placeholder, ...]

    @property
    def placeholders(self) -> list[Placeholder]:
        return [part for part in self.parts if isinstance(part, Placeholder)]

    @property
    def literal(self) -> str | None:
        """The text itself where it has no placeholder."""
        return None if self.placeholders else "".join(map(str, self.parts))


def parse(text: str, *, is_key: bool) -> Template:
    """The parts of the text. `{name**}` is a placeholder only where `is_key`."""
    if "{" not in text:
        return Template((text,) if text else ())
    parts: list[str | Placeholder] = []
    literal: list[str] = []
    open_: list[bool] = []  # for each open literal brace: was it written twice?
    at = 0
    while found := _SIGN.search(text, at):
        literal.append(text[at : found.start()])
        at = found.end()
        if _means_something(found, is_key=is_key):
            _add(parts, literal)
            parts.append(_placeholder(found))
        elif found["name"] or found["open"]:
            doubled = found["open"] == "{{"
            at = found.start() + 1 + doubled
            literal.append("{")
            open_.append(doubled)
        else:
            at += _closes(open_, text, at)
            literal.append("}")
    literal.append(text[at:])
    _add(parts, literal)
    return Template(tuple(parts))


def strays(text: str) -> list[tuple[int, int]]:
    """Where a brace of a key opens, is not written twice, and begins no placeholder: from it to the brace that closes it, or to the text's end."""
    found = []
    for sign in _SIGN.finditer(text):
        if sign[0] not in ("}", "{{") and not _means_something(sign, is_key=True):
            end = text.find("}", sign.start())
            found.append((sign.start(), end + 1 if end >= 0 else len(text)))
    return found


def _means_something(found: re.Match[str], *, is_key: bool) -> bool:
    name = found["name"]
    return bool(name) and name.isidentifier() and (is_key or not found["deep"])


def _placeholder(found: re.Match[str]) -> Placeholder:
    index = found["index"]
    return Placeholder(
        found["name"], found["part"], int(index) if index else None, bool(found["deep"]), found.start(), found.end()
    )


def _add(parts: list[str | Placeholder], literal: list[str]) -> None:
    text = "".join(literal)
    if text:
        parts.append(text)
    literal.clear()


def _closes(open_: list[bool], text: str, at: int) -> bool:
    """Is the next brace, too, a part of the closing one just read? Takes the brace that it closes from the open ones."""
    if not open_:
        return False
    if not open_[-1]:
        open_.pop()
        return False
    doubled = text.startswith("}", at)
    if doubled:
        open_.pop()
    return doubled


def unparse(parts: Iterable[str | Placeholder]) -> str:
    """A text that `parse` takes apart into just these parts. ValueError where a literal `$` would make the placeholder behind it literal."""
    written: list[str] = []
    open_ = 0
    for part in parts:
        if isinstance(part, Placeholder):
            if written and written[-1].endswith("$"):
                raise ValueError("a placeholder behind a literal $ cannot be written")
            written.append(str(part))
            continue
        for piece in re.split(r"([{}])", part):
            if piece == "{":
                open_ += 1
                written.append("{{")
            elif piece == "}" and open_:
                open_ -= 1
                written.append("}}")
            elif piece:
                written.append(piece)
    return "".join(written)
