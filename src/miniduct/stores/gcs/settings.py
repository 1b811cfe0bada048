"""What the user may say about Google Cloud Storage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..patience import Patience

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class GcsSettings:
    """The section `[stores.gcs]`. Times are seconds."""

    project: str | None = None
    credentials: str | None = None
    """Path of a key file; None: the default credentials of the machine or the user."""
    endpoint: str | None = None
    """Address of another service that speaks the same protocol, with its scheme; it is asked without credentials unless a file is named."""
    user_projects: Mapping[str, str] = field(default_factory=dict)
    """The project that is charged, by bucket, where the bucket lets the one who asks pay."""
    threads: int = 32
    """Requests at once."""
    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    """Of silence."""
    contact_timeout: float = 14.0
    """For the first answer of all, with the look for credentials, which can take 12 of these, and the names of hosts, which could take minutes."""
    patience: Patience = field(default_factory=Patience)
