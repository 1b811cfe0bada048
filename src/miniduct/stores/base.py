"""The store protocol: where keys live. What a key's content is, what it is called, and how a listing looks; never what it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..model import Stamp


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    is_dir: bool


class Store(Protocol):
    """Local files, their twin in memory, and remote keys beside them. Errors other than absence are StoreError with the system's reason."""

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

    def matches(self, prefix: str, *, deep: bool) -> Sequence[str]:
        """The remote keys that begin with the prefix, sorted; without `deep`, only those with no further slash. Files have no such listing."""

    def ask(self, keys: Iterable[str]) -> None:
        """These remote keys will be looked at: find out about all of them with as few requests as may be. StoreError."""


class Found(NamedTuple):
    """A key that is there. `marks` are the metadata that duct wrote with this very content; empty where there are none to be trusted."""

    key: str
    stamp: Stamp
    marks: Mapping[str, str]


class RemoteStore(Protocol):
    """A store that is far away: each question costs a round trip, so many are asked at once. All methods may be called from many threads.

    Errors other than absence are StoreError, with the next move. What may pass is tried again before that.
    """

    def stats(self, keys: Sequence[str]) -> list[Found | None]:
        """What is there of many keys, in their order, with as few requests as may be."""

    def stat(self, key: str) -> Stamp | None:
        """The key's stamp; None where nothing is there."""

    def fingerprint(self, key: str) -> bytes | None:
        """What identifies the content that is there (32 bytes); None where nothing is."""

    def identity(self, stamp: Stamp) -> bytes:
        """What identifies the content that a stamp tells of (32 bytes), without a request."""

    def matches(self, prefix: str, deep: bool = True) -> Iterator[Found]:
        """All keys that begin with the prefix, sorted; without `deep` those only that have no further slash behind it. None ends in a slash."""

    def fetch(self, key: str, stamp: Stamp, path: str) -> None:
        """Write the content that the stamp tells of to `path`, whole and checked; Changed where something else, or nothing, is there by now.

        After an error the file at `path` is of no use.
        """

    def publish(self, path: str, key: str, expected: Stamp | None, marks: Mapping[str, str]) -> Stamp:
        """Put the file in place of what is expected to be there (None: nothing), with marks; the stamp of what is there then.

        ForeignWrite where something else is there: nothing was done.
        """

    def copy(self, source: str, stamp: Stamp, key: str, expected: Stamp | None, marks: Mapping[str, str]) -> Stamp:
        """As `publish`, from another key of this store, at its stamp; Changed where that is not there any more."""

    def remove(self, key: str, stamp: Stamp) -> bool:
        """Remove what the stamp tells of. Is it gone? False where something else is there."""

    def close(self) -> None:
        """Give back connections; what is still under way ends with an error."""
