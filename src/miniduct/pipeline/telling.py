"""A run's events as results, log records of the standard `logging`, callbacks, and lines of progress."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .. import events as ev
from ..reporters.words import job_text, reasons_text
from ..text import shown
from .results import DONE, FAILED, INTERRUPTED, SKIPPED, UP_TO_DATE, StepResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..events import Event

LOGGER = logging.getLogger("miniduct")
LOGGER.addHandler(logging.NullHandler())
_LEVELS = {
    ev.JobEnded: logging.INFO,
    ev.JobRetried: logging.WARNING,
    ev.Warned: logging.WARNING,
    ev.Kept: logging.WARNING,
    ev.BuildStarted: logging.INFO,
    ev.BuildEnded: logging.INFO,
}
_reasons = lru_cache(maxsize=256)(reasons_text)
_STATUS = {"done": DONE, "failed": FAILED, "interrupted": INTERRUPTED}


class Teller:
    """A reporter that keeps what happened, by step, and hands it on. An exception of a callback ends the run, as one of the caller's."""

    def __init__(self, callbacks: Sequence[Callable[[Event], Any]], progress: Callable[[str], Any] | None) -> None:
        self.told: dict[str, StepResult] = {}
        self._callbacks = callbacks
        self._progress = progress
        self._run = 0

    def result(self, step: str) -> StepResult:
        found = self.told.get(step)
        if found is None:
            found = self.told[step] = StepResult(step)
        return found

    def tell(self, event: Event) -> None:
        level = _LEVELS.get(type(event), logging.DEBUG)
        if isinstance(event, ev.JobStarted):
            self.result(event.job.step).reason = _reasons(tuple(event.reasons))
        elif isinstance(event, ev.JobEnded):
            self._ended(event)
            if event.status == "failed":
                level = logging.ERROR
        elif isinstance(event, ev.JobUpToDate):
            self.result(event.job.step).note(UP_TO_DATE)
        elif isinstance(event, ev.JobSkipped):
            found = self.result(event.job.step)
            found.note(SKIPPED)
            found.reason = f"{job_text(event.because)} failed or was not run"
        elif isinstance(event, ev.BuildStarted):
            self._run = event.run
        if LOGGER.isEnabledFor(level):
            self._log(event, level)
        for callback in self._callbacks:
            callback(event)
        if self._progress is not None and isinstance(event, (ev.JobEnded, ev.JobSkipped, ev.JobRetried, ev.Warned)):
            reason = self.result(event.job.step).reason if isinstance(event, ev.JobEnded) else ""
            self._progress(_text(event) + (f" ({reason})" if reason else ""))

    def tick(self) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing is held."""

    def _ended(self, event: ev.JobEnded) -> None:
        found = self.result(event.job.step)
        found.note(_STATUS[event.status])
        found.attempts = max(found.attempts, event.attempt)
        found.seconds += event.seconds
        if event.log is not None:
            found.log = event.log
        if event.error is not None:
            found.error = event.error if not event.facts else "\n".join([event.error, *event.facts])

    def _log(self, event: Event, level: int) -> None:
        job = getattr(event, "job", None)
        extra = {"step": None if job is None else job.step, "run": self._run, "event": event}
        LOGGER.log(level, "%s", _text(event), extra=extra)


def _text(event: Event) -> str:
    """One line for people."""
    job = getattr(event, "job", None)
    name = "" if job is None else job_text(job)
    if isinstance(event, ev.JobStarted):
        return f"{name}: started ({reasons_text(event.reasons)})"
    if isinstance(event, ev.JobEnded):
        tail = f": {event.error}" if event.error else ""
        return f"{name}: {event.status} in {event.seconds:.2f} s{tail}"
    if isinstance(event, ev.JobRetried):
        return f"{name}: {event.error}; attempt {event.attempt + 1} in {event.delay:g} s"
    if isinstance(event, ev.JobSkipped):
        return f"{name}: skipped, because of {job_text(event.because)}"
    if isinstance(event, ev.JobUpToDate):
        return f"{name}: up to date"
    if isinstance(event, ev.Warned):
        return event.text
    if isinstance(event, ev.Kept):
        return f"{shown(event.key)} was edited: a copy is kept in {shown(event.path)}"
    if isinstance(event, ev.BuildStarted):
        return f"{event.jobs} jobs, at most {event.affected} to run"
    if isinstance(event, ev.BuildEnded):
        return f"{event.ran} ran, {event.failed} failed, {event.skipped} skipped, {event.up_to_date} up to date"
    return type(event).__name__
