"""Value steps one after another on one thread: what its going on by itself must not change for anybody who looks."""

from __future__ import annotations

import os
import pathlib
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import PipelineBuilder, PipelineError, PythonStep, ShellStep
from miniduct import events as ev
from miniduct.publishing import Publisher
from miniduct.runners.threads import ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from miniduct.events import Event
    from miniduct.runners.base import Task


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def zero() -> int:
    return 0


def plus(number: int) -> int:
    return number + 1


def chain(length: int) -> PipelineBuilder:
    builder = PipelineBuilder("demo")
    last = builder.add_step(PythonStep(zero, name="s0"))
    for at in range(1, length):
        step = PythonStep(plus, name=f"s{at}")
        last >> step
        last = builder.add_step(step)
    return builder


def several(*functions: Callable[..., Any], **settings: Any) -> PipelineBuilder:
    builder = PipelineBuilder("demo", **settings)
    builder.add_steps(*(PythonStep(function) for function in functions))
    return builder


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The logs of the calls that the loop itself has handed to a thread."""
    found: list[str] = []
    submit = ThreadRunner.submit

    def noting(runner: ThreadRunner, task: Task) -> None:
        found.append(task.log)
        submit(runner, task)

    monkeypatch.setattr(ThreadRunner, "submit", noting)
    return found


def test_a_chain_of_values_is_handed_to_a_thread_once(submitted: list[str]) -> None:
    results = chain(200).execute(jobs=4)
    assert results["s199"].value == 199
    assert len(submitted) == 1
    assert all(each.status == "done" for each in results.values())


def test_many_brief_steps_side_by_side_take_few_threads(submitted: list[str]) -> None:
    builder = PipelineBuilder("demo")
    builder.add_steps(*(PythonStep(zero, name=f"s{at}") for at in range(300)))
    builder.execute(jobs=8)
    assert len(submitted) < 150


def test_long_steps_use_all_slots_after_any_number_of_brief_ones() -> None:
    together = threading.Barrier(4)

    def wait(_: int) -> bool:
        together.wait(30)
        return True

    builder = chain(50)
    last = builder.steps[-1]
    waiting = [PythonStep(wait, name=f"wait{at}", cache=False) for at in range(4)]
    last >> waiting
    builder.add_steps(*waiting)
    results = builder.execute(jobs=4)
    assert all(results[step].value for step in waiting)


def test_a_command_between_values_is_started_by_the_loop(submitted: list[str]) -> None:
    builder = PipelineBuilder("demo")
    first = PythonStep(zero, name="first")
    command = ShellStep("echo made > {target}", target="made.txt", name="command", after=["first"])
    read = PythonStep(lambda path: pathlib.Path(path).read_text(), name="read")
    last = PythonStep(lambda text: text * 2, name="last")
    command >> read >> last
    builder.add_steps(first, command, read, last)
    assert builder.execute()["last"].value == "made\nmade\n"
    assert len(submitted) == 3


def test_events_are_told_in_order_on_the_thread_of_the_caller() -> None:
    told: list[tuple[int, Event]] = []
    chain(60).execute(on_event=lambda event: told.append((threading.get_ident(), event)))
    assert {thread for thread, _ in told} == {threading.get_ident()}
    steps = [(type(event), event.job.step) for _, event in told if isinstance(event, (ev.JobStarted, ev.JobEnded))]
    assert steps == [(kind, f"s{at}") for at in range(60) for kind in (ev.JobStarted, ev.JobEnded)]
    assert isinstance(told[-1][1], ev.BuildEnded)


def test_a_start_is_told_while_the_call_runs() -> None:
    told = threading.Event()

    def wait(_: int) -> bool:
        return told.wait(20)

    def tell(event: Event) -> None:
        if isinstance(event, ev.JobStarted) and event.job.step == "last":
            told.set()

    builder = chain(30)
    last = PythonStep(wait, name="last")
    builder.steps[-1] >> last
    builder.add_step(last)
    assert builder.execute(on_event=tell)["last"].value is True


def test_an_exception_of_a_callback_ends_the_run_and_its_threads() -> None:
    def refuse(event: Event) -> None:
        if isinstance(event, ev.JobEnded):
            raise ZeroDivisionError("in the callback")

    with pytest.raises(ZeroDivisionError, match="in the callback"):
        chain(2000).execute(on_event=refuse)
    assert_no_threads()
    assert chain(2000).execute()["s1999"].value == 1999


def test_what_goes_wrong_in_the_engine_on_such_a_thread_is_raised_by_execute(monkeypatch: pytest.MonkeyPatch) -> None:
    publish = Publisher.publish_value
    calls = []

    def fail(self: Publisher, *given: Any) -> Any:
        calls.append(given)
        if len(calls) == 10:
            raise RuntimeError("a mistake of ours")
        return publish(self, *given)

    monkeypatch.setattr(Publisher, "publish_value", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        chain(30).execute()
    assert_no_threads()


def assert_no_threads() -> None:
    until = time.monotonic() + 20
    while own := [thread for thread in threading.enumerate() if thread.name == "miniduct"]:
        assert time.monotonic() < until, own
        time.sleep(0.01)


def test_each_step_has_its_own_output(tmp_path: pathlib.Path) -> None:
    def say(name: str) -> str:
        if name == "b":
            print("from b")
        return chr(ord(name) + 1)

    builder = PipelineBuilder("demo")
    last = builder.add_step(PythonStep(lambda: "a", name="first"))
    for name in "abcd":
        step = PythonStep(say, name=name)
        last >> step
        last = builder.add_step(step)
    results = builder.execute()
    assert [results[name].log is None for name in "acd"] == [True] * 3
    assert (tmp_path / str(results["b"].log)).read_text() == "from b\n"
    assert [path.name for path in (tmp_path / str(results["b"].log)).parent.iterdir()] == ["b.log"]


def test_the_log_of_a_former_run_does_not_stay(tmp_path: pathlib.Path) -> None:
    loud = True

    def one() -> int:
        if loud:
            print("loud")
        return 1

    builder = several(one, zero)
    log = tmp_path / str(builder.execute(jobs=1)["one"].log)
    assert log.read_text() == "loud\n"
    loud = False
    assert builder.execute(jobs=1, force=True)["one"].log is None
    assert not log.exists()


def test_the_log_of_a_step_that_is_tried_again_keeps_what_it_said_before(tmp_path: pathlib.Path) -> None:
    calls: list[int] = []

    def one() -> int:
        calls.append(1)
        if len(calls) == 1:
            print("the first time")
            raise ConnectionError("not yet")
        return 1

    builder = PipelineBuilder("demo")
    builder.add_steps(PythonStep(one, retries=2, backoff=0.01), PythonStep(zero))
    result = builder.execute(jobs=1)["one"]
    assert (result.value, result.attempts) == (1, 2)
    assert "the first time" in (tmp_path / str(result.log)).read_text()


def test_secrets_are_masked_between_steps_that_have_none(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "s3cr3t")

    def tell(number: int) -> int:
        print(f"it is {os.environ['TOKEN']}")
        return number

    builder = PipelineBuilder("demo")
    first, secret = PythonStep(zero), PythonStep(tell, secrets=["TOKEN"])
    last = PythonStep(plus)
    first >> secret >> last
    builder.add_steps(first, secret, last)
    results = builder.execute()
    assert results["plus"].value == 1
    assert (tmp_path / str(results["tell"].log)).read_text() == "it is ***\n"


def test_a_step_that_fails_among_them_fails_alone() -> None:
    def fail(number: int) -> int:
        raise ValueError(f"no {number}")

    builder = chain(20)
    failing, after = PythonStep(fail, name="fail"), PythonStep(plus, name="after")
    builder.steps[9] >> failing >> after
    builder.add_steps(failing, after)
    with pytest.raises(PipelineError, match="raised ValueError: no 9") as caught:
        builder.execute(keep_going=True)
    results = caught.value.results
    assert (results["fail"].status, results["after"].status) == ("failed", "skipped")
    assert results["s19"].value == 19
    assert isinstance(caught.value.__cause__, ValueError)


def test_values_of_all_sizes_are_passed_on() -> None:
    def sized(*_: bytes, params: dict[str, int]) -> bytes:
        return bytes(params["size"])

    sizes = [1, 60_000, 70_000, 20_000_000, 2]
    steps = [PythonStep(sized, name=f"of{size}", params={"size": size}) for size in sizes]
    for before, then in pairwise(steps):
        before >> then
    builder = PipelineBuilder("demo")
    builder.add_steps(*steps)
    results = builder.execute()
    assert [len(results[step].value) for step in steps] == sizes
    again = builder.execute()
    assert {each.status for each in again.values()} == {"up to date"}
