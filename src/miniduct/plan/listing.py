"""Folders listed for a plan: each once, its stamp taken before its names were read, so that a change in between is seen the next time.

A folder that is not there is listed too, as absent: its coming may change the plan. Symbolic links are followed; a folder met again inside itself is
not entered a second time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from ..errors import StoreError
from ..keys import is_remote
from ..stores.base import Entry

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator, Mapping

    from ..model import Stamp
    from ..stores.base import Store
    from .patterns import Pattern

STATE = ".duct"
"""The state folder: never listed, nor are the stages on other file systems, `.duct-stage-…`."""
DEEPEST = 200
"""Levels below which nothing is looked for: a folder of folders without end."""

MANY = 16
"""From so many keys in one folder on, its names are read instead of asking for each key."""


class Listing:
    """The folders listed so far, and the keys found in them. Those in `before` need not be listed again."""

    def __init__(self, store: Store, before: Listing | None = None) -> None:
        self._store = store
        self._before = before
        self._files: dict[str, list[str]] = {}
        self._dirs: dict[str, list[str]] = {}
        self.stamps: dict[str, Stamp | None] = {}
        self.entries: dict[str, list[Entry]] = {}

    def read(self, folder: str) -> list[Entry]:
        """The folder's entries; none where there is no such folder."""
        found = self.entries.get(folder)
        if found is None:
            if is_remote(folder):
                return self._read_remote(folder)
            if folder == STATE or folder.startswith(f"{STATE}/"):
                return []
            if self._before is not None and folder in self._before.entries:
                self.stamps[folder] = self._before.stamps[folder]
                found = self.entries[folder] = self._before.entries[folder]
                return found
            stamp = self._store.folder_stamp(folder)
            listed = self._store.list(folder) if stamp is not None else None
            found = self.entries[folder] = _visible(listed or [])
            self.stamps[folder] = stamp if listed is not None else None
        return found

    def _read_remote(self, folder: str) -> list[Entry]:
        """What `remote_folder` stands for; it has no stamp, so it is read each time. The entries are whole keys."""
        prefix = folder.rstrip("*")
        keys = self._store.matches(prefix, deep=folder.endswith("**"))
        self.stamps[folder] = None
        found = self.entries[folder] = [Entry(key, False) for key in keys]
        return found

    def files(self, folder: str) -> list[str]:
        """The keys of the files in a folder, sorted."""
        found = self._files.get(folder)
        if found is None:
            before = "" if is_remote(folder) else join(folder, "")
            found = self._files[folder] = sorted(
                [before + entry.name for entry in self.read(folder) if not entry.is_dir]
            )
        return found

    def dirs(self, folder: str) -> list[str]:
        """The names of the folders in a folder, sorted."""
        found = self._dirs.get(folder)
        if found is None:
            found = self._dirs[folder] = sorted([entry.name for entry in self.read(folder) if entry.is_dir])
        return found

    def candidates(self, pattern: Pattern) -> list[str]:
        """The keys that are there and may match, sorted; folders (with their slash) where the pattern means folders."""
        if is_remote(pattern.prefix):
            return [entry.name for entry in self.read(remote_folder(pattern))]
        found: list[str] = []
        for folder, last in self._ends(pattern):
            if pattern.is_folder:
                before = join(folder, "")
                found += [f"{before}{name}/" for name in self.dirs(folder) if _fits(last, name)]
            elif isinstance(last, str):
                key = join(folder, last)
                files = self.files(folder)
                at = bisect_left(files, key)
                found += files[at : at + 1] if files[at : at + 1] == [key] else []
            else:
                found += between(self.files(folder), pattern.prefix)
        return sorted(found)

    def _ends(self, pattern: Pattern) -> Iterator[tuple[str, re.Pattern[str] | str | None]]:
        """The folders that may hold matches, each with what the last name must fit."""
        folders = [pattern.folder]
        *levels, last = pattern.levels
        for level in levels:
            if isinstance(level, str):
                folders = [join(folder, level) for folder in folders]
            else:
                folders = [join(folder, name) for folder in folders for name in self.dirs(folder) if _fits(level, name)]
        for folder in folders:
            yield folder, last
            if last is None:
                for below in self._below(folder, (), dots=pattern.dots):
                    yield below, None

    def _below(self, folder: str, above: tuple[str, ...], *, dots: bool) -> Iterator[str]:
        if len(above) > DEEPEST:
            raise StoreError(f'cannot list "{folder}": more than {DEEPEST} folders one in the other')
        for name in self.dirs(folder):
            below = join(folder, name)
            if (dots or not name.startswith(".")) and not self._again(below, (*above, folder)):
                yield below
                yield from self._below(below, (*above, folder), dots=dots)

    def _again(self, folder: str, above: tuple[str, ...]) -> bool:
        """Is this one of the folders that it lies in, reached through a symbolic link?"""
        self.read(folder)
        stamp = self.stamps[folder]
        return (
            stamp is not None
            and bool(self.entries[folder])
            and any(self.stamps[each] == stamp and self._same_names(each, folder) for each in above)
        )

    def _same_names(self, one: str, other: str) -> bool:
        return {entry.name for entry in self.entries[one]} == {entry.name for entry in self.entries[other]}

    def expect(self, pattern: Pattern, children: Mapping[str, Iterable[str]]) -> None:
        """List those folders as well that will be walked once the plan's targets are there. `children`: folder to the names in it."""
        if is_remote(pattern.prefix):
            return
        folders = [pattern.folder]
        levels = pattern.levels
        for level in levels[:-1]:
            if isinstance(level, str):
                folders = [join(folder, level) for folder in folders]
            else:
                folders = [
                    join(folder, name) for folder in folders for name in children.get(folder, ()) if _fits(level, name)
                ]
            for folder in folders:
                self.read(folder)
        if levels[-1] is None:
            for folder in folders:  # grows while it is read
                new = [join(folder, name) for name in children.get(folder, ())]
                for below in new:
                    self.read(below)
                folders += new

    def exists(self, folder: str) -> bool:
        """Is there such a folder?"""
        if is_remote(folder):
            return True  # a bucket has no folders, so none that could be missing
        if folder in self.stamps:
            return self.stamps[folder] is not None
        return self._store.folder_stamp(folder) is not None

    def nearest(self, folder: str) -> str:
        """The folder itself, or the nearest one above it that exists."""
        while folder and not self.exists(folder):
            folder = parent(folder)
        return folder

    def absent(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that are not there, in order. Many keys of one folder cost one reading of its names, not a call for each.

        The folders read for this are not kept: other names in them do not matter to the plan.
        """
        listed = list(keys)
        self._store.ask([key for key in listed if is_remote(key)])
        local = (key for key in listed if not is_remote(key))
        many = {folder for folder, count in Counter(map(parent, local)).items() if count >= MANY}
        names = {folder: self._names(folder) for folder in many}
        lacking = []
        for key in listed:
            folder = parent(key)
            there = key in names[folder] if folder in many else self._is_there(key)
            if not there:
                lacking.append(key)
        return lacking

    def _names(self, folder: str) -> set[str]:
        entries = self.entries[folder] if folder in self.entries else self._store.list(folder) or []
        before = join(folder, "")
        return {f"{before}{name}/" if is_dir else before + name for name, is_dir in entries}

    def _is_there(self, key: str) -> bool:
        if key.endswith("/"):
            return self.exists(key.rstrip("/"))
        try:
            return self._store.stat(key) is not None
        except StoreError:
            return True  # something is there: the job that reads it fails by name, and no other


def remote_folder(pattern: Pattern) -> str:
    """A name for what has to be listed to find the matches of a remote pattern: all keys with its prefix, `**` where further slashes may follow."""
    deep = "/" in pattern.source[len(pattern.prefix) :] or any(
        not isinstance(token, str) and token.deep for token in pattern.tokens
    )
    return pattern.prefix + ("**" if deep else "*")


def _visible(entries: list[Entry]) -> list[Entry]:
    ours = [entry for entry in entries if entry.name.startswith(STATE)]
    hidden = {entry for entry in ours if entry.name == STATE or entry.name.startswith(f"{STATE}-stage")}
    return [entry for entry in entries if entry not in hidden] if hidden else entries


def join(folder: str, name: str) -> str:
    return name if not folder else folder + name if folder.endswith("/") else f"{folder}/{name}"


def parent(folder: str) -> str:
    """The folder that holds this key or folder; "" is the root, and the parent of itself."""
    head, _, _ = folder.rstrip("/").rpartition("/")
    return head or ("/" if folder.startswith("/") and folder != "/" else "")


def between(keys: list[str], prefix: str) -> list[str]:
    """Those of the sorted keys that begin with the prefix."""
    if not prefix or (keys and keys[0].startswith(prefix) and keys[-1].startswith(prefix)):
        return keys
    start = bisect_left(keys, prefix)
    end = start
    if start < len(keys) and keys[start].startswith(prefix):
        end = bisect_left(keys, prefix[:-1] + chr(ord(prefix[-1]) + 1)) if ord(prefix[-1]) < 0x10FFFF else len(keys)
    return keys[start:end]


def _fits(level: re.Pattern[str] | str | None, name: str) -> bool:
    if level is None:
        return True
    return name == level if isinstance(level, str) else level.fullmatch(name) is not None
