"""Key patterns: what they match, what they give, and that names are data."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniduct.plan.patterns import bound_texts, escape, glob, is_glob, key_pattern


def values(text: str, key: str, **where: str) -> dict[str, str] | None:
    pattern = key_pattern(text, where)
    found = pattern.match([key])
    return dict(zip(pattern.names, found[0][1:])) if found else None


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("raw/{day}.csv", "raw/20260101.csv", {"day": "20260101"}),
        ("raw/{day}.csv", "raw/.csv", None),
        ("raw/{day}.csv", "raw/a/b.csv", None),
        ("raw/{day}.csv", "raw/.hidden.csv", None),
        ("raw/.{day}.csv", "raw/.hidden.csv", {"day": "hidden"}),
        ("raw/{day}.csv", "raw/a\nb.csv", {"day": "a\nb"}),
        ("raw/{day}.csv", "raw/a.csv\n", None),
        ("raw/{path**}.csv", "raw/a/b/c.csv", {"path": "a/b/c"}),
        ("raw/{path**}.csv", "raw/a/.b/c.csv", None),
        ("raw/{path**}.csv", "raw/c.csv", {"path": "c"}),
        ("{a}/{a}.csv", "x/x.csv", {"a": "x"}),
        ("{a}/{a}.csv", "x/y.csv", None),
        ("raw/{a}-*.csv", "raw/1-2.csv", {"a": "1"}),
        ("d/{n}/", "d/x/", {"n": "x"}),
        ("a+b/{n}", "a+b/x", {"n": "x"}),
        ("a+b/{n}", "aab/x", None),
    ],
)
def test_wildcard_takes_a_part_of_one_name(text: str, key: str, expected: dict[str, str] | None) -> None:
    assert values(text, key) == expected


def test_where_restricts_the_whole_value() -> None:
    assert values("raw/{day}.csv", "raw/123.csv", day=r"\d{2}") is None
    assert values("raw/{day}.csv", "raw/12.csv", day=r"\d{2}") == {"day": "12"}


def test_where_splits_two_wildcards_side_by_side() -> None:
    found = values("clean/{month}{day}.csv", "clean/20260131.csv", month=r"\d{6}", day=r"\d{2}")
    assert found == {"month": "202601", "day": "31"}


@pytest.mark.parametrize(
    ("where", "key", "expected"),
    [
        ({"a": ".*", "b": "[0-9]+"}, "x12", {"a": "x1", "b": "2"}),
        ({"a": "[a-z]*", "b": ".*"}, "12", None),  # no value is empty
        ({"a": "^[a-z]+$", "b": "[0-9]+"}, "ab12", {"a": "ab", "b": "12"}),
        ({"a": "(?i)[A-Z]+", "b": "[0-9]+"}, "ab12", {"a": "ab", "b": "12"}),
        ({"a": r"(.)\1", "b": "[0-9]+"}, "xx1", {"a": "xx", "b": "1"}),
        ({"a": "x|xx", "b": "x+"}, "xxx", {"a": "x", "b": "xx"}),
    ],
)
def test_where_stands_inside_a_larger_expression(
    where: dict[str, str], key: str, expected: dict[str, str] | None
) -> None:
    assert values("{a}{b}", key, **where) == expected


def test_where_never_reaches_beyond_its_name() -> None:
    assert values("{a}{b}/x", "a1/b2/x", a=".*", b="[0-9]") is None


@pytest.mark.parametrize(
    ("text", "matching", "other"),
    [
        ("*.csv", ["a.csv"], ["a/b.csv", ".a.csv", "a.csv.gz"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "a/.b", "a/b/.c/d"]),
        ("a/**/x", ["a/x", "a/b/x", "a/b/c/x"], ["a/bx", "a/.b/x"]),
        ("**/x", ["x", "a/x"], ["ax"]),
        ("a**b", ["ab", "axb"], ["a/b"]),
        ("?.csv", ["a.csv", "\n.csv"], [".csv", "..csv", "ab.csv"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[!a-c]x", ["dx"], ["ax", ".x", "/x"]),
        ("[]]x", ["]x"], ["[x"]),
        ("[x", ["[x"], ["x"]),
        ("a[*]b", ["a*b"], ["aab"]),
        ("{}", ["{}"], ["x"]),
        ("{{a}}", ["{a}"], ["x"]),
    ],
)
def test_glob_matches_as_a_shell_would(text: str, matching: list[str], other: list[str]) -> None:
    pattern = key_pattern(text)
    assert [key for key in [*matching, *other] if pattern.matches(key)] == matching


@given(st.text("ab.[]!-*?^", max_size=8), st.text("ab.[]!-*?^", min_size=1, max_size=6))
def test_glob_of_one_name_agrees_with_fnmatch(text: str, name: str) -> None:
    if "**" in text or "[^" in text or name.startswith(".") or re.search(r"\[[^]]*[]!^-]", text):
        return  # what fnmatch sees differently, or with less care
    assert glob(text).matches(name) == fnmatch.fnmatchcase(name, text)


NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=5)


@given(NAMES, NAMES)
def test_any_name_that_is_a_value_is_found_again(name: str, other: str) -> None:
    pattern = key_pattern("a/{x}.{y}")
    if "." in name + other:
        return
    assert pattern.match([pattern.text({"x": name, "y": other})]) == [(f"a/{name}.{other}", name, other)]


@given(NAMES)
def test_escaped_text_matches_only_itself(name: str) -> None:
    pattern = key_pattern("out/{x}/*", target=True)
    text = pattern.text({"x": name})
    assert glob(text).matches(f"out/{name}/part")
    assert not glob(text).matches(f"out/{name}x/part")
    assert glob(escape(name)).matches(name)


def test_braces_and_signs_in_values_are_data() -> None:
    columns = {"x": ["{y}", "a*", "b"]}
    assert bound_texts(key_pattern("o/{x}", target=True), columns, 3) == ["o/{y}", "o/a*", "o/b"]
    assert bound_texts(key_pattern("o/{x}/*", target=True), columns, 3) == ["o/{y}/*", "o/a[*]/*", "o/b/*"]


def test_value_with_slashes_gives_a_normal_key() -> None:
    assert bound_texts(key_pattern("o/{x}.csv"), {"x": ["../a", "./b", "c//d"]}, 3) == ["a.csv", "o/b.csv", "o/c/d.csv"]


def test_target_without_star_is_no_glob() -> None:
    assert key_pattern("out/a[1]?.csv", target=True).literal == "out/a[1]?.csv"
    assert key_pattern("out/a[1]*.csv", target=True).globs
    assert not is_glob("out/[x")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("raw/{x}.csv", "out/{x}.csv", False),
        ("raw/{x}.csv", "raw/*.csv", True),
        ("raw/{x}.csv", "raw/*.json", False),
        ("raw/{x}.csv", "raw/a/{x}.csv", False),
        ("raw/{x**}.csv", "raw/a/{x}.csv", True),
        ("raw/**", "raw/a/b/c", True),
        ("{x}/a.csv", "raw/{y}", True),
        ("a/{x}", "a/b", True),
        ("a/{x}", "a/b/", False),
    ],
)
def test_meets_tells_whether_one_key_may_match_both(one: str, other: str, expected: bool) -> None:
    assert key_pattern(one).meets(key_pattern(other)) is expected
    assert key_pattern(other).meets(key_pattern(one)) is expected


PIECES = st.lists(
    st.sampled_from(["a", "b", "/", ".", "-", "{x}", "{y}", "*", "?", "{z**}", "**"]), min_size=1, max_size=6
).map("".join)


@given(PIECES, PIECES, st.lists(st.sampled_from(["a", "b", "/", ".", "-"]), min_size=1, max_size=6).map("".join))
def test_meets_is_never_false_for_patterns_that_a_key_matches(one: str, other: str, key: str) -> None:
    first, second = key_pattern(one), key_pattern(other)
    if first.matches(key) and second.matches(key):
        assert first.meets(second)


def test_folder_is_the_literal_part_above_all_matches() -> None:
    assert key_pattern("raw/2026/{x}.csv").folder == "raw/2026"
    assert key_pattern("{x}.csv").folder == ""
    assert key_pattern("/data/{x}").folder == "/data"
    assert key_pattern("/{x}").folder == "/"
    assert key_pattern("../{x}/y").folder == ".."
