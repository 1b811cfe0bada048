"""What the reporters' tests have in common: streams that remember, a clock moved by hand, events in few words."""

from __future__ import annotations

import io
from typing import Any

from miniduct import events as ev
from miniduct.rebuilder import Reason
from miniduct.reporters.screen import Streams

CHANGED = (Reason("input-changed", "raw/a.csv", "00", "11"),)


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """Two streams, and what was written to each of them."""

    def __init__(self, *, same: bool = False) -> None:
        self._out, self._err = io.BytesIO(), io.StringIO()
        self.streams = Streams(self._out, self._err, same=same)
        self.clock = Clock()

    @property
    def out(self) -> str:
        return self._out.getvalue().decode()

    @property
    def err(self) -> str:
        return self._err.getvalue()

    def forget(self) -> None:
        for stream in (self._out, self._err):
            stream.seek(0)
            stream.truncate()


def job(step: str = "clean", **values: str) -> ev.JobName:
    return ev.JobName(step, values, f"{step}.csv")


def begun(affected: int = 3, jobs: int = 10) -> ev.BuildStarted:
    return ev.BuildStarted(1, "/p", jobs, affected, 2)


def started(name: ev.JobName, **fields: Any) -> ev.JobStarted:
    values = {"reasons": CHANGED, "attempt": 1, "command": "python3 clean.py", "log": ".duct/logs/x.log", **fields}
    return ev.JobStarted(name, **values)


def done(name: ev.JobName, **fields: Any) -> ev.JobEnded:
    values = {"status": "done", "seconds": 0.3, "changed": True, "attempt": 1, "log": None, "output": 0, **fields}
    return ev.JobEnded(name, **values)


def failed(name: ev.JobName, **fields: Any) -> ev.JobEnded:
    values = {"status": "failed", "exit_code": 2, "error": "failed with exit code 2", "changed": False, **fields}
    return done(name, **values)


def over(**numbers: Any) -> ev.BuildEnded:
    values = {"ran": 0, "failed": 0, "skipped": 0, "up_to_date": 0, "interrupted": 0, "seconds": 1.2, **numbers}
    return ev.BuildEnded(**values)
