"""What lies between the steps of a plan: folders and the keys in them, order without keys, barriers, ranks, circles.

Two steps may wait for each other through different keys; only where their jobs do is it a circle. So steps are looked at first, in a few passes over
the columns, and jobs only of those steps that stand in a circle of steps.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from ..errors import PlanError
from .columns import under
from .faults import Link, circle
from .order import graph
from .shapes import components, may_give

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .columns import Plan
    from .shapes import Shape


def hold(plan: Plan) -> tuple[list[tuple[int, list[int]]], list[tuple[int, int]]]:
    """The folders read or made as a whole with the keys in them that matter, and the targets that lie in another job's folder.

    A key in a made folder that somebody reads is made by the job that makes the folder.
    """
    names, maker = plan.names, plan.maker
    folders = sorted([name for name in names if name[-1:] == "/"])
    holds: list[tuple[int, list[int]]] = []
    clashes: list[tuple[int, int]] = []
    if not folders:
        return holds, clashes
    ordered = sorted(names)
    number = {name: key for key, name in enumerate(names)}
    inside = {number[name]: [number[each] for each in under(ordered, name)] for name in folders}
    made = [folder for folder in inside if maker[folder] >= 0]
    for folder in made:
        free = [key for key in inside[folder] if maker[key] < 0]
        clashes += [(folder, key) for key in inside[folder] if maker[key] >= 0]
        for key in free:
            maker[key] = maker[folder]
        if free:
            holds.append((folder, free))
    for folder, keys in inside.items():
        if maker[folder] < 0:
            there = [key for key in keys if maker[key] >= 0]
            if there:
                holds.append((folder, there))
    return holds, clashes


def order_only(plan: Plan, shapes: Sequence[Shape], numbers: Mapping[str, int]) -> list[list[int]]:
    """For each step, the steps whose jobs must have ended: `after`, and inputs that name steps without targets; groups resolved."""
    known: dict[int, set[int]] = {}

    def named(step: int) -> set[int]:
        """What it means to come after this step."""
        each = plan.steps[step]
        if not each.group:
            return {step}
        if step not in known:
            known[step] = set()  # groups that name each other by `after` alone add nothing to each other
            keys = plan.group_keys(step)
            inside = plan.makers_inside()
            jobs = {plan.maker[key] for key in keys}.union(*(inside[key] for key in keys if key in inside)) - {-1}
            known[step] = {plan.step_of(job) for job in jobs} | own(step, set())
        return known[step]

    def own(step: int, seen: set[int]) -> set[int]:
        """What it comes after by itself, and by the groups that its inputs name; `seen` are those that were gone into."""
        each = plan.steps[step]
        seen.add(step)
        found: set[int] = set()
        for name in each.after:
            found |= named(numbers[name])
        for slot in each.inputs:
            if slot.step:
                number = numbers[slot.step]
                if not plan.steps[number].group:
                    if not plan.steps[number].targets:
                        found.add(number)
                elif number not in seen:
                    found |= own(number, seen)
        return found

    return [
        sorted(own(step, set())) if each.after or None in seen.inputs else []
        for step, (each, seen) in enumerate(zip(plan.steps, shapes))
    ]


def barriers(
    plan: Plan,
    shapes: Sequence[Shape],
    before: Sequence[Sequence[int]],
    numbers: Mapping[str, int],
    may_make: Mapping[int, Iterable[int]],
) -> list[list[int]]:
    """For each step, the other steps with dynamic or folder targets that may turn out to hold what it reads.

    Also those before a step whose jobs come and go with such a target, where what these jobs make may be read.
    """
    known: dict[int, set[int]] = {}

    def further(step: int) -> Iterator[int]:
        """The steps whose barriers are this one's, too; what is its own is noted."""
        known[step] = found = set(may_make.get(step, ()))
        seeks = shapes[step].seeks
        for maker in before[step]:
            if shapes[maker].dynamic and not shapes[maker].group and _may_hold(shapes[maker], seeks):
                found.add(maker)
            if seeks and any(may_give(target, pattern) for target in shapes[maker].loose for pattern in seeks):
                yield maker
        for slot in plan.steps[step].inputs:
            if slot.step:
                other = numbers[slot.step]
                if not plan.steps[other].group and any(plan.target_dynamic(other)):
                    found.add(other)
                yield other

    for start, makers in enumerate(before):
        if start in known or not (makers or start in may_make):
            continue
        way = [(start, further(start))]
        while way:
            step, others = way[-1]
            other = next(others, None)
            if other is None:
                way.pop()
                if way:
                    known[way[-1][0]] |= known[step]
            elif other not in known:
                way.append((other, further(other)))
            else:
                known[step] |= known[other]
    return [sorted(known[step] - {step}) if step in known else [] for step in range(len(shapes))]


def _may_hold(maker: Shape, seeks: Sequence[Shape | object]) -> bool:
    targets = [target for target in maker.loose if target.globs or target.is_folder]
    return any(may_give(target, pattern) for target in targets for pattern in seeks)  # type: ignore[arg-type]


# -- ranks ------------------------------------------------------------------------------------------------------------------------------


def ranks(plan: Plan) -> list[list[int]]:
    """The steps, makers first; those that wait for each other through different keys together. PlanError where jobs wait for each other."""
    before = steps_before(plan)
    found = components(before)
    mistakes = []
    for component in found:
        if len(component) > 1 or component[0] in before[component[0]]:
            jobs = chain.from_iterable(range(plan.first[step], plan.first[step + 1]) for step in component)
            links = _find_circle(plan, list(jobs))
            if links:
                mistakes.append(circle(plan.steps, links))
    if mistakes:
        raise PlanError(sorted(mistakes, key=lambda mistake: (mistake.file, mistake.line)))
    return found


def steps_before(plan: Plan) -> list[list[int]]:
    """For each step, the steps that make what it reads or that it waits for."""
    step_of = [-1] * len(plan.maker)
    for step, table in enumerate(plan.tables):
        for made in (*table.targets, table.members):
            if made is not None:
                for key in made.packed:
                    step_of[key] = step
    whole: dict[int, set[int]] = {}
    for folder, inside in plan.holds:
        if plan.maker[folder] >= 0:
            for key in inside:
                step_of[key] = step_of[folder]
    for folder, inside in plan.holds:
        whole[folder] = {step_of[key] for key in inside}
    before = []
    for step, table in enumerate(plan.tables):
        if not (whole or plan.after_steps[step] or plan.dynamic_steps[step]):
            columns = table.inputs
            if not columns or (len(columns) == 1 and len(columns[0].packed) == 1):  # as most steps of a long pipeline
                maker = step_of[columns[0].packed[0]] if columns else -1
                before.append([maker] if maker >= 0 else [])
                continue
        found = set(plan.after_steps[step])
        found.update(plan.dynamic_steps[step])
        for column in table.inputs:
            found.update(map(step_of.__getitem__, column.packed))
            for folder in whole.keys() & set(column.packed) if whole else ():
                found |= whole[folder]
        found.discard(-1)
        before.append(sorted(found))
    return before


def _find_circle(plan: Plan, jobs: list[int]) -> list[Link]:
    """A short circle among these jobs; empty where there is none."""
    waiting = graph(plan, jobs)
    left = dict(waiting.waits)
    ready = [node for node, waits in left.items() if not waits]
    for node in ready:
        for then in waiting.readers.get(node, ()):
            left[then] -= 1
            if not left[then]:
                ready.append(then)
        del left[node]
    if not left:
        return []
    before: dict[int, list[int]] = {node: [] for node in left}
    for node in left:
        for then in waiting.readers.get(node, ()):
            if then in left:
                before[then].append(node)
    return _links(plan, _way_round(before))


def _way_round(before: Mapping[int, Sequence[int]]) -> list[int]:
    """A circle through a node that stands in one, shortest for that node: makers first. Every node has one before it."""
    node = min(before, key=lambda each: (each < 0, each))
    seen: set[int] = set()
    while node not in seen:
        seen.add(node)
        node = before[node][0]
    start, towards, queue = node, {}, [node]
    for each in queue:
        for maker in before[each]:
            if maker not in towards:
                towards[maker] = each
                queue.append(maker)
        if start in towards:
            break
    way = [start]
    while towards[way[-1]] != start:
        way.append(towards[way[-1]])
    return [each for each in way if each >= 0]


def _links(plan: Plan, way: Sequence[int]) -> list[Link]:
    steps = [plan.step_of(job) for job in way]
    plain = len(set(steps)) == len(steps) > 1
    links = []
    for first, then in zip(way, [*way[1:], way[0]]):
        names = ("", "") if plain else (str(plan.job_name(first)), str(plan.job_name(then)))
        links.append(Link(plan.step_of(first), _key_between(plan, first, then), plan.step_of(then), *names))
    return links


def _key_between(plan: Plan, first: int, then: int) -> str | None:
    """What the first job makes and the other one reads; None where it only comes before."""
    inputs = plan.inputs(then)
    for key in inputs:
        if plan.maker[key] == first:
            return plan.names[key]
    for folder, inside in plan.holds:
        if folder in inputs:
            for key in inside:
                if plan.maker[key] == first:
                    return plan.names[key]
    step = plan.step_of(first)
    if step in plan.dynamic_before(plan.step_of(then)):
        texts = plan.target_texts(first)
        open_ = [text for text, dynamic in zip(texts, plan.target_dynamic(step)) if dynamic or text.endswith("/")]
        return open_[0] if open_ else None
    return None
