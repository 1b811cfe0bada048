"""Who belongs to a command: its process group, its session, its descendants; and how to end all of them.

Only Linux's /proc tells more than the process group; elsewhere the group is all that is known. A process is named by its number and its start
time together, so that a number that was given away again is never taken for the old process.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time

from ..tuples import NamedTuple
from .output import SLOT

GONE = (ProcessLookupError, PermissionError)


class Process(NamedTuple):
    """One line of the process table; `started` is in clock ticks since the boot."""

    pid: int
    parent: int
    group: int
    session: int
    started: int
    dead: bool
    """It has ended, and only waits for its parent to notice."""


def table() -> list[Process]:
    """All processes that can be seen; empty where there is no /proc."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    found = [_process(name) for name in names if name.isdigit()]
    return [process for process in found if process is not None]


def _process(pid: str) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except OSError:
        return None
    # The second field is the program's name in parentheses, and may hold anything, blanks and parentheses too.
    fields = data[data.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    return Process(int(pid), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]), fields[0] in (b"Z", b"X"))


class Family:
    """The processes of one command, found again at each look: whoever is in the leader's session, or descends from one who was."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._known: dict[int, int] = {}

    def living(self) -> list[int]:
        """The members that live, the leader among them while it does."""
        processes = table()
        known = {p.pid for p in processes if self._known.get(p.pid) == p.started}
        known |= {p.pid for p in processes if self._leader in (p.pid, p.session, p.group)}
        children: dict[int, list[int]] = {}
        for process in processes:
            children.setdefault(process.parent, []).append(process.pid)
        waiting = list(known)
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child not in known:
                    known.add(child)
                    waiting.append(child)
        known.discard(os.getpid())
        self._known = {p.pid: p.started for p in processes if p.pid in known}
        return [p.pid for p in processes if p.pid in known and not p.dead]

    def signal(self, number: int) -> None:
        """Send a signal to the whole family: to the group at once, then to those outside of it."""
        members = self.living()
        group_alive(self._leader, number)
        for pid in members:
            try:
                if os.getpgid(pid) != self._leader:
                    os.kill(pid, number)
            except GONE:
                pass


def group_alive(group: int, number: int = 0) -> bool:
    """Send a signal to a process group (0: none); False if nobody is in it any more."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Somebody is there: a program that changed its user, or on macOS one that has just ended.
        return True
    return True


def end_leftovers(marker: str, logs: str = "", wait: float = 2.0) -> int:
    """End the commands that a killed duct left behind; how many process groups there were.

    They are known by the marker in their DUCT_RUN, and, for what clears its environment, by an output that goes to a slot in the folder `logs`
    (absolute); whoever is of their session or descends from them belongs to them. This process, those that it descends from and its own group are
    spared, and so is whoever shares a session with one of them and has no marker. Does nothing where this process carries the marker itself (duct
    within duct), and where there is no /proc.
    """
    if not marker or os.environ.get("DUCT_RUN") == marker:
        return 0
    wanted = b"DUCT_RUN=" + os.fsencode(marker)
    slot = re.compile(re.escape(f"{logs}/{SLOT}") + r"[0-9]+( \(deleted\))?")
    groups: set[int] = set()
    until = time.monotonic() + wait
    while True:
        found, whole = _leftovers(wanted, slot)
        if not found:
            return len(groups)
        groups |= {process.group for process in found}
        for group in whole:
            group_alive(group, signal.SIGKILL)
        for process in found:
            if process.group not in whole:
                with contextlib.suppress(*GONE):
                    os.kill(process.pid, signal.SIGKILL)
        if time.monotonic() > until:
            return len(groups)
        time.sleep(0.005)


def _leftovers(wanted: bytes, slot: re.Pattern[str]) -> tuple[list[Process], set[int]]:
    """The commands that carry this in their environment, or write to a slot, and what belongs to them; which of their groups hold nobody else."""
    processes = [process for process in table() if not process.dead]
    own, line = os.getpgid(0), _line(processes)
    shared = {p.session for p in processes if p.pid in line} | {os.getsid(0), 0}
    others = [p for p in processes if p.pid not in line and p.pid > 1 and p.group not in (own, 0, 1)]
    pids = {p.pid for p in others if _carries(p.pid, wanted) or (p.session not in shared and _writes(p.pid, slot))}
    apart = [p for p in others if p.session not in shared]
    sessions = {p.session for p in apart if p.pid in pids}
    grown = True
    while grown:
        more = {p.pid for p in apart if p.session in sessions or p.parent in pids} - pids
        grown = bool(more)
        pids |= more
    whole = {p.group for p in others if p.pid in pids} - {p.group for p in processes if p.pid not in pids}
    return [p for p in others if p.pid in pids], whole


def _line(processes: list[Process]) -> set[int]:
    """This process, its parent, and so on."""
    parents = {process.pid: process.parent for process in processes}
    line: set[int] = set()
    pid = os.getpid()
    while pid and pid not in line:
        line.add(pid)
        pid = parents.get(pid, 0)
    return line


def _writes(pid: int, slot: re.Pattern[str]) -> bool:
    """Does its output, or what it says of errors, go to a slot?"""
    for number in (1, 2):
        try:
            if slot.fullmatch(os.readlink(f"/proc/{pid}/fd/{number}")):
                return True
        except OSError:
            continue
    return False


def _carries(pid: int, entry: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return entry in file.read().split(b"\0")
    except OSError:
        return False
