"""The settings of steps made in Python: what a Ductfile refuses is refused, with the step and the line that makes it, before anything runs."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import (
    BaseStep,
    CopyStep,
    GCSClient,
    GCSUploadStep,
    HttpClient,
    HttpGetStep,
    PipelineBuilder,
    PythonStep,
    ShellStep,
)
from miniduct.errors import DuctError, PlanError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")


def pipeline(*steps: BaseStep, **settings: Any) -> PipelineBuilder:
    builder = PipelineBuilder("demo", **settings)
    builder.add_steps(*steps)
    return builder


def one() -> int:
    return 1


def write(target: str) -> None:
    with open(target, "w") as out:
        out.write(target)


def read(input: str) -> str:  # noqa: A002
    with open(input) as file:
        return file.read()


def subclass(base: type[BaseStep], **attributes: object) -> Any:
    return type("Mine", (base,), attributes)


class Odd:
    def __str__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"inputs": {"a.txt"}}, '"inputs" of step "f" must be a text or a list of texts, not set'),
        ({"inputs": [5]}, '"inputs" of step "f" must hold texts, not a number'),
        ({"inputs": {5: "a.txt"}}, '"inputs" of step "f" has the name 5, and a name is a text'),
        ({"inputs": ""}, '"inputs" of step "f" has an empty key'),
        ({"inputs": "~/a.txt"}, '"inputs" of step "f" has a key that begins with ~'),
        ({"inputs": "{a,b}.txt"}, '"inputs" of step "f" has {a,b}, and no shell expands it here'),
        ({"inputs": "step:nope"}, '"inputs" of step "f" names step "nope", which does not exist'),
        ({"inputs": "step:f"}, 'step "f" waits for itself'),
        ({"inputs": "step:value"}, '"inputs" of step "f" names step "value", which makes a value and no file'),
        ({"inputs": "gs://acme"}, "it names no object"),
        ({"target": "o{n}"}, '"targets" of step "f" has {n}, which no input names'),
        ({"target": ".duct/x"}, '"targets" of step "f" names something inside of .duct/, which belongs to duct'),
        ({"target": "a.txt", "inputs": "a.txt"}, 'step "f" reads and makes a.txt'),
        ({"targets": ["o", "./o"]}, '"targets" of step "f" has o twice'),
        ({"targets": ["o/", "o/x"]}, 'step "f" makes the folder o/ as a whole, and makes o/x in it'),
        ({"targets": "step:a"}, '"targets" of step "f" names step "a", and a target is a key'),
        ({"target": "https://example.com/a"}, "addresses of the web can only be read"),
        ({"after": ["nope"]}, '"after" of step "f" names step "nope", which does not exist'),
        ({"after": "vlue"}, 'names step "vlue", which does not exist\n  did you mean "value"?'),
        ({"after": [5]}, '"after" of step "f" must hold texts, not a number'),
        ({"foreach": ["a"]}, '"foreach" of step "f" must be a dict of lists, not a list\n  write foreach = {"name": ["a", "b"]}'),
        ({"foreach": {"n": "a"}, "target": "o{n}"}, '"foreach.n" of step "f" must be a list'),
        ({"foreach": {"n": []}, "target": "o{n}"}, '"foreach.n" of step "f" has no values'),
        ({"foreach": {"n": ["../a"]}, "target": "o/{n}"}, '"foreach.n" of step "f" has the value ../a'),
        ({"foreach": {"n": ["a", "b"]}, "target": "o"}, 'the jobs of step "f" for each n would all make o'),
        ({"foreach": {"n": ["a", "b"]}}, 'step "f" makes one value, and has a job for each n'),
        ({"where": {"n": "("}, "inputs": "i{n}"}, '"where.n" of step "f" is no regular expression'),
        ({"where": {"m": "x"}, "inputs": "i{n}"}, '"where.m" of step "f" is no wildcard of its inputs'),
        ({"where": "x"}, '"where" of step "f" must be a dict of regular expressions, not a text'),
        ({"params": 5}, '"params" of step "f" must be a dict, not a number\n  write params = {"name": value}'),
        ({"params": {5: 1}}, '"params" of step "f" has the name 5, and a name is a text'),
        ({"env": ["A-B"]}, '"env" of step "f" must hold names of variables, not "A-B"'),
        ({"env": "A=1"}, '"env" of step "f" must hold names of variables, not "A=1"\n  to set it, write a dict: {"A": "1"}'),
        ({"env": 5}, '"env" of step "f" must be a list of names, or a dict of values, not a number'),
        ({"secrets": [5]}, '"secrets" of step "f" must hold texts, not a number'),
        ({"secrets": ["TOKEN"], "env": ["TOKEN"]}, '"secrets" of step "f" has TOKEN, which "env" of step "f" counts'),
        ({"tags": [" "]}, '"tags" of step "f" has an empty text'),
        ({"tags": 5}, '"tags" of step "f" must be a text or a list of texts, not a number'),
        ({"cwd": 5}, '"cwd" of step "f" must be a text, not a number'),
        ({"timeout": float("nan")}, '"timeout" of step "f" must be more than 0 seconds, not nan'),
        ({"timeout": 0}, '"timeout" of step "f" must be more than 0 seconds, not 0'),
        ({"timeout": "soon"}, '"timeout" of step "f" must be seconds, or a text such as "90s"'),
        ({"backoff": -1}, '"backoff" of step "f" must be at least 0 seconds, not -1'),
        ({"max_age": True}, '"max_age" of step "f" must be seconds'),
        ({"retries": -1}, '"retries" of step "f" must be at least 0, not -1'),
        ({"retries": "2"}, '"retries" of step "f" must be a whole number, not a text\n  write 2 without quotes'),
        ({"retry_on": "nosuch"}, '"retry_on" of step "f" must hold exception classes, exit codes, names of signals'),
        ({"retry_on": [ValueError, Odd]}, '"retry_on" of step "f" must hold exception classes'),
        ({"retry_on": 300}, '"retry_on" of step "f" has the exit code 300'),
        ({"pool": "x"}, '"pool" of step "f" is "x", which is no pool\n  say PipelineBuilder(…, pools={"x": 1})'),
        ({"cpus": 0}, '"cpus" of step "f" must be at least 1, not 0'),
        ({"check": "mtme"}, '"check" of step "f" must be "content", "mtime" or "exists", not "mtme"\n  did you mean "mtime"?'),
        ({"cache": "no"}, '"cache" of step "f" must be True or False, not a text'),
        ({"inputs": "a.txt", "target": "./a.txt"}, 'step "f" reads and makes a.txt\n  give the target another name'),
        ({"foreach": {"input": ["a"]}}, '"foreach" of step "f" has the name "input"\n  it has a meaning in a command already'),
        ({"description": 5}, '"description" of step "f" must be a text, not a number'),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_told_with_the_step_and_its_line(settings: dict[str, Any], what: str) -> None:
    step = PythonStep(write if "target" in settings or "targets" in settings else one, name="f", **settings)
    line = one.__code__.co_filename, write.__code__.co_firstlineno
    with pytest.raises(PlanError, match=re.escape(what)) as caught:
        pipeline(PythonStep(one, name="value"), step).execute()
    assert re.match(rf"{re.escape(line[0])}:\d+: ", str(caught.value))
    assert not os.path.exists(".duct/values")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: ShellStep("echo {nope} > {target}", name="f", target="o"), '"command" of step "f" has an unknown name {nope}'),
        (lambda: ShellStep("cat {input}", name="f"), '"command" of step "f" has {input}, and the step has no inputs'),
        (lambda: ShellStep("echo {params.b}", name="f", params={"a": 1}), "has an unknown name {params.b}\n  did you mean {params.a}?"),
        (lambda: ShellStep("echo 'a", name="f"), '"command" of step "f": '),
        (lambda: ShellStep("# nothing", name="f"), '"command" of step "f" is empty'),
        (lambda: ShellStep(["echo hello"], name="f"), "its first word is the name of a program"),
        (lambda: ShellStep(["echo", 5], name="f"), '"command" of step "f" must hold texts, not a number'),  # type: ignore[list-item]
        (lambda: ShellStep(5, name="f"), '"command" of step "f" must be a command'),  # type: ignore[arg-type]
        (lambda: ShellStep(["echo"], name="f", shell="sh"), '"shell" of step "f" has no effect'),
        (lambda: ShellStep("true", name="f", retry_on=ValueError), '"retry_on" of step "f" has the class ValueError'),
        (lambda: CopyStep("a.txt", target="b.txt", name="f", params={"a": 1}), '"params" of step "f" has no effect on a copy'),
        (lambda: CopyStep("a.txt", target="b.txt", name="f", sha256="x"), '"sha256" of step "f" must be 64 hexadecimal digits'),
        (lambda: CopyStep("*.txt", target="b.txt", name="f"), 'step "f" copies, and so has one key as its inputs'),
        (lambda: HttpGetStep("a.txt", target="b.txt", name="f"), '"inputs" of step "f" has a.txt, and it fetches an address of the web'),
        (lambda: GCSUploadStep("a.txt", target="b.txt", name="f"), '"targets" of step "f" has b.txt, and it uploads to gs://'),
        (lambda: subclass(ShellStep, merge=list)("true", name="f"), 'step "f" calls no function, and Mine defines merge'),
        (lambda: subclass(CopyStep, run=one)("a.txt", target="b.txt", name="f"), 'step "f" calls no function, and Mine defines run'),
        (lambda: subclass(BaseStep, run=5)(name="f"), 'step "f": run of Mine is no function'),
        (lambda: subclass(BaseStep, run=one, merge=5)(name="f"), 'step "f": merge of Mine is no function'),
    ],
)  # fmt: skip
def test_a_wrong_command_or_copy_is_told(make: Callable[[], BaseStep], what: str) -> None:
    with pytest.raises(PlanError, match=re.escape(what)):
        pipeline(make()).execute()


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"pools": {"x": 0}}, '"pools.x" of pipeline "demo" must be at least 1, not 0'),
        ({"pools": {"x": "a"}}, '"pools.x" of pipeline "demo" must be a whole number, not a text'),
        ({"pools": {5: 1}}, '"pools" of pipeline "demo" has the name 5'),
        ({"pools": 5}, '"pools" of pipeline "demo" must be a dict, not a number\n  write pools={"name": 2}'),
        ({"stores": {"gcss": {}}}, 'unknown store "gcss"\n  did you mean stores["gcs"]?'),
        ({"stores": {"gcs": {"bla": 1}}}, 'stores["gcs"] has an unknown setting "bla"'),
        ({"stores": {"http": {"timeout": "soon"}}}, "must be seconds"),
        ({"stores": 5}, '"stores" of pipeline "demo" must be a dict, not a number'),
    ],
)
def test_a_wrong_setting_of_the_pipeline_is_told(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(PlanError, match=re.escape(what)) as caught:
        pipeline(PythonStep(one), **settings).execute()
    assert re.match(rf"{re.escape(__file__)}:\d+: ", str(caught.value))


@pytest.mark.parametrize(
    ("targets", "named", "what"),
    [
        ((), {"jobs": "2"}, "jobs must be a whole number, 0 for the cores, not '2'"),
        ((), {"jobs": -1}, "jobs must be a whole number, 0 for the cores, not -1"),
        ((), {"on_event": 5}, "on_event takes a callable, or a list of them, not 5"),
        ((), {"on_event": [print, 5]}, "on_event takes a callable, or a list of them, not [<built-in"),
        ((5,), {}, "a target is a text, as on the command line, not 5"),
        ((PythonStep(one),), {}, 'a target is a text, as on the command line, not <PythonStep one>\n  write "one"'),
    ],
)
def test_a_wrong_call_of_execute_is_told(targets: tuple[Any, ...], named: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=re.escape(what)):
        pipeline(PythonStep(one)).execute(*targets, **named)


def test_a_root_that_is_a_file_is_told() -> None:
    with pytest.raises(UsageError, match=r'cannot work in the root "a\.txt": it is no folder'):
        pipeline(PythonStep(one), root="a.txt").execute()
    with pytest.raises(UsageError, match=r'cannot work in the root "a\.txt/sub": not a directory'):
        pipeline(PythonStep(one), root="a.txt/sub").execute()
    with pytest.raises(TypeError, match="root is the path of a folder, not 5"):
        PipelineBuilder("demo", root=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [5, "a b", "", ("a",)])
def test_a_wrong_name_is_told_with_its_line(name: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(__file__)}:\d+: a step's name is a text of letters"):
        pipeline(PythonStep(one, name=name))


def test_a_command_without_a_name_is_told_with_its_line() -> None:
    with pytest.raises(UsageError, match=rf"^{re.escape(__file__)}:\d+: a ShellStep needs a name"):
        ShellStep("true")


def test_the_line_is_the_one_that_makes_the_step_not_that_of_its_class() -> None:
    class Mine(BaseStep):
        def __init__(self, number: int) -> None:
            super().__init__(retries=-1)
            self.number = number

    step = Mine(1)
    line = sys._getframe().f_lineno - 1
    with pytest.raises(PlanError, match=rf'^{re.escape(__file__)}:{line}: "retries" of step "Mine"'):
        pipeline(step).execute()


def test_a_merge_takes_no_place_of_the_target() -> None:
    class Mine(PythonStep):
        def merge(self, outputs: Any) -> Any:
            return list(outputs.values())

    a, b = PythonStep(write, name="a", target="b.txt"), Mine(write, name="b", target="c.txt")
    a >> b
    result = pipeline(a, b).execute(raise_on_error=False)[b]
    assert result.error == 'merge gives a value for the argument "target", which the step\'s own target has'


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: HttpClient(timeout="soon"), '"stores.http.timeout" of HttpClient must be seconds'),
        (lambda: HttpClient(secrets="T", headers={"a.com": {"X": "{U}"}}), 'has {U}, and its "secrets" do not name it'),
        (lambda: GCSClient(project=5), '"stores.gcs.project" of GCSClient must be a text, not a number'),  # type: ignore[arg-type]
    ],
)
def test_the_clients_check_their_settings(make: Callable[[], Any], what: str) -> None:
    with pytest.raises(PlanError, match=re.escape(what)):
        make()


def test_a_dataclass_that_cannot_be_a_key_is_told() -> None:
    @dataclasses.dataclass
    class Mine(BaseStep):
        number: int

        def __post_init__(self) -> None:
            super().__init__()

    with pytest.raises(TypeError, match=r"write @dataclass\(eq=False\)"):
        Mine(1)


def test_an_input_that_may_be_no_file() -> None:
    step = PythonStep(read, inputs="*.none")
    assert "there is no file for its argument" in str(pipeline(step).execute(raise_on_error=False)[step].error)


def test_the_mistakes_of_all_steps_are_told_together() -> None:
    with pytest.raises(PlanError) as caught:
        pipeline(PythonStep(one, name="a", retries=-1), PythonStep(one, name="b", pool="x", cpus=0)).execute()
    assert len(caught.value.mistakes) == 3


def test_the_same_mistake_in_steps_that_are_alike_is_told_for_each() -> None:
    with pytest.raises(PlanError) as caught:
        pipeline(*(PythonStep(one, name=f"s{n}", retries=-1) for n in range(3))).execute()
    assert [re.findall(r'step "(\w+)"', each.what) for each in caught.value.mistakes] == [["s0"], ["s1"], ["s2"]]


def test_steps_that_are_alike_keep_their_own_keys_and_parameters() -> None:
    def put(target: str, text: str) -> None:
        with open(target, "w") as out:
            out.write(text)

    steps = [PythonStep(put, name=f"p{n}", target=f"o/{n}.txt", params={"text": str(n)}, retries=1) for n in range(3)]
    copies = [
        ShellStep("cp {inputs.a} {target}", name=f"c{n}", inputs={"a": f"o/{n}.txt"}, target=f"c/{n}.txt")
        for n in range(3)
    ]
    pipeline(*steps, *copies).execute()
    assert [Path(f"c/{n}.txt").read_text() for n in range(3)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "inputs", [Path("a.txt"), [Path("a.txt")], {"a": Path("a.txt")}, {"a": [Path("a.txt")]}, ("a.txt",), "./a.txt"]
)
def test_a_path_is_as_good_as_a_text(inputs: Any) -> None:
    def copy(input: str, target: str) -> None:  # noqa: A002
        with open(input) as source, open(target, "w") as out:
            out.write(source.read())

    pipeline(PythonStep(copy, inputs=inputs, target=Path("o") / "b.txt"), root=os.getcwd()).execute()
    assert Path("o/b.txt").read_text() == "a"


def test_paths_in_commands_roots_and_copies() -> None:
    root = Path("sub")
    root.mkdir()
    (root / "a.txt").write_text("sub")
    copy = CopyStep(Path("a.txt"), target=Path("b.txt"), name="copy")
    shell = ShellStep(["cp", Path("a.txt"), "{target}"], name="shell", target="c.txt")
    pipeline(copy, shell, root=root).execute()
    assert (root / "b.txt").read_text() == (root / "c.txt").read_text() == "sub"


@pytest.mark.parametrize("inputs", ["step:a", ["step:a"], {"x": "step:a"}])
def test_a_step_as_an_input_however_it_is_written(inputs: Any) -> None:
    b = PythonStep(read, name="b", inputs=inputs)
    assert pipeline(PythonStep(write, name="a", target="o.txt"), b).execute()[b].value.endswith("o.txt")


def test_a_text_is_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell() -> str:
        print("token", os.environ["TOKEN"])
        return os.environ["MODE"]

    for mode, status in (("1", "done"), ("1", "up to date"), ("2", "done")):
        monkeypatch.setenv("TOKEN", "hunter2")
        monkeypatch.setenv("MODE", mode)
        step = PythonStep(tell, secrets="TOKEN", env="MODE", tags="nightly")
        result = pipeline(step).execute()[step]
        assert (result.value, result.status) == (mode, status)
        assert result.log is None or "hunter2" not in Path(result.log).read_text()


@pytest.mark.parametrize("settings", [{"secrets": {"A", "B"}}, {"tags": iter("ab")}, {"after": (), "env": None}])
def test_what_has_no_order_may_be_a_set(settings: dict[str, Any]) -> None:
    builder = pipeline(PythonStep(one, **settings))
    assert [builder.execute()["one"].status for _ in range(2)] == ["done", "up to date"]


@pytest.mark.parametrize("values", [[1, 2], range(1, 3), ("1", "2"), {"from": 1, "to": 2}])
def test_the_values_of_foreach(values: Any) -> None:
    step = PythonStep(write, foreach={"n": values}, target="o{n}")
    assert pipeline(step).execute()[step].paths == ("o1", "o2")


def test_durations_are_those_of_a_ductfile() -> None:
    assert pipeline(PythonStep(one, timeout="5m", backoff="10s", max_age="1d")).execute()["one"].value == 1


def test_braces_in_values_stand_for_themselves() -> None:
    def tell(text: str) -> str:
        return text

    step = PythonStep(tell, params={"text": "{x} {{y}"})
    shell = ShellStep(
        "printenv A > {target}", name="shell", env={"A": "{x} {{y}"}, target="o{n}", foreach={"n": ["{z}"]}
    )
    assert pipeline(step, shell).execute()[step].value == "{x} {{y}"
    assert Path("o{z}").read_text() == "{x} {{y}\n"


FIELDS = ("_cache", "_inputs", "_targets", "_name", "_settings", "_before", "_pipeline", "_place", "_function", "own")


@pytest.mark.parametrize("field", FIELDS)
def test_the_fields_of_a_class_are_its_own(field: str) -> None:
    class Mine(BaseStep):
        def __init__(self, value: object) -> None:
            super().__init__()
            setattr(self, field, value)

        def run(self) -> Any:
            return getattr(self, field)

    found = []
    for value in ({}, {}, {"a": 1}):
        step = Mine(value)
        result = pipeline(step).execute()[step]
        found.append((result.value, result.status))
    assert found == [({}, "done"), ({}, "up to date"), ({"a": 1}, "done")]


def test_a_pipeline_file_with_a_mistake_is_told_by_the_same_error() -> None:
    Path("p.py").write_text(
        "from miniduct import PipelineBuilder, PythonStep\n"
        "pipeline = PipelineBuilder('p')\n"
        "pipeline.add_step(PythonStep(print, name='f', pool='x'))\n"
    )
    from miniduct.pipeline import load

    with pytest.raises(DuctError, match=r'^p\.py:3: "pool" of step "f" is "x", which is no pool'):
        load("p.py").execute()
