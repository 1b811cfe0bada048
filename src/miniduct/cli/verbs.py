"""The verbs: their families, what they are for in a line, and where the code for each is. The overview that `duct --help` shows.

Data and its rendering; the flags are in `arguments`.
"""

from __future__ import annotations

from ..tuples import NamedTuple


class Verb(NamedTuple):
    """One verb: `module` is the module of this package that has its function, called like the verb."""

    family: str
    summary: str
    module: str


VERBS = {
    "build": Verb("work", "make what is stale, and nothing else", "building"),
    "watch": Verb("work", "build again whenever something changes", "watching"),
    "clean": Verb("work", "remove targets, or what is left over (--orphans)", "removing"),
    "accept": Verb("work", "take the files that are there as made; run nothing", "removing"),
    "status": Verb("ask", "what is stale, what failed, what is left over", "asking"),
    "why": Verb("ask", "why a target is stale, or why it last ran", "asking"),
    "list": Verb("ask", "steps, jobs, targets or sources", "listing"),
    "graph": Verb("ask", "who reads from whom, as DOT, Mermaid or JSON", "listing"),
    "log": Verb("ask", "what a job said", "asking"),
    "init": Verb("write", "write a first Ductfile", "writing"),
    "check": Verb("write", "look for mistakes in the Ductfile; run nothing", "writing"),
    "schema": Verb("write", "the JSON Schema of the Ductfile, for editors", "writing"),
    "completion": Verb("write", "completion for bash, zsh, fish or tcsh", "writing"),
    "help": Verb("write", "help on a verb", "writing"),
}

COMING = {
    "report": "a report of past builds",
    "cache": "a cache of results",
    "trace": "what a job reads and writes",
}
"""Verbs of later versions: a clear word instead of "no such target"."""

HABITS = {
    "version": "duct --version",
    "all": "duct",
    "run": "duct build",
    "make": "duct build",
    "ls": "duct list",
    "tasks": "duct list",
    "-l": "duct list",
    "--list": "duct list",
    "lint": "duct check",
    "validate": "duct check",
    "explain": "duct why",
    "dag": "duct graph",
    "logs": "duct log",
    "touch": "duct accept",
}
"""Words of other tools, and how to say it here."""

_FAMILIES = {"work": "Work", "ask": "Ask", "write": "The Ductfile, and duct itself"}

TARGETS = """\
A target is
  a file       out/report.html, from where you stand
  a step       clean            all its jobs; for a group, what it names
  a glob       'out/*.html'     over the files that steps make
  a tag        tag:nightly      all steps with that tag
"""

_OVERVIEW = """\
duct makes what is stale, and nothing else

  duct [flags] [target ...]           the same as "duct build"
  duct VERB [flags] [target ...]      "duct help VERB" tells its flags

{verbs}
{targets}
Examples
  duct                                make everything that is stale
  duct out/report.html                one file, and what it needs
  duct -n                             what would run, and why; nothing is done
  duct -k -j 8                        eight jobs at a time, on after failures
  duct status                         what is stale
  duct why out/report.html            old and new, down to the root cause

Flags that most verbs take
  -f, --file FILE          the Ductfile; without it, it is looked for upwards
  -C, --directory DIR      as if started in DIR
      --set NAME=VALUE     another value for a var of the Ductfile; repeatable
  -q, --quiet              failures only
  -v, --verbose            more
      --json               JSON Lines on stdout, for programs
      --color WHEN         auto, always or never
  -h, --help               help; with a verb, on that verb
      --version            the version

Each flag may be set by the environment: DUCT_JOBS=4, DUCT_KEEP_GOING=1.
NO_COLOR and CI are heeded.

Exit codes: 0 fine, 1 a job failed, 2 usage or Ductfile, 3 something is stale
(status --exit-code), 130 interrupted, 70 a bug of duct.
"""


def overview() -> str:
    """The text of `duct --help`."""
    blocks = []
    for family, title in _FAMILIES.items():
        lines = [f"  {name:<12} {verb.summary}" for name, verb in VERBS.items() if verb.family == family]
        blocks.append("\n".join([title, *lines]) + "\n")
    return _OVERVIEW.format(verbs="\n".join(blocks), targets=TARGETS)
