"""The verbs and flags, their streams and exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from support import DUCT, decoded

if TYPE_CHECKING:
    from support import Sandbox

PROJECT = """
[step.clean]
description = "one clean file per raw file"
inputs = "raw/{n}.csv"
targets = "clean/{n}.csv"
tags = ["night"]
run = '''printf 'clean %s\\0' {n} >> "$RUNS"; echo "cleaning {n}"; sort {input} > {target}'''

[step.report]
inputs = "clean/*.csv"
targets = "out/report.txt"
run = '''printf 'report\\0' >> "$RUNS"; cat {inputs} > {target}'''
"""


@pytest.fixture
def project(box: Sandbox) -> Sandbox:
    box.files({"raw/1.csv": "b\na\n", "raw/2.csv": "d\nc\n"})
    box.ductfile(PROJECT)
    return box


@pytest.fixture
def built(project: Sandbox) -> Sandbox:
    project.build()
    project.ran()
    return project


def test_plain_duct_builds(project: Sandbox) -> None:
    project.expect(0)
    assert project.read("out/report.txt") == "a\nb\nc\nd\n"


def test_a_target_alone_is_built(project: Sandbox) -> None:
    project.expect(0, "clean/1.csv")
    assert project.ran() == ["clean 1"]


def test_output_of_jobs_goes_to_stdout_and_the_rest_to_stderr(project: Sandbox) -> None:
    result = project.build("-j1")
    assert result.out == "cleaning 1\ncleaning 2\n"
    assert "cleaning 1" not in result.err
    assert "3 jobs" in result.err


def test_output_with_prefix_names_the_job(project: Sandbox) -> None:
    result = project.build("-j1", "--output=prefix")
    assert all("clean" in line.split("cleaning")[0] for line in result.out.splitlines())
    assert len(result.out.splitlines()) == 2


def test_output_streams(project: Sandbox) -> None:
    result = project.build("-j1", "--output=stream")
    assert result.out == "cleaning 1\ncleaning 2\n"


def test_groups_of_parallel_jobs_are_not_mixed(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.x]
        foreach = { n = { from = 1, to = 6 } }
        targets = "{n}"
        run = "for i in 1 2 3; do echo {n}; sleep 0.01; done; echo > {target}"
        """
    )
    lines = box.build("-j6").out.split()
    assert [lines[at : at + 3] for at in range(0, 18, 3)] == [[lines[at]] * 3 for at in range(0, 18, 3)]


def test_quiet_says_nothing_where_all_is_well(project: Sandbox) -> None:
    result = project.build("-q")
    assert result.err == ""
    assert project.build("-q").err == ""


def test_verbose_shows_commands_and_what_is_up_to_date(built: Sandbox) -> None:
    built.write("raw/1.csv", "a\nb\n")
    result = built.build("-v")
    assert "sort" in result.err
    assert built.ran() == ["clean 1"]


def test_force_runs_what_is_up_to_date(built: Sandbox) -> None:
    built.build("-B", "clean/1.csv")
    assert built.ran() == ["clean 1"]
    built.build("--force")
    assert len(built.ran()) == 3


def _split(box: Sandbox) -> None:
    box.files({"l": "a b\n", "k": "k\n"})
    box.ductfile(
        """
        [step.split]
        inputs = "l"
        targets = "p/*.x"
        run = "for w in $(cat {input}); do echo $w > {target}/$w.x; done"
        [step.u]
        inputs = "p/{n}.x"
        targets = "u/{n}.x"
        run = '''printf 'u {n}\\0' >> "$RUNS"; cat {input} > {target}'''
        [step.m]
        inputs = ["k", "u/*.x"]
        targets = "m.txt"
        run = '''printf 'm\\0' >> "$RUNS"; cat {inputs} > {target}'''
        """
    )
    box.build()
    box.ran()


@pytest.mark.parametrize("change", ["missing", "edited", "forced"])
def test_dry_run_says_may_of_jobs_whose_members_may_go(box: Sandbox, change: str) -> None:
    _split(box)
    if change == "missing":
        box.expect(0, "clean", "u/", "-y")
    elif change == "edited":
        box.write("u/a.x", "mine\n")
    box.write("l", "b\n")
    planned = box.build("-n", *(["-B"] if change == "forced" else [])).out
    assert "will  split" in planned
    reason = {"missing": "u/a.x is missing", "edited": "u/a.x was edited", "forced": ""}[change]
    assert f"may   u[n=a]: {reason}" in planned
    if change != "forced":
        assert f"stale   u[n=a]: {reason}" in box.expect(0, "status").out
        assert "u[n=a]: stale" in box.expect(0, "why", "u/a.x").out
    box.build()
    assert "u a" not in box.ran()


@pytest.mark.parametrize(("change", "reason"), [("m.txt", "m.txt was edited"), ("k", "k changed")])
def test_dry_run_says_will_of_a_job_that_runs_whatever_the_members(box: Sandbox, change: str, reason: str) -> None:
    _split(box)
    box.write(change, "new\n")
    box.write("l", "a  b\n")
    planned = box.build("-n").out
    assert f"will  m: {reason}" in planned
    assert "may   u[n=a]: p/a.x may change" in planned
    box.build()
    assert box.ran() == ["m"]


def test_dry_run_says_will_may_and_has_no_effect(built: Sandbox) -> None:
    built.write("raw/3.csv", "e\n")
    before = built.state()
    result = built.build("-n")
    text = result.out + result.err
    assert re.search(r"clean\[n=3\].*", text)
    assert "will" in text
    assert "may" not in [word for line in text.splitlines() if "clean[n=3]" in line for word in line.split()]
    assert built.state() == before
    assert built.ran() == []
    answers = {
        event["job"]["target"]: event["answer"]
        for event in built.build("-n", "--json").events
        if event["event"] == "job_planned"
    }
    assert answers["clean/3.csv"] == "will"
    assert answers["out/report.txt"] == "will", "an input was added, whatever it will hold"
    assert set(answers.values()) <= {"will", "may", "no"}


def test_dry_run_and_run_agree(built: Sandbox) -> None:
    built.write("raw/1.csv", "z\n")
    planned = [event for event in built.build("-n", "--json").events if event["event"] == "job_planned"]
    may = {event["job"]["target"] for event in planned if event["answer"] in ("will", "may")}
    ran = {event["job"]["target"] for event in built.build("--json").events if event["event"] == "job_ended"}
    assert ran <= may
    assert ran == {"clean/1.csv", "out/report.txt"}


def test_json_is_one_versioned_object_a_line(project: Sandbox) -> None:
    result = project.build("--json")
    assert {event["v"] for event in result.events} == {1}
    names = [event["event"] for event in result.events]
    assert names[0] == "build_started"
    assert names[-1] == "build_ended"
    assert names.count("job_started") == names.count("job_ended") == 3
    started = next(event for event in result.events if event["event"] == "job_started")
    assert started["reasons"][0]["kind"] == "new"


def test_status_says_what_is_stale_and_its_exit_code(built: Sandbox) -> None:
    built.expect(0, "status", "--exit-code")
    built.write("raw/1.csv", "z\n")
    result = built.expect(0, "status")
    assert "raw/1.csv" in result.out
    built.expect(3, "status", "--exit-code")
    built.expect(3, "status", "--exit-code", "clean/1.csv")
    built.expect(0, "status", "--exit-code", "clean/2.csv")
    states = {
        event["job"]["target"]: event["state"] for event in built.expect(0, "status", "--json").events if "job" in event
    }
    assert states["clean/1.csv"] == "stale"
    assert built.ran() == []


def test_status_shows_what_failed_the_last_time(project: Sandbox) -> None:
    project.ductfile(PROJECT.replace("sort {input}", "test {n} = 1; sort {input}"))
    project.expect(1, "build", "-k")
    result = project.expect(0, "status")
    assert "failed" in result.out
    assert "clean[n=2]" in result.out


def test_why_tells_old_and_new_and_the_root_cause(built: Sandbox) -> None:
    built.expect(0, "why", "out/report.txt")
    built.write("raw/1.csv", "z\n")
    result = built.expect(0, "why", "out/report.txt")
    assert "raw/1.csv" in result.out
    built.build()
    result = built.expect(0, "why", "out/report.txt")
    assert "clean/1.csv" in result.out
    assert "raw/1.csv" in result.out
    assert re.search(r"[0-9a-f]{12}.*[0-9a-f]{12}", result.out), "old and new"
    assert json.loads(built.expect(0, "why", "--json", "out/report.txt").out.splitlines()[0])


def test_list_shows_steps_and_jobs(built: Sandbox) -> None:
    result = built.expect(0, "list")
    assert "clean" in result.out
    assert "one clean file per raw file" in result.out
    assert "clean/1.csv" in built.expect(0, "list", "--jobs").out
    json.loads(built.expect(0, "list", "--json").out.splitlines()[0])


def test_graph_in_three_languages(built: Sandbox) -> None:
    assert built.expect(0, "graph").out.startswith("digraph")
    assert re.match(r"(graph|flowchart) ", built.expect(0, "graph", "--format=mermaid").out)
    assert json.loads(built.expect(0, "graph", "--format=json").out)
    assert "clean/1.csv" in built.expect(0, "graph", "--jobs").out or "n=1" in built.expect(0, "graph", "--jobs").out


def test_log_gives_what_a_job_said(built: Sandbox) -> None:
    assert "cleaning 2" in built.expect(0, "log", "clean/2.csv").out
    text = built.expect(0, "log", "clean").out
    assert "cleaning 1" in text
    assert "cleaning 2" in text


def test_clean_lists_first_and_asks(built: Sandbox) -> None:
    _, text = on_a_terminal(built, "clean", answer=b"n\n")
    assert "clean/1.csv" in text
    assert built.exists("clean/1.csv")
    code, _ = on_a_terminal(built, "clean", answer=b"y\n")
    assert code == 0
    assert not built.exists("clean/1.csv")
    assert not built.exists("out/report.txt")
    assert built.exists("raw/1.csv")
    built.build()
    assert len(built.ran()) == 3


def test_clean_without_a_terminal_and_without_y_removes_nothing(built: Sandbox) -> None:
    result = built.expect(2, "clean")
    assert "clean/1.csv" in result.out
    assert "-y" in result.err
    assert built.exists("clean/1.csv")


def test_clean_of_one_target(built: Sandbox) -> None:
    built.expect(0, "clean", "-y", "clean/1.csv")
    assert not built.exists("clean/1.csv")
    assert built.exists("clean/2.csv")


def test_clean_refuses_what_was_edited(built: Sandbox) -> None:
    built.write("clean/1.csv", "mine\n")
    result = built.duct("clean", "-y")
    assert built.read("clean/1.csv") == "mine\n"
    assert "clean/1.csv" in result.out + result.err
    assert not built.exists("clean/2.csv")


def test_accept_takes_what_is_there(built: Sandbox) -> None:
    built.write("out/report.txt", "better by hand\n")
    built.expect(0, "accept", "out/report.txt")
    built.nothing_to_do()
    assert built.read("out/report.txt") == "better by hand\n"
    built.write("raw/1.csv", "z\n")
    built.build()
    assert built.ran() == ["clean 1", "report"]


def test_accept_takes_a_new_command_as_having_run(built: Sandbox) -> None:
    built.ductfile(PROJECT.replace("sort {input}", "sort -s {input}"))
    built.expect(0, "accept", "--all")
    built.nothing_to_do()


WORDS = """
[step.words]
inputs = ["words.txt", "p/own.x"]
targets = "p/*.x"
run = "for w in $(cat {inputs[0]}); do echo $w > {target}/$w.x; done"

[step.each]
inputs = "p/{w}.x"
targets = "e/{w}/*.y"
run = "cp {input} {target}/a.y"

[step.all]
inputs = ["p/*.x", "e/*/*.y"]
targets = "all.txt"
run = "cat {inputs} > {target}"
"""


def test_accept_takes_what_a_dynamic_target_matches_for_its_members(project: Sandbox) -> None:
    project.ductfile(WORDS)
    project.files({"words.txt": "1 2", "p/own.x": "own"})
    project.build()
    project.remove(".duct")
    accepted = project.expect(0, "accept", "--all").err
    assert "accepted 5 jobs: words, each[w=1], each[w=2], each[w=own], all" in accepted
    assert project.expect(0, "list", "--sources").out == "p/own.x\nwords.txt\n"
    assert "nothing to do" in project.build().err
    project.write("words.txt", "9")
    project.build()
    assert sorted(project.tree("p")) == ["p/9.x", "p/own.x"]
    project.expect(0, "clean", "--orphans", "--yes")
    incremental = project.tree()
    for name in (".duct", "p/9.x", "e", "all.txt"):
        project.remove(name)
    project.build()
    assert project.tree() == incremental


def test_accept_leaves_the_users_what_was_there_when_the_last_run_ended(project: Sandbox) -> None:
    project.ductfile(WORDS)
    project.files({"words.txt": "1", "p/own.x": "own", "p/users.x": "the user's"})
    project.build()
    project.ductfile(WORDS.replace("; done", "; done; true"))
    project.expect(0, "accept", "--all")
    assert project.expect(0, "list", "--sources").out == "p/own.x\np/users.x\nwords.txt\n"
    project.write("words.txt", "1 2")
    project.files({"p/2.x": "2\n", "e/2/a.y": "2\n"})
    project.expect(0, "accept", "--all")
    assert project.expect(0, "list", "--sources").out == "p/own.x\np/users.x\nwords.txt\n"
    assert "nothing to do" in project.build().err


def test_accept_of_what_may_be_of_two_jobs_is_refused(project: Sandbox) -> None:
    project.ductfile(
        """
        [step.a]
        targets = "p/*.x"
        run = "echo a > {target}/a.x"

        [step.b]
        targets = "p/*"
        run = "echo b > {target}/b.y"
        """
    )
    project.build("-j1")
    project.remove(".duct")
    for verb in ("--all", "a", "b"):
        assert "cannot accept: p/a.x may be of a and b" in project.expect(2, "accept", verb).err
    assert "never ran" in project.expect(0, "status").out
    project.build("a")
    project.expect(0, "accept", "b")
    assert "nothing to do" in project.build().err
    project.build("-B", "-j1")
    assert sorted(project.tree("p")) == ["p/a.x", "p/b.y"]


def test_accept_where_nothing_matches_a_dynamic_target_is_refused(project: Sandbox) -> None:
    project.ductfile(WORDS)
    project.files({"words.txt": "1", "p/own.x": "own"})
    assert "cannot accept: 1 file not there: p/*.x" in project.expect(2, "accept", "words").err


def test_accept_of_a_missing_target_is_refused(project: Sandbox) -> None:
    result = project.duct("accept", "clean/1.csv")
    assert result.code in (1, 2)
    assert "clean/1.csv" in result.err


def test_check_says_fine_or_what_is_wrong(project: Sandbox) -> None:
    project.expect(0, "check")
    project.ductfile(PROJECT + "\n[step.bad]\nouts = 'x'\nrun = 'true'\n")
    result = project.expect(2, "check")
    assert 'did you mean "targets"' in result.err


def test_init_writes_a_ductfile_that_works_and_never_overwrites(box: Sandbox) -> None:
    for day in range(1, 6):
        box.write(f"raw/2026010{day}.csv", "a,b\n1,2\n")
    box.expect(0, "init")
    text = box.read("Ductfile")
    box.expect(0, "check")
    box.build()
    result = box.duct("init")
    assert result.code == 2
    assert box.read("Ductfile") == text


def test_init_in_an_empty_folder_works(box: Sandbox) -> None:
    box.expect(0, "init")
    box.expect(0, "check")


def test_schema_is_json(box: Sandbox) -> None:
    schema = json.loads(box.expect(0, "schema").out)
    assert "2020-12" in schema["$schema"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_is_a_script(box: Sandbox, shell: str) -> None:
    assert "duct" in box.expect(0, "completion", shell).out


def test_completion_of_bash_is_valid(box: Sandbox) -> None:
    script = box.expect(0, "completion", "bash").out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_works_from_a_sub_folder(project: Sandbox) -> None:
    os.makedirs(project.path("clean"))
    project.expect(0, "build", "1.csv", cwd="clean")
    assert project.ran() == ["clean 1"]
    project.expect(0, "build", "../out/report.txt", cwd="raw")
    assert project.ran() == ["clean 2", "report"]
    project.expect(0, "status", cwd="raw")


def test_directory_and_file_flags(project: Sandbox) -> None:
    os.makedirs(os.path.join(project.home, "elsewhere"))
    project.expect(0, "-C", "../project", "build", cwd="../elsewhere")
    assert len(project.ran()) == 3
    project.rename("Ductfile", "other.toml")
    project.expect(0, "-f", "other.toml")
    assert len(project.ran()) == 3, "another Ductfile has a state of its own"
    project.expect(0, "build", "-f", "../project/other.toml", cwd="../elsewhere")
    assert project.ran() == []


def test_environment_gives_flags(project: Sandbox) -> None:
    project.build(env={"DUCT_JOBS": "1", "DUCT_QUIET": "1"})
    project.write("raw/1.csv", "z\n")
    result = project.expect(0, "build", env={"DUCT_JSON": "1"})
    assert result.events[0]["event"] == "build_started"


def test_unknown_target_says_did_you_mean(project: Sandbox) -> None:
    for wrong, right in [
        ("reprot", "report"),
        ("out/report.tx", "out/report.txt"),
        ("tag:nite", "tag:night"),
        ("statsu", "status"),
    ]:
        result = project.expect(2, wrong)
        assert right in result.err, str(result)
    assert project.ran() == []


def test_unknown_flag_is_2(project: Sandbox) -> None:
    result = project.expect(2, "build", "--job", "x")
    assert "--job" in result.err
    project.expect(2, "build", "--nonsense")
    project.expect(2, "build", "-j", "many")


def test_help_is_on_stdout(box: Sandbox) -> None:
    for args in (["--help"], ["-h"], ["build", "--help"]):
        result = box.expect(0, *args)
        assert "usage" in result.out.lower()
        assert result.err == ""


def test_version(box: Sandbox) -> None:
    assert re.fullmatch(r"duct \d+\.\d+\.\d+\S*\n", box.expect(0, "--version").out)


def test_no_ductfile_says_where_it_looked(box: Sandbox) -> None:
    os.makedirs(box.path("deep/er"))
    result = box.expect(2, "build", cwd="deep/er")
    assert "Ductfile" in result.err
    assert "duct init" in result.err


def test_failure_tells_all_that_is_needed(project: Sandbox) -> None:
    project.ductfile(PROJECT.replace("sort {input}", "echo 'row 7: no number' >&2; test {n} = 1; sort {input}"))
    result = project.expect(1, "build", "-k")
    for part in ("clean[n=2]", "row 7: no number", ".duct/logs/", "exit code 1"):
        assert part in result.err, part
    (log,) = re.findall(r"\.duct/logs/\S*2\S*", result.err)[:1]
    assert "row 7" in project.read(log.rstrip(").,"))


def test_failure_by_a_signal_names_it(box: Sandbox) -> None:
    box.ductfile("[step.x]\ntargets = 'x'\nrun = 'kill -SEGV $$'\n")
    assert "SIGSEGV" in box.expect(1, "build").err


def test_command_that_is_not_there(box: Sandbox) -> None:
    box.ductfile("[step.x]\ntargets = 'x'\nrun = 'no-such-command {target}'\n")
    result = box.expect(1, "build")
    assert "no-such-command" in result.err
    assert "not found" in result.err


def test_closed_pipe_is_no_traceback(project: Sandbox) -> None:
    for n in range(200):
        project.write(f"raw/x{n}.csv", "1\n")
    done = subprocess.run(
        ["bash", "-c", f"{DUCT} list --jobs | head -1"],
        cwd=project.root,
        env=project.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr
    assert done.stderr == ""


def on_a_terminal(box: Sandbox, *args: str, answer: bytes = b"") -> tuple[int, str]:
    """Run the command on a pseudo terminal; its exit code and all that it wrote there."""
    master, slave = pty.openpty()
    env = {**box.env, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen([DUCT, *args], cwd=box.root, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.write(master, answer)
    data = b""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([master], [], [], 0.1)[0]:
            continue
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        data += piece
    os.close(master)
    return process.wait(timeout=10), decoded(data)


def test_live_view_on_a_terminal(project: Sandbox) -> None:
    code, text = on_a_terminal(project, "build")
    assert code == 0
    assert "\x1b[" in text
    assert "\x1b[?25l" not in text or "\x1b[?25h" in text, "the cursor is shown again"
    code, text = on_a_terminal(project, "build", "--color=never")
    assert code == 0
    assert "nothing to do" in text


def test_no_color_is_respected(project: Sandbox) -> None:
    project.env["NO_COLOR"] = "1"
    code, text = on_a_terminal(project, "build")
    assert code == 0
    assert not re.search(r"\x1b\[(3|9)\d", text)


def test_json_of_every_verb_is_json(built: Sandbox) -> None:
    built.write("raw/1.csv", "z\n")
    for args in (["status"], ["why", "out/report.txt"], ["list"], ["build", "-n"], ["build"]):
        result = built.expect(0, *args, "--json")
        parsed: list[Any] = [json.loads(line) for line in result.out.splitlines()] if result.out[0] != "[" else []
        assert parsed or json.loads(result.out)
