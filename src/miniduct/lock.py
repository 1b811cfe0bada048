"""One build at a time in a project: a lock of the operating system, which dies with its holder. There is nothing to
unlock by hand.

The file's text says who holds it; it is emptied when the lock is given back, so that text in a file that nobody holds
tells of a killed build, until somebody has mended what that left. Whether the lock is held is never read from the text.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from typing import TYPE_CHECKING

from .errors import BuildRunning, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

TRIES = 5
"""A look at who holds the lock takes it for an instant: one refusal proves nothing."""
PAUSE = 0.1


class Lock:
    """The lock at `path`; `make` makes its folder, should somebody have removed it. As a context, it is given back at the
    end of the block if it was acquired.
    """

    def __init__(self, path: str, make: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._make = make
        self._fd = -1
        self._to_mend = False

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def acquire(self, wait: bool, on_wait: Callable[[str], None]) -> bool:
        """Take the lock; True if the one who had it last did not give it back (it was killed). Who takes it next is told so,
        too, unless `mended` is called before the lock is given back.

        Held by another: `on_wait` is told by whom, once, and this waits; with `wait` false, BuildRunning. StoreError
        where there can be no lock.
        """
        refusals = 0
        while True:
            fd = self._open()
            if self._take(fd):
                if self._is_current(fd):
                    break
                os.close(fd)
                continue
            os.close(fd)
            refusals += 1
            if refusals < TRIES:
                time.sleep(PAUSE / 20)
                continue
            if not wait:
                raise BuildRunning(
                    "another build of this project is running",
                    facts=[self._text() or "its process is not known"],
                    hint="wait for its end, or let duct wait",
                )
            if refusals == TRIES:
                on_wait(self._text() or "another build")
            time.sleep(PAUSE)
        self._to_mend = True  # a signal may come at any time
        self._fd = fd
        _held.add(fd)
        crashed = os.fstat(fd).st_size > 0
        self._write(_myself())
        self._to_mend = crashed
        return crashed

    def mended(self) -> None:
        """What the killed one left is mended."""
        self._to_mend = False

    def _open(self) -> int:
        for _ in range(TRIES):
            try:
                return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError as error:
                gone = error
            except OSError as error:
                raise self._refused(error) from None
            self._make()
        raise self._refused(gone) from None

    def _refused(self, error: OSError) -> StoreError:
        text = error.strerror or str(error)
        return StoreError(f"cannot lock {self._path}: {text[:1].lower()}{text[1:]}")

    def _take(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            os.close(fd)
            raise self._refused(error) from None
        return True

    def _is_current(self, fd: int) -> bool:
        """Is the file that was locked still the one at the path? (The state folder may have been removed meanwhile.)"""
        try:
            there = os.stat(self._path)
        except OSError:
            return False
        mine = os.fstat(fd)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        try:
            os.pwrite(self._fd, data, 0)  # first, for a kill between the two leaves a text
            os.ftruncate(self._fd, len(data))
        except OSError:  # a full disk: the lock holds all the same
            pass

    def _text(self) -> str:
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read(4096).strip()
        except OSError:
            return ""

    def holder(self) -> str | None:
        """Who holds the lock, in words; None: nobody. Writes nothing, and makes no file."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            return self._text() or "another build"
        except OSError:
            return None
        finally:
            os.close(fd)

    def release(self) -> None:
        """Give the lock back. Not held: nothing."""
        if self._fd in _held:
            if not self._to_mend:
                self._write("")
            # Told, not just closed: a process that was forked off meanwhile has this file open, too.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            _held.discard(self._fd)
            os.close(self._fd)
        self._fd = -1


def _let_go() -> None:
    """Called in a process that was forked off: it may outlive this one, and holds no lock."""
    while _held:
        os.close(_held.pop())


_held: set[int] = set()
os.register_at_fork(after_in_child=_let_go)


def _myself() -> str:
    words = " ".join(["duct", *sys.argv[1:]])
    command = "".join(char if char.isprintable() else "?" for char in words)[:200]
    return f"process {os.getpid()} on {os.uname().nodename}, started {time.strftime('%Y-%m-%d %H:%M:%S')}: {command}\n"
