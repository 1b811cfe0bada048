"""What of a step counts, and how differences are told."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from miniduct.model import Body, Call, Run, Step
from miniduct.plan.definition import (
    command_digest,
    definition,
    definition_digest,
    definitions,
    differences,
    object_digest,
)
from support_plan import step

BASE = step("a")._replace(run=Run("python a.py {input} --to {day}"), env=("HOME",), params={"n": 1})
ENVIRON = {"HOME": "/home/u", "OTHER": "x"}
VARS = {"day": "1", "unused": "2"}


def text(changed: Step = BASE, environ: dict[str, str] | None = None, given: dict[str, str] | None = None) -> str:
    return definition(changed, environ or ENVIRON, given or VARS)


@pytest.mark.parametrize(
    "change",
    [
        {"description": "d"},
        {"tags": ("t",)},
        {"retries": 3},
        {"timeout": 5.0},
        {"pool": "p"},
        {"secrets": ("TOKEN",)},
        {"run": Run("python   a.py {input} \\\n  --to {day}  # why\n")},
    ],
)
def test_what_cannot_change_the_effect_does_not_count(change: dict[str, Any]) -> None:
    assert text(BASE._replace(**change)) == text()


CALL = step("a")._replace(run=None, call=Call("job", "f"), code=(("job", "1"), ("helper", "2")), params={"n": 1})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"code": (("job", "9"), ("helper", "2"))}, [("code", "job", "1", "9")]),
        ({"code": (("job", "1"),)}, [("code", "helper", "2", None)]),
        ({"code": (*CALL.code, ("more", "3"))}, [("code", "more", None, "3")]),
        ({"call": Call("job", "g")}, [("command", None, "job:f", "job:g")]),
        ({"params": {"n": 2}}, [("params", "n", "1", "2")]),
    ],
)
def test_code_counts_and_is_told_by_module(change: dict[str, Any], told: list[object]) -> None:
    assert differences(text(CALL), text(CALL._replace(**change))) == told


def test_code_is_a_part_of_the_digest_of_a_call() -> None:
    changed = text(CALL._replace(code=(("job", "9"),)))
    assert command_digest(["x"], changed) != command_digest(["x"], text(CALL))


def test_what_a_function_is_given_beforehand_does_not_count_twice() -> None:
    assert text(CALL._replace(call=Call("job", "f", "etl", ("input",)))) == text(CALL)


def test_a_command_says_nothing_of_code() -> None:
    """So that what was recorded before there were functions still holds."""
    assert "code" not in text()
    assert "call" not in text()


def test_from_command_to_function_is_one_difference() -> None:
    told = differences(text(BASE._replace(params={"n": 1}, env=())), text(CALL))
    assert [kind for kind, *_ in told] == ["command"]


@pytest.mark.parametrize(
    ("change", "kind", "key"),
    [
        ({"run": Run("python b.py {input} --to {day}")}, "command", None),
        ({"run": Run(argv=("python", "a.py"))}, "command", None),
        ({"params": {"n": 2}}, "params", "n"),
        ({"params": {"n": 1, "m": date(2026, 1, 1)}}, "params", "m"),
        ({"env": ()}, "env", "HOME"),
        ({"env_set": {"X": "1"}}, "env", "X"),
        ({"cwd": "sub"}, "settings", "cwd"),
        ({"keep": True}, "settings", "keep"),
        ({"run": Run(BASE.run.text if BASE.run else "", shell=("sh", "-c"))}, "settings", "shell"),
    ],
)
def test_what_can_change_the_effect_is_told_by_kind_and_name(
    change: dict[str, Any], kind: str, key: str | None
) -> None:
    other = text(BASE._replace(**change))
    assert [(each[0], each[1]) for each in differences(text(), other)] == [(kind, key)]
    assert definition_digest(other) != definition_digest(text())


def test_old_and_new_values_are_told() -> None:
    assert differences(text(), text(environ={"HOME": "/home/v"})) == [("env", "HOME", "/home/u", "/home/v")]
    assert differences(text(), text(environ={"OTHER": ""})) == [("env", "HOME", "/home/u", None)]


def test_only_vars_of_the_command_count() -> None:
    assert text(given={"day": "1", "unused": "3"}) == text()
    assert [each[0] for each in differences(text(), text(given={"day": "2", "unused": "2"}))] == ["command"]


def test_command_digest_is_of_the_words_and_what_surrounds_them() -> None:
    renamed = text(BASE._replace(run=Run("python a.py {inputs} --to {other}")), given={"other": "1"})
    words = ["python", "a.py", "x", "--to", "1"]
    assert command_digest(words, text()) == command_digest(words, renamed)
    assert command_digest(words, text()) != command_digest([*words, "y"], text())
    assert command_digest(words, text()) != command_digest(words, text(BASE._replace(cwd="sub")))
    assert len(command_digest(["\udcff"], text())) == 32


@pytest.mark.parametrize("inputs", [[], [["a"]], [["a", "b"], [], ["\udcff"]]])
@pytest.mark.parametrize("targets", [[], ["out"], ["out/ä", 'a"b']])
@pytest.mark.parametrize("values", [{}, {"day": "1", "b": "2"}])
def test_the_digest_of_an_object_is_that_of_its_words(
    inputs: list[list[str]], targets: list[str], values: dict[str, str]
) -> None:
    arguments = ((None, "x"), (None,), (("", "value", (0,)),))
    words = ["<object>", "f()", inputs, [[target] for target in targets], values, arguments]
    found = object_digest("<object>", "f()", inputs, targets, values, arguments, text())
    assert found == command_digest(words, text())


BODY = step("a")._replace(
    run=None,
    body=Body(print, "f()", arguments=((None,), (None,), (("", "value", (0,)),))),
    code=(("f", "1"),),
)
OTHERS = {
    "label": BODY._replace(body=Body(print, "g()", arguments=BODY.body.arguments if BODY.body else None)),
    "arguments": BODY._replace(body=Body(print, "f()", arguments=((None,), ("x",), (("", "value", (0,)),)))),
    "code": BODY._replace(code=(("f", "2"),)),
    "params": BODY._replace(params={"n": 1}),
    "params that are equal to Python": BODY._replace(params={"n": True}),
    "env": BODY._replace(env=("HOME",)),
    "env_set": BODY._replace(env_set={"A": "1"}),
    "cwd": BODY._replace(cwd="sub"),
    "keep": BODY._replace(keep=True),
    "copy": BODY._replace(copy=True),
    "sha256": BODY._replace(sha256="0" * 64),
    "run": BODY._replace(run=Run("true")),
    "call": BODY._replace(call=Call("job", "f")),
}


def test_definitions_of_many_steps_are_those_of_each() -> None:
    steps = [BODY, BASE, *OTHERS.values(), CALL, BODY._replace(name="b"), BASE._replace(name="b")]
    assert definitions(steps, ENVIRON, VARS) == [text(each) for each in steps]


@pytest.mark.parametrize("what", OTHERS)
def test_a_definition_is_not_taken_from_a_step_that_differs(what: str) -> None:
    first, then = definitions([BODY, OTHERS[what]], ENVIRON, VARS)
    assert first != then or what == "call"  # the body is told in its place
