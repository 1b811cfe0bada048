"""Where values are kept: small ones in one file together, large ones and those of worker processes each in its own; and the ways between these."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import PipelineBuilder, PythonStep
from miniduct.pipeline import values
from support_watch import Watching

if TYPE_CHECKING:
    import pathlib

    from support import Sandbox

FOLDER = ".duct/values/demo"

PROGRAM = """
from miniduct import PipelineBuilder, PythonStep

def numbers():
    return [1] * {size}

def total(numbers):
    return sum(numbers) {code}

pipeline = PipelineBuilder("demo", workers="{workers}")
first, second = PythonStep(numbers), PythonStep(total)
first >> second
pipeline.add_steps(first, second)
if __name__ == "__main__":
    results = pipeline.execute()
    print(*(f"{{each.status}}: {{each.reason}}" for each in results.values()), sep="\\n")
    print(results["total"].value)
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(box: Sandbox, *, size: int = 3, workers: str = "threads", code: str = "") -> list[str]:
    """What a run of the program says of its two steps, and the second one's value."""
    box.write("p.py", PROGRAM.format(size=size, workers=workers, code=code))
    done = subprocess.run([sys.executable, "p.py"], cwd=box.root, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def kept(box: Sandbox) -> set[str]:
    return set(os.listdir(f"{box.root}/{FOLDER}"))


def pipeline(*steps: PythonStep) -> PipelineBuilder:
    builder = PipelineBuilder("demo")
    builder.add_steps(*steps)
    return builder


def number(value: Any) -> PythonStep:
    return PythonStep(lambda: value, name="number")


def test_a_value_may_grow_and_shrink(box: Sandbox) -> None:
    for size, names in (
        (3, {".pack"}),
        (200_000, {".pack", "numbers"}),
        (4, {".pack"}),
        (200_000, {".pack", "numbers"}),
    ):
        assert run(box, size=size)[2] == str(size)
        assert kept(box) == names
        assert run(box, size=size) == ["up to date: ", "up to date: ", str(size)]


def test_values_of_worker_processes_are_files_and_are_found_as_such(box: Sandbox) -> None:
    assert run(box)[2] == "3"
    assert run(box, workers="processes") == ["up to date: ", "up to date: ", "3"]
    assert run(box, workers="processes", code="+ 1")[2] == "4"  # reads what lies in the pack
    assert kept(box) == {".pack", "total"}
    assert run(box, code="+ 1") == ["up to date: ", "up to date: ", "4"]
    assert run(box, code="+ 2")[2] == "5"
    assert kept(box) == {".pack"}
    assert run(box, size=4, workers="processes", code="+ 2")[2] == "6"
    assert kept(box) == {".pack", "numbers", "total"}
    assert run(box, size=4, code="+ 3")[2] == "7"  # reads what lies in the file
    assert run(box, size=4, code="+ 3") == ["up to date: ", "up to date: ", "7"]


def test_a_small_value_of_an_earlier_version_is_a_file(box: Sandbox) -> None:
    run(box, workers="processes")
    assert kept(box) == {"numbers", "total"}
    assert run(box) == ["up to date: ", "up to date: ", "3"]


@pytest.mark.parametrize("what", [FOLDER, f"{FOLDER}/.pack"])
def test_values_that_were_removed_are_made_again(what: str) -> None:
    pipeline(number(1)).execute()
    if os.path.isdir(what):
        shutil.rmtree(what)
    else:
        os.unlink(what)
    result = pipeline(number(1)).execute()["number"]
    assert (result.status, result.value) == ("done", 1)
    assert "number" in result.reason
    assert pipeline(number(1)).execute()["number"].status == "up to date"


def test_damage_that_a_reader_meets_is_mended_by_the_next_run() -> None:
    def both(code: int) -> PipelineBuilder:
        first = number([1, 2, 3])
        second = PythonStep(lambda numbers: sum(numbers) + code, name="total")
        first >> second
        return pipeline(first, second)

    both(0).execute()
    before = os.stat(f"{FOLDER}/.pack")
    with open(f"{FOLDER}/.pack", "r+b") as file:
        data = file.read()
        file.seek(data.index(b"number") + 10)
        file.write(b"?")
    os.utime(f"{FOLDER}/.pack", ns=(before.st_atime_ns, before.st_mtime_ns))
    results = both(1).execute(raise_on_error=False)  # the ctime tells
    assert (results["number"].status, results["total"].status, results["total"].value) == ("done", "done", 7)


def test_what_is_asked_for_by_another_run_meanwhile_is_what_was_made() -> None:
    builder = pipeline(number(1))
    results = builder.execute()
    assert pipeline(number(2)).execute()["number"].value == 2
    with pytest.raises(Exception, match="a later run has replaced it"):
        _ = results["number"].value
    assert pipeline(number(1)).execute()["number"].value == 1
    assert results["number"].value == 1


def test_results_are_read_from_wherever_the_program_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    results = pipeline(number(5)).execute()
    os.mkdir("elsewhere")
    monkeypatch.chdir("elsewhere")
    assert results["number"].value == 5


@pytest.mark.parametrize("at", ["put", "record"])
def test_a_kill_around_the_record_costs_that_run_only(box: Sandbox, at: str) -> None:
    program = f"""
        import os, sys
        from miniduct import PipelineBuilder, PythonStep
        from miniduct.stores.values import ValueStore
        from miniduct.trace.database import Traces

        if sys.argv[2] == "killed":
            whole = ValueStore.put if "{at}" == "put" else Traces.record
            def killed(*given):
                whole(*given)
                os._exit(9)
            setattr(*((ValueStore, "put") if "{at}" == "put" else (Traces, "record")), killed)
        found = int(sys.argv[1])
        builder = PipelineBuilder("demo")
        builder.add_step(PythonStep(lambda: found, name="number"))
        result = builder.execute()["number"]
        print(result.status, result.value)
        """
    box.write("p.py", textwrap.dedent(program))
    runs = [
        subprocess.run([sys.executable, "p.py", *words], cwd=box.root, check=False, capture_output=True, text=True)
        for words in (("1", "whole"), ("2", "killed"), ("2", "whole"), ("2", "whole"))
    ]
    again = "up to date 2\n" if at == "record" else "done 2\n"
    told = [(each.returncode, each.stdout) for each in runs]
    assert told == [(0, "done 1\n"), (9, ""), (0, again), (0, "up to date 2\n")]


def test_the_command_knows_them_and_cleans_them(box: Sandbox) -> None:
    run(box)
    assert "nothing to do" in box.duct("-f", "p.py").err
    cleaned = box.duct("-f", "p.py", "clean", "--yes", "numbers")
    assert cleaned.code == 0, str(cleaned)
    assert box.duct("-f", "p.py", "status", "--exit-code").code == 3
    assert run(box)[2] == "3"
    assert run(box) == ["up to date: ", "up to date: ", "3"]


def test_a_value_that_nothing_makes_any_more_is_an_orphan(box: Sandbox) -> None:
    run(box)
    box.write(
        "p.py",
        PROGRAM.format(size=3, workers="threads", code="").replace(
            "PythonStep(total)", 'PythonStep(total, name="sum")'
        ),
    )
    box.duct("-f", "p.py")
    listed = box.duct("-f", "p.py", "clean", "--orphans", "--yes")
    assert f"{FOLDER}/total" in str(listed), str(listed)
    again = box.duct("-f", "p.py", "clean", "--orphans", "--yes")
    assert f"{FOLDER}/total" not in str(again), str(again)


@pytest.mark.parametrize("check", ["mtime", "content"])
def test_a_changed_value_of_the_same_size_is_seen_whatever_is_checked(check: str) -> None:
    for value in (1, 2):
        first = PythonStep(lambda value=value: value, name="number", check=check)
        second = PythonStep(lambda number: number * 10, name="tenfold", check=check)
        first >> second
        assert pipeline(first, second).execute()["tenfold"].value == value * 10


def test_a_pack_that_lost_its_end_gives_back_no_former_value(box: Sandbox) -> None:
    run(box)
    pack = f"{box.root}/{FOLDER}/.pack"
    size = os.path.getsize(pack)
    run(box, size=200_000)  # a file, and the pack is told so
    os.truncate(pack, size)
    assert run(box, size=200_000, code="+ 1")[2] == "200001"


def test_an_older_pack_gives_back_no_former_value(box: Sandbox) -> None:
    run(box)
    pack = f"{box.root}/{FOLDER}/.pack"
    shutil.copy(pack, f"{box.home}/older")
    run(box, size=200_000)
    shutil.copy(f"{box.home}/older", pack)
    assert run(box, size=200_000, code="+ 1")[2] == "200001"


KILLED = """
import os, sys
from miniduct import PipelineBuilder, PythonStep
from miniduct.errors import StoreError
from miniduct.publishing import Publisher
from miniduct.trace.database import Traces
from miniduct.workspace import Workspace

def killing(*given):
    os._exit(9)

def failing(*given):
    raise StoreError("the disk is full")

size, way = int(sys.argv[1]), sys.argv[2]
if way == "killed":
    Publisher._make_way = killing
if way == "full":
    Traces.record = Traces.fail = Workspace.save = failing
many = [PythonStep(lambda: "x" * size, name=f"many{at}") for at in range(300)]
total = PythonStep(lambda *texts: sum(map(len, texts)), name="total")
many >> total
pipeline = PipelineBuilder("demo")
pipeline.add_steps(*many, total)
results = pipeline.execute(raise_on_error=False, jobs=1)
print({len(results[each].value) for each in many} if way == "whole" else "", results[total].value if way == "whole" else "")
"""


@pytest.mark.parametrize("way", ["killed", "full"])
def test_a_small_value_that_was_to_replace_a_large_one_is_not_taken_for_it(box: Sandbox, way: str) -> None:
    """What reads many inputs does not look at them again."""
    box.write("p.py", KILLED)

    def execute(size: int, way: str) -> str:
        words = [sys.executable, "p.py", str(size), way]
        return subprocess.run(words, cwd=box.root, check=False, capture_output=True, text=True).stdout.strip()

    assert execute(70_000, "whole") == f"{{70000}} {300 * 70_000}"
    execute(10, way)
    assert execute(70_000, "whole") == f"{{70000}} {300 * 70_000}"


def test_a_step_that_ends_well_after_ctrl_c_is_recorded() -> None:
    def make() -> PipelineBuilder:
        def stubborn() -> int:
            until = time.monotonic() + 1
            while time.monotonic() < until:
                try:
                    time.sleep(0.05)
                except BaseException:  # it was asked to end
                    break
            return 7

        first = PythonStep(stubborn)
        second = PythonStep(lambda number: number + 1, name="second")
        first >> second
        return pipeline(first, second)

    pipeline(number(1)).execute()  # so that there is a pack
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        make().execute()
    timer.join()
    results = make().execute()
    assert {each.name: each.status for each in results.values()} == {"stubborn": "up to date", "second": "done"}
    assert results["second"].value == 8


@pytest.mark.parametrize("damage", [True, False])
def test_a_watch_sees_what_becomes_of_values(box: Sandbox, damage: bool) -> None:
    box.write("p.py", PROGRAM.format(size=3, workers="threads", code=""))
    watch = Watching(box, "-f", "p.py")
    try:
        pack = f"{box.root}/{FOLDER}/.pack"
        if damage:
            with open(pack, "r+b") as file:
                file.seek(-40, os.SEEK_END)
                file.write(b"damage")
        else:
            os.unlink(pack)
        watch.says(" ran")
        time.sleep(1)
        assert watch.builds() == 2
    finally:
        watch.end()
    assert "nothing to do" in box.duct("-f", "p.py").err


def test_what_lies_in_the_stage_is_not_taken_for_the_value() -> None:
    """A call that was given up may have written there before the next attempt."""

    def leave() -> None:
        os.makedirs(stage, exist_ok=True)
        values.write(f"{stage}/last", "of a call that was given up", to_file=True)

    stage = f".duct/pipelines/demo/stage/{FOLDER}"
    first, last = PythonStep(leave), PythonStep(lambda _: sys.exit(), name="last")
    first >> last
    results = pipeline(first, last).execute(raise_on_error=False)
    assert results["last"].status == "failed"
    assert "without returning a value" in (results["last"].error or "")


def test_asking_writes_nothing_whatever_became_of_the_pack(box: Sandbox) -> None:
    run(box)
    pack = f"{box.root}/{FOLDER}/.pack"
    with open(pack, "r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"damage")
    before = os.stat(pack)
    for words in (("-n",), ("status",), ("why", "total")):
        assert box.duct("-f", "p.py", *words).code == 0
    now = os.stat(pack)
    assert (now.st_mtime_ns, now.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
