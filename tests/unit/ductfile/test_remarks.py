"""Warnings: said where another reading is the likelier one, and only there."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from miniduct import ductfile

if TYPE_CHECKING:
    from pathlib import Path


def remarks(folder: Path, text: str) -> list[tuple[str, ...]]:
    (folder / "Ductfile").write_text(text, encoding="utf-8")
    project = ductfile.read(
        str(folder / "Ductfile"), sets={}, environ={}, today=datetime.date(2026, 1, 5), shown_as="Ductfile"
    )
    return [(what, *facts) for what, facts in project.warnings]


def test_a_misspelt_var_is_told_from_a_wildcard(tmp_path: Path) -> None:
    text = (
        '[vars]\nbucket = "b"\n[step.a]\ninputs = ["{buckt}/{name}.csv", "{bucket}"]\ntargets = "o/{name}"\nrun = "x"\n'
    )
    what = 'Ductfile:4: {buckt} in "inputs" of step "a" is a wildcard that matches every name'
    assert remarks(tmp_path, text) == [(what, "did you mean {bucket}?")]


@pytest.mark.parametrize(
    "step",
    [
        'inputs = "{month}{day}.csv"\ntargets = "o/{month}"\n',
        'inputs = ["{days}.csv", "{bucket}"]\ntargets = "o/{days}"\n',
        'inputs = "{n}.csv"\ntargets = "o"\n',
    ],
)
def test_other_wildcards_are_left_alone(step: str, tmp_path: Path) -> None:
    text = f'[vars]\nday0 = "b"\nm = "x"\nbucket = "{{day0}}{{m}}"\n[step.a]\n{step}run = "x {{bucket}}"\n'
    assert not remarks(tmp_path, text)


def test_a_var_that_nothing_uses_is_told(tmp_path: Path) -> None:
    text = '[vars]\na = "1"\nb = "{a}"\nc = "3"\nd = "4"\n[step.x]\nparams = { p = "{c}" }\nrun = "echo {d}"\n'
    assert remarks(tmp_path, text) == [("Ductfile:3: the var {b} is never used",)]


@pytest.mark.parametrize(
    ("run", "what", "fact"),
    [
        ("cp ${input} x", "${input} in {run} is a variable of the shell", "for duct's, write {input}"),
        ("cp ${inputs[0]} x", "${inputs[0]} in {run} is a variable of the shell", "for duct's, write {inputs[0]}"),
        ("echo ${params.x}", "${params.x} in {run} is a variable of the shell", "for duct's, write {params.x}"),
        ("echo ${day}", "${day} in {run} is a variable of the shell", "for duct's, write {day}"),
        ("cp $< x", "$< in {run} means nothing here", "write {input}"),
        ("x > $@", "$@ in {run} means nothing here", "write {target}"),
        ("cat $^ > x", "$^ in {run} means nothing here", "write {inputs}"),
    ],
)
def test_placeholders_of_others_are_told(run: str, what: str, fact: str, tmp_path: Path) -> None:
    text = f"[step.a]\ninputs = '{{day}}.csv'\ntargets = 'o/{{day}}'\nrun = '{run}'\n"
    assert remarks(tmp_path, text) == [(f"Ductfile:4: {what}".replace("{run}", '"run" of step "a"'), fact)]


@pytest.mark.parametrize(
    "run",
    [
        "for input in a b; do echo ${input}; done",
        "day=3; echo ${day}",
        "while read -r day; do echo ${day}; done < {input}",
        "echo ${SET} ${HOME} ${day:-x}",
        'f() { cp "$@"; }; f a b',
        'cp {input} "$@"',
    ],
)
def test_variables_of_the_shell_are_left_alone(run: str, tmp_path: Path) -> None:
    text = f"[step.a]\nenv = {{ SET = 'x' }}\ninputs = '{{day}}.csv'\ntargets = 'o/{{day}}'\nrun = '''{run}'''\n"
    assert not remarks(tmp_path, text)


def test_signs_of_a_shell_in_a_list_of_words_are_told(tmp_path: Path) -> None:
    what = 'Ductfile:2: "run" of step "a" is a list of words, and > is one of them, not the sign of a shell'
    assert remarks(tmp_path, '[step.a]\nrun = ["cat", "a", ">", "b"]\n') == [(what, 'for a shell, write run = "…"')]
    assert not remarks(tmp_path, '[step.a]\nrun = ["cut", "-d", "|", "a"]\n')
