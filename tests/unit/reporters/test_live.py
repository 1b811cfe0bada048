"""The live view: what is drawn and erased, and that what stays stays."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from miniduct.reporters.live import LiveReporter, rows_at, time_left
from miniduct.reporters.plain import Tally
from support_reporters import Scene, begun, done, failed, job, over, started

if TYPE_CHECKING:
    from pathlib import Path

    from miniduct import events as ev


class Screen:
    """A terminal of a few rows, as far as the view uses one: text, newlines, up, clear to the end."""

    def __init__(self, columns: int = 80) -> None:
        self.columns = columns
        self.rows: list[str] = [""]
        self.at = 0

    def feed(self, text: str) -> None:
        for piece in re.findall(r"\x1b\[\d*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            if piece == "\n":
                self.at += 1
                if self.at == len(self.rows):
                    self.rows.append("")
            elif piece == "\r":
                continue
            elif piece == "\x1b[J":
                del self.rows[self.at + 1 :]
                self.rows[self.at] = ""
            elif piece.startswith("\x1b[") and piece.endswith("A"):
                self.at -= int(piece[2:-1])
                assert self.at >= 0
            elif not piece.startswith("\x1b"):
                self.rows[self.at] += piece

    @property
    def lines(self) -> list[str]:
        return [row.rstrip() for row in self.rows[:-1]]


class View:
    """A live reporter on such a terminal."""

    def __init__(self, columns: int = 80, rows: int = 24, **settings: Any) -> None:
        self.scene = Scene(same=True)
        self.size = os.terminal_size((columns, rows))
        self.reporter = LiveReporter(self.scene.streams, clock=self.scene.clock, size=lambda: self.size, **settings)
        self.screen = Screen(columns)

    def tell(self, *events: ev.Event) -> None:
        for event in events:
            self.reporter.tell(event)

    def after(self, seconds: float) -> list[str]:
        self.scene.clock.now += seconds
        self.reporter.tick()
        return self.seen()

    def seen(self) -> list[str]:
        self.screen.feed(self.scene.err)
        self.scene.forget()
        return self.screen.lines


def test_running_jobs_stand_below_with_time_usual_time_and_reason() -> None:
    view = View()
    view.tell(begun(3), started(job("report"), expected=40.0))
    lines = view.after(12)
    assert re.fullmatch(r"  report +12 s of about 40 s +raw/a.csv changed", lines[0])
    assert "0/3 jobs" in lines[1]
    assert len(lines) == 2


def test_a_build_of_quick_jobs_draws_nothing() -> None:
    view = View()
    view.tell(begun(2), started(job("a")))
    assert view.after(0.2) == []
    view.tell(done(job("a")), over(ran=1))
    assert view.seen() == ["[1/2] a: raw/a.csv changed   0.3 s", "duct: 1 job ran (1.2 s)"]


def test_lines_of_ended_jobs_and_failures_stay_above() -> None:
    view = View()
    view.tell(begun(3), started(job("a")), started(job("b")))
    view.after(1)
    view.tell(done(job("a")), failed(job("b")), started(job("c")))
    lines = view.after(1)
    assert lines[0] == "[1/3] a: raw/a.csv changed   0.3 s"
    assert lines[1].startswith("[2/3] b: raw/a.csv changed   ")
    assert lines[2] == 'duct: step "b" failed with exit code 2'
    assert lines[-2].startswith("  c ")
    assert "2/3 jobs, 1 failed" in lines[-1]


def test_at_the_end_nothing_of_the_view_is_left() -> None:
    view = View()
    view.tell(begun(1), started(job("a")))
    view.after(1)
    view.tell(done(job("a")), over(ran=1))
    view.reporter.close()
    assert view.seen() == ["[1/1] a: raw/a.csv changed   0.3 s", "duct: 1 job ran (1.2 s)"]


def test_closing_in_the_midst_of_it_leaves_a_clean_terminal() -> None:
    view = View()
    view.tell(begun(1), started(job("a")))
    view.after(1)
    view.reporter.close()
    assert view.seen() == []


def test_the_cursor_and_the_modes_of_the_terminal_are_never_touched() -> None:
    view = View()
    view.tell(begun(1), started(job("a")))
    view.scene.clock.now += 1
    view.reporter.tick()
    assert "\x1b[?" not in view.scene.err


def test_a_terminal_made_narrower_is_cleared_as_far_as_its_lines_now_wrap() -> None:
    view = View(columns=80)
    view.tell(begun(1), started(job("a" * 30)))
    view.after(1)
    view.size = os.terminal_size((20, 24))
    view.scene.clock.now += 1
    view.reporter.tick()
    ups = re.findall(r"\x1b\[(\d+)A", view.scene.err)
    assert int(ups[0]) > 2


def test_rows_of_wrapped_lines_are_counted() -> None:
    assert rows_at([80, 0, 81], 80) == 4
    assert rows_at([5], 0) == 5


def test_more_jobs_than_rows_are_counted() -> None:
    view = View(rows=8)
    view.tell(begun(30), *(started(job(f"s{at}")) for at in range(10)))
    lines = view.after(1)
    assert len(lines) == 5
    assert lines[3] == "  and 7 more"


def test_of_many_jobs_only_failures_stay() -> None:
    view = View()
    view.tell(begun(1000), started(job("a")), started(job("b")), done(job("a")), failed(job("b")))
    assert view.seen()[0] == 'duct: step "b" failed with exit code 2'


def test_many_quick_jobs_are_seen_to_go_on() -> None:
    view = View()
    view.tell(begun(1000))
    for number in range(4):
        view.tell(started(job(f"a{number}")))
        lines = view.after(0.1)
        view.tell(done(job(f"a{number}")))
    assert "3/1000 jobs" in lines[-1].replace(",", "")
    view.tell(over(ran=1000))
    assert view.seen() == ["duct: 1,000 jobs ran (1.2 s)"]


def test_no_line_is_wider_than_the_terminal() -> None:
    view = View(columns=30)
    view.tell(begun(3), started(job("step" * 20, day="x" * 100), expected=4000.0))
    assert all(len(line) < 30 for line in view.after(5))


def test_output_of_jobs_is_put_above_the_view(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("said\n")
    view = View()
    view.tell(begun(2), started(job("a")), started(job("b")))
    view.after(1)
    view.tell(done(job("a"), log=str(log), output=5))
    assert view.scene.out == "said\n"
    assert view.seen() == ["[1/2] a: raw/a.csv changed   0.3 s"]
    assert view.after(1)[-2].startswith("  b ")


@pytest.mark.parametrize(
    ("over_", "elapsed", "running", "left"),
    [
        (0, 1.0, [(1.0, None)], None),
        (2, 60.0, [(1.0, 5.0)], None),
        (50, 100.0, [(1.0, 5.0)], 99.0),
        (99, 100.0, [(1.0, 5.0)], 4.0),
        (99, 100.0, [(9.0, 5.0)], 0.0),
    ],
)
def test_time_left(over_: int, elapsed: float, running: list[tuple[float, float | None]], left: float | None) -> None:
    tally = Tally()
    tally.begin(100)
    tally.over = over_
    assert time_left(tally, elapsed, running) == left
