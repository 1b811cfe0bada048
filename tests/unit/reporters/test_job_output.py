"""Jobs' output: whole, once, in order, in each mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miniduct import events as ev
from miniduct.reporters.output import Output, last_lines, plain_line
from support_reporters import done, job, started

if TYPE_CHECKING:
    from pathlib import Path


class Shown:
    """An Output with what it has put so far."""

    def __init__(self, mode: str) -> None:
        self.data = b""
        self.heads: list[str] = []
        self.output = Output(mode, self._put, lambda name: self.heads.append(str(name)))

    def _put(self, data: bytes) -> None:
        self.data += data


def test_a_group_comes_whole_when_its_job_has_ended(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\ntwo")
    shown = Shown("group")
    shown.output.started(started(job("a"), log=str(log), live=str(log)))
    assert not shown.output.poll()
    assert shown.output.ended(done(job("a"), log=str(log), output=7))
    assert shown.data == b"one\ntwo\n"
    assert shown.heads == ["a"]


def test_a_silent_job_shows_nothing() -> None:
    shown = Shown("group")
    assert not shown.output.ended(done(job("a")))
    assert shown.heads == []


def test_a_stream_comes_as_it_is_written_and_its_rest_from_the_log(tmp_path: Path) -> None:
    live, log = tmp_path / ".slot-0", tmp_path / "a.log"
    shown = Shown("stream")
    shown.output.started(started(job("a"), log=str(log), live=str(live)))
    shown.output.poll()
    live.write_bytes(b"one")
    assert shown.output.poll()
    assert not shown.output.poll()
    live.write_bytes(b"one\ntwo\n")
    live.rename(log)
    shown.output.ended(done(job("a"), log=str(log), output=8))
    assert shown.data == b"one\ntwo\n"


def test_prefixed_lines_are_whole_and_carry_the_job(tmp_path: Path) -> None:
    live, log = tmp_path / ".slot-0", tmp_path / "a.log"
    shown = Shown("prefix")
    name = job("a", day="1")
    shown.output.started(started(name, log=str(log), live=str(live)))
    live.write_bytes(b"one\ntw")
    shown.output.poll()
    assert shown.data == b"a[day=1] | one\n"
    live.write_bytes(b"one\ntwo\nend")
    live.rename(log)
    shown.output.ended(done(name, log=str(log), output=11))
    assert shown.data == b"a[day=1] | one\na[day=1] | two\na[day=1] | end\n"


def test_a_slot_used_again_does_not_mix_two_jobs(tmp_path: Path) -> None:
    live, log = tmp_path / ".slot-0", tmp_path / "a.log"
    shown = Shown("stream")
    shown.output.started(started(job("a"), live=str(live)))
    log.write_bytes(b"of a\n")
    shown.output.started(started(job("b"), live=str(live)))
    live.write_bytes(b"of b\n")
    shown.output.poll()
    shown.output.ended(done(job("a"), log=str(log), output=5))
    assert shown.data == b"of b\nof a\n"


def test_what_may_not_be_shown_live_comes_at_the_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    shown = Shown("stream")
    shown.output.started(started(job("a"), live=None))
    log.write_bytes(b"***\n")
    assert not shown.output.poll()
    shown.output.ended(done(job("a"), log=str(log), output=4))
    assert shown.data == b"***\n"


def test_a_second_attempt_follows_the_first(tmp_path: Path) -> None:
    live, log = tmp_path / ".slot-0", tmp_path / "a.log"
    shown = Shown("stream")
    shown.output.started(started(job("a"), log=str(log), live=str(live)))
    live.write_bytes(b"one\n")
    shown.output.poll()
    live.rename(log)
    shown.output.retried(ev.JobRetried(job("a"), 1, 1.0, "x"), str(log))
    shown.output.started(started(job("a"), attempt=2, log=str(log), live=str(live)))
    live.write_bytes(b"two\n")
    shown.output.poll()
    log.write_bytes(b"one\ntwo\n")
    live.unlink()
    shown.output.ended(done(job("a"), log=str(log), output=8, attempt=2))
    assert shown.data == b"one\ntwo\n"


def test_a_log_that_is_gone_shows_nothing(tmp_path: Path) -> None:
    shown = Shown("group")
    assert not shown.output.ended(done(job("a"), log=str(tmp_path / "no.log"), output=4))
    assert last_lines(str(tmp_path / "no.log")) == ([], False)


def test_the_last_lines_of_a_log_and_whether_there_are_more(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"{at}\n" for at in range(25)))
    lines, more = last_lines(str(log))
    assert (lines[0], lines[-1], len(lines), more) == ("5", "24", 20, True)
    log.write_text("one\n")
    assert last_lines(str(log)) == (["one"], False)
    log.write_text("x" * 50_000 + "\n" + "last\n" * 30_000)
    assert last_lines(str(log)) == (["last"] * 20, True)
    log.write_text("\n\n")
    assert last_lines(str(log)) == ([], False)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("10%\r50%\r100%", "100%"),
        ("done\r", "done"),
        ("\x1b]0;title\x07x", "x"),
        ("a\x07b", "a\\x07b"),
        ("x" * 600, "x" * 500 + "…"),
    ],
)
def test_a_line_is_told_as_a_terminal_would_show_it(line: str, text: str) -> None:
    assert plain_line(line) == text
