"""Vars put into texts, and keys made canonical: relative to the project's root, without `.`, `..` inside, or doubled slashes.

A var's value is text: braces in it are literal, but `*` and slashes mean in a key what they always mean. Nothing here looks at a disk.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..keys import GS, bucket_and_name, is_remote, secret_in
from ..template import Placeholder, parse, strays, unparse
from ..text import nearest, shown
from ..tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ..template import Template
    from .source import Spot

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(value):(?=.)")
_LISTED = re.compile(r"\{([^,{}]*),([^{}]*)\}")
_REGEX = re.compile(r"[\\\[+*.?^|(]")
STATE = ".duct"


class Base(NamedTuple):
    """What keys are relative to: the project's root, absolute, and below it the folder of the file that they stand in ("" for the root)."""

    root: str
    folder: str = ""


class Key(NamedTuple):
    """A key as it is written and as it is meant. `written` has the placeholders' places in the Ductfile's text."""

    text: str
    written: Template
    spot: Spot
    wildcards: tuple[Placeholder, ...]
    """Those braces of `written` that are not vars."""
    globs: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(wildcard.name for wildcard in self.wildcards))


def fill(spot: Spot, text: str, values: Mapping[str, str], known: Collection[str] = ()) -> str:
    """The text with its vars' values in place. `known` are names that mean something elsewhere: a mistake of its own."""
    if "{" not in text:
        return text
    written: list[str] = []
    for part in parse(text, is_key=False).parts:
        if isinstance(part, str):
            written.append(part)
        elif part.name in values and part.part is None and part.item is None:
            written.append(values[part.name])
        else:
            _unknown(spot, part, values, known)
            written.append(str(part))
    return "".join(written)


def _unknown(spot: Spot, part: Placeholder, values: Mapping[str, str], known: Collection[str]) -> None:
    place = (part.start, part.end)
    if part.name in values:
        spot.say(f"{part} has no meaning: {part.name} is a var", part=place, hint=f"write {{{part.name}}}")
    elif part.name in known:
        spot.say(f"{spot.subject} can hold vars only, and {{{part.name}}} is none", part=place)
    else:
        spot.say(f"{spot.subject} has an unknown name {part}", part=place, hint=_suggestion(part, values))


def _suggestion(part: Placeholder, values: Mapping[str, str]) -> str:
    near = nearest(part.name, values)
    if near:
        return f"did you mean {{{near[0]}}}?"
    return f"for braces that are meant as they are, write {{{part}}}"


def key(spot: Spot, text: str, values: Mapping[str, str], base: Base) -> Key | None:
    """The key that a text of a Ductfile means; None, with a mistake on the list, where it means none."""
    if "{" in text and not _braces_are_plain(spot, text):
        return None
    written = parse(text, is_key=True)
    parts: list[str | Placeholder] = []
    for part in written.parts:
        if isinstance(part, Placeholder):
            if not _is_wildcard(spot, part, values):
                return None
            part = values.get(part.name, part)
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    if not parts or parts == [""]:
        spot.wrong("has an empty key" if not text else "has a key that is empty once its vars are in place")
        return None
    if isinstance(parts[0], str) and is_remote(parts[0]):
        return _remote(spot, parts, written, values)
    if isinstance(parts[0], str) and not _is_local(spot, parts[0]):
        return None
    rooted = isinstance(parts[0], str) and parts[0].startswith("/")
    if base.folder and not rooted:
        parts.insert(0, f"{base.folder}/")
    try:
        full = unparse(parts) if len(parts) > 1 or parts[0] != text else text
    except ValueError:
        spot.wrong("has a $ before a placeholder, which no key can have")
        return None
    final = normal(spot, full, base.root)
    if final is None:
        return None
    wildcards = tuple(part for part in written.placeholders if part.name not in values)
    return Key(final, written, spot, wildcards, _has_globs(parts))


def _has_globs(parts: Sequence[str | Placeholder]) -> bool:
    return any(sign in part for part in parts if isinstance(part, str) for sign in "*?[")


def _remote(spot: Spot, parts: Sequence[str | Placeholder], written: Template, values: Mapping[str, str]) -> Key | None:
    """A key of another store: it stays as it is, for every letter of it counts there."""
    head = str(parts[0])
    secret = None if head.startswith(GS) else secret_in("".join(map(str, parts)))
    if secret is not None:
        spot.wrong(
            f'has an address with a secret in it ("{secret}"), and a key is shown and stored',
            hint="leave it out, and give it as headers or query in [stores.http], from a variable in its secrets",
            quoted=False,
        )
        return None
    full = unparse(parts) if len(parts) > 1 else head
    globs = head.startswith(GS) and _has_globs(parts)
    if head.startswith(GS):
        bucket, slash, _ = head.removeprefix(GS).partition("/")
        wrong = None
        if not slash or any(sign in bucket for sign in "*?["):
            wrong = "its bucket must be named, without wildcards" if len(parts) > 1 or globs else "it names no object"
        elif full.endswith("/"):
            wrong = "it is a folder, and there are none in a bucket: name its objects, or write a glob"
        elif len(parts) == 1 and not globs:
            try:
                bucket_and_name(head)
            except ValueError as error:
                wrong = str(error)
        if wrong is not None:
            spot.wrong(f"has {shown(full)}: {wrong}")
            return None
    elif not head.partition("://")[2].strip("/"):
        spot.wrong(f"has {shown(full)}: it names no host")
        return None
    wildcards = tuple(part for part in written.placeholders if part.name not in values)
    return Key(full, written, spot, wildcards, globs)


def _braces_are_plain(spot: Spot, text: str) -> bool:
    """Does each brace belong to a name, or stand for itself by being written twice?"""
    for start, end in strays(text)[:1]:
        braces = text[start:end]
        listed = _LISTED.fullmatch(braces)
        if start and text[start - 1] == "$":
            name = braces[1:-1] if braces[1:-1].isidentifier() else "NAME"
            what, start = f"${braces}, and no shell replaces it here", start - 1
            hint = f'write {{{name}}}, and under [vars] {name} = "…"; --set {name}=… overrides it'
        elif not braces.endswith("}"):
            what, hint = "a { that is never closed", "for a brace that is meant as it is, write {{"
        elif listed and listed[1].isidentifier() and _REGEX.search(listed[2]):
            what, hint = (
                f"{braces}, which names nothing",
                f"write {{{listed[1]}}}, and where = {{ {listed[1]} = '{listed[2]}' }}",
            )
        elif "," in braces:
            what, hint = f"{braces}, and no shell expands it here", "write a list, with a key for each"
        else:
            what = f"{braces}, and a name in braces has letters, digits and _ only"
            hint = f"for braces that are meant as they are, write {{{braces}}}"
        spot.say(f"{spot.subject} has {what}", part=(start, end), hint=hint)
        return False
    return True


def _is_wildcard(spot: Spot, part: Placeholder, values: Mapping[str, str]) -> bool:
    """May these braces stand in a key? A var's braces must be plain."""
    place = (part.start, part.end)
    if part.part is not None or part.item is not None:
        spot.say(
            f"{spot.subject} has {part}, and a key can hold vars and wildcards only",
            part=place,
            hint=f"for braces that are meant as they are, write {{{part}}}",
        )
        return False
    if part.deep and part.name in values:
        spot.say(f"{part} has no meaning: {part.name} is a var", part=place, hint=f"write {{{part.name}}}")
        return False
    return True


def _is_local(spot: Spot, text: str) -> bool:
    found = SCHEME.match(text)
    if found:
        scheme = f"{found[1]}://" if found[1] else f"{found[2]}:"
        spot.wrong(f"has a key of {scheme}, which is not supported", hint="local files, gs:// and https:// are")
        return False
    if text.startswith("~/") or text == "~":
        spot.wrong(
            "has a key that begins with ~, and no shell replaces it here",
            hint='write the whole path, or "./~" for a folder of that name',
        )
        return False
    return True


def normal(spot: Spot, text: str, root: str) -> str | None:
    """The canonical form of a key; None, with a mistake on the list, where there is none."""
    if not is_path(text):
        spot.wrong("has a key that no file can be named by", facts=(shown(text),))
        return None
    rooted = text.startswith("/")
    parts = _parts(text)
    if parts is None:
        spot.wrong('has ".." behind a wildcard or glob', hint="write the key without it")
        return None
    if rooted or parts[:1] == [".."]:
        above = _parts(unparse([root])) or []
        ups = parts.count("..")
        full = parts if rooted else above[: max(0, len(above) - ups)] + parts[ups:]
        if full[: len(above)] == above:  # the long way to a key of the project itself
            rooted, parts = False, full[len(above) :]
    if not parts or parts == [".."] * len(parts):
        spot.wrong(f"names the folder {shown(text)} as a whole, which holds the project itself")
        return None
    if parts[0] == STATE and not rooted:
        spot.wrong(f"names something inside of {STATE}/, which belongs to duct")
        return None
    slash = "/" if text.endswith(("/", "/.", "/..")) else ""
    return f"{'/' if rooted else ''}{'/'.join(parts)}{slash}"


def _parts(text: str) -> list[str] | None:
    """The names between the slashes, each `..` and what it undoes left out; None where it would undo a wildcard or glob."""
    parts: list[str] = []
    for part in text.split("/"):
        if part in ("", "."):
            continue
        if part != ".." or (not text.startswith("/") and parts[-1:] in ([], [".."])):
            parts.append(part)
        elif parts:
            if any(sign in parts[-1] for sign in "*?[{}"):
                return None
            parts.pop()
    return parts


def is_path(text: str) -> bool:
    """Can a file be named by this text?"""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True
