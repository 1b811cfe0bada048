"""The masking of secrets in a stream, whatever pieces it comes in."""

from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from miniduct.runners.output import _Mask

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
