"""Steps into jobs: a pure function of the steps, of what the store lists, and of what jobs made before.

Each step is expanded after those whose targets may match its patterns; its candidates are the files there are, without those that a job of this
project once made, and the targets of the other steps. Steps that may give to each other are expanded in turns until nothing changes. Literal
inputs find their makers by name when all is expanded. 100,000 jobs take some 0.5 s, for a step's rows are made all at once, not one by one.
"""

from __future__ import annotations

import gc
import json
from array import array
from collections import defaultdict
from itertools import chain, count, pairwise
from typing import TYPE_CHECKING

from blake3 import blake3

from ..errors import PlanError, StoreError
from .columns import SHARED, Keys, Plan, Table, Texts, under
from .faults import (
    Link,
    Search,
    circle,
    in_own_globs,
    inside_folders,
    lacking,
    nothing_found,
    same_globs,
    two_makers,
    under_files,
)
from .folders import folders_of, relist, ways
from .listing import Listing, between, parent
from .patterns import bound_texts, escape, glob
from .rows import ONE_ROW, enumerate_rows, input_texts, target_texts
from .select import select
from .shapes import components, edges, may_give, shape
from .wiring import barriers, hold, order_only, ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from ..errors import Mistake
    from ..model import Project, Slot
    from ..stores.base import Store
    from .patterns import Pattern
    from .rows import Rows, SlotTexts
    from .shapes import Shape

__all__ = ["expand", "plan_digest", "relist"]

MOST_TURNS = 20
"""Steps that feed each other and still find new keys after so many turns (and one for each step) are taken to do so without end."""


def plan_digest(project: Project) -> bytes:
    """What identifies everything in the project that the expansion depends on: not the commands, nor where things are written."""
    steps = [
        [
            step.name,
            [[slot.text, slot.step] for slot in step.inputs],
            [slot.text for slot in step.targets],
            step.group,
            step.after,
            step.foreach,
            sorted(step.where.items()) if step.where else (),
        ]
        for step in project.steps
    ]
    return blake3(json.dumps(steps, check_circular=False).encode()).digest()


def expand(
    project: Project,
    store: Store,
    *,
    members: Callable[[str], Sequence[str]],
    once_made: Collection[str],
    listing: Listing | None = None,
) -> Plan:
    """All jobs of the project.

    `members` gives the keys that the last good run of a job (by its id) made; `once_made` are all keys that any job ever made; `listing` has
    folders just listed. PlanError with all mistakes of the first kind found; StoreError where a folder cannot be listed.
    """
    collecting = gc.isenabled()
    gc.disable()  # hundreds of thousands of texts and tuples, none of them in a circle: the collector would only look at them again and again
    try:
        return _Expansion(project, Listing(store, listing), members, once_made).plan()
    finally:
        if collecting:
            gc.enable()


class Grown:
    """One step, expanded: its rows, its targets by slot (None: dynamic), and the known members of dynamic ones, by job."""

    __slots__ = ("members", "rows", "sorted", "targets")

    def __init__(self, rows: Rows, targets: list[list[str] | None], members: list[list[str]] | None = None) -> None:
        self.rows = rows
        self.targets = targets
        self.members = members
        self.sorted: dict[int, list[str]] = {}

    def slot(self, at: int) -> list[str]:
        """The keys of a target, sorted."""
        found = self.sorted.get(at)
        if found is None:
            texts = self.targets[at]
            if texts is None:
                texts = list(chain.from_iterable(self.members or ()))
            found = self.sorted[at] = sorted(texts)
        return found

    def made(self) -> Iterator[str]:
        for texts in self.targets:
            yield from texts or ()
        yield from chain.from_iterable(self.members or ())


class _Expansion:
    def __init__(
        self, project: Project, listing: Listing, members: Callable[[str], Sequence[str]], once_made: Collection[str]
    ) -> None:
        self.project = project
        self.members = members
        self.listing = listing
        self.shapes = [shape(step) for step in project.steps]
        self.numbers = {step.name: at for at, step in enumerate(project.steps)}
        self.before = edges(self.shapes, self._number)
        self.once = once_made if isinstance(once_made, (set, frozenset)) else set(once_made)
        self.once_folders = {key for key in self.once if key.endswith("/")}
        self.grown: list[Grown | None] = [None] * len(self.shapes)
        self.folders_made: list[set[str]] = [set() for _ in self.shapes]
        self.ways: dict[tuple[int, int], list[str]] = {}

    def _number(self, slot: Slot) -> int:
        return self.numbers[slot.step or ""]

    # -- candidates -------------------------------------------------------------------------------------------------------------------

    def candidates(self, step: int, pattern: Pattern, own: Collection[str]) -> list[str]:
        """The keys that a step's input may match, sorted: files that no job made, and what other steps make."""
        once = self.once
        listed = [key for key in self.listing.candidates(pattern) if key not in once]
        if self.once_folders or self.folders_made[step]:
            listed = self._outside(step, listed)
        if pattern.is_folder and listed and once:
            listed = [key for key in listed if not self._only_orphans(key)]
        made = self._made_by_others(step, pattern)
        found = sorted({*listed, *made}) if listed and made else listed or made
        if own:
            found = [key for key in found if key not in own]
        return found

    def _made_by_others(self, step: int, pattern: Pattern) -> list[str]:
        found: list[list[str]] = []
        for maker in self.before[step]:
            grown = self.grown[maker]
            if grown is None or self.shapes[maker].group:
                continue
            for at, target in enumerate(self.shapes[maker].loose):
                if pattern.is_folder:
                    found.append(between(self._ways(maker, at, grown), pattern.prefix))
                elif may_give(target, pattern) and not target.is_folder:
                    found.append(between(grown.slot(at), pattern.prefix))
        if len(found) == 1:
            return found[0]
        return sorted(set(chain.from_iterable(found)))

    def _ways(self, maker: int, at: int, grown: Grown) -> list[str]:
        """The folders that a target makes or lies in."""
        place = (maker, at)
        if place not in self.ways:
            keys = grown.slot(at)
            self.ways[place] = sorted({*ways(keys), *(key for key in keys if key.endswith("/"))})
        return self.ways[place]

    def _outside(self, step: int, listed: list[str]) -> list[str]:
        """Without what lies in folders that this step makes as a whole, or that were made as a whole and are no longer."""
        makers = self.before[step]
        gone = self.once_folders - set().union(*(self.folders_made[maker] for maker in makers))
        gone |= self.folders_made[step]
        inside: dict[str, bool] = {}
        kept = []
        for key in listed:
            folder = parent(key)
            if folder not in inside:
                inside[folder] = not gone.isdisjoint(ways([key]))
            if not inside[folder] and key not in gone:
                kept.append(key)
        return kept

    def _only_orphans(self, folder: str) -> bool:
        """Is there something in the folder, and all of it made by jobs?"""
        pattern = glob(escape(folder) + "**")
        keys = self.listing.candidates(pattern)
        return bool(keys) and self.once.issuperset(keys)

    # -- growing ----------------------------------------------------------------------------------------------------------------------

    def _grow_all(self) -> None:
        for component in components(self.before):
            if len(component) == 1:
                step = component[0]
                self.grown[step] = _plain_growth(self.shapes[step]) or self.grow(step)
            else:
                self._take_turns(component)

    def _take_turns(self, component: list[int]) -> None:
        """Expand steps that may give to each other until none of them makes anything new."""
        for _ in range(MOST_TURNS + len(component)):
            settled = True
            for step in component:
                before = self.grown[step]
                now = self.grown[step] = self.grow(step)
                for at in range(len(now.targets)):
                    self.ways.pop((step, at), None)
                settled = settled and before is not None and set(before.made()) == set(now.made())
            if settled:
                return
        raise PlanError([circle(self.project.steps, self._round(component))])

    def _round(self, component: list[int]) -> list[Link]:
        """A shortest way round through a component, each with the target's pattern that leads on."""
        start = component[0]
        come_from: dict[int, int] = {}
        queue = [start]
        for step in queue:
            for maker in self.before[step]:
                if maker in component and maker not in come_from:
                    come_from[maker] = step
                    queue.append(maker)
        way = [start]
        while True:
            reader = come_from[way[-1]]
            way.append(reader)
            if reader == start:
                break
        return [Link(maker, self._gives(maker, reader), reader) for maker, reader in pairwise(way)]

    def _gives(self, maker: int, reader: int) -> str:
        for target in self.shapes[maker].loose:
            if any(may_give(target, pattern) for pattern in self.shapes[reader].seeks):
                return target.source
        return self.shapes[maker].loose[0].source if self.shapes[maker].loose else ""

    def grow(self, step: int) -> Grown:
        """Expand one step. A step never reads its own targets: where some are among its candidates, it is expanded again without them."""
        each = self.shapes[step]
        own: frozenset[str] = frozenset()
        if not each.seeks:
            return self._grow_once(step, own, None)
        overlaps = any(may_give(target, pattern) for target in each.loose for pattern in each.seeks)
        history: list[frozenset[str]] = []
        while True:
            seen: set[str] = set()
            grown = self._grow_once(step, own, seen if overlaps else None)
            hit = frozenset(seen.intersection(grown.made())) if overlaps else own
            if hit == own:
                return grown
            if hit in history:  # each would exclude the other's maker: neither is read
                return self._grow_once(step, own | hit, None)
            history.append(own)
            own = hit

    def _grow_once(self, step: int, own: frozenset[str], seen: set[str] | None) -> Grown:
        each = self.shapes[step]

        def find(pattern: Pattern) -> list[str]:
            keys = self.candidates(step, pattern, own)
            if seen is not None:
                seen.update(keys, own)
            return keys

        try:
            rows = enumerate_rows(each, find)
        except StoreError as error:
            where = f'needed by step "{each.step.name}" ({each.step.location})'
            raise StoreError(error.what, where=error.where, facts=(*error.facts, where), hint=error.hint) from error
        targets = target_texts(each, rows)
        if not each.dynamic:
            return Grown(rows, targets)
        self.folders_made[step] = {
            key for texts, target in zip(targets, each.targets) if target.is_folder for key in texts or ()
        }
        return Grown(rows, targets, self._members(each, rows, targets) if None in targets else None)

    def _members(self, each: Shape, rows: Rows, targets: Sequence[list[str] | None]) -> list[list[str]]:
        """The known members of the dynamic targets of each job: what its last good run made and the targets still mean."""
        if each.group:
            return []
        dynamic = [
            bound_texts(pattern, rows.jobs.columns, rows.jobs.rows)
            for pattern, texts in zip(each.targets, targets)
            if texts is None
        ]
        static = [texts for texts in targets if texts is not None]
        first = targets[0] or dynamic[0]
        found = []
        for row, texts in enumerate(zip(*dynamic)):
            known = self.members(f"t:{first[row]}")
            fixed = {column[row] for column in static}
            patterns = [glob(text) for text in texts]
            found.append(
                sorted({key for key in known if key not in fixed and any(each.matches(key) for each in patterns)})
                if known
                else []
            )
        return found

    # -- the plan ---------------------------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        self._grow_all()
        grown = [each for each in self.grown if each is not None]
        mistakes = lacking(self.shapes, [each.rows for each in grown])
        inputs = [input_texts(each, step.rows) for each, step in zip(self.shapes, grown)]
        self._expect(grown)
        plan = self._packed(grown, inputs)
        mistakes += self._fill_steps_inputs(plan)
        doubles = _find_makers(plan)
        mistakes += [
            *two_makers(plan, doubles),
            *same_globs(plan, self.shapes),
            *in_own_globs(plan, self.shapes),
            *under_files(plan),
        ]
        plan.holds, clashes = hold(plan)
        mistakes += inside_folders(plan, clashes)
        may_make, missing = self._look_for(plan, inputs)
        mistakes += missing
        plan.after_steps = order_only(plan, self.shapes, self.numbers)
        plan.dynamic_steps = barriers(plan, self.shapes, self.before, self.numbers, may_make)
        self._rank(plan, mistakes)
        plan.once_made = Texts(self._orphans(plan))
        plan.folders = folders_of(plan, self.listing)
        plan.warnings = nothing_found(plan, self.shapes, [each.rows for each in grown], self.listing)
        return plan

    def _rank(self, plan: Plan, mistakes: list[Mistake]) -> None:
        """The order of the steps. Here all mistakes found are raised; what else can be said of such a plan is said with them."""
        try:
            plan.ranks = ranks(plan)
        except PlanError as error:
            mistakes += error.mistakes
        if mistakes:
            try:
                select(plan, self.project, (), ".")
            except PlanError as error:
                mistakes += error.mistakes
        _stop_at(mistakes)

    def _expect(self, grown: Sequence[Grown]) -> None:
        """List the folders too that will be there, and matter, once the targets are."""
        seeks = list(chain.from_iterable([each.seeks for each in self.shapes]))
        if not seeks:
            return
        children: dict[str, list[str]] = {}
        for folder in sorted(ways(chain.from_iterable(each.made() for each in grown))):
            name = folder.rstrip("/")
            children.setdefault(parent(name), []).append(name.rpartition("/")[2])
        for pattern in seeks:
            self.listing.expect(pattern, children)

    def _packed(self, grown: Sequence[Grown], inputs: Sequence[Sequence[SlotTexts | None]]) -> Plan:
        """Texts to numbers: the first time a key is met gives it the next one."""
        index: defaultdict[str, int] = defaultdict(count().__next__)
        number = index.__getitem__
        tables = []
        for each, step, slots in zip(self.shapes, grown, inputs):
            jobs = step.rows.jobs
            rows = 0 if each.group else jobs.rows
            columns = [_keys(slot, rows, number, each.group) for slot in slots] if slots else []
            targets = [None if texts is None else Keys.single(map(number, texts)) for texts in step.targets]
            members = None
            if step.members is not None:
                members = Keys.ragged(map(len, step.members), map(number, chain.from_iterable(step.members)))
            names = () if each.group else tuple(jobs.columns)
            values = [Texts(jobs.columns[name]) for name in names] if names else []
            tables.append(Table(rows, names, values, columns, [] if each.group else targets, members))
        return Plan(self.project.steps, tables, Texts(list(index)), array("i", [-1]) * len(index))

    def _fill_steps_inputs(self, plan: Plan) -> list[Mistake]:
        """`step:NAME` stands for all keys that the step makes, or that the group names. Returns the circles of groups, which are left open."""
        circles: list[Mistake] = []
        known: dict[int, list[int]] = {}
        names = plan.names
        open_: list[int] = []

        def keys_of(step: int) -> list[int]:
            if step not in known:
                table = plan.tables[step]
                if self.shapes[step].group:
                    if step in open_:
                        way = [*open_[open_.index(step) :], step]
                        circles.append(circle(plan.steps, [Link(a, None, b) for a, b in zip(way[1:], way)]))
                        return []
                    fill(step)
                    known[step] = plan.group_keys(step)
                else:
                    made = {key for column in table.made() for key in column.flat()}
                    known[step] = sorted(made, key=names.__getitem__)
            return known[step]

        def fill(step: int) -> None:
            open_.append(step)
            table = plan.tables[step]
            for at, slot in enumerate(plan.steps[step].inputs):
                if slot.step:
                    table.inputs[at] = Keys.shared(keys_of(self._number(slot)), table.rows)
            open_.pop()

        for step, each in enumerate(self.shapes):
            if None in each.inputs:
                fill(step)
        return circles

    def _look_for(
        self, plan: Plan, inputs: Sequence[Sequence[SlotTexts | None]]
    ) -> tuple[dict[int, set[int]], list[Mistake]]:
        """Inputs that were not found but named: each must be made by a job, or be there, or be what a dynamic target may turn out to hold.

        Returns the steps that may make such inputs, for each step that reads them, and the mistakes.
        """
        search = Search(plan, self.shapes, self.listing, self.once)
        for step, slots in enumerate(inputs):
            for at, slot in enumerate(slots):
                if slot is not None and not slot.sought:
                    search.slot(step, at)
        return search.may_make, search.mistakes

    def _orphans(self, plan: Plan) -> list[str]:
        """What was made once, and is now neither made nor read, nor in a folder that is made, nor a folder around what is made."""
        gone = self.once.difference(plan.names)
        folders = set().union(*self.folders_made)
        if folders:
            gone = {key for key in gone if folders.isdisjoint(ways([key]))}
        if any(key.endswith("/") for key in gone):
            names = sorted(plan.names)
            gone = {key for key in gone if not (key.endswith("/") and under(names, key))}
        return sorted(gone)


def _plain_growth(each: Shape) -> Grown | None:
    """A step of one job, whatever there is."""
    if each.fixed or each.seeks or each.dynamic:
        return None
    texts = [target.literal for target in each.targets]
    return None if None in texts else Grown(ONE_ROW, [[text] for text in texts if text is not None])


def _keys(slot: SlotTexts | None, rows: int, number: Callable[[str], int], group: bool) -> Keys:
    if slot is None:
        return Keys.shared((), rows)
    if len(slot.texts) == 1 and slot.counts is None:  # as of nearly all slots of steps without patterns
        return Keys(SHARED if group else slot.kind, rows, array("i", [number(slot.texts[0])]))
    numbers = map(number, slot.texts)
    if group or slot.kind == SHARED:
        return Keys.shared(dict.fromkeys(numbers), rows)
    return Keys.single(numbers) if slot.counts is None else Keys.ragged(slot.counts, numbers)


def _find_makers(plan: Plan) -> list[tuple[int, int, int]]:
    """Fill in the maker of each key; returns the keys that two jobs make, with the two.

    Members of dynamic targets come last: what a former run made may by now be somebody else's.
    """
    maker = plan.maker
    doubles = []
    for first, table in zip(plan.first, plan.tables):
        for column in table.targets:
            for job, key in enumerate(column.packed if column else (), first):
                if maker[key] >= 0:
                    doubles.append((key, maker[key], job))
                else:
                    maker[key] = job
    for first, table in zip(plan.first, plan.tables):
        if table.members is not None:
            _claim_members(maker, first, table)
    return doubles


def _claim_members(maker: array[int], first: int, table: Table) -> None:
    counts, kept = [], []
    for row in range(table.rows):
        mine = [key for key in table.members.of(row) if maker[key] < 0] if table.members else []
        for key in mine:
            maker[key] = first + row
        counts.append(len(mine))
        kept += mine
    table.members = Keys.ragged(counts, kept)


def _stop_at(mistakes: Sequence[Mistake]) -> None:
    if mistakes:
        raise PlanError(sorted(mistakes, key=lambda mistake: (mistake.file, mistake.line, mistake.column)))
