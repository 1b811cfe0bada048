"""The racy rule, and fingerprints that belong to their stamps."""

from __future__ import annotations

import pytest

from miniduct.errors import StoreError
from miniduct.model import FINGERPRINT_SIZE, Stamp
from miniduct.stores.memory import MemoryStore
from miniduct.trace.fingerprints import (
    COARSE_NS,
    EXISTS_FINGERPRINT,
    TICK_NS,
    Fingerprints,
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


class Sleeper:
    """Sleeps by moving the store's clock."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.slept = 0.0

    def __call__(self, seconds: float) -> None:
        self.slept += seconds
        self.store.tick(round(seconds * SECOND))


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.now_ns = NOW
    return made


@pytest.fixture
def fingerprints(store: MemoryStore) -> Fingerprints:
    return Fingerprints(store, now_ns=lambda: store.now_ns)


def test_settled_content_is_hashed_once(store: MemoryStore, fingerprints: Fingerprints) -> None:
    store.write("a", "one")
    store.tick()
    first = fingerprints.current("a")
    assert first is not None
    assert fingerprints.current("a") == first
    assert fingerprints.known("a", first[0]) == first[1]
    assert store.hashed == ["a"]
    assert fingerprints.racy_keys() == {}


def test_absent_key_is_none(fingerprints: Fingerprints) -> None:
    assert fingerprints.current("a") is None
    assert fingerprints.stamp("a") is None


def test_changed_content_is_hashed_again(store: MemoryStore, fingerprints: Fingerprints) -> None:
    store.write("a", "one")
    store.tick()
    before = fingerprints.current("a")
    store.write("a", "two")
    store.tick()
    assert fingerprints.current("a") not in (before, None)


def test_racy_stamp_is_not_trusted(store: MemoryStore, fingerprints: Fingerprints) -> None:
    store.write("a", "one")
    before = fingerprints.current("a")
    store.write("a", "two")  # within the same tick: the stamp is the same
    after = fingerprints.current("a")
    assert before is not None
    assert after is not None
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert list(fingerprints.racy_keys()) == ["a"]


def test_settling_waits_for_the_tick_and_tells_what_changed_in_it(store: MemoryStore) -> None:
    fingerprints = Fingerprints(store, now_ns=lambda: store.now_ns)
    for key in ("a", "b"):
        store.write(key, "one")
        fingerprints.current(key)
    store.write("b", "two")
    sleeper = Sleeper(store)
    assert fingerprints.settle(sleeper) == ["b"]
    assert 0 < sleeper.slept <= 0.025
    assert fingerprints.racy_keys() == {}
    hashed = len(store.hashed)
    fingerprints.current("a")
    fingerprints.current("b")
    assert len(store.hashed) == hashed
    assert fingerprints.settle(sleeper) == []


def test_whole_second_stamps_are_not_waited_for(store: MemoryStore, fingerprints: Fingerprints) -> None:
    store.now_ns = NOW - NOW % SECOND
    store.write("a", "one")
    fingerprints.current("a")
    sleeper = Sleeper(store)
    assert fingerprints.settle(sleeper) == []
    assert sleeper.slept <= 0.025
    assert list(fingerprints.racy_keys()) == ["a"]


class Moving(MemoryStore):
    """A file that somebody writes to whenever it is read."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def fingerprint(self, key: str) -> bytes | None:
        found = super().fingerprint(key)
        if self.times:
            self.times -= 1
            self.tick()
            self.write(key, f"again {self.times}")
            self.tick()
        return found


def test_content_that_moved_while_it_was_read_is_read_again() -> None:
    store = Moving(2)
    store.write("a", "one")
    fingerprints = Fingerprints(store, now_ns=lambda: store.now_ns)
    found = fingerprints.current("a")
    assert found == (store.stat("a"), MemoryStore.fingerprint(store, "a"))


def test_content_that_never_stands_still_has_a_stamp_that_is_not_met_again() -> None:
    store = Moving(100)
    store.write("a", "one")
    fingerprints = Fingerprints(store, now_ns=lambda: store.now_ns)
    found = fingerprints.current("a")
    assert found is not None
    assert found[0] != store.stat("a")


def test_many_are_hashed_in_threads(store: MemoryStore, fingerprints: Fingerprints) -> None:
    for name in "abc":
        store.write(name, name)
    found = fingerprints.many(["a", "b", "c", "d"], threads=3)
    assert found == {name: fingerprints.current(name) for name in "abcd"}
    assert found == Fingerprints(store).many(list("abcd"), threads=1)
    store.broken["b"] = "permission denied"
    with pytest.raises(StoreError, match="permission denied"):
        fingerprints.many(["a", "b"], threads=2)
