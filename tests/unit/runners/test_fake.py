"""The runner without processes keeps the protocol."""

from __future__ import annotations

import pytest

from miniduct.runners.base import Done, Lost, Runner, Task
from miniduct.runners.fake import FakeRunner


def task(attempt: int) -> Task:
    return Task(attempt, ["a"], "log")


def test_answers_with_what_the_function_says() -> None:
    runner: Runner = FakeRunner(lambda task: task.attempt if task.attempt < 3 else Lost(task.attempt, "gone"), slots=3)
    for attempt in (1, 2, 3):
        runner.submit(task(attempt))
    assert runner.events(0) == [Done(1, 1, 1.0, 0), Done(2, 2, 1.0, 0), Lost(3, "gone")]
    assert runner.slots == 3


def test_job_without_an_answer_runs_until_it_is_ended() -> None:
    runner = FakeRunner(lambda _: None)
    for attempt in (1, 2, 3):
        runner.submit(task(attempt))
    assert runner.events(0) == []
    runner.end(1, 4)
    runner.kill(2, hard=True)
    runner.lose(3)
    runner.kill(3)
    assert [type(event) for event in runner.events(None)] == [Done, Done, Lost]
    assert runner.killed == [(2, True), (3, False)]


def test_waiting_for_ever_is_a_mistake_of_the_test() -> None:
    with pytest.raises(AssertionError):
        FakeRunner().events(None)
