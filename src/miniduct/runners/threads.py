"""Calls Python objects on threads of this process, beside commands and workers.

What a thread prints goes to its job's log. A thread cannot be killed: it is asked to end by an exception, and given up where it does not heed it.
The current folder is the whole process's, and the engine stands in it: a thread that changes it while it works on a job gets an error instead.
Invariant: an attempt that was given up changes nothing any more: its output is cut off, and what it makes lies in a folder of its own until its end.
Where it has none, for it was to be given up only by Ctrl-C, no other attempt of its job is started while it lives.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import queue
import shutil
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DuctError
from ..text import escaped
from .base import Done
from .output import above_standard
from .python import PythonRunner
from .shell import NOT_STARTED
from .worker import class_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from ..model import Work
    from .base import RunnerEvent, Task
    from .output import Output

Answer = TypeVar("Answer")

LONGEST_ERROR = 500
ENCODING, ERRORS = "utf-8", "backslashreplace"
"""How what is printed becomes the log."""
ASKED, GIVEN_UP = -15, -9
"""Exit codes of attempts that ended because they were asked to, and that did not."""
Judged = tuple[int, "str | None", tuple[str, ...]]
"""How a call ended: the exit code, the words for it, the names of what it raised."""
GOOD: Judged = (0, None, ())
STOPPED: Judged = (ASKED, None, ())
HERE = threading.local()
"""`attempt`: what this thread works on."""
_LINGERING: set[str] = set()
"""Absolute paths that threads of this process may yet write to, though they were given up."""


def _attempt() -> _Attempt | None:
    """What this thread works on."""
    return getattr(HERE, "attempt", None)


class _Stopped(BaseException):
    """Raised in a thread that is asked to end its job."""


class _Attempt:
    __slots__ = (
        "asked",
        "calling",
        "deadline",
        "folders",
        "give_up_at",
        "left",
        "lingering",
        "lock",
        "made",
        "moves",
        "output",
        "over",
        "process",
        "shared",
        "started",
        "task",
        "thread",
    )

    def __init__(self, task: Task, output: Output) -> None:
        self.task = task
        self.output = output
        self.process = os.getpid()
        self.started = time.monotonic()
        self.deadline = None if task.timeout is None else self.started + task.timeout
        self.give_up_at: float | None = None
        self.asked = False
        self.calling = False
        """Is its thread between `begin` and `settle`, where an exception may be raised in it?"""
        self.over = False
        self.lock = threading.Lock()
        self.thread: _Thread | None = None
        self.made: Mapping[str, bytes] = {}
        self.moves: list[tuple[str, str]] = []
        """Where the targets are written, and where they belong; only where the attempt may be given up in its midst."""
        self.folders: list[tuple[str, str]] = []
        """The folders that this is in, and those that their content belongs into."""
        self.lingering: set[str] = set()
        """What it may yet write to, once it was given up."""
        self.shared = False
        """Was the file of its output given away, so that others may write to it?"""
        self.left = False
        """Has the thread done with it?"""

    def write(self, data: bytes | memoryview) -> None:
        with self._locked():
            if not self.over:
                while data:
                    data = data[os.write(self.output.fd, data) :]

    def number(self) -> int:
        """That of a file that leads to its output, until it is over."""
        with self._locked():
            if self.over or self.thread is None:
                raise ValueError("I/O operation on closed file")
            self.shared = True
            return self.thread.number.lead_to(self.output.fd)

    def cut(self) -> None:
        """It is over: its output is cut off."""
        with self.lock:
            self.over = True
            if self.shared and self.thread is not None:
                self.thread.number.cut(self.output.fd)

    def _locked(self) -> contextlib.AbstractContextManager[Any]:
        """In a forked process the lock may be held by a thread that is not there."""
        return self.lock if os.getpid() == self.process else contextlib.nullcontext()

    def begin(self) -> bool:
        """Called by its thread before the call; False where it was asked to end before."""
        with self.lock:
            self.calling = not self.asked
            return self.calling

    def ask(self) -> None:
        """Raise an exception in its thread, as soon as that runs Python code again; nothing where the call has ended, or has yet to begin."""
        with self.lock:
            if self.over or self.asked:
                return
            self.asked = True
            if self.calling and self.thread is not None:
                _raise_in(self.thread, _Stopped)

    def settle(self) -> None:
        """Called by its thread after the call: when this has returned, no exception is on its way to the thread any more."""
        with self.lock:
            self.calling = False
            if self.asked and self.thread is not None:
                _raise_in(self.thread, None)

    def linger(self) -> None:
        """It is given up."""
        with self.lock:
            if not (self.left or self.moves):
                self.lingering = _places(self.task)
                _LINGERING.update(self.lingering)

    def leave(self) -> None:
        """Called by the thread that has done with it."""
        with self.lock:
            self.left = True
            _LINGERING.difference_update(self.lingering)


def _raise_in(thread: threading.Thread, kind: type[BaseException] | None) -> None:
    """None: what was to be raised there, and was not yet, is forgotten."""
    asked = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), asked)


_guarded = False


def _guard() -> None:
    """Keep the current folder from now on. A hook cannot be taken away again; outside of jobs it lets everything pass."""
    global _guarded
    if not _guarded:
        _guarded = True
        sys.addaudithook(_refuse_to_move)


def _refuse_to_move(event: str, args: tuple[Any, ...]) -> None:  # noqa: ARG001
    """Called by Python for whatever it audits, each file that is opened too: 0.5 µs where it is nothing of ours."""
    if event != "os.chdir":  # fchdir's as well
        return
    attempt = _attempt()
    if attempt is None or attempt.process != os.getpid():  # a process that was forked off has a folder of its own
        return
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__") == "contextlib" and frame.f_back is not None:
        frame = frame.f_back
    raise DuctError(
        "it changes the current folder, which is the same for all steps",
        facts=[f"in {frame.f_code.co_filename}:{frame.f_lineno}"],
        hint='use absolute paths, ShellStep(…, cwd=…), or PipelineBuilder(…, workers="processes")',
    )


class _Number:
    """A file's number that the calls on one thread are given for their output.

    A call may keep it, or have it kept (`faulthandler.enable`): it stays what it is, and leads nowhere but while a call uses it.
    """

    def __init__(self) -> None:
        self._fd = -1

    def lead_to(self, fd: int) -> int:
        """The number, which leads to the same file as `fd` from now on. OSError."""
        if not self._is(fd):
            if self._leads_nowhere():
                os.dup2(fd, self._fd, inheritable=False)
            else:
                self._fd = above_standard(os.dup(fd))
        return self._fd

    def cut(self, fd: int) -> None:
        """It led to the same file as `fd`. If it does so no more, a call has closed it, and it may be anybody's by now."""
        with contextlib.suppress(OSError):
            if self._is(fd):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._fd, inheritable=False)
                os.close(nowhere)
                return
        self._fd = -1

    def close(self) -> None:
        if self._leads_nowhere():
            os.close(self._fd)
        self._fd = -1

    def _is(self, fd: int) -> bool:
        try:
            return self._fd >= 0 and os.path.sameopenfile(self._fd, fd)
        except OSError:
            return False

    def _leads_nowhere(self) -> bool:
        try:
            return self._fd >= 0 and os.path.samestat(os.fstat(self._fd), os.stat(os.devnull))
        except OSError:
            return False


class _Thread(threading.Thread):
    """Works on one attempt after another, until it is given None. Between two of them no exception can come to it from outside."""

    def __init__(self, runner: ThreadRunner) -> None:
        super().__init__(daemon=True, name="miniduct")
        self.queue: queue.SimpleQueue[_Attempt | None] = queue.SimpleQueue()
        self.number = _Number()
        self._runner = runner

    def run(self) -> None:
        while (attempt := self.queue.get()) is not None:
            try:
                self._work(attempt)
            finally:
                attempt.leave()
        self.number.close()

    def _work(self, attempt: _Attempt) -> None:
        error: BaseException | None = None
        judged = STOPPED
        try:
            if attempt.begin():
                error = self._call(attempt)
                judged = _judged(error, attempt)
            _end_child(attempt, error, judged)
            attempt.settle()
        except BaseException as late:
            # It was asked to end when the call had yet to begin, or was just over. That happens once at most.
            judged = _judged(late, attempt)
            _end_child(attempt, late, judged)
            attempt.settle()
        HERE.attempt = None
        problem: OSError | None = None
        with attempt.lock:
            over = attempt.over
            if not over and judged[0] == 0:
                try:
                    for folder, place in attempt.folders:
                        _merge(folder, place)
                except OSError as found:
                    problem = found
        for folder, _ in attempt.folders:
            shutil.rmtree(folder, ignore_errors=True)
        if not over:
            self._runner.ended(attempt, judged if problem is None else _judged(problem, attempt))

    @staticmethod
    def _call(attempt: _Attempt) -> BaseException | None:
        """What the call raised."""
        HERE.attempt = attempt
        try:
            task = attempt.task
            assert task.body is not None
            assert task.work is not None
            made = task.body(_apart(attempt, task.work) if attempt.deadline is not None else task.work) or {}
            paths = dict(attempt.moves)
            attempt.made = {paths.get(place, place): fingerprint for place, fingerprint in made.items()}
        except BaseException as raised:  # whatever it is ends here: it is told to the loop
            return raised
        return None


def _end_child(attempt: _Attempt, error: BaseException | None, judged: Judged) -> None:
    """End this process where it is one that the call forked, and that came back from it: the engine goes on in the other one.

    The streams of the process itself are not flushed: what they hold back is a copy of what the other one will write.
    """
    if os.getpid() == attempt.process:
        return
    code = 1
    try:
        code = judged[0] & 0xFF
        if isinstance(error, SystemExit) and isinstance(error.code, int):
            code = error.code & 0xFF
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # the call may have put others there
    finally:
        os._exit(code)


def _apart(attempt: _Attempt, work: Work) -> Work:
    """The work with targets in folders of this attempt only, where they lie to each other as before: one may be in the folder of another."""
    tops = _tops({_parent(path) for paths in work.targets for path in paths})
    for number, top in enumerate(tops):
        attempt.folders.append((f"{top}/.attempt-{attempt.task.attempt}-{number}", top))
    targets = []
    for paths in work.targets:
        places = []
        for path in paths:
            folder, top = next(each for each in attempt.folders if _is_in(_parent(path), each[1]))
            place = f"{folder}/{path if top == '.' else path[len(top) + 1 :]}"
            os.makedirs(place if os.path.isdir(path) else _parent(place), exist_ok=True)
            attempt.moves.append((place, path))
            places.append(place)
        targets.append(places)
    return work._replace(targets=targets)


def _parent(path: str) -> str:
    return os.path.dirname(path.rstrip("/")) or "."


def _is_in(folder: str, top: str) -> bool:
    return folder == top or folder.startswith(f"{top}/") or (top == "." and not folder.startswith(("/", "..")))


def _tops(folders: set[str]) -> list[str]:
    """Those that are in no other one."""
    tops: list[str] = []
    for folder in sorted(folders, key=lambda each: (each != ".", len(each))):
        if not any(_is_in(folder, top) for top in tops):
            tops.append(folder)
    return tops


def _merge(source: str, into: str) -> None:
    """Move what is in the one folder into the other. A folder that both have is not replaced: others may use it. OSError."""
    for name in os.listdir(source):
        here, there = f"{source}/{name}", f"{into}/{name}"
        if all(os.path.isdir(each) and not os.path.islink(each) for each in (here, there)):
            _merge(here, there)
        else:
            os.replace(here, there)


def _places(task: Task) -> set[str]:
    """The absolute paths that the call is given for its targets."""
    return {os.path.abspath(path) for paths in (task.work.targets if task.work else ()) for path in paths}


class _Stream(io.TextIOBase):
    """Stands for a standard stream: what a job's thread prints goes to its log, unbuffered. `original` is None where the process has none."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def write(self, text: str) -> int:
        attempt = _attempt()
        if attempt is not None:
            attempt.write(text.encode(ENCODING, ERRORS))
        elif self.original is not None:
            return int(self.original.write(text) or 0)
        return len(text)

    def flush(self) -> None:
        if _attempt() is None and self.original is not None:
            self.original.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return _attempt() is None and self.original is not None and bool(self.original.isatty())

    def fileno(self) -> int:
        attempt = _attempt()
        if attempt is not None:
            return attempt.number()
        return super().fileno() if self.original is None else int(self.original.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return ENCODING if _attempt() is not None else getattr(self.original, "encoding", ENCODING)

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return ERRORS if _attempt() is not None else getattr(self.original, "errors", ERRORS)

    @property
    def buffer(self) -> Any:
        """A new one each time: whoever wraps it closes it at last."""
        return _Bytes(self) if _attempt() is not None else self.original.buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


class _Bytes(io.BufferedIOBase):
    """What stands for a stream, for bytes."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        attempt = _attempt()
        if attempt is None:
            return int(self._stream.original.buffer.write(data))
        view = memoryview(data).cast("B")
        attempt.write(view)
        return len(view)

    def flush(self) -> None:
        self._stream.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()


class ThreadRunner(PythonRunner):
    """A local runner that calls objects of this process too; see `base.Runner`."""

    def __init__(self, logs: str, *, slots: int = 1, grace: float = 5.0) -> None:
        super().__init__(logs, slots=slots, grace=grace)
        self._attempts: dict[int, _Attempt] = {}
        self._spare: list[_Thread] = []
        self._over: queue.SimpleQueue[tuple[_Attempt, Judged] | None] = queue.SimpleQueue()
        """The attempts that ended, with how; None for a call of `wake`."""
        self._polling = False
        """Are processes waited for, which do not speak through that queue?"""
        self._streams = (_Stream(sys.stdout), _Stream(sys.stderr))
        sys.stdout, sys.stderr = self._streams

    def submit(self, task: Task) -> None:
        """Start the attempt; see `base.Runner`."""
        if task.body is None:
            super().submit(task)
            return
        if _LINGERING and not _LINGERING.isdisjoint(_places(task)):
            self._not_started(task, NOT_STARTED, "a call of it that was given up still runs in this process")
            return
        try:
            output = self._outputs.take(masked=bool(task.mask))
        except OSError as error:
            self._not_started(task, NOT_STARTED, f"its output cannot be written: {error.strerror}")
            return
        attempt = self._attempts[task.attempt] = _Attempt(task, output)
        if self._spare:
            thread = self._spare.pop()
        else:
            _guard()
            thread = _Thread(self)
            thread.start()
        attempt.thread = thread
        if attempt.deadline is not None:
            self._alarms += 1
        thread.queue.put(attempt)

    def ended(self, attempt: _Attempt, judged: Judged) -> None:
        """Called by the thread."""
        self._say((attempt, judged))

    def wake(self) -> None:
        """Make a waiting `events` return early; from any thread, and from a signal handler."""
        self._say(None)

    def _say(self, said: tuple[_Attempt, Judged] | None) -> None:
        self._over.put(said)
        if self._polling:
            super().wake()

    def kill(self, attempt: int, *, hard: bool = False) -> None:
        """Ask the attempt to end; give it up at once (`hard`), or after the grace time."""
        found = self._attempts.get(attempt)
        if found is None:
            super().kill(attempt, hard=hard)
            return
        if hard:
            self._give_up(found)
        elif found.give_up_at is None:
            found.ask()
            found.give_up_at = time.monotonic() + self._grace
            self._alarms += 1

    def events(self, timeout: float | None) -> list[RunnerEvent]:
        """What happened since the last call; see `base.Runner`."""
        ready = super().events(timeout)
        while not self._over.empty():
            self._heed(self._over.get())
        ready += self._ready
        self._ready = []
        return ready

    def running_log(self, attempt: int) -> str | None:
        """The file that the attempt's output goes to while it runs."""
        found = self._attempts.get(attempt)
        return found.output.path if found is not None else super().running_log(attempt)

    # --- the ends of attempts

    def _wait(self, seconds: float | None) -> bool:
        """Where no process is waited for, a queue is: a thread that ends then hands over to the loop at once, without the kernel's files."""
        if self._jobs or self._closed:  # closed: the ends of worker processes are waited for
            self._polling = True
            woken = super()._wait(seconds if self._over.empty() else 0.0)
            self._polling = False
            while not self._over.empty():
                self._heed(self._over.get())
                woken = True
            return woken
        try:
            self._heed(self._over.get(timeout=seconds))
        except queue.Empty:
            return False
        return True

    def _heed(self, said: tuple[_Attempt, Judged] | None) -> None:
        if said is None:
            return
        attempt, judged = said
        if not attempt.over and attempt.thread is not None:
            self._spare.append(attempt.thread)
            self._close(attempt, *judged)

    def _give_up(self, attempt: _Attempt, *, timed_out: bool = False) -> None:
        attempt.ask()
        attempt.linger()
        self._close(attempt, GIVEN_UP, None, (), timed_out=timed_out)
        if attempt.thread is not None:
            attempt.thread.queue.put(None)  # it ends after this attempt, whenever that is

    def _close(
        self, attempt: _Attempt, code: int, words: str | None, raised: tuple[str, ...], *, timed_out: bool = False
    ) -> None:
        task = attempt.task
        attempt.cut()
        self._attempts.pop(task.attempt, None)
        self._alarms -= (attempt.deadline is not None) + (attempt.give_up_at is not None)
        try:
            size = self._outputs.finish(
                attempt.output, task.log, append=task.append, mask=task.mask, busy=attempt.shared
            )
        except OSError as error:
            size = 0
            code, words = code or 1, words or f"its output cannot be written: {error.strerror}"
        seconds = time.monotonic() - attempt.started
        for secret in task.mask:
            words = words and words.replace(os.fsdecode(secret), "***")
        made = attempt.made if code == 0 else {}
        self._ready.append(
            Done(task.attempt, code, seconds, size, timed_out=timed_out, error=words, made=made, raised=raised)
        )

    def _seconds(self, until: float | None) -> float | None:
        if self._alarms:
            for attempt in self._attempts.values():
                for alarm in (attempt.deadline, attempt.give_up_at):
                    if alarm is not None and (until is None or alarm < until):
                        until = alarm
        return super()._seconds(until)

    def _heed_alarms(self) -> None:
        super()._heed_alarms()
        now = time.monotonic()
        for attempt in list(self._attempts.values()):
            if attempt.deadline is not None and attempt.deadline <= now:
                self._give_up(attempt, timed_out=True)
            elif attempt.give_up_at is not None and attempt.give_up_at <= now:
                self._give_up(attempt)

    def close(self) -> None:
        """End what still runs, and free what the runner holds."""
        if self._closed:
            return
        for attempt in list(self._attempts.values()):
            self._give_up(attempt)
        for thread in self._spare:
            thread.queue.put(None)
        self._spare.clear()
        if sys.stdout is self._streams[0]:
            sys.stdout = self._streams[0].original
        if sys.stderr is self._streams[1]:
            sys.stderr = self._streams[1].original
        super().close()


def _judged(error: BaseException | None, attempt: _Attempt) -> Judged:
    """Exit code, words and names for what a call raised; its traceback goes to the log.

    Done on the call's thread, for classes of the user's are asked: what they print goes to the log, and what they raise ends here.
    """
    if error is None:
        return GOOD
    kind = type(error)  # not `isinstance`, which asks the object, too
    if kind is _Stopped:
        return STOPPED
    if issubclass(kind, DuctError):
        return 1, _answer(lambda: str(error), "raised DuctError"), ()
    if issubclass(kind, SystemExit) and _answer(lambda: getattr(error, "code", None) in (None, 0), False):
        return GOOD
    name = _answer(lambda: str(kind.__name__), "an exception")
    trace = _inner(_answer(lambda: object.__getattribute__(error, "__traceback__"), None))
    shown = _answer(lambda: traceback.format_exception(kind, error, trace), None)
    with contextlib.suppress(OSError):  # a full disk: the words are told all the same
        attempt.write("".join(shown or [*traceback.format_tb(trace), f"{name}\n"]).encode(ENCODING, ERRORS))
    lines: list[str] = _answer(lambda: str.splitlines(str.strip(str(error))), [])
    told = f"raised {name}{f': {lines[0]}' if lines else ''}"
    return 1, escaped(told[:LONGEST_ERROR]), _answer(lambda: class_names(error), ())


def _answer(question: Callable[[], Answer], otherwise: Answer) -> Answer:
    """What the user's classes have to say, if they do not raise anything."""
    try:
        return question()
    except _Stopped:
        raise
    except BaseException:  # SystemExit, too
        return otherwise


def _inner(trace: TracebackType | None) -> TracebackType | None:
    """Without the frames of this package."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(package + os.sep):
        trace = trace.tb_next
    return trace
