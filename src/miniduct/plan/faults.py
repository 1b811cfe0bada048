"""Steps that are well formed but cannot become jobs, and inputs that match nothing: the facts, the place, the next move.

Most here is wording and search for what to suggest: it is reached only when something is wrong, and may take its time.
"""

from __future__ import annotations

from collections import Counter
from itertools import compress, product
from typing import TYPE_CHECKING

from ..errors import Mistake
from ..keys import is_remote
from ..text import count, nearest, shown
from ..tuples import NamedTuple
from .folders import ways
from .listing import join, parent, remote_folder
from .patterns import Pattern, Wildcard, bound_texts, glob, key_pattern, plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ..model import Location, Step
    from .columns import Plan, Table
    from .listing import Listing
    from .patterns import Token
    from .rows import Rows
    from .shapes import Shape

MOST_SHOWN = 5
SEPARATOR = 'folders are separated by "/", and not by "\\"'
ONE_MAKER = "a key has one maker: change one of the targets"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Link(NamedTuple):
    """One part of a circle: step `first` makes a key (None: only comes before) that step `then` reads; names where steps are not enough."""

    first: int
    key: str | None
    then: int
    first_name: str = ""
    then_name: str = ""


def mistake(location: Location, what: str, *, facts: Sequence[str] = (), hint: str | None = None) -> Mistake:
    """A mistake at a place of the Ductfile."""
    return Mistake(
        location.file,
        location.line,
        what,
        column=location.column,
        width=location.width,
        source=location.source,
        facts=tuple(facts),
        hint=hint,
    )


def some(lines: Iterable[str]) -> list[str]:
    """The first few, and how many more there are."""
    listed = list(lines)
    more = len(listed) - MOST_SHOWN
    return [*listed[:MOST_SHOWN], f"and {more:,} more"] if more > 0 else listed


def circle(steps: Sequence[Step], links: Sequence[Link]) -> Mistake:
    """Steps that wait for each other, drawn from the first one in the file on."""
    start = min(range(len(links)), key=lambda at: links[at].first)
    links = [*links[start:], *links[:start]]
    names = [(link.first_name or steps[link.first].name, link.then_name or steps[link.then].name) for link in links]
    keys = ["" if link.key is None else shown(link.key) for link in links]
    wide, long = max(len(first) for first, _ in names), max(map(len, keys))
    drawn = [
        f"{first:<{wide}}  makes {key:<{long}}  read by {then}" if key else f"{first:<{wide}}  comes before {then}"
        for (first, then), key in zip(names, keys)
    ]
    involved = len({link.first for link in links})
    first = steps[links[0].first]
    if involved == 1:
        what = f'step "{first.name}" waits for itself'
    else:
        what = f"{NUMBERS[involved] if involved < len(NUMBERS) else involved} steps wait for each other"
    return mistake(first.location, what, facts=drawn)


# -- makers -----------------------------------------------------------------------------------------------------------------------------


def two_makers(plan: Plan, doubles: Sequence[tuple[int, int, int]]) -> list[Mistake]:
    """One mistake for each two steps that make the same keys."""
    pairs: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for key, one, other in doubles:
        pairs.setdefault((plan.step_of(one), plan.step_of(other)), []).append((key, one, other))
    return [_two_makers(plan, first, second, found) for (first, second), found in pairs.items()]


def _two_makers(plan: Plan, first: int, second: int, found: Sequence[tuple[int, int, int]]) -> Mistake:
    one, other = plan.steps[first], plan.steps[second]
    keys = [plan.names[key] for key, _, _ in found]
    what = shown(keys[0]) if len(keys) == 1 else count(len(keys), "key")
    location = other.targets[0].location
    facts = some(map(shown, keys)) if len(keys) > 1 else []
    if first != second:
        named = f'step "{one.name}" ({one.location})'
        text = f'step "{other.name}" makes {what}, which {named} makes too'
        return mistake(location, text, facts=facts, hint=ONE_MAKER)
    _, a, b = found[0]
    if a == b:
        return mistake(location, f'step "{one.name}" names {what} twice among the targets of one job', facts=facts)
    jobs = f"{shown(keys[0])} is made by {plan.job_name(a)} and by {plan.job_name(b)}"
    there = key_pattern(other.targets[0].text, target=True).names
    names = [name for name in plan.values(b) if name not in there]
    hint = f"name {' and '.join(f'{{{name}}}' for name in names)} in the target" if names else None
    return mistake(location, f'two jobs of step "{one.name}" make {what}', facts=[jobs, *facts[1:]], hint=hint)


def same_globs(plan: Plan, shapes: Sequence[Shape]) -> list[Mistake]:
    """Dynamic targets with the same text: no one could tell their members apart."""
    found: dict[str, int] = {}
    mistakes = []
    for step, (each, table) in enumerate(zip(shapes, plan.tables)):
        if not each.dynamic:
            continue
        for slot, (pattern, keys) in enumerate(zip(each.targets, table.targets)):
            if keys is not None:
                continue
            texts = bound_texts(pattern, _columns(table), table.rows)
            twice = [text for text, times in Counter([*texts, *(found.keys() & texts)]).items() if times > 1]
            if twice:
                other = plan.steps[found.get(twice[0], step)]
                what = f'step "{each.step.name}" makes {shown(twice[0])}, which step "{other.name}" ({other.location}) makes too'
                mistakes.append(mistake(each.step.targets[slot].location, what))
            found.update(dict.fromkeys(texts, step))
    return mistakes


def in_own_globs(plan: Plan, shapes: Sequence[Shape]) -> list[Mistake]:
    """Targets that another target of the same job matches: one mistake for each two of them."""
    mistakes = []
    for each, table in zip(shapes, plan.tables):
        if None not in table.targets:
            continue
        slots = list(zip(each.step.targets, each.targets, table.targets))
        named = [(slot, keys) for slot, _, keys in slots if keys is not None]
        globs = [(slot, pattern) for slot, pattern, keys in slots if keys is None]
        for (slot, keys), (other, pattern) in product(named, globs):
            key = _first_matched(pattern, table, [plan.names[key] for key in keys.packed])
            if key is not None:
                what = f'step "{each.step.name}" makes {shown(key)}, which its target {shown(other.text)} matches too'
                mistakes.append(mistake(slot.location, what, hint=ONE_MAKER))
    return mistakes


def _first_matched(pattern: Pattern, table: Table, keys: Sequence[str]) -> str | None:
    """The first of these keys, one a row, that the pattern matches with the values of its row."""
    columns = _columns(table)
    if not all(map(plain, columns.values())):
        texts = bound_texts(pattern, columns, table.rows)
        return next((key for text, key in zip(texts, keys) if glob(text).matches(key)), None)
    # With the values before the key, one expression does for all rows; to compile one for each of 100,000 rows takes some ten seconds.
    tokens: list[Token] = []
    for name in columns:
        tokens += [Wildcard(name, False), "/"]
    fits = Pattern([*tokens, *pattern.tokens]).regex.fullmatch
    rows = map("/".join, zip(*columns.values(), keys))
    return next((key for row, key in zip(rows, keys) if fits(row)), None)


def _columns(table: Table) -> dict[str, list[str]]:
    """The values of each wildcard, row by row."""
    rows = [table.values(row) for row in range(table.rows)]
    return {name: [row[name] for row in rows] for name in table.names}


def inside_folders(plan: Plan, clashes: Sequence[tuple[int, int]]) -> list[Mistake]:
    """Targets that lie in a folder that another job makes as a whole."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for folder, key in clashes:
        makers = plan.step_of(plan.maker[folder]), plan.step_of(plan.maker[key])
        found.setdefault(makers, []).append((folder, key))
    mistakes = []
    for (whole, part), pairs in found.items():
        folder, key = pairs[0]
        maker, step = plan.steps[whole], plan.steps[part]
        what = f'step "{step.name}" makes {shown(plan.names[key])} in the folder {shown(plan.names[folder])}'
        by = f'step "{maker.name}" ({maker.location}) makes that folder as a whole'
        hint = "each build of the folder replaces all that is in it: put the one somewhere else"
        mistakes.append(mistake(step.targets[0].location, what, facts=[by], hint=hint))
    return mistakes


def under_files(plan: Plan) -> list[Mistake]:
    """Targets that lie below a target that is a file: one mistake for each such file."""
    keys = list(compress(plan.names, map((-1).__lt__, plan.maker)))
    files = {way[:-1] for way in ways(keys) if not is_remote(way)}.intersection(keys)
    if not files:
        return []
    made = {name: job for name, job in zip(plan.names, plan.maker) if job >= 0}
    found: dict[str, str] = {}
    for key in made:
        above = key[:-1] if key[-1:] == "/" else parent(key).rstrip("/")
        while above:
            if above in files:
                found.setdefault(above, key)
            above = parent(above).rstrip("/")
    mistakes = []
    for file, key in found.items():
        one, other = (plan.steps[plan.step_of(made[each])] for each in (file, key))
        what = f'step "{other.name}" makes {shown(key)}, and {shown(file)} is a file that step "{one.name}" ({one.location}) makes'
        mistakes.append(mistake(other.targets[0].location, what, hint="a file is no folder: change one of the targets"))
    return mistakes


# -- inputs -----------------------------------------------------------------------------------------------------------------------------


def lacking(shapes: Sequence[Shape], rows: Sequence[Rows]) -> list[Mistake]:
    """Collected inputs without a match for a value that an input before them found."""
    mistakes = []
    for each, found in zip(shapes, rows):
        for at, sources in found.lacking:
            slot = each.step.inputs[at]
            first, more = shown(sources[0]), len(sources) - 1
            what = f'step "{each.step.name}" reads {first}, which matches nothing'
            facts = [f"{count(more, 'value')} more without a match"] if more else []
            hint = 'write "*" instead of the wildcard where there may be none'
            mistakes.append(mistake(slot.location, what, facts=facts, hint=hint))
    return mistakes


class Search:
    """Looks for inputs that are named, not found. Each key is looked for once."""

    def __init__(self, plan: Plan, shapes: Sequence[Shape], listing: Listing, once: Collection[str]) -> None:
        self._plan = plan
        self._listing = listing
        self._once = once
        self._dynamic = [
            (step, target)
            for step, each in enumerate(shapes)
            if not each.group
            for target in each.loose
            if target.globs
        ]
        self._there: dict[int, bool] = {folder: True for folder, _ in plan.holds}
        self._offer: list[str] | None = None
        self.may_make: dict[int, set[int]] = {}
        self.mistakes: list[Mistake] = []

    def slot(self, step: int, at: int) -> None:
        """Look for the keys of one input of a step that no job makes."""
        plan, maker = self._plan, self._plan.maker
        column = plan.tables[step].inputs[at].packed
        for key in column:
            if maker[key] < 0:
                break
        else:
            return
        keys, names = [key for key in dict.fromkeys(column) if maker[key] < 0], plan.names
        new = {names[key]: key for key in keys if key not in self._there}
        if new:
            absent = set(self._listing.absent(new))
            self._there.update((key, name not in absent) for name, key in new.items())
        missing = []
        for key in keys:
            there = self._there[key]
            if self._dynamic and (not there or names[key] in self._once):
                makers = {other for other, target in self._dynamic if other != step and target.matches(names[key])}
                self.may_make.setdefault(step, set()).update(makers)
                there = there or bool(makers)
            if not there:
                missing.append(key)
        if missing:
            self.mistakes.append(self._missing(step, at, missing))

    def _missing(self, step: int, at: int, keys: Sequence[int]) -> Mistake:
        plan = self._plan
        each = plan.steps[step]
        names = [plan.names[key] for key in keys]
        facts = []
        if len(names) == 1:
            what = f'step "{each.name}" reads {shown(names[0])}, which does not exist and which no step makes'
        else:
            what = f'step "{each.name}" reads {len(names):,} files that do not exist and that no step makes'
            facts = some(map(shown, names))
        if names[0] in self._once:
            facts.append(f"{shown(names[0])} was a target once; no step makes it now")
        return mistake(each.inputs[at].location, what, facts=facts, hint=self._closest(names[0]))

    def _closest(self, name: str) -> str | None:
        plan = self._plan
        if is_remote(name):
            return self._closest_target(name)  # to list a bucket for a hint would take too long
        if not name.endswith("/") and (plan.key(f"{name}/") is not None or self._listing.exists(name)):
            return f"{shown(name)} is a folder: {shown(name + '/')} reads it as a whole"
        target = self._closest_target(name)
        if target:
            return target
        folder = parent(name)
        if "\\" in name:
            return SEPARATOR
        if not self._listing.exists(folder):
            near = self._listing.nearest(folder)
            alike = _alike(self._listing, folder, near)
            if alike:
                return f"there is no folder {shown(folder)}; did you mean {alike}?"
            return f"there is no folder {shown(folder)}" + (f"; the nearest is {shown(near)}" if near else "")
        found = nearest(name, self._listing.files(folder))
        return f"closest file: {shown(found[0])}" if found else None

    def _closest_target(self, name: str) -> str | None:
        plan = self._plan
        if self._offer is None:
            self._offer = [plan.names[key] for key, job in enumerate(plan.maker) if job >= 0]
        found = nearest(name, self._offer)
        if not found:
            return None
        maker = plan.steps[plan.step_of(plan.maker[plan.key(found[0]) or 0])]
        return f'closest target: {shown(found[0])}, made by step "{maker.name}" ({maker.location})'


def nothing_found(
    plan: Plan, shapes: Sequence[Shape], rows: Sequence[Rows], listing: Listing
) -> list[tuple[str, tuple[str, ...]]]:
    """A warning for each pattern that matches nothing, unless a dynamic target may still bring something."""
    warnings: list[tuple[str, tuple[str, ...]]] = []
    for step, (each, found) in enumerate(zip(shapes, rows)):
        if not found.matches:
            continue
        told: set[str] = set()
        for at, matches in found.matches.items():
            pattern = each.inputs[at]
            if matches or pattern is None or plan.dynamic_before(step) or told.intersection(pattern.names):
                continue
            told.update(pattern.names)
            slot = each.step.inputs[at]
            text = f'{slot.location}: {shown(slot.text)}, an input of step "{each.step.name}", matches nothing'
            near = _near_remote(listing, pattern) if is_remote(pattern.prefix) else _near(listing, pattern.folder)
            facts = (near, *([SEPARATOR] if "\\" in slot.text else []))
            warnings.append((text, facts))
    return warnings


def _alike(listing: Listing, folder: str, above: str) -> str | None:
    """A folder in `above` that is called nearly as the one on the way to `folder` that is not there."""
    name = folder[len(above) :].strip("/").partition("/")[0]
    found = nearest(name, listing.dirs(above))
    return shown(join(above, found[0]) + "/") if found else None


def _near_remote(listing: Listing, pattern: Pattern) -> str:
    begin = len(listing.read(remote_folder(pattern)))
    return f"{count(begin, 'object')} there with a name that begins with {shown(pattern.prefix)}"


def _near(listing: Listing, folder: str) -> str:
    if not listing.exists(folder):
        near = listing.nearest(folder)
        alike = _alike(listing, folder, near)
        there = (
            f"did you mean {alike}?"
            if alike
            else f"the nearest is {shown(near) if near else 'the folder of the Ductfile'}"
        )
        return f"there is no folder {shown(folder)}; {there}"
    called = f"the folder {shown(folder)}" if folder else "the folder of the Ductfile"
    held = count(len(listing.read(folder)), "name") if listing.read(folder) else "nothing"
    return f"{called} is there and holds {held}"
