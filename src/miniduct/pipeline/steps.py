"""The steps of a pipeline as objects: what each reads, makes and does, and which steps come before it.

A step without targets makes a value: what its function returns. Connections are kept in the order in which they were made; nothing is run here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, overload

from ..errors import UsageError
from ..model import Check, Location

if TYPE_CHECKING:
    from collections.abc import Callable

Keys = str | Sequence[str] | Mapping[str, str | Sequence[str]]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Named(Protocol):
    """What a step knows of its pipeline."""

    @property
    def name(self) -> str: ...


class BaseStep:
    """One step of a pipeline: subclass it and write `run`, which gets the outputs of the steps before it, in the order of connection.

    Settings are those of a Ductfile; `target` is another name for `targets`. A step without targets makes a value, which is
    cached unless `cache` is False. `retry_on` holds exception classes beside exit codes, names of signals and "timeout". A
    subclass that has an `__init__` of its own calls `super().__init__(name=…)`.

    `merge`, where a subclass defines it, is given the outputs of the steps before by their names, and returns the arguments
    of `run`: a sequence of them, or a mapping by name.
    """

    merge: Callable[[Mapping[str, Any]], Sequence[Any] | Mapping[str, Any]] | None = None

    def __init__(
        self,
        *,
        name: str | None = None,
        inputs: Keys = (),
        targets: Keys = (),
        target: str | None = None,
        after: Sequence[str] = (),
        foreach: Mapping[str, Sequence[str]] | None = None,
        where: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        env: Sequence[str] | Mapping[str, str] = (),
        secrets: Sequence[str] = (),
        cwd: str = ".",
        timeout: float | None = None,
        retries: int = 0,
        backoff: float = 1.0,
        retry_on: Sequence[type[BaseException] | int | str] = (),
        pool: str | None = None,
        cpus: int = 1,
        check: str = "content",
        max_age: float | None = None,
        tags: Sequence[str] = (),
        description: str = "",
        cache: bool = True,
    ) -> None:
        if target is not None and targets:
            raise TypeError("target and targets say the same thing: give one of them")
        self._name = name or self._own_name()
        self._inputs = inputs
        self._targets: Keys = target if target is not None else targets
        self._settings: dict[str, Any] = {
            "after": (after,) if isinstance(after, str) else tuple(after),
            "foreach": tuple((key, tuple(values)) for key, values in (foreach or {}).items()),
            "where": dict(where or {}),
            "params": dict(params or {}),
            "env": () if isinstance(env, Mapping) else tuple(env),
            "env_set": dict(env) if isinstance(env, Mapping) else {},
            "secrets": tuple(secrets),
            "cwd": cwd,
            "timeout": timeout,
            "retries": retries,
            "backoff": backoff,
            "retry_on": _names(retry_on),
            "pool": pool,
            "cpus": cpus,
            "max_age": max_age,
            "tags": tuple(tags),
            "description": description,
        }
        self._check_by = Check(check)
        self._cache = cache
        self._before: dict[BaseStep, None] = {}
        """The steps before this one, in the order of connection."""
        self._pipeline: Named | None = None
        self._place = _place()
        _check_numbers(self._name, self._settings)

    def _own_name(self) -> str:
        return type(self).__name__

    @property
    def name(self) -> str:
        """How the step is called in its pipeline, in messages, and on the command line."""
        return self._name

    @property
    def function(self) -> Callable[..., Any]:
        """What is called for the step."""
        return self.run

    @property
    def makes_value(self) -> bool:
        """Is what the step returns its output? Else it is its targets' paths."""
        return not self._targets

    def run(self, *args: Any, **named: Any) -> Any:
        """What the step does; its value is what it returns."""
        raise NotImplementedError(f"{type(self).__name__} does not define run")

    @overload
    def __rshift__(self, other: BaseStep) -> BaseStep: ...
    @overload
    def __rshift__(self, other: Sequence[BaseStep]) -> Sequence[BaseStep]: ...
    def __rshift__(self, other: BaseStep | Sequence[BaseStep]) -> BaseStep | Sequence[BaseStep]:
        """Put `other`, a step or several, behind this one; returns it."""
        for each in _steps(other, "right"):
            _connect(self, each)
        return other

    def __rrshift__(self, others: Sequence[BaseStep]) -> BaseStep:
        """Put this step behind several; returns it."""
        for each in _steps(others, "left"):
            _connect(each, self)
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, '_name', '?')}>"


def _steps(side: object, which: str) -> list[BaseStep]:
    found: list[BaseStep] = []
    for each in side if isinstance(side, (list, tuple)) else [side]:
        if not isinstance(each, BaseStep):
            raise TypeError(f"the {which} side of >> must be a step, or a list of steps, not {type(each).__name__}")
        found.append(each)
    return found


def _connect(first: BaseStep, then: BaseStep) -> None:
    for each in (first, then):
        if not hasattr(each, "_before"):
            raise TypeError(f"{type(each).__name__}.__init__ must call super().__init__()")
    if first is then:
        raise ValueError(f'step "{first.name}" cannot come before itself')
    then._before[first] = None


def _names(retry_on: object) -> tuple[int | str, ...]:
    """Exception classes by their full names, the others as they are."""
    if isinstance(retry_on, (str, int, type)) or not isinstance(retry_on, Iterable):
        retry_on = (retry_on,)
    found: list[int | str] = []
    for each in retry_on:
        if isinstance(each, type) and issubclass(each, BaseException):
            found.append(f"{each.__module__}.{each.__qualname__}")
        elif isinstance(each, (int, str)):
            found.append(each)
        else:
            raise TypeError(f"retry_on holds exception classes, exit codes, and names of signals, not {each!r}")
    return tuple(found)


def _check_numbers(name: str, settings: Mapping[str, Any]) -> None:
    for setting, least, kind in (
        ("retries", 0, int),
        ("backoff", 0, (int, float)),
        ("timeout", 0, (int, float)),
        ("max_age", 0, (int, float)),
        ("cpus", 1, int),
    ):
        value = settings[setting]
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind) or value < least):
            raise ValueError(f'step "{name}": {setting} must be a number from {least} on, not {value!r}')


def _place() -> Location:
    """Where the user's code makes the step."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return Location(frame.f_code.co_filename, frame.f_lineno)


class PythonStep(BaseStep):
    """A step that calls a function.

    The function gets the outputs of the steps before it by place; by name, where it takes them: `input`, `inputs`, `target`,
    `targets`, `params`, each parameter, each wildcard.
    """

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        if isinstance(function, BaseStep) or not callable(function):
            raise TypeError(f"a PythonStep needs a function, not {type(function).__name__}")
        self._function = function
        super().__init__(**settings)

    def _own_name(self) -> str:
        name = getattr(self._function, "__name__", None) or getattr(
            getattr(self._function, "func", self._function), "__name__", type(self._function).__name__
        )
        return "lambda" if name == "<lambda>" else str(name)

    @property
    def function(self) -> Callable[..., Any]:
        return self._function

    def run(self, *args: Any, **named: Any) -> Any:
        return self._function(*args, **named)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """The function itself: a decorated one can be called and tested as before."""
        return self._function(*args, **named)


class ShellStep(BaseStep):
    """A step that runs a command: a text for the shell with placeholders as in a Ductfile, or a list of words without a shell."""

    def __init__(self, command: str | Sequence[str], *, shell: Sequence[str] | None = None, **settings: Any) -> None:
        if not command:
            raise ValueError("a ShellStep needs a command")
        self.command = command if isinstance(command, str) else tuple(command)
        self.shell = None if shell is None else tuple(shell)
        super().__init__(**settings)

    def _own_name(self) -> str:
        raise UsageError("a ShellStep needs a name", hint='write ShellStep("…", name="…")')

    @property
    def makes_value(self) -> bool:
        return False


@overload
def step(function: Callable[..., Any]) -> PythonStep: ...
@overload
def step(**settings: Any) -> Callable[[Callable[..., Any]], PythonStep]: ...
def step(
    function: Callable[..., Any] | None = None, **settings: Any
) -> PythonStep | Callable[[Callable[..., Any]], PythonStep]:
    """Make a function a step: `@step`, or `@step(targets="out.csv", retries=2)`."""
    if function is not None:
        return PythonStep(function, **settings)
    return lambda inner: PythonStep(inner, **settings)


class CopyStep(BaseStep):
    """A step that copies one key to another: a file, an object (`gs://…`), or, to read from, an address (`https://…`). It has no function.

    `sha256` is the checksum that the content of an address must have; `max_age` says for how many seconds its last answer is believed.
    """

    def __init__(self, source: str, *, target: str, sha256: str | None = None, **settings: Any) -> None:
        super().__init__(inputs=source, target=target, **settings)
        self.sha256 = sha256

    @property
    def makes_value(self) -> bool:
        """It makes its target."""
        return False


class HttpGetStep(CopyStep):
    """A step that fetches an address of the web into a target: a file, or an object of a bucket."""


class GCSUploadStep(CopyStep):
    """A step that uploads a file to a `gs://` target. What was there when it was judged is replaced, a stranger's write is not."""
