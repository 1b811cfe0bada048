"""Ctrl-C and its relatives, as a count that the loop reads: the first asks the jobs to end, the second ends them at once."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from .forks import forks

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupts:
    """Counts the signals that ask a build to end, for as long as the `with` block lasts; `wake` is called for each of them.

    Outside the main thread (a build inside somebody's program) signals are not ours: the count stays 0.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.count = 0
        self.first: int | None = None
        self._wake = wake
        self._before: dict[int, Any] = {}
        self._process = forks()

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # A signal that was ignored when duct was started (nohup, a shell's background job) stays ignored.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._came)
        return self

    def ask(self) -> None:
        """Ask the build to end as a first signal does; from any thread. `first` stays None: it was no signal."""
        self.count = max(self.count, 1)
        self._wake()

    def _came(self, number: int, _frame: FrameType | None) -> None:
        if forks() != self._process:  # a process that a step forked off: nobody reads the count there, and it is to end
            signal.signal(number, self._before.get(number) or signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.count += 1
        if self.first is None:
            self.first = number
        self._wake()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
