"""What is remembered of a run: the trace of a good one, the failure of a bad one, and both as a line of text.

A line is a checksum, a blank, JSON in ASCII, a newline: whatever a kill or a full disk did to it shows. Names are bytes
on disk; JSON's escapes carry the surrogates that stand for those that are not UTF-8. This module knows neither files
nor the database.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any
from zlib import crc32

from ..model import FINGERPRINT_SIZE, Stamp
from ..tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
ReasonTuple = tuple[str, str | None, str | None, str | None]
"""kind, key, old, new: a `rebuilder.Reason` as it is kept."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_quoted = json.encoder.encode_basestring_ascii


class Trace(NamedTuple):
    """What the last good run of a job saw and made. Fingerprints are packed, 32 bytes a name, in the order of the
    names.

    `started` is seconds since the epoch, `output` the bytes of its log; `log` is None where the job said nothing.
    `target_stamps` are those of the targets when they were fingerprinted, before the rename that published them.
    `through` holds the targets that were written through the user's symbolic link, and where it led.
    """

    id: str
    step: str
    values: dict[str, str]
    definition: bytes
    command: bytes
    check: str
    inputs: list[str]
    input_fps: bytes
    targets: list[str]
    target_fps: bytes
    target_stamps: list[Stamp]
    run: int
    started: float
    seconds: float
    attempts: int = 1
    output: int = 0
    log: str | None = None
    reasons: tuple[ReasonTuple, ...] = ()
    through: Mapping[str, str] = {}

    def target_fingerprint(self, key: str) -> bytes | None:
        """The fingerprint of a target that the run made; None for any other key."""
        try:
            at = self.targets.index(key) * FINGERPRINT_SIZE
        except ValueError:
            return None
        return self.target_fps[at : at + FINGERPRINT_SIZE]

    def body(self, *, inputs: bool = True) -> str:
        """The trace as JSON; without the inputs' names and fingerprints where they are kept elsewhere."""
        (
            job_id,
            step,
            values,
            definition,
            command,
            check,
            input_names,
            input_fps,
            targets,
            target_fps,
            stamps,
            run,
            started,
            seconds,
            attempts,
            output,
            log,
            reasons,
            through,
        ) = self
        if not inputs:
            input_names, input_fps = [], b""
        # Written by hand: for a record as short as most are, the encoder takes several times as long to get ready.
        read = b2a_base64(input_fps, newline=False).decode()
        made = b2a_base64(target_fps, newline=False).decode()
        called = b2a_base64(command, newline=False).decode()
        told = f",{_encode(through)}" if through else ""
        return (
            f'[{FORMAT},"t",{_quoted(job_id)},{_quoted(step)},{_encode(values) if values else "{}"},"{_text(definition)}",'
            f'"{called}","{check}",[{",".join(map(_quoted, input_names))}],"{read}",[{",".join(map(_quoted, targets))}],"{made}",'
            f"[{','.join(map(str, chain.from_iterable(stamps)))}],{run},{started!r},{seconds!r},{attempts},{output},"
            f"{'null' if log is None else _quoted(log)},{_reasons(reasons)}{told}]"
        )

    def to_line(self) -> bytes:
        """The trace as a line of the journal."""
        return sealed(self.body())

    @classmethod
    def from_line(cls, line: bytes) -> Trace:
        """The trace of a line, with or without its newline. ValueError for a damaged line, and for one that is no
        trace.
        """
        found = parse(unsealed(line))
        if not isinstance(found, Trace):
            raise ValueError("not a trace")
        return found


class Failure(NamedTuple):
    """How the last run of a job failed. `when` is seconds since the epoch; `exit_code` is None where no command
    ended.
    """

    id: str
    step: str
    values: dict[str, str]
    run: int
    when: float
    seconds: float
    error: str
    exit_code: int | None = None
    log: str | None = None
    facts: tuple[str, ...] = ()
    reasons: tuple[ReasonTuple, ...] = ()

    def body(self) -> str:
        """The failure as JSON."""
        return _encode(
            (
                FORMAT,
                "f",
                self.id,
                self.step,
                self.values,
                self.run,
                self.when,
                self.seconds,
                self.error,
                self.exit_code,
                self.log,
                self.facts,
                self.reasons,
            )
        )

    def to_line(self) -> bytes:
        """The failure as a line of the journal."""
        return sealed(self.body())


@lru_cache(maxsize=64)
def _text(digest: bytes) -> str:
    return b2a_base64(digest, newline=False).decode()


@lru_cache(maxsize=64)
def _reasons(reasons: tuple[ReasonTuple, ...]) -> str:
    return _encode(reasons)


def sealed(body: str) -> bytes:
    """A line: checksum, blank, body, newline."""
    data = body.encode("ascii")
    return b"%08x %b\n" % (crc32(data), data)


def unsealed(line: bytes) -> bytes:
    """The body of a line. ValueError where it is not what was written."""
    body = line[9:].rstrip(b"\n")
    if line[8:9] != b" " or line[:8] != b"%08x" % crc32(body):
        raise ValueError("damaged line")
    return body


def parse(body: bytes | str) -> Trace | Failure:
    """The value whose body this is. ValueError for anything else."""
    found = json.loads(body)
    try:
        if found[0] != FORMAT:
            raise ValueError(f"format {found[0]}")
        if found[1] == "t":
            return _trace(found)
        if found[1] == "f":
            job_id, step, values, run, when, seconds, error, code, log, facts, reasons = found[2:]
            told = tuple([_reason(each) for each in reasons])
            return Failure(job_id, step, values, run, when, seconds, error, code, log, tuple(facts), told)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError("not a record") from error
    raise ValueError(f"kind {found[1]}")


def _trace(found: list[Any]) -> Trace:
    stamps = found[12]
    return Trace(
        found[2],
        found[3],
        found[4],
        a2b_base64(found[5]),
        a2b_base64(found[6]),
        found[7],
        found[8],
        a2b_base64(found[9]),
        found[10],
        a2b_base64(found[11]),
        [Stamp(*stamps[at : at + 4]) for at in range(0, len(stamps), 4)],
        found[13],
        found[14],
        found[15],
        found[16],
        found[17],
        found[18],
        tuple([_reason(each) for each in found[19]]),
        found[20] if len(found) > 20 else {},
    )


def _reason(found: list[Any]) -> ReasonTuple:
    kind, key, old, new = found
    return kind, key, old, new
