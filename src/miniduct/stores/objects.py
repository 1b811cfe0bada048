"""Local copies of remote content, for commands that read files: each content once, whole or not there.

A copy's modification time is a mark of its own: a command that writes to its input leaves another one, and the copy is fetched again.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING

from ..errors import StoreError
from ..keys import base_name
from ..text import shown
from .local import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARK_NS = 1_000_000_000 * 10**9
"""The modification time of a whole copy (2001-09-09), in nanoseconds."""

_numbers = itertools.count()


class Objects:
    """The folder of the copies."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.grown = False
        """Was a copy put here by this object?"""

    def path(self, key: str, identity: bytes) -> str:
        """Where the copy of a content is, or would be; it is called as its key ends."""
        return f"{self._folder}/{identity.hex()[:24]}/{base_name(key)}"

    def has(self, key: str, identity: bytes) -> bool:
        """Is there a whole copy? It counts as used now."""
        path = self.path(key, identity)
        try:
            if os.stat(path).st_mtime_ns != MARK_NS:
                return False
            os.utime(path, ns=(time.time_ns(), MARK_NS))
        except OSError:
            return False
        return True

    def put(self, key: str, identity: bytes, fetch: Callable[[str], None]) -> None:
        """Have the content written to a temporary path by `fetch`, then give it its name. StoreError, and what `fetch` raises."""
        path = self.path(key, identity)
        part = f"{self._folder}/.part-{os.getpid()}-{next(_numbers)}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                fetch(part)
                os.chmod(part, 0o444)
                os.utime(part, ns=(time.time_ns(), MARK_NS))
                os.replace(part, path)
                self.grown = True
            except BaseException:
                if os.path.exists(part):
                    os.unlink(part)
                raise
        except OSError as error:
            raise StoreError(f"cannot keep a copy of {shown(key)}: {(error.strerror or str(error)).lower()}") from None

    def size(self) -> int:
        """The bytes of all that is in the folder."""
        return sum(size for _, size, _ in self._files())

    def clean(self, most: int = 0) -> int:
        """Remove what was used longest ago, until at most so many bytes are left, and halves; the bytes removed. StoreError."""
        files = list(self._files())
        total = sum(size for _, size, _ in files)
        removed = 0
        try:
            for _, size, path in sorted(files):
                if os.path.basename(path).startswith(".part-") or total - removed > most:
                    os.unlink(path)
                    removed += size
                    if not os.listdir(os.path.dirname(path)):
                        os.rmdir(os.path.dirname(path))
        except OSError as error:
            raise refused("remove", self._folder, error) from None
        return removed

    def _files(self) -> Iterator[tuple[int, int, str]]:
        """When it was last used, its size, its path: of each file."""
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    found = os.stat(path)
                except FileNotFoundError:
                    continue
                yield found.st_atime_ns, found.st_size, path
