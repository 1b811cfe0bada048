"""What a Ductfile means: settings, vars, keys, foreach, includes. What is said to a wrong one stands in `mistakes.txt`."""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import ductfile
from miniduct.errors import DuctfileError, UsageError
from miniduct.model import Check, Project, Step

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TODAY = datetime.date(2026, 1, 5)


class Folder:
    """A folder of Ductfiles."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def read(self, text: str, sets: Mapping[str, str] | None = None) -> Project:
        self.write("Ductfile", text)
        return ductfile.read(str(self.root / "Ductfile"), sets=sets or {}, environ={}, today=TODAY, shown_as="Ductfile")

    def step(self, text: str, sets: Mapping[str, str] | None = None) -> Step:
        """The first step."""
        return self.read(text, sets).steps[0]

    def mistakes(self, text: str) -> list[str]:
        with pytest.raises(DuctfileError) as caught:
            self.read(text)
        return [mistake.what for mistake in caught.value.mistakes]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def keys(slots: tuple[Any, ...]) -> list[str]:
    return [slot.text for slot in slots]


# -- the whole -------------------------------------------------------------------------------------------------------------------------


def test_a_step_with_everything(folder: Folder) -> None:
    project = folder.read(
        """
default = "clean"
[pools]
db = 2
[step.clean]
description = "cleans"
inputs = { days = ["raw/{day}.csv", "raw/{day}.txt"], code = "clean.py" }
targets = ["clean/{day}.csv"]
run = "python {inputs.code} {inputs.days} {target}"
after = "setup"
where = { day = '\\d{8}' }
params = { top = 3, nested = { a = [1] } }
env = ["HOME"]
secrets = "TOKEN"
cwd = "sub/"
shell = "zsh"
timeout = "1h30m"
retries = 3
backoff = 0.5
retry_on = [7, "kill", "SIGTERM", "timeout"]
pool = "db"
cpus = 2
check = "mtime"
max_age = "2d"
keep = true
tags = ["daily"]
[step.setup]
run = ["mkdir", "x"]
env = { A = "1", B = 2, C = true }
"""
    )
    clean, setup = project.steps
    assert keys(clean.inputs) == ["raw/{day}.csv", "raw/{day}.txt", "clean.py"]
    assert [slot.name for slot in clean.inputs] == ["days", "days", "code"]
    assert keys(clean.targets) == ["clean/{day}.csv"]
    assert clean.run is not None
    assert clean.run.text == "python {inputs.code} {inputs.days} {target}"
    assert clean.run.shell == ("zsh", "-c")
    assert (clean.name, clean.description, clean.after, clean.tags) == ("clean", "cleans", ("setup",), ("daily",))
    assert (clean.where, clean.params) == ({"day": r"\d{8}"}, {"top": 3, "nested": {"a": [1]}})
    assert (clean.env, clean.env_set, clean.secrets, clean.cwd) == (("HOME",), {}, ("TOKEN",), "sub")
    assert (clean.timeout, clean.retries, clean.backoff, clean.max_age) == (5400, 3, 0.5, 172800)
    assert clean.retry_on == (7, "SIGKILL", "SIGTERM", "timeout")
    assert (clean.pool, clean.cpus, clean.check, clean.keep) == ("db", 2, Check.MTIME, True)
    assert setup.run is not None
    assert setup.run.argv == ("mkdir", "x")
    assert setup.env_set == {"A": "1", "B": "2", "C": "true"}
    assert (project.root, project.files) == (str(folder.root), ("Ductfile",))
    assert (project.pools, project.today) == ({"db": 2}, None)
    assert [name for name, _ in project.default] == ["clean"]


def test_what_is_not_said_has_its_default(folder: Folder) -> None:
    step = folder.step('[step.a]\nrun = "true"\n')
    assert step == Step("a", step.location, run=step.run, run_location=step.run_location)


def test_every_value_knows_its_place(folder: Folder) -> None:
    step = folder.step('# first\n[step.a]\ninputs = [\n  "x", # y\n\t"z"]\nrun = "true"\n')
    assert str(step.location) == "Ductfile:2"
    assert (step.location.column, step.location.width) == (7, 1)
    assert [(slot.location.line, slot.location.column, slot.location.width) for slot in step.inputs] == [
        (4, 3, 3),
        (5, 2, 3),
    ]
    assert step.inputs[1].location.source == '\t"z"]'
    assert step.run_location is not None
    assert step.run_location.line == 6


def test_a_file_with_a_byte_order_mark_and_windows_lines(folder: Folder) -> None:
    (folder.root / "Ductfile").write_bytes(b'\xef\xbb\xbf[step.a]\r\nrun = """\r\nx\r\ny"""\r\ninputs = "a"\r\n')
    project = ductfile.read(str(folder.root / "Ductfile"), sets={}, environ={}, today=TODAY)
    assert project.steps[0].run is not None
    assert project.steps[0].run.text == "x\ny"
    assert project.steps[0].inputs[0].location.line == 5


def test_a_file_that_is_not_there_is_a_mistake_of_use(folder: Folder) -> None:
    with pytest.raises(UsageError, match="no such file"):
        ductfile.read(str(folder.root / "nothing"), sets={}, environ={}, today=TODAY)


def test_the_file_is_shown_relative_to_where_the_user_stands(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("Ductfile", '[step.a]\nrun = "true"\n')
    folder.write("sub/x", "")
    monkeypatch.chdir(folder.root / "sub")
    project = ductfile.read("../Ductfile", sets={}, environ={}, today=TODAY)
    assert str(project.steps[0].location) == "../Ductfile:1"
    assert project.root == str(folder.root)


def test_twenty_steps_are_read_quickly(folder: Folder) -> None:
    text = "[vars]\nout = 'out'\n" + "".join(
        f"""
[step.s{n}]
description = "step {n}"
inputs = {{ days = "{{out}}/raw{n}/{{day}}.csv", code = "s{n}.py" }}  # the days
targets = ["{{out}}/a{n}/{{day}}.csv", "{{out}}/b{n}/{{day}}.csv"]
params = {{ top = 3, name = "x" }}
timeout = "1m"
run = '''
python {{inputs.code}} --top {{params.top}} {{inputs.days}} {{targets}}
echo "done {{day}}" >&2
'''
"""
        for n in range(20)
    )
    folder.read(text)
    taken = []
    for _ in range(5):  # a machine may stand still for one of them
        began = time.process_time()
        folder.read(text)
        taken.append(time.process_time() - began)
    assert min(taken) < 0.1  # 7 ms as measured; this only catches what grows faster than the file


# -- keys ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("data/a.csv", "data/a.csv"),
        ("./data//a.csv", "data/a.csv"),
        ("data/./b/../a.csv", "data/a.csv"),
        ("../x/a.csv", "../x/a.csv"),
        ("a/../../x", "../x"),
        ("/data//a.csv", "/data/a.csv"),
        ("/../a", "/a"),
        ("out/", "out/"),
        ("out//", "out/"),
        ("out/.", "out/"),
        ("a b/ü*.csv", "a b/ü*.csv"),
        ("{path**}/{day}.csv", "{path**}/{day}.csv"),
        ("a{{b}}", "a{{b}}"),
        ("${{HOME}}/x", "${{HOME}}/x"),
        ("-x", "-x"),
        ("...", "..."),
        (".hidden/x", ".hidden/x"),
    ],
)
def test_keys_are_canonical(folder: Folder, written: str, meant: str) -> None:
    step = folder.step(f"[step.a]\ninputs = '{written}'\nrun = 'true'\n")
    assert keys(step.inputs) == [meant]


def test_the_long_way_to_a_key_of_the_project_is_the_same_key(folder: Folder) -> None:
    name = folder.root.name
    step = folder.step(f"[step.a]\ninputs = ['{folder.root}/x/y', '../{name}/z/', '/x/y']\nrun = 'true'\n")
    assert keys(step.inputs) == ["x/y", "z/", "/x/y"]


def test_a_step_as_an_input(folder: Folder) -> None:
    step = folder.step("[step.a]\ninputs = ['step:b', 'x']\n[step.b]\nrun = 'true'\n")
    assert [(slot.text, slot.step) for slot in step.inputs] == [("step:b", "b"), ("x", None)]
    assert step.run is None


def test_a_folder_and_what_it_is_made_from_may_have_names_that_begin_alike(folder: Folder) -> None:
    step = folder.step("[step.a]\ninputs = 'out.csv'\ntargets = ['out/', 'outer']\nrun = 'x {input} {targets}'\n")
    assert keys(step.targets) == ["out/", "outer"]


# -- vars ------------------------------------------------------------------------------------------------------------------------------


def test_vars_are_put_into_keys_settings_and_params_but_stay_in_commands(folder: Folder) -> None:
    project = folder.read(
        """
default = ["{out}/x"]
[vars]
root = "/data"
out = "{root}/out"
n = 3
[step.a]
inputs = "raw/{day}/{n}.csv"
targets = ["{out}/x"]
cwd = "{out}"
params = { p = "{n}", q = ["{n}"], r = { s = "{n}", t = "{{n}}" } }
env = { X = "{out}" }
description = "makes {out}"
where = { day = '\\d{{n}}' }
run = "echo {n} {{n}}"
"""
    )
    step = project.steps[0]
    assert keys(step.inputs) == ["raw/{day}/3.csv"]
    assert keys(step.targets) == ["/data/out/x"]
    assert (step.cwd, step.env_set, step.description) == ("/data/out", {"X": "/data/out"}, "makes /data/out")
    assert step.params == {"p": "3", "q": ["3"], "r": {"s": "3", "t": "{n}"}}
    assert step.where == {"day": r"\d{n}"}
    assert step.run is not None
    assert step.run.text == "echo {n} {{n}}"
    assert project.vars == {"root": "/data", "out": "/data/out", "n": "3"}
    assert project.default[0][0] == "/data/out/x"


def test_set_overrides_a_var_and_those_that_use_it(folder: Folder) -> None:
    text = "[vars]\nroot = 'a'\nout = '{root}/b'\n[step.a]\ninputs = '{out}/x'\n"
    assert keys(folder.step(text, {"root": "z"}).inputs) == ["z/b/x"]
    assert keys(folder.step(text, {"out": "z"}).inputs) == ["z/x"]


def test_set_of_an_unknown_var_is_a_mistake_of_use(folder: Folder) -> None:
    with pytest.raises(UsageError) as caught:
        folder.read("[vars]\nbucket = 'a'\n[step.a]\ninputs = '{bucket}'\n", {"buket": "x"})
    assert str(caught.value) == '--set or DUCT_SET: there is no var "buket"\n  did you mean "bucket"?'


def test_braces_in_the_value_of_a_var_are_literal(folder: Folder) -> None:
    step = folder.step(
        "[vars]\nv = 'x'\n[step.a]\ninputs = '{v}/{day}.csv'\ntargets = 'o/{day}'\nrun = 'x'\n", {"v": "{day}{"}
    )
    assert keys(step.inputs) == ["{{day}}{{/{day}.csv"]


def test_an_empty_value_before_a_slash_makes_the_key_absolute(folder: Folder) -> None:
    assert keys(folder.step("[vars]\nv = ''\n[step.a]\ninputs = '{v}/x'\n").inputs) == ["/x"]


def test_a_scheme_in_the_value_of_a_var_is_seen(folder: Folder) -> None:
    assert folder.mistakes("[vars]\nb = 's3://acme'\n[step.a]\ninputs = '{b}/x'\n") == [
        '"inputs" of step "a" has a key of s3://, which is not supported'
    ]
    (step,) = folder.read("[vars]\nb = 'gs://acme'\n[step.a]\ninputs = '{b}/../x//{day}'\nrun = 'true'\n").steps
    assert step.inputs[0].text == "gs://acme/../x//{day}"


def test_a_dollar_before_a_wildcard_that_comes_from_a_var_cannot_be_a_key(folder: Folder) -> None:
    (what,) = folder.mistakes("[vars]\nv = 'a$'\n[step.a]\ninputs = '{v}{day}'\nrun = 'true'\n")
    assert what == '"inputs" of step "a" has a $ before a placeholder, which no key can have'


# -- defaults --------------------------------------------------------------------------------------------------------------------------


def test_defaults_are_for_steps_without_that_setting(folder: Folder) -> None:
    project = folder.read(
        """
[defaults]
retries = 2
timeout = "1m"
where = { day = '\\d+' }
shell = "bash"
[step.a]
run = ["true"]
retries = 0
[step.b]
inputs = "x/{day}"
run = "true"
"""
    )
    a, b = project.steps
    assert (a.retries, a.timeout, a.where) == (0, 60, {})
    assert (b.retries, b.timeout, b.where) == (2, 60, {"day": r"\d+"})
    assert a.run is not None
    assert a.run.shell is None


# -- commands --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run",
    [
        "cp {input} {target}",
        "x {inputs} {targets} {inputs[0]} {targets[0]} {inputs.days} {inputs.code} {params.top} {manifest} {month}",
        "awk '{print $1}' {inputs.days} | while read x; do echo ${x}{a,b}; done > {target}",
        "x {{day}} {inputs[99]}",
    ],
)
def test_placeholders_that_mean_something_are_fine(folder: Folder, run: str) -> None:
    folder.read(
        f"""
[step.a]
inputs = {{ days = "raw/{{month}}{{day}}.csv", code = "x.py" }}
targets = "out/{{month}}.csv"
params = {{ top = 1 }}
run = \"""{run}\"""
"""
    )


def test_the_wildcards_of_a_step_without_targets_are_its_jobs_values(folder: Folder) -> None:
    folder.read("[step.a]\ninputs = 'raw/{day}.csv'\nrun = 'load {input} {day}'\n")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("'bash'", ("bash", "-c")),
        ("'python3'", ("python3", "-c")),
        ("'/usr/bin/perl'", ("/usr/bin/perl", "-e")),
        ("'bash -x -c'", ("bash", "-x", "-c")),
        ("['nice', 'bash', '-c']", ("nice", "bash", "-c")),
    ],
)
def test_shells(folder: Folder, written: str, words: tuple[str, ...]) -> None:
    run = folder.step(f"[step.a]\nrun = 'x'\nshell = {written}\n").run
    assert run is not None
    assert run.shell == words


def test_a_misspelt_setting_is_one_mistake_not_many(folder: Folder) -> None:
    assert folder.mistakes(
        "[step.a]\ninputz = 'raw/{day}.csv'\ntarget = 'out/{day}.csv'\nrun = 'x {input} {target} {day}'\n"
    ) == [
        'step "a" has an unknown setting "inputz"',
        'step "a" has an unknown setting "target"',
    ]


def test_a_broken_setting_is_one_mistake_not_many(folder: Folder) -> None:
    assert folder.mistakes(
        "[step.a]\ninputs = ['s3://x/{day}']\ntargets = 'out/{day}.csv'\nrun = 'x {input} {day} {inputs[3]}'\n"
    ) == ['"inputs" of step "a" has a key of s3://, which is not supported']


# -- foreach ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("['eu', 'us']", ("eu", "us")),
        ("[1, 2.5, true, 2026-01-01]", ("1", "2.5", "true", "2026-01-01")),
        ("{ from = '2026-01-03', to = 'today' }", ("2026-01-03", "2026-01-04", "2026-01-05")),
        ("{ from = 2026-01-01, to = '2026-01-05', step = 2 }", ("2026-01-01", "2026-01-03", "2026-01-05")),
        ("{ from = 9, to = 11 }", ("9", "10", "11")),
        ("{ from = '08', to = '10' }", ("08", "09", "10")),
        ("{ from = '001', to = 2 }", ("001", "002")),
        ("{ from = -1, to = 1 }", ("-1", "0", "1")),
        ("{ from = 'today', to = 'today' }", ("2026-01-05",)),
        ("['{v}/x']", ("a/x",)),
    ],
)
def test_values_of_foreach(folder: Folder, written: str, values: tuple[str, ...]) -> None:
    project = folder.read(
        f"[vars]\nv = 'a'\n[step.a]\nforeach = {{ x = {written} }}\ntargets = 'out/{{x}}'\nrun = 'touch {{target}} {{x}}'\n"
    )
    assert project.steps[0].foreach == (("x", values),)
    assert project.today == ("2026-01-05" if "today" in written else None)


def test_one_value_need_not_be_named_by_the_targets(folder: Folder) -> None:
    folder.read("[step.a]\nforeach = { x = ['1'] }\ntargets = 'out'\nrun = 'touch {target}'\n")


# -- default ---------------------------------------------------------------------------------------------------------------------------


def test_default_takes_steps_keys_globs_and_tags(folder: Folder) -> None:
    project = folder.read(
        """
default = ["a", "step:a", "./out//1.csv", "out/*.csv", "tag:x", "dir/file"]
[step.a]
inputs = "raw/{n}.csv"
targets = "out/{n}.csv"
tags = "x"
run = "cp {input} {target}"
[step.b]
targets = "dir/"
run = "true"
"""
    )
    assert [name for name, _ in project.default] == ["a", "a", "out/1.csv", "out/*.csv", "tag:x", "dir/file"]


# -- include ---------------------------------------------------------------------------------------------------------------------------


def test_an_included_file_lives_in_its_own_folder(folder: Folder) -> None:
    folder.write(
        "etl/daily/Ductfile",
        """
[step.clean]
inputs = ["raw/{day}.csv", "../lib.py", "/abs", "step:prep"]
targets = "out/{day}.csv"
run = "x {input} {target}"
cwd = "sub"
[step.prep]
run = "true"
after = "setup"
cwd = "../.."
""",
    )
    project = folder.read(
        'include = "etl/daily/Ductfile"\n[step.setup]\nrun = "true"\n[step.all]\ninputs = "step:etl.daily.clean"\n'
    )
    clean, prep = project.steps[2:]
    assert [step.name for step in project.steps] == ["setup", "all", "etl.daily.clean", "etl.daily.prep"]
    assert keys(clean.inputs) == ["etl/daily/raw/{day}.csv", "etl/lib.py", "/abs", "step:etl.daily.prep"]
    assert keys(clean.targets) == ["etl/daily/out/{day}.csv"]
    assert (clean.cwd, prep.cwd, prep.after) == ("etl/daily/sub", ".", ("setup",))
    assert str(clean.location) == "etl/daily/Ductfile:2"
    assert project.files == ("Ductfile", "etl/daily/Ductfile")


def test_a_step_without_cwd_runs_in_the_folder_of_its_file(folder: Folder) -> None:
    folder.write("etl/Ductfile", "[step.a]\nrun = 'true'\n")
    assert folder.step("include = 'etl/Ductfile'\n").cwd == "etl"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("etl/Ductfile", "etl.a"),
        ("etl/load.toml", "etl.a"),
        ("more.toml", "more.a"),
        ("Ductfile.more", "more.a"),
        ("with space/Ductfile", "with-space.a"),
    ],
)
def test_names_of_included_steps(folder: Folder, file: str, name: str) -> None:
    folder.write(file, "[step.a]\nrun = 'true'\n")
    assert folder.step(f"include = '{file}'\n").name == name


def test_vars_and_defaults_of_a_file_are_its_own(folder: Folder) -> None:
    folder.write(
        "etl/Ductfile", "[vars]\nv = 'etl'\nw = 'w'\n[step.a]\ninputs = '{v}'\nrun = ['echo', '{v} {{v}} {w} {v}']\n"
    )
    text = "include = 'etl/Ductfile'\n[vars]\nv = 'main'\n[defaults]\nretries = 2\n[step.b]\nrun = 'echo {v}'\n"
    project = folder.read(text)
    b, a = project.steps
    assert (a.retries, b.retries) == (0, 2)
    assert keys(a.inputs) == ["etl/etl"]
    assert a.run is not None
    assert a.run.argv == ("echo", "{v_} {{v}} {w} {v_}")
    assert project.vars == {"v": "main", "v_": "etl", "w": "w"}
    assert folder.read(text, {"v": "set", "w": "too"}).vars == {"v": "set", "w": "too"}


def test_pools_are_shared(folder: Folder) -> None:
    folder.write("etl/Ductfile", "[pools]\ndb = 9\nnet = 3\n[step.a]\npool = 'gpu'\nrun = 'true'\n")
    project = folder.read("include = 'etl/Ductfile'\n[pools]\ndb = 2\ngpu = 1\n[step.b]\npool = 'net'\nrun = 'true'\n")
    assert project.pools == {"db": 2, "gpu": 1, "net": 3}


def test_a_file_included_twice_is_read_once(folder: Folder) -> None:
    folder.write("lib/Ductfile", "[step.x]\nrun = 'true'\n")
    folder.write("etl/Ductfile", "include = '../lib/Ductfile'\n[step.a]\nrun = 'true'\n")
    project = folder.read("include = ['etl/Ductfile', 'lib/Ductfile']\n")
    assert [step.name for step in project.steps] == ["etl.a", "lib.x"]


def test_mistakes_of_all_files_are_told_together(folder: Folder) -> None:
    folder.write("etl/Ductfile", "[step.a]\nrun = 'true'\nretries = -1\nafter = 'nothing'\n")
    with pytest.raises(DuctfileError) as caught:
        folder.read("include = 'etl/Ductfile'\n[step.a]\ncolor = 1\nrun = 'x'\n[step.'etl.a']\nrun = 'true'\n")
    assert [(each.file, each.line) for each in caught.value.mistakes] == [
        ("Ductfile", 3),
        ("etl/Ductfile", 1),
        ("etl/Ductfile", 3),
        ("etl/Ductfile", 4),
    ]
    assert caught.value.mistakes[1].what == 'a second step is called "etl.a"'


def test_files_that_include_each_other_are_drawn(folder: Folder) -> None:
    folder.write("a/Ductfile", "include = '../b/Ductfile'\n")
    folder.write("b/Ductfile", "include = '../a/Ductfile'\n")
    with pytest.raises(DuctfileError) as caught:
        folder.read("include = 'a/Ductfile'\n[step.x]\nrun = 'true'\n")
    assert caught.value.mistakes[0].facts == ("a/Ductfile  includes b/Ductfile", "b/Ductfile  includes a/Ductfile")


def test_an_included_file_that_is_broken_hides_no_other_mistake_and_adds_none(folder: Folder) -> None:
    folder.write("etl/Ductfile", "x\n")
    whats = folder.mistakes("include = 'etl/Ductfile'\n[step.a]\nafter = 'etl.clean'\nretries = -1\nrun = 'true'\n")
    assert whats == ['"retries" of step "a" must be at least 0, not -1', "not valid TOML: a = is expected here"]


# -- what a terminal must not see --------------------------------------------------------------------------------------------------------


def test_no_message_can_harm_a_terminal(folder: Folder) -> None:
    with pytest.raises(DuctfileError) as caught:
        folder.read(
            '[step.a]\n"\\u001b[31m" = 1\nrun = "true"\ninputs = "\\u0000\\u001b"\n# \u202e\nafter = "\u202e\u009b"\n'
        )
    assert all(line.isprintable() for line in str(caught.value).split("\n"))


def test_the_root_may_hold_braces_and_globs(tmp_path: Path) -> None:
    odd = Folder(tmp_path / "a {b} c*")
    odd.root.mkdir()
    assert keys(odd.step("[step.a]\ninputs = ['../a {{b}} c*/x', '../y']\n").inputs) == ["x", "../y"]
