"""Values as bytes: a pickle of protocol 5, and after it the BLAKE3 digest of its bytes. Nothing is unpickled whose digest does not fit.

Where classes or functions of the user's are in the value, what identifies their code stands between the two: whoever reads the value calls that code.

A large value is written to a file and read from it as a stream: it is never in the memory twice. One that cannot be pickled is held in this process,
where its step says that it need not be kept; the bytes then name it.

A class of the pipeline's own file is `__main__.Name` where that file is the program, `file.Name` where it is loaded: each is found as the other.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
import time
import types
import uuid
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from blake3 import blake3

from ..errors import DuctError, StoreError
from ..model import Product
from ..tuples import NamedTuple
from .wording import raised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping

    Code = Callable[[Iterable[object]], bytes]
    """What identifies the code of functions and classes; empty where they are not the user's."""

DIGEST = 32
MAPPED = 1 << 20
"""Bytes of a file from which on it is not read as a whole."""
PATIENCE = 0.01
"""Seconds for which a value that is not there is looked for again."""
SMALL = 1 << 16
"""Bytes up to which a value needs no file of its own."""
_FEW = 100
"""Items up to which a list, a tuple or a dict is looked at before it is pickled."""
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
"""Types of values whose pickles name no class and no function."""


_script: str | None = None
"""The module that the pipeline's file was loaded as, where it is not the program."""


def script(module: str) -> None:
    """The pipeline's file was loaded as this module: there is what a value means by `__main__`."""
    global _script
    _script = module


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__":
            module = _script or module
        elif module not in sys.modules and program() == module:
            module = "__main__"
        return super().find_class(module, name)


def program() -> str | None:
    """What the program's file would be called as a module; None where it has none."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return os.path.splitext(os.path.basename(path))[0] if path else None


class Held(NamedTuple):
    """Stands for a value that only the process which made it has."""

    token: str


class _Digesting:
    """A file that is written to, whole, with the digest of what was written. It is made where that is more than a little, or at the first `flush`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: io.FileIO | None = None
        self._gathered = bytearray()
        self.digest = blake3()

    def write(self, data: bytes | pickle.PickleBuffer) -> int:
        # An array's items are of any kind: what is written are its bytes.
        rest = data.raw() if isinstance(data, pickle.PickleBuffer) else memoryview(data)
        self.digest.update(rest)
        if rest.nbytes <= SMALL:
            self._gathered += rest
            if len(self._gathered) > SMALL:
                self.flush()
        else:
            self.flush()
            self._write(rest)
        return rest.nbytes

    def content(self) -> bytes | None:
        """All that was written, where that is little, and nothing of it is in the file."""
        return bytes(self._gathered) if self._file is None else None

    def flush(self) -> None:
        """Have what was written in the file."""
        self._write(memoryview(self._gathered))
        self._gathered = bytearray()

    def _write(self, rest: memoryview) -> None:
        if self._file is None:
            self._file = open(self._path, "wb", buffering=0)  # noqa: SIM115 (`close` is called)
        while rest:  # one write takes 2 GB at most
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Pickler(pickle.Pickler):
    def __init__(self, file: _Digesting) -> None:
        super().__init__(file, protocol=5)
        self.named: dict[int, object] = {}
        """The functions and classes that the pickle names."""

    def reducer_override(self, value: object) -> Any:
        if issubclass(type(value), (type, types.FunctionType)):
            self.named[id(value)] = value
        return NotImplemented


def write(
    path: str,
    value: object,
    held: MutableMapping[str, Any] | None = None,
    code: Code | None = None,
    *,
    hint: str = "give the step a target file",
    to_file: bool = False,
) -> Product:
    """Pickle the value: a large one, or any with `to_file`, into the file. Where it cannot be pickled: into `held`, or DuctError where that is None.

    `hint` is the last line of that.
    """
    try:
        return _write(path, value, code, to_file)
    except (OSError, DuctError):
        raise
    except Exception as error:  # whatever the user's classes raise
        if held is None:
            raise DuctError(
                f"its value, of type {type(value).__name__}, cannot be pickled",
                facts=[raised(error)],
                hint=hint,
            ) from error
        token = uuid.uuid4().hex
        held[token] = value
        return _write(path, Held(token), None, to_file)


def _write(path: str, value: object, code: Code | None, to_file: bool) -> Product:
    if not to_file and _is_plain(value):
        pickled = pickle.dumps(value, 5)
        if len(pickled) + DIGEST <= SMALL:
            return _with_digest(pickled)
    out = _Digesting(path)
    try:
        pickler = _Pickler(out)
        pickler.dump(value)
        if code is not None and pickler.named:
            out.write(code(pickler.named.values()))
        out.write(out.digest.digest())
        if to_file or out.content() is None:
            out.flush()
        return Product(out.digest.digest(), out.content())
    finally:
        out.close()


def _is_plain(value: object) -> bool:
    """Is it small, and made of nothing that its pickle calls by a name? Then it is pickled as any other, with a tenth of the work."""
    kind = type(value)
    if kind in _PLAIN:
        return sys.getsizeof(value) <= SMALL
    items: Any = value
    if kind is dict:
        items = [*items, *items.values()]
    elif kind is not list and kind is not tuple:
        return False
    return len(items) <= _FEW and _PLAIN.issuperset(map(type, items)) and sum(map(sys.getsizeof, items)) <= SMALL


def _with_digest(pickled: bytes) -> Product:
    digest = blake3(pickled)
    ending = digest.digest()
    digest.update(ending)
    return Product(digest.digest(), pickled + ending)


def read(
    path: str, held: MutableMapping[str, Any] | None = None, expected: bytes | None = None, content: bytes | None = None
) -> Any:
    """The value in the file, or in its `content`, where that lies elsewhere; its own copy each time. `expected` is the digest of all of it.

    StoreError where it is damaged, is not the expected one, holds what cannot be unpickled, or a value that this process does not hold.
    """
    if content is None:
        value = _read(path, expected)
    elif expected is None:  # looked at by whoever has it
        value = _unpickled(path, content[:-DIGEST])
    else:
        value = _loaded(path, content, expected)
    if isinstance(value, Held):
        if held is None or value.token not in held:
            raise StoreError(f'the value in "{path}" was not kept: its step says cache=False')
        found = held[value.token]
        if isinstance(found, Iterator):
            held[value.token] = _Spent()
        elif isinstance(found, _Spent):
            raise StoreError(
                f'the value in "{path}" is an iterator, which only its first reader gets',
                hint="let the step return a list",
            )
        return found
    return value


def _read(path: str, expected: bytes | None) -> Any:
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= MAPPED:
            return _loaded(path, file.read(size), expected)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            _check(path, mapped, expected)
        with io.BufferedReader(file) as buffered:
            return _load(path, buffered)


def _loaded(path: str, data: bytes, expected: bytes | None) -> Any:
    pickled = data[:-DIGEST]
    if expected is not None or blake3(pickled).digest() != data[-DIGEST:]:
        _check(path, data, expected)
    return _unpickled(path, pickled)


def _unpickled(path: str, pickled: bytes) -> Any:
    return _load(path, io.BytesIO(pickled)) if _may_name(pickled) else pickle.loads(pickled)


def _may_name(pickled: bytes) -> bool:
    """Can there be the name of a class or a function in it? Protocol 5 has no other words for one than these; other bytes may look like them."""
    return 0x93 in pickled or 0x82 in pickled or 0x83 in pickled or 0x84 in pickled


def _opened(path: str) -> io.FileIO:
    """The file, for reading. For a moment there is none, where a run in another process replaces it."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return open(path, "rb", buffering=0)
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or time.monotonic() >= until:
                raise StoreError(f'cannot read the value in "{path}": {error.strerror}') from None
        time.sleep(0.001)


class _Spent:
    """Stands for an iterator that a reader was given."""


def _load(path: str, file: IO[bytes]) -> Any:
    try:
        return _Unpickler(file).load()
    except Exception as error:  # whatever the user's classes raise
        name = os.path.basename(path)
        raise StoreError(
            f'the value of step "{name}" cannot be read: {raised(error)}',
            facts=[
                "a class whose objects cannot be read back needs a __reduce__, or the step a target file in place of its value"
            ],
            hint=f'duct -B {name}, or execute("{name}", force=True), makes it again',
        ) from error


def _check(path: str, data: bytes | mmap.mmap, expected: bytes | None) -> None:
    view = memoryview(data)
    try:
        if expected is not None and blake3(view).digest() != expected:
            raise StoreError(
                f'the value in "{path}" is not the one that was made: a later run has replaced it, or it is damaged'
            )
        if len(view) <= DIGEST or blake3(view[:-DIGEST]).digest() != bytes(view[-DIGEST:]):
            raise StoreError(f'the value in "{path}" is damaged', hint="the next run makes it again")
    finally:
        view.release()
