"""Local files, values and remote keys as one store: each key goes where its beginning says.

Of a remote key is remembered what was found, for a whole build: many are asked about together, before they are needed one by one. What duct itself
writes is remembered as well. A build so judges by one state of the far side, and what it fetches or replaces is exactly that.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import StoreError
from ..keys import GS, REMOTE, VALUES
from ..text import shown
from .base import Found
from .local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..model import Stamp
    from .base import Entry, RemoteStore
    from .patience import Retry
    from .values import ValueStore


class Stores:
    """A `Store` of local files, values and remote keys. `connect` gives the remote store for the beginning of a key, when the first one is met.

    `offline`: nothing is asked; what was `recall`ed counts. `tell` hears of new tries while the thread that made this object waits for an answer.
    """

    def __init__(
        self,
        connect: Callable[[str, Callable[[Retry], None]], RemoteStore],
        *,
        offline: bool = False,
        tell: Callable[[Retry], None] = lambda _: None,
        values: ValueStore | None = None,
    ) -> None:
        self.offline = offline
        self.values = values
        """The values of the pipeline, where the project is one."""
        self._others = REMOTE if values is None else (*REMOTE, values.folder)
        self._tell = tell
        self._owner = threading.get_ident()
        self._waits = False
        self._local = LocalStore()
        self._connect = connect
        self._remotes: dict[str, RemoteStore] = {}
        self._seen: dict[str, Found | None] = {}
        self._listed: list[tuple[str, bool]] = []
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self.retries: deque[Retry] = deque()
        """New tries of transfers, from any thread, in order; to be told by who made this object."""

    # -- as a store ---------------------------------------------------------------------------------------------------------------------

    def stat(self, key: str) -> Stamp | None:
        if not key.startswith(self._others):
            return self._local.stat(key)
        if self.values is not None and key.startswith(VALUES):
            return self.values.stat(key)
        found = self.found(key)
        return None if found is None else found.stamp

    def fingerprint(self, key: str) -> bytes | None:
        if not key.startswith(self._others):
            return self._local.fingerprint(key)
        if self.values is not None and key.startswith(VALUES):
            return self.values.fingerprint(key)
        found = self.found(key)
        return None if found is None else self._remote(key).identity(found.stamp)

    def names(self, folder: str) -> list[str] | None:
        return self._local.names(folder)

    def list(self, folder: str) -> list[Entry] | None:
        return self._local.list(folder)

    def folder_stamp(self, folder: str) -> Stamp | None:
        return self._local.folder_stamp(folder)

    def matches(self, prefix: str, *, deep: bool) -> Sequence[str]:
        if self.offline:
            return sorted(key for key, found in self._seen.items() if found is not None and key.startswith(prefix))
        if not self._is_listed(prefix, deep=deep):
            with self._waiting():
                for found in self._remote(prefix).matches(prefix, deep):
                    self._seen.setdefault(found.key, found)
            self._listed.append((prefix, deep))
        cut = len(prefix)
        return sorted(
            key
            for key, found in self._seen.items()
            if found is not None and key.startswith(prefix) and (deep or "/" not in key[cut:])
        )

    def _is_listed(self, prefix: str, *, deep: bool) -> bool:
        return any(
            prefix.startswith(before) and (all_ or (not deep and "/" not in prefix[len(before) :]))
            for before, all_ in self._listed
        )

    # -- remote keys --------------------------------------------------------------------------------------------------------------------

    def found(self, key: str) -> Found | None:
        """What is known of a remote key; it is asked about where nothing is."""
        if key not in self._seen:
            self.ask((key,))
        if key not in self._seen:
            raise StoreError(
                f"cannot look at {shown(key)}: offline, and its last state is not known",
                hint="build once without --offline",
            )
        return self._seen[key]

    def knows(self, key: str) -> bool:
        """Was it found out what there is of this remote key, be it nothing? Always so after `ask`, but for offline."""
        return key in self._seen

    def marks(self, key: str) -> Mapping[str, str]:
        """The marks that a remote key carries; none where it is not there."""
        found = self.found(key)
        return {} if found is None else found.marks

    def ask(self, keys: Iterable[str]) -> None:
        """Find out about these remote keys together, but for those that are known. StoreError. Offline: nothing."""
        if self.offline:
            return
        new = [key for key in dict.fromkeys(keys) if key not in self._seen]
        for key in [key for key in new if key.startswith(GS) and self._is_listed(key, deep=False)]:
            self._seen[key] = None
        new = [key for key in new if key not in self._seen]
        for of in (True, False):
            group = [key for key in new if key.startswith(GS) is of]
            if group:
                with self._waiting():
                    self._seen.update(zip(group, self._remote(group[0]).stats(group)))

    def recall(self, key: str, stamp: Stamp | None) -> None:
        """Offline: what was known of the key the last time."""
        self._seen.setdefault(key, None if stamp is None else Found(key, stamp, {}))

    def forget(self, keys: Iterable[str]) -> None:
        """Somebody else may have written these: ask again."""
        for key in keys:
            self._seen.pop(key, None)
        self._listed.clear()

    def fetch(self, key: str, stamp: Stamp, path: str) -> None:
        """`RemoteStore.fetch`."""
        self._online(key, "fetch").fetch(key, stamp, path)

    def publish(self, path: str, key: str, expected: Stamp | None, marks: Mapping[str, str]) -> Stamp:
        """`RemoteStore.publish`; what is there then is known."""
        stamp = self._online(key, "write").publish(path, key, expected, marks)
        self._seen[key] = Found(key, stamp, marks)
        return stamp

    def copy(self, source: str, stamp: Stamp, key: str, expected: Stamp | None, marks: Mapping[str, str]) -> Stamp:
        """`RemoteStore.copy`; what is there then is known."""
        new = self._online(key, "write").copy(source, stamp, key, expected, marks)
        self._seen[key] = Found(key, new, marks)
        return new

    def remove(self, key: str, stamp: Stamp) -> bool:
        """`RemoteStore.remove`."""
        gone = self._online(key, "remove").remove(key, stamp)
        if gone:
            self._seen[key] = None
        return gone

    def identity(self, key: str, stamp: Stamp) -> bytes:
        """`RemoteStore.identity`, for a stamp of this key."""
        return self._remote(key).identity(stamp)

    def hang_up(self) -> None:
        """Close the remote stores that were used: what is under way ends with an error."""
        for remote in self._remotes.values():
            remote.close()

    def close(self) -> None:
        """Close those stores that were used."""
        if self.values is not None:
            self.values.close()
        self.hang_up()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """The owner's thread waits meanwhile, so that others may tell for it."""
        if threading.get_ident() != self._owner:
            yield
            return
        self._waits = True
        try:
            yield
        finally:
            with self._telling:
                self._waits = False

    def _retried(self, retry: Retry) -> None:
        with self._telling:
            if self._waits:
                self._tell(retry)
            else:
                self.retries.append(retry)

    def _online(self, key: str, verb: str) -> RemoteStore:
        if self.offline:
            raise StoreError(f"cannot {verb} {shown(key)}: offline", hint="build without --offline")
        return self._remote(key)

    def _remote(self, key: str) -> RemoteStore:
        scheme = key.partition("://")[0]
        scheme = "http" if scheme == "https" else scheme
        with self._lock:
            found = self._remotes.get(scheme)
            if found is None:
                found = self._remotes[scheme] = self._connect(scheme, self._retried)
            return found


def remote_keys(keys: Sequence[str]) -> list[int]:
    """The places of the remote keys in a list."""
    return [at for at, key in enumerate(keys) if key.startswith(REMOTE)]
