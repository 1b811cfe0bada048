"""The settings of steps made in Python, checked by what checks those of a Ductfile, in the same words. Their place is the line that makes the step.

Nothing is known here of functions and of what they take. Invariant: no rule about a setting stands here that a Ductfile has as well.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any

from ..ductfile import names, values
from ..ductfile.checks import check, keys_of
from ..ductfile.drafts import Declared, Draft, Scope
from ..ductfile.fill import Base
from ..ductfile.foreach import Today
from ..ductfile.places import scan
from ..ductfile.source import Source, Spot
from ..ductfile.stores import stores
from ..errors import PlanError
from ..keys import GS, HTTP
from ..model import Slot
from ..template import unparse
from ..tuples import NamedTuple
from .steps import CopyStep, GCSUploadStep, HttpGetStep, ShellStep, own, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..errors import Mistake
    from ..model import Location
    from .steps import BaseStep

_PLAIN = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*")
"""Keys that are what they say: no wildcard, nothing to be made shorter."""
_SIMPLE = (
    "where",
    "params",
    "secrets",
    "cwd",
    "timeout",
    "retries",
    "backoff",
    "retry_on",
    "pool",
    "cpus",
    "check",
    "max_age",
    "tags",
    "description",
    "copy",
    "sha256",
)
"""Settings that the model has as a draft has them."""
_NOWHERE = scan("")
_PYTHON = (
    (re.compile(r" and which is no var\b"), ""),
    (re.compile(r'"run" of '), '"command" of '),
    (re.compile(r'in "run"'), "in a command"),
    (re.compile(r"^for a target that is updated in place, .*"), "give the target another name"),
    (re.compile(r"\brun = "), "command = "),
    (re.compile(r"\b(must be|or|not|write) a table\b"), r"\1 a dict"),
    (re.compile(r"\btrue or false\b"), "True or False"),
    (re.compile(r"\[stores\.(\w+)\]"), r'stores["\1"]'),
    (re.compile(r'add to \[pools\]: (".*") = 1'), r"say PipelineBuilder(…, pools={\1: 1})"),
    (re.compile(r"write \[pools\] and below it: name = 2"), 'write pools={"name": 2}'),
    (re.compile(r"must hold exit codes, "), "must hold exception classes, exit codes, "),
    (re.compile(r"""(?<=[{,] )"?([\w…. -]+?)"? = (?=.*\})"""), r'"\1": '),
    (re.compile(r'\{ (".*) \}'), r"{\1}"),
)
"""Words about a Ductfile, and what they are called in Python."""
_Shape = tuple[int, bool, bool, str, str]
"""Of a step: its class by id, whether it makes a value, `cache`, its settings, its command or checksum."""


class _Line(Source):
    """A line of Python, in the place of the file that a mistake stands in."""

    def __init__(self, place: Location, mistakes: list[Mistake]) -> None:
        super().__init__(place.file, _NOWHERE, {}, mistakes)
        self._place = place

    def location(self, path: Any, *, key: bool = False, part: tuple[int, int] | None = None) -> Location:  # noqa: ARG002
        return self._place


class Said(NamedTuple):
    """What a step says, checked: its own inputs and targets, and the settings of the model."""

    place: Location
    inputs: tuple[Slot, ...]
    targets: tuple[Slot, ...]
    settings: dict[str, Any]
    makes_value: bool
    first: BaseStep
    """The first step that says the same but for plain keys and values of parameters; itself where it is the first."""


class Checker:
    """Checks the settings of a pipeline and of its steps, and gathers what is wrong; `end` raises it. `owner` is what has the pipeline's."""

    def __init__(self, owner: str, root: str, main: str | None = None) -> None:
        self.today = Today(datetime.date.today())
        self._owner = owner
        self._base = Base(root)
        self._main = main
        self._mistakes: list[Mistake] = []

    def pools(self, place: Location, table: Any) -> dict[str, int] | None:
        """The pools; None where they cannot be read."""
        spot = self._setting("pools", place)
        table = plain(table)
        return names.pools(spot, table) if _named(spot, table) else None

    def stores(self, place: Location, table: Any) -> dict[str, dict[str, Any]]:
        """The settings of the stores."""
        spot = self._setting("stores", place)
        table = plain(table)
        inner = table.values() if isinstance(table, dict) else ()
        return stores(spot, table) if all(_named(spot, each) for each in (table, *inner)) else {}

    def _setting(self, name: str, place: Location) -> Spot:
        return Spot(_Line(place, self._mistakes), (), self._owner, self._owner).named(name)

    def steps(self, places: Mapping[BaseStep, Location], pools: Iterable[str] | None) -> dict[BaseStep, Said]:
        """What the steps say, by step. PlanError with all mistakes of the pipeline. `pools`: None where they could not be read."""
        found: dict[BaseStep, Said] = {}
        known = {step.name: step for step in places}
        full = {name: name for name in known}
        good: dict[_Shape | None, Said] = {}
        for step, place in places.items():
            shape = _shape(step)
            first = good.get(shape)
            if first is not None:
                found[step] = _alike(step, place, first)
                continue
            before = len(self._mistakes)
            draft = self._draft(step, place)
            self._names(draft, known, pools)
            if len(self._mistakes) == before:
                found[step] = _said(step, draft, place, full)
                if shape is not None:
                    good[shape] = found[step]
        self.end()
        return found

    def end(self) -> None:
        """PlanError with all mistakes."""
        if self._mistakes:
            raise PlanError([_in_python(each) for each in dict.fromkeys(self._mistakes)])

    def _draft(self, step: BaseStep, place: Location) -> Draft:
        owner = f'step "{step.name}"'
        spot = Spot(_Line(place, self._mistakes), ("step", step.name), owner, owner)
        draft = Draft(step.name, spot, Scope({}, self._base, self.today))
        said = dict(own(step).said)
        if isinstance(step, ShellStep):
            said["run"] = step.command
            if step.shell is not None:
                said["shell"] = step.shell
        if isinstance(step, CopyStep):
            said["copy"] = True
            if step.sha256 is not None:
                said["sha256"] = step.sha256
        settings = {name: (value, spot.named(name)) for name, value in said.items()}
        draft.own.update(settings)
        draft.broken |= {name for name, (value, at) in settings.items() if not _named(at, value)}
        failures = settings.pop("retry_on", None)
        parameters = settings.get("params")
        if parameters is not None and isinstance(parameters[0], dict):
            draft.values["params"], draft.spots["params"] = settings.pop("params")  # no place for vars
        draft.read(
            {
                name: (_literal(value) if name in ("foreach", "where", "env") else value, at)
                for name, (value, at) in settings.items()
                if name not in draft.broken
            }
        )
        if failures is not None:
            draft.spots["retry_on"] = failures[1]
            draft.values["retry_on"] = self._failures(step, *failures)
        if not isinstance(step, (ShellStep, CopyStep)):
            draft.values["python"] = None
        if isinstance(step, ShellStep):
            _no_values(step, spot)
        if not isinstance(step, CopyStep) and "inputs" not in draft.broken:
            before = [Declared(None, None, each.name, spot) for each in own(step).before]
            draft.values["inputs"] = [*draft.inputs, *before]
        check(draft)
        if not isinstance(own(step).cache, bool):
            values.truth(spot.named("cache"), own(step).cache)
        if isinstance(step, HttpGetStep):
            _begin(draft.inputs, HTTP, "fetches an address of the web")
        if isinstance(step, GCSUploadStep):
            _begin(draft.targets, (GS,), "uploads to gs://")
        if step.makes_value:
            for name, items in draft.foreach.items():
                if len(items) > 1:
                    spot.say(
                        f"{owner} makes one value, and has a job for each {name}",
                        hint=f"give it targets that name {{{name}}}, or call the function in a loop",
                    )
        return draft

    def _names(self, draft: Draft, known: Mapping[str, BaseStep], pools: Iterable[str] | None) -> None:
        """Do the steps and the pool exist that the step names?"""
        for each in draft.inputs:
            if each.step is not None and each.spot is not draft.spot:
                found = names.step_named(draft, each.step, each.spot, known)
                if found is not None and known[found].makes_value:
                    each.spot.wrong(
                        f'names step "{found}", which makes a value and no file',
                        hint=f'write {found} >> {draft.name}, or give "{found}" a target',
                    )
        for name, spot in draft.values.get("after") or ():
            names.step_named(draft, name, spot, known)
        if pools is not None:
            names.check_pool(draft, pools)

    def _failures(self, step: BaseStep, value: Any, spot: Spot) -> tuple[int | str, ...]:
        """Exception classes by their full names, and the others as they are checked."""
        listed = value if isinstance(value, list) else [value]
        classes = [each for each in listed if isinstance(each, type) and issubclass(each, BaseException)]
        if classes and isinstance(step, (ShellStep, CopyStep)):
            spot.wrong(f"has the class {classes[0].__name__}, and what it does raises nothing", key=True)
        found = [f"{each.__module__}.{each.__qualname__}" for each in classes]
        if self._main is not None:
            found += [f"{self._main}.{each.__qualname__}" for each in classes if each.__module__ == "__main__"]
        others = [each for each in listed if each not in classes]
        return (*found, *(values.failures(spot, others) or ()))


def _shape(step: BaseStep) -> _Shape | None:
    """What of a step decides whether its settings are right; None where that is all of them: its keys are no plain ones, or it names steps.

    Most steps of a large pipeline are alike but for their keys, and the first of them is checked for all: 2 µs a step, not 100.
    """
    held = own(step)
    said = _shape_of(held.said) if held.said else _SAYS_NOTHING
    if said is None or not isinstance(held.cache, bool):
        return None
    about = ""
    if isinstance(step, ShellStep):
        kinds = [
            (name, list(map(type, each)) if isinstance(each, list) else type(each))
            for name, each in held.said.get("params", {}).items()
        ]
        about = repr((step.command, step.shell, [each.makes_value for each in held.before], kinds))
    elif isinstance(step, CopyStep):
        about = repr(step.sha256)
    return id(type(step)), bool(step.makes_value), held.cache, said, about


def _shape_of(said: Mapping[str, Any]) -> str | None:
    """The same of its settings alone."""
    said = dict(said)
    inputs, targets = (_keys(said.pop(name, [])) for name in ("inputs", "targets"))
    params = said.pop("params", {})
    if inputs is None or targets is None or "after" in said or not isinstance(params, dict):
        return None
    texts = [text for _, text in (*inputs, *targets)]
    if len(set(texts)) < len(texts) or not all(isinstance(name, str) for name in params):
        return None
    slots = [[name for name, _ in keys] for keys in (inputs, targets)]
    return repr((slots, bool(params), said))


def _keys(keys: Any) -> list[tuple[str | None, str]] | None:
    """Plain keys with their names; None where there are others."""
    if isinstance(keys, str):
        return [(None, keys)] if _PLAIN.fullmatch(keys) else None
    if isinstance(keys, dict) and not all(isinstance(name, str) for name in keys):
        return None
    table = keys if isinstance(keys, dict) else {None: keys}
    found = []
    for name, listed in table.items():
        for key in listed if isinstance(listed, list) else [listed]:
            if not isinstance(key, str) or not _PLAIN.fullmatch(key):
                return None
            found.append((name, key))
    return found


_SAYS_NOTHING = _shape_of({})


def _alike(step: BaseStep, place: Location, first: Said) -> Said:
    """What a step says that differs in its plain keys and parameters only from the first one, which was checked."""
    said, settings = own(step).said, first.settings
    if not said:
        return Said(place, (), (), settings, first.makes_value, first.first)
    if "params" in said:
        settings = {**settings, "params": said["params"]}
    inputs, targets = (
        tuple(Slot(key, name, place) for name, key in _keys(said.get(setting, [])) or ())
        for setting in ("inputs", "targets")
    )
    return Said(place, inputs, targets, settings, first.makes_value, first.first)


def _said(step: BaseStep, draft: Draft, place: Location, full: Mapping[str, str]) -> Said:
    given = draft.values
    found = {name: given[name] for name in _SIMPLE if name in given}
    if "env" in given:
        found["env"], found["env_set"] = given["env"]
    if "foreach" in given:
        found["foreach"] = tuple((name, tuple(text for text, _ in items)) for name, items in draft.foreach.items())
    if "after" in given:
        found["after"] = tuple(name for name, _ in given["after"])
    if draft.run is not None:
        found["run"] = draft.run._replace(shell=given.get("shell") if draft.run.text is not None else None)
    inputs = (each.slot(full) for each in draft.inputs if each.spot is not draft.spot)
    targets = (each.slot(full) for each in draft.targets)
    return Said(place, tuple(inputs), tuple(targets), found, bool(step.makes_value), step)


def _named(spot: Spot, table: Any) -> bool:
    """Are the names of a table texts?"""
    odd = [name for name in table if not isinstance(name, str)] if isinstance(table, dict) else []
    if odd:
        spot.wrong(f"has the name {odd[0]!r}, and a name is a text", key=True)
    return not odd


def _literal(value: Any) -> Any:
    """The value with its texts written so that their braces stand for themselves."""
    if isinstance(value, str):
        return unparse([value])
    if isinstance(value, dict):
        return {name: _literal(each) for name, each in value.items()}
    return [_literal(each) for each in value] if isinstance(value, list) else value


def _begin(declared: Iterable[Declared], schemes: tuple[str, ...], does: str) -> None:
    for key in keys_of(list(declared)):
        if not key.text.startswith(schemes):
            key.spot.wrong(f"has {key.text}, and it {does}", hint="a CopyStep copies whatever there is")


def _no_values(step: ShellStep, spot: Spot) -> None:
    for before in own(step).before:
        if before.makes_value:
            spot.say(
                f'{spot.subject} is a command, and cannot take the value of "{before.name}"',
                hint=f'give "{before.name}" a target file',
            )


def _in_python(mistake: Mistake) -> Mistake:
    """The mistake in the words of Python."""
    return mistake._replace(what=_worded(mistake.what), hint=mistake.hint and _worded(mistake.hint))


def _worded(text: str) -> str:
    for pattern, words in _PYTHON:
        text = pattern.sub(words, text)
    return text
