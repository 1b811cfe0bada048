"""Steps seen as patterns: what each may read and make, and in which order steps must be expanded.

A step must be expanded after those whose targets may match its patterns. What may match is judged by literal beginnings and ends only, so an edge
here can be one too many, never one too few. Literal inputs need no order: their makers are found by name when all is expanded.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from ..tuples import NamedTuple
from .patterns import Pattern, Wildcard, key_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from ..model import Slot, Step


class Shape(NamedTuple):
    """A step's slots as patterns; None for an input that names a step. `fixed` are the names of its `foreach`."""

    step: Step
    group: bool
    inputs: list[Pattern | None]
    targets: list[Pattern]
    fixed: tuple[str, ...]
    seeks: list[Pattern]
    """The inputs whose keys depend on what there is: those with globs, or with wildcards that no input before them names."""
    loose: list[Pattern]
    """The targets as others see them: values of `foreach` may hold slashes."""
    dynamic: bool
    """Are there targets whose members are known only after the run?"""


def shape(step: Step) -> Shape:
    fixed = tuple([name for name, _ in step.foreach]) if step.foreach else ()
    where = {name: text for name, text in step.where.items() if name not in fixed} if step.where else {}
    inputs, seeks, seen = [], [], set(fixed)
    for slot in step.inputs:
        pattern = None if slot.step else key_pattern(slot.text, where)
        inputs.append(pattern)
        if pattern is None or pattern.literal is not None:
            continue
        if pattern.globs or not seen.issuperset(pattern.names):
            seeks.append(pattern)
            seen.update(pattern.names)
    targets, dynamic = [], False
    for slot in step.targets:
        target = key_pattern(slot.text, where, target=True)
        targets.append(target)
        dynamic = dynamic or target.globs or target.is_folder
    deep = {name for name, values in step.foreach if any("/" in value for value in values)} if step.foreach else ()
    loose = [_loosened(target, deep) for target in targets] if deep or where else targets
    return Shape(step, step.group, inputs, targets, fixed, seeks, loose, dynamic)


def _loosened(target: Pattern, deep: Collection[str]) -> Pattern:
    return Pattern([Wildcard(t.name, True) if isinstance(t, Wildcard) and t.name in deep else t for t in target.tokens])


def edges(shapes: Sequence[Shape], number: Callable[[Slot], int]) -> list[list[int]]:
    """For each step, the other steps that must be expanded before it."""
    targets = _Targets(shapes if any(each.seeks for each in shapes) else ())
    before: list[list[int]] = []
    for reader, each in enumerate(shapes):
        if not each.seeks and None not in each.inputs:
            before.append([])
            continue
        found = {number(slot) for slot in each.step.inputs if slot.step}
        for pattern in each.seeks:
            found.update(targets.makers(_loose_reader(each, pattern)))
        found.discard(reader)
        before.append(sorted(found))
    return before


class _Targets:
    """All targets by their literal beginnings: what may match one pattern is found without a look at all of them."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self._open: dict[str, list[tuple[Pattern, int]]] = {}
        literal = []
        for maker, each in enumerate(shapes):
            for target in each.loose:
                if target.literal is not None and not target.is_folder:
                    literal.append((target.literal, maker))
                else:
                    self._open.setdefault(target.prefix, []).append((target, maker))
        self._literal = sorted(literal)
        self._prefixes = sorted(self._open)

    def makers(self, wanted: Pattern) -> Iterator[int]:
        """The steps with a target that may match the pattern, or hold or be in what does."""
        prefix, literal = wanted.prefix, self._literal
        at = bisect_left(literal, (prefix, -1))
        while at < len(literal) and literal[at][0].startswith(prefix):
            key, maker = literal[at]
            if wanted.is_folder or Pattern([key]).meets(wanted):
                yield maker
            at += 1
        for begins in self._begin_like(prefix):
            for target, maker in self._open[begins]:
                if may_give(target, wanted):
                    yield maker

    def _begin_like(self, prefix: str) -> Iterator[str]:
        """The beginnings of targets that begin with this one, or that this one begins with."""
        for end in range(len(prefix)):
            if prefix[:end] in self._open:
                yield prefix[:end]
        at = bisect_left(self._prefixes, prefix)
        while at < len(self._prefixes) and self._prefixes[at].startswith(prefix):
            yield self._prefixes[at]
            at += 1


def _loose_reader(each: Shape, pattern: Pattern) -> Pattern:
    return Pattern(
        [Wildcard(t.name, True) if isinstance(t, Wildcard) and t.name in each.fixed else t for t in pattern.tokens]
    )


def may_give(target: Pattern, wanted: Pattern) -> bool:
    """May this target be, or hold, or lie in, something that matches the pattern?"""
    if target.meets(wanted) or (wanted.is_folder and wanted.may_contain(target)):
        return True
    return target.is_folder and target.below().meets(wanted)


def components(before: Sequence[Sequence[int]]) -> list[list[int]]:
    """The strongly connected components, those that come first first (Tarjan, without recursion)."""
    found: list[list[int]] = []
    low = [-1] * len(before)
    order = [-1] * len(before)
    stack: list[int] = []
    on_stack = [False] * len(before)
    place = [0] * len(before)
    count = 0
    for root, makers in enumerate(before):
        if order[root] >= 0:
            continue
        for maker in makers:
            if order[maker] < 0:
                break
        else:  # all of them stand in components by now, so this is one, too
            order[root] = count
            count += 1
            found.append([root])
            continue
        work = [(root, 0)]
        while work:
            node, at = work.pop()
            if at == 0:
                order[node] = low[node] = count
                count += 1
                place[node] = len(stack)
                stack.append(node)
                on_stack[node] = True
            for then_at in range(at, len(before[node])):
                then = before[node][then_at]
                if order[then] < 0:
                    work += [(node, then_at + 1), (then, 0)]
                    break
                if on_stack[then]:
                    low[node] = min(low[node], order[then])
            else:
                if low[node] == order[node]:
                    at = place[node]
                    found.append(sorted(stack[at:]))
                    for each in stack[at:]:
                        on_stack[each] = False
                    del stack[at:]
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[node])
    return found
