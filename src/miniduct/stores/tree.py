"""What lies below a folder, in one order for ever: the stamp and the fingerprint of a folder as a whole.

Names count, also those of empty folders, and the content of files. Times of folders are in the stamp only: they tell of
a name that came and went. Symbolic links are
followed, except one that leads nowhere or back into a folder it lies in: of those the text of the link counts. Sockets,
pipes and devices count by name. duct's own state folders never count. Errors are those of the system; absence of the
top folder is None.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE, FOLDER, LINK, OTHER = b"f", b"d", b"l", b"o"
STATE = ".duct"
"""The state folder's name; hidden stage folders on other file systems begin with it and a dash."""
WORD = (1 << 63) - 1
"""What a stamp's numbers are cut to: columns hold signed 64 bits, and some file systems use all 64 for an inode."""


def word(number: int) -> int:
    """A number as the columns can hold it. Times before 1970 stay as they are."""
    return number if -WORD <= number <= WORD else number & WORD


def entries(folder: str) -> Iterator[tuple[bytes, str, str, os.stat_result | None]]:
    """(kind, name below the folder, path, stat of a file or folder) of the folder itself, its name empty, and everything
    below it, each folder before what is in it, sorted by name.
    """
    top = folder.rstrip("/") or "/"
    found = os.stat(top)
    yield FOLDER, "", top, found
    # Explicit, not recursive: a path may have more levels than Python's stack.
    stack = [(_sorted(top), "", frozenset(((found.st_dev, found.st_ino),)))]
    while stack:
        names, before, above = stack[-1]
        if not names:
            stack.pop()
            continue
        entry = names.pop()
        name = before + entry.name
        try:
            there = entry.stat()
        except OSError:
            if not entry.is_symlink():
                raise
            yield LINK, name, entry.path, None
            continue
        if stat.S_ISREG(there.st_mode):
            yield FILE, name, entry.path, there
        elif stat.S_ISDIR(there.st_mode):
            place = (there.st_dev, there.st_ino)
            if entry.is_symlink() and place in above:
                yield LINK, name, entry.path, None
                continue
            yield FOLDER, name, entry.path, there
            stack.append((_sorted(entry.path), f"{name}/", above | {place}))
        else:
            yield OTHER, name, entry.path, None


def _sorted(folder: str) -> list[os.DirEntry[str]]:
    """The folder's entries, the first one last."""
    with os.scandir(folder) as listed:
        names = [entry for entry in listed if entry.name != STATE and not entry.name.startswith(f"{STATE}-")]
    names.sort(key=lambda entry: entry.name, reverse=True)
    return names


def stamp(folder: str) -> tuple[int, int, int, int] | None:
    """Total size, newest mtime, newest ctime, and a digest (63 bits) of all names and stamps below the folder. None: no
    such folder.
    """
    from hashlib import blake2b

    total, newest, changed = 0, 0, 0
    digest = blake2b(digest_size=8)
    try:
        for kind, name, path, found in entries(folder):
            digest.update(kind + os.fsencode(name) + b"\0")
            if found is not None and kind == FOLDER:
                ctime = found.st_ctime_ns
                digest.update(b"%d %d %d\0" % (found.st_mtime_ns, ctime, found.st_ino))
                changed = max(changed, ctime)
            elif found is not None:
                size, mtime, ctime = found.st_size, found.st_mtime_ns, found.st_ctime_ns
                digest.update(b"%d %d %d %d\0" % (size, mtime, ctime, found.st_ino))
                total += size
                newest = max(newest, mtime)
                changed = max(changed, ctime)
            elif kind == LINK:
                digest.update(os.fsencode(os.readlink(path)) + b"\0")
    except (FileNotFoundError, NotADirectoryError):
        if os.path.isdir(folder):
            raise
        return None
    return total & WORD, word(newest), word(changed), int.from_bytes(digest.digest(), "big") & WORD


def fingerprint(folder: str, of_file: Callable[[str], bytes | None]) -> bytes | None:
    """BLAKE3 digest of the names and the files' digests below the folder. None: no such folder.

    `of_file` gives a file's digest; None (it vanished meanwhile) raises FileNotFoundError.
    """
    from blake3 import blake3

    digest = blake3()
    try:
        for kind, name, path, _ in entries(folder):
            if not name:
                continue
            digest.update(kind + os.fsencode(name) + b"\0")
            if kind == FILE:
                content = of_file(path)
                if content is None:
                    raise FileNotFoundError(2, "vanished while it was read", path)
                digest.update(content)
            elif kind == LINK:
                digest.update(os.fsencode(os.readlink(path)) + b"\0")
    except (FileNotFoundError, NotADirectoryError):
        if os.path.isdir(folder):
            raise
        return None
    return digest.digest()
