"""File names are data: through every kind of step, nothing in them is executed or lost."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Sandbox

NAMES = [
    "with space",
    " leading and trailing ",
    "single'quote",
    'double"quote',
    "new\nline",
    "tab\tname",
    "$(touch HACKED)",
    "`touch HACKED`",
    "; touch HACKED;",
    "&& touch HACKED",
    "|touch HACKED",
    "$HOME",
    "${HOME}",
    "-rf",
    "--help",
    "*",
    "?",
    "[ab]",
    "{day}",
    "{{x}}",
    "}{",
    "back\\slash",
    "trailing\\",
    "!history!",
    "#hash",
    "~tilde",
    "a=b",
    "%s %d",
    "über straße",
    "日本語",
    "e\u0301 and \u00e9",
    "\N{RIGHT-TO-LEFT OVERRIDE}evil",
    "\udcff\udcfe not utf-8",
    "\x1b[31mred",
    "step:clean",
    "CON",
]


@pytest.fixture
def hostile(box: Sandbox) -> Sandbox:
    for number, name in enumerate(NAMES):
        box.write(f"raw/{name}.csv", f"{number}\n")
    # A name that begins with a dash at the root itself.
    box.write("-n", "dash\n")
    return box


def check(box: Sandbox, folder: str, ending: str = ".csv") -> None:
    """Every file has come through, and nothing was executed."""
    assert not any("HACKED" in names for _, names, _ in walk(box)), "something in a name was executed"
    found = {name: box.read(os.path.join(folder, name)) for name in os.listdir(box.path(folder))}
    assert found == {f"{name}{ending}": f"{number}\n" for number, name in enumerate(NAMES)}
    assert box.read("-n") == "dash\n"


def walk(box: Sandbox) -> list[tuple[str, list[str], list[str]]]:
    return [(folder, [*names, *folders], folders) for folder, folders, names in os.walk(box.home)]


STEPS = {
    "direct execution": 'run = "cp {input} {target}"',
    "shell": 'run = "cat {input} | cat > {target}"',
    "argv": 'run = ["cp", "{input}", "{target}"]',
    "in single quotes": "run = \"cat '{input}' > '{target}'\"",
    "in double quotes": 'run = \'cat "{input}" > "{target}"\'',
    "the wildcard itself": "run = 'cat raw/{n}.csv > {target}'",
    "the wildcard in double quotes": 'run = \'cat "raw/{n}.csv" > "{target}"\'',
    "the wildcard in single quotes": "run = \"cat 'raw/{n}.csv' > {target}\"",
    "as an assignment": 'run = \'from={input} to={target}; cat "$from" > "$to"\'',
    "nested shell": "run = ['sh', '-c', 'cat \"$1\" > \"$2\"', 'sh', '{input}', '{target}']",
    "a direct target": "run = 'mkdir -p out; cat {input} > out/{n}.csv'",
    "sh": "run = 'cat {input} > {target}'\nshell = 'sh -eu -c'",
    "manifest": (
        """run = ['python3', '-c', 'import json, sys; job = json.loads(open(sys.argv[1], encoding="utf-8", """
        """errors="surrogateescape").readline()); open(job["targets"][0], "w").write(open(job["inputs"][0]).read())', '{manifest}']"""
    ),
}


@pytest.mark.parametrize("run", STEPS.values(), ids=STEPS.keys())
def test_names_come_through_unharmed(hostile: Sandbox, run: str) -> None:
    hostile.ductfile(f"[step.clean]\ninputs = 'raw/{{n}}.csv'\ntargets = 'out/{{n}}.csv'\n{run}\n")
    hostile.build()
    check(hostile, "out")
    hostile.build()
    for args in (["status"], ["status", "--json"], ["list", "--jobs"], ["graph", "--jobs"], ["build", "-n", "-B"]):
        assert "\x1b[31m" not in (hostile.expect(0, *args).out), "a name must not reach the terminal as an escape"


def test_names_come_through_a_collecting_step(hostile: Sandbox) -> None:
    hostile.ductfile(
        """
        [step.glob]
        inputs = "raw/*.csv"
        targets = "glob.txt"
        run = "cat {inputs} > {target}"

        [step.quoted]
        inputs = "raw/*.csv"
        targets = "list.json"
        run = ["python3", "-c", "import json, sys; json.dump(sys.argv[2:], open(sys.argv[1], 'w'))", "{target}", "{inputs}"]

        [step.collected]
        inputs = "raw/{n}.csv"
        targets = "collected.txt"
        run = "cat {inputs} > {target}"

        [step.dash]
        inputs = "-n"
        targets = "dash.txt"
        run = "cat {input} > {target}"
        """
    )
    hostile.build()
    everything = sorted(f"{number}\n" for number in range(len(NAMES)))
    assert sorted(hostile.read("glob.txt").splitlines(keepends=True)) == everything
    assert sorted(hostile.read("collected.txt").splitlines(keepends=True)) == everything
    assert sorted(json.loads(hostile.read("list.json"))) == sorted(f"raw/{name}.csv" for name in NAMES)
    assert hostile.read("dash.txt") == "dash\n"
    check(hostile, "raw")


def test_names_come_through_dynamic_and_folder_targets(hostile: Sandbox) -> None:
    hostile.ductfile(
        """
        [step.split]
        inputs = "raw/*.csv"
        targets = "parts/*.csv"
        run = "cp -- {inputs} {target}"

        [step.again]
        inputs = "parts/{n}.csv"
        targets = "again/{n}.csv"
        run = "cp {input} {target}"

        [step.folder]
        inputs = "raw/*.csv"
        targets = "folder/"
        run = "mkdir -p {target} && cp -- {inputs} {target}"
        """
    )
    hostile.build()
    check(hostile, "parts")
    check(hostile, "again")
    check(hostile, "folder")
    hostile.build()
    result = hostile.build()
    assert "nothing to do" in result.err


def test_names_are_folders_of_dynamic_targets(hostile: Sandbox) -> None:
    hostile.files({"raw/[x.csv": "left", "raw/[!a].csv": "not"})
    hostile.ductfile(
        """
        [step.dyn]
        inputs = "raw/{n}.csv"
        targets = "p/{n}/*.p"
        run = "cp -- {input} {target}/x.p"

        [step.direct]
        inputs = "raw/{n}.csv"
        targets = "q/{n}/*.p"
        run = "find q -name '*.none'; cp -- {input} q/{n}/x.p"

        [step.after]
        inputs = "p/{n}/{m}.p"
        targets = "u/{n}/{m}.u"
        run = "cp -- {input} {target}"
        """
    )
    hostile.build()
    for name in [*NAMES, "[x", "[!a]"]:
        raw = hostile.read(f"raw/{name}.csv")
        assert [hostile.read(made) for made in (f"p/{name}/x.p", f"q/{name}/x.p", f"u/{name}/x.u")] == [raw] * 3
    assert "nothing to do" in hostile.build().err


def test_a_glob_that_was_not_made_is_called_as_the_user_calls_it(box: Sandbox) -> None:
    box.write("raw/[z].txt")
    box.ductfile(
        """
        [step.dyn]
        inputs = "raw/{n}.txt"
        targets = "p/{n}/*.p"
        run = "test -d {target}"
        """
    )
    assert "ended well but did not make p/[z]/*.p" in box.expect(1, "build").err


def test_values_of_foreach_params_vars_and_env_are_data(box: Sandbox) -> None:
    box.ductfile(
        r"""
        [vars]
        word = "$(touch HACKED) 'x' \"y\""

        [step.each]
        foreach = { name = ["a b", "$(touch HACKED)", "quote'd", "-n"] }
        targets = "out/{name}"
        params = { text = "; touch HACKED; \"'" }
        env = { GREETING = "$(touch HACKED)" }
        run = "printf '%s|' {name} {params.text} {word} \"$GREETING\" > {target}"
        """
    )
    box.build()
    assert not box.exists("HACKED")
    for name in ["a b", "$(touch HACKED)", "quote'd", "-n"]:
        expected = [name, "; touch HACKED; \"'", "$(touch HACKED) 'x' \"y\"", "$(touch HACKED)", ""]
        assert box.read(f"out/{name}").split("|") == expected


def test_failure_of_a_hostile_name_gives_a_command_that_can_be_repeated(box: Sandbox) -> None:
    box.write("raw/a 'b' $(touch HACKED)\n.csv", "1\n")
    box.ductfile(
        "[step.x]\ninputs = 'raw/{n}.csv'\ntargets = 'out/{n}.csv'\nrun = 'grep -c nothing {input} > {target}'\n"
    )
    result = box.expect(1, "build")
    assert not box.exists("HACKED")
    assert "x[" in result.err


def test_cleaning_and_asking_take_hostile_names(hostile: Sandbox) -> None:
    hostile.ductfile("[step.clean]\ninputs = 'raw/{n}.csv'\ntargets = 'out/{n}.csv'\nrun = 'cp {input} {target}'\n")
    hostile.build()
    for name in NAMES[::4]:
        hostile.expect(0, "why", f"./out/{name}.csv")
    hostile.expect(0, "clean", "-y")
    assert not hostile.exists("out") or os.listdir(hostile.path("out")) == []
    check(hostile, "raw")
