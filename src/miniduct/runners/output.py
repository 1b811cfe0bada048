"""Where the output of running commands goes: one open file a slot, used again and again by silent jobs, and moved into place otherwise.

Nothing but sizes is looked at while a job runs. A job whose output has secrets to be masked writes to a file without a name, so that they are
never to be found on the disk, whatever ends duct. Invariant: after `finish` there is a log exactly if there was output.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 1 << 20
STARS = b"***"
SLOT = ".slot-"
"""How the names of slots begin in the folder of logs."""
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Output:
    """An open file that one job at a time writes to. `path` is None where it has no name; `actions_with` gives those of `posix_spawn`."""

    __slots__ = ("_actions", "fd", "number", "path")

    def __init__(self, number: int, path: str | None, fd: int) -> None:
        self.number = number
        self.path = path
        self.fd = fd
        self._actions = _actions(fd, fd)

    def actions_with(self, stdout: int) -> list[Any]:
        """What a started command does with its standard streams: the output goes to `stdout`, the errors to this file."""
        return self._actions if stdout == self.fd else _actions(stdout, self.fd)


def _actions(stdout: int, stderr: int) -> list[Any]:
    return [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, stdout, 1),
        (os.POSIX_SPAWN_DUP2, stderr, 2),
    ]


class Outputs:
    """Gives each job a file, and turns it into the job's log at the end."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._idle: list[Output] = []
        self._numbers: list[int] = []
        self._next = 0
        self._folders: set[str] = set()
        self._bare: dict[str, bool] = {}
        """Folders of logs; has it none, so that none needs to be removed?"""

    def take(self, *, masked: bool) -> Output:
        """A file for a job that starts. OSError where there can be none."""
        if not masked and self._idle:
            return self._idle.pop()
        number = self._numbers.pop() if self._numbers else self._next
        self._next = max(self._next, number + 1)
        path = f"{self._folder}/{SLOT}{number}"
        try:
            fd = self._open(path, 0o600 if masked else 0o666)
            if masked:
                os.unlink(path)
        except OSError:
            self._numbers.append(number)
            raise
        return Output(number, None if masked else path, fd)

    def finish(self, output: Output, log: str, *, append: bool, mask: Sequence[bytes], busy: bool) -> int:
        """The bytes in the log; 0 if there is none. `busy`: a process that the job left behind may still write. OSError."""
        reusable = output.path is not None and not busy
        try:
            size = os.lseek(output.fd, 0, os.SEEK_END)  # a third of the work of a stat; whatever is written is appended
            if size == 0:
                if not append and not self._has_none(log):
                    _removed(log)
                return _existing(log) if append else 0
            self._make_folder(log)
            if (append and _existing(log)) or output.path is None:
                self._copy(output, log, append=append, mask=mask)
                if reusable:
                    os.ftruncate(output.fd, 0)
                return _existing(log)
            reusable = False
            self._move(output, log)
            return size
        except OSError:
            reusable = False
            raise
        finally:
            if reusable:
                self._idle.append(output)
            else:
                self.drop(output)

    def is_silent(self, output: Output, log: str) -> bool:
        """Was nothing written? Then there is no log, as after `finish`, and the next job may write to the same file.

        False where that cannot be had: `finish` says why.
        """
        try:
            if os.lseek(output.fd, 0, os.SEEK_END):
                return False
            if not self._has_none(log):
                _removed(log)
        except OSError:
            return False
        return True

    def give_back(self, output: Output) -> None:
        """Nobody writes to it any more, and nothing was written."""
        self._idle.append(output)

    def drop(self, output: Output) -> None:
        """Give the file up."""
        os.close(output.fd)
        self._numbers.append(output.number)
        if output.path is not None:
            _removed(output.path)

    def close(self) -> None:
        """Remove what idle slots hold."""
        while self._idle:
            self.drop(self._idle.pop())

    def _open(self, path: str, mode: int) -> int:
        flags = _FLAGS | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        try:
            fd = os.open(path, flags, mode)
        except FileNotFoundError:
            os.makedirs(self._folder, exist_ok=True)
            fd = os.open(path, flags, mode)
        return above_standard(fd)

    def _has_none(self, log: str) -> bool:
        """Are there no logs in the folder of this one? It is looked into once: nobody else makes any while we do."""
        folder = log.rpartition("/")[0]
        if folder not in self._bare:
            self._bare[folder] = _is_bare(folder)
        return self._bare[folder]

    def _make_folder(self, log: str) -> None:
        self._bare[log.rpartition("/")[0]] = False
        folder = os.path.dirname(log)
        if folder and folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)

    def _move(self, output: Output, log: str) -> None:
        assert output.path is not None
        try:
            os.rename(output.path, log)
            output.path = None
        except FileNotFoundError:
            # The folder of logs was removed under us; the open file still holds the output.
            self._folders.clear()
            self._make_folder(log)
            self._copy(output, log, append=False, mask=())

    def _copy(self, output: Output, log: str, *, append: bool, mask: Sequence[bytes]) -> None:
        secrets = _Mask(mask)
        at = 0
        with open(log, "ab" if append else "wb") as file:
            while chunk := os.pread(output.fd, CHUNK, at):
                at += len(chunk)
                file.write(secrets.feed(chunk))
            file.write(secrets.rest())


def remove_strays(folder: str) -> None:
    """Remove the slots that a killed build left in the folder of logs; nobody else may be running jobs."""
    try:
        with os.scandir(folder) as entries:
            strays = [entry.path for entry in entries if entry.name.startswith(SLOT)]
    except OSError:
        return
    for path in strays:
        with contextlib.suppress(OSError):
            os.unlink(path)


class _Mask:
    """Replaces secrets in a stream, also where one is cut by the end of a chunk; the longest one first."""

    def __init__(self, mask: Sequence[bytes]) -> None:
        secrets = sorted({secret for secret in mask if secret}, key=len, reverse=True)
        self._secrets = re.compile(b"|".join(map(re.escape, secrets))) if secrets else None
        self._keep = len(secrets[0]) - 1 if secrets else 0
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What is certain by now: whatever could be the beginning of a secret is held back."""
        if self._secrets is None:
            return chunk
        data = self._held + chunk
        certain = len(data) - self._keep
        done: list[bytes] = []
        at = 0
        for found in self._secrets.finditer(data):
            if found.start() >= certain:
                break
            done += [data[at : found.start()], STARS]
            at = found.end()
        cut = max(at, certain, 0)
        done.append(data[at:cut])
        self._held = data[cut:]
        return b"".join(done)

    def rest(self) -> bytes:
        """The end of the stream."""
        return self._held if self._secrets is None else self._secrets.sub(STARS, self._held)


def above_standard(fd: int) -> int:
    """The same file under a number of which no job's standard streams are made."""
    if fd > 2:
        return fd
    import fcntl

    higher = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return higher


def _is_bare(folder: str) -> bool:
    """Is there nothing in the folder but slots?"""
    try:
        with os.scandir(folder or ".") as entries:
            return all(entry.name.startswith(SLOT) for entry in entries)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _existing(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _removed(path: str) -> int:
    if os.path.lexists(path):  # an unlink of nothing costs ten times a look
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return 0
