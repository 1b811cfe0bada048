"""From a Python step's object and a job's values to what the object is given, and to the words that identify it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model import Work
from ..template import parse
from .base import Invocation
from .command import Rendered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model import Step

BODY_WORD = "<object>"
"""The first of the identifying words of a Python object."""


class BodyTemplate:
    """A step's object before the values of a job are known."""

    uses_manifest = False

    def __init__(self, step: Step) -> None:
        if step.body is None:
            raise ValueError(f"step {step.name} has no object")
        self._body = step.body
        slots = step.targets or step.inputs
        named = [parse(slot.text, is_key=True).placeholders for slot in slots if "{" in slot.text]
        self._names = [each.name for placeholders in named for each in placeholders]
        self._names += [name for name, _ in step.foreach]

    def names(self) -> set[str]:
        """No word of a command line is made of an object's inputs."""
        return set()

    def uses(self, slot: int) -> bool:  # noqa: ARG002
        """An object is given the paths of all its targets."""
        return True

    def reads(self, slot: int) -> bool:  # noqa: ARG002
        """An object is given the paths of all its inputs."""
        return True

    def render(self, values: Mapping[str, Any], *, shown: bool = True) -> Rendered:
        """The call for a job's values: `inputs` and `targets` are lists of (slot's name, paths)."""
        inputs, targets = ([paths for _, paths in values[setting]] for setting in ("inputs", "targets"))
        return self.call(inputs, targets, values, shown=shown)

    def call(
        self, inputs: list[list[str]], targets: list[list[str]], values: Mapping[str, Any], *, shown: bool
    ) -> Rendered:
        """As `render`, from the paths of each slot."""
        given = {name: values[name] for name in self._names if name in values}
        body = self._body
        if shown:
            return Rendered([], [BODY_WORD, body.label, inputs, targets, given, body.arguments], body.label)
        work = Work(inputs, targets, given)
        if body.remote is None:
            return Rendered([], [], "", body=body.call, work=work)
        module, function, arguments = body.remote
        asked = {**arguments, "inputs": work.inputs, "targets": work.targets, "values": given}
        return Rendered([], [], "", call=Invocation(module, function, ".", asked))
