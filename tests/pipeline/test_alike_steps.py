"""Of steps that are alike only the first is checked and looked at in full: whatever else a step differs in must still be seen."""

from __future__ import annotations

import os
import types
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import BaseStep, PipelineBuilder, PythonStep
from miniduct.errors import PlanError
from miniduct.pipeline.results import PipelineError
from miniduct.pipeline.steps import own
from miniduct.plan.definition import definition

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from miniduct.model import Step


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def zero() -> int:
    return 0


def plus(number: Any) -> Any:
    return number


def many(*numbers: Any) -> Any:
    return numbers


def fails() -> None:
    raise ValueError("no")


def adding(amount: int) -> Callable[[], int]:
    def inner() -> int:
        return amount

    return inner


def defaulting(amount: int) -> Callable[..., int]:
    def inner(number: int = amount) -> int:
        return number

    return inner


def pipeline(*steps: BaseStep) -> PipelineBuilder:
    builder = PipelineBuilder("demo")
    builder.add_steps(*steps)
    return builder


def projected(*steps: BaseStep) -> list[Step]:
    return list(pipeline(*steps).project(os.getcwd()).steps)


def ran(builder: PipelineBuilder) -> list[str]:
    results = builder.execute()
    return [step.name for step in results if results[step].status == "done"]


def test_alike_steps_are_told_by_their_names_alone() -> None:
    first, second = (PythonStep(zero, name=name) for name in "ab")
    a, b = projected(first, second)
    assert [each.targets[0].text for each in (a, b)] == [".duct/values/demo/a", ".duct/values/demo/b"]
    assert definition(a, {}, {}) == definition(b, {}, {})
    assert a.code is b.code


DIFFERENT: dict[str, tuple[PythonStep, PythonStep]] = {
    "closure": (PythonStep(adding(1), name="a"), PythonStep(adding(2), name="b")),
    "default": (PythonStep(defaulting(1), name="a"), PythonStep(defaulting(2), name="b")),
    "function": (PythonStep(zero, name="a"), PythonStep(lambda: 0, name="b")),
    "value of a parameter": (
        PythonStep(many, name="a", params={"x": 1}),
        PythonStep(many, name="b", params={"x": 1.0}),
    ),
    "name of a parameter": (
        PythonStep(many, name="a", params={"x": 1}),
        PythonStep(many, name="b", params={"y": 1}),
    ),
    "no parameter": (PythonStep(many, name="a", params={"x": 1}), PythonStep(many, name="b")),
    "kept environment": (PythonStep(zero, name="a"), PythonStep(zero, name="b", env="HOME")),
    "name of a target": (
        PythonStep(many, name="a", targets={"one": "a.csv"}),
        PythonStep(many, name="b", targets={"two": "b.csv"}),
    ),
    "number of targets": (
        PythonStep(many, name="a", targets=["a.csv"]),
        PythonStep(many, name="b", targets=["b.csv", "c.csv"]),
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_a_difference_that_counts_is_in_the_definition(what: str) -> None:
    made = [PythonStep(step.function, name=step.name, **own(step).said) for step in DIFFERENT[what]]
    a, b = projected(*made)
    assert definition(a, {}, {}) != definition(b, {}, {})


@pytest.mark.parametrize(
    ("setting", "value"),
    [("retries", 2), ("timeout", 5), ("tags", ["t"]), ("cpus", 2), ("check", "mtime"), ("cache", False)],
)
def test_a_setting_is_not_taken_from_the_step_before(setting: str, value: Any) -> None:
    a, b, c = projected(
        PythonStep(zero, name="a"), PythonStep(zero, name="b", **{setting: value}), PythonStep(zero, name="c")
    )
    field = "max_age" if setting == "cache" else setting
    assert getattr(a, field) == getattr(c, field) != getattr(b, field)


def test_what_comes_before_a_step_counts() -> None:
    value, file, nothing = (
        PythonStep(zero, name="value"),
        PythonStep(many, name="file", target="f.csv"),
        PythonStep(many, name="files", targets=["g.csv", "h.csv"]),
    )
    readers = [PythonStep(many, name=f"reader{at}") for at in range(4)]
    value >> readers[0]
    file >> readers[1]
    nothing >> readers[2]
    [value, file] >> readers[3]
    made = projected(value, file, nothing, *readers)[3:]
    assert len({definition(each, {}, {}) for each in made}) == 4


def test_each_step_of_alike_ones_is_given_its_own_parameters_and_inputs() -> None:
    sources = [PythonStep(lambda at=at: at, name=f"source{at}") for at in range(3)]
    readers = [PythonStep(lambda number, x: (number, x), name=f"r{at}", params={"x": at}) for at in range(3)]
    for source, reader in zip(sources, readers):
        source >> reader
    results = pipeline(*sources, *readers).execute()
    assert [results[reader].value for reader in readers] == [(0, 0), (1, 1), (2, 2)]


def test_the_exception_of_an_alike_step_is_its_own() -> None:
    steps = [PythonStep(fails, name=f"s{at}") for at in range(3)]
    with pytest.raises(PipelineError) as caught:
        pipeline(*steps).execute(keep_going=True)
    raised = [caught.value.results[step].exception for step in steps]
    assert len({id(each) for each in raised}) == 3


def test_a_mistake_of_a_step_behind_good_ones_is_told() -> None:
    first, good, bad = (PythonStep(zero, name="first"), PythonStep(plus, name="good"), PythonStep(plus, name="bad"))
    first >> good
    with pytest.raises(PlanError, match=r'step "bad": argument "number" of plus\(\) gets no value'):
        projected(first, good, bad)


def test_cache_that_is_no_truth_is_told_behind_alike_steps() -> None:
    odd: Any = 1  # equal to True, and no truth
    with pytest.raises(PlanError, match='"cache" of step "b" must be True or False'):
        projected(PythonStep(zero, name="a"), PythonStep(zero, name="b", cache=odd))


def test_a_name_that_is_no_text_is_told_behind_alike_steps() -> None:
    odd: Any = {None: "x"}
    with pytest.raises(PlanError, match='"inputs" of step "b" has the name None'):
        projected(PythonStep(zero, name="a", inputs="x"), PythonStep(zero, name="b", inputs=odd))


def test_classes_of_one_name_are_not_taken_for_each_other() -> None:
    def made(defines_run: bool) -> BaseStep:
        class Same(BaseStep):
            if defines_run:

                def run(self, *args: Any, **named: Any) -> Any:
                    return args, named

        return Same(name="good" if defines_run else "bad")

    with pytest.raises(PlanError, match='step "bad": Same does not define run'):
        projected(made(True), made(False))


def test_what_changed_between_two_runs_of_one_pipeline_is_seen() -> None:
    held, params = [1], {"x": [1]}

    def reads() -> Any:
        return list(held)

    def code() -> int:
        return 1

    def other() -> int:
        return 2

    builder = pipeline(
        *[PythonStep(reads, name=f"held{at}") for at in range(2)],
        *[PythonStep(many, name=f"params{at}", params=params) for at in range(2)],
        *[PythonStep(code, name=f"code{at}") for at in range(2)],
        *[PythonStep(defaulting(1), name="default")],
    )
    assert len(ran(builder)) == 7
    assert ran(builder) == []
    held.append(2)
    assert ran(builder) == ["held0", "held1"]
    params["x"].append(2)
    assert ran(builder) == ["params0", "params1"]
    code.__code__ = other.__code__
    assert ran(builder) == ["code0", "code1"]
    function: Any = builder.steps[-1].function
    assert isinstance(function, types.FunctionType)
    function.__defaults__ = (2,)
    assert ran(builder) == ["default"]
