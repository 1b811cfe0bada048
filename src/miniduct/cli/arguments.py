"""The flags of every verb: one table for parsing, help, environment and completion. Words in, a namespace out.

Flags may stand before or after the verb and between targets. The first word that is neither a flag nor a verb is a target. Whatever is wrong is a
UsageError; nothing here exits or prints.
"""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import UsageError
from ..reporters.output import MODES
from ..text import nearest
from ..tuples import NamedTuple
from .verbs import HABITS, TARGETS, VERBS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COLOURS = ("auto", "always", "never")
FORMATS = ("dot", "mermaid", "json")
SHELLS = ("bash", "zsh", "fish", "tcsh")

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("", "0", "false", "no", "off")


class Flag(NamedTuple):
    """One flag. `kind` is "bool", "count", "value" or "many"; `convert` makes a value of a text, ValueError says what is wrong with it."""

    names: tuple[str, ...]
    help: str
    kind: str = "bool"
    metavar: str | None = None
    convert: Callable[[str], Any] = str
    default: Any = None
    choices: tuple[str, ...] | None = None
    environment: bool = True

    @property
    def dest(self) -> str:
        return self.names[-1].lstrip("-").replace("-", "_")

    @property
    def variable(self) -> str:
        return f"DUCT_{self.dest.upper()}"

    @property
    def usual(self) -> Any:
        """What holds where neither the words nor the environment say anything."""
        return {"bool": False, "count": 0, "many": ()}.get(self.kind, self.default)


def _jobs(text: str) -> int:
    if text == "auto":
        return 0
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError(f'"{text}" is no number of jobs: 1 or more, or auto for one a core')
    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 86_400:
        raise ValueError(f'"{text}" is no number of seconds: 2, or 0.5')
    return seconds


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f'"{text}" is not NAME=VALUE')
    return name, value


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text in choices:
            return text
        near = nearest(text, choices)
        raise ValueError(f'"{text}" is none of {", ".join(choices)}' + (f'; did you mean "{near[0]}"?' if near else ""))

    return convert


WHERE = (
    Flag(("-f", "--file"), "the Ductfile (without it: looked for here and upwards)", "value", "FILE"),
    Flag(("-C", "--directory"), "as if started in DIR", "value", "DIR"),
    Flag(("--set",), "another value for a var of the Ductfile; may be repeated", "many", "NAME=VALUE", convert=_pair),
    Flag(("--offline",), "ask no remote store: what was last known of its keys counts"),
)
SAYING = (
    Flag(("-q", "--quiet"), "failures only"),
    Flag(
        ("-v", "--verbose"), "more: whole commands, all reasons, jobs that were looked at and are up to date", "count"
    ),
    Flag(("--json",), "JSON Lines on stdout, for programs"),
    Flag(
        ("--color",),
        "auto (on a terminal), always or never",
        "value",
        "WHEN",
        convert=_one_of(COLOURS),
        default="auto",
        choices=COLOURS,
    ),
)
NO_WAIT = Flag(("--no-wait",), "if another build runs in this project, end with exit code 2 instead of waiting for it")

BUILD = (
    Flag(("-j", "--jobs"), "jobs at a time (without it: one for each core)", "value", "N", convert=_jobs, default=0),
    Flag(("-k", "--keep-going"), "after a failure, go on with what does not depend on it"),
    Flag(("-n", "--dry-run"), "say what will run, what may, and why; nothing is done"),
    Flag(("-B", "--force"), "run the jobs even if they are up to date"),
    Flag(
        ("--output",),
        "jobs' output: group (whole, when a job has ended), prefix (lines with the job's name) or stream (as it comes)",
        "value",
        "MODE",
        convert=_one_of(MODES),
        default="group",
        choices=MODES,
    ),
    NO_WAIT,
)


class Words(NamedTuple):
    """How a verb is called: its flags, the metavar and the help of its words, and what its help shows besides."""

    flags: tuple[Flag, ...]
    words: str | None
    about: str
    examples: tuple[tuple[str, str], ...]
    least: int = 0
    targets: bool = True
    where: bool = True


_SPEC = {
    "build": Words(
        BUILD,
        "target",
        "Makes the targets, and whatever they need, as far as it is stale. Without targets: the Ductfile's `default`, or every step. "
        "Each job that runs is told with its reason; a job that makes the same content as before spares its readers.",
        (
            ("duct build", "everything that is stale"),
            ("duct out/report.html", "one file, and what it needs"),
            ("duct build clean -n", "what of the step clean would run, and why"),
            ("duct -k -j 8 tag:nightly", "eight at a time, on after failures"),
            ("duct -B report", "run report and what it needs, stale or not"),
        ),
    ),
    "status": Words(
        (Flag(("--exit-code",), "end with 3 if anything is stale or failed"),),
        "target",
        "What is stale and why, what may become stale when that has run, whose last run failed, and which targets no step makes any more. "
        "Nothing is run or written.",
        (
            ("duct status", "the whole project"),
            ("duct status out/report.html", "one target, and what it needs"),
            ("duct status --exit-code -q", "for scripts: 0 up to date, 3 stale"),
        ),
    ),
    "why": Words(
        (),
        "target",
        "Why a target is stale: old and new values, and the chain to the root cause. Or, if it is up to date, why it last ran. Nothing is run.",
        (
            ("duct why out/report.html", "one file"),
            ("duct why clean", "all jobs of a step"),
        ),
        least=1,
    ),
    "list": Words(
        (
            Flag(("--jobs",), "the jobs, and what they make", environment=False),
            Flag(("--keys",), "the files that steps make", environment=False),
            Flag(("--sources",), "the files that are read and that no step makes", environment=False),
            Flag(
                ("-0", "--null"),
                "names only, as they are, each ended by a NUL character (for xargs -0)",
                environment=False,
            ),
        ),
        "target",
        "The steps with the number of their jobs; with a flag, jobs or files instead.",
        (
            ("duct list", "the steps"),
            ("duct list --jobs clean", "the jobs of a step, and those that it needs"),
            ("duct list --keys -0 | xargs -0 ls -l", "all files that steps make"),
        ),
    ),
    "graph": Words(
        (
            Flag(
                ("--format",),
                "dot, mermaid or json",
                "value",
                "FORMAT",
                convert=_one_of(FORMATS),
                default="dot",
                choices=FORMATS,
                environment=False,
            ),
            Flag(("--jobs",), "one node for each job, not one for each step", environment=False),
        ),
        "target",
        "Who reads from whom. The jobs of a step are one node, with their number.",
        (
            ("duct graph | dot -Tsvg > graph.svg", "a picture, through Graphviz"),
            ("duct graph --format mermaid", "for Markdown pages"),
            ("duct graph --jobs out/report.html", "every job behind one file"),
        ),
    ),
    "log": Words(
        (Flag(("--path",), "the paths of the logs, not what is in them", environment=False),),
        "target",
        "What jobs said in their last run, stdout and stderr together. A job that said nothing has no log.",
        (
            ("duct log clean", "all jobs of a step"),
            ("duct log out/report.html", "the job that makes a file"),
            ("less $(duct log --path report)", "in a pager"),
        ),
        least=1,
    ),
    "watch": Words(
        (
            *(flag for flag in BUILD if flag.names[0] in ("-j", "-k", "--output")),
            Flag(
                ("--settle",),
                "seconds without a change before the build begins",
                "value",
                "SECONDS",
                convert=_seconds,
                default=0.2,
            ),
            Flag(
                ("--poll",),
                "look every so many seconds, instead of being told of changes",
                "value",
                "SECONDS",
                convert=_seconds,
                default=0.0,
            ),
            Flag(
                ("--remote-poll",),
                "ask about remote keys every so many seconds",
                "value",
                "SECONDS",
                convert=_seconds,
                default=60.0,
            ),
            Flag(("--restart",), "end a running build, and begin anew, when something changes that it reads"),
            Flag(
                ("--exec-on-success",), "a command for the shell, after each build that went well", "value", "COMMAND"
            ),
            Flag(
                ("--notify",),
                "a URL, or a command for the shell, that is told of a failure and of the recovery",
                "value",
                "TARGET",
            ),
        ),
        "target",
        "Builds, then waits for changes of what was read, and builds what they make stale, until Ctrl-C. Where the system tells of no changes, it "
        "looks every two seconds.",
        (
            ("duct watch", "keep everything up to date"),
            ("duct watch report", "only report, and what it needs"),
            ("duct watch --poll 10", "on a network file system"),
        ),
    ),
    "clean": Words(
        (
            Flag(("--orphans",), "only targets that a step made once and that none makes any more"),
            Flag(("--objects",), "instead of targets, the local copies of remote inputs"),
            Flag(("-y", "--yes"), "do not ask"),
            Flag(("-n", "--dry-run"), "list only"),
            NO_WAIT,
        ),
        "target",
        "Removes targets: lists them first, then asks. Only files that duct made and whose content is still what it made; anything else is told "
        "and left alone. Without targets: all of the project's.",
        (
            ("duct clean --orphans", "what is left over"),
            ("duct clean clean", "the targets of the step clean"),
            ("duct clean -n", "list what would be removed"),
            ("duct clean --objects", "free the disk of copies; what is needed is fetched again"),
        ),
    ),
    "accept": Words(
        (Flag(("--all",), "what plain `duct` makes", environment=False), NO_WAIT),
        "target",
        "Takes the files that are there as made by the present inputs and commands: the jobs count as up to date, nothing is run. For a change "
        "that you know to make no difference, or for files that came from elsewhere.",
        (
            ("duct accept clean", "all jobs of a step"),
            ("duct accept out/report.html", "the job that makes one file"),
        ),
    ),
    "init": Words(
        (Flag(("-C", "--directory"), "in DIR instead of here", "value", "DIR"),),
        None,
        "Writes a first Ductfile, with a step for the files that are there. Never overwrites one.",
        (("duct init", "here"), ("duct init -C data", "in another folder")),
        where=False,
    ),
    "check": Words(
        (),
        None,
        "Reads the Ductfile and plans all jobs, and tells every mistake with its place. Nothing is run or written.",
        (("duct check", "the Ductfile here or above"), ("duct check -f other/Ductfile", "another one")),
    ),
    "schema": Words(
        (),
        None,
        "Prints the JSON Schema of the Ductfile. Editors that know TOML (taplo, Even Better TOML) complete and check with it.",
        (("duct schema > ductfile.schema.json", "to a file"),),
        where=False,
    ),
    "completion": Words(
        (),
        "shell",
        f"Prints the completion for a shell: {', '.join(SHELLS)}.",
        (
            ('eval "$(duct completion bash)"', "in ~/.bashrc"),
            ("duct completion zsh > ~/.zfunc/_duct", "zsh; ~/.zfunc must be in $fpath"),
            ("duct completion fish > ~/.config/fish/completions/duct.fish", "fish"),
        ),
        least=1,
        targets=False,
        where=False,
    ),
    "help": Words(
        (), "verb", "Help on a verb, or the overview.", (("duct help why", "one verb"),), targets=False, where=False
    ),
}


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of exiting."""

    verb = "build"

    def format_help(self) -> str:
        self.description = _wrapped(self.description or "")
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        raise _usage(message.removeprefix("argument "), self.verb)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Flags in a narrow column, texts as they were written."""

    def __init__(self, prog: str, **settings: Any) -> None:
        settings["max_help_position"] = 28
        settings["width"] = 88
        super().__init__(prog, **settings)


def _usage(what: str, verb: str, hint: str | None = None) -> UsageError:
    return UsageError(what, hint=hint or f'"duct help {verb}" shows the flags of {verb}')


def flags_of(verb: str) -> tuple[Flag, ...]:
    """All flags of a verb, its own first."""
    spec = _SPEC[verb]
    return (*spec.flags, *(WHERE if spec.where else ()), *SAYING)


def parser_for(verb: str, parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The parser of one verb; `parser` to add its arguments to an existing one (for completion)."""
    spec = _SPEC[verb]
    if parser is None:
        words = {0: f" [{spec.words} ...]", 1: f" {spec.words} ..."}[spec.least] if spec.words else ""
        made = _Parser(
            prog=f"duct {verb}",
            usage=f"duct {verb} [flags]{words}",
            description=spec.about,
            epilog=_epilog(spec),
            formatter_class=_Help,
            add_help=False,
            allow_abbrev=False,
        )
        made.verb = verb
        parser = made
    own = parser.add_argument_group("flags") if spec.flags else None
    where = parser.add_argument_group("where") if spec.where else None
    saying = parser.add_argument_group("saying")
    for flag in flags_of(verb):
        group = own if flag in spec.flags else where if flag in WHERE else saying
        _add(group or saying, flag)
    saying.add_argument("-h", "--help", action="store_true", default=argparse.SUPPRESS, help="this help")
    if spec.words:
        _add_words(parser, spec)
    return parser


def _add_words(parser: argparse.ArgumentParser, spec: Words) -> None:
    parser.add_argument("words", nargs="*", metavar=spec.words, help=argparse.SUPPRESS)


WORDS_WITH_CHOICES = {"shell": SHELLS, "verb": tuple(VERBS)}
"""What the words of a verb can be, where that is not for the Ductfile to say."""


def _add(group: argparse._ArgumentGroup, flag: Flag) -> None:
    note = f" [{flag.variable}]" if flag.environment else ""
    if flag.kind == "bool":
        group.add_argument(*flag.names, action="store_true", default=argparse.SUPPRESS, help=flag.help + note)
    elif flag.kind == "count":
        group.add_argument(*flag.names, action="count", default=argparse.SUPPRESS, help=flag.help + note)
    else:
        group.add_argument(
            *flag.names,
            dest=flag.dest,
            action="append" if flag.kind == "many" else "store",
            default=argparse.SUPPRESS,
            metavar=flag.metavar,
            type=_converter(flag.convert),
            help=flag.help + note,
        )


def _converter(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted


def _wrapped(text: str) -> str:
    import textwrap

    return textwrap.fill(text, 84)


def _epilog(spec: Words) -> str:
    width = max(len(call) for call, _ in spec.examples)
    examples = "\n".join(f"  {call:<{width}}   {what}" for call, what in spec.examples)
    return (f"{TARGETS}\n" if spec.words == "target" else "") + f"examples:\n{examples}"


class Call(NamedTuple):
    """What the words mean: `verb` is None for the overview, `said` tells whether the verb was written."""

    verb: str | None
    said: bool
    values: argparse.Namespace
    help: bool = False
    version: bool = False


def parse(words: Sequence[str], environ: Mapping[str, str]) -> Call:
    """The call that these words mean. UsageError."""
    words = list(words)
    literal: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, literal = words[:at], words[at + 1 :]
    first = _first_word(words)
    verb, said = "build", False
    if first is not None and words[first] in VERBS:
        verb, said = words[first], True
        del words[first]
    if "--version" in words or "-V" in words:
        return Call(verb, said, argparse.Namespace(), version=True)
    if "-h" in words or "--help" in words:
        return Call(verb if said else None, said, argparse.Namespace(), help=True)
    return Call(verb, said, _values(verb, words, literal, environ))


def _values(verb: str, words: list[str], literal: list[str], environ: Mapping[str, str]) -> argparse.Namespace:
    spec = _SPEC[verb]
    values, unknown = parser_for(verb).parse_known_intermixed_args(words)
    wrong = [word for word in unknown if word.startswith("-")]
    if wrong:
        raise _unknown_flag(wrong[0], verb)
    given = [*(getattr(values, "words", None) or []), *unknown, *literal]
    if given and spec.words is None:
        raise _usage(f'{verb} takes no words, but was given "{given[0]}"', verb)
    if len(given) < spec.least:
        raise _usage(f"{verb} needs a {spec.words}", verb, hint=f"for example: {spec.examples[0][0]}")
    values.words = tuple(given)
    for flag in flags_of(verb):
        if not hasattr(values, flag.dest):
            setattr(values, flag.dest, _from_environment(flag, environ))
        elif flag.kind == "many":
            setattr(values, flag.dest, tuple(getattr(values, flag.dest)))
    return values


def _first_word(words: Sequence[str]) -> int | None:
    """Where the first word stands that is neither a flag nor a flag's value."""
    takes = {name for flag in (*WHERE, *SAYING, *BUILD) if flag.kind in ("value", "many") for name in flag.names}
    skip = False
    for at, word in enumerate(words):
        if skip:
            skip = False
        elif word.startswith("-") and word != "-":
            skip = word in takes
        else:
            return at
    return None


def _unknown_flag(word: str, verb: str) -> UsageError:
    name = word.partition("=")[0]
    known = [each for flag in flags_of(verb) for each in flag.names]
    near = nearest(name, known) if name.startswith("--") else []
    if near:
        return _usage(f'{verb} has no flag "{name}"', verb, hint=f'did you mean "{near[0]}"?')
    others = [other for other in VERBS if other != verb and any(name in flag.names for flag in flags_of(other))]
    if others:
        *first, last = others
        have = f"{', '.join(first)} and {last} have" if first else f"{last} has"
        return _usage(f'{verb} has no flag "{name}"; {have}', verb)
    return _usage(
        f'{verb} has no flag "{name}"', verb, hint=f'did you mean "{HABITS[name]}"?' if name in HABITS else None
    )


def _from_environment(flag: Flag, environ: Mapping[str, str]) -> Any:
    text = environ.get(flag.variable) if flag.environment else None
    if not text:
        return flag.usual
    try:
        if flag.kind == "bool":
            return _truth(text)
        if flag.kind == "count":
            return int(text) if text.isdigit() else int(_truth(text))
        if flag.kind == "many":
            return tuple(flag.convert(each) for each in shlex.split(text))
        return flag.convert(text)
    except ValueError as error:
        raise UsageError(str(error), where=f"the environment's {flag.variable}") from None


def _truth(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f'"{text}" is neither yes nor no: 1 or 0')


def whole_parser() -> argparse.ArgumentParser:
    """All verbs in one parser, for the completion."""
    parser = argparse.ArgumentParser(prog="duct", add_help=False, allow_abbrev=False)
    for flag in (*BUILD, *WHERE, *SAYING):
        _add(parser, flag)  # type: ignore[arg-type]
    parser.add_argument("-h", "--help", action="store_true", help="help")
    parser.add_argument("--version", action="store_true", help="the version")
    verbs = parser.add_subparsers(dest="verb")
    for name, verb in VERBS.items():
        parser_for(name, verbs.add_parser(name, help=verb.summary, description=verb.summary, add_help=False))
    return parser
