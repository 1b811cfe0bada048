"""From a step's `run` and a job's values to the words that are executed.

A value is data wherever it stands: it is written in the quotes of its place, and a place where that is not enough is refused (`shell`) or takes
plain names only (`programs`). The module starts nothing and knows no jobs. Invariant: for whatever values, the command that runs differs from
the step's own text only in its data.
"""

from __future__ import annotations

import datetime
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import DuctError, DuctfileError, Mistake
from ..shell import KEYWORDS, Spot, Word, check_command, lex, normalise, quote, shell_name
from ..template import Placeholder, parse
from ..tuples import NamedTuple
from .programs import program_spots

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ..model import Location, Product, Step, Work
    from .base import Invocation

__all__ = ["CommandTemplate", "Rendered", "check_command", "compile_command", "normalise", "shown_word", "strict_shell"]

SHELL_WORD = "<shell>"
"""The first of the identifying words of a text that a shell runs."""

ARGUMENT_LIMIT = 131_072
"""Bytes of one argument with its end mark: MAX_ARG_STRLEN of Linux, which no setting changes."""

_BARE = re.compile(r"[A-Za-z0-9_@%+:,./-]+")
_BARE_WORDS = re.compile(rf"{_BARE.pattern}(?: {_BARE.pattern})*")
_BARE_IN_QUOTES = re.compile(r"[A-Za-z0-9_@%+:,./= -]*")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./=-]*")
_NUMBER = re.compile(r"-[0-9]+(\.[0-9]+)?")
_PATHS = ("input", "inputs", "target", "targets", "manifest")
_LISTS = ("inputs", "targets", "params")


class Rendered(NamedTuple):
    """A job's command. `argv` is executed; where `script` is set, it is to be written to a file first, whose path is then appended to `argv`.
    Where `stdout` is set, that file takes the standard output. Where `call` is set, a function is called instead; where `body` is, an object of this
    process, with `work`.

    `words` identify the command, however it is written in the Ductfile: texts, or plain data; `shown` is what a user can repeat by hand.
    """

    argv: list[str]
    words: list[Any]
    shown: str
    script: str | None = None
    call: Invocation | None = None
    stdout: str | None = None
    body: Callable[[Work], Mapping[str, Product] | None] | None = None
    work: Work | None = None


class _Place(NamedTuple):
    """A placeholder, how its value is written, and what the value must not be."""

    spot: Spot
    from_name: bool
    """The value is a part of a file name that somebody else may have chosen."""
    program: str | None
    """What reads the word as program text."""


class CommandTemplate:
    """A step's command before the values of a job are known."""

    def __init__(self, step: Step) -> None:
        run = step.run
        if run is None:
            raise ValueError(f"step {step.name} has no command")
        self._step = step
        self._where = str(step.run_location or step.location)
        self._wildcards = _wildcards(step)
        self._list_elements: list[list[str | _Place]] = []
        self._sink: _Place | None = None
        """The target that takes the output, where that is all that a shell would do."""
        self._text: list[str | _Place] = []
        self._normal: list[str | _Place] = []
        self.direct = run.text is None
        if run.text is None:
            self._compile_list(run.argv or ())
        else:
            self._compile_text(run.text, run.shell)
        self._elements = [_constant(element) for element in self._list_elements]
        self._shell = list(run.shell or strict_shell())
        self._bash = shell_name(self._shell) == "bash"
        places = [part for parts in (self._text, *self._list_elements) for part in parts if not isinstance(part, str)]
        self._placeholders = [place.spot.placeholder for place in places if place.spot.quote != "comment"]
        self.uses_manifest = any(placeholder.name == "manifest" for placeholder in self._placeholders)
        self._used = {at for at in range(len(step.targets)) if any(_gives(p, step, at) for p in self._placeholders)}

    # --- compiling

    def _compile_text(self, text: str, shell: Sequence[str] | None) -> None:
        lexed = lex(text, shell)
        self._refuse(text, lexed.mistakes)
        self._text = self._places(text, lexed.pieces, program_spots(lexed.commands))
        self.direct = lexed.direct and not shell
        if self.direct:
            self._list_elements = _split_words(self._text)
            return
        if lexed.redirected and not shell:
            self._redirect()
        if lexed.normal == text:
            self._normal = self._text
        else:
            again = lex(lexed.normal, shell)
            self._normal = self._places(lexed.normal, again.pieces, program_spots(again.commands))

    def _redirect(self) -> None:
        """Take the text apart into the words before its `>` and the target after it, which is staged, so no pipe or device."""
        *before, place = self._text if not isinstance(self._text[-1], str) else self._text[:-1]
        if isinstance(place, str) or place.spot.placeholder.name not in ("target", "targets"):
            return
        sign = before.pop()
        assert isinstance(sign, str)
        self._list_elements = _split_words([*before, sign.rstrip(" \t").removesuffix(">")])
        self._sink = place

    def _compile_list(self, elements: Sequence[str]) -> None:
        words: list[Word] = []
        spots: list[list[str | Spot]] = []
        count = 0
        for at, element in enumerate(elements):
            parts = parse(element, is_key=False).parts
            pieces = [
                p if isinstance(p, str) else Spot(p, "none", False, len(parts) > 1, number == 0, at == 0)
                for number, p in enumerate(parts)
            ]
            spots.append(pieces)
            numbers = [number for number, piece in enumerate(p for p in pieces if isinstance(p, Spot))]
            words.append(
                Word(
                    "".join(p if isinstance(p, str) else "\0" for p in pieces),
                    tuple(count + number for number in numbers),
                )
            )
            count += len(numbers)
        programs = program_spots([words])
        number = 0
        for element, pieces in zip(elements, spots):
            here = {at: programs[number + at] for at in range(len(pieces)) if number + at in programs}
            self._list_elements.append(self._places(element, pieces, here))
            number += sum(isinstance(piece, Spot) for piece in pieces)

    def _places(self, text: str, pieces: Sequence[str | Spot], programs: Mapping[int, str]) -> list[str | _Place]:
        found: list[str | _Place] = []
        number = 0
        for piece in pieces:
            if isinstance(piece, str):
                found.append(piece)
                continue
            name = piece.placeholder.name
            from_name = name in self._wildcards or name in _PATHS
            if piece.command and piece.leads and name in self._wildcards:
                what = f'a file name would choose the program to be run: "{piece.placeholder}" begins the command'
                self._refuse(text, [(what, piece.placeholder.start, piece.placeholder.end)])
            found.append(_Place(piece, from_name, programs.get(number)))
            number += 1
        return found

    def _refuse(self, text: str, mistakes: Sequence[tuple[str, int, int]]) -> None:
        """Mistakes that the Ductfile's reader did not see: a step made elsewhere."""
        if mistakes:
            place = self._step.run_location or self._step.location
            raise DuctfileError([_mistake(self._step, place, text, *mistake) for mistake in mistakes])

    # --- questions

    def uses(self, slot: int) -> bool:
        """Does the command get this target (its number among the declared ones) through a placeholder?"""
        return self.uses_manifest or slot in self._used

    def reads(self, slot: int) -> bool:
        """Does the command get the path of these inputs (their number among the declared ones), or of some of them?"""
        name = self._step.inputs[slot].name
        return self.uses_manifest or any(
            not each.is_uri and each.name in ("input", "inputs") and each.slot in (None, name)
            for each in self._placeholders
        )

    def names(self) -> set[str]:
        """The names of the placeholders."""
        return {placeholder.name for placeholder in self._placeholders}

    # --- rendering

    def render(self, values: Mapping[str, Any], *, shown: bool = True) -> Rendered:
        """The command for a job's values: texts by name, `inputs` and `targets` as lists of (slot's name, paths), `params`, `manifest`.

        DuctError where a value cannot be written in its place, or where the command is longer than the system takes.
        `shown`: are the text for the user and what identifies the command wanted as well, or only what starts it?
        """
        if self._sink is not None and not shown:
            sinks = self._values(self._sink, values)
            if len(sinks) == 1:
                return Rendered(self._argv(values), [], "", stdout=sinks[0])
        elif self._elements and self._sink is None:
            argv = self._argv(values)
            return Rendered(argv, argv, " ".join(map(shown_word, argv)) if shown else "")
        script = "".join([part if isinstance(part, str) else self._written(part, values) for part in self._text])
        normal = script
        if self._normal is not self._text:
            normal = "".join([p if isinstance(p, str) else self._written(p, values) for p in self._normal])
        words = [SHELL_WORD, normal]
        # The text is no option of the shell, whatever its first command is called.
        text = f" {script}" if script[:1] in ("-", "+") else script
        if len(text) * 4 >= ARGUMENT_LIMIT and len(os.fsencode(text)) >= ARGUMENT_LIMIT:
            return Rendered(self._file_shell(), words, script.strip("\n"), script)
        return Rendered([*self._shell, text], words, script.strip("\n"))

    def _argv(self, values: Mapping[str, Any]) -> list[str]:
        """The words of a command that needs no shell."""
        argv: list[str] = []
        for element in self._elements:
            if isinstance(element, str):
                argv.append(element)
            else:
                argv += self._words(element, values)
        self._check_size(argv)
        return argv

    def _written(self, place: _Place, values: Mapping[str, Any]) -> str:
        """The text for a place in a shell's text."""
        spot = place.spot
        if spot.quote == "comment":
            return str(spot.placeholder)
        found = self._values(place, values)
        if spot.quote == "none":
            if spot.bare and len(found) > 1:
                joined = " ".join(found)
                if _are_bare(joined, len(found)) and KEYWORDS.isdisjoint(found):
                    return joined
            written = [self._word(value, bare=spot.bare) for value in found]
            return " ".join(written) if written or not spot.glued else "''"
        joined = " ".join(found)
        if spot.quote == "single":
            return (
                f"'{self._quoted(joined)}'" if self._bash and not joined.isprintable() else joined.replace("'", "'\\''")
            )
        if spot.bare and _BARE_IN_QUOTES.fullmatch(joined):
            return joined
        # Outside of the double quotes: what is special inside of them differs between shells.
        return f'"{self._quoted(joined)}"' if joined else ""

    def _word(self, value: str, *, bare: bool) -> str:
        return value if bare and _BARE.fullmatch(value) and value not in KEYWORDS else self._quoted(value)

    def _quoted(self, value: str) -> str:
        return quote(value, bash=self._bash)

    def _words(self, element: Sequence[str | _Place], values: Mapping[str, Any]) -> list[str]:
        """The arguments that one element of a list, or one word of a plain text, becomes."""
        if len(element) == 1 and not isinstance(element[0], str):
            return self._values(element[0], values)
        argument = ""
        arguments: list[str] = []
        for part in element:
            if isinstance(part, str):
                argument += part
                continue
            found = self._values(part, values)
            if self._step.run is not None and self._step.run.text is not None and found:
                arguments += [argument + found[0], *found[1:-1]] if len(found) > 1 else []
                argument = found[-1] if len(found) > 1 else argument + found[0]
            else:
                argument += " ".join(found)
        return [*arguments, argument]

    def _values(self, place: _Place, values: Mapping[str, Any]) -> list[str]:
        """The values of a placeholder, fit for its place; DuctError if one is not."""
        placeholder = place.spot.placeholder
        found = self._looked_up(placeholder, values)
        if placeholder.name in _PATHS and not placeholder.is_uri:
            command = place.spot.command and place.spot.leads
            if command or "\n-" in "\n".join(["", *found]):
                found = [_as_path(value, command=command) for value in found]
        elif place.from_name and place.spot.leads and found and found[0][:1] == "-" and not _NUMBER.fullmatch(found[0]):
            raise DuctError(
                f'step "{self._step.name}": the value of {placeholder} is "{found[0]}", which the command would take for an option',
                where=self._where,
                hint=f"write something in front of it, such as ./{placeholder} or --name={placeholder}",
            )
        if place.program is not None and place.from_name:
            self._check_plain(place.program, placeholder, found)
        return found

    def _check_plain(self, program: str, placeholder: Placeholder, found: Sequence[str]) -> None:
        for value in found:
            if not _PLAIN.fullmatch(value):
                raise DuctError(
                    f'step "{self._step.name}": {placeholder} is "{value}", which "{program}" would read as a part of its program',
                    where=self._where,
                    facts=("only letters, digits and _ @ % + : , . / = - are accepted there",),
                    hint="hand it over as an argument, for example: sh -c 'cat \"$1\"' - {input}",
                )

    def _looked_up(self, placeholder: Placeholder, values: Mapping[str, Any]) -> list[str]:
        name = placeholder.name
        if name in ("input", "inputs", "target", "targets"):
            setting = "inputs" if name.startswith("input") else "targets"
            return self._paths(placeholder, values[f"{setting}.uri" if placeholder.is_uri else setting])
        if name == "params" and placeholder.part is not None:
            return _as_texts(values["params"][placeholder.part])
        value = values[name]
        return [value if isinstance(value, str) else str(value)]

    def _paths(self, placeholder: Placeholder, slots: Sequence[tuple[str | None, Sequence[str]]]) -> list[str]:
        part = placeholder.slot
        paths = [path for name, listed in slots if part is None or name == part for path in listed]
        index = placeholder.item
        if index is None and placeholder.name in ("input", "target") and part is None:
            index = 0
        if index is None:
            return paths
        if index >= len(paths):
            kind = placeholder.name.rstrip("s")
            raise DuctError(
                f'step "{self._step.name}": {placeholder} has no value, since the job has {len(paths)} {kind}s',
                where=self._where,
            )
        return [paths[index]]

    # --- limits

    def _check_size(self, argv: Sequence[str]) -> None:
        """DuctError where the arguments are more than the system takes."""
        size = sum(map(len, argv)) + 9 * len(argv)
        if size < 30_000:
            return
        lengths = [len(os.fsencode(word)) for word in argv]
        if max(lengths) >= ARGUMENT_LIMIT or sum(lengths) + 9 * len(lengths) > _room(self._step.env_set):
            raise DuctError(
                f"the command is too long for the system: {len(argv):,} arguments, {sum(lengths):,} bytes",
                where=self._where,
                hint="give the names in a file: {manifest} is a JSON Lines file with the inputs and targets",
            )

    def _file_shell(self) -> list[str]:
        """The shell's words for a script in a file: those for a text, without their `c`."""
        shell = self._shell
        last = shell[-1]
        if re.fullmatch(r"-[A-Za-z]*c", last):
            return [*shell[:-1], last[:-1]] if len(last) > 2 else list(shell[:-1])
        raise DuctError(
            f'the command is too long for one argument, and duct cannot tell how "{" ".join(shell)}" runs a file',
            where=self._where,
            hint="give the names in a file: {manifest} is a JSON Lines file with the inputs and targets",
        )


def compile_command(step: Step) -> CommandTemplate:
    """The template of a step's command. DuctfileError if it has a placeholder where no value can be quoted."""
    return CommandTemplate(step)


@lru_cache(maxsize=1)
def strict_shell() -> tuple[str, ...]:
    """The words of the shell that runs a text: it stops at the first error, an unset variable, and a failure within a pipe (bash only)."""
    if any(os.access(f"{folder}/bash", os.X_OK) for folder in os.get_exec_path()):
        return ("bash", "-euo", "pipefail", "-c")
    return ("sh", "-eu", "-c")


def shown_word(word: str) -> str:
    """An argument as a user would type it."""
    return word if _PLAIN.fullmatch(word) and word and word not in KEYWORDS else quote(word, bash=True)


def _wildcards(step: Step) -> Collection[str]:
    named = {
        placeholder.name
        for slot in (*step.inputs, *step.targets)
        for placeholder in parse(slot.text, is_key=True).placeholders
    }
    return named - {name for name, _ in step.foreach}


def _gives(placeholder: Placeholder, step: Step, slot: int) -> bool:
    if placeholder.name not in ("target", "targets") or placeholder.is_uri:
        return False
    if placeholder.part is not None:
        return step.targets[slot].name == placeholder.part
    if placeholder.item is not None:
        return placeholder.item == slot
    return placeholder.name == "targets" or slot == 0


def _constant(element: list[str | _Place]) -> str | list[str | _Place]:
    """The argument itself, where it has no placeholder."""
    texts = [part for part in element if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(element) else element


def _split_words(parts: Sequence[str | _Place]) -> list[list[str | _Place]]:
    """The words of a text without shell syntax."""
    words: list[list[str | _Place]] = []
    within = False
    for part in parts:
        if not isinstance(part, str):
            words[-1].append(part) if within else words.append([part])
            within = True
            continue
        for piece in re.findall(r"[ \t\n]+|[^ \t\n]+", part):
            if piece.isspace():
                within = False
            else:
                words[-1].append(piece) if within else words.append([piece])
                within = True
    return words


def _are_bare(joined: str, words: int) -> bool:
    """Is each of the words joined by blanks plain? One look for 100,000 of them."""
    return bool(_BARE_WORDS.fullmatch(joined)) and joined.count(" ") == words - 1


def _as_path(value: str, *, command: bool) -> str:
    """A path that no program takes for an option, nor looks for in the search path."""
    if value.startswith("-") or (command and "/" not in value):
        return f"./{value}"
    return value


def _as_texts(value: Any) -> list[str]:
    """A parameter's value as the command sees it: a list becomes several words."""
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _as_texts(item)]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, (datetime.date, datetime.time)):
        return [value.isoformat()]
    return [str(value)]


def _room(env_set: Mapping[str, str]) -> int:
    """Bytes that are left for arguments: the kernel counts the environment and a pointer for each text as well."""
    try:
        limit = os.sysconf("SC_ARG_MAX")
    except (ValueError, OSError):
        limit = ARGUMENT_LIMIT
    if limit <= 0:
        limit = ARGUMENT_LIMIT
    environment = {**os.environ, **env_set}
    used = sum(len(os.fsencode(name)) + len(os.fsencode(value)) + 10 for name, value in environment.items())
    return int(min(limit, 6 * 1024 * 1024)) - used - 4096


def _mistake(step: Step, place: Location, text: str, message: str, start: int, end: int) -> Mistake:
    excerpt = text[start:end] if "\n" not in text[start:end] else text[start : text.index("\n", start)]
    return Mistake(
        place.file, place.line, f'step "{step.name}": {message}', facts=(f"here: {excerpt}",) if excerpt else ()
    )
