"""What the keys of a plan hold now: stamp and fingerprint of each, in columns, by key number.

Not one object per key: the columns are those of the last build's snapshot where the fast check confirmed them, and a look at the store where it did
not. Invariant: where the state of a key is KNOWN, its stamp was read from the store (or confirmed) in this build, and its fingerprint, if there is
one, is that of the content with this stamp.
"""

from __future__ import annotations

import threading
import time
from array import array
from itertools import islice
from typing import TYPE_CHECKING

from .keys import is_timed
from .model import FINGERPRINT_SIZE, Check, Stamp
from .stores.values import PACKED
from .trace.check import differing
from .trace.fingerprints import EXISTS_FINGERPRINT, TICK_NS, mtime_fingerprint, racy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from .stores.base import Store

ABSENT = bytes(FINGERPRINT_SIZE)
"""Stands in packed columns for a key that is not there, and for a fingerprint not known. No content has it as its digest."""
NOT_THERE, NEVER_SEEN = -1, -2
"""Sizes that stand for a key without a stamp. The second equals nothing that a store can answer."""
UNSEEN, KNOWN = 0, 1
MANY = 1000
"""Keys of one job from which on they are gone through in columns."""


class Columns:
    """Stamps and fingerprints of all keys, as the snapshot keeps them."""

    def __init__(
        self, sizes: array[int], mtimes: array[int], ctimes: array[int], inodes: array[int], fps: bytearray
    ) -> None:
        self.sizes, self.mtimes, self.ctimes, self.inodes, self.fps = sizes, mtimes, ctimes, inodes, fps

    @classmethod
    def blank(cls, keys: int) -> Columns:
        """Columns of keys never seen."""
        zeros = array("q", bytes(8 * keys))
        sizes = array("q", [NEVER_SEEN]) * keys
        return cls(sizes, zeros[:], zeros[:], zeros[:], bytearray(FINGERPRINT_SIZE * keys))

    def carried(self, numbers: Sequence[int]) -> Columns:
        """The same for other keys: `numbers` holds each one's number here, or -1."""
        new = Columns.blank(len(numbers))
        size = FINGERPRINT_SIZE
        for start, old, length in _runs(numbers):
            for mine, its in zip(self.stamps, new.stamps):
                its[start : start + length] = mine[old : old + length]
            new.fps[start * size : (start + length) * size] = self.fps[old * size : (old + length) * size]
        return new

    @property
    def stamps(self) -> tuple[array[int], array[int], array[int], array[int]]:
        return self.sizes, self.mtimes, self.ctimes, self.inodes

    def stamp(self, key: int) -> Stamp | None:
        size = self.sizes[key]
        return Stamp(size, self.mtimes[key], self.ctimes[key], self.inodes[key]) if size >= 0 else None

    def holds(self, key: int, stamp: Stamp | None) -> bool:
        """Is this the key's stamp?"""
        if stamp is None:
            return self.sizes[key] < 0
        return stamp == (self.sizes[key], self.mtimes[key], self.ctimes[key], self.inodes[key])

    def fingerprint(self, key: int) -> bytes | None:
        """The key's fingerprint, None where it is not known."""
        at = key * FINGERPRINT_SIZE
        found = bytes(self.fps[at : at + FINGERPRINT_SIZE])
        return found if found != ABSENT else None

    def put(self, key: int, stamp: Stamp | None, fingerprint: bytes | None) -> None:
        if stamp is None:
            self.sizes[key], self.mtimes[key], self.ctimes[key], self.inodes[key] = NOT_THERE, 0, 0, 0
        else:
            self.sizes[key], self.mtimes[key], self.ctimes[key], self.inodes[key] = stamp
        at = key * FINGERPRINT_SIZE
        self.fps[at : at + FINGERPRINT_SIZE] = fingerprint or ABSENT


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """The parts of the list that count up one by one, without its -1: place, first number, length."""
    start, end = 0, len(numbers)
    while start < end:
        first, at = numbers[start], start + 1
        if first >= 0:
            further = first - start
            while at < end and numbers[at] == further + at:
                at += 1
            yield start, first, at - start
        start = at


class Contents:
    """Stamps and fingerprints of a plan's keys. `changed` names keys whose saved columns no longer hold, or were never confirmed."""

    def __init__(self, names: Sequence[str], store: Store, columns: Columns, changed: Iterable[int] | None) -> None:
        self.names = names
        self.columns = columns
        self.wavering: set[int] = set()
        """Keys seen with two contents in this build, other than by a job's making them: whoever read the first one is to be judged again."""
        self.seen_to_move: list[int] = []
        """Each such key, each time, in order: who knows how long this was when it asked, can tell what has moved since."""
        self._store = store
        self._racy: dict[int, int] = {}
        if changed is None:
            self._state = bytearray(len(names))
        else:
            self._state = bytearray([KNOWN]) * len(names)
            for key in changed:
                self._state[key] = UNSEEN

    def stamp(self, key: int) -> Stamp | None:
        """The key's stamp as of this build's last look at it."""
        return self.columns.stamp(key) if self._state[key] == KNOWN else self.look(key)

    def look(self, key: int) -> Stamp | None:
        """The key's stamp, from the store, now. StoreError where it cannot be told."""
        stamp = self._store.stat(self.names[key])
        self._seen(key, stamp)
        return stamp

    def look_again(self, keys: Iterable[int]) -> None:
        """Look at these keys now; at a value in the pack, to which nobody else writes, once. StoreError."""
        state, ctimes = self._state, self.columns.ctimes
        for key in keys:
            if state[key] != KNOWN or ctimes[key] != PACKED:
                self.look(key)

    def _seen(self, key: int, stamp: Stamp | None) -> None:
        columns = self.columns
        if not columns.holds(key, stamp) or columns.sizes[key] == NEVER_SEEN:
            if self._state[key] == KNOWN:
                self.waver(key)
            columns.put(key, stamp, None)
            self._racy.pop(key, None)
        self._state[key] = KNOWN

    def waver(self, key: int) -> None:
        """The key holds something else than before, and no job did it."""
        self.wavering.add(key)
        self.seen_to_move.append(key)

    def fingerprint(self, key: int, check: Check = Check.CONTENT) -> bytes | None:
        """What identifies the key's content for that check; None: absent. Reads the content only if nothing better is known."""
        if check is Check.CONTENT and self._state[key] == KNOWN and self.columns.sizes[key] >= 0:
            known = self.columns.fingerprint(key)
            if known is not None:
                return known
        stamp = self.stamp(key)
        if stamp is None:
            return None
        if check is not Check.CONTENT:
            return mtime_fingerprint(stamp) if check is Check.MTIME else EXISTS_FINGERPRINT
        return self.columns.fingerprint(key) or self._hash(key, stamp)

    def _hash(self, key: int, stamp: Stamp) -> bytes | None:
        """Read the content; again if it moved meanwhile, at most three times (then the last one stands, with a stamp that will not match)."""
        found: bytes | None = None
        at = 0
        for _ in range(3):
            at = time.time_ns()
            found = self._store.fingerprint(self.names[key])
            after = self._store.stat(self.names[key])
            if found is None or after is None:
                self._seen(key, None)
                return None
            if after == stamp:
                break
            self._seen(key, after)
            stamp = after
        if found is not None:
            self._learn(key, stamp, found, at)
        return found

    def _learn(self, key: int, stamp: Stamp, fingerprint: bytes, at_ns: int) -> None:
        self.columns.put(key, stamp, fingerprint)
        self._state[key] = KNOWN
        if racy(stamp, at_ns) and is_timed(self.names[key]):
            self._racy[key] = at_ns
        else:
            self._racy.pop(key, None)

    def packed(self, keys: Sequence[int], check: Check, unsettled: Collection[int] = ()) -> bytes:
        """The fingerprints of these keys, 32 bytes each; ABSENT for those that are not there and for unsettled ones."""
        if check is Check.CONTENT and not unsettled and len(keys) > 1:
            fps, state, size = self.columns.fps, self._state, FINGERPRINT_SIZE
            first, end = keys[0], keys[0] + len(keys)
            if len(keys) > MANY and keys == list(range(first, end)) and UNSEEN not in state[first:end]:
                whole = bytes(fps[first * size : end * size])
                if ABSENT not in whole:
                    return whole
            pieces = [bytes(fps[k * size : k * size + size]) if state[k] == KNOWN else ABSENT for k in keys]
            for at, piece in enumerate(pieces):
                if piece == ABSENT:
                    pieces[at] = self.fingerprint(keys[at]) or ABSENT
            return b"".join(pieces)
        fingerprint = self.fingerprint
        if len(keys) == 1 and not unsettled:
            (key,) = keys
            if check is Check.CONTENT and self._state[key] == KNOWN:
                at = key * FINGERPRINT_SIZE
                known = bytes(self.columns.fps[at : at + FINGERPRINT_SIZE])
                if known != ABSENT:
                    return known
            return fingerprint(key, check) or ABSENT
        return b"".join([ABSENT if key in unsettled else fingerprint(key, check) or ABSENT for key in keys])

    def missing(self, keys: Iterable[int]) -> list[int]:
        """Those of the keys that are not there."""
        sizes, state = self.columns.sizes, self._state
        return [key for key in keys if (sizes[key] < 0 or state[key] != KNOWN) and self.stamp(key) is None]

    def moved(self, keys: Sequence[int], since: int) -> list[int]:
        """Those of the keys whose stamps are no longer those seen last, or were found to be others since then (`seen_to_move`)."""
        suspects = self._suspects(keys) if len(keys) > MANY else keys
        ctimes = self.columns.ctimes
        found = [key for key in suspects if ctimes[key] != PACKED and not self._holds(key)]
        if len(self.seen_to_move) > since:
            found += set(self.seen_to_move[since:]).intersection(keys).difference(found)
        return found

    def _holds(self, key: int) -> bool:
        return self.columns.holds(key, self._store.stat(self.names[key]))

    def _suspects(self, keys: Sequence[int]) -> list[int]:
        names = "\0".join([self.names[key] for key in keys]).encode("utf-8", "surrogateescape").split(b"\0")
        columns = [[column[key] for key in keys] for column in self.columns.stamps]
        # A process with threads is not forked.
        return [keys[at] for at in differing(names, columns, 0 if threading.active_count() == 1 else 1)]

    def made(self, key: int, stamp: Stamp, fingerprint: bytes | None, hashed_at_ns: int) -> None:
        """A job has just made this key."""
        if fingerprint is not None:
            self._learn(key, stamp, fingerprint, hashed_at_ns)
        else:
            self.columns.put(key, stamp, None)
            self._state[key] = KNOWN

    def note(self, key: int, stamp: Stamp, seen_at_ns: int) -> None:
        """The key's stamp, seen from then on; what it holds is nobody's question."""
        self.columns.put(key, stamp, None)
        if racy(stamp, seen_at_ns) and is_timed(self.names[key]):
            self.columns.sizes[key] = NEVER_SEEN
        self._state[key] = KNOWN

    def forget(self, keys: Iterable[int]) -> None:
        """These keys may have changed: look at the store when asked for them."""
        for key in keys:
            self._state[key] = UNSEEN

    def take_over(self, other: Contents, number: Callable[[str], int | None]) -> None:
        """What is in doubt about keys of a former plan is in doubt about them here."""
        for old, at in other._racy.items():
            new = number(other.names[old])
            if new is not None and self.columns.stamp(new) is not None:
                self._racy[new] = at
        self.wavering.update(new for old in other.wavering if (new := number(other.names[old])) is not None)

    def settle(self, *, before_ns: int) -> None:
        """Hash those racy keys once more that were hashed before this time: their tick is over (docs/design.md, "Stamps and fingerprints")."""
        oldest = list(islice(self._racy.items(), 32))
        for key, at in oldest:
            if max(at, self._newest(key)) >= before_ns:
                break  # those hashed later are not due either
            self._again(key)

    def settle_all(self) -> None:
        """Wait until the tick of the last racy key is over, and settle all. On a coarse file system some stay racy: they are never seen."""
        if not self._racy:
            return
        newest = max(max(at, self._newest(key)) for key, at in self._racy.items())
        time.sleep(min(max(newest + TICK_NS - time.time_ns(), 0), 2 * TICK_NS) / 1e9)
        for key in list(self._racy):
            self._again(key)
        for key in self._racy:
            self.columns.sizes[key] = NEVER_SEEN

    def _newest(self, key: int) -> int:
        return self.columns.ctimes[key]

    def _again(self, key: int) -> None:
        old = self.columns.fingerprint(key)
        del self._racy[key]
        stamp = self.look(key)
        if stamp is not None and self.columns.fingerprint(key) is not None:
            self.columns.put(key, stamp, None)
            if self._hash(key, stamp) != old:
                self.waver(key)

    def confirm(self, key: int) -> bool:
        """Look at a key whose column is that of an earlier build; is it another one now?"""
        stamp = self._store.stat(self.names[key])
        if self._state[key] == KNOWN and self.columns.holds(key, stamp) and self.columns.sizes[key] != NEVER_SEEN:
            return False
        self._state[key] = UNSEEN
        self._seen(key, stamp)
        return True

    def unsettled(self) -> list[int]:
        """Keys whose state in this build is not known."""
        return [key for key, state in enumerate(self._state) if state != KNOWN]
