"""A build that is stopped between any two system calls: what the next start finds, finishes or undoes.

Each scenario is a small build over real files, run in a child process that dies (as by `kill -9`: no handler, no clean-up) at the n-th call. The
parent looks at what is left, recovers (dying at the m-th call of that too, once), and looks again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from miniduct.model import Stamp
from miniduct.stores.local import LocalStore
from miniduct.stores.staging import Staging
from miniduct.trace.database import Traces
from miniduct.trace.record import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALLS = ["rename", "replace", "unlink", "rmdir", "mkdir", "link", "open", "write", "ftruncate", "truncate", "chmod"]
CALLS += [name for name in ("sendfile", "copy_file_range") if hasattr(os, name)]
OLD, NEW, HALF = "old\n", "new, and longer\n", "new, a"
USERS = "written by the user\n"
ENDED, DIED = 0, 9


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In the memory, where there is a file system in it: a few thousand small projects would wait for the disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        yield Path(folder)


def forked(work: Callable[[], None], stop_at: int | None) -> int:
    """Run the work in a child that dies before its n-th system call; ENDED if it did not get that far."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if stop_at is not None:
                _die_at(stop_at)
            work()
            code = ENDED
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _die_at(stop_at: int) -> None:
    """From here on in this process the n-th call of the hooked functions is the end of it. The process is thrown away."""
    calls = 0

    def hook(real: Callable[..., Any]) -> Callable[..., Any]:
        def hooked(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == stop_at:
                os._exit(DIED)
            return real(*args, **kwargs)

        return hooked

    for name in CALLS:
        setattr(os, name, hook(getattr(os, name)))


def text(path: str) -> str | None:
    """A file's text; of a folder the names and texts in it. None: not there."""
    if os.path.isdir(path):
        return "".join(f"{name}:{text(f'{path}/{name}')}" for name in sorted(os.listdir(path)))
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def put(path: str, content: str) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as file:
        file.write(content)


class Build:
    """One job, from its preparation to its record, the way the engine does it."""

    def __init__(
        self, staged: list[str], direct: list[str], *, dynamic: list[str] | None = None, keep: bool = False
    ) -> None:
        self.staged, self.direct, self.dynamic, self.keep = staged, direct, dynamic or [], keep
        self.makes: dict[str, str] = {}
        self.run = 1
        self.fails = False
        self.keeps_aside = False
        self.members_are_ours = True

    def __call__(self) -> None:
        store = LocalStore()
        staging = Staging(".duct")
        with Traces(".duct/trace.db", write=True, version="1") as traces:
            members = [key for key in self.makes if os.path.exists(key)]
            staging.prepare(
                "job",
                staged=self.staged,
                direct=self.direct,
                keep=self.keep,
                dynamic=self.dynamic,
                members=members if self.members_are_ours else (),
            )
            for key, content in self.makes.items():
                at = key if self._is_direct(key) else staging.path(key, self._owner)
                os.chmod(".", 0o755)  # a call to stop at
                put(at, HALF)
                os.chmod(".", 0o755)
                put(at, content)
                os.chmod(".", 0o755)
            if self.fails:
                staging.restore("job")
                staging.discard("job", self.staged, dynamic=self.dynamic)
                return
            pairs = self._made(staging)
            if self.keeps_aside:
                staging.keep_aside(pairs[0][0])
            record = trace(store, pairs, self.run)
            leads = {key: place for key, _ in pairs if (place := staging.leads(key)) is not None}
            record = record._replace(through=leads)
            traces.record(record)
            staging.publish([(key, at) for key, at in pairs if key != at], record.through)
            if self.direct:
                staging.commit("job")
            traces.fold()

    @property
    def _owner(self) -> str:
        return Staging.owner("job", self.staged, self.dynamic)

    def _is_direct(self, key: str) -> bool:
        return any(key.startswith(text.rstrip("*")) for text in self.direct)

    def _made(self, staging: Staging) -> list[tuple[str, str]]:
        pairs = []
        for text_ in [*self.staged, *self.direct]:
            direct = text_ in self.direct
            if text_ in self.dynamic:
                pairs += staging.members(text_, owner="" if direct else self._owner)
            else:
                pairs.append((text_, text_ if direct else staging.path(text_, self._owner)))
        return pairs


def trace(store: LocalStore, pairs: list[tuple[str, str]], run: int) -> Trace:
    fingerprints, stamps = [], []
    for _, at in pairs:
        stamp, fingerprint = store.stat(at), store.fingerprint(at)
        assert stamp is not None
        assert fingerprint is not None
        stamps.append(stamp)
        fingerprints.append(fingerprint)
    keys = [key for key, _ in pairs]
    return Trace(
        "job", "step", {}, bytes(32), bytes(32), "content", [], b"", keys, b"".join(fingerprints), stamps, run, 1.0, 1.0
    )


class Scenario:
    """A build, and how the project looks before and after it: key to text, None where nothing is there."""

    def __init__(self, build: Build, before: dict[str, str | None], after: dict[str, str | None]) -> None:
        self.build, self.before, self.after = build, before, after


def staged_file(before: str | None) -> Scenario:
    build = Build(["out/a.txt"], [])
    build.makes = {"out/a.txt": NEW}
    return Scenario(build, {"out/a.txt": before}, {"out/a.txt": NEW})


def two_staged_files() -> Scenario:
    build = Build(["out/a.txt", "../beside/b.txt"], [])
    build.makes = {"out/a.txt": NEW, "../beside/b.txt": NEW}
    return Scenario(build, dict.fromkeys(build.makes, OLD), dict(build.makes))


def staged_folder() -> Scenario:
    build = Build(["out/f/"], [])
    build.makes = {"out/f/x": NEW, "out/f/y": NEW}
    return Scenario(build, {"out/f": f"x:{OLD}z:{OLD}"}, {"out/f": f"x:{NEW}y:{NEW}"})


def staged_members() -> Scenario:
    build = Build(["out/*.txt"], [], dynamic=["out/*.txt"])
    build.makes = {"out/a.txt": NEW, "out/b.txt": NEW}
    return Scenario(build, {"out/a.txt": OLD, "out/b.txt": None}, {"out/a.txt": NEW, "out/b.txt": NEW})


def staged_through_link() -> Scenario:
    build = Build(["link"], [])
    build.makes = {"link": NEW}
    return Scenario(build, {"elsewhere/a": OLD}, {"elsewhere/a": NEW})


def staged_and_kept() -> Scenario:
    build = Build(["out/a.txt"], [], keep=True)
    build.makes = {"out/a.txt": NEW}
    return Scenario(build, {"out/a.txt": OLD}, {"out/a.txt": NEW})


def users_copy_put_aside() -> Scenario:
    scenario = staged_file(USERS)
    scenario.build.keeps_aside = True
    return scenario


def direct_file(before: str | None, *, keep: bool = False) -> Scenario:
    build = Build([], ["out/a.txt"], keep=keep)
    build.makes = {"out/a.txt": NEW}
    return Scenario(build, {"out/a.txt": before}, {"out/a.txt": NEW})


def direct_folder() -> Scenario:
    build = Build([], ["out/f/"])
    build.makes = {"out/f/x": NEW, "out/f/y": NEW}
    return Scenario(build, {"out/f": f"x:{OLD}z:{OLD}"}, {"out/f": f"x:{NEW}y:{NEW}"})


def direct_members() -> Scenario:
    build = Build([], ["out/*"], dynamic=["out/*"])
    build.makes = {"out/a": NEW, "out/b": NEW}
    return Scenario(build, {"out/a": OLD, "out/b": None}, {"out/a": NEW, "out/b": NEW})


def direct_members_over_users() -> Scenario:
    scenario = direct_members()
    scenario.build.members_are_ours = False
    return scenario


def direct_and_staged() -> Scenario:
    build = Build(["out/a.txt"], ["log/b.txt"])
    build.makes = {"out/a.txt": NEW, "log/b.txt": NEW}
    return Scenario(build, {"out/a.txt": OLD, "log/b.txt": OLD}, dict(build.makes))


def failing(scenario: Scenario) -> Scenario:
    scenario.build.fails = True
    return Scenario(scenario.build, scenario.before, scenario.before)


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "first file": lambda: staged_file(None),
    "file again": lambda: staged_file(OLD),
    "same content again": lambda: staged_file(NEW),
    "two files, one above the root": two_staged_files,
    "folder": staged_folder,
    "members": staged_members,
    "through a link": staged_through_link,
    "updated in the stage": staged_and_kept,
    "the user's copy put aside": users_copy_put_aside,
    "direct, first": lambda: direct_file(None),
    "direct": lambda: direct_file(OLD),
    "direct, updated in place": lambda: direct_file(OLD, keep=True),
    "direct folder": direct_folder,
    "direct members": direct_members,
    "direct members, of which one was the user's": direct_members_over_users,
    "direct and staged": direct_and_staged,
    "fails": lambda: failing(staged_file(OLD)),
    "fails, folder": lambda: failing(staged_folder()),
    "fails, direct": lambda: failing(direct_file(OLD)),
    "fails, direct, first": lambda: failing(direct_file(None)),
    "fails, direct, updated in place": lambda: failing(direct_file(OLD, keep=True)),
    "fails, direct members": lambda: failing(direct_members()),
    "fails, direct members, of which one was the user's": lambda: failing(direct_members_over_users()),
}


@pytest.fixture(autouse=True)
def elsewhere_afterwards() -> Iterator[None]:
    """The scenarios work from within their projects, as duct does."""
    here = os.getcwd()
    yield
    os.chdir(here)


def lay_out(root: Path, scenario: Scenario) -> None:
    """A project that holds what was there before, with a database and a stranger's files beside every target."""
    os.makedirs(root / ".duct")
    os.chdir(root)
    if "elsewhere/a" in scenario.before:
        os.symlink("elsewhere/a", "link")
    for key, content in scenario.before.items():
        if content is None:
            continue
        if ":" in content:
            for line in content.splitlines():
                name, _, part = line.partition(":")
                put(f"{key}/{name}", f"{part}\n")
        else:
            put(key, content)
    put("users.txt", USERS)


def recover() -> None:
    with Traces(".duct/trace.db", write=True, version="1") as traces:
        traces.recover(Staging(".duct").recover)


def now(scenario: Scenario) -> dict[str, str | None]:
    return {key: text(key) for key in scenario.before}


def assert_whole(scenario: Scenario) -> None:
    """After the recovery: all old, or all new with the trace that says so; nothing else changed, and nothing left over."""
    with Traces(".duct/trace.db", write=False) as traces:
        known = "job" in traces.load(["job"])
    found = now(scenario)
    if known:
        assert found == scenario.after
    else:
        assert found == scenario.before
    assert text("users.txt") == USERS
    for name in ("stage", "stage-up", "stage-abs", "trash", "guard"):
        assert not os.path.exists(f".duct/{name}")
    assert text(".duct/journal") in ("", None)
    if scenario.build.keeps_aside and known:
        kept = [f".duct/kept/out/{name}" for name in os.listdir(".duct/kept/out")]
        assert [text(path) for path in kept] == [USERS]


def assert_never_half(scenario: Scenario) -> None:
    """At the moment of the kill: a staged target is the old one, the new one, or none."""
    if scenario.build.direct:
        return
    for key, content in now(scenario).items():
        assert content in (scenario.before[key], scenario.after[key], None), key


@pytest.mark.parametrize("name", SCENARIOS)
def test_stopped_anywhere_targets_are_the_old_or_the_new_ones(name: str, tmp_path: Path) -> None:
    ended = False
    stop_at = 0
    while not ended:
        stop_at += 1
        scenario = SCENARIOS[name]()
        lay_out(tmp_path / str(stop_at), scenario)
        code = forked(scenario.build, stop_at)
        assert code in (ENDED, DIED)
        ended = code == ENDED
        assert_never_half(scenario)
        recover()
        assert_whole(scenario)
    assert stop_at > 5
    assert now(scenario) == scenario.after


@pytest.mark.parametrize("name", ["file again", "folder", "direct, updated in place", "direct and staged"])
def test_recovery_stopped_anywhere_is_finished_by_the_next_one(name: str, tmp_path: Path) -> None:
    ended, stop_at = False, 0
    while not ended:
        stop_at += 1
        scenario = SCENARIOS[name]()
        lay_out(tmp_path / str(stop_at), scenario)
        ended = forked(scenario.build, stop_at) == ENDED
        recovered, second = False, 0
        while not recovered:
            second += 1
            copy = tmp_path / f"{stop_at}-{second}"
            shutil.copytree(tmp_path / str(stop_at), copy, symlinks=True)
            os.chdir(copy)
            recovered = forked(recover, second) == ENDED
            assert_never_half(scenario)
            recover()
            assert_whole(scenario)


@pytest.mark.parametrize("name", ["file again", "direct", "direct and staged", "folder"])
def test_second_run_stopped_anywhere_leaves_the_first_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both runs in one journal: the first one's line is that of the targets which the guard or the place holds."""
    ended, stop_at = False, 0
    while not ended:
        stop_at += 1
        scenario = SCENARIOS[name]()
        lay_out(tmp_path / str(stop_at), scenario)
        build = scenario.build
        _unfolded(build, monkeypatch)
        first = now(scenario)
        build.run, build.makes = 2, dict.fromkeys(build.makes, "the second run\n")
        ended = forked(build, stop_at) == ENDED
        recover()
        with Traces(".duct/trace.db", write=False) as traces:
            known = traces.load(["job"])["job"].run
        if known == 1:
            assert now(scenario) == first
        else:
            assert all("second" in (content or "") for content in now(scenario).values())
    assert known == 2


def _unfolded(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Traces, "fold", lambda _: None)
        build()


def test_file_that_the_user_put_in_the_place_of_a_half_target_is_kept(tmp_path: Path) -> None:
    scenario = direct_file(OLD)
    lay_out(tmp_path / "p", scenario)
    Staging(".duct").prepare("job", staged=[], direct=["out/a.txt"])
    assert text("out/a.txt") is None
    put("out/a.txt", USERS)
    staging = Staging(".duct")
    assert staging.recover([]) == []
    assert text("out/a.txt") == OLD
    ((key, copy),) = staging.kept
    assert key == "out/a.txt"
    assert text(copy) == USERS


def test_edit_after_the_kill_is_kept_when_the_new_target_is_published(tmp_path: Path) -> None:
    lay_out(tmp_path / "p", staged_file(OLD))
    staging = Staging(".duct")
    staging.prepare("job", staged=["out/a.txt"], direct=[])
    put(staging.path("out/a.txt"), NEW)
    record = trace(LocalStore(), [("out/a.txt", staging.path("out/a.txt"))], 1)
    put("out/a.txt", USERS)
    later = Staging(".duct")
    assert later.recover([record]) == [record]
    assert text("out/a.txt") == NEW
    ((key, copy),) = later.kept
    assert (key, text(copy)) == ("out/a.txt", USERS)


def test_staged_file_with_other_content_than_recorded_is_not_published(tmp_path: Path) -> None:
    lay_out(tmp_path / "p", staged_file(OLD))
    staging = Staging(".duct")
    staging.prepare("job", staged=["out/a.txt"], direct=[])
    put(staging.path("out/a.txt"), NEW)
    record = trace(LocalStore(), [("out/a.txt", staging.path("out/a.txt"))], 1)
    os.unlink(staging.path("out/a.txt"))
    put(staging.path("out/a.txt"), "something else\n")
    record = record._replace(target_stamps=[Stamp(1, 2, 3, 4)])
    assert Staging(".duct").recover([record]) == []
    assert text("out/a.txt") == OLD


def test_trace_without_targets_is_believed(tmp_path: Path) -> None:
    lay_out(tmp_path / "p", staged_file(OLD))
    record = trace(LocalStore(), [], 1)
    assert Staging(".duct").recover([record]) == [record]
