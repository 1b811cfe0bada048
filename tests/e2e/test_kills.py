"""Ctrl-C, `kill -9` at any moment, two builds at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from support import DUCT, wait_for

if TYPE_CHECKING:
    from support import Sandbox

WAITS = """
[step.quick]
targets = "quick.txt"
run = '''printf 'quick\\0' >> "$RUNS"; echo quick > {target}'''

[step.slow]
inputs = "quick.txt"
targets = "slow.txt"
run = '''
echo half > {target}
printf 'slow\\0' >> "$RUNS"
until [ -e "$GATE" ]; do sleep 0.01; done
echo whole > {target}
'''
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_ends_the_jobs_and_leaves_no_half(box: Sandbox, number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the tests run under nohup, whose children ignore it")
    box.ductfile(WAITS)
    process = box.start("build")
    wait_for(lambda: box.started("slow"), "the start of slow")
    process.send_signal(number)
    result = box.finish(process, timeout=20)
    assert result.code == 130
    assert "Traceback" not in result.err
    assert box.processes() == []
    assert not box.exists("slow.txt")
    assert box.counted() == {"quick": 1, "slow": 1}
    box.open_gate()
    box.build()
    assert box.ran() == ["slow"]
    assert box.read("slow.txt") == "whole\n"


STUBBORN = """
[step.stubborn]
targets = "x.txt"
run = '''
trap '' TERM INT HUP
printf 'stubborn\\0' >> "$RUNS"
while :; do sleep 0.05; done
'''
"""


def test_second_interrupt_is_at_once(box: Sandbox) -> None:
    box.ductfile(STUBBORN)
    process = box.start("build")
    wait_for(lambda: box.started("stubborn"), "the start of the job")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None, "the first one asks"
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    result = box.finish(process, timeout=20)
    assert time.monotonic() - start < 3
    assert result.code == 130
    wait_for(lambda: box.processes() == [], "the end of the job")


def test_interrupt_ends_what_the_job_started(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.tree]
        targets = "x.txt"
        run = '''
        (sleep 1000 & sleep 1000) &
        printf 'tree\\0' >> "$RUNS"
        sleep 1000
        '''
        """
    )
    process = box.start("build")
    wait_for(lambda: box.started("tree"), "the start of the job")
    process.send_signal(signal.SIGINT)
    assert box.finish(process, timeout=20).code == 130
    wait_for(lambda: box.processes() == [], "the end of the whole tree", 10)


def test_after_an_interrupt_nothing_further_starts(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.n]
        foreach = { n = { from = 1, to = 20 } }
        targets = "{n}.txt"
        run = '''printf '%s\\0' {n} >> "$RUNS"; until [ -e "$GATE" ]; do sleep 0.01; done; echo > {target}'''
        """
    )
    process = box.start("build", "-j2", "-k")
    wait_for(lambda: os.path.exists(box.runs), "the start of a job")
    process.send_signal(signal.SIGINT)
    assert box.finish(process, timeout=20).code == 130
    assert len(box.ran()) <= 2


# Kills at random moments


MANY = """
[step.a]
inputs = "raw/{n}"
targets = "a/{n}"
run = '''printf 'a%s\\0' {n} >> "$RUNS"; cat {input} > {target}; echo a >> {target}'''

[step.b]
inputs = "a/{n}"
targets = ["b/{n}", "b2/{n}"]
run = '''cat {input} > b/{n}; echo b >> b/{n}; cp b/{n} {targets[1]}'''

[step.c]
inputs = "b/*"
targets = "c.txt"
run = "cat {inputs} > {target}"

[step.d]
inputs = "c.txt"
targets = "parts/*.txt"
run = '''split -l 4 {input} {target}/p --additional-suffix=.txt'''

[step.e]
inputs = "parts/{p}.txt"
targets = "e/{p}.txt"
run = "sort {input} > {target}"
"""


def test_kill_at_random_moments_never_leaves_a_half_and_ends_as_a_clean_build(box: Sandbox) -> None:
    chance = random.Random(7)
    count = 12
    box.ductfile(MANY)
    for n in range(count):
        box.write(f"raw/{n:02d}", f"{n}\n")
    os.makedirs(box.path("b"), exist_ok=True)
    box.build("-j2")
    whole = legal(box)
    for turn in range(25):
        changed = chance.randrange(count)
        box.write(f"raw/{changed:02d}", f"{turn} {changed}\n")
        process = box.start("build", "-j2")
        time.sleep(chance.uniform(0.0, 0.45))
        if chance.random() < 0.5:
            box.kill_everything()
        process.send_signal(signal.SIGKILL)
        box.finish(process)
        for name, data in box.tree().items():
            kind = name.split("/", maxsplit=1)[0]
            if kind in ("a", "b", "b2"):
                # a and b2 are staged: at any moment a whole one, old or new. b is written directly: whole again after the next start.
                lines = data.decode().splitlines()
                assert kind == "b" or lines[1:] == {"a": ["a"], "b2": ["a", "b"]}[kind], (turn, name, data)
    box.build("-j2")
    assert legal(box).keys() == whole.keys()
    box.ran()
    result = box.nothing_to_do()
    assert "nothing to do" in result.err
    incremental = box.tree()
    for folder in ("a", "b", "b2", "e", "parts", ".duct"):
        box.remove(folder)
    os.makedirs(box.path("b"))
    box.build()
    assert box.tree() == incremental
    assert not [name for name in os.listdir(box.path(".duct")) if "damaged" in name]


def legal(box: Sandbox) -> dict[str, bytes]:
    return {name: data for name, data in box.tree().items() if not name.startswith("raw/")}


def test_what_ended_is_remembered_after_a_kill(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.n]
        inputs = "raw/{n}"
        targets = "out/{n}"
        run = '''printf '%s\\0' {n} >> "$RUNS"; cp {input} {target}; [ {n} != 50 ] || until [ -e "$GATE" ]; do sleep 0.01; done'''
        """
    )
    for n in range(60):
        box.write(f"raw/{n}", str(n))
    process = box.start("build", "-j1")
    wait_for(lambda: box.started("50"), "job 50")
    box.kill_everything()
    box.finish(process)
    done = box.ran()
    box.open_gate()
    box.build()
    again = box.ran()
    assert set(done) & set(again) == {"50"}
    assert sorted([*done, *again]) == sorted([*map(str, range(60)), "50"])


# Two builds at once


def test_what_a_killed_build_left_among_the_logs_is_removed(box: Sandbox) -> None:
    box.ductfile(WAITS)
    process = box.start("build")
    wait_for(lambda: box.started("slow"), "the start of slow")
    box.kill_everything()
    box.finish(process)
    box.write(".duct/logs/.slot-7", "of a build before")
    box.write(".duct/logs/other.log", "a log")
    box.open_gate()
    box.build("-j", "1")
    assert os.listdir(box.path(".duct/logs")) == ["other.log"]
    box.write(".duct/logs/.slot-7", "of nobody")
    box.build("-B")
    assert box.exists(".duct/logs/.slot-7"), "the folder is listed after a kill only"


def test_after_a_kill_only_its_commands_are_ended_and_no_watch_that_logs_among_theirs(box: Sandbox) -> None:
    box.ductfile(WAITS)
    box.write(".duct/logs/watch.log")
    watch = box.start("watch", "quick.txt", output=box.path(".duct/logs/watch.log"))
    try:
        wait_for(lambda: box.exists(".duct/watch.sock"), "the watch to wait")
        process = box.start("build", "slow.txt")
        wait_for(lambda: box.started("slow"), "the start of slow")
        process.kill()
        box.finish(process)
        left = [pid for pid in box.processes() if pid != watch.pid]
        assert left, "the command lives on"
        box.open_gate()
        # As `while true; do timeout 20 duct; done >> .duct/logs/loop.log` does: a group of its own, in the session of its parent.
        script = 'timeout 30 duct -q slow.txt; echo "ended with $?"'
        with open(box.path(".duct/logs/loop.log"), "wb") as log:
            loop = subprocess.run(["sh", "-c", script], cwd=box.root, env=box.env, stdout=log, check=False, timeout=60)
        assert loop.returncode == 0
        assert box.read(".duct/logs/loop.log") == "ended with 0\n"
        assert not {*left}.intersection(box.processes())
        assert watch.poll() is None
    finally:
        box.kill_everything()
        watch.wait()


def test_kill_is_remembered_until_what_it_left_is_mended(box: Sandbox) -> None:
    box.ductfile(WAITS)
    process = box.start("build")
    wait_for(lambda: box.started("slow"), "the start of slow")
    box.kill_everything()
    box.finish(process)
    database = os.path.join(box.root, ".duct/trace.db")
    os.rename(database, database + ".aside")
    os.mkdir(database)
    box.expect(1, "build")
    assert box.read(".duct/lock") != "", "the next build must mend it"
    os.rmdir(database)
    os.rename(database + ".aside", database)
    box.open_gate()
    box.build()
    assert box.read("slow.txt") == "whole\n"
    assert box.read(".duct/lock") == ""


def test_second_build_waits_says_for_whom_and_finds_nothing_to_do(box: Sandbox) -> None:
    box.ductfile(WAITS)
    first = box.start("build")
    wait_for(lambda: box.started("slow"), "the start of slow")
    second = box.start("build")
    said = first_line(second)
    assert str(first.pid) in said
    assert second.poll() is None
    box.open_gate()
    one, two = box.finish(first), box.finish(second)
    assert (one.code, two.code) == (0, 0), f"{one}\n{two}"
    assert "nothing to do" in two.err
    assert box.counted() == {"quick": 1, "slow": 1}


def first_line(process: subprocess.Popen[bytes]) -> str:
    """The first line that it writes to its standard error."""
    assert process.stderr is not None
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(process.stderr.fileno(), 1)
        assert piece, f"ended with {line!r}"
        line += piece
    return line.decode()


def test_no_wait_ends_with_2_and_names_the_holder(box: Sandbox) -> None:
    box.ductfile(WAITS)
    first = box.start("build")
    wait_for(lambda: box.started("slow"), "the start of slow")
    result = box.expect(2, "build", "--no-wait")
    assert str(first.pid) in result.err
    box.open_gate()
    assert box.finish(first).code == 0
    box.build("--no-wait")


def test_many_builds_at_once_run_each_job_once(box: Sandbox) -> None:
    box.ductfile(
        """
        [step.n]
        foreach = { n = { from = 1, to = 10 } }
        targets = "out/{n}"
        run = '''printf '%s\\0' {n} >> "$RUNS"; echo {n} > {target}'''
        """
    )
    processes = [box.start("build") for _ in range(5)]
    results = [box.finish(process) for process in processes]
    assert [result.code for result in results] == [0] * 5, "\n".join(map(str, results))
    assert box.counted() == {str(n): 1 for n in range(1, 11)}


def test_questions_are_answered_while_a_build_runs(box: Sandbox) -> None:
    box.ductfile(WAITS)
    process = box.start("build")
    wait_for(lambda: box.started("slow"), "the start of slow")
    for args in (["status"], ["build", "-n"], ["list"], ["why", "slow.txt"], ["graph"]):
        box.expect(0, *args)
    box.open_gate()
    assert box.finish(process).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_waiting_build_can_be_interrupted(box: Sandbox, number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the tests run under nohup, whose children ignore it")
    box.ductfile(WAITS)
    first = box.start("build")
    wait_for(lambda: box.started("slow"), "the start of slow")
    second = box.start("build")
    first_line(second)
    second.send_signal(number)
    result = box.finish(second, timeout=10)
    assert result.code == 130
    assert "Traceback" not in result.err
    box.open_gate()
    assert box.finish(first).code == 0


PLANS = """
import os, time
open("begun", "w").close()
while not os.path.exists("gate"):
    time.sleep(0.01)
"""


@pytest.mark.parametrize("verb", ["build", "status", "watch"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_before_there_is_a_plan_is_an_interrupt_too(box: Sandbox, number: signal.Signals, verb: str) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the tests run under nohup, whose children ignore it")
    box.write("p.py", PLANS)
    process = box.start("-f", "p.py", verb)
    wait_for(lambda: box.exists("begun"), "the pipeline's file to be run")
    process.send_signal(number)
    result = box.finish(process, timeout=20)
    assert (result.code, result.err) == (130, "")
    assert not box.exists(".duct")


def test_signal_that_is_ignored_stays_ignored_while_it_is_planned(box: Sandbox) -> None:
    box.write("p.py", f"import signal\nwas = signal.getsignal(signal.SIGHUP)\n{PLANS}\nprint(was == signal.SIG_IGN)\n")
    box.write("gate")
    done = subprocess.run(
        ["nohup", DUCT, "-f", "p.py"], cwd=box.root, env=box.env, capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n"


def test_process_forked_while_it_is_planned_ends_by_its_signal(box: Sandbox) -> None:
    box.write(
        "p.py",
        """
import os, signal, time
ready, begun = os.pipe()
child = os.fork()
if child == 0:
    os.write(begun, b"x")
    time.sleep(30)
    os._exit(0)
os.read(ready, 1)
os.kill(child, signal.SIGTERM)
print(os.waitpid(child, 0)[1] == signal.SIGTERM)
""",
    )
    assert box.duct("-f", "p.py").out == "True\n"


def test_what_a_killed_build_made_is_an_orphan_and_no_input(box: Sandbox) -> None:
    """The snapshot is older than the kill: what was made since is known from the traces alone."""
    box.write("raw/1", "one\n")
    box.ductfile(
        """
        [step.clean]
        inputs = "raw/{n}"
        targets = "clean/{n}"
        run = '''cp {input} {target}; [ ! -e "$GATE" ] || [ {n} != 3 ] || kill -9 $PPID; sleep 0.05'''

        [step.all]
        inputs = "clean/*"
        targets = "all"
        run = "cat {inputs} > {target}"
        """
    )
    box.build()
    box.write("raw/2", "two\n")
    box.write("raw/3", "three\n")
    box.open_gate()
    assert box.duct("build", "-j1").code != 0
    assert box.exists("clean/2")
    box.remove("raw/2")
    box.remove("raw/3")
    box.build()
    assert box.read("all") == "one\n"


def test_dynamic_job_that_ended_before_the_kill_is_not_run_again(box: Sandbox) -> None:
    box.write("l", "a b c\n")
    box.write("s", "1\n")
    box.ductfile(
        """
        [step.split]
        inputs = "l"
        targets = "parts/*.csv"
        run = '''printf 'split\\0' >> "$RUNS"; for i in $(cat {input}); do echo v > {target}/$i.csv; done'''

        [step.slow]
        inputs = "s"
        targets = "slow"
        after = ["split"]
        run = '''printf 'slow\\0' >> "$RUNS"; if [ -e "$GATE" ]; then rm "$GATE"; kill -9 $PPID; fi; cp {input} {target}'''
        """
    )
    box.build()
    box.ran()
    box.write("l", "a b\n")
    box.write("s", "2\n")
    box.open_gate()
    assert box.duct("build", "-j1").code != 0
    box.build()
    assert box.ran() == ["slow", "slow", "split"]
    assert not box.exists("parts/c.csv")
    box.nothing_to_do()


def test_what_waits_for_an_interrupted_job_is_not_called_up_to_date(box: Sandbox) -> None:
    box.ductfile(WAITS + '\n[step.last]\ninputs = "slow.txt"\ntargets = "last.txt"\nrun = "cp {input} {target}"\n')
    process = box.start("build")
    wait_for(lambda: box.started("slow"), "the start of slow")
    process.send_signal(signal.SIGINT)
    result = box.finish(process, timeout=20)
    assert result.code == 130
    assert "1 job skipped" in result.err or "1 skipped" in result.err
    assert "up to date" not in result.err


KILLED_AT_REMOVAL = """
import os, signal, sys

def hook(event, args):
    if event == "os.remove" and os.path.exists("kill") and str(args[0]).startswith("p/"):
        os.unlink("kill")
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
"""


@pytest.fixture
def removing(box: Sandbox) -> Sandbox:
    """A build in this sandbox is killed when it is about to remove a file below `p/`, where there is a file `kill`."""
    box.write("hook/sitecustomize.py", KILLED_AT_REMOVAL)
    box.env["PYTHONPATH"] = box.path("hook")
    return box


SPLIT = """
[step.split]
inputs = "list"
targets = {{ {targets} }}
run = '''
printf 'split\\0' >> "$RUNS"
echo 1 > index; mkdir -p q; echo y > q/y
for i in $(cat {{input}}); do echo $i > {{targets.parts}}/$i.x; done
'''

[step.all]
inputs = "p/*.x"
targets = "all"
run = "cat {{inputs}} > {{target}}"
"""
ORDERS = [
    'parts = "p/*.x"',
    'index = "index", parts = "p/*.x"',
    'index = "index", more = "q/*", parts = "p/*.x"',
    'more = "q/*", parts = "p/*.x", index = "index"',
]


@pytest.mark.parametrize("kills", [1, 2])
@pytest.mark.parametrize("targets", ORDERS)
def test_former_members_of_any_target_are_removed_after_kills(removing: Sandbox, targets: str, kills: int) -> None:
    box = removing
    box.files(
        {"list": "a b c d\n", "p/mine": "mine\n", "p/users.x": "mine\n", "Ductfile": SPLIT.format(targets=targets)}
    )
    box.build()
    box.files({"list": "a\n", "p/c.x": "edited\n"})
    for _ in range(kills):  # the second one comes while the first one is mended
        box.write("kill", "")
        assert box.duct("build").code == -signal.SIGKILL
    assert {"p/b.x", "p/c.x", "p/d.x"} <= box.tree("p").keys()
    box.build()
    assert sorted(box.tree("p")) == ["p/a.x", "p/c.x", "p/mine", "p/users.x"]
    assert box.read("all") == "a\nedited\nmine\n"
    assert box.counted()["split"] == 2
    assert box.expect(0, "clean", "--orphans", "-n").out == ""
    box.nothing_to_do()


def test_former_member_that_another_job_makes_is_there_after_a_kill(removing: Sandbox) -> None:
    box = removing
    box.write("list", "a b c\n")
    box.ductfile(SPLIT.format(targets=ORDERS[1]))
    box.build()
    box.files({"list": "a\n", "kill": ""})
    b = """[step.b]\ntargets = "p/b.x"\nrun = '''printf 'b\\0' >> "$RUNS"; echo b > {target}'''\n"""
    box.ductfile(b + SPLIT.format(targets=ORDERS[1]))
    assert box.duct("build", "-j1").code == -signal.SIGKILL
    assert box.started("b")
    box.build()
    assert sorted(box.tree("p")) == ["p/a.x", "p/b.x"]
    assert box.read("all") == "a\nb\n"
    assert box.ran() == ["b", "split", "split"]
    box.nothing_to_do()


def test_former_member_that_was_accepted_is_kept_as_a_copy_after_a_kill(removing: Sandbox) -> None:
    box = removing
    box.files({"list": "a b\n", "index": "1\n", "p/a.x": "a\n", "p/b.x": "mine\n", "all": "a\nmine\n"})
    box.ductfile(SPLIT.format(targets=ORDERS[1]))
    box.expect(0, "accept", "--all")
    box.files({"list": "a\n", "kill": ""})
    assert box.duct("build").code == -signal.SIGKILL
    box.remove(".duct/kept")
    assert "p/b.x was not what duct made; your copy is kept in" in box.build().err
    assert not box.exists("p/b.x")
    assert os.listdir(box.path(".duct/kept/p"))


def test_former_target_of_a_step_without_a_pattern_is_an_orphan_after_a_kill(removing: Sandbox) -> None:
    box = removing
    text = '[step.a]\ntargets = ["x", "p/{}"]\nrun = "echo 1 > {{targets[0]}}; echo 1 > {{targets[1]}}"\n'
    slow = """[step.slow]\nafter = ["a"]\ntargets = "s"\nrun = '[ ! -e "$GATE" ] || kill -9 $PPID; cp /dev/null {target}'\n"""
    box.ductfile(text.format("b") + slow)
    box.build()
    box.ductfile(text.format("c") + slow.replace("cp /dev/null", "touch"))
    box.open_gate()
    assert box.duct("build").code == -signal.SIGKILL
    box.close_gate()
    box.build()
    assert sorted(box.tree("p")) == ["p/b", "p/c"]
