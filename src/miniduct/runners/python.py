"""Runs Python functions in warm processes, beside the commands: the start of an interpreter is paid once, not for each job.

A worker is a process of its own session, started by need, that works on one job at a time and is ended like a command, with all that descends
from it. Workers are kept apart by folder of modules and environment, ended after any failure or many jobs, and die with duct: the system kills
their process group when the other end of their lifeline is closed. Invariant: whatever a function does, it is the end of its own job only.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from ..text import escaped
from .output import above_standard
from .processes import group_alive
from .shell import NOT_FOUND, NOT_STARTED, LocalRunner, _Job

if TYPE_CHECKING:
    from .base import Invocation, Task
    from .output import Output

MOST_JOBS = 1000
"""Jobs after which a worker is replaced, for what they may have left in its memory."""
WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")
INLINE = 32_768
"""Bytes of a request that fit into any socket's buffer; a longer one is handed over as a file, so that duct never waits for a worker."""
LAST_WORDS = 1.0
"""Seconds that idle workers have for their end, once they are asked to."""
TURN = 0.02
ATTEMPT = b"DUCT_ATTEMPT"
"""The variable that differs between attempts of one job: no reason for another worker."""

Status = tuple[int, int, int]


class _Worker:
    __slots__ = ("buffer", "environment", "job", "jobs", "lifeline", "pid", "pidfd", "root", "socket")

    def __init__(self, environment: dict[bytes, bytes], root: str, line: socket.socket, lifeline: int) -> None:
        self.environment = environment
        self.root = root
        self.socket = line
        self.lifeline = lifeline
        self.pid = 0
        self.pidfd = -1
        self.job: _Job | None = None
        self.jobs = 0
        self.buffer = b""


class PythonRunner(LocalRunner):
    """A local runner that calls functions too; see `base.Runner`."""

    def __init__(self, logs: str, *, slots: int = 1, grace: float = 5.0) -> None:
        super().__init__(logs, slots=slots, grace=grace)
        self._idle: list[_Worker] = []
        self._workers: dict[int, _Worker] = {}
        """Each worker twice: by its socket and, where there is one, its pidfd."""
        self._alive: set[_Worker] = set()
        self._ended: deque[tuple[_Worker, Status | None]] = deque()
        """Those whose end a thread has seen, where there are no pidfds."""

    def submit(self, task: Task) -> None:
        """Start the attempt; see `base.Runner`."""
        if task.call is None:
            super().submit(task)
            return
        if not os.path.isdir(task.cwd or "."):
            self._not_started(
                task, NOT_FOUND, f'the folder "{task.cwd}" that the function should run in does not exist'
            )
            return
        started = time.monotonic()
        try:
            output = self._outputs.take(masked=bool(task.mask))
        except OSError as error:
            self._not_started(task, NOT_STARTED, f"its output cannot be written: {error.strerror}")
            return
        job = _Job(task, output, started)
        try:
            worker = self._hand_over(task, task.call, output)
        except (OSError, ValueError) as error:
            self._outputs.drop(output)
            why = error.strerror if isinstance(error, OSError) else str(error)
            self._not_started(task, NOT_STARTED, f"no Python process can be started for it: {why}")
            return
        job.pid = worker.pid
        worker.job = job
        worker.jobs += 1
        self._jobs[task.attempt] = job
        if job.deadline is not None:
            self._alarms += 1

    # --- workers

    def _hand_over(self, task: Task, call: Invocation, output: Output) -> _Worker:
        """The worker that has the request now. OSError, ValueError."""
        environment = self._environment(task.env)
        variables = {}
        if ATTEMPT in environment:
            variables = {ATTEMPT: environment[ATTEMPT]}
            environment = {name: value for name, value in environment.items() if name != ATTEMPT}
        request = _packed(call, task.cwd or ".", variables)
        while True:
            worker = self._fitting(environment, call.root)
            if worker is None:
                break
            try:
                _send(worker.socket, request, output.fd)
            except OSError:
                self._dismiss(worker)  # it died while it had nothing to do
            else:
                return worker
        worker = self._start_worker(environment, call.root, output)
        _send(worker.socket, request, output.fd)
        return worker

    def _fitting(self, environment: dict[bytes, bytes], root: str) -> _Worker | None:
        """An idle worker for this folder and environment, taken from the idle ones; the one that was idle for the shortest time."""
        for at in range(len(self._idle) - 1, -1, -1):
            worker = self._idle[at]
            if worker.root == root and (worker.environment is environment or worker.environment == environment):
                return self._idle.pop(at)
        if len(self._idle) >= 2 * self._slots:
            self._dismiss(self._idle.pop(0))
        return None

    def _start_worker(self, environment: dict[bytes, bytes], root: str, output: Output) -> _Worker:
        ours, theirs = (socket.socket(fileno=above_standard(each.detach())) for each in socket.socketpair())
        lifeline, held = map(above_standard, os.pipe())
        worker = _Worker(environment, root, ours, held)
        try:
            process = subprocess.Popen(
                [sys.executable, WORKER, str(theirs.fileno()), str(lifeline), os.path.abspath(root), os.getcwd()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output.fd,
                stderr=output.fd,
                pass_fds=(theirs.fileno(), lifeline),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            os.close(held)
            raise
        finally:
            theirs.close()
            os.close(lifeline)
        # The runner waits for the process itself: the object must not do so when it is collected.
        process.returncode = 0
        worker.pid = process.pid
        ours.setblocking(False)
        self._workers[ours.fileno()] = worker
        self._alive.add(worker)
        self._watch_worker(worker)
        return worker

    def _watch_worker(self, worker: _Worker) -> None:
        if self._epoll is not None:
            self._epoll.register(worker.socket, select.EPOLLIN)
            try:
                worker.pidfd = os.pidfd_open(worker.pid)
            except OSError:
                pass
            else:
                self._workers[worker.pidfd] = worker
                self._epoll.register(worker.pidfd, select.EPOLLIN)
                return
        threading.Thread(target=self._wait_for_worker, args=(worker,), daemon=True).start()

    def _wait_for_worker(self, worker: _Worker) -> None:
        status = None
        with contextlib.suppress(ChildProcessError):
            pid, code, usage = os.wait4(worker.pid, 0)
            status = (pid, code, usage.ru_maxrss)
        self._ended.append((worker, status))
        self.wake()

    def _dismiss(self, worker: _Worker) -> None:
        """Tell the worker that there is nothing more to do: it ends as any Python does."""
        self._stop_listening(worker)
        with contextlib.suppress(OSError):
            worker.socket.shutdown(socket.SHUT_WR)

    def _stop_listening(self, worker: _Worker) -> None:
        fd = worker.socket.fileno()
        if self._workers.pop(fd, None) is not None and self._epoll is not None:
            self._epoll.unregister(fd)

    def _forget_worker(self, worker: _Worker) -> None:
        """The process is gone."""
        self._alive.discard(worker)
        self._stop_listening(worker)
        worker.socket.close()
        if worker.pidfd >= 0:
            del self._workers[worker.pidfd]
            assert self._epoll is not None
            self._epoll.unregister(worker.pidfd)
            os.close(worker.pidfd)
        os.close(worker.lifeline)
        if worker in self._idle:
            self._idle.remove(worker)

    # --- what they say

    def _polled(self, seconds: float | None) -> list[int]:
        if self._epoll is not None:
            found = super()._polled(seconds)
        else:
            found = select.select([self._wake_read, *self._workers], [], [], seconds)[0]
        while self._ended:
            self._worker_ended(*self._ended.popleft())
        return found

    def _heard(self, fd: int) -> None:
        worker = self._workers.get(fd)
        if worker is None:
            return
        if fd != worker.pidfd:
            self._listen(worker)
            return
        try:
            pid, status, usage = os.wait4(worker.pid, os.WNOHANG)
        except ChildProcessError:
            self._worker_ended(worker, None)
            return
        if pid:
            self._worker_ended(worker, (pid, status, usage.ru_maxrss))

    def _worker_ended(self, worker: _Worker, status: Status | None) -> None:
        self._listen(worker)
        self._forget_worker(worker)
        job, worker.job = worker.job, None
        if job is not None:
            self._leader_ended(job, status)

    def _listen(self, worker: _Worker) -> None:
        """Read what the worker says; an answer ends its job."""
        if worker.socket.fileno() not in self._workers:
            return
        try:
            data = worker.socket.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # It ends, or its function has closed the connection: then its end will tell.
            self._stop_listening(worker)
            return
        worker.buffer += data
        size = int.from_bytes(worker.buffer[:4], "big")
        if len(worker.buffer) < 4 + size:
            return
        said, worker.buffer = worker.buffer[4 : 4 + size], worker.buffer[4 + size :]
        try:
            code, error, raised, over = marshal.loads(said)
        except (ValueError, TypeError, EOFError):
            code, error, raised, over = 1, "spoke to duct itself, through a file that is not its own", (), True
            group_alive(worker.pid, signal.SIGKILL)
        self._answered(worker, int(code), error, tuple(raised), bool(over))

    def _answered(self, worker: _Worker, code: int, error: str | None, raised: tuple[str, ...], over: bool) -> None:
        job = worker.job
        if job is None:
            self._dismiss(worker)
            return
        lines = [] if error is None else _masked(error, job.task.mask).split("\n")
        job.error = "\n".join(map(escaped, lines)) or None
        job.raised = raised
        if over or job.family is not None:
            # The end of its process will be the end of the job: it left something behind, or was asked to end.
            self._dismiss(worker)
            return
        worker.job = None
        job.ended = code
        self._done(job, alone=True)
        if code == 0 and worker.jobs < MOST_JOBS:
            self._idle.append(worker)
        else:
            self._dismiss(worker)

    # --- the end

    def _end_helpers(self) -> None:
        """Ask all workers to end, and kill those that do not."""
        while self._idle:
            self._dismiss(self._idle.pop())
        self._await_workers()
        for worker in self._alive:
            group_alive(worker.pid, signal.SIGKILL)
        self._await_workers()
        for worker in list(self._alive):
            self._forget_worker(worker)

    def _await_workers(self) -> None:
        until = time.monotonic() + LAST_WORDS
        while self._alive and time.monotonic() < until:
            self._wait(TURN)


def _packed(call: Invocation, cwd: str, variables: dict[bytes, bytes]) -> bytes:
    """A request as bytes: what Python itself writes quickly, but for dates and the like."""
    about = (call.ask, cwd, variables)
    try:
        return marshal.dumps((call.module, call.function, dict(call.arguments), None, *about))
    except ValueError:
        import pickle

        return marshal.dumps((call.module, call.function, None, pickle.dumps(dict(call.arguments)), *about))


def _send(line: socket.socket, request: bytes, output: int) -> None:
    """One request, with the file for the output. OSError."""
    flags = getattr(socket, "MSG_NOSIGNAL", 0)
    if len(request) <= INLINE:
        socket.send_fds(line, [len(request).to_bytes(4, "big") + request], [output], flags)
        return
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(request)
        file.seek(0)
        socket.send_fds(line, [bytes(4)], [output, file.fileno()], flags)


def _masked(text: str, mask: tuple[bytes, ...]) -> str:
    for secret in sorted(mask, key=len, reverse=True):
        text = text.replace(os.fsdecode(secret), "***")
    return text
