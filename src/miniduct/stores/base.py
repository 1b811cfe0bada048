"""The store protocol: where keys live. What a key's content is, what it is called, and how a listing looks; never what it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ..model import Stamp


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    is_dir: bool


class Store(Protocol):
    """Local files, and their twin in memory. Errors other than absence are StoreError with the system's reason."""

    def stat(self, key: str) -> Stamp | None:
        """The key's stamp, following symbolic links; None where nothing is there.

        A key that ends in a slash is a folder as a whole: its stamp sums up all stamps below it. For a key without that slash a folder
        is None too (a folder is not a file).
        """

    def fingerprint(self, key: str) -> bytes | None:
        """BLAKE3 digest of the content (32 bytes); of a folder key: of the sorted relative names and digests below it. None: not there."""

    def names(self, folder: str) -> list[str] | None:
        """The names directly in a folder, whatever they are: quicker than `list`. None where there is no such folder."""

    def list(self, folder: str) -> list[Entry] | None:
        """The names directly in a folder ("" is the root), in no order; None where there is no such folder."""

    def folder_stamp(self, folder: str) -> Stamp | None:
        """Stamp of the folder's own listing: changes when a name comes or goes. None where there is no such folder."""
