"""What the user may say about addresses of the web."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..patience import Patience

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Site:
    """What is sent along to addresses that begin with `prefix`, and to no others: headers, and parts of the query. The values are secrets."""

    prefix: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)

    def covers(self, address: str) -> bool:
        """Does the address begin with the prefix? A host is not the beginning of a longer one."""
        prefix, address = _plain(self.prefix), _plain(address)
        return address.startswith(prefix) and (
            prefix.endswith("/") or address[len(prefix) : len(prefix) + 1] in ("", "/", "?")
        )


@dataclass(frozen=True)
class Declared:
    """What the Ductfile says of one address. `max_age`: seconds after which it is asked again; None: in each build."""

    sha256: str | None = None
    max_age: float | None = None


@dataclass(frozen=True)
class HttpSettings:
    """The section `[stores.http]`. Times are seconds."""

    sites: tuple[Site, ...] = ()
    threads: int = 16
    """Requests at once."""
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    """Of silence."""
    deadline: float = 3600.0
    """For a transfer as a whole, all tries together."""
    least_rate: float = 100.0
    """Bytes a second, over the length of `read_timeout`: a transfer that drips more slowly is given up."""
    contact_timeout: float = 12.0
    """For the first answer of a host, with the look for its address."""
    patience: Patience = field(default_factory=Patience)


def _plain(address: str) -> str:
    """Scheme and host in small letters, as they are compared; an address of a host alone has a path all the same."""
    scheme, mark, rest = address.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme.lower()}{mark}{place.lower()}{slash}{path}"
