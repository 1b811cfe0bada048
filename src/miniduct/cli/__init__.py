"""The command `duct`: arguments, exit codes, the choice of a reporter. One module for each family of verbs; `quick` for nothing to do.

`main` is the only place where an exception ends: a DuctError is a message, anything else a bug of ours, with its traceback and exit code 70.
Imports nothing at the top: `duct` with nothing to do is over before anything else is needed.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say; the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        from .quick import quick

        code = quick(words)
        if code is None:
            from .run import run

            code = run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_gone()
    except KeyboardInterrupt:
        return 130
    return code


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
