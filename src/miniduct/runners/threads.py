"""Calls Python objects on threads of this process, beside commands and workers."""

from __future__ import annotations

import os
import queue
import sys
import time
from typing import TYPE_CHECKING

from .attempts import GIVEN_UP, GOOD, LINGERING, CallThread, ThreadAttempt, places_of
from .base import Done
from .python import PythonRunner
from .shared import Stream, keep_folder
from .shell import NOT_STARTED

if TYPE_CHECKING:
    from .attempts import Judged
    from .base import RunnerEvent, Task


Said = tuple[ThreadAttempt, "Judged"] | BaseException | None
"""What a thread says: how its attempt ended, or what went wrong in the follower. None: a call of `wake`."""


class ThreadRunner(PythonRunner):
    """A local runner that calls objects of this process too; see `base.Runner`."""

    def __init__(self, logs: str, *, slots: int = 1, grace: float = 5.0) -> None:
        super().__init__(logs, slots=slots, grace=grace)
        self._attempts: dict[int, ThreadAttempt] = {}
        self._spare: list[CallThread] = []
        self._over: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._polling = False
        """Are processes waited for, which do not speak through that queue?"""
        self._streams = (Stream(sys.stdout), Stream(sys.stderr))
        sys.stdout, sys.stderr = self._streams

    def submit(self, task: Task) -> None:
        """Start the attempt; see `base.Runner`."""
        if task.body is None:
            super().submit(task)
            return
        if LINGERING and not LINGERING.isdisjoint(places_of(task)):
            self._not_started(task, NOT_STARTED, "a call of it that was given up still runs in this process")
            return
        try:
            output = self._outputs.take(masked=bool(task.mask))
        except OSError as error:
            self._not_started(task, NOT_STARTED, f"its output cannot be written: {error.strerror}")
            return
        if self._spare:
            thread = self._spare.pop()
        else:
            keep_folder()
            thread = CallThread(self.ended, self.go_on)
            thread.start()
        attempt = self._attempts[task.attempt] = ThreadAttempt(task, output, thread)
        if attempt.deadline is not None:
            self._alarms += 1
        thread.queue.put(attempt)

    def ended(self, attempt: ThreadAttempt, judged: Judged) -> None:
        """Called by the thread."""
        self._say((attempt, judged))

    def go_on(self, attempt: ThreadAttempt) -> ThreadAttempt | None:
        """Called by the thread of an attempt that ended well, and has no time limit: the attempt to work on next, if the follower has one."""
        follower, ended, thread, output = self.follower, attempt.task, attempt.thread, attempt.output
        following: ThreadAttempt | None = None

        def submit(task: Task | None) -> None:
            nonlocal following
            attempt.over = True
            del self._attempts[ended.attempt]
            if task is not None:
                following = self._attempts[task.attempt] = ThreadAttempt(task, output, thread)
            else:
                self._outputs.give_back(output)
                self._spare.append(thread)

        try:
            taken = False
            alone = not (attempt.shared or ended.append or LINGERING)
            if follower and alone and self._outputs.is_silent(output, ended.log):
                done = Done(ended.attempt, 0, time.monotonic() - attempt.started, 0, made=attempt.made)
                taken = follower.follow(done, submit)
        except BaseException as error:
            self._say(error)
            thread.queue.put(None)
            return None
        if not taken:
            self.ended(attempt, GOOD)
        return following

    def wake(self) -> None:
        """Make a waiting `events` return early; from any thread, and from a signal handler."""
        self._say(None)

    def _say(self, said: Said) -> None:
        self._over.put(said)
        if self._polling:
            super().wake()

    def kill(self, attempt: int, *, hard: bool = False) -> None:
        """Ask the attempt to end; give it up at once (`hard`), or after the grace time."""
        found = self._attempts.get(attempt)
        if found is None:
            super().kill(attempt, hard=hard)
            return
        if hard:
            self._give_up(found)
        elif found.give_up_at is None:
            found.ask()
            found.give_up_at = time.monotonic() + self._grace
            self._alarms += 1

    def events(self, timeout: float | None) -> list[RunnerEvent]:
        """What happened since the last call; see `base.Runner`."""
        if self._jobs or self._alarms or self._ready or self._closed:
            ready = super().events(timeout)
        else:
            ready = []
            self._hear(None if timeout is None else max(timeout, 0.0))
        while not self._over.empty():
            self._heed(self._over.get())
        ready += self._ready
        self._ready = []
        return ready

    def running_log(self, attempt: int) -> str | None:
        """The file that the attempt's output goes to while it runs."""
        found = self._attempts.get(attempt)
        return found.output.path if found is not None else super().running_log(attempt)

    # --- the ends of attempts

    def _wait(self, seconds: float | None) -> bool:
        """Where no process is waited for, a queue is: a thread that ends then hands over to the loop at once, without the kernel's files."""
        if self._jobs or self._closed:  # closed: the ends of worker processes are waited for
            self._polling = True
            woken = super()._wait(seconds if self._over.empty() else 0.0)
            self._polling = False
            while not self._over.empty():
                self._heed(self._over.get())
                woken = True
            return woken
        return self._hear(seconds)

    def _hear(self, seconds: float | None) -> bool:
        """Wait for the end of a call, or for `wake`; was there one?"""
        try:
            self._heed(self._over.get(timeout=seconds))
        except queue.Empty:
            return False
        return True

    def _heed(self, said: Said) -> None:
        if said is None:
            return
        if isinstance(said, BaseException):
            raise said
        attempt, judged = said
        if not attempt.over:
            self._spare.append(attempt.thread)
            self._close(attempt, *judged)

    def _give_up(self, attempt: ThreadAttempt, *, timed_out: bool = False) -> None:
        attempt.ask()
        attempt.linger()
        self._close(attempt, GIVEN_UP, None, (), timed_out=timed_out)
        attempt.thread.queue.put(None)  # it ends after this attempt, whenever that is

    def _close(
        self, attempt: ThreadAttempt, code: int, words: str | None, raised: tuple[str, ...], *, timed_out: bool = False
    ) -> None:
        task = attempt.task
        attempt.cut()
        self._attempts.pop(task.attempt, None)
        self._alarms -= (attempt.deadline is not None) + (attempt.give_up_at is not None)
        try:
            size = self._outputs.finish(
                attempt.output, task.log, append=task.append, mask=task.mask, busy=attempt.shared
            )
        except OSError as error:
            size = 0
            code, words = code or 1, words or f"its output cannot be written: {error.strerror}"
        seconds = time.monotonic() - attempt.started
        for secret in task.mask:
            words = words and words.replace(os.fsdecode(secret), "***")
        made = attempt.made if code == 0 else {}
        self._ready.append(
            Done(task.attempt, code, seconds, size, timed_out=timed_out, error=words, made=made, raised=raised)
        )

    def _seconds(self, until: float | None) -> float | None:
        if self._alarms:
            for attempt in list(self._attempts.values()):  # threads that go on add to them meanwhile
                for alarm in (attempt.deadline, attempt.give_up_at):
                    if alarm is not None and (until is None or alarm < until):
                        until = alarm
        return super()._seconds(until)

    def _heed_alarms(self) -> None:
        super()._heed_alarms()
        now = time.monotonic()
        for attempt in list(self._attempts.values()):
            if attempt.deadline is not None and attempt.deadline <= now:
                self._give_up(attempt, timed_out=True)
            elif attempt.give_up_at is not None and attempt.give_up_at <= now:
                self._give_up(attempt)

    def close(self) -> None:
        """End what still runs, and free what the runner holds."""
        if self._closed:
            return
        for attempt in list(self._attempts.values()):
            self._give_up(attempt)
        for thread in self._spare:
            thread.queue.put(None)
        self._spare.clear()
        if sys.stdout is self._streams[0]:
            sys.stdout = self._streams[0].original
        if sys.stderr is self._streams[1]:
            sys.stderr = self._streams[1].original
        super().close()
