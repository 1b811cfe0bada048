"""The completion of bash, asked as bash asks it."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from miniduct.cli.completing import script

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("build cle", {"clean"}),
        ("why rep", {"report"}),
        ("build raw/", {"raw/a.csv"}),
        ("mer", {"merge", "merx"}),
        ("sta", {"status"}),
        ("--color ", {"auto", "always", "never"}),
        ("build --output pre", {"prefix"}),
        ("completion ", {"bash", "zsh", "fish", "tcsh"}),
        ("-C r", {"raw"}),
        ("build --for", {"--force"}),
    ],
)
def test_bash_completes_targets_values_and_files(words: str, completed: set[str], tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.csv").touch()
    (tmp_path / "merx").touch()
    asked = f"""{script("bash")}
duct() {{ printf '%s\\0' clean merge report; }}
COMP_WORDS=(duct {words.rsplit(" ", 1)[0] if " " in words else ""} "{words.rsplit(" ", 1)[-1]}")
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_duct 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(done.stdout.split("\n")) - {""} == completed


@pytest.mark.parametrize(
    ("shell", "part"), [("zsh", "_duct_target_files"), ("fish", "duct list -0"), ("tcsh", "always")]
)
def test_other_shells_get_targets_or_values_too(shell: str, part: str) -> None:
    assert part in script(shell)
