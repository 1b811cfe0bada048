"""The loop and the threads of its calls take turns: what a build knows is for one of them at a time, and events are told by the loop's only."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from .events import Event, Reporter


class Turn:
    """Held by whoever works on what the build knows. Who asks for it gets it next: a thread with a thousand short calls keeps nobody waiting."""

    def __init__(self) -> None:
        self._held = threading.Lock()
        self._next = threading.Lock()
        self._holder = 0

    def take(self) -> None:
        """Wait for it. A signal handler of the user's may raise meanwhile: then it is not taken."""
        with self._next:
            self._held.acquire()
            self._holder = threading.get_ident()

    def give(self) -> None:
        """Give it on, where it is this thread's."""
        if self._holder == threading.get_ident():
            self._holder = 0
            self._held.release()

    def __enter__(self) -> None:
        self.take()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give()


class InOrder:
    """A reporter that tells `reporter` everything on the thread that made it, in order: what others tell waits for `pass_on`."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._thread = threading.get_ident()
        self._waiting: deque[Event] = deque()

    def tell(self, event: Event) -> None:
        """Tell it; on another thread, later. One at a time."""
        if threading.get_ident() != self._thread:
            self._waiting.append(event)
            return
        if self._waiting:
            self.pass_on()
        self._reporter.tell(event)

    def pass_on(self) -> bool:
        """Tell what others have told since; was there anything?"""
        waiting = self._waiting
        if not waiting:
            return False
        tell = self._reporter.tell
        while waiting:
            tell(waiting.popleft())
        return True

    def tick(self) -> None:
        self._reporter.tick()

    def close(self) -> None:
        self._reporter.close()
