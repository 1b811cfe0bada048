"""The scanner's places against tomli's values: every value stands where the scanner says, and nothing is left out."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from miniduct.ductfile.places import Path, letters, scan

DOCUMENTS = {
    "plain": 'a = 1\nb = "x"\n',
    "header": "[step.clean]\nrun = 'x'\n[step.report]\nrun = 'y'\n",
    "dotted": "a.b.c = 1\na.b.d = 2\n[t]\nx . y = 3\n",
    "quoted": '"a b".\'c.d\' = 1\n["x y".z]\n\'\' = 2\n"\\u00e9\\"" = 3\n',
    "nested header": "[ a . b ]\nc = 1\n[a.b.d]\ne = 2\n[a]\nf = 3\n",
    "array": 'a = [1, "two", [3, 4], {x = 5}, ]\n',
    "array over lines": 'a = [ # ] one\n  "x", # "two"\n\n  # three\n  "y"\n  , "z", # four ]\n]\nb = 1\n',
    "inline tables": 'a = { b = "x", c.d = [1, {e = 2}], "f g" = {} }\nb = {}\n',
    "inline table over lines": 'a = {\n  b = "x", # }\n  c = 2,\n}\n',
    "array of tables": "[[a]]\nx = 1\n[[a]]\nx = 2\n[a.b]\ny = 3\n[[a.c]]\nz = 4\n[[a.c]]\nz = 5\n[d]\n",
    "dates": "a = 2026-01-01\nb = 2026-01-01 10:00:00Z # c\nc = 2026-01-01T10:00:00.5+01:00\nd = 10:00:00\ne=[2026-01-01 10:00:00,2026-01-02]\n",
    "numbers": "a = +1_000\nb = 0xff\nc = -1.5e-3\nd = inf\ne = nan\nf = true#x\ng=[1,2]\n",
    "strings": 'a = "q\\"#]"\nb = \'c:\\\'\nc = ""\nd = \'\'\ne = "\\\\"\n',
    "long strings": 'a = """\nx "quoted" \\\n   y \\"""\n"""\nb = \'\'\'\nit\'s\n# no comment\n\'\'\'\nc = """"x"""""\nd = \'\'\'\'\'y\'\'\'\'\'\n'
    "e = \"\"\"\"\"\"\nf = ''''''\ng = [ '''\n]''', \"\"\"],\"\"\" ]\n",
    "escapes": 'a = "\\t\\n\\u20ac\\U0001F600\\\\x"\n',
    "unicode": 'ключ = 1\n"größe" = "日本"\n'.replace("ключ", '"ключ"'),
    "comments": "# a = 1\n   # b\n[t] # c = 2\nx = 1 # y\n#",
    "no newline at the end": "a = 1",
    "blank lines and tabs": "\n\t\n\ta\t=\t1\t\n",
    "empty": "",
}


def check(text: str) -> None:
    """Every key and value of tomli has its place, and what stands there reads as that value."""
    places = scan(text)
    seen: list[Path] = []

    def compare(value: Any, path: Path) -> None:
        seen.append(path)
        if isinstance(path[-1], str):
            span = places.keys[path]
            written = text[span.start : span.end]
            assert (letters(written)[0] if written[0] in "\"'" else written) == path[-1]
        if path in places.values:
            span = places.values[path]
            assert repr(tomli.loads(f"x = {text[span.start : span.end]}")["x"]) == repr(value)
            if isinstance(value, str):
                assert letters(text[span.start : span.end])[0] == value
        else:
            assert isinstance(value, (dict, list))
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            compare(child, (*path, key))

    for key, value in tomli.loads(text).items():
        compare(value, (key,))
    assert set(places.values) <= set(seen)
    assert set(places.keys) <= set(seen)
    assert not places.twice


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_value_has_its_place(name: str) -> None:
    check(DOCUMENTS[name])


def test_documents_in_one_after_another_keep_their_places() -> None:
    check("".join(f"[t{n}]\n{text}\n" for n, text in enumerate(DOCUMENTS.values()) if "[" not in text))


# -- documents made at random ----------------------------------------------------------------------------------------------------------

LETTERS = st.text(st.sampled_from("ab \"'\\#,=[]{}.\n\té日"), max_size=8)
BARE = st.text(st.sampled_from("abc_-1"), min_size=1, max_size=3)
SPACE = st.sampled_from(["", " ", "\t ", "\n", " # ] } \" '\n", "\n\n  #\n"])


def basic(value: str) -> str:
    for char, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        value = value.replace(char, written)
    return f'"{value}"'


def long_(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"""', '""\\"').replace('"""', '""\\"')
    return f'"""\n{escaped}"""' if not escaped.endswith('"""') and '"""' not in escaped else basic(value)


def string(value: str) -> st.SearchStrategy[str]:
    forms = [basic(value), long_(value)]
    if "'" not in value:
        forms.append(f"'''\n{value}'''")
        if "\n" not in value:
            forms.append(f"'{value}'")
    return st.sampled_from(forms)


scalars = st.one_of(
    LETTERS.flatmap(string),
    st.sampled_from(["1", "-2.5", "true", "2026-01-01", "2026-01-01 10:00:00", "10:30:00", "0x1F", "inf"]),
)
keys = st.one_of(BARE, st.text(st.sampled_from("a .'é#=[]"), max_size=4).map(basic))


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(values, max_size=4))
    inside = ",".join(f"{draw(SPACE)}{item}{draw(SPACE)}" for item in items)
    comma = draw(st.sampled_from(["", ","])) if items else ""
    return f"[{inside}{comma}{draw(SPACE)}]"


@st.composite
def tables(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    names = draw(st.lists(keys, max_size=3, unique_by=lambda key: tomli.loads(f"{key} = 1").popitem()[0]))
    return "{ " + ", ".join(f"{name} = {draw(values)}" for name in names) + " }"


values = st.recursive(scalars, lambda inner: st.one_of(arrays(inner), tables(inner)), max_leaves=8)
lines = st.one_of(
    st.tuples(st.lists(keys, min_size=1, max_size=3), values).map(lambda pair: f"{' . '.join(pair[0])} = {pair[1]}"),
    st.lists(keys, min_size=1, max_size=3).map(lambda words: f"[{'.'.join(words)}]"),
    st.lists(keys, min_size=1, max_size=2).map(lambda words: f"[[ {'.'.join(words)} ]]"),
    st.just('# comment = [ "'),
    st.just("   "),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(lines, max_size=8).map("\n".join))
def test_places_agree_with_tomli(text: str) -> None:
    try:
        tomli.loads(text)
    except tomli.TOMLDecodeError:
        scan(text)  # must not fail either
        return
    check(text)


@given(st.text(st.sampled_from("ab=[]{}\"'\\#.,\n 1"), max_size=40))
def test_no_text_makes_the_scanner_fail(text: str) -> None:
    scan(text)


# -- what is built upon it -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "lines"),
    [
        ("a = 1\nb = 2\na = 3\n", ("a",), (1, 3)),
        ("[s.x]\na = 1\n[s.y]\n[s.x]\n", ("s", "x"), (1, 4)),
        ("a = { b = 1,\n b = 2 }\n", ("a", "b"), (1, 2)),
    ],
)
def test_a_key_that_is_there_twice_is_found_in_a_text_that_tomli_refuses(
    text: str, path: Path, lines: tuple[int, int]
) -> None:
    with pytest.raises(tomli.TOMLDecodeError):
        tomli.loads(text)
    places = scan(text)
    (twice,) = places.twice
    assert twice.path == path
    assert (places.line_of(twice.first.start), places.line_of(twice.second.start)) == lines


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a = 'x {y} z'", "{y}"),
        ('a = "\\t\\u20ac{y}"', "{y}"),
        ('a = """\none\n  two {y}\n"""', "{y}"),
        ('a = """one \\\n    {y}"""', "{y}"),
        ("a = '''\n'{y}'\n'''", "{y}"),
    ],
)
def test_letters_of_a_string_have_their_own_places(text: str, part: str) -> None:
    value = tomli.loads(text)["a"]
    at = value.index(part)
    span = scan(text).within(("a",), at, at + len(part))
    assert text[span.start : span.end] == part


def test_lines_are_counted_from_one() -> None:
    places = scan("a = 1\n\nb = 2")
    assert [places.line_of(offset) for offset in (0, 5, 6, 7, 11)] == [1, 1, 2, 3, 3]
    assert places.line(3) == (7, "b = 2")
    assert places.line(2) == (6, "")


def test_dates_of_the_documents_are_dates() -> None:
    assert tomli.loads(DOCUMENTS["dates"])["a"] == datetime.date(2026, 1, 1)
