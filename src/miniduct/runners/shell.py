"""Runs commands on this machine: a session of its own for each, one thread, and nothing of Python between a command and its output.

The runner sleeps on pidfds (threads that wait where there are none) and reads no pipe, so a command that floods its output or leaves a
process behind that holds it costs nothing. Ending a command means all of it: its group, its session, its descendants. Invariant: every
submitted attempt is answered by exactly one event.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource  # now: os.wait4 imports it when it is first used, and by then there may be no descriptor left
import select
import signal
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from .base import Done, Lost
from .output import Outputs, above_standard
from .processes import Family, end_leftovers, group_alive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .base import Follower, RunnerEvent, Task
    from .output import Output

__all__ = ["LocalRunner", "end_leftovers"]

NOT_FOUND = 127
NOT_STARTED = 126
LOOK = 0.01
"""Seconds between two looks at a family that is asked to end and has lost its leader."""

_DEFAULTS = [
    getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ", "SIGCHLD", "SIGTTOU") if hasattr(signal, name)
]
"""Signals that Python, or whoever started duct, may ignore, and that commands count on."""

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class NotWritableError(Exception):
    """The file that a command's standard output should go to cannot be opened."""


class _Job:
    __slots__ = (
        "deadline",
        "ended",
        "error",
        "family",
        "kill_at",
        "look_at",
        "output",
        "pid",
        "pidfd",
        "raised",
        "started",
        "task",
        "timed_out",
        "usage",
    )

    def __init__(self, task: Task, output: Output, started: float) -> None:
        self.task = task
        self.output = output
        self.started = started
        self.pid = 0
        self.pidfd = -1
        self.deadline: float | None = None if task.timeout is None else started + task.timeout
        self.timed_out = False
        self.family: Family | None = None
        """Set when the job was asked to end."""
        self.kill_at: float | None = None
        self.look_at: float | None = None
        self.error: str | None = None
        """How it failed, where more than an exit code is known."""
        self.raised: tuple[str, ...] = ()
        self.ended: int | None = None
        """The exit code, where the leader has ended and others of its family have not."""
        self.usage = 0


class LocalRunner:
    """The runner of this machine; see `base.Runner`. `logs` is the folder for the output of running jobs, `grace` the seconds after SIGTERM."""

    def __init__(self, logs: str, *, slots: int = 1, grace: float = 5.0) -> None:
        self._slots = slots
        self._grace = grace
        self.follower: Follower | None = None
        self._outputs = Outputs(logs)
        self._jobs: dict[int, _Job] = {}
        self._by_fd: dict[int, _Job] = {}
        self._ready: list[RunnerEvent] = []
        self._alarms = 0
        self._reported: deque[tuple[_Job, tuple[int, int, int] | None]] = deque()
        self._environments: dict[int, tuple[Mapping[str, str] | None, dict[bytes, bytes]]] = {}
        self._programs: dict[tuple[str, bytes], str] = {}
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._epoll = select.epoll() if hasattr(select, "epoll") and hasattr(os, "pidfd_open") else None
        if self._epoll is not None:
            self._epoll.register(self._wake_read, select.EPOLLIN)
        self._children_ignored = _stop_ignoring_children()
        self._closed = False

    # --- the protocol

    @property
    def slots(self) -> int:
        return self._slots

    def submit(self, task: Task) -> None:
        """Start the attempt; see `base.Runner`."""
        started = time.monotonic()
        try:
            output = self._outputs.take(masked=bool(task.mask))
        except OSError as error:
            self._not_started(task, NOT_STARTED, f"its output cannot be written: {error.strerror}")
            return
        job = _Job(task, output, started)
        try:
            job.pid = self._start(task, output)
        except (OSError, ValueError, NotWritableError) as error:
            self._outputs.drop(output)
            self._not_started(task, *_why_not(task, error))
            return
        self._jobs[task.attempt] = job
        if job.deadline is not None:
            self._alarms += 1
        self._watch(job)

    def kill(self, attempt: int, *, hard: bool = False) -> None:
        """Ask the attempt to end, or end it; see `base.Runner`. Nothing happens if it has ended already."""
        job = self._jobs.get(attempt)
        if job is not None:
            self._end(job, hard=hard)

    def events(self, timeout: float | None) -> list[RunnerEvent]:
        """What happened since the last call; see `base.Runner`."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            woken = self._wait(self._seconds(until))
            if self._alarms:
                self._heed_alarms()
            if self._ready or woken or (until is not None and time.monotonic() >= until):
                ready, self._ready = self._ready, []
                return ready

    def wake(self) -> None:
        """Make a waiting `events` return early; from any thread, and from a signal handler."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"w")

    def close(self) -> None:
        """End what still runs, and free what the runner holds."""
        if self._closed:
            return
        self._closed = True
        for job in self._jobs.values():
            self._end(job, hard=True)
        until = time.monotonic() + max(self._grace, 1.0)
        while self._jobs and time.monotonic() < until:
            self.events(min(0.1, until - time.monotonic()))
        for job in list(self._jobs.values()):
            self._forget(job)
            self._outputs.drop(job.output)
        self._end_helpers()
        self._outputs.close()
        if self._epoll is not None:
            self._epoll.close()
        os.close(self._wake_read)
        write, self._wake_write = self._wake_write, -1
        os.close(write)
        if self._children_ignored:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    def _end_helpers(self) -> None:
        """End what the runner holds besides the attempts."""

    def running_log(self, attempt: int) -> str | None:
        """The file that the attempt's output goes to while it runs; None if it has ended, or if its output has to be masked first."""
        job = self._jobs.get(attempt)
        return None if job is None else job.output.path

    # --- starting

    def _start(self, task: Task, output: Output) -> int:
        """The process number of the started command. OSError, ValueError."""
        if task.stdout is None:
            return self._start_writing(task, output, output.fd)
        try:
            sink = above_standard(os.open(os.path.join(task.cwd, task.stdout), _WRITE, 0o666))
        except OSError as error:
            if not os.path.isdir(task.cwd):
                raise
            raise NotWritableError(f"{task.stdout} cannot be written: {error.strerror}") from None
        try:
            return self._start_writing(task, output, sink)
        finally:
            os.close(sink)

    def _start_writing(self, task: Task, output: Output, stdout: int) -> int:
        argv = list(task.argv)
        environment = self._environment(task.env)
        program = self._program(argv[0], environment)
        for attempt in range(6):
            try:
                return self._spawn(program, argv, environment, task.cwd, output, stdout)
            except OSError as error:
                if error.errno == errno.ENOEXEC and program != "/bin/sh" and _is_text(task.cwd, program):
                    # A script without `#!`: shells run it themselves, so a command that needs no shell must do the same.
                    program, argv = "/bin/sh", ["/bin/sh", program, *argv[1:]]
                elif error.errno == errno.ETXTBSY and attempt < 5:
                    # Another command that is just being started may hold a program open that was written a moment ago.
                    time.sleep(0.002 * (1 << attempt))
                elif error.errno == errno.ENOENT and self._programs.pop((argv[0], _path(environment)), ""):
                    program = self._program(argv[0], environment)
                else:
                    raise
        raise OSError(errno.ETXTBSY, os.strerror(errno.ETXTBSY), program)

    @staticmethod
    def _spawn(
        program: str, argv: list[str], environment: dict[bytes, bytes], cwd: str, output: Output, stdout: int
    ) -> int:
        if cwd in (".", ""):
            try:
                return os.posix_spawn(
                    program,
                    argv,
                    environment,
                    file_actions=output.actions_with(stdout),
                    setsid=True,
                    setsigmask=(),
                    setsigdef=_DEFAULTS,
                )
            except NotImplementedError:
                pass
        import subprocess

        process = subprocess.Popen(
            argv,
            executable=program,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=output.fd,
            start_new_session=True,
            close_fds=False,
        )
        # The runner waits for the process itself: the object must not do so when it is collected.
        process.returncode = 0
        return process.pid

    def _environment(self, env: Mapping[str, str] | None) -> dict[bytes, bytes]:
        """The environment in bytes. Encoding it costs as much as a quarter of a start; the same mapping is taken to have the same content."""
        found = self._environments.get(id(env))
        if found is not None and found[0] is env:
            return found[1]
        encoded = dict(os.environb) if env is None else {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
        if len(self._environments) >= 256:
            self._environments.clear()
        self._environments[id(env)] = (env, encoded)
        return encoded

    def _program(self, word: str, environment: dict[bytes, bytes]) -> str:
        """The file that a command's first word names, as a shell finds it. OSError where there is none."""
        if "/" in word:
            return word
        path = _path(environment)
        found = self._programs.get((word, path))
        if found is None:
            found = self._programs[word, path] = _search(word, path)
        return found

    def _not_started(self, task: Task, code: int, why: str) -> None:
        try:
            output = os.stat(task.log).st_size if task.append else 0
        except OSError:
            output = 0
        self._ready.append(Done(task.attempt, code, 0.0, output, error=why))

    # --- waiting

    def _watch(self, job: _Job) -> None:
        """Hear of the process's end: by a pidfd, or else by a thread that waits for it."""
        if self._epoll is not None:
            try:
                job.pidfd = os.pidfd_open(job.pid)
                self._epoll.register(job.pidfd, select.EPOLLIN)
            except OSError:
                if job.pidfd >= 0:
                    os.close(job.pidfd)
                    job.pidfd = -1
            else:
                self._by_fd[job.pidfd] = job
                return
        threading.Thread(target=self._wait_for, args=(job,), daemon=True).start()

    def _wait_for(self, job: _Job) -> None:
        status = None
        with contextlib.suppress(ChildProcessError):
            pid, code, usage = os.wait4(job.pid, 0)
            status = (pid, code, usage.ru_maxrss)
        self._reported.append((job, status))
        self.wake()

    def _seconds(self, until: float | None) -> float | None:
        """How long to wait at most, with the alarms of the jobs in mind."""
        if self._ready:
            return 0.0
        if self._alarms:
            for job in self._jobs.values():
                for alarm in (job.deadline, job.kill_at, job.look_at):
                    if alarm is not None and (until is None or alarm < until):
                        until = alarm
        return None if until is None else max(until - time.monotonic(), 0.0)

    def _wait(self, seconds: float | None) -> bool:
        """Wait, and note what ended; True if somebody called `wake`."""
        woken = False
        for fd in self._polled(seconds):
            job = self._by_fd.get(fd)
            if job is not None:
                self._reap(job)
            elif fd == self._wake_read:
                woken = self._drain()
            else:
                self._heard(fd)
        while self._reported:
            job, status = self._reported.popleft()
            if self._jobs.get(job.task.attempt) is job:
                self._leader_ended(job, status)
        return woken

    def _heard(self, fd: int) -> None:
        """Something else that is waited for can be read: for a runner that waits for more than processes."""

    def _polled(self, seconds: float | None) -> list[int]:
        """What is ready to be read after at most so many seconds (None: for ever)."""
        if self._epoll is not None:
            return [fd for fd, _ in self._epoll.poll(-1 if seconds is None else seconds)]
        return select.select([self._wake_read], [], [], seconds)[0]

    def _drain(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._wake_read, 4096)) == 4096:
                pass
        return True

    def _reap(self, job: _Job) -> None:
        try:
            pid, status, usage = os.wait4(job.pid, os.WNOHANG)
        except ChildProcessError:
            self._leader_ended(job, None)
            return
        if pid:
            self._leader_ended(job, (pid, status, usage.ru_maxrss))

    def _leader_ended(self, job: _Job, status: tuple[int, int, int] | None) -> None:
        self._unwatch(job)
        if status is None:
            self._forget(job)
            self._outputs.drop(job.output)
            why = "the system did not say how it ended: somebody else waited for the process"
            self._ready.append(Lost(job.task.attempt, why))
            return
        job.ended = os.waitstatus_to_exitcode(status[1])
        job.usage = status[2] * _RSS_UNIT
        if job.family is not None and job.family.living():
            job.look_at = time.monotonic() + LOOK
            return
        self._done(job)

    def _done(self, job: _Job, *, alone: bool = False) -> None:
        """The attempt is over. `alone`: there is nothing left of it, though its process lives."""
        task = job.task
        seconds = time.monotonic() - job.started
        self._forget(job)
        error = job.error
        size = 0
        try:
            busy = not alone and group_alive(job.pid)
            size = self._outputs.finish(job.output, task.log, append=task.append, mask=task.mask, busy=busy)
        except OSError as problem:
            error = f"its log cannot be written: {problem.strerror}: {task.log}"
        code = job.ended if job.ended is not None else -signal.SIGKILL
        self._ready.append(
            Done(
                task.attempt,
                code,
                seconds,
                size,
                timed_out=job.timed_out,
                error=error,
                max_rss=_own(job.usage),
                raised=job.raised,
            )
        )

    def _unwatch(self, job: _Job) -> None:
        if job.pidfd >= 0:
            del self._by_fd[job.pidfd]
            # Closing is not enough: a command that was just started goes on before its copy of our files is closed, and as long as there is a copy,
            # epoll reports the dead process under a number that the next pidfd has by then. On a busy machine that cost 33 turns a job.
            if self._epoll is not None:
                self._epoll.unregister(job.pidfd)
            os.close(job.pidfd)
            job.pidfd = -1

    def _forget(self, job: _Job) -> None:
        self._unwatch(job)
        del self._jobs[job.task.attempt]
        if job.deadline is not None:
            self._alarms -= 1
        if job.family is not None:
            self._alarms -= 1

    # --- ending

    def _end(self, job: _Job, *, hard: bool) -> None:
        now = time.monotonic()
        if job.family is None:
            job.family = Family(job.pid)
            self._alarms += 1
            if not hard:
                job.kill_at = now + self._grace
                job.family.signal(signal.SIGTERM)
                # A stopped process hears SIGTERM only when it goes on.
                job.family.signal(signal.SIGCONT)
        if hard:
            job.kill_at = None
            job.family.signal(signal.SIGKILL)

    def _heed_alarms(self) -> None:
        now = time.monotonic()
        for job in list(self._jobs.values()):
            if job.deadline is not None and now >= job.deadline:
                self._alarms -= 1
                job.deadline = None
                if job.family is None:
                    job.timed_out = True
                    self._end(job, hard=False)
            if job.kill_at is not None and now >= job.kill_at:
                self._end(job, hard=True)
            if job.look_at is not None and now >= job.look_at and job.family is not None:
                if job.kill_at is not None and job.family.living():
                    job.look_at = now + LOOK
                else:
                    self._done(job)


def _stop_ignoring_children() -> bool:
    """A parent may have left SIGCHLD ignored: then the system forgets how a child ended. True if that was so and is changed."""
    if (
        signal.getsignal(signal.SIGCHLD) is not signal.SIG_IGN
        or threading.current_thread() is not threading.main_thread()
    ):
        return False
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return True


def _path(environment: dict[bytes, bytes]) -> bytes:
    return environment.get(b"PATH", os.fsencode(os.defpath))


def _search(word: str, path: bytes) -> str:
    found_but = None
    for folder in os.fsdecode(path).split(os.pathsep):
        place = os.path.join(folder or ".", word)
        if os.path.isfile(place):
            if os.access(place, os.X_OK):
                return place
            found_but = found_but or place
    if found_but and word:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), found_but)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), word)


def _is_text(cwd: str, program: str) -> bool:
    try:
        with open(os.path.join(cwd or ".", program), "rb") as file:
            return b"\0" not in file.read(128)
    except OSError:
        return False


def _why_not(task: Task, error: OSError | ValueError | NotWritableError) -> tuple[int, str]:
    """The exit code and the words for a command that could not be started."""
    if isinstance(error, NotWritableError):
        return 1, str(error)
    if not isinstance(error, OSError):
        return NOT_STARTED, f"the command cannot be started: {error}"
    word = task.argv[0]
    cwd = task.cwd or "."
    if not os.path.isdir(cwd):
        return NOT_FOUND, f'the folder "{cwd}" that the command should run in does not exist'
    if error.errno == errno.ENOENT:
        if "/" in word and os.path.exists(os.path.join(cwd, word)):
            return NOT_FOUND, f'"{word}" cannot be started: the program named in its first line does not exist'
        return NOT_FOUND, f'the command "{word}" is not found'
    if error.errno == errno.EACCES:
        return NOT_STARTED, f'"{word}" is not executable'
    if error.errno == errno.E2BIG:
        return NOT_STARTED, "the command is too long for the system; give the names in a file: {manifest}"
    return NOT_STARTED, f'"{word}" cannot be started: {error.strerror}'


def _own(usage: int) -> int:
    """Peak memory of a command; 0 where it is not more than duct's own, which a process counts as its own until it is another program."""
    return usage if usage > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT else 0
