"""Key patterns: literal text, wildcards (`{day}`, `{path**}`) and globs (`*`, `**`, `?`, `[a-z]`), as regular expressions and as folders to list.

A pattern matches whole keys. A wildcard takes a part of one name, never empty and never a slash; `{path**}` takes any depth. A name that
begins with a dot is matched only where the pattern itself has the dot. Literal text and bound values are data: whatever characters they hold,
they match only themselves. This module knows no disk; `listing` walks the folders.
"""

from __future__ import annotations

import posixpath
import re
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..keys import HTTP, is_remote
from ..template import parse
from ..tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..template import Template

_SIGN = re.compile(r"[*?[]")
NAMES_BELOW = r"(?!\.)[^/]+(?:/(?!\.)[^/]+)*"
"""One or more whole names, none of which begins with a dot."""


class Wildcard(NamedTuple):
    """`{name}`, or `{name**}` when deep."""

    name: str
    deep: bool


class Glob(NamedTuple):
    """A glob sign as written, and its regular expression. `many` tells whether its length is open."""

    text: str
    source: str
    many: bool
    deep: bool = False


Token = str | Wildcard | Glob


class Edge(NamedTuple):
    """How the text between two slashes begins and ends; `exact`: that is all of it."""

    prefix: str
    suffix: str
    exact: bool

    def meets(self, other: Edge) -> bool:
        """Can one text fit both? True when in doubt."""
        if self.exact and other.exact:
            return self.prefix == other.prefix
        if self.exact:
            return self.prefix.startswith(other.prefix) and self.prefix.endswith(other.suffix)
        if other.exact:
            return other.meets(self)
        return (self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)) and (
            self.suffix.endswith(other.suffix) or other.suffix.endswith(self.suffix)
        )


class Pattern:
    """A key pattern. `where` restricts wildcards by regular expressions, each of which must match the whole value."""

    names: tuple[str, ...] = ()
    """The wildcards, in the order of their first appearance."""
    globs = False
    literal: str | None = None
    """The key itself, where the pattern has neither wildcards nor globs."""
    where: Mapping[str, str] = MappingProxyType({})

    def __init__(self, tokens: Sequence[Token], where: Mapping[str, str] | None = None) -> None:
        self.tokens = (tokens[0],) if len(tokens) == 1 and tokens[0] else _merged(tokens)
        last = self.tokens[-1] if self.tokens else ""
        self.is_folder = isinstance(last, str) and last[-1:] == "/"
        """Does it match folders, not files?"""
        if len(self.tokens) == 1 and isinstance(last, str):
            self.literal = last
            return
        self.names = tuple(dict.fromkeys([token.name for token in self.tokens if isinstance(token, Wildcard)]))
        self.globs = any(isinstance(token, Glob) for token in self.tokens)
        if not self.tokens:
            self.literal = ""
        if where:
            self.where = {name: text for name, text in where.items() if name in self.names}

    def bind(self, values: Mapping[str, str]) -> Pattern:
        """The same pattern with these wildcards replaced by their values, as literal text."""
        tokens = [values.get(token.name, token) if isinstance(token, Wildcard) else token for token in self.tokens]
        return Pattern(tokens, self.where)

    def below(self) -> Pattern:
        """Everything below the folder that this pattern names."""
        return Pattern([*self.tokens, Glob("**", NAMES_BELOW, many=True, deep=True)], self.where)

    def texts(self, columns: Mapping[str, Sequence[str]], rows: int) -> list[str]:
        """One key (or glob) for each row of the wildcards' values. 100,000 rows: 20 ms, for nothing is formatted one by one."""
        if not self.names:
            return [self._plain] * rows
        literal = escape if self.globs else str
        if len(self.tokens) == 3 and len(self.names) == 1 and not self.globs and isinstance(self.tokens[1], Wildcard):
            before, name, after = self.tokens[0], self.names[0], self.tokens[2]
            return [f"{before}{value}{after}" for value in columns[name]]
        pieces: list[Iterable[str]] = []
        for token in self.tokens:
            if isinstance(token, Wildcard):
                pieces.append(map(literal, columns[token.name]))
            else:
                pieces.append([literal(token) if isinstance(token, str) else token.text] * rows)
        return list(map("".join, zip(*pieces)))

    def text(self, values: Mapping[str, str]) -> str:
        """The pattern as a glob text, or as a plain key where it has no globs."""
        return self.texts({name: [value] for name, value in values.items()}, 1)[0]

    @cached_property
    def _plain(self) -> str:
        if self.literal is not None:
            return self.literal
        return "".join(token.text if isinstance(token, Glob) else escape(str(token)) for token in self.tokens)

    @cached_property
    def source(self) -> str:
        """What a user would have written: wildcards in braces, globs as they are."""
        return "".join(
            token
            if isinstance(token, str)
            else token.text
            if isinstance(token, Glob)
            else f"{{{token.name}{'**' if token.deep else ''}}}"
            for token in self.tokens
        )

    # -- as a regular expression ------------------------------------------------------------------------------------------------------

    @cached_property
    def sharp(self) -> bool:
        """Is there at most one way to read a key by this pattern? Then each value stands alone and `where` is checked after the match."""
        lengths = [
            [isinstance(token, Wildcard) or (isinstance(token, Glob) and token.many) for token in part]
            for part in _parts(self.tokens)
        ]
        if any(not isinstance(token, str) and token.deep for token in self.tokens):
            return sum(map(sum, lengths)) <= 1
        return all(sum(part) <= 1 for part in lengths)

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """Matches whole keys; the wildcards are named groups. re.error where a `where` cannot stand inside."""
        return re.compile(_regex(self.tokens, {} if self.sharp else self.where))

    def match(self, keys: Iterable[str]) -> list[tuple[str, ...]]:
        """For each key that matches: the key, then the values of the wildcards. One match a key; 100,000 keys: 60 ms."""
        fullmatch = self.regex.fullmatch
        if not self.names:
            return [(key,) for key in keys if fullmatch(key)]
        groups = [self.regex.groupindex[name] for name in self.names]
        rows = [found.group(0, *groups) for found in map(fullmatch, keys) if found]
        for name, text in self.where.items():
            at, check = self.names.index(name) + 1, re.compile(text).fullmatch
            rows = [row for row in rows if check(row[at])]
        return rows

    def matches(self, key: str) -> bool:
        return bool(self.match((key,)))

    # -- as folders -------------------------------------------------------------------------------------------------------------------

    @cached_property
    def parts(self) -> list[list[Token]]:
        """The tokens of each name between slashes; a folder pattern's last slash is left out."""
        parts = _parts(self.tokens)
        return parts[:-1] if self.is_folder else parts

    @cached_property
    def folder(self) -> str:
        """The folder below which all matches lie, as far as the pattern says it literally ("" is the root)."""
        names = []
        for part in self.parts[:-1]:
            if not all(isinstance(token, str) for token in part):
                break
            names.append("".join(map(str, part)))
        return "/" if names == [""] else "/".join(names)

    @cached_property
    def levels(self) -> list[re.Pattern[str] | str | None]:
        """What the names below `folder` must match, level by level: a text, an expression, or None for "any depth from here on"."""
        fixed = 0 if not self.folder else 1 if self.folder == "/" else self.folder.count("/") + 1
        levels: list[re.Pattern[str] | str | None] = []
        for part in self.parts[fixed:]:
            if all(isinstance(token, str) for token in part):
                levels.append("".join(map(str, part)))
            elif any(not isinstance(token, str) and token.deep for token in part):
                levels.append(None)
                break
            else:
                levels.append(re.compile(_regex([_loose(token) for token in part], {})))
        return levels

    @cached_property
    def dots(self) -> bool:
        """Does the pattern itself have a name that begins with a dot, other than `..`?"""
        heads = [str(part[0]) for part in self.parts if part and isinstance(part[0], str)]
        return any(head.startswith(".") and head not in ("..", ".") for head in heads)

    @cached_property
    def prefix(self) -> str:
        """The literal text that all matches begin with."""
        return self.tokens[0] if self.tokens and isinstance(self.tokens[0], str) else ""

    # -- against other patterns -------------------------------------------------------------------------------------------------------

    @cached_property
    def edges(self) -> list[Edge] | None:
        """One edge for each name between slashes; None where the depth is open."""
        if any(not isinstance(token, str) and token.deep for token in self.tokens):
            return None
        return [_edge(part) for part in _parts(self.tokens)]

    def meets(self, other: Pattern) -> bool:
        """Can one key match both? True when in doubt: only literal beginnings and ends are looked at, never `where`."""
        if self.edges is not None and other.edges is not None:
            return len(self.edges) == len(other.edges) and all(map(Edge.meets, self.edges, other.edges))
        return _edge(self.tokens).meets(_edge(other.tokens))

    def may_contain(self, other: Pattern) -> bool:
        """Can a folder that this pattern matches hold a key that the other one matches? True when in doubt."""
        return self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)


def bound_texts(pattern: Pattern, columns: Mapping[str, Sequence[str]], rows: int) -> list[str]:
    """The pattern's text for each row, normalised where a value could have brought slashes of its own."""
    if pattern.literal is not None:
        return [pattern.literal] * rows
    texts = pattern.texts(columns, rows)
    if all(plain(dict.fromkeys(columns[name])) for name in pattern.names):
        return texts
    return [normal(text) for text in texts]


def plain(values: Iterable[str]) -> bool:
    """Could a wildcard of one level, anywhere in a name, have taken each of these values?"""
    return not any(value[:1] in ("", ".") or "/" in value for value in values)


def normal(key: str) -> str:
    """The key without `./`, `//` and inner `..`; a last slash stays. In a remote key every letter counts."""
    if is_remote(key):
        return key
    folder = "/" if key.endswith("/") and key.strip("/") else ""
    return posixpath.normpath(key) + folder if key else key


def key_pattern(text: str, where: Mapping[str, str] | None = None, *, target: bool = False) -> Pattern:
    """The pattern that a Ductfile's text means. A target is a glob only where it has a `*`."""
    if "{" not in text and "*" not in text and "?" not in text and "[" not in text:
        return _literal(text)
    return from_template(parse(text, is_key=True), where, target=target)


@lru_cache(maxsize=256)
def _literal(text: str) -> Pattern:
    """The pattern of a plain key: most of those that a step makes are read by the next ones."""
    return Pattern((text,))


def from_template(template: Template, where: Mapping[str, str] | None = None, *, target: bool = False) -> Pattern:
    pieces: list[str | Wildcard] = [
        part if isinstance(part, str) else Wildcard(part.name, part.deep) for part in template.parts
    ]
    if target and not any(isinstance(piece, str) and "*" in piece for piece in pieces):
        return Pattern(pieces, where)
    return Pattern(_globbed(pieces), where)


@lru_cache(maxsize=4096)
def glob(text: str) -> Pattern:
    """The pattern of a glob text: braces mean themselves."""
    return Pattern(_globbed([text]))


def is_glob(text: str) -> bool:
    """Would `glob` find a sign in it?"""
    return any(sign in text for sign in "*?[") and glob(text).globs


def _globbed(pieces: Sequence[str | Wildcard]) -> Sequence[Token]:
    if pieces and isinstance(pieces[0], str) and pieces[0].startswith(HTTP):
        return pieces  # in an address these signs mean something else
    tokens: list[Token] = []
    for at, piece in enumerate(pieces):
        if isinstance(piece, Wildcard):
            tokens.append(piece)
        else:
            tokens += _signs(piece, starts=at == 0, ends=at == len(pieces) - 1)
    return tokens


def _signs(text: str, *, starts: bool, ends: bool) -> list[Token]:
    """The literal pieces and glob signs of a text; `starts` and `ends`: nothing stands before or after it."""
    tokens: list[Token] = []
    at = done = 0
    while (found := _SIGN.search(text, at)) is not None:
        at = found.start()
        glob: Glob | None
        width = 1
        if text.startswith("**", at):
            whole = (starts if at == 0 else text[at - 1] == "/") and (
                ends if at + 2 == len(text) else text[at + 2] == "/"
            )
            glob, width = _stars(whole=whole, last=ends and at + 3 >= len(text))
        elif text[at] == "*":
            glob = Glob("*", "[^/]*", many=True)
        elif text[at] == "?":
            glob = Glob("?", "[^/]", many=False)
        else:
            glob, width = _bracket(text, at)
        if glob is not None:
            tokens += [text[done:at], glob]
            done = at + width
        at += width
    return [*tokens, text[done:]]


def _stars(*, whole: bool, last: bool) -> tuple[Glob, int]:
    if not whole:
        return Glob("**", "[^/]*", many=True), 2
    if last:
        return Glob("**", NAMES_BELOW, many=True, deep=True), 2
    return Glob("**/", r"(?:(?!\.)[^/]+/)*", many=True, deep=True), 3


def _bracket(text: str, at: int) -> tuple[Glob | None, int]:
    """A character class as in fnmatch, never a slash; None where no bracket closes it within the name."""
    start = at + 2 if text[at + 1 : at + 2] in ("!", "^") else at + 1
    end = text.find("]", start + 1)
    if end < 0 or "/" in text[at:end]:
        return None, 1
    inside, ranges, i = text[start:end], "", 0
    while i < len(inside):
        low = high = inside[i]
        if inside[i + 1 : i + 2] == "-" and i + 2 < len(inside):
            high = inside[i + 2]
            i += 2
        i += 1
        if low <= high:
            ranges += f"{_classed(low)}-{_classed(high)}"
    if not ranges:
        source = "[^/]" if start == at + 2 else "(?!)"
    else:
        source = f"(?!/)[{'^' if start == at + 2 else ''}{ranges}]"
    return Glob(text[at : end + 1], source, many=False), end + 1 - at


def _classed(char: str) -> str:
    return f"\\{char}" if char in r"\]^-[&~|" else char


def escape(text: str) -> str:
    """A glob text that matches only this text."""
    return re.sub(r"[*?[]", r"[\g<0>]", text)


def _merged(tokens: Sequence[Token]) -> tuple[Token, ...]:
    merged: list[Token] = []
    for token in tokens:
        if isinstance(token, str) and merged and isinstance(merged[-1], str):
            merged[-1] += token
        elif token != "":
            merged.append(token)
    return tuple(merged)


def _parts(tokens: Sequence[Token]) -> list[list[Token]]:
    """The tokens between slashes. `**/` stands for a part of its own."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if isinstance(token, str):
            first, *others = token.split("/")
            if first:
                parts[-1].append(first)
            parts += [[text] if text else [] for text in others]
        else:
            parts[-1].append(token)
            if isinstance(token, Glob) and token.text == "**/":
                parts.append([])
    return parts


def _edge(tokens: Sequence[Token]) -> Edge:
    if not tokens:
        return Edge("", "", exact=True)
    first, last = tokens[0], tokens[-1]
    exact = all(isinstance(token, str) for token in tokens)
    if exact:
        text = "".join(map(str, tokens))
        return Edge(text, text, exact=True)
    return Edge(first if isinstance(first, str) else "", last if isinstance(last, str) else "", exact=False)


def _loose(token: Token) -> Token:
    """A wildcard of one level as a plain star: what a name must match before the values are known to agree."""
    return Glob("*", "[^/]+", many=True) if isinstance(token, Wildcard) else token


def _regex(tokens: Sequence[Token], where: Mapping[str, str]) -> str:
    source: list[str] = []
    seen: set[str] = set()
    head = True
    for token in tokens:
        if isinstance(token, str):
            source.append(re.escape(token))
            head = token.endswith("/")
            continue
        if head and not token.deep:
            source.append(r"(?!\.)")
        if isinstance(token, Glob):
            source.append(token.source)
            head = token.text == "**/"
            continue
        if token.name in seen:
            source.append(f"(?P={token.name})")
        else:
            seen.add(token.name)
            source.append(_group(token, where.get(token.name), head, re.compile("".join(source) or "").groups))
        head = False
    return "".join(source)


def _group(token: Wildcard, where: str | None, head: bool, groups: int) -> str:
    if where is None:
        plain = "[^/]+"
        if token.deep:
            plain = NAMES_BELOW if head else r"[^/]+(?:/(?!\.)[^/]+)*"
        return f"(?P<{token.name}>{plain})"
    inside = _inside(where, groups + 2 if token.deep else groups + 3)
    # The value may not be empty, and may not reach beyond its name: what follows is kept, and compared behind the value.
    all_, rest = f"_all_{token.name}", f"_rest_{token.name}"
    first = rf"(?=(?P<{all_}>(?s:.+)))"
    last = rf"(?!(?P={all_})\Z)"
    if not token.deep:
        first += rf"(?=[^/]*(?P<{rest}>(?s:.*))\Z)"
        last += rf"(?=[^/]*(?P={rest})\Z)"
    return f"{first}(?P<{token.name}>{inside}){last}"


def _inside(where: str, before: int) -> str:
    """A user's expression as a part of a larger one: without outer anchors, with its flags as a group, its references renumbered."""
    text = where
    flags = re.match(r"\(\?([aiLmsux]+)\)", text)
    if flags:
        text = text[flags.end() :]
    text = re.sub(r"\A(?:\^|\\A)", "", text)
    text = re.sub(r"(?<!\\)((?:\\\\)*)(?:\$|\\Z)\Z", r"\1", text)
    text = re.sub(r"(\\\\)|\\([1-9][0-9]?)", lambda found: found[1] or f"\\{int(found[2]) + before}", text)
    return f"(?{flags[1] if flags else ''}:{text})"
