"""A text that is no TOML: tomli's fact in our words, where the trouble begins, and what to write instead.

Habits of other files (YAML, make, Python) are known by the look of the text at the place. This module knows TOML and wording, no setting.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..text import escaped
from ..tuples import NamedTuple
from .places import Span

if TYPE_CHECKING:
    import tomli

    from .places import Path, Places

UNTERMINATED = "a text has no closing quotes"

REWORDED = {
    "Invalid value": "a value is expected here",
    "Invalid statement": "a setting or a [table] is expected here",
    "Unterminated string": UNTERMINATED,
    'Expected "\'"': UNTERMINATED,
    "Expected \"'''\"": UNTERMINATED,
    "Illegal character '\\n'": UNTERMINATED,
    "Unclosed array": "a list has no closing ], or a comma is missing",
    "Unclosed inline table": "a table has no closing }, or a comma is missing",
    "Expected '=' after a key in a key/value pair": "a = is expected here",
    "Expected newline or end of document after a statement": "the end of the line is expected here",
    "Unescaped '\\' in a string": "a backslash in a text in double quotes begins an escape, and there is none like this",
    "Expected ']' at the end of a table declaration": "a ] is expected here",
    "Expected ']]' at the end of an array declaration": "a ]] is expected here",
    "Cannot overwrite a value": "this is set already",
}
"""tomli's facts, in our words."""

OTHER_FORMAT = 'this looks like YAML, or a Makefile; a Ductfile is TOML, and "duct init" writes one to begin with'
WORDS = {
    "true": "write true",
    "false": "write false",
    "yes": "write true",
    "no": "write false",
    "on": "write true",
    "off": "write false",
    "none": "leave the setting out: there is no value for none",
    "null": "leave the setting out: there is no value for none",
    "nil": "leave the setting out: there is no value for none",
}
"""Values of other languages, in small letters."""

_WORD = re.compile(r"[^\s,\]}#]*")
_OTHER = re.compile(r"\t|\s*- |\s*[^\s:=\"'#\[]+( [^\s:=\"'#\[]+)*\s*:(\s|$)")
_HEADER = re.compile(r"\[+([^\]\"']+)\]")


class Refusal(NamedTuple):
    """What is wrong with a text, and where: all that a mistake needs."""

    span: Span
    what: str
    facts: tuple[str, ...] = ()
    hint: str | None = None


def refused(places: Places, shown: str, error: tomli.TOMLDecodeError) -> Refusal:
    """tomli's error, where it has one name for it a better one. `shown` is how messages call the file."""
    text = places.text
    fact, at = error.msg, min(error.pos, len(text))
    if any(word in fact for word in ("overwrite", "twice", "Duplicate", "already", "immutable")) and places.twice:
        twice = places.twice[0]
        first = f"the first one is at {shown}:{places.line_of(twice.first.start)}"
        return Refusal(twice.second, f"{_named(twice.path)} twice", hint=first)
    if text.startswith("<<<<<<<", at):
        return Refusal(Span(at, at + 7), "here is a merge conflict", hint="resolve it, and remove its marks")
    while at > 0 and (at >= len(text) or text[at] == "\n") and text[at - 1] in " \t\n":
        at -= 1
    what = REWORDED.get(fact, f"{fact[:1].lower()}{fact[1:]}")
    if what.startswith("illegal character"):
        what = f"the character {fact.split()[-1]} cannot stand here as it is"
    span = Span(at, at + 1)
    if what == UNTERMINATED:
        span = _open_text(places) or span
    return Refusal(span, f"not valid TOML: {what}", _began(places, shown, fact, at), _hint(fact, text, at))


def _named(path: Path) -> str:
    names = [escaped(str(word)) for word in path]
    if names[0] == "step" and len(names) in (2, 3):
        return f'step "{names[1]}" ' + (f'has "{names[2]}"' if len(names) == 3 else "is there")
    return f'"{".".join(names)}" is there'


def _open_text(places: Places) -> Span | None:
    """The opening quotes of the text at which the scanner gave up."""
    text, at = places.text, places.lost
    quotes = re.compile("\"\"\"|'''|\"|'").match(text, at if at is not None else len(text))
    return Span(*quotes.span()) if quotes else None


def _began(places: Places, shown: str, fact: str, at: int) -> tuple[str, ...]:
    """Where a list or table that has no end began, if that is another line."""
    if not fact.startswith("Unclosed") or not places.open:
        return ()
    line = places.line_of(places.open[-1])
    what = "list" if "array" in fact else "table"
    return (f"the {what} begins at {shown}:{line}",) if line != places.line_of(at) else ()


def _hint(fact: str, text: str, at: int) -> str | None:
    line = text[text.rfind("\n", 0, at) + 1 :].partition("\n")[0]
    found = _WORD.match(text, at)
    word = found[0] if found else ""
    if fact.startswith("Unescaped"):
        return "write it twice (\\\\), or put the text in single quotes"
    if fact == "Invalid value":
        if word[:1] in tuple("“”‘’«„"):  # noqa: RUF001
            return 'write plain quotes: "…"'
        return WORDS.get(word.lower(), "texts need quotes, lists [ ], tables { }")
    if fact.startswith("Expected newline"):
        return _after_a_value(text, at)
    if fact.startswith("Illegal") and fact not in REWORDED:
        code = ord(text[at : at + 1] or " ")
        return f"in a text in double quotes, write \\u{code:04x}" if code else "remove it"
    header = _HEADER.match(line.lstrip())
    if fact.startswith("Expected ']") and header:
        *outer, last = header[1].strip().split(".")
        return f"a name that has more than letters a-z, digits, _ and - needs quotes: [{'.'.join([*outer, _quoted(last)])}]"
    if fact.startswith("Expected '='") or fact == "Invalid statement":
        return OTHER_FORMAT if _OTHER.match(line) else None
    return None


def _quoted(name: str) -> str:
    return f'"{name.strip()}"'


def _after_a_value(text: str, at: int) -> str | None:
    """Why the line does not end where a value does."""
    if text[at : at + 1] in (";", ","):
        return f"no {text[at]} at the end of a setting"
    if text[at - 1 : at] in ("'", '"'):
        return "the quote before it ends the text; a text with quotes in it can stand in '''…'''"
    if text[at - 1 : at] in (" ", "\t"):
        return "one setting a line; a text needs quotes"
    if text[at - 1 : at].isalnum() and not text[at : at + 1].isspace():
        return "a text needs quotes"
    return None
