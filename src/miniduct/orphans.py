"""Is a file still an orphan: made once, by no job now, and still what was made? If not, it is the user's own, a source as any other.

Pure but for the store that it asks. A file that the old plan knew, with the stamp of that time, is not read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import StoreError
from .keys import is_remote
from .model import Check
from .trace.fingerprints import mtime_fingerprint
from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .model import Stamp
    from .stores.base import Store
    from .trace.database import Traces


class Sorted(NamedTuple):
    """The orphans that are there, with their stamps; and the files that were made once, and written to by others since."""

    orphans: dict[str, Stamp]
    edited: set[str]


def sort_out(
    keys: Sequence[str], store: Store, traces: Traces, known: Callable[[str, Stamp], tuple[bool, bytes | None]]
) -> Sorted:
    """Look at files that were made once. `known` tells of a key with this stamp whether it is an orphan for sure, and if
    not, its fingerprint, where that is known.
    """
    found = Sorted({}, set())
    store.ask([key for key in keys if is_remote(key)])
    asked: dict[str, tuple[Stamp, bytes | None]] = {}
    for key in keys:
        try:
            stamp = store.stat(key)
        except StoreError:
            continue  # neither a file nor a folder: nobody's orphan, and whoever reads it will be told
        if stamp is None:
            continue
        sure, fingerprint = known(key, stamp)
        if sure:
            found.orphans[key] = stamp
        else:
            asked[key] = stamp, fingerprint
    made = traces.left(asked) if asked else {}
    for key, (stamp, fingerprint) in asked.items():
        if is_as_made(key, stamp, fingerprint, made.get(key, ()), store):
            found.orphans[key] = stamp
        else:
            found.edited.add(key)
    return found


def is_as_made(
    key: str, stamp: Stamp, fingerprint: bytes | None, made: Sequence[tuple[str, bytes]], store: Store
) -> bool:
    """Does the key hold what one of the runs that made it left there, by the check and the fingerprint of each?

    `stamp` is the key's, `fingerprint` that of its content, where it is known.
    """
    for check, then in made:
        if check != Check.CONTENT.value:
            if mtime_fingerprint(stamp) == then:
                return True
            continue
        try:
            fingerprint = fingerprint or store.fingerprint(key)
        except StoreError:
            return False
        if fingerprint == then:
            return True
    return False
