"""The command `duct`: arguments, exit codes, the choice of a reporter. One module for each family of verbs; `quick` for nothing to do.

`main` is the only place where an exception ends: a DuctError is a message, anything else a bug of ours, with its traceback and exit code 70.
Imports nothing at the top: `duct` with nothing to do is over before anything else is needed.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say; the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        _open_streams()
    before = _heed_signals()
    try:
        from .quick import quick

        code = quick(words)
        if code is None:
            import gc

            if argv is None:
                gc.disable()  # it would look through what is imported, and plans, forty times: a build turns it on before jobs run
            from .run import run

            code = run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_gone()
    except KeyboardInterrupt:
        return 130
    finally:
        _heed_no_more(before)
    return code


def _heed_signals() -> dict[int, Any]:
    """Let SIGTERM and SIGHUP end what runs as Ctrl-C does, also before a build has jobs to be ended; how they were handled before.

    One that is ignored (nohup) stays ignored. A process that was forked off ends by the signal itself. `_signal` is a part of Python:
    `signal` would be imported.
    """
    import _signal  # type: ignore[import-not-found]
    import os

    own = os.getpid()

    def came(number: int, _frame: object) -> None:
        if os.getpid() != own:
            _signal.signal(number, _signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(_signal, name, None)
        if number is not None and _signal.getsignal(number) == _signal.SIG_DFL:
            try:
                before[number] = _signal.signal(number, came)
            except ValueError:  # a thread of somebody's program: signals are not ours
                break
    return before


def _heed_no_more(before: dict[int, Any]) -> None:
    import _signal

    for number, handler in before.items():
        _signal.signal(number, handler)


def _open_streams() -> None:
    """Give a process that was started with a closed stream one that goes nowhere: else the next file that is opened would take its place."""
    import os

    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  open to the end


def _reader_gone() -> int:
    """Whoever read our output has had enough (`duct list | head`): end as other tools do, without a word."""
    import os

    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(devnull, stream.fileno())
        except (OSError, ValueError):
            pass
    return 141
