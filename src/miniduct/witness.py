"""Which files a command moved into their places while it ran: what a failed batch may still count is not guessed.

Only a rename says that a file is whole. A file that was closed may be a half one that the command meant to open again, and no time and no order of
writes tells the two apart. The kernel tells of renames in the folders that are watched (inotify(7)); where it does not, nothing is believed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .inotify import MODIFY, MOVED_TO, OVERFLOW, Inotify

if TYPE_CHECKING:
    from collections.abc import Iterable


class Witness:
    """Watches files from now on, by their paths. `finished` is asked once, and ends the watching."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = set(paths)
        self._queue: Inotify | None = None
        try:
            self._queue = Inotify()
            for folder in {os.path.dirname(path) for path in self._paths}:
                self._queue.add(folder, MODIFY | MOVED_TO)
        except OSError:
            self.close()

    def finished(self) -> set[str]:
        """The watched files that were moved into place and not written to since; none where that is not known."""
        moved: set[str] = set()
        for path, mask in self._queue.read() if self._queue is not None else ():
            if mask & OVERFLOW:
                moved.clear()
                break
            if mask & MODIFY:
                moved.discard(path)
            elif mask & MOVED_TO and path in self._paths:
                moved.add(path)
        self.close()
        return moved

    def close(self) -> None:
        """Watch no longer."""
        if self._queue is not None:
            self._queue.close()
            self._queue = None
