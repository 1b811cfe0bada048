"""What stands for the command of a step that copies: no program, only what identifies and shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..keys import HTTP
from .command import Rendered, shown_word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model import Step

COPY_WORD = "<copy>"
"""The first of the identifying words of a copy."""


class CopyTemplate:
    """A step with `copy = true`: its one target is staged like that of a command, and holds what its one input holds."""

    uses_manifest = False

    def __init__(self, step: Step) -> None:
        self._step = step

    def names(self) -> set[str]:
        """There are no placeholders."""
        return set()

    def uses(self, slot: int) -> bool:  # noqa: ARG002  there is one
        """Is this target written to its stage?"""
        return True

    def reads(self, slot: int) -> bool:
        """Is a local copy of the input needed first? Of an address of the web: its content came when it was judged, and others may read it, too."""
        return self._step.inputs[slot].text.startswith(HTTP)

    def render(self, values: Mapping[str, Any], *, shown: bool = True) -> Rendered:  # noqa: ARG002
        """What identifies the copy, and how it is told: `values` as for a command."""
        (_, (source, *_)), *_ = values["inputs"]
        (_, (target, *_)), *_ = values["targets"]
        return Rendered([], [COPY_WORD, source, target], f"copy {shown_word(source)} to {shown_word(target)}")
