"""Steps share the process and its current folder: what one of them may not do, and what the others need not fear."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import PipelineBuilder, PipelineError, PythonStep
from miniduct.errors import UsageError
from miniduct.model import Work
from miniduct.runners.base import Task
from miniduct.runners.threads import ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from miniduct.runners.base import RunnerEvent


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path)


def pipeline(*functions: Callable[..., Any], **settings: Any) -> PipelineBuilder:
    builder = PipelineBuilder("demo", **settings)
    builder.add_steps(*(PythonStep(function) for function in functions))
    return builder


def error_of(function: Callable[..., Any]) -> str:
    with pytest.raises(PipelineError) as caught:
        pipeline(function).execute()
    return str(caught.value.results[function.__name__].error)


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    before = os.getcwd()
    os.chdir("else")
    try:
        yield
    finally:
        os.chdir(before)


def leave() -> None:
    os.chdir("else")


def leave_by_number() -> None:
    number = os.open("else", os.O_RDONLY)
    try:
        os.fchdir(number)
    finally:
        os.close(number)


def leave_for_a_moment() -> None:
    with elsewhere():
        pass


def leave_and_tell() -> str:
    leave()
    return os.getcwd()


@pytest.mark.parametrize("function", [leave, leave_by_number, leave_for_a_moment])
def test_a_step_that_changes_the_current_folder_fails_and_is_told_what_to_do(
    function: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    text = error_of(function)
    assert text.startswith("it changes the current folder, which is the same for all steps\n")
    assert f"in {__file__}:" in text
    assert text.endswith('use absolute paths, ShellStep(…, cwd=…), or PipelineBuilder(…, workers="processes")')
    assert os.getcwd() == str(tmp_path)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="contextlib has it since 3.11")
def test_the_line_is_that_of_the_user_not_that_of_contextlib() -> None:
    def visit() -> None:
        with contextlib.chdir("else"):  # type: ignore[attr-defined,unused-ignore]
            pass

    assert f"in {__file__}:{visit.__code__.co_firstlineno + 1}" in error_of(visit)


def test_other_steps_stay_where_they_were() -> None:
    tried, begun = threading.Event(), threading.Event()

    def first(target: str) -> None:
        begun.set()
        assert tried.wait(20)
        pathlib.Path("beside").touch()
        pathlib.Path(target).touch()

    def second() -> None:
        assert begun.wait(20)
        try:
            os.chdir("else")
        finally:
            tried.set()

    builder = PipelineBuilder("demo")
    builder.add_steps(PythonStep(first, target="made"), PythonStep(second))
    results = builder.execute(jobs=2, keep_going=True, raise_on_error=False)
    assert [each.status for each in results.values()] == ["done", "failed"]
    assert os.path.exists("beside")


def test_outside_of_steps_the_folder_may_be_changed(tmp_path: pathlib.Path) -> None:
    def one() -> int:
        return 1

    pipeline(one).execute()
    os.chdir("else")
    thread = threading.Thread(target=os.chdir, args=(str(tmp_path),))
    thread.start()
    thread.join()
    assert os.getcwd() == str(tmp_path)


def test_a_process_that_a_step_starts_may_stand_where_it_likes() -> None:
    def command() -> str:
        return subprocess.run(
            ["pwd"], cwd="else", preexec_fn=leave_and_return, capture_output=True, text=True, check=True
        ).stdout

    def leave_and_return() -> None:
        with elsewhere():
            pass

    def forked() -> int | None:
        process = multiprocessing.get_context("fork").Process(target=leave)
        process.start()
        process.join()
        return process.exitcode

    os.mkdir("else/else")
    results = pipeline(command, forked).execute(jobs=1)
    assert results["command"].value == os.path.abspath("else") + "\n"
    assert results["forked"].value == 0


def test_a_worker_process_may_change_its_folder() -> None:
    builder = PipelineBuilder("demo", workers="processes")
    builder.add_steps(PythonStep(leave_and_tell), PythonStep(os.getcwd, after="leave_and_tell"))
    results = builder.execute(jobs=1)
    assert results["leave_and_tell"].value == os.path.abspath("else")
    assert results["getcwd"].value == os.getcwd()


def code_of(child: int) -> int:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_and_return() -> tuple[int, bool]:
    child = os.fork()
    if child == 0:
        print("child")
        return 0, False
    code = code_of(child)
    return code, any("fork_and_return" in files for _, _, files in os.walk(".duct"))


def fork_and_exit() -> int:
    child = os.fork()
    if child == 0:
        sys.exit(3)
    return code_of(child)


def fork_and_raise() -> int:
    child = os.fork()
    if child == 0:
        raise ValueError("in the child")
    return code_of(child)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_a_forked_child_that_comes_back_from_a_step_is_not_the_engine(workers: str, tmp_path: pathlib.Path) -> None:
    functions = [fork_and_return, fork_and_exit, fork_and_raise]
    results = pipeline(*functions, workers=workers).execute(jobs=1)
    assert results["fork_and_return"].value == (0, False)
    assert results["fork_and_exit"].value == 3
    assert results["fork_and_raise"].value == 1
    assert (tmp_path / str(results["fork_and_return"].log)).read_text() == "child\n"
    assert "ValueError: in the child" in (tmp_path / str(results["fork_and_raise"].log)).read_text()


def test_a_call_that_was_given_up_by_interrupts_keeps_the_next_one_waiting() -> None:
    gate, over, calls = threading.Event(), threading.Event(), []

    def write(target: str) -> None:
        calls.append(target)
        if len(calls) == 1:
            for _ in range(2):
                with contextlib.suppress(BaseException):  # it does not heed what asks it to end
                    gate.wait(60)
            over.set()
            with open(target, "w") as file:
                file.write("late")
        else:
            with open(target, "w") as file:
                file.write("good")

    def interrupt() -> None:
        while not calls:
            time.sleep(0.01)
        for _ in range(2):
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)

    builder = PipelineBuilder("demo")
    builder.add_step(PythonStep(write, target="x.txt"))
    impatient = threading.Thread(target=interrupt)
    impatient.start()
    with pytest.raises(KeyboardInterrupt):
        builder.execute()
    impatient.join()
    result = builder.execute(raise_on_error=False)["write"]
    assert result.error == "a call of it that was given up still runs in this process"
    gate.set()
    over.wait(10)
    while builder.execute(raise_on_error=False)["write"].status == "failed":
        time.sleep(0.01)
    assert len(calls) == 2
    with open("x.txt") as file:
        assert file.read() == "good"


def test_a_process_that_a_step_starts_does_not_hold_up_the_next_run() -> None:
    started = []

    def start() -> int:
        started.append(multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True))
        started[0].start()
        return 1

    pipeline(start).execute()
    try:
        began = time.monotonic()
        assert pipeline(one).execute()["one"].value == 1
        assert time.monotonic() - began < 30
    finally:
        started[0].kill()
        started[0].join()


@pytest.mark.parametrize("way", ["event", "notification"])
def test_a_callback_cannot_execute_a_pipeline(way: str, caplog: pytest.LogCaptureFixture) -> None:
    other = PipelineBuilder("other")
    other.add_step(PythonStep(lambda: 2, name="two"))
    told = "a callback cannot execute a pipeline"

    def call(_: object) -> None:
        other.execute()

    if way == "event":
        with pytest.raises(UsageError, match=told):
            pipeline(one).execute(on_event=call)
    else:
        assert pipeline(one, notify={"success": call}).execute()["one"].value == 1
        assert told in caplog.text
    assert other.execute()["two"].value == 2


def one() -> int:
    return 1


def short(work: Work) -> None:  # noqa: ARG001
    until = time.monotonic() + 0.0002
    while time.monotonic() < until:
        pass


def calling(attempt: int, **settings: Any) -> Task:
    return Task(attempt, [], f"logs/{attempt}.log", body=short, work=Work([], [], {}), **settings)


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "miniduct"]


def test_whenever_a_call_is_asked_to_end_its_end_is_told_before_the_grace_is_over() -> None:
    runner = ThreadRunner("logs", slots=4, grace=100)
    for number in range(400):
        first = 4 * number
        waiting = {*range(first, first + 4)}
        for attempt in waiting:
            runner.submit(calling(attempt))
        time.sleep(number % 20 * 0.0001)
        for attempt in [*waiting]:
            runner.kill(attempt)
        until = time.monotonic() + 20
        while waiting and time.monotonic() < until:
            waiting -= {event.attempt for event in runner.events(1)}
        assert not waiting
    runner.close()
    for thread in own_threads():
        thread.join(20)
    assert not own_threads()


@pytest.mark.parametrize(("force", "runs"), [(True, 12), (False, 60)], ids=["with something to do", "with nothing"])
def test_the_collector_comes_to_what_many_runs_leave_behind(force: bool, runs: int) -> None:
    program = """
        import gc, sys
        from miniduct import PipelineBuilder, PythonStep

        def one():
            return 1

        def run(**settings):
            builder = PipelineBuilder("demo")
            builder.add_steps(*(PythonStep(one, name=f"s{at}") for at in range(300)))
            builder.execute(**settings)

        run()
        before = gc.get_stats()[2]["collections"]
        for _ in range(int(sys.argv[1])):
            run(force=sys.argv[2] == "True")
        print(gc.get_stats()[2]["collections"] - before, gc.get_freeze_count())
        """
    with open("program.py", "w", encoding="ascii") as file:
        file.write(textwrap.dedent(program))
    words = [sys.executable, "program.py", str(runs), str(force)]
    full, frozen = map(int, subprocess.run(words, capture_output=True, check=True, timeout=120).stdout.split())
    assert full > 0
    assert frozen == 0


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_process_that_minds_the_collector_itself_is_left_as_it_is(off: bool, frozen: bool) -> None:
    seen: list[tuple[bool, bool]] = []
    builder = PipelineBuilder("demo")
    look = PythonStep(lambda: seen.append((gc.isenabled(), gc.get_freeze_count() > 0)), name="look", cache=False)
    builder.add_step(look)
    mine = [object() for _ in range(10)]
    try:
        if frozen:
            gc.freeze()
        if off:
            gc.disable()
        for _ in range(2):
            builder.execute()
            assert (gc.isenabled(), gc.get_freeze_count() > 0) == (not off, frozen)
    finally:
        gc.enable()
        gc.unfreeze()
    assert len(mine) == 10
    assert seen == [(not off, frozen or not off)] * 2  # what was planned is kept from it, where it is on


def test_after_a_call_was_asked_to_end_the_process_can_be_traced() -> None:
    program = """
        import sys, time
        from miniduct import PipelineBuilder, PythonStep

        def slow():
            until = time.monotonic() + 60
            while time.monotonic() < until:
                time.sleep(0.001)

        def called():
            return 1

        builder = PipelineBuilder("demo")
        builder.add_step(PythonStep(slow, timeout=0.2))
        print(builder.execute(raise_on_error=False)["slow"].error)
        time.sleep(0.2)  # its thread is done with it
        sys.setprofile(lambda *_: None)
        called()
        sys.setprofile(None)
        print("came back")
        """
    with open("program.py", "w", encoding="ascii") as file:
        file.write(textwrap.dedent(program))
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "ran past its timeout of 0.2 s\ncame back\n"


def test_a_thread_whose_call_ended_while_it_was_given_up_ends_with_the_runner() -> None:
    runner = ThreadRunner("logs", slots=1)
    runner.submit(calling(1))
    until = time.monotonic() + 20
    while runner._over.empty() and time.monotonic() < until:
        time.sleep(0.001)
    runner.kill(1)  # its end is not heard of yet
    runner.close()
    for thread in own_threads():
        thread.join(20)
    assert not own_threads()


def test_where_the_process_has_no_output_what_is_printed_goes_nowhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    def say() -> None:
        print("in the step")

    told = []

    def tell(event: object) -> None:
        print("outside", flush=True)
        print("outside", file=sys.stderr, flush=True)
        told.append(event)

    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    results = pipeline(say).execute(on_event=tell)
    assert told
    assert (tmp_path / str(results["say"].log)).read_text() == "in the step\n"
    assert (sys.stdout, sys.stderr) == (None, None)


def use_as_files() -> tuple[str, str | None, bool]:
    print("printed")
    subprocess.run(["echo", "of a command"], stdout=sys.stderr, check=True)
    sys.stdout.buffer.write(b"of \xff bytes\n")
    with open(sys.stderr.fileno(), "w", closefd=False) as file:
        file.write("of a file\n")
    sys.stdout.flush()
    print("printed again")
    return sys.stdout.encoding, sys.stdout.errors, sys.stdout.isatty()


def test_in_a_step_the_standard_streams_are_files(tmp_path: pathlib.Path) -> None:
    result = pipeline(use_as_files).execute()["use_as_files"]
    assert result.value == ("utf-8", "backslashreplace", False)
    said = (tmp_path / str(result.log)).read_bytes()
    assert said == b"printed\nof a command\nof \xff bytes\nof a file\nprinted again\n"


def test_secrets_are_masked_whatever_way_they_take(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell() -> None:
        print("printed hush")
        subprocess.run(["echo", "of a command: hush"], stdout=sys.stderr, check=True)
        sys.stdout.buffer.write(b"of bytes: hush\n")

    monkeypatch.setenv("TOKEN", "hush")
    builder = PipelineBuilder("demo")
    builder.add_step(PythonStep(tell, secrets=["TOKEN"]))
    said = (tmp_path / str(builder.execute()["tell"].log)).read_text()
    assert said == "printed ***\nof a command: ***\nof bytes: ***\n"


def test_the_file_of_a_call_that_was_given_up_leads_nowhere(tmp_path: pathlib.Path) -> None:
    gate, over = threading.Event(), threading.Event()

    def late() -> None:
        number = sys.stdout.fileno()
        print("early")
        for _ in range(2):
            with contextlib.suppress(BaseException):  # it does not heed what asks it to end
                gate.wait(60)
        os.write(number, b"late")
        print("late")
        over.set()

    builder = PipelineBuilder("demo")
    builder.add_step(PythonStep(late, timeout=0.2))
    result = builder.execute(raise_on_error=False)["late"]
    gate.set()
    assert over.wait(20)
    assert (tmp_path / str(result.log)).read_text() == "early\n"


def test_a_file_that_a_step_keeps_is_not_that_of_the_next_one(tmp_path: pathlib.Path) -> None:
    kept = []

    def first() -> None:
        kept.append(sys.stdout.fileno())

    def second() -> None:
        os.write(kept[0], b"stray")
        print("second")

    def third() -> None:
        mine = os.open("mine", os.O_RDWR | os.O_CREAT)
        kept.append(os.dup2(mine, sys.stdout.fileno()))  # as if it had been closed, and the number given anew
        os.close(mine)

    def fourth() -> None:
        subprocess.run(["echo", "fourth"], stdout=sys.stderr, check=True)
        os.write(kept[1], b"mine")

    results = pipeline(first, second, third, fourth).execute(jobs=1)
    logs = [results[name].log for name in ("first", "second", "third", "fourth")]
    assert [log and (tmp_path / log).read_text() for log in logs] == [None, "second\n", None, "fourth\n"]
    assert os.pread(kept[1], 10, 0) == b"mine"
    os.close(kept[1])


def nothing(*_: object) -> None:
    pass


def test_calls_with_a_time_limit_do_not_mind_others_that_go_on_by_themselves() -> None:
    over = threading.Event()
    calls = []

    def waits() -> bool:
        return over.wait(60)

    def brief() -> None:
        calls.append(1)
        if len(calls) == 1500:
            over.set()

    builder = PipelineBuilder("demo")
    builder.add_steps(*(PythonStep(waits, name=f"waits-{number}", timeout=60) for number in range(150)))
    builder.add_steps(*(PythonStep(brief, name=f"brief-{number}") for number in range(1500)))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        results = builder.execute(jobs=153)
    finally:
        sys.setswitchinterval(before)
    assert {result.status for result in results.values()} == {"done"}


def test_a_former_log_that_cannot_be_removed_fails_its_step_only() -> None:
    first, then, other = (PythonStep(nothing, name=name) for name in ("first", "then", "other"))
    first >> then
    builder = PipelineBuilder("demo")
    builder.add_steps(first, then, other)
    os.makedirs(".duct/pipelines/demo/logs/then.log/folder")
    results = builder.execute(raise_on_error=False, keep_going=True)
    assert [results[name].status for name in ("first", "then", "other")] == ["done", "failed", "done"]
    assert str(results[then].error).startswith("its output cannot be written: ")


def test_a_job_without_room_is_waited_for_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    events = ThreadRunner.events

    def counted(runner: ThreadRunner, timeout: float | None) -> list[RunnerEvent]:
        looks.append(timeout)
        return events(runner, timeout)

    monkeypatch.setattr(ThreadRunner, "events", counted)

    def long() -> None:
        time.sleep(0.5)

    builder = PipelineBuilder("demo")
    builder.add_steps(PythonStep(long), PythonStep(nothing, name="wide", cpus=2))
    builder.execute(jobs=2)
    assert len(looks) < 50


def test_a_process_that_a_step_forks_can_be_terminated() -> None:
    def forks() -> int | None:
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        time.sleep(0.2)
        child.terminate()
        child.join(20)
        code = child.exitcode
        child.kill()
        return code

    step = PythonStep(forks)
    builder = PipelineBuilder("demo")
    builder.add_step(step)
    assert builder.execute()[step].value == -signal.SIGTERM
