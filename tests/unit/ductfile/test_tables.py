"""One table of settings: the reader, the schema and the model agree on it."""

from __future__ import annotations

import os
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import tomli

from miniduct import ductfile
from miniduct.ductfile import tables
from miniduct.ductfile.drafts import CONVERTERS
from miniduct.model import Step

EXAMPLE = os.path.join(os.path.dirname(__file__), "..", "..", "..", "Ductfile.example")


def test_each_setting_of_a_step_has_a_converter() -> None:
    assert sorted(CONVERTERS) == sorted(tables.names(tables.STEP))


def test_each_setting_of_a_step_is_in_the_model() -> None:
    assert set(tables.names(tables.STEP)) - set(Step._fields) == {"python", "shell"}  # Call, a part of Run


def test_no_foreign_word_is_a_setting_or_means_two_things() -> None:
    for table, where in ((tables.FOREIGN, tables.STEP), (tables.FOREIGN_TOP, tables.TOP)):
        words = [word for listed in table.values() for word in listed.split()]
        assert len(words) == len(set(words))
        assert set(table) <= set(tables.names(where))
        assert not set(words) & set(tables.names(where))


def test_descriptions_are_sentences() -> None:
    for setting in tables.SETTINGS:
        assert setting.description.endswith(".")
        assert setting.takes
        assert setting.default


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(ductfile.schema())


def valid(document: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator(ductfile.schema()).is_valid(document))


def test_the_example_is_valid_by_the_schema() -> None:
    with open(EXAMPLE, "rb") as file:
        assert valid(tomli.load(file))


@pytest.mark.parametrize(
    "step",
    [
        {"cmd": "x"},
        {"run": ""},
        {"run": "x", "retries": -1},
        {"run": "x", "timeout": "soon"},
        {"run": "x", "check": "contents"},
        {"run": "x", "foreach": {"a": []}},
        {"run": "x", "inputs": [1]},
    ],
)
def test_what_the_reader_refuses_the_schema_refuses(step: dict[str, Any]) -> None:
    assert not valid({"step": {"a": step}})
