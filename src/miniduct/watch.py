"""`duct watch`: build, wait until something may have changed, build again; for weeks.

An event is a nudge to look, never a fact: what is stale is decided by the same check and the same build as ever. So lost, doubled and reordered
events do no harm, and duct's own writes start nothing. Where the kernel tells of no changes (network file systems, its limit reached), the check
is repeated in intervals. Where it tells of all, the check looks at those keys only of which it told, and other `duct` commands may ask for them
(`vouching`), as long as this waits.

    build ──> watch the folders that the snapshot names ──> check: as the build left it? ──no──> build
      ^                                                            │ yes
      └── settled, and it matters <── a change in one of them <────┘
"""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from . import events as ev
from .build import build
from .errors import EXIT_INTERRUPTED, EXIT_OK, BuildRunning, DuctError, UsageError
from .inotify import (
    ATTRIB,
    CLOSE_WRITE,
    CREATE,
    DELETE_SELF,
    IGNORED,
    MODIFY,
    MOVE_SELF,
    MOVED_TO,
    NAMES,
    OVERFLOW,
    Inotify,
)
from .interrupts import Interrupts
from .keys import VALUES
from .lock import Lock
from .plan.patterns import key_pattern
from .stores.values import PACK
from .text import count, duration, shown
from .trace.check import AGED, APART, check, keep, kept, stamp_of
from .tuples import NamedTuple
from .vouching import OWN, Evidence, Mounts, Server, has_other_names
from .workspace import make_state

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from .build import Options
    from .events import Event, Reporter
    from .plan.columns import Plan
    from .plan.patterns import Pattern
    from .trace.check import FourStamp
    from .trace.snapshot import Snapshot
    from .vouching import Asker
    from .workspace import Where

POLL = 2.0
"""Seconds between two looks, where nobody tells of changes."""
PAUSE = 0.1
"""Seconds between two looks at whether another process has ended."""
LONGEST_RETRY = 60.0
"""Seconds after which, at the latest, steps that were wrong are read again though nothing was told of."""
LONGEST_WAIT = 100
"""Times `settle` after which what changed is built, though other changes go on and on."""
LONGEST_WRITE = 10.0
"""Seconds of silence after which a file that is open for writing is taken as it is."""
MOST_RESTARTS = 3
"""Restarts of one build for changes of one file: a job that writes to its own input gets to its end."""
LONGEST_REST = 3600.0
"""Seconds after which, at the latest, what changed in each of the last builds is built again."""
CLOCK = 60.0
"""Seconds after which the clock is read again, where time alone makes something stale: it may have been set, or the machine suspended."""
FAR = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "vboxsf", "sshfs", "lustre"})
"""File systems that other machines write to, which this one's kernel does not hear of."""


class Difference(NamedTuple):
    """A key, a folder, or a file that the steps are read from, with the stamp of what is there now: a later change is another difference."""

    what: str
    stamp: FourStamp | None


@dataclass(frozen=True)
class Settings:
    """How to watch. Times are seconds; `poll` None: by events where there are any. `then` is a command to run after a build that did something."""

    settle: float = 0.2
    poll: float | None = None
    remote_poll: float = 60.0
    """Between two looks at remote keys, which tell of no changes."""
    restart: bool = False
    """Is a running build ended, and begun anew, when something changes that it did not make?"""
    then: str | None = None


class Keys(Protocol):
    """What the user asks for while nothing is built; `fd` can be waited for, -1: nobody is there."""

    fd: int

    def pressed(self) -> str:
        """The keys that were pressed, as letters."""


class Watch:
    """One watch of one project. `reporter` makes one for each build, `say` tells a line of the watch's own, `tell` an error."""

    def __init__(
        self,
        where: Where,
        options: Options,
        settings: Settings,
        *,
        reporter: Callable[[], Reporter],
        say: Callable[[str], None],
        tell: Callable[[DuctError], None],
        keys: Keys,
    ) -> None:
        self._where = where
        self._options = options
        self._settings = settings
        self._reporter = reporter
        self._say = say
        self._tell = tell
        self._keys = keys
        self._queue: Inotify | None = None
        self._poll = settings.poll
        self._names: set[str] = set()
        self._listed: set[str] = set()
        self._folders: set[str] = set()
        self._files: set[str] = {where.ductfile}
        self._unsure = False
        """May a folder that is watched be another one than the one of this name?"""
        self._valid: tuple[float, float] | None = None
        """Between which times the plan holds, where time alone makes something stale (seconds since the epoch)."""
        self._look_at: float | None = None
        """When to look at keys of which the kernel does not tell, where there are any."""
        self._ask_at: float | None = None
        """When the remote keys are to be asked about again, where there are any."""
        self._wake = -1
        """Can be read when a signal has come."""
        self._touched: set[str] = set()
        """What ended the last wait: a difference that was there before may be another one, though its stamp (of whole seconds?) is the same."""
        self._evidence: Evidence | None = None
        """Where the kernel tells of everything that happens to the project's files."""
        self._mounts: Mounts | None = None
        self._server = Server(where.state)
        self._run = 0
        """The number of the last build of this watch that ran a job."""
        self._broken: str | None = None
        """What was wrong with the files of steps, where the last build could not even begin."""
        self._ran = False
        """Had it run jobs all the same?"""
        self._retries = 0
        """Builds in a row that could not, for the same reason."""
        self._suspects: set[str] = set()
        """The files that were wrong."""
        self._tried: set[str] = set()
        """What changed meanwhile, and did not mend it."""
        self._ends: Interrupts | None = None
        self._before: frozenset[Difference] = frozenset()
        """What was different when the last build was begun."""
        self._remains: frozenset[Difference] = frozenset()
        """What the check finds different though it was just built: what a failed job left, what cannot be looked at, what is younger than now."""
        self._moved: Sequence[str] = ()
        """The keys that changed during the last build, after it had looked at them."""
        self._unrest: Counter[str] = Counter()
        """What changed in builds in a row, and how often: by a job that writes to its own input?"""
        self._again_at: float | None = None
        """When that is built again, though nobody tells of a change."""
        self._seen: tuple[float, frozenset[Difference]] | None = None
        """What the last look found that nobody had told of, and since when there is such: has it settled?"""

    def run(self) -> int:
        """Until a signal or the user ends it; the exit code. UsageError where another watch of this project runs."""
        gc.enable()
        os.chdir(self._where.root)
        make_state(self._where.state)
        read, write = os.pipe()
        os.set_blocking(write, False)
        lock = Lock(f"{self._where.state}/watch.lock", lambda: make_state(self._where.state))
        with lock, Interrupts(lambda: _wake(write)) as ends:
            self._ends = ends
            try:
                lock.acquire(wait=False, on_wait=lambda _: None)
            except BuildRunning as error:
                raise UsageError("another watch of this project is running", facts=error.facts) from None
            try:
                self._wake = read
                self._open()
                self._loop(ends)
            finally:
                self._server.close()
                self._trust_no_events()
                if self._queue is not None:
                    self._queue.close()
                os.close(read)
                os.close(write)
        return EXIT_OK

    # -- the loop -----------------------------------------------------------------------------------------------------------------------

    def _loop(self, ends: Interrupts) -> None:
        code = self._build_at_once()
        told = False
        while code != EXIT_INTERRUPTED and not ends.count:
            code = self._catch_up(ends)
            self._plan_look(0.0)
            if code == EXIT_INTERRUPTED or ends.count:
                return
            if not told:
                told = True
                how = f"polling every {self._poll:g} s" if self._poll else count(len(self._folders), "folder")
                self._say(f"watching: {how} (Ctrl-C ends it)")
            pressed = self._wait()
            if pressed == "q" or ends.count:
                return
            if pressed == "r":
                code = self._build_at_once()
            elif pressed == "":
                code = self._build_if_needed()

    def _catch_up(self, ends: Interrupts) -> int:
        """Watch what the last build read, and build what changed before that was watched, until a build changes nothing about it."""
        code, before = EXIT_OK, self._remains
        while True:
            if self._queue is not None and (self._broken is None or self._ran):
                # What the build itself did; whatever else it was, the check below finds. After one that could not even begin, nothing would.
                self._relevant(set())
            self._renew()
            if self._broken is not None:
                self._unrest.clear()
                self._remains = self._before  # as it was then: it may have been mended since
                if not self._ran:
                    self._again_at = time.monotonic() + min(POLL * _doubled(self._retries), LONGEST_RETRY)
                return code
            left = self._differences()
            new = left - before
            is_restless = self._is_restless(new - self._before)
            before = self._before = left
            if not new or is_restless or ends.count:
                self._remains = left
                return code
            code = self._build()
            if code == EXIT_INTERRUPTED:
                return code

    def _is_restless(self, changed: frozenset[Difference]) -> bool:
        """Did all that changed in the last build change in one before, too? Then the next one comes after a while, a longer one each time."""
        if not changed:
            self._unrest.clear()
            return False
        self._unrest.update(each.what for each in changed)
        times, what = min((self._unrest[each.what], each.what) for each in changed)
        if times > 1:
            seconds = min(_doubled(times - 2), LONGEST_REST)
            self._again_at = time.monotonic() + seconds
            self._say(f"{shown(what)} changes with each build: the next one in {duration(seconds)}")
        return times > 1

    def _build_at_once(self) -> int:
        self._before = self._differences()
        return self._build(first=True)

    def _build_if_needed(self) -> int:
        left = self._before = self._differences()
        folders = {os.path.dirname(path) for path in self._touched}
        touched = self._touched | folders | {f"{folder}/" for folder in folders}
        ours = self._touched & (self._files | self._suspects)
        mended = self._broken is not None and bool(ours or self._touched - self._tried)
        if mended or self._is_time() or not left <= self._remains or any(each.what in touched for each in left):
            return self._build()
        return EXIT_OK

    def _build(self, *, first: bool = False) -> int:
        """The exit code of a build; a mistake in the Ductfile is told, and the last good one stays watched."""
        changed: Counter[str] = Counter()
        while True:
            spared = {path for path, times in changed.items() if times >= MOST_RESTARTS}
            with Restart(self._queue if self._settings.restart else None, self._relevant, spared) as again:
                code = self._build_once(again, first=first)
            if not again.asked:
                return code
            changed.update(again.touched)
            # Once it has settled; a signal ends the watch.
            if select.select([self._wake], [], [], self._settings.settle)[0]:
                return EXIT_INTERRUPTED

    def _build_once(self, restart: Restart, *, first: bool) -> int:
        reporter = self._reporter()
        quiet = WhenItMatters(reporter, matters=first)
        told, self._broken = self._broken, None
        self._moved, self._again_at = (), None
        inner: list[Interrupts] = []

        def listen(interrupts: Interrupts, plan: Plan) -> None:
            inner.append(interrupts)
            if self._ends is not None and self._ends.count:
                interrupts.ask()  # the signal came while the build was planned
            restart.listen(interrupts, plan)

        try:
            if not self._is_free(quiet):
                return EXIT_INTERRUPTED
            code = build(self._where, self._options, quiet, listen=listen)
        except DuctError as error:
            self._broken = str(error)
            self._ran = quiet.ran
            self._suspects = {mistake.file for mistake in getattr(error, "mistakes", ())}
            again = self._broken == told and not first and not self._touched & (self._files | self._suspects)
            self._retries = self._retries + 1 if again else 0
            self._tried = self._tried | self._touched if again else set(self._touched)
            if not again:
                self._tell(error)
            return error.exit_code
        finally:
            reporter.close()
            gc.collect()  # a build leaves circles behind, and the next one may be a long time off
        if any(each.first is not None for each in inner):
            return EXIT_INTERRUPTED  # also where the signal came when all was done
        self._moved, self._run, self._suspects, self._tried = quiet.moved, quiet.run or self._run, set(), set()
        if code == EXIT_OK and self._settings.then is not None and quiet.ran:
            self._run_then(self._settings.then)
        return code

    def _is_free(self, reporter: Reporter) -> bool:
        """Wait until no other build of the project runs; False where a signal came first."""
        lock, told = Lock(f"{self._where.state}/lock"), False
        while (holder := lock.holder()) is not None:
            if not told:
                reporter.tell(ev.Waiting(holder))
            told = True
            if select.select([self._wake], [], [], PAUSE)[0]:
                return False
        return True

    def _run_then(self, command: str) -> None:
        """The user's command, which a signal ends: after the grace time, or a second signal, at once."""
        process = subprocess.Popen(command, shell=True, start_new_session=True)
        deadline: float | None = None
        while process.poll() is None:
            count = self._ends.count if self._ends is not None else 0
            if count and deadline is None:
                deadline = time.monotonic() + self._options.grace
                os.killpg(process.pid, signal.SIGTERM)
            elif deadline is not None and (count > 1 or time.monotonic() > deadline):
                os.killpg(process.pid, signal.SIGKILL)
            select.select([] if deadline is not None else [self._wake], [], [], PAUSE)
        if process.returncode and deadline is None:
            self._say(f"the command of --exec-on-success failed with exit code {process.returncode}")

    # -- what is there ------------------------------------------------------------------------------------------------------------------

    def _differences(self) -> frozenset[Difference]:
        """What is not as the last build left it; jobs that were stale even then are not among it."""
        where = self._where
        today = time.strftime("%Y-%m-%d")
        if self._unsure:
            self._watch(self._folders)
        watched = self._queue.folders if self._queue is not None else []
        looked: list[Sequence[int] | None] = []

        def look(snapshot: Snapshot) -> Sequence[int] | None:
            looked.append(self._evidence.look(snapshot) if self._evidence is not None else None)
            return looked[0]

        checked = check(where.state, where.sets, where.environ, today, time.time(), look=look)
        snapshot = checked.snapshot
        if snapshot is None or not looked:
            return frozenset(Difference(path, stamp_of(path)) for path in self._files)
        header = snapshot.header
        if self._evidence is not None and watched:
            self._evidence.take(snapshot, looked[0], checked.changed, watched)
        keep(where.state, checked)  # a build looks at nothing again that was looked at here; later changes are told
        folders = header["folders"]
        found = [Difference(folders[at][0], stamp_of(folders[at][0])) for at in checked.folders]
        if checked.changed:
            names = snapshot.names
            found += [Difference(names[key], stamp_of(names[key])) for key in checked.changed]
        # Ages are `_is_time`'s, and what became of the state is no change of the project: the next build finds it.
        if checked.why_unknown not in (None, AGED, APART):
            found += [Difference(path, stamp_of(path)) for path in self._files]
        if header["dirty"] and header["run"] != self._run:
            found.append(Difference("what another command left", (header["run"], 0, 0, 0)))
        found += [Difference(key, stamp_of(key)) for key in self._moved]
        return frozenset(found)

    def _renew(self) -> None:
        """Watch the folders of all keys of the last build, those that it listed, and those that hold its Ductfiles and modules."""
        from .trace.snapshot import read

        snapshot = read(f"{self._where.state}/snapshot")
        before, self._valid, self._ask_at, self._look_at = self._valid, None, None, None
        if snapshot is not None:
            try:
                header, names = snapshot.header, snapshot.names
            except (OSError, ValueError, EOFError):
                header, names = {}, []
            snapshot.close()
            if header:
                local = [name for name in names if "://" not in name]
                self._names = set(local)
                if header["pack"] is not None:
                    self._names.add(header["pack"][0])
                self._listed = {name for name, _ in header["folders"] if "://" not in name}
                self._files = {self._where.ductfile, *(path for path, _ in header["files"])}
                end = _first_end(header)
                valid = (header["saved"], end) if end is not None else None
                # Where the state could not be written, what is over has been built all the same.
                if self._broken is None and not (valid == before and _is_over(valid)):
                    self._valid = valid
                self._ask_at = time.monotonic() + self._settings.remote_poll if header["remote"] else None
        self._files |= self._suspects
        if self._queue is None:
            return
        wanted = {os.path.dirname(name.rstrip("/")) for name in self._names}
        wanted |= {name.rstrip("/") for name in self._names if name.endswith("/")}
        wanted |= self._listed | {os.path.dirname(path) for path in self._files}
        self._folders = _with_those_above(wanted)
        for folder in set(self._queue.folders) - self._folders:
            self._queue.remove(folder)
        self._watch(self._folders if self._unsure else self._folders.difference(self._queue.folders))

    def _watch(self, folders: Collection[str]) -> None:
        """Have the kernel tell of these folders."""
        self._unsure = False
        if self._queue is None:
            return
        try:
            for folder in folders:
                try:
                    self._queue.add(folder)
                except (FileNotFoundError, NotADirectoryError, PermissionError):
                    continue  # its coming is told by the folder above it
        except OSError as error:
            self._give_up_events(f"the system watches no more folders ({error.strerror})")

    def _plan_look(self, took: float) -> None:
        """When to look without a nudge: polling; and at trees, links, files with several names, for less than a hundredth of the time."""
        self._seen = None
        blind = self._evidence is None or self._evidence.blind
        blind = blind or any(os.path.realpath(path) != os.path.abspath(path) for path in self._files)
        if self._poll is not None:
            self._look_at = time.monotonic() + self._poll
        else:
            self._look_at = time.monotonic() + max(POLL, 100 * took) if blind else None

    def _open(self) -> None:
        if self._poll is not None:
            return
        kind = _file_system(self._where.root)
        if kind in FAR:
            self._give_up_events(f"{kind} does not tell of what others write")
            return
        try:
            self._queue = Inotify()
        except OSError:
            self._give_up_events("the system tells of no changes")
            return
        if kind in OWN:
            self._evidence = Evidence()
            self._mounts = Mounts()

    def _trust_no_events(self) -> None:
        self._evidence = None
        if self._mounts is not None:
            self._mounts.close()
            self._mounts = None

    def _give_up_events(self, why: str) -> None:
        self._trust_no_events()
        if self._queue is not None:
            self._queue.close()
            self._queue = None
        self._poll = self._poll or POLL
        self._look_at = time.monotonic() + self._poll
        self._say(f"{why}: looking every {self._poll:g} s instead")

    # -- waiting ------------------------------------------------------------------------------------------------------------------------

    def _wait(self) -> str:
        """Until what changed has settled (""), or the user wants something (a letter, "q" for a signal). Meanwhile, others may ask."""
        kept(self._where.state)  # what was found before this is of no use after it
        if self._evidence is not None:
            self._server.open()
        try:
            return self._wait_for_changes()
        finally:
            self._server.close()

    def _wait_for_changes(self) -> str:
        touched = self._touched = set()
        writing: set[str] = set()
        last = since = time.monotonic()
        poll = self._listen()
        while True:
            found = poll.poll(self._milliseconds(last, settling=bool(touched), writing=bool(writing)))
            ready = {fd for fd, _ in found}
            if self._wake in ready:
                return "q"
            if self._keys.fd in ready:
                pressed = self._pressed(poll)
                if pressed:
                    return pressed
            if self._mounts is not None and self._mounts.fd in ready:
                self._doubt()
            asker = self._server.next() if self._server.fd in ready else None
            if self._queue is not None and found:
                new = self._relevant(writing)
                last = time.monotonic() if new else last
                since = since if touched else last
                touched |= new
                if asker is not None:
                    self._answer(asker)
                if new and last - since < LONGEST_WAIT * self._settings.settle:
                    continue
            silent = time.monotonic() - last
            wait = LONGEST_WRITE if writing else self._settings.settle
            if touched and (silent >= wait or last - since >= LONGEST_WAIT * self._settings.settle):
                return ""
            if not touched and (self._due() or self._finds_something()):
                return ""
            if not touched:
                last = time.monotonic()

    def _finds_something(self) -> bool:
        """Where nobody tells of all changes: is it time to look, and is there a new one that has settled, or goes on for too long?"""
        began = time.monotonic()
        if self._look_at is None or began < self._look_at:
            return False
        found = self._differences()
        if found <= self._remains:
            self._plan_look(time.monotonic() - began)
            return False
        since, before = self._seen or (began, None)
        self._seen = since, found
        self._look_at = time.monotonic() + self._settings.settle
        return found == before or began - since >= LONGEST_WAIT * self._settings.settle

    def _pressed(self, poll: select.poll) -> str:
        """What the user wants of the watch, if anything: a letter."""
        keyboard = self._keys.fd
        pressed = self._keys.pressed()
        if self._keys.fd < 0:  # the terminal is gone
            poll.unregister(keyboard)
        return pressed[:1]

    def _due(self) -> bool:
        """Is it time to look without a nudge: at remote keys, at what time alone makes stale, at all keys again?"""
        if self._evidence is not None and time.monotonic() >= self._evidence.due:
            self._evidence.begin_again()
            self._unsure = True
            return True
        return self._is_time()

    def _is_time(self) -> bool:
        """Is a build due though no key of this machine changed?"""
        now = time.monotonic()
        return any(at is not None and now >= at for at in (self._ask_at, self._again_at)) or _is_over(self._valid)

    def _listen(self) -> select.poll:
        """What can end the wait: signals, keys, changes, mounts, who asks."""
        poll = select.poll()
        for fd in [self._wake, self._keys.fd, self._queue.fd if self._queue is not None else -1, self._server.fd]:
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        if self._mounts is not None and self._mounts.fd >= 0:
            poll.register(self._mounts.fd, select.POLLPRI)
        return poll

    def _milliseconds(self, last: float, *, settling: bool, writing: bool) -> int | None:
        """How long to sleep at most."""
        if settling:
            length = LONGEST_WRITE if writing else self._settings.settle
            return max(int((last + length - time.monotonic()) * 1000) + 1, 1)
        ends = []
        times = (self._ask_at, self._again_at, self._look_at)
        ends += [max(at - time.monotonic(), 0.0) for at in times if at is not None]
        if self._evidence is not None:
            ends.append(max(self._evidence.due - time.monotonic(), 0.0))
        if self._valid is not None:
            ends.append(min(max(self._valid[1] - time.time(), 0.0), CLOCK))
        return int(min(ends) * 1000) + 1 if ends else None

    def _answer(self, asker: Asker) -> None:
        """Tell which keys may have changed; of another snapshot than the one that was looked at last, once it was looked at, too."""
        assert self._evidence is not None
        numbers = self._evidence.about(asker.head)
        if numbers is None and self._evidence.held:
            self._differences()
            kept(self._where.state)  # a build may be far away
            numbers = self._evidence.about(asker.head)
        asker.answer(numbers, len(self._names))

    def _doubt(self) -> None:
        self._unsure = True
        if self._evidence is not None:
            self._evidence.drop()

    def _relevant(self, writing: set[str]) -> set[str]:
        """The paths of the changes that may matter: keys, Ductfiles and modules, names in listed folders, watched folders themselves."""
        found: set[str] = set()
        assert self._queue is not None
        if self._mounts is not None and self._mounts.changed():
            self._doubt()
        for path, mask in self._queue.read():
            if mask & (OVERFLOW | IGNORED | DELETE_SELF | MOVE_SELF) or (
                mask & (NAMES | ATTRIB) and path in self._folders
            ):
                self._doubt()
                found.add(path)
                continue
            if self._evidence is not None:
                self._evidence.touch(path)
                if mask & (CREATE | MOVED_TO) and has_other_names(path):
                    self._doubt()  # those may be keys, too
            folder, _, name = path.rpartition("/")
            known = path in self._names or path in self._files
            if name.startswith(".duct") and not known:
                continue
            if mask & MODIFY and (known or path in found or path in self._touched):
                writing.add(path)
            if mask & (CLOSE_WRITE | NAMES):
                writing.discard(path)
            inside = f"{folder}/" in self._names
            mends = self._broken is not None and mask & (NAMES | CLOSE_WRITE)
            if known or inside or mends or (mask & NAMES and folder in self._listed):
                found.add(path)
        return found


class Restart:
    """Reads the queue while a build runs, and asks the build to end where anything changes but what jobs make, and what is `spared`. Without a
    queue, it does nothing.
    """

    def __init__(self, queue: Inotify | None, relevant: Callable[[set[str]], set[str]], spared: set[str]) -> None:
        self._queue = queue
        self._relevant = relevant
        self._spared = spared
        self._members: list[Pattern] = []
        self.touched: set[str] = set()
        self._interrupts: Interrupts | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    @property
    def asked(self) -> bool:
        """Was the build asked to end by this, and by no signal?"""
        return self._interrupts is not None and self._interrupts.count > 0 and self._interrupts.first is None

    def listen(self, interrupts: Interrupts, plan: Plan) -> None:
        """The build can be asked from now on; what has changed while it planned counts."""
        if self._queue is None:
            return
        made = {plan.names[key].rstrip("/") for key, job in enumerate(plan.maker) if job >= 0}
        made |= {f"{os.path.dirname(key)}/{PACK}" for key in made if key.startswith(VALUES)}
        self._spared = self._spared | made | _with_those_above({os.path.dirname(key) for key in made})
        self._members = [
            key_pattern(slot.text, target=True)
            for number, step in enumerate(plan.steps)
            for slot, dynamic in zip(step.targets, plan.target_dynamic(number))
            if dynamic
        ]
        self._interrupts = interrupts
        self._ask()

    def __enter__(self) -> Restart:
        if self._queue is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._queue is not None:
            self._thread.join()

    def _look(self) -> None:
        assert self._queue is not None
        poll = select.poll()
        poll.register(self._queue.fd, select.POLLIN)
        while not self._over.is_set():
            if poll.poll(50):
                self.touched |= self._relevant(set())
                self._ask()

    def _ask(self) -> None:
        if self._interrupts is not None and not all(map(self._is_made, self.touched - self._spared)):
            self._interrupts.ask()

    def _is_made(self, path: str) -> bool:
        return any(pattern.matches(path) for pattern in self._members)


class WhenItMatters:
    """A reporter that keeps quiet about a build in which no job runs or fails: its nudge was none."""

    def __init__(self, reporter: Reporter, *, matters: bool = False) -> None:
        self._reporter = reporter
        self._held: list[Event] = []
        self._matters = matters
        self.ran = False
        self.run = 0
        self.moved: Sequence[str] = ()

    def tell(self, event: Event) -> None:
        """Pass it on, from the first event on that matters."""
        if isinstance(event, ev.BuildStarted):
            self.run = event.run
        elif isinstance(event, ev.BuildEnded):
            self.moved = event.moved
        self.ran = self.ran or isinstance(event, ev.JobStarted)
        if not self._matters and isinstance(event, (ev.JobStarted, ev.JobEnded, ev.FetchStarted, ev.Kept, ev.Waiting)):
            self._matters = True
            for held in self._held:
                self._reporter.tell(held)
        if self._matters:
            self._reporter.tell(event)
        else:
            self._held.append(event)

    def tick(self) -> None:
        """Time goes by."""
        if self._matters:
            self._reporter.tick()

    def close(self) -> None:
        """The one who made the reporter closes it."""


def _wake(fd: int) -> None:
    try:
        os.write(fd, b"w")
    except OSError:
        pass


def _doubled(times: int) -> float:
    return 2.0 ** min(times, 30)


def _with_those_above(folders: Iterable[str]) -> set[str]:
    """The folders with all above them, up to the root of the project: one that goes away is told by the one above it."""
    found = {""}
    for folder in folders:
        while folder not in found:
            found.add(folder)
            folder = os.path.dirname(folder) if folder != "/" else ""
    return found


def _first_end(header: dict[str, object]) -> float | None:
    """When the snapshot will be out of date by itself: a job gets too old that was not so then, or a `foreach` names today."""
    ends = [header["upcoming"]] if isinstance(header["upcoming"], (int, float)) else []
    if header["today"] is not None:
        now = time.localtime()
        ends.append(time.mktime((now.tm_year, now.tm_mon, now.tm_mday + 1, 0, 0, 1, 0, 0, -1)))
    return min(ends, default=None)


def _is_over(valid: tuple[float, float] | None) -> bool:
    """By the clock, which may have been set back as well."""
    return valid is not None and not valid[0] <= time.time() < valid[1]


def _file_system(folder: str) -> str:
    """The kind of file system that a folder is on; "" where that is not known."""
    best, kind = "", ""
    try:
        with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
            lines = mounts.read().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, place, what, *_ = line.split(" ")
        place = place.replace("\\040", " ")
        if (folder == place or folder.startswith(place.rstrip("/") + "/")) and len(place) >= len(best):
            best, kind = place, what
    return kind.removeprefix("fuse.")
