"""While a watch runs, other commands ask it what may have changed: they look at little, and are never told less than is true."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from miniduct.trace import check as checking
from miniduct.trace import watched
from miniduct.trace.snapshot import read
from support import Sandbox, can_mount, mounted, wait_for
from support_watch import Watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FILES = 1100
STEPS = """
[step.all]
inputs = ["raw/*.txt", "deep/down/in.txt", "link.txt", "twin.txt", "tree/", "/{outside}"]
targets = "all.txt"
run = '''printf 'all\\0' >> "$RUNS"; cat raw/*.txt deep/down/in.txt link.txt twin.txt > {target}'''
"""


@pytest.fixture
def project(box: Sandbox) -> Sandbox:
    """A project with more keys than are looked at without asking."""
    box.files({f"raw/{n}.txt": f"{n}\n" for n in range(FILES)})
    box.files({"deep/down/in.txt": "deep\n", "behind.txt": "behind\n", "twin.txt": "twin\n", "tree/leaf": "leaf\n"})
    outside = os.path.join(box.home, "outside.txt")
    with open(outside, "w", encoding="utf-8") as file:
        file.write("outside\n")
    os.symlink("behind.txt", box.path("link.txt"))
    os.link(box.path("twin.txt"), box.path("other-twin.txt"))
    box.ductfile(STEPS.replace("/{outside}", outside))
    box.build()
    box.ran()
    return box


@pytest.fixture
def watch(project: Sandbox) -> Iterator[Watching]:
    """A watch that waits, and will not build for a long while after a change."""
    watch = Watching(project, "--settle", "60")
    wait_for(lambda: asked(project) is not None, "a watch that answers")
    yield watch
    if watch.process.poll() is None:
        watch.process.kill()
        watch.process.wait()
    project.kill_everything()


@contextmanager
def chdir(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def asked(box: Sandbox) -> list[str] | None:
    """What a running watch says that may have changed; None: it says nothing."""
    with chdir(box.root):
        snapshot = read(".duct/snapshot")
        assert snapshot is not None
        found: Sequence[int] | None = watched.ask(".duct", snapshot)
        return None if found is None else [snapshot.names[number] for number in found]


def always(box: Sandbox) -> set[str]:
    return {"link.txt", "twin.txt", "tree/", os.path.join(box.home, "outside.txt")}


@pytest.mark.usefixtures("watch")
def test_only_what_can_change_unheard_is_looked_at(project: Sandbox) -> None:
    assert set(asked(project) or ()) == always(project)
    project.nothing_to_do()
    mode = os.stat(project.path(".duct/watch.sock")).st_mode
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.usefixtures("watch")
def test_the_number_of_looks_is_that_of_the_changes(project: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def counting(names: Sequence[bytes], columns: Sequence[Sequence[int]]) -> list[int]:
        looks.append(len(names))
        return checking._slice(names, columns, 0, len(names))

    monkeypatch.setattr(checking, "differing", counting)
    project.write("raw/7.txt", "changed\n")
    with chdir(project.root):
        found = checking.check(".duct", (), os.environ, None, time.time())
        assert found.snapshot is not None
        assert [found.snapshot.names[key] for key in found.changed] == ["raw/7.txt"]
        assert looks == [len(always(project)) + 1]


def write(box: Sandbox) -> None:
    box.write("raw/5.txt", "new\n")


def replace(box: Sandbox) -> None:
    box.write("raw/.new", "new\n")
    box.rename("raw/.new", "raw/5.txt")


def remove(box: Sandbox) -> None:
    os.unlink(box.path("raw/5.txt"))


def add(box: Sandbox) -> None:
    box.write("raw/new.txt", "new\n")


def write_behind_a_link(box: Sandbox) -> None:
    box.write("behind.txt", "new\n")


def write_through_another_name(box: Sandbox) -> None:
    write_again(box, "other-twin.txt")


def write_in_a_tree(box: Sandbox) -> None:
    box.write("tree/leaf", "new\n")


def write_outside(box: Sandbox) -> None:
    with open(os.path.join(box.home, "outside.txt"), "a", encoding="utf-8") as file:
        file.write("more\n")


def write_a_target(box: Sandbox) -> None:
    box.write("all.txt", "mine\n")


def put_another_folder_there(box: Sandbox) -> None:
    box.write("other/in.txt", "other\n")
    box.rename("deep/down", "deep/away")
    box.rename("other", "deep/down")


def put_another_folder_above(box: Sandbox) -> None:
    box.write("other/down/in.txt", "other\n")
    box.rename("deep", "away")
    box.rename("other", "deep")


def put_a_link_there(box: Sandbox) -> None:
    box.write("other/down/in.txt", "other\n")
    box.rename("deep", "away")
    os.symlink("other", box.path("deep"))


def write_in_a_renamed_folder(box: Sandbox) -> None:
    box.rename("deep", "away")
    box.write("away/down/in.txt", "new\n")
    box.rename("away", "deep")


def write_to_a_file_that_was_moved_in(box: Sandbox) -> None:
    with open(box.path("part.txt"), "w", encoding="utf-8") as file:
        file.write("first\n")
        file.flush()
        box.rename("part.txt", "raw/5.txt")
        assert "raw/5.txt" in (asked(box) or ["raw/5.txt"])
        file.write("second\n")


def make_a_link_and_write_through_it(box: Sandbox) -> None:
    """Heard of, as the file was replaced by a link; what is behind it is looked at from then on."""
    box.write("elsewhere.txt", "5\n")
    os.unlink(box.path("raw/5.txt"))
    os.symlink("../elsewhere.txt", box.path("raw/5.txt"))
    asked(box)
    box.write("elsewhere.txt", "new\n")


def give_it_another_name_and_write_to_that(box: Sandbox) -> None:
    os.link(box.path("raw/5.txt"), box.path("raw/5.copy"))
    asked(box)
    write_again(box, "raw/5.copy")


def write_again(box: Sandbox, name: str) -> None:
    with open(box.path(name), "a", encoding="utf-8") as file:
        file.write("more\n")


def flood(box: Sandbox) -> None:
    """More than the queue takes: what gets lost counts as everything."""
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
        most = int(file.read())
    for n in range(most // 3 + 1000):
        with open(box.path(f"raw/{n % 2}.tmp"), "w", encoding="utf-8"):
            pass
    box.write("raw/5.txt", "new\n")


CHANGES = [
    write,
    replace,
    remove,
    add,
    write_behind_a_link,
    write_through_another_name,
    write_in_a_tree,
    write_outside,
    write_a_target,
    put_another_folder_there,
    put_another_folder_above,
    put_a_link_there,
    write_in_a_renamed_folder,
    write_to_a_file_that_was_moved_in,
    make_a_link_and_write_through_it,
    give_it_another_name_and_write_to_that,
    flood,
]


@pytest.mark.usefixtures("watch")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_was_changed_just_now_is_seen(project: Sandbox, change: Callable[[Sandbox], None]) -> None:
    project.nothing_to_do()
    change(project)
    project.ran()
    assert "1 job ran" in str(project.build())
    assert project.ran() == ["all"]
    assert "deep\n" not in project.read("all.txt") or "another_folder" not in change.__name__


@pytest.mark.usefixtures("watch")
@pytest.mark.skipif(not can_mount(), reason="needs the right to mount")
def test_a_file_system_that_was_mounted_over_a_folder_is_seen(project: Sandbox) -> None:
    project.nothing_to_do()
    with mounted(project.path("deep/down"), "1m"):
        assert "deep/down/in.txt" in str(project.duct("status"))


def test_a_watch_that_was_stopped_is_not_waited_for(watch: Watching, project: Sandbox) -> None:
    os.kill(watch.process.pid, signal.SIGSTOP)
    project.write("raw/5.txt", "new\n")
    before = time.monotonic()
    assert asked(project) is None
    assert time.monotonic() - before < 1
    assert "1 job ran" in str(project.build())
    os.kill(watch.process.pid, signal.SIGCONT)


def test_what_a_killed_watch_left_is_nobody(watch: Watching, project: Sandbox) -> None:
    watch.process.kill()
    watch.process.wait()
    assert project.exists(".duct/watch.sock")
    assert asked(project) is None
    project.write("raw/5.txt", "new\n")
    assert "1 job ran" in str(project.build())
    again = Watching(project)
    wait_for(lambda: asked(project) is not None, "the next one answers at the same place")
    assert again.end() == 0
    assert not project.exists(".duct/watch.sock")


def test_of_another_snapshot_it_speaks_once_it_has_looked_at_it(project: Sandbox) -> None:
    watch = Watching(project, "--settle", "60")
    shutil.copy(project.path(".duct/snapshot"), project.path("snapshot"))
    project.write("raw/5.txt", "new\n")
    project.build()
    wait_for(lambda: asked(project) is not None, "a watch that has read the snapshot of the other command")
    project.ran()
    project.nothing_to_do()
    shutil.copy(project.path("snapshot"), project.path(".duct/snapshot"))
    wait_for(lambda: asked(project) is not None, "a watch that has read the snapshot of before")
    assert {"raw/5.txt", "all.txt"} <= set(asked(project) or ())
    project.build()
    project.nothing_to_do()
    watch.end()


@pytest.mark.usefixtures("watch")
def test_a_copy_by_hard_links_is_another_project(project: Sandbox) -> None:
    copy = os.path.join(project.home, "copy")
    shutil.copytree(project.root, copy, copy_function=os.link, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
    os.link(project.path(".duct/watch.sock"), os.path.join(copy, ".duct", "watch.sock"))
    with chdir(copy):
        snapshot = read(".duct/snapshot")
        assert snapshot is not None
        assert watched.ask(".duct", snapshot) is None


@pytest.mark.usefixtures("watch")
def test_who_does_not_ask_properly_gets_nothing_and_holds_nobody_up(project: Sandbox) -> None:
    with chdir(project.root):
        for question in [b"", b"x", b"x" * 1024]:
            with socket.socket(socket.AF_UNIX) as call:
                call.settimeout(5)
                call.connect(".duct/watch.sock")
                if question:
                    call.sendall(question)
                assert call.recv(100) == b""
    assert asked(project) is not None


@pytest.mark.parametrize("answer", [b"\0\0\0", b"\1\0\0\0", b"\1\0\0\0\xff\xff\xff\x7f", b"\1\0\0\0\xff\xff\xff\xff"])
def test_a_strange_answer_is_none(project: Sandbox, answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with chdir(project.root), socket.socket(socket.AF_UNIX) as listening:
        listening.bind(".duct/watch.sock")
        listening.listen()
        snapshot = read(".duct/snapshot")
        assert snapshot is not None
        assert watched.ask(".duct", snapshot) is None  # nobody answers at all
        monkeypatch.setattr(watched, "_answer", lambda *_: answer)
        assert watched.ask(".duct", snapshot) is None
        monkeypatch.setattr(watched, "_answer", lambda *_: b"\1\0\0\0\2\0\0\0")
        assert watched.ask(".duct", snapshot) == [2]
