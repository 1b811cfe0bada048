"""The settings of a Ductfile, in one table: name, where it may stand, shape, default, description.

The reader, `duct schema`, and the manual's tests all read this table. How a value is converted stands in `drafts.CONVERTERS`, under the same names.
"""

from __future__ import annotations

from typing import Any

from ..tuples import NamedTuple

TOP, DEFAULTS, STEP = "top", "defaults", "step"

_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_KEYS: dict[str, Any] = {
    "anyOf": [*_TEXTS["anyOf"], {"type": "object", "additionalProperties": _TEXTS}],
}
_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_DURATION: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|min|m|h|d|w)\s*)+$"},
    ]
}
_FAILURE: dict[str, Any] = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 255}, _TEXT]}
_VALUES: dict[str, Any] = {
    "anyOf": [
        {"type": "array", "items": _SCALAR, "minItems": 1},
        {
            "type": "object",
            "properties": {
                "from": {"type": ["string", "integer"]},
                "to": {"type": ["string", "integer"]},
                "step": {"type": "integer", "minimum": 1},
            },
            "required": ["from", "to"],
            "additionalProperties": False,
        },
    ]
}


_TEXT_TABLE: dict[str, Any] = {"type": "object", "additionalProperties": _TEXT}
_PLACES: dict[str, Any] = {"type": "object", "additionalProperties": _TEXT_TABLE}
_GCS: dict[str, Any] = {
    "type": "object",
    "properties": {"project": _TEXT, "credentials": _TEXT, "endpoint": _TEXT, "user_project": _TEXT_TABLE},
    "additionalProperties": False,
}
_HTTP: dict[str, Any] = {
    "type": "object",
    "properties": {
        "secrets": _TEXTS,
        "headers": _PLACES,
        "query": _PLACES,
        "connect_timeout": _DURATION,
        "read_timeout": _DURATION,
        "timeout": _DURATION,
    },
    "additionalProperties": False,
}

_STEP_NAME = r"^[^\x00-/:-@[-^`{-\x7f][^\x00-*,/:-@[-^`{-\x7f]*$"
"""Letters of any alphabet, digits and `_`, later also `+`, `-` and `.`; so that every dialect of regular expressions reads it alike."""


class Setting(NamedTuple):
    """One setting. `takes` says its shape in words, `default` what its absence means, `schema` its shape as JSON Schema."""

    name: str
    where: tuple[str, ...]
    takes: str
    default: str
    description: str
    schema: dict[str, Any]


SETTINGS = (
    Setting(
        "default",
        (TOP,),
        "text or list",
        "every step",
        "What plain `duct build` makes: steps, keys, globs, `tag:x`.",
        _TEXTS,
    ),
    Setting(
        "include",
        (TOP,),
        "text or list",
        "none",
        "Other Ductfiles; the steps of etl/Ductfile are named `etl.NAME`.",
        _TEXTS,
    ),
    Setting(
        "vars",
        (TOP,),
        "table of texts",
        "none",
        "Texts for `{name}`; `--set name=value` overrides.",
        {"type": "object", "additionalProperties": _SCALAR},
    ),
    Setting(
        "pools",
        (TOP,),
        "table of whole numbers",
        "none",
        "How many jobs of a pool may run at once.",
        {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
    ),
    Setting(
        "notify",
        (TOP,),
        "text, list, or table of these by success, failure and recovery",
        "none",
        "URLs that get a message when a build has failed or is well again, or commands for the shell; `{NAME}` is a variable.",
        {
            "anyOf": [
                *_TEXTS["anyOf"],
                {
                    "type": "object",
                    "properties": {"success": _TEXTS, "failure": _TEXTS, "recovery": _TEXTS},
                    "additionalProperties": False,
                },
            ]
        },
    ),
    Setting(
        "stores",
        (TOP,),
        "tables gcs and http",
        "none",
        "How to reach Google Cloud Storage (`[stores.gcs]`) and addresses of the web (`[stores.http]`).",
        {"type": "object", "properties": {"gcs": _GCS, "http": _HTTP}, "additionalProperties": False},
    ),
    Setting(
        "defaults",
        (TOP,),
        "table of settings",
        "none",
        "Settings for every step of this file that has none of its own.",
        {},
    ),
    Setting("step", (TOP,), "table of steps", "none", "The steps, by name: `[step.NAME]`.", {}),
    Setting("description", (STEP,), "text", "none", "What the step is for, in a line.", _TEXT),
    Setting(
        "inputs",
        (STEP,),
        "text, list, or table of these",
        "none",
        "What the step reads: keys with wildcards or globs, or `step:NAME` for all that a step makes.",
        _KEYS,
    ),
    Setting(
        "targets",
        (STEP,),
        "text, list, or table of these",
        "none",
        "What the step makes. A `/` at the end: a folder as a whole.",
        _KEYS,
    ),
    Setting(
        "run",
        (STEP,),
        "text, or list of words",
        "none: a name for its inputs",
        "The command: a text for the shell, or its words for no shell.",
        {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": _TEXT, "minItems": 1}]},
    ),
    Setting(
        "python",
        (STEP,),
        '"module:function"',
        "none",
        "A Python function to be called in a warm process: its arguments by name, its code counts.",
        {"type": "string", "pattern": r"^[^:]+:[^:]+$"},
    ),
    Setting(
        "copy",
        (STEP,),
        "true",
        "none",
        "Copies the one input to the one target, from store to store.",
        {"const": True},
    ),
    Setting(
        "sha256",
        (STEP,),
        "64 hexadecimal digits",
        "none",
        "The checksum that the content of an `https://` input must have.",
        {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
    ),
    Setting("after", (STEP,), "text or list", "none", "Steps that must have ended before: order only.", _TEXTS),
    Setting(
        "foreach",
        (STEP,),
        "table of lists or ranges",
        "none",
        "Fixed values for names: one job for every combination, with or without files.",
        {"type": "object", "additionalProperties": _VALUES},
    ),
    Setting(
        "where",
        (DEFAULTS, STEP),
        "table of regular expressions",
        "none",
        "What the value of a wildcard must match as a whole.",
        {"type": "object", "additionalProperties": {"type": "string", "format": "regex"}},
    ),
    Setting(
        "params",
        (DEFAULTS, STEP),
        "table",
        "none",
        "Values for `{params.NAME}`; a change makes the jobs stale.",
        {"type": "object"},
    ),
    Setting(
        "env",
        (DEFAULTS, STEP),
        "list of names, or table",
        "none",
        "Environment variables whose values count; a table sets them too.",
        {"anyOf": [*_TEXTS["anyOf"], {"type": "object", "additionalProperties": _SCALAR}]},
    ),
    Setting(
        "secrets",
        (DEFAULTS, STEP),
        "text or list",
        "none",
        "Environment variables that never count and are masked in all output.",
        _TEXTS,
    ),
    Setting(
        "cwd", (DEFAULTS, STEP), "text", "the folder of the Ductfile", "The folder that the command runs in.", _TEXT
    ),
    Setting(
        "shell",
        (DEFAULTS, STEP),
        "text or list",
        "bash -euo pipefail -c",
        "The shell for the text of `run`, which becomes its last argument.",
        {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": _TEXT, "minItems": 1}]},
    ),
    Setting("timeout", (DEFAULTS, STEP), "duration", "none", "How long one attempt may take.", _DURATION),
    Setting(
        "retries",
        (DEFAULTS, STEP),
        "whole number",
        "0",
        "How often a failed job is tried again.",
        {"type": "integer", "minimum": 0},
    ),
    Setting(
        "backoff",
        (DEFAULTS, STEP),
        "duration",
        "1 second",
        "The wait before the second attempt; doubled for each further one.",
        _DURATION,
    ),
    Setting(
        "retry_on",
        (DEFAULTS, STEP),
        'exit code, signal or "timeout", or a list of them',
        "any failure",
        "The failures that are tried again.",
        {"anyOf": [*_FAILURE["anyOf"], {"type": "array", "items": _FAILURE}]},
    ),
    Setting("pool", (DEFAULTS, STEP), "text", "none", "The pool of `[pools]` that a job takes a place of.", _TEXT),
    Setting(
        "cpus",
        (DEFAULTS, STEP),
        "whole number",
        "1",
        "How many places of `--jobs` a job takes.",
        {"type": "integer", "minimum": 1},
    ),
    Setting(
        "batch",
        (DEFAULTS, STEP),
        "whole number",
        "1",
        "How many stale jobs one command works on, at most; it gets their names as lists or by {manifest}.",
        {"type": "integer", "minimum": 1},
    ),
    Setting(
        "check",
        (DEFAULTS, STEP),
        '"content", "mtime" or "exists"',
        '"content"',
        "What of the inputs decides whether they have changed.",
        {"enum": ["content", "mtime", "exists"]},
    ),
    Setting("max_age", (DEFAULTS, STEP), "duration", "none", "After this time a good run is stale.", _DURATION),
    Setting(
        "keep",
        (DEFAULTS, STEP),
        "true or false",
        "false",
        "The command updates its targets in place: it finds the last ones.",
        {"type": "boolean"},
    ),
    Setting("tags", (DEFAULTS, STEP), "text or list", "none", "Names for groups of steps: `duct build tag:x`.", _TEXTS),
)

TABLES = ("vars", "pools", "stores", "defaults", "step")
"""Those of the top that are written as `[table]`."""

EXAMPLES = {
    "default": 'default = ["report"]',
    "include": 'include = ["etl/Ductfile"]',
    "description": 'description = "what it is for"',
    "inputs": 'inputs = "data/*.csv"',
    "targets": 'targets = "out/report.csv"',
    "run": 'run = "cp {input} {target}"',
    "python": 'python = "module:function"',
    "notify": 'notify = "https://…"',
    "copy": "copy = true",
    "sha256": 'sha256 = "…"',
    "after": 'after = "setup"',
    "env": 'env = ["HOME"], or env = { NAME = "value" }',
    "secrets": 'secrets = ["TOKEN"]',
    "cwd": 'cwd = "folder"',
    "shell": 'shell = "sh"',
    "timeout": 'timeout = "5m"',
    "retries": "retries = 2",
    "backoff": 'backoff = "10s"',
    "retry_on": 'retry_on = [75, "SIGKILL", "timeout"]',
    "pool": 'pool = "db"',
    "cpus": "cpus = 2",
    "batch": "batch = 100",
    "max_age": 'max_age = "1d"',
    "keep": "keep = true",
    "tags": 'tags = ["nightly"]',
}
"""How a setting is written, for whom it has a wrong type."""

LATER = ("memory",)
"""Settings of a step that are meant to come."""

FOREIGN = {
    "run": "action bash cmd cmds command commands exec recipe script sh",
    "python": "call callable func function py",
    "inputs": "dep dependencies depends deps file_dep in input_files prerequisites prereqs requires source sources src srcs",
    "targets": "creates dest generates makes out output output_files outputs outs produces products writes",
    "after": "depends_on needs order_only wait_for",
    "foreach": "each for matrix",
    "where": "constraints wildcard_constraints",
    "params": "arguments args config parameters",
    "env": "environ environment",
    "cwd": "chdir cd dir directory wdir workdir working_dir working_directory",
    "description": "desc doc help label title",
    "cpus": "cores threads",
    "retries": "attempts max_attempts restart_times retry",
    "timeout": "max_time time_limit",
    "keep": "in_place precious update",
    "tags": "labels tag",
    "secrets": "secret secret_env",
    "check": "checker method uptodate",
    "max_age": "expires ttl",
}
"""Words that people bring along from other tools, and what they are here."""

FOREIGN_TOP = {
    "step": "job jobs rule rules stage stages steps target targets task tasks",
    "vars": "const env environment var variable variables",
    "include": "includes import imports",
    "defaults": "common settings",
    "pools": "limits pool resources",
}


_NAMES = {where: [setting.name for setting in SETTINGS if where in setting.where] for where in (TOP, DEFAULTS, STEP)}


def names(where: str) -> list[str]:
    """The settings that may stand there, in the order of the table."""
    return _NAMES[where]


def meant(word: str, foreign: dict[str, str]) -> str | None:
    """What a word from another tool is called here; None where it is not known."""
    folded = word.lower().replace("-", "_")
    for name, words in foreign.items():
        if folded in words.split():
            return name
    return None


def schema() -> dict[str, Any]:
    """The Ductfile as a JSON Schema, draft 2020-12."""
    by_name = {setting.name: setting for setting in SETTINGS}

    def properties(where: str) -> dict[str, Any]:
        return {name: {**by_name[name].schema, "description": by_name[name].description} for name in names(where)}

    top = properties(TOP)
    top["defaults"].update(type="object", properties=properties(DEFAULTS), additionalProperties=False)
    top["step"].update(
        type="object",
        propertyNames={"pattern": _STEP_NAME},
        additionalProperties={"type": "object", "properties": properties(STEP), "additionalProperties": False},
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ductfile",
        "description": "Steps with their targets, inputs and commands.",
        "type": "object",
        "properties": top,
        "additionalProperties": False,
    }
