"""Is a job stale, and why: pure functions over a trace and fingerprints. Refuses to know disks, databases and processes.

The rule (DESIGN: content decides): what was seen by the last good run is compared with what is there now, for equality. An empty
verdict means up to date. Every difference is a reason of its own, so that `duct why` can tell all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model import FINGERPRINT_SIZE, Check
from .tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MOST_REASONS = 20
"""A merge of 100,000 changed inputs is told by its first reasons and a count."""

STRICTNESS = {Check.EXISTS: 0, Check.MTIME: 1, Check.CONTENT: 2}

ACCEPTED = "accepted"
"""The kind of the only reason of a run that was none: the user said that what is there is as it would be made."""
MOVED = b"moved".ljust(FINGERPRINT_SIZE, b"\0")
"""Stands in a trace for an input that changed while it was read."""
BLOCK = 256
"""Fingerprints that are compared at once, before they are looked at one by one."""


class Reason(NamedTuple):
    """One reason to run a job, as data.

    `kind` is one of: "new" (never ran), "failed" (never ran well; `old` says how it ended), "forced", "input-changed",
    "input-moved" (it changed while the last run read it), "input-added", "input-removed", "input-order", "target-missing",
    "target-edited", "target-added", "command", "code", "params", "env", "settings" (what of the definition changed), "expired" (`max_age`),
    "upstream" (a job that makes an input will or may run), "more" (`new` is the number of further reasons). `key` is the input, target,
    parameter, variable or module meant; `old` and `new` are short texts, where there are any.
    """

    kind: str
    key: str | None = None
    old: str | None = None
    new: str | None = None


NEW, FORCED = Reason("new"), Reason("forced")


class Past(NamedTuple):
    """What the last good run of a job saw and made. Fingerprints are packed, 32 bytes for each name, in the order of the names."""

    definition: bytes
    command: bytes
    inputs: Sequence[str]
    input_fingerprints: bytes
    targets: Sequence[str]
    target_fingerprints: bytes
    ended: float
    check: Check = Check.CONTENT


class Present(NamedTuple):
    """What is there now. `unsettled` holds inputs whose makers have yet to run: their content is not compared.

    `check` is what the step asks for; the fingerprints are those of the past's check, so that they can be compared.
    `target_fingerprints` has None for a target that is not there. `command` is asked only where the definition differs (rendering 100,000
    commands to judge them would cost more than the judging); `differences` then tells what of the definition differs.
    """

    definition: bytes
    command: Callable[[], bytes]
    differences: Callable[[], Sequence[tuple[str, str | None, str | None, str | None]]]
    inputs: Sequence[str]
    input_fingerprints: bytes
    targets: Sequence[str]
    target_fingerprints: Sequence[bytes | None]
    now: float
    max_age: float | None = None
    forced: bool = False
    check: Check = Check.CONTENT
    unsettled: frozenset[str] = frozenset()


def judge(past: Past, present: Present) -> tuple[Reason, ...]:
    """All reasons to run a job that ran before, the most telling first; empty: up to date."""
    reasons = [
        *(_definition(past, present)),
        *(_check(past, present)),
        *(_inputs(past, present)),
        *(_targets(past, present)),
        *(_age(past, present)),
    ]
    if present.forced:
        reasons.append(FORCED)
    if len(reasons) > MOST_REASONS:
        reasons = [*reasons[:MOST_REASONS], Reason("more", new=str(len(reasons) - MOST_REASONS))]
    return tuple(reasons)


def _definition(past: Past, present: Present) -> Iterator[Reason]:
    if past.definition == present.definition or past.command == present.command():
        return
    differences = list(present.differences())
    for kind, key, old, new in differences:
        yield Reason(kind, key, old, new)
    if not differences:
        yield Reason("command")


def _check(past: Past, present: Present) -> Iterator[Reason]:
    """A trace answers for its own check and for laxer ones; a stricter one asks for what it does not hold."""
    if STRICTNESS[past.check] < STRICTNESS[present.check]:
        yield Reason("settings", "check", past.check.value, present.check.value)


def _inputs(past: Past, present: Present) -> Iterator[Reason]:
    if not isinstance(past.inputs, list):
        past_inputs: Sequence[str] = list(past.inputs)
    else:
        past_inputs = past.inputs
    now_inputs = present.inputs if isinstance(present.inputs, list) else list(present.inputs)
    if past_inputs == now_inputs:
        if past.input_fingerprints != present.input_fingerprints:
            yield from _changed(now_inputs, past.input_fingerprints, present)
        return
    before = dict(zip(past_inputs, _split(past.input_fingerprints)))
    now = dict(zip(now_inputs, _split(present.input_fingerprints)))
    for key, fingerprint in now.items():
        if key not in before:
            yield Reason("input-added", key)
        elif fingerprint != before[key] and key not in present.unsettled:
            yield _other_content(key, before[key], fingerprint)
    for key in before:
        if key not in now:
            yield Reason("input-removed", key)
    if before.keys() == now.keys():
        yield Reason("input-order")


def _changed(names: Sequence[str], old: bytes, present: Present) -> Iterator[Reason]:
    new = present.input_fingerprints
    size = FINGERPRINT_SIZE
    for start in range(0, len(names), BLOCK):
        block = slice(start * size, (start + BLOCK) * size)
        if old[block] == new[block]:
            continue
        for at, key in enumerate(names[start : start + BLOCK], start):
            piece = slice(at * size, at * size + size)
            if old[piece] != new[piece] and key not in present.unsettled:
                yield _other_content(key, old[piece], new[piece])


def _other_content(key: str, old: bytes, new: bytes) -> Reason:
    return Reason("input-moved", key) if old == MOVED else Reason("input-changed", key, short(old), short(new))


def _targets(past: Past, present: Present) -> Iterator[Reason]:
    before = dict(zip(past.targets, _split(past.target_fingerprints)))
    for key, fingerprint in zip(present.targets, present.target_fingerprints):
        if fingerprint is None:
            yield Reason("target-missing", key)
        elif key not in before:
            yield Reason("target-added", key)
        elif fingerprint != before[key]:
            yield Reason("target-edited", key, short(before[key]), short(fingerprint))


def _age(past: Past, present: Present) -> Iterator[Reason]:
    if present.max_age is not None and not 0 <= present.now - past.ended < present.max_age:
        age = present.now - past.ended
        most = f"{present.max_age:.0f} s" if present.max_age else None
        yield Reason("expired", None, f"{age:.0f} s" if age >= 0 else None, most)


def _split(fingerprints: bytes) -> Iterable[bytes]:
    size = FINGERPRINT_SIZE
    return [fingerprints[at : at + size] for at in range(0, len(fingerprints), size)]


def short(fingerprint: bytes) -> str:
    """The first 12 hexadecimal digits: enough to tell two contents apart on a screen."""
    return fingerprint[:6].hex()
