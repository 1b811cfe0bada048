"""The wording that all messages share."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniduct.text import count, duration, escaped, nearest, shown, size


@pytest.mark.parametrize(
    ("name", "names", "found"),
    [
        ("input", ["inputs", "targets", "run"], ["inputs"]),
        ("inptus", ["inputs", "targets"], ["inputs"]),
        ("Inputs", ["inputs"], ["inputs"]),
        ("x", ["run", "cwd"], []),
        ("data/region.csv", ["data/regions.csv", "data/orders.csv"], ["data/regions.csv"]),
        ("data/orders.csv", ["elsewhere/deep/orders.csv", "data/x"], ["elsewhere/deep/orders.csv"]),
        ("clean", ["clean"], []),
        ("cle", [], []),
        ("", ["a"], ["a"]),
    ],
)
def test_nearest_finds_what_was_meant(name: str, names: list[str], found: list[str]) -> None:
    assert nearest(name, names) == found


def test_nearest_is_in_order_of_distance_then_name() -> None:
    assert nearest("step", ["steps", "stop", "stew", "far away"], most=3) == ["stew", "stop", "steps"]


def test_nearest_of_many_is_quick() -> None:
    names = [f"raw/2026/{n:06d}.csv" for n in range(100_000)]
    began = time.process_time()
    assert nearest("raw/2026/12345.csv", names) == ["raw/2026/012345.csv"]
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("data/a.csv", "data/a.csv"),
        ("größe/日本.csv", "größe/日本.csv"),
        ("a b.csv", '"a b.csv"'),
        ("", '""'),
        ('say "hi"', '"say \\"hi\\""'),
        ("a\nb", '"a\\nb"'),
        ("\x1b[31mred", '"\\x1b[31mred"'),
        ("caf\udce9", '"caf\\xe9"'),
        ("left\u202eright", '"left\\u202eright"'),
        ("back\\slash", "back\\slash"),
    ],
)
def test_keys_are_shown_on_one_harmless_line(key: str, text: str) -> None:
    assert shown(key) == text


@given(st.text(st.characters(codec=None)))
def test_whatever_is_shown_is_printable(key: str) -> None:
    assert shown(key).isprintable()
    assert escaped(key).isprintable()


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "job", "0 jobs"),
        (1, "job", "1 job"),
        (1781, "job", "1,781 jobs"),
        (2, "match", "2 matches"),
        (3, "entry", "3 entries"),
        (3, "key", "3 keys"),
    ],
)
def test_counts(number: int, noun: str, text: str) -> None:
    assert count(number, noun) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.31, "0.3 s"),
        (9.96, "10 s"),
        (41.2, "41 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (3599.8, "1 h 00 min"),
        (200_000, "2 d 08 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (3_100_000, "3.1 MB"),
        (41_000_000_000, "41 GB"),
        (999_999, "1.0 MB"),
        (1000, "1.0 kB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text
