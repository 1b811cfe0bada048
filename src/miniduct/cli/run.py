"""From words to an exit code: parse, find the verb's function, call it, word its errors.

A DuctError is a message on stderr; so is a full disk. Anything else is a bug of ours: traceback, a request, exit code 70.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from ..errors import EXIT_BUG, EXIT_OK, DuctError, DuctfileError
from ..reporters.screen import BOLD, RED, Paint, wants_colour
from ..text import count
from .arguments import parse, parser_for
from .session import Session
from .verbs import VERBS, overview

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from .arguments import Call

MOST_MISTAKES = 20
"""Mistakes told on a screen, but for `check`; `--json` has them all."""
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What the machine lacks is no bug of ours."""


def run(words: Sequence[str]) -> int:
    """Do what the words say; the exit code."""
    _never_fail_to_print(sys.stdout)
    json = "--json" in words
    most: int | None = MOST_MISTAKES
    try:
        call = parse(words, os.environ)
        most = None if call.verb == "check" else most
        return _run(call)
    except DuctError as error:
        return tell_error(error, json=json, most=most)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno not in _MACHINE:
            return _bug()
        what = (os.strerror(error.errno) if error.errno else str(error)).lower()
        return tell_error(DuctError(what, where=str(error.filename) if error.filename else None), json=json)
    except Exception:
        return _bug()


def _run(call: Call) -> int:
    if call.version:
        from .. import __version__

        print(f"duct {__version__}")
        return EXIT_OK
    if call.help:
        return _help(call.verb)
    verb = call.verb or "build"
    if verb == "help":
        return _help(call.values.words[0] if call.values.words else None)
    session = Session(call.values, os.environ)
    if verb == "build" and not call.said:
        from .building import build_unsaid

        return build_unsaid(session)
    return _function(verb)(session)


def _function(verb: str) -> Callable[[Session], int]:
    from importlib import import_module

    module = import_module(f".{VERBS[verb].module}", __package__)
    function: Callable[[Session], int] = getattr(module, verb if verb != "list" else "list_")
    return function


def _help(verb: str | None) -> int:
    if verb is None:
        sys.stdout.write(overview())
    elif verb in VERBS:
        sys.stdout.write(parser_for(verb).format_help())
    else:
        from ..errors import UsageError
        from ..text import nearest

        near = nearest(verb, VERBS)
        raise UsageError(
            f'"{verb}" is no verb', hint=f'did you mean "{near[0]}"?' if near else '"duct help" lists them'
        )
    return EXIT_OK


def tell_error(error: DuctError, *, json: bool, most: int | None = MOST_MISTAKES) -> int:
    """Say what is wrong, on stderr (and as JSON), of many mistakes the first `most`; the exit code that it means."""
    sys.stdout.flush()
    paint = Paint(wants_colour("auto", sys.stderr, os.environ))
    texts = [str(each) for each in error.mistakes] if isinstance(error, DuctfileError) else [str(error)]
    told = []
    more = 0 if most is None else len(texts) - most
    if more > 1:
        texts[most:] = [f"and {count(more, 'more mistake')}"]
    for text in texts:
        first, newline, rest = text.partition("\n")
        told.append(f"duct: {paint(first, RED, BOLD)}{newline}{rest}\n")
    sys.stderr.write("\n".join(told))
    if json:
        _tell_json(error)
    return error.exit_code


def _tell_json(error: DuctError) -> None:
    from ..reporters.jsonl import line, plain

    values = {
        "exit_code": error.exit_code,
        "kind": type(error).__name__,
        "message": str(error),
        "mistakes": plain(error.mistakes) if isinstance(error, DuctfileError) else [],
    }
    sys.stdout.write(line("error", values).decode("ascii"))


def _bug() -> int:
    import platform
    import traceback

    from .. import __version__

    sys.stdout.flush()
    traceback.print_exc()
    sys.stderr.write(
        f"duct: this is a bug of duct, not a mistake of yours\n"
        f"  please report it with the lines above (duct {__version__}, Python {platform.python_version()}, {platform.system()})\n"
    )
    return EXIT_BUG


def _never_fail_to_print(stream: TextIO) -> None:
    """A file name that the terminal's encoding has no letters for is printed with escapes, not with a traceback."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
