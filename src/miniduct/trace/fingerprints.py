"""When a stamp may stand for content, and fingerprints by stamp: the racy rule in one place.

A file hashed within the clock's tick in which it was last changed could be changed once more in that tick and keep its
stamp (the rule is git's). Such a stamp is racy: it is not trusted until its tick is over and the content was hashed
once more. No fingerprint has a default value.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from ..model import FINGERPRINT_SIZE, Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..stores.base import Store

TICK_NS = 20_000_000
"""File times come from a clock that ticks every 1 to 10 ms; twice that, to be sure."""
COARSE_NS = 2_000_000_000
"""The tick of file systems that keep whole seconds (FAT: every second one)."""
SECOND = 1_000_000_000
TRIES = 3
EXISTS_FINGERPRINT = b"exists".ljust(FINGERPRINT_SIZE, b"\0")
"""Of whatever is there, where only its being there counts."""


def tick(stamp: Stamp) -> int:
    """Nanoseconds in which a file with this stamp may change without a new stamp."""
    return COARSE_NS + TICK_NS if stamp[2] % SECOND == 0 else TICK_NS


def racy(stamp: Stamp, seen_at_ns: int) -> bool:
    """May what was looked at from `seen_at_ns` on have changed since, and the stamp be the same?

    The ctime decides: every change sets it, and no program can. (An mtime in the future, as unpacked archives have
    them, says nothing.)
    """
    return stamp[2] >= seen_at_ns - tick(stamp)


def mtime_fingerprint(stamp: Stamp) -> bytes:
    """What identifies content where its time decides: size and mtime, which a rename keeps."""
    return struct.pack("<5s3xqq8x", b"mtime", stamp[0], stamp[1])


class Fingerprints:
    """Stamps and fingerprints of a store's keys, each hashed once for a stamp. For single keys; a plan's keys are kept
    in columns.
    """

    def __init__(self, store: Store, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._now_ns = now_ns
        self._known: dict[str, tuple[Stamp, bytes]] = {}
        self._racy: dict[str, int] = {}

    def stamp(self, key: str) -> Stamp | None:
        """The key's stamp now. StoreError."""
        return self._store.stat(key)

    def known(self, key: str, stamp: Stamp) -> bytes | None:
        """The fingerprint learnt for this stamp; None where none was, or where the stamp is racy."""
        found = self._known.get(key)
        return found[1] if found is not None and found[0] == stamp and key not in self._racy else None

    def learn(self, key: str, stamp: Stamp, fingerprint: bytes, at_ns: int) -> None:
        """The content with this stamp, read from `at_ns` on, has this fingerprint."""
        self._known[key] = (stamp, fingerprint)
        if racy(stamp, at_ns):
            self._racy[key] = stamp[2] + tick(stamp)
        else:
            self._racy.pop(key, None)

    def current(self, key: str) -> tuple[Stamp, bytes] | None:
        """Stamp and fingerprint that belong together; None: not there. Content that moves while it is read is read
        again, a few times. StoreError.
        """
        stamp = self._store.stat(key)
        for _ in range(TRIES):
            if stamp is None:
                break
            found = self.known(key, stamp)
            if found is not None:
                return stamp, found
            at = self._now_ns()
            found = self._store.fingerprint(key)
            after = self._store.stat(key)
            if found is not None and after == stamp:
                self.learn(key, stamp, found, at)
                return stamp, found
            before, stamp = (stamp, found), after
        else:
            # It never stands still: the last content with the stamp from before, which will not be met again.
            if before[1] is not None:
                return before[0], before[1]
        self._known.pop(key, None)
        return None

    def many(self, keys: Sequence[str], threads: int) -> dict[str, tuple[Stamp, bytes] | None]:
        """`current` of several keys, large ones in parallel: hashing leaves the interpreter to others. StoreError."""
        if threads < 2 or len(keys) < 2:
            return {key: self.current(key) for key in keys}
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=min(threads, len(keys))) as pool:
            return dict(zip(keys, pool.map(self.current, keys)))

    def racy_keys(self) -> dict[str, int]:
        """The keys learnt while racy, with the time (ns) when their tick is over."""
        return dict(self._racy)

    def settle(self, sleep: Callable[[float], None] = time.sleep) -> list[str]:
        """Hash the racy keys once more when their tick is over; those that differ. Waits 25 ms at most: what is racy
        then, stays so.
        """
        if not self._racy:
            return []
        wait = min(max(self._racy.values()) - self._now_ns() + 1, 25_000_000)
        if wait > 0:
            sleep(wait / 1e9)
        differ = []
        for key in list(self._racy):
            before = self._known.pop(key, None)
            del self._racy[key]
            now = self.current(key)
            if now is None or before is None or now[1] != before[1]:
                differ.append(key)
        return differ
