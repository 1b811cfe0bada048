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
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .. import build as engine
from ..errors import EXIT_INTERRUPTED, DuctError, Mistake, PlanError, UsageError
from ..keys import HTTP, VALUES, bucket_and_name, is_remote, secret_in
from ..model import Body, Check, Location, Project, Run, Slot, Step
from ..notifying import Notifier, checked
from ..plan.definition import canonical
from ..runners.command import compile_command
from ..runners.threads import HERE
from ..workspace import Where, open_workspace
from . import calling, identity, values
from .calling import Recipe
from .objects import UnidentifiedError
from .results import FAILED, NOT_RUN, PipelineError, Results, StepResult
from .steps import BaseStep, CopyStep, ShellStep
from .telling import Teller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..events import Event, Reporter
    from ..model import Work
    from ..workspace import Workspace
    from .steps import Keys

_NAME = re.compile(r"\w[\w.+-]*")
_OPEN = re.compile(r"[*?\[{]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ONE = threading.Lock()
"""A run stands in its project's folder, and so does the whole process: one run at a time."""


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
        root: str | None = None,
        workers: str = "threads",
        pools: Mapping[str, int] | None = None,
        notify: Any = None,
        stores: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"a pipeline's name has letters, digits, _ . + and - only, not {name!r}")
        if workers not in ("threads", "processes"):
            raise ValueError(f'workers is "threads" or "processes", not {workers!r}')
        self._name = name
        self._root = root
        self._workers = workers
        self._pools = dict(pools or {})
        self._stores = dict(stores or {})
        self._notify = checked(notify)
        self._steps: dict[str, BaseStep] = {}
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
        if not hasattr(step, "_before"):
            raise TypeError(f"{type(step).__name__}.__init__ must call super().__init__()")
        if not _NAME.fullmatch(step.name):
            raise ValueError(f"a step's name has letters, digits, _ . + and - only, not {step.name!r}")
        if step._pipeline is self:
            raise ValueError(f'step "{step.name}" was added already')
        if step._pipeline is not None:
            raise ValueError(f'step "{step.name}" belongs to the pipeline "{step._pipeline.name}" already')
        other = self._steps.get(step.name)
        if other is not None:
            raise ValueError(
                f'two steps are called "{step.name}": {other._place} and {step._place}; give one of them another name'
            )
        step._pipeline = self
        self._steps[step.name] = step
        return step

    def add_steps(self, *steps: BaseStep) -> None:
        """Add several steps."""
        for step in steps:
            self.add_step(step)

    def notifier(self, reporter: Reporter, state: str) -> Reporter:
        """The reporter, and after it the notifications of this pipeline. `state` is the state folder."""
        if not any(self._notify.values()):
            return reporter
        secrets = {name for step in self._steps.values() for name in step._settings["secrets"]}
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
        callbacks = [on_event] if callable(on_event) else list(on_event)
        show = _in_notebook() if progress is None else progress
        teller = Teller(callbacks, print if show else None)
        where = Where(os.path.abspath(self._root or os.getcwd()), f"{self._name}", self._name, source=self)
        options = engine.Options(targets=targets, jobs=jobs, keep_going=keep_going, force=force)
        with _ONE:
            before = os.getcwd()
            try:
                os.makedirs(where.root, exist_ok=True)
                self._raised.clear()
                began = time.monotonic()
                with _uncollected() as collect, open_workspace(where, write=True, tell=teller.tell, mend=True) as space:
                    collect()
                    builder = engine.Builder(space, options, self.notifier(teller, where.state), began)
                    code = builder.build()
                    results = self._results(space, teller, builder.unreached)
            finally:
                os.chdir(before)
        if code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        if code and raise_on_error:
            failed = [name for name, told in teller.told.items() if told.status == FAILED]
            lines = [f"{name}: {teller.told[name].error}" for name in failed]
            steps = f'step "{failed[0]}"' if len(failed) == 1 else f"{len(failed)} steps"
            error = PipelineError(f'{steps} of pipeline "{self._name}" failed', results, lines)
            raise error from next((self._raised[name] for name in failed if name in self._raised), None)
        return results

    def _results(self, space: Workspace, teller: Teller, unreached: set[int]) -> Results:
        plan, contents = space.plan, space.contents
        numbers = {step.name: number for number, step in enumerate(plan.steps)}
        for job in unreached:
            teller.result(plan.steps[plan.step_of(job)].name).note(NOT_RUN)
        root = space.where.root
        raised = dict(self._raised)

        def make(step: BaseStep) -> StepResult:
            found = teller.told.get(step.name) or StepResult(step.name)
            found.exception = raised.get(step.name) if found.status == FAILED else None
            number = numbers[step.name]
            keys = [key for job in range(plan.first[number], plan.first[number + 1]) for key in plan.targets(job)]
            if step.makes_value:
                path = os.path.join(root, plan.names[keys[0]])
                expected = contents.fingerprint(keys[0], Check.CONTENT) if path else None
                found._read = lambda: values.read(path, self._held, expected)
            else:
                found.paths = tuple(plan.names[key] for key in keys)
            return found

        return Results(self.steps, teller.told, make)

    # -- the project --------------------------------------------------------------------------------------------------------------------

    def project(self, root: str) -> Project:
        """The pipeline as the engine knows it. PlanError with all mistakes of the first kind found."""
        if not self._steps:
            raise UsageError(f'pipeline "{self._name}" has no steps', hint="add_step adds one")
        _Checks(self).check()
        places: dict[str, str] = {}
        known = identity.Known(root)
        steps = tuple(self._step(step, root, places, known) for step in self._steps.values())
        known.forget_values()
        return Project(root=root, files=(), steps=steps, pools=self._pools, stores=self._stores)

    def _step(self, step: BaseStep, root: str, places: dict[str, str], known: identity.Known) -> Step:
        place = _location(step._place, root, places)
        own = _slots(step._inputs, place) if step._inputs else []
        inputs, after = list(own), list(step._settings["after"])
        if isinstance(step, CopyStep):
            after += [each.name for each in step._before]
            sources = []
        else:
            sources = [self._source(each, inputs, after, place) for each in step._before]
        if step.makes_value:
            targets = [Slot(self._value_key(step), None, place)]
        else:
            targets = _slots(step._targets, place)
        settings = step._settings
        if after:
            settings = {**settings, "after": tuple(dict.fromkeys(after))}
        if not step._cache:
            settings = {**settings, "max_age": 0}
        made = _replaced(
            _PLAIN,
            name=step.name,
            location=place,
            run_location=place,
            inputs=tuple(inputs),
            targets=tuple(targets),
            check=step._check_by,
            **settings,
        )
        if isinstance(step, CopyStep):
            return self._copying(step, made)
        if isinstance(step, ShellStep):
            return self._command(step, made)
        recipe = Recipe(
            tuple(sources),
            len(own),
            tuple(slot.name for slot in own),
            tuple(slot.name for slot in targets),
            step._settings["params"],
            step.makes_value,
            step._cache,
        )
        _check_arguments(step, recipe, made)
        code, params = _identity(step, known)
        return _replaced(made, code=code, params=params, body=self._body(step, recipe, root, known))

    def _value_key(self, step: BaseStep) -> str:
        return f"{VALUES}{self._name}/{step.name}"

    def _source(
        self, before: BaseStep, inputs: list[Slot], after: list[str], place: Location
    ) -> tuple[str, str, tuple[int, ...]]:
        """What a step before gives, as further inputs: its name, the kind of its output, the slots meant."""
        if before.makes_value:
            inputs.append(Slot(self._value_key(before), None, place))
            return before.name, "value", (len(inputs) - 1,)
        slots = _slots(before._targets, place)
        if not slots:
            after.append(before.name)
            return before.name, "nothing", ()
        if any(_OPEN.search(slot.text) or slot.text.endswith("/") for slot in slots):
            inputs.append(Slot("", None, place, step=before.name))
            return before.name, "paths", (len(inputs) - 1,)
        at = []
        for slot in slots:
            known = next((n for n, each in enumerate(inputs) if each.text == slot.text and not each.step), None)
            if known is None:
                inputs.append(Slot(slot.text, None, place))
            at.append(len(inputs) - 1 if known is None else known)
        return before.name, "path" if len(slots) == 1 else "paths", tuple(at)

    @staticmethod
    def _copying(step: CopyStep, made: Step) -> Step:
        both = [*made.inputs, *made.targets]
        if (
            len(made.inputs) != 1
            or len(made.targets) != 1
            or any(slot.step or slot.text.endswith("/") for slot in both)
        ):
            raise _mistake(
                step._place, f'step "{step.name}" copies one key to one key', "make a step for each, or use a wildcard"
            )
        if made.targets[0].text.startswith(HTTP):
            raise _mistake(
                step._place,
                f'step "{step.name}" has {made.targets[0].text} as its target',
                "an address can only be read",
            )
        return _replaced(made, copy=True, sha256=step.sha256)

    def _command(self, step: ShellStep, made: Step) -> Step:
        taken = [each.name for each in step._before if each.makes_value]
        if taken:
            raise _mistake(
                step._place,
                f'step "{step.name}" is a command, and cannot take the value of "{taken[0]}"',
                f'give "{taken[0]}" a target file',
            )
        if isinstance(step.command, str):
            run = Run(text=step.command, shell=step.shell)
        else:
            run = Run(argv=step.command)
        for name, value in made.params.items():
            try:
                canonical(value)
            except (TypeError, ValueError, RecursionError) as error:
                what = f'step "{step.name}": param "{name}" cannot be told as text: {error}'
                raise _mistake(step._place, what, "give plain data") from None
        found = _replaced(made, run=run)
        compile_command(found)
        return found

    def _body(self, step: BaseStep, recipe: Recipe, root: str, known: identity.Known) -> Body:
        function, merge = step.function, step.merge
        given = [name for name in ("cwd", "env_set") if step._settings[name] not in (".", "", {})]
        if given and self._workers == "threads":
            setting = {"cwd": "cwd", "env_set": "a table as env"}[given[0]]
            raise _mistake(
                step._place,
                f'step "{step.name}" has {setting}, which all threads of the process would share',
                'say workers="processes", or use a ShellStep',
            )
        label = f"{identity.name_of(_thing(step))}()"
        if self._workers == "processes":
            if not step._cache:
                raise _mistake(
                    step._place,
                    f'step "{step.name}" says cache=False, and its value would stay in another process',
                    'say workers="threads", or leave cache as it is',
                )
            asked = {"function": _importable(step, function, root), "recipe": recipe.plain()}
            return Body(_never, label, ("miniduct.pipeline.calling", "remote", asked))
        raised, held, name = self._raised, self._held, step.name

        def call(work: Work) -> Mapping[str, bytes]:
            try:
                return calling.perform(function, merge, recipe, work, held, known.classes)
            except BaseException as error:
                raised[name] = error
                raise

        return Body(call, label)


def _never(work: Work) -> None:  # noqa: ARG001
    raise AssertionError("called in a worker only")


def _thing(step: BaseStep) -> object:
    """What the step's identity rests on: the function, or the object itself with the fields of its own."""
    return step if getattr(step.function, "__self__", None) is step or step.merge is not None else step.function


def _identity(step: BaseStep, known: identity.Known) -> tuple[tuple[tuple[str, str], ...], dict[str, Any]]:
    """The step's code, and what stands for its parameters. PlanError where something cannot be told from another."""
    found, parts, what = {}, [], ""
    try:
        for name, value in step._settings["params"].items():
            what = f'param "{name}"'
            found[name], part = known.param(value)
            if part.uses:
                parts.append(part)
        what = "what its function uses"
        return known.code_of(_thing(step), *parts), found
    except UnidentifiedError as error:
        raise _mistake(
            step._place, f'step "{step.name}": {what} {error}', "give plain data, or a file as an input"
        ) from None


def _replaced(step: Step, **changes: Any) -> Step:
    """`dataclasses.replace` with less work: there may be 10,000 steps."""
    found = object.__new__(Step)
    found.__dict__.update(step.__dict__, **changes)
    return found


_PLAIN = Step("", Location("", 0))


def _importable(step: BaseStep, function: Callable[..., Any], root: str) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module == "__main__":
        file = os.path.abspath(getattr(sys.modules["__main__"], "__file__", "") or "")
        module = os.path.splitext(os.path.basename(file))[0] if os.path.dirname(file) == os.path.abspath(root) else None
    own = getattr(function, "__self__", None) is step
    if module is None or not name.replace(".", "_").isidentifier() or own or step.merge is not None:
        raise _mistake(
            step._place,
            f'step "{step.name}" cannot be called in another process: its function cannot be imported by name',
            'put a plain function into a module, or say workers="threads"',
        )
    return f"{module}:{name}"


def _check_arguments(step: BaseStep, recipe: Recipe, made: Step) -> None:
    """Does the function take what it will get? Only what is certain is a mistake."""
    function = step.function
    if calling.is_async(function):
        raise _mistake(
            step._place, f'step "{step.name}" has an async function', "call asyncio.run inside a plain function"
        )
    if isinstance(step, BaseStep) and type(step).run is BaseStep.run:
        raise _mistake(step._place, f'step "{step.name}": {type(step).__name__} does not define run', "write it")
    known = calling.takes(function)
    if known is None or step.merge is not None:
        return
    given = len(recipe.sources)
    if given > known.by_place and not known.rest:
        outputs = "1 step" if given == 1 else f"{given} steps"
        raise _mistake(
            step._place,
            f'step "{step.name}" gets the output of {outputs}, and {recipe_name(function)} takes {known.by_place} arguments',
            "use after=[…] where only the order matters",
        )
    names = {*recipe.params, "params", *(key for key, _ in made.foreach)}
    names |= {"input", "inputs"} if recipe.own else set()
    names |= set() if recipe.makes_value else {"target", "targets"}
    if not any(name in known.required and name not in names for name in known.named[given:]):
        return
    wildcards = {name for slot in (*made.targets, *made.inputs) for name in re.findall(r"\{(\w+)", slot.text)}
    missing = [name for name in known.named[given:] if name in known.required and name not in names | wildcards]
    if missing:
        have = ", ".join(sorted(names | wildcards))
        raise _mistake(
            step._place,
            f'step "{step.name}" has nothing for the argument "{missing[0]}" of {recipe_name(function)}',
            f"it could take: {have}; or connect a step with >>",
        )


def recipe_name(function: object) -> str:
    return f"{getattr(function, '__qualname__', type(function).__qualname__)}()"


class _Checks:
    """Mistakes in the connections."""

    def __init__(self, pipeline: PipelineBuilder) -> None:
        self._pipeline = pipeline

    def check(self) -> None:
        steps = self._pipeline.steps
        for step in steps:
            for before in step._before:
                if before._pipeline is not self._pipeline:
                    theirs = before._pipeline
                    what = "was not added to it" if theirs is None else f'belongs to the pipeline "{theirs.name}"'
                    raise _mistake(
                        before._place,
                        f'step "{before.name}" comes before "{step.name}" of the pipeline "{self._pipeline.name}", and {what}',
                        "add_step adds a step" if theirs is None else "make one step for each pipeline",
                    )
        self._no_circle(steps)

    @staticmethod
    def _no_circle(steps: Sequence[BaseStep]) -> None:
        left = {step: len(step._before) for step in steps}
        readers: dict[BaseStep, list[BaseStep]] = {}
        for step in steps:
            for before in step._before:
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
            step = next(each for each in step._before if each in stuck)
        circle = [*way[way.index(step) :], step][::-1]
        raise _mistake(
            step._place,
            f"steps wait for each other: {' >> '.join(each.name for each in circle)}",
            "take one of these connections away",
        )


def _mistake(place: Location, what: str, hint: str) -> PlanError:
    file = os.path.relpath(place.file) if place.file.startswith(os.getcwd() + os.sep) else place.file
    return PlanError([Mistake(file, place.line, what, hint=hint)])


def _location(place: Location, root: str, places: dict[str, str]) -> Location:
    file = places.get(place.file)
    if file is None:
        inside = place.file.startswith(root + os.sep)
        file = places[place.file] = os.path.relpath(place.file, root) if inside else place.file
    return Location(file, place.line)


def _slots(keys: Keys, place: Location) -> list[Slot]:
    if isinstance(keys, str):
        return [Slot(_key(keys, place), None, place)]
    if not isinstance(keys, (list, tuple)):
        return [
            _slot(text, name, place)
            for name, listed in keys.items()  # type: ignore[union-attr]
            for text in ([listed] if isinstance(listed, str) else listed)
        ]
    return [_slot(text, None, place) for text in keys]


def _slot(text: str, name: str | None, place: Location) -> Slot:
    if isinstance(text, str) and text.startswith("step:"):
        return Slot("", name, place, step=text[5:])
    return Slot(_key(text, place), name, place)


def _key(text: Any, place: Location) -> str:
    """The canonical key: relative to the root, a folder with its slash."""
    if isinstance(text, os.PathLike):
        text = os.fspath(text)
    if not isinstance(text, str) or not text:
        raise _mistake(place, f"a key must be a text, not {text!r}", "inputs and targets are paths")
    if is_remote(text):
        return _remote_key(text, place)
    if _SCHEME.match(text):
        raise _mistake(place, f"keys of this kind are not supported: {text}", "local files, gs:// and https:// are")
    folder = "/" if text.endswith("/") and text.strip("/") else ""
    return os.path.normpath(text) + folder


def _remote_key(text: str, place: Location) -> str:
    if text.startswith(HTTP):
        secret = secret_in(text)
        if secret is not None:
            what = f'an address has a secret in it ("{secret}"), and a key is shown and stored'
            raise _mistake(place, what, "give it as headers or query in stores={...}, from a variable")
    elif not _OPEN.search(text):
        try:
            bucket_and_name(text)
        except ValueError as error:
            raise _mistake(place, f"{text}: {error}", "write gs://bucket/name") from None
    return text


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


def load(path: str) -> PipelineBuilder:
    """The one pipeline that a Python file defines. UsageError where there is none, or more than one, or the file cannot be run."""
    import importlib.util

    from ..runners.worker import Fresh

    path = os.path.abspath(path)
    folder, name = os.path.split(path)
    own = os.path.splitext(name)[0]
    spec = importlib.util.spec_from_file_location(own, path, loader=Fresh(own, path))
    if spec is None or spec.loader is None:
        raise UsageError(f'"{path}" is no Python file')
    module = importlib.util.module_from_spec(spec)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except DuctError:
        raise
    except Exception as error:
        trace = error.__traceback__
        line = 0
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == path:
                line = trace.tb_lineno
            trace = trace.tb_next
        lines = str(error).partition("\n")[0]
        raise UsageError(
            f"running it raised {type(error).__name__}: {lines}",
            where=f"{name}:{getattr(error, 'lineno', None) or line}",
        ) from error
    found = list({id(value): value for value in vars(module).values() if isinstance(value, PipelineBuilder)}.values())
    if len(found) != 1:
        what = "no pipeline" if not found else f"{len(found)} pipelines: {', '.join(each.name for each in found)}"
        raise UsageError(f'"{name}" defines {what}', hint="the command needs one PipelineBuilder in the module")
    return found[0]
