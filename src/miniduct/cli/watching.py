"""`duct watch`: its flags, its keys on a terminal, and how it speaks. What a change means is the engine's to say."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .building import choose_reporter
from .run import tell_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..errors import DuctError
    from ..events import Reporter
    from .session import Session

KEYS = "r builds again, c clears the screen, q quits"


def watch(session: Session) -> int:
    """Build, and again whenever something changes, until a signal or `q`."""
    from ..build import Options
    from ..notifying import Notifier, checked, target_of
    from ..watch import Settings, Watch

    where = session.where()
    values = session.values
    options = Options(targets=session.words, jobs=values.jobs, keep_going=values.keep_going)
    settings = Settings(
        settle=values.settle,
        poll=values.poll or None,
        then=values.exec_on_success,
        remote_poll=values.remote_poll,
        restart=values.restart,
    )

    def say(text: str) -> None:
        if session.json:
            session.answer_json("watch", {"text": text})
            sys.stdout.flush()
        else:
            session.say(text)

    def tell(error: DuctError) -> None:
        tell_error(error, json=session.json)
        sys.stdout.flush()

    def reporter() -> Reporter:
        chosen = choose_reporter(session, where)
        if where.source is not None:
            chosen = where.source.notifier(chosen, where.state)
        if values.notify is None:
            return chosen
        # Beside those of the project, and so with a memory of its own.
        notify = checked(target_of(values.notify))
        return Notifier(chosen, os.path.basename(where.root), notify, f"{where.state}/outcome.watch")

    with _keys(session) as keys:
        return Watch(
            where,
            options,
            settings,
            reporter=reporter,
            say=say,
            tell=tell,
            keys=keys,
        ).run()


class Keyboard:
    """The keys of a terminal, one by one; `c` and `?` are dealt with here."""

    def __init__(self, session: Session, fd: int) -> None:
        self._session = session
        self.fd = fd

    def pressed(self) -> str:
        """What is for the watch, as letters."""
        try:
            data = os.read(self.fd, 100)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self.fd = -1
            return ""
        for key in data.decode("ascii", "replace"):
            if key == "c":
                sys.stderr.write("\x1b[H\x1b[2J")
            elif key in "?h":
                self._session.say(KEYS)
        sys.stderr.flush()
        return "".join(key for key in data.decode("ascii", "replace") if key in "qr")


@contextmanager
def _keys(session: Session) -> Iterator[Keyboard]:
    """The keyboard, where somebody sits at one, with single keys; as it was afterwards."""
    try:
        import termios
        import tty

        fd = sys.stdin.fileno()
        at_a_terminal = sys.stdin.isatty() and sys.stderr.isatty() and os.getpgrp() == os.tcgetpgrp(fd)
    except (ImportError, OSError, ValueError, AttributeError):
        at_a_terminal = False
    if not at_a_terminal or session.json:
        yield Keyboard(session, -1)
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield Keyboard(session, fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
