"""The local file at this end of a transfer: its errors are none of the network's."""

from __future__ import annotations

from typing import BinaryIO

from ..errors import StoreError
from ..text import shown
from .local import reason


def opened(path: str, mode: str) -> BinaryIO:
    """The file, without a buffer where it is written; StoreError with the system's reason."""
    try:
        return open(path, mode, buffering=0 if "w" in mode else -1)  # type: ignore[return-value]
    except OSError as error:
        raise failed("write" if "w" in mode else "read", path, error) from None


def write(file: BinaryIO, data: bytes) -> None:
    """All of the data: a file without a buffer may take a part only. OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def failed(verb: str, path: str, error: OSError) -> StoreError:
    """`cannot VERB PATH: the system's reason`."""
    return StoreError(f"cannot {verb} {shown(path)}: {reason(error)}")
