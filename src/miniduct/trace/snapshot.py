"""The snapshot: what the last build knew of every key, in packed columns, and its plan. One file, replaced as a whole,
disposable.

Layout: a head of fixed size (magic, the lengths and checksums of the parts, a checksum over all that), then header (marshal), names (with
a NUL between), four columns of stamps, fingerprints, plan (marshal). Each part is read when it is asked for. A file
whose head or length is wrong is no snapshot: torn, foreign, or of another Python. Imports nothing that the fast check
would have to pay for.
"""

from __future__ import annotations

import marshal
import os
import sys
from zlib import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Mapping, Sequence
    from typing import Any

FORMAT = 5
FIELDS = frozenset(
    [
        "format",
        "version",
        "token",
        "sets",
        "files",
        "env",
        "today",
        "saved",
        "run",
        "expires",
        "upcoming",
        "dirty",
        "folders",
        "remote",
        "pack",
        "steps",
        "tags",
        "jobs",
        "left",
        "default_jobs",
        "plan_digest",
        "checks",
        "ages",
        "definitions",
    ]
)
"""Of the header. One that lacks any was written by another duct, whatever it says of its version."""
MAGIC = b"duct snapshot %d %d %s\n" % (
    FORMAT,
    marshal.version,
    f"{sys.version_info[0]}.{sys.version_info[1]} {sys.byteorder}".encode(),
)
PARTS = 5
HEAD = 64 + 16 * PARTS + 8
NOT_THERE, NEVER_SEEN = -1, -2
"""Sizes that stand for a key without a stamp: one that was not there, and one that equals nothing that a store can
answer.
"""


class Snapshot:
    """An open snapshot. Parts that are not asked for are not read."""

    def __init__(self, fd: int, head: bytes, lengths: Sequence[int], sums: Sequence[int]) -> None:
        self._fd = fd
        self.head = head
        """Lengths and checksums of all parts: two snapshots with the same head say the same."""
        self._sums = sums
        self._at = [HEAD]
        for length in lengths:
            self._at.append(self._at[-1] + length)
        self._header: dict[str, Any] | None = None
        self._names: list[str] | None = None

    def _part(self, number: int) -> bytes:
        start, end = self._at[number], self._at[number + 1]
        data = os.pread(self._fd, end - start, start)
        while len(data) < end - start:
            more = os.pread(self._fd, end - start - len(data), start + len(data))
            if not more:
                raise OSError("the snapshot was cut while it was read")
            data += more
        return data

    @property
    def header(self) -> dict[str, Any]:
        """The facts that the plan rests on, and what is known of its jobs."""
        if self._header is None:
            data = self._part(0)
            if crc32(data) != self._sums[0]:
                raise ValueError("the snapshot's header is damaged")
            self._header = marshal.loads(data)
        return self._header

    def is_whole(self) -> bool:
        """Are all parts as they were written? The quick path does not ask: damage there makes a key differ, and the long path asks."""
        return all(crc32(self._part(number)) == self._sums[number] for number in range(PARTS))

    def raw_names(self) -> list[bytes]:
        """The keys' names, as the system wants them."""
        data = self._part(1)
        return data.split(b"\0") if self.keys else []

    @property
    def names_sum(self) -> tuple[int, int]:
        """Length and checksum of the names: where they are those of another snapshot, so are the names."""
        return self._at[2] - self._at[1], self._sums[1]

    @property
    def keys(self) -> int:
        """The number of keys."""
        return (self._at[4] - self._at[3]) // 32

    @property
    def names(self) -> list[str]:
        """The keys' names, by key number."""
        if self._names is None:
            self._names = self._part(1).decode("utf-8", "surrogateescape").split("\0") if self.keys else []
        return self._names

    def stamp_views(self) -> list[memoryview[int]]:
        """The four columns of `stamps`, for reading only (and without `array`, whose import costs 1.5 ms)."""
        data = memoryview(self._part(2))
        size = len(data) // 4
        return [data[at * size : at * size + size].cast("q") for at in range(4)]

    def stamps(self) -> tuple[array[int], array[int], array[int], array[int]]:
        """Sizes (-1: not there, -2: not known), mtimes, ctimes and inodes, by key number."""
        from array import array

        sizes, mtimes, ctimes, inodes = (array("q", bytes(view)) for view in self.stamp_views())
        return sizes, mtimes, ctimes, inodes

    def fps(self) -> bytes:
        """The fingerprints, 32 bytes a key; zeros where none is known."""
        return self._part(3)

    def plan(self) -> Any:
        """What was dumped of the plan."""
        return marshal.loads(self._part(4))

    def is_at(self, path: str) -> bool:
        """Is it still the file at the path? A new one replaces the old one as a whole."""
        try:
            mine, there = os.fstat(self._fd), os.stat(path)
        except OSError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


def read(path: str) -> Snapshot | None:
    """The snapshot at the path; None where there is none that can be used."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        head = os.pread(fd, HEAD, 0)
        numbers = [_number(head[at : at + 8]) for at in range(64, 64 + 16 * PARTS, 8)]
        lengths, sums = numbers[:PARTS], numbers[PARTS:]
        checked = _number(head[-8:]) == crc32(head[:-8])
        if len(head) == HEAD and head.startswith(MAGIC) and checked and os.fstat(fd).st_size == HEAD + sum(lengths):
            return Snapshot(fd, head, lengths, sums)
    except (OSError, ValueError):
        pass
    os.close(fd)
    return None


def write_snapshot(
    path: str,
    header: Mapping[str, Any],
    names: Sequence[str],
    stamps: Sequence[array[int]],
    fps: bytes | bytearray,
    plan: Any,
) -> None:
    """Write the snapshot beside the old one and replace it. `stamps` are sizes, mtimes, ctimes, inodes; `plan` is what
    marshal can hold.

    OSError where the disk takes it not; the old snapshot then stays.
    """
    parts = [
        marshal.dumps(dict(header)),
        "\0".join(names).encode("utf-8", "surrogateescape"),
        b"".join([column.tobytes() for column in stamps]),
        bytes(fps),
        marshal.dumps(plan),
    ]
    numbers = [*map(len, parts), *map(crc32, parts)]
    head = MAGIC.ljust(64, b"\0") + b"".join(number.to_bytes(8, "little") for number in numbers)
    head += crc32(head).to_bytes(8, "little")
    part = f"{path}.part"
    with open(part, "wb") as file:
        file.writelines([head, *parts])
    os.replace(part, path)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
