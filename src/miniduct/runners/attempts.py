"""One attempt of a call on a thread: how it is begun, asked to end and given up, where its output and its targets go, how its end is told.

A thread cannot be killed: it is asked to end by an exception, and given up where it does not heed it. Invariant: an attempt that was given up
changes nothing any more: its output is cut off, and what it makes lies in a folder of its own until its end. Where it has none, for it was to be
given up only by Ctrl-C, `LINGERING` has what it may yet write to, and no other attempt of its job is started.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import shutil
import sys
import threading
import time
import traceback
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DuctError
from ..forks import forks
from ..text import escaped
from .output import above_standard
from .worker import class_names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from types import TracebackType

    from ..model import Product, Work
    from .base import Task
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
LINGERING: set[str] = set()
"""Absolute paths that threads of this process may yet write to, though they were given up."""


def attempt_here() -> ThreadAttempt | None:
    """What this thread works on."""
    return getattr(HERE, "attempt", None)


class Stopped(BaseException):
    """Raised in a thread that is asked to end its job."""


class ThreadAttempt:
    """One attempt of a task on a thread. The loop asks and gives up, the thread begins, settles and leaves; `lock` tells who was first."""

    give_up_at: float | None = None
    asked = False
    calling = False
    """Is its thread between `begin` and `settle`, where an exception may be raised in it?"""
    over = False
    made: Mapping[str, Product] = MappingProxyType({})
    moves: Sequence[tuple[str, str]] = ()
    """Where the targets are written, and where they belong; only where the attempt may be given up in its midst."""
    folders: Sequence[tuple[str, str]] = ()
    """The folders that this is in, and those that their content belongs into."""
    lingering: Collection[str] = ()
    """What it may yet write to, once it was given up."""
    shared = False
    """Was the file of its output given away, so that others may write to it?"""
    left = False
    """Has the thread done with it?"""

    def __init__(self, task: Task, output: Output, thread: CallThread) -> None:
        self.task = task
        self.output = output
        self.thread = thread
        self.process = forks()
        self.started = time.monotonic()
        self.deadline = None if task.timeout is None else self.started + task.timeout
        self.lock = threading.Lock()

    def write(self, data: bytes | memoryview) -> None:
        with self._locked():
            if not self.over:
                while data:
                    data = data[os.write(self.output.fd, data) :]

    def number(self) -> int:
        """That of a file that leads to its output, until it is over."""
        with self._locked():
            if self.over:
                raise ValueError("I/O operation on closed file")
            self.shared = True
            return self.thread.number.lead_to(self.output.fd)

    def cut(self) -> None:
        """It is over: its output is cut off."""
        with self.lock:
            self.over = True
            if self.shared:
                self.thread.number.cut(self.output.fd)

    def _locked(self) -> contextlib.AbstractContextManager[Any]:
        """In a forked process the lock may be held by a thread that is not there."""
        return self.lock if forks() == self.process else contextlib.nullcontext()

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
            if self.calling:
                _raise_in(self.thread, Stopped)

    def settle(self) -> None:
        """Called by its thread after the call: when this has returned, no exception is on its way to the thread any more.

        What has no folders has left then.
        """
        with self.lock:
            self.calling = False
            if self.asked:
                _let_arrive(self.thread)
            if not self.folders:
                self._has_left()

    def linger(self) -> None:
        """It is given up."""
        with self.lock:
            if not (self.left or self.moves):
                self.lingering = places_of(self.task)
                LINGERING.update(self.lingering)

    def leave(self) -> None:
        """Called by the thread that has done with it."""
        with self.lock:
            self._has_left()

    def _has_left(self) -> None:
        self.left = True
        if self.lingering:
            LINGERING.difference_update(self.lingering)


def _raise_in(thread: threading.Thread, kind: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(kind))


def _let_arrive(thread: threading.Thread) -> None:
    """Have what is on its way to this thread, the running one, arrive here.

    Nothing is called back: after that, Python 3.11 looks for it for ever, and the first call that is traced or profiled in the process never ends.
    """
    try:
        _raise_in(thread, Stopped)  # in the place of what is on its way, if it still is
        for _ in range(1000):  # it arrives in the first turn
            pass
    except Stopped:
        pass


class Number:
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


class CallThread(threading.Thread):
    """Works on one attempt after another, until it is given None. Between two of them no exception can come to it from outside."""

    def __init__(
        self,
        ended: Callable[[ThreadAttempt, Judged], None],
        go_on: Callable[[ThreadAttempt], ThreadAttempt | None],
    ) -> None:
        super().__init__(daemon=True, name="miniduct")
        self.queue: queue.SimpleQueue[ThreadAttempt | None] = queue.SimpleQueue()
        self.number = Number()
        self._ended = ended
        self._go_on = go_on

    def run(self) -> None:
        while (attempt := self.queue.get()) is not None:
            following: ThreadAttempt | None = attempt
            while following is not None:
                attempt = following
                try:
                    following = self._work(attempt)
                except BaseException:
                    attempt.leave()
                    raise
        self.number.close()

    def _work(self, attempt: ThreadAttempt) -> ThreadAttempt | None:
        """What is to be worked on next, where that is known."""
        error: BaseException | None = None
        judged = STOPPED
        try:
            if attempt.begin():
                error = self._call(attempt)
                judged = GOOD if error is None else _judged(error, attempt)
            _end_child(attempt, error, judged)
            attempt.settle()
        except BaseException as late:
            # It was asked to end when the call had yet to begin, or was just over. That happens once at most.
            judged = _judged(late, attempt)
            _end_child(attempt, late, judged)
            attempt.settle()
        HERE.attempt = None
        if attempt.folders:
            judged = _moved(attempt, judged)
            attempt.leave()
        elif judged is GOOD and not attempt.asked:
            return self._go_on(attempt)
        # Last of all: it wakes the loop, which then waits for the interpreter as long as this thread goes on.
        if not attempt.over:
            self._ended(attempt, judged)
        return None

    @staticmethod
    def _call(attempt: ThreadAttempt) -> BaseException | None:
        """What the call raised."""
        HERE.attempt = attempt
        try:
            task = attempt.task
            assert task.body is not None
            assert task.work is not None
            made = task.body(_apart(attempt, task.work) if attempt.deadline is not None else task.work) or {}
            if attempt.moves:
                paths = dict(attempt.moves)
                made = {paths.get(place, place): product for place, product in made.items()}
            attempt.made = made
        except BaseException as raised:  # whatever it is ends here: it is told to the loop
            return raised
        return None


def _moved(attempt: ThreadAttempt, judged: Judged) -> Judged:
    """Bring what the call made from the attempt's folders to its places, if it ended well and was not given up; how it ended, with that."""
    problem: OSError | None = None
    with attempt.lock:
        if not attempt.over and judged[0] == 0:
            try:
                for folder, place in attempt.folders:
                    _merge(folder, place)
            except OSError as found:
                problem = found
    for folder, _ in attempt.folders:
        shutil.rmtree(folder, ignore_errors=True)
    return judged if problem is None else _judged(problem, attempt)


def _end_child(attempt: ThreadAttempt, error: BaseException | None, judged: Judged) -> None:
    """End this process where it is one that the call forked, and that came back from it: the engine goes on in the other one.

    The streams of the process itself are not flushed: what they hold back is a copy of what the other one will write.
    """
    if forks() == attempt.process:
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


def _apart(attempt: ThreadAttempt, work: Work) -> Work:
    """The work with targets in folders of this attempt only, where they lie to each other as before: one may be in the folder of another."""
    tops = _tops({_parent(path) for paths in work.targets for path in paths})
    folders = [(f"{top}/.attempt-{attempt.task.attempt}-{number}", top) for number, top in enumerate(tops)]
    moves: list[tuple[str, str]] = []
    attempt.folders, attempt.moves = folders, moves
    targets = []
    for paths in work.targets:
        places = []
        for path in paths:
            folder, top = next(each for each in folders if _is_in(_parent(path), each[1]))
            place = f"{folder}/{path if top == '.' else path[len(top) + 1 :]}"
            os.makedirs(place if os.path.isdir(path) else _parent(place), exist_ok=True)
            moves.append((place, path))
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


def places_of(task: Task) -> set[str]:
    """The absolute paths that the call is given for its targets."""
    return {os.path.abspath(path) for paths in (task.work.targets if task.work else ()) for path in paths}


def _judged(error: BaseException | None, attempt: ThreadAttempt) -> Judged:
    """Exit code, words and names for what a call raised; its traceback goes to the log.

    Done on the call's thread, for classes of the user's are asked: what they print goes to the log, and what they raise ends here.
    """
    if error is None:
        return GOOD
    kind = type(error)  # not `isinstance`, which asks the object, too
    if kind is Stopped:
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
    except Stopped:
        raise
    except BaseException:  # SystemExit, too
        return otherwise


def _inner(trace: TracebackType | None) -> TracebackType | None:
    """Without the frames of this package."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(package + os.sep):
        trace = trace.tb_next
    return trace
