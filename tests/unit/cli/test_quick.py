"""The quick path: what it answers by itself, and what it leaves to the long one."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from miniduct.cli.quick import _VERBS, quick
from miniduct.cli.verbs import VERBS

if TYPE_CHECKING:
    from pathlib import Path

    from support_cli import Engine


class Check:
    """A fake of the fast check."""

    def __init__(self) -> None:
        self.outcome = "same"
        self.asked: list[tuple[Any, ...]] = []

    def __call__(self, *facts: Any, named: bool) -> Any:
        self.asked.append(facts)
        self.named = named
        return SimpleNamespace(
            outcome=self.outcome,
            snapshot=SimpleNamespace(
                header={"jobs": 2000, "default_jobs": 1781, "orphans": 0, "steps": ["tidy"]}, names=["raw/a.csv", "x"]
            ),
        )


@pytest.fixture
def check(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    assert not engine.asked
    fake = Check()
    module = ModuleType("miniduct.trace.check")
    module.check = fake  # type: ignore[attr-defined]
    module.keep = lambda *_: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "miniduct.trace.check", module)
    (tmp_path / "Ductfile").touch()
    (tmp_path / ".duct").mkdir()
    (tmp_path / ".duct" / "snapshot").touch()
    (tmp_path / "raw").mkdir()
    return fake


NOTHING = "duct: nothing to do (1,781 jobs up to date)\n"


@pytest.mark.parametrize(
    "words", ["", "build", "-j 4", "-j4 -k", "build --jobs=2 --keep-going --no-wait", "-C raw", "-f Ductfile", "-f ."]
)
def test_a_plain_build_with_nothing_to_do_is_answered(
    words: str, check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick(words.split()) == 0
    assert capsys.readouterr().err == NOTHING
    assert check.asked[0][:2] == (".duct", ())


def test_quiet_says_nothing(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick(["-q"]) == 0
    assert capsys.readouterr().err == ""
    assert check.asked


def test_vars_that_are_set_are_compared(check: Check) -> None:
    quick(["--set", "a=1", "--set=b=2", "--set", "a=3"])
    assert check.asked[0][1] == (("a", "3"), ("b", "2"))


@pytest.mark.parametrize(
    "words",
    [
        "status",
        "-n",
        "-B",
        "out/*",
        "tag:x",
        "../x",
        "-v",
        "--json",
        "-j 0",
        "-j x",
        "-j",
        "--set a",
        "-f nothing",
        "-C nowhere",
    ],
)
def test_whatever_is_not_plain_is_left_to_the_long_path(words: str, check: Check) -> None:
    assert quick(words.split()) is None
    assert not check.asked


def test_the_process_stands_where_it_stood_if_something_is_to_do(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    check.outcome = "differs"
    monkeypatch.chdir(tmp_path / "raw")
    assert quick([]) is None
    assert check.asked
    assert os.getcwd() == str(tmp_path / "raw")


def test_another_ductfile_has_a_state_of_its_own(check: Check, tmp_path: Path) -> None:
    (tmp_path / "Ductfile.other").touch()
    assert quick(["-f", "Ductfile.other"]) is None
    (tmp_path / ".duct" / "ductfiles" / "Ductfile.other").mkdir(parents=True)
    (tmp_path / ".duct" / "ductfiles" / "Ductfile.other" / "snapshot").touch()
    assert quick(["-f", "Ductfile.other"]) == 0
    assert check.asked[0][0] == ".duct/ductfiles/Ductfile.other"


@pytest.mark.parametrize(("variable", "plain"), [("DUCT_JOBS", True), ("DUCT_FORCE", False), ("DUCT_VERBOSE", False)])
def test_variables_that_matter_are_left_to_the_long_path(
    variable: str, plain: bool, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    assert quick([]) == (0 if plain else None)
    assert bool(check.asked) == plain


def test_without_a_project_the_long_path_says_so(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Ductfile").unlink()
    assert quick([]) is None
    assert not check.asked
    assert monkeypatch


def test_the_quick_path_imports_nothing_slow() -> None:
    import subprocess

    code = (
        "import sys; before = set(sys.modules)\n"
        "from miniduct.cli import main; from miniduct.cli.quick import quick; import miniduct.reporters.nothing\n"
        "slow = {'argparse', 'json', 're', 'dataclasses', 'enum', 'rich', 'typing', 'shtab'} & (set(sys.modules) - before)\n"
        "sys.exit(' '.join(sorted(slow)) or 0)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": _source()}, check=False)
    assert done.returncode == 0


def _source() -> str:
    import os

    import miniduct

    return os.path.dirname(os.path.dirname(str(miniduct.__file__)))


@pytest.mark.parametrize(
    ("words", "known"), [("tidy", True), ("build x", True), ("raw/a.csv tidy", True), ("y", False)]
)
def test_targets_that_are_known_are_up_to_date_as_all_others_are(
    words: str, known: bool, check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick(words.split()) == (0 if known else None)
    assert check.asked
    assert ("up to date" in capsys.readouterr().err) == known


def test_targets_are_seen_from_where_the_user_stands(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert quick(["-C", "raw", "a.csv"]) == 0
    monkeypatch.chdir(tmp_path / "raw")
    assert quick(["a.csv"]) == 0
    monkeypatch.chdir(tmp_path / "raw")
    assert quick(["x"]) is None
    assert check.asked


def test_every_verb_is_known_to_be_none_of_the_targets() -> None:
    assert set(VERBS) == {*_VERBS, "build"}
