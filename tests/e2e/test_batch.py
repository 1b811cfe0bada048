"""`batch`: several stale jobs in one command, each judged, published and recorded on its own."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Sandbox

WORK = """
import json, os, sys, time
jobs = [json.loads(line) for line in open(sys.argv[1])]
with open(sys.argv[2], "a") as runs:
    runs.write(f"{len(jobs)}\\n")
for job in jobs:
    text = open(job["inputs"][0]).read()
    with open(job["targets"][0] + ".part", "w") as target:
        target.write("half")
        target.flush()
        time.sleep(0.02)
        if "bad" in text:
            sys.exit("bad input " + job["inputs"][0])
        if "none" in text:
            continue
        target.seek(0)
        target.write(text * 2)
    os.rename(target.name, job["targets"][0])
print("worked on", len(jobs))
"""

DUCTFILE = """
[step.work]
inputs = ["raw/{n}", "work.py"]
targets = "out/{n}"
batch = 5
run = 'python3 work.py {manifest} sizes'
"""


@pytest.fixture
def days(box: Sandbox) -> Sandbox:
    for n in range(10, 22):
        box.write(f"raw/{n}", f"{n}\n")
    box.write("work.py", WORK)
    box.ductfile(DUCTFILE)
    return box


def sizes(box: Sandbox) -> list[int]:
    """How many jobs each command worked on since the last question."""
    path = box.path("sizes")
    found = [int(line) for line in box.read("sizes").split()] if os.path.exists(path) else []
    if found:
        os.unlink(path)
    return found


def test_stale_jobs_share_commands_and_are_recorded_one_by_one(days: Sandbox) -> None:
    days.build("-j1")
    assert sizes(days) == [5, 5, 2]
    assert days.read("out/10") == "10\n10\n"
    days.nothing_to_do()
    days.write("raw/12", "new\n")
    days.write("raw/20", "new\n")
    days.build()
    assert sizes(days) == [2]
    assert days.read("out/12") == "new\nnew\n"
    days.nothing_to_do()


def test_other_size_of_batches_makes_nothing_stale(days: Sandbox) -> None:
    days.build()
    sizes(days)
    days.ductfile(DUCTFILE.replace("batch = 5", "batch = 2"))
    days.nothing_to_do()


def test_failing_command_counts_for_those_made_whole(days: Sandbox) -> None:
    days.write("raw/13", "bad\n")
    result = days.expect(1, "build", "-j1", "-k")
    assert "bad input raw/13" in result.err
    assert result.err.count('step "work" failed') == 1
    assert days.read("out/10") == "10\n10\n"
    assert days.read("out/20") == "20\n20\n"
    assert not os.path.exists(days.path("out/13"))
    assert not os.path.exists(days.path("out/14"))
    sizes(days)
    days.write("raw/13", "good\n")
    days.build()
    assert sizes(days) in ([2], [3])
    assert days.read("out/13") == "good\ngood\n"
    days.nothing_to_do()


def test_job_whose_target_is_not_there_fails_alone(days: Sandbox) -> None:
    days.write("raw/15", "none\n")
    result = days.expect(1, "build", "-k")
    assert "did not make out/15" in result.err
    assert sorted(os.listdir(days.path("out"))) == [str(n) for n in range(10, 22) if n != 15]


def test_kill_forgets_only_the_running_batch(days: Sandbox) -> None:
    second = "if [ -e one ] && [ ! -e two ]; then touch two; kill -9 $PPID; exit 1; fi; touch one; "
    days.ductfile(DUCTFILE.replace("run = '", f"run = '{second}"))
    assert days.duct("build", "-j1").code != 0
    assert sizes(days) == [5]
    days.build("-j1")
    assert sizes(days) == [5, 2]
    days.nothing_to_do()


def test_lists_are_cut_before_a_command_line_gets_too_long(box: Sandbox) -> None:
    box.write("make.sh", 'echo $# >> counts; for each; do case $each in .duct/*) echo > "$each";; esac; done')
    for n in range(60):
        box.write(f"raw/{'x' * 200}/{'y' * 200}/{'z' * 200}/{'w' * 200}/{'v' * 200}/{'u' * 200}/{n}", str(n))
    box.ductfile(
        """
        [step.all]
        inputs = "raw/{n**}"
        targets = "out/{n**}"
        batch = 1000
        run = ["sh", "make.sh", "{inputs}", "{targets}"]
        """
    )
    box.build("-j1")
    counts = [int(line) for line in box.read("counts").split()]
    assert sum(counts) == 120
    assert len(counts) > 1


def test_names_with_newlines_travel_by_manifest(box: Sandbox) -> None:
    names = ["a b", "new\nline", "$(touch pwned)", "-x", "é", "'q'\"q\""]
    for name in names:
        box.write(f"raw/{name}", name)
    box.write("work.py", WORK)
    box.ductfile(DUCTFILE)
    box.build()
    for name in names:
        assert box.read(f"out/{name}") == name * 2
    assert not os.path.exists(box.path("pwned"))


def test_one_value_of_many_is_a_mistake(box: Sandbox) -> None:
    box.ductfile('[step.a]\ninputs = "raw/{n}"\ntargets = "out/{n}"\nbatch = 3\nrun = "cp {input} {n}"\n')
    result = box.expect(2, "check")
    assert "{inputs}" in result.err
    assert "{manifest}" in result.err
    assert "Ductfile:5" in result.err


def test_batch_is_retried_for_those_that_failed(days: Sandbox) -> None:
    days.write("raw/13", "bad\n")
    text = DUCTFILE.replace("batch = 5", "batch = 50\nretries = 1\nbackoff = 0.01")
    days.ductfile(text.replace("sizes'", "sizes || { echo mended > raw/13; exit 1; }'"))
    days.expect(0, "build", "-j1")
    assert days.read("out/12") == "12\n12\n"
    assert sizes(days)[0] == 12
    days.build()
    assert days.read("out/13") == "mended\nmended\n"


def test_events_name_each_job(days: Sandbox) -> None:
    ended = [event for event in days.build("--json").events if event["event"] == "job_ended"]
    assert len(ended) == 12
    assert json.dumps(ended[0]["told_by"]) == "null"


def test_half_files_closed_before_the_failure_are_not_believed(days: Sandbox) -> None:
    """All targets are there, each was closed, and others were written afterwards: still none is known to be whole."""
    days.ductfile(
        """
        [step.work]
        inputs = "raw/{n}"
        targets = "out/{n}"
        batch = 20
        run = '''
        for t in {targets}; do printf half > $t; sleep 0.01; done
        [ -e ok ]
        set -- {targets}
        for i in {inputs}; do cp $i $1; shift; done
        '''
        """
    )
    days.expect(1, "build", "-k")
    assert not os.path.exists(days.path("out")) or os.listdir(days.path("out")) == []
    days.write("ok", "")
    days.build()
    assert [days.read(f"out/{n}") for n in range(10, 22)] == [f"{n}\n" for n in range(10, 22)]


def test_pool_of_writers_that_fails_leaves_no_half(days: Sandbox) -> None:
    days.ductfile(
        """
        [step.work]
        inputs = "raw/{n}"
        targets = "out/{n}"
        batch = 20
        run = '''
        for t in {targets}; do (exec 3> $t; printf ha >&3; sleep 0.3; printf lf >&3) & done
        sleep 0.1
        [ -e ok ]
        wait
        '''
        """
    )
    days.expect(1, "build", "-k")
    assert not os.path.exists(days.path("out")) or os.listdir(days.path("out")) == []
    days.write("ok", "")
    days.build()
    assert days.read("out/10") == "half"
