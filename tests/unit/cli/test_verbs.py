"""Each verb: what it asks of the engine, what it prints where, and its exit code."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import events as ev
from miniduct.answers import (
    Cause,
    GraphEdge,
    GraphNode,
    JobRow,
    JobStatus,
    KeyRow,
    LastRun,
    LogRow,
    Removal,
    StatusReport,
    StepRow,
    Why,
)
from miniduct.cli import main
from miniduct.errors import DuctfileError, JobFailed, Mistake, UsageError
from miniduct.events import JobName
from miniduct.rebuilder import Reason
from miniduct.trace.record import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from support_cli import Engine

CLEAN = JobName("clean", {"day": "1"}, "clean/1.csv")
REPORT = JobName("report", {}, "out/report.html")
CHANGED = (Reason("input-changed", "raw/1.csv", "0011", "2233"),)


class Printed:
    """What was printed by one call, and its exit code."""

    def __init__(self, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        self._capture = capfdbinary
        self.out = self.err = ""
        self.code = -1

    def __call__(self, *words: str) -> Printed:
        self.code = main(words)
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = self._capture.readouterr()
        self.out, self.err = out.decode(), err.decode()
        return self

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def duct(engine: Engine, capfdbinary: pytest.CaptureFixture[bytes]) -> Printed:
    assert engine.asked == []
    return Printed(capfdbinary)


# -- build ----------------------------------------------------------------------------------------------------------------------------


def test_build_hands_its_flags_to_the_engine(engine: Engine, duct: Printed) -> None:
    duct("-j", "3", "-k", "-B", "--no-wait", "--set", "a=1", "--set", "a=2", "x", "y")
    (_, _, _, sets), (_, options) = engine.asked
    assert sets == (("a", "2"),)
    assert (options.targets, options.jobs) == (("x", "y"), 3)
    assert options.keep_going
    assert options.force
    assert not options.wait
    assert not options.dry_run


def test_the_exit_code_of_a_build_is_the_engines(engine: Engine, duct: Printed) -> None:
    engine.code = 130
    assert duct().code == 130


def test_a_build_with_json_has_nothing_but_json_on_stdout(engine: Engine, duct: Printed) -> None:
    engine.events = [ev.BuildStarted(1, "/p", 2, 1, 2), ev.JobUpToDate(CLEAN)]
    duct("--json")
    assert [line["event"] for line in duct.lines] == ["build_started", "job_up_to_date"]
    assert duct.err == ""


def test_a_verb_of_a_later_version_is_a_target_where_there_is_one(engine: Engine, duct: Printed) -> None:
    assert duct("report").code == 0
    engine.error = UsageError('no step, key or tag is called "report"', hint="look")
    assert duct("report").code == 2
    assert duct.err == 'duct: "report" is not supported yet: a report of past builds\n  "duct help" lists the verbs\n'


def test_a_misspelt_verb_is_told_beside_the_unknown_target(engine: Engine, duct: Printed) -> None:
    engine.error = UsageError('no step, key or tag is called "stauts"', hint="look")
    assert duct("stauts", "x").code == 2
    assert duct.err == ('duct: no step, key or tag is called "stauts"\n  did you mean "duct status x"?\n')
    duct("build", "stauts")
    assert "verb" not in duct.err


def test_colour_is_used_where_asked_for(engine: Engine, duct: Printed) -> None:
    engine.events = [ev.BuildStarted(1, "/p", 2, 1, 2), ev.JobStarted(CLEAN, CHANGED, 1, "c", "l")]
    assert "\x1b[" in duct("--color", "always").err
    assert "\x1b[" not in duct().err


# -- errors ---------------------------------------------------------------------------------------------------------------------------


def test_mistakes_are_told_together(engine: Engine, duct: Printed) -> None:
    engine.error = DuctfileError(
        [Mistake("Ductfile", 3, "one", 1, 2, "ab = 1", hint="try"), Mistake("Ductfile", 5, "two")]
    )
    assert duct("status").code == 2
    assert duct.err == "duct: Ductfile:3: one\n   3 | ab = 1\n     | ^^\n  try\n\nduct: Ductfile:5: two\n"


def test_of_very_many_mistakes_the_first_are_told(engine: Engine, duct: Printed) -> None:
    engine.error = DuctfileError([Mistake("Ductfile", line, "no") for line in range(1, 1501)])
    assert duct("status", "--json").code == 2
    assert duct.err.count("no\n") == 20
    assert duct.err.endswith("duct: Ductfile:20: no\n\nduct: and 1,480 more mistakes\n")
    assert len(duct.lines[0]["mistakes"]) == 1500


def test_check_tells_every_mistake(engine: Engine, duct: Printed) -> None:
    engine.error = DuctfileError([Mistake("Ductfile", line, "no") for line in range(1, 71)])
    assert duct("check").code == 2
    assert duct.err.count("no\n") == 70
    assert "more" not in duct.err


def test_errors_are_json_as_well_where_asked_for(engine: Engine, duct: Printed) -> None:
    engine.error = JobFailed("broken", facts=["a"])
    assert duct("status", "--json").code == 1
    assert duct.err == "duct: broken\n  a\n"
    (line,) = duct.lines
    assert (line["event"], line["exit_code"], line["kind"]) == ("error", 1, "JobFailed")


def test_a_bug_of_ours_shows_its_traceback(engine: Engine, duct: Printed) -> None:
    engine.error = ZeroDivisionError("oh")
    assert duct("status").code == 70
    assert "Traceback" in duct.err
    assert "ZeroDivisionError: oh" in duct.err
    assert "duct: this is a bug of duct, not a mistake of yours" in duct.err


def test_a_full_disk_is_no_bug(engine: Engine, duct: Printed) -> None:
    engine.error = OSError(errno.ENOSPC, "No space left on device", ".duct/x")
    assert duct("status").code == 1
    assert duct.err == "duct: .duct/x: no space left on device\n"


def test_an_interrupt_while_asking_ends_quietly(engine: Engine, duct: Printed) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    engine._asked = interrupted  # type: ignore[method-assign]
    assert duct("status").code == 130
    assert duct.err == ""


# -- status ---------------------------------------------------------------------------------------------------------------------------


def failure(**fields: Any) -> Failure:
    values = {"id": "t:x", "step": "report", "values": {}, "run": 3, "when": 0.0, "seconds": 1.0, **fields}
    return Failure(**{"error": "failed with exit code 2", "exit_code": 2, "log": ".duct/logs/report.log", **values})


def test_status_tells_jobs_with_reasons_and_a_sum(engine: Engine, duct: Printed) -> None:
    engine.report = StatusReport(
        [JobStatus(CLEAN, "stale", CHANGED), JobStatus(REPORT, "may", (Reason("upstream", "clean/1.csv"),))],
        total=10,
        orphans=["old.csv"],
        notes=["raw/*.txt matches nothing"],
    )
    assert duct("status", "x").code == 0
    assert engine.asked[-1] == ("status", ("x",))
    assert duct.out == (
        "stale   clean[day=1]: raw/1.csv changed\n"
        "may     report: clean/1.csv may change\n"
        "old.csv is made by no step any more\n"
        '  "duct clean --orphans" removes what duct made\n'
        "1 stale, 1 may follow, 8 up to date\n"
    )
    assert duct.err == "duct: note: raw/*.txt matches nothing\n"


def test_status_tells_how_a_job_failed(engine: Engine, duct: Printed) -> None:
    engine.report = StatusReport([JobStatus(REPORT, "failed", CHANGED, failure())], total=1)
    duct("status")
    first, last = duct.out.splitlines()
    assert first.startswith("failed  report: failed with exit code 2, ")
    assert first.endswith(" ago, log in .duct/logs/report.log")
    assert last == "1 failed"


def test_status_of_a_project_that_is_up_to_date_is_one_line(duct: Printed) -> None:
    assert duct("status").out == "up to date (3 jobs)\n"


def test_many_stale_jobs_of_a_step_are_counted(engine: Engine, duct: Printed) -> None:
    jobs = [JobStatus(JobName("clean", {"day": str(day)}, None), "stale", (Reason("new"),)) for day in range(1000)]
    engine.report = StatusReport(jobs, total=1000)
    duct("status")
    assert duct.out.splitlines()[5:] == ["stale   clean: 995 more (-v tells all)", "1,000 stale"]
    assert len(duct("status", "-v").out.splitlines()) == 2001


def test_status_exit_code_tells_scripts(engine: Engine, duct: Printed) -> None:
    assert duct("status", "--exit-code", "-q").code == 0
    engine.report = StatusReport([JobStatus(REPORT, "may")], total=1)
    assert duct("status", "--exit-code", "-q").code == 3
    assert duct.out == ""
    assert duct("status").code == 0


def test_status_as_json(engine: Engine, duct: Printed) -> None:
    engine.report = StatusReport([JobStatus(REPORT, "failed", CHANGED, failure())], total=4)
    duct("status", "--json")
    job, whole = duct.lines
    assert (job["event"], job["state"], job["failure"]["exit_code"]) == ("job_status", "failed", 2)
    assert (whole["event"], whole["total"], whole["up_to_date"], whole["failed"]) == ("status", 4, 3, 1)


# -- why ------------------------------------------------------------------------------------------------------------------------------


def test_why_tells_reasons_the_chain_and_the_last_good_run(engine: Engine, duct: Printed) -> None:
    last = LastRun(7, 0.0, 41.0, 2, (Reason("new"),), ".duct/logs/report.log")
    engine.whys = [
        Why(
            REPORT,
            "may",
            (Reason("upstream", "clean/1.csv"),),
            [Cause(CLEAN, CHANGED)],
            last,
            None,
            "cmd",
            ["a"],
            ["b"],
        )
    ]
    assert duct("why", "report").code == 0
    lines = duct.out.splitlines()
    assert lines[:4] == [
        "report: may be stale",
        "  clean/1.csv may change",
        "  because of",
        "    clean[day=1]: raw/1.csv changed   0011 -> 2233",
    ]
    assert lines[4].startswith("  last good run: build 7, ")
    assert lines[4].endswith(" ago), took 41 s, 2 attempts")
    assert lines[5:] == ["    it ran because", "      it had never run", "    log: .duct/logs/report.log"]
    assert duct("why", "report", "-v").out.splitlines()[8:] == [
        "  reads",
        "    a",
        "  makes",
        "    b",
        "  command",
        "    cmd",
    ]


def test_why_tells_of_a_cause_that_failed_and_of_a_run_that_was_none(engine: Engine, duct: Printed) -> None:
    last = LastRun(7, 0.0, 0.0, 1, (Reason("accepted"),))
    cause = Cause(CLEAN, (Reason("new"),), failure(log=None))
    engine.whys = [Why(REPORT, "may", (Reason("upstream", "clean/1.csv"),), [cause], last)]
    lines = duct("why", "report").out.splitlines()
    assert lines[3].startswith("    clean[day=1]: failed with exit code 2, ")
    assert lines[4].startswith("  accepted in build 7, ")
    assert lines[4].endswith(" ago): nothing was run")
    assert len(lines) == 5


def test_why_of_a_job_that_never_ran_well(engine: Engine, duct: Printed) -> None:
    engine.whys = [Why(REPORT, "failed", (Reason("new"),), failure=failure(facts=["near x: y"]))]
    lines = duct("why", "report").out.splitlines()
    assert lines[:2] == ["report: failed", "  never ran"]
    assert lines[2].startswith("  last attempt: failed with exit code 2, ")
    assert lines[3:] == ["    near x: y", "  last good run: none"]


def test_why_asks_for_each_target(engine: Engine, duct: Printed) -> None:
    duct("why", "a", "b", "--json")
    assert engine.asked[1:] == [("why", "a"), ("why", "b")]


# -- list, graph, log -----------------------------------------------------------------------------------------------------------------


def test_list_tells_steps_in_columns(engine: Engine, duct: Printed) -> None:
    engine.rows = [
        StepRow("clean", 1781, "one clean file per daily file", ("clean/{day}.csv",), ("nightly",)),
        StepRow("report", 1, "", ("out/report.html",)),
        StepRow("all", 0, "", (), (), group=True),
    ]
    assert duct("list").out == (
        "clean   1,781 jobs  one clean file per daily file tag:nightly\n"
        "report       1 job  out/report.html\n"
        "all          group\n"
    )


def test_list_of_files_is_one_a_line_or_for_xargs(engine: Engine, duct: Printed) -> None:
    engine.rows = [KeyRow("a\nb", None, 2), KeyRow("caf\udce9", None, 1)]
    assert duct("list", "--sources").out == '"a\\nb"\n"caf\\xe9"\n'
    assert engine.asked[-1] == ("list", (), "sources")
    main(["list", "--sources", "-0"])
    assert duct._capture.readouterr()[0] == b"a\nb\0caf\xe9\0"


def test_list_tells_files_from_where_the_user_stands(engine: Engine, duct: Printed) -> None:
    engine.rows = [KeyRow("out/x", CLEAN, 2)]
    engine.standing = "raw"
    assert duct("list", "--keys").out == "../out/x\n"


def test_list_of_jobs_tells_what_they_make(engine: Engine, duct: Printed) -> None:
    engine.rows = [JobRow(CLEAN, ("a", "b", "c", "d"))]
    assert duct("list", "--jobs").out == "clean[day=1] -> a, b, c and 1 more\n"
    assert duct("list", "--jobs", "--json").lines[0]["targets"] == ["a", "b", "c", "d"]


def test_two_lists_at_once_are_refused(duct: Printed) -> None:
    assert duct("list", "--jobs", "--keys").code == 2


NODES = [GraphNode("s:clean", "clean", "step", 3), GraphNode("f:raw", 'raw/{d}.csv "x"', "source", 3)]
EDGES = [GraphEdge("f:raw", "s:clean"), GraphEdge("s:clean", "f:raw", order=True)]


def test_graph_as_dot_mermaid_and_json(engine: Engine, duct: Printed) -> None:
    engine.drawing = (NODES, EDGES)
    dot = duct("graph").out
    assert '  n0 [label="clean\\n3 jobs", shape=box];\n' in dot
    assert '  n1 [label="raw/{d}.csv \\"x\\"\\n3 files", shape=note];\n' in dot
    assert "  n1 -> n0;\n  n0 -> n1 [style=dashed];\n" in dot
    mermaid = duct("graph", "--format", "mermaid", "--jobs").out
    assert engine.asked[-1] == ("graph", (), True)
    assert '  n1[/"raw/{d}.csv #quot;x#quot;<br/>3 files"/]\n  n1 --> n0\n  n0 -.-> n1\n' in mermaid
    assert duct("graph", "--json").lines[0]["edges"][1] == {"start": "s:clean", "end": "f:raw", "order": True}


def test_log_prints_what_jobs_said(engine: Engine, duct: Printed, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"said \xff\n")
    engine.logs = [LogRow(CLEAN, "a.log"), LogRow(REPORT, "gone.log")]
    main(["log", "clean"])
    assert duct._capture.readouterr() == (b"said \xff\n", b"")
    assert duct("log", "clean", "--path").out == "a.log\n"
    engine.logs = [LogRow(CLEAN, None)]
    assert duct("log", "clean").err == "duct: clean said nothing\n"
    engine.logs = [LogRow(CLEAN, None, ran=False)]
    assert duct("log", "clean").err == "duct: clean never ran\n"


# -- clean, accept --------------------------------------------------------------------------------------------------------------------

REMOVALS = [Removal("clean/1.csv", 3_100_000, CLEAN), Removal("mine.csv", 5, None, "edited since duct made it")]


def test_clean_lists_and_removes_only_what_is_not_refused(engine: Engine, duct: Printed) -> None:
    engine.removals = REMOVALS
    assert duct("clean", "--orphans", "-y").code == 0
    assert engine.asked[1:] == [("plan_clean", (), True), ("clean", ["clean/1.csv"], True)]
    assert duct.out == "clean/1.csv   3.1 MB   clean[day=1]\n"
    assert duct.err == ("duct: left alone: mine.csv: edited since duct made it\nduct: removed 1 target (3.1 MB)\n")


def test_clean_without_anybody_to_ask_removes_nothing(
    engine: Engine, duct: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.removals = REMOVALS
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert duct("clean").code == 2
    assert "-y removes without asking, -n only lists" in duct.err
    assert engine.asked[-1][0] == "plan_clean"


@pytest.mark.parametrize(("answer", "asked"), [("y\n", "clean"), ("\n", "plan_clean"), ("", "plan_clean")])
def test_clean_asks_on_a_terminal(
    answer: str, asked: str, engine: Engine, duct: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.removals = REMOVALS
    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)
    assert duct("clean").code == 0
    assert "remove 1 target (3.1 MB)? [y/N] " in duct.err
    assert engine.asked[-1][0] == asked


def test_clean_tells_how_to_build_a_step_of_that_name(
    engine: Engine, duct: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.removals = REMOVALS
    terminal = io.StringIO("\n")
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)
    duct("clean")
    assert 'duct: to build the step "clean": duct build clean\nremove ' in duct.err
    terminal.seek(0)
    duct("clean", "out")
    assert "duct build clean" not in duct.err


def test_clean_dry_run_only_lists(engine: Engine, duct: Printed) -> None:
    engine.removals = REMOVALS
    assert duct("clean", "-n").code == 0
    assert duct.err.endswith("duct: 1 target (3.1 MB) would be removed (dry run, nothing was done)\n")
    assert engine.asked[-1][0] == "plan_clean"


def test_clean_that_could_not_remove_all_fails(engine: Engine, duct: Printed) -> None:
    engine.removals = REMOVALS
    engine.removed = []
    assert duct("clean", "-y").code == 1
    assert "left alone: clean/1.csv" in duct.err


def test_accept_wants_targets_or_all(engine: Engine, duct: Printed) -> None:
    assert duct("accept").code == 2
    engine.accepted = [CLEAN, REPORT]
    assert duct("accept", "--all", "--no-wait").code == 0
    assert engine.asked[-1] == ("accept", (), False)
    assert duct.err == "duct: accepted 2 jobs: clean[day=1], report\n"


# -- init, check, schema, completion, help --------------------------------------------------------------------------------------------


def test_init_writes_a_ductfile_for_the_files_there_and_never_another(duct: Printed, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for name in ("a.csv", "b.csv", ".hidden.csv"):
        (tmp_path / "raw" / name).touch()
    assert duct("init").code == 0
    text = (tmp_path / "Ductfile").read_text()
    assert 'inputs = "raw/{name}.csv"' in text
    assert "each of the 2 files in raw" in text
    assert duct("init").code == 2
    assert duct.err.startswith("duct: there is a Ductfile already; nothing was written\n")
    assert (tmp_path / "Ductfile").read_text() == text


@pytest.mark.parametrize("files", [[], ["raw/a.csv", "raw/b.csv"], ["a.json", "b.json", "c.txt"]])
def test_what_init_writes_is_read_without_a_mistake(duct: Printed, tmp_path: Path, files: list[str]) -> None:
    import datetime

    from miniduct import ductfile

    for name in files:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    duct("init")
    project = ductfile.read("Ductfile", sets={}, environ={}, today=datetime.date(2026, 1, 1))
    assert len(project.steps) == (2 if files else 1)


def test_check_tells_that_all_is_well(engine: Engine, duct: Printed) -> None:
    engine.warnings = [("raw/*.txt matches nothing", ("raw is there",))]
    assert duct("check").code == 0
    assert engine.asked[-1] == ("open", False, True)
    assert duct.err == (
        "duct: warning: raw/*.txt matches nothing\n  raw is there\nduct: Ductfile has no mistakes, 1 warning: 2 steps, 6 jobs\n"
    )


def test_schema_is_json(duct: Printed) -> None:
    assert json.loads(duct("schema").out)["title"] == "Ductfile"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_completion_knows_the_verbs(shell: str, duct: Printed) -> None:
    assert duct("completion", shell).code == 0
    assert "status" in duct.out


def test_an_unknown_shell_is_told(duct: Printed) -> None:
    assert duct("completion", "bas").code == 2
    assert duct.err == 'duct: there is no completion for "bas"\n  did you mean "bash"?\n'


def test_help_is_told_of_duct_and_of_a_verb(duct: Printed) -> None:
    assert duct("--help").out.startswith("duct makes what is stale")
    assert duct("help").out == duct("-h").out
    assert duct("help", "why").out == duct("why", "--help").out
    assert duct("help", "stats").err == 'duct: "stats" is no verb\n  did you mean "status"?\n'


def test_the_version_is_one_line(duct: Printed) -> None:
    from miniduct import __version__

    assert duct("--version").out == f"duct {__version__}\n"


def test_a_reader_that_went_away_is_no_error(engine: Engine, tmp_path: Path) -> None:
    import subprocess

    assert engine.asked == []
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", "import sys; from miniduct.cli import main; sys.exit(main(['help']))"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, cwd=tmp_path)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
