"""Steps that are Python functions: what makes them stale, what they are given, and that a fault is the end of one job only."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import textwrap
from typing import TYPE_CHECKING

import pytest

from support import wait_for

if TYPE_CHECKING:
    from typing import Any

    from support import Result, Sandbox

CLEAN = """
import os
import helper

def ran(name):
    with open(os.environ["RUNS"], "ab") as file:
        file.write(os.fsencode(name) + b"\\0")

def clean(input, target, n):
    ran(n)
    with open(input) as source, open(target, "w") as sink:
        sink.write(helper.changed(source.read()))
"""

STEPS = """
[step.clean]
inputs = "raw/{n}.txt"
targets = "clean/{n}.txt"
python = "clean:clean"

[step.all]
inputs = "clean/*.txt"
targets = "all.txt"
run = '''printf 'all\\0' >> "$RUNS"; cat {inputs} > {target}'''
"""


@pytest.fixture
def project(box: Sandbox) -> Sandbox:
    """Three files, a function for each, a command for all, built."""
    box.files({f"raw/{n}.txt": f"{n}\n" for n in "123"})
    box.files({"clean.py": CLEAN, "helper.py": "def changed(text): return text.upper()\n", "unrelated.py": ""})
    box.ductfile(STEPS)
    box.build()
    assert box.ran() == ["1", "2", "3", "all"]
    assert box.read("all.txt") == "1\n2\n3\n"
    return box


def code(box: Sandbox, text: str, name: str = "job.py") -> None:
    prelude = "import os, signal, subprocess, sys, threading, time\n"
    box.write(name, prelude + textwrap.dedent(text))


def failing(box: Sandbox, *args: str, **more: Any) -> Result:
    """A build in which a job fails; the traceback that is shown is the job's own."""
    result = box.duct(*args, **more)
    assert result.code == 1, str(result)
    assert "bug of duct" not in result.err, str(result)
    return result


# -- what makes it stale ---------------------------------------------------------------------------------------------------------------


def test_second_build_runs_nothing(project: Sandbox) -> None:
    project.nothing_to_do()
    assert not project.exists("__pycache__")


def test_a_changed_input_runs_one_function(project: Sandbox) -> None:
    project.write("raw/2.txt", "x\n")
    project.build()
    assert project.ran() == ["2", "all"]
    project.nothing_to_do()


def test_a_changed_helper_runs_all_and_is_told_by_name(project: Sandbox) -> None:
    project.write("helper.py", "def changed(text): return text + '!'\n")
    result = project.build()
    assert "clean[n=1]: module helper changed" in result.err
    assert project.ran() == ["1", "2", "3", "all"]
    assert project.read("all.txt") == "1\n!2\n!3\n!"
    assert "module helper changed" in project.expect(0, "why", "clean/1.txt").out
    project.nothing_to_do()


def test_a_change_behind_size_and_time_is_seen(project: Sandbox) -> None:
    project.write_behind_the_stamp("helper.py", "def changed(text): return text.lower()\n")
    project.write("raw/1.txt", "AbC\n")
    project.build()
    assert project.ran() == ["1", "2", "3", "all"]
    assert project.read("clean/1.txt") == "abc\n"


def test_helper_that_changes_nothing_stops_there(project: Sandbox) -> None:
    project.write("helper.py", "def changed(text): return text.upper().upper()\n")
    project.build()
    assert project.ran() == ["1", "2", "3"]


def test_comments_docstrings_and_layout_do_not_count(project: Sandbox) -> None:
    project.write(
        "helper.py",
        '"""Helps."""\n\n# note\ndef changed(text):\n    """Upper case."""\n    return text.upper()  # so\n',
    )
    project.nothing_to_do()
    project.write("clean.py", CLEAN + "\n\n# the end\n")
    project.nothing_to_do()


def test_unrelated_module_does_not_count(project: Sandbox) -> None:
    project.write("unrelated.py", "X = 1\n")
    project.nothing_to_do()


def test_a_module_that_comes_before_an_installed_one_counts(box: Sandbox) -> None:
    code(box, "import colorsys\ndef f(target): open(target, 'w').write(getattr(colorsys, 'NAME', 'theirs'))")
    box.ductfile('[step.a]\ntargets = "a"\npython = "job:f"\n')
    box.build()
    assert box.read("a") == "theirs"
    box.write("colorsys.py", "NAME = 'ours'\n")
    assert "module colorsys is imported now" in box.build().err
    assert box.read("a") == "ours"
    box.remove("colorsys.py")
    assert "module colorsys is no longer imported" in box.build().err
    assert box.read("a") == "theirs"
    box.nothing_to_do()


def test_another_function_and_other_parameters_count(box: Sandbox) -> None:
    code(
        box, "def f(target, n=1): open(target, 'w').write(str(n))\ndef g(target, n=1): open(target, 'w').write(f'g{n}')"
    )
    step = '[step.a]\ntargets = "a"\npython = "job:{}"\nparams = {{ n = {} }}\n'
    box.ductfile(step.format("f", 2))
    box.build()
    assert box.read("a") == "2"
    box.ductfile(step.format("g", 2))
    assert "command changed" in box.build().err
    assert box.read("a") == "g2"
    box.ductfile(step.format("g", 3))
    assert "params.n changed: 2 -> 3" in box.build().err
    assert box.read("a") == "g3"


def test_from_command_to_function_and_back(box: Sandbox) -> None:
    code(box, "def f(target): open(target, 'w').write('function')")
    run, python = (
        '[step.a]\ntargets = "a"\n' + action for action in ("run = 'echo > {target}'\n", 'python = "job:f"\n')
    )
    for text in (run, python, run, python):
        box.ductfile(text)
        assert "1 job ran" in box.build().err
        box.nothing_to_do()
    assert box.read("a") == "function"


def test_dry_run_and_status_tell_and_do_nothing(project: Sandbox) -> None:
    project.write("helper.py", "def changed(text): return '?'\n")
    before = project.state()
    assert "3 jobs will run, 1 may run" in project.expect(0, "-n").err
    assert "module helper changed" in project.expect(0, "status").out
    assert project.state() == before
    assert project.ran() == []


def test_a_step_without_targets_runs_for_each_input(box: Sandbox) -> None:
    box.files({"in/a": "", "in/b": ""})
    code(box, "def f(name): print('for', name)")
    box.ductfile('[step.a]\ninputs = "in/{name}"\npython = "job:f"\n')
    result = box.build("-j1")
    assert result.out.splitlines() == ["for a", "for b"]
    box.nothing_to_do()


def test_targets_given_to_nobody_are_written_in_place(box: Sandbox) -> None:
    code(box, "def f(): open('a', 'w').write(os.environ['WHAT']); raise SystemExit(int(os.environ['CODE']))")
    box.ductfile('[step.a]\ntargets = "a"\npython = "job:f"\nenv = ["WHAT"]\n')
    box.build(env={"WHAT": "1", "CODE": "0"})
    failing(box, "build", env={"WHAT": "2", "CODE": "1"})
    assert box.read("a") == "1"
    box.build(env={"WHAT": "2", "CODE": "0"})
    assert box.read("a") == "2"


# -- what it is given ------------------------------------------------------------------------------------------------------------------


def test_all_that_can_be_given(box: Sandbox) -> None:
    box.files({"d/1": "", "d/2": "", "c": ""})
    box.ductfile(
        """
        [step.a]
        foreach = { region = ["eu"] }
        inputs = { days = "d/*", code = "c" }
        targets = { main = "out/{region}", more = "folder/{region}/" }
        python = "job:g"
        params = { n = 1, day = 2026-01-05, "odd name" = [1.5, true] }
        """
    )
    code(
        box,
        """
        import json
        def g(**given):
            os.makedirs(given["targets"]["more"][0])
            with open(given["target"], "w") as file:
                json.dump(given, file, default=str)
        """,
    )
    box.build()
    given = json.loads(box.read("out/eu"))
    assert given.pop("target").endswith("/out/eu")
    assert [*given.pop("targets")] == ["main", "more"]
    assert given == {
        "region": "eu",
        "n": 1,
        "day": "2026-01-05",
        "odd name": [1.5, True],
        "params": {"n": 1, "day": "2026-01-05", "odd name": [1.5, True]},
        "input": "d/1",
        "inputs": {"days": ["d/1", "d/2"], "code": ["c"]},
    }


HOSTILE = [
    "a b",
    "'",
    '"',
    "$(touch pwned)",
    "-rf",
    "a\nb",
    "\\",
    "é",
    "\udcff",
    "{n}",
    "%s",
    "#",
    "`",
    "\u2028",
    "\x1b[31m",
]


def test_names_are_data(box: Sandbox) -> None:
    box.files({f"raw/{name}": str(number) for number, name in enumerate(HOSTILE)})
    code(
        box,
        """
        def f(input, target, name):
            assert os.path.basename(input) == name == os.path.basename(target)
            with open(input, "rb") as source, open(target, "wb") as sink:
                sink.write(source.read())
        """,
    )
    box.ductfile('[step.a]\ninputs = "raw/{name}"\ntargets = "out/{name}"\npython = "job:f"\n')
    box.build()
    assert {name: box.read(f"out/{name}") for name in HOSTILE} == {name: str(at) for at, name in enumerate(HOSTILE)}
    assert not box.exists("pwned")
    box.nothing_to_do()


def test_the_command_that_is_shown_can_be_repeated(box: Sandbox) -> None:
    names = [name for name in HOSTILE if name not in ("\x1b[31m", "\udcff", "\u2028", "a\nb")]
    box.files({f"raw/{name}": "" for name in names})
    code(
        box,
        """
        def f(input, target, name, params):
            assert os.path.exists(input), input
            if os.path.exists("broken"): raise ValueError(params["it's"])
            open(target, "w").write(name)
        """,
    )
    box.ductfile(
        """
        [step.a]
        inputs = "raw/{name}"
        targets = "out/{name}"
        python = "job:f"
        params = { "it's" = "a \\"quote\\"", day = 2026-01-05 }
        """
    )
    box.write("broken")
    commands = [
        event["command"] for event in failing(box, "build", "-k", "--json").events if event["event"] == "job_started"
    ]
    assert len(commands) == len(names)
    box.remove("broken")
    for command in commands:
        assert shlex.split(command)[:2] == ["python3", "-c"]
        subprocess.run(["sh", "-c", command], cwd=box.root, env=box.env, check=True)
    assert sorted(os.listdir(box.path("out"))) == sorted(names)


def test_included_steps_find_the_modules_beside_their_ductfile(box: Sandbox) -> None:
    box.ductfile('include = "etl/Ductfile"\n[step.top]\ntargets = "top"\npython = "job:f"\n')
    box.write("etl/Ductfile", '[step.low]\ntargets = "low"\npython = "job:f"\ncwd = "work"\n')
    os.makedirs(box.path("etl/work"))
    code(box, "def f(target): open(target, 'w').write('top')")
    code(
        box,
        "import own\ndef f(target): open(target, 'w').write(own.NAME + os.path.basename(os.getcwd()))",
        "etl/job.py",
    )
    box.write("etl/own.py", "NAME = 'low in '")
    events = box.build("--json").events
    assert (box.read("top"), box.read("etl/low")) == ("top", "low in work")
    box.nothing_to_do()
    box.write("etl/own.py", "NAME = 'deep in '")
    result = box.build()
    assert "module own changed" in result.err
    assert "1 job ran" in result.err
    box.remove("etl/low")
    command = next(
        each["command"] for each in events if each["event"] == "job_started" and each["job"]["step"] == "etl.low"
    )
    subprocess.run(["sh", "-c", command], cwd=box.root, env=box.env, check=True)
    assert box.read("etl/low") == "deep in work"


def test_secrets_are_masked(box: Sandbox) -> None:
    code(box, "def f(): print('it is', os.environ['TOKEN']); raise ValueError(os.environ['TOKEN'])")
    box.ductfile('[step.a]\npython = "job:f"\nsecrets = ["TOKEN"]\n')
    result = failing(box, "build", env={"TOKEN": "s3cret"})
    assert "it is ***" in result.out + result.err
    assert "s3cret" not in result.out + result.err
    for folder, _, names in os.walk(box.path(".duct")):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert b"s3cret" not in file.read(), name


# -- faults: each is the end of one job only ----------------------------------------------------------------------------------------------

FAULTS = {
    "exception": ("raise ValueError('no data')", "raised ValueError: no data"),
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
    "os_exit": ("os._exit(4)", "failed with exit code 4"),
    "sys_exit": ("sys.exit(5)", "failed with exit code 5"),
    "sys_exit_text": ("sys.exit('no luck')", "no luck"),
    "interrupt": ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
    "hang": ("time.sleep(60)", "ran past its timeout"),
    "hang_deaf": ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", "ran past its timeout"),
    "recursion": ("(lambda f: f(f))(lambda f: f(f))", "raised RecursionError"),
    "import": ("import no_such_module", "raised ModuleNotFoundError"),
    "killed": ("os.killpg(0, signal.SIGKILL)", "was killed by SIGKILL"),
    "not_made": ("os.chdir('/')", "did not make out/fault"),
    "lazy": ("yield", "was not begun"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_the_end_of_one_job(box: Sandbox, name: str) -> None:
    body, said = FAULTS[name]
    box.files({f"raw/{each}": each for each in ("1", "2", "fault", "x", "y", "z")})
    code(
        box,
        f"""
        def f(input, target, name):
            if name == "fault":
                fault()
            time.sleep(0.05)
            with open(input) as source, open(target, "w") as sink:
                sink.write(source.read())

        def fault():
            {body}
        """.replace("fault()\n            time", "return fault()\n            time"),
    )
    box.ductfile('[step.a]\ninputs = "raw/{name}"\ntargets = "out/{name}"\npython = "job:f"\ntimeout = 1\n')
    result = failing(box, "build", "-k", "-j2")
    assert said in result.err + result.out
    assert "5 jobs ran, 1 failed" in result.err
    assert sorted(os.listdir(box.path("out"))) == ["1", "2", "x", "y", "z"]
    assert box.processes() == []
    assert "worker.py" not in result.err + result.out


ODD = {
    "stdin": "sys.stdin.read(); input_ = os.read(0, 10)",
    "closes": "os.close(0); os.close(1); os.close(2)",
    "closes_all": "os.closerange(0, 200)",
    "fork": "os.fork() or os._exit(0)",
    "child": "subprocess.Popen(['sleep', '0.2'])",
    "thread": "threading.Thread(target=time.sleep, args=[0.2]).start()",
    "daemon": "threading.Thread(target=time.sleep, args=[60], daemon=True).start()",
    "changes": "os.chdir('/'); os.environ.clear(); sys.argv = []; os.umask(0o777); sys.path.clear()",
    "handlers": "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.alarm(60)",
    "exit": "sys.exit(0)",
    "hard_exit": "os._exit(0)",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_behaviour_disturbs_nobody(box: Sandbox, name: str) -> None:
    box.files({f"raw/{n}": str(n) for n in range(8)})
    code(
        box,
        f"""
        def f(input, target, n):
            assert os.getcwd() == os.path.dirname(os.path.abspath(__file__))
            assert os.environ["RUNS"] and sys.argv == ["job:f"] and os.umask(0o022) == 0o022
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            assert sys.stdin.read() == ""
            with open(input) as source, open(target, "w") as sink:
                sink.write(source.read())
            print("said by", n, flush=True)
            if int(n) % 2:
                {ODD[name]}
        """,
    )
    box.ductfile('[step.a]\ninputs = "raw/{n}"\ntargets = "out/{n}"\npython = "job:f"\ntimeout = 20\n')
    result = box.build("-j2")
    assert sorted(result.out.splitlines()) == [f"said by {n}" for n in range(8)]
    assert [box.read(f"out/{n}") for n in range(8)] == [str(n) for n in range(8)]
    box.nothing_to_do()


def test_a_failure_shows_the_traceback_of_the_user_only(box: Sandbox) -> None:
    code(box, "def f():\n    return 1 / 0")
    box.ductfile('[step.a]\npython = "job:f"\n')
    result = failing(box, "build")
    assert 'step "a" raised ZeroDivisionError: division by zero' in result.err
    text = result.out + result.err
    assert f'File "{box.path("job.py")}", line 3, in f' in text
    assert "python3 -c 'from job import f; f()'" in text
    assert "worker.py" not in text


def test_a_failed_function_is_tried_again_in_a_new_process(box: Sandbox) -> None:
    code(
        box,
        """
        def f(target):
            open("pids", "a").write(f"{os.getpid()} {os.environ.get('DUCT_ATTEMPT')}\\n")
            if os.environ.get("DUCT_ATTEMPT") != "3":
                raise OSError("not yet")
            open(target, "w").close()
        """,
    )
    box.ductfile('[step.a]\ntargets = "a"\npython = "job:f"\nretries = 2\nbackoff = 0\n')
    box.build()
    lines = [line.split() for line in box.read("pids").splitlines()]
    assert [attempt for _, attempt in lines] == ["None", "2", "3"]
    assert len({pid for pid, _ in lines}) == 3


def test_a_failed_function_leaves_the_last_good_target(project: Sandbox) -> None:
    project.write("helper.py", "def changed(text): raise ValueError\n")
    failing(project, "build", "-k")
    assert project.read("clean/1.txt") == "1\n"
    assert project.read("all.txt") == "1\n2\n3\n"


# -- the end of duct -------------------------------------------------------------------------------------------------------------------

WAITS = """
def f(target):
    with open(os.environ["RUNS"], "ab") as file:
        file.write(b"f\\0")
    child = subprocess.Popen(["sleep", "100"])
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    child.kill()
    child.wait()
    open(target, "w").write("whole")
"""


@pytest.fixture
def waiting(box: Sandbox) -> subprocess.Popen[bytes]:
    """A build whose two functions run, each with a child."""
    code(box, WAITS)
    box.ductfile('[step.a]\nforeach = { n = [1, 2] }\ntargets = "{n}"\npython = "job:f"\n')
    process = box.start("build", "-j2")
    wait_for(lambda: len(box.processes()) >= 5, "two workers with a child each")
    return process


def test_workers_die_with_a_killed_duct(box: Sandbox, waiting: subprocess.Popen[bytes]) -> None:
    waiting.kill()
    box.finish(waiting)
    wait_for(lambda: box.processes() == [], "the end of all processes", 5)
    box.open_gate()
    box.build()
    assert [box.read(n) for n in "12"] == ["whole", "whole"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_functions_and_leaves_no_half(
    box: Sandbox, waiting: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    waiting.send_signal(number)
    result = box.finish(waiting, timeout=20)
    assert result.code == 130
    assert "Traceback" not in result.err
    assert box.processes() == []
    assert not box.exists("1")


def test_no_worker_is_left_after_a_build(project: Sandbox) -> None:
    project.write("raw/1.txt", "9\n")
    project.build()
    assert project.processes() == []


# -- mistakes --------------------------------------------------------------------------------------------------------------------------


def test_mistakes_are_told_before_anything_runs(project: Sandbox) -> None:
    project.write("helper.py", "def changed(text: return text\n")
    result = project.expect(2, "build")
    assert '"python" of step "clean" needs helper.py, which is broken: helper.py:1:' in result.err
    project.write("helper.py", "def changed(text): return text\n")
    project.write("clean.py", CLEAN.replace("input, target, n", "input, target, m"))
    assert 'parameter "m" of clean:clean gets no value' in project.expect(2, "build").err
    project.remove("clean.py")
    assert 'names module "clean"' in project.expect(2, "build").err
    assert project.ran() == []


def test_the_names_under_which_a_function_gets_its_files_count(box: Sandbox) -> None:
    box.files({"x": "X", "y": "Y", "job.py": "def f(inputs, target):\n    open(target, 'w').write(str(inputs))\n"})
    step = '[step.f]\ninputs = {{ {} = "x", {} = "y" }}\ntargets = "o"\npython = "job:f"\n'
    box.ductfile(step.format("old", "new"))
    box.build()
    box.ductfile(step.format("new", "old"))
    assert "arguments changed" in box.build().err
    assert box.read("o") == "{'new': ['x'], 'old': ['y']}"
    box.nothing_to_do()


def test_names_that_a_function_does_not_take_do_not_count(box: Sandbox) -> None:
    box.files({"x": "X", "job.py": "def f(input, target):\n    open(target, 'w').write(input)\n"})
    step = '[step.f]\ninputs = {{ {} = "x" }}\ntargets = "o"\npython = "job:f"\n'
    box.ductfile(step.format("old"))
    box.build()
    box.ductfile(step.format("new"))
    box.nothing_to_do()
