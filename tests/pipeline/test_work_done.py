"""What a run of values costs, counted: what is known is not read again, what is as it was is not written again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import PipelineBuilder, PythonStep
from miniduct.pipeline import values
from miniduct.stores import local

if TYPE_CHECKING:
    import pathlib


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


@pytest.mark.parametrize("value", [None, "text", bytes(5_000_000), [bytes(70_000)] * 3, list(range(300_000))])
def test_it_is_that_of_the_file(value: Any) -> None:
    assert values.write("value", value) == local.fingerprint("value")
    assert values.read("value") == value


def test_it_is_that_of_the_file_of_a_value_that_is_only_held() -> None:
    held: dict[str, Any] = {}
    assert values.write("value", lambda: 1, held) == local.fingerprint("value")
    assert values.read("value", held)() == 1


def test_where_nothing_is_to_be_done_nothing_is_written() -> None:
    chain().execute()
    before = {path: os.stat(path).st_mtime_ns for path in _files(".duct")}
    chain().execute()
    assert {path: os.stat(path).st_mtime_ns for path in _files(".duct")} == before


def _files(folder: str) -> list[str]:
    return [
        os.path.join(at, name) for at, _, names in os.walk(folder) for name in names if name not in ("lock", "journal")
    ]
