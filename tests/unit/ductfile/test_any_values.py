"""Whatever stands in a Ductfile: it is read, or its mistakes are told on lines that exist; it is never a bug of duct."""

from __future__ import annotations

import datetime
import json
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miniduct import ductfile
from miniduct.ductfile import tables
from miniduct.errors import DuctfileError

if TYPE_CHECKING:
    from pathlib import Path

PIECES = [
    *(
        "{day}",
        "{x}",
        "{v}",
        "{input}",
        "{inputs}",
        "{target}",
        "{inputs[1]}",
        "{inputs.a}",
        "{params.a}",
        "{params}",
        "{path**}",
    ),
    *(
        "{manifest}",
        "{{",
        "}}",
        "{",
        "}",
        "$",
        "${X}",
        "*",
        "**",
        "?",
        "[a]",
        "/",
        "..",
        ".",
        "./",
        "../",
        "~/",
        "a",
        "b.csv",
        " ",
        "'",
        '"',
        "`",
    ),
    *(
        "\\",
        "\n",
        "\0",
        "\x1b",
        "é",
        "日",
        "#",
        "<<E\n",
        "E\n",
        "step:a",
        "step:",
        "gs://",
        "tag:",
        "today",
        "2026-01-01",
        "1h",
        "90",
        "=",
        ";",
    ),
]
texts = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
scalars = st.one_of(
    texts,
    st.integers(-3, 400),
    st.booleans(),
    st.floats(),
    st.dates(datetime.date(2025, 12, 1), datetime.date(2026, 2, 1)),
    st.times(),
)
names = st.sampled_from(["a", "b", "day", "x", "v", "from", "to", "step", "A", "input", "a b", "é", ""])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "inputs": st.one_of(texts, st.lists(texts, max_size=3), st.dictionaries(names, texts, max_size=3)),
    "targets": st.one_of(texts, st.lists(texts, max_size=3)),
    "run": st.one_of(texts, st.lists(texts, max_size=4)),
    "foreach": st.dictionaries(names, st.lists(texts, max_size=3), max_size=2),
    "where": st.dictionaries(names, texts, max_size=2),
    "params": st.dictionaries(names, values, max_size=2),
    "env": st.dictionaries(names, texts, max_size=2),
    "after": texts,
    "cwd": texts,
    "shell": texts,
}
settings_of_step = st.lists(
    st.sampled_from([*tables.names(tables.STEP), *tables.LATER, "cmd", "inptus", "zzz"]), max_size=6, unique=True
)


@st.composite
def tables_of(draw: st.DrawFn, known: st.SearchStrategy[list[str]]) -> dict[str, Any]:
    chosen = draw(known)
    return {name: draw(st.one_of(FITTING.get(name, values), FITTING.get(name, values), values)) for name in chosen}


documents = st.fixed_dictionaries(
    {"step": st.dictionaries(st.sampled_from(["a", "b", "c d"]), tables_of(settings_of_step), max_size=3)},
    optional={
        "vars": st.dictionaries(names, texts, max_size=3),
        "defaults": tables_of(settings_of_step),
        "pools": st.dictionaries(names, values, max_size=2),
        "default": st.one_of(texts, st.lists(texts, max_size=2)),
        "include": texts.filter(lambda text: "\0" not in text),
        "zzz": values,
    },
)


def toml(value: Any) -> str:
    """The value as TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if any(sign in repr(value) for sign in ".ein") else f"{value!r}.0"
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else str(value)


@settings(max_examples=150, deadline=None)
@given(documents)
def test_any_values_are_read_or_told(document: dict[str, Any]) -> None:
    lines = ["# a comment"]
    lines += [f"{json.dumps(name)} = {toml(value)}" for name, value in document.items() if name != "step"]
    for name, table in document["step"].items():
        lines += [f"[step.{json.dumps(name)}]", *(f"{json.dumps(key)} = {toml(value)}" for key, value in table.items())]
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/Ductfile", "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        try:
            project = ductfile.read(
                f"{folder}/Ductfile", sets={}, environ={}, today=datetime.date(2026, 1, 5), shown_as="Ductfile"
            )
        except DuctfileError as error:
            for mistake in error.mistakes:
                assert 1 <= mistake.line <= len(lines)
                assert mistake.column - 1 + mistake.width <= max(1, len(lines[mistake.line - 1]) + 1)
                assert all(line.isprintable() for line in str(mistake).split("\n"))
        else:
            assert project.steps


def test_include_that_no_file_can_be_named_by_is_a_mistake(tmp_path: Path) -> None:
    """Found by the test above: a NUL that comes by way of a var."""
    path = tmp_path / "Ductfile"
    path.write_text('include = "{day}/Ductfile"\n[vars]\nday = "\\u0000"\n')
    with pytest.raises(DuctfileError, match="no file can have this name") as caught:
        ductfile.read(str(path), sets={}, environ={}, today=datetime.date(2026, 1, 5), shown_as="Ductfile")
    assert caught.value.mistakes[0].line == 1
