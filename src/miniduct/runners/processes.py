"""Who belongs to a command: its process group, its session, its descendants; and how to end all of them.

Only Linux's /proc tells more than the process group; elsewhere the group is all that is known. A process is named by its number and its start
time together, so that a number that was given away again is never taken for the old process.
"""

from __future__ import annotations

import os
import signal
import time

from ..tuples import NamedTuple

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

    They are known by the marker in their DUCT_RUN, and, for what clears its environment, by an output that goes to a file below the folder `logs`
    (absolute); whoever is of their session or descends from them belongs to them. Does nothing where this process carries the marker itself (duct
    within duct), and where there is no /proc.
    """
    if not marker or os.environ.get("DUCT_RUN") == marker:
        return 0
    wanted = b"DUCT_RUN=" + os.fsencode(marker)
    below = f"{logs}/" if logs else ""
    groups: set[int] = set()
    until = time.monotonic() + wait
    while True:
        found = _leftovers(wanted, below)
        if not found:
            return len(groups)
        groups |= found
        for group in found:
            group_alive(group, signal.SIGKILL)
        if time.monotonic() > until:
            return len(groups)
        time.sleep(0.005)


def _leftovers(wanted: bytes, below: str) -> set[int]:
    """The process groups of the commands that carry this in their environment, or write to a file below."""
    processes = [process for process in table() if not process.dead]
    own, session = os.getpgid(0), os.getsid(0)
    marked = [p for p in processes if p.pid > 1 and (_carries(p.pid, wanted) or (below and _writes(p.pid, below)))]
    sessions = {p.session for p in marked} - {session, 0}
    pids = {p.pid for p in marked}
    grown = True
    while grown:
        more = {p.pid for p in processes if p.session in sessions or p.parent in pids} - pids
        grown = bool(more)
        pids |= more
    return {p.group for p in processes if p.pid in pids and p.group != own and p.group > 1}


def _writes(pid: int, below: str) -> bool:
    """Does its output, or what it says of errors, go to a file below the folder?"""
    for number in (1, 2):
        try:
            if os.readlink(f"/proc/{pid}/fd/{number}").startswith(below):
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
