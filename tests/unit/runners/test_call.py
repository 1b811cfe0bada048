"""From a job's values to the arguments of its function, and to the command that repeats it."""

from __future__ import annotations

import datetime
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from miniduct.model import Call, Location, Slot, Step
from miniduct.runners.call import CallTemplate

if TYPE_CHECKING:
    from pathlib import Path

HERE = Location("Ductfile", 1)
VALUES: dict[str, Any] = {
    "day": "5",
    "unrelated": "x",
    "inputs": [(None, ["in/5"]), (None, ["a", "b"])],
    "targets": [(None, ["out/5"]), (None, ["more/5"])],
    "params": {"n": 1, "odd name": 2},
}


def template(takes: tuple[str, ...] | None, *, named: bool = False, **more: Any) -> CallTemplate:
    names = ("x", "y") if named else (None, None)
    step = Step(
        "a",
        HERE,
        inputs=tuple(Slot(text, name, HERE) for text, name in zip(("in/{day}", "*"), names)),
        targets=tuple(Slot(text, name, HERE) for text, name in zip(("out/{day}", "more/{day}"), names)),
        call=Call("job", "f", more.pop("root", "."), takes),
        **more,
    )
    return CallTemplate(step)


def arguments(made: CallTemplate, **values: Any) -> dict[str, Any]:
    call = made.render({**VALUES, **values}).call
    assert call is not None
    return dict(call.arguments)


def test_what_is_taken_is_given() -> None:
    assert arguments(template(("target", "input", "day", "n"))) == {
        "target": "out/5",
        "input": "in/5",
        "day": "5",
        "n": 1,
    }


def test_several_are_lists_and_named_ones_tables_of_lists() -> None:
    assert arguments(template(("inputs", "targets"))) == {"inputs": ["in/5", "a", "b"], "targets": ["out/5", "more/5"]}
    named = [("x", ["in/5"]), ("y", ["a", "b"])]
    assert arguments(template(("inputs",), named=True), inputs=named) == {"inputs": {"x": ["in/5"], "y": ["a", "b"]}}


def test_one_that_will_be_asked_is_offered_all_but_vars() -> None:
    made = template(None)
    assert [*arguments(made)] == ["n", "odd name", "params", "day", "inputs", "input", "targets", "target"]
    assert made.render(VALUES).call is not None
    assert getattr(made.render(VALUES).call, "ask", False)


def test_an_input_of_a_pattern_that_matches_nothing_is_left_out() -> None:
    assert arguments(template(("input", "inputs")), inputs=[(None, [])]) == {"inputs": []}


@pytest.mark.parametrize(
    ("takes", "used"),
    [
        (None, [True, True]),
        (("targets",), [True, True]),
        (("target",), [True, False]),
        (("input", "day"), [False, False]),
    ],
)
def test_targets_are_staged_where_the_function_gets_them(takes: tuple[str, ...] | None, used: list[bool]) -> None:
    made = template(takes)
    assert [made.uses(0), made.uses(1)] == used


def test_words_tell_calls_apart() -> None:
    made = template(("input", "n"))
    words = made.render(VALUES).words
    assert words == made.render({**VALUES, "unrelated": "y"}).words
    assert words != made.render({**VALUES, "params": {"n": 2}}).words
    assert words != made.render({**VALUES, "inputs": [(None, ["other"])]}).words


def test_a_start_needs_no_words() -> None:
    rendered = template(("input",)).render(VALUES, shown=False)
    assert (rendered.words, rendered.shown) == ([], "")
    assert rendered.call is not None


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "a 'b' \"c\" $d `e` \\f",
        "a\nb\tc\x01\x7f\u2028é😀",
        [1, 2.5, True, ["x"]],
        {"k": {"a'b": [1]}},
        datetime.date(2026, 1, 5),
        datetime.datetime(2026, 1, 5, 6, 7, 8),
        float("inf"),
    ],
)
def test_what_is_shown_can_be_repeated(tmp_path: Path, value: object) -> None:
    (tmp_path / "job.py").write_text("import sys\ndef f(**given): sys.stdout.write(ascii(sorted(given.items())))")
    shown = template(("input", "n", "odd name")).render({**VALUES, "params": {"n": value, "odd name": value}}).shown
    assert shown.startswith("python3 -c ")
    shown = shown.replace("python3", sys.executable, 1)
    done = subprocess.run(["bash", "-c", shown], cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout.decode() == ascii(sorted({"input": "in/5", "n": value, "odd name": value}.items()))


@pytest.mark.parametrize(
    ("root", "cwd", "shown"),
    [
        (".", ".", ""),
        ("etl", "etl", ""),
        ("etl", ".", "PYTHONPATH=etl "),
        ("etl", "etl/work", "PYTHONPATH=.. "),
        (".", "a b", "PYTHONPATH=.. "),
        ("a b", ".", "PYTHONPATH='a b' "),
    ],
)
def test_where_modules_are_searched_is_shown(root: str, cwd: str, shown: str) -> None:
    text = template((), root=root, cwd=cwd).render(VALUES).shown
    assert text == f"{shown}python3 -c 'from job import f; f()'"
