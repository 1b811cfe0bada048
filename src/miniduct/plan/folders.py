"""Has a listed folder changed in a way that matters? Only its foreign names decide: those that no job of this project makes or ever made.

So a folder into which duct itself published costs one listing, not an expansion.
"""

from __future__ import annotations

import os
from itertools import compress
from typing import TYPE_CHECKING

from blake3 import blake3

from ..keys import is_remote
from .columns import Folder
from .listing import Listing, join

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ..stores.base import Entry, Store
    from .columns import Plan


def ways(keys: Iterable[str]) -> set[str]:
    """The folders (with their slash) on the way to these keys, folder keys themselves included. 100,000 keys in one folder: 15 ms."""
    found: set[str] = set()
    for folder in {key.rpartition("/")[0] for key in keys}:
        while folder and f"{folder}/" not in found:
            found.add(f"{folder}/")
            folder = folder.rpartition("/")[0]
    return found


def ours(plan: Plan) -> set[str]:
    """The keys that jobs make or once made."""
    if plan.ours is None:
        plan.ours = set(compress(plan.names, map((-1).__lt__, plan.maker)))
        plan.ours.update(plan.orphans)
    return plan.ours


def digest(folder: str, entries: Iterable[Entry], known: Collection[str]) -> bytes:
    """What identifies the foreign names of a folder: neither known keys nor on the way to one."""
    before = "" if is_remote(folder) else join(folder, "")
    names = [f"{name}/" if is_dir else name for name, is_dir in entries]
    foreign = [name for name in names if before + name not in known]
    if any(name[-1] == "/" for name in foreign):
        around = ways(known)
        foreign = [name for name in foreign if name[-1] != "/" or before + name not in around]
    return blake3(os.fsencode("\0".join(sorted(foreign)))).digest(length=16)


def folders_of(plan: Plan, listing: Listing) -> list[Folder]:
    """The folders that were listed for a plan, as the plan keeps them."""
    known = ours(plan)
    return [_folder(name, listing, known) for name in sorted(listing.entries)]


def relist(plan: Plan, store: Store, folders: Iterable[int], listing: Listing | None = None) -> list[Folder] | None:
    """List these folders of the plan again; None where their foreign names are not the same, and the steps must be expanded again.

    A `listing` given may be handed on to that expansion.
    """
    known = ours(plan)
    listing = listing or Listing(store)
    found = []
    for number in folders:
        before = plan.folders[number]
        now = (
            _only_ours(before.name, store, known) if before.foreign == NOTHING and not is_remote(before.name) else None
        )
        if now is None:
            listing.read(before.name)
            now = _folder(before.name, listing, known)
        if now.foreign != before.foreign:
            return None
        found.append(now)
    return found


def _only_ours(name: str, store: Store, known: Collection[str]) -> Folder | None:
    """The folder, where all names in it are known keys: what is a file need not be asked then."""
    stamp = store.folder_stamp(name)
    names = store.names(name) if stamp is not None else None
    if stamp is None or names is None or not all(map(known.__contains__, map(join(name, "").__add__, names))):
        return None
    return Folder(name, (stamp[0], stamp[1], stamp[2], stamp[3]), NOTHING)


def _folder(name: str, listing: Listing, known: Collection[str]) -> Folder:
    stamp = listing.stamps[name]
    four = None if stamp is None else (stamp[0], stamp[1], stamp[2], stamp[3])
    return Folder(name, four, digest(name, listing.entries[name], known))


NOTHING = digest("", (), ())
"""Of a folder without foreign names."""
