"""The state folder under damage and change: what is disposable costs time at most, never a right answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Sandbox

COPY = """
[step.a]
inputs = "raw/{n}"
targets = "out/{n}"
run = '''printf 'a %s\\0' {n} >> "$RUNS"; cp {input} {target}'''
"""


@pytest.fixture
def built(box: Sandbox) -> Sandbox:
    for n in range(5):
        box.write(f"raw/{n}", f"{n}\n")
    box.ductfile(COPY)
    box.build()
    box.ran()
    return box


@pytest.mark.parametrize("part", range(10))
def test_damaged_snapshot_is_no_snapshot(built: Sandbox, part: int) -> None:
    path = built.path(".duct/snapshot")
    with open(path, "rb") as source:
        data = bytearray(source.read())
    start = 150 + (len(data) - 150) * part // 10
    for at in range(start, min(start + 40, len(data))):
        data[at] ^= 0xFF
    with open(path, "wb") as sink:
        sink.write(data)
    built.write("raw/1", "new\n")
    built.build()
    assert built.ran() == ["a 1"]
    built.nothing_to_do()


def test_lowered_max_age_is_heeded_at_once(box: Sandbox) -> None:
    text = "[step.a]\ntargets = 'x'\nmax_age = '1h'\nrun = '''printf 'a\\0' >> \"$RUNS\"; echo > {target}'''\n"
    box.ductfile(text)
    box.build()
    assert box.ran() == ["a"]
    box.ductfile(text.replace("1h", "0.2s"))
    time.sleep(0.3)
    box.build()
    assert box.ran() == ["a"]
    box.ductfile(text.replace("1h", "2h"))
    box.build()
    assert box.ran() == []


def test_coarse_times_are_doubted_through_a_second_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole-second file system: the edit comes in the second of the hashing, and keeps the stamp."""
    from miniduct.contents import Columns, Contents
    from miniduct.stores.memory import MemoryStore

    store = MemoryStore()
    store.now_ns = 5_000_000_000
    store.write("x", b"one")
    monkeypatch.setattr(time, "time_ns", lambda: 5_000_000_100)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    first = Contents(["x"], store, Columns.blank(1), None)
    assert first.fingerprint(0) is not None
    second = Contents(["new", "x"], store, first.columns.carried([-1, 0]), [0])
    second.take_over(first, {"new": 0, "x": 1}.get)
    second.settle_all()
    assert second.columns.sizes[1] == -2, "never seen: the next build hashes it"
