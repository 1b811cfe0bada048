"""`python = "module:function"`: what it becomes in the model, and what is said where the function and the step do not fit."""

from __future__ import annotations

import datetime
import textwrap
from typing import TYPE_CHECKING

import pytest

from miniduct import ductfile
from miniduct.errors import DuctfileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from miniduct.model import Call, Project, Step

STEP = """
[step.a]
inputs = "raw/{day}.csv"
targets = "out/{day}.csv"
"""


class Folder:
    """A project's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")

    def read(self, text: str) -> Project:
        self.write({"Ductfile": text})
        today = datetime.date(2026, 1, 5)
        return ductfile.read(str(self.root / "Ductfile"), sets={}, environ={}, today=today, shown_as="Ductfile")

    def step(self, more: str, code: str = "", before: str = "", step: str = STEP) -> Step:
        if code:
            self.write({"job.py": code})
        return self.read(f"{before}{step}{more}").steps[0]

    def call(self, more: str, code: str = "", before: str = "", step: str = STEP) -> Call:
        found = self.step(more, code, before, step).call
        assert found is not None
        return found

    def says(self, more: str, code: str = "", before: str = "", step: str = STEP) -> str:
        with pytest.raises(DuctfileError) as caught:
            self.step(more, code, before, step)
        return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


PYTHON = 'python = "job:f"\n'


def test_a_function_is_the_action(folder: Folder) -> None:
    step = folder.step(PYTHON, "import helper\ndef f(input, target): ...")
    assert (step.run, step.group) == (None, False)
    assert step.call is not None
    assert (str(step.call), step.call.root, step.call.takes) == ("job:f", ".", ("input", "target"))
    assert [name for name, _ in step.code] == ["job"]
    assert str(step.run_location) == "Ductfile:5"


def test_the_files_that_the_code_rests_on_are_told(folder: Folder) -> None:
    folder.write({"helper.py": "", "job.py": "import helper\ndef f(): ..."})
    project = folder.read(f"{STEP}{PYTHON}")
    assert {"job.py", "helper.py", "helper/__init__.py"} <= set(project.code_files)
    assert [name for name, _ in project.steps[0].code] == ["job", "helper"]


@pytest.mark.parametrize(
    ("parameters", "takes"),
    [
        ("", ()),
        ("input, inputs, target, targets", ("input", "inputs", "target", "targets")),
        ("day, n, params", ("day", "n", "params")),
        ("target, other=1, n=2", ("target", "n")),
        ("*, day", ("day",)),
        ("day, *rest", ("day",)),
        ("day, **rest", ("n", "day", "input", "inputs", "target", "targets", "params")),
    ],
)
def test_a_function_takes_what_it_names(folder: Folder, parameters: str, takes: tuple[str, ...]) -> None:
    assert folder.call(f"{PYTHON}params = {{ n = 3 }}", f"def f({parameters}): ...").takes == takes


def test_names_of_foreach_are_given(folder: Folder) -> None:
    step = '[step.a]\nforeach = { region = ["eu"] }\ntargets = "{region}"\n'
    assert folder.call(PYTHON, "def f(region, target): ...", step=step).takes == ("region", "target")


def test_a_function_whose_text_does_not_tell_is_asked_later(folder: Folder) -> None:
    assert folder.call(PYTHON, "import functools\nf = functools.partial(print, 1)").takes is None


def test_what_a_decorator_gives_is_not_missed(folder: Folder) -> None:
    assert folder.call(PYTHON, "@connected\ndef f(connection, target): ...").takes == ("target",)


def test_an_installed_function_has_no_code_of_ours(folder: Folder) -> None:
    step = folder.step('python = "time:sleep"', step="[step.a]\n")
    assert step.code == ()
    assert step.call is not None
    assert step.call.takes is None


def test_vars_are_put_in(folder: Folder) -> None:
    folder.write({"etl/__init__.py": "", "etl/clean.py": "def f(): ..."})
    assert str(folder.call('python = "{package}.clean:f"', before='[vars]\npackage = "etl"\n')) == "etl.clean:f"


def test_modules_are_searched_beside_the_ductfile_that_names_them(folder: Folder) -> None:
    step = '[step.b]\ntargets = "b"\npython = "job:f"\n'
    folder.write({"etl/Ductfile": step, "etl/job.py": "def f(target, x=1): ...", "job.py": "def f(): ..."})
    steps = folder.read('include = "etl/Ductfile"\n[step.a]\npython = "job:f"\n').steps
    assert [(each.call.root, each.call.takes, each.cwd) for each in steps if each.call] == [
        (".", (), "."),
        ("etl", ("target",), "etl"),
    ]


def test_a_path_that_the_step_sets_is_searched_as_well(folder: Folder) -> None:
    folder.write({"src/far.py": "import near", "src/near.py": "", "job.py": "import far\ndef f(): ..."})
    step = folder.step(f'{PYTHON}env = {{ PYTHONPATH = "src" }}')
    assert [name for name, _ in step.code] == ["job", "far", "near"]


def test_batch_of_the_defaults_does_not_touch_functions(folder: Folder) -> None:
    assert folder.step(PYTHON, "def f(): ...", before="[defaults]\nbatch = 5\n").batch == 1


# -- mistakes --------------------------------------------------------------------------------------------------------------------------


def test_missing_module_is_told_with_the_nearest(folder: Folder) -> None:
    folder.write({"clean.py": "", "etl/__init__.py": ""})
    assert folder.says('python = "claen:f"') == (
        'Ductfile:5: "python" of step "a" names module "claen", which is neither beside the Ductfile nor installed\n'
        '   5 | python = "claen:f"\n'
        "     |           ^^^^^\n"
        '  did you mean "clean:f"?'
    )
    assert 'did you mean package "etl"?' in folder.says('python = "elt.x:f"')


def test_missing_function_is_told_with_the_nearest(folder: Folder) -> None:
    assert folder.says('python = "job:cleen"', "def clean(): ...\ndef other(): ...") == (
        'Ductfile:5: "python" of step "a" names "cleen" of module "job", which does not exist\n'
        '   5 | python = "job:cleen"\n'
        "     |               ^^^^^\n"
        '  did you mean "job:clean"?'
    )
    assert "its functions: clean, other" in folder.says('python = "job:xyz"')


def test_broken_module_is_told_with_its_line(folder: Folder) -> None:
    folder.write({"helper.py": "x = 1\ny = (2\nz = 3\n"})
    assert folder.says(PYTHON, "import helper\ndef f(): ...").startswith(
        'Ductfile:5: "python" of step "a" needs helper.py, which is broken: helper.py:2: \'(\' was never closed\n'
        '   5 | python = "job:f"\n'
        "     |          ^^^^^^^\n"
        "     2 | y = (2"
    )


def test_parameter_without_a_value_is_told(folder: Folder) -> None:
    assert folder.says(f"{PYTHON}params = {{ factor = 2 }}", "def f(input, facter): ...") == (
        'Ductfile:5: "python" of step "a": parameter "facter" of job:f gets no value\n'
        '   5 | python = "job:f"\n'
        "     |          ^^^^^^^\n"
        "  there are: factor, day, input, inputs, target, targets, params\n"
        '  did you mean "factor"?'
    )


def test_what_to_do_for_a_value_depends_on_its_name(folder: Folder) -> None:
    bare = "[step.a]\n"
    assert "the step has no inputs" in folder.says(PYTHON, "def f(input): ...", step=bare)
    assert "the step has no targets" in folder.says(PYTHON, "def f(targets): ...", step=bare)
    assert "give it one: params = { colour = … }" in folder.says(PYTHON, "def f(colour): ...", step=bare)
    hint = 'a var is handed over as a parameter: params = { bucket = "{bucket}" }'
    assert hint in folder.says(PYTHON, "def f(bucket): ...", before='[vars]\nbucket = "b"\n')


def test_parameter_with_two_values_is_told(folder: Folder) -> None:
    said = folder.says(f"{PYTHON}params = {{ day = 2 }}", "def f(day): ...")
    assert 'parameter "day" of job:f is both {day} and params.day' in said
    folder.call(f"{PYTHON}params = {{ day = 2 }}", "def f(params): ...")


def test_parameter_that_has_no_name_to_give_is_told(folder: Folder) -> None:
    assert 'parameter "input" of job:f cannot be given by its name' in folder.says(PYTHON, "def f(input, /): ...")


def test_collected_wildcards_have_no_value(folder: Folder) -> None:
    step = '[step.a]\ninputs = "in/{day}"\ntargets = "all"\n'
    assert 'parameter "day" of job:f gets no value' in folder.says(PYTHON, "def f(day): ...", step=step)


@pytest.mark.parametrize(
    ("code", "what"),
    [("async def f(): ...", "an async function"), ("class f: ...", "a class"), ("import f", "a module")],
)
def test_what_is_no_function_is_told(folder: Folder, code: str, what: str) -> None:
    assert f'names "f" of module "job", which is {what}' in folder.says(PYTHON, code)


def test_code_that_a_step_makes_is_refused(folder: Folder) -> None:
    code = "import made\ndef f(): ..."
    said = folder.says(PYTHON + '[step.b]\ntargets = "made.py"\nrun = "echo > {target}"', code)
    assert "has made.py, and the function of a step rests on that module" in said


def test_other_mistakes_of_the_step_are_not_repeated(folder: Folder) -> None:
    said = folder.says(PYTHON, "def f(day, target): ...", step="[step.a]\ninputs = 3\ntargets = 4\n")
    assert said.count("Ductfile:") == 2
