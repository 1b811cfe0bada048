"""A fake engine for the command line's tests: modules that answer what a test says, and remember what they were asked."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from miniduct.answers import StatusReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from miniduct.events import Event


@dataclass(frozen=True)
class FakeWhere:
    """As much of a Where as the command line looks at."""

    root: str
    shown_as: str = "Ductfile"
    standing: str = "."
    source: None = None
    sets: tuple[tuple[str, str], ...] = ()


@dataclass
class Engine:
    """What the verbs get, and what they asked for."""

    root: str
    standing: str = "."
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    code: int = 0
    error: Exception | None = None
    report: StatusReport = field(default_factory=lambda: StatusReport((), 3))
    whys: list[Any] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    drawing: tuple[list[Any], list[Any]] = field(default_factory=lambda: ([], []))
    logs: list[Any] = field(default_factory=list)
    removals: list[Any] = field(default_factory=list)
    removed: list[str] | None = None
    accepted: list[Any] = field(default_factory=list)
    warnings: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def _asked(self, *what: Any) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    def locate(self, file: Any, directory: Any, _cwd: str, sets: Any, *, offline: bool = False) -> FakeWhere:
        self.asked.append(("locate", file, directory, sets, *(["offline"] if offline else [])))
        return FakeWhere(self.root, standing=self.standing, sets=sets)

    def build(self, _where: FakeWhere, options: Any, reporter: Any) -> int:
        self._asked("build", options)
        for event in self.events:
            reporter.tell(event)
            reporter.tick()
        return self.code

    def status(self, _where: FakeWhere, targets: Any) -> StatusReport:
        self._asked("status", targets)
        return self.report

    def why(self, _where: FakeWhere, target: str) -> list[Any]:
        self._asked("why", target)
        return self.whys

    def listing(self, _where: FakeWhere, targets: Any, what: str = "steps") -> list[Any]:
        self._asked("list", targets, what)
        return self.rows

    def graph(self, _where: FakeWhere, targets: Any, *, jobs: bool = False) -> tuple[list[Any], list[Any]]:
        self._asked("graph", targets, jobs)
        return self.drawing

    def log(self, _where: FakeWhere, target: str) -> list[Any]:
        self._asked("log", target)
        return self.logs

    def plan_clean(self, _where: FakeWhere, targets: Any, *, orphans: bool = False) -> list[Any]:
        self._asked("plan_clean", targets, orphans)
        return self.removals

    def clean(self, _where: FakeWhere, removals: Any, *, wait: bool = True) -> list[str]:
        keys = [each.key for each in removals]
        self._asked("clean", keys, wait)
        return keys if self.removed is None else self.removed

    def accept(self, _where: FakeWhere, targets: Any, *, wait: bool = True) -> list[Any]:
        self._asked("accept", targets, wait)
        return self.accepted

    @contextmanager
    def open_workspace(self, _where: FakeWhere, *, write: bool, tell: Callable[[Event], None]) -> Iterator[Any]:
        self._asked("open", write, tell is not None)
        project, plan = SimpleNamespace(steps=("a", "b")), SimpleNamespace(jobs=6)
        yield SimpleNamespace(project=project, plan=plan, warnings=lambda: self.warnings)


def install(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the fake in the place of the engine's modules."""

    @dataclass(frozen=True)
    class Options:
        targets: tuple[str, ...] = ()
        jobs: int = 0
        keep_going: bool = False
        dry_run: bool = False
        force: bool = False
        wait: bool = True

    modules: dict[str, dict[str, Any]] = {
        "workspace": {"locate": engine.locate, "open_workspace": engine.open_workspace},
        "build": {"build": engine.build, "Options": Options},
        "status": {
            "status": engine.status,
            "why": engine.why,
            "listing": engine.listing,
            "graph": engine.graph,
            "logs": engine.log,
        },
        "clean": {"plan_clean": engine.plan_clean, "clean": engine.clean},
        "accept": {"accept": engine.accept},
    }
    for name, members in modules.items():
        module = ModuleType(f"miniduct.{name}")
        for member, value in members.items():
            setattr(module, member, value)
        monkeypatch.setitem(sys.modules, f"miniduct.{name}", module)
