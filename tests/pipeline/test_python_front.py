"""What the Python front is for, one test a line: read from top to bottom, it is a tutorial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from miniduct import BaseStep, PipelineBuilder, PipelineError, PythonStep, ShellStep, step

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pipeline(*steps: BaseStep, **settings: Any) -> PipelineBuilder:
    builder = PipelineBuilder("demo", **settings)
    builder.add_steps(*steps)
    return builder


def one() -> int:
    return 1


def two() -> int:
    return 2


def plus_one(number: int) -> int:
    return number + 1


def pair(*numbers: int) -> list[int]:
    return list(numbers)


def test_a_builder_executes_steps_in_order_and_passes_outputs_on() -> None:
    first, second, third = PythonStep(one), PythonStep(plus_one), PythonStep(plus_one, name="third")
    first >> second >> third
    results = pipeline(third, second, first).execute()
    assert results[third].value == 3
    assert [results[each].status for each in (first, second, third)] == ["done"] * 3


def test_a_step_is_a_class_that_defines_its_input_its_output_and_its_logic() -> None:
    class Shout(BaseStep):
        def run(self, input: str, target: str) -> None:  # noqa: A002
            with open(input) as source, open(target, "w") as out:
                out.write(source.read().upper())

    with open("a.txt", "w") as file:
        file.write("hello")
    shout = Shout(inputs="a.txt", targets="out/b.txt")
    results = pipeline(shout).execute()
    with open("out/b.txt") as file:
        assert file.read() == "HELLO"
    assert results[shout].paths == ("out/b.txt",)


def test_chaining_returns_the_right_operand() -> None:
    a, b, c = PythonStep(one), PythonStep(plus_one), PythonStep(plus_one, name="c")
    assert (a >> b) is b
    several: list[BaseStep] = [b, c]
    assert (a >> several) is several


@pytest.mark.parametrize("other", [None, 1, "step", one, [1], [None]])
def test_a_right_operand_that_is_no_step_raises_type_error(other: Any) -> None:
    with pytest.raises(TypeError, match="right side of >> must be a step"):
        PythonStep(one) >> other


def test_a_left_operand_that_is_no_step_raises_type_error() -> None:
    with pytest.raises(TypeError, match="left side of >> must be a step"):
        [1] >> PythonStep(one)  # type: ignore[operator]


def test_one_step_triggers_several() -> None:
    a, b, c = PythonStep(one), PythonStep(plus_one), PythonStep(plus_one, name="c")
    a >> [b, c]
    results = pipeline(a, b, c).execute()
    assert (results[b].value, results[c].value) == (2, 2)


def test_a_merge_gets_all_outputs_in_the_order_of_connection() -> None:
    a, b, merged = PythonStep(one), PythonStep(two), PythonStep(pair)
    [b, a] >> merged
    assert pipeline(a, b, merged).execute()[merged].value == [2, 1]


def test_a_step_may_define_its_own_merge_by_place() -> None:
    class Total(BaseStep):
        def merge(self, outputs: Mapping[str, int]) -> list[int]:
            assert list(outputs) == ["two", "one"]
            return [sum(outputs.values())]

        def run(self, total: int) -> int:
            return total

    a, b, total = PythonStep(one), PythonStep(two), Total()
    [b, a] >> total
    assert pipeline(a, b, total).execute()[total].value == 3


def test_a_step_may_define_its_own_merge_by_name() -> None:
    class Named(BaseStep):
        def merge(self, outputs: Mapping[str, int]) -> Mapping[str, int]:
            return {"low": outputs["one"], "high": outputs["two"]}

        def run(self, *, low: int, high: int) -> str:
            return f"{low}-{high}"

    a, b, named = PythonStep(one), PythonStep(two), Named()
    [b, a] >> named
    assert pipeline(a, b, named).execute()[named].value == "1-2"


def test_what_did_not_change_is_not_run_again() -> None:
    calls = "calls.txt"

    def work() -> int:
        with open(calls, "a") as file:
            file.write("x")
        return 7

    for expected in ("done", "up to date"):
        counted = PythonStep(work)
        result = pipeline(counted).execute()[counted]
        assert (result.status, result.value) == (expected, 7)
    with open(calls) as file:
        assert file.read() == "x"


def test_another_closure_is_a_change_and_says_so() -> None:
    def adder(number: int) -> PythonStep:
        def add() -> int:
            return number + 1

        return PythonStep(add)

    first, second = adder(1), adder(2)
    assert pipeline(first).execute()[first].value == 2
    result = pipeline(second).execute()[second]
    assert (result.value, result.status) == (3, "done")
    assert "closure number changed" in result.reason


def test_files_and_values_mix() -> None:
    @step(targets="numbers.txt")
    def write(number: int, target: str) -> None:
        with open(target, "w") as file:
            file.write("n\n" * number)

    @step
    def lines(path: str) -> int:
        with open(path) as file:
            return len(file.readlines())

    source = PythonStep(two)
    copy = ShellStep("cat {input} > {target}", name="copy", targets="copy.txt")
    source >> write >> copy >> lines
    assert pipeline(source, write, copy, lines).execute()[lines].value == 2


def test_wildcards_work_as_in_a_ductfile() -> None:
    for name in "abc":
        with open(f"{name}.csv", "w") as file:
            file.write(name)

    def clean(input: str, target: str, name: str) -> None:  # noqa: A002
        with open(input) as source, open(target, "w") as out:
            out.write(source.read() + name)

    def report(paths: list[str]) -> list[str]:
        return paths

    cleaned, reported = PythonStep(clean, inputs="{name}.csv", targets="clean/{name}.csv"), PythonStep(report)
    cleaned >> reported
    results = pipeline(cleaned, reported).execute()
    assert results[reported].value == ["clean/a.csv", "clean/b.csv", "clean/c.csv"]
    assert results[cleaned].jobs == {"done": 3}


def fails(*_: int) -> int:
    raise ConnectionError("no route")


def test_a_failure_is_one_error_with_results_and_cause() -> None:
    a, bad, after = PythonStep(one), PythonStep(fails), PythonStep(plus_one)
    a >> bad >> after
    with pytest.raises(PipelineError, match='step "fails" of pipeline "demo" failed') as caught:
        pipeline(a, bad, after).execute()
    results = caught.value.results
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert results[a].status == "done"
    assert (results[bad].status, results[bad].error) == ("failed", "raised ConnectionError: no route")
    assert (results[after].status, results[after].reason) == ("skipped", "fails failed or was not run")
    log = results[bad].log
    assert log is not None
    with open(log) as file:
        assert "no route" in file.read()


def test_independent_branches_go_on_with_keep_going() -> None:
    bad, good = PythonStep(fails), PythonStep(one)
    results = pipeline(bad, good).execute(jobs=1, keep_going=True, raise_on_error=False)
    assert (results[bad].status, results[good].status) == ("failed", "done")
    assert isinstance(results[bad].exception, ConnectionError)


def test_a_step_is_tried_again_for_the_errors_named() -> None:
    tries: list[int] = []

    def shaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionResetError("again")
        return len(tries)

    shaking = PythonStep(shaky, retries=5, backoff=0, retry_on=(ConnectionError,))
    result = pipeline(shaking).execute()[shaking]
    assert (result.value, result.attempts) == (3, 3)


def test_other_errors_are_not_tried_again() -> None:
    bad = PythonStep(fails, retries=5, backoff=0, retry_on=(KeyError,))
    results = pipeline(bad).execute(raise_on_error=False)
    assert results[bad].attempts == 1


def test_a_step_that_takes_too_long_fails() -> None:
    import threading

    gate = threading.Event()

    def wait() -> None:
        gate.wait(60)

    slow = PythonStep(wait, timeout=0.2)
    try:
        result = pipeline(slow).execute(raise_on_error=False)[slow]
    finally:
        gate.set()
    assert (result.status, result.error) == ("failed", "ran past its timeout of 0.2 s")


@pytest.mark.parametrize(
    ("targets", "expected"), [("o/", "o"), (["o/"], "o"), (["o/", "x.txt"], ["o", "x.txt"])], ids=str
)
def test_a_folder_is_handed_on_as_a_file_is(targets: Any, expected: Any) -> None:
    folder = ShellStep("mkdir -p o; touch o/1; touch x.txt", name="folder", targets=targets)
    look = PythonStep(lambda given: given, name="look")
    folder >> look
    assert pipeline(folder, look).execute()[look].value == expected
