"""The masking of secrets in a stream, whatever pieces it comes in; logs and what was said."""

from __future__ import annotations

import itertools
import os
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniduct.runners.output import Outputs, _Mask

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = st.text(alphabet="ab", max_size=30).map(str.encode)
SECRETS = st.lists(st.text(alphabet="ab", max_size=5).map(str.encode), max_size=3)


@given(TEXTS, SECRETS, st.lists(st.integers(0, 30), max_size=6))
def test_pieces_do_not_matter(text: bytes, secrets: list[bytes], cuts: list[int]) -> None:
    mask = _Mask(secrets)
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    masked = b"".join(mask.feed(text[a:b]) for a, b in itertools.pairwise(ends)) + mask.rest()
    real = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
    whole = re.sub(b"|".join(map(re.escape, real)), b"***", text) if real else text
    assert masked == whole


@pytest.mark.parametrize("former", [(), ("a.log",), ("b.log",), ("a.log", "b.log")], ids=",".join)
@pytest.mark.parametrize("folder", ["logs", "logs/step", "elsewhere"])
def test_there_is_a_log_exactly_if_there_was_output(tmp_path: Path, folder: str, former: tuple[str, ...]) -> None:
    place = tmp_path / folder
    for name in former:
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("former")
    outputs = Outputs(f"{tmp_path}/logs")
    for name, said in (
        ("a", ""),
        ("b", ""),
        ("a", "text"),
        ("a", ""),
        ("b", "more"),
        ("b", "again"),
        ("a", ""),
        ("b", ""),
    ):
        output, log = outputs.take(masked=False), place / f"{name}.log"
        os.write(output.fd, said.encode())
        assert outputs.finish(output, str(log), append=False, mask=(), busy=False) == len(said)
        assert (log.read_text() if log.exists() else "") == said
    outputs.close()
    assert not list(tmp_path.rglob("*.log"))
