"""The racy rule, and fingerprints that belong to their stamps."""

from __future__ import annotations

from miniduct.model import FINGERPRINT_SIZE, Stamp
from miniduct.trace.fingerprints import (
    COARSE_NS,
    EXISTS_FINGERPRINT,
    TICK_NS,
    mtime_fingerprint,
    racy,
)

SECOND = 10**9
NOW = 1_700_000_000 * SECOND + 123_456_789


def changed(ctime_ns: int) -> Stamp:
    return Stamp(1, 0, ctime_ns, 1)


def test_stamp_of_the_same_tick_is_racy() -> None:
    assert racy(changed(NOW), NOW)
    assert racy(changed(NOW - TICK_NS), NOW)
    assert not racy(changed(NOW - TICK_NS - 1), NOW)


def test_stamp_from_the_future_is_racy() -> None:
    assert racy(changed(NOW + 3600 * SECOND), NOW)


def test_mtime_in_the_future_is_not_racy() -> None:
    assert not racy(Stamp(1, NOW + 3600 * SECOND, NOW - SECOND, 1), NOW)


def test_whole_seconds_are_racy_for_longer() -> None:
    then = NOW - NOW % SECOND
    assert racy(changed(then), then + COARSE_NS)
    assert not racy(changed(then), then + COARSE_NS + 2 * TICK_NS)


def test_fingerprints_by_time_have_their_size_and_ignore_what_a_rename_changes() -> None:
    one = Stamp(5, -NOW, 1, 2)
    assert len(mtime_fingerprint(one)) == len(EXISTS_FINGERPRINT) == FINGERPRINT_SIZE
    assert mtime_fingerprint(one) == mtime_fingerprint(one._replace(ctime_ns=7, inode=8))
    assert len({mtime_fingerprint(s) for s in (one, one._replace(size=6), one._replace(mtime_ns=1))}) == 3
    assert bytes(FINGERPRINT_SIZE) not in (mtime_fingerprint(Stamp(0, 0, 0, 0)), EXISTS_FINGERPRINT)
