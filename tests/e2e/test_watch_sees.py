"""What a watch sees although the kernel does not tell it by the name of a key, and what it outlives."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from support import Sandbox, wait_for
from support_watch import Watching, waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS = """
[step.copy]
inputs = "raw/{n}.txt"
targets = "out/{n}.txt"
run = "cp {input} {target}"

[step.all]
inputs = "out/*.txt"
targets = "all.txt"
run = "cat {inputs} > {target}"
"""


@pytest.fixture
def project(box: Sandbox) -> Sandbox:
    box.write("raw/1.txt", "1\n")
    box.ductfile(STEPS)
    return box


@pytest.fixture
def watching(box: Sandbox) -> Iterator[Callable[..., Watching]]:
    """Starts watches, which must end well when they are asked to."""
    started: list[Watching] = []

    def start(*args: str, **settings: bool) -> Watching:
        started.append(Watching(box, *args, **settings))
        return started[-1]

    yield start
    for watch in started:
        code = watch.process.poll()
        assert (watch.end() if code is None else code) == 0, watch.text


def holds(box: Sandbox, content: str, name: str = "all.txt") -> None:
    """Wait until the target does."""
    wait_for(lambda: box.exists(name) and box.read(name) == content, f"{content!r} in {name}")


# -- folders ----------------------------------------------------------------------------------------------------------------------------


def by_renames(box: Sandbox) -> None:
    shutil.copytree(box.path("raw"), box.path("new"))
    box.rename("raw", "old")
    box.rename("new", "raw")


def by_another_link(box: Sandbox) -> None:
    shutil.copytree(box.path("one"), box.path("two"))
    os.symlink("two", box.path("link"))
    box.rename("link", "raw")


@pytest.mark.parametrize("replace", [by_renames, by_another_link])
def test_a_folder_in_the_place_of_another_one(
    project: Sandbox, replace: Callable[[Sandbox], None], watching: Callable[..., Watching]
) -> None:
    if replace is by_another_link:
        project.rename("raw", "one")
        os.symlink("one", project.path("raw"))
    watching()
    replace(project)
    time.sleep(0.5)
    project.write("raw/1.txt", "edited\n")
    holds(project, "edited\n")
    project.write("raw/1.txt", "once more\n")
    holds(project, "once more\n")


def test_a_folder_that_is_removed_while_a_process_stands_in_it(
    project: Sandbox, watching: Callable[..., Watching]
) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=project.path("raw")) as process:
        watch = watching()
        shutil.rmtree(project.path("raw"))
        project.write("raw/1.txt", "2\n")
        holds(project, "2\n")
        project.write("raw/1.txt", "3\n")
        holds(project, "3\n")
        assert watch.end() == 0
        process.kill()


def test_a_folder_of_two_names(box: Sandbox, watching: Callable[..., Watching]) -> None:
    """Also when the step that reads it by one of them is dropped."""
    real = '[step.real]\ninputs = "real/{n}.txt"\ntargets = "o1/{n}.txt"\nrun = "cp {input} {target}"\n'
    box.ductfile(real + real.replace("step.real", "step.link").replace('"real/', '"link/').replace("o1", "o2"))
    box.write("real/1.txt", "1\n")
    os.symlink("real", box.path("link"))
    watching()
    box.write("real/1.txt", "2\n")
    holds(box, "2\n", "o1/1.txt")
    holds(box, "2\n", "o2/1.txt")
    box.ductfile(real)
    time.sleep(1)
    box.write("real/1.txt", "3\n")
    holds(box, "3\n", "o1/1.txt")


def test_what_is_inside_of_a_folder_read_as_a_whole(box: Sandbox, watching: Callable[..., Watching]) -> None:
    box.ductfile(
        '[step.sum]\ninputs = "site/"\ntargets = "all.txt"\nrun = "cat $(find {input} -type f | sort) > {target}"\n'
    )
    box.files({"site/a": "a\n", "site/sub/b": "b\n"})
    watching()
    box.write("site/a", "A\n")
    holds(box, "A\nb\n")
    box.write("site/sub/c", "c\n")
    holds(box, "A\nb\nc\n")
    os.unlink(box.path("site/sub/b"))
    holds(box, "A\nc\n")


@pytest.mark.parametrize("args", [(), ("--poll", "0.5")], ids=["events", "polling"])
def test_a_folder_that_is_written_to_without_end_holds_up_nothing_else(
    box: Sandbox, watching: Callable[..., Watching], args: tuple[str, ...]
) -> None:
    tree = '[step.tree]\ninputs = "data/"\ntargets = "tree.txt"\nrun = "find {input} -type f | wc -l > {target}"\n'
    box.ductfile(tree + '[step.b]\ninputs = "a.txt"\ntargets = "b.txt"\nrun = "cp {input} {target}"\n')
    box.files({"data/sub/x": "1\n", "a.txt": "1\n"})
    watching(*args, "--settle", "0.05")
    writer = subprocess.Popen(["sh", "-c", "while :; do echo l >> data/sub/log; sleep 0.03; done"], cwd=box.root)
    try:
        time.sleep(2.5)
        box.write("a.txt", "2\n")
        holds(box, "2\n", "b.txt")
    finally:
        writer.kill()
        writer.wait()


def test_inputs_that_a_job_changes_in_turns_are_not_built_without_rest(
    box: Sandbox, watching: Callable[..., Watching]
) -> None:
    run = "echo >> runs; N=$(wc -l < runs); echo $N >> in/$((N % 3)); cat {inputs} > {target}"
    box.ductfile(f'[step.s]\ninputs = "in/*"\ntargets = "out"\nrun = "{run}"\n')
    box.files({f"in/{n}": "" for n in "012"})
    watch = watching("--settle", "0.02")
    watch.says("changes with each build: the next one in 1.0 s")
    assert box.read("runs").count("\n") <= 6


# -- files of several names -------------------------------------------------------------------------------------------------------------


def test_where_links_lead(project: Sandbox, watching: Callable[..., Watching]) -> None:
    project.files({"far/1.txt": "1\n", "far/Ductfile": STEPS, "other": "2\n"})
    for name in ("raw/1.txt", "Ductfile"):
        os.unlink(project.path(name))
        os.symlink(project.path(f"far/{os.path.basename(name)}"), project.path(name))
    os.link(project.path("other"), project.path("raw/2.txt"))
    watching()
    project.write("far/1.txt", "edited\n")
    holds(project, "edited\n2\n")
    project.write("other", "by its other name\n")
    holds(project, "edited\nby its other name\n")
    project.write("far/Ductfile", STEPS.replace("cat {inputs}", "tail -n 1 {inputs} | tail -n 1"))
    holds(project, "by its other name\n")


def test_polling_a_ductfile_that_is_a_link_does_not_keep_it_awake(
    project: Sandbox, watching: Callable[..., Watching]
) -> None:
    project.rename("Ductfile", "real")
    os.symlink("real", project.path("Ductfile"))
    watch = watching("--poll", "1")
    time.sleep(2.5)
    assert waits(watch.process.pid, during=1.0) < 50


# -- mends ------------------------------------------------------------------------------------------------------------------------------

MADE = '[step.made]\ninputs = ["a.txt", "sub/b.txt"]\ntargets = "made.txt"\nrun = "cat {inputs} > {target}"\n'


@pytest.mark.parametrize("early", [True, False])
def test_an_input_that_comes_after_the_step_that_reads_it(
    project: Sandbox, early: bool, watching: Callable[..., Watching]
) -> None:
    if early:
        project.ductfile(STEPS + MADE)
    watch = watching()
    if not early:
        project.ductfile(STEPS + MADE)
        watch.says("which does not exist")
    project.write("a.txt", "a\n")
    project.write("sub/b.txt", "b\n")
    holds(project, "a\nb\n", "made.txt")


def test_an_included_file_or_a_module_that_is_mended(box: Sandbox, watching: Callable[..., Watching]) -> None:
    box.files({"Ductfile": 'include = ["etl/Ductfile"]\n', "etl/Ductfile": "[step.x"})
    watch = watching()
    box.write("etl/Ductfile", '[step.x]\ntargets = "x.txt"\npython = "steps:f"\n')
    watch.says("steps")
    box.write("etl/steps.py", "def f(target):\n    open(target, 'w').close()\n")
    wait_for(lambda: box.exists("etl/x.txt"), "the target")
    assert watch.text.count("etl/Ductfile:1") == 1, "it says so once"


def test_a_mistake_is_told_once_whatever_else_is_saved(project: Sandbox, watching: Callable[..., Watching]) -> None:
    watch = watching()
    project.ductfile("[step.x")
    watch.says("Ductfile:1")
    for number in range(5):
        project.write(f"{number}.log", "x\n")
        project.write("app.log", f"{number}\n")
        time.sleep(0.4)
    assert watch.text.count("Ductfile:1") == 1
    project.ductfile("[step.y")
    watch.says("Ductfile:1")
    project.ductfile(STEPS)
    project.write("raw/1.txt", "2\n")
    holds(project, "2\n")


def test_a_pipeline_that_writes_while_it_is_loaded_is_not_loaded_without_end(
    box: Sandbox, watching: Callable[..., Watching]
) -> None:
    box.write("pipeline.py", LOADED)
    box.write("helper.py", "x = 1\n")
    watch = watching("-f", "pipeline.py")
    box.write("helper.py", "x = (\n")
    watch.says("never closed")
    before = box.read("load.log").count("x")
    time.sleep(3)
    assert box.read("load.log").count("x") - before <= 3
    assert watch.text.count("never closed") == 1


def test_modules_of_a_pipeline_that_its_own_program_has_executed(
    box: Sandbox, watching: Callable[..., Watching]
) -> None:
    box.write("helper.py", "def text(): return 'one'\n")
    box.write("pipeline.py", EXECUTED)
    program = [sys.executable, box.path("pipeline.py")]
    subprocess.run(program, cwd=box.root, check=True, env=box.env)
    watching("-f", "pipeline.py")
    box.write("helper.py", "def text(): return 'two'\n")
    holds(box, "two", "out.txt")
    subprocess.run(program, cwd=box.root, check=True, env=box.env)
    box.write("helper.py", "def text(): return 'three'\n")
    holds(box, "three", "out.txt")


EXECUTED = """
import helper
from miniduct import PipelineBuilder, PythonStep
def write(target):
    with open(target, "w") as file:
        file.write(helper.text())
pipeline = PipelineBuilder("executed")
pipeline.add_step(PythonStep(write, target="out.txt"))
if __name__ == "__main__":
    pipeline.execute()
"""


LOADED = """
with open("load.log", "a") as file:
    file.write("x")
import helper
from miniduct import PipelineBuilder, PythonStep
def fetch():
    return helper.x
pipeline = PipelineBuilder("loaded")
pipeline.add_step(PythonStep(fetch))
"""


# -- others, and the end ----------------------------------------------------------------------------------------------------------------


def test_what_another_command_leaves_is_built(project: Sandbox, watching: Callable[..., Watching]) -> None:
    watching("--settle", "2")
    project.write("out/1.txt", "mine\n")
    project.expect(0, "accept", "out/1.txt")
    holds(project, "mine\n")


def test_new_targets_of_its_own_do_not_begin_the_build_anew(
    project: Sandbox, watching: Callable[..., Watching]
) -> None:
    project.ductfile(STEPS.replace("cp {input}", "sleep 0.{n}; cp {input}"))
    watch = watching("--restart")
    project.files({f"raw/{n}.txt": f"{n}\n" for n in (3, 6, 9)})
    holds(project, "1\n3\n6\n9\n")
    assert "interrupted" not in watch.says("4 jobs ran")


def test_one_age_does_not_hide_another_one(box: Sandbox, watching: Callable[..., Watching]) -> None:
    step = "[step.%s]\ntargets = '%s'\nmax_age = '%s'\nrun = '''%s'''\n"
    box.ductfile(
        step % ("a", "a.txt", "1s", "test ! -e no; date > {target}")
        + step % ("b", "b.txt", "2s", "date +%s%N > {target}")
    )
    box.build()
    box.write("no")
    before = box.read("b.txt")
    watch = watching("-k")
    wait_for(lambda: box.read("b.txt") != before, "the other one")
    assert watch.text.count("] a: ") < 6, "it fails, and is not tried without end"


def test_a_signal_ends_it_while_it_waits_for_others(project: Sandbox, watching: Callable[..., Watching]) -> None:
    project.ductfile(STEPS + '[step.slow]\ntargets = "slow.txt"\nrun = "touch begun; sleep 30"\n')
    project.build("all.txt")
    watch = watching("all.txt")
    other = project.start("slow.txt")
    wait_for(lambda: project.exists("begun"), "the other build")
    project.write("raw/1.txt", "2\n")
    watch.says("waiting for another build")
    assert watch.end() == 0
    assert project.read("all.txt") == "1\n"
    other.send_signal(signal.SIGINT)
    project.finish(other)


@pytest.mark.usefixtures("project")
def test_a_signal_ends_the_command_that_it_runs_after_builds(watching: Callable[..., Watching]) -> None:
    watch = watching("--exec-on-success", "exec sleep 30 > /dev/null 2>&1", waits=False)
    watch.says("2 jobs ran")
    time.sleep(0.3)
    began = time.monotonic()
    assert watch.end() == 0
    assert time.monotonic() - began < 10


LATE = """
import os, signal
from miniduct.interrupts import Interrupts
leave = Interrupts.__exit__
def late(self, *args):
    if os.path.exists("now"):
        os.unlink("now")
        os.kill(os.getpid(), signal.SIGTERM)
    leave(self, *args)
Interrupts.__exit__ = late
"""


def test_a_signal_ends_it_that_comes_when_the_last_job_of_a_build_has_ended(
    project: Sandbox, watching: Callable[..., Watching]
) -> None:
    project.write("late/sitecustomize.py", LATE)
    project.env["PYTHONPATH"] = project.path("late")
    watch = watching()
    project.write("now")
    project.write("raw/1.txt", "2\n")
    assert watch.process.wait(timeout=10) == 0
    assert project.read("all.txt") == "2\n"


@pytest.mark.usefixtures("project")
def test_a_second_signal_ends_that_command_whatever_it_makes_of_the_first(watching: Callable[..., Watching]) -> None:
    watch = watching("--exec-on-success", "trap 'echo still' TERM; for i in $(seq 60); do sleep 0.5; done", waits=False)
    watch.says("2 jobs ran")
    time.sleep(0.5)
    watch.process.send_signal(signal.SIGTERM)
    watch.says("still")
    watch.process.send_signal(signal.SIGTERM)
    assert watch.process.wait(timeout=3) == 0


def test_that_command_does_not_run_where_nothing_was_done(project: Sandbox, watching: Callable[..., Watching]) -> None:
    project.build()
    watching("--exec-on-success", "echo >> log")
    assert not project.exists("log")
    project.write("raw/1.txt", "2\n")
    wait_for(lambda: project.exists("log"), "the command")


def test_a_project_that_moves_away_and_back(project: Sandbox, watching: Callable[..., Watching]) -> None:
    watch = watching()
    away = f"{project.root}.away"
    os.rename(project.root, away)
    with open(f"{away}/raw/1.txt", "w") as file:
        file.write("2\n")
    watch.says("cannot enter the folder of the project")
    os.rename(away, project.root)
    holds(project, "2\n")
    assert watch.end() == 0
