"""Words and environment to flags and targets."""

from __future__ import annotations

import pytest

from miniduct.cli.arguments import flags_of, parse, parser_for
from miniduct.cli.verbs import VERBS, overview
from miniduct.errors import UsageError


def wrong(words: str, **environ: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(words.split(), environ)
    return str(caught.value)


def test_without_a_verb_words_are_targets_of_a_build() -> None:
    call = parse(["out/report.html", "-j", "4", "clean"], {})
    assert (call.verb, call.said) == ("build", False)
    assert call.values.words == ("out/report.html", "clean")
    assert call.values.jobs == 4


def test_no_words_build_everything() -> None:
    call = parse([], {})
    assert (call.verb, call.values.words, call.values.jobs, call.values.output) == ("build", (), 0, "group")


def test_flags_may_stand_before_the_verb_and_between_targets() -> None:
    call = parse(["-f", "Ductfile.example", "why", "a", "-v", "b", "-v"], {})
    assert (call.verb, call.said) == ("why", True)
    assert (call.values.file, call.values.words, call.values.verbose) == ("Ductfile.example", ("a", "b"), 2)


def test_a_value_of_a_flag_is_no_verb() -> None:
    call = parse(["-C", "status", "build"], {})
    assert (call.verb, call.values.directory) == ("build", "status")


def test_a_step_called_like_a_verb_is_reached_by_build() -> None:
    assert parse(["build", "clean"], {}).values.words == ("clean",)


def test_what_follows_two_dashes_is_a_target() -> None:
    assert parse(["-k", "--", "-odd", "status"], {}).values.words == ("-odd", "status")


def test_sets_are_pairs_the_last_of_a_name_included() -> None:
    assert parse(["--set", "a=1", "x", "--set=b=2=3"], {}).values.set == (("a", "1"), ("b", "2=3"))


@pytest.mark.parametrize(
    ("variable", "text", "dest", "value"),
    [
        ("DUCT_JOBS", "3", "jobs", 3),
        ("DUCT_JOBS", "auto", "jobs", 0),
        ("DUCT_KEEP_GOING", "1", "keep_going", True),
        ("DUCT_KEEP_GOING", "no", "keep_going", False),
        ("DUCT_DRY_RUN", "", "dry_run", False),
        ("DUCT_VERBOSE", "2", "verbose", 2),
        ("DUCT_VERBOSE", "yes", "verbose", 1),
        ("DUCT_OUTPUT", "prefix", "output", "prefix"),
        ("DUCT_FILE", "other", "file", "other"),
        ("DUCT_SET", "a=1 'b=two words'", "set", (("a", "1"), ("b", "two words"))),
    ],
)
def test_each_flag_has_a_variable(variable: str, text: str, dest: str, value: object) -> None:
    assert getattr(parse([], {variable: text}).values, dest) == value


def test_words_go_before_the_environment() -> None:
    assert parse(["-j", "2"], {"DUCT_JOBS": "8"}).values.jobs == 2


def test_a_variable_for_builds_does_not_reach_a_flag_of_the_same_name() -> None:
    assert parse(["list"], {"DUCT_JOBS": "8"}).values.jobs is False


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--jbos 3", 'build has no flag "--jbos"\n  did you mean "--jobs"?'),
        ("status -k", 'status has no flag "-k"; build and watch have\n  "duct help status" shows the flags of status'),
        ("status -y", 'status has no flag "-y"; clean has\n  "duct help status" shows the flags of status'),
        (
            "init -f x.py",
            (
                'init has no flag "-f"; build, watch, clean, accept, status, why, list, graph, log and check have\n'
                '  "duct help init" shows the flags of init'
            ),
        ),
        ("-j", '-j/--jobs: expected one argument\n  "duct help build" shows the flags of build'),
        (
            "-j none",
            (
                '-j/--jobs: "none" is no number of jobs: 1 or more, or auto for one a core\n'
                '  "duct help build" shows the flags of build'
            ),
        ),
        (
            "--output grouped",
            (
                '--output: "grouped" is none of group, prefix, stream; did you mean "group"?\n'
                '  "duct help build" shows the flags of build'
            ),
        ),
        ("--set a", '--set: "a" is not NAME=VALUE\n  "duct help build" shows the flags of build'),
        ("why", "why needs a target\n  for example: duct why out/report.html"),
        ("check x", 'check takes no words, but was given "x"\n  "duct help check" shows the flags of check'),
    ],
)
def test_mistakes_are_told_with_the_next_move(words: str, text: str) -> None:
    assert wrong(words) == text


def test_a_wrong_variable_is_named() -> None:
    assert wrong("", DUCT_FORCE="perhaps") == ('the environment\'s DUCT_FORCE: "perhaps" is neither yes nor no: 1 or 0')


def test_flags_are_not_guessed_from_their_beginnings() -> None:
    assert "did you mean" in wrong("--job 3")


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_has_examples_and_fits_a_terminal(verb: str) -> None:
    text = parser_for(verb).format_help()
    assert text.startswith(f"usage: duct {verb}")
    assert "examples:" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_overview_names_every_verb_and_fits_a_terminal() -> None:
    text = overview()
    assert all(f"  {verb} " in text for verb in VERBS)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_has_a_flag_twice(verb: str) -> None:
    names = [name for flag in flags_of(verb) for name in flag.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["-h", "-j"]])
def test_help_without_a_verb_is_the_overview(words: list[str]) -> None:
    call = parse(words, {})
    assert call.help
    assert call.verb is None


def test_help_with_a_verb_is_on_that_verb() -> None:
    call = parse(["why", "-h"], {})
    assert call.help
    assert call.verb == "why"
