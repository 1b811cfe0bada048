"""Placeholders are found where they are meant, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniduct.template import Placeholder, parse, unparse


def bare(text: str, *, is_key: bool = False) -> list[object]:
    """The parts, a placeholder without its place."""
    parts = parse(text, is_key=is_key).parts
    return [part if isinstance(part, str) else part._replace(start=0, end=0) for part in parts]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("plain", ["plain"]),
        ("{input}", [Placeholder("input")]),
        ("cp {input} {target}", ["cp ", Placeholder("input"), " ", Placeholder("target")]),
        ("{inputs.days}", [Placeholder("inputs", part="days")]),
        ("{inputs[12]}", [Placeholder("inputs", item=12)]),
        ("{params.top-n}", [Placeholder("params", part="top-n")]),
        ("{a}{b}", [Placeholder("a"), Placeholder("b")]),
        ("{größe}", [Placeholder("größe")]),
        ("{{{x}}}", ["{", Placeholder("x"), "}"]),
    ],
)
def test_placeholders_are_plain_names_in_braces(text: str, parts: list[object]) -> None:
    assert bare(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "${HOME}",
        "${x:-${y}}",
        "${x:-{}}",
        "$${name}",
        "awk '{print $1}'",
        "awk '{if ($1) {print $2}}'",
        "{a,b}",
        "{a..z}",
        "{1..5}",
        "{}",
        "{ x }",
        "{x:>3}",
        "{x.}",
        "{x[]}",
        "{x[a]}",
        "{x",
        "x}",
        "}}",
        "{path**}",
        '{"a":{"b":1}}',
        "f() { g; }",
    ],
)
def test_other_braces_stay_as_they_are(text: str) -> None:
    assert bare(text) == [text]


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("{{name}}", "{name}"),
        ("{{}}", "{}"),
        ("{{", "{"),
        ("{{a {b,c} d}}", "{a {b,c} d}"),
        ("{{{{x}}}}", "{{x}}"),
        ("${{HOME}}", "${HOME}"),
        ("{{x}", "{x}"),
    ],
)
def test_doubled_braces_are_literal(text: str, literal: str) -> None:
    assert parse(text, is_key=False).literal == literal


def test_two_stars_are_for_keys() -> None:
    assert bare("in/{path**}.csv", is_key=True) == ["in/", Placeholder("path", deep=True), ".csv"]
    assert bare("in/{path**}.csv") == ["in/{path**}.csv"]


def test_places_are_offsets_in_the_text() -> None:
    (placeholder,) = parse("cp {{x}} {input} y", is_key=False).placeholders
    assert (placeholder.start, placeholder.end) == (9, 16)


texts = st.text(st.sampled_from("{}{}$ab/*[0].\n"), min_size=1)
PLAIN = Placeholder("")
names = st.builds(
    lambda name, deep: PLAIN._replace(name=name, deep=deep), st.sampled_from(["a", "day", "x_1"]), st.booleans()
)


@given(st.lists(st.one_of(texts, names)))
def test_unparse_is_the_inverse_of_parse(parts: list[str | Placeholder]) -> None:
    merged: list[str | Placeholder] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    try:
        text = unparse(merged)
    except ValueError:
        assert any(isinstance(part, str) and part.endswith("$") for part in merged)
        return
    assert bare(text, is_key=True) == merged


@given(st.text(st.sampled_from("{}$ab.[]0*")), st.booleans())
def test_every_text_can_be_parsed_and_written_again(text: str, is_key: bool) -> None:
    parts = parse(text, is_key=is_key).parts
    try:
        again = unparse(parts)
    except ValueError:
        return
    assert bare(again, is_key=True) == [p if isinstance(p, str) else p._replace(start=0, end=0) for p in parts]
