"""Which words of a command are program text for somebody: `sh -c`, `eval`, `awk`, `sed`, `python -c`, `ssh` and their kind.

The shell's quotes keep a value whole, but these read the word again, in a language of their own, where a name with a quote or a semicolon in it
would be code. Only plain names may become part of such a word. The list knows the usual programs and errs on the side of caution: a word
taken for program text by mistake merely refuses unusual names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..shell import Word

_SHELLS = re.compile(r"(?:ba|da|z|k|mk|a|pdk|c|tc|fi)?sh|busybox|su|ksh93|pwsh|nu|xonsh|elvish")
_INTERPRETERS = re.compile(
    r"python[0-9.]*|pypy[0-9.]*|ipython[0-9]*|perl[0-9.]*|ruby[0-9.]*|node|nodejs|deno|bun|php[0-9.]*|Rscript|R|lua[0-9.]*|luajit|julia|tclsh"
    r"|psql|mysql|mariadb|duckdb|clickhouse|clickhouse-client|osascript|expect|gdb|vim|vi|nvim|ex|emacs|octave|script|flock|socat|rsync|git|tar|env"
)
_ALL_WORDS = frozenset(
    [
        "eval",
        "trap",
        "let",
        "ssh",
        "parallel",
        "watch",
        "make",
        "gmake",
        "sqlite3",
        "sqlite",
        "bc",
        "dc",
        "at",
        "batch",
        "expr",
    ]
)
_NAMES_OF_VARIABLES = frozenset(
    ["read", "unset", "mapfile", "readarray", "getopts", "wait", "declare", "typeset", "complete", "enable", "alias"]
)
_ASSIGNING = frozenset(["export", "readonly", "local"])
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_SHELL_OPTION = re.compile(r"-[A-Za-z]*c[A-Za-z]*|--command")
_PROGRAM_OPTION = re.compile(
    r"-[A-Za-z0-9]*[cerRSE]|-p|--(?:eval|command|exec|execute|expression|print|checkpoint-action|to-command|split-string)"
)
_GLUED_OPTION = re.compile(r"(?:-[ceErRS]|--[a-z-]*(?:eval|command|exec|action|expression|string)=).*\0", re.DOTALL)
_SCRIPT = re.compile(r"\.(?:py|pl|rb|js|mjs|ts|sh|bash|R|r|jl|lua|php|tcl|m)$")
_AWKS = frozenset(["awk", "gawk", "mawk", "nawk", "original-awk", "goawk"])
_SEDS = frozenset(["sed", "gsed", "ssed"])
_TAKES_VALUE = {"awk": frozenset(["-v", "-F", "-f", "-i", "-l"]), "sed": frozenset(["-f", "-l", "--file"])}
_COMPARES = re.compile(r"-(?:eq|ne|lt|le|gt|ge|v|R)")


def program_spots(commands: Iterable[Sequence[Word]]) -> dict[int, str]:
    """For each placeholder (its number) that stands in program text: the name of what reads it."""
    found: dict[int, str] = {}
    for words in commands:
        if any(word.spots for word in words):
            for at, word in enumerate(words):
                # What the shell expands within the word may be nothing.
                name = word.text.replace("$", "").rsplit("/", 1)[-1]
                for program in _program_words(name, words[at + 1 :]):
                    for spot in program.spots:
                        found.setdefault(spot, name)
    return found


def _program_words(name: str, words: Sequence[Word]) -> Iterable[Word]:
    """The words behind `name` that it reads as a program, if it is one that does."""
    if name in _ALL_WORDS or name in _NAMES_OF_VARIABLES:
        return words
    if name in _ASSIGNING:
        options = any(word.text.startswith(("-", "+")) for word in words)
        return [word for word in words if options or not _ASSIGNMENT.match(word.text)]
    if name in ("[[", "[", "test"):
        return (
            words
            if any(_COMPARES.fullmatch(word.text) and (name == "[[" or word.text in ("-v", "-R")) for word in words)
            else ()
        )
    if name == "printf":
        return words if words and words[0].text.startswith("-v") else ()
    if name in _AWKS:
        return _first_text(words, _TAKES_VALUE["awk"], ("-f", "--file", "-e", "--source"))
    if name in _SEDS:
        return _first_text(words, _TAKES_VALUE["sed"], ("-f", "--file", "-e", "--expression"))
    if _SHELLS.fullmatch(name):
        return _after_options(words, _SHELL_OPTION)
    if _INTERPRETERS.fullmatch(name):
        return _after_options(words, _PROGRAM_OPTION)
    return ()


def _after_options(words: Sequence[Word], option: re.Pattern[str]) -> list[Word]:
    """The words that follow such an option, and those that are glued to one, as far as the name of a script: what follows is for the script."""
    scripts = [at for at, word in enumerate(words) if _SCRIPT.search(word.text)]
    words = words[: scripts[0]] if scripts else words
    found = [word for word in words if _GLUED_OPTION.fullmatch(word.text)]
    for at, word in enumerate(words):
        if option.fullmatch(word.text):
            following = [w for w in words[at + 1 :] if not w.text.startswith("-")]
            found += following[:1]
    return found


def _first_text(words: Sequence[Word], takes_value: frozenset[str], options: tuple[str, ...]) -> list[Word]:
    """The program of awk and sed: what follows `-e`, or else the first word that is no option."""
    found = [word for word in words if _GLUED_OPTION.fullmatch(word.text)]
    given = False
    skip = False
    for at, word in enumerate(words):
        text = word.text
        if text in options or text.startswith(tuple(f"{option}=" for option in options if option.startswith("--"))):
            given = True
            if text in ("-e", "--expression", "--source"):
                found += words[at + 1 : at + 2]
        if skip:
            skip = False
        elif text in takes_value or text == "-e":
            skip = True
        elif not given and (not text.startswith("-") or text == "-"):
            return [*found, word]
    return found
