"""The completion of a shell: verbs, flags and their values from the parser; steps, as `duct list` tells them, and files for targets.

shtab writes the script; what it cannot know is put in here. Refuses to know any flag by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import shtab

from .arguments import SHELLS, WORDS_WITH_CHOICES, flags_of, whole_parser

if TYPE_CHECKING:
    import argparse

_BASH = r"""
_duct_target_files() {
  compgen -f -- "$1"
  compgen -W "$(duct list -0 2>/dev/null | tr '\0' '\n')" -- "$1"
}
"""
_ZSH = r"""
_duct_target_files() {
  local -a steps
  steps=(${(f)"$(duct list -0 2>/dev/null | tr '\0' '\n')"})
  compadd -a steps
  _files
}
"""
_TARGETS = {
    "bash": "_duct_target_files",
    "zsh": "_duct_target_files",
    "tcsh": "f",
    "fish": "(duct list -0 2>/dev/null | string split0; __fish_complete_path (commandline -ct))",
}
_PREAMBLES = {"bash": _BASH, "zsh": _ZSH}


def script(shell: str) -> str:
    """The script for one of `SHELLS` that the installed shtab knows."""
    parser = whole_parser()
    choices = {flag.dest: flag.choices for verb in (None, *_verbs(parser)) for flag in flags_of(verb or "build")}
    for each in (parser, *_verbs(parser).values()):
        for action in each._actions:
            _describe(action, choices)
    text = shtab.complete(parser, shell=shell, preamble=_PREAMBLES.get(shell, ""))
    if shell == "bash":
        # A target can stand where a verb can, and what shtab does not complete is a file.
        text = text.replace(_BASH.strip(), f"{_BASH.strip()}\n\n_shtab_duct_pos_0_COMPGEN=_duct_target_files", 1)
        text = text.replace("complete -o bashdefault -F", "complete -o bashdefault -o default -F", 1)
    return text


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: Any = next(action.choices for action in parser._actions if action.dest == "verb")
    return dict(found)


def _describe(action: argparse.Action, choices: dict[str, Any]) -> None:
    """Tell shtab what can stand for a flag's value or for a word."""
    if action.dest == "words":
        given = WORDS_WITH_CHOICES.get(str(action.metavar))
        action.help = str(action.metavar)  # shtab passes over what has no help
        if given:
            action.choices = list(given)
        elif action.metavar == "target":
            action.complete = _TARGETS  # type: ignore[attr-defined]
    elif action.metavar in ("FILE", "DIR"):
        action.complete = shtab.FILE if action.metavar == "FILE" else shtab.DIRECTORY  # type: ignore[attr-defined]
    elif choices.get(action.dest):
        action.choices = choices[action.dest]


__all__ = ["SHELLS", "script"]
