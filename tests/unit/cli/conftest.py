"""A project folder to stand in, and a fake engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support_cli import Engine, install

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The fake engine; the process stands in an empty folder, with no variables of duct's."""
    for name in [name for name in os.environ if name.startswith("DUCT_")]:
        monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    made = Engine(str(tmp_path))
    install(made, monkeypatch)
    return made
