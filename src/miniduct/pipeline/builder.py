"""From steps and connections to a project of the engine, and from its run to results.

Whatever is wrong with a pipeline is told before anything runs. Invariant: the project depends only on the steps, so that the command, `execute` and a
Ductfile of the same words are judged alike.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .. import build as engine
from ..errors import EXIT_INTERRUPTED, UsageError
from ..model import Location, Project
from ..notifying import Notifier, checked
from ..plan.select import needed
from ..runners.attempts import HERE
from ..text import escaped
from ..workspace import Where, open_workspace
from . import identity, values
from .checking import Checker
from .collecting import Uncollected
from .results import FAILED, NOT_RUN, PipelineError, Results, StepResult
from .steps import BaseStep, own, place_of_call
from .telling import Teller
from .translating import Translation, mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..events import Event, Reporter
    from ..workspace import Workspace

_NAME = re.compile(r"\w[\w.+-]*")
_ONE = threading.Lock()
"""A run stands in its project's folder, and so does the whole process: one run at a time."""


_WHERE = threading.Lock()
_left: str | None = None
"""Where the process stood before the run that is going on."""
_runs_in: int | None = None
"""The thread of that run."""


def _here() -> str:
    """The current folder, also while a run of another thread has left it. UsageError where it was removed."""
    with _WHERE:
        if _left is not None:
            return _left
        try:
            return os.getcwd()
        except OSError:
            raise UsageError("the current folder does not exist any more", hint="go to another one") from None


def _leave() -> None:
    global _left, _runs_in
    with _WHERE:
        _left = os.getcwd()
        _runs_in = threading.get_ident()


def _return() -> None:
    global _left, _runs_in
    with _WHERE:
        there, _left, _runs_in = _left, None, None
        if there is not None:
            with suppress(OSError):  # a step has removed it: there is nowhere to return to, and the run has its results
                os.chdir(there)


class PipelineBuilder:
    """Steps that belong together, and the run of them.

    `root` is the folder that keys are relative to and that holds the state, the current one where it is None. `workers` is
    "threads" (of this process) or "processes" (functions that can be imported only). `pools` as in a Ductfile.
    `notify` says who is told how a run ended: a URL, a tuple of words (a command), a callable, or a list of them, for failure and
    recovery; or a dict of these by "success", "failure" and "recovery". `stores` has the settings of `[stores.gcs]` and
    `[stores.http]`, by "gcs" and "http".
    """

    def __init__(
        self,
        name: str,
        *,
        root: str | os.PathLike[str] | None = None,
        workers: str = "threads",
        pools: Mapping[str, int] | None = None,
        notify: Any = None,
        stores: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"a pipeline's name has letters, digits, _ . + and - only, not {name!r}")
        if workers not in ("threads", "processes"):
            raise ValueError(f'workers is "threads" or "processes", not {workers!r}')
        if root is not None and not isinstance(root, (str, os.PathLike)):
            raise TypeError(f"root is the path of a folder, not {root!r}")
        self._name = name
        self._root = None if root is None else os.fspath(root)
        self._workers = workers
        self._pools = {} if pools is None else pools
        self._stores = {} if stores is None else stores
        self._place = place_of_call()
        self._notify = checked(notify)
        self._steps: dict[str, BaseStep] = {}
        # Of one run; whoever holds its results may read its values when the next one has begun.
        self._held: dict[str, Any] = {}
        self._raised: dict[str, BaseException] = {}

    @property
    def name(self) -> str:
        return self._name

    @property
    def root(self) -> str | None:
        return self._root

    @property
    def steps(self) -> tuple[BaseStep, ...]:
        """The steps in the order in which they were added."""
        return tuple(self._steps.values())

    def add_step(self, step: BaseStep) -> BaseStep:
        """Add a step; returns it. TypeError, ValueError where it cannot be one of this pipeline."""
        if not isinstance(step, BaseStep):
            raise TypeError(f"add_step takes a step, not {type(step).__name__}")
        held, name = own(step), step.name
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{held.place}: a step's name is a text of letters, digits, _ . + and - only, not {name!r}"
            )
        if held.pipeline is self:
            raise ValueError(f'step "{name}" was added already')
        if held.pipeline is not None:
            raise ValueError(f'step "{name}" belongs to the pipeline "{held.pipeline.name}" already')
        other = self._steps.get(name)
        if other is not None:
            raise ValueError(
                f'two steps are called "{name}": {own(other).place} and {held.place}; give one of them another name'
            )
        held.pipeline = self
        self._steps[name] = step
        return step

    def add_steps(self, *steps: BaseStep) -> None:
        """Add several steps."""
        for step in steps:
            self.add_step(step)

    def notifier(self, reporter: Reporter, state: str) -> Reporter:
        """The reporter, and after it the notifications of this pipeline. `state` is the state folder."""
        if not any(self._notify.values()):
            return reporter
        said = [own(step).said.get("secrets", ()) for step in self._steps.values()]
        listed = [name for names in said for name in (names if isinstance(names, list) else [names])]
        secrets = {name for name in listed if isinstance(name, str)}  # they may not be checked yet
        masked = [os.environ.get(name, "") for name in secrets]
        return Notifier(reporter, self._name, self._notify, f"{state}/outcome", masked)

    # -- running ------------------------------------------------------------------------------------------------------------------------

    def execute(
        self,
        *targets: str,
        jobs: int = 0,
        keep_going: bool = False,
        raise_on_error: bool = True,
        force: bool = False,
        on_event: Callable[[Event], Any] | Sequence[Callable[[Event], Any]] = (),
        progress: bool | None = None,
    ) -> Results:
        """Bring the steps up to date (all of them, or the `targets` named as on the command line) and give their results.

        `jobs` is the number of steps that run at a time, 0 for the cores. PipelineError where a step failed, unless
        `raise_on_error` is False; another DuctError (of `miniduct.errors`, as PlanError and UsageError are) where the pipeline
        or the call is wrong, before anything runs. Runs of one process take turns, and so do those of a project.
        """
        if getattr(HERE, "attempt", None) is not None:
            raise UsageError("a step cannot execute a pipeline: it would wait for itself")
        if _runs_in == threading.get_ident():
            raise UsageError(
                "a callback cannot execute a pipeline: the run that it is told of has not ended",
                hint="note what is to be done, and do it after execute()",
            )
        self._check_call(targets, jobs, on_event)
        callbacks = [on_event] if callable(on_event) else list(on_event)
        show = _in_notebook() if progress is None else progress
        teller = Teller(callbacks, print if show else None)
        root = os.path.join(_here(), self._root or "")
        where = Where(os.path.abspath(root), self._name, self._name, source=self)
        options = engine.Options(targets=targets, jobs=jobs, keep_going=keep_going, force=force)
        with _ONE:
            try:
                _leave()
                os.makedirs(where.root, exist_ok=True)
                began = time.monotonic()
                with Uncollected() as planning, open_workspace(where, write=True, tell=teller.tell, mend=True) as space:
                    told = self.notifier(teller, where.state)
                    builder = engine.Builder(space, options, told, began, lambda *_: planning.over(), alone=False)
                    code = builder.build()
                    results = self._results(space, teller, builder)
            finally:
                _return()
        if code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        if code and raise_on_error:
            failed = [name for name, told in teller.told.items() if told.status == FAILED]
            lines = [f"{name}: {teller.told[name].error}" for name in failed]
            steps = f'step "{failed[0]}"' if len(failed) == 1 else f"{len(failed)} steps"
            error = PipelineError(f'{steps} of pipeline "{self._name}" failed', results, lines)
            raise error from next((self._raised[name] for name in failed if name in self._raised), None)
        return results

    def folder(self, here: str) -> str:
        """The absolute path of the pipeline's folder, which is made where it is missing. UsageError. `here` is what `root` is relative to."""
        root = os.path.abspath(os.path.join(here, self._root or ""))
        try:
            os.makedirs(root, exist_ok=True)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            why = "it is no folder" if os.path.exists(root) else why.lower()
            raise UsageError(
                f'cannot work in the root "{escaped(self._root or "")}": {why}', where=f'pipeline "{self._name}"'
            ) from None
        return root

    def _check_call(self, targets: Sequence[object], jobs: object, on_event: object) -> None:
        """Can the pipeline be executed so? UsageError."""
        where = f'pipeline "{self._name}"'
        for target in targets:
            if not isinstance(target, str):
                name = f'"{target.name}"' if isinstance(target, BaseStep) else None
                hint = f"write {name}, the name of the step" if name else "execute() makes all of them"
                raise UsageError(f"a target is a text, as on the command line, not {target!r}", where=where, hint=hint)
        if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 0:
            raise UsageError(f"jobs must be a whole number, 0 for the cores, not {jobs!r}", where=where)
        callbacks = on_event if isinstance(on_event, (list, tuple)) else [on_event]
        if not all(map(callable, callbacks)):
            raise UsageError(f"on_event takes a callable, or a list of them, not {on_event!r}", where=where)
        self.folder(_here())

    def _results(self, space: Workspace, teller: Teller, builder: engine.Builder) -> Results:
        plan, contents = space.plan, space.contents
        numbers = {step.name: number for number, step in enumerate(plan.steps)}
        if builder.selection.jobs is not None:
            asked = {plan.step_of(job) for job in needed(plan, range(plan.jobs), builder.selection)}
            for number, each in enumerate(plan.steps):
                if number not in asked:
                    teller.result(each.name).note(NOT_RUN)
        for number, each in enumerate(plan.steps):
            if plan.first[number] == plan.first[number + 1]:
                found = teller.result(each.name)
                found.status, found.reason = NOT_RUN, "no file gives it a job"
        for job in builder.unreached:
            teller.result(plan.steps[plan.step_of(job)].name).note(NOT_RUN)
        root, kept = space.where.root, space.store.values
        raised, held = self._raised, self._held
        assert kept is not None

        def make(step: BaseStep) -> StepResult:
            found = teller.told.get(step.name) or StepResult(step.name)
            found.exception = raised.get(step.name) if found.status == FAILED else None
            number = numbers[step.name]
            keys = [key for job in range(plan.first[number], plan.first[number + 1]) for key in plan.targets(job)]
            if step.makes_value:
                key = plan.names[keys[0]]
                path = os.path.join(root, key)
                expected = contents.columns.fingerprint(keys[0])
                found._read = lambda: values.read(path, held, expected, kept.read(key))
            else:
                found.paths = tuple(plan.names[key] for key in keys)
            return found

        return Results(self._steps, teller.told, make)

    # -- the project --------------------------------------------------------------------------------------------------------------------

    def project(self, root: str) -> Project:
        """The pipeline as the engine knows it. PlanError with all mistakes of the first kind found."""
        if not self._steps:
            raise UsageError(f'pipeline "{self._name}" has no steps', hint="add_step adds one")
        self._held, self._raised = {}, {}
        _Checks(self).check()
        checker = Checker(f'pipeline "{self._name}"', root, values.program())
        place = _location(self._place, root, {})
        pools, stores = checker.pools(place, self._pools), checker.stores(place, self._stores)
        places: dict[Location, Location] = {}
        said = checker.steps({step: _location(own(step).place, root, places) for step in self.steps}, pools)
        code = identity.Known(root)
        translation = Translation(self._name, self._workers, said, code, self._held, self._raised)
        steps = tuple([translation.of(step) for step in said])
        code.forget_values()
        today = checker.today.date().isoformat() if checker.today.used else None
        return Project(root=root, files=(), steps=steps, pools=pools or {}, stores=stores, today=today)


class _Checks:
    """Mistakes in the connections."""

    def __init__(self, pipeline: PipelineBuilder) -> None:
        self._pipeline = pipeline

    def check(self) -> None:
        steps, met, backwards = self._pipeline.steps, set(), False
        for step in steps:
            for before in own(step).before:
                theirs = own(before).pipeline
                if theirs is not self._pipeline:
                    what = "was not added to it" if theirs is None else f'belongs to the pipeline "{theirs.name}"'
                    raise mistake(
                        own(before).place,
                        f'step "{before.name}" comes before "{step.name}" of the pipeline "{self._pipeline.name}", and {what}',
                        "add_step adds a step" if theirs is None else "make one step for each pipeline",
                    )
                backwards = backwards or before not in met
            met.add(step)
        if backwards:  # a circle needs one step that comes before one added earlier
            self._no_circle(steps)

    @staticmethod
    def _no_circle(steps: Sequence[BaseStep]) -> None:
        left = {step: len(own(step).before) for step in steps}
        readers: dict[BaseStep, list[BaseStep]] = {}
        for step in steps:
            for before in own(step).before:
                readers.setdefault(before, []).append(step)
        ready = [step for step in steps if not left[step]]
        for step in ready:
            for then in readers.get(step, ()):
                left[then] -= 1
                if not left[then]:
                    ready.append(then)
        if len(ready) == len(steps):
            return
        stuck = {step for step in steps if left[step]}
        way: list[BaseStep] = []
        step = next(each for each in steps if each in stuck)
        while step not in way:
            way.append(step)
            step = next(each for each in own(step).before if each in stuck)
        circle = [*way[way.index(step) :], step][::-1]
        raise mistake(
            own(step).place,
            f"steps wait for each other: {' >> '.join(each.name for each in circle)}",
            "take one of these connections away",
        )


def _location(place: Location, root: str, places: dict[Location, Location]) -> Location:
    found = places.get(place)
    if found is None:
        inside = place.file.startswith(root + os.sep)
        found = places[place] = Location(os.path.relpath(place.file, root) if inside else place.file, place.line)
    return found


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")
