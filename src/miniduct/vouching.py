"""What a watch knows of a project's keys without looking at them, and how it tells that to other `duct` commands.

A key whose folder has been watched since the key was looked at, and of which the kernel told nothing since, is as it was. That holds only where
the kernel tells of everything: `Evidence` names the keys for which it may not (`fixed`), and whoever keeps it drops it when in doubt. Two changes
are never told: those through a memory map that is still open, and those through another name of the same file that was made after the key was looked
at, in a folder that is not watched. So all keys are looked at again every `SWEEP` seconds.
"""

from __future__ import annotations

import os
import select
import time
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

from .trace.watched import PATIENCE, SOCKET, peer, question

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Iterable, Sequence

    from .trace.snapshot import Snapshot

SWEEP = 300.0
"""Seconds after which all keys are looked at again."""
SPACING = 1e-3
"""Seconds for each key between two looks at all of them, where there is one doubt after the other."""
OWN = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "tmpfs", "xfs", "zfs"})
"""File systems that nobody writes to but this machine's kernel, which tells of it."""
BLOCK = 4096
"""Bytes of a column that are compared at once."""


class Evidence:
    """Which keys of one snapshot may not be as it says. None is known until `take`, and after `drop`."""

    def __init__(self) -> None:
        self._head: bytes | None = None
        self._sum: tuple[int, int] | None = None
        self._numbers: dict[str, int] = {}
        self._columns: list[bytes] = []
        self._fixed: set[int] = set()
        self._open: set[int] = set()
        self._touched: set[int] = set()
        self._keys = 0
        self._since = 0.0

    @property
    def held(self) -> bool:
        """Is anything known?"""
        return self._head is not None

    @property
    def due(self) -> float:
        """When all keys are to be looked at again (monotonic seconds): in case of doubt soon, but for less than a hundredth of the time."""
        return self._since + (SWEEP if self.held else min(max(1.0, self._keys * SPACING), SWEEP))

    @property
    def blind(self) -> bool:
        """Are there keys of which the kernel does not tell?"""
        return bool(self._fixed)

    def touch(self, path: str) -> None:
        """The kernel told of a change at this path."""
        number = self._numbers.get(path)
        if number is not None:
            self._touched.add(number)

    def drop(self) -> None:
        """There is a doubt about all of it."""
        self._head = self._sum = None
        self._numbers, self._columns = {}, []
        self._fixed, self._open, self._touched = set(), set(), set()

    def begin_again(self) -> None:
        """All keys are about to be looked at; where there is no snapshot to `take`, that is due again no sooner."""
        self.drop()
        self._since = time.monotonic()

    def look(self, snapshot: Snapshot) -> Sequence[int] | None:
        """The numbers of the keys that may be different from this snapshot, in order; None: any may be.

        A later snapshot than the one that was taken is understood if it has the same keys: those whose stamps are others in it count as touched.
        """
        if self._sum is None or self._sum != snapshot.names_sum:
            return None
        if self._head != snapshot.head:
            columns = _columns(snapshot)
            for old, new in zip(self._columns, columns):
                self._touched |= _different(old, new)
            self._head, self._columns = snapshot.head, columns
        return sorted(self._fixed | self._open | self._touched)

    def about(self, head: bytes) -> Sequence[int] | None:
        """As `look`, for the snapshot that was looked at last; None for any other one."""
        return sorted(self._fixed | self._open | self._touched) if head == self._head else None

    def take(
        self, snapshot: Snapshot, looked: Sequence[int] | None, changed: Iterable[int], watched: Collection[str]
    ) -> None:
        """The keys with these numbers were looked at (None: all of them), and of those these are different from the snapshot.

        `watched` are the folders that were watched before that. What happened since then is still to be told by `touch`.
        """
        if looked is None:
            names = snapshot.names
            self._head, self._sum = snapshot.head, snapshot.names_sum
            self._numbers = {name: number for number, name in enumerate(names) if "://" not in name}
            self._columns = _columns(snapshot)
            self._fixed = _untold(self._numbers, watched)
            self._keys, self._since = len(names), time.monotonic()
        else:
            names = snapshot.names
            again = {names[number]: number for number in self._touched}
            self._fixed |= _untold(again, watched)
        self._open, self._touched = set(changed), set()


def _columns(snapshot: Snapshot) -> list[bytes]:
    return [bytes(view) for view in snapshot.stamp_views()]


def _different(old: bytes, new: bytes) -> set[int]:
    """The places (of 8 bytes) at which two columns of the same length differ."""
    if old == new:
        return set()
    found = set()
    for start in range(0, len(new), BLOCK):
        mine, other = old[start : start + BLOCK], new[start : start + BLOCK]
        if mine != other:
            found |= {(start + at) // 8 for at in range(0, len(other), 8) if mine[at : at + 8] != other[at : at + 8]}
    return found


def _untold(numbers: dict[str, int], watched: Collection[str]) -> set[int]:
    """The keys that can change without a word about their path: trees, links, files with several names, and what lies in a folder that is not
    watched, or not itself a part of the project's own file system.
    """
    told = set(watched)
    home = _device("") if "" in told else None
    plain = {"": home is not None}

    def is_plain(folder: str) -> bool:
        below = []
        while folder not in plain and folder != "/":
            below.append(folder)
            folder = os.path.dirname(folder)
        for each in reversed(below):
            sure = plain.get(os.path.dirname(each), False) and each in told and os.path.basename(each) != ".."
            plain[each] = sure and _device(each) == home
        return plain.get(below[0] if below else folder, False)

    found = set()
    for name, number in numbers.items():
        folder, _, last = name.rpartition("/")
        if not last or not is_plain(folder):
            found.add(number)
            continue
        try:
            there = os.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError):
            found.add(number)
            continue
        if not S_ISREG(there.st_mode) or there.st_nlink > 1:
            found.add(number)
    return found


def has_other_names(path: str) -> bool:
    """Is it a file that can be written to under another name, of which no event about this one tells?"""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return False
    return S_ISREG(found.st_mode) and found.st_nlink > 1


def _device(folder: str) -> int | None:
    """The file system that a folder is a part of; None for what is no folder, or only leads to one."""
    try:
        found = os.lstat(folder or ".")
    except (OSError, ValueError):
        return None
    return found.st_dev if S_ISDIR(found.st_mode) else None


class Mounts:
    """Tells when anything was mounted or unmounted (proc(5), mountinfo): other files may lie behind the same names then."""

    def __init__(self) -> None:
        self._poll = select.poll()
        try:
            self.fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.fd = -1
            return
        self._poll.register(self.fd, select.POLLPRI)
        self.changed()

    def changed(self) -> bool:
        """Since the last time that this was asked. True where it cannot be known."""
        return self.fd < 0 or bool(self._poll.poll(0))

    def close(self) -> None:
        """Give it back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Server:
    """The socket in the state folder at which other `duct` commands of the same user ask; open only while its watch can answer at once.

    The watch holds its lock: a file that is left there is that of a killed one.
    """

    def __init__(self, state: str) -> None:
        self._path = f"{state}/{SOCKET}"
        self._socket: socket.socket | None = None

    @property
    def fd(self) -> int:
        """Can be read when somebody asks; -1: closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def open(self) -> None:
        """Let others ask. Where there can be no socket, nobody does."""
        import socket

        try:
            os.unlink(self._path)
        except OSError:
            pass
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listening.bind(self._path)
            listening.listen(16)
            listening.setblocking(False)
        except OSError:
            listening.close()
            return
        finally:
            os.umask(before)
        self._socket = listening

    def close(self) -> None:
        """Who asks now looks for himself."""
        if self._socket is None:
            return
        try:
            os.unlink(self._path)
        except OSError:
            pass
        self._socket.close()
        self._socket = None

    def next(self) -> Asker | None:
        """Somebody who asks; None where nobody does (any more), or somebody else's process."""
        assert self._socket is not None
        try:
            call, _ = self._socket.accept()
        except OSError:
            return None
        try:
            call.settimeout(PATIENCE / 2)
            if peer(call) == os.getuid():
                own = question(b"")
                asked = call.recv(1024)
                if asked.endswith(own):
                    return Asker(call, asked[: -len(own)])
        except (OSError, AttributeError):
            pass
        call.close()
        return None


class Asker:
    """A command that asks about the snapshot with this head."""

    def __init__(self, call: socket.socket, head: bytes) -> None:
        self._call = call
        self.head = head

    def answer(self, numbers: Sequence[int] | None, keys: int) -> None:
        """Which keys to look at, of that many; nothing where that is not known, or would be no help."""
        try:
            if numbers is not None and len(numbers) <= keys // 4:
                from array import array

                self._call.sendall(array("i", [len(numbers), *numbers]).tobytes())
        except OSError:
            pass
        finally:
            self._call.close()
