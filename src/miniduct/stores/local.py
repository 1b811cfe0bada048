"""Local files: a key is a path, seen from the project's root, which is the working folder.

Absence is an answer (None); everything else that keeps a key from being read is a StoreError with the system's reason.
What is neither a file nor a folder (a pipe, a device) is refused before it is opened for reading: a pipe would block
for ever. Large files are read in pieces and hashed on several cores; they are not mapped, for a file that is cut while
it is mapped kills the process.
"""

from __future__ import annotations

import errno
import os
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

from blake3 import blake3

from ..errors import StoreError
from ..model import Stamp
from ..text import shown
from . import tree
from .base import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .base import Store

LARGE = 4 << 20
"""Bytes from which on a file is hashed in pieces, on several cores. 0.35 ms of hashing: less than threads cost."""
PIECE = 8 << 20

FOLDER, FILE = "folder", "file"


class LocalStore:
    """The files that the system shows. Keeps nothing in memory."""

    def stat(self, key: str) -> Stamp | None:
        try:
            found = os.stat(key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise refused("look at", key, error) from None
        mode = found.st_mode
        if S_ISREG(mode):
            size, mtime, ctime, inode = found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
            if mtime > tree.WORD or ctime > tree.WORD or inode > tree.WORD:
                mtime, ctime, inode = tree.word(mtime), tree.word(ctime), inode & tree.WORD
            return Stamp(size, mtime, ctime, inode)
        if S_ISDIR(mode):
            return self._folder_as_a_whole(key) if key[-1:] == "/" else None
        raise StoreError(f"cannot read {shown(key)}: it is not a regular file")

    @staticmethod
    def _folder_as_a_whole(key: str) -> Stamp | None:
        try:
            found = tree.stamp(key)
        except OSError as error:
            raise refused("look at", key, error) from None
        return None if found is None else Stamp(*found)

    def fingerprint(self, key: str) -> bytes | None:
        if key[-1:] == "/":
            try:
                return tree.fingerprint(key, fingerprint)
            except (OSError, ValueError) as error:
                raise refused("read", key, error) from None
        return fingerprint(key)

    def names(self, folder: str) -> list[str] | None:
        try:
            return os.listdir(folder or ".")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise refused("list", folder or ".", error) from None

    def list(self, folder: str) -> list[Entry] | None:
        try:
            with os.scandir(folder or ".") as listed:
                return _entries([*listed])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise refused("list", folder or ".", error) from None

    def folder_stamp(self, folder: str) -> Stamp | None:
        try:
            found = os.stat(folder or ".")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise refused("list", folder or ".", error) from None
        if not S_ISDIR(found.st_mode):
            return None
        word = tree.word
        return Stamp(found.st_size, word(found.st_mtime_ns), word(found.st_ctime_ns), found.st_ino & tree.WORD)

    def matches(self, prefix: str, *, deep: bool) -> Sequence[str]:  # noqa: ARG002  no remote keys are here
        return []

    def ask(self, keys: Iterable[str]) -> None:
        """Nothing to find out: a look at a file costs no request."""


def fingerprint(path: str) -> bytes | None:
    """BLAKE3 digest of a regular file; None where there is none. StoreError for what cannot be read or is no file."""
    try:
        # Not blocking: the open itself would wait for a pipe's writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (
            errno.ENXIO,
            errno.EOPNOTSUPP,
        ):  # a socket, a device without a driver
            raise StoreError(f"cannot read {shown(path)}: it is not a regular file") from None
        raise refused("read", path, error) from None
    try:
        found = os.fstat(fd)
        if not S_ISREG(found.st_mode):
            if S_ISDIR(found.st_mode):
                return None
            raise StoreError(f"cannot read {shown(path)}: it is not a regular file")
        if found.st_size < LARGE:
            data = os.read(fd, found.st_size + 1)
            if len(data) == found.st_size:
                return blake3(data).digest()
            return _in_pieces(fd, data)
        return _in_pieces(fd, b"")
    except OSError as error:
        raise refused("read", path, error) from None
    finally:
        os.close(fd)


def _in_pieces(fd: int, start: bytes) -> bytes:
    digest = blake3(start, max_threads=blake3.AUTO)
    piece = memoryview(bytearray(PIECE))
    while True:
        count = os.readv(fd, [piece])
        if not count:
            return digest.digest()
        digest.update(piece[:count])


def refused(verb: str, key: str, error: OSError | ValueError) -> StoreError:
    """`cannot VERB KEY: the system's reason`."""
    return StoreError(f"cannot {verb} {shown(key)}: {reason(error)}")


def reason(error: OSError | ValueError) -> str:
    """The system's reason, as a part of a sentence."""
    if isinstance(error, UnicodeEncodeError):
        return "its name cannot be written in the system's encoding"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text[:1].lower() + text[1:]


if TYPE_CHECKING:
    _: Store = LocalStore()


def _entries(listed: list[os.DirEntry[str]]) -> list[Entry]:
    try:
        found = [Entry(entry.name, False) for entry in listed if entry.is_file()]
        if len(found) < len(listed):
            found += [Entry(entry.name, True) for entry in listed if entry.is_dir()]
        return found
    except OSError:  # of a single name, and the names beside it count
        kinds = [(entry.name, _kind(entry)) for entry in listed]
        return [Entry(name, kind == FOLDER) for name, kind in kinds if kind]


def _kind(entry: os.DirEntry[str]) -> str:
    """FOLDER, FILE, or "" for what is neither: a device, or a link that leads nowhere or to itself."""
    try:
        return FOLDER if entry.is_dir() else FILE if entry.is_file() else ""
    except OSError:
        return ""
