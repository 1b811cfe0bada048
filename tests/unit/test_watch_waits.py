"""The waits of a watch, where a running one would take too long to get there."""

from __future__ import annotations

from miniduct.watch import _doubled


def test_what_is_tried_again_for_a_day_waits_for_a_finite_time() -> None:
    assert [_doubled(times) for times in (0, 1, 2)] == [1.0, 2.0, 4.0]
    assert 1e6 < _doubled(100_000) < 1e12
