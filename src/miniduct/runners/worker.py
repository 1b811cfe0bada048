"""A warm worker: a process that runs Python functions for duct, one at a time, each as if it had the process for itself.

Started as a script, and so outside of the package. It imports only what every Python has loaded at its start or built in, so that no module of a
project is taken for one of its own or the other way round. It reads requests from one file and answers there; the end of that file is its own
end, and when duct dies, the system kills its whole process group. Invariant: what a function leaves behind is undone before the next one; what
cannot be undone (a thread, a child) is left to the end of this process, which then is the end of the job.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import _thread
import gc
import marshal
import os
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, TextIO

HEAD = 4
"""Bytes of a message's length; 0: the message is in a file that comes with it."""
CHUNK = 65_536
LONGEST_ERROR = 300
INTERRUPTED = 130
UNWRITTEN = 120
"""Python's own exit code where the output cannot be written."""
FOREIGN = ("/site-packages/", "/dist-packages/")
LAZY = ("generator", "coroutine", "async_generator")
ENVIRONMENT = "_data"
TIMERS = ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
SIGNALS = [number for number in range(1, 32) if number not in (9, 19)]


# -- modules ---------------------------------------------------------------------------------------------------------------------------


class Fresh(SourceFileLoader):
    """Compiles a module's file as it is now: kept bytecode is told apart by size and whole seconds only, and would be litter in the project."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def search_afresh(root: str, project: str) -> None:
    """Search modules in the folder `root` first, and compile afresh those that belong to the project."""
    if sys.path and sys.path[0] == os.path.dirname(__file__):
        sys.path[0] = root
    else:
        sys.path.insert(0, root)
    hook = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES), (Fresh, SOURCE_SUFFIXES), (SourcelessFileLoader, BYTECODE_SUFFIXES)
    )
    places = [f"{place.rstrip('/')}/" for place in (root, project)]
    foreign = (f"{sys.prefix}/", f"{os.path.dirname(os.__file__)}/")

    def fresh(path: str) -> Any:
        full = f"{path}/"
        if not any(map(full.startswith, places)) or any(map(full.startswith, foreign)):
            raise ImportError
        if any(part in full for part in FOREIGN):
            raise ImportError
        return hook(path)

    sys.path_hooks.insert(0, fresh)
    sys.path_importer_cache.clear()


def _function(module: str, name: str) -> Callable[..., object]:
    if module not in sys.modules:
        __import__(module)
    found: Callable[..., object] = getattr(sys.modules[module], name)
    return found


def _taken(function: Callable[..., object], arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of the arguments that the function takes; all of them where it does not tell."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):
        return arguments
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return arguments
    return {name: value for name, value in arguments.items() if name in parameters}


# -- what a function may change --------------------------------------------------------------------------------------------------------


class Keeper:
    """The state of the process as it was at its start, and the way back to it."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._folder = os.getcwd()
        self._environ = os.environ
        self._variables: dict[bytes, bytes] = dict(getattr(os.environ, ENVIRONMENT))
        self._path = list(sys.path)
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._handlers = [(number, _signal.getsignal(number)) for number in SIGNALS]
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
        self._depth = sys.getrecursionlimit()
        self._threads = _thread._count()
        self._null = os.stat(os.devnull).st_rdev
        self._streams: dict[str, TextIO] = {}
        self._coding = {name: (each.encoding, each.errors) for name in STREAMS if (each := getattr(sys, name))}
        for name in STREAMS:
            self._renew(name)

    def outputs(self) -> tuple[TextIO, ...]:
        """What the function may have written to, whatever it has put in its place."""
        return self._streams["stdout"], self._streams["stderr"]

    def begin(self, folder: str, variables: dict[bytes, bytes], title: str) -> None:
        """Make ready for a function. OSError where its folder is gone."""
        self._set_variables({**self._variables, **variables} if variables else self._variables)
        sys.argv = [title]
        os.chdir(self._folder)
        if folder != ".":
            os.chdir(folder)

    def restore(self) -> None:
        """Undo what a function has changed; its output goes nowhere from now on."""
        os.umask(self._umask)
        for timer in TIMERS:
            _signal.setitimer(getattr(_signal, timer), 0)
        for number, handler in self._handlers:
            if _signal.getsignal(number) is not handler and handler is not None:
                _signal.signal(number, handler)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)
        sys.setrecursionlimit(self._depth)
        sys.path[:] = self._path
        self._restore_streams()
        gc.freeze()

    def _set_variables(self, wanted: dict[bytes, bytes]) -> None:
        os.environ = self._environ  # noqa: B003  (whoever put something else there has not changed the environment)
        present: dict[bytes, bytes] = getattr(os.environ, ENVIRONMENT)
        if present == wanted:
            return
        for name in [name for name in present if name not in wanted]:
            del os.environb[name]
        for name, value in wanted.items():
            if present.get(name) != value:
                os.environb[name] = value

    def _restore_streams(self) -> None:
        for name, number in STREAMS.items():
            stream = self._streams[name]
            foreign = number == 0 and _device(0) != self._null
            if foreign or stream.closed or getattr(stream, "buffer", None) is None:
                self._renew(name)
            else:
                setattr(sys, name, stream)
        _to_nowhere()

    def _renew(self, name: str) -> None:
        number = STREAMS[name]
        encoding, errors = self._coding.get(name, ("utf-8", "backslashreplace"))
        try:
            stream = open(  # noqa: SIM115
                number, "w" if number else "r", 1 if number else -1, encoding=encoding, errors=errors, closefd=False
            )
        except OSError:  # closed by the function
            _to_nowhere()
            stream = open(number, "w" if number else "r", encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
        self._streams[name] = stream
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)

    def leftovers(self) -> bool:
        """Has the function left threads or children behind?"""
        if _thread._count() > self._threads:
            return True
        if not hasattr(os, "waitid"):
            return False
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True


STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}


def _device(number: int) -> int:
    try:
        return os.fstat(number).st_rdev
    except OSError:
        return -1


def _to_nowhere() -> None:
    """The three standard files: nothing to be read, nothing kept of what is written."""
    fd = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        if fd == number:
            os.set_inheritable(fd, True)
        else:
            os.dup2(fd, number)
    if fd > 2:
        os.close(fd)


# -- one job ---------------------------------------------------------------------------------------------------------------------------


def _run(keeper: Keeper, request: tuple[Any, ...]) -> tuple[int, str | None, tuple[str, ...]]:
    """Call the function: the exit code, how it failed in words, the names of what it raised. Whatever it raises ends here."""
    module, name, arguments, pickled, ask, folder, variables = request
    try:
        keeper.begin(folder, variables, f"{module}:{name}")
        if pickled is not None:
            import pickle

            arguments = pickle.loads(pickled)
        function = _function(module, name)
        result = function(**(_taken(function, arguments) if ask else arguments))
        if type(result).__name__ in LAZY:
            raise TypeError(f"{name} is a {type(result).__name__}: what it does was not begun")
    except SystemExit as stop:
        return (*_exit_code(stop), ())
    except KeyboardInterrupt as error:
        _show(error)
        return INTERRUPTED, "raised KeyboardInterrupt", ()
    except BaseException as error:
        if _is_plain(error):
            return 1, str(error), ()
        _show(error)
        return 1, _in_words(error), class_names(error)
    return 0, None, ()


def _exit_code(stop: SystemExit) -> tuple[int, str | None]:
    code = stop.code
    if code is None:
        return 0, None
    if isinstance(code, int):
        return code & 0xFF, None
    _tell(code)
    return 1, None


def _tell(what: object) -> None:
    try:
        print(what, file=sys.stderr)
    except BaseException:  # a text that cannot be made, a file that cannot be written
        return


def _show(error: BaseException) -> None:
    """The traceback, as Python shows it, without what is not the function's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    error.__traceback__ = last = trace
    while last is not None:
        after = last.tb_next
        while after is not None and _is_machinery(after.tb_frame.f_code.co_filename):
            after = after.tb_next
        last.tb_next = after
        last = after
    try:
        sys.__excepthook__(type(error), error, trace)
    except BaseException:
        return


def _is_machinery(file: str) -> bool:
    return file == __file__ or file.startswith("<frozen importlib")


def _is_plain(error: BaseException) -> bool:
    """Is it an error of duct's own, which is told without a traceback?"""
    errors = sys.modules.get("miniduct.errors")
    return errors is not None and isinstance(error, errors.DuctError)


def class_names(error: BaseException) -> tuple[str, ...]:
    """The names of an exception's class and of those that it derives from, each without and with its module."""
    kinds = type(error).__mro__
    return (*(each.__qualname__ for each in kinds), *(f"{each.__module__}.{each.__qualname__}" for each in kinds))


def _in_words(error: BaseException) -> str:
    try:
        lines = str(error).strip().splitlines()
    except BaseException:
        lines = []
    told = f"raised {type(error).__name__}{f': {lines[0]}' if lines else ''}"
    return told if len(told) <= LONGEST_ERROR else f"{told[: LONGEST_ERROR - 1]}…"


def _flushed(streams: tuple[TextIO, ...]) -> bool:
    """Write what is still held back; False where that fails."""
    good = True
    for stream in (sys.stdout, sys.stderr, *streams):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except BaseException:  # whatever stands there: the function may have put it there
            good = False
    return good


# -- requests and answers --------------------------------------------------------------------------------------------------------------


def _die_with(lifeline: int) -> None:
    """See to it that this process group is killed when nobody holds the other end of this pipe any more."""
    try:
        import fcntl

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, _signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    except (ImportError, AttributeError, OSError):
        _thread.start_new_thread(_watch, (lifeline,))


def _watch(lifeline: int) -> None:
    """Where the system cannot send a signal for the end of a pipe: a thread that waits for it."""
    while os.read(lifeline, 1):
        pass
    os.killpg(0, _signal.SIGKILL)


class Line:
    """The connection to duct."""

    def __init__(self, fd: int) -> None:
        self._socket = _socket.socket(fileno=fd)
        self._identity = _identity(fd)

    def receive(self) -> tuple[tuple[Any, ...], int] | None:
        """The next request, and the file that the output goes to; None at the end."""
        data, found, _, _ = self._socket.recvmsg(CHUNK, _socket.CMSG_SPACE(8), getattr(_socket, "MSG_CMSG_CLOEXEC", 0))
        if not data:
            return None
        packed = b"".join([each for _, _, each in found])
        files = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
        while len(data) < HEAD or len(data) < HEAD + int.from_bytes(data[:HEAD], "big"):
            more = self._socket.recv(CHUNK)
            if not more:
                return None
            data += more
        body = data[HEAD:]
        if len(files) > 1:
            with open(files[1], "rb") as file:
                body = file.read()
        return marshal.loads(body), files[0]

    def answer(self, code: int, error: str | None, raised: tuple[str, ...], over: bool) -> bool:
        """Say how the job ended; False where nobody can be told. `over`: this process will end now, and its end is that of the job."""
        data = marshal.dumps((code, error, raised, over))
        if (
            _identity(self._socket.fileno()) != self._identity
        ):  # closed by the function, perhaps with another file in its place
            return False
        try:
            self._socket.sendall(len(data).to_bytes(HEAD, "big") + data)
        except OSError:
            return False
        return True


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _serve(line: Line, keeper: Keeper) -> int:
    """Until there is nothing more to do; the exit code of the last job."""
    code = 0
    while (received := line.receive()) is not None:
        request, output = received
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        code, error, raised = _run(keeper, request)
        gc.collect()  # cheap, as all that was there before is frozen: files, locks and connections of this job are not to be the next one's
        if not _flushed(keeper.outputs()) and code == 0:
            code, error = UNWRITTEN, "could not write its output"
        if os.getpid() != keeper.process:  # a child that the function forked, and that came back from it
            os._exit(code)
        over = keeper.leftovers()
        if not over:
            keeper.restore()
        if not line.answer(code, error, raised, over):
            os._exit(code)
        if over:
            break
    return code


def main() -> int:
    """The arguments: the file of the connection, that of the lifeline, the folder of the modules, the project's."""
    control, lifeline = int(sys.argv[1]), int(sys.argv[2])
    root, project = sys.argv[3:5]
    for fd in (control, lifeline):
        os.set_inheritable(fd, False)
    _die_with(lifeline)
    search_afresh(root, project)
    return _serve(Line(control), Keeper())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
