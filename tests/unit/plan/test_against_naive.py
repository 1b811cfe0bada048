"""Random projects, expanded in columns and by plain loops over every combination of values: both must say the same."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from miniduct.errors import PlanError
from miniduct.plan.columns import Plan
from miniduct.plan.order import affected, graph
from miniduct.plan.select import Selection, needed
from support_plan import Disk, jobs, plan, project, step

if TYPE_CHECKING:
    from miniduct.model import Step

VALUES = "12"
FOLDERS = "abcde"
INPUTS = [
    "{x}",
    "{y}",
    "{x}-{y}",
    "{y}-{x}",
    "*",
    "{x}-*",
    "*-{x}",
    "1",
    "1-2",
    "{x}{y}",
    "{r}-{x}",
    "{r}",
    "?",
    "[1]-*",
]
TARGETS = ["t", "{x}", "{x}-{y}", "{y}", "{r}", "{r}-{x}"]


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    """A few steps, each of which writes into a folder of its own and reads from those before it."""
    made = []
    for at, folder in enumerate(FOLDERS[1 : draw(st.integers(2, 4))]):
        others = [*FOLDERS[: at + 1], "e"]
        names = draw(st.lists(st.tuples(st.sampled_from(others), st.sampled_from(INPUTS)), max_size=3))
        inputs = [f"{each}/{name}" for each, name in names]
        known = set("".join(inputs)) & set("xyr")
        target = draw(st.sampled_from([each for each in TARGETS if known.issuperset(set(each) & set("xy"))]))
        needs_r = "r" in known or "{r}" in target
        made.append(
            step(
                f"s{at}",
                inputs,
                f"{folder}/{target}" + ("-{r}" if needs_r and "{r}" not in target else ""),
                where={"x": "[12]", "y": "[12]"},
                foreach={"r": VALUES} if needs_r else {},
                line=at + 1,
            )
        )
    return made


def literal(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w)\}", lambda found: values.get(found[1], found[0]), text)


def expression(text: str) -> re.Pattern[str]:
    """A text whose open signs are globs and wildcards, as an expression."""
    source = re.escape(text).replace(r"\*", "[^/]*").replace(r"\?", "[^/]").replace(r"\[1\]", "1")
    return re.compile(re.sub(r"\\\{\w\\\}", "[12]", source))


class Refused(Exception):
    """The naive expansion finds a missing input."""


def naive(made: list[Step], files: list[str]) -> dict[str, tuple[list[str], list[str]]]:
    keys = set(files)
    found: dict[str, tuple[list[str], list[str]]] = {}
    for each in made:
        found.update(naive_step(each, sorted(keys)))
        keys |= {key for reads, makes in found.values() for key in makes}
    return found


def naive_step(each: Step, keys: list[str]) -> dict[str, tuple[list[str], list[str]]]:
    if any(not set("{*?[").intersection(slot.text) and slot.text not in keys for slot in each.inputs):
        raise Refused  # also where the step has no jobs yet
    fixed = [name for name, _ in each.foreach]
    target = each.targets[0].text
    job_names = [*dict.fromkeys([*re.findall(r"\{(\w)\}", target), *fixed])]
    rows: list[dict[str, str]] = [{}]
    for name, values in each.foreach:
        rows = [{**row, name: value} for row in rows for value in values]
    base = rows
    sought = set()
    for at, slot in enumerate(each.inputs):
        new = [n for n in dict.fromkeys(re.findall(r"\{(\w)\}", slot.text)) if n not in seen_names(each, at)]
        if not new:
            continue
        sought.add(at)
        grown = []
        for row in rows:
            fits = [
                {**row, **dict(zip(new, values))}
                for values in product(VALUES, repeat=len(new))
                if any(expression(literal(slot.text, {**row, **dict(zip(new, values))})).fullmatch(key) for key in keys)
            ]
            shares = set(re.findall(r"\{(\w)\}", slot.text)) & (seen_names(each, at) - set(fixed))
            if not fits and shares and not set(new) & set(job_names):
                raise Refused
            grown += fits
        rows = grown
    made: dict[tuple[str, ...], list[dict[str, str]]] = {}
    if set(job_names) == set(fixed):
        made = {tuple(row[name] for name in job_names): [] for row in base}
    for row in rows:
        made.setdefault(tuple(row[name] for name in job_names), []).append(row)
    result = {}
    for values, mine in made.items():
        named = dict(zip(job_names, values))
        reads: list[str] = []
        for slot in each.inputs:
            names = set(re.findall(r"\{(\w)\}", slot.text))
            given_rows = [named] if names <= set(job_names) else mine
            texts = {literal(slot.text, row) for row in given_rows}
            if any(sign in slot.text for sign in "*?["):
                reads += sorted(key for key in keys if any(expression(text).fullmatch(key) for text in texts))
            else:
                if not texts <= set(keys):
                    raise Refused
                reads += sorted(texts)
        label = ",".join(f"{name}={value}" for name, value in named.items())
        result[f"{each.name}[{label}]" if label else each.name] = (
            list(dict.fromkeys(reads)),
            [literal(target, named)],
        )
    return result


def seen_names(each: Step, at: int) -> set[str]:
    texts = "".join(slot.text for slot in each.inputs[:at])
    return set(re.findall(r"\{(\w)\}", texts)) | {name for name, _ in each.foreach}


FILES = st.lists(
    st.builds("{}/{}".format, st.sampled_from("ae"), st.sampled_from(["1", "2", "1-2", "2-1", "1-1", "12", "21", "3"])),
    unique=True,
    max_size=10,
)


@settings(max_examples=400, deadline=None)
@given(steps(), FILES, st.permutations(range(3)))
def test_columns_say_what_plain_loops_say(made: list[Step], files: list[str], order: list[int]) -> None:
    try:
        expected = naive(made, files)
    except Refused:
        expected = None
    shuffled = [made[at] for at in order if at < len(made)]
    try:
        found = plan(*shuffled, disk=files)
    except PlanError:
        assert expected is None
        return
    assert jobs(found) == expected
    again = Plan.load(found.steps, found.dump())
    assert jobs(again) == expected
    check_order(found)


def check_order(found: Plan) -> None:
    """What follows from a plan, against plain loops over its jobs."""
    makers = {job: {found.maker[key] for key in found.inputs(job)} - {-1} for job in range(found.jobs)}
    assert all(found.makers_of(job) == makers[job] for job in makers)
    waits = graph(found, makers)
    assert {job: set() for job in makers} | {
        job: {one for one, readers in waits.readers.items() if job in readers} for job in makers if waits.waits[job]
    } == makers or any(node < 0 for node in waits.waits)
    for key in range(len(found.names)):
        readers = {job for job in makers if key in found.inputs(job)}
        assert found.readers({key}) == readers
        reached = readers | ({found.maker[key]} - {-1})
        expected = set(reached)
        while reached:
            reached = {job for job, before in makers.items() if before & expected} - expected
            expected |= reached
        assert affected(found, {key}, ()) == expected
    for job in makers:
        wanted = {job}
        while more := set().union(*(makers[each] for each in wanted)) - wanted:
            wanted |= more
        assert needed(found, set(makers), Selection([job])) == wanted


def test_project_is_a_value_for_the_tests_above() -> None:
    assert project(step("a")).steps[0].name == "a"
    assert Disk("a/b").stat("a/b") is not None
