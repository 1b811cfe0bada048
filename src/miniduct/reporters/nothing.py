"""What a build says that had nothing to do: on the quick path and on the long one. Imports next to nothing."""

from __future__ import annotations

from ..text import count, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_FEW = 3


def nothing_text(jobs: int, targets: Sequence[str] = ()) -> str:
    """`nothing to do (1,781 jobs up to date)`; where targets were named, that they are."""
    if not targets:
        return f"nothing to do ({count(jobs, 'job')} up to date)"
    if len(targets) == 1:
        return f"nothing to do: {shown(targets[0])} is up to date"
    named = ", ".join(map(shown, targets)) if len(targets) <= _FEW else count(len(targets), "target")
    return f"nothing to do: {named} are up to date"
