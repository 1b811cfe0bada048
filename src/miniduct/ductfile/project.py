"""A Ductfile and those that it includes become one `Project`: vars, defaults, pools, the names of steps across files.

The reader goes on after a mistake, and at the end all of them are raised together. It opens the Ductfiles and looks at nothing else on the disk.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..errors import DuctfileError, Mistake, UsageError
from ..model import Project, Run, Step
from ..template import parse
from ..text import escaped, nearest
from . import remarks, tables, values
from .checks import check, keys_of
from .drafts import RESERVED, Draft, Scope, settings_of
from .fill import Base, fill, is_path
from .foreach import Today
from .names import check_pool, pools, step_named
from .source import Source, Spot, kind, scalar, source_of
from .stores import stores
from .wanted import wanted

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Mapping

    from .calls import Calls, Resolved


_STEP_NAME = re.compile(r"\w[\w.+-]*")


def read(
    path: str,
    *,
    sets: Mapping[str, str],
    environ: Mapping[str, str],  # noqa: ARG001  no value in a Ductfile comes from the environment so far
    today: datetime.date,
    shown_as: str | None = None,
) -> Project:
    """The project that a Ductfile describes, its root the folder of the Ductfile.

    `sets` are the vars of `--set`; `shown_as` is how messages call the file. DuctfileError with all mistakes; UsageError where the file cannot be
    read, or where no file has a var of `sets`.
    """
    full = os.path.abspath(path)
    shown = shown_as if shown_as is not None else os.path.relpath(full)
    reader = _Reader(os.path.dirname(full), sets, Today(today))
    try:
        raw = _bytes(full)
    except OSError as error:
        raise UsageError(f'cannot read "{escaped(shown)}": {_reason(error)}') from None
    reader.file(full, shown, raw, "", (full,))
    project = reader.project()
    if reader.mistakes:
        raise DuctfileError(reader.in_order())
    reader.check_sets()
    return project


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class _Reader:
    """Reads files one after another; holds what they share."""

    def __init__(self, root: str, sets: Mapping[str, str], today: Today) -> None:
        self.root = root
        self.sets = sets
        self.today = today
        self.mistakes: list[Mistake] = []
        self.files: list[str] = []
        self.shown: list[str] = []
        self.seen: set[str] = set()
        self.declared: set[str] = set()
        self.drafts: list[Draft] = []
        self.vars: dict[str, str] = {}
        """Those of the main file."""
        self.pools: dict[str, int] = {}
        self.pools_broken = False
        self.stores: dict[str, dict[str, Any]] = {}
        self.notify: dict[str, tuple[str, ...]] = {}
        self.default: list[tuple[str, Spot, Scope]] = []
        self.remarks: list[remarks.Remark] = []
        self.calls: Calls | None = None
        self.resolved: dict[int, Resolved] = {}
        """The functions of steps, by their drafts."""
        self.code_files: dict[str, None] = {}
        self.incomplete = False
        """Is there a file that could not be read, so that names may be missing?"""

    # -- one file ----------------------------------------------------------------------------------------------------------------------

    def file(self, path: str, shown: str, raw: bytes, prefix: str, chain: tuple[str, ...]) -> None:
        """Read a file, then those that it includes. `chain` are the files on the way to it, itself the last."""
        self.seen.add(os.path.realpath(path))
        self.files.append(os.path.relpath(path, self.root))
        self.shown.append(shown)
        source = source_of(raw, shown, self.mistakes)
        if source is None:
            self.incomplete = True
            return
        folder = os.path.relpath(os.path.dirname(path), self.root)
        top = Spot(source, (), shown)
        self._top(top, source.data)
        found = self._vars(top.named("vars"), source.data.get("vars", {}))
        if found:
            self.remarks += remarks.unused(top.named("vars"), source.data["vars"], source.data)
        scope = Scope(found, Base(self.root, "" if folder == "." else folder), self.today, prefix)
        self._pools(top.named("pools"), source.data.get("pools", {}))
        self._notify(top.named("notify"), source.data.get("notify"), main=len(chain) == 1)
        self._stores(top.named("stores"), source.data.get("stores"), main=len(chain) == 1)
        defaults = self._defaults(source, scope)
        self._steps(source, scope, defaults)
        if len(chain) == 1:
            self.vars = found
            self._default(top.named("default"), source.data.get("default"), scope)
        if "include" in source.data:
            self._include(top.named("include"), source.data["include"], scope, path, chain)

    def _top(self, top: Spot, data: Mapping[str, Any]) -> None:
        known = tables.names(tables.TOP)
        for name, value in data.items():
            if name in known:
                continue
            what = "table" if isinstance(value, dict) else "setting"
            top.named(name).say(f'unknown {what} "{name}"', key=True, hint=_meant_at_top(name, value))

    def _vars(self, spot: Spot, table: object) -> dict[str, str]:
        if not isinstance(table, dict):
            spot.wrong(f"must be a table of texts, not {kind(table)}")
            return {}
        found: dict[str, str] = {}
        for name, value in table.items():
            place = spot.inside("vars", name)
            if not name.isidentifier() or name in RESERVED:
                place.say(
                    f'a var is called "{name}"',
                    key=True,
                    hint='it has a meaning in "run" already'
                    if name in RESERVED
                    else "a name has letters, digits and _ only",
                )
                continue
            self.declared.add(name)
            written = scalar(value)
            if name in self.sets:
                found[name] = self.sets[name]
            elif written is None:
                is_top = name in tables.names(tables.TOP)
                place.wrong(
                    f"must be a text, not {kind(value)}",
                    hint=f'"{name}" belongs at the top of the file, before the first [table]'
                    if is_top
                    else "a var is one text; several values for a name belong in foreach",
                )
                found[name] = ""
            else:
                found[name] = self._var(place, written, found, table)
        return found

    def _var(self, place: Spot, written: str, above: Mapping[str, str], table: Mapping[str, Any]) -> str:
        for part in parse(written, is_key=False).placeholders:
            if part.name in table and part.name not in above:
                place.say(
                    f"{place.subject} has {part}, which stands below it",
                    part=(part.start, part.end),
                    hint="vars can use those above them",
                )
                return written
        return fill(place, written, above)

    def _pools(self, spot: Spot, table: object) -> None:
        found = pools(spot, table)
        self.pools_broken |= found is None
        for name, number in (found or {}).items():
            self.pools.setdefault(name, number)

    def _stores(self, spot: Spot, table: object, *, main: bool) -> None:
        if table is None:
            return
        if not main:
            spot.say("[stores] stands in an included file", key=True, hint="write it into the main Ductfile")
            return
        self.stores = stores(spot, table)

    def _notify(self, spot: Spot, value: object, *, main: bool) -> None:
        if value is None:
            return
        if not main:
            spot.say('"notify" stands in an included file', key=True, hint="write it into the main Ductfile")
            return
        table = value if isinstance(value, dict) else dict.fromkeys(("failure", "recovery"), value)
        for occasion, listed in table.items():
            place = spot.inside("notify", occasion) if value is table else spot
            if occasion not in ("success", "failure", "recovery"):
                place.say(f'"notify" knows no "{occasion}"', key=True, hint="known: success, failure, recovery")
                continue
            found = values.texts(place, listed)
            if found is None:
                return
            self.notify[occasion] = tuple(text for text, _ in found)

    def _defaults(self, source: Source, scope: Scope) -> Draft:
        spot = Spot(source, ("defaults",), "[defaults]", "[defaults]")
        table = source.data.get("defaults", {})
        draft = Draft("", spot, scope)
        if not isinstance(table, dict):
            spot.wrong(f"must be a table, not {kind(table)}")
        else:
            draft.read(settings_of(spot, table, tables.DEFAULTS)[0])
        return draft

    def _steps(self, source: Source, scope: Scope, defaults: Draft) -> None:
        steps = source.data.get("step", {})
        if not isinstance(steps, dict):
            Spot(source, ("step",), '"step"').wrong(
                f"must be a table of steps, not {kind(steps)}", hint="write [step.NAME]"
            )
            return
        for name, table in steps.items():
            owner = f'step "{name}"'
            spot = Spot(source, ("step", name), owner, owner)
            if not _STEP_NAME.fullmatch(name):
                spot.say(
                    f"{owner} has a name that is not plain",
                    key=True,
                    hint="a name has letters, digits, _ - + and . only",
                )
            if isinstance(table, dict):
                self._step(name, spot, table, scope, defaults)
            else:
                hint = f"write [step.NAME] and below it {tables.EXAMPLES['run']}"
                if isinstance(table, list):
                    hint = "write single brackets: [step.NAME]"
                spot.wrong(f"must be a table, not {kind(table)}", key=True, hint=hint)

    def _step(self, name: str, spot: Spot, table: Mapping[str, Any], scope: Scope, defaults: Draft) -> None:
        full = f"{scope.prefix}.{name}" if scope.prefix else name
        own = Scope(scope.vars, scope.base, scope.today, scope.prefix)
        draft = Draft(full, spot, own, defaults)
        settings, later = settings_of(spot, table, tables.STEP)
        draft.own.update(settings)
        draft.broken.difference_update(settings)
        draft.read(settings)
        draft.puzzling = len(settings) + len(later) < len(table)
        check(draft)
        if draft.action == "python" and "python" not in draft.broken:
            self._call(draft)
        self.remarks += remarks.of_step(draft)
        self.drafts.append(draft)

    def _call(self, draft: Draft) -> None:
        """Find the step's function; what it takes to do so is loaded only where there is one."""
        from .calls import Calls

        if self.calls is None:
            self.calls = Calls(self.root)
        found = self.calls.resolve(draft)
        if found is not None:
            self.resolved[id(draft)] = found
            self.code_files.update(dict.fromkeys(os.path.relpath(file, self.root) for file in found.files))

    def _default(self, spot: Spot, value: object, scope: Scope) -> None:
        if isinstance(value, dict):
            spot.wrong("must be a text or a list of texts, not a table", key=True, hint="did you mean [defaults]?")
        elif value is not None:
            self.default = [(text, place, scope) for text, place in values.texts(spot, value) or ()]

    # -- includes ----------------------------------------------------------------------------------------------------------------------

    def _include(self, spot: Spot, value: object, scope: Scope, path: str, chain: tuple[str, ...]) -> None:
        for written, place in values.texts(spot, value) or ():
            text = fill(place, written, scope.vars)
            if not is_path(text):
                place.say(f'cannot include "{escaped(text)}": no file can have this name')
                continue
            full = os.path.normpath(os.path.join(os.path.dirname(path), text))
            real = os.path.realpath(full)
            if real in map(os.path.realpath, chain):
                self._circle(place, full, chain)
            elif real not in self.seen:
                self._included(place, text, full, chain)

    def _circle(self, place: Spot, full: str, chain: tuple[str, ...]) -> None:
        start = [os.path.realpath(each) for each in chain].index(os.path.realpath(full))
        names = [os.path.relpath(each, self.root) for each in chain[start:]]
        if len(names) == 1:
            place.say(f"{names[0]} includes itself")
        else:
            facts = tuple(f"{one}  includes {other}" for one, other in zip(names, [*names[1:], names[0]]))
            place.say(f"{len(names)} files include each other", facts=facts)

    def _included(self, place: Spot, text: str, full: str, chain: tuple[str, ...]) -> None:
        if os.path.isdir(full):
            place.say(f'"{text}" is a folder', hint=f'write "{text.rstrip("/")}/Ductfile"')
        else:
            try:
                raw = _bytes(full)
            except OSError as error:
                place.say(f'cannot include "{text}": {_reason(error)}')
            else:
                shown = os.path.normpath(os.path.join(os.path.dirname(self.shown[0]), os.path.relpath(full, self.root)))
                self.file(full, shown, raw, _prefix(self.root, full), (*chain, full))
                return
        self.incomplete = True

    # -- all files ---------------------------------------------------------------------------------------------------------------------

    def project(self) -> Project:
        """The project, whole only if there is no mistake."""
        if not self.drafts and not self.mistakes:
            self.mistakes.append(Mistake(self.shown[0], 1, "there are no steps", hint="a step begins with [step.NAME]"))
        by_name = self._by_name()
        variables = dict(self.vars)
        steps = [self._finish(draft, by_name, variables) for draft in self.drafts]
        default = wanted(self.default, by_name, certain=bool(self.mistakes) and not self.incomplete)
        return Project(
            root=self.root,
            files=tuple(self.files),
            steps=tuple(step for step in steps if step is not None),
            default=default,
            pools=self.pools,
            notify=self.notify,
            stores=self.stores,
            vars=variables,
            today=self.today.date().isoformat() if self.today.used else None,
            code_files=tuple(self.code_files),
            warnings=tuple(self.remarks),
        )

    def _by_name(self) -> dict[str, Draft]:
        found: dict[str, Draft] = {}
        for draft in self.drafts:
            first = found.setdefault(draft.name, draft)
            if first is not draft:
                draft.spot.say(
                    f'a second step is called "{draft.name}"',
                    key=True,
                    facts=(f"the first one is at {first.location()}",),
                )
            for text, spot in self._outputs(draft):
                if text in self.files:
                    spot.wrong(f"has {text}, which is a Ductfile of this project")
                elif text in self.code_files:
                    spot.wrong(
                        f"has {text}, and the function of a step rests on that module: code must be there before"
                    )
        return found

    def _outputs(self, draft: Draft) -> Iterable[tuple[str, Spot]]:
        return ((each.text, each.spot) for each in keys_of(draft.targets))

    def _finish(self, draft: Draft, by_name: Mapping[str, Draft], variables: dict[str, str]) -> Step | None:
        certain = not self.incomplete
        refs = {
            each.step: step_named(draft, each.step, each.spot, by_name, certain=certain)
            for each in draft.inputs
            if each.step is not None
        }
        after = [
            step_named(draft, name, spot, by_name, certain=certain) for name, spot in draft.values.get("after") or ()
        ]
        if certain and not self.pools_broken:
            check_pool(draft, self.pools)
        if self.mistakes:
            return None
        given = draft.values
        function = self.resolved.get(id(draft))
        if function is not None:
            given = {name: value for name, value in given.items() if name != "batch"}
        env, env_set = given.get("env") or ((), {})
        run = draft.run
        if run is not None:
            run = Run(*(_with_vars(draft, run, variables)), shell=given.get("shell") if run.text is not None else None)
        simple = {
            name: given[name]
            for name in (
                "timeout",
                "retries",
                "backoff",
                "pool",
                "cpus",
                "batch",
                "check",
                "max_age",
                "keep",
                "description",
                "copy",
                "sha256",
            )
            if name in given
        }
        return Step(
            name=draft.name,
            location=draft.location(),
            inputs=tuple(each.slot({name: full for name, full in refs.items() if full}) for each in draft.inputs),
            targets=tuple(each.slot({}) for each in draft.targets),
            run=run,
            call=function.call if function else None,
            code=function.code if function else (),
            run_location=draft.spots[draft.action].location() if draft.action else None,
            after=tuple(dict.fromkeys(name for name in after if name is not None)),
            foreach=tuple((name, tuple(value for value, _ in items)) for name, items in draft.foreach.items()),
            where=self._where(draft),
            params=given.get("params") or {},
            env=env,
            env_set=env_set,
            secrets=given.get("secrets") or (),
            cwd=given.get("cwd") or draft.scope.base.folder or ".",
            retry_on=given.get("retry_on") or (),
            tags=given.get("tags") or (),
            **simple,
        )

    def _where(self, draft: Draft) -> dict[str, str]:
        named = {name for each in keys_of(draft.inputs) for name in each.names} - set(draft.foreach)
        return {name: text for name, text in (draft.values.get("where") or {}).items() if name in named}

    # -- the end -----------------------------------------------------------------------------------------------------------------------

    def in_order(self) -> list[Mistake]:
        """All mistakes by file and line, each once."""
        order = {shown: number for number, shown in enumerate(self.shown)}
        unique = dict.fromkeys(self.mistakes)
        return sorted(unique, key=lambda each: (order.get(each.file, len(order)), each.line, each.column))

    def check_sets(self) -> None:
        """UsageError for a var of `--set` that no file has."""
        for name in self.sets:
            if name not in self.declared:
                near = nearest(name, self.declared)
                hint = f'did you mean "{near[0]}"?' if near else f'a var must be in [vars]: {name} = "…"'
                raise UsageError(f'--set or DUCT_SET: there is no var "{escaped(name)}"', hint=hint)


def _meant_at_top(name: str, value: object) -> str:
    """What an unknown setting or table at the top of the file probably means."""
    known = tables.names(tables.TOP)
    word, near = tables.meant(name, tables.FOREIGN_TOP), nearest(name, known)
    if isinstance(value, dict):
        if near and near[0] in tables.TABLES and not _is_step(value):
            return f"did you mean [{near[0]}]?"
        if word == "step" and value and all(isinstance(each, dict) for each in value.values()):
            return f"write [step.{next(iter(value))}]"
        if (word is None or not near) and _is_step(value):
            return f"a step begins with [step.{name}]"
    elif name == "jobs":
        return "how many run at a time is for the command line: duct -j 4, or DUCT_JOBS=4"
    if name in tables.LATER or name in tables.names(tables.STEP):
        in_defaults = name in tables.names(tables.DEFAULTS)
        return "settings for every step belong under [defaults]" if in_defaults else "a step begins with [step.NAME]"
    if word == "step":
        return "a step begins with [step.NAME]"
    found = word or next(iter(near), None)
    if found is None:
        return f"known: {', '.join(known)}"
    return (
        f"did you mean [{found}]?" if isinstance(value, dict) and found in tables.TABLES else f'did you mean "{found}"?'
    )


def _is_step(table: Mapping[str, Any]) -> bool:
    return any(name in tables.names(tables.STEP) or tables.meant(name, tables.FOREIGN) for name in table)


def _prefix(root: str, full: str) -> str:
    """What the names of an included file's steps begin with: its folder, or its own name where it lies beside the main file."""
    folder = os.path.relpath(os.path.dirname(full), root)
    words = [word for word in folder.split("/") if word not in (".", "..")]
    if not words:
        name = os.path.basename(full)
        words = [name[9:] if name.startswith("Ductfile.") else os.path.splitext(name)[0]]
    return ".".join(re.sub(r"[^\w.+-]|^\W", "-", word).strip("-.") or "included" for word in words)


def _with_vars(draft: Draft, run: Run, variables: dict[str, str]) -> tuple[str | None, tuple[str, ...] | None]:
    """The command's text or words, after its vars have joined those of the project; one whose name is taken by another value gets a new name."""

    def joined(text: str) -> str:
        for part in reversed(parse(text, is_key=False).placeholders):
            value = draft.scope.vars.get(part.name)
            if value is None:
                continue
            name = part.name
            while variables.setdefault(name, value) != value or name in draft.scope.known:
                name += "_"
            if name != part.name:
                text = f"{text[: part.start]}{{{name}}}{text[part.end :]}"
        return text

    return (None if run.text is None else joined(run.text)), (
        None if run.argv is None else tuple(map(joined, run.argv))
    )
