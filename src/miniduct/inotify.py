"""What the kernel tells of changes in folders (inotify(7)), through one queue and without a library. Linux only; elsewhere OSError."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
OVERFLOW, IGNORED = 0x4000, 0x8000
NAMES = MOVED_FROM | MOVED_TO | CREATE | DELETE
"""A name came or went."""
EVERYTHING = NAMES | MODIFY | ATTRIB | CLOSE_WRITE | DELETE_SELF | MOVE_SELF
_EVENT = struct.Struct("iIII")


class Change(NamedTuple):
    """What happened (`mask`) to a path, seen from where the folder was named; "" for the queue itself (OVERFLOW: some were lost)."""

    path: str
    mask: int


class Inotify:
    """A queue of changes. OSError where there is none to be had."""

    def __init__(self) -> None:
        try:
            import ctypes

            self._libc = ctypes.CDLL(None, use_errno=True)
            self._errno = ctypes.get_errno
            self.fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except (ImportError, AttributeError) as error:
            raise OSError(f"no inotify: {error}") from None
        if self.fd < 0:
            raise OSError(self._errno(), os.strerror(self._errno()))
        self._folders: dict[int, dict[str, None]] = {}
        """All names of each folder."""
        self._watches: dict[str, int] = {}

    @property
    def folders(self) -> list[str]:
        """The folders that are watched now."""
        return list(self._watches)

    def add(self, folder: str, mask: int = EVERYTHING) -> None:
        """Watch what lies directly in a folder ("" is the working one), the one that has this name now. OSError where it cannot be."""
        watch = self._libc.inotify_add_watch(self.fd, os.fsencode(folder or "."), mask)
        if watch != self._watches.get(folder):
            self.remove(folder)
        if watch < 0:
            raise OSError(self._errno(), os.strerror(self._errno()), folder)
        self._folders.setdefault(watch, {})[folder] = None
        self._watches[folder] = watch

    def remove(self, folder: str) -> None:
        """Watch it no longer."""
        watch = self._watches.pop(folder, None)
        names = self._folders.get(watch, {}) if watch is not None else {}
        names.pop(folder, None)
        if watch is not None and not names and self._folders.pop(watch, None) is not None:
            self._libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> Iterator[Change]:
        """What happened since the last time, under each name of its folder: all of it that had happened before this was called. A folder that is
        gone is forgotten.
        """
        while self.fd >= 0:
            try:
                data = os.read(self.fd, 1 << 20)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
                at += length
                if mask & OVERFLOW:
                    yield Change("", mask)
                    continue
                for folder in list(self._folders.get(watch, ())):
                    if mask & IGNORED:
                        del self._watches[folder]
                    yield Change(f"{folder}/{name}" if folder and name else name or folder, mask)
                if mask & IGNORED:
                    self._folders.pop(watch, None)

    def close(self) -> None:
        """Give the queue back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
