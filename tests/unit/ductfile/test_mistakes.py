"""The exact words of every mistake. `mistakes.txt` beside this file holds the cases: a Ductfile, and what duct says to it.

`python tests/unit/ductfile/test_mistakes.py` writes the file anew from what is said now; read the difference before you keep it.
"""

from __future__ import annotations

import datetime
import os
import pathlib
import tempfile
from typing import TYPE_CHECKING

import pytest

from miniduct import ductfile
from miniduct.errors import DuctfileError

if TYPE_CHECKING:
    from pathlib import Path

GOLDEN = os.path.join(os.path.dirname(__file__), "mistakes.txt")
CASE, SAYS = "=== ", "--- says"


def cases() -> dict[str, tuple[str, str]]:
    """By name: a Ductfile, and the messages."""
    found: dict[str, tuple[str, str]] = {}
    with open(GOLDEN, encoding="utf-8") as file:
        for block in file.read().split(f"\n{CASE}")[1:]:
            head, _, rest = block.partition("\n")
            text, _, says = rest.partition(f"{SAYS}\n")
            assert head not in found
            found[head] = (text, says.strip("\n"))
    return found


def said(folder: Path, text: str) -> str:
    """What is said to a Ductfile; nothing where it is fine."""
    (folder / "Ductfile").write_text(text, encoding="utf-8")
    try:
        ductfile.read(
            str(folder / "Ductfile"), sets={}, environ={}, today=datetime.date(2026, 1, 5), shown_as="Ductfile"
        )
    except DuctfileError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", cases())
def test_mistakes_are_told_in_these_words(name: str, tmp_path: Path) -> None:
    text, says = cases()[name]
    assert said(tmp_path, text) == says


def rewrite(folder: Path) -> None:
    """Write the cases anew, each with what is said now."""
    with open(GOLDEN, encoding="utf-8") as file:
        parts = [file.read().split(f"\n{CASE}")[0]]
    for name, (text, _) in cases().items():
        parts.append(f"\n{CASE}{name}\n{text.rstrip()}\n{SAYS}\n{said(folder, text)}\n")
    with open(GOLDEN, "w", encoding="utf-8") as file:
        file.write("".join(parts))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        rewrite(pathlib.Path(name))
