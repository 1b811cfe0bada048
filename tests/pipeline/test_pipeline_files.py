"""Pipelines in files: the command sees them, a Ductfile of the same words is judged alike, workers, kills, two at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from miniduct.errors import UsageError
from miniduct.pipeline import load
from support import REPOSITORY, wait_for

if TYPE_CHECKING:
    from support import Sandbox

PIPELINE = """
from miniduct import PipelineBuilder, PythonStep, ShellStep

def count(path):
    with open(path) as file:
        return len(file.readlines())

def double(number):
    return 2 * number

fetch = ShellStep("cp {input} {target}", name="fetch", inputs="in.txt", target="raw.txt")
counted = PythonStep(count)
doubled = PythonStep(double)
fetch >> counted >> doubled

pipeline = PipelineBuilder("daily")
pipeline.add_steps(fetch, counted, doubled)

if __name__ == "__main__":
    print(pipeline.execute()[doubled].value)
"""


@pytest.fixture
def daily(box: Sandbox) -> Sandbox:
    box.files({"in.txt": "a\nb\n", "pipeline.py": PIPELINE})
    return box


def python(box: Sandbox, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=box.root, env=box.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_builds_a_pipeline_and_then_nothing(daily: Sandbox) -> None:
    first = daily.duct("-f", "pipeline.py")
    assert first.code == 0, str(first)
    assert "3 jobs ran" in first.err
    assert "nothing to do (3 jobs up to date)" in daily.duct("-f", "pipeline.py", "build").err


def test_the_command_and_execute_share_what_they_know(daily: Sandbox) -> None:
    assert daily.duct("-f", "pipeline.py").code == 0
    assert python(daily, "pipeline.py") == "4\n"
    assert "nothing to do" in daily.duct("-f", "pipeline.py").err
    daily.write("in.txt", "a\n")
    assert python(daily, "pipeline.py") == "2\n"


def test_status_why_graph_and_list_know_its_steps(daily: Sandbox) -> None:
    assert daily.duct("-f", "pipeline.py").code == 0
    daily.write("pipeline.py", PIPELINE.replace("2 * number", "3 * number"))
    assert "doubled" not in daily.duct("-f", "pipeline.py", "status").out
    assert "function double changed" in daily.duct("-f", "pipeline.py", "status").out
    assert "function double changed" in daily.duct("-f", "pipeline.py", "why", "double").out
    assert 'label="double"' in daily.duct("-f", "pipeline.py", "graph").out
    assert daily.duct("-f", "pipeline.py", "list").out.startswith("fetch")
    assert "function double changed" in daily.duct("-f", "pipeline.py").err


def test_a_failure_shows_the_step_and_its_output(daily: Sandbox) -> None:
    daily.write("pipeline.py", PIPELINE.replace("return 2 * number", "raise ValueError('odd')"))
    failed = daily.duct("-f", "pipeline.py")
    assert failed.code == 1
    assert "raised ValueError: odd" in failed.err
    assert "Traceback" in failed.out + failed.err


def test_a_mistake_has_its_file_and_line(daily: Sandbox) -> None:
    daily.write("pipeline.py", PIPELINE.replace("fetch >> counted", "fetch >> counted >> counted2", 1))
    result = daily.duct("-f", "pipeline.py")
    assert result.code == 2
    assert "pipeline.py:14: running it raised NameError" in result.err
    daily.write("pipeline.py", PIPELINE.replace("pipeline.add_steps(fetch, counted, ", "pipeline.add_steps(counted, "))
    result = daily.duct("-f", "pipeline.py")
    assert result.code == 2
    assert 'pipeline.py:11: step "fetch" comes before "count" of the pipeline "daily"' in result.err


@pytest.mark.parametrize(("text", "said"), [("", "no pipeline"), ("A = P('a')\nB = P('b')\n", "2 pipelines: a, b")])
def test_a_file_must_define_one_pipeline(box: Sandbox, text: str, said: str) -> None:
    box.write("x.py", f"from miniduct import PipelineBuilder as P\n{text}")
    result = box.duct("-f", "x.py")
    assert result.code == 2
    assert f'"x.py" defines {said}' in result.err


HEAD = "from miniduct import *\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "import sys\nsys.exit()",
            "x.py:3: the file ended by itself before its pipeline could be used\n  what only a script",
        ),
        ("import sys\nsys.exit(0)", "x.py:3: the file ended by itself before its"),
        ("import sys\nsys.exit(3)", "x.py:3: the file ended by itself, with 3, before its"),
        (
            "import sys\nsys.exit('no way')",
            "x.py:3: the file ended by itself before its pipeline could be used\n  it said: no way\n",
        ),
        ("raise GeneratorExit", "x.py:2: running it raised GeneratorExit\n"),
        ("class Own(BaseException): pass\nraise Own('hm')", "x.py:3: running it raised Own: hm\n"),
        (
            "class Odd(Exception):\n    lineno = property(lambda self: 1 / 0)\n    def __str__(self): raise ValueError\nraise Odd",
            "x.py:5: running it raised Odd\n",
        ),
        ("x = (", "x.py:2: it is no Python: '(' was never closed\n"),
        ("x = 1\0", "x.py:2: it is no Python: source code "),
        ("exec('1 / 0')", "x.py:2: running it raised ZeroDivisionError: division by zero\n"),
        ("exec('1 /')", "x.py:2: running it raised SyntaxError: "),
        (
            "import failing",
            "failing.py:2: running it raised ZeroDivisionError: division by zero\n  imported at x.py:2\n",
        ),
        ("import calling\ncalling.f()", "calling.py:2: running it raised KeyError: 'k'\n  called at x.py:3\n"),
        ("import broken", "broken.py:3: it is no Python: invalid syntax\n  imported at x.py:2\n"),
        (
            "import nulls",
            "nulls.py:2: it is no Python: source code string cannot contain null bytes\n  imported at x.py:2\n",
        ),
        ("import nosuch", "x.py:2: running it raised ModuleNotFoundError: No module named 'nosuch'\n"),
        ("import elsewhere", "elsewhere.py:1: it is no Python: invalid syntax\n  imported at x.py:2\n"),
    ],
)
def test_what_ends_the_running_of_a_file_is_told_with_its_line(box: Sandbox, text: str, told: str) -> None:
    box.files(
        {
            "x.py": HEAD + text,
            "failing.py": "\n1 / 0\n",
            "calling.py": "def f():\n    return {}['k']\n",
            "broken.py": "\n\ndef q(:\n",
            "nulls.py": "x = 1\n\0\n",
            "../elsewhere/elsewhere.py": "def q(:\n",
        }
    )
    result = box.duct("-f", "x.py", env={"PYTHONPATH": f"{box.home}/elsewhere"})
    assert result.code == 2, str(result)
    assert told in result.err
    assert result.err.startswith("duct: ")
    assert "Traceback" not in result.err


def test_a_file_that_vanished_has_no_line(box: Sandbox) -> None:
    with pytest.raises(UsageError) as told:
        load(box.path("x.py"))
    assert str(told.value) == "x.py: it cannot be read: no such file or directory"


def test_ctrl_c_while_a_file_is_run_goes_through(box: Sandbox) -> None:
    box.write("x.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load(box.path("x.py"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("PipelineBuilder('p x')", "x.py:2: a pipeline's name has letters"),
        (
            "p = PipelineBuilder('p')\na = PythonStep(print,\n  name='a b')\np.add_step(a)",
            "x.py:3: a step's name is a text",
        ),
        ("a = PythonStep(print)\na >> a", 'x.py:3: step "print" cannot come before itself\n'),
        ("a = PythonStep(print)\na >> 'b'", "x.py:3: the right side of >> must be a step"),
        (
            "a = PythonStep(print)\n[a] >> [a]",
            "x.py:3: a list >> a list means nothing to Python\n  write: for each in ",
        ),
        (
            "p = PipelineBuilder('p')\np.add_step(PythonStep(print, name='a'))\np.add_step(PythonStep(len, name='a'))",
            'x.py:4: two steps are called "a": x.py:3 and x.py:4; give one of them another name\n',
        ),
        ("PythonStep(print, retrys=3)", 'x.py:2: PythonStep has no setting "retrys"; did you mean "retries"?\n'),
        ("ShellStep('x', name='x', taget='y')", 'x.py:2: ShellStep has no setting "taget"; did you mean "target"?\n'),
        ("class S(BaseStep): pass\nS(zzz=1)", 'x.py:3: S has no setting "zzz"\n'),
        (
            "class S(BaseStep):\n  def __init__(self): pass\nPipelineBuilder('p').add_step(S())",
            "x.py:4: S.__init__ must call super().__init__()\n",
        ),
        (
            "import dataclasses\n@dataclasses.dataclass\nclass S(BaseStep):\n  x: int = 1\nPipelineBuilder('p').add_step(S())",
            "x.py:6: S is a dataclass: write @dataclass(eq=False), and a __post_init__ that calls super().__init__()\n",
        ),
    ],
)
def test_what_the_package_refuses_is_a_sentence_with_its_line(box: Sandbox, text: str, told: str) -> None:
    box.write("x.py", HEAD + text)
    result = box.duct("-f", "x.py")
    assert result.code == 2
    assert result.err.startswith(f"duct: {told}")


def test_a_file_that_is_not_there(box: Sandbox) -> None:
    assert 'there is no file "x.py"' in box.duct("-f", "x.py").err


def test_ductfile_and_pipeline_are_judged_alike(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.clean]
        inputs = "raw/{day}.csv"
        targets = "clean/{day}.csv"
        run = "tr a-z A-Z < {input} > {target}"

        [step.report]
        inputs = "clean/*.csv"
        targets = "report.txt"
        run = "cat {inputs} > {target}"
        """
    )
    box.write(
        "same.py",
        """
from miniduct import PipelineBuilder, ShellStep
clean = ShellStep("tr a-z A-Z < {input} > {target}", name="clean", inputs="raw/{day}.csv", targets="clean/{day}.csv")
report = ShellStep("cat {inputs} > {target}", name="report", inputs="clean/*.csv", targets="report.txt")
pipeline = PipelineBuilder("same")
pipeline.add_steps(clean, report)
""",
    )
    stories = []
    for flags in ((), ("-f", "same.py")):
        box.files({"raw/1.csv": "a", "raw/2.csv": "b"})
        for name in ("report.txt", "clean"):
            if box.exists(name):
                box.remove(name)
        story = []
        for change in (None, ("raw/2.csv", "c"), ("raw/3.csv", "d"), None):
            if change:
                box.write(*change)
            why = box.duct(*flags, "why", "report.txt").out if box.exists("report.txt") else ""
            ran = box.duct(*flags, "--json", "-j", "1").events
            reasons = [(each["job"], each["reasons"]) for each in ran if each["event"] == "job_started"]
            story.append((reasons, [line for line in why.splitlines() if "ago" not in line], box.read("report.txt")))
        box.remove("raw/3.csv")
        stories.append(story)
    assert stories[0] == stories[1]
    assert [len(reasons) for reasons, _, _ in stories[0]] == [3, 2, 2, 0]


def test_workers_may_be_processes(daily: Sandbox) -> None:
    daily.write(
        "pipeline.py", PIPELINE.replace('PipelineBuilder("daily")', 'PipelineBuilder("daily", workers="processes")')
    )
    assert python(daily, "pipeline.py") == "4\n"
    assert "nothing to do" in daily.duct("-f", "pipeline.py").err


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ("root='p.py'", 'pipeline "p": cannot work in the root "p.py": it is no folder'),
        ("notify=print, pools=5", 'p.py:4: "pools" of pipeline "p" must be a dict, not a number'),
    ],
)
def test_the_command_tells_mistakes_too(box: Sandbox, settings: str, what: str) -> None:
    box.files(
        {
            "p.py": f"""
from miniduct import PipelineBuilder, PythonStep

pipeline = PipelineBuilder("p", {settings})
pipeline.add_step(PythonStep(print, name="f", secrets=[5]))
"""
        }
    )
    result = box.duct("-f", "p.py")
    assert result.code == 2
    assert f"duct: {what}" in result.err


APART = """
import threading
from miniduct import PipelineBuilder, PythonStep, step
from helping.numbers import one

class Boom(Exception):
    pass

@step(retries=2, backoff=0, retry_on=Boom)
def flaky():
    raise Boom("again")

@step(retries=2, backoff=0, retry_on=KeyError)
def other():
    raise Boom("once")

@step
def lock():
    return threading.Lock()

pipeline = PipelineBuilder("apart", root="sub", workers="processes")
pipeline.add_steps(flaky, other, lock, PythonStep(one))
if __name__ == "__main__":
    results = pipeline.execute(raise_on_error=False, keep_going=True)
    print(results["one"].value, results["flaky"].attempts, results["other"].attempts)
    print(results["lock"].error)
    print(results["lock"].log and open(f"sub/{results['lock'].log}").read())
"""


@pytest.fixture
def apart(box: Sandbox) -> Sandbox:
    box.files({"p.py": APART, "helping/numbers.py": "def one():\n    return 1\n", "sub/p.py": "no module of ours"})
    return box


def test_processes_find_functions_and_classes_of_the_script(apart: Sandbox) -> None:
    lines = python(apart, "p.py").splitlines()
    assert lines[0] == "1 3 1"
    assert lines[1] == "its value, of type lock, cannot be pickled"
    assert "cache=False" in lines[3]
    assert "Traceback" not in "".join(lines[4:])


def test_processes_find_the_modules_beside_the_pipeline_file(apart: Sandbox) -> None:
    result = apart.duct("-f", "p.py", "-k")
    assert result.code == 1
    assert "ModuleNotFoundError" not in result.err
    assert result.err.count("flaky raised Boom: again in attempt") == 2
    assert "its value, of type lock, cannot be pickled" in result.err


def test_a_closure_cannot_go_to_another_process(daily: Sandbox) -> None:
    text = PIPELINE.replace('PipelineBuilder("daily")', 'PipelineBuilder("daily", workers="processes")')
    daily.write("pipeline.py", text.replace("PythonStep(double)", "PythonStep(lambda n: n)"))
    result = daily.duct("-f", "pipeline.py")
    assert result.code == 2
    assert 'step "lambda" cannot be called in another process' in result.err


SLOW = """
import os, time
from miniduct import PipelineBuilder, PythonStep

def first():
    return 1

def slow(number):
    open("started", "w").close()
    while not os.path.exists("gate"):
        time.sleep(0.01)
    return number

a, b = PythonStep(first), PythonStep(slow)
a >> b
pipeline = PipelineBuilder("slow")
pipeline.add_steps(a, b)
if __name__ == "__main__":
    print(pipeline.execute()[b].value)
"""


def test_ctrl_c_in_the_middle_keeps_what_ended(box: Sandbox) -> None:
    box.write("slow.py", SLOW)
    process = subprocess.Popen([sys.executable, "slow.py"], cwd=box.root, env=box.env, stderr=subprocess.PIPE)
    wait_for(lambda: box.exists("started"), "the step to start")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in told
    box.write("gate")
    again = box.duct("-f", "slow.py")
    assert "1 job ran, 1 up to date" in again.err


def test_two_processes_at_once_take_turns(box: Sandbox) -> None:
    box.write("slow.py", SLOW)
    first = subprocess.Popen([sys.executable, "slow.py"], cwd=box.root, env=box.env, stdout=subprocess.PIPE)
    wait_for(lambda: box.exists("started"), "the step to start")
    second = subprocess.Popen([sys.executable, "slow.py"], cwd=box.root, env=box.env, stdout=subprocess.PIPE)
    box.remove("started")
    box.write("gate")
    assert [each.communicate(timeout=30)[0] for each in (first, second)] == [b"1\n", b"1\n"]
    assert not box.exists("started")


def test_events_go_to_logging_and_callbacks(box: Sandbox) -> None:
    box.write(
        "logs.py",
        textwrap.dedent("""
        import logging
        from miniduct import PipelineBuilder, PythonStep
        records = []
        class Keep(logging.Handler):
            def emit(self, record):
                records.append((record.levelname, record.step, record.run, record.getMessage().partition(" in ")[0]))
        logging.getLogger("miniduct").addHandler(Keep())
        logging.getLogger("miniduct").setLevel(logging.INFO)
        events = []
        pipeline = PipelineBuilder("logs")
        pipeline.add_step(PythonStep(lambda: 1, name="one"))
        pipeline.execute(on_event=lambda event: events.append(type(event).__name__))
        print(records[1])
        print(*events)
        """),
    )
    lines = python(box, "logs.py").splitlines()
    assert lines == ["('INFO', 'one', 1, 'one: done')", "BuildStarted JobStarted JobEnded BuildEnded"]


def test_the_example_works(box: Sandbox) -> None:
    with open(f"{REPOSITORY}/examples/pipeline/pipeline.py", encoding="utf-8") as source:
        box.write("pipeline.py", source.read())
    assert "report: done" in python(box, "pipeline.py")
    assert json.loads(box.read("report.json")) == {"kiel": 7.0, "ulm": 2.0}
    assert "nothing to do" in box.duct("-f", "pipeline.py").err
    box.remove("report.json")
    assert "1 job ran" in box.duct("-f", "pipeline.py").err
