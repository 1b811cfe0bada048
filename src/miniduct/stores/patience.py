"""Trying again: how often, after how long, and for how long in all. Each new try is told.

Waits double, and are drawn at random between half and all of that, so that many clients do not come back together. A wait that the
store asks for is kept and is not counted. A host that was never reached gets less time: then the network is down, and the user waits.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..tuples import NamedTuple
from .refusals import Case, Fault, refused

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_ASKED_FOR = 60.0
"""Seconds of a wait that a store may ask for; it may ask for more, and is asked again after these."""


class Retry(NamedTuple):
    """A new try: number `attempt` (the second is 2), in `wait` seconds, and why."""

    key: str
    verb: str
    attempt: int
    wait: float
    reason: str


@dataclass(frozen=True)
class Patience:
    """Seconds. `total`: from the first failure on; `contact`: the same where the host was never reached; `first`, `most`: a single wait."""

    total: float = 30.0
    contact: float = 8.0
    first: float = 0.5
    most: float = 8.0
    tries: int = 8


class Effort:
    """The tries of one operation.

    `pause` waits so many seconds and tells whether to give up instead; `reached` tells whether the host ever answered.
    """

    def __init__(
        self,
        verb: str,
        key: str,
        patience: Patience,
        *,
        tell: Callable[[Retry], None],
        pause: Callable[[float], bool],
        reached: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.verb, self.key, self.patience = verb, key, patience
        self._tell, self._pause, self._reached, self._clock = tell, pause, reached, clock
        self._began = clock()
        self._since: float | None = None
        self._failed = 0
        self._asked = 0.0

    def renew(self) -> None:
        """Something was achieved: what failed before does not count any more."""
        self._since, self._failed, self._asked = None, 0, 0.0

    def again(self, fault: Fault) -> None:
        """Wait until the next try; StoreError where there is to be none."""
        now = self._clock()
        if self._since is None:
            self._since = now
        self._failed += 1
        if not fault.again or self._failed >= self.patience.tries:
            raise refused(self.verb, self.key, fault)
        if fault.after is not None:
            wait = min(max(fault.after, 0.0), MOST_ASKED_FOR)
            self._asked += wait
        else:
            wait = min(self.patience.most, self.patience.first * 2 ** (self._failed - 1)) * random.uniform(0.5, 1)
            first_contact = fault.unreachable and not self._reached()
            limit = self.patience.contact if first_contact else self.patience.total
            if now - (self._began if first_contact else self._since) - self._asked + wait > limit:
                raise refused(self.verb, self.key, fault)
        self._tell(Retry(self.key, self.verb, self._failed + 1, wait, fault.reason))
        if self._pause(wait):
            raise refused(self.verb, self.key, Fault(Case.STOPPED, {}))
