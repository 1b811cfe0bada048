"""What the tests from outside share: a sandbox folder, the installed command in a clean environment, and a count of what ran.

A job in a sandbox tells that it ran by appending its name to the file `$RUNS` (outside the project, so that no wildcard sees it); names end
with a zero byte because they may hold newlines. This module knows the command line and nothing of the package behind it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DUCT = os.path.join(os.path.dirname(sys.executable), "duct")
REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
"""Before a command: what root would be without its privilege to read and write everything. Nobody else needs it."""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"duct {' '.join(self.args)}: exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of `--json`."""
        return [json.loads(line) for line in self.out.splitlines()]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> None:
    """Return as soon as the condition holds; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.005)


def decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class Sandbox:
    """A project folder of its own, `root`, and the command run in it."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.root = os.path.join(home, "project")
        self.runs = os.path.join(home, "runs")
        self.gate = os.path.join(home, "gate")
        for folder in (self.root, os.path.join(home, "tmp")):
            os.makedirs(folder, exist_ok=True)
        self.env: dict[str, str] = {
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin"]),
            "HOME": home,
            "TMPDIR": os.path.join(home, "tmp"),
            "LANG": "C.UTF-8",
            "RUNS": self.runs,
            "GATE": self.gate,
        }

    # files

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def write(self, name: str, content: str | bytes = "") -> str:
        """Write one file; its folders are made. Returns its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        with open(path, "wb") as sink:
            sink.write(data)
        return path

    def files(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            self.write(name, content)

    def ductfile(self, text: str) -> None:
        self.write("Ductfile", text)

    def read(self, name: str) -> str:
        with open(self.path(name), "rb") as source:
            return decoded(source.read())

    def exists(self, name: str) -> bool:
        return os.path.lexists(self.path(name))

    def remove(self, name: str) -> None:
        path = self.path(name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def rename(self, old: str, new: str) -> None:
        os.rename(self.path(old), self.path(new))

    def touch(self, name: str) -> None:
        os.utime(self.path(name))

    def write_older(self, name: str, content: str) -> None:
        """New content with a time far before the present one: a restored backup."""
        path = self.write(name, content)
        os.utime(path, (946684800, 946684800))

    def write_behind_the_stamp(self, name: str, content: str) -> None:
        """New content of the same size, with size and mtime as they were."""
        path = self.path(name)
        before = os.stat(path)
        data = content.encode()
        assert len(data) == before.st_size, "the new content must be as long as the old one"
        with open(path, "r+b") as sink:
            sink.write(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def tree(self, under: str = "") -> dict[str, bytes]:
        """Content of all files below a folder, by name; hidden state left out."""
        found = {}
        top = self.path(under)
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if name != ".duct"]
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as source:
                    found[os.path.relpath(path, self.root)] = source.read()
        return found

    def state(self) -> dict[str, tuple[int, int, int, int]]:
        """Name, size, mtime, inode of everything below the root, the state folder included: equal before and after what has no effect."""
        found = {}
        for folder, folders, names in os.walk(self.root):
            for name in [*names, *folders, "."]:
                path = os.path.join(folder, name)
                stat = os.lstat(path)
                found[os.path.relpath(path, self.root)] = (stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_mode)
        return found

    # what ran

    def ran(self) -> list[str]:
        """The jobs that ran since the last call, sorted."""
        try:
            with open(self.runs, "rb") as source:
                data = source.read()
        except FileNotFoundError:
            return []
        os.unlink(self.runs)
        return sorted(decoded(data).split("\0")[:-1])

    def counted(self) -> Counter[str]:
        return Counter(self.ran())

    def started(self, name: str) -> bool:
        """Has a job of this name started since the last call of `ran`?"""
        try:
            with open(self.runs, "rb") as source:
                return name in decoded(source.read()).split("\0")
        except FileNotFoundError:
            return False

    def open_gate(self) -> None:
        """Let the jobs go on that wait for `$GATE`."""
        with open(self.gate, "w"):
            pass

    def close_gate(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.gate)

    # the command

    def start(
        self,
        *args: str,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        without_rights: bool = False,
        stdin: int = subprocess.DEVNULL,
        output: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """The command in the background, in a session of its own; what it says goes to pipes, or to the file `output`."""
        streams: list[Any] = [subprocess.PIPE, subprocess.PIPE]
        if output is not None:
            with open(output, "wb") as file:
                return self._started([*args], cwd, env, without_rights, stdin, [file, file])
        return self._started([*args], cwd, env, without_rights, stdin, streams)

    def _started(
        self,
        args: list[str],
        cwd: str,
        env: Mapping[str, str] | None,
        without_rights: bool,
        stdin: int,
        streams: list[Any],
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*(WITHOUT_RIGHTS if without_rights else []), DUCT, *args],
            cwd=os.path.join(self.root, cwd),
            env={**self.env, **(env or {})},
            stdin=stdin,
            stdout=streams[0],
            stderr=streams[1],
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[bytes], timeout: float = 60.0) -> Result:
        out, err = process.communicate(timeout=timeout)
        return Result((str(process.args),), process.returncode, decoded(out), decoded(err))

    def duct(
        self,
        *args: str,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        without_rights: bool = False,
        answer: str | None = None,
        timeout: float = 60.0,
    ) -> Result:
        """Run the command to its end, whatever the end is; `answer` goes to its standard input."""
        stdin = subprocess.DEVNULL if answer is None else subprocess.PIPE
        process = self.start(*args, cwd=cwd, env=env, without_rights=without_rights, stdin=stdin)
        try:
            out, err = process.communicate(answer.encode() if answer is not None else None, timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill_everything()
            process.wait()
            raise
        return Result(args, process.returncode, decoded(out), decoded(err))

    def build(self, *args: str, **kwargs: Any) -> Result:
        """`duct build`, which must end well."""
        return self.expect(0, "build", *args, **kwargs)

    def expect(self, code: int, *args: str, **kwargs: Any) -> Result:
        """Run the command; it must end with this exit code."""
        result = self.duct(*args, **kwargs)
        assert result.code == code, f"expected exit {code}\n{result}"
        assert "Traceback" not in result.err, str(result)
        return result

    def nothing_to_do(self, *args: str) -> Result:
        """A build that must run no job."""
        result = self.build(*args)
        assert self.ran() == [], str(result)
        return result

    # ends that are not nice

    def processes(self) -> list[int]:
        """All processes that carry this sandbox's `$RUNS` in their environment."""
        mark = f"RUNS={self.runs}".encode()
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as source:
                if mark in source.read().split(b"\0"):
                    found.append(int(name))
        return [pid for pid in found if pid != os.getpid()]

    def kill_everything(self) -> None:
        """As a power cut would: duct first, then every command that it started.

        A process that is just being started shows no environment yet: nothing is left when nothing is found for a while.
        """
        quiet = 0
        while quiet < 3:
            pids = [pid for pid in self.processes() if not _is_zombie(pid)]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            quiet = 0 if pids else quiet + 1
            if not pids:
                time.sleep(0.002)


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as source:
            return source.read().rsplit(b")", 1)[1].split()[0] == b"Z"
    except OSError:
        return True


@contextlib.contextmanager
def mounted(folder: str, size: str) -> Iterator[None]:
    """A small file system of its own at the folder; needs root."""
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def can_lose_rights() -> bool:
    """Can a command be run to which permissions apply?"""
    return (
        not WITHOUT_RIGHTS
        or subprocess.run([*WITHOUT_RIGHTS, "true"], capture_output=True, check=False).returncode == 0
    )


def can_mount() -> bool:
    """Root with the right to mount: not in every container."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        return False
    folder = os.path.join("/tmp", f"duct-mount-{os.getpid()}")
    try:
        with mounted(folder, "64k"):
            return True
    except subprocess.CalledProcessError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(folder)
