"""What the text of a key says by itself: which store it belongs to, and its parts.

Keys of buckets are plain text: their names may hold `#`, `?`, `..` and line ends, so no URL library touches them. Keys stand in the state, in
logs and in messages; an address that holds a secret can therefore not be a key, and `secret_in` finds it.
"""

from __future__ import annotations

import re
import sys

GS = "gs://"
HTTP = ("https://", "http://")
REMOTE = (GS, *HTTP)
"""How keys begin that are not local files."""
VALUES = ".duct/values/"
"""How the keys of values begin."""
UNTIMED = (*REMOTE, VALUES)
LONGEST_NAME = 1024
"""Bytes of an object's name."""
_ESCAPED = r"\[([*?[])\]"
_SIGN = r"[*?]|\[(?:[!^]|(?![!^]))[^/][^/\]]*\]"
"""What matches more than itself in the text of a glob, once its escaped signs are out of the way."""

SIGNATURES = frozenset(
    {
        "x-goog-signature",
        "x-goog-credential",
        "x-amz-signature",
        "x-amz-credential",
        "x-amz-security-token",
        "googleaccessid",
        "awsaccesskeyid",
        "signature",
        "sig",
        "token",
        "access_token",
        "auth_token",
        "api_key",
        "apikey",
        "api-key",
        "password",
        "secret",
        "client_secret",
    }
)
"""Names of query parts, in small letters, whose values open doors."""


_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def on_disk(name: str) -> bytes:
    """The name as bytes, as `os.fsencode` has it, in half the time."""
    return name.encode(_ENCODING, _ERRORS)


def is_remote(key: str) -> bool:
    """Does the key, or pattern of keys, belong to a store that is far away?"""
    return key.startswith(REMOTE)


def is_timed(key: str) -> bool:
    """Could the key change within a tick of the clock, and nobody notice? Remote ones have versions; the file of a value holds its own digest."""
    return not key.startswith(UNTIMED)


def base_name(key: str) -> str:
    """A name for a local copy of a remote key: its last part, made harmless, its ending kept; at most 100 letters."""
    last = key.partition("#")[0].partition("?")[0] if key.startswith(HTTP) else key
    name = re.sub(r"[^\w.@%+=,-]+", "_", last.rstrip("/").rpartition("/")[2], flags=re.ASCII).lstrip(".-")
    return name[-100:].lstrip(".-") or "object"


def glob_head(text: str) -> str:
    """The start of a glob's text up to the last slash before its first sign, still escaped."""
    found = re.search(_SIGN, re.sub(_ESCAPED, "\0\0\0", text))
    return text[: text.rfind("/", 0, found.start() if found else len(text)) + 1]


def glob_folder(text: str) -> str:
    """The folder that a glob's matches lie in or below: "" or with its slash. An escaped sign means itself."""
    return unescaped(glob_head(text))


def unescaped(text: str) -> str:
    """A glob's text as a user would name it: `p/[z]/*.p` for `p/[[]z]/*.p`."""
    return re.sub(_ESCAPED, r"\1", text)


def bucket_and_name(key: str) -> tuple[str, str]:
    """`gs://bucket/name` in its two parts. ValueError, with a sentence's end as its text, where it cannot be an object's key."""
    bucket, slash, name = key.removeprefix(GS).partition("/")
    if not key.startswith(GS) or not bucket:
        raise ValueError("it names no bucket")
    if not (bucket[0].isalnum() and bucket[-1].isalnum()):
        raise ValueError("the name of a bucket begins and ends with a letter or a digit")
    if not slash or not name:
        raise ValueError("it names a bucket and no object")
    if name in (".", ".."):
        raise ValueError('an object cannot be called "." or ".."')
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError("its name is not valid Unicode") from None
    if length > LONGEST_NAME:
        raise ValueError(f"its name has {length:,} bytes, and {LONGEST_NAME:,} are allowed")
    return bucket, name


def key_of(bucket: str, name: str) -> str:
    """The key of an object."""
    return f"{GS}{bucket}/{name}"


def host_of(address: str) -> str:
    """Host and port of an `https://` address, in small letters, without a user's name."""
    place = address.partition("://")[2]
    for end in "/?#":
        place = place.partition(end)[0]
    return place.rpartition("@")[2].lower()


def secret_in(address: str) -> str | None:
    """The name of what must not stand in an `https://` address: `password`, or that of a query part; None where all of it may be shown."""
    from urllib.parse import unquote_plus

    head, _, query = address.partition("#")[0].partition("?")
    if "@" in head.partition("://")[2].partition("/")[0]:
        return "password"
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if value and unquote_plus(name).lower() in SIGNATURES:
            return unquote_plus(name)
    return None


def without_secrets(address: str) -> str:
    """The address as it may be shown: no user and password, no value of a query part."""
    head, mark, query = address.partition("#")[0].partition("?")
    scheme, colon, rest = head.partition("://")
    place, slash, path = rest.partition("/")
    shown = scheme + colon + place.rpartition("@")[2] + slash + path
    if not mark:
        return shown
    return shown + "?" + "&".join(part.partition("=")[0] + ("=…" if "=" in part else "") for part in query.split("&"))
