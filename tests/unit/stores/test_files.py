"""Writing without a buffer."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from miniduct.stores.files import write

if TYPE_CHECKING:
    from typing import Any


class Sluggish(io.BytesIO):
    """Takes three bytes at a time, as a nearly full disk may."""

    def write(self, data: Any) -> int:
        return super().write(bytes(data[:3]))


def test_what_is_taken_in_parts_is_written_whole() -> None:
    file = Sluggish()
    write(file, b"0123456789")
    assert file.getvalue() == b"0123456789"
