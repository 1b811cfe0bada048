"""The journal: records not yet in the database, one line each, each appended by one write before anything is published.

Invariant: a whole line is never lost to a damaged neighbour. What a kill or a full disk left of a line is cut off
before the next one is written; a damaged line in the middle is skipped and said. Not forced to the disk: a killed
process loses nothing, a power cut may lose the last lines (those jobs run again).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import StoreError
from ..text import count
from .record import parse, sealed, unsealed

if TYPE_CHECKING:
    from .record import Failure, Trace


class Journal:
    """The file at `path`, opened for writing with the first record."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._size = 0

    def append(self, record: Trace | Failure) -> str:
        """Write the record's line; its body. StoreError where the disk takes no more; the journal is then as before."""
        body = record.body()
        line = sealed(body)
        try:
            fd = self._fd if self._fd >= 0 else self._open()
            written = os.write(fd, line)
            while written < len(line):  # more than 2 GB, a signal, or a disk nearly full: the next write says which
                written += os.write(fd, line[written:])
        except OSError as error:
            self._cut(self._size)
            raise _refused("write", self._path, error) from None
        self._size += len(line)
        return body

    def _open(self) -> int:
        self._fd = fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._size = os.fstat(fd).st_size
        if self._size:
            data = os.pread(fd, self._size, 0)
            whole = data.rfind(b"\n") + 1
            if whole != len(data):
                self._cut(whole)
                self._size = whole
        return fd

    def _cut(self, size: int) -> None:
        if self._fd >= 0:
            try:
                os.ftruncate(self._fd, size)
            except OSError:  # then the next start skips the torn line
                pass

    def read(self) -> tuple[list[Trace | Failure], list[str]]:
        """The records in order, and what the user should know. Changes nothing; no journal is an empty one."""
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return [], []
        except OSError as error:
            raise _refused("read", self._path, error) from None
        *lines, _torn = data.split(b"\n")
        records: list[Trace | Failure] = []
        damaged = 0
        for line in lines:
            try:
                records.append(parse(unsealed(line)))
            except ValueError:
                damaged += 1
        notes = [f"{self._path}: {count(damaged, 'damaged line')} skipped; those jobs run again"] if damaged else []
        return records, notes

    def clear(self) -> None:
        """Empty the journal: what it held is safe elsewhere."""
        try:
            if self._fd >= 0:
                os.ftruncate(self._fd, 0)
            elif os.path.exists(self._path):
                os.truncate(self._path, 0)
        except OSError as error:
            raise _refused("write", self._path, error) from None
        self._size = 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _refused(verb: str, path: str, error: OSError) -> StoreError:
    text = error.strerror or str(error)
    return StoreError(f"cannot {verb} {path}: {text[:1].lower()}{text[1:]}")
