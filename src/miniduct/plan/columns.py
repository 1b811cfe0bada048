"""The plan: which job reads and makes which keys, in packed columns instead of an object for each job.

Jobs and keys are numbers. A slot's keys are one shared list, one key a row, or offsets and keys. This module knows neither disks nor how a plan comes
about; it answers questions. 100,000 jobs over 200,000 keys: 3 MB of arrays beside the names, dumped and loaded in some 30 ms because names
and values travel as one text each and are split when first asked for.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from functools import cached_property
from itertools import accumulate, chain, compress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..events import JobName
from ..keys import VALUES
from ..tuples import NamedTuple
from .patterns import bound_texts, key_pattern

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ..model import Step
    from .patterns import Pattern

SHARED, SINGLE, RAGGED = range(3)
RECENT = 1000
"""Jobs of which is kept what was found out: as a rule more than run at a time, batches of hundreds included. They hold targets and no inputs, and
a target has one maker: all of them together are no more than the keys of the plan.
"""
Found = TypeVar("Found")


class Folder(NamedTuple):
    """A folder that was listed: its stamp (None: not there), and a digest of the names in it that no job of this project made."""

    name: str
    stamp: tuple[int, int, int, int] | None
    foreign: bytes


class Keys:
    """The keys of one slot for every row of a step: shared by all, one a row, or any number a row."""

    __slots__ = ("kind", "offsets", "packed", "rows")

    def __init__(self, kind: int, rows: int, packed: array[int], offsets: array[int] | None = None) -> None:
        self.kind = kind
        self.rows = rows
        self.packed = packed
        self.offsets = offsets

    @classmethod
    def shared(cls, keys: Iterable[int], rows: int) -> Keys:
        """The same keys for every row."""
        return cls(SHARED, rows, array("i", keys))

    @classmethod
    def single(cls, keys: Iterable[int]) -> Keys:
        """One key a row."""
        packed = array("i", keys)
        return cls(SINGLE, len(packed), packed)

    @classmethod
    def ragged(cls, counts: Iterable[int], keys: Iterable[int]) -> Keys:
        """The keys of all rows one after the other, with the number of each row's."""
        offsets = array("i", accumulate(counts, initial=0))
        return cls(RAGGED, len(offsets) - 1, array("i", keys), offsets)

    def of(self, row: int) -> Sequence[int]:
        """The keys of a row, in order."""
        if self.kind == SINGLE:
            return self.packed[row : row + 1]
        if self.offsets is None:
            return self.packed
        return self.packed[self.offsets[row] : self.offsets[row + 1]]

    def rows_with(self, keys: Collection[int]) -> Iterable[int]:
        """The rows that have any of these keys, ascending. `keys` should be a set: each number of the column is looked up in it."""
        if not self.rows or not keys:
            return ()
        wanted = keys if isinstance(keys, (set, frozenset)) else set(keys)
        if self.kind == SHARED:
            return () if wanted.isdisjoint(self.packed) else range(self.rows)
        if len(wanted) == 1:
            places = _places(self.packed, next(iter(wanted)))
        else:
            places = list(compress(range(len(self.packed)), map(wanted.__contains__, self.packed)))
        if self.offsets is None:
            return places
        offsets = self.offsets
        return list(dict.fromkeys(bisect_right(offsets, place) - 1 for place in places))

    def flat(self) -> Sequence[int]:
        """All keys of the slot, row after row; of a shared one: once."""
        return self.packed

    def dump(self) -> tuple[int, int, bytes, bytes | None]:
        return self.kind, self.rows, self.packed.tobytes(), None if self.offsets is None else self.offsets.tobytes()

    @classmethod
    def load(cls, dumped: Sequence[Any]) -> Keys:
        kind, rows, packed, offsets = dumped
        return cls(kind, rows, _ints(packed), None if offsets is None else _ints(offsets))


class Texts:
    """A column of texts, kept as one text until it is asked for."""

    __slots__ = ("_dumped", "_texts")

    def __init__(self, texts: list[str] | None = None, dumped: bytes | list[str] | None = None) -> None:
        self._texts = texts
        self._dumped = dumped

    def all(self) -> list[str]:
        if self._texts is None:
            dumped = self._dumped
            if isinstance(dumped, bytes):
                # One text more than there are: the leading NUL tells no text from one empty text.
                self._texts = dumped.decode("utf-8", "surrogateescape").split("\0")[1:]
            else:
                self._texts = dumped or []
        return self._texts

    def dump(self) -> bytes | list[str]:
        if self._dumped is None:
            texts = self._texts or []
            joined = "\0".join(["", *texts])
            if joined.count("\0") == len(texts):
                self._dumped = joined.encode("utf-8", "surrogateescape")
            else:
                self._dumped = texts
        return self._dumped


class Table:
    """The rows of one step: the values that name them, and the keys of each slot. A group has no rows, and its slots are shared ones.

    `targets` has None for a dynamic slot (a glob); `members` are the known keys of all dynamic slots together.
    """

    __slots__ = ("_values", "inputs", "members", "names", "rows", "targets")

    def __init__(
        self,
        rows: int,
        names: tuple[str, ...],
        values: list[Texts],
        inputs: list[Keys],
        targets: list[Keys | None],
        members: Keys | None = None,
    ) -> None:
        self.rows = rows
        self.names = names
        self._values = values
        self.inputs = inputs
        self.targets = targets
        self.members = members

    def values(self, row: int) -> dict[str, str]:
        return {name: column.all()[row] for name, column in zip(self.names, self._values)}

    def made(self) -> list[Keys]:
        """The columns of all keys that the rows make, as far as they are known."""
        columns = [keys for keys in self.targets if keys is not None]
        return columns if self.members is None else [*columns, self.members]

    def dump(self) -> tuple[Any, ...]:
        """Builtins for `marshal`; of one row and one key a slot, as of most steps of a long pipeline, the keys alone."""
        if self.rows == 1 and not self.names and self.members is None:
            read = [keys.packed[0] for keys in self.inputs if keys.kind == SHARED and len(keys.packed) == 1]
            made = [keys.packed[0] for keys in self.targets if keys is not None and keys.kind == SINGLE]
            if len(read) == len(self.inputs) and len(made) == len(self.targets):
                return read, made
        return (
            self.rows,
            self.names,
            [column.dump() for column in self._values] if self._values else [],
            [keys.dump() for keys in self.inputs],
            [keys.dump() if keys is not None else None for keys in self.targets],
            None if self.members is None else self.members.dump(),
        )

    @classmethod
    def load(cls, dumped: Sequence[Any]) -> Table:
        if len(dumped) == 2:
            read, made = dumped
            return cls(1, (), [], [Keys.shared((key,), 1) for key in read], [Keys.single((key,)) for key in made])
        rows, names, values, inputs, targets, members = dumped
        return cls(
            rows,
            tuple(names),
            [Texts(dumped=column) for column in values],
            [Keys.load(keys) for keys in inputs],
            [Keys.load(keys) if keys is not None else None for keys in targets],
            None if members is None else Keys.load(members),
        )


class Dumped:
    """The tables of a plan as they were dumped: where there is nothing to do, nobody asks for those of 10,000 steps."""

    __slots__ = ("_tables",)

    def __init__(self, tables: Sequence[Sequence[Any]]) -> None:
        self._tables = tables

    def rows(self) -> list[int]:
        return [1 if len(table) == 2 else table[0] for table in self._tables]

    def load(self) -> list[Table]:
        return [Table.load(table) for table in self._tables]


class Job:
    """One job as the parts of a run ask about it, some thirty times from its judging to its record: looked up once. Not to be changed.

    `step_number` is its step's place in the plan, `targets` the distinct keys that it makes (static ones, and the known members of
    dynamic ones), `texts` its declared targets as `Plan.target_texts` gives them. `is_value`: its only target is what a Python object returns;
    `is_light`: that is called in this process, without a time limit, and its output may be seen.
    """

    __slots__ = (
        "_row",
        "_table",
        "dynamic",
        "id",
        "is_light",
        "is_value",
        "name",
        "number",
        "step",
        "step_number",
        "targets",
        "texts",
        "values",
    )

    def __init__(self, plan: Plan, number: int) -> None:
        at = bisect_right(plan.first, number) - 1
        step, table, row = plan.steps[at], plan.tables[at], number - plan.first[at]
        self._table, self._row = table, row
        self.number = number
        self.step_number = at
        self.step = step
        values = self.values = table.values(row) if table.names else {}
        first: str | None
        if len(table.targets) == 1 and table.members is None and table.targets[0] is not None:
            targets = self.targets = list(table.targets[0].of(row))
            first = plan.names[targets[0]]
            self.texts = [first]
            self.dynamic = False
        else:
            self.targets = list(dict.fromkeys([key for keys in table.made() for key in keys.of(row)]))
            self.texts = [plan.target_text(at, row, slot) for slot in range(len(step.targets))]
            first = self.texts[0] if self.texts else None
            self.dynamic = None in table.targets
        self.id = _job_id(step, values, first)
        self.name = JobName(step.name, values, first)
        body = step.body
        self.is_value = body is not None and first is not None and first.startswith(VALUES)
        self.is_light = self.is_value and _is_light(step)

    def slots(self) -> list[Sequence[int]]:
        """As `Plan.input_slots`; not kept, for they may be many."""
        return [keys.of(self._row) for keys in self._table.inputs]

    def inputs(self) -> list[int]:
        """As `Plan.inputs`."""
        slots = self._table.inputs
        if len(slots) == 1:
            return list(dict.fromkeys(slots[0].of(self._row)))
        return list(dict.fromkeys(chain.from_iterable(self.slots()))) if slots else []


def _is_light(step: Step) -> bool:
    return step.body is not None and step.body.remote is None and step.timeout is None and not step.secrets


def _job_id(step: Step, values: Mapping[str, str], target: str | None) -> str:
    """What the traces know a job by: its first target, whatever its step and wildcards are called."""
    return f"t:{target}" if target is not None else "\0".join([f"s:{step.name}", *values.values()])


class Recent(dict[int, Found], Generic[Found]):
    """What was found out about jobs, by their numbers; kept for the last ones."""

    def keep(self, job: int, found: Found) -> Found:
        if len(self) >= RECENT:
            self.clear()
        self[job] = found
        return found


class Plan:
    """All jobs and keys of a project. Job and key numbers hold for this plan only; names and job ids hold for ever.

    `holds` are the folders made as a whole with the keys in them that are read, and the folders read as a whole with the keys in them
    that are made. `ranks` are the steps in an order in which makers come first; steps that wait for each other through different keys
    stand together.
    """

    def __init__(
        self,
        steps: tuple[Step, ...],
        tables: list[Table] | Dumped,
        names: Texts,
        maker: array[int],
        *,
        folders: list[Folder] | None = None,
        warnings: list[tuple[str, tuple[str, ...]]] | None = None,
        orphans: Texts | None = None,
        after: list[list[int]] | None = None,
        dynamic_before: list[list[int]] | None = None,
        holds: list[tuple[int, list[int]]] | None = None,
        ranks: list[list[int]] | None = None,
    ) -> None:
        self.steps = steps
        self._tables = tables
        self.maker = maker
        self.folders = folders or []
        self.warnings = warnings or []
        self.holds = holds or []
        self.ranks = ranks or []
        self.after_steps = after or [[] for _ in steps]
        self.dynamic_steps = dynamic_before or [[] for _ in steps]
        self.once_made = orphans or Texts([])
        self.ours: set[str] | None = None
        """Kept by `folders.ours`."""
        self._names = names
        rows = tables.rows() if isinstance(tables, Dumped) else [table.rows for table in tables]
        self.first = list(accumulate(rows, initial=0))
        self._numbers: dict[str, int] | None = None
        self._recent: Recent[Job] = Recent()
        self._patterns: dict[int, list[Pattern]] = {}
        self._moves: dict[int, list[int]] | None = None
        self._makers_inside: dict[int, set[int]] | None = None

    @cached_property
    def tables(self) -> list[Table]:
        """The rows of each step."""
        return self._tables.load() if isinstance(self._tables, Dumped) else self._tables

    @cached_property
    def names(self) -> list[str]:
        """Key number to key."""
        return self._names.all()

    @property
    def orphans(self) -> list[str]:
        """Keys that a job made once and that no job makes or reads now. Once they are tracked, they have the last numbers."""
        return self.once_made.all()

    def track(self, orphans: list[str]) -> None:
        """These are the orphans; they become keys, which nobody makes and nobody reads."""
        self.once_made = Texts(orphans)
        self._names = Texts([*self.names, *orphans])
        self.__dict__.pop("names")
        self.maker.extend([-1] * len(orphans))
        self.ours = self._numbers = None

    @property
    def first_orphan(self) -> int:
        """The number of the first orphan; all above it are orphans too."""
        return len(self.maker) - len(self.orphans)

    @property
    def jobs(self) -> int:
        return self.first[-1]

    def key(self, name: str) -> int | None:
        """The number of a key; None where the plan has no such key."""
        if self._numbers is None:
            self._numbers = dict(zip(self.names, range(len(self.names))))
        return self._numbers.get(name)

    # -- one job ----------------------------------------------------------------------------------------------------------------------

    def step_of(self, job: int) -> int:
        return bisect_right(self.first, job) - 1

    def job(self, number: int) -> Job:
        """All about a job that is judged or runs; for a look at one fact of many jobs, the other methods are cheaper."""
        return self._recent.get(number) or self._recent.keep(number, Job(self, number))

    def row_of(self, job: int) -> int:
        return job - self.first[self.step_of(job)]

    def _place(self, job: int) -> tuple[int, Table, int]:
        step = bisect_right(self.first, job) - 1
        return step, self.tables[step], job - self.first[step]

    def values(self, job: int) -> dict[str, str]:
        """The values of the job's wildcards and `foreach` names."""
        _, table, row = self._place(job)
        return table.values(row)

    def job_id(self, job: int) -> str:
        """What the traces know the job by: its first target, whatever its step and wildcards are called."""
        step, table, row = self._place(job)
        if self.steps[step].targets:
            return f"t:{self.target_text(step, row, 0)}"
        return _job_id(self.steps[step], table.values(row), None)

    def job_name(self, job: int) -> JobName:
        step, table, row = self._place(job)
        target = self.target_text(step, row, 0) if self.steps[step].targets else None
        return JobName(self.steps[step].name, table.values(row), target)

    def input_slots(self, job: int) -> list[Sequence[int]]:
        """The keys of each declared input, in declared order."""
        _, table, row = self._place(job)
        return [keys.of(row) for keys in table.inputs]

    def inputs(self, job: int) -> list[int]:
        """The distinct keys that the job reads, in order."""
        return list(dict.fromkeys(chain.from_iterable(self.input_slots(job))))

    def target_texts(self, job: int) -> list[str]:
        """The declared targets: keys; folders with their slash; for dynamic ones a glob text in which literal signs are escaped."""
        step, _, row = self._place(job)
        return [self.target_text(step, row, slot) for slot in range(len(self.steps[step].targets))]

    def target_text(self, step: int, row: int, slot: int) -> str:
        keys = self.tables[step].targets[slot]
        if keys is not None:
            return self.names[keys.of(row)[0]]
        values = {name: [value] for name, value in self.tables[step].values(row).items()}
        return bound_texts(self._target_pattern(step, slot), values, 1)[0]

    def _target_pattern(self, step: int, slot: int) -> Pattern:
        patterns = self._patterns.get(step)
        if patterns is None:
            patterns = self._patterns[step] = [key_pattern(each.text, target=True) for each in self.steps[step].targets]
        return patterns[slot]

    def target_dynamic(self, step: int) -> list[bool]:
        """For each declared target of a step: is it a glob, whose members are known only after the run?"""
        return [keys is None for keys in self.tables[step].targets]

    def targets(self, job: int) -> list[int]:
        """The distinct keys that the job makes: static ones and the known members of dynamic ones."""
        _, table, row = self._place(job)
        return list(dict.fromkeys(chain.from_iterable(keys.of(row) for keys in table.made())))

    def is_dynamic(self, job: int) -> bool:
        return None in self.tables[self.step_of(job)].targets

    # -- between jobs and steps -------------------------------------------------------------------------------------------------------

    def after(self, step: int) -> list[int]:
        """Steps whose jobs must all have ended before any job of this step starts; groups are resolved."""
        return self.after_steps[step]

    def dynamic_before(self, step: int) -> list[int]:
        """Steps whose dynamic or folder targets may turn out to hold what this step reads."""
        return self.dynamic_steps[step]

    def readers(self, keys: Collection[int]) -> set[int]:
        """The jobs that read any of these keys. 200,000 cells are looked through in 5 ms."""
        wanted = set(keys)
        return {job for step in range(len(self.tables)) for job in self.readers_in(step, wanted)}

    def readers_in(self, step: int, keys: Collection[int]) -> set[int]:
        """The jobs of one step that read any of these keys."""
        table, first = self.tables[step], self.first[step]
        found: set[int] = set()
        if table.rows:
            for column in table.inputs:
                found.update(column.rows_with(keys))
        return {first + row for row in found} if first else found

    def makers_of(self, job: int) -> set[int]:
        """The jobs that make what this job reads."""
        maker, inside = self.maker, self.makers_inside()
        keys = self.inputs(job)
        found = {maker[key] for key in keys}
        if inside:
            for key in keys:
                found |= inside.get(key, set())
        found -= {-1, job}
        return found

    def makers_inside(self) -> dict[int, set[int]]:
        """For each folder read as a whole: the jobs that make keys in it."""
        if self._makers_inside is None:
            maker = self.maker
            self._makers_inside = {
                folder: {maker[key] for key in keys if maker[key] >= 0} for folder, keys in self.holds
            }
        return self._makers_inside

    def moved_with(self, keys: Iterable[int]) -> set[int]:
        """These keys, and those that change with them: what lies in a folder made as a whole, the folder read as a whole around a key."""
        found = set(keys)
        if self.holds:
            if self._moves is None:
                self._moves = {}
                for folder, inside in self.holds:
                    if self.maker[folder] >= 0:
                        self._moves[folder] = inside
                    else:
                        for key in inside:
                            self._moves.setdefault(key, []).append(folder)
            moves = self._moves
            found.update(chain.from_iterable([moves[key] for key in moves.keys() & found]))
        return found

    def made_in(self, step: int, jobs: Collection[int]) -> set[int]:
        """The keys that these jobs of one step make."""
        table, first = self.tables[step], self.first[step]
        found: set[int] = set()
        for column in table.made():
            if len(jobs) == table.rows:
                found.update(column.flat())
            elif column.kind == SINGLE:
                packed = column.packed
                found.update([packed[job - first] for job in jobs])
            else:
                found.update(chain.from_iterable([column.of(job - first) for job in jobs]))
        return found

    def group_keys(self, step: int) -> list[int]:
        """The distinct keys that a step's inputs name, over all its rows."""
        return list(dict.fromkeys(chain.from_iterable(keys.flat() for keys in self.tables[step].inputs)))

    # -- kept between builds ----------------------------------------------------------------------------------------------------------

    def dump(self, *, names: bool = True) -> tuple[Any, ...]:
        """Builtins for `marshal`. Without names, `load` must be given them."""
        return (
            [table.dump() for table in self.tables],
            self._names.dump() if names else None,
            self.maker.tobytes(),
            [tuple(folder) for folder in self.folders],
            self.warnings,
            self.once_made.dump(),
            self.after_steps,
            self.dynamic_steps,
            self.holds,
            self.ranks,
        )

    @classmethod
    def load(cls, steps: tuple[Step, ...], dumped: Sequence[Any], names: list[str] | None = None) -> Plan:
        tables, dumped_names, maker, folders, warnings, orphans, after, dynamic_before, holds, ranks = dumped
        return cls(
            steps,
            Dumped(tables),
            Texts(names, dumped_names),
            _ints(maker),
            folders=[Folder(*folder) for folder in folders],
            warnings=warnings,
            orphans=Texts(dumped=orphans),
            after=after,
            dynamic_before=dynamic_before,
            holds=holds,
            ranks=ranks,
        )


def under(names: list[str], folder: str) -> list[str]:
    """Those of the sorted names that lie below the folder (a key with its slash)."""
    start = bisect_right(names, folder)
    return names[start : bisect_left(names, folder[:-1] + "0", start)]


def _places(packed: array[int], key: int) -> list[int]:
    found: list[int] = []
    start = 0
    try:
        while True:
            at = packed.index(key, start)
            found.append(at)
            start = at + 1
    except ValueError:
        return found


def _ints(dumped: bytes) -> array[int]:
    numbers = array("i")
    numbers.frombytes(dumped)
    return numbers
