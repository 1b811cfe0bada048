"""The state folder under damage and change: what is disposable costs time at most, never a right answer."""

from __future__ import annotations

import glob
import os
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Sandbox

COPY = """
[step.a]
inputs = "raw/{n}"
targets = "out/{n}"
run = '''printf 'a %s\\0' {n} >> "$RUNS"; cp {input} {target}'''
"""


@pytest.fixture
def built(box: Sandbox) -> Sandbox:
    for n in range(5):
        box.write(f"raw/{n}", f"{n}\n")
    box.ductfile(COPY)
    box.build()
    box.ran()
    return box


@pytest.mark.parametrize("part", range(10))
def test_damaged_snapshot_is_no_snapshot(built: Sandbox, part: int) -> None:
    path = built.path(".duct/snapshot")
    with open(path, "rb") as source:
        data = bytearray(source.read())
    start = 150 + (len(data) - 150) * part // 10
    for at in range(start, min(start + 40, len(data))):
        data[at] ^= 0xFF
    with open(path, "wb") as sink:
        sink.write(data)
    built.write("raw/1", "new\n")
    built.build()
    assert built.ran() == ["a 1"]
    built.nothing_to_do()


CHAIN = """
[step.a]
inputs = "i"
targets = "a"
run = '''printf 'a\\0' >> "$RUNS"; cp {input} {target}'''

[step.p]
inputs = "a"
targets = "p/*.x"
run = '''printf 'p\\0' >> "$RUNS"; for n in $(cat {input}); do echo $n > {target}/$n.x; done'''

[step.m]
inputs = "p/*.x"
targets = "m"
run = '''printf 'm\\0' >> "$RUNS"; cat {inputs} > {target}'''
"""


@pytest.fixture
def chain(box: Sandbox) -> Sandbox:
    box.write("i", "1 2\n")
    box.ductfile(CHAIN)
    box.build()
    box.ran()
    box.nothing_to_do()
    return box


def answers(box: Sandbox) -> list[str]:
    """What is said of the state by those who change nothing."""
    asked = [["status"], ["build", "-n"], ["clean", "--orphans", "-n"], ["clean", "-n"]]
    return [str(box.expect(0, *words)) for words in asked]


def remove_database(box: Sandbox) -> None:
    for path in glob.glob(box.path(".duct/trace.db*")):
        os.unlink(path)


def test_lost_database_is_a_lost_state_for_all_who_are_asked(chain: Sandbox) -> None:
    remove_database(chain)
    shutil.copytree(chain.path(".duct"), chain.path("kept"))
    told = answers(chain)
    assert told[0].count("never ran") == 3, told[0]
    assert "nothing to remove" in told[2]
    chain.remove(".duct/snapshot")
    assert told == answers(chain)
    chain.remove(".duct")
    chain.rename("kept", ".duct")
    chain.build()
    assert chain.ran() == ["a", "m", "p"]
    chain.nothing_to_do()


def test_older_database_is_not_taken_for_the_one_of_the_snapshot(chain: Sandbox) -> None:
    shutil.copy(chain.path(".duct/trace.db"), chain.path("older"))
    chain.write("i", "1 3\n")
    chain.build()
    chain.ran()
    remove_database(chain)
    shutil.copy(chain.path("older"), chain.path(".duct/trace.db"))
    shutil.copytree(chain.path(".duct"), chain.path("kept"))
    told = answers(chain)
    assert "i changed" in told[0], told[0]
    chain.remove(".duct/snapshot")
    assert told == answers(chain)
    chain.remove(".duct")
    chain.rename("kept", ".duct")
    chain.build()
    assert "a" in chain.ran()
    assert chain.read("m") == "1\n3\n"
    chain.nothing_to_do()


def test_snapshot_is_believed_where_its_token_is_in_the_log_of_writes(chain: Sandbox) -> None:
    """A reader held the database open when the build ended, or the build was killed: the file itself has an older token."""
    reader = sqlite3.connect(chain.path(".duct/trace.db"))
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM runs").fetchall()
    chain.write("i", "1 3\n")
    chain.build()
    chain.ran()
    shutil.copytree(chain.path(".duct"), chain.path("killed"))
    reader.close()
    chain.remove(".duct")
    chain.rename("killed", ".duct")
    assert os.path.getsize(chain.path(".duct/trace.db-wal")) > 0
    assert "up to date" in chain.expect(0, "status").out
    chain.nothing_to_do()
    assert not chain.exists(".duct/trace.db-wal")
    chain.nothing_to_do()


def test_lowered_max_age_is_heeded_at_once(box: Sandbox) -> None:
    text = "[step.a]\ntargets = 'x'\nmax_age = '1h'\nrun = '''printf 'a\\0' >> \"$RUNS\"; echo > {target}'''\n"
    box.ductfile(text)
    box.build()
    assert box.ran() == ["a"]
    box.ductfile(text.replace("1h", "0.2s"))
    time.sleep(0.3)
    box.build()
    assert box.ran() == ["a"]
    box.ductfile(text.replace("1h", "2h"))
    box.build()
    assert box.ran() == []


def test_coarse_times_are_doubted_through_a_second_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole-second file system: the edit comes in the second of the hashing, and keeps the stamp."""
    from miniduct.contents import Columns, Contents
    from miniduct.stores.memory import MemoryStore

    store = MemoryStore()
    store.now_ns = 5_000_000_000
    store.write("x", b"one")
    monkeypatch.setattr(time, "time_ns", lambda: 5_000_000_100)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    first = Contents(["x"], store, Columns.blank(1), None)
    assert first.fingerprint(0) is not None
    second = Contents(["new", "x"], store, first.columns.carried([-1, 0]), [0])
    second.take_over(first, {"new": 0, "x": 1}.get)
    second.settle_all()
    assert second.columns.sizes[1] == -2, "never seen: the next build hashes it"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["build", "nothing"], 'called "nothing"'),
        (["nothing"], 'called "nothing"'),
        (["accept", "nothing"], 'called "nothing"'),
        (["accept", "out/1"], "cannot accept: 1 file not there"),
        (["build", "-f", "other", "nothing"], 'called "nothing"'),
        (["build", "-f", "plan.py", "nothing"], 'called "nothing"'),
        (["build", "-f", "bad"], "reads nowhere, which does not exist"),
    ],
)
def test_a_command_that_is_refused_leaves_no_state_behind(box: Sandbox, command: list[str], told: str) -> None:
    bad = COPY + '\n[step.b]\ninputs = "nowhere"\nrun = "cat {input}"\n'
    plan = "from miniduct import PipelineBuilder, PythonStep\np = PipelineBuilder('p')\np.add_step(PythonStep(int, name='a'))\n"
    box.files({"raw/1": "1\n", "Ductfile": COPY, "other": COPY, "bad": bad, "plan.py": plan})
    before = sorted(os.listdir(box.root))
    assert told in box.expect(2, *command).err
    assert sorted(os.listdir(box.root)) == before
    box.write(".duct/mine", "mine\n")
    box.expect(2, *command)
    assert sorted(os.listdir(box.path(".duct"))) == [".gitignore", "mine"]


def test_a_command_that_is_refused_leaves_the_users_own_words_to_git(box: Sandbox) -> None:
    box.ductfile(COPY)
    box.write(".duct/.gitignore", "*\n!kept\n")
    box.expect(2, "build", "nothing")
    assert box.read(".duct/.gitignore") == "*\n!kept\n"
    assert os.listdir(box.path(".duct")) == [".gitignore"]


def test_a_command_that_is_refused_leaves_the_state_of_a_build_as_it_is(built: Sandbox) -> None:
    before = built.state()
    built.expect(2, "build", "nothing")
    assert built.state().keys() == before.keys()
    built.nothing_to_do()


def test_a_build_goes_on_beside_commands_that_are_refused(box: Sandbox) -> None:
    box.write("raw/1", "1\n")
    box.ductfile(COPY)
    for _ in range(3):
        refused = [box.start("build", "nothing") for _ in range(2)]
        built = box.start("build")
        assert [box.finish(each).code for each in refused] == [2, 2]
        assert box.finish(built).code == 0
        assert box.ran() == ["a 1"]
        box.nothing_to_do()
        assert box.exists(".duct/.gitignore")
        box.remove(".duct")
        box.remove("out")
