"""What belongs to one run, and to nobody else: its folder, its values, its parameters, its exceptions, its statuses."""

from __future__ import annotations

import gc
import os
import pathlib
import subprocess
import sys
import threading
import time
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import BaseStep, PipelineBuilder, PipelineError, PythonStep, ShellStep
from miniduct.errors import DuctError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support import Sandbox


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pipeline(*steps: BaseStep, **settings: Any) -> PipelineBuilder:
    builder = PipelineBuilder(settings.pop("name", "demo"), **settings)
    builder.add_steps(*steps)
    return builder


def one() -> int:
    return 1


def test_a_step_that_was_not_asked_for_was_not_run_and_has_no_value() -> None:
    def make(added: int) -> PipelineBuilder:
        first, second = PythonStep(one, name="first"), PythonStep(lambda number: number + added, name="second")
        first >> second
        return pipeline(first, second)

    assert make(1).execute("first")["second"].status == "not run"
    make(1).execute()
    results = make(5).execute("first")
    assert results["first"].status == "up to date"
    assert results["second"].status == "not run"
    with pytest.raises(DuctError, match="not run"):
        results["second"].value  # noqa: B018


def test_a_step_without_a_job_was_not_run() -> None:
    copy = ShellStep("cp {input} {target}", name="copy", inputs="{day}.csv", targets="out/{day}.csv")
    result = pipeline(copy).execute()[copy]
    assert (result.status, result.reason, result.jobs, result.paths) == ("not run", "no file gives it a job", {}, ())


def test_a_command_without_targets_has_no_value_and_no_files() -> None:
    says = ShellStep("echo hi", name="says")
    result = pipeline(says).execute()[says]
    with pytest.raises(DuctError, match="has no value: it returns nothing, and makes no files"):
        _ = result.value


def test_what_is_not_cached_says_so_and_speaks_of_no_setting_that_nobody_made() -> None:
    builder = pipeline(PythonStep(one, cache=False))
    assert [builder.execute()["one"].reason for _ in range(2)] == ["never ran", "it is never cached"]


def test_each_job_has_its_own_copy_of_the_parameters() -> None:
    for name in "123":
        open(name + ".in", "w").close()

    def note(seen: list[str], params: dict[str, Any], name: str, target: str) -> None:
        seen.append(name)
        params["more"] = name
        with open(target, "w") as file:
            file.write(repr(seen))

    builder = pipeline(PythonStep(note, inputs="{name}.in", targets="{name}.out", params={"seen": []}))
    builder.execute(jobs=1)
    assert [pathlib.Path(f"{name}.out").read_text() for name in "123"] == ["['1']", "['2']", "['3']"]
    assert builder.execute()["note"].status == "up to date"


def test_a_run_of_another_thread_does_not_move_the_folder() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(20)

    def write(target: str) -> None:
        open(target, "w").close()

    there, here = pipeline(PythonStep(wait), root="there"), pipeline(PythonStep(write, target="made"), name="here")
    first = threading.Thread(target=there.execute)
    second = threading.Thread(target=here.execute)
    first.start()
    assert begun.wait(20)
    second.start()
    time.sleep(0.1)  # until it waits for its turn
    go_on.set()
    first.join()
    second.join()
    assert os.path.exists("made")
    assert not os.path.exists("there/made")


def test_what_is_held_is_freed_with_its_results() -> None:
    class Big:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    made: list[weakref.ref[Big]] = []

    def make() -> Big:
        big = Big()
        made.append(weakref.ref(big))
        return big

    builder = pipeline(PythonStep(make, cache=False))
    first = builder.execute()
    assert first["make"].value is made[0]()
    del first
    builder.execute()
    gc.collect()
    assert made[0]() is None


def test_only_its_first_reader_gets_an_iterator_and_the_second_one_is_told() -> None:
    def numbers() -> Iterator[int]:
        yield from (1, 2)

    first = PythonStep(numbers, cache=False)
    readers = [PythonStep(lambda given: [*given], name=name) for name in ("a", "b")]
    first >> readers
    with pytest.raises(PipelineError, match="is an iterator, which only its first reader gets") as caught:
        pipeline(first, *readers).execute(jobs=1)
    assert caught.value.results["a"].value == [1, 2]


def test_a_timeout_has_no_exception_of_ours_as_its_cause() -> None:
    def work() -> None:
        while True:
            time.sleep(0.01)

    with pytest.raises(PipelineError) as caught:
        pipeline(PythonStep(work, timeout=0.2)).execute()
    assert caught.value.__cause__ is None
    assert "timeout" in (caught.value.results["work"].error or "")


def test_no_copy_of_a_damaged_value_is_kept() -> None:
    builder = pipeline(PythonStep(one))
    for _ in range(2):
        builder.execute()
        with open(".duct/values/demo/.pack", "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")
    assert builder.execute()["one"].value == 1
    assert not os.path.exists(".duct/pipelines/demo/kept")


def test_progress_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline(PythonStep(one)).execute(progress=True)
    assert "one: done" in (said := capsys.readouterr().out)
    assert "(never ran)" in said


CLASS = """
from dataclasses import dataclass
from miniduct import PipelineBuilder, PythonStep

@dataclass
class Point:
    x: int

def make():
    return Point(1)

def read(point):
    assert isinstance(point, Point)
    return point.x + 0

made, got = PythonStep(make), PythonStep(read)
made >> got
pipeline = PipelineBuilder("points")
pipeline.add_steps(made, got)
if __name__ == "__main__":
    print(pipeline.execute()[got].value)
"""


@pytest.mark.parametrize("program_first", [True, False])
def test_a_class_of_the_file_is_the_same_for_the_program_and_the_command(box: Sandbox, program_first: bool) -> None:
    """One makes the value, the other one reads it."""

    def program() -> None:
        done = subprocess.run(
            [sys.executable, "p.py"], cwd=box.root, env=box.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def command() -> None:
        done = box.duct("-f", "p.py")
        assert done.code == 0, str(done)

    box.write("p.py", CLASS)
    (program if program_first else command)()
    box.write("p.py", CLASS.replace("+ 0", "+ 1"))
    (command if program_first else program)()


def test_a_value_of_a_class_that_is_gone_is_told_as_such() -> None:
    from miniduct.pipeline import values

    module = sys.modules["passing"] = types.ModuleType("passing")
    exec("class Thing: pass", module.__dict__)
    values.write("value", module.__dict__["Thing"](), to_file=True)
    del module.__dict__["Thing"]
    try:
        with pytest.raises(DuctError, match=r"cannot be read: .*Thing"):
            values.read("value")
    finally:
        del sys.modules["passing"]


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (5, "results are asked for by a step, or by the name of one, not by 5"),
        (None, "results are asked for by a step, or by the name of one, not by None"),
        (one, "results are asked for by a step, or by the name of one, not by <function one"),
        ("another", 'no step is called "another"'),
        (
            PythonStep(one),
            'step "one" is of another pipeline: ask by the name, or by the step that was added to this one',
        ),
    ],
)
def test_results_say_what_they_can_be_asked_for(asked: Any, what: str) -> None:
    results = pipeline(PythonStep(one)).execute()
    with pytest.raises(KeyError) as caught:
        results[asked]
    assert str(caught.value.args[0]).startswith(what)
    assert asked not in results
    assert results.get(asked) is None


@pytest.mark.parametrize("name", ["s" * 256, "s" * 5000, "é" * 128], ids=["256", "5000", "256 bytes"])
def test_the_name_of_a_step_may_be_longer_than_that_of_a_file(name: str) -> None:
    def make() -> PipelineBuilder:
        first, second = PythonStep(one, name=name + "1"), PythonStep(lambda: 2, name=name + "2")
        both = PythonStep(lambda *numbers: sum(numbers), name="both")
        first >> both
        second >> both
        return pipeline(first, second, both)

    assert make().execute()["both"].value == 3
    assert {each.status for each in make().execute().values()} == {"up to date"}


@pytest.mark.parametrize("name", ["s" * 255, "é" * 127 + "s"], ids=["letters", "bytes"])
def test_a_name_that_may_be_that_of_a_file_is(name: str) -> None:
    pipeline(PythonStep(lambda: bytes(100_000), name=name)).execute()
    assert os.listdir(".duct/values/demo") == [name]
