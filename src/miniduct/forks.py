"""Is this still the process that it was? `os.getpid` asks the system each time, which takes as long as a hundred steps of Python's own."""

from __future__ import annotations

import os

_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


def forks() -> int:
    """How often Python has forked on the way to this process: what was begun with another number was begun in another process."""
    return _forks
