"""A runner without processes, for tests: what a command does is a function, and time passes only where the test says so."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from .base import Done, Lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Follower, RunnerEvent, Task


class FakeRunner:
    """Answers each task at once with what `act` makes of it: an exit code, a whole event, or None for a job that runs until `end` or `kill`.

    `started` and `killed` tell what was asked of the runner.
    """

    def __init__(self, act: Callable[[Task], int | RunnerEvent | None] | None = None, *, slots: int = 1) -> None:
        self._act = act or (lambda _: 0)
        self._slots = slots
        self._ready: list[RunnerEvent] = []
        self.running: dict[int, Task] = {}
        self.started: list[Task] = []
        self.killed: list[tuple[int, bool]] = []
        self.closed = False
        self.follower: Follower | None = None

    @property
    def slots(self) -> int:
        return self._slots

    def submit(self, task: Task) -> None:
        self.started.append(task)
        self.running[task.attempt] = task
        result = self._act(task)
        if isinstance(result, int):
            self.end(task.attempt, result)
        elif result is not None:
            del self.running[task.attempt]
            self._ready.append(result)

    def end(self, attempt: int, code: int = 0, *, seconds: float = 1.0, output: int = 0) -> None:
        """A job that runs ends with this code."""
        del self.running[attempt]
        self._ready.append(Done(attempt, code, seconds, output))

    def lose(self, attempt: int, why: str = "lost") -> None:
        """The executor of a job that runs is gone."""
        del self.running[attempt]
        self._ready.append(Lost(attempt, why))

    def kill(self, attempt: int, *, hard: bool = False) -> None:
        self.killed.append((attempt, hard))
        if attempt in self.running:
            self.end(attempt, -(signal.SIGKILL if hard else signal.SIGTERM))

    def events(self, timeout: float | None) -> list[RunnerEvent]:
        """What happened since the last call. AssertionError where a real runner would wait for ever."""
        if timeout is None and not self._ready:
            raise AssertionError("nothing runs that could end")
        ready, self._ready = self._ready, []
        return ready

    def running_log(self, attempt: int) -> str | None:
        """No output is to be seen while a job runs."""

    def wake(self) -> None:
        """Nobody waits."""

    def close(self) -> None:
        self.running.clear()
        self.closed = True
