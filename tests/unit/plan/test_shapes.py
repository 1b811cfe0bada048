"""Which steps may read what which others make, told by their patterns alone."""

from __future__ import annotations

import random

from miniduct.plan.shapes import Shape, _loose_reader, edges, may_give, shape
from support_plan import jobs, plan, step

PIECES = ["a", "b", "ab", "/", "/", "a/", "b/", ".c", "{x}", "{y}", "{x}", "*", "**/", "?"]


def text(random_: random.Random) -> str:
    while True:
        found = "".join(random_.choice(PIECES) for _ in range(random_.randrange(1, 6)))
        if "//" not in found and not found.startswith("/") and found.count("{x}") < 2 and found.count("{y}") < 2:
            return found


def before_one_by_one(shapes: list[Shape]) -> list[list[int]]:
    return [
        sorted(
            {
                maker
                for pattern in each.seeks
                for maker, other in enumerate(shapes)
                for target in other.loose
                if maker != reader and may_give(target, _loose_reader(each, pattern))
                # A file is in no folder whose name is longer than its own.
                if target.literal is None or target.is_folder or target.literal.startswith(pattern.prefix)
            }
        )
        for reader, each in enumerate(shapes)
    ]


def test_found_by_their_beginnings_they_are_those_found_by_looking_at_each() -> None:
    random_ = random.Random(7)
    edges_found = 0
    for _ in range(300):
        shapes = [
            shape(step(f"s{at}", [text(random_) for _ in range(2)], [text(random_)]))
            for at in range(random_.randrange(9))
        ]
        found = edges(shapes, lambda _: 0)
        assert found == before_one_by_one(shapes)
        edges_found += sum(map(len, found))
    assert edges_found > 500


def test_a_chain_of_wildcards_may_be_as_long_as_it_likes_and_stand_upside_down() -> None:
    steps = [step(f"s{at}", f"{at}/{{x}}", f"{at + 1}/{{x}}") for at in reversed(range(1200))]
    assert jobs(plan(*steps, disk=["0/a"]))["s1199[x=a]"] == (["1199/a"], ["1200/a"])
