"""`miniduct.testing`, used as a user's own tests would use it."""

from __future__ import annotations

import os

from miniduct import PipelineBuilder, ShellStep
from miniduct.testing import MemoryStore, sandbox


def daily(command: str = "cat {inputs} > {target}") -> PipelineBuilder:
    pipeline = PipelineBuilder("daily")
    clean = ShellStep(
        "tr a-z A-Z < {input} > {target}", name="clean", inputs="raw/{day}.csv", targets="clean/{day}.csv"
    )
    report = ShellStep(command, name="report", inputs="clean/*.csv", target="report.txt")
    pipeline.add_steps(clean, report)
    return pipeline


def test_only_the_changed_day_runs() -> None:
    here = os.getcwd()
    with sandbox({"raw/1.csv": "a", "raw/2.csv": "b"}) as box:
        assert box.execute(daily()).ran == ["clean", "clean", "report"]
        box.write("raw/2.csv", "c")
        assert box.execute(daily()).ran == ["clean", "report"]
        assert box.read("report.txt") == "AC"
        assert box.execute(daily()).ran == []
    assert not os.path.exists(box.root)
    assert os.getcwd() == here


def test_failures_are_in_the_run() -> None:
    with sandbox({"raw/1.csv": "a"}) as box:
        run = box.execute(daily("exit 3"))
        assert (run.ran, run.failed) == (["clean"], ["report"])
        assert run.results["report"].error == "failed with exit code 3"


def test_the_memory_store_has_a_clock_moved_by_hand() -> None:
    store = MemoryStore()
    store.write("a", "1")
    before = store.stat("a")
    store.tick()
    store.write("a", "2")
    after = store.stat("a")
    assert before is not None
    assert after is not None
    assert after.mtime_ns - before.mtime_ns == 1_000_000_000
