"""How many requests it takes to look at many objects, counted without a server."""

from __future__ import annotations

import sys
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miniduct.stores.gcs import grouping
from miniduct.stores.gcs.grouping import RANGE, WORTH, Scan, folder, ranges

PAGE = 1000


class Bucket:
    """Sorted names that are there, listed in pages."""

    def __init__(self, names: list[str]) -> None:
        self.names = sorted(names)
        self.pages = 0

    def page(self, prefix: str, start: str, end: str) -> tuple[list[tuple[str, str]], bool]:
        self.pages += 1
        names = [
            name for name in self.names[bisect_left(self.names, start) :] if name < end and name.startswith(prefix)
        ]
        return [(name, name) for name in names[:PAGE]], len(names) > PAGE


def scan(bucket: Bucket, wanted: list[str]) -> Scan[str]:
    done: Scan[str] = Scan(bucket.page)
    for part in ranges(sorted(wanted)):
        done.look(part)
    there = set(bucket.names)
    for name in wanted:
        assert (name in done.found) == (name in there and name not in done.left)
    return done


def numbered(form: str, count: int) -> list[str]:
    return [form.format(number) for number in range(count)]


def test_a_full_folder_takes_a_request_a_page() -> None:
    names = numbered("clean/{:05d}.csv", 1000)
    bucket = Bucket(names)
    assert scan(bucket, names).left == []
    assert bucket.pages == 1


def test_ten_thousand_take_at_most_twelve() -> None:
    names = numbered("clean/{:05d}.csv", 10_000)
    bucket = Bucket(names)
    assert scan(bucket, names).left == []
    assert bucket.pages <= 12


def test_missing_objects_take_one_request() -> None:
    bucket = Bucket([])
    done = scan(bucket, numbered("clean/{:05d}.csv", 1000))
    assert (done.found, done.left, bucket.pages) == ({}, [], 1)


def test_one_object_in_each_of_many_folders_is_listed() -> None:
    names = numbered("day/{:05d}/out.csv", 1781)
    bucket = Bucket(names)
    assert scan(bucket, names).left == []
    assert bucket.pages == 2


def test_few_names_are_asked_for_singly() -> None:
    names = numbered("clean/{:05d}.csv", WORTH - 1)
    bucket = Bucket(names)
    assert scan(bucket, names).left == names
    assert bucket.pages == 0


def test_needles_in_a_haystack_are_asked_for_singly_after_a_few_pages() -> None:
    hay = numbered("log/{:06d}", 100_000)
    bucket = Bucket(hay)
    done = scan(bucket, hay[::500])
    assert bucket.pages <= 2
    assert len(done.left) >= 190


def test_full_folders_among_needles_are_still_listed() -> None:
    hay = numbered("a/{:06d}", 100_000)
    full = numbered("b/{:04d}", 1000)
    bucket = Bucket(hay + full)
    done = scan(bucket, hay[::1000] + full)
    assert len(done.left) <= 100
    assert set(full) <= done.found.keys()
    assert bucket.pages <= 6


def test_what_lies_between_two_folders_is_skipped() -> None:
    wanted = numbered("a/{:03d}", 100) + numbered("z/{:03d}", 100)
    bucket = Bucket(wanted + numbered("m/{:06d}", 50_000))
    done = scan(bucket, wanted)
    assert done.left == []
    assert bucket.pages <= 2


@pytest.mark.parametrize("count", [1, RANGE - 1, RANGE, 2 * RANGE, 3 * RANGE + 1, 100 * RANGE])
def test_ranges_keep_every_name_in_order(count: int) -> None:
    names = numbered("{:07d}", count)
    parts = ranges(names)
    assert [name for part in parts for name in part] == names
    assert len(parts) <= 8


@pytest.mark.parametrize(
    ("names", "within"),
    [
        (["a/b/c", "a/b/d"], "a/b/"),
        (["a/bc", "a/bd"], "a/"),
        (["a", "b"], ""),
        (["a/b/", "a/b/c"], "a/b/"),
        (["a/x"], "a/"),
    ],
)
def test_the_folder_is_the_longest_that_holds_all(names: list[str], within: str) -> None:
    assert folder(names) == within


names = st.lists(st.text("ab/é\U0001f600", min_size=1, max_size=6), max_size=60, unique=True)


@given(there=names, wanted=names, size=st.integers(1, 5), worth=st.integers(1, 4), barren=st.integers(1, 2))
@settings(max_examples=300, deadline=None)
def test_whatever_is_wanted_is_found_or_left_or_missing(
    there: list[str], wanted: list[str], size: int, worth: int, barren: int
) -> None:
    bucket = Bucket(there)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "WORTH", worth)
        patch.setattr(grouping, "BARREN", barren)
        patch.setattr(sys.modules[__name__], "PAGE", size)
        done = scan(bucket, sorted(wanted))
    assert set(done.left) <= set(wanted)
    assert len(done.left) == len(set(done.left))
    assert bucket.pages <= 8 * (len(wanted) + 1)
