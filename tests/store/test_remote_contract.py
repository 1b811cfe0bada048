"""What every remote store promises, run against each of them; what only some can do, against those."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Protocol

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from gcs_server import GcsServer
from miniduct.errors import StoreError
from miniduct.stores.gcs.settings import GcsSettings
from miniduct.stores.gcs.store import GcsStore
from miniduct.stores.http.settings import HttpSettings
from miniduct.stores.http.store import HttpStore
from miniduct.stores.memory_remote import MemoryRemote
from miniduct.stores.patience import Patience
from miniduct.stores.refusals import Changed, ForeignWrite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from miniduct.model import Stamp
    from miniduct.stores.base import RemoteStore

QUICK = Patience(total=2.0, contact=0.5, first=0.01, most=0.02, tries=3)
MARKS = {"duct-fingerprint": "f1"}
FORMS = ["{}", "{} b", "#{}?y=1", "*{}", "a/../{}", "ä\n{}", "%2F{}", "{}" + "x" * 990, '"{}"']
"""Names that are taken apart where somebody does not take care."""


class World(Protocol):
    """A store, and somebody who changes what is in it."""

    @property
    def store(self) -> RemoteStore: ...

    def key(self, name: str) -> str:
        """A key of this store."""

    def write(self, key: str, data: bytes) -> None:
        """Somebody else makes an object, or another in its place."""

    def drop(self, key: str) -> None:
        """Somebody else deletes it."""

    def read(self, key: str) -> bytes | None:
        """What is there now."""


class Memory:
    """The twin in memory."""

    def __init__(self) -> None:
        self.store = MemoryRemote()

    def key(self, name: str) -> str:
        return f"gs://b/{name}"

    def write(self, key: str, data: bytes) -> None:
        self.store.write(key, data)

    def drop(self, key: str) -> None:
        self.store.drop(key)

    def read(self, key: str) -> bytes | None:
        return self.store.read(key)


class Gcs:
    """The real client against a server of our own."""

    def __init__(self, server: GcsServer) -> None:
        self._server = server
        self.store = GcsStore(GcsSettings(endpoint=server.url, patience=QUICK))

    def key(self, name: str) -> str:
        return f"gs://b/{name}"

    def write(self, key: str, data: bytes) -> None:
        self._server.put("b", key.removeprefix("gs://b/"), data)

    def drop(self, key: str) -> None:
        self._server.drop("b", key.removeprefix("gs://b/"))

    def read(self, key: str) -> bytes | None:
        found = self._server.get("b", key.removeprefix("gs://b/"))
        return None if found is None else found.data


class Http:
    """Pages without validators; the reading half only."""

    def __init__(self, server: HTTPServer, folder: str) -> None:
        self._server = server
        self._pages: dict[str, bytes] = {}
        self.store = HttpStore(HttpSettings(patience=QUICK), folder)
        server.expect_request(re.compile(".*")).respond_with_handler(self._answer)

    def key(self, name: str) -> str:
        return self._server.url_for(f"/{name}")

    def write(self, key: str, data: bytes) -> None:
        self._pages[key] = data

    def drop(self, key: str) -> None:
        del self._pages[key]

    def read(self, key: str) -> bytes | None:
        return self._pages.get(key)

    def _answer(self, request: Request) -> Response:
        data = self._pages.get(request.url)
        return Response(status=404) if data is None else Response(data)


@pytest.fixture(scope="module")
def web() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        yield server


@pytest.fixture(params=["memory", "gcs", "http"])
def any_world(request: pytest.FixtureRequest, tmp_path: Path, web: HTTPServer) -> Iterator[World]:
    """Any store."""
    yield from made(request.param, tmp_path, web)


@pytest.fixture(params=["memory", "gcs"])
def world(request: pytest.FixtureRequest, tmp_path: Path, web: HTTPServer) -> Iterator[World]:
    """A store that can be written to and listed."""
    yield from made(request.param, tmp_path, web)


def made(kind: str, tmp_path: Path, web: HTTPServer) -> Iterator[World]:
    if kind == "memory":
        yield Memory()
    elif kind == "http":
        http = Http(web, str(tmp_path / "seen"))
        yield http
        http.store.close()
        web.clear()
    else:
        with GcsServer("b") as server:
            gcs = Gcs(server)
            yield gcs
            gcs.store.close()


def stamp_of(world: World, key: str) -> Stamp:
    stamp = world.store.stat(key)
    assert stamp is not None
    return stamp


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "local").write_bytes(b"content")
    return str(tmp_path / "local")


# every store


def test_what_is_not_there_is_none(any_world: World) -> None:
    key, nothing = any_world.key("x"), any_world.key("nothing")
    any_world.write(key, b"1")
    assert any_world.store.stat(nothing) is None
    assert any_world.store.fingerprint(nothing) is None
    assert any_world.store.stats([nothing]) == [None]
    assert any_world.store.stats([]) == []


def test_a_stamp_stays_until_something_is_written(any_world: World) -> None:
    key = any_world.key("x")
    any_world.write(key, b"1")
    before = stamp_of(any_world, key)
    assert stamp_of(any_world, key) == before
    any_world.write(key, b"2")
    assert stamp_of(any_world, key) != before


def test_stamps_fit_into_signed_words(any_world: World) -> None:
    key = any_world.key("x")
    any_world.write(key, b"content")
    stamp = stamp_of(any_world, key)
    assert stamp.size == 7
    assert all(0 <= number < 1 << 63 for number in stamp)


def test_a_fingerprint_tells_contents_apart_and_nothing_else(any_world: World) -> None:
    one, two = any_world.key("1"), any_world.key("2")
    any_world.write(one, b"content")
    any_world.write(two, b"content")
    first = any_world.store.fingerprint(one)
    assert first is not None
    assert len(first) == 32
    assert any_world.store.identity(stamp_of(any_world, one)) == first
    assert any_world.store.fingerprint(two) == first
    any_world.write(one, b"CONTENT")
    assert any_world.store.fingerprint(one) != first
    any_world.write(one, b"content")
    assert any_world.store.fingerprint(one) == first


def test_many_are_looked_at_in_the_order_of_the_question(any_world: World) -> None:
    keys = [any_world.key(f"d/{number:03d}") for number in range(20)]
    for key in keys[::2]:
        any_world.write(key, key.encode())
    asked = [keys[7], keys[2], keys[0], keys[2], keys[19]]
    found = any_world.store.stats(asked)
    assert [item and item.key for item in found] == [None, keys[2], keys[0], keys[2], None]
    assert [item.stamp for item in found if item] == [stamp_of(any_world, key) for key in (keys[2], keys[0], keys[2])]


@pytest.mark.parametrize("data", [b"", b"content", bytes(range(256)) * 20_000], ids=["empty", "small", "5 MB"])
def test_what_is_fetched_is_what_is_there(any_world: World, tmp_path: Path, data: bytes) -> None:
    key = any_world.key("x")
    any_world.write(key, data)
    (tmp_path / "fetched").write_bytes(b"a left-over that is longer than what will be there")
    any_world.store.fetch(key, stamp_of(any_world, key), str(tmp_path / "fetched"))
    assert (tmp_path / "fetched").read_bytes() == data


def test_what_was_replaced_or_removed_since_is_not_fetched(any_world: World, tmp_path: Path) -> None:
    key, other = any_world.key("x"), any_world.key("y")
    any_world.write(key, b"1")
    any_world.write(other, b"1")
    stamp = stamp_of(any_world, key)
    any_world.store.fetch(key, stamp, str(tmp_path / "fetched"))
    any_world.write(key, b"2")
    with pytest.raises(Changed):
        any_world.store.fetch(key, stamp, str(tmp_path / "fetched"))
    any_world.drop(key)
    with pytest.raises(Changed):
        any_world.store.fetch(key, stamp, str(tmp_path / "fetched"))


def test_where_nothing_can_be_written_is_told(any_world: World, tmp_path: Path) -> None:
    key = any_world.key("x")
    any_world.write(key, b"1")
    stamp = stamp_of(any_world, key)
    any_world.store.fetch(key, stamp, str(tmp_path / "fetched"))
    with pytest.raises(StoreError, match=r"cannot write .*no such file or directory"):
        any_world.store.fetch(key, stamp, str(tmp_path / "none" / "fetched"))


def test_many_are_fetched_at_once(any_world: World, tmp_path: Path) -> None:
    keys = [any_world.key(str(number)) for number in range(16)]
    for key in keys:
        any_world.write(key, key.encode() * 1000)
    stamps = [item.stamp for item in any_world.store.stats(keys) if item]
    paths = [tmp_path / str(number) for number in range(16)]

    def fetch(number: int) -> None:
        any_world.store.fetch(keys[number], stamps[number], str(paths[number]))

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in paths] == [key.encode() * 1000 for key in keys]


# stores that are written to


def test_what_is_published_is_there_with_stamp_and_marks(world: World, file: str) -> None:
    key = world.key("x")
    stamp = world.store.publish(file, key, None, MARKS)
    assert world.read(key) == b"content"
    (found,) = world.store.stats([key])
    assert found is not None
    assert found.stamp == stamp
    assert found.marks["duct-fingerprint"] == "f1"


def test_marks_do_not_outlive_their_content(world: World, file: str) -> None:
    key = world.key("x")
    world.store.publish(file, key, None, MARKS)
    world.write(key, b"other")
    (found,) = world.store.stats([key])
    assert found is not None
    assert found.marks == {}


def test_only_what_is_expected_is_replaced(world: World, file: str) -> None:
    key = world.key("x")
    world.write(key, b"1")
    first = stamp_of(world, key)
    with pytest.raises(ForeignWrite, match="expected no object, found generation"):
        world.store.publish(file, key, None, MARKS)
    world.write(key, b"2")
    with pytest.raises(ForeignWrite, match=f"expected generation {first.mtime_ns}, found generation"):
        world.store.publish(file, key, first, MARKS)
    assert world.read(key) == b"2"
    second = stamp_of(world, key)
    world.drop(key)
    with pytest.raises(ForeignWrite, match="found no object"):
        world.store.publish(file, key, second, MARKS)
    assert world.read(key) is None


def test_of_racing_publishers_one_wins(world: World, file: str) -> None:
    key = world.key("x")
    begin = threading.Barrier(8)
    ends: list[str] = []

    def publish() -> None:
        begin.wait()
        try:
            world.store.publish(file, key, None, MARKS)
        except ForeignWrite:
            ends.append("lost")
        else:
            ends.append("won")

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["lost"] * 7 + ["won"]


def test_a_copy_is_made_of_what_was_judged_and_over_what_was_expected(world: World) -> None:
    key, other = world.key("x"), world.key("y")
    world.write(key, b"content")
    stamp = stamp_of(world, key)
    made = world.store.copy(key, stamp, other, None, MARKS)
    assert made == world.store.stat(other)
    assert world.store.fingerprint(other) == world.store.fingerprint(key)
    with pytest.raises(ForeignWrite):
        world.store.copy(key, stamp, other, None, MARKS)
    world.write(key, b"new")
    with pytest.raises(Changed):
        world.store.copy(key, stamp, other, made, MARKS)
    assert world.read(other) == b"content"


def test_only_what_was_judged_is_removed(world: World) -> None:
    key = world.key("x")
    world.write(key, b"1")
    stamp = stamp_of(world, key)
    world.write(key, b"2")
    assert not world.store.remove(key, stamp)
    assert world.read(key) == b"2"
    stamp = stamp_of(world, key)
    assert world.store.remove(key, stamp)
    assert world.read(key) is None
    assert world.store.remove(key, stamp)


def test_a_listing_is_sorted_and_can_stay_in_one_folder(world: World) -> None:
    for name in ("d/b", "d/a", "d/sub/x", "d/", "da", "e"):
        world.write(world.key(name), b"1")

    def listed(prefix: str, deep: bool = True) -> list[str]:
        return [found.key.removeprefix(world.key("")) for found in world.store.matches(world.key(prefix), deep)]

    assert listed("d/") == ["d/a", "d/b", "d/sub/x"]
    assert listed("d/", deep=False) == ["d/a", "d/b"]
    assert listed("d") == ["d/a", "d/b", "d/sub/x", "da"]
    assert listed("d", deep=False) == ["da"]
    assert listed("nothing/") == []


@pytest.mark.parametrize("form", FORMS)
def test_a_name_is_a_name(world: World, file: str, tmp_path: Path, form: str) -> None:
    keys = [world.key(form.format(number)) for number in range(3)]
    stamp = world.store.publish(file, keys[0], None, MARKS)
    assert [item and item.key for item in world.store.stats(keys)] == [keys[0], None, None]
    assert [found.key for found in world.store.matches(keys[0])] == [keys[0]]
    world.store.fetch(keys[0], stamp, str(tmp_path / "fetched"))
    assert (tmp_path / "fetched").read_bytes() == b"content"
    copy = world.store.copy(keys[0], stamp, keys[1], None, MARKS)
    assert world.store.remove(keys[1], copy)
    assert world.read(keys[0]) == b"content"
