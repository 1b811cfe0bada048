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
        self.body = step.body
        self._names = [name for name, _ in step.foreach]
        for slot in step.targets or step.inputs:
            if "{" in slot.text:
                self._names += [each.name for each in parse(slot.text, is_key=True).placeholders]

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
        if shown:
            body = self.body
            words = [BODY_WORD, body.label, inputs, targets, self.given(values), body.arguments]
            return Rendered([], words, body.label)
        return self.call(inputs, targets, values)

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the values that the step's object is given."""
        return {name: values[name] for name in self._names if name in values} if self._names else {}

    def call(self, inputs: list[list[str]], targets: list[list[str]], values: Mapping[str, Any]) -> Rendered:
        """As `render`, from the paths of each slot, and not shown."""
        body = self.body
        work = Work(inputs, targets, self.given(values))
        if body.remote is None:
            return Rendered([], [], "", body=body.call, work=work)
        module, function, arguments = body.remote
        asked = {**arguments, "inputs": work.inputs, "targets": work.targets, "values": work.values}
        return Rendered([], [], "", call=Invocation(module, function, ".", asked))
