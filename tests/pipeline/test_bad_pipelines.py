"""What goes wrong with pipelines: told before anything runs where it can be, and never as a half truth."""

from __future__ import annotations

import array
import functools
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import BaseStep, PipelineBuilder, PipelineError, PythonStep, ShellStep
from miniduct.errors import DuctError, PlanError, UsageError
from miniduct.runners.attempts import HERE

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pipeline(*steps: BaseStep, **settings: Any) -> PipelineBuilder:
    builder = PipelineBuilder("demo", **settings)
    builder.add_steps(*steps)
    return builder


def one() -> int:
    return 1


def plus_one(number: int) -> int:
    return number + 1


def leaves() -> int:
    sys.exit(0)


def refused(builder: PipelineBuilder, match: str, error: type[Exception] = PlanError) -> None:
    with pytest.raises(error, match=match):
        builder.execute()
    assert not os.path.exists(".duct/values")


def test_a_step_belongs_to_one_pipeline() -> None:
    first = PythonStep(one)
    pipeline(first)
    with pytest.raises(ValueError, match='belongs to the pipeline "demo" already'):
        PipelineBuilder("other").add_step(first)


def test_a_step_is_added_once() -> None:
    first = PythonStep(one)
    with pytest.raises(ValueError, match="was added already"):
        pipeline(first, first)


def test_two_steps_of_one_name_are_told_with_their_places() -> None:
    with pytest.raises(ValueError, match=r'two steps are called "one": .*\.py:\d+ and .*\.py:\d+'):
        pipeline(PythonStep(one), PythonStep(one))


def test_a_step_that_was_not_added() -> None:
    first, then = PythonStep(one), PythonStep(plus_one)
    first >> then
    refused(pipeline(then), "was not added to it")


def test_a_circle_names_the_steps() -> None:
    a, b = PythonStep(plus_one, name="a"), PythonStep(plus_one, name="b")
    a >> b >> a
    refused(pipeline(a, b), "steps wait for each other: .* >> .*")


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_a_function_that_ends_without_a_value(workers: str) -> None:
    found = pipeline(PythonStep(leaves), workers=workers).execute(raise_on_error=False)["leaves"]
    assert found.status == "failed"
    assert (found.error or "").partition("\n")[0] == "ended without returning a value"


def test_a_current_folder_that_was_removed(tmp_path: pathlib.Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        refused(pipeline(PythonStep(one)), "the current folder does not exist any more", UsageError)
    finally:
        os.chdir(tmp_path)


def test_a_current_folder_that_a_step_removes_leaves_the_results(tmp_path: pathlib.Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    try:
        builder = pipeline(PythonStep(gone.rmdir, name="removes"), root=tmp_path / "root")
        assert builder.execute()["removes"].status == "done"
        os.chdir(tmp_path)
        assert builder.execute()["removes"].status == "up to date"
        assert os.getcwd() == str(tmp_path)
    finally:
        os.chdir(tmp_path)


@pytest.mark.parametrize("root", ["\0", "a\0b"])
def test_a_root_that_no_folder_can_have(root: str) -> None:
    refused(pipeline(PythonStep(one), root=root), "cannot work in the root .*: embedded null byte", UsageError)


@pytest.mark.parametrize("method", ["run", "merge"])
def test_a_method_that_cannot_even_be_asked_for(method: str) -> None:
    def fails(_: object) -> None:
        raise ZeroDivisionError("by zero")

    kind = type("Odd", (BaseStep,), {"run": lambda _: 1, method: property(fails)})
    refused(pipeline(kind(name="s")), rf'step "s": {method} of Odd raised ZeroDivisionError: by zero when it was asked')


def test_a_step_cannot_come_before_itself() -> None:
    first = PythonStep(one)
    with pytest.raises(ValueError, match="before itself"):
        first >> first


def test_two_makers_of_one_target() -> None:
    a, b = (ShellStep("touch {target}", name=name, target="x.txt") for name in "ab")
    refused(pipeline(a, b), "x.txt")


def test_a_pipeline_without_steps() -> None:
    refused(PipelineBuilder("demo"), "has no steps", UsageError)


def test_an_async_function() -> None:
    async def later() -> int:
        return 1

    refused(pipeline(PythonStep(later)), "async function")


def test_arguments_that_nothing_gives() -> None:
    refused(pipeline(PythonStep(plus_one)), r'argument "number" of plus_one\(\) gets no value')


def test_more_outputs_than_arguments() -> None:
    a, b = PythonStep(one), PythonStep(one, name="b")
    a >> b
    refused(pipeline(a, b), "takes 0 arguments")


def by_target(target: str) -> None:
    with open(target, "w") as out:
        out.write("mine")


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        (by_target, {"target": "b.txt"}),
        (by_target, {}),
        (lambda targets: targets, {"target": "b.txt"}),
        (lambda input: input, {"inputs": "other.txt"}),  # noqa: A006
        (lambda inputs: inputs, {"inputs": ["other.txt", "a.txt"]}),
        (lambda params: params, {"params": {"a": 1}}),
        (lambda times: times, {"params": {"times": 2}}),
        (lambda n, target: (n, target), {"foreach": {"n": ["1", "2"]}, "target": "b{n}.txt"}),
    ],
    ids=["target", "target of a value", "targets", "input", "inputs", "params", "a parameter", "a wildcard"],
)
def test_an_output_never_takes_the_place_of_what_the_step_gives_by_name(function: Any, settings: Any) -> None:
    a, b = ShellStep("echo precious > {target}", name="a", target="a.txt"), PythonStep(function, name="b", **settings)
    a >> b
    refused(pipeline(a, b), 'would get the output of "a" by its place, and has a meaning of its own')
    assert not os.path.exists("a.txt")


@pytest.mark.parametrize(
    ("function", "settings", "value"),
    [
        (lambda input: input, {}, "a.txt"),  # noqa: A006
        (lambda params: params, {}, "a.txt"),
        (lambda input: input, {"inputs": "a.txt"}, "a.txt"),  # noqa: A006
        (lambda path, input: [path, input], {"inputs": "o.txt"}, ["a.txt", "o.txt"]),  # noqa: A006
    ],
    ids=["input", "params", "its own input", "behind it"],
)
def test_an_output_by_place_where_nothing_else_is_meant(function: Any, settings: Any, value: Any) -> None:
    with open("o.txt", "w"):
        pass
    a, b = ShellStep("echo 1 > {target}", name="a", target="a.txt"), PythonStep(function, name="b", **settings)
    a >> b
    assert pipeline(a, b).execute()[b].value == value


def test_an_argument_of_two_meanings() -> None:
    refused(
        pipeline(PythonStep(by_target, target="x", params={"target": 1})),
        r'"target" of by_target\(\) is both {target} and',
    )


def test_an_argument_that_has_no_name() -> None:
    def put(target: str, /) -> None: ...

    refused(pipeline(PythonStep(put, target="x")), 'argument "target" of .*put.* cannot be given by its name')


def test_a_value_has_no_wildcards() -> None:
    with open("i1", "w"):
        pass
    refused(pipeline(PythonStep(lambda n: n, name="f", inputs="i{n}")), 'argument "n" of .* gets no value')


def test_a_command_cannot_take_a_value() -> None:
    a, b = PythonStep(one), ShellStep("cat {input}", name="b")
    a >> b
    refused(pipeline(a, b), "cannot take the value")


def test_keys_of_other_stores() -> None:
    refused(pipeline(ShellStep("cp {input} {target}", name="a", inputs="s3://b/x", target="x")), "not supported")


@pytest.mark.parametrize("setting", [{"cwd": "sub"}, {"env": {"A": "1"}}], ids=["cwd", "env"])
def test_what_threads_share_cannot_be_set_for_one_step(setting: Any) -> None:
    refused(pipeline(PythonStep(one, **setting)), "which all threads of the process would share")


def test_a_changed_function_of_a_step_with_a_merge_is_seen() -> None:
    class Merging(PythonStep):
        def merge(self, outputs: Any) -> list[Any]:
            return list(outputs.values())

    for function, value in ((lambda n: n + 1, 2), (lambda n: n + 2, 3)):
        first, then = PythonStep(one), Merging(function, name="then")
        first >> then
        assert pipeline(first, then).execute()[then].value == value


def test_an_attempt_that_was_given_up_changes_nothing_any_more() -> None:
    gate, over = threading.Event(), threading.Event()
    tries = []

    def write(target: str) -> None:
        tries.append(target)
        late = len(tries) == 1
        if late:
            gate.wait(60)
        try:
            with open(target, "w") as file:
                file.write("late" if late else "good")
        finally:
            if late:
                over.set()

    def look(path: str) -> str:
        gate.set()
        over.wait(5)
        with open(path) as file:
            return file.read()

    writer, looker = PythonStep(write, target="x.txt", timeout=0.3, retries=1, backoff=0), PythonStep(look)
    writer >> looker
    results = pipeline(writer, looker).execute()
    assert results[looker].value == "good"
    assert results[writer].attempts == 2
    with open("x.txt") as file:
        assert file.read() == "good"
    assert tries[0] != tries[1]


def test_a_step_without_run() -> None:
    refused(pipeline(BaseStep(name="bare")), "does not define run")


def test_an_init_that_forgets_the_base() -> None:
    class Forgets(BaseStep):
        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError, match="must call super"):
        PythonStep(one) >> Forgets()


class Methods:
    def __init__(self, number: int) -> None:
        self.number = number

    def get(self) -> int:
        return self.number


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda n: lambda: n, "lambda"),
        (lambda n: functools.partial(plus_one, n - 1), "plus_one"),
        (lambda n: Methods(n).get, "get"),
        (lambda n: eval(f"lambda: {n}"), "lambda"),
    ],
    ids=["lambda", "partial", "method", "eval"],
)
def test_callables_of_all_kinds_are_cached_and_told_apart(make: Callable[[int], Any], name: str) -> None:
    seen = []
    for number in (5, 5, 6):
        each = PythonStep(make(number))
        assert each.name == name
        result = pipeline(each).execute()[each]
        seen.append((result.value, result.status))
    assert seen == [(5, "done"), (5, "up to date"), (6, "done")]


def test_a_value_that_cannot_be_pickled_says_what_to_do() -> None:
    def lock() -> object:
        return threading.Lock()

    step = PythonStep(lock)
    result = pipeline(step).execute(raise_on_error=False)[step]
    assert result.status == "failed"
    assert result.error is not None
    assert "cannot be pickled" in result.error
    assert "or say cache=False:" in result.error


class Unreadable(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} of {b}")


class Unwritable:
    def __reduce__(self) -> Any:
        raise RuntimeError("no\nway")


def unreadable() -> object:
    return Unreadable(1, 2)


def test_a_value_that_cannot_be_unpickled_is_told_as_its_makers() -> None:
    make, use = PythonStep(unreadable, name="make"), PythonStep(lambda error: [error], name="use")
    make >> use
    builder = pipeline(make, use)
    results = builder.execute(raise_on_error=False)
    assert (results[make].status, results[use].status) == ("done", "failed")
    with pytest.raises(DuctError) as told:
        _ = results[make].value
    for each in (str(told.value), results[use].error or ""):
        first, facts, hint = each.splitlines()
        assert first.startswith('the value of step "make" cannot be read: TypeError: Unreadable.__init__() missing')
        assert "__reduce__" in facts
        assert 'execute("make", force=True)' in hint
    assert isinstance(told.value.__cause__, TypeError)
    assert builder.execute("make", force=True)[make].reason == "forced"


def test_whatever_is_raised_where_a_value_is_pickled_is_told_as_that() -> None:
    step = PythonStep(Unwritable, name="make")
    result = pipeline(step).execute(raise_on_error=False)[step]
    first, why, _ = (result.error or "").splitlines()
    assert first == "its value, of type Unwritable, cannot be pickled"
    assert why.strip() == "RuntimeError: no"


def test_a_value_of_another_process_that_cannot_be_pickled_says_what_to_do() -> None:
    step = PythonStep(threading.Lock)
    result = pipeline(step, workers="processes").execute(raise_on_error=False)[step]
    assert result.error is not None
    assert 'or say workers="threads" and cache=False:' in result.error


def test_without_cache_it_runs_always_and_its_value_is_handed_over() -> None:
    runs = []

    def lock() -> Any:
        runs.append(1)
        return threading.Lock()

    def kind(given: Any) -> str:
        return type(given).__name__

    for expected in (1, 2):
        a, b = PythonStep(lock, cache=False), PythonStep(kind)
        a >> b
        assert pipeline(a, b).execute()[b].value == "lock"
        assert len(runs) == expected


def test_a_step_that_changes_its_input_changes_a_copy() -> None:
    def numbers() -> list[int]:
        return [1, 2]

    def spoil(given: list[int]) -> list[int]:
        given.append(3)
        return given

    def look(given: list[int]) -> list[int]:
        return given

    source, spoiler, looker = PythonStep(numbers), PythonStep(spoil), PythonStep(look)
    source >> [spoiler, looker]
    results = pipeline(source, spoiler, looker).execute(jobs=1)
    assert results[spoiler].value == [1, 2, 3]
    assert results[looker].value == results[source].value == [1, 2]


def test_a_merge_of_a_thousand() -> None:
    def total(*numbers: int) -> int:
        return sum(numbers)

    sources = [PythonStep(lambda n=n: n, name=f"n{n}") for n in range(1000)]
    merged = PythonStep(total)
    sources >> merged
    assert pipeline(*sources, merged).execute()[merged].value == 499_500


@pytest.mark.parametrize(("size", "name"), [(1, ".pack"), (100_000, "one")])
def test_a_damaged_value_is_made_again_and_that_is_said(size: int, name: str) -> None:
    for damage in (False, True):
        step = PythonStep(lambda: [1] * size, name="one")
        result = pipeline(step).execute()[step]
        assert result.value == [1] * size
        if not damage:
            with open(f".duct/values/demo/{name}", "r+b") as file:
                file.seek(-30, os.SEEK_END)
                file.write(b"damage")
    assert result.status == "done"
    assert "one" in result.reason


def test_nothing_is_unpickled_whose_digest_does_not_fit(tmp_path: pathlib.Path) -> None:
    from miniduct.pipeline import values

    path = str(tmp_path / "value")
    values.write(path, {"a": 1}, to_file=True)
    with open(path, "rb") as file:
        digest = file.read()[-values.DIGEST :]

    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "went-off"),)

    with open(path, "wb") as out:
        out.write(pickle.dumps(Bomb()) + digest)
    with pytest.raises(DuctError, match="damaged"):
        values.read(path)
    assert not (tmp_path / "went-off").exists()


def test_a_large_value_is_streamed() -> None:
    program = """
        import resource
        from miniduct.pipeline import values
        value = bytes(300_000_000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        values.write("value", value)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100


def test_a_value_replaced_by_a_later_run_is_not_given_out() -> None:
    step = PythonStep(lambda: 1, name="a")
    old = pipeline(step).execute()
    again = PythonStep(lambda: 2, name="a")
    assert pipeline(again).execute()[again].value == 2
    with pytest.raises(DuctError, match="not the one that was made"):
        _ = old[step].value


def test_executed_twice_and_in_two_threads() -> None:
    builder = pipeline(PythonStep(one))
    found: list[str] = []

    def execute() -> None:
        found.append(builder.execute()["one"].status)

    threads = [threading.Thread(target=execute) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["done", "up to date"]


def test_a_step_cannot_execute_a_pipeline() -> None:
    def inner() -> int:
        pipeline(PythonStep(one, name="x")).execute()
        return 1

    with pytest.raises(PipelineError) as caught:
        pipeline(PythonStep(inner)).execute()
    assert isinstance(caught.value.__cause__, UsageError)


def test_the_working_folder_is_put_back(tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other"
    step = PythonStep(os.getcwd)
    assert pipeline(step, root=str(other)).execute()[step].value == str(other)
    assert os.getcwd() == str(tmp_path)


class Column:
    """Numbers that are pickled as arrays of libraries are: by their buffer."""

    def __init__(self, numbers: Any) -> None:
        self.numbers = array.array("d", bytes(numbers))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Column, (pickle.PickleBuffer(self.numbers),)


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_an_array_of_numbers_is_a_value(size: int) -> None:
    step = PythonStep(lambda: Column(bytes(8 * size)), name="column")
    assert len(pipeline(step).execute()[step].value.numbers) == size


def test_arguments_after_a_star_are_given_by_name() -> None:
    def total(*values: int, times: int = 1) -> int:
        return sum(values) * times

    def written(*values: int, target: str) -> None:
        with open(target, "w") as file:
            file.write(f"{values}")

    first, second = PythonStep(one, name="a"), PythonStep(one, name="b")
    scaled, file = PythonStep(total, params={"times": 10}), PythonStep(written, target="sum.txt")
    [first, second] >> scaled
    [first, second] >> file
    assert pipeline(first, second, scaled, file).execute()[scaled].value == 20
    with open("sum.txt") as found:
        assert found.read() == "(1, 1)"


def put(path: str) -> None:
    with open(path, "x") as file:
        file.write(os.path.basename(path))


@pytest.mark.parametrize("settings", [{}, {"timeout": 60}], ids=["plain", "with a timeout"])
@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (["out/*.x", "out/*.y"], ["a.x", "b.y"]),
        (["out/*.x", "out/index"], ["a.x", ""]),
        (["out/index", "out/*.x"], ["", "a.x"]),
        (["*.x"], ["a.x"]),
        (["*.x", "out/deep/index", "out/*.x"], ["a.x", "", "b.x"]),
        (["out/*.x", "out/deep/*.x"], ["a.x", "b.x"]),
        (["out/a", "other/b", "out/deep/c"], ["", "", ""]),
        (["../beside/a", "out/*.x"], ["", "a.x"]),
    ],
)
def test_targets_of_all_shapes_are_made(
    targets: list[str], names: list[str], settings: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    def make(targets: list[str]) -> None:
        for target, name in zip(targets, names):
            put(os.path.join(target, name) if name else target)

    (tmp_path / "project").mkdir()
    made = pipeline(PythonStep(make, targets=targets, **settings), root="project")
    for _ in range(2):
        assert made.execute(force=True)["make"].status == "done"
        for target, name in zip(targets, names):
            assert (tmp_path / "project" / os.path.dirname(target) / (name or os.path.basename(target))).is_file()
        left = [each for each, _, _ in os.walk(".") if ".attempt" in each]
        assert not left


def test_a_folder_is_made_in_time(tmp_path: pathlib.Path) -> None:
    def make(targets: list[str]) -> None:
        os.makedirs(f"{targets[0]}/deep")
        put(f"{targets[0]}/deep/a")
        put(targets[1])

    made = pipeline(PythonStep(make, targets=["out/", "index"], timeout=60))
    assert [made.execute(force=True)["make"].status for _ in range(2)] == ["done", "done"]
    assert (tmp_path / "out/deep/a").is_file()


class NoText(Exception):
    def __str__(self) -> str:
        print("asked for its text")
        raise SystemExit(3)


class NoTextInterrupted(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class NoNotes(Exception):
    @property
    def __notes__(self) -> list[str]:
        raise SystemExit(3)


class NoAttributes(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (NoText, "raised NoText"),
        (NoTextInterrupted, "raised NoTextInterrupted"),
        (NoNotes, "raised NoNotes: text"),
        (NoAttributes, "raised NoAttributes: text"),
    ],
)
def test_an_exception_that_cannot_be_told_fails_its_step_only(
    kind: type[Exception], words: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def raises() -> None:
        raise kind("text")

    results = pipeline(PythonStep(raises), PythonStep(one)).execute(raise_on_error=False, keep_going=True)
    assert (results["raises"].status, results["raises"].error) == ("failed", words)
    assert results["one"].value == 1
    log = (tmp_path / str(results["raises"].log)).read_text()
    assert "in raises" in log
    assert kind.__name__ in log
    assert capsys.readouterr().out == ""


def test_a_step_with_a_timeout_may_end_by_exit() -> None:
    def make(target: str) -> None:
        put(target)
        sys.exit(0)

    assert pipeline(PythonStep(make, target="x", timeout=60)).execute()["make"].status == "done"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="stands for a full disk")
def test_a_full_disk_fails_the_step_that_prints_only() -> None:
    def fill() -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, HERE.attempt.output.fd)
        os.close(full)

    def prints() -> None:
        fill()
        print("no room for this")

    def raises() -> None:
        fill()
        raise ValueError("told all the same")

    steps = [PythonStep(prints), PythonStep(raises), PythonStep(one)]
    results = pipeline(*steps).execute(raise_on_error=False, keep_going=True)
    assert results["prints"].error == "raised OSError: [Errno 28] No space left on device"
    assert results["raises"].error == "raised ValueError: told all the same"
    assert results["one"].value == 1
