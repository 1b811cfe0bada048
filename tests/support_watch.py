"""A running `duct watch` for tests."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import TYPE_CHECKING

from support import Sandbox, wait_for

if TYPE_CHECKING:
    import subprocess


def waits(pid: int, *, during: float) -> int:
    """How often the process goes to sleep in so many seconds."""

    def count() -> int:
        with open(f"/proc/{pid}/status") as status:
            return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.MULTILINE)[1])  # type: ignore[index]

    before = count()
    time.sleep(during)
    return count() - before


class Watching:
    """A running watch: what it said so far, and its end."""

    def __init__(self, box: Sandbox, *args: str, without_rights: bool = False, waits: bool = True) -> None:
        self.box = box
        self.path = os.path.join(box.home, "watch.log")
        self.process: subprocess.Popen[bytes] = box.start(
            "watch", *args, output=self.path, without_rights=without_rights
        )
        self.seen = 0
        if waits:
            self.says("watching: ")

    @property
    def text(self) -> str:
        with open(self.path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def says(self, what: str) -> str:
        """Wait until it says this, after what was waited for before; all that it said until then."""
        wait_for(lambda: what in self.text[self.seen :] or self.process.poll() is not None, f"{what!r} in {self.path}")
        text = self.text[self.seen :]
        assert what in text, text
        self.seen += text.index(what) + len(what)
        return text

    def builds(self) -> int:
        """How many builds ran a job."""
        return len(re.findall(r"^duct: .*jobs? ran", self.text, re.MULTILINE))

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=30)
