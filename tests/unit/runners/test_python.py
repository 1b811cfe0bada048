"""Functions in warm workers, with real processes: whatever a function does, it is the end of its own job only."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from miniduct.runners.base import Done, Invocation, Task
from miniduct.runners.processes import end_leftovers
from miniduct.runners.python import INLINE, PythonRunner
from miniduct.runners.threads import ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from miniduct.runners.base import RunnerEvent

PRELUDE = """\
import os, signal, subprocess, sys, threading, time

def say(**arguments):
    print(sorted(arguments.items()))

def good(**arguments):
    print("good", os.getpid())

"""


@pytest.fixture(params=["pidfd", "threads"])
def runner(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PythonRunner]:
    """A runner with one slot in an empty folder, in both ways of waiting."""
    monkeypatch.chdir(tmp_path)
    if request.param == "threads":
        monkeypatch.delattr(os, "pidfd_open")
    made = PythonRunner("logs", slots=1, grace=0.2)
    yield made
    made.close()


_attempts = iter(range(1, 1_000_000))


def module(body: str, name: str = "job.py") -> None:
    with open(name, "w", encoding="utf-8") as file:
        file.write(PRELUDE + textwrap.dedent(body))


def call(function: str, *, ask: bool = False, root: str = ".", of: str = "job", **more: Any) -> Task:
    arguments = more.pop("arguments", {})
    attempt = next(_attempts)
    log = more.pop("log", f"logs/{attempt}.log")
    return Task(attempt, [], log, call=Invocation(of, function, root, arguments, ask), **more)


def one(runner: PythonRunner, timeout: float = 30) -> RunnerEvent:
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        for event in runner.events(1):
            return event
    raise AssertionError("no event")


def done(runner: PythonRunner, started: Task) -> Done:
    runner.submit(started)
    event = one(runner)
    assert isinstance(event, Done)
    assert event.attempt == started.attempt
    return event


def said(task: Task) -> str:
    try:
        with open(task.log, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def output(runner: PythonRunner, function: str, code: int = 0, **more: Any) -> str:
    """What a function says; it must end with this code."""
    task = call(function, **more)
    event = done(runner, task)
    assert event.code == code, (event, said(task))
    assert (event.output > 0) == os.path.exists(task.log)
    return said(task)


def worker(runner: PythonRunner) -> int:
    """The number of the process that the next function runs in."""
    return int(output(runner, "good").split()[1])


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


def is_fine(runner: PythonRunner) -> None:
    """The next job finds everything as it should be."""
    module(
        """
        def look():
            assert sys.stdin.read() == ""
            assert os.getcwd() == os.path.dirname(os.path.abspath(__file__))
            assert sys.argv == ["fine:look"]
            assert os.umask(0o022) == 0o022
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
            assert threading.active_count() == 1
            assert "STRAY" not in os.environ and os.environ["PATH"]
            assert "/nowhere" not in sys.path
            print("out"); print("err", file=sys.stderr); os.write(1, b"raw\\n")
        """,
        "fine.py",
    )
    assert output(runner, "look", of="fine") == "out\nerr\nraw\n"


# --- calls


def test_arguments_arrive_as_they_are(runner: PythonRunner) -> None:
    module("")
    given = {
        "input": "a 'b\"\n$(x)\\.txt",
        "raw": "\udcff",
        "inputs": {"days": ["1", "2"], "code": ["c"]},
        "params": {"n": 3, "x": 1.5, "on": True, "day": datetime.date(2026, 1, 5), "list": [1, [2]]},
    }
    assert output(runner, "say", arguments=given) == f"{sorted(given.items())}\n"


def test_silent_function_leaves_no_log(runner: PythonRunner) -> None:
    module("def quiet(): pass")
    event = done(runner, call("quiet"))
    assert (event.code, event.output, event.error, event.timed_out) == (0, 0, None, False)


def test_a_request_longer_than_any_buffer_arrives(runner: PythonRunner) -> None:
    module("def count(inputs): print(len(inputs), inputs[-1])")
    names = [f"some/folder/file-{number}" for number in range(100_000)]
    assert len(repr(names)) > INLINE
    assert output(runner, "count", arguments={"inputs": names}) == "100000 some/folder/file-99999\n"


def test_one_process_serves_many_jobs(runner: PythonRunner) -> None:
    module("")
    assert len({worker(runner) for _ in range(5)}) == 1


def test_after_many_jobs_the_process_is_another_one(runner: PythonRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miniduct.runners.python.MOST_JOBS", 3)
    module("")
    pids = [worker(runner) for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
    assert gone(pids[0])


def test_commands_run_beside_functions(runner: PythonRunner) -> None:
    module("")
    runner.submit(Task(next(_attempts), ["true"], "logs/x"))
    runner.submit(call("good"))
    events = [one(runner)]
    while len(events) < 2:
        events += runner.events(1)
    assert [event.code for event in events if isinstance(event, Done)] == [0, 0]


def test_only_what_a_function_takes_is_given_where_it_was_asked(runner: PythonRunner) -> None:
    module("def some(a, *, c=0): print(a, c)")
    assert output(runner, "some", ask=True, arguments={"a": 1, "b": 2, "c": 3}) == "1 3\n"


def test_modules_of_the_project_are_never_taken_from_bytecode(runner: PythonRunner) -> None:
    module("import other\ndef f(): print(other.X)")
    for value in ("1", "2"):  # same size, same second: what kept bytecode is told apart by
        module(f"X = {value}", "other.py")
        os.utime("other.py", (1_700_000_000, 1_700_000_000))
        assert output(runner, "f") == f"{value}\n"
        pid = worker(runner)
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
    assert not os.path.exists("__pycache__")


def test_modules_are_searched_in_the_folder_given(runner: PythonRunner) -> None:
    for folder in ("a", "b"):
        os.makedirs(folder)
        module(f"def f(): print({folder!r}, os.getcwd() == {os.getcwd()!r})", f"{folder}/same.py")
    assert output(runner, "f", of="same", root="a") == "a True\n"
    assert output(runner, "f", of="same", root="b") == "b True\n"
    assert output(runner, "f", of="same", root="a") == "a True\n"


def test_a_module_named_like_a_standard_one_comes_first(runner: PythonRunner) -> None:
    module("def f(): print('ours')", "colorsys.py")
    assert output(runner, "f", of="colorsys") == "ours\n"


def test_folder_and_environment_are_those_of_the_job(runner: PythonRunner) -> None:
    os.makedirs("sub/deep")
    module("def f(): print(os.path.basename(os.getcwd()), os.environ.get('A'), os.environ.get('DUCT_ATTEMPT'))")
    plain = {**os.environ, "A": "1"}
    assert output(runner, "f", env=plain, cwd="sub/deep") == "deep 1 None\n"
    assert output(runner, "f", env={**plain, "DUCT_ATTEMPT": "2"}, cwd="sub") == "sub 1 2\n"
    assert output(runner, "f", env=plain, cwd="sub") == "sub 1 None\n"
    assert output(runner, "f", env={**plain, "A": "2"}) == f"{os.path.basename(os.getcwd())} 2 None\n"


def test_environment_counts_from_the_start_of_the_process(runner: PythonRunner) -> None:
    module("def f(): print(os.environb is not None, sys.flags.hash_randomization, hash('a'))")
    first = output(runner, "f", env={**os.environ, "PYTHONHASHSEED": "7"})
    output(runner, "f", env={**os.environ, "PYTHONHASHSEED": "8"})
    assert output(runner, "f", env={**os.environ, "PYTHONHASHSEED": "7"}) == first


def test_secrets_are_masked_in_log_and_error(runner: PythonRunner) -> None:
    module("def f(): print('s3cret'); raise ValueError('it is s3cret')")
    task = call("f", mask=(b"s3cret",))
    event = done(runner, task)
    assert event.error == "raised ValueError: it is ***"
    assert "s3cret" not in said(task)
    assert said(task).startswith("***\nTraceback")


def test_folder_that_is_not_there_fails_the_job(runner: PythonRunner) -> None:
    module("")
    event = done(runner, call("good", cwd="no/such"))
    assert event.code == 127
    assert event.error == 'the folder "no/such" that the function should run in does not exist'


# --- ends


def test_exception_shows_its_traceback_without_ours(runner: PythonRunner) -> None:
    module("def inner(): return 1 / 0\ndef f(): inner()")
    task = call("f")
    event = done(runner, task)
    assert (event.code, event.error) == (1, "raised ZeroDivisionError: division by zero")
    lines = said(task).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "worker.py" not in said(task)
    assert f'File "{os.path.abspath("job.py")}"' in lines[1]
    is_fine(runner)


def test_module_that_fails_to_be_imported_fails_the_job(runner: PythonRunner) -> None:
    module("import other")
    module("raise OSError('no database')", "other.py")
    task = call("good")
    event = done(runner, task)
    assert (event.code, event.error) == (1, "raised OSError: no database")
    assert "worker.py" not in said(task)
    assert "importlib" not in said(task)


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(0)", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit(True)", 1, ""),
        ("sys.exit(256 + 4)", 4, ""),
        ("sys.exit('no data')", 1, "no data\n"),
        ("os._exit(0)", 0, ""),
        ("os._exit(5)", 5, ""),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV, ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
    ],
)
def test_exits_and_crashes_end_one_job(runner: PythonRunner, how: str, code: int, text: str) -> None:
    module(f"def f(): {how}")
    assert output(runner, "f", code) == text
    is_fine(runner)


def test_keyboard_interrupt_ends_one_job(runner: PythonRunner) -> None:
    module("def f(): os.kill(os.getpid(), signal.SIGINT); time.sleep(5)")
    assert "KeyboardInterrupt" in output(runner, "f", 130)
    is_fine(runner)


@pytest.mark.parametrize("body", ["def f(): yield 1", "async def f(): pass", "def f(): return (x for x in ())"])
def test_what_only_begins_when_it_is_asked_fails(runner: PythonRunner, body: str) -> None:
    module(body)
    event = done(runner, call("f"))
    assert event.code == 1
    assert event.error is not None
    assert "was not begun" in event.error


def test_error_that_cannot_be_told_is_an_error_all_the_same(runner: PythonRunner) -> None:
    module("class Bad(Exception):\n    def __str__(self): raise self\ndef f(): raise Bad()")
    event = done(runner, call("f"))
    assert (event.code, event.error) == (1, "raised Bad")
    is_fine(runner)


def test_after_a_failure_the_process_is_another_one(runner: PythonRunner) -> None:
    module("def f(): raise ValueError")
    before = worker(runner)
    output(runner, "f", 1)
    assert worker(runner) != before
    assert gone(before)


def test_a_hanging_function_is_ended_at_its_timeout(runner: PythonRunner) -> None:
    module(
        """
        def f():
            child = subprocess.Popen(["sleep", "60"])
            print(child.pid, flush=True)
            time.sleep(60)
        """
    )
    task = call("f", timeout=0.5)
    event = done(runner, task)
    assert event.timed_out
    assert event.code != 0
    assert gone(int(said(task)))
    is_fine(runner)


def test_a_function_deaf_to_signals_is_killed(runner: PythonRunner) -> None:
    module("def f(): signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x'); time.sleep(60)")
    is_fine(runner)  # a warm worker: the time is the function's own, on a busy machine too
    task = call("f", timeout=1.0)
    event = done(runner, task)
    assert (event.timed_out, event.code) == (True, -signal.SIGKILL)
    is_fine(runner)


def test_a_function_that_ends_well_when_asked_to_has_timed_out_all_the_same(runner: PythonRunner) -> None:
    module(
        """
        class Stop(Exception): pass
        def stop(*_): raise Stop
        def f():
            signal.signal(signal.SIGTERM, stop)
            try: time.sleep(60)
            except Stop: pass
        """
    )
    is_fine(runner)
    event = done(runner, call("f", timeout=1.0))
    assert (event.timed_out, event.code) == (True, 0)
    is_fine(runner)


def test_kill_ends_one_of_two(runner: PythonRunner) -> None:
    module("def wait(): time.sleep(60)")
    first, second = call("wait"), call("wait")
    runner.submit(first)
    runner.submit(second)
    runner.kill(second.attempt)
    event = one(runner)
    assert (event.attempt, getattr(event, "code", None)) == (second.attempt, -signal.SIGTERM)
    runner.kill(first.attempt, hard=True)
    event = one(runner)
    assert (event.attempt, getattr(event, "code", None)) == (first.attempt, -signal.SIGKILL)


# --- what functions leave behind


@pytest.mark.parametrize(
    "body",
    [
        "os.chdir('/')",
        "os.environ['STRAY'] = '1'",
        "os.environ.clear()",
        "os.environ = {'STRAY': '1'}",
        "os.umask(0o077)",
        "sys.argv[:] = ['other']",
        "sys.path.insert(0, '/nowhere')",
        "sys.path = ['/nowhere']",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "signal.signal(signal.SIGINT, signal.SIG_DFL)",
        "signal.signal(signal.SIGALRM, print); signal.alarm(1)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])",
        "sys.stdin.read()",
        "sys.stdin.close()",
        "sys.stdout.close()",
        "sys.stderr.close(); sys.stdout.close()",
        "sys.stdout = sys.stderr = open(os.devnull, 'w')",
        "sys.stdout.detach()",
        "sys.stdin = sys.stdout = sys.stderr = None",
        "os.close(0)",
        "os.close(1); os.close(2)",
        "os.close(0); os.close(1); os.close(2)",
        "os.dup2(os.open(__file__, os.O_RDONLY), 0); sys.stdin.readline()",
        "os.closerange(3, 1000)",
        "os.closerange(0, 1000)",
        "os.closerange(3, 1000); job = [open(f'left{n}', 'w') for n in range(50)]; globals()['kept'] = job",
        "sys.setrecursionlimit(200)",
        "sys.excepthook = None",
    ],
)
def test_what_a_function_changes_is_changed_for_itself_only(runner: PythonRunner, body: str) -> None:
    module(f"def f():\n    {body}")
    event = done(runner, call("f"))
    assert event.code in (0, 120)  # Python's own code where a closed output cannot be written
    is_fine(runner)


def test_bytes_for_the_connection_hit_the_job_that_writes_them(runner: PythonRunner) -> None:
    module(
        "def f():\n    for fd in range(3, 30):\n        try: os.write(fd, b'\\0\\0\\0\\3abc')\n        except OSError: pass\n"
    )
    assert done(runner, call("f")).code != 0
    is_fine(runner)


def test_a_thread_left_behind_belongs_to_its_job(runner: PythonRunner) -> None:
    module(
        """
        def late(): time.sleep(0.2); print("late")
        def f(): threading.Thread(target=late).start()
        def g(): threading.Thread(target=late, daemon=True).start()
        """
    )
    assert output(runner, "f") == "late\n"
    assert output(runner, "g") == ""
    is_fine(runner)


def test_threads_that_have_ended_cost_no_new_process(runner: PythonRunner) -> None:
    module(
        """
        from concurrent.futures import ThreadPoolExecutor
        def f():
            with ThreadPoolExecutor(4) as pool: print(sum(pool.map(int, "123")), os.getpid())
        """
    )
    assert output(runner, "f") == output(runner, "f")


def test_a_forked_child_that_comes_back_is_not_the_worker(runner: PythonRunner) -> None:
    module(
        """
        def f():
            if os.fork() == 0:
                time.sleep(0.1)
                print("child")
                return
            print("parent")
            os.wait()
        """
    )
    assert output(runner, "f") == "parent\nchild\n"
    is_fine(runner)


def test_a_forked_child_that_raises_is_not_the_worker(runner: PythonRunner) -> None:
    module("def f():\n    if os.fork() == 0: raise ValueError('in the child')\n    print(os.wait()[1] >> 8)")
    assert "ValueError: in the child" in output(runner, "f")
    is_fine(runner)


def test_children_left_behind_do_not_write_into_other_logs(runner: PythonRunner) -> None:
    module("def f(): print(subprocess.Popen('sleep 0.3; echo stray', shell=True).pid)")
    task = call("f")
    event = done(runner, task)
    assert event.code == 0
    is_fine(runner)
    assert gone(int(said(task).split()[0]))
    is_fine(runner)


def test_processes_of_a_pool_work(runner: PythonRunner) -> None:
    module(
        """
        import multiprocessing
        def square(n): return n * n
        def fork():
            with multiprocessing.get_context("fork").Pool(2) as pool: print(pool.map(square, [1, 2, 3]))
        def spawn():
            with multiprocessing.get_context("spawn").Pool(2) as pool: print(pool.map(square, [1, 2, 3]))
        """
    )
    assert output(runner, "fork") == "[1, 4, 9]\n"
    assert output(runner, "spawn") == "[1, 4, 9]\n"
    is_fine(runner)


def test_what_hangs_together_in_a_circle_ends_with_its_job(runner: PythonRunner) -> None:
    module(
        """
        class Holder:
            def __del__(self): print("released")
        def f(): it = Holder(); it.me = it
        """
    )
    assert output(runner, "f") == "released\n"


# --- the end of the runner


def test_closing_leaves_no_process(runner: PythonRunner) -> None:
    module(
        "import atexit\natexit.register(lambda: open('ended', 'w').close())\ndef wait(): print(os.getpid(), flush=True); time.sleep(60)"
    )
    idle = worker(runner)
    busy = [call("wait"), call("wait")]
    for task in busy:
        runner.submit(task)
    assert worker(runner) != idle
    runner.close()
    assert gone(idle)
    assert os.path.exists("ended")
    assert not any(name.startswith(".slot") for name in os.listdir("logs"))


@pytest.mark.parametrize("way", ["pidfd", "threads"])
def test_where_threads_are_waited_for_too_closing_waits_no_longer_than_the_workers_live(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("miniduct.runners.python.LAST_WORDS", 15.0)
    if way == "threads":
        monkeypatch.delattr(os, "pidfd_open")
    runner = ThreadRunner("logs")
    module("")
    process = worker(runner)
    began = time.monotonic()
    runner.close()
    assert time.monotonic() - began < 15.0
    assert gone(process)


def test_a_worker_that_dies_idle_is_replaced(runner: PythonRunner) -> None:
    module("")
    before = worker(runner)
    os.kill(before, signal.SIGKILL)
    assert gone(before)
    assert worker(runner) != before


OWNER = """
import os, sys, time
from miniduct.runners.base import Invocation, Task
from miniduct.runners.python import PythonRunner
runner = PythonRunner("logs", slots=2)
env = {**os.environ, "DUCT_RUN": "me"}
runner.submit(Task(1, [], "logs/1", env=env, call=Invocation("job", "good", ".", {})))
while not runner.events(1): pass
runner.submit(Task(2, [], "logs/2", env=env, call=Invocation("job", "wait", ".", {})))
runner.submit(Task(3, [], "logs/3", env=env, call=Invocation("job", "wait", ".", {})))
while True: runner.events(1)
"""


def test_workers_die_with_their_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module(
        """
        def wait():
            child = subprocess.Popen(["sleep", "60"])
            with open("pids", "a") as file: file.write(f"{os.getpid()} {child.pid}\\n")
            time.sleep(60)
        """
    )
    owner = subprocess.Popen([sys.executable, "-c", OWNER])
    until = time.monotonic() + 20
    pids: list[int] = []
    while len(pids) < 4 and time.monotonic() < until:
        threading.Event().wait(0.01)
        if os.path.exists("pids"):
            with open("pids", encoding="utf-8") as file:
                pids = [int(word) for word in file.read().split()]
    assert len(pids) == 4
    owner.kill()
    owner.wait()
    assert all(gone(pid) for pid in pids)
    assert end_leftovers("me") == 0
