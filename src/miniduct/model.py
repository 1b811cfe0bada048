"""The values that everything above speaks of: steps, slots, the project. Frozen, made by the Ductfile reader or the Python front.

This module knows neither TOML nor disks. A value of these types is already validated: names are unique, every placeholder means
something, every number is in range. Keys are texts: relative to the project's root, normalised (`data/a.csv`, `../x`), or absolute; a
trailing slash makes a key a folder as a whole.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FINGERPRINT_SIZE = 32
"""Bytes of a fingerprint: a whole BLAKE3 digest."""


class Stamp(NamedTuple):
    """Cheap hint about a key: compared for equality only, never for order."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Check(Enum):
    """What of an input decides whether it has changed."""

    CONTENT = "content"
    MTIME = "mtime"
    EXISTS = "exists"


class Location(NamedTuple):
    """Where something was written: a file as the user knows it, a line, a column (both from 1), and the line's text for the excerpt."""

    file: str
    line: int
    column: int = 1
    width: int = 0
    source: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Slot(NamedTuple):
    """One declared input or target: a key, a pattern with wildcards or globs, or `step:NAME`.

    `text` has its vars substituted and is normalised relative to the project's root. `name` is the key of a table of named ones (several
    slots share it where the table's value is a list). `step` is set instead of a key where the text was `step:NAME`.
    """

    text: str
    name: str | None
    location: Location
    step: str | None = None


class Run(NamedTuple):
    """A command: `text` for a shell (placeholders and all), or `argv` for no shell; exactly one is set."""

    text: str | None = None
    argv: tuple[str, ...] | None = None
    shell: tuple[str, ...] | None = None
    """The shell's own words, from the setting `shell`; None: strict bash, or sh where there is none."""


class Call(NamedTuple):
    """A Python function: what `python = "module:function"` means.

    `root` is the folder that its modules are searched in first, relative to the project's root. `takes` are the names of the arguments that it is
    given; None where only the function itself, once imported, can tell.
    """

    module: str
    function: str
    root: str = "."
    takes: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{self.module}:{self.function}"


def nowhere(path: str) -> None:
    """No content is kept elsewhere than at its path."""


class Work(NamedTuple):
    """What a job's Python object is given: for each slot of the step the paths that it reads and makes, the wildcards' values, the attempt from 1.

    The paths of targets are those that it must write to. `read` gives the content of an input that is no file at its path, else None.
    """

    inputs: Sequence[Sequence[str]]
    targets: Sequence[Sequence[str]]
    values: Mapping[str, str]
    attempt: int = 1
    read: Callable[[str], bytes | None] = nowhere


class Product(NamedTuple):
    """What a Python object made for one of its paths: the fingerprint, and the content, where it did not write that to the path."""

    fingerprint: bytes
    content: bytes | None = None


class Body(NamedTuple):
    """A Python object as an action: called on a thread of the building process, or as `remote` (module, function, arguments) in a worker.

    `label` is how it is called in messages. What identifies it are the step's `code` and `params`, and `arguments`: as what the call is given what
    is read and made, as plain data that can be hashed. The call may answer with what it made, by the paths: it is not read once more.
    """

    call: Callable[[Work], Mapping[str, Product] | None]
    label: str
    remote: tuple[str, str, Mapping[str, Any]] | None = None
    arguments: Any = None


class Step(NamedTuple):
    """One entry of the Ductfile, or a Python step. Its action is `run`, `call`, `copy` or `body`; a group, a name for its inputs, has none."""

    name: str
    location: Location
    inputs: tuple[Slot, ...] = ()
    targets: tuple[Slot, ...] = ()
    run: Run | None = None
    run_location: Location | None = None
    after: tuple[str, ...] = ()
    foreach: tuple[tuple[str, tuple[str, ...]], ...] = ()
    where: Mapping[str, str] = {}
    params: Mapping[str, Any] = {}
    env: tuple[str, ...] = ()
    """Names of the variables whose values count."""
    env_set: Mapping[str, str] = {}
    secrets: tuple[str, ...] = ()
    cwd: str = "."
    """Relative to the project's root."""
    timeout: float | None = None
    """Seconds for one attempt."""
    retries: int = 0
    backoff: float = 1.0
    """Seconds before the second attempt; doubled for each further one."""
    retry_on: tuple[int | str, ...] = ()
    """Exit codes, signal names, names of exceptions, and "timeout"; empty: any failure."""
    pool: str | None = None
    cpus: int = 1
    check: Check = Check.CONTENT
    max_age: float | None = None
    """Seconds after which a good run is stale."""
    keep: bool = False
    batch: int = 1
    """The most stale jobs that one command works on."""
    tags: tuple[str, ...] = ()
    description: str = ""
    call: Call | None = None
    code: tuple[tuple[str, str], ...] = ()
    """What `call` or `body` rests on: names of modules or of pieces of code, each with a digest; its own one is the first."""
    body: Body | None = None

    copy: bool = False
    """Is the one input to be copied to the one target?"""
    sha256: str | None = None
    """What the content of an `https://` input must have, in small hexadecimal digits."""

    @property
    def group(self) -> bool:
        """Is it a name for its inputs, with nothing to be done?"""
        return self.run is None and self.call is None and self.body is None and not self.copy


class Project(NamedTuple):
    """What a Ductfile says: the steps in the order of the file, and what plain `duct build` makes.

    `root` is the absolute folder of the Ductfile; `files` are the Ductfiles read, the main one first, relative to the root; `default` is empty
    where every step is meant. `today` is the date that a `foreach` used, if one did. `code_files` are those that the steps' `code` rests on, relative
    to the root; some need not exist.
    """

    root: str
    files: tuple[str, ...]
    steps: tuple[Step, ...]
    default: tuple[tuple[str, Location], ...] = ()
    pools: Mapping[str, int] = {}
    vars: Mapping[str, str] = {}
    notify: Mapping[str, tuple[str, ...]] = {}
    """Who is told how a build ended, by occasion: URLs, and commands for the shell. `{NAME}` in them is a variable of the environment."""
    stores: Mapping[str, Mapping[str, Any]] = {}
    """The settings of `[stores]`, by store."""
    today: str | None = None
    code_files: tuple[str, ...] = ()
    warnings: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What the Ductfile says but hardly means: a line with its place, and facts."""
