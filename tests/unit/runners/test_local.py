"""The runner of this machine, with real processes: how commands end, where their output goes, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from miniduct.runners.base import Done, Lost, Task
from miniduct.runners.processes import end_leftovers
from miniduct.runners.shell import LocalRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from miniduct.runners.base import RunnerEvent


@pytest.fixture(params=["pidfd", "threads"])
def runner(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalRunner]:
    """A runner in an empty folder, in both ways of waiting."""
    monkeypatch.chdir(tmp_path)
    if request.param == "threads":
        monkeypatch.delattr(os, "pidfd_open")
    made = LocalRunner("logs", slots=2, grace=0.2)
    yield made
    made.close()


def task(*argv: str, attempt: int = 1, **more: Any) -> Task:
    return Task(attempt, argv, more.pop("log", f"logs/job/{attempt}.log"), **more)


def bash(text: str, **more: Any) -> Task:
    return task("bash", "-c", text, **more)


def one(runner: LocalRunner, timeout: float = 30) -> RunnerEvent:
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        for event in runner.events(1):
            return event
    raise AssertionError("no event")


def done(runner: LocalRunner, started: Task) -> Done:
    runner.submit(started)
    event = one(runner)
    assert isinstance(event, Done)
    assert event.attempt == started.attempt
    return event


def wait_for(path: str) -> bytes:
    """What a job wrote to the file, once it did."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            if data := file.read():
                return data
        threading.Event().wait(0.002)
    raise AssertionError(f"{path} never appeared")


def gone(pid: int) -> bool:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                if file.read().rsplit(b")", 1)[1].split()[0] in (b"Z", b"X"):
                    return True
        except OSError:
            return True
        threading.Event().wait(0.002)
    return False


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


# --- how jobs end


def test_silent_job_leaves_no_log(runner: LocalRunner) -> None:
    event = done(runner, task("true"))
    assert (event.code, event.output, event.error, event.timed_out) == (0, 0, None, False)
    assert not os.path.exists("logs/job/1.log")


def test_output_of_both_kinds_is_one_log_in_order(runner: LocalRunner) -> None:
    event = done(runner, bash("echo a; echo b >&2; echo c; exit 3"))
    assert (event.code, event.output) == (3, 6)
    assert read("logs/job/1.log") == b"a\nb\nc\n"


def test_silent_run_removes_the_log_of_the_run_before(runner: LocalRunner) -> None:
    done(runner, bash("echo a", log="logs/x.log"))
    done(runner, task("true", attempt=2, log="logs/x.log"))
    assert not os.path.exists("logs/x.log")


def test_further_attempt_is_appended(runner: LocalRunner) -> None:
    done(runner, bash("echo a", log="logs/x.log"))
    assert done(runner, bash("echo b", attempt=2, log="logs/x.log", append=True)).output == 4
    assert done(runner, task("true", attempt=3, log="logs/x.log", append=True)).output == 4
    assert read("logs/x.log") == b"a\nb\n"
    assert done(runner, bash("echo c", attempt=4, log="logs/y.log", append=True)).output == 2


def test_end_by_signal_is_a_negative_code(runner: LocalRunner) -> None:
    assert done(runner, bash("kill -SEGV $$")).code == -signal.SIGSEGV


def test_standard_input_is_empty(runner: LocalRunner) -> None:
    assert done(runner, bash("cat; read x || echo end")).code == 0
    assert read("logs/job/1.log") == b"end\n"


def test_job_that_closes_its_output_ends_as_any_other(runner: LocalRunner) -> None:
    assert done(runner, bash("exec >&- 2>&-; exit 4")).code == 4


def test_many_jobs_share_the_slots_files(runner: LocalRunner) -> None:
    codes: dict[int, tuple[int, bool]] = {}
    for attempt in range(40):
        runner.submit(bash(f"[ $(({attempt} % 3)) = 0 ] || echo {attempt}; exit {attempt}", attempt=attempt))
        if attempt % 2:
            while len(codes) < attempt + 1:
                for event in runner.events(1):
                    assert isinstance(event, Done)
                    codes[event.attempt] = (event.code, event.output > 0)
    assert codes == {n: (n, n % 3 != 0) for n in range(40)}
    assert {name: read(f"logs/job/{name}") for name in os.listdir("logs/job")} == {
        f"{n}.log": f"{n}\n".encode() for n in range(40) if n % 3
    }


def test_environment_is_the_whole_one(runner: LocalRunner) -> None:
    done(runner, task("/usr/bin/env", env={"A": "b c", "\udcff": "\udcfe"}))
    assert read("logs/job/1.log") == b"A=b c\n\xff=\xfe\n"


def test_arguments_are_bytes_as_they_are(runner: LocalRunner) -> None:
    done(runner, task("printf", "%s|", "a\udcffb", "", "\n", "é"))
    assert read("logs/job/1.log") == b"a\xffb||\n|\xc3\xa9|"


def test_folder_of_the_task_is_where_it_runs(runner: LocalRunner) -> None:
    os.mkdir("sub dir")
    done(runner, task("pwd", "-P", cwd="sub dir"))
    assert read("logs/job/1.log").endswith(b"/sub dir\n")
    assert done(runner, bash("exit 5", attempt=2, cwd="sub dir")).code == 5


def test_ignored_signals_are_not_handed_on(runner: LocalRunner) -> None:
    done(runner, bash("grep SigIgn /proc/self/status; yes | head -1"))
    ignored = int(read("logs/job/1.log").split()[1], 16)
    assert ignored & (1 << (signal.SIGPIPE - 1)) == 0
    assert ignored & (1 << (signal.SIGCHLD - 1)) == 0


def test_jobs_inherit_no_files_of_the_runner(runner: LocalRunner) -> None:
    runner.submit(bash("sleep 30", attempt=7))
    own = {os.readlink(f"/proc/self/fd/{fd}") for fd in (runner._wake_read, runner._wake_write)}
    done_ = done(runner, bash("ls -l /proc/self/fd"))
    assert done_.code == 0
    listed = read("logs/job/1.log").decode()
    assert not any(name in listed for name in own)
    assert listed.count(".slot-") == 2


def test_every_job_has_a_session_of_its_own(runner: LocalRunner) -> None:
    done(runner, bash("echo $$; cut -d' ' -f5,6 /proc/$$/stat"))
    pid, group, session = read("logs/job/1.log").split()
    assert pid == group == session


def test_memory_of_a_large_job_is_known(runner: LocalRunner) -> None:
    # More than this process itself ever had: what a command takes below that is not known.
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 400_000_000
    event = done(runner, task(sys.executable, "-c", f"x = b'a' * {size}"))
    assert size < event.max_rss < size + 500_000_000


def test_gigabyte_of_output_costs_no_memory(runner: LocalRunner) -> None:
    event = done(runner, bash("head -c 200M /dev/zero", log="logs/x.log"))
    assert event.output == 200 * 1024 * 1024
    assert done(runner, bash("echo a", attempt=2, log="logs/x.log", append=True)).output == 200 * 1024 * 1024 + 2


# --- jobs that cannot be started


@pytest.mark.parametrize("cwd", [".", "sub"])
def test_command_that_is_not_there(runner: LocalRunner, cwd: str) -> None:
    os.mkdir("sub")
    event = done(runner, task("no-such-command", "a", cwd=cwd))
    assert (event.code, event.error) == (127, 'the command "no-such-command" is not found')
    event = done(runner, task("./no-such-command", attempt=2, cwd=cwd))
    assert (event.code, event.error) == (127, 'the command "./no-such-command" is not found')


@pytest.mark.parametrize("cwd", [".", "sub"])
def test_file_that_is_not_executable(runner: LocalRunner, cwd: str) -> None:
    os.mkdir("sub")
    for folder in (".", "sub"):
        with open(f"{folder}/x", "w", encoding="ascii") as file:
            file.write("#!/bin/sh\n")
    event = done(runner, task("./x", cwd=cwd))
    assert (event.code, event.error) == (126, '"./x" is not executable')


@pytest.mark.parametrize("cwd", [".", "sub"])
def test_script_whose_interpreter_is_missing(runner: LocalRunner, cwd: str) -> None:
    os.mkdir("sub")
    script(f"{cwd}/x", "#!/no/such/interpreter\n")
    event = done(runner, task("./x", cwd=cwd))
    assert (event.code, event.error) == (
        127,
        '"./x" cannot be started: the program named in its first line does not exist',
    )


@pytest.mark.parametrize("cwd", [".", "sub"])
def test_script_without_a_first_line_runs_as_in_a_shell(runner: LocalRunner, cwd: str) -> None:
    os.mkdir("sub")
    script(f"{cwd}/x", 'echo "$1"\n')
    assert done(runner, task("./x", "a b", cwd=cwd)).code == 0
    assert read("logs/job/1.log") == b"a b\n"


def script(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    os.chmod(path, 0o755)


def test_folder_that_is_not_there(runner: LocalRunner) -> None:
    event = done(runner, task("true", cwd="gone"))
    assert (event.code, event.error) == (127, 'the folder "gone" that the command should run in does not exist')


def test_argument_too_long_or_with_nul(runner: LocalRunner) -> None:
    assert "{manifest}" in str(done(runner, task("true", "a" * 200_000)).error)
    event = done(runner, task("true", "a\0b", attempt=2))
    assert event.code == 126
    assert "null" in str(event.error)


def test_search_path_is_that_of_the_job(runner: LocalRunner) -> None:
    os.mkdir("bin")
    script("bin/tool", "#!/bin/sh\necho here\n")
    assert done(runner, task("tool", env={"PATH": os.path.abspath("bin")})).code == 0
    assert done(runner, task("tool", attempt=2, env={"PATH": "/usr/bin"})).code == 127
    os.unlink("bin/tool")
    assert done(runner, task("tool", attempt=3, env={"PATH": os.path.abspath("bin")})).code == 127


def test_log_that_cannot_be_written_is_said(runner: LocalRunner) -> None:
    with open("file", "wb"):
        pass
    event = done(runner, bash("echo a", log="file/x.log"))
    assert "cannot be written" in str(event.error)


def test_folder_of_logs_removed_by_the_job(runner: LocalRunner) -> None:
    event = done(runner, bash("echo a; rm -r logs"))
    assert (event.code, event.error) == (0, None)
    assert read("logs/job/1.log") == b"a\n"
    assert done(runner, task("true", attempt=2)).error is None


# --- ending jobs


def test_timeout_ends_the_job(runner: LocalRunner) -> None:
    event = done(runner, task("sleep", "60", timeout=0.05))
    assert (event.code, event.timed_out) == (-signal.SIGTERM, True)
    assert event.seconds < 10


def test_job_that_ignores_the_request_is_ended(runner: LocalRunner) -> None:
    runner.submit(bash("trap '' TERM; echo up > up; while :; do sleep 60; done"))
    wait_for("up")
    runner.kill(1)
    event = one(runner)
    assert isinstance(event, Done)
    assert event.code == -signal.SIGKILL
    assert event.seconds >= 0.2


def test_hard_kill_is_at_once(runner: LocalRunner) -> None:
    runner.submit(bash("trap '' TERM; echo up > up; while :; do sleep 60; done"))
    wait_for("up")
    runner.kill(1)
    runner.kill(1, hard=True)
    event = one(runner, timeout=10)
    assert isinstance(event, Done)
    assert event.code == -signal.SIGKILL


def test_stopped_job_hears_the_request(runner: LocalRunner) -> None:
    runner.submit(bash("trap 'exit 9' TERM; echo up > up; kill -STOP $$; sleep 60"))
    wait_for("up")
    runner.kill(1)
    event = one(runner)
    assert isinstance(event, Done)
    assert event.code in (9, -signal.SIGTERM, -signal.SIGKILL)


def test_job_may_clean_up_after_the_request(runner: LocalRunner) -> None:
    runner.submit(bash("trap 'echo bye; exit 7' TERM; echo up > up; while :; do sleep 0.01; done"))
    wait_for("up")
    runner.kill(1)
    event = one(runner)
    assert isinstance(event, Done)
    assert event.code == 7
    assert read("logs/job/1.log").endswith(b"bye\n")


@pytest.mark.parametrize(
    "how",
    ["bash -c '{}' & wait", "setsid bash -c '{}' & wait", "timeout 60 bash -c '{}'", "set -m; bash -c '{}' & wait"],
)
def test_whole_family_is_ended(runner: LocalRunner, how: str) -> None:
    runner.submit(bash(how.format('trap "" TERM; echo $$ > up; while :; do sleep 60; done')))
    pid = int(wait_for("up"))
    runner.kill(1)
    assert isinstance(one(runner), Done)
    assert gone(pid)


def test_job_is_over_only_when_its_family_is(runner: LocalRunner) -> None:
    inner = 'trap "" TERM; echo $$ > up; while :; do sleep 60; done'
    runner.submit(bash(f"bash -c '{inner}' & wait"))
    pid = int(wait_for("up"))
    runner.kill(1)
    event = one(runner)
    assert isinstance(event, Done)
    assert gone(pid)
    assert event.seconds >= 0.2


def test_process_left_behind_does_not_hold_the_job(runner: LocalRunner) -> None:
    event = done(runner, bash("sleep 60 & echo $!"))
    assert (event.code, event.seconds < 20) == (0, True)
    pid = int(read("logs/job/1.log"))
    os.kill(pid, signal.SIGKILL)


def test_process_left_behind_does_not_write_into_the_next_log(runner: LocalRunner) -> None:
    runner.submit(bash("(while [ ! -e go ]; do sleep 0.01; done; echo late; echo x > late) & true"))
    assert isinstance(one(runner), Done)
    runner.submit(bash("echo a; > go; while [ ! -e late ]; do sleep 0.01; done; echo b", attempt=2))
    assert isinstance(one(runner), Done)
    assert read("logs/job/2.log") == b"a\nb\n"


def test_kill_of_a_job_that_has_ended_is_nothing(runner: LocalRunner) -> None:
    done(runner, task("true"))
    runner.kill(1)
    runner.kill(99, hard=True)


def test_close_ends_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(os.listdir("/proc/self/fd"))
    runner = LocalRunner("logs", slots=2)
    runner.submit(bash("trap '' TERM; echo $$ > up; while :; do sleep 60; done"))
    pid = int(wait_for("up"))
    runner.close()
    runner.close()
    assert gone(pid)
    assert set(os.listdir("/proc/self/fd")) == before
    assert [name for name in os.listdir("logs") if name.startswith(".")] == []


def test_no_file_is_left_open_by_many_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = LocalRunner("logs", slots=2)
    try:
        for attempt in range(30):
            text = ["echo a", "true", "nothing-here", "sleep 60 >/dev/null 2>&1 & kill $!"][attempt % 4]
            done(runner, bash(text, attempt=attempt, mask=(b"a",) if attempt % 3 == 0 else ()))
            if attempt == 5:
                before = len(os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/fd")) <= before
    finally:
        runner.close()


# --- waiting


def test_wake_makes_a_waiting_call_return(runner: LocalRunner) -> None:
    threading.Timer(0.02, runner.wake).start()
    assert runner.events(20) == []


def test_wake_before_the_call_counts(runner: LocalRunner) -> None:
    runner.wake()
    assert runner.events(None) == []


def test_call_returns_when_its_time_is_over(runner: LocalRunner) -> None:
    began = time.monotonic()
    assert runner.events(0.01) == []
    assert time.monotonic() - began < 5


def test_signal_handler_may_wake(runner: LocalRunner) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: runner.wake())
    try:
        runner.submit(bash(f"kill -USR1 {os.getpid()}; sleep 60"))
        assert runner.events(20) == []
        runner.kill(1, hard=True)
        assert isinstance(one(runner), Done)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_process_waited_for_by_somebody_else_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = LocalRunner("logs")
    try:
        runner.submit(bash("echo $$ > up"))
        os.waitpid(int(wait_for("up")), 0)
        assert isinstance(one(runner), Lost)
    finally:
        runner.close()


def test_ignored_children_of_the_parent_do_not_lose_exit_codes(tmp_path: Path) -> None:
    program = """
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from miniduct.runners.shell import LocalRunner
from miniduct.runners.base import Task
runner = LocalRunner("logs")
runner.submit(Task(1, ["bash", "-c", "exit 7"], "logs/1.log"))
events = []
while not events:
    events = runner.events(10)
print(events[0].code)
runner.close()
print(signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN)
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, check=True, timeout=60)
    assert run.stdout.split() == [b"7", b"True"]


def test_closed_standard_streams_of_the_parent_do_no_harm(tmp_path: Path) -> None:
    program = """
import os
for fd in (0, 1, 2):
    os.close(fd)
from miniduct.runners.shell import LocalRunner
from miniduct.runners.base import Task
runner = LocalRunner("logs", slots=2)
for attempt in (1, 2):
    runner.submit(Task(attempt, ["bash", "-c", "echo out; echo err >&2; cat"], f"logs/{attempt}.log"))
ended = 0
while ended < 2:
    ended += len(runner.events(10))
runner.close()
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)
    assert [read(f"{tmp_path}/logs/{n}.log") for n in (1, 2)] == [b"out\nerr\n"] * 2


# --- secrets, live output, leftovers


def test_secrets_never_reach_the_log(runner: LocalRunner) -> None:
    started = bash("printf 'a hun'; sleep 0.01; echo ter2 b hunter22 c", mask=(b"hunter2", b"hunter22", b""))
    runner.submit(started)
    assert runner.running_log(1) is None
    assert isinstance(one(runner), Done)
    assert read("logs/job/1.log") == b"a *** b *** c\n"
    for folder, _, names in os.walk("."):
        for name in names:
            assert b"hunter" not in read(f"{folder}/{name}")


def test_output_can_be_read_while_the_job_runs(runner: LocalRunner) -> None:
    runner.submit(bash("echo hello; sleep 60"))
    path = runner.running_log(1)
    assert path is not None
    assert wait_for(path) == b"hello\n"
    runner.kill(1, hard=True)
    one(runner)
    assert runner.running_log(1) is None


def test_commands_of_a_killed_run_are_ended_by_their_marker(tmp_path: Path) -> None:
    marker = f"test-{os.getpid()}-{tmp_path.name}"
    environment = {**os.environ, "DUCT_RUN": marker}
    process = subprocess.Popen(["bash", "-c", "sleep 60; true"], start_new_session=True, env=environment)
    other = subprocess.Popen(["sleep", "60"], start_new_session=True, env={**environment, "DUCT_RUN": f"{marker}x"})
    try:
        assert process.poll() is None
        until = time.monotonic() + 10
        while end_leftovers(marker) != 1:
            assert time.monotonic() < until
        assert process.wait(10) == -signal.SIGKILL
        assert other.poll() is None
        assert end_leftovers(marker) == 0
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    ("name", "ends"), [(".slot-3", True), (".slot-3.log", False), ("x/.slot-3", False), ("mine.log", False)]
)
@pytest.mark.parametrize("deleted", [False, True])
def test_what_writes_to_a_slot_is_of_a_killed_run(tmp_path: Path, name: str, ends: bool, deleted: bool) -> None:
    log = tmp_path / name
    log.parent.mkdir(exist_ok=True)
    with open(log, "wb") as file:
        process = subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=file)
    if deleted:
        log.unlink()
    try:
        assert end_leftovers("nobody", str(tmp_path)) == ends
        assert (process.poll() is None) != ends or process.wait(10) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()


ANCESTOR = """
import os, subprocess, sys
other = subprocess.Popen(["sleep", "60"], preexec_fn=os.setpgrp)
marked = subprocess.Popen(["sleep", "60"], preexec_fn=os.setpgrp, env={**os.environ, "DUCT_RUN": "the marker"})
program = "import os; from miniduct.runners.processes import end_leftovers; "
program += "print(end_leftovers('the marker', os.getcwd()), file=open('ended', 'w'))"
subprocess.run([sys.executable, "-c", program], preexec_fn=os.setpgrp, check=True)
assert marked.wait(10) == -9
assert other.poll() is None
other.kill()
"""


def test_who_starts_a_build_is_never_ended_by_it_nor_others_of_its_session(tmp_path: Path) -> None:
    with open(tmp_path / ".slot-0", "wb") as file:
        subprocess.run([sys.executable, "-c", ANCESTOR], cwd=tmp_path, stdout=file, check=True, timeout=60)
    assert read(f"{tmp_path}/ended") == b"1\n"


def test_ended_job_is_not_heard_of_again_while_a_copy_of_its_pidfd_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = LocalRunner("logs")
    try:
        runner.submit(task("true"))
        copy = os.dup(runner._jobs[1].pidfd)
        assert isinstance(one(runner), Done)
        assert runner._epoll is not None
        assert runner._epoll.poll(0) == []
        os.close(copy)
    finally:
        runner.close()
