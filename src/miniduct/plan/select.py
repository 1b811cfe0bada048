"""What the user asks for: keys, steps, globs and tags to jobs; and which of the affected jobs are needed for them.

A name that is a step means the step; `./name` means the key. Keys and globs are relative to the folder that the user stands in.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import PlanError, UsageError
from ..keys import is_remote
from ..text import escaped, nearest
from ..tuples import NamedTuple
from .faults import mistake
from .folders import ways
from .order import by_step, makers
from .patterns import escape, glob, is_glob, key_pattern, normal
from .shapes import may_give
from .wiring import steps_before

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ..model import Project
    from .columns import Plan


class Selection(NamedTuple):
    """The jobs asked for (None: all), and the keys asked for that no job makes because they are sources."""

    jobs: list[int] | None
    sources: Sequence[str] = ()
    idle: Sequence[str] = ()
    """Globs of the Ductfile's `default` that match nothing so far, each as a warning."""
    returning: Sequence[str] = ()
    """Keys that no job makes any more, unless a dynamic target brings them back."""


class UnknownTargetError(Exception):
    """Nothing is called like this; `near` are names that might have been meant."""

    def __init__(self, near: Sequence[str]) -> None:
        super().__init__()
        self.near = near


class GoneError(Exception):
    """A job made this once, and none does now."""


def select(plan: Plan, project: Project, targets: Sequence[str], standing: str) -> Selection:
    """The jobs that make what is asked for, ascending. No targets: the project's default, or all.

    UsageError for a target that is unknown; PlanError for an unknown name in the Ductfile's `default`.
    """
    if not targets and not project.default:
        return Selection(None)
    chosen = _Chosen(plan, project)
    if targets:
        for target in targets:
            if not target:
                raise UsageError("a target is empty", hint="plain `duct` makes all; is a variable of the shell unset?")
            try:
                chosen.add(target, standing)
            except UnknownTargetError as error:
                raise _unknown(target, error.near) from None
            except GoneError:
                raise gone(target) from None
    else:
        mistakes = []
        for text, location in project.default:
            try:
                chosen.add(text, ".")
            except GoneError:
                mistakes.append(mistake(location, f'"default" names {_quoted(text)}, which no step makes any more'))
            except UnknownTargetError as error:
                if is_glob(text) and chosen.may_match(text):
                    chosen.idle.append(f'{location}: "default" names {_quoted(text)}, which matches nothing')
                    continue
                what = f'"default" names {_quoted(text)}, which is no step and which no step makes'
                if text.startswith("tag:"):
                    what = f'"default" names the tag {_quoted(text[4:])}, which no step has'
                mistakes.append(mistake(location, what, hint=_did_you_mean(error.near)))
        if mistakes:
            raise PlanError(mistakes)
    return Selection(sorted(chosen.jobs), chosen.sources, chosen.idle, chosen.returning)


def gone(target: str) -> UsageError:
    """What was asked for is an orphan."""
    hint = '"duct clean --orphans" removes what is left of former builds'
    return UsageError(f"{_quoted(target)} is made by no step any more", hint=hint)


def _unknown(target: str, near: Sequence[str]) -> UsageError:
    hint = _did_you_mean(near) or '"duct list" shows the steps, "duct list --keys" the keys that they make'
    return UsageError(f"no step, key or tag is called {_quoted(target)}", hint=hint)


def _did_you_mean(near: Sequence[str]) -> str | None:
    return f"did you mean {' or '.join(map(_quoted, near))}?" if near else None


def _quoted(name: str) -> str:
    return f'"{escaped(name)}"'


class _Chosen:
    def __init__(self, plan: Plan, project: Project) -> None:
        self.plan = plan
        self.root = project.root
        self.numbers = {step.name: at for at, step in enumerate(plan.steps)}
        self.jobs: set[int] = set()
        self.sources: list[str] = []
        self.idle: list[str] = []
        self.returning: list[str] = []

    def add(self, target: str, standing: str) -> None:
        """Add what one target means. UnknownTargetError where it means nothing."""
        if target in self.numbers:
            self._step(self.numbers[target], set())
        elif target.startswith("tag:"):
            self._tag(target[4:])
        elif target.startswith("step:") and target[5:] in self.numbers:
            self._step(self.numbers[target[5:]], set())
        elif not (
            any(self._key(name) for name in self._names(target, standing))
            or self._job(target)
            or (is_glob(target) and any(self._glob(name) for name in self._names(target, standing)))
        ):
            raise UnknownTargetError(self._near(target, standing))

    def _names(self, target: str, standing: str) -> Iterator[str]:
        """The target as the plan may call it: relative to the root, or absolute."""
        if is_remote(target):
            yield target
            return
        folder = "/" if target.endswith("/") else ""
        path = os.path.normpath(os.path.join(self.root, standing, target))
        inside = path == self.root or path.startswith(self.root.rstrip("/") + "/")
        near = os.path.relpath(path, self.root)
        yield from dict.fromkeys([near + folder, path + folder, normal(target)] if not inside else [near + folder])

    def _step(self, step: int, seen: set[int]) -> None:
        plan = self.plan
        if step in seen:
            return
        seen.add(step)
        if not plan.steps[step].group:
            self.jobs.update(range(plan.first[step], plan.first[step + 1]))
            return
        inside = plan.makers_inside()
        keys = plan.group_keys(step)
        makers = {plan.maker[key] for key in keys}.union(*(inside[key] for key in keys if key in inside))
        self.jobs |= makers - {-1}
        for other in [*plan.after(step), *plan.dynamic_before(step)]:
            self._step(other, seen)

    def _tag(self, tag: str) -> None:
        found = [at for at, step in enumerate(self.plan.steps) if tag in step.tags]
        if not found:
            tags = sorted({each for step in self.plan.steps for each in step.tags})
            # There are few tags: where none is near, all are as near as any.
            raise UnknownTargetError([f"tag:{each}" for each in nearest(tag, tags) or tags[:5]])
        for step in found:
            self._step(step, set())

    def _key(self, name: str) -> bool:
        plan = self.plan
        key = plan.key(name)
        if key is None and not name.endswith("/"):
            folder = plan.key(f"{name}/")
            key = folder if folder is not None and plan.maker[folder] >= 0 else None
        if key is not None:
            if plan.maker[key] >= 0:
                self.jobs.add(plan.maker[key])
            elif key in plan.makers_inside():
                self.jobs |= plan.makers_inside()[key]
            elif key >= plan.first_orphan:
                return self._may_come_back(name)
            else:
                self.sources.append(name)
            return True
        return self._in_folder(name) or self._below(name) or self._member(name)

    def _may_come_back(self, name: str) -> bool:
        """A key that no job makes any more is made again if a dynamic target brings back its job, or itself. GoneError."""
        plan = self.plan
        found = self._in_folder(name) or self._member(name)
        for step, each in enumerate(plan.steps):
            before = plan.dynamic_before(step)
            if before and any(
                may_give(key_pattern(slot.text, target=True), glob(escape(name))) for slot in each.targets
            ):
                found = True
                for maker in before:
                    self._step(maker, set())
        if not found:
            raise GoneError
        self.returning.append(name)
        return True

    def _in_folder(self, name: str) -> bool:
        """Does the key lie in a folder that a job makes as a whole?"""
        for folder in sorted(ways([name])):
            key = self.plan.key(folder)
            if key is not None and self.plan.maker[key] >= 0:
                self.jobs.add(self.plan.maker[key])
                return True
        return False

    def _below(self, name: str) -> bool:
        """A folder that nobody makes as a whole stands for all that is made in it."""
        folder = "" if name in (".", "./") else name.rstrip("/") + "/"
        names, maker = self.plan.names, self.plan.maker
        found = [job for key, job in enumerate(maker) if job >= 0 and names[key].startswith(folder)]
        self.jobs.update(found)
        return bool(found)

    def _member(self, name: str) -> bool:
        """May the key be a member, still unknown, of a dynamic target?"""
        found = {job for text, job in self._dynamic_texts() if glob(text).matches(name)}
        self.jobs |= found
        return bool(found)

    def _job(self, target: str) -> bool:
        """A job as messages call it: `clean[day=20260105]`."""
        step = self.numbers.get(target.partition("[")[0])
        if step is None or not target.endswith("]"):
            return False
        plan = self.plan
        jobs = range(plan.first[step], plan.first[step + 1])
        found = [job for job in jobs if str(plan.job_name(job)) == target]
        self.jobs.update(found)
        return bool(found)

    def _glob(self, name: str) -> bool:
        """A glob over the keys that are made; over the sources where it matches none of them."""
        plan = self.plan
        pattern = glob(name)
        fits = pattern.regex.fullmatch
        found = {job for key, job in zip(plan.names, plan.maker) if job >= 0 and fits(key)}
        found.update(job for text, job in self._dynamic_texts() if text == name)
        self.jobs |= found
        sources = [] if found else [row[0] for row in pattern.match(plan.names[: plan.first_orphan])]
        self.sources += sources
        return bool(found or sources)

    def _dynamic_texts(self) -> Iterator[tuple[str, int]]:
        """The dynamic targets of all jobs."""
        plan = self.plan
        for step in range(len(plan.steps)):
            dynamic = plan.target_dynamic(step)
            for job in range(plan.first[step], plan.first[step + 1]) if any(dynamic) else ():
                yield from ((text, job) for text, is_open in zip(plan.target_texts(job), dynamic) if is_open)

    def may_match(self, text: str) -> bool:
        """Could a target of a step match this glob, though none does now?"""
        slots = (slot for step in self.plan.steps if not step.group for slot in step.targets)
        return any(may_give(key_pattern(slot.text, target=True), glob(text)) for slot in slots)

    def _near(self, target: str, standing: str) -> list[str]:
        plan = self.plan
        step, bracket, value = target.partition("[")
        if bracket and step in self.numbers:
            return self._near_jobs(self.numbers[step], value.rstrip("]"))
        steps = nearest(target, self.numbers, most=2)
        if not steps:  # a step of an included file, called as it is called there
            own = {name.rpartition(".")[2]: name for name in self.numbers}
            steps = [own[target]] if target in own else [own[each] for each in nearest(target, own, most=2)]
        if steps:
            return steps
        name = next(self._names(target, standing))
        made = [plan.names[key] for key, job in enumerate(plan.maker) if job >= 0]
        found = nearest(name, made)
        if standing not in (".", ""):
            found = [os.path.relpath(each, standing) for each in found]
        tags = dict.fromkeys(tag for step in plan.steps for tag in step.tags)
        return found or [f"tag:{tag}" for tag in tags if tag == target]

    def _near_jobs(self, step: int, value: str) -> list[str]:
        """Jobs of a step, where one was named that does not exist: those with this value, or else the first."""
        plan = self.plan
        jobs = range(plan.first[step], plan.first[step + 1])
        found = [
            job
            for job in jobs
            if value.partition("=")[2] in plan.values(job).values() or value in plan.values(job).values()
        ]
        return [str(plan.job_name(job)) for job in (found or jobs)[:1]]


# -- what is needed ---------------------------------------------------------------------------------------------------------------------


def needed(plan: Plan, affected: Collection[int], roots: Selection) -> set[int]:
    """Those affected jobs that are asked for, or that something asked for waits for, directly or not."""
    wanted = affected if isinstance(affected, (set, frozenset, range)) else set(affected)
    if roots.jobs is None:
        return set(wanted)
    through = _steps_with_order(plan, wanted)
    reached: dict[int, set[int]] = {step: set(mine) for step, mine in by_step(plan, roots.jobs).items()}
    found: set[int] = set()
    for component in reversed(plan.ranks):
        _climb(plan, component, wanted, through, reached, found)
    return found


def _climb(
    plan: Plan,
    component: Sequence[int],
    wanted: Collection[int],
    through: Collection[int],
    reached: dict[int, set[int]],
    found: set[int],
) -> None:
    """From the reached jobs of these steps to the jobs they wait for; again, as long as steps of one component reach each other.

    A job that is not wanted ends the climb (what it waits for by its keys is not wanted either), unless order may lead on to wanted ones.
    """
    done: set[int] = set()
    growing = True
    while growing:
        growing = False
        for step in component:
            mine = {job for job in reached.get(step, ()) if job not in done and (job in wanted or step in through)}
            if not mine:
                continue
            done |= mine
            found.update(job for job in mine if job in wanted)
            for other, jobs in by_step(plan, makers(plan, step, mine)).items():
                reached.setdefault(other, set()).update(jobs)
            for other in [*plan.after(step), *plan.dynamic_before(step)]:
                reached.setdefault(other, set()).update(range(plan.first[other], plan.first[other + 1]))
            growing = len(component) > 1 or not done.issuperset(reached[step])


def _steps_with_order(plan: Plan, wanted: Collection[int]) -> set[int]:
    """The steps from which order without keys may lead to wanted jobs, however far up."""
    if not any(plan.after_steps) and not any(plan.dynamic_steps):
        return set()
    before = steps_before(plan)
    has_wanted = set(by_step(plan, wanted))
    found: set[int] = set()
    for component in plan.ranks:
        if any(
            found.intersection(before[step])
            or has_wanted.intersection(plan.after(step))
            or has_wanted.intersection(plan.dynamic_before(step))
            for step in component
        ):
            found.update(component)
    return found
