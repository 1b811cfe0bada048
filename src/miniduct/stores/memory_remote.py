"""A remote store's twin in memory: generations, marks, strangers, faults by order, and a list of what was asked.

For tests, ours and those of others.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blake3 import blake3

from ..errors import StoreError
from ..model import Stamp
from ..text import shown
from ..tuples import NamedTuple
from .base import Found
from .files import failed, opened, write
from .refusals import ForeignWrite, changed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .base import RemoteStore


class Asked(NamedTuple):
    """A request that would have been made: the name of the method, and the key (of a group, the first)."""

    what: str
    key: str


@dataclass
class _Object:
    data: bytes
    generation: int
    marks: Mapping[str, str] = field(default_factory=dict)


class MemoryRemote:
    """Objects in a dictionary. Stamps are (size, generation, 63 bits of the content's digest, 0)."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.broken: dict[str, str] = {}
        """Keys, and prefixes of listings, that answer with a StoreError, and its reason."""
        self._objects: dict[str, _Object] = {}
        self._generation = 0
        self._lost = 0
        self._lock = threading.RLock()

    # what somebody else does

    def write(self, key: str, data: bytes | str, marks: Mapping[str, str] | None = None) -> Stamp:
        """Make the object, or another in its place."""
        content = data.encode() if isinstance(data, str) else data
        with self._lock:
            self._generation += 1
            self._objects[key] = _Object(content, self._generation, marks or {})
            return _stamp(self._objects[key])

    def drop(self, key: str) -> None:
        with self._lock:
            del self._objects[key]

    def read(self, key: str) -> bytes | None:
        found = self._objects.get(key)
        return None if found is None else found.data

    def lose_answers(self, count: int = 1) -> None:
        """The next `count` writes are done, and end with an error."""
        self._lost = count

    # the protocol

    def stats(self, keys: Sequence[str]) -> list[Found | None]:
        if keys:
            self.asked.append(Asked("stats", keys[0]))
        return [self._found(key) for key in keys]

    def stat(self, key: str) -> Stamp | None:
        self.asked.append(Asked("stat", key))
        found = self._found(key)
        return None if found is None else found.stamp

    def fingerprint(self, key: str) -> bytes | None:
        self.asked.append(Asked("fingerprint", key))
        found = self._found(key)
        return None if found is None else self.identity(found.stamp)

    def identity(self, stamp: Stamp) -> bytes:
        return blake3(f"memory {stamp.size} {stamp.ctime_ns}".encode()).digest()

    def matches(self, prefix: str, deep: bool = True) -> Iterator[Found]:
        self.asked.append(Asked("matches", prefix))
        self._check("list", prefix)
        for key in sorted(self._objects):
            if key.startswith(prefix) and not key.endswith("/") and (deep or "/" not in key[len(prefix) :]):
                found = self._found(key)
                if found is not None:
                    yield found

    def fetch(self, key: str, stamp: Stamp, path: str) -> None:
        self.asked.append(Asked("fetch", key))
        self._check("fetch", key)
        found = self._objects.get(key)
        if found is None or _stamp(found) != stamp:
            raise changed("fetch", key)
        _put(path, found.data)

    def publish(self, path: str, key: str, expected: Stamp | None, marks: Mapping[str, str]) -> Stamp:
        self.asked.append(Asked("publish", key))
        with opened(path, "rb") as file:
            data = file.read()
        return self._commit("publish", key, data, expected, marks)

    def copy(self, source: str, stamp: Stamp, key: str, expected: Stamp | None, marks: Mapping[str, str]) -> Stamp:
        self.asked.append(Asked("copy", key))
        self._check("copy", source)
        found = self._objects.get(source)
        if found is None or _stamp(found) != stamp:
            raise changed("copy", source)
        return self._commit("copy", key, found.data, expected, marks)

    def remove(self, key: str, stamp: Stamp) -> bool:
        self.asked.append(Asked("remove", key))
        self._check("remove", key)
        with self._lock:
            found = self._objects.get(key)
            if found is not None and _stamp(found) != stamp:
                return False
            self._objects.pop(key, None)
            return True

    def close(self) -> None:
        """Nothing is held."""

    def _found(self, key: str) -> Found | None:
        self._check("look at", key)
        found = self._objects.get(key)
        return None if found is None else Found(key, _stamp(found), dict(found.marks))

    def _commit(self, verb: str, key: str, data: bytes, expected: Stamp | None, marks: Mapping[str, str]) -> Stamp:
        self._check(verb, key)
        with self._lock:
            there = self._objects.get(key)
            found = 0 if there is None else there.generation
            wanted = 0 if expected is None else expected.mtime_ns
            if found != wanted:
                raise ForeignWrite(verb, key, wanted, found)
            made = self.write(key, data, dict(marks))
            if self._lost:
                self._lost -= 1
                raise StoreError(f"cannot {verb} {shown(key)}: the answer got lost")
            return made

    def _check(self, verb: str, key: str) -> None:
        if key in self.broken:
            raise StoreError(f"cannot {verb} {shown(key)}: {self.broken[key]}")


def _stamp(there: _Object) -> Stamp:
    digest = int.from_bytes(blake3(there.data).digest(8), "big") >> 1
    return Stamp(len(there.data), there.generation, digest, 0)


def _put(path: str, data: bytes) -> None:
    with opened(path, "wb") as file:
        try:
            write(file, data)
        except OSError as error:
            raise failed("write", path, error) from None


if TYPE_CHECKING:
    _: RemoteStore = MemoryRemote()
