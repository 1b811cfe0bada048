"""Projects and disks by hand, for the tests of the plan."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from miniduct.model import Location, Project, Run, Slot, Stamp, Step
from miniduct.plan.expand import expand
from miniduct.stores.base import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from miniduct.plan.columns import Plan


class Disk:
    """A disk of names only: each file's stamp is its number of changes, each folder's the number of names that came or went."""

    def __init__(self, *files: str) -> None:
        self.folders: dict[str, dict[str, bool]] = {"": {}}
        self.ticks: dict[str, int] = {"": 0}
        self.listed: list[str] = []
        for file in files:
            self.add(file)

    def add(self, key: str) -> None:
        """A file, with the folders above it; a folder where the key ends in a slash."""
        name, is_dir = key.rstrip("/"), key.endswith("/")
        while name and name != "/":
            head, _, tail = name.rpartition("/")
            above = head or ("/" if name.startswith("/") else "")
            if is_dir:
                self.folders.setdefault(name, {})
                self.ticks.setdefault(name, 0)
            if tail not in self.folders.setdefault(above, {}):
                self.folders[above][tail] = is_dir
                self.ticks[above] = self.ticks.get(above, 0) + 1
            name, is_dir = above, True

    def remove(self, key: str) -> None:
        folder, _, name = key.rpartition("/")
        del self.folders[folder][name]
        self.ticks[folder] += 1

    def stat(self, key: str) -> Stamp | None:
        if key.endswith("/"):
            return self.folder_stamp(key[:-1])
        folder, _, name = key.rpartition("/")
        folder = folder or ("/" if key.startswith("/") else "")
        return Stamp(0, 0, 0, 1) if self.folders.get(folder, {}).get(name) is False else None

    def matches(self, prefix: str, *, deep: bool) -> Sequence[str]:  # noqa: ARG002  a disk has no remote keys
        return []

    def ask(self, keys: Iterable[str]) -> None:
        pass

    def fingerprint(self, key: str) -> bytes | None:
        return bytes(32) if self.stat(key) else None

    def names(self, folder: str) -> list[str] | None:
        names = self.folders.get(folder)
        return None if names is None else list(names)

    def list(self, folder: str) -> list[Entry] | None:
        self.listed.append(folder)
        names = self.folders.get(folder)
        return None if names is None else [Entry(name, is_dir) for name, is_dir in names.items()]

    def folder_stamp(self, folder: str) -> Stamp | None:
        if folder not in self.folders:
            return None
        return Stamp(0, self.ticks.get(folder, 0), 0, 1)


def slots(texts: str | Sequence[str], line: int) -> tuple[Slot, ...]:
    listed = [texts] if isinstance(texts, str) else texts
    return tuple(
        Slot("" if text.startswith("step:") else text, None, Location("Ductfile", line), text[5:] or None)
        if text.startswith("step:")
        else Slot(text, None, Location("Ductfile", line))
        for text in listed
    )


def step(
    name: str,
    inputs: str | Sequence[str] = (),
    targets: str | Sequence[str] = (),
    *,
    group: bool = False,
    line: int = 1,
    **settings: Any,
) -> Step:
    foreach = tuple((key, tuple(values)) for key, values in settings.pop("foreach", {}).items())
    return Step(
        name,
        Location("Ductfile", line),
        inputs=slots(inputs, line),
        targets=slots(targets, line),
        run=None if group or "call" in settings else Run("true"),
        foreach=foreach,
        **settings,
    )


def project(*steps: Step, **settings: Any) -> Project:
    return Project("/root", ("Ductfile",), steps, **settings)


def plan(
    *steps: Step,
    disk: Disk | Sequence[str] = (),
    once: Collection[str] = (),
    members: Mapping[str, Sequence[str]] | Callable[[str], Sequence[str]] | None = None,
) -> Plan:
    """The plan of these steps; `members` by job id."""
    known = members if callable(members) else (lambda job: (members or {}).get(job, ()))
    store = disk if isinstance(disk, Disk) else Disk(*disk)
    return expand(project(*steps), store, members=known, once_made=once)


def expanded(project: Project) -> Plan:
    """The plan of a project that reads no files."""
    return expand(project, Disk(), members=lambda _: (), once_made=())


def chain(length: int) -> Project:
    """Steps of one job each: every one reads the key that the one before it makes."""
    return project(*(step(f"s{at}", f"k{at - 1}" if at else [], f"k{at}") for at in range(length)))


def calls(work: Callable[..., object], *arguments: object) -> int:
    """How many functions of Python this call makes: what it costs, the same on each machine."""
    count = 0

    def seen(frame: object, event: str, argument: object) -> None:  # noqa: ARG001
        nonlocal count
        count += event == "call"

    sys.setprofile(seen)
    try:
        work(*arguments)
    finally:
        sys.setprofile(None)
    return count


def jobs(plan: Plan) -> dict[str, tuple[list[str], list[str]]]:
    """For each job by name: the keys it reads, and those it makes."""
    names = plan.names
    return {
        str(plan.job_name(job)): ([names[key] for key in plan.inputs(job)], [names[key] for key in plan.targets(job)])
        for job in range(plan.jobs)
    }
