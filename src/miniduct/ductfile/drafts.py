"""One step on its way from TOML to the model: its settings converted, each mistake put on the list, and what is broken remembered.

A setting that is unknown but clearly means a known one is read as that one, so that one slip gives one message. What needs two settings at once
is judged in `checks`; what needs other steps in `project`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..model import Check, Location, Run, Slot
from ..text import nearest
from ..tuples import NamedTuple
from . import tables, values
from .fill import Base, Key, fill, key
from .foreach import listed
from .source import Spot, kind, scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from .foreach import Today

RESERVED = ("input", "inputs", "target", "targets", "params", "manifest")
"""Names that mean something in `run`; nothing else may be called so."""

ACTIONS = ("run", "python", "copy")
"""The settings that say what a step does."""

MINUS_E = ("perl", "ruby", "node", "Rscript", "lua")
"""Interpreters whose flag for a program text is `-e`; that of all others is `-c`."""


class Declared(NamedTuple):
    """One declared input or target: a key, or the name of a step."""

    name: str | None
    key: Key | None
    step: str | None
    spot: Spot

    def slot(self, steps: Mapping[str, str]) -> Slot:
        """The slot of the model; `steps` gives the full names of steps."""
        if self.key is not None:
            return Slot(self.key.text, self.name, self.spot.location())
        assert self.step is not None
        full = steps[self.step]
        return Slot(f"step:{full}", self.name, self.spot.location(), full)


class Function(NamedTuple):
    """`module:function` as it is meant, and whether the letters are those of the Ductfile."""

    module: str
    name: str
    as_written: bool

    @property
    def text(self) -> str:
        return f"{self.module}:{self.name}"

    @property
    def module_part(self) -> tuple[int, int] | None:
        """Where the module stands in the text."""
        return (0, len(self.module)) if self.as_written else None

    @property
    def name_part(self) -> tuple[int, int] | None:
        return (len(self.module) + 1, len(self.text)) if self.as_written else None


class Scope:
    """What the texts of one file may refer to. `known` are the names of the step being read that are no vars."""

    def __init__(self, vars: Mapping[str, str], base: Base, today: Today, prefix: str = "") -> None:  # noqa: A002
        self.vars = vars
        self.base = base
        self.today = today
        self.prefix = prefix
        self.known: Collection[str] = ()


class Draft:
    """A step being read. `values` holds the converted settings, `spots` where each was written, `broken` those that could not be read; all of
    them begin as those of `defaults`.
    """

    def __init__(self, name: str, spot: Spot, scope: Scope, defaults: Draft | None = None) -> None:
        self.name = name
        self.spot = spot
        self.scope = scope
        self.values: dict[str, Any] = {} if defaults is None else dict(defaults.values)
        self.spots: dict[str, Spot] = {} if defaults is None else dict(defaults.spots)
        self.broken: set[str] = set() if defaults is None else set(defaults.broken)
        self.own: set[str] = set()
        """The settings that the step itself has, as against those of `[defaults]`."""
        self.puzzling = False
        """Are there settings that mean nothing known?"""

    @property
    def inputs(self) -> list[Declared]:
        return self.values.get("inputs") or []

    @property
    def targets(self) -> list[Declared]:
        return self.values.get("targets") or []

    @property
    def foreach(self) -> dict[str, list[tuple[str, Spot]]]:
        return self.values.get("foreach") or {}

    @property
    def run(self) -> Run | None:
        return self.values.get("run")

    @property
    def action(self) -> str | None:
        """The setting that says what is done; None for a group."""
        return next((name for name in ACTIONS if name in self.values or name in self.broken), None)

    def location(self) -> Location:
        return self.spot.location(key=True)

    def read(self, settings: Mapping[str, tuple[Any, Spot]]) -> None:
        """Convert these settings, those first that give names to the others."""
        order = [name for name in ("foreach", "inputs", "targets") if name in settings]
        for name in [*order, *(name for name in settings if name not in order)]:
            value, spot = settings[name]
            self.spots[name] = spot
            before = len(spot.source.mistakes)
            converted = CONVERTERS[name](self.scope, spot, value)
            self.values[name] = converted
            if converted is None or len(spot.source.mistakes) > before:
                self.broken.add(name)
            if name in order:
                self.scope.known = self.names()

    def names(self) -> list[str]:
        """The names in its keys and its `foreach`."""
        found = [*self.foreach]
        for declared in (*self.inputs, *self.targets):
            if declared.key is not None:
                found += declared.key.names
        return list(dict.fromkeys(found))


# -- which settings there are ----------------------------------------------------------------------------------------------------------


def settings_of(spot: Spot, table: Mapping[str, Any], where: str) -> tuple[dict[str, tuple[Any, Spot]], set[str]]:
    """The known settings of a table with their spots, a misspelt one under the name that it means; and those that are not supported yet."""
    allowed = tables.names(where)
    found = {name: (value, spot.named(name)) for name, value in table.items() if name in allowed}
    later: set[str] = set()
    if where == tables.STEP:
        _take_out(spot, found, table)
    for name, value in table.items():
        if name in found:
            continue
        place = spot.named(name)
        if name in tables.LATER:
            place.wrong("is not supported yet", key=True)
            later.add(name)
            continue
        suggestion = tables.meant(name, tables.FOREIGN) or next(iter(nearest(name, allowed)), None)
        if suggestion in allowed and suggestion not in found and suggestion not in table:
            found[suggestion] = (value, Spot(spot.source, place.path, spot.named(suggestion).subject, spot.owner))
        hint = _hint(spot, name, value, suggestion, where)
        if suggestion in table and suggestion in allowed:
            hint = f'it seems to mean "{suggestion}", which is there already'
        place.say(f'{spot.subject} has an unknown setting "{name}"', key=True, hint=hint)
    return found, later


def _take_out(spot: Spot, found: dict[str, tuple[Any, Spot]], table: Mapping[str, Any]) -> None:
    """Settings of the step that stand below the header of one of its tables, and so in that table: each is a mistake, and read as was meant."""
    for outer in ("inputs", "targets", "params", "env", "foreach", "where"):
        value, place = found.get(outer, (None, spot))
        if not isinstance(value, dict) or not place.is_header():
            continue
        for name in ("run", "targets", "inputs"):
            if name in value and name not in table and name not in found:
                inner = spot.named(name)
                found[name] = (value[name], Spot(spot.source, (*place.path, name), inner.subject, spot.owner))
                value = {each: item for each, item in value.items() if each != name}
                header = f"[{'.'.join(map(str, place.path))}]"
                found[name][1].say(
                    f'"{name}" stands in the table {header}, and not in {spot.subject}',
                    key=True,
                    hint="write it above that header",
                )
        found[outer] = (value, place)


def _hint(spot: Spot, name: str, value: object, suggestion: str | None, where: str) -> str:
    if where == tables.DEFAULTS and name in tables.names(tables.STEP):
        return f'every step has its own "{name}"'
    if name in tables.names(tables.TOP):
        return f'"{name}" belongs at the top of the file, before the first [table]'
    if suggestion in tables.names(where):
        return f'did you mean "{suggestion}"?'
    if isinstance(value, dict) and where == tables.STEP and spot.path[:1] == ("step",):
        return f'a name with a dot needs quotes: [step."{".".join(map(str, (*spot.path[1:], name)))}"]'
    return f"known: {', '.join(tables.names(where))}"


# -- converters: the value of a setting, or None with a mistake on the list -------------------------------------------------------------


def _keys(scope: Scope, spot: Spot, value: object) -> list[Declared] | None:
    if not isinstance(value, dict):
        return _listed(scope, spot, value, None)
    found: list[Declared] = []
    setting = str(spot.path[-1])
    for name, item in value.items():
        place = spot.inside(setting, name)
        if name == "uri":
            place.say(f'{spot.subject} has the name "uri", which has a meaning in "run"', key=True)
            continue
        if not re.fullmatch(r"[\w-]+", name):
            place.say(
                f'{spot.subject} has the name "{name}"',
                key=True,
                hint="a name has letters, digits, _ and - only",
            )
            continue
        found += _listed(scope, place, item, name) or []
    return found


def _listed(scope: Scope, spot: Spot, value: object, name: str | None) -> list[Declared] | None:
    written = values.texts(spot, value)
    if written is None:
        return None
    found: list[Declared] = []
    for text, place in written:
        if text.startswith("step:"):
            found.append(Declared(name, None, text[5:], place))
            continue
        meant = key(place, text, scope.vars, scope.base)
        if meant is not None and _names_are_free(meant):
            found.append(Declared(name, meant, None, place))
    return found


def _names_are_free(meant: Key) -> bool:
    for wildcard in meant.wildcards:
        if wildcard.name in RESERVED:
            meant.spot.say(
                f'{meant.spot.subject} has {wildcard}, which has a meaning in "run" only',
                part=(wildcard.start, wildcard.end),
                hint="give the wildcard another name",
            )
            return False
    return True


def _foreach(scope: Scope, spot: Spot, value: object) -> dict[str, list[tuple[str, Spot]]] | None:
    if not isinstance(value, dict):
        spot.wrong(f"must be a table of lists, not {kind(value)}", hint='write foreach = { name = ["a", "b"] }')
        return None
    found: dict[str, list[tuple[str, Spot]]] = {}
    for name, item in value.items():
        place = spot.inside("foreach", name)
        if not name.isidentifier() or name in RESERVED:
            place.say(
                f'{spot.subject} has the name "{name}"',
                key=True,
                hint='it has a meaning in "run" already'
                if name in RESERVED
                else "a name has letters, digits and _ only",
            )
        elif name in scope.vars:
            place.wrong("is a var as well, and one name can mean one thing", key=True)
        else:
            items = listed(place, item, scope.today)
            if items is not None:
                found[name] = [(fill(where, text, scope.vars), where) for text, where in items]
    return found


def _where(scope: Scope, spot: Spot, value: object) -> dict[str, str] | None:
    if not isinstance(value, dict):
        spot.wrong(
            f"must be a table of regular expressions, not {kind(value)}", hint="write where = { day = '\\d{8}' }"
        )
        return None
    found: dict[str, str] = {}
    for name, item in value.items():
        place = spot.inside("where", name)
        written = values.text(place, item)
        if written is None:
            continue
        source = fill(place, written, scope.vars)
        try:
            re.compile(source)
        except re.error as error:
            part = (error.pos, error.pos + 1) if error.pos is not None and source == written and source else None
            place.say(f"{place.subject} is no regular expression: {error.msg}", part=part)
        except RecursionError:
            place.wrong("is a regular expression that is nested too deep")
        else:
            found[name] = source
    return found


def _params(scope: Scope, spot: Spot, value: object) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        spot.wrong(f"must be a table, not {kind(value)}", hint="write params = { name = value }")
        return None
    return {name: _filled(scope, spot.inside("params", name), item) for name, item in value.items()}


def _filled(scope: Scope, spot: Spot, value: Any) -> Any:
    """Any TOML value with the vars in its texts in place."""
    if isinstance(value, str):
        return fill(spot, value, scope.vars, scope.known)
    if isinstance(value, list):
        return [_filled(scope, spot.item(number), item) for number, item in enumerate(value)]
    if isinstance(value, dict):
        return {
            name: _filled(scope, Spot(spot.source, (*spot.path, name), spot.subject), item)
            for name, item in value.items()
        }
    return value


def _env(scope: Scope, spot: Spot, value: object) -> tuple[tuple[str, ...], dict[str, str]] | None:
    """Names whose values count, and those that are set."""
    if not isinstance(value, (dict, str, list)):
        spot.wrong(f"must be a list of names, or a table of values, not {kind(value)}", hint=values.example(spot))
        return None
    if not isinstance(value, dict):
        names = values.variables(spot, value)
        return None if names is None else (names, {})
    found: dict[str, str] = {}
    for name, item in value.items():
        place = spot.inside("env", name)
        written = scalar(item)
        if not values.is_variable(name):
            place.say(f'{spot.subject} sets "{name}", and no variable can be called so', key=True)
        elif written is None or "\0" in written:
            place.wrong(f"must be a text or a number, not {kind(item)}")
        else:
            found[name] = fill(place, written, scope.vars, scope.known)
    return (), found


def _cwd(scope: Scope, spot: Spot, value: object) -> str | None:
    written = values.text(spot, value)
    if written is None:
        return None
    text = fill(spot, written, scope.vars, scope.known)
    if "\0" in text or text.startswith("~"):
        spot.wrong(
            "is no folder" if "\0" in text else "begins with ~, and no shell replaces it here",
            hint="write the whole path",
        )
        return None
    full = os.path.normpath(os.path.join(scope.base.root, scope.base.folder, text))
    if full == scope.base.root:
        return "."
    inside = scope.base.root.rstrip("/") + "/"
    if full.startswith(inside) or not text.startswith("/"):
        return os.path.relpath(full, scope.base.root)
    return full


def _run(_: Scope, spot: Spot, value: object) -> Run | None:
    if isinstance(value, str):
        if not any(line.strip() and not line.lstrip().startswith("#") for line in value.split("\n")):
            spot.wrong("is empty", hint='a step without "run" is a name for its inputs')
            return None
        if "\0" in value:
            spot.wrong("has a null character, which no command can have")
            return None
        return Run(text=value)
    if not isinstance(value, list):
        spot.wrong(f"must be a command, or a list of its words, not {kind(value)}", hint=values.example(spot))
        return None
    written = values.texts(spot, value)
    if written is None:
        return None
    if not written or not written[0][0].strip():
        spot.wrong(
            "is empty" if not written else "has no name of a program", hint='write run = ["program", "argument", …]'
        )
        return None
    first, place = written[0]
    if any(sign in first for sign in " \t\n") and first[0] not in "/.~{":
        place.say(
            f"{spot.subject} is a list of words, and its first word is the name of a program",
            hint=f"write run = {_as_toml(first)}"
            if len(written) == 1
            else 'give each word a text of its own, or write run = "…"',
        )
        return None
    for word, place in written:
        if "\0" in word:
            place.wrong("has a null character, which no command can have")
            return None
    return Run(argv=tuple(word for word, _ in written))


def _as_toml(word: str) -> str:
    """The word as a text of the Ductfile."""
    return f"'{word}'" if '"' in word and "'" not in word else f'"{word}"'


def _python(scope: Scope, spot: Spot, value: object) -> Function | None:
    written = values.text(spot, value)
    if written is None:
        return None
    text = fill(spot, written, scope.vars, scope.known)
    module, colon, name = text.partition(":")
    plain = all(part.isidentifier() for part in module.split(".")) and not module.endswith(".py")
    if colon and plain and name.isidentifier():
        return Function(module, name, text == written)
    stem = module.removesuffix(".py").strip("./").replace("/", ".")
    hint = "write the module as in an import, a colon, and the name of a function in it"
    if plain and "." in name:
        hint = "only functions of the module itself can be called"
    elif stem and all(part.isidentifier() for part in stem.split(".")):
        hint = f'write "{stem}:{name if name.isidentifier() else "FUNCTION"}"'
    spot.wrong(f'must be "module:function", not "{text}"', hint=hint)
    return None


def _copy(_: Scope, spot: Spot, value: object) -> bool | None:
    if value is True:
        return True
    spot.wrong(
        f"must be true, not {values.given(value) if not isinstance(value, bool) else 'false'}", hint="leave it out"
    )
    return None


def _sha256(_: Scope, spot: Spot, value: object) -> str | None:
    written = values.text(spot, value)
    if written is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", written):
        spot.wrong("must be 64 hexadecimal digits", hint="`sha256sum FILE` shows them")
        return None
    return None if written is None else written.lower()


def _shell(scope: Scope, spot: Spot, value: object) -> tuple[str, ...] | None:
    written = values.words(spot, value)
    if written is None:
        return None
    parts = [
        fill(spot, word, scope.vars, scope.known) for word in (value.split() if isinstance(value, str) else written)
    ]
    if not parts:
        spot.wrong("is empty", hint='write shell = "bash", or shell = ["bash", "-c"]')
        return None
    if len(parts) == 1:
        parts.append("-e" if parts[0].rsplit("/", 1)[-1] in MINUS_E else "-c")
    return tuple(parts)


def _check(_: Scope, spot: Spot, value: object) -> Check | None:
    chosen = values.choice(spot, value, ("content", "mtime", "exists"))
    return None if chosen is None else Check(chosen)


def _after(_: Scope, spot: Spot, value: object) -> list[tuple[str, Spot]] | None:
    found = values.texts(spot, value)
    return None if found is None else [(name.removeprefix("step:"), place) for name, place in found]


def _description(scope: Scope, spot: Spot, value: object) -> str | None:
    written = values.text(spot, value)
    if written is None:
        return None
    for name, text in scope.vars.items():
        written = written.replace(f"{{{name}}}", text)
    return written


CONVERTERS: dict[str, Callable[[Scope, Spot, Any], Any]] = {
    "description": _description,
    "inputs": _keys,
    "targets": _keys,
    "run": _run,
    "python": _python,
    "copy": _copy,
    "sha256": _sha256,
    "after": _after,
    "foreach": _foreach,
    "where": _where,
    "params": _params,
    "env": _env,
    "secrets": lambda _, spot, value: values.variables(spot, value),
    "cwd": _cwd,
    "shell": _shell,
    "timeout": lambda _, spot, value: values.duration(spot, value),
    "retries": lambda _, spot, value: values.whole(spot, value, 0),
    "backoff": lambda _, spot, value: values.duration(spot, value, zero=True),
    "retry_on": lambda _, spot, value: values.failures(spot, value),
    "pool": lambda _, spot, value: values.text(spot, value),
    "cpus": lambda _, spot, value: values.whole(spot, value, 1),
    "batch": lambda _, spot, value: values.whole(spot, value, 1),
    "check": _check,
    "max_age": lambda _, spot, value: values.duration(spot, value),
    "keep": lambda _, spot, value: values.truth(spot, value),
    "tags": lambda _, spot, value: values.words(spot, value),
}
"""One converter for each setting of a step in `tables.SETTINGS`."""
