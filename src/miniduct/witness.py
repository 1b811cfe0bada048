"""Which files a command finished while it ran: what a failed batch may still count is not guessed, it is seen.

The kernel tells each write and each close in the folders that are watched (inotify(7); elsewhere nothing is believed). A file was
finished if it was moved into its place, or closed and another one written to afterwards: what a dying process closes, it closes after its last
write, so a pool of writers, or one that holds all its files open, leaves nothing half to be believed.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MODIFY, CLOSE_WRITE, MOVED_TO, CREATE, OVERFLOW = 0x2, 0x8, 0x80, 0x100, 0x4000
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
            watch = libc.inotify_add_watch(self._queue, os.fsencode(folder), MODIFY | CLOSE_WRITE | MOVED_TO | CREATE)
            if watch < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch")
            self._folders[watch] = folder

    def finished(self) -> set[str]:
        """The watched files that were moved into place, or closed before another one was written to; none where that is not known."""
        closed: dict[str, int] = {}
        moved: set[str] = set()
        last_write = 0
        for at, (watch, mask, name) in enumerate(self._events(), start=1):
            if mask & OVERFLOW:
                return set()
            folder = self._folders.get(watch, "")
            path = name if folder == "." else f"{folder}/{name}"
            if mask & (CREATE | MODIFY):
                closed.pop(path, None)
                moved.discard(path)
                last_write = at
            elif path in self._paths and mask & MOVED_TO:
                moved.add(path)
            elif path in self._paths:
                closed[path] = at
        return moved | {path for path, at in closed.items() if at < last_write}

    def _events(self) -> list[tuple[int, int, str]]:
        found = []
        while self._queue >= 0:
            try:
                data = os.read(self._queue, 1 << 20)
            except OSError:
                break
            at = 0
            while at < len(data):
                watch, mask, _, length = EVENT.unpack_from(data, at)
                at += EVENT.size
                found.append((watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
                at += length
        self.close()
        return found

    def close(self) -> None:
        """Watch no longer."""
        if self._queue >= 0:
            os.close(self._queue)
            self._queue = -1
