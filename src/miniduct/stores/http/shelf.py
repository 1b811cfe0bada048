"""What was seen of the web, kept in a folder: for each address its validators and what identifies its content, and the content until it is fetched.

The folder may be emptied at any time: then the addresses are asked again. Files appear whole, by rename; one that cannot be understood
counts as none.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from ...model import Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

WORD = 63
"""Bits of a number in a stamp: columns are signed."""


@dataclass(frozen=True)
class Seen:
    """An answer. `digest`: BLAKE3 of the content as it was stored, in hexadecimal; `checked`: when it was last asked for, in seconds of the epoch."""

    address: str
    size: int
    digest: str
    sha256: str
    etag: str | None
    modified: str | None
    checked: float

    @property
    def stamp(self) -> Stamp:
        """(size, a word of what the validators come to or 0, and two words of the content's digest)."""
        validators = 0
        if self.etag or self.modified:
            text = f"{self.etag or ''}\n{self.modified or ''}"
            validators = _word(blake3(text.encode("utf-8", "surrogateescape")).digest(8))
        digest = bytes.fromhex(self.digest)
        return Stamp(self.size, validators, _word(digest[:8]), _word(digest[8:16]))

    def is_content_of(self, stamp: Stamp) -> bool:
        """Does the stamp tell of the same content, whatever its validators?"""
        return self.stamp._replace(mtime_ns=0) == stamp._replace(mtime_ns=0)


class Shelf:
    """The folder. With `keep` false it is read only, and what comes in is dropped."""

    def __init__(self, folder: str, keep: bool) -> None:
        self.folder, self.keep = folder, keep
        self._latest: dict[str, Seen] = {}

    def seen(self, address: str) -> Seen | None:
        """What is known of an address."""
        latest = self._latest.get(address)
        if latest is not None:
            return latest
        try:
            with open(self._path(address, ".json"), encoding="utf-8") as file:
                seen = Seen(**json.load(file))
                usable = seen.address == address and len(bytes.fromhex(seen.digest)) == blake3.digest_size
        except (OSError, ValueError, TypeError):
            return None
        return seen if usable else None

    def note(self, seen: Seen) -> None:
        """Keep what is known now; without a folder to write to, for as long as this object lives."""
        self._latest[seen.address] = seen
        if not self.keep:
            return
        with self.new_file() as path:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(asdict(seen), file)
            os.replace(path, self._path(seen.address, ".json"))

    def forget(self, address: str) -> None:
        """Nothing is there any more."""
        self._latest.pop(address, None)
        if self.keep:
            for ending in (".json", ".body"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path(address, ending))

    def put(self, seen: Seen, path: str) -> None:
        """Keep an answer with its content, which is the file at `path`."""
        if self.keep:
            os.replace(path, self._path(seen.address, ".body"))
        self.note(seen)

    def take(self, seen: Seen, path: str) -> bool:
        """Move the kept content to `path`; False where it is not here, or is not what it was."""
        body = self._path(seen.address, ".body")
        try:
            os.replace(body, path)
            with open(path, "rb") as file:
                digest = blake3()
                while data := file.read(1 << 20):
                    digest.update(data)
        except OSError:
            return False
        return digest.hexdigest() == seen.digest

    @contextlib.contextmanager
    def new_file(self) -> Iterator[str]:
        """The path of a file to be made in the folder, gone afterwards unless it was renamed."""
        if self.keep:
            os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, f"{secrets.token_hex(8)}.part") if self.keep else os.devnull
        try:
            yield path
        finally:
            if self.keep:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def _path(self, address: str, ending: str) -> str:
        return os.path.join(self.folder, blake3(address.encode()).hexdigest()[:32] + ending)


def _word(digest: bytes) -> int:
    return int.from_bytes(digest, "big") >> (8 * len(digest) - WORD)
