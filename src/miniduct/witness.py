"""Which files a command moved into their places while it ran: what a failed batch may still count is not guessed.

Only a rename says that a file is whole. A file that was closed may be a half one that the command meant to open again, and no time and no order of
writes tells the two apart. The kernel tells of renames in the folders that are watched (inotify(7)); where it does not, nothing is believed.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MODIFY, MOVED_TO, OVERFLOW = 0x2, 0x80, 0x4000
EVENT = struct.Struct("iIII")


class Witness:
    """Watches files from now on, by their paths. `finished` is asked once, and ends the watching."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = set(paths)
        self._folders: dict[int, str] = {}
        self._queue = -1
        try:
            self._watch({os.path.dirname(path) or "." for path in self._paths})
        except (ImportError, OSError, AttributeError):
            self.close()

    def _watch(self, folders: Iterable[str]) -> None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        self._queue = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._queue < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        for folder in folders:
            watch = libc.inotify_add_watch(self._queue, os.fsencode(folder), MODIFY | MOVED_TO)
            if watch < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch")
            self._folders[watch] = folder

    def finished(self) -> set[str]:
        """The watched files that were moved into place and not written to since; none where that is not known."""
        moved: set[str] = set()
        for watch, mask, name in self._events():
            if mask & OVERFLOW:
                moved.clear()
                break
            folder = self._folders.get(watch, "")
            path = name if folder == "." else f"{folder}/{name}"
            if mask & MODIFY:
                moved.discard(path)
            elif path in self._paths:
                moved.add(path)
        self.close()
        return moved

    def _events(self) -> Iterator[tuple[int, int, str]]:
        while self._queue >= 0:
            try:
                data = os.read(self._queue, 1 << 20)
            except OSError:
                return
            at = 0
            while at < len(data):
                watch, mask, _, length = EVENT.unpack_from(data, at)
                at += EVENT.size
                yield watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))
                at += length

    def close(self) -> None:
        """Watch no longer."""
        if self._queue >= 0:
            os.close(self._queue)
            self._queue = -1
