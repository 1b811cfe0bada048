"""The runner protocol: five words (submit, kill, events, slots, close) and the events it answers with.

One attempt number per submission, never used twice by one runner. A runner knows nothing of steps, staleness or targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..model import Product, Work


class Invocation(NamedTuple):
    """A Python function to be called: its modules are searched in the folder `root` first. `ask`: give it only the arguments that it takes."""

    module: str
    function: str
    root: str
    arguments: Mapping[str, Any]
    ask: bool = False


class Task(NamedTuple):
    """One attempt of one job, ready to be started.

    `argv` is executed without a shell of its own (the shell, where one is needed, is its first word), or `call` is called. The standard output goes
    to the file `stdout`, made anew, where that is set (relative to `cwd`). `env` is the whole environment, or None for the runner's own. `cwd` is
    "." or a folder relative to the runner's. `log` is the path that the output (stdout and stderr together) goes to; it is appended to where
    `append` is set; no file is left there if there was no output. `timeout` is in seconds. `mask` holds byte strings that must not reach the log
    (each is replaced by `***`).
    """

    attempt: int
    argv: Sequence[str]
    log: str
    cwd: str = "."
    env: Mapping[str, str] | None = None
    timeout: float | None = None
    append: bool = False
    mask: tuple[bytes, ...] = ()
    call: Invocation | None = None
    stdout: str | None = None
    body: Callable[[Work], Mapping[str, Product] | None] | None = None
    """Called with `work` on a thread of this process, where it is set; see `model.Body`."""
    work: Work | None = None


class Done(NamedTuple):
    """The attempt ended by itself, or was killed.

    `code` is the exit code, negative for a signal; 127 and 126 with `error` set where the command could not be started. `output` is the size in bytes
    of the log (0: there is no log file). `timed_out` is set when the runner ended it for its time.
    """

    attempt: int
    code: int
    seconds: float
    output: int
    timed_out: bool = False
    error: str | None = None
    max_rss: int = 0
    """Peak resident memory in bytes, 0 where unknown."""
    made: Mapping[str, Product] = {}
    """What is known already of the targets, by the paths where they were to be written."""
    raised: tuple[str, ...] = ()
    """The names of the exception that ended it, and of all its classes, where that is known."""


class Lost(NamedTuple):
    """The attempt's executor is gone; nothing is known of how it ended."""

    attempt: int
    why: str


RunnerEvent = Done | Lost


class Follower(Protocol):
    """Goes on by itself on the thread of a call that ended well, without the loop."""

    def follow(self, done: Done, submit: Callable[[Task | None], None]) -> bool:
        """Take the end of the call, and have the thread begin another one by `submit`, or none (None).

        False: the end is not taken, and `submit` was not called; it is told by `Runner.events`, as any other one.
        """


class Runner(Protocol):
    """Starts attempts, at most `slots` at a time (the caller keeps count), and says how they ended."""

    follower: Follower | None
    """Asked at the end of calls on threads of this process, if there are any."""

    @property
    def slots(self) -> int: ...

    def submit(self, task: Task) -> None:
        """Start the attempt. Never raises for a command that cannot be started: that is a Done with an error."""

    def kill(self, attempt: int, *, hard: bool = False) -> None:
        """Ask the attempt's whole process group to end (SIGTERM, then SIGKILL after a grace time), or end it at once (`hard`)."""

    def events(self, timeout: float | None) -> list[RunnerEvent]:
        """What happened since the last call; waits up to `timeout` seconds (None: for ever) for something to happen or for `wake`."""

    def running_log(self, attempt: int) -> str | None:
        """The file that a running attempt's output goes to for the time being; None where there is none to look at."""

    def wake(self) -> None:
        """Make a waiting `events` return early. The only method that other threads and signal handlers may call."""

    def close(self) -> None:
        """End what still runs, and free what the runner holds."""
