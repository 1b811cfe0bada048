"""How duct says things: reasons, failures and sums as short texts. The same words in every reporter and every verb.

Values in, text out; refuses to know streams and colours. Every name from outside goes through `shown`, so that no text of a file name can
break a line or the terminal.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from ..text import count, duration, escaped, shown
from .nothing import nothing_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..events import BuildEnded, JobName
    from ..rebuilder import Reason

LAST_LINES = 20
"""Lines of a failed job's output that its failure shows; the rest is in its log."""

_SETTING = {"params": "params.{}", "env": "${}", "settings": "{}"}
_LONGEST_VALUE = 40
_VERBS = ("failed", "raised ", "ended ", "made ", "ran ", "took ", "was ", "could ", "did ", "has ")


def job_text(job: JobName) -> str:
    """`clean[day=20260105]`, on one line whatever the values are."""
    if not job.values:
        return shown(job.step)
    return f"{shown(job.step)}[{','.join(f'{name}={shown(value)}' for name, value in job.values.items())}]"


def reason_text(reason: Reason) -> str:
    """One reason in a few words."""
    key = shown(reason.key) if reason.key is not None else None
    kind = reason.kind
    if kind in _SETTING:
        return _setting(_SETTING[kind].format(key or ""), reason.old, reason.new)
    if kind == "code":
        # A name with a blank says itself what it is the name of: a function, a class, a value of a Python step.
        if reason.key and " " in reason.key:
            return f"{escaped(reason.key)} {_became('used', reason.old, reason.new)}"
        return f"module {key} {_became('imported', reason.old, reason.new)}"
    if kind == "upstream":
        return f"{key} may change" if key else "an input may change"
    if kind == "more":
        return f"and {_more(reason)} more"
    if kind == "failed":
        return f"failed last time: {escaped(reason.old)}" if reason.old else "failed last time"
    if kind == "expired":
        if reason.new is None:
            return "it is never cached"
        ago = f"last run {reason.old} ago" if reason.old else "the clock was set back since the last run"
        return f"{ago}, max_age is {reason.new}"
    plain = _PLAIN.get(kind)
    if plain is None:
        return kind.replace("-", " ") + (f": {key}" if key else "")
    return plain.format(key)


_PLAIN = {
    "new": "never ran",
    "forced": "forced",
    "accepted": "accepted as it was",
    "input-changed": "{} changed",
    "input-moved": "{} changed while it was read",
    "input-added": "{} is a new input",
    "input-removed": "{} is no longer an input",
    "input-order": "the inputs' order changed",
    "target-missing": "{} is missing",
    "target-edited": "{} was edited",
    "target-added": "{} is a new target",
    "command": "command changed",
}


def _setting(name: str, old: str | None, new: str | None) -> str:
    """What became of a parameter, a variable or a setting, with its values where they are short."""
    if old is None and new is None:
        return f"{name} changed"
    if old is None:
        return f"{name} added{_value(' ({})', new)}"
    if new is None:
        return f"{name} removed{_value(' (was {})', old)}"
    if _is_short(old) and _is_short(new):
        return f"{name} changed: {_literal(old)} -> {_literal(new)}"
    return f"{name} changed"


def _became(rested: str, old: str | None, new: str | None) -> str:
    """What became of a module, or a piece of code, that the step's function rests on."""
    if old is None and new is not None:
        return f"is {rested} now"
    return "changed" if old is None or new is not None else f"is no longer {rested}"


def _value(form: str, value: str | None) -> str:
    return form.format(_literal(value)) if value is not None and _is_short(value) else ""


def _literal(value: str) -> str:
    """A value as the user wrote it; lists and tables have quotes of their own."""
    return escaped(value) if value[:1] in ("[", "{") else shown(value)


def _is_short(value: str) -> bool:
    return len(value) <= _LONGEST_VALUE and "\n" not in value


def _more(reason: Reason) -> str:
    return f"{int(reason.new):,}" if reason.new and reason.new.isdigit() else (reason.new or "some")


def reasons_text(reasons: Sequence[Reason], most: int = 2) -> str:
    """The first reasons and the number of the others, on one line."""
    further = 0
    plain = []
    for reason in reasons:
        if reason.kind == "more":
            further += int(reason.new) if reason.new and reason.new.isdigit() else 1
        else:
            plain.append(reason)
    told = [reason_text(reason) for reason in plain[:most]]
    further += len(plain) - len(told)
    if further:
        told.append(f"and {further:,} more")
    return ", ".join(told)


def reason_lines(reason: Reason) -> list[str]:
    """One reason with all that is known of it: old and new contents, commands before and after. The first line stands for itself."""
    if reason.kind in ("input-changed", "target-edited") and reason.old and reason.new:
        return [f"{reason_text(reason)}   {shown(reason.old)} -> {shown(reason.new)}"]
    if reason.kind == "command" or (reason.kind in _SETTING and not (_fits(reason.old) and _fits(reason.new))):
        return [
            reason_text(reason),
            *(f"  - {line}" for line in _lines(reason.old)),
            *(f"  + {line}" for line in _lines(reason.new)),
        ]
    return [reason_text(reason)]


def _fits(value: str | None) -> bool:
    return value is None or _is_short(value)


def _lines(value: str | None) -> list[str]:
    return [clean_line(line) for line in value.splitlines()] if value else []


def clean_line(line: str) -> str:
    """A line of foreign text, such as a command, that cannot move the cursor: control characters are escaped, tabs kept."""
    return "\t".join(escaped(part) for part in line.split("\t"))


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; "signal 77" for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def exit_text(code: int | None) -> str:
    """How a command ended, by its exit code; negative: by a signal."""
    if code is None:
        return "failed"
    if code < 0:
        return f"killed by {signal_name(-code)}"
    return f"exit code {code}"


def inner_signal_text(code: int | None) -> str | None:
    """What a shell's exit code above 128 tells: a command in the script was ended by a signal. None for other codes."""
    if code is None or not 128 < code < 160:
        return None
    return f"a command in it was ended by {signal_name(code - 128)}"


def failure_text(error: str | None, exit_code: int | None) -> str:
    """What follows a job's name: `failed with exit code 2`, `ended well but did not make out/x`, `failed: command not found`."""
    what = error or exit_text(exit_code)
    return what if what.startswith(_VERBS) else f"failed: {what}"


def failure_headline(job: JobName, error: str | None, exit_code: int | None) -> str:
    """`step "clean" failed with exit code 2`."""
    owner = f'step "{job.step}"'
    if error:
        error = error.removeprefix(f"{owner}: ")
    return f"{escaped(owner)} {failure_text(error, exit_code)}"


def values_lines(job: JobName) -> list[str]:
    """One line for each wildcard's value."""
    return [f"{name} = {shown(value)}" for name, value in job.values.items()]


def names_text(names: Sequence[str], most: int = 3) -> str:
    """The first names and the number of the others: `a, b, c and 12 more`."""
    told = ", ".join(names[:most])
    further = len(names) - most
    return f"{told} and {further:,} more" if further > 0 else told


def sum_text(ended: BuildEnded, targets: Sequence[str] = ()) -> str:
    """The last line of a build: `3 jobs ran, 1 failed, 2 skipped, 40 up to date (1.2 s)`."""
    if not (ended.ran or ended.failed or ended.skipped or ended.interrupted):
        return nothing_text(ended.up_to_date, targets)
    numbers = (
        (ended.ran, "ran"),
        (ended.failed, "failed"),
        (ended.skipped, "skipped"),
        (ended.interrupted, "interrupted"),
        (ended.up_to_date, "up to date"),
    )
    (first, word), *others = [(number, word) for number, word in numbers if number]
    parts = [f"{count(first, 'job')} {word}", *(f"{number:,} {word}" for number, word in others)]
    return f"{', '.join(parts)} ({duration(ended.seconds)})"


def planned_sum_text(will: int, may: int, no: int, targets: Sequence[str] = ()) -> str:
    """The last line of a dry run."""
    if not (will or may):
        return nothing_text(no, targets)
    parts = [f"{count(will, 'job')} will run"]
    if may:
        parts.append(f"{may:,} may run")
    if no:
        parts.append(f"{no:,} up to date")
    return f"{', '.join(parts)} (dry run, nothing was done)"


def orphans_lines(orphans: Sequence[str]) -> list[str]:
    """What is left over, the first three by name, and how to get rid of it. Empty where nothing is."""
    if not orphans:
        return []
    names = names_text([shown(key) for key in orphans[:3]], 3)
    further = len(orphans) - 3
    if further > 0:
        names += f" and {further:,} more"
    verb = "is made by no step any more" if len(orphans) == 1 else "are made by no step any more"
    return [f"{names} {verb}", '  "duct clean --orphans" removes what duct made']
