"""A Google Cloud Storage server for tests: the JSON API as its documentation tells it, in memory, with faults by order and a log of requests.

What the ready-made emulators leave out is here: preconditions, checked and committed under one lock; pages; generations; checksums that are
checked; answers that get lost after the commit. What duct never asks for is not here: versions, access lists, signatures. Run as a program,
it serves until its standard input is closed, and prints its address first.
"""

from __future__ import annotations

import base64
import bisect
import contextlib
import gzip
import hashlib
import io
import json
import re
import socket
import socketserver
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import google_crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

FIRST_GENERATION = 1_700_000_000_000_000
PAGE = 1000
"""The most entries of one page, as in the real service."""
FULL_STOP = 60.0
"""Seconds after which a stalled answer is given up, should a test forget to end the server."""

PERMISSIONS = {
    "bucket": "storage.buckets.get",
    "list": "storage.objects.list",
    "get": "storage.objects.get",
    "media": "storage.objects.get",
    "insert": "storage.objects.create",
    "start": "storage.objects.create",
    "chunk": "storage.objects.create",
    "rewrite": "storage.objects.create",
    "patch": "storage.objects.update",
    "delete": "storage.objects.delete",
}
"""The operations that the log and the faults name, with what they need. `insert`: an upload in one request; `start`, `chunk`: in several."""


@dataclass
class Object:
    """A live object; `md5` is None for one that was composed."""

    name: str
    data: bytes
    generation: int
    crc32c: str
    md5: str | None
    metageneration: int = 1
    metadata: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/octet-stream"
    content_encoding: str | None = None


@dataclass
class Bucket:
    """Objects by name; `names` are the same, sorted."""

    name: str
    requester_pays: bool = False
    objects: dict[str, Object] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """One line of the log. `status` is 0 where the answer never left."""

    operation: str
    bucket: str
    name: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of an operation (and of one object, where it is named).

    `status`: this answer instead; `after`: only when the change has been made. `lost`: no answer, the connection is reset. `cut`: the body
    ends after so many bytes. `wrong`: one bit of what is carried is another; `unchecked`: and an upload is taken all the same. `stall`: no
    answer until the server ends; with `cut`, silence in place of the end. `call`: run first.
    """

    operation: str
    status: int | None = None
    name: str | None = None
    times: int = 1
    after: bool = False
    lost: bool = False
    cut: int | None = None
    wrong: bool = False
    unchecked: bool = False
    stall: bool = False
    call: Callable[[], object] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = "backendError"
    message: str = "told to fail"


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(
        self, status: int, reason: str, message: str, headers: Mapping[str, str] | None = None, *, lost: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.headers, self.lost = status, reason, message, headers or {}, lost


@dataclass
class _Session:
    """A resumable upload under way; `done` once it is committed."""

    bucket: str
    name: str
    query: dict[str, str]
    resource: dict[str, Any]
    data: bytearray = field(default_factory=bytearray)
    done: dict[str, Any] | None = None


class GcsServer:
    """The service, for as long as the `with` lasts. `delay`: seconds before each answer."""

    def __init__(self, *buckets: str, page: int = PAGE, delay: float = 0.0, rewrite_step: int = 1 << 40) -> None:
        self.page, self.delay, self.rewrite_step = page, delay, rewrite_step
        self.buckets = {name: Bucket(name) for name in buckets}
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        self.denied: set[str] = set()
        """Permissions that nobody has."""
        self.lock = threading.RLock()
        self.ended = threading.Event()
        self.sessions: dict[str, _Session] = {}
        self._last = FIRST_GENERATION
        self._http = _Listener(self)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> GcsServer:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    # what a test does and sees

    def put(
        self,
        bucket: str,
        name: str,
        data: bytes | str,
        metadata: Mapping[str, str] | None = None,
        *,
        composed: bool = False,
        content_encoding: str | None = None,
    ) -> Object:
        """Somebody else writes an object."""
        content = data.encode() if isinstance(data, str) else data
        resource = {"metadata": dict(metadata or {}), "contentEncoding": content_encoding}
        with self.lock:
            return self._commit(self.buckets[bucket], name, content, resource, md5=not composed)

    def get(self, bucket: str, name: str) -> Object | None:
        return self.buckets[bucket].objects.get(name)

    def drop(self, bucket: str, name: str) -> None:
        """Somebody else deletes an object."""
        with self.lock:
            self._remove(self.buckets[bucket], name)

    def patch(self, bucket: str, name: str, metadata: Mapping[str, str]) -> None:
        """Somebody else changes the metadata: the generation stays."""
        with self.lock:
            found = self.buckets[bucket].objects[name]
            found.metadata = dict(metadata)
            found.metageneration += 1

    def fill(self, bucket: str, names: Iterable[str], data: bytes = b"") -> None:
        """Many objects with one content, quickly."""
        crc32c, md5 = _crc32c(data), _md5(data)
        with self.lock:
            room = self.buckets[bucket]
            for name in names:
                self._last += 1
                room.objects[name] = Object(name, data, self._last, crc32c, md5)
            room.names = sorted(room.objects)

    def fail(self, operation: str, status: int | None = None, **how: Any) -> Fault:
        """Order a fault; it stays in `faults` until used up."""
        assert operation in PERMISSIONS, operation
        fault = Fault(operation, status, **how)
        with self.lock:
            self.faults.append(fault)
        return fault

    def operations(self) -> list[str]:
        """The operations since the last `forget`, in order."""
        with self.lock:
            return [request.operation for request in self.log]

    def forget(self) -> None:
        with self.lock:
            self.log.clear()

    # what requests do

    def _fault(self, operation: str, name: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.operation == operation and fault.name in (None, name):
                    fault.times -= 1
                    if not fault.times:
                        self.faults.remove(fault)
                    return fault
        return None

    def room(self, bucket: str, query: Mapping[str, str]) -> Bucket:
        found = self.buckets.get(bucket)
        if found is None:
            raise Refusal(404, "notFound", "The specified bucket does not exist.")
        if found.requester_pays and not query.get("userProject"):
            raise Refusal(400, "required", "Bucket is a requester pays bucket but no user project provided.")
        return found

    def found(self, bucket: str, name: str, query: Mapping[str, str]) -> Object:
        """The live object, if the preconditions of a reading request hold."""
        there = self.room(bucket, query).objects.get(name)
        if there is None or query.get("generation") not in (None, str(there.generation)):
            raise Refusal(404, "notFound", f"No such object: {bucket}/{name}")
        _check(there, query)
        return there

    def insert(
        self,
        bucket: str,
        name: str,
        data: bytes,
        resource: dict[str, Any],
        query: Mapping[str, str],
        fault: Fault | None,
    ) -> dict[str, Any]:
        """Check and commit under one lock. Gives the object's description."""
        if fault is not None and fault.wrong:
            data = _damaged(data)
        if not (fault is not None and fault.unchecked):
            for member, value in (("crc32c", _crc32c(data)), ("md5Hash", _md5(data))):
                if resource.get(member) not in (None, value):
                    raise Refusal(400, "invalid", f"Provided {member} does not match the data.")
        with self.lock:
            room = self.room(bucket, query)
            _check(room.objects.get(name), query)
            return self.described(bucket, self._commit(room, name, data, resource))

    def _commit(self, room: Bucket, name: str, data: bytes, resource: Mapping[str, Any], *, md5: bool = True) -> Object:
        self._last += 1
        made = Object(name, data, self._last, _crc32c(data), _md5(data) if md5 else None)
        made.metadata = dict(resource.get("metadata") or {})
        made.content_type = resource.get("contentType") or made.content_type
        made.content_encoding = resource.get("contentEncoding")
        if name not in room.objects:
            bisect.insort(room.names, name)
        room.objects[name] = made
        return made

    def _remove(self, room: Bucket, name: str) -> None:
        del room.objects[name]
        room.names.pop(bisect.bisect_left(room.names, name))

    def delete(self, bucket: str, name: str, query: Mapping[str, str]) -> None:
        with self.lock:
            self.found(bucket, name, query)
            self._remove(self.buckets[bucket], name)

    def rewrite(
        self, source: tuple[str, str], target: tuple[str, str], resource: dict[str, Any], query: Mapping[str, str]
    ) -> dict[str, Any]:
        """One step of a copy on the server: `rewrite_step` bytes."""
        with self.lock:
            reading = {"userProject": query.get("userProject", "")}
            if "sourceGeneration" in query:
                reading["generation"] = query["sourceGeneration"]
            there = self.found(*source, reading)
            room = self.room(target[0], query)
            _check(room.objects.get(target[1]), query)
            size, done = len(there.data), int(query.get("rewriteToken", "0")) + self.rewrite_step
            answer = {"kind": "storage#rewriteResponse", "objectSize": str(size), "done": done >= size}
            answer["totalBytesRewritten"] = str(min(done, size))
            if done < size:
                return {**answer, "rewriteToken": str(done)}
            # What describes the object comes from the request or from the source, never from both.
            described = resource or {"metadata": there.metadata, "contentType": there.content_type}
            made = self._commit(room, target[1], there.data, described, md5=there.md5 is not None)
            return {**answer, "resource": self.described(target[0], made)}

    def listed(self, bucket: str, query: Mapping[str, str]) -> dict[str, Any]:
        """One page."""
        with self.lock:
            room = self.room(bucket, query)
            prefix, delimiter, end = query.get("prefix", ""), query.get("delimiter"), query.get("endOffset")
            after = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
            most = min(self.page, int(query.get("maxResults", PAGE)))
            at = bisect.bisect_left(room.names, max(prefix, query.get("startOffset", "")))
            if after:
                at = max(at, bisect.bisect_right(room.names, after))
            items: list[dict[str, Any]] = []
            prefixes: list[str] = []
            token = None
            last = ""
            while at < len(room.names):
                name = room.names[at]
                if not name.startswith(prefix) or (end and name >= end):
                    break
                if len(items) + len(prefixes) == most:
                    token = base64.urlsafe_b64encode(last.encode()).decode()
                    break
                cut = name.find(delimiter, len(prefix)) if delimiter else -1
                if cut < 0:
                    items.append(self.described(bucket, room.objects[name]))
                    last = name
                    at += 1
                else:
                    assert delimiter
                    folder = name[: cut + len(delimiter)]
                    prefixes.append(folder)
                    last = folder + chr(sys.maxunicode)
                    at = bisect.bisect_right(room.names, last)
        answer: dict[str, Any] = {"kind": "storage#objects", "items": items}
        if prefixes:
            answer["prefixes"] = prefixes
        if token:
            answer["nextPageToken"] = token
        return _only(answer, query.get("fields"))

    def described(self, bucket: str, there: Object) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "kind": "storage#object",
            "id": f"{bucket}/{there.name}/{there.generation}",
            "name": there.name,
            "bucket": bucket,
            "generation": str(there.generation),
            "metageneration": str(there.metageneration),
            "contentType": there.content_type,
            "size": str(len(there.data)),
            "crc32c": there.crc32c,
            "etag": base64.b64encode(f"{there.generation}/{there.metageneration}".encode()).decode(),
            "updated": "2026-01-01T00:00:00.000Z",
        }
        if there.md5 is not None:
            answer["md5Hash"] = there.md5
        if there.metadata:
            answer["metadata"] = dict(there.metadata)
        if there.content_encoding:
            answer["contentEncoding"] = there.content_encoding
        return answer


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, service: GcsServer) -> None:
        self.service = service
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        """Without the look-up of the host's name that the parent does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; everything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        service = self.server.service
        path, _, text = self.path.partition("?")
        self.query = dict(parse_qsl(text, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.operation, self.bucket, self.name = "?", "", ""
        try:
            if service.delay:
                time.sleep(service.delay)
            self._route([unquote(part) for part in path.strip("/").split("/")])
        except Refusal as refusal:
            self._refuse(refusal)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _route(self, parts: list[str]) -> None:
        upload = parts[0] == "upload"
        media = parts[0] == "download" or self.query.get("alt") == "media"
        if parts[0] in ("upload", "download"):
            parts = parts[1:]
        match (self.command, parts[2:]):
            case ("GET", ["b", bucket]):
                self._begin("bucket", bucket, "")
                self._send({"kind": "storage#bucket", "name": self.server.service.room(bucket, self.query).name})
            case ("GET", ["b", bucket, "o"]):
                fault = self._begin("list", bucket, "")
                self._send(self.server.service.listed(bucket, self.query), fault)
            case ("GET", ["b", bucket, "o", name]) if media:
                self._media(self._begin("media", bucket, name))
            case ("GET", ["b", bucket, "o", name]):
                fault = self._begin("get", bucket, name)
                service = self.server.service
                self._send(service.described(bucket, service.found(bucket, name, self.query)), fault)
            case ("POST", ["b", bucket, "o"]) if upload:
                self._upload(bucket)
            case ("PUT", ["b", bucket, "o"]) if upload:
                self._chunk(bucket)
            case ("PATCH", ["b", bucket, "o", name]):
                fault = self._begin("patch", bucket, name)
                service = self.server.service
                with service.lock:
                    service.found(bucket, name, self.query)
                    service.patch(bucket, name, json.loads(self.body)["metadata"])
                    answer = service.described(bucket, service.buckets[bucket].objects[name])
                self._send(answer, fault)
            case ("DELETE", ["b", bucket, "o", name]):
                fault = self._begin("delete", bucket, name)
                self.server.service.delete(bucket, name, self.query)
                self._send(None, fault)
            case ("POST", ["b", bucket, "o", name, "rewriteTo", "b", target, "o", other]):
                fault = self._begin("rewrite", target, other)
                resource = json.loads(self.body or b"{}")
                self._send(self.server.service.rewrite((bucket, name), (target, other), resource, self.query), fault)
            case _:
                raise Refusal(404, "notFound", f"this server has no {self.command} {self.path}")

    def _begin(self, operation: str, bucket: str, name: str) -> Fault | None:
        """Note what is asked for; what is to fail before anything has happened, fails here."""
        self.operation, self.bucket, self.name = operation, bucket, name
        service = self.server.service
        fault = service._fault(operation, name)
        if fault is not None and fault.call is not None:
            fault.call()
        if fault is not None and not fault.after:
            if fault.status is not None:
                raise Refusal(fault.status, fault.reason, fault.message, fault.headers)
            if fault.stall and fault.cut is None:
                service.ended.wait(FULL_STOP)
                raise Refusal(503, "backendError", "ended", lost=True)
            if fault.lost:
                raise Refusal(0, "", "", lost=True)
        permission = PERMISSIONS[operation]
        if permission in service.denied:
            raise Refusal(
                403,
                "forbidden",
                f"loader@acme.iam.gserviceaccount.com does not have {permission} access to the Google Cloud Storage object. "
                f"Permission '{permission}' denied on resource (or it may not exist).",
            )
        return fault

    def _upload(self, bucket: str) -> None:
        kind, name = self.query.get("uploadType"), self.query.get("name", "")
        resource: dict[str, Any] = {"contentType": self.headers.get("Content-Type")}
        data = self.body
        if kind == "multipart":
            resource, data = _parts(self.headers["Content-Type"], self.body)
        elif kind == "resumable":
            resource = {"contentType": self.headers.get("X-Upload-Content-Type"), **json.loads(self.body or b"{}")}
        name = resource.get("name") or name
        service = self.server.service
        if kind != "resumable":
            fault = self._begin("insert", bucket, name)
            self._send(service.insert(bucket, name, data, resource, self.query, fault), fault)
            return
        fault = self._begin("start", bucket, name)
        with service.lock:
            room = service.room(bucket, self.query)
            _check(room.objects.get(name), self.query)
            number = str(len(service.sessions) + 1)
            service.sessions[number] = _Session(bucket, name, self.query, resource)
        place = f"{service.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={number}"
        self._send({}, fault, {"Location": place})

    def _chunk(self, bucket: str) -> None:
        service = self.server.service
        session = service.sessions.get(self.query.get("upload_id", ""))
        fault = self._begin("chunk", bucket, session.name if session else "")
        if session is None:
            raise Refusal(410, "gone", "no such upload")
        if session.done is not None:
            self._send(session.done, fault)
            return
        span, _, total = self.headers["Content-Range"].removeprefix("bytes ").partition("/")
        with service.lock:
            if span != "*":
                start = int(span.partition("-")[0])
                if start > len(session.data):
                    raise Refusal(503, "backendError", "bytes are missing before these")
                session.data[start:] = self.body
            if total.isdigit() and len(session.data) == int(total):
                data = bytes(session.data)
                session.done = service.insert(bucket, session.name, data, session.resource, session.query, fault)
                self._send(session.done, fault)
                return
        headers = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
        self._answer(308, b"", headers)

    def _media(self, fault: Fault | None) -> None:
        there = self.server.service.found(self.bucket, self.name, self.query)
        data, status = there.data, 200
        headers = {
            "Content-Type": there.content_type,
            "X-Goog-Generation": str(there.generation),
            "X-Goog-Metageneration": str(there.metageneration),
            "X-Goog-Stored-Content-Length": str(len(data)),
            "X-Goog-Stored-Content-Encoding": there.content_encoding or "identity",
            "X-Goog-Hash": f"crc32c={there.crc32c}" + (f",md5={there.md5}" if there.md5 else ""),
        }
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if there.content_encoding == "gzip" and "gzip" not in self.headers.get("Accept-Encoding", ""):
            data, span = gzip.decompress(data), None
        elif there.content_encoding:
            headers["Content-Encoding"] = there.content_encoding
        if span:
            first, last = int(span[1]), min(int(span[2] or len(data) - 1), len(data) - 1)
            if first > last:
                raise Refusal(416, "requestedRangeNotSatisfiable", "the range begins behind the end")
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first : last + 1], 206
        if fault is not None and fault.wrong:
            data = _damaged(data)
        self._answer(status, data, headers, fault)

    def _send(
        self, answer: dict[str, Any] | None, fault: Fault | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """The answer after the change has been made: what is to fail then, fails here."""
        if fault is not None and fault.after:
            if fault.lost:
                raise Refusal(0, "", "", lost=True)
            assert fault.status is not None
            raise Refusal(fault.status, fault.reason, fault.message, fault.headers)
        body = b"" if answer is None else json.dumps(answer).encode()
        kind = {"Content-Type": "application/json; charset=UTF-8"}
        self._answer(204 if answer is None else 200, body, {**kind, **(headers or {})}, fault)

    def _note(self, status: int) -> None:
        """Into the log, before the client can know."""
        service = self.server.service
        with service.lock:
            headers = dict(self.headers.items())
            service.log.append(Request(self.operation, self.bucket, self.name, self.query, headers, status))

    def _refuse(self, refusal: Refusal) -> None:
        if refusal.lost:
            self._note(0)
            # Closed with the linger time at zero, a connection is reset: the client cannot take it for the end of an answer.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._hang_up()
            return
        error = {"domain": "global", "reason": refusal.reason, "message": refusal.message}
        body = {"error": {"code": refusal.status, "message": refusal.message, "errors": [error]}}
        text = json.dumps(body).encode() if refusal.status not in (304, 204) else b""
        headers = {"Content-Type": "application/json; charset=UTF-8", **refusal.headers}
        if self.operation == "media":
            text, headers["Content-Type"] = refusal.message.encode(), "text/html; charset=UTF-8"
        self._answer(refusal.status, text if refusal.status != 304 else b"", headers)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str], fault: Fault | None = None) -> None:
        self._note(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault is not None and fault.cut is not None:
            self.wfile.write(body[: fault.cut])
            self.wfile.flush()
            if fault.stall:
                self.server.service.ended.wait(FULL_STOP)
            self._hang_up()
            return
        self.wfile.write(body)
        self.wfile.flush()

    def _hang_up(self) -> None:
        """Close, at once: the descriptor goes with the last of the three."""
        self.close_connection = True
        for end in (self.wfile, self.rfile, self.connection):
            with contextlib.suppress(OSError):
                end.close()
        self.wfile = io.BytesIO()  # which the parent flushes

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()


def _check(there: Object | None, query: Mapping[str, str]) -> None:
    """The four preconditions; the generation of what is not there is 0. The client misspells the last of them in uploads: taken, too."""
    generation, metageneration = (there.generation, there.metageneration) if there else (0, 0)
    for name, value, actual in (
        ("ifGenerationMatch", query.get("ifGenerationMatch"), generation),
        ("ifMetagenerationMatch", query.get("ifMetagenerationMatch"), metageneration),
    ):
        if value is not None and int(value) != actual:
            raise Refusal(
                412, "conditionNotMet", f"At least one of the pre-conditions you specified did not hold: {name}."
            )
    unwanted = query.get("ifMetagenerationNotMatch") or query.get("ifMetaGenerationNotMatch")
    for value, actual in ((query.get("ifGenerationNotMatch"), generation), (unwanted, metageneration)):
        if value is not None and int(value) == actual:
            raise Refusal(304, "notModified", "Not Modified")


def _only(answer: dict[str, Any], fields: str | None) -> dict[str, Any]:
    """What `fields` leaves: `items(name,size),nextPageToken`."""
    if fields is None:
        return answer
    inner = re.search(r"items\(([^)]*)\)", fields)
    if inner:
        wanted = inner[1].split(",")
        answer["items"] = [{key: item[key] for key in wanted if key in item} for item in answer["items"]]
    outer = re.sub(r"\([^)]*\)", "", fields).split(",")
    return {key: value for key, value in answer.items() if key in outer}


def _parts(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Resource and data of a multipart upload."""
    found = re.search(r'boundary="?([^";]+)', content_type)
    assert found, content_type
    mark = b"--" + found[1].encode()
    _, resource, rest = body.split(mark, 2)
    head, data = rest[: rest.rindex(b"\r\n" + mark + b"--")].split(b"\r\n\r\n", 1)
    kind = head.decode().strip().partition("content-type: ")[2]
    return {"contentType": kind, **json.loads(resource.split(b"\r\n\r\n", 1)[1])}, data


def _damaged(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:] if data else b"?"


def _crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def main() -> None:
    """`python gcs_server.py BUCKET …`: serve until the standard input ends."""
    with GcsServer(*sys.argv[1:]) as server:
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
