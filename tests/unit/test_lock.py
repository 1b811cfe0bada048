"""The lock of a project: one holder, known by name, gone with its process."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from miniduct import lock as module
from miniduct.errors import BuildRunning, StoreError
from miniduct.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(module, "PAUSE", 0.002)
    return str(tmp_path / "lock")


class Holder:
    """A process that holds the lock until it is ended."""

    def __init__(self, path: str) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                lock = Lock(path)
                lock.acquire(wait=True, on_wait=lambda _: None)
                signal.signal(signal.SIGTERM, lambda *_: sys.exit())
                os.write(writer, b"x")
                while True:
                    signal.pause()
            except SystemExit:
                lock.release()
            finally:
                os._exit(1)
        os.close(writer)
        assert os.read(reader, 1) == b"x"
        os.close(reader)

    def end(self, number: int) -> None:
        if self.pid:
            os.kill(self.pid, number)
            os.waitpid(self.pid, 0)
            self.pid = 0


@pytest.fixture
def holder(path: str) -> Iterator[Holder]:
    made = Holder(path)
    yield made
    made.end(signal.SIGKILL)


def refuse(holder: str) -> None:
    pytest.fail(f"waited for {holder}")


def test_free_lock_is_taken_and_given_back(path: str) -> None:
    with Lock(path) as lock:
        assert lock.acquire(wait=False, on_wait=refuse) is False
        assert (Lock(path).holder() or "").startswith(f"process {os.getpid()} on ")
    assert Lock(path).holder() is None
    assert os.path.getsize(path) == 0


def test_second_one_is_told_who_holds_it(path: str, holder: Holder) -> None:
    with pytest.raises(BuildRunning, match=f"process {holder.pid} on "):
        Lock(path).acquire(wait=False, on_wait=refuse)


def test_waiting_ends_with_the_holder(path: str, holder: Holder) -> None:
    told = []

    def on_wait(who: str) -> None:
        told.append(who)
        holder.end(signal.SIGTERM)

    with Lock(path) as lock:
        assert lock.acquire(wait=True, on_wait=on_wait) is False
    assert len(told) == 1


def test_lock_of_a_killed_holder_is_free_and_tells_of_it(path: str, holder: Holder) -> None:
    holder.end(signal.SIGKILL)
    assert Lock(path).holder() is None
    with Lock(path) as lock:
        assert lock.acquire(wait=False, on_wait=refuse) is True
        lock.mended()
    with Lock(path) as lock:
        assert lock.acquire(wait=False, on_wait=refuse) is False


def test_what_a_killed_holder_left_is_told_until_it_is_mended(path: str, holder: Holder) -> None:
    holder.end(signal.SIGKILL)
    for mending in ("is interrupted", "fails"):
        with Lock(path) as lock:
            assert lock.acquire(wait=False, on_wait=refuse) is True, mending
        assert Lock(path).holder() is None
    with Lock(path) as lock:
        assert lock.acquire(wait=False, on_wait=refuse) is True
        lock.mended()
    assert os.path.getsize(path) == 0


def test_look_at_the_holder_makes_no_file(path: str) -> None:
    assert Lock(path).holder() is None
    assert not os.path.exists(path)


def test_lock_file_replaced_meanwhile_is_locked_anew(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Lock._take
    seen: list[int] = []

    def take(self: Lock, fd: int) -> bool:
        if not seen:
            os.unlink(path)
        seen.append(fd)
        return real(self, fd)

    monkeypatch.setattr(Lock, "_take", take)
    with Lock(path) as lock:
        lock.acquire(wait=False, on_wait=refuse)
        assert len(seen) == 2
        monkeypatch.undo()
        assert Lock(path).holder() is not None


def test_command_is_not_given_the_lock(path: str) -> None:
    with Lock(path) as lock:
        lock.acquire(wait=False, on_wait=refuse)
        assert not os.get_inheritable(lock._fd)


def test_no_folder_for_the_lock_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file or directory"):
        Lock(str(tmp_path / "absent" / "lock")).acquire(wait=False, on_wait=refuse)


def test_folder_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with Lock(str(folder / "lock"), folder.mkdir) as lock:
        assert not lock.acquire(wait=False, on_wait=refuse)
        assert (folder / "lock").exists()


def test_a_process_that_was_forked_off_holds_nothing(path: str) -> None:
    holder, other = Lock(path), Lock(path)
    holder.acquire(wait=False, on_wait=lambda _: None)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        holder.release()  # as where an exception leads out of the block
        os.write(writer, b"x")
        signal.pause()
    try:
        os.read(reader, 1)
        with pytest.raises(BuildRunning):
            other.acquire(wait=False, on_wait=lambda _: None)
        os.close(holder._fd)  # as by a kill
        module._held.clear()
        assert other.acquire(wait=False, on_wait=lambda _: None)
        other.release()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        holder.release()
        os.close(reader)
        os.close(writer)
