"""Fixtures for the tests from outside: a sandbox, a sandbox that belongs to nobody, the real input."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support import Sandbox, can_lose_rights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-golden", action="store_true", help="write what duct says now into tests/golden")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandbox]:
    """A fresh project folder; whatever was started in it is ended afterwards."""
    sandbox = Sandbox(str(tmp_path))
    yield sandbox
    sandbox.kill_everything()


@pytest.fixture
def modest_box(box: Sandbox) -> Iterator[Sandbox]:
    """A sandbox in which permissions count: for root, commands have to be run with `without_rights=True`."""
    if not can_lose_rights():
        pytest.skip("permissions do not apply to root, and setpriv cannot give up its privileges here")
    yield box
    for folder, folders, _ in os.walk(box.root):
        for name in [".", *folders]:
            os.chmod(os.path.join(folder, name), 0o755)


@pytest.fixture(scope="session")
def italy() -> str:
    """The folder of the real input, to be copied from."""
    data = os.environ.get("DUCT_TEST_DATA")
    if not data:
        pytest.skip("DUCT_TEST_DATA is not set")
    folder = os.path.join(data, "italy-regions")
    if not os.path.isdir(folder):
        pytest.skip(f"{folder} is not there")
    return folder
