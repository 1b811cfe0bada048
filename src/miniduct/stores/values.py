"""What the Python steps of one pipeline returned. Small values lie in one file together, the pack; a large one, and what a worker process made, is a
file of its own. To make a small file takes the system about as long as all else that is done for a step.

The pack begins with its format and a number of its own, and is appended to, entry by entry: a checksum of all that follows but the content, the
lengths of name and content, the content's fingerprint, then name and content. Of the entries of a name the last one counts; one without content says
that the pack has none. Half an entry at the end is what a kill left; it is cut off.

One writer at a time, under the project's lock. Whoever reads while it writes sees what was whole when it looked.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from contextlib import suppress
from stat import S_ISREG
from typing import IO
from zlib import crc32

from blake3 import blake3

from ..errors import StoreError
from ..keys import on_disk
from ..model import FINGERPRINT_SIZE, Stamp
from ..text import shown
from ..tuples import NamedTuple
from . import tree
from .local import LocalStore, reason

PACK = ".pack"
"""The pack's name in the folder of a pipeline's values: no step is called so."""
MOST_WASTE = 1 << 20
"""Bytes of entries that count no more, from which on the pack is written anew where they are half of it."""
MOST_RECENT = 1 << 20
"""Bytes of values that are kept in memory, for those that read them next."""
PACKED = -(1 << 62)
"""Stands in stamps for the ctime of what lies in the pack. No file has it."""
_FORMAT = b"duct values 1\n"
_START = 32
_HEAD = struct.Struct(f"<IIQ{FINGERPRINT_SIZE}s")
_SUM = 4
_NUMBERS = struct.Struct("<QQ")
_NONE = bytes(FINGERPRINT_SIZE)
_BUFFER = 1 << 16


Saved = tuple[str, "tuple[int, ...] | None", int]
"""The pack's path, its stamp (None: there is none; empty: it is not to be trusted), and PACKED: while the pack has that stamp, nobody need look
at what is in it.
"""


class _Entry(NamedTuple):
    """Where the content of a name lies, its fingerprint, and the bytes of the whole entry. It has a stamp once it was read, or was put there."""

    at: int
    size: int
    fingerprint: bytes
    whole: int
    stamp: Stamp | None


class ValueStore:
    """The values below one folder (".duct/values/PIPELINE/") of a project; keys are relative to its root. For many threads.

    `held`: until `close`, the pack stays open once it was asked for, and is as it was found then. With `write` nobody else writes to it meanwhile.
    """

    def __init__(self, folder: str, root: str = "", *, held: bool = False, write: bool = False) -> None:
        self.folder = folder
        self.path = folder + PACK
        self._place = os.path.join(root, self.path)
        self._held = held or write
        self._write = write
        self._files = LocalStore()
        self._lock = threading.Lock()
        self._fd = -1
        self._none = False
        """Was there no pack, and would it not count if there were one now?"""
        self._start = b""
        """How the pack begins that `_entries` are of; empty: there was none, or it was not looked for."""
        self._entries: dict[str, _Entry] = {}
        self._recent: dict[str, bytes] = {}
        """What was put last: most of it is read at once, and need not come from the disk."""
        self._recent_size = 0
        self._end = 0
        self._live = 0
        self._damaged = False
        """Was something else found in it than was put there?"""

    # -- looking ------------------------------------------------------------------------------------------------------------------------

    def stat(self, key: str) -> Stamp | None:
        """The key's stamp; see `base.Store`. What lies in the pack has one that tells of its content only."""
        if self._write and self._fd >= 0:  # it is as it was found, and written to by this only
            entry = self._entries.get(key[len(self.folder) :])
            if entry is not None and entry.stamp is not None:
                return entry.stamp
        entry = self._seen(key)
        return self._files.stat(key) if entry is None else entry.stamp

    def fingerprint(self, key: str) -> bytes | None:
        """BLAKE3 digest of the content; None: not there. StoreError."""
        entry = self._seen(key)
        return self._files.fingerprint(key) if entry is None else entry.fingerprint

    def read(self, key: str) -> bytes | None:
        """The content, where it lies in the pack, just as it was put there. StoreError."""
        recent = self._recent.get(key[len(self.folder) :])
        if recent is not None:
            return recent
        with self._lock:
            if self._fd < 0:
                self._open()
            try:
                entry = self._entries.get(key[len(self.folder) :])
                if entry is None:
                    return None
                content = self._content(entry)
                if blake3(content).digest() != entry.fingerprint:
                    self._damaged = True
                    if not self._held:
                        self._touch()
                    raise StoreError(f"the value in {shown(key)} is damaged", hint="the next run makes it again")
                return content
            finally:
                if not self._held:
                    self._shut()

    def _seen(self, key: str) -> _Entry | None:
        """The entry of what is there: somebody may have written to the pack."""
        name = key[len(self.folder) :]
        with self._lock:
            if self._fd < 0:
                self._open()
            try:
                entry = self._entries.get(name)
                if entry is not None and entry.stamp is None:
                    digest = blake3(self._content(entry)).digest()
                    self._damaged = self._damaged or digest != entry.fingerprint
                    stamp = stamp_of(entry.size, digest)
                    entry = self._entries[name] = entry._replace(fingerprint=digest, stamp=stamp)
                return entry
            finally:
                if not self._held:
                    self._shut()

    def _content(self, entry: _Entry) -> bytes:
        try:
            return os.pread(self._fd, entry.size, entry.at)
        except OSError as error:
            raise self._refused("read", error) from None

    def _touch(self) -> None:
        """Give the pack another stamp, so that the next run looks at all values, and makes again what is not what it was."""
        with suppress(OSError):
            os.utime(self._place)

    def _open(self) -> None:
        """Open the pack, which is not open, where there is one, and take in what is new in it. Who holds none shuts it again."""
        if self._none:
            return
        try:
            self._fd = self._opened()
            size, start = os.fstat(self._fd).st_size, os.pread(self._fd, _START, 0)
            if start != self._start or size < self._end:
                self._forget()
            if start.startswith(_FORMAT) and len(start) == _START:
                self._start = start
                self._end = max(self._end, _START)
                if size > self._end:
                    with open(self._fd, "rb", buffering=_BUFFER, closefd=False) as file:
                        self._scan(file, size)
            if self._write and size > self._end:
                os.ftruncate(self._fd, self._end)
        except FileNotFoundError:
            self._forget()
            self._none = self._held
        except OSError as error:
            self._forget()
            self._shut()
            raise self._refused("read", error) from None

    def _opened(self) -> int:
        """A pack is a file of its own: what a link leads to is somebody else's, and a pipe would be waited for."""
        flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(self._place, (os.O_RDWR if self._write else os.O_RDONLY) | flags)
        except OSError as error:
            if not self._write or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            fd = os.open(self._place, os.O_RDONLY | flags)  # nothing may have to be written
            self._write = False
        if not S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "it is not a regular file")
        return fd

    def _refused(self, verb: str, error: OSError) -> StoreError:
        why = {errno.ELOOP: "it is a link", errno.EISDIR: "it is a folder"}.get(error.errno or 0, reason(error))
        no_room = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = None if no_room else f"where it is not to be had, remove {self.path}: its values are made again"
        return StoreError(f"cannot {verb} {shown(self.path)}: {why}", hint=hint)

    def _shut(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _forget(self) -> None:
        self._start, self._entries, self._recent = b"", {}, {}
        self._end = self._live = 0

    def _scan(self, file: IO[bytes], size: int) -> None:
        """Take in the entries from `_end` on, up to the first one that is not whole."""
        file.seek(self._end)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            checksum, name_size, content_size, digest = _HEAD.unpack(head)
            at = self._end + _HEAD.size + name_size
            if at + content_size > size:
                return
            name = file.read(name_size)
            if crc32(name, crc32(head[_SUM:])) != checksum:
                return
            file.seek(content_size, os.SEEK_CUR)
            self._take(os.fsdecode(name), at, content_size, digest, None)

    def _take(self, name: str, at: int, size: int, fingerprint: bytes, stamp: Stamp | None) -> None:
        """The entry is the last one in the pack."""
        whole = at + size - self._end
        self._end = at + size
        before = self._entries.pop(name, None)
        if before is not None:
            self._live -= before.whole
        if size:
            self._entries[name] = _Entry(at, size, fingerprint, whole, stamp)
            self._live += whole

    # -- writing ------------------------------------------------------------------------------------------------------------------------

    def put(self, key: str, content: bytes, fingerprint: bytes) -> Stamp:
        """Put the content into the pack: from now on the key is there, with this stamp. StoreError: it is as it was."""
        stamp = stamp_of(len(content), fingerprint)
        with self._lock:
            if self._fd < 0:
                self._open()
            name = key[len(self.folder) :]
            self._append(name, content, fingerprint, stamp)
            self._recent_size += len(content)
            if self._recent_size > MOST_RECENT:
                self._recent, self._recent_size = {}, len(content)
            self._recent[name] = content
        return stamp

    def hide(self, key: str) -> bool:
        """Say in the pack that it has nothing of this key; had it anything? StoreError: it is as it was."""
        name = key[len(self.folder) :]
        with self._lock:
            if self._fd < 0:
                self._open()
            if name not in self._entries:
                return False
            self._append(name, b"", _NONE, None)
            self._recent.pop(name, None)
            return True

    def _append(self, name: str, content: bytes, fingerprint: bytes, stamp: Stamp | None) -> None:
        data, size = _entry(name, content, fingerprint), len(content)
        try:
            if not self._write:
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            if self._fd < 0:
                os.makedirs(self.folder, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._fd = os.open(self._place, flags, 0o666)
                self._none = False
            if not self._end:
                self._start = _start()
                os.pwrite(self._fd, self._start, 0)
                self._end = _START
            done = os.pwrite(self._fd, data, self._end)
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], self._end + done)
        except OSError as error:
            if self._fd >= 0:
                with suppress(OSError):
                    os.ftruncate(self._fd, self._end)
            raise self._refused("write", error) from None
        self._take(name, self._end + len(data) - size, size, fingerprint, stamp)

    def saved(self, before: Saved | None) -> Saved:
        """What tells later whether anything in the pack may have changed; a pack that was not looked at is as it was `before`.

        A pack of which half counts no more is written anew first, where the disk takes it.
        """
        with self._lock:
            if self._fd < 0 and not self._none:
                return before or (self.path, (), PACKED)
            if self._write and self._fd >= 0 and self._end - self._live > max(MOST_WASTE, self._live):
                self._write_anew()
            try:
                there = self._files.stat(self._place)
            except StoreError:
                return self.path, (), PACKED
            if self._damaged or (self._fd >= 0 and not self._is_there(there)):
                return self.path, (), PACKED
        return self.path, None if there is None else (*there,), PACKED

    def _is_there(self, there: Stamp | None) -> bool:
        """Is what is at the pack's place the one that is open, and as it was written here?"""
        mine = os.fstat(self._fd)
        return there is not None and there.inode == mine.st_ino & tree.WORD and there.size == self._end == mine.st_size

    def close(self) -> None:
        """Hold nothing and write no more. Values can be read as before, as they are then."""
        with self._lock:
            self._held = self._write = self._none = False
            self._recent = {}
            self._shut()

    def _write_anew(self) -> None:
        part = f"{self._place}.part"
        try:
            with suppress(FileNotFoundError):
                os.unlink(part)  # of a killed run
            with open(part, "xb") as file:
                file.write(_start())
                file.writelines(_entry(name, self._content(it), it.fingerprint) for name, it in self._entries.items())
            os.replace(part, self._place)
        except (OSError, StoreError):
            with suppress(OSError):
                os.unlink(part)
            return
        self._shut()
        self._open()


def stamp_of(size: int, fingerprint: bytes) -> Stamp:
    """The stamp of what lies in the pack. Where it lies there, and since when, is nobody's question: its mtime tells of its content, too."""
    first, second = _NUMBERS.unpack_from(fingerprint)
    return Stamp(size, first >> 1, PACKED, second >> 1)


def is_packed(stamp: Stamp) -> bool:
    """Is it the stamp of what lies in a pack?"""
    return stamp.ctime_ns == PACKED


def _start() -> bytes:
    return _FORMAT + os.urandom(_START - len(_FORMAT))


def _entry(name: str, content: bytes, fingerprint: bytes) -> bytes:
    called = on_disk(name)
    head = _HEAD.pack(0, len(called), len(content), fingerprint)[_SUM:]
    return crc32(called, crc32(head)).to_bytes(_SUM, "little") + head + called + content
