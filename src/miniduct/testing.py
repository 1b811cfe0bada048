"""For users' own tests: a folder to run pipelines in, a record of what ran, files in memory with a clock moved by hand,
a bucket in memory, a runner that starts nothing.

def test_only_the_changed_day_runs():
    with sandbox({"raw/1.csv": "a", "raw/2.csv": "b"}) as box:
        assert box.execute(make_pipeline()).ran == ["clean", "clean", "report"]
        box.write("raw/2.csv", "c")
        assert box.execute(make_pipeline()).ran == ["clean", "report"]
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .events import JobEnded
from .runners.fake import FakeRunner
from .stores.memory import MemoryStore
from .stores.memory_remote import MemoryRemote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .events import Event
    from .pipeline import PipelineBuilder
    from .pipeline.results import Results

__all__ = ["FakeRunner", "MemoryRemote", "MemoryStore", "Ran", "Sandbox", "sandbox"]


@dataclass
class Ran:
    """One run: its results, all its events, and the steps of the jobs that ran well, in the order in which they ended."""

    results: Results
    events: list[Event] = field(default_factory=list)

    @property
    def ran(self) -> list[str]:
        return [each.job.step for each in self.events if isinstance(each, JobEnded) and each.status == "done"]

    @property
    def failed(self) -> list[str]:
        """The steps of the jobs that failed."""
        return [each.job.step for each in self.events if isinstance(each, JobEnded) and each.status == "failed"]


class Sandbox:
    """A folder of a test's own. Names are relative to it."""

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, name: str) -> str:
        """The absolute path of a name."""
        return os.path.join(self.root, name)

    def write(self, name: str, text: str) -> None:
        """Write a file, and the folders that it needs."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name: str) -> str:
        """The text of a file."""
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def execute(self, pipeline: PipelineBuilder, **options: Any) -> Ran:
        """Run the pipeline in this folder, one job at a time unless `jobs` says otherwise; failures are in what is returned."""
        events: list[Event] = []
        before = os.getcwd()
        os.chdir(self.root)
        try:
            options = {"jobs": 1, "raise_on_error": False, **options}
            return Ran(pipeline.execute(on_event=events.append, **options), events)
        finally:
            os.chdir(before)


@contextmanager
def sandbox(files: Mapping[str, str] | None = None) -> Iterator[Sandbox]:
    """A folder with these files, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="duct-test-") as root:
        box = Sandbox(os.path.realpath(root))
        for name, text in (files or {}).items():
            box.write(name, text)
        yield box
