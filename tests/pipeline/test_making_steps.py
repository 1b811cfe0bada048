"""What a step holds once it is made: its settings under their names, and the line that made it."""

from __future__ import annotations

from typing import Any

import pytest

from miniduct import BaseStep, PythonStep
from miniduct.pipeline import steps as step_module
from miniduct.pipeline.steps import own, place_of_call


def zero() -> int:
    return 0


@pytest.mark.parametrize("setting", step_module._DEFAULTS)
def test_a_setting_is_held_under_its_own_name(setting: str) -> None:
    given: Any = {"x": "1"} if setting == "params" else "1"
    assert own(PythonStep(zero, name="a", **{setting: given})).said == {setting: given}


def test_equal_to_a_default_is_said_all_the_same() -> None:
    odd: Any = {"retries": False, "cpus": True}
    assert own(PythonStep(zero, name="a", **odd)).said == {"retries": False, "cpus": True}


def test_the_line_of_each_call_is_known_however_often_it_is_met() -> None:
    made = [(PythonStep(zero), PythonStep(zero)) for _ in range(3)]
    again = PythonStep(zero)
    lines = {own(step).place.line for pair in made for step in pair}
    assert len(lines) == 1
    assert own(again).place.line == lines.pop() + 1


def test_the_places_of_code_that_is_gone_are_not_taken_for_those_of_other_code() -> None:
    for line in range(2 * step_module._MOST_PLACES):
        found: list[Any] = []
        names = {"place_of_call": place_of_call, "found": found}
        exec(compile("\n" * (line % 7) + "found.append(place_of_call())", f"file{line}", "exec"), names)
        assert (found[0].file, found[0].line) == (f"file{line}", line % 7 + 1)
    assert len(step_module._places) <= step_module._MOST_PLACES


def test_a_step_that_asks_others_for_what_it_lacks_is_told_to_call_init() -> None:
    inner = PythonStep(zero, name="inner")

    class Proxy(BaseStep):
        def __init__(self) -> None: ...

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

    with pytest.raises(TypeError, match=r"Proxy\.__init__ must call"):
        own(Proxy())
