"""The steps of a pipeline as objects: what each reads, makes and does, and which steps come before it.

A step without targets makes a value: what its function returns. Connections are kept in the order in which they were made; nothing is run here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, KeysView, Mapping, Sequence, ValuesView
from operator import is_
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, overload

from ..errors import UsageError
from ..model import Location
from ..text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType, FrameType

Path = str | os.PathLike[str]
Keys = Path | Sequence[Path] | Mapping[str, Path | Sequence[Path]]
Failure = type[BaseException] | int | str

_MOST_PLACES = 1000
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Named(Protocol):
    """What a step knows of its pipeline."""

    @property
    def name(self) -> str: ...


class Own:
    """What a step holds for this package, behind a name that no subclass uses by accident: its other fields are the user's.

    `said` are the settings that were given, as plain values (lists, dicts, texts for paths), and copies; what they mean is judged in
    `checking`. `before` are the steps before this one, in the order of connection.
    """

    __slots__ = ("before", "cache", "function", "name", "pipeline", "place", "said")

    def __init__(self, name: str, said: dict[str, Any], cache: bool, place: Location) -> None:
        self.name = name
        self.said = said
        self.cache = cache
        self.before: dict[BaseStep, None] = {}
        self.pipeline: Named | None = None
        self.place = place
        self.function: Callable[..., Any] | None = None


class BaseStep:
    """One step of a pipeline: subclass it and write `run`, which gets the outputs of the steps before it, in the order of connection.

    Settings are those of a Ductfile; `target` is another name for `targets`. A step without targets makes a value, which is
    cached unless `cache` is False. `retry_on` holds exception classes beside exit codes, names of signals and "timeout". A
    subclass that has an `__init__` of its own calls `super().__init__(name=…)`.

    `merge`, where a subclass defines it, is given the outputs of the steps before by their names, and returns the arguments
    of `run`: a sequence of them, or a mapping by name.
    """

    merge: Callable[[Mapping[str, Any]], Sequence[Any] | Mapping[str, Any]] | None = None
    __own: Own | None = None

    def __init__(
        self,
        *,
        name: str | None = None,
        inputs: Keys = (),
        targets: Keys = (),
        target: Path | None = None,
        after: str | Iterable[str] = (),
        foreach: Mapping[str, Any] | None = None,
        where: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        env: str | Iterable[str] | Mapping[str, str] = (),
        secrets: str | Iterable[str] = (),
        cwd: Path = ".",
        timeout: float | str | None = None,
        retries: int = 0,
        backoff: float | str = 1.0,
        retry_on: Failure | Iterable[Failure] = (),
        pool: str | None = None,
        cpus: int = 1,
        check: str = "content",
        max_age: float | str | None = None,
        tags: str | Iterable[str] = (),
        description: str = "",
        cache: bool = True,
        **unknown: NoReturn,
    ) -> None:
        for setting in unknown:
            near = nearest(setting, [*_DEFAULTS, "name", "target", "cache"])
            meant = f'; did you mean "{near[0]}"?' if near else ""
            raise TypeError(f'{type(self).__name__} has no setting "{setting}"{meant}')
        if type(self).__hash__ is None:
            raise TypeError(
                f"{type(self).__name__} cannot be a key of a dict: write @dataclass(eq=False), or a __hash__"
            )
        if target is not None:
            if targets:
                raise TypeError("target and targets say the same thing: give one of them")
            targets = target
        # fmt: off
        given = (
            inputs, targets, after, foreach, where, params, env, secrets, cwd, timeout, retries, backoff, retry_on, pool, cpus, check, max_age, tags,
            description,
        )  # as `_DEFAULTS` has them: a step costs what it says, not what it could say
        # fmt: on
        said = {} if all(map(is_, given, _DEFAULTS.values())) else _said(given)
        self.__own = Own(type(self).__name__ if name is None else name, said, cache, place_of_call(self))

    @property
    def name(self) -> str:
        """How the step is called in its pipeline, in messages, and on the command line."""
        return own(self).name

    @property
    def function(self) -> Callable[..., Any]:
        """What is called for the step."""
        return self.run

    @property
    def makes_value(self) -> bool:
        """Is what the step returns its output? Else it is its targets' paths."""
        return "targets" not in own(self).said

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
        held = self.__own
        return f"<{type(self).__name__} {held.name if held else '?'}>"


OWN = "_BaseStep__own"
"""The one attribute of a step that is not its class's."""
_DEFAULTS = {
    key: default
    for key, default in (BaseStep.__init__.__kwdefaults__ or {}).items()
    if key not in ("name", "target", "cache")
}
"""The settings that are said by their names, with what they are where nothing is said."""
_UNORDERED = ("after", "env", "secrets", "tags", "retry_on")
"""Settings whose order means nothing, so that a set will do."""


def own(step: BaseStep) -> Own:
    """What the step holds for this package. TypeError where its class's `__init__` has forgotten the base's."""
    held: Own | None = getattr(step, OWN)
    if held is None:
        name = type(step).__name__
        if hasattr(step, "__dataclass_fields__"):
            raise TypeError(
                f"{name} is a dataclass: write @dataclass(eq=False), and a __post_init__ that calls super().__init__()"
            )
        raise TypeError(f"{name}.__init__ must call super().__init__()")
    return held


def _said(given: Sequence[Any]) -> dict[str, Any]:
    """The settings that say something, of all of them in the order of `_DEFAULTS`."""
    said = {}
    for (setting, default), value in zip(_DEFAULTS.items(), given):
        if value is not default and value is not None:
            value = _plain(setting, value)
            if value or not isinstance(value, (list, dict)):
                said[setting] = value
    return said


def _plain(setting: str, value: Any) -> Any:
    """A setting as a Ductfile would hold it: lists, dicts, and texts for paths. Parameters are Python's own, and anything else stays as it is."""
    if setting == "params":
        return dict(value) if isinstance(value, Mapping) else value
    if setting in _UNORDERED and isinstance(value, (set, frozenset)):
        value = sorted(value, key=str)
    return plain(value)


def plain(value: Any) -> Any:
    """The value with its sequences as lists, its mappings as dicts, its paths as texts."""
    if isinstance(value, (str, int, float, bytes, bytearray)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (Sequence, Iterator, KeysView, ValuesView)):
        return [plain(each) for each in value]
    return value


def _steps(side: object, which: str) -> list[BaseStep]:
    found: list[BaseStep] = []
    for each in side if isinstance(side, (list, tuple)) else [side]:
        if not isinstance(each, BaseStep):
            raise TypeError(f"the {which} side of >> must be a step, or a list of steps, not {type(each).__name__}")
        found.append(each)
    return found


def _connect(first: BaseStep, then: BaseStep) -> None:
    before = own(then).before
    own(first)
    if first is then:
        raise ValueError(f'step "{first.name}" cannot come before itself')
    before[first] = None


def place_of_call(made: object = None) -> Location:
    """Where the user's code calls this package; where it makes `made`, which its class's `__init__` belongs to."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (frame.f_code.co_filename.startswith(_PACKAGE) or _is_init(frame, made)):
        frame = frame.f_back
    known = _places.get((id(frame.f_code), frame.f_lasti))
    return _met(frame) if known is None else known[1]


_places: dict[tuple[int, int], tuple[CodeType, Location]] = {}
"""Calls of this package that were met, by code object (kept, so that its id stays its own) and instruction: a loop makes many steps at one place,
and Python counts the lines of the code before it each time.
"""


def _met(frame: FrameType) -> Location:
    if len(_places) >= _MOST_PLACES:
        _places.clear()
    found = Location(frame.f_code.co_filename, frame.f_lineno)
    _places[id(frame.f_code), frame.f_lasti] = frame.f_code, found
    return found


def _is_init(frame: FrameType, made: object) -> bool:
    code = frame.f_code
    own_init = made is not None and code.co_name in ("__init__", "__post_init__") and code.co_argcount > 0
    return own_init and frame.f_locals.get(code.co_varnames[0]) is made


class PythonStep(BaseStep):
    """A step that calls a function.

    The function gets the outputs of the steps before it by place; by name, where it takes them: `input`, `inputs`, `target`,
    `targets`, `params`, each parameter, each wildcard.
    """

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        if isinstance(function, BaseStep) or not callable(function):
            raise TypeError(f"a PythonStep needs a function, not {type(function).__name__}")
        if settings.get("name") is None:
            settings["name"] = _name_of(function)
        super().__init__(**settings)
        own(self).function = function

    @property
    def function(self) -> Callable[..., Any]:
        function = own(self).function
        assert function is not None
        return function

    def run(self, *args: Any, **named: Any) -> Any:
        return self.function(*args, **named)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """The function itself: a decorated one can be called and tested as before."""
        return self.function(*args, **named)


def _name_of(function: Callable[..., Any]) -> str:
    inner = getattr(function, "func", function)
    name = getattr(function, "__name__", None) or getattr(inner, "__name__", type(function).__name__)
    return "lambda" if name == "<lambda>" else str(name)


class ShellStep(BaseStep):
    """A step that runs a command: a text for the shell with placeholders as in a Ductfile, or a list of words without a shell."""

    def __init__(
        self, command: str | Sequence[Path], *, shell: str | Sequence[str] | None = None, **settings: Any
    ) -> None:
        if not command:
            raise ValueError("a ShellStep needs a command")
        if settings.get("name") is None:
            raise UsageError(
                "a ShellStep needs a name", where=str(place_of_call()), hint='write ShellStep("…", name="…")'
            )
        self.command = plain(command)
        self.shell = plain(shell)
        super().__init__(**settings)

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

    def __init__(self, source: Path, *, target: Path, sha256: str | None = None, **settings: Any) -> None:
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
