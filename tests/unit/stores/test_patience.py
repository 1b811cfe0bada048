"""Trying again, with a clock moved by hand."""

from __future__ import annotations

import pytest

from miniduct.errors import StoreError
from miniduct.stores.patience import MOST_ASKED_FOR, Effort, Patience, Retry
from miniduct.stores.refusals import Case, Fault, message

BUSY = Fault(Case.UNAVAILABLE, {"where": "h", "status": "503", "message": "busy"}, again=True)
NOBODY = Fault(Case.UNREACHABLE, {"where": "h", "message": "no route"}, again=True, unreachable=True)


class World:
    """A clock, what was waited for, what was told."""

    def __init__(self, patience: Patience, reached: bool = True) -> None:
        self.now = 0.0
        self.told: list[Retry] = []
        self.ended = False
        self.effort = Effort(
            "fetch",
            "gs://b/x",
            patience,
            tell=self.told.append,
            pause=self.pause,
            reached=lambda: reached,
            clock=lambda: self.now,
        )

    def pause(self, seconds: float) -> bool:
        self.now += seconds
        return self.ended

    def waits_until_refused(self, fault: Fault) -> list[float]:
        with pytest.raises(StoreError, match=r"cannot fetch gs://b/x: h (answers|cannot)"):
            self._go_on(fault)
        return [retry.wait for retry in self.told]

    def _go_on(self, fault: Fault) -> None:
        for _ in range(1000):
            self.effort.again(fault)


def test_waits_double_up_to_the_most() -> None:
    waits = World(Patience(total=1e9, first=1, most=8, tries=7)).waits_until_refused(BUSY)
    assert len(waits) == 6
    for wait, whole in zip(waits, (1, 2, 4, 8, 8, 8)):
        assert whole / 2 <= wait <= whole


def test_all_tries_together_end_in_time() -> None:
    world = World(Patience(total=10, first=1, most=4, tries=1000))
    world.waits_until_refused(BUSY)
    assert 5 < world.now <= 10


def test_a_host_never_reached_gets_less_time() -> None:
    world = World(Patience(total=1000, contact=6, first=1, most=4, tries=1000), reached=False)
    world.waits_until_refused(NOBODY)
    assert world.now <= 6
    world = World(Patience(total=20, contact=6, first=1, most=4, tries=1000), reached=True)
    world.waits_until_refused(NOBODY)
    assert world.now > 10


def test_time_before_the_first_failure_does_not_count() -> None:
    world = World(Patience(total=10, first=1, most=4, tries=1000))
    world.now = 100.0
    world.effort.again(BUSY)
    assert len(world.told) == 1


def test_a_wait_that_was_asked_for_is_kept_and_not_counted() -> None:
    world = World(Patience(total=5, first=1, most=4, tries=4))
    asked = BUSY._replace(after=20.0)
    assert world.waits_until_refused(asked) == [20.0, 20.0, 20.0]
    world = World(Patience())
    world.effort.again(BUSY._replace(after=1e9))
    assert world.now == MOST_ASKED_FOR


def test_progress_makes_up_for_failures() -> None:
    world = World(Patience(total=5, first=1, most=4, tries=3))
    for _ in range(100):
        world.effort.again(BUSY)
        world.effort.renew()
    assert [retry.attempt for retry in world.told] == [2] * 100


def test_what_does_not_pass_is_not_tried_again() -> None:
    world = World(Patience())
    assert world.waits_until_refused(BUSY._replace(again=False)) == []
    assert world.now == 0


def test_a_closed_store_gives_up() -> None:
    world = World(Patience())
    world.ended = True
    with pytest.raises(StoreError, match="the build has ended"):
        world.effort.again(BUSY)


def test_a_services_own_words_stay_on_one_line() -> None:
    assert message("a\nb\t\x1b[1mc.") == "a b \\x1b[1mc"
    assert len(message("x" * 1000)) < 400
