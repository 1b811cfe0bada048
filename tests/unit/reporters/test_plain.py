"""Plain lines: what is said, where, and what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from miniduct import events as ev
from miniduct.rebuilder import Reason
from miniduct.reporters.plain import Place, PlainReporter
from miniduct.reporters.screen import Streams
from support_reporters import Scene, begun, done, failed, job, over, started

if TYPE_CHECKING:
    from pathlib import Path


def reporter(scene: Scene, **settings: Any) -> PlainReporter:
    return PlainReporter(scene.streams, clock=scene.clock, **settings)


def told(*events: ev.Event, **settings: Any) -> str:
    scene = Scene()
    plain = reporter(scene, **settings)
    for event in events:
        plain.tell(event)
    assert scene.out == ""
    return scene.err


def test_each_job_that_runs_is_a_line_with_its_reason() -> None:
    name = job(day="20260105")
    assert told(begun(17), started(name), done(name)) == "[ 1/17] clean[day=20260105]: raw/a.csv changed\n"


def test_jobs_found_up_to_date_count_but_are_not_told() -> None:
    text = told(begun(3), ev.JobUpToDate(job("a")), started(job("b")))
    assert text == "[2/3] b: raw/a.csv changed\n"


def test_verbose_tells_what_is_up_to_date_and_the_commands() -> None:
    text = told(begun(3), ev.JobUpToDate(job("a")), started(job("b")), verbose=1)
    assert text == (
        "duct: build 1: 3 of 10 jobs may have to run, 2 at a time\n"
        "[1/3] a: up to date\n"
        "[2/3] b: raw/a.csv changed\n"
        "  python3 clean.py\n"
    )


def test_more_jobs_than_expected_do_not_exceed_the_total() -> None:
    assert told(begun(1), started(job("a")), started(job("b"))).splitlines()[1].startswith("[2/2]")


def test_a_failure_tells_all_that_is_needed_to_repeat_it(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("".join(f"line {at}\n" for at in range(30)))
    name = job(day="a 1", region="eu")
    scene = Scene()
    plain = reporter(scene)
    event = failed(name, log=str(log), output=200, seconds=12.0, facts=("near x: y",))
    for each in (begun(1), started(name, log=str(log)), event):
        plain.tell(each)
    expected = [
        '[1/1] clean[day="a 1",region=eu]: raw/a.csv changed',
        'duct: step "clean" failed with exit code 2',
        '  day = "a 1"',
        "  region = eu",
        "  near x: y",
        "  the last 20 lines of its output:",
        *(f"    line {at}" for at in range(10, 30)),
        f"  log: {log}   (12 s)",
        "  to repeat it: python3 clean.py",
    ]
    assert scene.err.splitlines() == expected
    assert scene.out == log.read_text()


def test_output_that_stands_right_above_is_not_told_again(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("boom\n")
    scene = Scene(same=True)
    plain = reporter(scene)
    plain.tell(started(job()))
    plain.tell(failed(job(), log=str(log), output=5))
    assert scene.out == "boom\n"
    assert "boom" not in scene.err


def test_several_attempts_and_an_inner_signal_are_told() -> None:
    text = told(started(job()), failed(job(), attempt=3, exit_code=137, error="failed with exit code 137"))
    assert 'step "clean" failed with exit code 137, after 3 attempts\n' in text
    assert "  a command in it was ended by SIGKILL\n" in text


def test_a_command_of_several_lines_is_repeated_as_it_is() -> None:
    text = told(started(job(), command="a\n  b\n"), failed(job()))
    assert text.endswith("  it said nothing   (0.3 s)\n  to repeat it:\n    a\n      b\n")


def test_what_failed_before_its_start_has_no_command() -> None:
    text = told(begun(1), failed(job(), exit_code=None, error="an input is not there: x"))
    assert text == 'duct: step "clean" failed: an input is not there: x\n'


def test_paths_and_commands_are_told_from_where_the_user_stands(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("boom\n")
    place = Place("sub/deep")
    assert place.path(".duct/x.log") == "../../.duct/x.log"
    assert place.path("sub/deep/x/") == "x/"
    assert place.path("/abs/x.log") == "/abs/x.log"
    assert "to repeat it: (cd ../.. && python3 clean.py)" in told(started(job()), failed(job()), place=place)


def test_jobs_that_were_not_run_are_told_with_the_first_cause() -> None:
    first, second, third = job("clean", day="1"), job("report"), job("publish")
    text = told(
        begun(3),
        started(first),
        failed(first),
        ev.JobSkipped(second, first),
        ev.JobSkipped(third, second),
        over(failed=1, skipped=2),
    )
    assert text.splitlines()[-2:] == [
        "duct: not run because of clean[day=1]: report, publish",
        "duct: 1 job failed, 2 skipped (1.2 s)",
    ]


def test_failures_that_have_scrolled_away_are_named_again_at_the_end() -> None:
    first, second = job("a"), job("b")
    events: list[ev.Event] = [
        begun(2),
        started(first),
        failed(first),
        started(second),
        done(second),
        over(ran=1, failed=1),
    ]
    assert told(*events).splitlines()[-2] == "duct: a failed with exit code 2"
    assert "duct: a failed" not in told(begun(1), started(first), failed(first), over(failed=1))


def test_quiet_tells_failures_only() -> None:
    first, second = job("a"), job("b")
    warned = ev.Warned("x")
    assert told(begun(2), started(first), done(first), warned, over(ran=1), quiet=True) == ""
    text = told(begun(2), started(second), failed(second), over(failed=1), quiet=True)
    assert text.startswith('duct: step "b" failed with exit code 2\n')


def test_a_retry_a_kept_copy_a_warning_and_a_wait_are_told() -> None:
    text = told(
        started(job()),
        ev.JobRetried(job(), 1, 2.0, "failed with exit code 2"),
        ev.Kept("out/x", ".duct/kept/out/x"),
        ev.Warned("raw/a.csv changed while clean read it", ("clean is stale",)),
        ev.Waiting("duct build (process 12)"),
    )
    assert text.splitlines()[1:] == [
        "duct: clean failed with exit code 2 in attempt 1; the next one in 2.0 s",
        "duct: out/x was not what duct made; your copy is kept in .duct/kept/out/x",
        "duct: warning: raw/a.csv changed while clean read it",
        "  clean is stale",
        "duct: waiting for another build of this project: duct build (process 12)",
    ]


def test_a_fetch_is_told_where_more_is_asked_for_or_nothing_else_runs() -> None:
    fetch = ev.FetchStarted("gs://b/x", 12_000_000)
    assert told(fetch, ev.FetchEnded("gs://b/x", True)) == ""
    assert told(fetch, verbose=1) == "fetching gs://b/x (12 MB)\n"
    scene = Scene()
    plain = reporter(scene, heartbeat=0.0)
    plain.tell(begun(1))
    plain.tell(fetch)
    plain.tick()
    assert scene.err.startswith("duct: still fetching 1 input (12 MB) after ")


def test_a_dry_run_is_an_answer_on_stdout() -> None:
    scene = Scene()
    plain = reporter(scene)
    upstream = (Reason("upstream", "clean/a.csv"),)
    plain.tell(ev.JobPlanned(job("clean", day="1"), "will", (Reason("new"),), "cmd"))
    plain.tell(ev.JobPlanned(job("report"), "may", upstream, "cmd"))
    plain.tell(ev.JobPlanned(job("other"), "no", (), "cmd"))
    plain.tell(over(ran=2, up_to_date=8, dry_run=True))
    assert scene.out == "will  clean[day=1]: never ran\nmay   report: clean/a.csv may change\n"
    assert scene.err == "duct: 1 job will run, 1 may run, 8 up to date (dry run, nothing was done)\n"


def test_long_silence_is_broken_by_what_runs() -> None:
    scene = Scene()
    plain = reporter(scene)
    plain.tell(begun(9))
    plain.tell(started(job("report"), expected=120.0))
    for name in ("b", "c", "d"):
        plain.tell(started(job(name)))
    scene.forget()
    scene.clock.now += 29
    plain.tick()
    assert scene.err == ""
    scene.clock.now += 1
    plain.tick()
    plain.tick()
    assert scene.err == (
        "duct: still running after 30 s: report (30 s, usually 2 min 00 s), b (30 s), c (30 s) and 1 more; 0 of 9 jobs over\n"
    )
    scene.forget()
    scene.clock.now += 30
    plain.tick()
    assert scene.err.startswith("duct: still running after 1 min 00 s:")


def test_nothing_is_said_of_silence_while_nothing_runs() -> None:
    scene = Scene()
    plain = reporter(scene)
    scene.clock.now += 3600
    plain.tick()
    assert scene.err == ""


def test_orphans_are_named_at_the_end() -> None:
    text = told(over(up_to_date=3, orphans=("old/a.csv",)))
    assert text == (
        "duct: old/a.csv is made by no step any more\n"
        '  "duct clean --orphans" removes what duct made\n'
        "duct: nothing to do (3 jobs up to date)\n"
    )


class _Gone:
    def write(self, _data: object) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_reader_that_went_away_does_not_end_the_build(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("said\n")
    gone: Any = _Gone()
    plain = PlainReporter(Streams(gone, gone))
    plain.tell(started(job()))
    plain.tell(done(job(), log=str(log), output=5))
    plain.tell(over(ran=1))


@pytest.mark.parametrize("status", ["done", "failed", "interrupted"])
def test_a_job_that_is_over_no_longer_runs(status: str) -> None:
    plain = reporter(Scene())
    plain.tell(started(job()))
    plain.tell(done(job(), status=status))
    assert not plain.running
