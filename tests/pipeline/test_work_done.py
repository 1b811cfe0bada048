"""What a run of values costs, counted: what is known is not read again, what is as it was is not written again."""

from __future__ import annotations

import collections
import copyreg
import datetime
import enum
import os
import pathlib
import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest
from blake3 import blake3

from miniduct import PipelineBuilder, PythonStep
from miniduct.errors import StoreError
from miniduct.pipeline import values
from miniduct.stores import local
from miniduct.stores.values import ValueStore
from miniduct.trace.database import Traces


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose fingerprint was taken by reading them."""
    found: list[str] = []
    fingerprint = local.fingerprint

    def counting(path: str) -> bytes | None:
        found.append(path)
        return fingerprint(path)

    monkeypatch.setattr(local, "fingerprint", counting)
    return found


def one() -> int:
    return 1


def plus_one(number: int) -> int:
    return number + 1


def chain(**settings: Any) -> PipelineBuilder:
    first, second = PythonStep(one, **settings), PythonStep(plus_one, **settings)
    first >> second
    builder = PipelineBuilder("demo")
    builder.add_steps(first, second)
    return builder


@pytest.mark.parametrize("settings", [{}, {"timeout": 60}], ids=["plain", "with a timeout"])
def test_the_fingerprint_of_a_value_is_taken_while_it_is_written(read: list[str], settings: dict[str, Any]) -> None:
    chain(**settings).execute()
    assert read == []
    results = chain(**settings).execute()
    assert read == []
    assert [each.status for each in results.values()] == ["up to date"] * 2
    assert results["plus_one"].value == 2


SMALL = [None, "text", bytes(65_000)]
LARGE = [bytes(66_000), bytes(5_000_000), [bytes(70_000)] * 3, list(range(300_000))]


@pytest.mark.parametrize("value", [*SMALL, *LARGE])
def test_it_is_that_of_the_file(value: Any) -> None:
    assert values.write("value", value, to_file=True) == (local.fingerprint("value"), None)
    assert values.read("value") == value


@pytest.mark.parametrize("value", LARGE)
def test_a_large_value_is_written_to_its_file(value: Any) -> None:
    assert values.write("value", value) == (local.fingerprint("value"), None)
    assert values.read("value") == value


@pytest.mark.parametrize("value", SMALL)
def test_a_small_value_needs_no_file(value: Any) -> None:
    found = values.write("value", value)
    assert os.listdir() == []
    assert found.content is not None
    assert found.fingerprint == blake3(found.content).digest()
    assert values.read("value", content=found.content) == value


LITTLE = [
    0,
    -1,
    True,
    2.5,
    1 << 9_000,
    "\udcff",
    b"",
    (),
    [],
    {},
    (1, "a", "a"),
    [[1], [1]],
    {"a": 1, 2: None},
    {"b": [1]},
]
SIZES = [*range(32_700, 32_800, 9), *range(65_400, 65_600, 9)]


@pytest.mark.parametrize("value", [*LITTLE, [1] * 100, [1] * 101, ["é" * 400] * 99, [b"b" * 700] * 99])
def test_what_is_plain_is_pickled_as_all_else(value: Any) -> None:
    assert _content(value) == _content_as_all_else(value)
    back = values.read("value", content=_content(value))
    assert (back, type(back)) == (value, type(value))


@pytest.mark.parametrize("letter", ["a", "é"])
def test_what_is_plain_is_pickled_as_all_else_whatever_its_size(letter: str) -> None:
    for size in SIZES:
        for value in (letter * size, [letter * (size // 2)] * 2, (letter * size).encode()):
            assert _content(value) == _content_as_all_else(value)


def _content(value: Any) -> bytes | None:
    found = values.write("value", value)
    assert found.content is None or found.fingerprint == blake3(found.content).digest()
    return found.content


def _content_as_all_else(value: Any) -> bytes | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values, "_is_plain", lambda _: False)
        return _content(value)


class Kind(enum.Enum):
    ONE = 1


class Text(str):
    __slots__ = ()


NAMING = [
    one,
    Kind,
    Kind.ONE,
    Text("a"),
    len,
    int,
    type(None),
    1j,
    pathlib.Path("a"),
    datetime.date(2026, 1, 5),
    collections.OrderedDict(),
]


@pytest.mark.parametrize("value", [each for held in NAMING for each in (held, [held], (1, held), {"a": held})])
def test_what_names_classes_or_functions_is_not_plain(value: Any) -> None:
    assert not values._is_plain(value)
    content = values.write("value", value).content
    assert content is not None
    assert values._may_name(content[: -values.DIGEST])


@pytest.mark.parametrize("number", [1, 0x80, 0xFFFF, 0x10000])
def test_a_class_of_a_number_of_its_own_is_found_as_one_that_is_named(number: int) -> None:
    copyreg.add_extension(Kind.__module__, Kind.__qualname__, number)
    try:
        content = values.write("value", Kind.ONE).content
        assert content is not None
        assert values._may_name(content[: -values.DIGEST])
        assert values.read("value", content=content) is Kind.ONE
    finally:
        copyreg.remove_extension(Kind.__module__, Kind.__qualname__, number)


def test_it_is_that_of_the_file_of_a_value_that_is_only_held() -> None:
    held: dict[str, Any] = {}
    assert values.write("value", lambda: 1, held, to_file=True).fingerprint == local.fingerprint("value")
    assert values.read("value", held)() == 1


def test_small_values_lie_in_one_file() -> None:
    alike(1).execute()
    assert os.listdir(".duct/values/alike") == [".pack"]


def test_where_nothing_is_to_be_done_no_value_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    chain().execute()
    monkeypatch.setattr(ValueStore, "_open", lambda _: pytest.fail("the pack was opened"))
    assert {each.status for each in chain().execute().values()} == {"up to date"}


def test_where_nothing_is_to_be_done_nothing_is_written() -> None:
    chain().execute()
    before = {path: os.stat(path).st_mtime_ns for path in _files(".duct")}
    chain().execute()
    assert {path: os.stat(path).st_mtime_ns for path in _files(".duct")} == before


def test_what_differs_between_two_definitions_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    definition = Traces.definition

    def counting(traces: Traces, digest: bytes) -> str | None:
        asked.append(digest)
        return definition(traces, digest)

    monkeypatch.setattr(Traces, "definition", counting)
    alike(1).execute()
    assert {each.reason for each in alike(2).execute().values()} == {"function number closure found changed"}
    assert len(asked) == 1


def alike(found: int, size: int = 0) -> PipelineBuilder:
    """Five steps of one function; with a size their values are lists."""

    def number() -> int | list[int]:
        return [found] * size if size else found

    builder = PipelineBuilder("alike")
    builder.add_steps(*(PythonStep(number, name=f"s{at}") for at in range(5)))
    return builder


def test_a_value_is_not_renamed_over_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file renamed over another, ext4 begins to write the content at once."""
    alike(1, 40_000).execute()
    there: list[bool] = []
    rename = os.rename

    def noting(source: str, place: str) -> None:
        if place.startswith(".duct/values/"):
            there.append(os.path.lexists(place))
        rename(source, place)

    monkeypatch.setattr(os, "rename", noting)
    results = alike(2, 40_000).execute()
    assert there == [False] * 5
    assert [each.value for each in results.values()] == [[2] * 40_000] * 5


def test_a_value_is_read_while_it_is_being_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    values.write("new", 1, to_file=True)
    monkeypatch.setattr(time, "sleep", lambda _: os.rename("new", "value"))
    assert values.read("value") == 1


def test_a_value_that_is_not_there_is_an_error() -> None:
    with pytest.raises(StoreError, match='cannot read the value in "value": No such file or directory'):
        values.read("value")


def test_a_kill_before_the_rename_of_a_value_loses_nothing() -> None:
    program = """
        import os, sys
        from miniduct import PipelineBuilder, PythonStep

        found = int(sys.argv[1])
        rename = os.rename

        def killed(source, place):
            if place.startswith(".duct/values/"):
                os._exit(9)
            rename(source, place)

        if sys.argv[2] == "killed":
            os.rename = killed
        builder = PipelineBuilder("demo")
        builder.add_step(PythonStep(lambda: [found] * 40_000, name="one"))
        result = builder.execute()["one"]
        print(result.status, result.value[0])
        """
    with open("program.py", "w", encoding="ascii") as file:
        file.write(textwrap.dedent(program))
    runs = [
        subprocess.run([sys.executable, "program.py", *words], check=False, capture_output=True, text=True)
        for words in (
            ("1", "whole"),
            ("2", "killed"),
            ("2", "whole"),
        )
    ]
    assert [(each.returncode, each.stdout) for each in runs] == [(0, "done 1\n"), (9, ""), (0, "up to date 2\n")]


def _files(folder: str) -> list[str]:
    return [
        os.path.join(at, name) for at, _, names in os.walk(folder) for name in names if name not in ("lock", "journal")
    ]
