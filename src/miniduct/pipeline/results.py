"""What came of a pipeline's steps: statuses, reasons, values, read when they are asked for; and the error that holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import DuctError
from .steps import BaseStep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DONE, UP_TO_DATE, FAILED, SKIPPED, INTERRUPTED, NOT_RUN = (
    "done",
    "up to date",
    "failed",
    "skipped",
    "interrupted",
    "not run",
)
_WORST = (FAILED, INTERRUPTED, SKIPPED, NOT_RUN, DONE, UP_TO_DATE)


@dataclass
class StepResult:
    """How a step fared in one run.

    `status` is "done", "up to date", "failed", "skipped", "interrupted" or "not run"; of several jobs it is the worst one's.
    `reason` says why it ran or was skipped; `attempts` is 0 where nothing ran; `log` is the path of its output, None where there
    was none.
    """

    name: str
    status: str = UP_TO_DATE
    reason: str = ""
    attempts: int = 0
    seconds: float = 0.0
    log: str | None = None
    error: str | None = None
    exception: BaseException | None = None
    paths: Sequence[str] = ()
    jobs: dict[str, int] = field(default_factory=dict)
    """The step's jobs that were looked at, by status."""
    _read: Callable[[], Any] | None = field(default=None, repr=False)

    @property
    def value(self) -> Any:
        """What the step returned: a copy of its own. DuctError where there is none (any more)."""
        if self._read is None or self.status not in (DONE, UP_TO_DATE):
            files = "it makes files" if self.paths else "it returns nothing, and makes no files"
            raise DuctError(f'step "{self.name}" has no value: {self.status if self._read else files}')
        return self._read()

    def note(self, status: str) -> None:
        if not self.jobs:
            self.jobs[status] = 1
            self.status = status
            return
        self.jobs[status] = self.jobs.get(status, 0) + 1
        self.status = min(self.jobs, key=_WORST.index)


class Results(Mapping[BaseStep, StepResult]):
    """The results of a run, by step; a step's name is a key too."""

    def __init__(
        self, steps: Mapping[str, BaseStep], told: Mapping[str, StepResult], make: Callable[[BaseStep], StepResult]
    ) -> None:
        self._steps = dict(steps)
        self._told = dict(told)
        self._make = make

    def __getitem__(self, step: BaseStep | str) -> StepResult:
        # A KeyError also where it is no step at all: `in` and `get` know what to make of it.
        if not isinstance(step, (str, BaseStep)):
            raise KeyError(f"results are asked for by a step, or by the name of one, not by {step!r}")
        name = step if isinstance(step, str) else step.name
        found = self._steps.get(name)
        if found is None:
            raise KeyError(f'no step is called "{name}"')
        if not isinstance(step, str) and found is not step:
            raise KeyError(
                f'step "{name}" is of another pipeline: ask by the name, or by the step that was added to this one'
            )
        if name not in self._told or (self._told[name]._read is None and not self._told[name].paths):
            self._told[name] = self._make(found)
        return self._told[name]

    def __iter__(self) -> Iterator[BaseStep]:
        return iter(self._steps.values())

    def __len__(self) -> int:
        return len(self._steps)


class PipelineError(DuctError):
    """Steps of a pipeline failed. `results` holds those of all steps; the first failure's exception is the cause."""

    def __init__(self, what: str, results: Results, facts: Sequence[str] = ()) -> None:
        super().__init__(what, facts=facts)
        self.results = results
