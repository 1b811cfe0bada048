"""From a step of a pipeline, checked, to one of the engine: its targets and inputs, what its function is called with, what identifies it.

Mistakes that only show here (a function that does not take what it would get, one that cannot be called in another process) are told with the
line that makes the step.
"""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from ..errors import Mistake, PlanError
from ..keys import VALUES
from ..model import Body, Location, Slot, Step
from ..plan.definition import canonical
from ..runners.attempts import HERE
from ..runners.command import compile_command
from ..template import parse
from ..tuples import NamedTuple
from . import calling, identity, values
from .calling import Merge, Recipe, Source, Takes
from .objects import UnidentifiedError
from .steps import BaseStep, CopyStep, PythonStep, ShellStep, own
from .wording import raised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..model import Product, Work
    from .checking import Said

_OPEN = re.compile(r"[*?\[{]")
_LONGEST_FILE_NAME = 255
"""Bytes. A step's name that fits is also the name of its value's file: so it always was, and values of earlier runs are found."""


class _First(NamedTuple):
    """The first of some steps that are alike."""

    function: Callable[..., Any]
    """Kept, so that its id stays its own."""
    step: Step
    body: Body
    recipe: Recipe
    known: Takes | None


class Translation:
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
            "after": tuple(dict.fromkeys(after)) if after else (),
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
            recipe = recipe._replace(params=params)
            mine["code"], mine["params"] = _identity(step, function, params, self._code)
        if first.body.remote is None:
            _, label, _, arguments = first.body
            call = partial(self._perform, name, function, None, recipe, first.known)
            mine["body"] = Body(call, label, None, arguments)
        elif params:
            module, called, asked = first.body.remote
            mine["body"] = first.body._replace(remote=(module, called, {**asked, "recipe": recipe.plain()}))
        return first.step._replace(**mine)

    def _first(
        self,
        step: BaseStep,
        function: Callable[..., Any],
        merge: Merge | None,
        sources: tuple[Source, ...],
        mine: Mapping[str, Any],
    ) -> _First:
        said, held = self._said[step], own(step)
        made = _PLAIN._replace(**said.settings)._replace(**mine)
        if not held.cache:
            made = made._replace(max_age=0)
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
        known = _check_arguments(step, function, merge, recipe, made)
        thing = function if merge is None and getattr(function, "__self__", None) is not step else step
        pieces, params = _identity(step, thing, made.params, self._code)
        body = self._body(step, function, merge, made, recipe, known, thing)
        return _First(function, made._replace(code=pieces, params=params, body=body), body, recipe, known)

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
        known: Takes | None,
        thing: object,
    ) -> Body:
        if (made.cwd != "." or made.env_set) and self._workers == "threads":
            setting = "cwd" if made.cwd != "." else "a table as env"
            raise mistake(
                own(step).place,
                f'step "{step.name}" has {setting}, which all threads of the process would share',
                'say workers="processes", or use a ShellStep',
            )
        label = f"{identity.name_of(thing)}()"
        if self._workers == "threads":
            call = partial(self._perform, step.name, function, merge, recipe, known)
            return Body(call, label, arguments=recipe.arguments())
        if not recipe.keeps:
            raise mistake(
                own(step).place,
                f'step "{step.name}" says cache=False, and its value would stay in another process',
                'say workers="threads", or leave cache as it is',
            )
        return Body(_never, label, _remote(*_importable(step, function), recipe), recipe.arguments())

    def _perform(
        self,
        step: str,
        function: Callable[..., Any],
        merge: Merge | None,
        recipe: Recipe,
        known: Takes | None,
        work: Work,
    ) -> Mapping[str, Product]:
        try:
            return calling.perform(function, merge, recipe, work, self._held, self._code.classes, known)
        except BaseException as error:
            if not HERE.attempt.asked:  # else it is ours, or too late
                self._raised[step] = error
            raise


def _remote(function: str, folder: str, recipe: Recipe) -> tuple[str, str, Mapping[str, Any]]:
    asked = {"function": function, "folder": folder, "recipe": recipe.plain()}
    return "miniduct.pipeline.calling", "remote", asked


def _without_function(step: BaseStep, said: Said, mine: Mapping[str, Any]) -> Step:
    """The step of a command or a copy."""
    made = _PLAIN._replace(**said.settings)._replace(**mine)
    if not own(step).cache:
        made = made._replace(max_age=0)
    for method, base in (("run", BaseStep.run), ("merge", BaseStep.merge)):
        if getattr(type(step), method) is not base:
            what = f'step "{step.name}" calls no function, and {type(step).__name__} defines {method}'
            raise mistake(own(step).place, what, "derive it from BaseStep")
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
        raise mistake(
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
            raise mistake(own(step).place, what, "give plain data") from None


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
        raise mistake(
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
        raise mistake(own(step).place, what, f"write {method} as a method") from error


def _check_arguments(
    step: BaseStep, function: Callable[..., Any], merge: Merge | None, recipe: Recipe, made: Step
) -> Takes | None:
    """What the function takes. PlanError where it does not take what it will get; only what is certain is a mistake."""
    if calling.is_async(function):
        raise mistake(
            own(step).place, f'step "{step.name}" has an async function', "call asyncio.run inside a plain function"
        )
    if type(step).run is BaseStep.run:
        raise mistake(own(step).place, f'step "{step.name}": {type(step).__name__} does not define run', "write it")
    for method, called in (("run", function), ("merge", merge or function)):
        if not callable(called):
            raise mistake(
                own(step).place, f'step "{step.name}": {method} of {type(step).__name__} is no function', "write it"
            )
    known = calling.takes(function)
    if known is None or merge is not None:
        return known
    given = len(recipe.sources)
    if given > known.by_place and not known.rest:
        outputs = "1 step" if given == 1 else f"{given} steps"
        raise mistake(
            own(step).place,
            f'step "{step.name}" gets the output of {outputs}, and {_called(function)} takes {known.by_place} arguments',
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
    return known


def _wrong_argument(step: BaseStep, name: str, what: str, hint: str) -> PlanError:
    argument = f'argument "{name}" of {_called(step.function)}'
    return mistake(own(step).place, f'step "{step.name}": {argument} {what}', hint)


def _called(function: object) -> str:
    return f"{getattr(function, '__qualname__', type(function).__qualname__)}()"


def mistake(place: Location, what: str, hint: str) -> PlanError:
    """The one mistake of a step made at this place."""
    file = os.path.relpath(place.file) if place.file.startswith(os.getcwd() + os.sep) else place.file
    return PlanError([Mistake(file, place.line, what, hint=hint)])
