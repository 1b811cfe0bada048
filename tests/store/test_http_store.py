"""Addresses of the web through the store: what is asked, what is sent along and to whom, what becomes of broken answers."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import itertools
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from miniduct.errors import StoreError
from miniduct.stores.http.settings import Declared, HttpSettings, Site
from miniduct.stores.http.store import HttpStore
from miniduct.stores.patience import Patience, Retry
from miniduct.stores.refusals import Changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from miniduct.model import Stamp

QUICK = Patience(total=5.0, contact=0.5, first=0.01, most=0.02, tries=4)
SETTINGS = HttpSettings(read_timeout=5.0, patience=QUICK)
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


@pytest.fixture
def told() -> list[Retry]:
    return []


@pytest.fixture
def make(tmp_path: Path, told: list[Retry]) -> Iterator[Callable[..., HttpStore]]:
    """Makes stores over one folder, as one build after the other does."""
    made: list[HttpStore] = []

    def store(settings: HttpSettings = SETTINGS, **how: Any) -> HttpStore:
        made.append(HttpStore(settings, str(tmp_path / "seen"), told.append, **how))
        return made[-1]

    yield store
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def running() -> Iterator[HTTPServer]:
    """One for all: it takes half a second to stop."""
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        yield server


@pytest.fixture
def server(running: HTTPServer) -> Iterator[HTTPServer]:
    yield running
    running.clear()


class Page:
    """A page with the validators that it is told to have; it remembers the requests."""

    def __init__(self, server: HTTPServer, path: str = "/x", **headers: str) -> None:
        self.content, self.headers = b"content", headers
        self.requests: list[Request] = []
        self.url = server.url_for(path)
        server.expect_request(path).respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        self.requests.append(request)
        etag = self.headers.get("ETag")
        if etag is not None and request.headers.get("If-None-Match") == etag:
            return Response(status=304, headers=self.headers)
        modified = self.headers.get("Last-Modified")
        if etag is None and modified is not None and request.headers.get("If-Modified-Since") == modified:
            return Response(status=304, headers=self.headers)
        return Response(self.content, headers=self.headers)


def stamp_of(store: HttpStore, key: str) -> Stamp:
    stamp = store.stat(key)
    assert stamp is not None
    return stamp


def fetched(store: HttpStore, key: str, folder: Path, stamp: Stamp | None = None) -> bytes:
    path = folder / "fetched"
    store.fetch(key, stamp or stamp_of(store, key), str(path))
    return path.read_bytes()


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as refused:
        act()
    return str(refused.value)


# judging


@pytest.mark.parametrize("headers", [{"ETag": '"1"'}, {"ETag": 'W/"1"'}, {"Last-Modified": DATE}], ids=str)
def test_what_has_not_changed_is_not_sent_again(
    server: HTTPServer, make: Callable[..., HttpStore], headers: dict[str, str]
) -> None:
    page = Page(server, **headers)
    first = make().stat(page.url)
    page.content = b"never sent"
    assert make().stat(page.url) == first
    assert len(page.requests) == 2


def test_a_time_too_near_to_now_is_no_validator(server: HTTPServer, make: Callable[..., HttpStore]) -> None:
    page = Page(server, **{"Last-Modified": formatdate(usegmt=True)})
    first = make().stat(page.url)
    page.content = b"CONTENT"
    assert make().stat(page.url) != first


def test_without_validators_the_content_decides(server: HTTPServer, make: Callable[..., HttpStore]) -> None:
    page = Page(server)
    first = make().stat(page.url)
    assert first is not None
    assert first.mtime_ns == 0
    assert make().stat(page.url) == first
    page.content = b"CONTENT"
    assert make().stat(page.url) != first


def test_the_same_content_with_other_validators_has_the_same_fingerprint(
    server: HTTPServer, make: Callable[..., HttpStore]
) -> None:
    page = Page(server, ETag='"1"')
    first = stamp_of(make(), page.url)
    page.headers["ETag"] = '"2"'
    store = make()
    assert store.stat(page.url) != first
    assert store.fingerprint(page.url) == store.identity(first)


def test_what_is_young_enough_is_not_asked_for(server: HTTPServer, make: Callable[..., HttpStore]) -> None:
    page = Page(server, ETag='"1"')
    clock = [1000.0]

    def build() -> Stamp | None:
        store = make(now=lambda: clock[0], declared=lambda _: Declared(max_age=60))
        return store.stat(page.url)

    first = build()
    clock[0] += 59
    assert build() == first
    assert len(page.requests) == 1
    clock[0] += 1
    assert build() == first
    assert len(page.requests) == 2
    clock[0] += 59
    build()
    assert len(page.requests) == 2
    clock[0] = 0.0
    build()
    assert len(page.requests) == 3


def test_many_addresses_are_asked_at_once(server: HTTPServer, make: Callable[..., HttpStore]) -> None:
    meet = threading.Barrier(4)

    def answer(request: Request) -> Response:
        meet.wait(20)
        return Response(request.path)

    keys = [server.url_for(f"/{number}") for number in range(4)]
    for number in range(4):
        server.expect_request(f"/{number}").respond_with_handler(answer)
    server.expect_request("/none").respond_with_data(status=404)
    found = make().stats([*keys, server.url_for("/none")])
    assert [item and item.key for item in found] == [*keys, None]


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_is_not_there(
    server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path, status: int
) -> None:
    page = Page(server, ETag='"1"')
    stamp = stamp_of(make(), page.url)
    server.clear()
    server.expect_request("/x").respond_with_data(status=status)
    store = make()
    assert store.stat(page.url) is None
    assert store.fingerprint(page.url) is None
    with pytest.raises(Changed):
        fetched(store, page.url, tmp_path, stamp)


def test_a_dry_run_writes_nothing(server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path) -> None:
    page = Page(server, ETag='"1"')
    store = make(keep=False)
    assert stamp_of(store, page.url).size == 7
    assert store.fingerprint(page.url) is not None
    assert not (tmp_path / "seen").exists()
    make().stat(page.url)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "seen").iterdir())
    page.headers["ETag"] = '"2"'
    make(keep=False).stat(page.url)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "seen").iterdir()) == before


def test_a_damaged_note_is_none(server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path) -> None:
    page = Page(server, ETag='"1"')
    first = make().stat(page.url)
    (note,) = (tmp_path / "seen").glob("*.json")
    for text in ("", "[]", "{}", note.read_text().replace('"digest": "', '"digest": "x')):
        note.write_text(text)
        assert make().stat(page.url) == first
    assert len(page.requests) == 5


# reading


def test_content_that_came_while_judging_is_not_asked_for_again(
    server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path
) -> None:
    page = Page(server)
    store = make()
    assert fetched(store, page.url, tmp_path) == b"content"
    assert len(page.requests) == 1
    assert fetched(store, page.url, tmp_path, stamp_of(store, page.url)) == b"content"


def test_content_that_was_tidied_away_is_fetched_again(
    server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path
) -> None:
    page = Page(server, ETag='"1"')
    stamp = stamp_of(make(), page.url)
    for body in (tmp_path / "seen").glob("*.body"):
        body.unlink()
    assert fetched(make(), page.url, tmp_path, stamp) == b"content"
    page.content = b"other"
    with pytest.raises(Changed, match="it was changed or removed since it was judged"):
        fetched(make(), page.url, tmp_path, stamp)


def test_kept_content_that_was_damaged_is_fetched_again(
    server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path
) -> None:
    page = Page(server, ETag='"1"')
    stamp = stamp_of(make(), page.url)
    (body,) = (tmp_path / "seen").glob("*.body")
    body.write_bytes(b"CONTENT")
    assert fetched(make(), page.url, tmp_path, stamp) == b"content"


def test_a_declared_checksum_is_checked_and_pins(
    server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path
) -> None:
    page = Page(server)
    digest = hashlib.sha256(b"content").hexdigest()
    store = make(declared={page.url: Declared(sha256=digest.upper())}.__getitem__)
    assert fetched(store, page.url, tmp_path) == b"content"
    assert len(page.requests) == 1
    page.content = b"other"
    assert store.stat(page.url) is not None
    assert len(page.requests) == 1
    wrong = make(declared=lambda _: Declared(sha256="0" * 64))
    arrived = hashlib.sha256(b"other").hexdigest()
    assert refusal(lambda: wrong.stat(page.url)) == (
        f"cannot look at {page.url}: its content is not what is declared\n"
        f"  declared sha256 {'0' * 64}\n"
        f"  arrived  sha256 {arrived}\n"
        "  see what changed there; if it is meant to be so, declare the new sha256"
    )


@pytest.mark.parametrize(
    ("path", "stored"), [("/x.csv", b"content"), ("/x.csv.gz", gzip.compress(b"content", mtime=0))]
)
def test_what_the_server_packs_is_unpacked_unless_it_is_meant_to_be_packed(
    server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path, path: str, stored: bytes
) -> None:
    page = Page(server, path, **{"Content-Encoding": "gzip", "ETag": '"1"'})
    page.content = gzip.compress(b"content", mtime=0)
    assert fetched(make(), page.url, tmp_path) == stored
    assert page.requests[0].headers["Accept-Encoding"] == "identity"


def test_redirections_are_followed_but_not_for_ever(
    server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path
) -> None:
    Page(server)
    server.expect_request("/a").respond_with_data(status=302, headers={"Location": "/b"})
    server.expect_request("/b").respond_with_data(status=308, headers={"Location": server.url_for("/x")})
    server.expect_request("/loop").respond_with_data(status=302, headers={"Location": "/loop"})
    assert fetched(make(), server.url_for("/a"), tmp_path) == b"content"
    assert "redirects too often" in refusal(lambda: make().stat(server.url_for("/loop")))


@pytest.mark.parametrize("status", [400, 418, 500])
def test_a_refusal_is_told(server: HTTPServer, make: Callable[..., HttpStore], told: list[Retry], status: int) -> None:
    server.expect_request("/x").respond_with_data("no", status=status)
    host = server.url_for("").removeprefix("http://").rstrip("/")
    assert f"cannot look at {server.url_for('/x')}: {host} answers {status}" in refusal(
        lambda: make().stat(server.url_for("/x"))
    )
    assert len(told) == (QUICK.tries - 1 if status == 500 else 0)


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_header_is_told(server: HTTPServer, make: Callable[..., HttpStore], status: int) -> None:
    server.expect_request("/x").respond_with_data("no", status=status)
    words = refusal(lambda: make().stat(server.url_for("/x")))
    assert f"does not allow it (answer {status})" in words
    assert "[stores.http]" in words


def test_a_wait_that_is_asked_for_is_kept(
    server: HTTPServer, make: Callable[..., HttpStore], told: list[Retry]
) -> None:
    server.expect_ordered_request("/x").respond_with_data("", status=429, headers={"Retry-After": "1"})
    server.expect_ordered_request("/x").respond_with_data("", status=503, headers={"Retry-After": DATE})
    server.expect_ordered_request("/x").respond_with_data("content")
    assert stamp_of(make(), server.url_for("/x")).size == 7
    assert [retry.wait for retry in told] == [1.0, 0.0]


@pytest.mark.parametrize("act", ["publish", "copy", "remove"])
def test_the_web_is_only_read(make: Callable[..., HttpStore], act: str) -> None:
    store, key = make(), "https://h/x"
    stamp: Any = None
    acts: dict[str, Callable[[], object]] = {
        "publish": lambda: store.publish("x", key, None, {}),
        "copy": lambda: store.copy(key, stamp, key, None, {}),
        "remove": lambda: store.remove(key, stamp),
    }
    assert "addresses of the web are only read" in refusal(acts[act])
    assert "does not tell what it has" in refusal(lambda: store.matches("https://h/"))


# secrets

HIDDEN = "h1dden"


def test_headers_and_query_go_to_their_site_only(
    server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path
) -> None:
    with HTTPServer(host="localhost") as other:
        elsewhere, here = Page(other, "/y"), Page(server, "/data/x")
        server.expect_request("/data/away").respond_with_data(status=302, headers={"Location": elsewhere.url})
        server.expect_request("/data/near").respond_with_data(status=302, headers={"Location": "/data/x"})
        site = Site(server.url_for("/data"), {"Authorization": f"Bearer {HIDDEN}"}, {"sig": HIDDEN})
        store = make(dataclasses.replace(SETTINGS, sites=(site,)))
        for key in (here.url, server.url_for("/data/near"), server.url_for("/data/away")):
            store.stat(key)
        outside = Page(server, "/database")
        store.stat(outside.url)
    for request in here.requests:
        assert request.headers["Authorization"] == f"Bearer {HIDDEN}"
        assert request.args["sig"] == HIDDEN
    assert len(here.requests) == 2
    for request in elsewhere.requests + outside.requests:
        assert "Authorization" not in request.headers
        assert HIDDEN not in request.url
    for path in (tmp_path / "seen").iterdir():
        assert HIDDEN.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("prefix", "address", "covered"),
    [
        ("https://h", "https://h/x", True),
        ("https://H/", "HTTPS://h/x", True),
        ("https://h", "https://h.evil/x", False),
        ("https://h", "https://h:8/x", False),
        ("https://h", "https://h@evil/x", False),
        ("https://h", "https://h\\@evil/x", False),
        ("https://h", "http://h/x", False),
        ("https://h/a", "https://h/ab", False),
        ("https://h/a", "https://h/a?x", True),
        ("https://h/a/", "https://h/A/x", False),
    ],
)
def test_a_site_covers_what_begins_with_its_prefix(prefix: str, address: str, covered: bool) -> None:
    assert Site(prefix).covers(address) is covered


def test_settings_do_not_show_their_secrets() -> None:
    site = Site("https://h", {"Authorization": HIDDEN}, {"sig": HIDDEN})
    assert HIDDEN not in repr(HttpSettings(sites=(site,)))


def test_no_message_and_no_try_shows_a_secret(make: Callable[..., HttpStore], told: list[Retry]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        store = make(dataclasses.replace(SETTINGS, sites=(Site(url, {"X-Key": HIDDEN}, {"sig": HIDDEN}),)))
        words = refusal(lambda: store.stat(url))
    assert "cannot be reached: connection refused" in words
    assert told
    assert HIDDEN not in words + repr(told)


@pytest.mark.parametrize("key", [f"https://me:{HIDDEN}@h/x", f"https://h/x?X-Goog-Signature={HIDDEN}"])
def test_an_address_with_a_secret_is_refused_and_not_shown(make: Callable[..., HttpStore], key: str) -> None:
    for act in (lambda: make().stat(key), lambda: make().fetch(key, None, "x")):  # type: ignore[arg-type]
        words = refusal(act)
        assert "is a secret" in words
        assert "[stores.http]" in words
        assert HIDDEN not in words


def test_netrc_does_not_take_the_place_of_a_header(
    server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    page = Page(server)
    make(dataclasses.replace(SETTINGS, sites=(Site(page.url, {"Authorization": "mine"}),))).stat(page.url)
    make().stat(page.url)
    assert [request.headers.get("Authorization") for request in page.requests] == ["mine", None]


def test_a_secret_does_not_follow_a_redirection_that_is_not_encrypted(
    server: HTTPServer, make: Callable[..., HttpStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    page = Page(server)
    with HTTPServer(host="127.0.0.1", ssl_context=context) as secure:
        secure.expect_request("/x").respond_with_data(status=302, headers={"Location": page.url})
        url = secure.url_for("/x")
        refused = refusal(lambda: make().stat(url))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        make(dataclasses.replace(SETTINGS, sites=(Site(url, {"X-Key": HIDDEN}),))).stat(url)
    assert "X-Key" not in page.requests[0].headers
    assert "is not trusted" in refused
    assert "REQUESTS_CA_BUNDLE" in refused


# broken answers, from a socket

OK = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 10\r\n\r\n'


@contextmanager
def raw(*answers: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that lets each answer do with its connection what it likes, the last one with all further ones; its address, and the requests."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in itertools.chain(answers, itertools.repeat(answers[-1])):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    data = b""
                    while b"\r\n\r\n" not in data:
                        more = connection.recv(1 << 16)
                        if not more:
                            break
                        data += more
                    if data:
                        requests.append(data)
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x", requests
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)


def sends(*pieces: bytes, every: float = 0.0) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                return
            time.sleep(every)

    return answer


def test_a_cut_body_is_gone_on_with(make: Callable[..., HttpStore], tmp_path: Path) -> None:
    rest = b'HTTP/1.1 206 Partial\r\nETag: "1"\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n456789'
    with raw(sends(OK + b"0123"), sends(rest)) as (url, requests):
        assert fetched(make(), url, tmp_path) == b"0123456789"
    assert b"Range: bytes=4-\r\n" in requests[1]
    assert b'If-Range: "1"\r\n' in requests[1]


def test_a_body_that_has_changed_begins_anew(make: Callable[..., HttpStore], tmp_path: Path) -> None:
    changed = OK.replace(b'"1"', b'"2"') + b"abcdefghij"
    with raw(sends(OK + b"0123"), sends(changed)) as (url, _):
        assert fetched(make(), url, tmp_path) == b"abcdefghij"


def test_an_answer_without_a_date_has_a_last_change_all_the_same(
    make: Callable[..., HttpStore], tmp_path: Path
) -> None:
    head = f"HTTP/1.1 200 OK\r\nLast-Modified: {DATE}\r\nContent-Length: 10\r\n\r\n".encode()
    rest = b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n456789"
    with raw(sends(head + b"0123"), sends(rest)) as (url, requests):
        assert fetched(make(), url, tmp_path) == b"0123456789"
    assert f"If-Range: {DATE}\r\n".encode() in requests[1]


@pytest.mark.parametrize(
    "part",
    [
        b'HTTP/1.1 206 Partial\r\nETag: "2"\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\nefghij',
        b'HTTP/1.1 206 Partial\r\nETag: "1"\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\nabcdefghij',
        b"HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_part_of_something_else_is_not_taken(make: Callable[..., HttpStore], tmp_path: Path, part: bytes) -> None:
    with raw(sends(OK + b"0123"), sends(part), sends(OK + b"0123456789")) as (url, requests):
        assert fetched(make(), url, tmp_path) == b"0123456789"
    assert b"Range" not in requests[2]


@pytest.mark.parametrize("etag", [b"", b'ETag: W/"1"\r\n'])
def test_without_a_strong_validator_a_cut_body_begins_anew(
    make: Callable[..., HttpStore], tmp_path: Path, etag: bytes
) -> None:
    ok = OK.replace(b'ETag: "1"\r\n', etag)
    with raw(sends(ok + b"0123"), sends(ok + b"0123456789")) as (url, requests):
        assert fetched(make(), url, tmp_path) == b"0123456789"
    assert b"Range" not in requests[1]


def test_a_body_that_is_always_cut_is_given_up(make: Callable[..., HttpStore], told: list[Retry]) -> None:
    with raw(sends(OK.replace(b"ETag", b"X-Tag") + b"0123")) as (url, _):
        assert "broke off" in refusal(lambda: make().stat(url))
    assert len(told) == QUICK.tries - 1


@pytest.mark.parametrize("broken", [b"5\r\n01234\r\n", b"5\r\n012", b"zz\r\n"])
def test_a_cut_chunk_is_noticed(make: Callable[..., HttpStore], tmp_path: Path, broken: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw(sends(head + broken), sends(head + b"5\r\n01234\r\n0\r\n\r\n")) as (url, _):
        assert fetched(make(), url, tmp_path) == b"01234"


def test_a_cut_that_cannot_be_seen_is_seen_by_the_checksum(make: Callable[..., HttpStore]) -> None:
    with raw(sends(b"HTTP/1.1 200 OK\r\n\r\n0123")) as (url, _):
        store = make(declared=lambda _: Declared(sha256=hashlib.sha256(b"0123456789").hexdigest()))
        assert "its content is not what is declared" in refusal(lambda: store.stat(url))


def test_a_connection_closed_at_once_is_tried_again(make: Callable[..., HttpStore], tmp_path: Path) -> None:
    with raw(sends(), sends(b"nonsense\r\n\r\n"), sends(OK + b"0123456789")) as (url, _):
        assert fetched(make(), url, tmp_path) == b"0123456789"


def test_silence_ends(make: Callable[..., HttpStore], told: list[Retry]) -> None:
    over = threading.Event()

    def hang(connection: socket.socket) -> None:
        connection.sendall(OK + b"01")
        over.wait(30)

    with raw(hang, sends(OK + b"0123456789")) as (url, _):
        store = make(dataclasses.replace(SETTINGS, read_timeout=0.3))

        def tell(retry: Retry) -> None:
            told.append(retry)
            over.set()

        store._tell = tell
        assert stamp_of(store, url).size == 10
    assert ["does not answer" in retry.reason for retry in told] == [True]


def test_a_drip_is_given_up(make: Callable[..., HttpStore]) -> None:
    settings = dataclasses.replace(SETTINGS, read_timeout=0.4, least_rate=100.0)
    drip = sends(OK.replace(b"10\r\n", b"999\r\n"), *[b"."] * 200, every=0.05)
    with raw(drip) as (url, requests):
        words = refusal(lambda: make(settings).stat(url))
    assert "it took too long: " in words
    assert " bytes in 0.4 s" in words
    assert len(requests) == 1


def test_the_whole_transfer_has_a_deadline(make: Callable[..., HttpStore]) -> None:
    settings = dataclasses.replace(SETTINGS, deadline=0.4, least_rate=0.0)
    drip = sends(OK.replace(b"10\r\n", b"999\r\n"), *[b"."] * 200, every=0.05)
    with raw(drip) as (url, _):
        assert "more than 0.4 s in all" in refusal(lambda: make(settings).stat(url))


def test_the_deadline_counts_all_tries(make: Callable[..., HttpStore]) -> None:
    patient = Patience(total=60.0, first=0.2, most=0.2, tries=1000)
    with raw(sends(OK + b"0123")) as (url, _):
        settings = dataclasses.replace(SETTINGS, deadline=0.5, patience=patient)
        assert "more than 0.5 s in all" in refusal(lambda: make(settings).stat(url))


def test_a_host_that_never_answers_is_given_up(make: Callable[..., HttpStore]) -> None:
    over = threading.Event()
    settings = dataclasses.replace(SETTINGS, contact_timeout=0.3, read_timeout=60.0, patience=Patience(contact=0.1))

    def hang(_: socket.socket) -> None:
        over.wait(30)

    with raw(hang) as (url, _):
        assert "no answer in time" in refusal(lambda: make(settings).stat(url))
        over.set()


def test_an_unknown_host_is_told(make: Callable[..., HttpStore]) -> None:
    words = refusal(lambda: make().stat("https://nowhere.invalid/x"))
    assert "nowhere.invalid cannot be reached" in words
    assert "check the network" in words


def test_a_proxy_that_is_not_there_is_told(make: Callable[..., HttpStore], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{HIDDEN}@127.0.0.1:{taken.getsockname()[1]}")
        words = refusal(lambda: make().stat("https://example.invalid/x"))
    assert "the proxy on the way to example.invalid" in words
    assert HIDDEN not in words


@pytest.mark.parametrize("head", [b"", OK, OK.replace(b"10\r\n", b"10\r\nConnection: close\r\n")])
def test_closing_ends_silence(make: Callable[..., HttpStore], head: bytes) -> None:
    store = make(dataclasses.replace(SETTINGS, read_timeout=60.0))
    begun, over = threading.Event(), threading.Event()

    def hang(connection: socket.socket) -> None:
        connection.sendall(head)
        begun.set()
        over.wait(30)

    with raw(hang) as (url, _):
        words: list[str] = []
        waiting = threading.Thread(target=lambda: words.append(refusal(lambda: store.stat(url))))
        waiting.start()
        assert begun.wait(30)
        store.close()
        waiting.join(30)
        over.set()
    assert words == [f"cannot look at {url}: the build has ended"]


def test_closing_ends_what_is_under_way(make: Callable[..., HttpStore]) -> None:
    store = make()
    begun = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(OK.replace(b"10\r\n", b"999\r\n") + b".")
        begun.set()
        sends(*[b"."] * 400, every=0.02)(connection)

    with raw(drip) as (url, _):
        words: list[str] = []
        waiting = threading.Thread(target=lambda: words.append(refusal(lambda: store.stat(url))))
        waiting.start()
        assert begun.wait(30)
        store.close()
        waiting.join(30)
    assert words == [f"cannot look at {url}: the build has ended"]


def test_a_full_disk_is_not_taken_for_the_network(
    server: HTTPServer, make: Callable[..., HttpStore], told: list[Retry], tmp_path: Path
) -> None:
    page = Page(server)
    store = make()
    stamp = stamp_of(store, page.url)
    for body in (tmp_path / "seen").glob("*.body"):
        body.unlink()
    assert "cannot write /dev/full: no space left on device" in refusal(
        lambda: store.fetch(page.url, stamp, "/dev/full")
    )
    assert told == []
