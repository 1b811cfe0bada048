"""What a remote store's refusal means for the user: one table from the case to the reason and the next move.

The stores find out which case it is, from whatever their libraries raise; the words are all here. Nothing here is imported from those libraries.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ..errors import StoreError
from ..text import escaped, shown
from ..tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_MESSAGE = 300
"""Letters of a service's own message that are shown."""


class Case(Enum):
    """Why a store does not do what it was asked for."""

    NO_CREDENTIALS = "no credentials"
    BAD_CREDENTIALS = "bad credentials"
    NOT_ACCEPTED = "not accepted"
    DENIED = "denied"
    NOT_ALLOWED = "not allowed"
    NO_BUCKET = "no bucket"
    NO_OBJECT = "no object"
    REQUESTER_PAYS = "requester pays"
    RETAINED = "retained"
    QUOTA = "quota"
    UNREACHABLE = "unreachable"
    SILENT = "silent"
    BROKEN_OFF = "broken off"
    UNAVAILABLE = "unavailable"
    CERTIFICATE = "certificate"
    PROXY = "proxy"
    WRONG_BYTES = "wrong bytes"
    TOO_SLOW = "too slow"
    BAD_KEY = "bad key"
    STOPPED = "stopped"
    OTHER = "other"


TABLE: dict[Case, tuple[str, str | None]] = {
    Case.NO_CREDENTIALS: (
        "there are no credentials for Google Cloud",
        'log in with "gcloud auth application-default login", or name a key file as credentials in [stores.gcs]',
    ),
    Case.BAD_CREDENTIALS: (
        "the credentials cannot be used: {message}",
        'log in again with "gcloud auth application-default login", or check the key file',
    ),
    Case.NOT_ACCEPTED: (
        "{where} does not accept the credentials (answer {status})",
        "check the credentials for {where}",
    ),
    Case.DENIED: ("permission denied{who}", "grant {permission} on {where}"),
    Case.NOT_ALLOWED: (
        "{where} does not allow it (answer {status})",
        "give it the header that it wants in [stores.http], from secrets",
    ),
    Case.NO_BUCKET: ("there is no bucket {where}", "create the bucket, or correct its name"),
    Case.NO_OBJECT: ("there is no such object", "check the address"),
    Case.REQUESTER_PAYS: (
        "the bucket {where} lets the one who asks pay",
        "name the project to be charged as user_project of {where} in [stores.gcs]",
    ),
    Case.RETAINED: (
        "the bucket {where} does not let the object be changed yet: {message}",
        "wait until its retention is over, or write to another name",
    ),
    Case.QUOTA: (
        "{where} refuses more requests for now: {message}",
        "build again later, or ask for a higher quota",
    ),
    Case.UNREACHABLE: (
        "{where} cannot be reached: {message}",
        "check the network; with --offline the last known state counts",
    ),
    Case.SILENT: ("{where} does not answer", "check the network, or build again later"),
    Case.BROKEN_OFF: ("the connection to {where} broke off", "build again"),
    Case.UNAVAILABLE: ("{where} answers {status}: {message}", "build again later"),
    Case.CERTIFICATE: (
        "the certificate of {where} is not trusted: {message}",
        "if it is that of your own network, set REQUESTS_CA_BUNDLE to the file of its authority",
    ),
    Case.PROXY: ("the proxy on the way to {where} does not let it pass", "check HTTPS_PROXY and NO_PROXY"),
    Case.WRONG_BYTES: ("what arrived is not what {where} holds: {message}", "build again"),
    Case.TOO_SLOW: ("it took too long: {message}", "build again, or allow more time in [stores.http]"),
    Case.BAD_KEY: ("{message}", "correct the key"),
    Case.STOPPED: ("the build has ended", None),
    Case.OTHER: ("{where} answers {status}: {message}", None),
}


class Fault(NamedTuple):
    """A refusal, understood.

    `again`: trying again may help, in `after` seconds if the store said so; `anew`: but only from the beginning. `unreachable`: nobody was
    there at all.
    """

    case: Case
    facts: Mapping[str, str]
    again: bool = False
    after: float | None = None
    unreachable: bool = False
    anew: bool = False

    @property
    def reason(self) -> str:
        """The part of a sentence that says why."""
        return TABLE[self.case][0].format_map(_Facts(self.facts))

    @property
    def hint(self) -> str | None:
        """The next move."""
        hint = TABLE[self.case][1]
        return None if hint is None else hint.format_map(_Facts(self.facts))


class _Facts(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return ""


class Changed(StoreError):
    """What was to be read is not there any more, or is another by now: to be judged again."""


class ForeignWrite(StoreError):
    """Somebody else wrote the object since it was judged; nothing was overwritten. Generations are 0 where there was nothing."""

    def __init__(self, verb: str, key: str, expected: int, found: int) -> None:
        super().__init__(
            f"cannot {verb} {shown(key)}: somebody else changed it meanwhile",
            facts=[f"expected {_generation(expected)}, found {_generation(found)}; nothing was overwritten"],
            hint="build again: the object that is there now is then judged",
        )
        self.key, self.expected, self.found = key, expected, found


def refused(verb: str, key: str, fault: Fault) -> StoreError:
    """`cannot VERB KEY: the reason`, with the next move."""
    return StoreError(f"cannot {verb} {shown(key)}: {fault.reason}", hint=fault.hint)


def changed(verb: str, key: str) -> Changed:
    """The error for what was there when it was judged."""
    return Changed(
        f"cannot {verb} {shown(key)}: it was changed or removed since it was judged",
        hint="build again: what is there now is then judged",
    )


def message(text: str) -> str:
    """A service's own words, on one line, cut where they are long."""
    line = escaped(" ".join(text.split()).rstrip("."))
    return line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + "…"


def _generation(number: int) -> str:
    return f"generation {number}" if number else "no object"
