"""From steps and connections to a project of the engine, and from its run to results.

Whatever is wrong with a pipeline is told before anything runs. Invariant: the project depends only on the steps, so that the command, `execute` and a
Ductfile of the same words are judged alike.
"""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from blake3 import blake3

from .. import build as engine
from ..errors import EXIT_INTERRUPTED, Mistake, PlanError, UsageError
from ..keys import VALUES
from ..model import Body, Check, Location, Project, Slot, Step
from ..notifying import Notifier, checked
from ..plan.definition import canonical
from ..plan.select import needed
from ..runners.attempts import HERE
from ..runners.command import compile_command
from ..template import parse
from ..text import escaped
from ..workspace import Where, open_workspace
from . import calling, identity, values
from .calling import Merge, Recipe, Source
from .checking import Checker
from .objects import UnidentifiedError
from .results import FAILED, NOT_RUN, PipelineError, Results, StepResult
from .steps import BaseStep, CopyStep, PythonStep, ShellStep, own, place_of_call
from .telling import Teller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..events import Event, Reporter
    from ..model import Work
    from ..workspace import Workspace
    from .checking import Said

_NAME = re.compile(r"\w[\w.+-]*")
_OPEN = re.compile(r"[*?\[{]")
_LONGEST_LINE = 500
"""Letters of an exception's own words."""
_LONGEST_FILE_NAME = 255
"""Bytes. A step's name that fits is also the name of its value's file: so it always was, and values of earlier runs are found."""
_ONE = threading.Lock()
"""A run stands in its project's folder, and so does the whole process: one run at a time."""


Made = TypeVar("Made", Step, Body)

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
        `raise_on_error` is False; PlanError and UsageError where the pipeline itself is wrong, before anything runs. Runs of
        one process take turns, and so do those of a project.
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
                with _uncollected() as collect, open_workspace(where, write=True, tell=teller.tell, mend=True) as space:
                    told = self.notifier(teller, where.state)
                    # Where jobs run, the engine has the collector leave alone by then what there is.
                    builder = engine.Builder(space, options, told, began, lambda *_: collect())
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
        for job in builder.unreached:
            teller.result(plan.steps[plan.step_of(job)].name).note(NOT_RUN)
        root = space.where.root
        raised, held = self._raised, self._held

        def make(step: BaseStep) -> StepResult:
            found = teller.told.get(step.name) or StepResult(step.name)
            found.exception = raised.get(step.name) if found.status == FAILED else None
            number = numbers[step.name]
            keys = [key for job in range(plan.first[number], plan.first[number + 1]) for key in plan.targets(job)]
            if step.makes_value:
                path = os.path.join(root, plan.names[keys[0]])
                expected = contents.fingerprint(keys[0], Check.CONTENT) if path else None
                found._read = lambda: values.read(path, held, expected)
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
        translation = _Translation(self._name, self._workers, said, code, self._held, self._raised)
        steps = tuple([translation.of(step) for step in said])
        code.forget_values()
        today = checker.today.date().isoformat() if checker.today.used else None
        return Project(root=root, files=(), steps=steps, pools=pools or {}, stores=stores, today=today)


class _First(NamedTuple):
    """The first of some steps that are alike."""

    function: Callable[..., Any]
    """Kept, so that its id stays its own."""
    step: Step
    body: Body
    recipe: Recipe


class _Translation:
    """The steps of a pipeline as the engine knows them, from what they say.

    Steps are alike that have one function and differ in their names, plain keys and values of parameters only. The first of them is checked
    for all, and the others are made after it: 10,000 of them are most of what a large pipeline with nothing to do costs.
    """

    def __init__(
        self,
        pipeline: str,
        workers: str,
        said: Mapping[BaseStep, Said],
        code: identity.Known,
        held: dict[str, Any],
        raised: dict[str, BaseException],
    ) -> None:
        self._folder = f"{VALUES}{pipeline}/"
        self._workers = workers
        self._said = said
        self._code = code
        self._held = held
        self._raised = raised
        self._firsts: dict[tuple[object, ...], _First] = {}

    def of(self, step: BaseStep) -> Step:
        """The step for the engine. PlanError with what is wrong with its function."""
        said, name, before = self._said[step], step.name, own(step).before
        inputs, after = [*said.inputs], [*said.settings.get("after", ())]
        sources: tuple[Source, ...] = ()
        if isinstance(step, CopyStep):
            after += [each.name for each in before]
        elif before:
            sources = tuple([self._source(each, inputs, after, said.place) for each in before])
        mine: dict[str, Any] = {
            "name": name,
            "location": said.place,
            "run_location": said.place,
            "inputs": tuple(inputs),
            "targets": (Slot(self._value_key(name), None, said.place),) if said.makes_value else said.targets,
            "after": tuple(dict.fromkeys(after)),
        }
        if isinstance(step, (CopyStep, ShellStep)):
            return _without_function(step, said, mine)
        function, merge = _methods(step)
        if merge is not None or getattr(function, "__self__", None) is step:
            return self._first(step, function, merge, sources, mine).step
        params = said.settings.get("params", {})
        shape = (id(said.first), id(function), sources, tuple(params))
        first = self._firsts.get(shape)
        if first is None:
            first = self._firsts[shape] = self._first(step, function, None, sources, mine)
            return first.step
        recipe = first.recipe
        if params:
            recipe = replace(recipe, params=params)
            mine["code"], mine["params"] = _identity(step, function, params, self._code)
        if first.body.remote is None:
            mine["body"] = _replaced(first.body, {"call": partial(self._perform, name, function, None, recipe)})
        elif params:
            module, called, asked = first.body.remote
            mine["body"] = _replaced(first.body, {"remote": (module, called, {**asked, "recipe": recipe.plain()})})
        return _replaced(first.step, mine)

    def _first(
        self,
        step: BaseStep,
        function: Callable[..., Any],
        merge: Merge | None,
        sources: tuple[Source, ...],
        mine: Mapping[str, Any],
    ) -> _First:
        said, held = self._said[step], own(step)
        made = _replaced(_PLAIN, {**said.settings, **mine})
        if not held.cache:
            made = _replaced(made, {"max_age": 0})
        recipe = Recipe(
            sources,
            tuple([each.name for each in held.before]) if merge is not None else (),
            len(said.inputs),
            tuple([slot.name for slot in said.inputs]),
            tuple([slot.name for slot in made.targets]),
            made.params,
            said.makes_value,
            held.cache,
        )
        _check_arguments(step, function, merge, recipe, made)
        thing = function if merge is None and getattr(function, "__self__", None) is not step else step
        pieces, params = _identity(step, thing, made.params, self._code)
        body = self._body(step, function, merge, made, recipe, thing)
        return _First(function, _replaced(made, {"code": pieces, "params": params, "body": body}), body, recipe)

    def _value_key(self, name: str) -> str:
        if not name.isascii() or len(name) > _LONGEST_FILE_NAME:
            data = os.fsencode(name)
            if len(data) > _LONGEST_FILE_NAME:
                data = b"%b-%b" % (data[:200], blake3(data).hexdigest(length=6).encode())
            name = data.decode(errors="ignore")
        return self._folder + name

    def _source(self, before: BaseStep, inputs: list[Slot], after: list[str], place: Location) -> Source:
        """What a step before gives, as further inputs: the kind of its output, the slots meant."""
        said = self._said[before]
        slots = said.targets
        if said.makes_value:
            inputs.append(Slot(self._value_key(before.name), None, place))
            return "value", (len(inputs) - 1,)
        if not slots:
            after.append(before.name)
            return "nothing", ()
        kind = "path" if len(slots) == 1 and not _OPEN.search(slots[0].text) else "paths"
        if any(_OPEN.search(slot.text) or slot.text.endswith("/") for slot in slots):
            inputs.append(Slot("", None, place, step=before.name))
            return kind, (len(inputs) - 1,)
        at = []
        for slot in slots:
            known = next((n for n, each in enumerate(inputs) if each.text == slot.text and not each.step), None)
            if known is None:
                inputs.append(Slot(slot.text, None, place))
            at.append(len(inputs) - 1 if known is None else known)
        return kind, tuple(at)

    def _body(
        self,
        step: BaseStep,
        function: Callable[..., Any],
        merge: Merge | None,
        made: Step,
        recipe: Recipe,
        thing: object,
    ) -> Body:
        if (made.cwd != "." or made.env_set) and self._workers == "threads":
            setting = "cwd" if made.cwd != "." else "a table as env"
            raise _mistake(
                own(step).place,
                f'step "{step.name}" has {setting}, which all threads of the process would share',
                'say workers="processes", or use a ShellStep',
            )
        label = f"{identity.name_of(thing)}()"
        if self._workers == "threads":
            call = partial(self._perform, step.name, function, merge, recipe)
            return Body(call, label, arguments=recipe.arguments())
        if not recipe.keeps:
            raise _mistake(
                own(step).place,
                f'step "{step.name}" says cache=False, and its value would stay in another process',
                'say workers="threads", or leave cache as it is',
            )
        return Body(_never, label, _remote(*_importable(step, function), recipe), recipe.arguments())

    def _perform(
        self, step: str, function: Callable[..., Any], merge: Merge | None, recipe: Recipe, work: Work
    ) -> Mapping[str, bytes]:
        try:
            return calling.perform(function, merge, recipe, work, self._held, self._code.classes)
        except BaseException as error:
            if not HERE.attempt.asked:  # else it is ours, or too late
                self._raised[step] = error
            raise


def _remote(function: str, folder: str, recipe: Recipe) -> tuple[str, str, Mapping[str, Any]]:
    asked = {"function": function, "folder": folder, "recipe": recipe.plain()}
    return "miniduct.pipeline.calling", "remote", asked


def _without_function(step: BaseStep, said: Said, mine: Mapping[str, Any]) -> Step:
    """The step of a command or a copy."""
    made = _replaced(_PLAIN, {**said.settings, **mine})
    if not own(step).cache:
        made = _replaced(made, {"max_age": 0})
    for method, base in (("run", BaseStep.run), ("merge", BaseStep.merge)):
        if getattr(type(step), method) is not base:
            what = f'step "{step.name}" calls no function, and {type(step).__name__} defines {method}'
            raise _mistake(own(step).place, what, "derive it from BaseStep")
    if isinstance(step, ShellStep):
        _check_texts(step, made.params)
        if said.first is step:
            compile_command(made)
    return made


def _never(work: Work) -> None:  # noqa: ARG001
    raise AssertionError("called in a worker only")


def _identity(
    step: BaseStep, thing: object, params: Mapping[str, Any], code: identity.Known
) -> tuple[tuple[tuple[str, str], ...], dict[str, Any]]:
    """The code that a step rests on by its `thing`, and what stands for its parameters. PlanError where something cannot be told from another."""
    found, parts, what = {}, [], ""
    try:
        for name, value in params.items():
            what = f'param "{name}"'
            found[name], part = code.param(value)
            if part.uses:
                parts.append(part)
        what = "what its function uses"
        return code.code_of(thing, *parts), found
    except UnidentifiedError as error:
        raise _mistake(
            own(step).place, f'step "{step.name}": {what} {error}', "give plain data, or a file as an input"
        ) from None


def _check_texts(step: BaseStep, params: Mapping[str, Any]) -> None:
    """The parameters of a command are texts in the end."""
    for name, value in params.items():
        try:
            canonical(value)
        except (TypeError, ValueError, RecursionError) as error:
            odd = _odd_names(value)
            why = f"it has the name {odd[0]!r}, and a name is a text" if odd else error
            what = f'step "{step.name}": param "{name}" cannot be told as text: {why}'
            raise _mistake(own(step).place, what, "give plain data") from None


def _odd_names(value: object) -> list[object]:
    """The names in it, at any depth, that are no texts."""
    found, waiting, seen = [], [value], set()
    while waiting:
        each = waiting.pop()
        if id(each) not in seen:
            seen.add(id(each))
            if isinstance(each, dict):
                found += [name for name in each if not isinstance(name, str)]
                waiting += each.values()
            elif isinstance(each, (list, tuple)):
                waiting += each
    return found


def _replaced(thing: Made, changes: Mapping[str, Any]) -> Made:
    """`dataclasses.replace` with less work: there may be 10,000 steps."""
    found = object.__new__(type(thing))
    found.__dict__.update(thing.__dict__)
    found.__dict__.update(changes)
    return found


_PLAIN = Step("", Location("", 0))


def _importable(step: BaseStep, function: Callable[..., Any]) -> tuple[str, str]:
    """The function as "module:name", and the folder that another process finds the module in."""
    module, name = getattr(function, "__module__", None) or "", getattr(function, "__qualname__", "")
    found: Any = sys.modules.get(module)
    top = sys.modules.get(module.partition(".")[0])
    place = next(iter(getattr(top, "__path__", ())), None) or getattr(top, "__file__", None)
    for part in name.split("."):
        found = getattr(found, part, None)
    same = found is function or (isinstance(found, PythonStep) and found.function is function)
    nameless = module == "__main__" and place is None
    if nameless or not same or getattr(function, "__self__", None) is step or step.merge is not None:
        raise _mistake(
            own(step).place,
            f'step "{step.name}" cannot be called in another process: its function cannot be imported by name',
            'put a plain function into a module, or say workers="threads"',
        )
    folder = os.path.dirname(os.path.abspath(place)) if place else ""
    return f"{values.program() if module == '__main__' else module}:{name}", folder


def _methods(step: BaseStep) -> tuple[Callable[..., Any], Merge | None]:
    """What is called for run and for merge. PlanError where a property of the user's raises."""
    method = "run"
    try:
        function = step.function
        method = "merge"
        return function, step.merge
    except Exception as error:
        what = f'step "{step.name}": {method} of {type(step).__name__} raised {raised(error)} when it was asked for'
        raise _mistake(own(step).place, what, f"write {method} as a method") from error


def _check_arguments(
    step: BaseStep, function: Callable[..., Any], merge: Merge | None, recipe: Recipe, made: Step
) -> None:
    """Does the function take what it will get? Only what is certain is a mistake."""
    if calling.is_async(function):
        raise _mistake(
            own(step).place, f'step "{step.name}" has an async function', "call asyncio.run inside a plain function"
        )
    if type(step).run is BaseStep.run:
        raise _mistake(own(step).place, f'step "{step.name}": {type(step).__name__} does not define run', "write it")
    for method, called in (("run", function), ("merge", merge or function)):
        if not callable(called):
            raise _mistake(
                own(step).place, f'step "{step.name}": {method} of {type(step).__name__} is no function', "write it"
            )
    known = calling.takes(function)
    if known is None or merge is not None:
        return
    given = len(recipe.sources)
    if given > known.by_place and not known.rest:
        outputs = "1 step" if given == 1 else f"{given} steps"
        raise _mistake(
            own(step).place,
            f'step "{step.name}" gets the output of {outputs}, and {recipe_name(function)} takes {known.by_place} arguments',
            "use after=[…] where only the order matters",
        )
    names = {key for key, _ in made.foreach}
    if not recipe.makes_value:
        names |= {"target", "targets"}
        names |= {
            each.name
            for slot in made.targets
            if "{" in slot.text
            for each in parse(slot.text, is_key=True).placeholders
        }
    names |= {"input", "inputs"} if recipe.own else set()
    both = recipe.params.keys() & known.named & {*names, "params"}
    if both:
        raise _wrong_argument(
            step, min(both), f"is both {{{min(both)}}} and params.{min(both)}", "give one of them another name"
        )
    names |= recipe.params.keys()
    names |= {"params"} if recipe.params else set()
    for name, (kind, slots), before in zip(known.named[: known.by_place], recipe.sources, own(step).before):
        same = (name, kind) in (("input", "path"), ("inputs", "paths")) and slots == (*range(recipe.own),)
        if name in {*names, "target", "targets"} and not same:
            raise _wrong_argument(
                step,
                name,
                f'would get the output of "{before.name}" by its place, and has a meaning of its own',
                f'put an argument for the output before it, or say after=["{before.name}"] where only the order matters',
            )
    placed = known.named[: len(recipe.sources)]
    names |= {"params"}
    for name in known.named:
        if name in known.only_by_place and name in names and name not in placed:
            raise _wrong_argument(step, name, "cannot be given by its name", 'leave the "/" out of its parameters')
        if name in known.required and name not in names and name not in placed:
            raise _wrong_argument(
                step, name, "gets no value", f"there are: {', '.join(sorted(names))}; or connect a step with >>"
            )


def _wrong_argument(step: BaseStep, name: str, what: str, hint: str) -> PlanError:
    argument = f'argument "{name}" of {recipe_name(step.function)}'
    return _mistake(own(step).place, f'step "{step.name}": {argument} {what}', hint)


def said(error: BaseException) -> str:
    """What an exception says, on one line; nothing where it cannot say it."""
    try:
        return one_line(str(error))
    except Exception:
        return ""


def one_line(text: str) -> str:
    """The first line, harmless to a terminal, and not too long for one."""
    return escaped(text.strip().partition("\n")[0][:_LONGEST_LINE])


def raised(error: BaseException) -> str:
    """The kind of an exception, and what it says."""
    text = said(error)
    return type(error).__name__ + (f": {text}" if text else "")


def recipe_name(function: object) -> str:
    return f"{getattr(function, '__qualname__', type(function).__qualname__)}()"


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
                    raise _mistake(
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
        raise _mistake(
            own(step).place,
            f"steps wait for each other: {' >> '.join(each.name for each in circle)}",
            "take one of these connections away",
        )


def _mistake(place: Location, what: str, hint: str) -> PlanError:
    file = os.path.relpath(place.file) if place.file.startswith(os.getcwd() + os.sep) else place.file
    return PlanError([Mistake(file, place.line, what, hint=hint)])


def _location(place: Location, root: str, places: dict[Location, Location]) -> Location:
    found = places.get(place)
    if found is None:
        inside = place.file.startswith(root + os.sep)
        found = places[place] = Location(os.path.relpath(place.file, root) if inside else place.file, place.line)
    return found


@contextmanager
def _uncollected() -> Iterator[Callable[[], None]]:
    """Without the garbage collector, until the function given is called: opening makes many objects and no circles, and is a third faster so."""
    collecting = gc.isenabled()

    def collect() -> None:
        if collecting:
            gc.enable()

    gc.disable()
    try:
        yield collect
    finally:
        collect()


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")
