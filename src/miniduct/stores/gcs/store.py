"""Objects of Google Cloud Storage, as a store: judged by listings, read at a generation, written only over what was expected to be there.

A stamp is (size, generation, crc32c, 63 bits of the md5 or 0). Size and checksums identify content, so none is fetched to tell it, and
a change of an object's metadata is none of its content. Each write names the generation that it replaces, so nothing can hide what
somebody else has written, and carries the marks by which it is known again when its answer got lost. All methods may be called from
many threads.
"""

from __future__ import annotations

import base64
import mimetypes
import os
import posixpath
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import google_crc32c
from blake3 import blake3
from google.api_core import exceptions as api
from google.api_core.retry import Retry as LibraryRetry

from ...errors import StoreError
from ...keys import bucket_and_name, host_of, key_of
from ...model import Stamp
from ...tuples import NamedTuple
from ..base import Found
from ..files import failed, opened, write
from ..network import in_time
from ..patience import Effort, Retry
from ..refusals import Case, Fault, ForeignWrite, changed, refused
from .client import SERVICE, connect, understood
from .grouping import Scan, ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..base import RemoteStore
    from ..network import Connections
    from .settings import GcsSettings

FIELDS = "items(name,generation,size,crc32c,md5Hash,metadata),nextPageToken"
PIECE = 1 << 20
"""Bytes read at once for a checksum."""
ONE_REQUEST = 8 << 20
"""Bytes up to which the client sends an object in one request; a larger one goes up in parts."""
PART = 16 << 20
"""Bytes of such a part, which is held in memory. A part costs a round trip, at 100 MB a second an eighth of its time."""
LARGE = 1 << 20
"""Bytes from which on a file counts as large: what is sent is held in memory, some of it twice."""
LARGE_AT_ONCE = 8
"""Large files that go up at the same time: no line is faster with more of them."""
OURS = "duct-"
DIGEST, ATTEMPT = "duct-digest", "duct-attempt"
"""Marks that the store adds: what they were written with, and a token of the attempt."""
DESCRIPTION = ("cache_control", "content_disposition", "content_encoding", "content_language", "content_type")
"""What else describes an object."""

Answer = TypeVar("Answer")


class GcsStore:
    """`gs://` keys. `tell` hears of each new try. Errors other than absence are StoreError."""

    def __init__(self, settings: GcsSettings, tell: Callable[[Retry], None] = lambda _: None) -> None:
        self._settings = settings
        self._tell = tell
        self._host = host_of(settings.endpoint) if settings.endpoint else SERVICE
        self._made: tuple[Any, Connections] | None = None
        self._making = threading.Lock()
        self._reached = False
        self._buckets: set[str] = set()
        """Those that are known to exist."""
        self._ended = threading.Event()
        self._pool: ThreadPoolExecutor | None = None
        self._large = threading.BoundedSemaphore(LARGE_AT_ONCE)

    # looking

    def stat(self, key: str) -> Stamp | None:
        found = self.look(key)
        return None if found is None else found.stamp

    def fingerprint(self, key: str) -> bytes | None:
        stamp = self.stat(key)
        return None if stamp is None else self.identity(stamp)

    def identity(self, stamp: Stamp) -> bytes:
        size, _, crc32c, md5 = stamp
        return blake3(f"gcs {size} {crc32c} {md5}".encode()).digest()

    def look(self, key: str) -> Found | None:
        """One object with its marks, by a request of its own."""
        bucket, name = self._parts("look at", key)
        return self._look("look at", key, bucket, name)

    def stats(self, keys: Sequence[str]) -> list[Found | None]:
        wanted: dict[str, dict[str, str]] = {}
        for key in keys:
            bucket, name = self._parts("look at", key)
            wanted.setdefault(bucket, {})[name] = key
        scans = []
        for bucket, names in wanted.items():
            scans += [(bucket, part) for part in ranges(sorted(names))]
        found: dict[str, Found] = {}
        left: list[str] = []
        for bucket, scan in self._each(lambda scan: (scan[0], self._scan(*scan)), scans):
            found.update((wanted[bucket][name], item) for name, item in scan.found.items())
            left += [wanted[bucket][name] for name in scan.left]
        found.update((item.key, item) for item in self._each(self.look, left) if item is not None)
        return [found.get(key) for key in keys]

    def _scan(self, bucket: str, names: Sequence[str]) -> Scan[Found]:
        def page(prefix: str, start: str, end: str) -> tuple[list[tuple[str, Found]], bool]:
            listed, token = self._page("look at", bucket, prefix=prefix, start_offset=start, end_offset=end)
            return [(found.key[len(bucket) + 6 :], found) for found in listed], token is not None

        scan = Scan(page)
        scan.look(names)
        return scan

    def matches(self, prefix: str, deep: bool = True) -> Iterator[Found]:
        """All objects whose keys begin with the prefix, sorted by key; without `deep` those only that have no further slash behind it.

        An object whose name ends in a slash stands for an empty folder, and is left out.
        """
        bucket, slash, start = prefix.removeprefix("gs://").partition("/")
        if not bucket or not slash:
            self._parts("list", prefix)
        how = {"prefix": start or None, "delimiter": None if deep else "/"}
        token = None
        while True:
            listed, token = self._page("list", bucket, page_token=token, **how)
            yield from (found for found in listed if not found.key.endswith("/"))
            if token is None:
                return

    def _page(self, verb: str, bucket: str, **how: Any) -> tuple[list[Found], str | None]:
        """One request for a part of a listing: what is there, and what to go on with."""

        def ask() -> Any:
            listed = self._client().list_blobs(
                self._bucket(bucket), fields=FIELDS, timeout=self._times(), retry=None, **how
            )
            page = next(listed.pages, ())
            return [_found(bucket, blob) for blob in page], listed.next_page_token

        try:
            found, token = self._persist(verb, key_of(bucket, how["prefix"] or ""), bucket, ask, guarded=True)
        except api.NotFound:
            raise self._no_bucket(verb, key_of(bucket, how["prefix"] or ""), bucket) from None
        self._buckets.add(bucket)
        return found, token

    def _look(self, verb: str, key: str, bucket: str, name: str) -> Found | None:
        def ask() -> Any:
            blob = self._bucket(bucket).blob(name)
            blob.reload(timeout=self._times(), retry=None)
            return blob

        try:
            blob = self._persist(verb, key, bucket, ask, guarded=True)
        except api.NotFound as error:
            self._must_exist(verb, key, bucket, error)
            return None
        self._buckets.add(bucket)
        return _found(bucket, blob)

    def _must_exist(self, verb: str, key: str, bucket: str, error: Exception) -> None:
        """An object that is missing may be missing with its bucket: a listing tells. It is asked for once."""
        fault = understood(error, verb, bucket, self._settings)
        if bucket in self._buckets:
            return
        if fault is not None and fault.case is Case.NO_BUCKET:
            raise refused(verb, key, fault) from None

        def ask() -> None:
            listed = self._client().list_blobs(
                self._bucket(bucket),
                max_results=1,
                fields="items(name),nextPageToken",
                timeout=self._times(),
                retry=None,
            )
            next(listed.pages, ())

        try:
            self._persist(verb, key, bucket, ask, guarded=True)
        except api.NotFound:
            raise self._no_bucket(verb, key, bucket) from None
        except StoreError:
            # Who may read objects need not be allowed to list them; that the object is missing is an answer all the same.
            pass
        self._buckets.add(bucket)

    def _no_bucket(self, verb: str, key: str, bucket: str) -> StoreError:
        return refused(verb, key, Fault(Case.NO_BUCKET, {"where": bucket}))

    # reading

    def fetch(self, key: str, stamp: Stamp, path: str) -> None:
        """Write the content that the stamp tells of to `path`; Changed where it is not there any more. Goes on behind what has arrived."""
        bucket, name = self._parts("fetch", key)
        effort = self._effort("fetch", key)
        with opened(path, "wb") as file:
            sink = _Sink(file, self._ended)
            wrong = 0
            while True:
                before = sink.size
                fault = self._fetch_on(key, bucket, name, stamp, sink)
                if fault is None:
                    return
                if fault.case is Case.WRONG_BYTES:
                    wrong += 1
                    fault = fault._replace(again=wrong < self._settings.patience.tries)
                    sink.begin_again()
                elif sink.size > before:
                    effort.renew()
                effort.again(fault)

    def _fetch_on(self, key: str, bucket: str, name: str, stamp: Stamp, sink: _Sink) -> Fault | None:
        """Ask for what is still missing; None where all has come, and is right."""
        try:
            if sink.size < stamp.size or not stamp.size:
                self._bucket(bucket).blob(name, generation=stamp.mtime_ns).download_to_file(
                    sink,
                    start=sink.size or None,
                    raw_download=True,  # size and checksum are those of the stored bytes
                    checksum=None,  # the client does not check a download that it has resumed
                    timeout=self._times(),
                    retry=None,
                )
        except api.NotFound:
            raise changed("fetch", key) from None
        except _NotWritten as error:
            raise failed("write", sink.file.name, error.reason) from None
        except _Stopped:
            raise refused("fetch", key, Fault(Case.STOPPED, {})) from None
        except Exception as error:
            fault = understood(error, "fetch", bucket, self._settings)
            if fault is None:
                raise
            return fault
        self._reached = True
        where = {"where": self._host}
        if sink.size < stamp.size:
            return Fault(Case.BROKEN_OFF, where, again=True)
        if sink.size > stamp.size:
            return Fault(Case.WRONG_BYTES, {**where, "message": "more came than the object holds"}, again=True)
        if sink.crc32c() != stamp.ctime_ns:
            return Fault(Case.WRONG_BYTES, {**where, "message": "the checksum differs"}, again=True)
        return None

    # writing

    def publish(self, path: str, key: str, expected: Stamp | None, marks: Mapping[str, str]) -> Stamp:
        """Upload the file in place of what is expected to be there (None: nothing), with marks. The stamp of what is there then.

        ForeignWrite where something else is there: nothing was done. The answer of an upload can get lost: what it made is known by its marks.
        """
        bucket, name = self._parts("publish", key)
        with opened(path, "rb") as file:
            size, crc32c = _summed(file, path)
            task = _Task(bucket, name, size, crc32c, 0 if expected is None else expected.mtime_ns, secrets.token_hex(8))

            def upload() -> Any:
                blob = self._bucket(bucket).blob(name)
                blob.metadata = self._marks(task, marks)
                blob.crc32c = _in_base64(crc32c)
                blob.chunk_size = PART
                try:
                    blob.upload_from_file(
                        file,
                        rewind=True,
                        size=size,
                        content_type=_content_type(name),
                        if_generation_match=task.generation,
                        checksum=None,  # it stands in the metadata, and the service itself refuses what does not fit
                        timeout=self._times(),
                        retry=None if size <= ONE_REQUEST else self._retry_of_parts("publish", key, bucket, file),
                    )
                except ValueError:
                    # The client's only way to say that a file has fewer bytes than it was told.
                    if os.fstat(file.fileno()).st_size < size:
                        raise changed("read", path) from None
                    raise
                except Exception as error:
                    fault = understood(error, "publish", bucket, self._settings)
                    if size > ONE_REQUEST and fault is not None and fault.again and not fault.anew:
                        raise refused("publish", key, fault) from None  # each part has had its tries
                    raise
                return blob

            with self._large if size >= LARGE else nullcontext():
                return self._commit("publish", key, task, upload)

    def copy(self, source: str, stamp: Stamp, key: str, expected: Stamp | None, marks: Mapping[str, str]) -> Stamp:
        """As `publish`, from another object, at the generation of its stamp; no content comes here. Changed where that is gone."""
        other_bucket, other_name = self._parts("copy", source)
        bucket, name = self._parts("copy", key)
        there = self._bucket(other_bucket).blob(other_name, generation=stamp.mtime_ns)
        try:
            self._persist("copy", source, other_bucket, lambda: there.reload(timeout=self._times(), retry=None))
        except api.NotFound as error:
            self._must_exist("copy", source, other_bucket, error)
            raise changed("copy", source) from None
        generation = 0 if expected is None else expected.mtime_ns
        task = _Task(bucket, name, stamp.size, stamp.ctime_ns, generation, secrets.token_hex(8))

        def rewrite() -> Any:
            blob = self._bucket(bucket).blob(name)
            # What describes the object is taken over from the source only where nothing is said, and the marks have to be.
            for field in DESCRIPTION:
                setattr(blob, field, getattr(there, field))
            own = {mark: value for mark, value in (there.metadata or {}).items() if not mark.startswith(OURS)}
            blob.metadata = {**own, **self._marks(task, marks)}
            token = None
            while True:
                token, _, _ = blob.rewrite(
                    there, token=token, if_generation_match=generation, timeout=self._times(), retry=None
                )
                if token is None:
                    return blob
                if self._ended.is_set():
                    raise refused("copy", key, Fault(Case.STOPPED, {}))

        try:
            return self._commit("copy", key, task, rewrite)
        except api.NotFound:
            self._page("copy", bucket, prefix=name)  # tells whether it is the bucket that is missing
            raise changed("copy", source) from None

    @staticmethod
    def _marks(task: _Task, marks: Mapping[str, str]) -> dict[str, str]:
        return {**marks, DIGEST: _digest(task.size, task.crc32c), ATTEMPT: task.attempt}

    def _commit(self, verb: str, key: str, task: _Task, act: Callable[[], Any]) -> Stamp:
        """Do it until there is an answer, and see that it did what it should."""
        try:
            made = _stamp(self._persist(verb, key, task.bucket, act))
        except api.NotFound as error:
            fault = understood(error, verb, task.bucket, self._settings)
            if verb == "copy":
                raise
            raise refused(verb, key, fault or Fault(Case.OTHER, {})) from None
        except api.PreconditionFailed:
            return self._own(verb, key, task)
        if (made.size, made.ctime_ns) != (task.size, task.crc32c):
            self.remove(key, made)
            fault = Fault(Case.WRONG_BYTES, {"where": self._host, "message": "the checksum differs"})
            raise refused(verb, key, fault)
        self._buckets.add(task.bucket)
        return made

    def _own(self, verb: str, key: str, task: _Task) -> Stamp:
        """The stamp of what is there, if this very attempt wrote it and only the answer was lost; ForeignWrite otherwise."""
        found = self._look(verb, key, task.bucket, task.name)
        if found is not None and found.marks.get(ATTEMPT) == task.attempt:
            return found.stamp
        raise ForeignWrite(verb, key, task.generation, 0 if found is None else found.stamp.mtime_ns)

    def remove(self, key: str, stamp: Stamp) -> bool:
        """Delete the object if it is still that one. Is it gone? Also one that was gone before is."""
        bucket, name = self._parts("remove", key)

        def delete() -> None:
            self._bucket(bucket).blob(name).delete(
                if_generation_match=stamp.mtime_ns, timeout=self._times(), retry=None
            )

        try:
            self._persist("remove", key, bucket, delete)
        except api.NotFound as error:
            self._must_exist("remove", key, bucket, error)
        except api.PreconditionFailed:
            return False
        return True

    def close(self) -> None:
        """End what waits and what is under way, with errors in their threads; give the connections back."""
        self._ended.set()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._made is not None:
            client, connections = self._made
            connections.break_off()
            client.close()

    # the client

    def _client(self) -> Any:
        with self._making:
            if self._made is None:
                self._made = connect(self._settings)
            return self._made[0]

    def _bucket(self, bucket: str) -> Any:
        return self._client().bucket(bucket, user_project=self._settings.user_projects.get(bucket))

    def _times(self) -> tuple[float, float]:
        return self._settings.connect_timeout, self._settings.read_timeout

    def _parts(self, verb: str, key: str) -> tuple[str, str]:
        try:
            return bucket_and_name(key)
        except ValueError as error:
            raise refused(verb, key, Fault(Case.BAD_KEY, {"message": str(error)})) from None

    def _effort(self, verb: str, key: str) -> Effort:
        return Effort(
            verb,
            key,
            self._settings.patience,
            tell=self._tell,
            pause=self._ended.wait,
            reached=lambda: self._reached,
        )

    def _persist(
        self, verb: str, key: str, bucket: str, call: Callable[[], Answer], *, guarded: bool = False
    ) -> Answer:
        """The answer to a request, tried again where that may help. Passes on 404 and 412, whose meaning depends on the question."""
        effort = self._effort(verb, key)
        while True:
            if self._ended.is_set():
                raise refused(verb, key, Fault(Case.STOPPED, {}))
            try:
                answer = in_time(self._settings.contact_timeout, call) if guarded and not self._reached else call()
            except TimeoutError:
                facts = {"where": self._host, "message": "no answer in time"}
                raise refused(verb, key, Fault(Case.UNREACHABLE, facts)) from None
            except (api.NotFound, api.PreconditionFailed):
                self._reached = True
                raise
            except StoreError:
                raise
            except Exception as error:
                fault = understood(error, verb, bucket, self._settings)
                if fault is None:
                    raise
                self._reached = self._reached or isinstance(error, api.GoogleAPICallError)
                effort.again(fault)
                continue
            self._reached = True
            return answer

    def _retry_of_parts(self, verb: str, key: str, bucket: str, file: BinaryIO) -> Any:
        """For an upload in parts, which only the client itself can resume. Each part has as many tries as anything else."""
        patience = self._settings.patience
        failed = 0
        behind = -1

        def worth(error: Exception) -> bool:
            nonlocal failed, behind
            failed = failed + 1 if file.tell() == behind else 1
            behind = file.tell()
            fault = understood(error, verb, bucket, self._settings)
            if fault is None or not fault.again or fault.anew or failed >= patience.tries or self._ended.is_set():
                return False
            # How long the client waits is drawn at random; this is what it is drawn from.
            self._tell(Retry(key, verb, failed + 1, min(patience.most, patience.first * 2.0**failed), fault.reason))
            return True

        return LibraryRetry(
            predicate=worth, initial=patience.first, maximum=patience.most, multiplier=2.0, timeout=None
        )

    def _each(self, ask: Callable[[Any], Answer], things: Sequence[Any]) -> list[Answer]:
        """The answers to several questions, asked at once."""
        if len(things) < 2:
            return [ask(thing) for thing in things]
        with self._making:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="gcs")
        return list(self._pool.map(ask, things))


class _Task(NamedTuple):
    """What is to be where: `generation` is that of what it replaces, 0 for nothing."""

    bucket: str
    name: str
    size: int
    crc32c: int
    generation: int
    attempt: str


class _NotWritten(Exception):
    """The file that is fetched to cannot be written: not to be taken for a fault of the network."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Stopped(Exception):
    """The store was closed while bytes came in."""


class _Sink:
    """The file that is fetched to: counts and sums what arrives."""

    def __init__(self, file: BinaryIO, ended: threading.Event) -> None:
        self.file = file
        self.size = 0
        self._ended = ended
        self._sum = google_crc32c.Checksum()

    def write(self, data: bytes) -> int:
        if self._ended.is_set():
            raise _Stopped
        try:
            write(self.file, data)
        except OSError as error:
            raise _NotWritten(error) from None
        self.size += len(data)
        self._sum.update(data)
        return len(data)

    def crc32c(self) -> int:
        return int.from_bytes(self._sum.digest(), "big")

    def begin_again(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.size = 0
        self._sum = google_crc32c.Checksum()


def _found(bucket: str, blob: Any) -> Found:
    stamp = _stamp(blob)
    marks = blob.metadata or {}
    # Anybody may change the marks, or write other content and keep them: they count only for the content that they were written with.
    if marks.get(DIGEST) != _digest(stamp.size, stamp.ctime_ns):
        marks = {}
    return Found(key_of(bucket, blob.name), stamp, marks)


def _stamp(blob: Any) -> Stamp:
    md5 = 0 if blob.md5_hash is None else int.from_bytes(base64.b64decode(blob.md5_hash)[:8], "big") >> 1
    return Stamp(blob.size, blob.generation, int.from_bytes(base64.b64decode(blob.crc32c), "big"), md5)


def _digest(size: int, crc32c: int) -> str:
    return f"{size}-{crc32c:08x}"


def _in_base64(crc32c: int) -> str:
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode("ascii")


def _content_type(name: str) -> str:
    """From the name; what is packed is called so, for a `Content-Encoding` would have it unpacked by who reads it."""
    kind, packed = mimetypes.guess_type(f"./{posixpath.basename(name)}")
    return "application/octet-stream" if kind is None or packed else kind


def _summed(file: BinaryIO, path: str) -> tuple[int, int]:
    """Size and crc32c of a file."""
    checksum, size = google_crc32c.Checksum(), 0
    try:
        while data := file.read(PIECE):
            checksum.update(data)
            size += len(data)
    except OSError as error:
        raise failed("read", path, error) from None
    return size, int.from_bytes(checksum.digest(), "big")


if TYPE_CHECKING:
    _: RemoteStore = GcsStore(GcsSettings())
