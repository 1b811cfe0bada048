"""The view of a terminal: what runs, for how long, how far the build is and when it will be over. Below the plain lines, redrawn in place.

The region at the bottom is erased before anything is said and drawn again afterwards, so that failures and jobs' output stay above it. It hides no
cursor and changes no mode of the terminal: whatever ends duct, there is nothing to restore. rich is imported with the first drawing, which comes
when a job has run for a moment: a build of quick jobs never pays for it. Refuses to know what the lines above it say.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .. import events as ev
from ..text import duration, shown
from .plain import Place, PlainReporter, Running, Tally
from .screen import Paint, Streams, terminal_size
from .words import job_text, reasons_text

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from rich.console import Console, RenderableType
    from rich.table import Table

    from ..events import Event

FIRST = 0.3
"""Seconds that a job must have run before the region appears; or the build, where the ends of jobs are not told."""
EVERY = 0.1
"""Seconds between two drawings at least."""
FEW = 50
"""Up to that many jobs, each has a line of its own that stays; more would only scroll by."""

_MOST_ROWS = 12
_SURE = 3
"""Jobs that must be over, and seconds that must have gone by, before the time left is told."""


def rows_at(widths: list[int], columns: int) -> int:
    """Rows that lines of these widths take on a terminal that wraps them at `columns`."""
    return sum(max(1, -(-width // max(1, columns))) for width in widths)


def time_left(tally: Tally, elapsed: float, running: list[tuple[float, float | None]]) -> float | None:
    """Seconds until the build is over, by the pace so far and by what the running jobs took the last time; None: too early to tell.

    `running` has for each running job how long it runs, and how long it took the last time.
    """
    longest = max([expected - since for since, expected in running if expected is not None], default=0.0)
    waiting = max(0, tally.total - tally.over - len(running))
    if not waiting and running and all(expected is not None for _, expected in running):
        return max(0.0, longest)
    if tally.over < _SURE or elapsed < _SURE:
        return None
    pace = elapsed / tally.over
    return max(0.0, longest, pace * (waiting + len(running) / 2))


class Region:
    """Lines at the bottom of the terminal that can be erased again, also after the terminal has become narrower."""

    def __init__(self, streams: Streams, size: Callable[[], os.terminal_size]) -> None:
        self._streams = streams
        self._size = size
        self._text = ""
        self._widths: list[int] = []

    def _codes(self) -> str:
        """What moves the cursor to the region's first line and clears everything from there."""
        if not self._widths:
            return ""
        return f"\r\x1b[{rows_at(self._widths, self._size().columns)}A\x1b[J"

    def erase(self) -> None:
        """Nothing of the region is left on the screen."""
        if self._widths:
            self._streams.draw(self._codes())
            self._text, self._widths = "", []

    def draw(self, text: str, widths: list[int]) -> None:
        """Replace the region by the lines of `text`, which take `widths` cells; one write, so that nothing flickers."""
        codes = self._codes()
        self._text, self._widths = text, widths
        self._streams.draw(codes + text)

    def say_above(self, text: str) -> None:
        """Lines that stay, above the region."""
        if self._widths:
            self._streams.draw(f"{self._codes()}{text}\n{self._text}")
        else:
            self._streams.say(text)


class _Above(Streams):
    """Streams whose words land above the region."""

    def __init__(self, streams: Streams, region: Region, *, out_is_terminal: bool) -> None:
        self.same = streams.same
        self._streams = streams
        self._region = region
        self._out_is_terminal = out_is_terminal
        self._whole = True

    def say(self, text: str) -> None:
        self.finish_line()
        self._region.say_above(text)

    def draw(self, text: str) -> None:
        self._streams.draw(text)

    def put(self, data: bytes) -> None:
        if self._out_is_terminal:
            self._region.erase()
            self._whole = data.endswith(b"\n")
        self._streams.put(data)

    def finish_line(self) -> None:
        """The cursor stands at the beginning of a line."""
        if not self._whole:
            self._streams.put(b"\n")
            self._whole = True


class LiveReporter:
    """A PlainReporter whose lines come when a job has ended, with the running jobs below them."""

    def __init__(
        self,
        streams: Streams,
        *,
        paint: Paint | None = None,
        output: str = "group",
        verbose: int = 0,
        place: Place | None = None,
        targets: Sequence[str] = (),
        out_is_terminal: bool = True,
        clock: Callable[[], float] = time.monotonic,
        size: Callable[[], os.terminal_size] = terminal_size,
    ) -> None:
        self._region = Region(streams, size)
        self._above = _Above(streams, self._region, out_is_terminal=out_is_terminal)
        self._plain = PlainReporter(
            self._above,
            paint=paint,
            output=output,
            verbose=verbose,
            place=place,
            targets=targets,
            lines="end",
            clock=clock,
            heartbeat=None,
        )
        self._colour = bool(paint and paint.on)
        self._verbose = verbose
        self._size = size
        self._clock = clock
        self._begun = clock()
        self._drawn = float("-inf")
        self._open = False
        self._quiet_since: float | None = None
        """When a build began whose jobs have no lines."""
        self._console: Console | None = None

    def tell(self, event: Event) -> None:
        """Say it above the region; the region follows at the next tick."""
        if isinstance(event, ev.BuildStarted):
            self._plain.lines = "end" if event.affected <= FEW or self._verbose else "never"
            self._quiet_since = self._clock() if self._plain.lines == "never" else None
        elif isinstance(event, ev.BuildEnded):
            self._quiet_since = None
            self._shut()
        self._plain.tell(event)
        if isinstance(event, ev.JobEnded) and self._open:
            self._drawn = float("-inf")  # the next tick draws at once, without the job that has ended

    def tick(self) -> None:
        """Show output that has come, and draw the region anew."""
        self._plain.tick()
        now = self._clock()
        if now - self._drawn < EVERY or not self._wanted(now):
            return
        self._drawn = now
        self._open = True
        self._draw(now)

    def close(self) -> None:
        """Nothing of the view is left."""
        self._shut()
        self._plain.close()

    def _wanted(self, now: float) -> bool:
        if self._open or (self._quiet_since is not None and now - self._quiet_since >= FIRST):
            return True
        begun = [running.since for running in self._plain.running.values()]
        begun += [since for _, since in self._plain.fetching.values()]
        return any(now - since >= FIRST for since in begun)

    def _shut(self) -> None:
        self._region.erase()
        self._above.finish_line()
        self._open = False

    def _draw(self, now: float) -> None:
        from rich.cells import cell_len

        size = self._size()
        # The last column stays free: a line that fills it wraps on some terminals and not on others.
        width = max(20, size.columns - 1)
        console = self._rich(width)
        rows = max(1, min(_MOST_ROWS, size.lines - 4))
        lines = self._lines(now, rows, width)
        with console.capture() as captured:
            for line in lines:
                console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        text = captured.get()
        widths = [cell_len(_bare(line)) for line in text.split("\n")[:-1]]
        self._above.finish_line()
        self._region.draw(text, widths)

    def _rich(self, width: int) -> Console:
        if self._console is None:
            import io

            from rich.console import Console

            self._console = Console(
                file=io.StringIO(),
                force_terminal=self._colour,
                no_color=not self._colour,
                color_system="standard" if self._colour else None,
                highlight=False,
                markup=False,
                emoji=False,
                width=width,
            )
        self._console.width = width
        return self._console

    def _lines(self, now: float, rows: int, width: int) -> list[RenderableType]:
        from rich.text import Text

        running = sorted(self._plain.running.values(), key=lambda each: each.since)
        told = running if len(running) <= rows else running[: rows - 1]
        lines: list[RenderableType] = []
        if told:
            lines.append(_table(told, now, width))
        if len(running) > len(told):
            lines.append(Text(f"  and {len(running) - len(told):,} more", style="dim"))
        lines.append(self._progress(now, running, width))
        return lines

    def _progress(self, now: float, running: list[Running], width: int) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self._plain.tally
        total = max(tally.total, tally.over + len(running), 1)
        facts = f"{tally.over:,}/{total:,} jobs"
        if self._plain.fetching:
            facts += f", {self._plain.fetching_text()}"
        if tally.failed:
            facts += f", {tally.failed:,} failed"
        elapsed = now - self._begun
        left = time_left(tally, elapsed, [(now - each.since, each.event.expected) for each in running])
        times = duration(elapsed) + (
            f", about {duration(_rounded(left))} left" if left is not None and left >= 1 else ""
        )
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=max(8, min(30, width // 3)))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_row(
            ProgressBar(total=total, completed=tally.over, width=max(8, min(30, width // 3))),
            Text(facts, style="red" if tally.failed else ""),
            Text(times, style="dim"),
        )
        return grid


def _table(running: list[Running], now: float, width: int) -> Table:
    """The running jobs, the longest first: name, time so far and the usual one, description or reason."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=max(12, width // 2))
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for each in running:
        event = each.event
        since = duration(now - each.since)
        usual = f" of about {duration(event.expected)}" if event.expected is not None and event.expected >= 1 else ""
        attempt = f"attempt {event.attempt}: " if event.attempt > 1 else ""
        reasons = (
            "first run" if [reason.kind for reason in event.reasons] == ["new"] else reasons_text(event.reasons, 1)
        )
        what = attempt + (reasons or shown(event.description))
        grid.add_row(Text(f"  {job_text(event.job)}"), Text(since + usual, style="cyan"), Text(what, style="dim"))
    return grid


def _rounded(seconds: float) -> float:
    """No more exact than it is known: whole seconds, from a minute on steps of ten."""
    return float(round(seconds)) if seconds < 60 else round(seconds / 10) * 10.0


def _bare(line: str) -> str:
    """The line without its colours."""
    while "\x1b[" in line:
        before, _, after = line.partition("\x1b[")
        line = before + after.partition("m")[2]
    return line
