"""When a stamp may stand for content, and fingerprints by stamp: the racy rule in one place.

A file hashed within the clock's tick in which it was last changed could be changed once more in that tick and keep its
stamp (the rule is git's). Such a stamp is racy: it is not trusted until its tick is over and the content was hashed
once more. No fingerprint has a default value.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..model import FINGERPRINT_SIZE

if TYPE_CHECKING:
    from ..model import Stamp

TICK_NS = 20_000_000
"""File times come from a clock that ticks every 1 to 10 ms; twice that, to be sure."""
COARSE_NS = 2_000_000_000
"""The tick of file systems that keep whole seconds (FAT: every second one)."""
SECOND = 1_000_000_000
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
