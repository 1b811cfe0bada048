"""Addresses of the web, as a store to read from.

What identifies content is its digest, and no web server tells it. So an address is asked with the validators of its last answer: where
they say nothing new an empty answer will do, and otherwise the content comes at once, and is kept until it is fetched. A transfer that
breaks goes on where it was; secrets go to the sites that they are meant for, and nowhere else. All methods may be called from many
threads.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn
from urllib.parse import urlencode, urljoin

import requests
import urllib3.exceptions
from blake3 import blake3

from ...errors import StoreError
from ...keys import host_of, secret_in, without_secrets
from ...text import shown
from ..base import Found
from ..files import failed, opened, write
from ..network import Connections, asked_for, in_time, unanswered
from ..patience import Effort, Retry
from ..refusals import Case, Fault, changed, message, refused
from .settings import Declared
from .shelf import Seen, Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ...model import Stamp
    from ..base import RemoteStore
    from .settings import HttpSettings

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTED = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 10
GONE = frozenset({404, 410})
RACY = timedelta(seconds=2)
PIECE = 1 << 16
"""Bytes read at once, at most: what has arrived is taken as it comes."""
PACKED = (".gz", ".tgz", ".bgz")
"""Ends of paths whose content is meant to be packed, whatever the server calls it."""


class HttpStore:
    """`https://` and `http://` keys. `folder` holds what was seen; `keep` false: nothing is written.

    `declared` gives what the Ductfile says of a key. `tell` hears of each new try.
    """

    def __init__(
        self,
        settings: HttpSettings,
        folder: str,
        tell: Callable[[Retry], None] = lambda _: None,
        *,
        declared: Callable[[str], Declared] = lambda _: Declared(),
        keep: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._shelf = Shelf(folder, keep)
        self._tell = tell
        self._now = now
        self._declared = declared
        self._reached: set[str] = set()
        self._ended = threading.Event()
        self._own = threading.local()
        self._connections = Connections(2 * settings.threads)
        self._pool: ThreadPoolExecutor | None = None
        self._making = threading.Lock()

    # looking

    def stats(self, keys: Sequence[str]) -> list[Found | None]:
        if len(keys) < 2:
            return [self._found(key) for key in keys]
        with self._making:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="http")
        return list(self._pool.map(self._found, keys))

    def _found(self, key: str) -> Found | None:
        stamp = self.stat(key)
        return None if stamp is None else Found(key, stamp, {})

    def stat(self, key: str) -> Stamp | None:
        seen = self._seen(key)
        return None if seen is None else seen.stamp

    def fingerprint(self, key: str) -> bytes | None:
        stamp = self.stat(key)
        return None if stamp is None else self.identity(stamp)

    def identity(self, stamp: Stamp) -> bytes:
        size, _, *digest = stamp
        return blake3(f"http {size} {digest}".encode()).digest()

    def matches(self, prefix: str, deep: bool = True) -> Iterator[Found]:  # noqa: ARG002
        """A web server has no listing: StoreError."""
        fault = Fault(
            Case.BAD_KEY, {"message": "a web server does not tell what it has, so its addresses have to be named"}
        )
        raise refused("list", prefix, fault)

    def _seen(self, key: str) -> Seen | None:
        """What is there now: asked, unless what is known is pinned by its checksum or not old enough."""
        self._check("look at", key)
        declared = self._declared(key)
        seen = self._shelf.seen(key)
        if seen is not None:
            pinned = declared.sha256 is not None and declared.sha256.lower() == seen.sha256
            if pinned or (declared.max_age is not None and 0 <= self._now() - seen.checked < declared.max_age):
                return seen
        with self._shelf.new_file() as path:
            transfer = _Transfer(self, "look at", key, seen)
            got = transfer.run(path)
            if got is None:
                self._shelf.forget(key)
            elif got is seen:
                if declared.max_age is not None:
                    self._shelf.note(replace(got, checked=self._now()))
            else:
                self._as_declared("look at", got, declared)
                self._shelf.put(got, path)
        return got

    # reading

    def fetch(self, key: str, stamp: Stamp, path: str) -> None:
        """Write the content that the stamp tells of to `path`: what came when it was judged, or, if that is gone, anew. Changed if it is another."""
        self._check("fetch", key)
        seen = self._shelf.seen(key)
        if seen is not None and seen.is_content_of(stamp) and self._shelf.take(seen, path):
            return
        got = _Transfer(self, "fetch", key, None).run(path)
        if got is None or not got.is_content_of(stamp):
            raise changed("fetch", key)
        self._as_declared("fetch", got, self._declared(key))
        self._shelf.note(got)

    def _as_declared(self, verb: str, seen: Seen, declared: Declared) -> None:
        if declared.sha256 is not None and declared.sha256.lower() != seen.sha256:
            raise StoreError(
                f"cannot {verb} {shown(seen.address)}: its content is not what is declared",
                facts=[f"declared sha256 {declared.sha256.lower()}", f"arrived  sha256 {seen.sha256}"],
                hint="see what changed there; if it is meant to be so, declare the new sha256",
            )

    # writing

    def publish(self, path: str, key: str, expected: Stamp | None, marks: Mapping[str, str]) -> NoReturn:  # noqa: ARG002
        """StoreError: the web is only read."""
        self._refuse_to("publish", key)

    def copy(self, source: str, stamp: Stamp, key: str, expected: Stamp | None, marks: Mapping[str, str]) -> NoReturn:  # noqa: ARG002
        """StoreError: the web is only read."""
        self._refuse_to("copy", key)

    def remove(self, key: str, stamp: Stamp) -> NoReturn:  # noqa: ARG002
        """StoreError: the web is only read."""
        self._refuse_to("remove", key)

    def _refuse_to(self, verb: str, key: str) -> NoReturn:
        fault = Fault(Case.BAD_KEY, {"message": "addresses of the web are only read"})
        raise refused(verb, without_secrets(key), fault)

    def close(self) -> None:
        """End what waits and what is under way, with errors in their threads; give the connections back."""
        self._ended.set()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._connections.break_off()

    def _check(self, verb: str, key: str) -> None:
        secret = secret_in(key)
        if secret is not None:
            reason = f'its part "{secret}" is a secret, and addresses are shown and kept'
            fault = Fault(Case.BAD_KEY, {"message": reason})
            error = refused(verb, without_secrets(key), fault)
            error.hint = "put it into the headers or the query of [stores.http], from secrets"
            raise error

    # one request

    def _open(self, address: str, conditions: Mapping[str, str]) -> requests.Response:
        """The answer to a GET, after redirections. What belongs to a site goes to addresses of this site only, at each turn anew."""
        session = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = self._session()
        for _ in range(MOST_REDIRECTS):
            headers = {"Accept-Encoding": "identity", **conditions}
            query: dict[str, str] = {}
            for site in self._settings.sites:
                if site.covers(address):
                    headers.update(site.headers)
                    query.update(site.query)
            if query:
                address += ("&" if "?" in address else "?") + urlencode(query)
            answer: requests.Response = session.get(
                address,
                headers=headers,
                timeout=(self._settings.connect_timeout, self._settings.read_timeout),
                allow_redirects=False,
                stream=True,
            )
            place = answer.headers.get("Location")
            if answer.status_code not in REDIRECTED or not place:
                return answer
            answer.close()
            address = urljoin(address, place)
        raise requests.exceptions.TooManyRedirects

    def _session(self) -> requests.Session:
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, self._connections)
        # With any authentication of its own, a session does not look into ~/.netrc, whose entry would take the place of the user's header.
        session.auth = _as_it_is
        return session


class _Transfer:
    """One answer with all its tries: into a file, summed as it comes."""

    def __init__(self, store: HttpStore, verb: str, key: str, seen: Seen | None) -> None:
        self._store, self._settings, self._verb, self._key, self._seen = store, store._settings, verb, key, seen
        self._host = host_of(key)
        self._end = time.monotonic() + self._settings.deadline
        self._begin_again()
        self._etag: str | None = None
        self._modified: str | None = None
        self._unpack = False
        self._resumable: str | None = None
        """The validator of what has arrived so far, if it is good for going on; a weak one is not."""

    def _begin_again(self) -> None:
        self._size = 0
        self._digest, self._sha256 = blake3(), hashlib.sha256()

    def run(self, path: str) -> Seen | None:
        """What came, with its content at `path`; the very `seen` that was given where nothing is new; None where nothing is there."""
        store, settings = self._store, self._settings
        effort = Effort(
            self._verb,
            self._key,
            settings.patience,
            tell=store._tell,
            pause=store._ended.wait,
            reached=lambda: self._host in store._reached,
        )
        with opened(path, "wb") as file:
            while True:
                before = self._size
                try:
                    return self._try(file)
                except _Failed as error:
                    fault = error.fault
                except TimeoutError:
                    fault = Fault(Case.UNREACHABLE, {"where": self._host, "message": "no answer in time"})
                except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                    fault = self._understood(error)
                if self._resumable and self._size > before:
                    effort.renew()
                if time.monotonic() > self._end:
                    fault = self._too_slow(f"more than {settings.deadline:g} s in all")
                effort.again(fault)

    def _try(self, file: BinaryIO) -> Seen | None:
        if self._store._ended.is_set():
            raise _Failed(Fault(Case.STOPPED, {}))
        if self._resumable is None and self._size:
            self._restart(file)
        conditions = self._conditions()
        if self._host in self._store._reached:
            answer = self._store._open(self._key, conditions)
        else:
            answer = in_time(self._settings.contact_timeout, lambda: self._store._open(self._key, conditions))
        with closing(answer):
            self._store._reached.add(self._host)
            status = answer.status_code
            if status == 304 and self._seen is not None and "If-Range" not in conditions:
                return self._seen
            if status in GONE:
                return None
            if status == 416 or (status == 206 and not self._goes_on(answer)):
                self._resumable = None
                raise _Failed(Fault(Case.BROKEN_OFF, {"where": self._host}, again=True))
            if status not in (200, 206):
                raise _Failed(self._refusal(answer))
            if status == 200:
                if self._size:
                    self._restart(file)
                self._begin(answer)
            return self._receive(answer, file)

    def _conditions(self) -> dict[str, str]:
        if self._size and self._resumable:
            return {"Range": f"bytes={self._size}-", "If-Range": self._resumable}
        if self._seen is None:
            return {}
        found = {"If-None-Match": self._seen.etag, "If-Modified-Since": self._seen.modified}
        return {name: value for name, value in found.items() if value}

    def _goes_on(self, answer: requests.Response) -> bool:
        """Is it the rest of what has arrived? Some servers give a part of whatever they have now."""
        same = answer.headers.get("ETag", self._etag) == self._etag
        return same and answer.headers.get("Content-Range", "").startswith(f"bytes {self._size}-")

    def _restart(self, file: BinaryIO) -> None:
        """From the first byte; a device cannot be cut, and need not be."""
        if file.seekable() and os.path.isfile(file.name):
            file.seek(0)
            file.truncate()
        self._begin_again()

    def _begin(self, answer: requests.Response) -> None:
        """Note what the answer says of its content."""
        packed = answer.headers.get("Content-Encoding", "identity").lower() not in ("", "identity")
        self._unpack = packed and not self._key.partition("?")[0].lower().endswith(PACKED)
        self._etag, self._modified = answer.headers.get("ETag"), _settled(answer.headers)
        strong = self._etag if self._etag and not self._etag.startswith("W/") else None
        self._resumable = None if self._unpack else strong or (None if self._etag else self._modified)

    def _receive(self, answer: requests.Response, file: BinaryIO) -> Seen:
        raw: Any = answer.raw
        settings = self._settings
        window_end, window_size = time.monotonic() + settings.read_timeout, 0
        while data := raw.read1(PIECE, decode_content=self._unpack):
            try:
                write(file, data)
            except OSError as error:
                raise failed("write", str(file.name), error) from None
            self._digest.update(data)
            self._sha256.update(data)
            self._size += len(data)
            window_size += len(data)
            now = time.monotonic()
            if self._store._ended.is_set():
                raise _Failed(Fault(Case.STOPPED, {}))
            if now > self._end:
                raise _Failed(self._too_slow(f"more than {settings.deadline:g} s in all"))
            if now > window_end:
                if window_size < settings.least_rate * settings.read_timeout:
                    raise _Failed(self._too_slow(f"{window_size:,} bytes in {settings.read_timeout:g} s"))
                window_end, window_size = now + settings.read_timeout, 0
        return Seen(
            self._key,
            self._size,
            self._digest.hexdigest(),
            self._sha256.hexdigest(),
            self._etag,
            self._modified,
            self._store._now(),
        )

    def _too_slow(self, words: str) -> Fault:
        return Fault(Case.TOO_SLOW, {"where": self._host, "message": words})

    def _understood(self, error: Exception) -> Fault:
        if isinstance(error, (requests.exceptions.ContentDecodingError, urllib3.exceptions.DecodeError)):
            facts = {"where": self._host, "message": "it cannot be unpacked"}
            return Fault(Case.WRONG_BYTES, facts, again=True)
        if isinstance(error, requests.exceptions.TooManyRedirects):
            return Fault(
                Case.OTHER, {"where": self._host, "status": "without end", "message": "it redirects too often"}
            )
        fault = unanswered(error, self._host)
        if fault is None:
            raise error
        return fault

    def _refusal(self, answer: requests.Response) -> Fault:
        status = answer.status_code
        facts = {"where": self._host, "status": str(status), "message": message(answer.reason or "no reason given")}
        if status in (401, 403, 407):
            return Fault(Case.NOT_ALLOWED, facts)
        if status == 429:
            return Fault(Case.QUOTA, facts, again=True, after=asked_for(answer.headers))
        return Fault(
            Case.UNAVAILABLE if status in AGAIN else Case.OTHER, facts, status in AGAIN, asked_for(answer.headers)
        )


class _Failed(Exception):
    """A try that came to nothing."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


def _settled(headers: Mapping[str, str]) -> str | None:
    """`Last-Modified`, unless it is so near to the time of the answer that the next change could have the same."""
    modified = headers.get("Last-Modified")
    try:
        now = parsedate_to_datetime(headers.get("Date") or formatdate(usegmt=True))
        return modified if modified and now - parsedate_to_datetime(modified) > RACY else None
    except (TypeError, ValueError, IndexError):
        return None


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


if TYPE_CHECKING:
    from .settings import HttpSettings as _Settings

    _: RemoteStore = HttpStore(_Settings(), "")
