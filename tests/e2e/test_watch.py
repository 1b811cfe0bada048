"""`duct watch` with real events: what starts a build, what does not, and that it goes on whatever happens."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from gcs_server import GcsServer
from support import DUCT, Sandbox, wait_for
from support_watch import Watching, waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS = """
[step.copy]
inputs = "raw/{n}.txt"
targets = "out/{n}.txt"
run = '''printf 'copy %s\\0' {n} >> "$RUNS"; cp {input} {target}'''

[step.all]
inputs = "out/*.txt"
targets = "all.txt"
run = '''printf 'all\\0' >> "$RUNS"; cat {inputs} > {target}'''
"""
SOAK = float(os.environ.get("DUCT_WATCH_SOAK", "4"))
"""Seconds of random edits."""


@pytest.fixture
def watched(box: Sandbox) -> Iterator[Callable[..., Watching]]:
    """Starts a watch of a project with three files, and ends it."""
    box.files({f"raw/{n}.txt": f"{n}\n" for n in "123"})
    box.ductfile(STEPS)
    started: list[Watching] = []

    def start(*args: str) -> Watching:
        started.append(Watching(box, *args))
        box.ran()
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
    box.kill_everything()


def text_of(box: Sandbox, name: str) -> str | None:
    return box.read(name) if box.exists(name) else None


def test_database_that_is_lost_meanwhile_makes_the_next_build_a_full_one(
    watched: Callable[..., Watching], box: Sandbox
) -> None:
    watch = watched()
    box.remove(".duct/trace.db")
    box.write("raw/2.txt", "two\n")
    watch.says("4 jobs ran")
    assert box.ran() == ["all", "copy 1", "copy 2", "copy 3"]
    box.remove(".duct/trace.db")
    box.build()
    assert len(box.ran()) == 4
    box.write("raw/2.txt", "2\n")
    watch.says("2 jobs ran")
    assert box.ran() == ["all", "copy 2"]


@pytest.mark.parametrize("args", [(), ("--poll", "0.2")], ids=["events", "polling"])
def test_saves_in_place_and_by_rename_are_built(
    watched: Callable[..., Watching], box: Sandbox, args: tuple[str, ...]
) -> None:
    watch = watched(*args)
    assert box.read("all.txt") == "1\n2\n3\n"
    box.write("raw/2.txt", "two\n")
    watch.says("2 jobs ran")
    assert box.read("all.txt") == "1\ntwo\n3\n"
    assert box.ran() == ["all", "copy 2"]
    box.write("raw/.3.swp", "three\n")
    box.rename("raw/.3.swp", "raw/3.txt")
    watch.says("2 jobs ran")
    assert box.read("all.txt") == "1\ntwo\nthree\n"
    box.remove("raw/1.txt")
    watch.says("1 job ran")
    assert box.read("all.txt") == "two\nthree\n"
    assert watch.end() == 0


def test_a_thousand_new_files_are_one_build(watched: Callable[..., Watching], box: Sandbox) -> None:
    watch = watched()
    before = watch.builds()
    for n in range(1000, 2000):
        box.write(f"raw/{n}.txt", f"{n}\n")
    watch.says("1,001 jobs ran")
    assert watch.builds() == before + 1


def test_a_growing_file_is_waited_for(watched: Callable[..., Watching], box: Sandbox) -> None:
    watch = watched("--settle", "0.1")
    before = watch.builds()
    with open(box.path("raw/4.txt"), "w") as file:
        for number in range(4):
            file.write(f"{number}\n")
            file.flush()
            time.sleep(0.3)  # longer than it takes to settle: the open file is what is waited for
    watch.says("2 jobs ran")
    assert watch.builds() == before + 1
    assert box.read("out/4.txt") == "0\n1\n2\n3\n"


def test_what_duct_writes_and_what_nobody_reads_starts_nothing(watched: Callable[..., Watching], box: Sandbox) -> None:
    watch = watched()
    box.touch("raw/1.txt")
    box.write("notes.md", "nobody reads it")
    box.write("raw/other.csv", "nor that")
    box.write("raw/1.txt", "1\n")
    before = watch.builds()
    box.write("raw/2.txt", "last\n")
    watch.says("2 jobs ran")
    assert watch.builds() == before + 1
    assert box.ran() == ["all", "copy 2"]


def test_a_broken_ductfile_is_told_and_survived(watched: Callable[..., Watching], box: Sandbox) -> None:
    watch = watched()
    box.ductfile("[step.copy\n")
    watch.says("not valid TOML")
    box.write("raw/1.txt", "one\n")
    box.ductfile(STEPS.replace("cat {inputs}", "sort -r {inputs}"))
    watch.says("2 jobs ran")
    assert box.read("all.txt") == "one\n3\n2\n"
    assert watch.text.count("not valid TOML") == 1


def test_a_failing_job_ends_nothing_and_is_tried_when_its_input_changes(
    watched: Callable[..., Watching], box: Sandbox
) -> None:
    box.ductfile(STEPS.replace("cp {input} {target}", "grep -v bad {input} > {target}"))
    watch = watched()
    box.write("raw/2.txt", "bad\n")
    watch.says("1 job failed")
    box.touch("Ductfile")
    box.write("raw/2.txt", "good\n")
    watch.says("2 jobs ran")
    assert box.read("all.txt") == "1\ngood\n3\n"
    assert watch.text.count("1 job failed") == 1


def test_a_change_during_a_build_is_built_right_after(watched: Callable[..., Watching], box: Sandbox) -> None:
    slow = STEPS.replace("cp {input} {target}", 'while [ -e "$GATE" ]; do sleep 0.02; done; cp {input} {target}')
    box.ductfile(slow)
    watch = watched()
    with open(box.gate, "w"):
        pass
    box.write("raw/1.txt", "one\n")
    watch.says("copy[n=1]: raw/1.txt changed")
    box.write("raw/3.txt", "three\n")
    os.unlink(box.gate)
    wait_for(lambda: text_of(box, "all.txt") == "one\n2\nthree\n", "both changes in all.txt")


def test_an_input_that_changes_while_its_job_runs_is_built_right_after(
    watched: Callable[..., Watching], box: Sandbox
) -> None:
    slow = STEPS.replace("cp {input} {target}", 'cp {input} {target}; while [ -e "$GATE" ]; do sleep 0.02; done')
    box.ductfile(slow)
    watch = watched()
    with open(box.gate, "w"):
        pass
    box.write("raw/1.txt", "old\n")
    watch.says("copy[n=1]: raw/1.txt changed")
    wait_for(lambda: box.ran() == ["copy 1"], "the job, running")
    box.write("raw/1.txt", "new\n")
    os.unlink(box.gate)
    wait_for(lambda: text_of(box, "all.txt") == "new\n2\n3\n", "the last change in all.txt")


def test_a_running_build_is_begun_anew_where_that_is_wanted(watched: Callable[..., Watching], box: Sandbox) -> None:
    slow = STEPS.replace("cp {input} {target}", 'while [ -e "$GATE" ]; do sleep 0.02; done; cp {input} {target}')
    box.ductfile(slow)
    watch = watched("--restart")
    with open(box.gate, "w"):
        pass
    box.write("raw/1.txt", "old\n")
    watch.says("copy[n=1]: raw/1.txt changed")
    box.write("raw/1.txt", "new\n")
    watch.says("stopping")
    os.unlink(box.gate)
    wait_for(lambda: text_of(box, "all.txt") == "new\n2\n3\n", "the last change in all.txt")
    assert watch.end() == 0


def test_a_save_while_a_build_begins_does_not_end_the_watch(watched: Callable[..., Watching], box: Sandbox) -> None:
    box.files({f"raw/{n}.txt": f"{n}\n" for n in range(100, 500)})
    box.ductfile(STEPS.partition("[step.all]")[0])
    watch = watched("--restart", "--settle", "0.05")
    for number in range(40):
        box.write("raw/1.txt", f"{number}\n")
        time.sleep(0.03 + number % 4 * 0.02)
        assert watch.process.poll() is None, watch.text
    wait_for(lambda: text_of(box, "out/1.txt") == "39\n", "the last save in out/1.txt")
    assert watch.end(signal.SIGINT) == 0


def test_a_job_that_writes_its_own_input_is_not_built_for_ever(watched: Callable[..., Watching], box: Sandbox) -> None:
    box.write("own.txt", "x\n")
    box.ductfile(
        '[step.own]\ninputs = "own.txt"\ntargets = "made"\nrun = "echo x >> own.txt; cp {input} {target}; echo run >> runs"\n'
    )
    watch = watched("--settle", "0.02")
    watch.says("own.txt changes with each build: the next one in 2.0 s")
    time.sleep(0.5)
    assert box.read("runs").count("run") == 3


def test_nor_is_its_build_begun_anew_for_ever(watched: Callable[..., Watching], box: Sandbox) -> None:
    box.write("own.txt", "x\n")
    box.ductfile(
        '[step.own]\ninputs = "own.txt"\ntargets = "made"\nrun = "echo x >> own.txt; sleep 0.3; cp {input} {target}"\n'
    )
    watch = watched("--restart", "--settle", "0.02")
    wait_for(lambda: box.exists("made"), "the target")
    assert watch.end() == 0


def test_what_a_failed_job_had_made_before_starts_nothing(watched: Callable[..., Watching], box: Sandbox) -> None:
    """It is put back, with another time of change."""
    box.ductfile(
        '[step.made]\ninputs = "raw/1.txt"\ntargets = "made"\nrun = "echo run >> runs; grep -v bad raw/1.txt > made"\n'
    )
    watch = watched()
    box.write("raw/1.txt", "bad\n")
    watch.says("1 job failed")
    time.sleep(1)
    assert box.read("runs").count("run") == 2
    assert box.read("made") == "1\n"


def test_a_file_that_never_stops_changing_holds_up_nothing(watched: Callable[..., Watching], box: Sandbox) -> None:
    watched("--settle", "0.05")
    writer = subprocess.Popen(
        ["sh", "-c", "while :; do echo x >> raw/1.txt; done"], cwd=box.root, start_new_session=True
    )
    try:
        box.write("raw/2.txt", "two\n")
        wait_for(lambda: text_of(box, "out/2.txt") == "two\n", "the other change")
    finally:
        writer.kill()
        writer.wait()


def test_remote_keys_are_asked_about_in_intervals(watched: Callable[..., Watching], box: Sandbox) -> None:
    with GcsServer("b") as server:
        server.put("b", "day.txt", "one\n")
        box.env["STORAGE_EMULATOR_HOST"] = server.url
        box.ductfile('[step.down]\ninputs = "gs://b/day.txt"\ntargets = "all.txt"\ncopy = true\n')
        watched("--remote-poll", "0.3")
        assert box.read("all.txt") == "one\n"
        server.put("b", "day.txt", "two\n")
        wait_for(lambda: text_of(box, "all.txt") == "two\n", "the new content of the object")


def test_a_folder_that_goes_and_comes_back_is_seen(watched: Callable[..., Watching], box: Sandbox) -> None:
    watch = watched()
    box.rename("raw", "away")
    wait_for(lambda: text_of(box, "all.txt") == "", "an empty all.txt")
    box.write("away/4.txt", "4\n")
    box.rename("away", "raw")
    wait_for(lambda: text_of(box, "all.txt") == "1\n2\n3\n4\n", "all.txt with the fourth file")
    box.write("raw/4.txt", "four\n")
    wait_for(lambda: text_of(box, "all.txt") == "1\n2\n3\nfour\n", "all.txt with the new fourth file")
    assert watch.end(signal.SIGINT) == 0


def test_polling_ends_also_while_a_file_never_stops_changing(watched: Callable[..., Watching], box: Sandbox) -> None:
    watch = watched("--poll", "0.1", "--settle", "0.3")
    writer = subprocess.Popen(
        ["sh", "-c", "while :; do echo x >> raw/1.txt; sleep 0.02; done"], cwd=box.root, start_new_session=True
    )
    try:
        time.sleep(1)
        assert watch.end() == 0
    finally:
        writer.kill()
        writer.wait()


def test_a_second_watch_says_so(watched: Callable[..., Watching], box: Sandbox) -> None:
    watched()
    second = box.expect(2, "watch")
    assert "another watch of this project is running" in second.err
    box.expect(0, "build")


def test_a_command_after_each_good_build(watched: Callable[..., Watching], box: Sandbox) -> None:
    watch = watched("--exec-on-success", "echo done >> log")
    wait_for(lambda: text_of(box, "log") == "done\n", "the first line")
    box.write("raw/1.txt", "one\n")
    watch.says("2 jobs ran")
    wait_for(lambda: text_of(box, "log") == "done\ndone\n", "the second line")


def test_a_failure_and_its_end_are_told_to_who_asked(watched: Callable[..., Watching], box: Sandbox) -> None:
    box.ductfile(STEPS.replace("cp {input} {target}", "grep -v bad {input} > {target}"))
    watch = watched("--notify", "cat >> told.json; echo >> told.json")
    box.write("raw/2.txt", "bad\n")
    watch.says("1 job failed")
    wait_for(lambda: '"failure"' in (text_of(box, "told.json") or ""), "the failure, told")
    box.write("raw/2.txt", "good\n")
    watch.says("2 jobs ran")
    wait_for(lambda: '"recovery"' in box.read("told.json"), "the recovery, told")
    box.write("raw/3.txt", "good\n")
    watch.says("2 jobs ran")
    assert box.read("told.json").count('"text"') == 2


def test_a_watch_that_was_suspended_builds_what_came_meanwhile(watched: Callable[..., Watching], box: Sandbox) -> None:
    watch = watched()
    os.kill(watch.process.pid, signal.SIGSTOP)
    box.write("raw/2.txt", "two\n")
    box.write("raw/4.txt", "4\n")
    os.kill(watch.process.pid, signal.SIGCONT)
    watch.says("3 jobs ran")
    assert box.read("all.txt") == "1\ntwo\n3\n4\n"


CLOCK = """
import os, time
now, now_ns = time.time, time.time_ns
def off():
    with open(os.environ["OFF"]) as file:
        return int(file.read() or 0)
time.time = lambda: now() + off()
time.time_ns = lambda: now_ns() + off() * 10**9
"""


def test_a_clock_that_is_set_stops_nothing_and_keeps_no_job_young(box: Sandbox) -> None:
    """Back by two hours, so that all files are of the future, and forth again."""
    box.files({"raw/1.txt": "1\n", "clock/sitecustomize.py": CLOCK, "off": "0"})
    box.ductfile(STEPS.replace("[step.copy]", "[step.copy]\nmax_age = '1h'"))
    box.env |= {"PYTHONPATH": box.path("clock"), "OFF": box.path("off")}
    watch = Watching(box)

    def set_clock(seconds: int) -> None:
        box.write("off.new", str(seconds))
        box.rename("off.new", "off")  # which wakes the watch

    box.ran()
    set_clock(-7200)
    watch.says("copy[n=1]: the clock was set back since the last run, max_age is 3600 s\n")
    watch.says("1 job ran")
    assert box.ran() == ["copy 1"]
    box.write("raw/1.txt", "set back\n")
    watch.says("2 jobs ran")
    box.ran()
    box.nothing_to_do()
    set_clock(7200)
    watch.says("copy[n=1]: last run 144")  # 14400 s ago, and how long the test took
    watch.says(" s ago, max_age is 3600 s\n")
    watch.says("1 job ran")
    assert box.ran() == ["copy 1"]
    box.write("raw/1.txt", "set forth\n")
    watch.says("2 jobs ran")
    box.ran()
    box.nothing_to_do()
    assert watch.end() == 0


WITH_TWO_WATCHES = ["unshare", "-Ur", "sh", "-c", 'echo 2 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
"""Runs a command that the kernel grants two watched folders."""


def may_be_limited() -> bool:
    try:
        return subprocess.run([*WITH_TWO_WATCHES, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not may_be_limited(), reason="needs user namespaces")
def test_where_the_system_watches_no_more_folders_it_polls_and_says_so(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.WITHOUT_RIGHTS", WITH_TWO_WATCHES)
    box.files({f"raw/{n}/x.txt": f"{n}\n" for n in "123"})
    box.ductfile(STEPS.replace("{n}.txt", "{n}/x.txt").replace("out/*.txt", "out/*/x.txt"))
    watch = Watching(box, without_rights=True)
    assert "the system watches no more folders (No space left on device): looking every 2 s instead" in watch.text
    box.write("raw/2/x.txt", "two\n")
    watch.says("2 jobs ran")
    assert box.read("all.txt") == "1\ntwo\n3\n"
    assert watch.end() == 0


def test_the_keys_of_the_screen(box: Sandbox) -> None:
    box.files({"raw/1.txt": "1\n"})
    box.ductfile(STEPS)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", DUCT, "watch"],
        cwd=box.root,
        env={**box.env, "TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    seen = b""

    def says(what: str) -> None:
        nonlocal seen
        end = time.monotonic() + 30
        while what.encode() not in seen:
            assert time.monotonic() < end, (what, seen)
            if select.select([master], [], [], 0.1)[0]:
                seen += os.read(master, 65536)
        seen = seen[seen.index(what.encode()) + len(what) :]

    says("watching: ")
    os.write(master, b"?")
    says("r builds again")
    os.write(master, b"c")
    says("\x1b[2J")
    os.write(master, b"r")
    says("nothing to do")
    os.write(master, b"xq")
    assert process.wait(timeout=30) == 0
    os.close(master)


PIPELINE = """
import helper
from miniduct import PipelineBuilder, PythonStep, ShellStep

fetch = ShellStep("printf 'fetch\\\\0' >> \\"$RUNS\\"; cp {input} {target}", name="fetch", inputs="in.txt", target="raw.txt")

@PythonStep
def shout(path):
    with open(path) as file, open("loud.txt", "w") as out:
        out.write(helper.louder(file.read()))
    return 1

fetch >> shout
pipeline = PipelineBuilder("daily")
pipeline.add_steps(fetch, shout)
"""
HELPER = "def louder(text):\n    return text.upper()\n"


def test_a_pipeline_in_python_and_the_modules_it_imports(box: Sandbox) -> None:
    box.files({"in.txt": "a\n", "helper.py": HELPER, "pipeline.py": PIPELINE})
    watch = Watching(box, "-f", "pipeline.py")
    assert box.read("loud.txt") == "A\n"
    box.write("in.txt", "b\n")
    watch.says("2 jobs ran")
    assert box.read("loud.txt") == "B\n"
    box.write("helper.py", HELPER.replace("upper()", "title()"))  # of the same size
    watch.says("1 job ran")
    box.write("in.txt", "cd\n")
    watch.says("2 jobs ran")
    assert box.read("loud.txt") == "Cd\n"
    box.write("pipeline.py", PIPELINE + "oops(\n")
    watch.says("pipeline.py:")
    box.write("in.txt", "ef\n")
    box.write("pipeline.py", PIPELINE.replace("helper.louder(file.read())", "file.read()"))
    watch.says("2 jobs ran")
    assert box.read("loud.txt") == "ef\n"
    box.write("pipeline.py", PIPELINE.replace('"daily"', '"weekly"'))
    watch.says("start the watch again")
    assert watch.end() == 0
    assert "nothing to do" not in str(box.duct("-f", "pipeline.py"))


def test_a_ductfile_that_is_broken_from_the_start(box: Sandbox) -> None:
    box.files({"raw/1.txt": "1\n"})
    box.ductfile("[step.copy")
    watch = Watching(box)
    assert waits(watch.process.pid, during=2.0) < 50, "it does not spin"
    box.write("Ductfile.new", STEPS)
    box.rename("Ductfile.new", "Ductfile")
    watch.says("2 jobs ran")
    assert watch.end() == 0


BROKEN = """
import os, time
with open("began", "w"):
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
raise ValueError("broken")
"""


@pytest.mark.parametrize("how", [[], ["--poll", "0.1"]], ids=["events", "polling"])
def test_a_file_of_steps_that_is_mended_while_it_is_read(box: Sandbox, how: list[str]) -> None:
    box.files({"in.txt": "a\n", "helper.py": HELPER, "pipeline.py": PIPELINE})
    watch = Watching(box, "-f", "pipeline.py", *how)
    box.write("pipeline.py", BROKEN)
    wait_for(lambda: box.exists("began"), "the file to be read")
    box.write("pipeline.py", PIPELINE.replace("helper.louder(file.read())", "file.read()"))
    box.open_gate()
    watch.says("ValueError: broken")
    watch.says("1 job ran")
    assert box.read("loud.txt") == "a\n"
    assert watch.end() == 0


def test_events_as_json(watched: Callable[..., Watching], box: Sandbox) -> None:
    watch = watched("--json")
    box.write("raw/1.txt", "one\n")
    assert '"event":"job_started"' in watch.says('"event":"build_ended"').replace(" ", "")


def test_idle_it_costs_nothing(watched: Callable[..., Watching]) -> None:
    watch = watched()

    def ticks() -> int:
        with open(f"/proc/{watch.process.pid}/stat") as file:
            fields = file.read().rpartition(") ")[2].split()
        return int(fields[11]) + int(fields[12])

    time.sleep(0.5)
    before = ticks()
    time.sleep(1.5)
    assert ticks() - before <= 1


def memory(watch: Watching) -> int:
    """Resident memory in KB."""
    with open(f"/proc/{watch.process.pid}/status") as file:
        return int(next(line.split()[1] for line in file if line.startswith("VmRSS")))


def edit(box: Sandbox, chance: random.Random, name: str) -> None:
    what = chance.choice(["write", "write", "remove", "touch", "rename", "ductfile"])
    if what == "write":
        box.write(name, f"{chance.randrange(5)}\n")
    elif what == "remove":
        box.remove(name)
    elif what == "touch":
        box.touch(name)
    elif what == "rename":
        os.rename(box.path(name), box.path(f"raw/{chance.randrange(12)}.txt"))
    else:
        box.ductfile(STEPS + f"# {chance.random()}\n")


def test_random_edits_end_where_a_clean_build_does(watched: Callable[..., Watching], box: Sandbox) -> None:
    watch = watched("--settle", "0.02")
    chance = random.Random(5)
    wait_for(lambda: box.exists(".duct/watch.sock"), "a watch that waits")
    fds = f"/proc/{watch.process.pid}/fd"
    before, grown = len(os.listdir(fds)), memory(watch)
    end = time.monotonic() + SOAK
    while time.monotonic() < end:
        name = f"raw/{chance.randrange(12)}.txt"
        with contextlib.suppress(FileNotFoundError):
            edit(box, chance, name)
        time.sleep(chance.choice([0, 0, 0.01, 0.1]))
    names = sorted(name for name in os.listdir(box.path("raw")) if name.endswith(".txt"))
    expected = "".join(box.read(f"raw/{name}") for name in names)
    wait_for(lambda: text_of(box, "all.txt") == expected, "what a clean build gives")
    box.ran()
    box.nothing_to_do()
    wait_for(lambda: len(os.listdir(fds)) <= before, "no more open files than at the beginning")
    assert memory(watch) < grown + 40_000
