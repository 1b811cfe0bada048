"""The local store's twin in memory, with a clock moved by hand: for tests, ours and those of others.

Behaves as local files do where it matters: folders exist because something is in them (or was made), a write in place
changes mtime and ctime, a replaced file gets a new inode, and a folder's own stamp changes when a name comes or goes.
No links, no permissions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from ..errors import StoreError
from ..model import Stamp
from ..text import shown
from .base import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .base import Store

START = 1_700_000_000_000_000_000


@dataclass
class _File:
    data: bytes
    mtime_ns: int
    ctime_ns: int
    inode: int


class MemoryStore:
    """Files in a dictionary. `now_ns` is the clock: it stands until `tick` moves it."""

    def __init__(self) -> None:
        self.now_ns = START
        self.hashed: list[str] = []
        """Keys whose content was read, in order: what a test counts to see that stamps saved work."""
        self.broken: dict[str, str] = {}
        """Keys and folders that answer with a StoreError, and its reason."""
        self._files: dict[str, _File] = {}
        self._folders: dict[str, tuple[int, int]] = {"": (START, 1)}
        self._inodes = 1

    # -- what happens to the files ------------------------------------------------------------------------------------------------------

    def tick(self, ns: int = 1_000_000_000) -> None:
        """Move the clock."""
        self.now_ns += ns

    def write(self, key: str, data: bytes | str) -> None:
        """Make the file, or write it in place."""
        content = data.encode() if isinstance(data, str) else data
        there = self._files.get(key)
        if there is not None:
            there.data, there.mtime_ns, there.ctime_ns = content, self.now_ns, self.now_ns
            return
        self.make_folder(_parent(key))
        self._files[key] = _File(content, self.now_ns, self.now_ns, self._inode())
        self._changed(_parent(key))

    def replace(self, key: str, data: bytes | str, mtime_ns: int | None = None) -> None:
        """Put another file in its place, as a rename does; it may be older."""
        self.remove(key)
        self.write(key, data)
        if mtime_ns is not None:
            self._files[key].mtime_ns = mtime_ns

    def touch(self, key: str, mtime_ns: int | None = None) -> None:
        """Set the file's mtime: now, or what is given. The ctime is the clock's in any case."""
        there = self._files[key]
        there.mtime_ns, there.ctime_ns = self.now_ns if mtime_ns is None else mtime_ns, self.now_ns

    def remove(self, key: str) -> None:
        """Remove the file, or the folder with all that is in it (a key that ends in a slash)."""
        if key.endswith("/"):
            for name in [name for name in self._files if name.startswith(key)]:
                del self._files[name]
            for name in [name for name in self._folders if f"{name}/".startswith(key)]:
                del self._folders[name]
        elif self._files.pop(key, None) is None:
            return
        self._changed(_parent(key.rstrip("/")))

    def make_folder(self, folder: str) -> None:
        """Make the folder and those above it."""
        folder = folder.rstrip("/")
        if folder not in self._folders:
            self.make_folder(_parent(folder))
            self._folders[folder] = (self.now_ns, self._inode())
            self._changed(_parent(folder))

    def _changed(self, folder: str) -> None:
        if folder in self._folders:
            self._folders[folder] = (self.now_ns, self._folders[folder][1])

    def _inode(self) -> int:
        self._inodes += 1
        return self._inodes

    # -- the protocol -------------------------------------------------------------------------------------------------------------------

    def stat(self, key: str) -> Stamp | None:
        self._check("look at", key)
        if key.endswith("/"):
            return self._folder_as_a_whole(key)
        there = self._files.get(key)
        return None if there is None else Stamp(len(there.data), there.mtime_ns, there.ctime_ns, there.inode)

    def _folder_as_a_whole(self, key: str) -> Stamp | None:
        if key[:-1] not in self._folders:
            return None
        files = [(name, self._files[name]) for name in sorted(self._files) if name.startswith(key)]
        below = sorted(name for name in self._folders if name.startswith(key))
        text = repr((below, [(name, f.mtime_ns, f.ctime_ns, f.inode, len(f.data)) for name, f in files]))
        return Stamp(
            sum(len(file.data) for _, file in files),
            max((file.mtime_ns for _, file in files), default=0),
            max((file.ctime_ns for _, file in files), default=0),
            int.from_bytes(blake3(text.encode("utf-8", "surrogateescape")).digest(8), "big") >> 1,
        )

    def fingerprint(self, key: str) -> bytes | None:
        self._check("read", key)
        if not key.endswith("/"):
            there = self._files.get(key)
            if there is None:
                return None
            self.hashed.append(key)
            return blake3(there.data).digest()
        if key[:-1] not in self._folders:
            return None
        digest = blake3()
        names = [(name, False) for name in self._folders] + [(name, True) for name in self._files]
        for name, is_file in sorted(names):
            if name.startswith(key):
                kind = b"f" if is_file else b"d"
                digest.update(kind + name[len(key) :].encode("utf-8", "surrogateescape") + b"\0")
                if is_file:
                    self.hashed.append(name)
                    digest.update(blake3(self._files[name].data).digest())
        return digest.digest()

    def names(self, folder: str) -> list[str] | None:
        listed = self.list(folder)
        return None if listed is None else [entry.name for entry in listed]

    def list(self, folder: str) -> list[Entry] | None:
        folder = folder.rstrip("/")
        self._check("list", folder)
        if folder not in self._folders:
            return None
        files = [Entry(_name(name), False) for name in self._files if _parent(name) == folder]
        return files + [Entry(_name(name), True) for name in self._folders if name and _parent(name) == folder]

    def folder_stamp(self, folder: str) -> Stamp | None:
        folder = folder.rstrip("/")
        self._check("list", folder)
        there = self._folders.get(folder)
        return None if there is None else Stamp(0, there[0], there[0], there[1])

    def matches(self, prefix: str, *, deep: bool) -> Sequence[str]:  # noqa: ARG002  no remote keys are here
        return []

    def ask(self, keys: Iterable[str]) -> None:
        """Nothing to find out: a look at a file costs no request."""

    def _check(self, verb: str, key: str) -> None:
        if key in self.broken:
            raise StoreError(f"cannot {verb} {shown(key or '.')}: {self.broken[key]}")


def _parent(key: str) -> str:
    return key.rpartition("/")[0]


def _name(key: str) -> str:
    return key.rpartition("/")[2]


if TYPE_CHECKING:
    _: Store = MemoryStore()
